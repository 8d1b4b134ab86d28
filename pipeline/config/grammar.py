"""One grammar for settings: nested tables, TOML and --set become `Settings`, and back.

Presets, `--set NAME=VALUE` and the command's flags all become nested tables with the names in
`fields`. `build` merges them, later ones winning, and checks the whole.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import SequenceMatcher
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dreamreel.pipeline.config.checks import checked, reason_of, scheduled_value
from dreamreel.pipeline.config.expressions import CALLS, CONSTANTS, WORDS
from dreamreel.pipeline.config.fields import (
    FIXED,
    MOTIONS,
    RENAMED,
    Settings,
    Table,
    all_fields,
    entry_at,
    fields,
    holds_numbers,
    is_number,
    is_whole,
    path_to,
    put,
    put_at,
    setting_of,
)
from dreamreel.pipeline.config.schedule import MUSIC, NOMINAL, TIMES, Schedule, parse
from dreamreel.pipeline.config.tables import DEEPEST, LONGEST_SHOWN, read_toml, shown
from dreamreel.pipeline.errors import UserError, visible

WHOLE, NUMBER = 20, 1.5  # examples in messages, for settings without a default number
# SequenceMatcher's ratio, 0 to 1, from which two names count as alike. Measured: a letter too few
# or too many scores 0.86 to 0.92 (`zom`, `octavs`), other settings to 0.55 (`weights`, `width`).
LIKE = 0.75
# Names that other programs have for settings, and that are spelled otherwise here.
MEANT = {
    **dict.fromkeys(("camera.speed", "zoom.speed", "translation_z"), "camera.zoom"),
    **dict.fromkeys(("angle", "rotation_3d_z"), "camera.rotation"),
    **{f"translation_{axis}": f"camera.pan_{axis}" for axis in "xy"},
    **{"rotation_3d_x": "camera.tilt", "rotation_3d_y": "camera.yaw"},
    **dict.fromkeys(("iterations", "iter_n", "num_iterations", "n_iter"), "dream.steps"),
    **dict.fromkeys(("learning_rate", "lr"), "dream.step_size"),
    **dict.fromkeys(("octave_ratio", "octave_n_scale"), "dream.octave_scale"),
    **dict.fromkeys(("octave_n", "num_octaves", "pyramid_size"), "dream.octaves"),
    **dict.fromkeys(("blend", "opacity"), "dream.mix"),
    **dict.fromkeys(("dream.mask", "mask.path", "mask.image", "mask_file"), "mask.file"),
    **dict.fromkeys(("mask.blur", "mask.soften"), "mask.feather"),
    "model": "network",
}
# An assignment after another, and a value after which the shell ended the word at a space.
FURTHER = re.compile(r"[,;\s]([a-z_.]+)\s*=(?!=)")
NUMBER_COMMA = re.compile(r"[+-]?[\d.]+[,;]|(true|false)[,;]")
# A number with a unit or a decimal comma, as `5 px` and `1,5`.
PLAIN_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?\s*[^\W\d_]*%?")


def build(*tables: tuple[str, Table]) -> Settings:
    """The settings from `tables`: pairs of (source, nested table), of which later ones win.

    A number may be a schedule, as `schedule.parse` takes it. Raises UserError, which names the
    source, for an unknown name, a malformed schedule, or a value out of bounds.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, table in tables:
        for name, value in flatten(table, source):
            origin[name] = source
            put(merged, name, value)
    schedules = _take_schedules(merged, origin)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(error, origin)) from error
    return settings.following(schedules)


def parse_assignment(text: str) -> dict[str, Any]:
    """The nested table for an assignment such as `dream.octaves=5`. See `parse_value`.

    Raises UserError where `text` is no assignment.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise UserError(f"--set {shown(text)} is not NAME=VALUE; try --set dream.octaves=5")
    if name.count(".") > DEEPEST:
        raise UserError(f"--set {shown(name)} nests more than {DEEPEST} levels deep")
    found = parse_value(value.strip())
    if isinstance(found, str) and _holds_more(found):
        raise UserError(
            f"--set {shown(text)}: each setting has a --set of its own, as in "
            "--set dream.octaves=5 --set dream.steps=20"
        )
    table: dict[str, Any] = {}
    put(table, name, found)
    return table


def _holds_more(text: str) -> bool:
    """Whether the value `text` is followed by an assignment to another setting, or by a comma that
    is no schedule's."""
    others = (other[1] for other in FURTHER.finditer(text))
    known = {*all_fields(), *RENAMED}
    return any(other in known for other in others) or bool(NUMBER_COMMA.fullmatch(text))


