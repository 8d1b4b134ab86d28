"""Every setting: name, default, bounds, unit and meaning, each written here and nowhere else."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.fields import FieldInfo

from dreamreel.pipeline.config.keys import parse_key
from dreamreel.pipeline.config.schedule import Schedule
from dreamreel.pipeline.config.terms import check_terms, parse_sum
from dreamreel.pipeline.config.values import (
    LARGEST_SIDE,
    SMALLEST_SIDE,
    parse_bars,
    parse_crop,
    parse_rate,
)
from dreamreel.pipeline.errors import nearest

Table = Mapping[str, Any]


class Section(BaseModel):
    """A frozen table of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _codec_name(value: Any) -> Any:
    """`value` itself. Raises ValueError, with our name of the codec, for an alias of one."""
    lower = value.lower() if isinstance(value, str) else value
    ours = OTHER_CODEC_NAMES.get(lower, lower) if isinstance(value, str) else value
    if ours != value and ours in CODEC_NAMES:
        raise ValueError(f"is called {ours!r} here")
    return value


def _bars_text(value: str) -> str:
    """`value` itself. Raises ValueError where it names no bars."""
    parse_bars(value)
    return value


def _crop_shape(value: Any) -> Any:
    """`value` itself. Raises ValueError for text that is no crop."""
    if isinstance(value, str):
        parse_crop(value)
    return value


def _key_text(value: str) -> str:
    """`value` itself. Raises ValueError where it is no key."""
    parse_key(value)
    return value


OTHER_CODEC_NAMES = {
    **dict.fromkeys(("avc", "avc1", "x264", "libx264", "h.264"), "h264"),
    **dict.fromkeys(("h265", "x265", "libx265", "h.265", "hvc1", "hev1"), "hevc"),
    **dict.fromkeys(("av01", "libsvtav1", "libaom-av1"), "av1"),
    **dict.fromkeys(("vp09", "libvpx-vp9"), "vp9"),
    **dict.fromkeys(("prores_ks", "prores_aw"), "prores"),
}
CodecName = Literal["auto", "h264", "hevc", "av1", "prores", "ffv1", "vp9"]
CODEC_NAMES: tuple[str, ...] = get_args(CodecName)
Codec = Annotated[CodecName, BeforeValidator(_codec_name)]
Decoder = Literal["auto", "opencv", "pyav"]
Speed = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]
Encoder = Literal[
    "software", "auto",
    "h264_nvenc", "h264_videotoolbox", "h264_qsv", "h264_amf",
    "hevc_nvenc", "hevc_videotoolbox", "hevc_qsv", "hevc_amf",
    "av1_nvenc", "av1_videotoolbox", "av1_qsv", "av1_amf",
]  # fmt: skip
SPEEDS: tuple[str, ...] = get_args(Speed)
CropShape = Annotated[str, BeforeValidator(_crop_shape)]
CropPlace = Annotated[
    Literal["centre", "top", "bottom", "left", "right"],
    BeforeValidator(lambda value: {"center": "centre", "middle": "centre"}.get(value, value)),
]
Rate = Annotated[Fraction, BeforeValidator(parse_rate)]
BarsText = Annotated[str, AfterValidator(_bars_text)]
KeyText = Annotated[str, AfterValidator(_key_text)]
FilePath = Annotated[Path, Field(strict=False)]
TermWeights = Annotated[dict[str, float], BeforeValidator(parse_sum), AfterValidator(check_terms)]


