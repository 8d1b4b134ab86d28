"""Every setting: its name, default, bounds, unit and meaning. Each default stands here, once."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.fields import FieldInfo

from dreamreel.pipeline.config.schedule import Schedule
from dreamreel.pipeline.config.values import LARGEST_SIDE, SMALLEST_SIDE, parse_rate

Table = Mapping[str, Any]


class Section(BaseModel):
    """A frozen table of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _as_weights(value: Any) -> Any:
    """`"parts"` and `["parts", "objects"]` as weights of 1 for each layer."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: 1.0 for name in value}
    return value


def _codec_name(value: Any) -> Any:
    """Raise ValueError where `value` is another name of a codec."""
    if value in OTHER_CODEC_NAMES:
        raise ValueError(f"is called {OTHER_CODEC_NAMES[value]!r} here")
    return value


OTHER_CODEC_NAMES = {
    **dict.fromkeys(("avc", "x264", "libx264", "h.264"), "h264"),
    **dict.fromkeys(("h265", "x265", "libx265", "h.265"), "hevc"),
}
Codec = Annotated[
    Literal["auto", "h264", "hevc", "av1", "prores", "ffv1", "vp9"], BeforeValidator(_codec_name)
]
Decoder = Literal["auto", "opencv", "pyav"]
Speed = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]
SPEEDS: tuple[str, ...] = get_args(Speed)
Rate = Annotated[Fraction, BeforeValidator(parse_rate)]
FilePath = Annotated[Path, Field(strict=False)]
LayerWeights = Annotated[dict[str, float], BeforeValidator(_as_weights)]


class Dream(Section):
    """How one picture is dreamed: a still, or the first frame of a shot or a zoom."""

    layers: LayerWeights = Field(
        {}, description="layers to excite, each with its weight; none: the network's own choice"
    )
    octaves: int = Field(4, ge=1, le=32, description="scales, from coarse to fine")
    octave_scale: float = Field(1.4, ge=1.05, le=8, description="size of an octave over the last")
    steps: int = Field(10, ge=0, le=10_000, description="ascent steps in an octave")
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
        1.0, ge=0, le=10, description="size of every step; in a film, how strong the dream is kept"
    )
    mix: float = Field(
        1.0, ge=0, le=1, description="share of the dream in what is shown: 1 wet, 0 dry"
    )
    tile: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="largest side that the network sees at once, in pixels; none: the whole "
        "picture, until memory runs out",
    )


class Video(Section):
    """How a dream carries on from frame to frame of a video."""

    carry: float = Field(
        0.96, ge=0, le=0.99, description="least share of the dream that flows on to the next frame"
    )
    momentum: float = Field(
        0.4, ge=0, le=0.99, description="share of a frame's direction of ascent kept from the last"
    )
    frame_steps: int = Field(
        3, ge=0, le=10_000, description="most ascent steps in an octave of a frame that carries on"
    )
    cadence: int = Field(
        1, ge=1, le=100, description="every so many frames one is dreamed in full; lightly between"
    )
    hold_light: float = Field(
        0.9, ge=0, le=1, description="how firmly broad light and colour stay the source's: 0 free"
    )


class Zoom(Section):
    """How the endless zoom evolves."""

    evolve: float = Field(
        0.6, ge=0, le=50, description="ascent steps in an octave of a frame, at 30 a second"
    )
    frame_steps: int = Field(
        3, ge=0, le=10_000, description="most ascent steps in an octave of a frame"
    )
    hold_palette: float = Field(
        0.9, ge=0, le=1, description="pull of colour and contrast to the first frame's, a second"
    )
    variety: float = Field(
        1.0, ge=0, le=10, description="how firmly a zoom is kept from becoming one pattern: 0 not"
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
        description="the point that zoom and turn keep in place, in frame widths from the centre",
    )
    pivot_y: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="the point that zoom and turn keep in place, in frame heights from the centre",
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


class Source(Section):
    """How a video is read."""

    stream: int = Field(
        0, ge=0, le=999, description="which of its streams of pictures is read, from 0"
    )
    fps: Rate | None = Field(
        None,
        description="a constant rate, in frames a second: 24, 23.976 or 30000/1001; none: its own",
    )
    decoder: Decoder = Field(
        "auto",
        description="what decodes a film: opencv, or pyav, which is exact and slower; auto: opencv "
        "where it is faithful",
    )
    strict: bool = Field(
        False, description="whether a damaged source is refused, rather than dreamed in part"
    )


class Output(Section):
    """What is written, and how it is encoded."""

    codec: Codec = Field("auto", description="codec of the video; auto: h264, or vp9 in .webm")
    crf: int | None = Field(
        None,
        ge=0,
        le=63,
        description="constant quality of h264, hevc, av1 and vp9; less is better; none: fine",
    )
    pixel_format: str = Field(
        "auto",
        description="pixel format, as ffmpeg names it; auto: the source's depth and alpha, where "
        "the codec has them",
    )
    speed: Speed = Field("veryfast", description="speed of the encoder: slower makes smaller files")
    side_by_side: bool = Field(False, description="whether the source is shown beside the dream")
    audio: bool = Field(True, description="whether the sound comes along")
    subtitles: bool = Field(True, description="whether the subtitles come along")
    save_seconds: float = Field(
        30, ge=0, le=86_400, description="most work, in seconds, that a crash or kill may cost"
    )
    keep_state: bool = Field(
        True, description="whether the state that --continue needs is kept beside a zoom"
    )


class Settings(Section):
    """Everything that shapes a render. A number may follow a schedule over time."""

    network: str = Field("dreamnet", description="the network that dreams")
    weights: FilePath | None = Field(
        None, description="the network's weights: a .safetensors or .pth file; none: its own"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="precision of the network; auto: bfloat16 where the hardware has it"
    )
    device: str = Field("auto", description="where to compute: auto, cpu, cuda, cuda:1 or mps")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of all randomness")
    width: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="width of the result, in pixels, its shape kept; none: the source's",
    )
    dream: Dream = Dream()
    video: Video = Video()
    zoom: Zoom = Zoom()
    camera: Camera = Camera()
    flow: Flow = Flow()
    shots: Shots = Shots()
    source: Source = Source()
    output: Output = Output()
    _schedules: dict[str, Schedule] = PrivateAttr(default_factory=dict)

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules, by the dotted name of the setting, or of the part of one, that follows
        them: `dream.layers.parts` is the weight of a layer. The setting itself has its value at
        frame 0."""
        return MappingProxyType(self._schedules)

    @property
    def changes(self) -> frozenset[str]:
        """The dotted names of the settings that change over time."""
        return frozenset(setting_of(name) for name in self._schedules)

    @property
    def needs_music(self) -> bool:
        """Whether a schedule has no value without music."""
        return any(schedule.needs_music for schedule in self._schedules.values())

    def following(self, schedules: dict[str, Schedule]) -> "Settings":
        """These settings, with these `schedules`."""
        copy = self.model_copy()
        copy._schedules = schedules
        return copy

    @model_serializer(mode="wrap")
    def _with_schedules(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The table of which `grammar.build` makes these settings again."""
        table: dict[str, Any] = dump(self)
        for name, schedule in self._schedules.items():
            put_at(table, path_to(name), schedule.plain())
        return table


# Settings, and whole sections, that stay as they are throughout a render.
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

# Names that settings once had, and the names that they have now.
RENAMED = {
    "dream.hold": "video.hold_light",
    "dream.carry": "video.carry",
    "dream.momentum": "video.momentum",
    "dream.cadence": "video.cadence",
    "dream.frame_steps": "video.frame_steps' or 'zoom.frame_steps",
    "camera.evolve": "zoom.evolve",
    "camera.hold": "zoom.hold_palette",
    "camera.variety": "zoom.variety",
    "output.strict": "source.strict",
}


def fields(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Each setting's dotted name and its field, in order; sections are walked, not named."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from fields(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


@cache
def all_fields() -> dict[str, FieldInfo]:
    """Each setting's field, by its dotted name."""
    return dict(fields())


def value_of(settings: Settings, name: str) -> Any:
    """The value that `settings` has under the dotted `name` of a setting, or of a part of one."""
    value: Any = settings
    for part in path_to(name):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def setting_of(name: str) -> str:
    """The setting that the dotted `name` is of; `name` may be a part of it, as a layer's weight."""
    while name not in all_fields() and "." in name:
        name = name.rpartition(".")[0]
    return name


def path_to(name: str) -> list[str]:
    """The keys that lead to the dotted `name` in a nested table. A layer's name may have dots."""
    setting = setting_of(name)
    return [*setting.split("."), *([name[len(setting) + 1 :]] if name != setting else [])]


def put(table: dict[str, Any], name: str, value: Any) -> None:
    """Put `value` under the dotted `name`; a scalar in the way is replaced."""
    *parents, last = name.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            inner = table[parent] = {}
        table = inner
    table[last] = value


def put_at(table: dict[str, Any], path: list[str], value: Any) -> None:
    """Put `value` where the keys of `path` lead to in `table`."""
    for part in path[:-1]:
        table = table.setdefault(part, {})
    table[path[-1]] = value


def entry_at(table: Table, name: str) -> Any:
    """The entry under the dotted `name` in the nested `table`; None where there is none."""
    value: Any = table
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def path_settings() -> set[str]:
    """The dotted names of the settings that are paths."""
    return {name for name, field in fields() if Path in types_in(field.annotation)}


def is_number(field: FieldInfo) -> bool:
    """Whether the setting of that `field` is a number, or none."""
    return types_in(field.annotation) - {type(None)} <= {int, float}


def is_whole(name: str) -> bool:
    """Whether the setting of the dotted `name` is a whole number."""
    return int in types_in(all_fields()[setting_of(name)].annotation)


def holds_numbers(field: FieldInfo) -> bool:
    """Whether the setting of that `field` is a table of numbers, as layers' weights are."""
    return get_origin(field.annotation) is dict


def types_in(annotation: Any) -> set[Any]:
    """The types that `annotation`, a union of some or one alone, allows."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return {kind for part in get_args(annotation) for kind in types_in(part)}
    return {annotation}
