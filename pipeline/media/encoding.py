"""How frames become a video file: codecs, pixel formats, and the ffmpeg that encodes."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dreamreel.pipeline.config.fields import SPEEDS, Output
from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, Running, failure_of, start_ffmpeg
from dreamreel.pipeline.opening import open_container

# ffmpeg 7 tags without converting where it is given flags alone; this is right on every version.
TO_BT709 = (
    "scale=flags=accurate_rnd+full_chroma_inp:in_range=pc:out_range=tv:out_color_matrix=bt709,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
RAW = {
    (3, 1): "bgr24",
    (4, 1): "bgra",
    (3, 2): "bgr48le",
    (4, 2): "bgra64le",
}  # of a frame's channels and the bytes of each
YUV = tuple(f"yuv{sampling}p{deep}" for deep in ("", "10le") for sampling in (420, 422, 444))


@dataclass(frozen=True)
class Codec:
    """A way to encode: the encoder ffmpeg calls by that name, the pixel formats that it takes,
    the containers that hold it, the usual one first, and its usual constant quality and its worst,
    where it has such a thing."""

    encoder: str
    formats: tuple[str, ...]
    containers: tuple[str, ...]
    crf: int | None = None
    worst_crf: int = 0

    def format_for(self, depth: int, has_alpha: bool) -> str:
        """The pixel format for pictures so deep: of the fewest bits that keep all of them, and
        alpha where there is some; as near as the codec comes."""
        alpha = [name for name in self.formats if keeps_alpha(name) == has_alpha] or self.formats
        deep = [name for name in alpha if depth_of(name) >= depth]
        return deep[0] if deep else max(alpha, key=depth_of)


CODECS = {
    "h264": Codec("libx264", YUV, (".mp4", ".m4v", ".mov", ".mkv"), 17, 51),
    "hevc": Codec("libx265", YUV, (".mp4", ".m4v", ".mov", ".mkv"), 19, 51),
    "av1": Codec("libsvtav1", ("yuv420p", "yuv420p10le"), (".mp4", ".mkv", ".webm"), 22, 63),
    "vp9": Codec("libvpx-vp9", (*YUV, "yuva420p"), (".webm", ".mkv", ".mp4"), 22, 63),
    "prores": Codec("prores_ks", ("yuv422p10le", "yuv444p10le", "yuva444p10le"), (".mov", ".mkv")),
    "ffv1": Codec("ffv1", ("bgr0", "bgra", "gbrp16le", "gbrap16le"), (".mkv",)),
}
CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
PLAYED_EVERYWHERE = "yuv420p"  # of H.264, at any depth: phones and browsers play no other
USUAL = {".webm": "vp9"}  # the codec of an ending, where it is not h264


@dataclass(frozen=True)
class Encoding:
    """How frames of `size` (height, width) become a video: `rate` a second, by `codec` in a
    `pixel_format` of its, at constant quality `crf`, as fast as `speed` says; `pixel_shape` is a
    pixel's width over its height. They are shown in `reverse`, last first, if so."""

    size: tuple[int, int]
    rate: Fraction
    crf: int | None = None
    speed: str = "veryfast"
    pixel_shape: Fraction = Fraction(1)
    codec: str = "h264"
    pixel_format: str = PLAYED_EVERYWHERE
    reverse: bool = False

    @property
    def depth(self) -> int:
        """Bits of a colour that it keeps."""
        return depth_of(self.pixel_format)

    @property
    def has_alpha(self) -> bool:
        """Whether it keeps transparency."""
        return keeps_alpha(self.pixel_format)

    def told(self, suffix: str) -> str:
        """What it is called, in a file of that ending."""
        return f"{self.codec} in {suffix}" if suffix in CONTAINERS else suffix

    @property
    def coded_size(self) -> tuple[int, int]:
        """`size`, with odd sides one longer where x264 and x265 let neighbours share a colour."""
        shared = self.codec in ("h264", "hevc") and "444" not in self.pixel_format
        return even(self.size) if shared else self.size

    @property
    def frame_bytes(self) -> int:
        """Of a frame as it is, before it is encoded."""
        height, width = self.coded_size
        return height * width * (4 if self.has_alpha else 3) * (2 if self.depth > 8 else 1)

    @property
    def segment_suffix(self) -> str:
        """The ending of files that hold a part of the video. Matroska rounds times to
        milliseconds, but holds what MP4 does not."""
        if self.codec == "prores":
            return ".mov"
        return ".mkv" if self.codec == "ffv1" or self.has_alpha else ".mp4"


def encoding_for(
    output: Output,
    suffix: str,
    size: tuple[int, int],
    rate: Fraction,
    pixel_shape: Fraction = Fraction(1),
    depth: int = 8,
    has_alpha: bool = False,
) -> Encoding:
    """How frames of that depth, with or without alpha, are encoded into a container of that
    ending, as `output` asks. Raises UserError where that cannot be."""
    name = codec_for(output, suffix)
    codec = CODECS[name]
    if codec.crf is not None and output.crf is not None and output.crf > codec.worst_crf:
        raise UserError(f"output.crf = {output.crf}: that of {name} is at most {codec.worst_crf}")
    pixel_format = output.pixel_format
    if pixel_format == "auto":
        plain = name == "h264"
        pixel_format = PLAYED_EVERYWHERE if plain else codec.format_for(depth, has_alpha)
    elif pixel_format not in codec.formats:
        close = nearest(pixel_format, codec.formats)
        raise UserError(
            f"output.pixel_format = {pixel_format}: {name} takes {', '.join(codec.formats)}{close}"
        )
    crf = codec.crf if output.crf is None else output.crf
    return Encoding(size, rate, crf, output.speed, pixel_shape, name, pixel_format)


