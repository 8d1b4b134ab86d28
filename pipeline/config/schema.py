"""A JSON schema of preset files, with which editors complete and check them."""

import inspect
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from dreamreel.pipeline.config.fields import (
    FIXED,
    Region,
    Section,
    Settings,
    holds_numbers,
    is_number,
    types_in,
)
from dreamreel.pipeline.config.presets import preset_names
from dreamreel.pipeline.config.schedule import EASES
from dreamreel.pipeline.config.values import FASTEST, SLOWEST

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
# A number over time: the text of a schedule, or a table of its keys; see `schedule.parse`.
OVER_TIME = [{"$ref": "#/$defs/schedule"}, {"$ref": "#/$defs/keys"}]
# Texts as `values.parse_rate`, `parse_crop` and `parse_bars` read them, but for their bounds.
RATE = r"^([0-9]{0,7}\.[0-9]{1,9}|[0-9]{1,7}(/[1-9][0-9]{0,6})?)$"
SIDE = r"[0-9]{1,5}(\.[0-9]{1,5})?"
PATTERNS = {
    "source.crop": rf"^({SIDE}:{SIDE}|[0-9]{{1,5}}[xX][0-9]{{1,5}})$",
    "source.bars": r"^(auto|keep|[0-9]{1,5}(:[0-9]{1,5}){3})$",
}


def preset_schema() -> dict[str, Any]:
    """The JSON schema, draft 2020-12, of a preset file: every section and setting, each with its
    meaning, default and bounds, and no other name."""
    table = _section(Settings, "")
    own = {
        "description": {"type": "string", "description": "the look, in one line"},
        "inherits": {
            "type": "string",
            "description": "a preset by name, or a TOML file, whose settings hold unless given "
            "here",
            "examples": preset_names(),
        },
    }
    return {
        "$schema": DIALECT,
        "title": "A preset of Dreamreel",
        **table,
        "description": "Settings of dreams, videos and zooms. Those that are not given keep "
        "the value that they inherit, or their default.",
        "properties": own | table["properties"],
        "$defs": _definitions(),
    }


def _section(section: type[Section], prefix: str) -> dict[str, Any]:
    """The schema of the table `section`; `prefix` begins the dotted names of its settings."""
    properties: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            properties[name] = _section(inner, f"{prefix}{name}.")
        else:
            properties[name] = _setting(prefix + name, field)
    return {
        "type": "object",
        "description": inspect.getdoc(section),
        "properties": properties,
        "additionalProperties": False,
    }


def _setting(name: str, field: FieldInfo) -> dict[str, Any]:
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    default = {} if value is None else {"default": value}
    return {"description": field.description, **default, **_values(name, field)}


def _values(name: str, field: FieldInfo) -> dict[str, Any]:
    """The schema of the values of the setting `name`."""
    kinds = types_in(field.annotation) - {type(None)}
    if name == "region":
        return {"type": "array", "items": _section(Region, "region.")}
    if holds_numbers(field):
        number = _number(field)
        weight = {"anyOf": [number, *OVER_TIME]} if _may_change(name) else number
        weights = {"type": "object", "additionalProperties": weight}
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [weights, names, {"type": "string"}]}
    if is_number(field):
        number = _number(field)
        return {"anyOf": [number, *OVER_TIME]} if _may_change(name) else number
    if bool in kinds:
        return {"type": "boolean"}
    if Fraction in kinds:
        number = {"type": "number", "minimum": float(SLOWEST), "maximum": float(FASTEST)}
        return {"anyOf": [number, {"type": "string", "pattern": RATE}]}
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    pattern = {"pattern": PATTERNS[name]} if name in PATTERNS else {}
    return {"enum": choices} if choices else {"type": "string", **pattern}


def _number(field: FieldInfo) -> dict[str, Any]:
    whole = int in types_in(field.annotation)
    bounds = {
        word: getattr(rule, bound)
        for rule in field.metadata
        for bound, word in BOUNDS.items()
        if getattr(rule, bound, None) is not None
    }
    return {"type": "integer" if whole else "number", **bounds}


def _may_change(name: str) -> bool:
    """Whether a schedule may change the setting `name` over time."""
    return not any(name == one or name.startswith(f"{one}.") for one in FIXED)


def _definitions() -> dict[str, Any]:
    ease = {
        "description": "how the value goes to that of the next key",
        "anyOf": [{"enum": list(EASES)}, {"type": "string", "pattern": r"^bezier\([^()]*\)$"}],
    }
    value = {"type": ["number", "string"], "description": "a number, or an expression"}
    key = {
        "type": "object",
        "properties": {"value": value, "ease": ease},
        "required": ["value"],
        "additionalProperties": False,
    }
    beats = {
        "bpm": {
            "type": "number",
            "minimum": 1,
            "maximum": 1000,
            "description": "beats a minute, for keys such as 4b",
        },
        "beat0": {
            "type": "number",
            "minimum": 0,
            "maximum": 1e6,
            "description": "the time of the first beat, in seconds",
        },
    }
    per_frame = {
        "type": "boolean",
        "description": "whether values of the camera's motion are from frame to frame, as in "
        "Deforum, rather than in a second",
    }
    return {
        "schedule": {
            "type": "string",
            "minLength": 1,
            "description": "a schedule: an expression of t, s, max_f, fps and music, or keys such "
            "as 0:(1.2), 60:(1.5)",
        },
        "keys": {
            "type": "object",
            "description": 'a schedule: keys such as "0s", "48", "50%" or "4b", each with a value',
            "minProperties": 1,
            "properties": {"ease": ease, **beats, "per_frame": per_frame},
            "additionalProperties": {"anyOf": [value, key]},
        },
    }
