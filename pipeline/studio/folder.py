"""The studio's folder: dropped sources, stills, renders. All that a page shows is here."""

import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.contents import HEAD, content_of
from dreamreel.pipeline.durable import create, partial_path, take_name, write_whole
from dreamreel.pipeline.errors import UserError, visible
from dreamreel.pipeline.jobs.paths import record_path, remove_work
from dreamreel.pipeline.opening import read_json

LARGEST = 8 << 30  # bytes of a source that is dropped; a round number
OWN = ".studio"  # the folder of what is no source and no result
KINDS = {"sources", "renders", "stills"}
ENDINGS = (".png", ".mp4", ".jpg")  # of stills
NAME = re.compile(r"[^\W_][\w .()+,@-]{0,119}")
LONGEST_STEM = 110  # bytes of a source's name without its ending: others are made of it
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp", ".apng")
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".opus")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
STILL = re.compile(r"[0-9a-f]{24}")  # the name of a still, as `key_of` makes it
STATE_BYTES = 1 << 20
MOST_STILLS = 1000  # that are kept, some 400 MB; the others are made again


@dataclass(frozen=True)
class Studio:
    """The studio's folder `root`, with the folders in it."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> "Studio":
        """The studio in the folder `root`, which is made. Raises UserError if it cannot be."""
        found = cls(Path(os.path.realpath(root)))
        try:
            for folder in (found.sources, found.renders, found.stills, found.masks):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{root} cannot be the studio's folder ({error.strerror}); name another"
            ) from error
        found.forget_old_stills()
        return found

    def forget_old_stills(self) -> None:
        """Delete the oldest stills, beyond the most that are kept."""
        files = [path for path in self.stills.iterdir() if path.suffix in ENDINGS]
        ours = [path for path in files if STILL.fullmatch(path.stem)]
        stills = sorted(ours, key=lambda path: -path.stat().st_mtime)
        for path in stills[MOST_STILLS:]:
            path.unlink(missing_ok=True)
            record_path(path).unlink(missing_ok=True)
            remove_work(path)

    @property
    def sources(self) -> Path:
        """Where dropped films and pictures are."""
        return self.root / "sources"

    @property
    def renders(self) -> Path:
        """Where results and their records are."""
        return self.root / "renders"

    @property
    def stills(self) -> Path:
        """Where stills are, which can be made again."""
        return self.root / OWN / "stills"

    @property
    def masks(self) -> Path:
        """Where the masks painted on sources are, in a folder for each."""
        return self.root / "masks"

    def check_inside(self, files: Iterable[Path]) -> None:
        """Raise UserError if one of `files`, of which the relative ones are in the studio's folder,
        is not inside of it, by whatever way."""
        for path in files:
            if "\0" in str(path):
                raise UserError(f"{visible(str(path))} is no name of a file")
            found = Path(os.path.realpath(self.root / os.path.expanduser(path)))
            if self.root not in found.parents:
                raise UserError(
                    f"{path} is not in the studio's folder, and the page reads no other file; copy "
                    f"it into {self.root}"
                )

    def file(self, kind: str, name: str) -> Path | None:
        """The file `name` of a `kind`: "sources", "renders" or "stills". None if there is no such
        file, if it lies elsewhere, or if it is no plain file."""
        if kind not in KINDS or not is_plain(name):
            return None
        folder: Path = getattr(self, kind)
        path = folder / name
        if path.is_symlink() or not path.is_file() or path.resolve().parent != folder.resolve():
            return None
        return path

    def listed(self) -> list[str]:
        """The names of the sources, the newest first."""
        files = [path for path in self.sources.iterdir() if is_source(path)]
        return [path.name for path in sorted(files, key=lambda path: -path.stat().st_mtime)]

    def musical(self) -> list[str]:
        """The names of the sources that may have sound: sounds and films, the newest first."""
        files = [path for path in self.sources.iterdir() if is_source(path, (*SOUNDS, *FILMS))]
        return [path.name for path in sorted(files, key=lambda path: -path.stat().st_mtime)]

    async def take(self, name: str, parts: AsyncIterator[bytes], largest: int = LARGEST) -> str:
        """Take the source `name`, which comes in `parts`, and return the name that it gets. Raises
        UserError if it is no film or picture by its content, or too large."""
        wanted = safe_name(name)
        partial = partial_path(self.sources / wanted)
        size, head = 0, b""
        try:
            with os.fdopen(create(partial), "wb") as file:
                async for part in parts:
                    size += len(part)
                    if size > largest:
                        raise UserError(
                            f"{visible(name)} is larger than {largest >> 20} MB, the most that "
                            "is taken"
                        )
                    head += part[: max(0, HEAD - len(head))]
                    file.write(part)
            check_content(name, head)
            while True:  # somebody else may take the same name meanwhile
                free = free_name(self.sources, wanted)
                with suppress(FileExistsError):
                    take_name(partial, self.sources / free, False)
                    return free
        finally:
            partial.unlink(missing_ok=True)

    def remembered(self) -> dict[str, Any]:
        """What the page showed last; empty if it is not known."""
        try:
            found = read_json(self.root / OWN / "page.json", STATE_BYTES)
        except (UserError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, table: dict[str, Any]) -> None:
        """Keep what the page shows."""
        data = json.dumps(table).encode()
        write_whole(self.root / OWN / "page.json", lambda file: file.write(data))


def is_plain(name: str) -> bool:
    """Whether `name` is a plain name of a file, which leads nowhere else."""
    return NAME.fullmatch(name) is not None and not name.endswith((" ", "."))


def is_source(path: Path, endings: Sequence[str] = (*FILMS, *PICTURES)) -> bool:
    """Whether the file `path` is one that the studio shows as a source: by its name, one with one
    of the `endings`."""
    known = path.suffix.lower() in endings
    return known and is_plain(path.name) and path.is_file() and not path.is_symlink()


def safe_name(name: str) -> str:
    """`name`, as a browser gives it, as a plain name with its ending. Raises UserError if that is
    none of a film or a picture."""
    base = re.split(r"[/\\]", name)[-1]
    stem, suffix = os.path.splitext(base)
    if suffix.lower() not in (*FILMS, *PICTURES, *SOUNDS):
        raise UserError(
            f"{visible(base) or 'a file without a name'} is no film or picture by its name; "
            f"{', '.join((*FILMS[:5], *PICTURES[:3]))} and others are"
        )
    plain = re.sub(r"[^\w .()+,@-]+", "-", stem).encode()[:LONGEST_STEM].decode(errors="ignore")
    plain = plain.strip(" .-_")
    return f"{plain if plain[:1].isalnum() else f'source{plain}'}{suffix.lower()}"


def free_name(folder: Path, name: str) -> str:
    """`name`, or the first of name-2, name-3 … that nothing in `folder` has."""
    stem, suffix = os.path.splitext(name)
    number = 1
    while os.path.lexists(folder / name):
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def check_content(name: str, head: bytes) -> None:
    """Raise UserError if the file `name`, which begins with `head`, is no film or picture."""
    found = content_of(head) if head else None
    if found is None or found.kind not in ("film", "picture", "sound"):
        told = found.words if found else "nothing that is known" if head else "empty"
        raise UserError(f"{visible(name)} is no film or picture: its content is {told}")


def key_of(*parts: object) -> str:
    """A name that stands for `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]