def codec_for(output: Output, suffix: str) -> str:
    """The name of the codec that `output` asks for. Raises UserError where a file of that ending
    does not hold it."""
    name = USUAL.get(suffix, "h264") if output.codec == "auto" else output.codec
    if suffix in CODECS[name].containers:
        return name
    others = [other for other, codec in CODECS.items() if suffix in codec.containers]
    raise UserError(
        f"{suffix} does not hold {name}: {' or '.join(CODECS[name].containers)} would, and "
        f"{suffix} would hold {' or '.join(others)}"
    )


def usual_suffix(codec: str) -> str:
    """The ending of a video encoded by `codec`, where nobody names one."""
    return ".mp4" if codec == "auto" else CODECS[codec].containers[0]


def depth_of(pixel_format: str) -> int:
    """Bits of a colour in `pixel_format`."""
    return next((bits for bits in (16, 12, 10) if pixel_format.endswith(f"{bits}le")), 8)


def keeps_alpha(pixel_format: str) -> bool:
    """Whether `pixel_format` has room for transparency."""
    return pixel_format.startswith(("yuva", "bgra", "gbrap"))


def start_encoding(raw: Path, out: Path, encoding: Encoding, threads: int) -> Running:
    """An ffmpeg of our own that turns the frames in `raw`, one after the other and as `prepared`
    makes them, into the file `out` without sound; in reverse, if so."""
    height, width = encoding.coded_size
    rate, shape = encoding.rate, encoding.pixel_shape
    kind = RAW[4 if encoding.has_alpha else 3, 2 if encoding.depth > 8 else 1]
    filters = "reverse," if encoding.reverse else ""
    filters += f"{TO_BT709}," if encoding.pixel_format.startswith("yuv") else ""
    return start_ffmpeg(
        [
            *("-f", "rawvideo", "-pixel_format", kind, "-video_size", f"{width}x{height}"),
            *("-framerate", f"{rate.numerator}/{rate.denominator}", "-i", str(raw.absolute())),
            *("-vf", f"{filters}setsar={shape.numerator}/{shape.denominator}"),
            *("-c:v", CODECS[encoding.codec].encoder, *_options(encoding, threads)),
            *("-pix_fmt", encoding.pixel_format, *BIT_EXACT),
            *("-video_track_timescale", str(rate.numerator), str(out.absolute())),
        ]
    )


def _options(encoding: Encoding, threads: int) -> list[str]:
    """What the encoder is told of quality, speed and threads, each in its own words."""
    slowness = SPEEDS.index(encoding.speed)  # 0 to 7
    quality = ["-crf", str(encoding.crf)]
    use = ["-threads", str(threads)]
    match encoding.codec:
        case "h264":  # looking ahead in a thread of its own, it now and then decides otherwise
            return [*quality, "-preset", encoding.speed, *use, "-x264-params", "sync-lookahead=0"]
        case "hevc":  # Apple's players know it by the name of hvc1 alone
            told = f"log-level=error:pools={threads}:info=0"
            return [*quality, "-preset", encoding.speed, "-x265-params", told, "-tag:v", "hvc1"]
        case "av1":
            told = f"lp={min(max(threads, 1), 6)}"
            # Above 9, its presets leave old blocks standing, or write what nobody can decode.
            preset = min(12 - slowness, 9)
            return [*quality, "-preset", str(preset), "-svtav1-params", told]
        case "vp9":
            pace = ["-deadline", "good", "-cpu-used", str(max(0, 5 - slowness)), "-row-mt", "1"]
            return [*quality, "-b:v", "0", *pace, "-auto-alt-ref", "0", *use]
        case "prores":
            profile = "4" if "444" in encoding.pixel_format else "3"
            return ["-profile:v", profile, "-vendor", "apl0", *use]
        case _:  # every frame whole, each slice with its checksum
            return ["-level", "3", "-g", "1", "-slicecrc", "1", *use]


def prepared(frame: Frame, encoding: Encoding) -> Frame:
    """`frame` (H, W, 3 or 4) with the channels, the depth and the size that are encoded."""
    return padded_to(alike(frame, encoding), encoding.coded_size)


def alike(frame: Frame, encoding: Encoding) -> Frame:
    """`frame` (H, W, 3 or 4) with the channels and the depth that are encoded."""
    wanted = np.uint16 if encoding.depth > 8 else np.uint8
    if frame.dtype != wanted:
        frame = frame.astype(np.uint16) * 257 if wanted is np.uint16 else to_8_bits(frame)
    if encoding.has_alpha and frame.shape[2] == 3:
        opaque = np.full((*frame.shape[:2], 1), np.iinfo(frame.dtype).max, frame.dtype)
        frame = np.concatenate([frame, opaque], 2)
    return frame[..., : 4 if encoding.has_alpha else 3]


def encode(frames: Iterable[Frame], out: Path, encoding: Encoding, threads: int = 0) -> None:
    """Write `frames` into the file `out`, without sound."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "frames"
        with raw.open("wb") as file:
            for frame in frames:
                file.write(prepared(frame, encoding).tobytes())
        failure = failure_of(*start_encoding(raw, out, encoding, threads))
    if failure is not None:
        raise UserError(f"ffmpeg could not write {out}: {failure}")


def count_frames(path: Path) -> int:
    """How many pictures the file at `path` holds, counted packet by packet."""
    with open_container(path) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def even(size: tuple[int, int]) -> tuple[int, int]:
    """`size` with odd sides one longer, as 4:2:0 demands."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def padded_to(frame: Frame, size: tuple[int, int]) -> Frame:
    """`frame` with its last row or column repeated up to `size`; never scaled."""
    height, width = size
    if (height, width) == frame.shape[:2]:
        return frame
    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
    return np.pad(frame, missing, mode="edge")
