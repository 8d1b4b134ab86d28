"""Digests of files, the versions in use, and the identity of a render."""

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.terms import files_in
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile, as_table
from dreamreel.pipeline.jobs.masking import mask_files, with_mask_files
from dreamreel.pipeline.media.sequences import find_series, numbers_of
from dreamreel.pipeline.opening import regular_file

LIBRARIES = ("torch", "torchvision", "opencv-python", "av", "imageio-ffmpeg", "scenedetect")


def named(path: Path) -> NamedFile:
    """The file or series at `path`, with its digest."""
    return NamedFile(path=path.absolute(), sha256=digest(path))


def named_again(file: NamedFile | None) -> NamedFile | None:
    """`file` with its digest computed anew; None if it is None."""
    return None if file is None else named(file.path)


def named_in(settings: Settings) -> tuple[NamedFile, ...]:
    """The files that the terms of `settings` name, each with its digest."""
    files = (path for dream in settings.dreams for path in files_in(dream.terms))
    return tuple(map(named, dict.fromkeys(files)))


def digest(path: Path) -> str:
    """The SHA-256 of the file at `path`, in hexadecimal; for a series of pictures, the SHA-256 of
    their digests. Raises UserError if a file cannot be read."""
    files = _files_of(path)
    found = hashlib.sha256()
    for file in files:
        with regular_file(file).open("rb") as opened:
            one = hashlib.file_digest(opened, "sha256")
        if len(files) == 1:
            return one.hexdigest()
        found.update(one.digest())
    return found.hexdigest()


def named_masks(settings: Settings) -> tuple[NamedFile, ...] | None:
    """The files of the masks of `settings`, with their digests; None if they have none."""
    files = mask_files(settings)
    return (
        tuple(NamedFile(path=path.absolute(), sha256=mask_digest(path)) for path in files) or None
    )


def mask_digest(path: Path) -> str:
    """The digest of the mask at `path`; for a series, that of its files and their numbers, since
    each is for the frame of its number."""
    series = find_series(path)
    if series is None:
        return digest(path)
    found = hashlib.sha256()
    numbers = numbers_of(series) or range(len(series.files))
    for number, file in zip(numbers, series.files, strict=True):
        found.update(f"{number - numbers[0]} {digest(file)}\n".encode())
    return found.hexdigest()


def found_again(file: NamedFile | None, record: Path) -> Path | None:
    """The path of `file`, which the record at `record` names: its old path, or beside the record.
    None if `file` is None. Raises UserError if it is gone or its content has changed."""
    if file is None:
        return None
    for place in (file.path, record.parent / file.path.name):
        if os.path.isfile(place) and digest(place) == file.sha256:
            return place
    raise UserError(f"{file.path}, which {record} was made with, is gone or has changed")


def palette_digest(settings: Settings) -> str | None:
    """The SHA-256 of the picture `dream.palette`; None if there is none. Raises UserError if it
    cannot be read."""
    return None if settings.dream.palette is None else digest(settings.dream.palette)


def stamp(source: Path) -> list[tuple[int, int]]:
    """The size in bytes and the time of change in nanoseconds of each file of `source`, to notice a
    change. Raises UserError if one is gone."""
    try:
        stats = [path.stat() for path in _files_of(source)]
    except OSError as error:
        raise UserError(f"{source} is gone ({error.strerror})") from error
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


def versions() -> dict[str, str]:
    """The versions, by name, of Dreamreel and of the libraries that may change a result; "code" is
    `code_digest`."""
    return {name: version(name) for name in ("dreamreel", *LIBRARIES)} | {"code": code_digest()}


@cache
def code_digest() -> str:
    """The first 16 hexadecimal digits of the SHA-256 of Dreamreel's own code."""
    found = hashlib.sha256()
    top = Path(__file__).resolve().parents[1]
    for path in sorted([*top.rglob("*.py"), *top.rglob("*.c")]):
        found.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def identity_of(job: Job) -> dict[str, Any]:
    """The table that identifies the render of `job`. An unfinished render is resumed only if its
    table is equal.

    It is `job` without its output, its threads, its key and the paths of its files, which must have
    their digests, and with Dreamreel's version and `code_digest`.
    """
    changes: dict[str, Any] = {"threads": None, "key": None, "masks": None}
    if job.masks is not None:  # their digests stand for the files
        digests = [Path(file.sha256 or "") for file in job.masks]
        changes["settings"] = with_mask_files(job.settings, digests)
    table = _without_paths(as_table(job.model_copy(update=changes)))
    del table["output"]
    table.get("piece", {}).pop("place", None)
    return {"dreamreel": version("dreamreel"), "code": code_digest(), **table}


def _without_paths(table: Any) -> Any:
    if isinstance(table, list):
        return [_without_paths(value) for value in table]
    if not isinstance(table, dict):
        return table
    if table.keys() == {"path", "sha256"}:
        return table["sha256"]
    return {name: _without_paths(value) for name, value in table.items()}


def _files_of(source: Path) -> list[Path]:
    series = find_series(source)
    return [source] if series is None else list(series.files)
