"""The commands on presets: list, show, write, check, compare, and the schema."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamreel.pipeline.app.help import WholeGroup
from dreamreel.pipeline.app.terminal import print_error, print_table
from dreamreel.pipeline.errors import UserError, nearest, usable, visible

if TYPE_CHECKING:  # imported late at run time: `dreamreel --help` is to be fast
    from dreamreel.pipeline.config.fields import Settings

SHOW = "show"  # the command that an unknown word stands for
COMMANDS = ("new", "check", "schema", "diff", SHOW)  # no preset may be called so
NAME = re.compile(r"\w[\w-]{0,39}")  # 40 characters of 4 bytes and `.toml` fit any file system


class PresetGroup(WholeGroup):
    """The commands on presets, among which a word that is none is the name of a preset to show."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begin with. Raises UserError for a word that is neither a command
        nor a preset."""
        if self.get_command(ctx, args[0]) is None:
            if not ctx.resilient_parsing:  # as it is while the shell completes a line
                _check_known(args[0])
            args = [SHOW, *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What the shell may complete `incomplete` to: commands, options and presets."""
        show: Any = self.get_command(ctx, SHOW)
        return [
            *super().shell_complete(ctx, incomplete),
            *show.params[0].shell_complete(ctx, incomplete),
        ]


def list_presets() -> None:
    """Print the name and description of each preset: the user's own, if any, then the bundled."""
    from dreamreel.pipeline.config.presets import FOLDER, names_in, own_folder

    bundled, folder = names_in(FOLDER), own_folder()
    own = names_in(folder)
    if own:
        hiding = "  (in place of the bundled one)"
        print(visible(f"your own, in {folder}:"))
        _print_presets(
            (name, str(folder / f"{name}.toml"), hiding if name in bundled else "") for name in own
        )
        print("\nbundled:")
    _print_presets((name, str(FOLDER / f"{name}.toml"), "") for name in bundled)
    if not own:
        print()
        print(visible(f"your own: none in {folder}; dreamreel presets new NAME makes one"))


def show(name: str) -> None:
    """Print the preset `name` in full: each setting with its value and meaning. Raises UserError if
    it cannot be loaded."""
    from dreamreel.pipeline.config.grammar import to_toml
    from dreamreel.pipeline.config.presets import load_preset

    _check_known(name)
    preset = load_preset(name)
    told = visible(" ".join(preset.description.split()))
    print(f"# {visible(preset.name)}: {told}\n{to_toml(preset.settings())}", end="")


def write_preset(
    name: str, base: str | None, sets: Sequence[str], description: str, overwrite: bool
) -> Path:
    """Write the user's own preset `name`: it inherits from `base` and sets the assignments `sets`,
    such as `dream.octaves=5`. Returns its path.

    Raises UserError if the name cannot be one, if anything in the preset is invalid, and, unless
    `overwrite`, if there is such a preset.
    """
    from dreamreel.pipeline.config.presets import own_folder, parse_preset
    from dreamreel.pipeline.durable import write_whole

    _check_name(name)
    inherits = "" if base is None else _base_of(name, base)
    text = _in_toml(description, inherits, _assigned(sets))
    folder = own_folder()
    path = folder / f"{name}.toml"
    parse_preset(text, path)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder; own presets are written to one")
    with usable(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(path, lambda file: file.write(text.encode()), replace=overwrite)
        except FileExistsError as error:
            raise UserError(f"{path} exists; --overwrite replaces it") from error
    return path


def check(files: Sequence[str]) -> bool:
    """Print, for each of the preset `files`, that it is valid and what it sets, or, on standard
    error, its first mistake. Returns whether all are valid."""
    from dreamreel.pipeline.config.grammar import flatten
    from dreamreel.pipeline.config.presets import is_file_name, load_preset

    valid = True
    for file in files:
        unusual = not is_file_name(file) and os.path.isfile(file)  # a path without an ending
        try:
            preset = load_preset(f"./{file}" if unusual else file)
        except UserError as error:
            valid = False
            print_error(str(error))
            continue
        print(visible(f"{file}: ok"))
        texts = _texts(preset.settings())
        for name, _ in flatten(preset.tables[-1][1], file):
            print(visible(f"  {name} = {texts[name]}"))
    return valid


def print_schema() -> None:
    """Print the JSON schema of preset files."""
    from dreamreel.pipeline.config.schema import preset_schema

    print(json.dumps(preset_schema(), indent=2, ensure_ascii=False))


def compare(one: str, other: str) -> None:
    """Print a table of the settings in which the presets `one` and `other` differ. Raises UserError
    if one of them cannot be loaded."""
    from dreamreel.pipeline.config.fields import all_fields, entry_at
    from dreamreel.pipeline.config.presets import load_preset

    left, right = (load_preset(name).settings() for name in (one, other))
    tables, texts = (left.model_dump(), right.model_dump()), (_texts(left), _texts(right))
    differ = [
        name for name in all_fields() if entry_at(tables[0], name) != entry_at(tables[1], name)
    ]
    if not differ:
        print("no difference")
        return
    rows = [(name, *(text.get(name, "none") for text in texts)) for name in differ]
    print_table([("setting", visible(one), visible(other)), *rows])


def _check_known(name: str) -> None:
    """Raise UserError if `name` is neither a path nor the name of a preset."""
    from dreamreel.pipeline.config.presets import (
        is_beside,
        is_file_name,
        preset_names,
        told_of_file,
    )

    names = preset_names()
    if not (is_file_name(name) or name in names or is_beside(name)):
        if (other := told_of_file(name)) is not None:
            raise UserError(other)
        known = [*names, *(command for command in COMMANDS if command != SHOW)]
        near = nearest(name, known) or "; `dreamreel presets` lists them, --help the commands"
        raise UserError(f"there is no preset or command {name!r}{near}")


def _print_presets(presets: Iterable[tuple[str, str, str]]) -> None:
    """Print a table of `presets`: (name, path, what to add to the description) each."""
    from dreamreel.pipeline.config.presets import load_preset

    rows = []
    for name, path, more in presets:
        try:
            told = " ".join(load_preset(path).description.split())
        except UserError as error:
            told = f"invalid: {error}"
        rows.append((visible(name), visible(f"{told}{more}".strip())))
    print_table(rows)


def _check_name(name: str) -> None:
    if name in COMMANDS:
        raise UserError(
            f"a preset cannot be called {name!r}, as `dreamreel presets {name}` is a command; try "
            f"'my-{name}'"
        )
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r:.60} is no name for a preset; give up to 40 letters, digits, - and _, such "
            "as my-eyes, without a folder or .toml"
        )