def parse_value(text: str) -> Any:
    """The value of `text` in TOML, or else `text` itself."""
    try:
        table = read_toml(f"value = {text}")
    except ValueError:  # not TOML, or a number too long to read
        return text
    return table["value"] if table.keys() == {"value"} else text


def flatten(table: Table, source: str) -> list[tuple[str, Any]]:
    """`table`, which comes from `source`, as (dotted name, value) pairs.

    Raises UserError for a name that is no setting.
    """
    known = all_fields()
    sections = {name.rpartition(".")[0] for name in known} - {""}
    pairs: list[tuple[str, Any]] = []

    def walk(inner: Table, prefix: str) -> None:
        for key, value in inner.items():
            name = prefix + key
            if name in known:
                pairs.append((name, value))
            elif name in sections and isinstance(value, Mapping):
                walk(value, name + ".")
            elif name in sections:
                raise UserError(f"{source}: '{name}' is a section of settings, not one setting")
            elif name in RENAMED:
                raise UserError(f"{source}: '{name}' is called '{RENAMED[name]}' now")
            else:
                told = f"unknown setting {shown(name)}{_suggest(name, known)}"
                raise UserError(f"{source}: {told}")

    walk(table, "")
    return pairs


def to_toml(settings: Settings, *, comments: bool = True) -> str:
    """All of `settings` as TOML; with `comments`, the meaning of each beside it."""
    lines: list[str] = []
    section, table = "", settings.model_dump()
    for name, field in fields():
        head, _, key = name.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        value = entry_at(table, name)
        comment = f"  # {field.description}" if comments else ""
        if value is None:
            lines += [f"# {key} ={comment}"] if comments else []
        else:
            lines.append(f"{key} = {_toml_value(value)}{comment}")
    return "\n".join(lines) + "\n"


def differing(settings: Settings) -> dict[str, str]:
    """The `settings` that are not their defaults, by dotted name, each as the text that sets it:
    `parse_assignment` of NAME=TEXT gives it back."""
    usual, table = Settings().model_dump(), settings.model_dump()
    pairs = ((name, entry_at(table, name), entry_at(usual, name)) for name, _ in fields())
    return {name: _toml_value(value) for name, value, other in pairs
            if value is not None and value != other}  # fmt: skip


def value_text(value: Any) -> str:
    """`value` as the text behind the = of an assignment."""
    return _toml_value(value)


def _take_schedules(table: dict[str, Any], origin: Mapping[str, str]) -> dict[str, Schedule]:
    """The schedules in the nested `table`, by dotted name; in the table, each is replaced by its
    value at frame 0."""
    found: dict[str, Any] = {}
    for name, field in fields():
        value = entry_at(table, name)
        if holds_numbers(field) and isinstance(value, Mapping):
            changing = {k: v for k, v in value.items() if isinstance(v, str | Mapping)}
            found |= {f"{name}.{key}": one for key, one in changing.items()}
            put(table, name, dict(value))
        elif _is_schedule(name, field, value, origin):
            found[name] = value
    schedules = {}
    for name, value in found.items():
        try:
            schedule = schedules[name] = _parsed(name, value)
            # The rate, by which a motion per frame is one in a second, is not known yet.
            begins = all_fields()[setting_of(name)].default
            if not schedule.per_frame:
                begins = scheduled_value(name, schedule, NOMINAL)
            put_at(table, path_to(name), begins)
        except UserError as error:
            raise UserError(f"{origin[setting_of(name)]}: {error}") from error
    return schedules