class Dream(Section):
    """How one picture is dreamed: a still, or the first frame of a shot or a zoom."""

    # octaves, octave_scale, steps, step_size, normalise and jitter: as in google/deepdream.
    terms: TermWeights = Field(
        {},
        description="what is climbed, each with its weight: layers, channels, classes, guides; "
        "none: the network's own layer",
    )
    octaves: int = Field(
        4, ge=1, le=32, description="octaves: sizes of the picture, from coarse to fine"
    )
    octave_scale: float = Field(
        1.4, ge=1.05, le=8, description="size of an octave, over that of the one before"
    )
    steps: int = Field(10, ge=0, le=10_000, description="ascent steps in an octave")
    step_size: float = Field(
        1.5, ge=0, le=100, description="mean change of a pixel in a step, in levels of 255"
    )
    normalise: Literal["mean", "std"] = Field(
        "mean", description="divisor of each step's gradient g: the mean of |g|, or the std of g"
    )
    jitter: int = Field(32, ge=0, le=4096, description="largest random shift of a step, in pixels")
    views: int = Field(
        4, ge=1, le=256, description="random views of the picture in which a step climbs a class"
    )
    smoothing: float = Field(
        0.6, ge=0, le=64, description="Gaussian blur of each gradient: its sigma, in pixels"
    )
    laplacian: int = Field(
        0,
        ge=0,
        le=16,
        description="bands of each gradient, of an octave each, that are made equally strong; 0: "
        "they stay as they are",
    )
    frequency: float = Field(
        0.0,
        ge=0,
        le=4,
        description="power of its frequency by which each gradient is divided: 0 not at all; 1 "
        "prefers broad shapes",
    )
    strength: float = Field(
        1.0,
        ge=0,
        le=10,
        description="factor on the size of every step; in a film, the strength that is held",
    )
    mix: float = Field(
        1.0, ge=0, le=1, description="share of the dream in the picture that is shown: 1 wet, 0 dry"
    )
    tile: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="largest side that the network sees at once, in pixels; none: the whole "
        "picture, as long as memory suffices",
    )
    coarsest: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="shorter side of the coarsest octave, in pixels, from which octaves are "
        "counted, so that a look is the same at every width; finer ones than these only add "
        "detail; none: such that the finest is 270",
    )
    colour: Literal["free", "keep", "source"] = Field(
        "free",
        description="colours; free: the dream's own; keep: it dreams in light alone, and places "
        "keep their colours; source: the dream is recoloured to the colours of its source",
    )
    palette: FilePath | None = Field(
        None,
        description="a picture to whose colours the dream is recoloured; none: to no picture's",
    )
    width: int | None = Field(
        None,
        ge=SMALLEST_SIDE,
        le=LARGEST_SIDE,
        description="width at which frames are dreamed, in pixels; what is dreamed is enlarged and "
        "added to the larger source; none: their own",
    )
    wrap: Literal["none", "x", "y", "both"] = Field(
        "none",
        description="edges that meet without a seam: x: left and right, as in a panorama; y: top "
        "and bottom; both: all, as in a tile",
    )
    symmetry: int = Field(
        1,
        ge=1,
        le=64,
        description="how often a dream is alike in a full turn about the centre: 1 not, 2 upside "
        "down as well, 6 like a snowflake",
    )


class Mask(Section):
    """Where the dream is. Of what is outside, nothing changes."""

    file: FilePath | None = Field(
        None,
        description="white, or opaque, where the dream is: a picture, a film, or a folder of "
        "numbered pictures, the first of which is for the source's first frame; none: everywhere",
    )
    key: KeyText | None = Field(
        None,
        description="what of the source is dreamed: alpha, colour:#00ff00, light:0.6..1, "
        "motion:moving, motion:still, or a class such as person; beside a file, only there; none: "
        "everything",
    )
    tolerance: float = Field(
        0.1,
        gt=0,
        le=1,
        description="how far a colour (in OKLab) or light (0 to 1) may be from that of the key",
    )
    invert: bool = Field(False, description="whether the dream is where the mask is not")
    grow: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="how far the mask is grown, in shorter sides of the picture; below 0 shrunk",
    )
    feather: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Gaussian blur of the mask's edge: its sigma, in shorter sides of the picture",
    )
    carry: bool = Field(
        False,
        description="whether a mask painted for some frames, such as 0001.png and 0050.png, or for "
        "the first alone, is carried along the flow; without, a picture stays where it is",
    )
    weights: FilePath | None = Field(
        None,
        description="weights of lraspp_mobilenet_v3_large, which finds classes: a file of "
        "safetensors or torch; none: downloaded",
    )

    @property
    def is_everywhere(self) -> bool:
        """Whether there is no mask."""
        return self.file is None and self.key is None


class Region(Section):
    """A dream of its own in a part of the picture."""

    terms: TermWeights = Field(
        {}, description="what is climbed there, each with its weight; none: the terms of the dream"
    )
    mask: Mask = Mask()