def _base_of(name: str, base: str) -> str:
    """What the preset `name` gives as `inherits`, to inherit from `base`, a name or a path."""
    from dreamreel.pipeline.config.presets import (
        FOLDER,
        is_beside,
        is_file_name,
        load_preset,
        names_in,
        preset_names,
        told_of_file,
    )

    known = names_in(FOLDER) if base == name else preset_names()
    if is_file_name(base) or (base not in known and is_beside(base)):
        return str(load_preset(base).files[-1])
    if base not in known:
        if (other := told_of_file(base)) is not None:
            raise UserError(f"--from: {other}")
        kind = "bundled preset" if base == name else "preset"
        raise UserError(f"--from {base!r}: there is no {kind} of this name{nearest(base, known)}")
    return base


def _assigned(sets: Sequence[str]) -> dict[str, str]:
    """The settings that the assignments `sets` give, the later ones winning: their names, in the
    order of all settings, with their values in TOML. Paths become absolute."""
    from dreamreel.pipeline.config.fields import all_fields
    from dreamreel.pipeline.config.grammar import build, flatten, parse_assignment
    from dreamreel.pipeline.config.presets import with_paths_from

    tables = [("--set", with_paths_from(Path(), parse_assignment(one), "--set")) for one in sets]
    texts = _texts(build(*tables))
    given = {name for source, table in tables for name, _ in flatten(table, source)}
    return {name: texts[name] for name in all_fields() if name in given}


def _in_toml(description: str, inherits: str, values: dict[str, str]) -> str:
    """The TOML file of a preset. Raises UserError for text that cannot stand in one."""
    from dreamreel.pipeline.config.fields import all_fields

    for option, text in (("--description", description), ("--from", inherits)):
        if not text.isprintable():
            raise UserError(f"{option} {text!r:.60} holds a character that cannot be printed")
    # A JSON string of printable characters is a TOML string.
    lines = [f"description = {json.dumps(description, ensure_ascii=False)}"]
    lines += [f"inherits = {json.dumps(inherits, ensure_ascii=False)}"] if inherits else []
    section = ""
    for name, text in values.items():
        head, _, key = name.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        lines.append(f"{key} = {text}  # {all_fields()[name].description}")
    whole = "\n".join(lines) + "\n"
    try:
        whole.encode()
    except UnicodeEncodeError as error:
        raise UserError("--set holds text that is not UTF-8") from error
    return whole


def _texts(settings: "Settings") -> dict[str, str]:
    """The value of each of the `settings` that has one, in TOML, by its dotted name."""
    from dreamreel.pipeline.config.grammar import to_toml

    texts: dict[str, str] = {}
    section = ""
    for line in to_toml(settings, comments=False).split("\n"):
        key, equals, text = line.partition(" = ")
        if equals:
            texts[section + key] = text
        elif line:
            section = line.strip("[]") + "."
    return texts
