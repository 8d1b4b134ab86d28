"""Results that are not videos: GIF, WebP and APNG animations, and series of pictures.

They are rendered as a lossless video first, and converted from that when it is whole.
"""

from fractions import Fraction
from pathlib import Path

from dreamreel.pipeline.config.fields import Output
from dreamreel.pipeline.errors import PassingError, UserError, nearest
from dreamreel.pipeline.media.encoding import Encoding
from dreamreel.pipeline.media.exr import write_light
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, run_ffmpeg
from dreamreel.pipeline.media.sequences import MEANT, NUMBER, is_series, printf_pattern
from dreamreel.pipeline.opening import ffmpeg_input

ANIMATED = (".gif", ".webp", ".png", ".apng")
# The lossless video's pixel format, by the pixel format of the pictures that are made of it.
LOSSLESS = {"rgb24": "bgr0", "rgba": "bgra", "rgb48": "gbrp16le", "rgba64": "gbrap16le"}
# The pixel formats that pictures of each ending take, the usual one first.
PICTURES = {
    ".png": ("rgb24", "rgba", "rgb48", "rgba64"),
    ".tif": ("rgb24", "rgba", "rgb48", "rgba64"),
    ".tiff": ("rgb24", "rgba", "rgb48", "rgba64"),
    ".exr": ("rgb48", "rgba64"),
    ".webp": ("rgb24", "rgba"),
    ".jpg": ("rgb24",),
    ".jpeg": ("rgb24",),
    ".bmp": ("rgb24",),
}
# Frames a second. GIF counts delays in 10 ms, and browsers show a frame of 10 ms for 100 ms.
FASTEST_GIF = 50
LONGEST_IN_GIF = Fraction(65535, 100)  # seconds of a frame: 16 bits of hundredths
SERIES = "pictures.partial"  # the folder for a series, in the folder for pieces


def is_animated(path: Path) -> bool:
    """Whether `path` has the ending of an animation and is no pattern for a series."""
    return not is_series(path) and path.suffix.lower() in ANIMATED


def lossless_encoding(
    output: Output,
    path: Path,
    size: tuple[int, int],
    rate: Fraction,
    pixel_shape: Fraction,
    depth: int,
    has_alpha: bool,
) -> Encoding:
    """The encoding of the lossless video of which `path` is made. `depth` is in bits a channel.

    Raises UserError where `path` cannot have the codec or the pixel format in `output`.
    """
    kind = path.suffix.lower()
    takes = PICTURES[kind] if is_series(path) else ("rgb24", "rgba")
    if output.codec != "auto":
        raise UserError(f"output.codec = {output.codec} is for videos: {kind} has none")
    name = output.pixel_format
    if name == "auto":
        fitting = [one for one in takes if ("a" in one) == has_alpha] or takes
        deep = [one for one in fitting if (one in ("rgb48", "rgba64")) == (depth > 8)] or fitting
        name = deep[0]
    elif name not in takes:
        raise UserError(
            f"output.pixel_format = {name}: {kind} takes {', '.join(takes)}{nearest(name, takes)}"
        )
    return Encoding(size, rate, pixel_shape=pixel_shape, codec="ffv1", pixel_format=LOSSLESS[name])


def export(
    video: Path, out: Path, encoding: Encoding, first: int, varies: bool, folder: Path
) -> Path:
    """Make `out`, an animation or a series, from the lossless `video`, inside `folder`. Returns the
    file or the folder that was made.

    Pictures are numbered from `first`. `varies`: the rate is not constant. Raises UserError where
    ffmpeg fails.
    """
    if is_series(out):
        made = folder / SERIES
        made.mkdir()
        if out.suffix.lower() == ".exr":
            write_light(video, made, printf_pattern(out), first)
            return made
        # The name has its protocol, since it may begin with a dash or have a colon. ffmpeg runs in
        # the folder, since a % in the folder's name would be taken for a pattern.
        name, options = f"file:{printf_pattern(out)}", [*_still(out, encoding), "-f", "image2"]
        options += ["-start_number", str(first)]
    else:
        made = folder / f"whole.partial{out.suffix}"
        name, options = str(made.absolute()), _animation(video, out, encoding, folder)
        # Without this, the times of a varying rate are rounded to the mean rate.
        options += ["-enc_time_base", "demux"] if varies else []
    failure = run_ffmpeg(
        [*ffmpeg_input(video), *options, "-fps_mode", "passthrough", *BIT_EXACT, name],
        made if is_series(out) else None,
    )
    if failure is not None:
        raise PassingError(f"ffmpeg could not write {out}: {failure}")
    return made


