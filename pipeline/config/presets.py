"""Presets by name: TOML files of settings, which may inherit from each other. A record serves as
one too.

A name is looked up in folders, in this order: one that the caller gives, such as that of a batch;
the user's own; the bundled one. Last, so that a file there takes no name away, comes the working
folder or, of a preset that is inherited, the folder of the file that inherits. A preset looks for
the one that it inherits from its own folder on, and for one of its own name in the folders after
that. So a user's `eyes` may inherit the bundled `eyes`, and no bundled preset depends on a user's.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from dreamreel.pipeline.config.fields import (
    Settings,
    Table,
    all_fields,
    entry_at,
    path_settings,
    put,
    setting_of,
)
from dreamreel.pipeline.config.grammar import build, flatten
from dreamreel.pipeline.config.tables import fault, read_toml, shown
from dreamreel.pipeline.config.terms import parse_sum, with_file
from dreamreel.pipeline.config.values import is_network_file
from dreamreel.pipeline.errors import UserError, expanded, missing, nearest, usable
from dreamreel.pipeline.opening import misnamed, read_text

FOLDER = Path(__file__).resolve().parents[2] / "presets"
OWN_FOLDER = "DREAMREEL_PRESETS"  # the environment variable that names the user's own folder
TERMS = "dream.terms"  # the setting whose guides are paths
OWN_KEYS = ("description", "inherits")
RECORD = ".json"  # the ending of a record, whose settings are taken
# What a record tells of how its film was read, computed and written, which is no part of a look.
NOT_OF_LOOK = ("source", "device", "output")
LARGEST = 1 << 24  # bytes of a preset: a schedule made from music may have a key for each frame
DEEPEST = 50  # presets that inherit one from the other: far more than a person would keep track of
# The pieces of a TOML file that matter for where a statement ends: strings, comments, brackets.
PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'|"
    r"""#[^\n]*|[\[{\]}\n]|[^"'#\[{\]}\n]+""",
    re.DOTALL,
)


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


def own_folder() -> Path:
    """The folder of the user's own presets, which need not exist: the one that DREAMREEL_PRESETS
    names, or else `presets` in this program's folder of configuration. Raises UserError if it is
    in a home folder that does not exist."""
    named = os.environ.get(OWN_FOLDER)
    if named:
        return expanded(named).absolute()
    return user_config_path("dreamreel", appauthor=False) / "presets"


def names_in(folder: Path) -> list[str]:
    """The names of the presets in `folder`, sorted; none if there is no such folder."""
    return sorted(path.stem for path in folder.glob("*.toml") if not path.name.startswith("."))


def preset_names(beside: Path | None = None) -> list[str]:
    """The names of all presets, sorted: those in the folders `beside` and `beside/presets`, the
    user's own, and the bundled ones."""
    return _names(_folders(beside))


def preset_files(names: list[str], beside: Path | None = None) -> tuple[Path, ...]:
    """The files that the presets `names` are read from, inherited ones included; see
    `load_preset`."""
    return tuple(path for name in names for path in load_preset(name, beside).files)


def is_file_name(name: str) -> bool:
    """Whether `--preset NAME` means a file by its path, rather than a preset by its name."""
    return name.endswith((".toml", RECORD)) or "/" in name or "\\" in name


def is_beside(name: str, folder: Path = Path()) -> bool:
    """Whether a preset called `name`, rather than by its path, lies in `folder`, by default the
    working folder."""
    named = name != "" and not name.startswith(".") and not is_file_name(name)
    return named and os.path.isfile(folder / f"{name}.toml")


def told_of_file(name: str, folder: Path = Path()) -> str | None:
    """A line about the file called `name` in `folder`, which is no preset by that name: what it
    is, or how to give it, or its record, as one. None if there is neither."""
    path = folder / name
    if os.path.isfile(folder / f"{name}{RECORD}"):
        return f"{name} is no preset, but its record is one: {name}{RECORD}"
    if not os.path.isfile(path):
        return None
    other = misnamed(path, "a preset", ("text", "playlist"))
    if other is None:
        return f"{name} is a file, and no preset is called so; its path, ./{name}, gives the file"
    return f"{name}{other.removeprefix(str(path))}"