class Imagine(Section):
    """How a picture is imagined, which begins with noise rather than with a source."""

    steps: int = Field(150, ge=1, le=100_000, description="steps in which it is imagined")
    views: int = Field(4, ge=1, le=256, description="random views of it that a step climbs")
    rate: float = Field(0.06, gt=0, le=10, description="rate of Adam, by which a step is sized")
    side: int = Field(
        224, ge=32, le=2048, description="shorter side of a view, in pixels, as networks are taught"
    )
    least: float = Field(
        0.5, ge=0.05, le=2, description="share of the picture's sides that the closest view shows"
    )
    most: float = Field(
        1.2, ge=0.05, le=2, description="share of the picture's sides that the widest view shows"
    )
    turn: float = Field(12.0, ge=0, le=180, description="largest turn of a view, in degrees")
    shift: float = Field(
        0.1, ge=0, le=1, description="how far a view may leave the picture, in half sides"
    )
    contrast: float = Field(
        0.2, ge=0, le=2, description="largest change of a view's contrast, as a logarithm"
    )
    tint: float = Field(0.08, ge=0, le=1, description="largest change of a view's colours, of 1")
    noise: float = Field(
        0.1, ge=0, le=1, description="noise in the first views, a standard deviation, of 1"
    )
    decay: float = Field(
        0.0, ge=0, le=1, description="share of the picture that fades to grey in a step"
    )
    blur: float = Field(
        0.0, ge=0, le=100, description="blur in a step, the sigma of a Gaussian, in pixels"
    )
    clip: float = Field(
        0.0, ge=0, le=1, description="share of the pixels, the faintest, that turn grey in a step"
    )


class Video(Section):
    """How a dream is carried from frame to frame of a video."""

    # Strength grows like step / (1 - carry), the warp error like the step's square: a long carry
    # with small steps holds stillest. Measured on a slow clip at 384x216 with GoogLeNet: with one
    # step of 1.5 at carry 0.95, the warp error is 13.5 times the source's; frame by frame, 224.
    carry: float = Field(
        0.96, ge=0, le=0.99, description="least share of the dream that flows on to the next frame"
    )
    momentum: float = Field(
        0.4, ge=0, le=0.99, description="share of the ascent's direction kept from the frame before"
    )
    frame_steps: int = Field(
        3,
        ge=0,
        le=10_000,
        description="most ascent steps in an octave, in any frame but a shot's first",
    )
    cadence: int = Field(
        1, ge=1, le=100, description="one frame in so many is dreamed in full, the others lightly"
    )
    hold_light: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of the change in broad light and colour that is taken back: 0 none",
    )


class Zoom(Section):
    """How the endless zoom is dreamed from frame to frame."""

    evolve: float = Field(
        0.6, ge=0, le=50, description="ascent steps in an octave of a frame, at 30 frames a second"
    )
    frame_steps: int = Field(
        3, ge=0, le=10_000, description="most ascent steps in an octave of a frame"
    )
    hold_palette: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of drift in colour and contrast that is taken back a second",
    )
    variety: float = Field(
        1.0,
        ge=0,
        le=10,
        description="how firmly a zoom is kept from becoming one pattern: 0 not at all",
    )


class Camera(Section):
    """The motion of the endless zoom in a second."""

    zoom: float = Field(
        1.35,
        ge=0.01,
        le=100,
        description="times the picture grows in a second; below 1 the camera moves away; a zoom of "
        "Deforum's is per_frame(0:(1.02))",
    )
    rotation: float = Field(0.0, ge=-360, le=360, description="roll, in degrees a second")
    pan_x: float = Field(0.0, ge=-2, le=2, description="move right, in frame widths a second")
    pan_y: float = Field(0.0, ge=-2, le=2, description="move down, in frame heights a second")
    tilt: float = Field(0.0, ge=-90, le=90, description="tip up, in degrees a second")
    yaw: float = Field(0.0, ge=-90, le=90, description="turn right, in degrees a second")
    pivot_x: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="the point that zoom and roll keep in place, in frame widths from the centre",
    )
    pivot_y: float = Field(
        0.0,
        ge=-0.5,
        le=0.5,
        description="the point that zoom and roll keep in place, in frame heights from the centre",
    )