def _still(out: Path, encoding: Encoding) -> list[str]:
    """The ffmpeg options that write each frame as a picture in a file of its own."""
    deep, alpha = encoding.depth > 8, encoding.has_alpha
    match out.suffix.lower():
        case ".png":
            kinds = {False: ("rgb24", "rgba"), True: ("rgb48be", "rgba64be")}
            return ["-c:v", "png", "-pix_fmt", kinds[deep][alpha]]
        case ".tif" | ".tiff":
            kinds = {False: ("rgb24", "rgba"), True: ("rgb48le", "rgba64le")}
            return ["-c:v", "tiff", "-pix_fmt", kinds[deep][alpha]]
        case ".webp":
            kind = "bgra" if alpha else "yuv420p"
            return ["-c:v", "libwebp", "-quality", "95", "-pix_fmt", kind]
        case ".bmp":
            return ["-c:v", "bmp", "-pix_fmt", "bgr24"]
        case _:
            to_jpeg = "scale=flags=accurate_rnd:in_range=pc:out_range=pc:out_color_matrix=bt601"
            return ["-vf", to_jpeg, "-c:v", "mjpeg", "-q:v", "1", "-qmin", "1", "-pix_fmt",
                    "yuvj444p"]  # fmt: skip


def _animation(video: Path, out: Path, encoding: Encoding, folder: Path) -> list[str]:
    """The ffmpeg options that write an animation, which plays for ever."""
    match out.suffix.lower():
        case ".gif":
            palette = folder / "palette.partial.png"
            _make_palette(video, palette, encoding, out)
            use = "[0:v][1:v]paletteuse=dither=sierra2_4a:diff_mode=rectangle"
            # A % in a folder's name must not be taken for a pattern.
            one = ("-f", "image2", "-pattern_type", "none", "-i", str(palette.absolute()))
            return [*one, "-lavfi", use, "-loop", "0"]
        case ".webp":
            kind = "bgra" if encoding.has_alpha else "yuv420p"
            return ["-c:v", "libwebp_anim", "-quality", "90", "-loop", "0", "-pix_fmt", kind]
        case _:
            kind = "rgba" if encoding.has_alpha else "rgb24"
            return ["-f", "apng", "-plays", "0", "-pred", "mixed", "-pix_fmt", kind]


def _make_palette(video: Path, palette: Path, encoding: Encoding, out: Path) -> None:
    """Write the 256 colours of a GIF to `palette`. It takes a pass of its own: in one pass, ffmpeg
    would hold every frame in memory."""
    keep = int(encoding.has_alpha)
    best = f"palettegen=reserve_transparent={keep}:stats_mode=full"
    failure = run_ffmpeg(
        [*ffmpeg_input(video), "-vf", best, "-update", "1", "-frames:v", "1",
         str(palette.absolute())]
    )  # fmt: skip
    if failure is not None:
        raise PassingError(f"ffmpeg could not write {out}: {failure}")


def check_series_name(path: Path) -> None:
    """Raise UserError unless a series can be written by the pattern `path`."""
    if len(NUMBER.findall(path.name)) != 1 or len(MEANT.findall(path.name)) != 1:
        raise UserError(
            f"{path.name} must have one number, %d or one of %01d to %019d, as in frames/%05d.png"
        )
    if path.parent == Path(".") or path.parent.name in ("", ".."):
        raise UserError(f"{path} needs a folder of its own: frames/{path.name}")
    if path.suffix.lower() not in PICTURES:
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(f"{path} {given}; {', '.join(PICTURES)} would work")
