"""Encoding frames into a video file: codecs, pixel formats, and the ffmpeg that encodes."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dreamreel.pipeline.config.fields import SPEEDS, Output
from dreamreel.pipeline.errors import PassingError, UserError, nearest
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, Running, failure_of, start_ffmpeg
from dreamreel.pipeline.media.hardware import find_hardware, quality_of
from dreamreel.pipeline.opening import open_container

# Given colour flags alone, ffmpeg 7 tags without converting; these filters convert in any version.
TO_BT709 = (
    "scale=flags=accurate_rnd+full_chroma_inp:in_range=pc:out_range=tv:out_color_matrix=bt709,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
RAW = {
    (3, 1): "bgr24",
    (4, 1): "bgra",
    (3, 2): "bgr48le",
    (4, 2): "bgra64le",
}  # ffmpeg's name of a frame's format, by (channels, bytes a channel)
YUV = tuple(f"yuv{sampling}p{deep}" for deep in ("", "10le") for sampling in (420, 422, 444))


@dataclass(frozen=True)
class Codec:
    """A codec, as ffmpeg encodes it."""

    encoder: str  # ffmpeg's name
    formats: tuple[str, ...]  # pixel formats that it takes
    containers: tuple[str, ...]  # that hold it, the usual one first
    crf: int | None = None  # the default constant quality; None where it has no such option
    worst_crf: int = 0  # the largest value

    def format_for(self, depth: int, has_alpha: bool) -> str:
        """The codec's nearest pixel format for pictures of `depth` bits a channel: with alpha if
        they have it; of the fewest bits that keep the depth, or of the most that there are."""
        alpha = [name for name in self.formats if keeps_alpha(name) == has_alpha] or self.formats
        deep = [name for name in alpha if depth_of(name) >= depth]
        return deep[0] if deep else max(alpha, key=depth_of)


# The default CRFs are close in quality: 40.6, 40.0, 40.7 and 39.2 dB of PSNR, in this order, on
# samples/clouds.mp4. x264's 17 is visually lossless by ffmpeg's H.264 guide.
CODECS = {
    "h264": Codec("libx264", YUV, (".mp4", ".m4v", ".mov", ".mkv"), 17, 51),
    "hevc": Codec("libx265", YUV, (".mp4", ".m4v", ".mov", ".mkv"), 19, 51),
    "av1": Codec("libsvtav1", ("yuv420p", "yuv420p10le"), (".mp4", ".mkv", ".webm"), 22, 63),
    "vp9": Codec("libvpx-vp9", (*YUV, "yuva420p"), (".webm", ".mkv", ".mp4"), 22, 63),
    "prores": Codec("prores_ks", ("yuv422p10le", "yuv444p10le", "yuva444p10le"), (".mov", ".mkv")),
    "ffv1": Codec("ffv1", ("bgr0", "bgra", "gbrp16le", "gbrap16le"), (".mkv",)),
}
CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
PLAYED_EVERYWHERE = "yuv420p"  # of H.264, at any depth: the one that phones and browsers play
USUAL = {".webm": "vp9"}  # the default codec by ending; h264 for any other


@dataclass(frozen=True)
class Encoding:
    """The settings by which frames become a video."""

    size: tuple[int, int]  # (height, width) of a frame
    rate: Fraction  # frames a second
    crf: int | None = None  # constant quality, where the codec has it
    speed: str = "veryfast"  # one of `SPEEDS`
    pixel_shape: Fraction = Fraction(1)  # width of a pixel over its height
    codec: str = "h264"  # a name in `CODECS`
    pixel_format: str = PLAYED_EVERYWHERE  # one of the codec's
    reverse: bool = False  # show the last frame first
    hardware: str | None = None  # ffmpeg's name of the encoder in hardware, if one encodes

    @property
    def depth(self) -> int:
        """Bits a channel that it keeps."""
        return depth_of(self.pixel_format)

    @property
    def has_alpha(self) -> bool:
        """Whether it keeps transparency."""
        return keeps_alpha(self.pixel_format)

    def told(self, suffix: str) -> str:
        """Its name in messages, for a file of that ending."""
        return f"{self.codec} in {suffix}" if suffix in CONTAINERS else suffix

    @property
    def coded_size(self) -> tuple[int, int]:
        """`size`, with odd sides one longer where x264 and x265 subsample colour."""
        shared = self.codec in ("h264", "hevc") and "444" not in self.pixel_format
        return even(self.size) if shared else self.size

    @property
    def frame_bytes(self) -> int:
        """The bytes of a frame before it is encoded."""
        height, width = self.coded_size
        return height * width * (4 if self.has_alpha else 3) * (2 if self.depth > 8 else 1)

    @property
    def segment_suffix(self) -> str:
        """The ending of segments: .mp4, unless MP4 does not hold the codec or the alpha. Matroska
        rounds times to milliseconds."""
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
    """The encoding that `output` asks for, of frames of `depth` bits a channel, with or without
    alpha, into a container of the ending `suffix`. Raises UserError where there is none."""
    name = codec_for(output, suffix)
    codec = CODECS[name]
    if codec.crf is not None and output.crf is not None and output.crf > codec.worst_crf:
        raise UserError(f"output.crf = {output.crf}: {name} takes at most {codec.worst_crf}")
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
    hardware = find_hardware(output.encoder, name, pixel_format)
    return Encoding(
        size, rate, crf, output.speed, pixel_shape, name, pixel_format, hardware=hardware
    )


def codec_for(output: Output, suffix: str) -> str:
    """The name of the codec that `output` asks for. Raises UserError where a container of the
    ending `suffix` does not hold it."""
    name = USUAL.get(suffix, "h264") if output.codec == "auto" else output.codec
    if suffix in CODECS[name].containers:
        return name
    others = [other for other, codec in CODECS.items() if suffix in codec.containers]
    raise UserError(
        f"{suffix} does not hold {name}: {' or '.join(CODECS[name].containers)} would, and "
        f"{suffix} would hold {' or '.join(others)}"
    )


def usual_suffix(codec: str) -> str:
    """The default ending of a video encoded by `codec`."""
    return ".mp4" if codec == "auto" else CODECS[codec].containers[0]


def depth_of(pixel_format: str) -> int:
    """Bits a channel in `pixel_format`."""
    return next((bits for bits in (16, 12, 10) if pixel_format.endswith(f"{bits}le")), 8)


def keeps_alpha(pixel_format: str) -> bool:
    """Whether `pixel_format` has an alpha channel."""
    return pixel_format.startswith(("yuva", "bgra", "gbrap"))


def start_encoding(raw: Path, out: Path, encoding: Encoding, threads: int) -> Running:
    """Start an ffmpeg that encodes the frames in the file `raw`, which `prepared` made and which
    follow one another as bytes, into the video `out`, without sound. See `failure_of`."""
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
            *("-c:v", encoding.hardware or CODECS[encoding.codec].encoder),
            *_options(encoding, threads),
            *("-pix_fmt", encoding.pixel_format, *BIT_EXACT),
            *("-video_track_timescale", str(rate.numerator), str(out.absolute())),
        ]
    )


def _options(encoding: Encoding, threads: int) -> list[str]:
    """The encoder's own options for quality, speed and threads."""
    if encoding.hardware is not None:
        tag = ["-tag:v", "hvc1"] if encoding.codec == "hevc" else []
        return [*quality_of(encoding.hardware, encoding.crf or 0), *tag]
    slowness = SPEEDS.index(encoding.speed)  # 0 to 7
    quality = ["-crf", str(encoding.crf)]
    use = ["-threads", str(threads)]
    match encoding.codec:
        case "h264":  # with lookahead in a thread of its own, the bytes vary from run to run
            return [*quality, "-preset", encoding.speed, *use, "-x264-params", "sync-lookahead=0"]
        case "hevc":  # Apple's players accept the tag hvc1 alone
            params = f"log-level=error:pools={threads}:info=0"
            return [*quality, "-preset", encoding.speed, "-x265-params", params, "-tag:v", "hvc1"]
        case "av1":
            params = f"lp={min(max(threads, 1), 6)}"
            # Presets above 9 leave old blocks in the picture, or write files that do not decode.
            preset = min(12 - slowness, 9)
            return [*quality, "-preset", str(preset), "-svtav1-params", params]
        case "vp9":
            pace = ["-deadline", "good", "-cpu-used", str(max(0, 5 - slowness)), "-row-mt", "1"]
            return [*quality, "-b:v", "0", *pace, "-auto-alt-ref", "0", *use]
        case "prores":
            profile = "4" if "444" in encoding.pixel_format else "3"
            return ["-profile:v", profile, "-vendor", "apl0", *use]
        case _:  # every frame a keyframe, every slice with a checksum
            return ["-level", "3", "-g", "1", "-slicecrc", "1", *use]


