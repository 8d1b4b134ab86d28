"""Looks by name: TOML files of the settings tree, with inheritance."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError, expanded, nearest
from dreamreel.pipeline.settings import Settings, Table, build, flatten, path_settings, put

FOLDER = Path(__file__).resolve().parent.parent / "presets"
OWN_KEYS = ("description", "inherits")


@dataclass(frozen=True)
class Preset:
    """A preset as read: its own table after those it inherits, and its line of description."""

    name: str
    description: str
    tables: tuple[tuple[str, Table], ...]

    def settings(self) -> Settings:
        """The settings it makes alone."""
        return build(*self.tables)


def preset_names() -> list[str]:
    """The names of the presets that come with Dreamreel."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def is_file_name(name: str) -> bool:
    """Whether `--preset NAME` means a file rather than a preset of ours."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def load_preset(name: str) -> Preset:
    """The preset called `name`, or the one in the TOML file of that path.

    Raises UserError for an unknown name, an unreadable file or a setting that does not exist.
    """
    return _load(name, Path(), ())


def merge_presets(names: list[str]) -> list[tuple[str, Table]]:
    """The tables of all `names`: those of ours first, so that a file wins over them."""
    ordered = sorted(names, key=is_file_name)
    return [table for name in ordered for table in load_preset(name).tables]


def _load(name: str, folder: Path, above: tuple[Path, ...]) -> Preset:
    path = _find(name, folder)
    if path in above:
        raise UserError(f"{path} inherits itself, by way of {above[-1].name}")
    table = _read(path)
    source = f"preset {path.stem}" if path.parent == FOLDER else str(path)
    description, inherits = (table.pop(key, "") for key in OWN_KEYS)
    if not isinstance(description, str) or not isinstance(inherits, str):
        raise UserError(f"{source}: description and inherits are strings")
    resolved = _with_paths_from(path.parent, table, source)
    inherited = _load(inherits, path.parent, (*above, path)).tables if inherits else ()
    tables = (*inherited, (source, resolved))
    build(*tables)
    return Preset(path.stem, description, tables)


def _find(name: str, folder: Path) -> Path:
    if is_file_name(name):
        path = (folder / expanded(name)).resolve()
        if not path.is_file():
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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number too long to be one
        raise UserError(f"{path} is not TOML: {error}") from error


def _with_paths_from(folder: Path, table: Table, source: str) -> dict[str, Any]:
    """`table` with its paths, which are relative to the file, made relative to nothing."""
    resolved: dict[str, Any] = {}
    paths = path_settings()
    for name, value in flatten(table, source):
        if name in paths and isinstance(value, str):
            value = str((folder / expanded(value)).resolve())
        put(resolved, name, value)
    return resolved