class Flow(Section):
    """How the motion between source frames is estimated."""

    method: Literal["dis", "farneback", "raft", "raft_small", "none"] = Field(
        "dis", description="estimator of flow; none: every frame is dreamed alone and in full"
    )
    weights: FilePath | None = Field(
        None,
        description="weights of raft or raft_small: a file of safetensors or torch; "
        "none: downloaded",
    )
    height: int = Field(
        240,
        ge=32,
        le=4320,
        description="shorter side, in pixels, to which frames are shrunk to estimate flow",
    )


class Shots(Section):
    """Where one shot ends and the next begins."""

    threshold: float = Field(
        27.0,
        gt=0,
        le=255,
        description="mean change of hue, saturation and value that may mean a cut",
    )
    max_hidden: float = Field(
        0.6,
        gt=0,
        le=1,
        description="share of a frame occluded in the one before that may mean a cut too",
    )
    min_seconds: float = Field(0.5, ge=0, le=3600, description="shortest shot, in seconds")
    flash_seconds: float = Field(
        0.25, ge=0, le=10, description="longest flash that does not end a shot, in seconds"
    )


class Source(Section):
    """How a video is read, and which part of its pictures."""

    stream: int = Field(
        0, ge=0, le=999, description="number of the video stream that is read, from 0"
    )
    fps: Rate | None = Field(
        None,
        description="a constant rate, in frames a second: 24, 23.976 or 30000/1001; none: its own",
    )
    crop: CropShape | None = Field(
        None,
        description="shape to which pictures are cropped, such as 9:16, or the size, such as "
        "1080x1920; none: they stay whole",
    )
    crop_at: CropPlace = Field("centre", description="part of a picture that a crop keeps")
    decoder: Decoder = Field(
        "auto",
        description="what decodes a film: opencv, or pyav, which is exact and slower; auto: opencv "
        "where it is faithful",
    )
    bars: BarsText = Field(
        "auto",
        description="flat borders beside the picture, which are not dreamed; auto: they are found; "
        "keep: they are dreamed like picture; or L:T:R:B, in pixels of the source, once cropped",
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
        description="constant quality of h264, hevc, av1 and vp9; less is better; none: a fine one",
    )
    pixel_format: str = Field(
        "auto",
        description="pixel format, as ffmpeg names it; auto: the source's depth and alpha, where "
        "the codec has them",
    )
    speed: Speed = Field(
        "veryfast", description="speed of the encoder: a slower one makes smaller files"
    )
    encoder: Encoder = Field(
        "software",
        description="what encodes: software, whose file is the same each time; auto: a graphics "
        "card's encoder, where one works; or ffmpeg's name of that, such as h264_nvenc",
    )
    side_by_side: bool = Field(False, description="whether the source is shown beside the dream")
    audio: bool = Field(True, description="whether the source's sound is kept")
    subtitles: bool = Field(True, description="whether the source's subtitles are kept")
    save_seconds: float = Field(
        30, ge=0, le=86_400, description="most work, in seconds, that a crash or kill may lose"
    )
    keep_state: bool = Field(
        True, description="whether the state that --continue needs is kept beside a zoom"
    )


def _as_regions(value: Any) -> Any:
    """`value` as a tuple. Raises ValueError for what is no list of tables, and for a table with a
    name that none has."""
    if not isinstance(value, list | tuple):
        raise ValueError("is no list of tables; [[region]] begins each")
    for one in value:
        inner = one.get("mask") if isinstance(one, Mapping) else None
        for table, model in ((one, Region), (inner, Mask)):
            for name in table if isinstance(table, Mapping) else ():
                if name not in model.model_fields:
                    near = nearest(str(name), model.model_fields)
                    raise ValueError(f"has no {name!r}{near or '; ' + _has(model)}")
    return tuple(value)


def _has(model: type[Section]) -> str:
    return f"it has {', '.join(model.model_fields)}"


Regions = Annotated[tuple[Region, ...], BeforeValidator(_as_regions)]


