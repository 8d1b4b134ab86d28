"""Presets by name: TOML files of settings, which may inherit from each other."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Settings, Table, path_settings, put
from dreamreel.pipeline.config.grammar import build, flatten
from dreamreel.pipeline.errors import UserError, expanded, nearest, usable
from dreamreel.pipeline.opening import read_text

FOLDER = Path(__file__).resolve().parents[2] / "presets"
OWN_KEYS = ("description", "inherits")
LARGEST = 1 << 24  # bytes of a preset: a schedule made from music may have a key for each frame


@dataclass(frozen=True)
class Preset:
    """A preset as read: its `name` and `description`; its `tables`, (source, table) each, the ones
    it inherits first; the `files` they were read from."""

    name: str
    description: str
    tables: tuple[tuple[str, Table], ...]
    files: tuple[Path, ...]

    def settings(self) -> Settings:
        """The settings from this preset alone."""
        return build(*self.tables)


def preset_names() -> list[str]:
    """The names of the bundled presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset_files(names: list[str]) -> tuple[Path, ...]:
    """The files that the presets `names` are read from, inherited ones included."""
    return tuple(path for name in names for path in load_preset(name).files)


def is_file_name(name: str) -> bool:
    """Whether `--preset NAME` means a file rather than a bundled preset."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def load_preset(name: str) -> Preset:
    """The bundled preset called `name`, or the preset in the TOML file at that path.

    Raises UserError for an unknown name, an unreadable file, an unknown setting or a value out of
    bounds.
    """
    return _load(name, Path(), ())


def merge_presets(names: list[str]) -> list[tuple[str, Table]]:
    """The (source, table) pairs of all `names`: bundled presets first, so that files win over
    them."""
    ordered = sorted(names, key=is_file_name)
    return [table for name in ordered for table in load_preset(name).tables]


def _load(name: str, folder: Path, above: tuple[Path, ...]) -> Preset:
    path = _find(name, folder)
    if path in above:
        raise UserError(f"{path} inherits itself, through {above[-1].name}")
    table = _read(path)
    source = f"preset {path.stem}" if path.parent == FOLDER else str(path)
    description, inherits = (table.pop(key, "") for key in OWN_KEYS)
    if not isinstance(description, str) or not isinstance(inherits, str):
        raise UserError(f"{source}: description and inherits must be strings")
    resolved = _with_paths_from(path.parent, table, source)
    parent = _load(inherits, path.parent, (*above, path)) if inherits else None
    tables = (*(parent.tables if parent else ()), (source, resolved))
    build(*tables)
    return Preset(path.stem, description, tables, (*(parent.files if parent else ()), path))


def _find(name: str, folder: Path) -> Path:
    if is_file_name(name):
        path = folder / expanded(name)
        with usable(path):
            path = path.resolve()
            if not os.path.lexists(path):
                raise UserError(f"there is no preset file {path}")
        return path
    if name not in preset_names():
        known = preset_names()
        raise UserError(
            f"unknown preset {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}"
        )
    return FOLDER / f"{name}.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, LARGEST))
    except ValueError as error:  # not TOML, not UTF-8, or a number too long to read
        raise UserError(f"{path} is not TOML: {error}") from error


def _with_paths_from(folder: Path, table: Table, source: str) -> dict[str, Any]:
    """`table` with its paths, which are relative to `folder`, made absolute."""
    resolved: dict[str, Any] = {}
    paths = path_settings()
    for name, value in flatten(table, source):
        if name in paths and isinstance(value, str):
            value = str((folder / expanded(value)).resolve())
        put(resolved, name, value)
    return resolved
