"""The paths of a result and of the files beside it, and which of these may be written or deleted.

Beside OUT.mp4 are its record `OUT.mp4.json`, for a zoom the state file `OUT.mp4.state` that
--continue reads, and, until the render is finished, the work folder `OUT.mp4.unfinished`. A file or
folder counts as ours by its contents, never by its name alone. Links are never followed to write
or delete. Files are deleted one at a time, and only under names that we gave them.
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
    names_in_tree,
    open_own,
    partial_path,
    write_whole,
)
from dreamreel.pipeline.errors import LONGEST_SHOWN, PassingError, UserError, address_error, usable
from dreamreel.pipeline.media.encoding import CONTAINERS
from dreamreel.pipeline.media.exports import SERIES, check_series_name, is_animated
from dreamreel.pipeline.media.sequences import is_series, names_series, printf_pattern, series_files
from dreamreel.pipeline.opening import check_no_folder, read_json

# Bytes of a name. File systems allow `LONGEST`. A work folder's is shorter, by a round number.
LONGEST, LONGEST_NAME = 255, 211
LONG_NUMBER = 999_999  # of a picture, whose name must be possible; a round number
RECORD_FORMAT = 2
JOB_FORMAT = 2
STATE_FORMAT = 2
# Bytes of a job file or record that are read, at most: 64 MiB, far above any that we write. A round
# number, against a huge file by that name.
JOB_BYTES = 1 << 26
JOB, LOCK, STATE = "job.json", "lock", "state.safetensors"
FORMER_STATE = "state.pt"  # of renders that earlier versions of Dreamreel have begun
WHOLE = "whole.json"  # in the work folder of a finished piece of a video
# The parts that are written beside a result.
Parts = tuple[str, ...]
PICTURE: Parts = ()
STILL: Parts = ("record",)
PREVIEW: Parts = ("work",)
RENDER: Parts = ("work", "record")
KEPT_ZOOM: Parts = ("work", "record", "state")
# The names that we give in a work folder: files, and those files while they are being written.
OWN_FILES = re.compile(
    r"job\.json|lock|state\.(pt|safetensors)|whole\.json|\d{6,}\.(raw|mp4|mkv|mov)"
    r"|cell-[0-9a-f]{16}\.(png|mkv|mp4|mov)(\.json)?"
    r"|\.(job\.json|state\.(pt|safetensors)|whole\.json|cell-[0-9a-f]{16}\.(png|mkv|mp4|mov)(\.json)?)"
    r"\.[0-9a-f]{16}\.partial"
)
OWN_PIECES = re.compile(r"pieces-[0-9a-f]{16}")  # folders for unfinished files
PARTIAL = re.compile(r".*\.partial(\.\w+)?")


@dataclass(frozen=True)
class Target:
    """Where a result goes.

    `path` is a file or a pattern such as frames/%05d.png, and never a pattern for a `picture`. With
    `overwrite`, the result may replace an existing one. With `restart`, an unfinished render is
    discarded. `reads` are files that the command read and that the job does not name, such as
    presets or a record.
    """

    path: Path
    overwrite: bool = False
    restart: bool = False
    reads: tuple[Path, ...] = ()
    picture: bool = False

    @property
    def is_series(self) -> bool:
        """Whether pictures are made by a pattern."""
        return not self.picture and is_series(self.path)

    @property
    def place(self) -> Path:
        """The file that is made, or the folder of the pictures."""
        return self.path.parent if self.is_series else self.path


def check_video_name(path: Path) -> None:
    """Raise UserError unless `path` has the ending of a film or an animation, or is the pattern of
    a series of pictures."""
    if is_series(path):
        check_series_name(path)
    elif path.suffix.lower() not in CONTAINERS and not is_animated(path):
        check_no_folder(path, "dream.mp4")
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(
            f"{path} {given}; {', '.join(CONTAINERS)}, .gif, .webp or .apng would work, or "
            "frames/%05d.png"
        )


def usual_output(source: Path, ending: str, suffix: str) -> Path:
    """The default path of a result, beside `source`: the name of the file, or of the folder of a
    series, then `-`, `ending`, and `suffix`."""
    with usable(source):
        series = names_series(source)
    if series:
        folder = source if source.is_dir() else source.parent
        beside = folder.parent if folder.name not in ("", "..") else folder / ".."
        return beside / f"{folder.resolve().name}-{ending}{suffix}"
    return source.parent / f"{source.stem}-{ending}{suffix}"


def make_folder_of(place: Path) -> None:
    """Make the folder of the result at `place`, and those above it, where they are missing."""
    with usable(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)


def record_path(place: Path) -> Path:
    """The path of the record of the result at `place`."""
    return place.with_name(place.name + ".json")


def state_path(place: Path) -> Path:
    """The path of the file that --continue needs, beside the zoom at `place`."""
    return place.with_name(_short_enough(place.name, ".state"))


def shots_path(place: Path) -> Path:
    """The path of the list of shots that `dreamreel job` keeps beside the video at `place`, as long
    as it is rendered in pieces."""
    return place.with_name(_short_enough(place.name, ".shots.json"))


def folder_of(place: Path) -> Path:
    """The path of the work folder of the render into `place`."""
    return place.with_name(_short_enough(place.name, ".unfinished", LONGEST_NAME))


def _short_enough(name: str, ending: str, most: int = LONGEST) -> str:
    """`name` with `ending`; if that has more than `most` bytes, with a part of the name and its
    digest."""
    data = os.fsencode(name)
    if len(data) + len(os.fsencode(ending)) <= most:
        return name + ending
    stem, suffix = os.path.splitext(name)
    return f"{stem[:32]}-{hashlib.sha256(data).hexdigest()[:12]}{suffix[:8]}{ending}"


def check_target(
    out: Target, sources: Iterable[Path], others: Iterable[Path | None], parts: Parts
) -> None:
    """Raise UserError unless the result `out` and the files beside it can be written.

    None of them may be a file that is read: one of `sources`, of `others` or of `out.reads`.
    `parts` says what is written beside the result: `PICTURE`, `STILL` and so on.
    """
    _check_folder(out)
    _check_names(out, parts)
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
    """Raise UserError if `path` exists and may not be replaced.

    A regular file may be replaced if `is_ours(path)`, or with `overwrite`. `what` names the file
    that is to be written, for the message.
    """
    with usable(path):
        mode = _mode(path)
        if mode is None:
            return
        if not stat.S_ISREG(mode):
            raise UserError(
                f"{path} is {_kind(mode)}, but the {what} must be written there; give another name "
                "with -o"
            )
        if not overwrite and not is_ours(path):
            raise UserError(f"{path} exists and is no {what}; --overwrite replaces it")


def is_record(path: Path) -> bool:
    """Whether the file at `path` is a record, of any format number."""
    found = _json(path)
    if not isinstance(found, dict):
        return False
    return isinstance(found.get("record"), int) and isinstance(found.get("job"), dict)


def is_state(path: Path) -> bool:
    """Whether the file at `path` is the state of a finished zoom; see `state_path`."""
    try:
        return {"film", "state"} <= names_in_tree(path)
    except UNREADABLE:
        return False


def is_shots(path: Path) -> bool:
    """Whether the file at `path` is a list of shots; see `shots_path`."""
    found = _json(path) if _is_regular(path) else None
    return isinstance(found, dict) and {"job", "versions", "shots"} <= found.keys()


def remove_shots(place: Path) -> None:
    """Delete the list of shots beside the video at `place`, if there is one."""
    if is_shots(shots_path(place)):
        shots_path(place).unlink()


def remove_state(path: Path) -> None:
    """Delete the state file at `path` of a zoom that was replaced. Other files are left alone."""
    if _is_regular(path) and is_state(path):
        path.unlink()


@dataclass
class WorkFolder:
    """The work folder of a render, locked against other processes.

    `job_file` is the content of its job file. `pieces` is a folder inside for files that are still
    being written; their names match `PARTIAL`, and whatever remains there is deleted.
    """

    path: Path
    job_file: dict[str, Any]
    pieces: Path

    def is_begun(self) -> bool:
        """Whether any frames are saved in it."""
        return any(os.path.lexists(self.path / name) for name in (STATE, FORMER_STATE))

    def clear(self, job_file: dict[str, Any]) -> None:
        """Delete all frames and write a new job file."""
        for path in _own_files(self.path):
            if path.name not in (JOB, LOCK):
                path.unlink()
        write_whole(self.path / JOB, lambda file: file.write(_as_job(job_file)))
        self.job_file = job_file

    def remove_pieces(self) -> None:
        """Delete the files that are not complete."""
        _remove_pieces(self.path)

    def remove(self) -> None:
        """Delete all files in it that are ours, and the folder if nothing else is in it."""
        _remove_pieces(self.path)
        # Delete these last: the job file shows that the folder is ours, the lock that it is in use.
        last = (JOB, LOCK)
        for path in sorted(_own_files(self.path), key=lambda path: (path.name in last, path)):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            self.path.rmdir()


@contextmanager
def work_folder(place: Path, job_file: dict[str, Any]) -> Iterator[WorkFolder]:
    """The locked work folder of the render into `place`: the existing one, or a new one with
    `job_file` as the content of its job file.

    Leaving the context unlocks the folder and does not delete it. Raises UserError if another
    process renders into `place`, or if something that is not ours has the folder's name.
    """
    path = folder_of(place)
    make_folder_of(place)
    if _mode(path) is None:
        _make(path, job_file)
    _check_work(path)
    _check_lock(path / LOCK)
    lock = filelock.FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise PassingError(
            f"{place} is being rendered already by another dreamreel; wait for it to end"
        ) from error
    try:
        if not _is_job(path / JOB):  # the other has just finished and removed it
            with suppress(OSError):
                (path / LOCK).unlink()
                path.rmdir()
            raise UserError(
                f"{place} was finished just now by another dreamreel; --overwrite renders it again"
            )
        _remove_pieces(path)
        pieces = path / f"pieces-{secrets.token_hex(8)}"
        pieces.mkdir()
        yield WorkFolder(path, _json(path / JOB), pieces)
    finally:
        lock.release()


def remove_work(place: Path) -> None:
    """Delete the work folder of `place`, if there is one and nobody renders into it."""
    path = folder_of(place)
    if not (_mode(path) is not None and stat.S_ISDIR(path.lstat().st_mode) and _is_job(path / JOB)):
        return
    lock = filelock.FileLock(path / LOCK)
    with suppress(filelock.Timeout), lock.acquire(timeout=0):
        WorkFolder(path, {}, path).remove()


def _make(path: Path, job_file: dict[str, Any]) -> None:
    """Make the work folder `path` with its job file in it, by one rename. A folder of that name
    without a job file would count as somebody else's."""
    new = partial_path(path)
    new.mkdir()
    try:
        with os.fdopen(create(new / JOB), "wb") as file:
            file.write(_as_job(job_file))
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