class Settings(Section):
    """All settings of a render. Those that are numbers may follow a schedule over time."""

    network: str = Field(
        "dreamnet",
        description="the network that dreams: its name, or a file that dreamreel train wrote",
    )
    weights: FilePath | None = Field(
        None, description="the network's weights: a file of safetensors or torch; none: its own"
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
        description="width of the result, in pixels, at the source's shape; none: the source's",
    )
    region: Regions = Field(
        (),
        description="dreams of their own in parts of the picture, each a table [[region]] of terms "
        "and of a mask, which has the settings of mask",
    )
    dream: Dream = Dream()
    mask: Mask = Mask()
    imagine: Imagine = Imagine()
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
        """The schedules, by the dotted name of their setting, or of a part of it: the weight of a
        term is `dream.terms.parts`. The setting's own field holds the value at frame 0."""
        return MappingProxyType(self._schedules)

    @property
    def dreams(self) -> tuple[Dream, ...]:
        """The dream of each region, with its terms, if it has any; without regions, the dream."""
        if not self.region:
            return (self.dream,)
        own = (region.terms or self.dream.terms for region in self.region)
        return tuple(self.dream.model_copy(update={"terms": terms}) for terms in own)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The masks of the regions, if there are any, and that of all."""
        return (*(region.mask for region in self.region), self.mask)

    @property
    def changes(self) -> frozenset[str]:
        """The dotted names of the settings that change over time."""
        return frozenset(setting_of(name) for name in self._schedules)

    @property
    def needs_music(self) -> bool:
        """Whether some schedule has no value without music."""
        return any(schedule.needs_music for schedule in self._schedules.values())

    def following(self, schedules: dict[str, Schedule]) -> "Settings":
        """A copy of these settings that follows `schedules`, in place of those it had."""
        copy = self.model_copy()
        copy._schedules = schedules
        return copy

    @model_serializer(mode="wrap")
    def _with_schedules(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The table from which `grammar.build` makes equal settings."""
        table: dict[str, Any] = dump(self)
        for name, schedule in self._schedules.items():
            put_at(table, path_to(name), schedule.plain())
        return table


# Settings, and whole sections, that no schedule can change.
FIXED = (
    "network",
    "weights",
    "precision",
    "device",
    "seed",
    "width",
    "dream.tile",
    "dream.palette",
    "dream.width",
    "region",
    "imagine",
    "flow",
    "shots",
    "source",
    "output",
)

# The settings that a schedule can give per frame, as Deforum does. GROWTH is multiplied from
# frame to frame, the others are added up.
GROWTH = "camera.zoom"
MOTIONS = (GROWTH, *(f"camera.{name}" for name in ("rotation", "pan_x", "pan_y", "tilt", "yaw")))

# Earlier names of settings, and their names now.
RENAMED = {
    "dream.layers": "dream.terms",
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
    """Each setting's dotted name and its field, in the order of definition."""
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
    """The value in `settings` of the dotted `name`: a setting, or a part of one."""
    value: Any = settings
    for part in path_to(name):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def setting_of(name: str) -> str:
    """The setting that the dotted `name` is, or is a part of, as a layer's weight is."""
    while name not in all_fields() and "." in name:
        name = name.rpartition(".")[0]
    return name


def path_to(name: str) -> list[str]:
    """The keys that lead to the dotted `name` in a nested table. A layer's name, dots and all, is
    one key."""
    setting = setting_of(name)
    return [*setting.split("."), *([name[len(setting) + 1 :]] if name != setting else [])]


def put(table: dict[str, Any], name: str, value: Any) -> None:
    """Put `value` into the nested `table` under the dotted `name`. A scalar in the way is
    replaced."""
    *parents, last = name.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            inner = table[parent] = {}
        table = inner
    table[last] = value


def put_at(table: dict[str, Any], path: list[str], value: Any) -> None:
    """Put `value` into the nested `table` at the end of the keys `path`."""
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
    """Whether the setting of `field` is a number, or an optional one."""
    return types_in(field.annotation) - {type(None)} <= {int, float}


def is_whole(name: str) -> bool:
    """Whether the setting of the dotted `name` is a whole number."""
    return int in types_in(all_fields()[setting_of(name)].annotation)


def holds_numbers(field: FieldInfo) -> bool:
    """Whether the setting of `field` is a table of numbers, as layers' weights are."""
    return get_origin(field.annotation) is dict


def types_in(annotation: Any) -> set[Any]:
    """The types that `annotation`, one type or a union, allows."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return {kind for part in get_args(annotation) for kind in types_in(part)}
    return {annotation}
