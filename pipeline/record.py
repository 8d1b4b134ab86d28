"""Records: what a file was made of, and how, so that it can be made again."""

import hashlib
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.opening import read_text
from dreamreel.pipeline.paths import JOB_BYTES, RECORD_FORMAT, is_series
from dreamreel.pipeline.settings import Settings, build

LIBRARIES = ("torch", "torchvision", "opencv-python", "av", "imageio-ffmpeg", "scenedetect")


@dataclass(frozen=True)
class Record:
    """What can be read of a record: the `kind` of render, "video" or "zoom", its `source` and
    that file's SHA-256, where it has one, its settings, its `threads`, the job's own numbers in
    `job`, and the `versions` of what made it."""

    kind: str
    source: Path | None
    digest: str | None
    settings: Settings
    threads: dict[str, int]
    job: dict[str, Any]
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Those of everything here that may change what comes out, and a digest of our own code, which
    changes from one version to the next as well."""
    return {name: version(name) for name in ("dreamreel", *LIBRARIES)} | {"code": code_digest()}


@cache
def code_digest() -> str:
    """The beginning of the SHA-256 of Dreamreel's own code."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def write_record(path: Path, told: dict[str, Any]) -> None:
    """Write what is `told` of a render to `path`, whole or not at all."""
    text = json.dumps({"record": RECORD_FORMAT, **told}, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def read_record(path: Path) -> Record:
    """The record at `path`. Raises UserError where it is none, or its settings no longer are."""
    told = _read(path)
    try:
        source = told["source"]
        return Record(
            kind=str(told["kind"]),
            source=None if source is None else Path(source["path"]),
            digest=None if source is None else str(source["sha256"]),
            settings=build((str(path), told["settings"])),
            threads={name: int(count) for name, count in told["threads"].items()},
            job=dict(told["job"]),
            versions=dict(told["versions"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is a record with something missing ({error})") from error


def result_path(path: Path) -> Path:
    """What the record at `path`, beside it, is of: a file, or such as frames/%05d.png. Raises
    UserError where it names anything that does not stand beside it."""
    output = _read(path).get("output", path.stem)
    names = str(output).split("/")
    plain = isinstance(output, str) and all(_is_plain_name(name) for name in names)
    if not plain or len(names) != (2 if is_series(Path(names[-1])) else 1):
        raise UserError(
            f"{path} names {output!r:.80} as its output, and only a plain name would be a file "
            "beside it; give one with -o"
        )
    return path.parent / str(output)


def _is_plain_name(name: str) -> bool:
    """Whether `name` is that of a file in the folder at hand."""
    others = {"\0", "/"} | ({"\\", ":"} if os.name == "nt" else set())
    return name not in ("", ".", "..") and not set(name) & others


def span_of(job: dict[str, Any]) -> tuple[int, int | None]:
    """The span of frames that a video's `job` names."""
    start, stop = job["frames"]
    return int(start), None if stop is None else int(stop)


def zoom_of(job: dict[str, Any]) -> tuple[int, Fraction, tuple[int, int]]:
    """The frames, the rate and the canvas (height, width) that a zoom's `job` names. Raises
    UserError where it does not."""
    try:
        height, width = job["size"]
        return int(job["count"]), Fraction(job["rate"]), (int(height), int(width))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"the record of a zoom has something missing ({error})") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(read_text(path, JOB_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no record that can be read ({error})") from error
    if not isinstance(told, dict) or told.get("record") != RECORD_FORMAT:
        raise UserError(f"{path} is no record of a render")
    return told