def _as_job(job_file: dict[str, Any]) -> bytes:
    return json.dumps({"dreamreel_job": JOB_FORMAT, **job_file}, indent=2).encode()


def _check_work(path: Path) -> None:
    """Raise UserError if `path` exists and is not one of our work folders."""
    with usable(path):
        mode = _mode(path)
        if mode is None:
            return
        advice = "move it or give another name with -o"
        if not stat.S_ISDIR(mode):
            raise UserError(f"{path} is {_kind(mode)}, but the work folder must go there; {advice}")
        if not _is_job(path / JOB):
            raise UserError(f"{path} is no work folder: it holds no {JOB} of a render; {advice}")


def _check_lock(path: Path) -> None:
    """Raise UserError if there is something but a regular file at `path`: the lock would be written
    through a link."""
    if os.path.lexists(path) and not _is_regular(path):
        raise UserError(f"{path} is {_kind(path.lstat().st_mode)}, but a lock must go there")


def _is_job(path: Path) -> bool:
    found = _json(path) if _is_regular(path) else None
    if not isinstance(found, dict) or not isinstance(job := found.get("job"), dict):
        return False
    # Job files without a format number are recognised by the version in the job itself.
    return "dreamreel_job" in found or "dreamreel" in job


def _own_files(folder: Path) -> list[Path]:
    """The files and links in the work `folder` whose names we give."""
    found = _entries(folder)
    return [path for path, is_folder in found if not is_folder and OWN_FILES.fullmatch(path.name)]