def notices(names: Sequence[str], beside: Path | None = None) -> list[str]:
    """What to tell of the presets `names`: a line for each that was found by its name in the
    working folder, since it may lie there by chance."""
    known = preset_names(beside)
    return [
        f"preset {shown(name)} is {name}.toml in this folder"
        for name in names
        if name not in known and is_beside(name)
    ]


def load_preset(name: str, beside: Path | None = None) -> Preset:
    """The preset in the TOML file at the path `name`, or the settings of the record there, or else
    the preset called `name`: the first found in the folders `beside` and `beside/presets`, the
    user's own, the bundled one, and the working folder.

    Raises UserError, with the file and the line, for an unknown name, an unreadable file, an
    unknown setting, a value out of bounds, or a preset that inherits itself.
    """
    base = Path() if beside is None or is_file_name(name) else beside
    return _load(_find(name, base, _folders(beside)), ())


def parse_preset(text: str, path: Path) -> Preset:
    """The preset that the file `path`, which need not exist, would be with the content `text`.
    Raises UserError as `load_preset` does."""
    return _parse(text, _placed(path.stem, path, _folders(None)), ())


def merge_presets(names: list[str], beside: Path | None = None) -> list[tuple[str, Table]]:
    """The (source, table) pairs of all `names`, see `load_preset`: presets by name first, so that
    files given by path win over them."""
    ordered = sorted(names, key=is_file_name)
    return [table for name in ordered for table in load_preset(name, beside).tables]


def with_paths_from(folder: Path, table: Table, source: str) -> dict[str, Any]:
    """`table`, which comes from `source`, with its paths, which are relative to `folder`, made
    absolute. Raises UserError for a name that is no setting."""
    resolved: dict[str, Any] = {}
    paths = path_settings()
    for name, value in flatten(table, source):
        if (name in paths and isinstance(value, str)) or (
            name == "network" and isinstance(value, str) and is_network_file(value)
        ):
            value = os.path.realpath(folder / _name_of_file(value))
        elif name == TERMS:
            value = _with_guides_from(folder, value)
        elif name == "region" and isinstance(value, list):
            value = [_region_from(folder, one) for one in value]
        put(resolved, name, value)
    return resolved


def _with_guides_from(folder: Path, terms: Any) -> Any:
    """The sum `terms`, in any of its forms, with the paths of its guides relative to `folder` made
    absolute. One that is malformed stays, and is refused later."""

    def resolved(path: Path) -> Path:
        return Path(os.path.realpath(folder / expanded(path)))

    with suppress(ValueError):
        table = parse_sum(terms)
        if isinstance(table, Mapping):
            return {with_file(text, resolved): weight for text, weight in table.items()}
    return terms


def _region_from(folder: Path, region: Any) -> Any:
    """The table of a `region` with the paths of its guides and its mask made absolute."""
    if isinstance(region, Mapping) and "terms" in region:
        region = {**region, "terms": _with_guides_from(folder, region["terms"])}
    mask = region.get("mask") if isinstance(region, Mapping) else None
    if not isinstance(mask, Mapping):
        return region
    paths = {
        name: os.path.realpath(folder / _name_of_file(value))
        for name, value in mask.items()
        if name in ("file", "weights") and isinstance(value, str)
    }
    return {**region, "mask": {**mask, **paths}}


@dataclass(frozen=True)
class _Found:
    """The file of a preset: its `path`, the preset's `name`, and the folders in which the one that
    it inherits is looked up: `same` if that has its own name, `others` if not."""

    path: Path
    name: str
    same: tuple[Path, ...]
    others: tuple[Path, ...]

    @property
    def source(self) -> str:
        """What messages call it."""
        return f"preset {self.name}" if self.path.parent == FOLDER else str(self.path)


def _folders(beside: Path | None) -> tuple[Path, ...]:
    """The folders in which a name is looked up, in order."""
    beside_it = () if beside is None else (beside, beside / "presets")
    found = (Path(os.path.realpath(folder)) for folder in (*beside_it, own_folder(), FOLDER))
    return tuple(dict.fromkeys(found))