def _is_schedule(name: str, field: FieldInfo, value: Any, origin: Mapping[str, str]) -> bool:
    """Whether `value` is meant as a schedule. Raises UserError where it is, and the setting `name`
    cannot change."""
    number = is_number(field)
    meant = isinstance(value, Mapping) or (number and isinstance(value, str))
    fixed = any(name == one or name.startswith(f"{one}.") for one in FIXED)
    if not (meant and fixed):
        return meant and number
    with suppress(ValueError):  # a malformed schedule is explained later, like any wrong value
        parse(value)
        raise UserError(f"{origin[name]}: {name} cannot change over time; give it one value")
    return False


def _parsed(name: str, value: Any) -> Schedule:
    """The schedule in `value`, its constants checked against the bounds of the setting `name`."""
    try:
        schedule = parse(value)
    except ValueError as error:
        field, whole = all_fields()[setting_of(name)], is_whole(name)
        usual = field.default if isinstance(field.default, int | float) else None
        example = usual or (WHOLE if whole else NUMBER)
        needed = f"a {'whole ' if whole else ''}number, such as {example:g}"
        if isinstance(value, str) and _is_plain(value):
            told = f"{name} needs {needed}, not {shown(value)} ({field.description})"
            raise UserError(told) from error
        raise UserError(
            f"{name} = {shown(value)} is neither {needed}, nor a schedule: {error}"
        ) from error
    if schedule.per_frame and name not in MOTIONS:
        told = f"per_frame(…) is motion of the camera, which {name} is not; leave it out"
        raise UserError(f"{name} = {shown(value)}: {told}")
    for key in () if schedule.per_frame else schedule.keys:
        if key.number is not None:
            checked(name, key.number, key.name)
    return schedule


def _is_plain(text: str) -> bool:
    """Whether `text`, which is no schedule, is hardly meant as one: it is words, or a number with a
    unit or a decimal comma."""
    if PLAIN_NUMBER.fullmatch(text):
        return True
    words = text.replace("-", " ").split()
    known = {*TIMES, *MUSIC, *CALLS, *CONSTANTS, *WORDS}
    is_words = all(word.isidentifier() for word in words)
    return is_words and (len(words) == 1 or not known.issuperset(words))


def _suggest(name: str, known: Mapping[str, FieldInfo]) -> str:
    """A hint at the settings that `name` may mean: those of the same last word, with their
    meanings, or those spelled alike; failing both, at the list of all."""
    last = name.rpartition(".")[2]
    meant = MEANT.get(name) or MEANT.get(last)
    if meant:
        return f"; did you mean '{meant}' ({known[meant].description})?"
    if len(name) > LONGEST_SHOWN:
        return "; dreamreel presets default lists all"
    same = [full for full in known if full.rpartition(".")[2] == last]
    if same:
        told = (f"'{full}' ({known[full].description})" for full in same)
        return f"; did you mean {' or '.join(told)}?"
    words = {full: full.rpartition(".")[2] for full in known}
    alike = [
        full
        for full, word in words.items()
        if min(_likeness(word, last), _likeness(full, name)) >= LIKE or _likeness(word, last) > 0.9
    ]
    if alike:
        return f"; did you mean {' or '.join(map(repr, alike[:3]))}?"
    return "; dreamreel presets default lists all"


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    """The first of pydantic's errors, in one line."""
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    name = setting_of(place)
    inside = place[len(name) :].strip(".")
    about = f"{name} ({inside})" if inside else name
    source = origin.get(name)
    told = f"{about} = {shown(found['input'])} {reason_of(error, name)}"
    return f"{source}: {told}" if source else told


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ((key, one) for key, one in value.items() if one is not None)
        inner = ", ".join(f"{_toml_value(str(k))} = {_toml_value(v)}" for k, v in pairs)
        return "{ " + inner + " }" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str | Path | Fraction):
        # A JSON string is a TOML basic string, once all that steers a terminal is escaped.
        text = json.dumps(str(value), ensure_ascii=False)
        steering = {one for one in text if visible(one) != one and not "\ud800" <= one <= "\udfff"}
        return "".join(f"\\u{ord(one):04X}" if one in steering else one for one in text)
    return json.dumps(value)