def _remove_pieces(folder: Path) -> None:
    """Delete the folders for pieces in the work `folder`, also those that a killed render left."""
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
    """Delete the `folder` that we made for pictures, with its files: the user chose their names."""
    for path, is_folder in _entries(folder):
        if not is_folder:
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """The paths in `folder`, each with whether it is a folder and not a link. Empty if `folder`
    cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [(folder / one.name, one.is_dir(follow_symlinks=False)) for one in entries]
    except OSError:
        return []


def _check_folder(out: Target) -> None:
    """Raise UserError unless the folder for `out` is there or can be made, and `out` is not itself
    a folder."""
    place = out.place
    with usable(place):
        if not out.is_series and place.is_dir():
            raise UserError(f"{place} is a folder; name a file in it, or {place}/%05d.png")
        if not place.parent.is_dir() and (address := address_error(place)) is not None:
            raise address
        if not (nearest := _nearest_folder(place)).is_dir():
            raise UserError(f"{nearest} is a file, not a folder to write {place.name} into")


def _nearest_folder(place: Path) -> Path:
    """What is there of the folder of `place`: it, or else the nearest one above it."""
    folder = place.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _check_names(out: Target, parts: Parts) -> None:
    """Raise UserError if the name of `out` is too long for the file system, or is too long for one
    of its pictures or its record to be named by it."""
    place = out.place
    names = {place: ""}
    if "record" in parts:
        names[record_path(place)] = " for that of its record"
    if out.is_series:
        names[place.parent / (printf_pattern(out.path) % LONG_NUMBER)] = " for its pictures"
    for path, what in names.items():
        try:
            with usable(place):
                _mode(path)
        except UserError as error:
            if getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
                raise
            raise UserError(
                f"{str(out.path)[:LONGEST_SHOWN]}... is too long a name{what}; give a shorter one "
                "with -o"
            ) from error


def _check_place(out: Target) -> None:
    """Raise UserError if the place of `out` is taken by something that may not or cannot be
    replaced, or if its folder cannot be written to."""
    place = out.place
    with usable(place):
        if out.is_series:
            _check_series(out)
        elif (mode := _mode(place)) is not None:
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                raise UserError(f"{place} is {_kind(mode)}; give another name with -o")
            if not out.overwrite:
                raise UserError(f"{place} exists; --overwrite replaces it")
    above = _nearest_folder(place)
    for one in {place if out.is_series and place.is_dir() else above, above}:
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
        raise UserError(f"{odd[0]} is a folder, not a picture; give another name with -o")
    if place.is_dir() and any(place.iterdir()) and not out.overwrite:
        raise UserError(
            f"{place} is not empty, and {len(there)} of its files match {out.path.name}; "
            "--overwrite replaces those, or give a new folder with -o"
        )


def _companions(place: Path) -> dict[Path, str]:
    """The paths that are written beside `place`, each with its name for messages."""
    return {
        record_path(place): "the record",
        state_path(place): "the state",
        shots_path(place): "the list of shots",
        folder_of(place): "the work folder",
    }


def _check_apart(out: Target, reads: list[tuple[Path, bool]], beside: dict[Path, str]) -> None:
    """Raise UserError if one of the files that are read would be written, by whatever name. `reads`
    holds each with whether it is a source; `beside` is from `_companions`."""
    with usable(out.place):  # the folder may not be listed
        pictures = series_files(out.path) if out.is_series else []
    written = {key: "" for path in (out.place, *pictures) for key in _keys(path)}
    written |= {key: what for path, what in beside.items() for key in _keys(path)}
    work = os.path.realpath(folder_of(out.place))
    for path, is_source in reads:
        with usable(path):
            found = [written[key] for key in _keys(path) if key in written]
            within = bool(beside) and Path(os.path.realpath(path)).is_relative_to(work)
        if found and not found[0]:
            what = "the source itself" if is_source else f"{path}, which this render reads"
            raise UserError(f"{out.path} is {what}; give another name with -o")
        if found or within:
            what = found[0] if found else "in the work folder"
            raise UserError(
                f"{path}, which this render reads, would be {what} of {out.path}; give another "
                "name with -o"
            )


def _keys(path: Path) -> set[Any]:
    """Keys that identify the file at `path`: its absolute path, and its device and inode."""
    keys: set[Any] = {os.path.abspath(path)}
    with suppress(OSError):
        found = path.stat()
        keys.add((found.st_dev, found.st_ino))
    return keys


def _json(path: Path) -> Any:
    """The content of the JSON file at `path`; None if it cannot be read."""
    try:
        return read_json(path, JOB_BYTES)
    except (UserError, ValueError):
        return None


def _mode(path: Path) -> int | None:
    """The file mode of `path` without following links; None if nothing is there."""
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