def _names(folders: tuple[Path, ...]) -> list[str]:
    return sorted({name for folder in folders for name in names_in(folder)})


def _find(name: str, base: Path, folders: tuple[Path, ...]) -> _Found:
    """The preset called `name` in `folders`, or the file of that name, relative to `base`."""
    if is_file_name(name):
        path = base / _name_of_file(name)
        with usable(path):
            path = Path(os.path.realpath(path))
            if not os.path.lexists(path):
                raise missing(path, "preset file")
        return _placed(path.stem, path, folders)
    for folder in folders:
        if name in names_in(folder):
            return _placed(name, folder / f"{name}.toml", folders)
    if is_beside(name, base):
        return _placed(name, base / f"{name}.toml", folders)
    if (other := told_of_file(name, base)) is not None:
        raise UserError(other)
    known = _names(folders)
    raise UserError(
        f"unknown preset {shown(name)}{nearest(name, known) or '; there are ' + ', '.join(known)}"
    )


def _placed(name: str, path: Path, folders: tuple[Path, ...]) -> _Found:
    """The preset `name` in the file `path`, with the part of `folders` that it can see."""
    folder, path = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    if folder not in folders:
        return _Found(path, name, folders, folders)
    place = folders.index(folder)
    return _Found(path, name, folders[place + 1 :], folders[place:])


def _name_of_file(name: str) -> Path:
    if "\0" in name:
        raise UserError(f"{shown(name)} is no name of a file: it holds a NUL character")
    return expanded(name)


def _load(found: _Found, above: tuple[Path, ...]) -> Preset:
    try:
        text = read_text(found.path, LARGEST)
    except ValueError as error:
        record = found.path.with_name(found.path.name + RECORD)
        more = f"; its record is one: --preset {record}" if record.is_file() else ""
        raise not_toml(found.path, "a preset", f"{error}{more}") from error
    if found.path.suffix == RECORD:
        return _of_record(text, found)
    return _parse(text, found, above)


