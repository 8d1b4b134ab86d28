"""The files that a job reads and writes: what they may be called, and whether they are the same."""

import hashlib
from pathlib import Path
from typing import Any

from dreamreel.pipeline.durable import UNREADABLE, Tree, check_finite, load_tree
from dreamreel.pipeline.encoding import CONTAINERS, usual_suffix
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.exports import check_series_name, is_animated
from dreamreel.pipeline.opening import regular_file
from dreamreel.pipeline.paths import is_series
from dreamreel.pipeline.pictures import find_series
from dreamreel.pipeline.settings import Settings


def load_state(path: Path) -> Tree:
    """What is kept at `path`, a `state_path`: `film`, the digest of the film that it is of, and the
    `state`. Raises UserError where it cannot be read."""
    try:
        kept = load_tree(path)
        check_finite(kept)
        return {name: kept[name] for name in ("film", "state")}
    except UNREADABLE as error:
        raise UserError(f"{path} is no state of a zoom that can be read") from error


def check_video_name(path: Path) -> None:
    """Raise UserError unless `path` ends as something moving that can be written does."""
    if is_series(path):
        check_series_name(path)
    elif path.suffix.lower() not in CONTAINERS and not is_animated(path):
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(
            f"{path} {given}; {', '.join(CONTAINERS)}, .gif, .webp or .apng would work, or "
            "frames/%05d.png"
        )


def usual_output(source: Path, what: str, settings: Settings) -> Path:
    """Where what is made of `source` goes if nobody says: beside it, and named after it."""
    with usable(source):
        series = not source.is_file() and (source.is_dir() or bool({*"%*?["} & {*source.name}))
    if series:
        folder = (source if source.is_dir() else source.parent).resolve()
        return folder.with_name(f"{folder.name}-{what}{usual_suffix(settings.output.codec)}")
    return source.parent / f"{source.stem}-{what}{usual_suffix(settings.output.codec)}"


def named(path: Path) -> dict[str, str]:
    """What tells the file at `path` from another."""
    return {"path": str(path.absolute()), "sha256": digest(path)}


def digest(path: Path) -> str:
    """The SHA-256 of the file at `path`; of pictures in files of their own, that of all of them."""
    files = _files_of(path)
    found = hashlib.sha256()
    for file in files:
        with regular_file(file).open("rb") as opened:
            one = hashlib.file_digest(opened, "sha256")
        if len(files) == 1:
            return one.hexdigest()
        found.update(one.digest())
    return found.hexdigest()


def _files_of(source: Path) -> list[Path]:
    series = find_series(source)
    return [source] if series is None else list(series.files)


def found_again(named: dict[str, Any] | None, record: Path) -> Path | None:
    """The file that `record` names beside its source, if it names one: where it was, or beside the
    record. Raises UserError where it is gone, or another one by now."""
    if named is None:
        return None
    path = Path(named["path"])
    for place in (path, record.parent / path.name):
        if place.is_file() and digest(place) == named["sha256"]:
            return place
    raise UserError(f"{path}, which {record} was made with, is gone or another one")


def stamp(source: Path) -> list[tuple[int, int]]:
    """What tells whether `source` was changed: the size of its files, and when each was written."""
    try:
        stats = [path.stat() for path in _files_of(source)]
    except OSError as error:
        raise UserError(f"{source} is gone ({error.strerror})") from error
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]
