"""Results that are no video files: GIF, WebP and APNG, and folders of pictures.

They are rendered as a lossless video first, and made of that when it is whole.
"""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from dreamreel.pipeline.config.fields import Output
from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.media.encoding import Encoding
from dreamreel.pipeline.media.exr import write_light
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, run_ffmpeg
from dreamreel.pipeline.media.sequences import NUMBER, is_series
from dreamreel.pipeline.opening import ffmpeg_input

ANIMATED = (".gif", ".webp", ".png", ".apng")
# The pixel formats of pictures, by the names that users give them, and what the lossless video is
# that they are made of.
LOSSLESS = {"rgb24": "bgr0", "rgba": "bgra", "rgb48": "gbrp16le", "rgba64": "gbrap16le"}
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
FASTEST_GIF = 50  # frames a second; players slow down what is faster


def is_animated(path: Path) -> bool:
    """Whether `path` ends as an animated picture does."""
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
    """The video of which `path` is made. Raises UserError where that cannot be as `output` asks."""
    kind = path.suffix.lower()
    takes = PICTURES[kind] if is_series(path) else ("rgb24", "rgba")
    if output.codec != "auto":
        raise UserError(f"output.codec = {output.codec} is a video's: {kind} has none")
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
    """Make what `out` asks for of the whole, lossless `video`, in `folder`; the file, or folder,
    that holds it. Pictures are numbered from `first`; their rate may be one that `varies`. Raises
    UserError where ffmpeg fails."""
    if is_series(out):
        made = folder / SERIES
        made.mkdir()
        if out.suffix.lower() == ".exr":
            write_light(video, made, out, first)
            return made
        # By its protocol: a name may begin with a dash, or have a colon. In its folder: a % there
        # does no harm.
        name, options = f"file:{out.name}", [*_still(out, encoding), "-f", "image2"]
        options += ["-start_number", str(first)]
    else:
        made = folder / f"whole.partial{out.suffix}"
        name, options = str(made.absolute()), _animation(video, out, encoding, folder)
        options += ["-enc_time_base", "demux"] if varies else []  # else counted at the mean rate
    failure = run_ffmpeg(
        [*ffmpeg_input(video), *options, "-fps_mode", "passthrough", *BIT_EXACT, name],
        made if is_series(out) else None,
    )
    if failure is not None:
        raise UserError(f"ffmpeg could not write {out}: {failure}")
    return made


def _still(out: Path, encoding: Encoding) -> list[str]:
    """How a picture in a file of its own is written."""
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
    """How an animated picture is written, playing for ever."""
    match out.suffix.lower():
        case ".gif":
            palette = folder / "palette.partial.png"
            _make_palette(video, palette, encoding, out)
            use = "[0:v][1:v]paletteuse=dither=sierra2_4a:diff_mode=rectangle"
            # A % in a folder's name makes no pattern of it.
            one = ("-f", "image2", "-pattern_type", "none", "-i", str(palette.absolute()))
            return [*one, "-lavfi", use, "-loop", "0"]
        case ".webp":
            kind = "bgra" if encoding.has_alpha else "yuv420p"
            return ["-c:v", "libwebp_anim", "-quality", "90", "-loop", "0", "-pix_fmt", kind]
        case _:
            kind = "rgba" if encoding.has_alpha else "rgb24"
            return ["-f", "apng", "-plays", "0", "-pred", "mixed", "-pix_fmt", kind]


def _make_palette(video: Path, palette: Path, encoding: Encoding, out: Path) -> None:
    """The 256 colours of a GIF, in a pass of their own: together, ffmpeg would hold every frame."""
    keep = int(encoding.has_alpha)
    best = f"palettegen=reserve_transparent={keep}:stats_mode=full"
    failure = run_ffmpeg(
        [*ffmpeg_input(video), "-vf", best, "-update", "1", "-frames:v", "1",
         str(palette.absolute())]
    )  # fmt: skip
    if failure is not None:
        raise UserError(f"ffmpeg could not write {out}: {failure}")


SERIES = "pictures.partial"  # the folder, among the pieces, of pictures in files of their own


if TYPE_CHECKING:
    pass


def check_series_name(path: Path) -> None:
    """Raise UserError unless files can be numbered, and written, as `path` says."""
    if len(NUMBER.findall(path.name)) > 1 or path.name.count("%") > 1:
        raise UserError(f"{path.name} is to hold one number, as frames/%05d.png does")
    if path.parent == Path(".") or path.parent.name in ("", ".."):
        raise UserError(f"{path} needs a folder of its own: frames/{path.name}")
    if path.suffix.lower() not in PICTURES:
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(f"{path} {given}; {', '.join(PICTURES)} would work")