def _of_record(text: str, found: _Found) -> Preset:
    """The preset of the settings in the record with the content `text`."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{found.path} is no record that can be read ({error})") from error
    settings = entry_at(record, "job.settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict):
        raise UserError(f"{found.path} is no record of a render, whose settings could be taken")
    if (reason := fault(settings)) is not None:
        raise UserError(f"{found.path} cannot be read: {reason}")
    look = {name: value for name, value in settings.items() if name not in NOT_OF_LOOK}
    return Preset(found.name, "", ((found.source, _checked(found, look)),), (found.path,))


def _parse(text: str, found: _Found, above: tuple[Path, ...]) -> Preset:
    """The preset with the content `text`; `above` are the files that inherit it."""
    table = _read(text, found.path)
    own = {key: table.pop(key, "") for key in OWN_KEYS}
    for key, value in own.items():
        if not isinstance(value, str):
            where = _where(found.source, text, (key,))
            raise UserError(f"{where}: description and inherits must be strings")
    parent = _parent(own["inherits"], text, found, above) if own["inherits"] else None
    inherited = parent.tables if parent else ()
    try:
        resolved = _checked(found, table)
    except UserError as error:
        raise _with_line(error, text, found, table) from error
    tables = (*inherited, (found.source, resolved))
    files = (*(parent.files if parent else ()), found.path)
    return Preset(found.name, own["description"], tables, files)


def _read(text: str, path: Path) -> dict[str, Any]:
    try:
        return read_toml(text)
    except ValueError as error:  # not TOML, or a number too long to read
        last = f"at line {text.count(chr(10)) + (not text.endswith(chr(10)))}, the last"
        told = str(error).replace("at end of document", last)
        raise not_toml(path, "a preset", told) from error


def not_toml(path: Path, wanted: str, why: object) -> UserError:
    """The error that the file `path` is not what was `wanted`, such as "a preset": what it is
    instead, if that can be told, or `why` it is no TOML."""
    other = misnamed(path, wanted, ("text", "playlist")) if os.path.isfile(path) else None
    return UserError(other or f"{path} is not TOML: {why}")


def _parent(name: str, text: str, found: _Found, above: tuple[Path, ...]) -> Preset:
    """The preset `name`, which the preset `found` with the content `text` inherits."""
    where = _where(found.source, text, ("inherits",))
    own = name == found.name
    if own and name not in _names(found.same):
        raise UserError(
            f"{where}: {name!r} is the preset's own name, and there is no other of that name that "
            f"it could inherit{nearest(name, set(_names(found.others)) - {name})}"
        )
    try:
        parent = _find(name, found.path.parent, found.same if own else found.others)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    line = (*above, found.path)
    if parent.path in line:
        between = ", ".join(path.name for path in line[line.index(parent.path) + 1 :])
        through = f", through {between}" if between else ""
        raise UserError(f"{where}: {parent.path.name} inherits itself{through}")
    if len(line) >= DEEPEST:
        raise UserError(f"{where}: more than {DEEPEST} presets inherit one from the other")
    return _load(parent, line)


def _checked(found: _Found, table: Table) -> dict[str, Any]:
    """The settings in `table` with paths made absolute. Raises UserError if one is invalid."""
    resolved = with_paths_from(found.path.parent, table, found.source)
    build((found.source, resolved))
    return resolved


def _with_line(error: UserError, text: str, found: _Found, table: Table) -> UserError:
    """`error`, which `table` caused, with the line of `text` in which its key stands."""

    def fails(part: Table, above: tuple[str, ...]) -> bool:
        """Whether `part`, at the keys `above`, causes the same error alone."""
        for key in reversed(above):
            part = {key: part}
        try:
            _checked(found, part)
        except UserError as other:
            return str(other) == str(error)
        return False

    def cause(inner: Table, above: tuple[str, ...]) -> tuple[str, ...]:
        """The keys that lead to the smallest part of `inner` that causes the same error alone."""
        keys = list(inner)
        while len(keys) > 1:
            half = keys[: len(keys) // 2]
            fail = fails({key: inner[key] for key in half}, above)
            keys = half if fail else keys[len(half) :]
        if not keys or not fails({keys[0]: inner[keys[0]]}, above):
            return above
        path, value = (*above, keys[0]), inner[keys[0]]
        inside = isinstance(value, Mapping) and _is_known(".".join(path))
        return cause(value, path) if inside else path

    where = _where(found.source, text, cause(table, ()))
    return UserError(f"{where}: {str(error).removeprefix(found.source + ': ')}")


def _is_known(name: str) -> bool:
    """Whether the dotted `name` is a section, a setting, or a part of one."""
    known = all_fields()
    return setting_of(name) in known or any(full.startswith(f"{name}.") for full in known)


def _where(source: str, text: str, path: tuple[str, ...]) -> str:
    """`source` with the line of its `text` in which the keys `path` stand, if there is one."""
    section: list[str] = []
    for line, statement in statements(text):
        inner = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            section = _keys(inner)
            if path and tuple(section[: len(path)]) == path:
                return f"{source}, line {line}"
        elif inner and _leads_to(inner, path, section):
            return f"{source}, line {line}"
    return source


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of the valid TOML in `text`, each with the number of its first line."""
    depth, begins, line = 0, 0, 1
    for piece in PIECE.finditer(text):
        depth += (piece[0] in ("[", "{")) - (piece[0] in ("]", "}"))
        if piece[0] == "\n" and depth == 0:
            yield line, text[begins : piece.end()]
            line += text.count("\n", begins, piece.end())
            begins = piece.end()
    yield line, text[begins:]


def _keys(header: Any) -> list[str]:
    """The keys of a table's header, such as [a.b], as it reads alone: {"a": {"b": {}}}."""
    keys: list[str] = []
    while isinstance(header, dict) and header:
        key, header = next(iter(header.items()))
        keys.append(key)
    return keys


def _leads_to(table: dict[str, Any], path: tuple[str, ...], section: list[str]) -> bool:
    """Whether the keys `path` lead to something in `table`, which stands in `section`."""
    if not path or list(path[: len(section)]) != section[: len(path)]:
        return False
    value: Any = table
    for key in path[len(section) :]:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
