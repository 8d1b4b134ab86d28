"""Where a result goes, and all that Dreamreel puts beside it: which of it is ours, what may be
created, replaced and deleted.

Beside OUT.mp4 stand `OUT.mp4.json`, its record; of a zoom `OUT.mp4.state`, what --continue takes;
and, until it is whole, the work folder `OUT.mp4.unfinished`. A file or folder is ours by what it
holds, never by its name. Links are never followed to write or delete; what is deleted has a name
that we gave, and goes one by one.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from dreamreel.pipeline.durable import (
    UNREADABLE,
    check_own,
    create,
    flush,
    load_tree,
    open_own,
    partial_path,
    write_whole,
)
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.media.encoding import CONTAINERS, usual_suffix
from dreamreel.pipeline.media.exports import SERIES, check_series_name, is_animated
from dreamreel.pipeline.media.sequences import is_series, place_of, series_files
from dreamreel.pipeline.opening import read_text

LONGEST_NAME = 200  # bytes of a work folder's name before its ending; 255 are allowed in all
RECORD_FORMAT = 2
JOB_FORMAT = 2
STATE_FORMAT = 1
JOB_BYTES = 1 << 26  # of a job file or record, at most
JOB, LOCK, STATE = "job.json", "lock", "state.pt"
# What goes beside a result.
Parts = tuple[str, ...]
PICTURE: Parts = ()
PREVIEW: Parts = ("work",)
RENDER: Parts = ("work", "record")
KEPT_ZOOM: Parts = ("work", "record", "state")
# What we name in a work folder: files, those files until they are whole, folders for pieces.
OWN_FILES = re.compile(
    r"job\.json|lock|state\.pt|\d{6,}\.(raw|mp4|mkv|mov)|\.(job\.json|state\.pt)\.[0-9a-f]{16}\.partial"
)
OWN_PIECES = re.compile(r"pieces-[0-9a-f]{16}")
PARTIAL = re.compile(r".*\.partial(\.\w+)?")


@dataclass(frozen=True)
class Target:
    """Where a result goes: `path`, a file or such as frames/%05d.png; whether it may `overwrite`
    what is there, and whether to `restart` where a render was stopped. `reads` are files that the
    command has read, besides those that a render itself knows of: presets, a record."""

    path: Path
    overwrite: bool = False
    restart: bool = False
    reads: tuple[Path, ...] = ()

    @property
    def place(self) -> Path:
        """The one file, or folder, that is made."""
        return place_of(self.path)


def check_video_name(path: Path) -> None:
    """Raise UserError unless `path` ends as a film, an animation or a series of pictures does."""
    if is_series(path):
        check_series_name(path)
    elif path.suffix.lower() not in CONTAINERS and not is_animated(path):
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(
            f"{path} {given}; {', '.join(CONTAINERS)}, .gif, .webp or .apng would work, or "
            "frames/%05d.png"
        )


def usual_output(source: Path, ending: str, codec: str) -> Path:
    """The path of a result made of `source` by `codec` where none is given: beside it, and named
    after it with that `ending`."""
    with usable(source):
        series = not source.is_file() and (source.is_dir() or bool({*"%*?["} & {*source.name}))
    if series:
        folder = (source if source.is_dir() else source.parent).resolve()
        return folder.with_name(f"{folder.name}-{ending}{usual_suffix(codec)}")
    return source.parent / f"{source.stem}-{ending}{usual_suffix(codec)}"


def record_path(place: Path) -> Path:
    """The path of the record of the result at `place`."""
    return place.with_name(place.name + ".json")


def state_path(place: Path) -> Path:
    """The path of the file that --continue needs, beside the zoom at `place`."""
    return place.with_name(place.name + ".state")


def folder_of(place: Path) -> Path:
    """The path of the work folder of the render into `place`."""
    name = place.name
    if len(name.encode()) > LONGEST_NAME:
        name = f"{place.stem[:32]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}{place.suffix}"
    return place.with_name(f"{name}.unfinished")


def check_target(
    out: Target, sources: Iterable[Path], others: Iterable[Path | None], parts: Parts
) -> None:
    """Raise UserError unless the result `out`, and all that goes beside it, can be written, and
    none of it is one of the files that are read: the `sources`, the `others`, and those of `out`.

    Beside it go the `parts`: `PICTURE`, `PREVIEW`, `RENDER` or `KEPT_ZOOM`.
    """
    _check_folder(out)
    beside = _companions(out.place) if parts else {}
    reads = [(path, True) for path in sources]
    reads += [(path, False) for path in (*others, *out.reads) if path is not None]
    _check_apart(out, reads, beside)
    _check_place(out)
    if "work" in parts:
        _check_work(folder_of(out.place))
    if "record" in parts:
        check_replaceable(record_path(out.place), is_record, "record of a render", out.overwrite)
    if "state" in parts:
        check_replaceable(state_path(out.place), is_state, "state of a zoom", out.overwrite)


def check_replaceable(path: Path, is_ours: Any, what: str, overwrite: bool) -> None:
    """Raise UserError where something else than a file of ours, a `what`, stands at `path`; unless
    it is a file and to be overwritten."""
    with usable(path):
        mode = _mode(path)
        if mode is None:
            return
        if not stat.S_ISREG(mode):
            raise UserError(
                f"{path} is {_kind(mode)}, and the {what} is to stand there; another name with -o "
                "would do"
            )
        if not overwrite and not is_ours(path):
            raise UserError(f"{path} exists, and is no {what}; --overwrite replaces it")


def is_record(path: Path) -> bool:
    """Whether the file at `path` is a record of ours, of whatever format."""
    told = _json(path)
    if not isinstance(told, dict):
        return False
    return isinstance(told.get("record"), int) and isinstance(told.get("job"), dict)


def is_state(path: Path) -> bool:
    """Whether the file at `path` is a state of ours, such as `state_path` names."""
    try:
        return {"film", "state"} <= load_tree(path).keys()
    except UNREADABLE:
        return False


def remove_state(path: Path) -> None:
    """Delete the state at `path`, which is of a film that is no more, if it is one of ours."""
    if _is_regular(path) and is_state(path):
        path.unlink()


@dataclass
class WorkFolder:
    """The folder of a render under way, locked: what it holds is ours, and nobody else's render
    touches it. `told` is what its job file tells; `pieces` is a folder in it for files of which
    nothing must be left, whose names match `PARTIAL`."""

    path: Path
    told: dict[str, Any]
    pieces: Path

    def is_begun(self) -> bool:
        """Whether a frame is done."""
        return _is_regular(self.path / STATE)

    def clear(self, told: dict[str, Any]) -> None:
        """Begin anew, with another job file."""
        for path in _own_files(self.path):
            if path.name not in (JOB, LOCK):
                path.unlink()
        write_whole(self.path / JOB, lambda file: file.write(_as_job(told)))
        self.told = told

    def remove_pieces(self) -> None:
        """Delete what is not whole."""
        _remove_pieces(self.path)

    def remove(self) -> None:
        """Delete the folder, and all in it that is ours; what is not stays where it is."""
        _remove_pieces(self.path)
        # The job file tells that the folder is ours, the lock that it is used: they go last.
        last = (JOB, LOCK)
        for path in sorted(_own_files(self.path), key=lambda path: (path.name in last, path)):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            self.path.rmdir()


@contextmanager
def work_folder(place: Path, told: dict[str, Any]) -> Iterator[WorkFolder]:
    """The work folder of the render into `place`: there already, or made, with what is `told` in
    its job file.

    It stays until it is removed. Raises UserError where another process renders into `place`, and
    where something else stands in its place.
    """
    path = folder_of(place)
    if _mode(path) is None:
        _make(path, told)
    _check_work(path)
    lock = filelock.FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"{place} is being rendered already, by another dreamreel") from error
    try:
        if not _is_job(path / JOB):  # the other has ended just now, and removed it
            with suppress(OSError):
                (path / LOCK).unlink()
                path.rmdir()
            raise UserError(f"{place} was finished just now, by another dreamreel")
        _remove_pieces(path)
        pieces = path / f"pieces-{secrets.token_hex(8)}"
        pieces.mkdir()
        yield WorkFolder(path, _json(path / JOB), pieces)
    finally:
        lock.release()


def _make(path: Path, told: dict[str, Any]) -> None:
    """Make the work folder `path` with its job file in it, at one go: a folder without one, by that
    name, is somebody's."""
    new = partial_path(path)
    new.mkdir()
    try:
        with os.fdopen(create(new / JOB), "wb") as file:
            file.write(_as_job(told))
        new.rename(path)
    except OSError as error:
        with suppress(OSError):
            (new / JOB).unlink()
            new.rmdir()
        # Another dreamreel may have made it at the same time.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return
    with open_own(path / JOB, "r+b") as file:
        flush(file)