def prepared(frame: Frame, encoding: Encoding) -> Frame:
    """`frame` (H, W, 3 or 4) with the channels, the depth and the size that `encoding` takes."""
    return padded_to(alike(frame, encoding), encoding.coded_size)


def alike(frame: Frame, encoding: Encoding) -> Frame:
    """`frame` (H, W, 3 or 4) with the channels and the depth that `encoding` takes."""
    wanted = np.uint16 if encoding.depth > 8 else np.uint8
    if frame.dtype != wanted:
        frame = frame.astype(np.uint16) * 257 if wanted is np.uint16 else to_8_bits(frame)
    if encoding.has_alpha and frame.shape[2] == 3:
        opaque = np.full((*frame.shape[:2], 1), np.iinfo(frame.dtype).max, frame.dtype)
        frame = np.concatenate([frame, opaque], 2)
    return frame[..., : 4 if encoding.has_alpha else 3]


def encode(frames: Iterable[Frame], out: Path, encoding: Encoding, threads: int = 0) -> None:
    """Encode `frames` into the video `out`, without sound. Raises UserError where ffmpeg fails."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "frames"
        with raw.open("wb") as file:
            for frame in frames:
                file.write(prepared(frame, encoding).tobytes())
        failure = failure_of(*start_encoding(raw, out, encoding, threads))
    if failure is not None:
        raise PassingError(f"ffmpeg could not write {out}: {failure}")


def count_frames(path: Path) -> int:
    """The number of pictures in the file at `path`, counted by packets, without decoding."""
    with open_container(path) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def even(size: tuple[int, int]) -> tuple[int, int]:
    """`size` with odd sides one longer, as 4:2:0 needs."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def padded_to(frame: Frame, size: tuple[int, int]) -> Frame:
    """`frame` at `size` (height, width), with its last row and column repeated; it is never
    scaled."""
    height, width = size
    if (height, width) == frame.shape[:2]:
        return frame
    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
    return np.pad(frame, missing, mode="edge")
