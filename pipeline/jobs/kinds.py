"""What a file is, by its content, and which command takes it: for who gave it to another."""

import os
from pathlib import Path

from dreamreel.pipeline.config.fields import Settings, Source
from dreamreel.pipeline.config.tables import read_toml
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.paths import is_record
from dreamreel.pipeline.media.clips import Clip, kind_of, probe
from dreamreel.pipeline.media.encoding import CONTAINERS
from dreamreel.pipeline.opening import check_readable, content_in, read_text

# Each kind of file, and what takes it.
TAKEN = {
    "film": "dreamreel video dreams it, or one frame of it with --still TIME",
    "picture": "dreamreel image dreams it, and dreamreel zoom begins with it",
    "sound": "dreamreel video and zoom take it as --audio",
    "folder": "dreamreel batch dreams each film and picture in it",
    "record": "dreamreel reproduce makes its file again",
    "batch file": "dreamreel batch renders its jobs",
    "preset": "--preset gives its look to a dream",
    "file of weights": "--weights takes it, with --network NAME",
}
FILMS = (*CONTAINERS, ".avi", ".ts", ".mpg", ".wmv", ".gif")  # endings of films in a folder
MOST_TEXT = 1 << 20  # bytes of a TOML file that are read: far above any


def kind_of_file(path: Path) -> str | None:
    """The kind of what is at `path`, one of `TAKEN`; None if it is none of them. Raises UserError
    if nothing is there, or if it cannot be read."""
    if os.path.isdir(path):
        return "folder"
    check_readable(path)
    content = content_in(path)
    if content is not None and content.kind == "weights":
        return "file of weights"
    if (kind := kind_of(path)) is not None:
        return kind
    return "record" if is_record(path) else _kind_of_toml(path)


def check_kind(path: Path, *wanted: str) -> str | None:
    """The kind of the file `path`, one of those `wanted`; None if it is not known.

    Raises UserError, which names the command that takes it, if it is of another known kind, and if
    it cannot be read.
    """
    kind = kind_of_file(path)
    if kind is not None and kind not in wanted:
        raise UserError(f"{path} is a {kind}, not a {wanted[0]}; {TAKEN[kind]}")
    return kind


def checked_clip(path: Path, settings: Source) -> Clip:
    """The clip at `path`; see `probe`. Raises UserError, which names the command that takes it, if
    it is something else."""
    try:
        return probe(path, settings)
    except UserError:
        if os.path.isdir(path) and any(one.suffix.lower() in FILMS for one in path.iterdir()):
            raise UserError(
                f"{path} holds films, and no series of pictures; dreamreel batch {path} dreams "
                "each of them"
            ) from None
        if os.path.isfile(path):
            check_kind(path, "film", "picture")
        raise


def _kind_of_toml(path: Path) -> str | None:
    try:
        table = read_toml(read_text(path, MOST_TEXT))
    except (UserError, ValueError):
        return None
    if isinstance(table.get("job"), list):
        return "batch file"
    return "preset" if table.keys() & {*Settings.model_fields, "inherits"} else None