def _as_job(told: dict[str, Any]) -> bytes:
    return json.dumps({"dreamreel_job": JOB_FORMAT, **told}, indent=2).encode()


def _check_work(path: Path) -> None:
    """Raise UserError unless the work folder `path` is ours, or not there."""
    with usable(path):
        mode = _mode(path)
        if mode is None:
            return
        advice = "move it, or give another name with -o"
        if not stat.S_ISDIR(mode):
            raise UserError(f"{path} is {_kind(mode)}, where the work folder would be: {advice}")
        if not _is_job(path / JOB):
            raise UserError(f"{path} is no work folder of ours, it holds no {JOB}: {advice}")


def _is_job(path: Path) -> bool:
    told = _json(path) if _is_regular(path) else None
    if not isinstance(told, dict) or not isinstance(job := told.get("job"), dict):
        return False
    # Before it had a format, what tells was the version in the job itself.
    return "dreamreel_job" in told or "dreamreel" in job


def _own_files(folder: Path) -> list[Path]:
    """The files in the work `folder` that have names of ours, links by such a name included."""
    found = _entries(folder)
    return [path for path, is_folder in found if not is_folder and OWN_FILES.fullmatch(path.name)]


def _remove_pieces(folder: Path) -> None:
    """Delete the folders for pieces in the work `folder`, this render's or left by one that was
    killed."""
    for path, is_folder in _entries(folder):
        if is_folder and OWN_PIECES.fullmatch(path.name):
            _remove_partials(path)


