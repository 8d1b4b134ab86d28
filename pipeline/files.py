"""The files that a job reads and writes: whether they can be, and whether they are the same."""

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.checkpoint import Tree, load_tree
from dreamreel.pipeline.clips import check_readable
from dreamreel.pipeline.encoding import CONTAINERS, usual_suffix
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.exports import (
    check_series_name,
    is_animated,
    is_series,
    place_of,
    series_files,
)
from dreamreel.pipeline.images import partial_path
from dreamreel.pipeline.pictures import find_series
from dreamreel.pipeline.record import is_record, record_path
from dreamreel.pipeline.settings import Settings

# What torch raises over files that are damaged, or no state at all.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError),
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class Target:
    """Where a result goes, whether it may replace what is there, and whether to begin anew where
    a render was stopped."""

    path: Path
    overwrite: bool = False
    restart: bool = False


def state_path(out: Path) -> Path:
    """Where what a zoom that goes on from `out` takes is kept."""
    return out.with_name(out.name + ".state")


def load_state(path: Path) -> Tree:
    """What is kept at `path`, a `state_path`: `film`, the digest of the film that it is of, and the
    `state`. Raises UserError where it cannot be read."""
    try:
        kept = load_tree(path)
        return {name: kept[name] for name in ("film", "state")}
    except UNREADABLE as error:
        raise UserError(f"{path} is no state of a zoom that can be read") from error


def check_state(out: Target) -> None:
    """Raise UserError where something else stands in the place of the state of `out.path`."""
    path = state_path(out.path)
    if path.is_dir() or (path.exists() and not out.overwrite and not is_state(path)):
        raise UserError(f"{path} exists, and is no state of a zoom; another name with -o would do")


def is_state(path: Path) -> bool:
    """Whether the file at `path` is one that `load_state` reads."""
    try:
        load_state(path)
    except UserError:
        return False
    return True


def check_source(source: Path, out: Target) -> None:
    """Raise UserError where the file `source` cannot be read, or is what would be written."""
    check_readable(source)
    with usable(out.path):
        if out.path.exists() and out.path.samefile(source):
            raise UserError(f"{out.path} is the source itself; give another name with -o")


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


def check_record(out: Target) -> None:
    """Raise UserError unless the record of `out.path` can be written."""
    path = record_path(place_of(out.path))
    if path.exists() and not out.overwrite and not is_record(path):
        raise UserError(f"{path} exists, and is no record of a render; --overwrite replaces it")


def check_output(out: Target) -> None:
    """Raise UserError unless `out.path` can be written."""
    path = place_of(out.path)
    with usable(path):
        if is_series(out.path):
            _check_series(out)
        elif path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it, or {path}/%05d.png")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent} to write {path.name} into")
        if os.path.lexists(path) and not path.is_dir() and not out.overwrite:
            raise UserError(f"{path} exists; --overwrite replaces it")
    probe_file = partial_path(path)
    try:
        probe_file.touch()
        probe_file.unlink()
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror})") from error


def _check_series(out: Target) -> None:
    place = place_of(out.path)
    if place.exists() and not place.is_dir():
        raise UserError(f"{place} is a file, not a folder to write {out.path.name} into")
    if place.is_dir() and any(place.iterdir()) and not out.overwrite:
        there = len(series_files(out.path))
        raise UserError(
            f"{place} has files in it, {there} of them like {out.path.name}: --overwrite replaces "
            "those, or give a folder of its own"
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
        with file.open("rb") as opened:
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
