"""One frozen, validated tree of settings, and the one grammar that fills it.

Presets, `--set NAME=VALUE` and the command's own flags all become nested tables with these names;
`build` merges them, later ones winning, and checks the whole. Each default stands here, once.
A number may be given a schedule: `Settings.at` has the settings of each moment.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic.fields import FieldInfo

from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.schedule import NOMINAL, Moment, Schedule, parse

Table = Mapping[str, Any]
OverTime = Callable[[int], "Settings"]  # the settings of the frame of that number


class Section(BaseModel):
    """A frozen table of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _as_weights(value: Any) -> Any:
    """`"parts"` and `["parts", "objects"]` mean weight 1 for each."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: 1.0 for name in value}
    return value


def parse_rate(value: Any) -> Fraction:
    """`30`, `"23.976"` or `"30000/1001"` as a fraction; 23.976 means 24000/1001. Raises ValueError
    for what is no rate."""
    if isinstance(value, Fraction):
        return value
    plain = re.fullmatch(r"\d{1,7}(\.\d{1,9})?|\d{1,7}/[1-9]\d{0,6}", str(value))
    rate = Fraction(str(value)) if plain else Fraction(0)
    if not 1 <= rate <= 1000:
        raise ValueError("is no rate from 1 to 1000; 30, 23.976 and 30000/1001 are")
    return snap_rate(rate)


def snap_rate(rate: Fraction) -> Fraction:
    """`rate` as the whole number or the n/1001 that it stands for, if it is within 0.02 %."""
    for exact in (Fraction(round(rate)), Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)):
        if exact > 0 and abs(rate - exact) < exact / 5000:
            return exact
    return rate.limit_denominator(100_000) or rate


Speed = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]
SPEEDS: tuple[str, ...] = get_args(Speed)
Rate = Annotated[Fraction, BeforeValidator(parse_rate)]
SMALLEST_SIDE, LARGEST_SIDE = 16, 16384  # pixels; the largest is x264's
FilePath = Annotated[Path, Field(strict=False)]
LayerWeights = Annotated[dict[str, float], BeforeValidator(_as_weights)]


class Dream(Section):
    """How one image is dreamed, and how much of its dream the next frame keeps."""

    layers: LayerWeights = Field(
        {}, description="layers to excite, each with its weight; none: the network's own choice"
    )
    octaves: int = Field(4, ge=1, le=32, description="scales, from coarse to fine")
    octave_scale: float = Field(1.4, ge=1.05, le=8, description="size of an octave over the last")
    steps: int = Field(
        10, ge=0, le=10_000, description="ascent steps in an octave, for a still or a shot's start"
    )
    step_size: float = Field(
        1.5, ge=0, le=100, description="mean change of a step, in levels of 255"
    )
    normalise: Literal["mean", "std"] = Field(
        "mean", description="what a step's gradient is divided by: its mean |g|, or its std"
    )
    jitter: int = Field(32, ge=0, le=4096, description="largest random shift of a step, in pixels")
    smoothing: float = Field(
        0.6, ge=0, le=64, description="Gaussian blur of each gradient: its sigma, in pixels"
    )
    strength: float = Field(
        1.0, ge=0, le=10, description="size of every step; in a video, how strong the dream is kept"
    )
    mix: float = Field(
        1.0, ge=0, le=1, description="share of the dream in what is shown: 1 wet, 0 dry"
    )
    hold: float = Field(
        0.9, ge=0, le=1, description="how firmly a video's broad light and colour stay: 0 free"
    )
    carry: float = Field(
        0.96, ge=0, le=0.99, description="least share of the dream that flows on to the next frame"
    )
    momentum: float = Field(
        0.4, ge=0, le=0.99, description="share of a frame's direction of ascent kept from the last"
    )
    cadence: int = Field(
        1, ge=1, le=100, description="every so many frames one is dreamed in full; lightly between"
    )
    frame_steps: int = Field(
        3, ge=0, le=10_000, description="most ascent steps in an octave of a frame that carries on"
    )
    tile: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="largest side that the network sees at once, in pixels; none: all of a "
        "picture, until memory runs out",
    )


class Flow(Section):
    """How the motion between source frames is estimated."""

    method: Literal["dis", "farneback", "raft", "raft_small", "none"] = Field(
        "dis", description="estimator; none: every frame dreamed alone and in full"
    )
    weights: FilePath | None = Field(
        None, description="of raft or raft_small: a .safetensors or .pth file; none: fetched"
    )
    height: int = Field(
        240,
        ge=32,
        le=4320,
        description="working size: the shorter side of a frame, which is shrunk to it",
    )


class Shots(Section):
    """Where one shot ends and the next begins."""

    threshold: float = Field(
        27.0, gt=0, le=255, description="mean change of hue, saturation and value that may be a cut"
    )
    max_hidden: float = Field(
        0.6, gt=0, le=1, description="share of a frame newly seen at once that may be a cut too"
    )
    min_seconds: float = Field(0.5, ge=0, le=3600, description="shortest shot, in seconds")
    flash_seconds: float = Field(
        0.25, ge=0, le=10, description="longest flash, after which the shot goes on, in seconds"
    )


class Camera(Section):
    """The motion of the endless zoom, a second."""

    zoom: float = Field(
        1.35, ge=0.01, le=100, description="growth of the picture; below 1 the camera moves away"
    )
    rotation: float = Field(0.0, ge=-360, le=360, description="turn about the view, in degrees")
    pan_x: float = Field(0.0, ge=-2, le=2, description="move right, in frame widths")
    pan_y: float = Field(0.0, ge=-2, le=2, description="move down, in frame heights")
    tilt: float = Field(0.0, ge=-90, le=90, description="tip up in perspective, in degrees")
    yaw: float = Field(0.0, ge=-90, le=90, description="turn right in perspective, in degrees")
    pivot_x: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="where zoom and turn lead, in frame widths from the centre",
    )
    pivot_y: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="where zoom and turn lead, in frame heights from the centre",
    )
    evolve: float = Field(
        0.6, ge=0, le=50, description="ascent steps in an octave of a frame, at 30 a second"
    )
    hold: float = Field(
        0.9, ge=0, le=1, description="pull of colour and contrast to the first frame's, a second"
    )
    variety: float = Field(
        1.0, ge=0, le=10, description="how firmly a zoom is kept from becoming one pattern: 0 not"
    )


class Source(Section):
    """How a video is read."""

    stream: int = Field(0, ge=0, le=999, description="which of its streams of pictures, from 0")
    fps: Rate | None = Field(
        None, description="frames a second, made constant: 23.976 or 30000/1001; none: its own"
    )
    strict: bool = Field(
        False, description="whether a damaged one is refused, rather than dreamed in part"
    )


class Output(Section):
    """What is written, and how it is encoded."""

    codec: Literal["auto", "h264", "hevc", "av1", "prores", "ffv1", "vp9"] = Field(
        "auto", description="of the video; auto: h264, or vp9 in .webm"
    )
    crf: int | None = Field(
        None,
        ge=0,
        le=63,
        description="constant quality of h264, hevc, av1 and vp9; less is better; none: fine",
    )
    pixel_format: str = Field(
        "auto", description="as ffmpeg names it; auto: the source's depth and alpha, where it can"
    )
    speed: Speed = Field("veryfast", description="of the encoder: slower makes smaller files")
    side_by_side: bool = Field(False, description="whether the source is shown beside the dream")
    audio: bool = Field(True, description="whether the sound comes along")
    subtitles: bool = Field(True, description="whether the subtitles come along")
    save_seconds: float = Field(
        30, ge=0, le=86_400, description="most work, in seconds, that a crash or kill may cost"
    )
    keep_state: bool = Field(
        True, description="whether a zoom keeps, beside it, what --continue takes"
    )


class Settings(Section):
    """Everything that shapes a render."""

    network: str = Field("dreamnet", description="the network that dreams")
    weights: FilePath | None = Field(
        None, description="its weights: a .safetensors or .pth file; none: its own"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="of the network; auto: bfloat16 where the hardware has it"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="of all randomness")
    width: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="of the result, in pixels; none: the source's",
    )
    dream: Dream = Dream()
    flow: Flow = Flow()
    shots: Shots = Shots()
    camera: Camera = Camera()
    source: Source = Source()
    output: Output = Output()
    _schedules: dict[str, Schedule] = PrivateAttr(default_factory=dict)

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those given, by the dotted names of what they change: a setting, or the weight of a
        layer, `dream.layers.parts`. Here such a setting has its value at frame 0."""
        return MappingProxyType(self._schedules)

    @property
    def changes(self) -> frozenset[str]:
        """The dotted names of the settings that change over time."""
        return frozenset(_setting_of(name) for name in self._schedules)

    @property
    def needs_music(self) -> bool:
        """Whether a schedule has no value without music."""
        return any(schedule.needs_music for schedule in self._schedules.values())

    def at(self, moment: Moment) -> "Settings":
        """The settings of `moment`, none of them scheduled; these, where none of these is.

        Raises UserError where a schedule has no value there, or one that the setting cannot have.
        """
        if not self._schedules:
            return self
        table: dict[str, Any] = {}
        for name, schedule in self._schedules.items():
            _put_at(table, _path(name), _value_at(name, schedule, moment))
        plain: Settings = _updated(self, table)
        plain._schedules = {}
        return plain

    @model_serializer(mode="wrap")
    def _with_schedules(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What `build` makes these settings of again."""
        table: dict[str, Any] = dump(self)
        for name, schedule in self._schedules.items():
            _put_at(table, _path(name), schedule.plain())
        return table


# What stays as it is throughout a render: settings, and whole sections of them.
FIXED = (
    "network",
    "weights",
    "precision",
    "device",
    "seed",
    "width",
    "dream.tile",
    "flow",
    "shots",
    "source",
    "output",
)


def constant(settings: Settings) -> OverTime:
    """`settings` in every frame."""
    return lambda number: settings


def build(*tables: tuple[str, Table]) -> Settings:
    """The settings that `tables` make: pairs of (where it comes from, nested table), later wins.

    A number may be a schedule, as `schedule.parse` takes it. Raises UserError, naming the source,
    for an unknown name, a schedule that is none, or a value that is out of range.
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
    settings._schedules = schedules
    return settings


def parse_assignment(text: str) -> dict[str, Any]:
    """`dream.octaves=5` as a nested table. The value is TOML; what is not TOML is a string."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise UserError(f"--set {text!r} is not NAME=VALUE; try --set dream.octaves=5")
    table: dict[str, Any] = {}
    put(table, name, parse_value(value.strip()))
    return table


def parse_value(text: str) -> Any:
    """`text` as a TOML value; what is not TOML is the string itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except ValueError:  # not TOML, or a number too long to be one
        return text
    return table["value"] if table.keys() == {"value"} else text


def fields(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Each setting's dotted name and its field, in order; sections are walked, not named."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from fields(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def value_of(settings: Settings, name: str) -> Any:
    """The value that `settings` has under the dotted `name`, of a setting or of a part of it."""
    value: Any = settings
    for part in _path(name):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def flatten(table: Table, source: str) -> list[tuple[str, Any]]:
    """`table` as (dotted name, value) pairs. Raises UserError for a name that is no setting."""
    known = dict(fields())
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
            else:
                raise UserError(f"{source}: unknown setting '{name}'{_suggest(name, known)}")

    walk(table, "")
    return pairs


def put(table: dict[str, Any], name: str, value: Any) -> None:
    """Put `value` under the dotted `name`; a scalar in the way is replaced."""
    *parents, last = name.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            inner = table[parent] = {}
        table = inner
    table[last] = value


def path_settings() -> set[str]:
    """The dotted names of the settings that are paths."""
    return {name for name, field in fields() if Path in _types_in(field.annotation)}


def to_toml(settings: Settings, *, comments: bool = True) -> str:
    """`settings`, whole, as TOML, each setting with its meaning beside it."""
    lines: list[str] = []
    section, table = "", settings.model_dump()
    for name, field in fields():
        head, _, key = name.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        value = _find(table, name)
        comment = f"  # {field.description}" if comments else ""
        if value is None:
            lines += [f"# {key} ={comment}"] if comments else []
        else:
            lines.append(f"{key} = {_toml_value(value)}{comment}")
    return "\n".join(lines) + "\n"


def _take_schedules(table: dict[str, Any], origin: Mapping[str, str]) -> dict[str, Schedule]:
    """The schedules in the nested `table`, in which their values at frame 0 take their place."""
    found: dict[str, Any] = {}
    for name, field in fields():
        value = _find(table, name)
        if _holds_numbers(field) and isinstance(value, Mapping):
            changing = {k: v for k, v in value.items() if isinstance(v, str | Mapping)}
            found |= {f"{name}.{key}": one for key, one in changing.items()}
            put(table, name, dict(value))
        elif _is_schedule(name, field, value, origin):
            found[name] = value
    schedules = {}
    for name, value in found.items():
        try:
            schedules[name] = _parsed(name, value)
            _put_at(table, _path(name), _value_at(name, schedules[name], NOMINAL))
        except UserError as error:
            raise UserError(f"{origin[_setting_of(name)]}: {error}") from error
    return schedules


def _is_schedule(name: str, field: FieldInfo, value: Any, origin: Mapping[str, str]) -> bool:
    """Whether `value` is meant as one. Raises UserError where the setting cannot change."""
    number = _types_in(field.annotation) - {NoneType} <= {int, float}
    meant = isinstance(value, Mapping) or number and isinstance(value, str)
    fixed = any(name == one or name.startswith(f"{one}.") for one in FIXED)
    if not (meant and fixed):
        return meant and number
    with suppress(ValueError):  # what is no schedule either is explained as any wrong value is
        parse(value)
        raise UserError(f"{origin[name]}: {name} cannot change over time; give it one value")
    return False


def _holds_numbers(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _find(table: Table, name: str) -> Any:
    """What stands under the dotted `name` in the nested `table`; None where nothing does."""
    value: Any = table
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _parsed(name: str, value: Any) -> Schedule:
    """The schedule that `value` is, those of its values that are constant being checked."""
    try:
        schedule = parse(value)
    except ValueError as error:
        kind = "integer" if _is_whole(name) else "number"
        raise UserError(f"{name} = {value!r:.60} is no {kind}, nor a schedule: {error}") from error
    for key in schedule.keys:
        if key.number is not None:
            _checked(name, key.number, key.name)
    return schedule


def _value_at(name: str, schedule: Schedule, moment: Moment) -> int | float:
    try:
        value = schedule.at(moment)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    return _checked(name, value, f"frame {moment.frame}")


def _checked(name: str, value: float, where: str) -> int | float:
    """`value` as the setting `name` has it. Raises UserError where it cannot."""
    number = round(value) if _is_whole(name) else value
    try:
        return _checker(_setting_of(name)).validate_python(number)
    except ValidationError as error:
        raise UserError(f"{name} at {where} = {number:.6g} {_reason(error, name)}") from error


@cache
def _checker(setting: str) -> TypeAdapter[Any]:
    field = _known()[setting]
    kind: Any = float if _holds_numbers(field) else field.annotation
    for rule in () if _holds_numbers(field) else field.metadata:
        kind = Annotated[kind, rule]
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def _is_whole(name: str) -> bool:
    return int in _types_in(_known()[_setting_of(name)].annotation)


@cache
def _known() -> dict[str, FieldInfo]:
    return dict(fields())


def _setting_of(name: str) -> str:
    """The setting that `name` is of, which may name a part of it: dream.layers.parts."""
    while name not in _known() and "." in name:
        name = name.rpartition(".")[0]
    return name


def _path(name: str) -> list[str]:
    """What leads to `name` in a nested table. A layer's own name may have dots."""
    setting = _setting_of(name)
    return [*setting.split("."), *([name[len(setting) + 1 :]] if name != setting else [])]


def _put_at(table: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        table = table.setdefault(part, {})
    table[path[-1]] = value


def _updated(old: Any, new: Any) -> Any:
    """`old` with what the nested table `new` has, unchecked."""
    if not isinstance(new, dict):
        return new
    if not isinstance(old, Section):
        return {**old, **new}
    return old.model_copy(
        update={name: _updated(getattr(old, name), value) for name, value in new.items()}
    )


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    by_last_word = [full for full in known if full.rpartition(".")[2] == name.rpartition(".")[2]]
    if by_last_word:
        return "; did you mean " + " or ".join(repr(full) for full in by_last_word) + "?"
    return nearest(name, known)


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    """The first of pydantic's findings, in one line."""
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    name = _setting_of(place)
    inside = place[len(name) :].strip(".")
    about = f"{name} ({inside})" if inside else name
    source = origin.get(name)
    return f"{source + ': ' if source else ''}{about} = {found['input']!r} {_reason(error, name)}"


def _reason(error: ValidationError, name: str) -> str:
    """Why, and what the setting means."""
    reason = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value error, ")
    field = _known().get(_setting_of(name))
    return f"{reason} ({field.description})" if field and field.description else reason


def _types_in(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return {kind for part in get_args(annotation) for kind in _types_in(part)}
    return {annotation}


def _toml_value(value: Any) -> str:
    import json

    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_value(str(k))} = {_toml_value(v)}" for k, v in value.items())
        return "{ " + inner + " }" if inner else "{}"
    if isinstance(value, str | Path | Fraction):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)