def _remove_partials(folder: Path) -> None:
    for path, is_folder in _entries(folder):
        if is_folder and path.name == SERIES:
            _remove_all_files(path)
        elif not is_folder and PARTIAL.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _remove_all_files(folder: Path) -> None:
    """Delete the `folder` that we made for pictures, which are named as the user asked."""
    for path, is_folder in _entries(folder):
        if not is_folder:
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """What is in `folder`, and whether each is a folder and no link; nothing where it is gone."""
    try:
        with os.scandir(folder) as entries:
            return [(folder / one.name, one.is_dir(follow_symlinks=False)) for one in entries]
    except OSError:
        return []


def _check_folder(out: Target) -> None:
    """Raise UserError unless there is a folder for `out`, and names in it can be made."""
    place = out.place
    with usable(place):
        if not is_series(out.path) and place.is_dir():
            raise UserError(f"{place} is a folder; name a file in it, or {place}/%05d.png")
        if not place.parent.is_dir():
            raise UserError(f"there is no folder {place.parent} to write {place.name} into")


def _check_place(out: Target) -> None:
    """Raise UserError where what is at the place of `out` may not be replaced, or cannot be."""
    place = out.place
    with usable(place):
        if is_series(out.path):
            _check_series(out)
        elif (mode := _mode(place)) is not None:
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                raise UserError(f"{place} is {_kind(mode)}, which no file can replace")
            if not out.overwrite:
                raise UserError(f"{place} exists; --overwrite replaces it")
    folder = place if is_series(out.path) and place.is_dir() else place.parent
    for one in {folder, place.parent}:
        probe = partial_path(one / "probe")
        try:
            os.close(create(probe))
            probe.unlink()
        except OSError as error:
            raise UserError(f"{one} cannot be written to ({error.strerror})") from error


def _check_series(out: Target) -> None:
    place = out.place
    if os.path.lexists(place) and not place.is_dir():
        raise UserError(f"{place} is a file, not a folder to write {out.path.name} into")
    there = series_files(out.path)
    if odd := [path for path in there if stat.S_ISDIR(path.lstat().st_mode)]:
        raise UserError(f"{odd[0]} is a folder; give another one with -o")
    if place.is_dir() and any(place.iterdir()) and not out.overwrite:
        raise UserError(
            f"{place} has files in it, {len(there)} of them like {out.path.name}: --overwrite "
            "replaces those, or give a folder of its own"
        )


def _companions(place: Path) -> dict[Path, str]:
    """What stands beside `place`, and what each is called."""
    return {
        record_path(place): "its record",
        state_path(place): "its state",
        folder_of(place): "its work folder",
    }


def _check_apart(out: Target, reads: list[tuple[Path, bool]], beside: dict[Path, str]) -> None:
    """Raise UserError where one of the files `reads` is what would be written, by any name. Of each
    is told whether it is the source."""
    pictures = series_files(out.path) if is_series(out.path) else []
    written = {key: "" for path in (out.place, *pictures) for key in _keys(path)}
    written |= {key: what for path, what in beside.items() for key in _keys(path)}
    work = os.path.realpath(folder_of(out.place))
    for path, is_source in reads:
        with usable(path):
            found = [written[key] for key in _keys(path) if key in written]
            within = bool(beside) and Path(os.path.realpath(path)).is_relative_to(work)
        if found and not found[0]:
            what = "the source itself" if is_source else f"{path}, which is read"
            raise UserError(f"{out.path} is {what}; give another name with -o")
        if found or within:
            where = found[0] if found else "a file in its work folder"
            raise UserError(
                f"{path}, which is read, would be {where} beside {out.path}; give another name "
                "with -o"
            )


def _keys(path: Path) -> set[Any]:
    """What tells the file at `path` from others, by its path and by its inode."""
    keys: set[Any] = {os.path.abspath(path)}
    with suppress(OSError):
        found = path.stat()
        keys.add((found.st_dev, found.st_ino))
    return keys


def _json(path: Path) -> Any:
    """What the JSON file at `path` holds; None where it holds none."""
    try:
        return json.loads(read_text(path, JOB_BYTES))
    except (UserError, OSError, ValueError, RecursionError):
        return None


def _mode(path: Path) -> int | None:
    """What kind of thing is at `path`, links not followed; None where there is nothing."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _is_regular(path: Path) -> bool:
    try:
        check_own(path.lstat(), path)
    except OSError:
        return False
    return True


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
