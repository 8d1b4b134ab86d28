"""Options that several commands share: flags that stand for settings, in groups.

Such a flag takes its help from the description of its setting, and its value in the grammar of
settings. A command names the groups that it takes in the decorator `takes`, and receives the
values as one `Given`.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamreel.pipeline.app.completion import (
    complete_network,
    complete_preset,
    complete_setting,
)
from dreamreel.pipeline.errors import UserError

if TYPE_CHECKING:  # imported late at run time: `dreamreel --help` is to be fast
    from dreamreel.pipeline.config.fields import Settings

IN, LOOK, OUT, MACHINE = "Input", "Look", "Output", "Machine"
PANELS = (IN, LOOK, OUT, MACHINE)  # the sections of help, in order
TERMS = "dream.terms"
OF_SETTING = "@"  # `@NAME` as help text stands for the description of the setting NAME


@dataclass(frozen=True)
class Flag:
    """A command-line flag that sets `setting`. A switch, which takes no value, sets `value`."""

    name: str
    setting: str
    panel: str
    metavar: str = ""
    value: bool | None = None
    help: str | None = None  # None: the description of the setting
    complete: Callable[[str], list[str]] | None = None
    kind: str = ""  # of the one term of `dream.terms` that the value names


READING = (
    Flag("--fps", "source.fps", IN, "R"),
    Flag("--stream", "source.stream", IN, "N"),
    Flag("--strict", "source.strict", IN, value=True, help="Refuse a damaged source."),
)
CROP = (
    Flag("--crop", "source.crop", OUT, "W:H"),
    Flag("--size", "source.crop", OUT, "WxH", help="Crop to the shape of this size, in pixels."),
    Flag("--crop-at", "source.crop_at", OUT, "PLACE"),
)
SEED = (Flag("--seed", "seed", LOOK, "S"),)
DREAM = (
    Flag("--layers", TERMS, LOOK, "L", help="Layers, or other terms, that are climbed."),
    Flag("--guide", TERMS, LOOK, "FILE", help="A picture or film that guides.", kind="guide"),
    Flag("--class", TERMS, LOOK, "NAME", help="A class, such as starfish.", kind="class"),
    Flag("--mask", "mask.file", LOOK, "FILE"),
    Flag("--strength", "dream.strength", LOOK, "X"),
    Flag("--octaves", "dream.octaves", LOOK, "N"),
    Flag("--steps", "dream.steps", LOOK, "N"),
    *SEED,
)
IMAGINE = (
    Flag("--steps", "imagine.steps", LOOK, "N"),
    Flag("--decay", "imagine.decay", LOOK, "X"),
    Flag("--blur", "imagine.blur", LOOK, "PX"),
    Flag("--clip", "imagine.clip", LOOK, "X"),
    Flag("--size", "source.crop", OUT, "WxH", help="The size of each picture, in pixels."),
    Flag("--seed", "seed", LOOK, "S"),
    Flag("--weights", "weights", LOOK, "FILE"),
)
# Those of a dream that has no end: masks are of certain frames.
LIVE = tuple(flag for flag in DREAM if flag.setting != "mask.file")
# Those of how a dream is climbed, but for its terms.
CLIMB = tuple(flag for flag in DREAM if flag.setting != TERMS)
NETWORK = (
    Flag("--network", "network", LOOK, "NAME", complete=complete_network),
    Flag("--weights", "weights", LOOK, "FILE"),
)
WIDTH = (Flag("--width", "width", OUT, "W"),)
ENCODING = (
    Flag("--codec", "output.codec", OUT, "C"),
    Flag("--crf", "output.crf", OUT, "Q"),
    Flag("--encoder", "output.encoder", OUT, "E"),
    Flag("--pixel-format", "output.pixel_format", OUT, "F"),
)
FILM = (
    Flag("--no-audio", "output.audio", OUT, value=False, help="Leave the sound out."),
    Flag(
        "--side-by-side",
        "output.side_by_side",
        OUT,
        value=True,
        help="Show the source beside its dream.",
    ),
)
HARDWARE = (
    Flag("--device", "device", MACHINE, "D"),
    Flag("--precision", "precision", MACHINE, "P"),
)

_PRESET = typer.Option(
    "--preset",
    metavar="P",
    help="A preset by name, or a TOML file or record. Repeatable.",
    rich_help_panel=LOOK,
    autocompletion=complete_preset,
)
_SET = typer.Option(
    "--set",
    metavar="NAME=VALUE",
    rich_help_panel=LOOK,
    autocompletion=complete_setting,
    help="Any setting; the value is TOML or a schedule. Repeatable.",
)
_OUTPUT = typer.Option(
    "-o", "--output", metavar="OUT", help="The file to write.", rich_help_panel=OUT
)
_OVERWRITE = typer.Option(
    "--overwrite", help="Replace the output if it exists.", rich_help_panel=OUT
)
_RESTART = typer.Option(
    "--restart", help="Discard the frames of a stopped render, and begin anew.", rich_help_panel=OUT
)
_QUIET = typer.Option(
    "--quiet", help="Print nothing but the output's path.", rich_help_panel=MACHINE
)
# The shared options that stand for no setting: name, type and default.
COMMON: dict[str, tuple[Any, Any]] = {
    "preset": (Annotated[list[str] | None, _PRESET], None),
    "set": (Annotated[list[str] | None, _SET], None),
    "output": (Annotated[Path | None, _OUTPUT], None),
    "overwrite": (Annotated[bool, _OVERWRITE], False),
    "restart": (Annotated[bool, _RESTART], False),
    "quiet": (Annotated[bool, _QUIET], False),
}


@dataclass(frozen=True)
class Given:
    """The values of the shared options. `flags` holds, by name, only those that were given."""

    flags: Mapping[str, tuple[Flag, Any]]
    preset: Sequence[str] = ()
    set: Sequence[str] = ()
    output: Path | None = None
    overwrite: bool = False
    restart: bool = False
    quiet: bool = False
    tables: Sequence[tuple[str, Mapping[str, Any]]] = ()  # (source, table), which win over `set`
    beside: Path | None = None  # a folder in which presets are looked up first

    def settings(self, *base: tuple[str, Mapping[str, Any]]) -> "Settings":
        """The settings merged from `base`, bundled presets, preset files, --set and flags, in this
        order; the later wins. Raises UserError if one of them cannot be understood."""
        from dreamreel.pipeline.config.grammar import build, parse_assignment
        from dreamreel.pipeline.config.presets import merge_presets

        sets = [("--set", parse_assignment(text)) for text in self.set]
        flags = [(name, table_of(flag, value)) for name, (flag, value) in self.flags.items()]
        presets = merge_presets(list(self.preset), self.beside)
        return build(*base, *presets, *sets, *self.tables, *flags)

    def has_set(self, setting: str) -> bool:
        """Whether the user gave `setting` a value by a flag, --set or a preset of their own."""
        return setting in self.own_names()

    def own_names(self) -> list[str]:
        """The settings to which the user gave a value by a flag, --set or a preset of their own."""
        from dreamreel.pipeline.config.grammar import flatten, parse_assignment
        from dreamreel.pipeline.config.presets import FOLDER, merge_presets, names_in

        bundled = {f"preset {name}" for name in names_in(FOLDER)}  # as tables name their sources
        tables = [*merge_presets(list(self.preset), self.beside), *self.tables]
        tables += [("--set", parse_assignment(text)) for text in self.set]
        own = [(source, table) for source, table in tables if source not in bundled]
        names = [name for source, table in own for name, _ in flatten(table, source)]
        return [*names, *(flag.setting for flag, _ in self.flags.values())]

    def looks(self) -> list[tuple[str, str]]:
        """The name and the description of each preset that was given."""
        from dreamreel.pipeline.config.presets import load_preset

        return [(name, load_preset(name, self.beside).description) for name in self.preset]

    def notices(self) -> list[str]:
        """What to tell of the presets that were read."""
        from dreamreel.pipeline.config.presets import notices

        return notices(self.preset, self.beside)

    def reads(self) -> tuple[Path, ...]:
        """The preset files that were read."""
        from dreamreel.pipeline.config.presets import preset_files

        return preset_files(list(self.preset), self.beside)


def takes(*flags: Iterable[Flag], common: Sequence[str]) -> Callable[..., Any]:
    """A decorator that adds options to a command: the groups `flags`, and those of `COMMON` that
    `common` names. The command receives their values as its argument `given`, a `Given`."""
    table = {flag.name: flag for group in flags for flag in group}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != "given"
        ]
        ours = [_parameter(_key(name), *COMMON[name]) for name in common]
        ours += [_parameter(_key(flag.name), *_annotated(flag)) for flag in table.values()]

        @functools.wraps(command)
        def called(*args: Any, **values: Any) -> None:
            found = {name: values.pop(_key(name)) for name in common}
            given = {name: (flag, values.pop(_key(name))) for name, flag in table.items()}
            used = {name: pair for name, pair in given.items() if pair[1] not in (None, False)}
            check_apart(flag for flag, _ in used.values())
            if "--network" in used:
                from dreamreel.pipeline.networks.names import allow_network

                allow_network(used["--network"][1])  # named by the user himself
            for name in {"preset", "set"} & found.keys():
                found[name] = found[name] or ()
            command(*args, **values, given=Given(used, **found))

        empty = inspect.Parameter.empty
        parameters = sorted([*own, *ours], key=lambda one: one.default is not empty)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return decorate


def check_apart(flags: Iterable[Flag]) -> None:
    """Raise UserError if two of the `flags` that were given set the same setting."""
    by_setting: dict[str, str] = {}
    for flag in flags:
        other = by_setting.setdefault(flag.setting, flag.name)
        if other != flag.name:
            raise UserError(f"{other} and {flag.name} both set {flag.setting}; give one of them")


def describe(setting: str) -> str:
    """The help of a flag that stands for `setting`: its description and its name."""
    from dreamreel.pipeline.config.fields import all_fields

    text = all_fields()[setting].description or ""
    return f"{text[:1].upper()}{text[1:]} [{setting}]"


def refuse(given: Mapping[str, object], why: str) -> None:
    """Raise UserError, which says `why`, if any of the options `given`, by name, has a value."""
    names = [name for name, value in given.items() if value not in (None, False, ())]
    if names:
        raise UserError(f"leave out {', '.join(names)}: {why}")


def table_of(flag: Flag, value: Any) -> dict[str, Any]:
    """The nested table of settings that `flag` sets to `value`."""
    from dreamreel.pipeline.config.fields import all_fields, put, types_in
    from dreamreel.pipeline.config.grammar import parse_value

    if flag.value is not None:
        value = flag.value
    elif flag.kind:
        value = {f"{flag.kind}:{value}": 1.0}
    elif isinstance(value, str) and not {str, Path} & types_in(
        all_fields()[flag.setting].annotation
    ):
        value = parse_value(value)
    table: dict[str, Any] = {}
    put(table, flag.setting, value)
    return table


def _annotated(flag: Flag) -> tuple[Any, Any]:
    """The annotated type of the option for `flag`, and its default."""
    help_ = f"{OF_SETTING}{flag.setting}" if flag.help is None else f"{flag.help} [{flag.setting}]"
    if flag.value is not None:
        option = typer.Option(flag.name, help=help_, rich_help_panel=flag.panel)
        return Annotated[bool, option], False
    option = typer.Option(
        flag.name,
        metavar=flag.metavar,
        help=help_,
        rich_help_panel=flag.panel,
        autocompletion=flag.complete,
    )
    return Annotated[str | None, option], None


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _key(name: str) -> str:
    """The argument name for the option `name`."""
    return "option_" + name.strip("-").replace("-", "_")
