"""What tells one file, one version and one render from another."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile, as_table
from dreamreel.pipeline.media.sequences import find_series
from dreamreel.pipeline.opening import regular_file

LIBRARIES = ("torch", "torchvision", "opencv-python", "av", "imageio-ffmpeg", "scenedetect")


def named(path: Path) -> NamedFile:
    """The file at `path`, with its digest."""
    return NamedFile(path=path.absolute(), sha256=digest(path))


def named_again(file: NamedFile | None) -> NamedFile | None:
    """`file`, if there is one, with its digest as it is now."""
    return None if file is None else named(file.path)


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


def found_again(file: NamedFile | None, record: Path) -> Path | None:
    """The path of a `file` that `record` names, if it names one: where it was, or beside the
    record. Raises UserError where it is gone, or its content is another."""
    if file is None:
        return None
    for place in (file.path, record.parent / file.path.name):
        if place.is_file() and digest(place) == file.sha256:
            return place
    raise UserError(f"{file.path}, which {record} was made with, is gone or another one")


def stamp(source: Path) -> list[tuple[int, int]]:
    """The sizes of the files of `source`, and when each was written: others, once it changed."""
    try:
        stats = [path.stat() for path in _files_of(source)]
    except OSError as error:
        raise UserError(f"{source} is gone ({error.strerror})") from error
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


def versions() -> dict[str, str]:
    """The versions of everything here that may change a result, and a digest of our own code."""
    return {name: version(name) for name in ("dreamreel", *LIBRARIES)} | {"code": code_digest()}


@cache
def code_digest() -> str:
    """The beginning of the SHA-256 of Dreamreel's own code."""
    found = hashlib.sha256()
    top = Path(__file__).resolve().parents[1]
    for path in sorted(top.rglob("*.py")):
        found.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def identity_of(job: Job) -> dict[str, Any]:
    """What tells the render of `job`, whose files are named with their digests, from others: not
    where its files lie, nor with how many threads it began."""
    table = _without_paths(as_table(job.model_copy(update={"threads": None})))
    del table["output"]
    return {"dreamreel": version("dreamreel"), "code": code_digest(), **table}


def _without_paths(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    if table.keys() == {"path", "sha256"}:
        return table["sha256"]
    return {name: _without_paths(value) for name, value in table.items()}


def _files_of(source: Path) -> list[Path]:
    series = find_series(source)
    return [source] if series is None else list(series.files)
