"""Animations: GIF, WebP, PNG and AVIF files with several frames, read frame by frame."""

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamreel.pipeline.config.values import LARGEST_SIDE
from dreamreel.pipeline.frames import Frame, upright
from dreamreel.pipeline.media.colour import colours_of
from dreamreel.pipeline.media.exif import orientation_of
from dreamreel.pipeline.media.sequences import OnLost, with_stand_ins
from dreamreel.pipeline.media.stills import UNREADABLE, rgba_in_srgb
from dreamreel.pipeline.metadata import chunks
from dreamreel.pipeline.opening import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# Seconds to decode a frame of an animation, and more for each of its pixels; measured with GIFs of
# 64x48 (0.24 ms a frame) and 1920x1080.
FRAME_SECONDS, PIXEL_SECONDS = 2e-4, 1.5e-8
SOON = 2.0  # seconds that need no notice
NO_FRAMES = (b"VP8X", b"ANIM", b"ICCP", b"EXIF", b"XMP ")  # WebP's chunks that hold no frame


@dataclass(frozen=True)
class Animation:
    """A picture file with several frames of 8 bits."""

    path: Path
    height: int  # pixels, upright
    width: int
    has_alpha: bool
    durations: tuple[Fraction, ...]  # of each frame, in seconds
    loops: int  # how often the frames are played; 0: for ever
    fault: str | None = None  # why frames are missing, if any are


def find_animation(path: Path) -> Animation | None:
    """The animation at `path`: a GIF, WebP, PNG or AVIF file. None where it is none of these, or
    has a single frame.

    All frames are decoded, one at a time. Damaged ones at the end do not count. None too for a side
    of more than `LARGEST_SIDE` pixels: one damaged byte may claim that of a small file, and to
    decode it would take minutes and gigabytes.
    """
    try:
        with open_picture(path, ANIMATED) as file:
            if not getattr(file, "is_animated", False):
                return None
            if max(file.size) > LARGEST_SIDE:
                return None
            loops = file.info.get("loop", 0 if file.format == "AVIF" else 1)
            (width, height), shown, count, has_alpha = file.size, [], 0, False
            for seconds, frame in _played(file):
                shown.append(seconds)
                if frame is not None:
                    count, height, width = len(shown), frame.height, frame.width
                    has_alpha = has_alpha or bool((np.asarray(frame)[..., 3] < 255).any())
            fault = _fault(file, max(count, len(shown)), count)
            if orientation_of(file) >= 5:
                height, width = width, height
    except UNREADABLE:
        return None  # the next reader that probes the file reports what is wrong
    if not count:
        return None
    return Animation(path, height, width, has_alpha, tuple(shown[:count]), loops, fault)


def told_of_scan(path: Path) -> str | None:
    """A notice that it takes a while to find the frames of the animation at `path`; None where it
    does not, or where the file is none."""
    try:
        with open_picture(path, ANIMATED) as file:
            width, height = file.size
            count = _counted(file.format, path)
    except UNREADABLE:
        return None
    if count < 2 or count * (FRAME_SECONDS + width * height * PIXEL_SECONDS) < SOON:
        return None
    return f"{path} has {count:,} frames: all are decoded once before the first is dreamed"


def moves(path: Path) -> bool:
    """Whether the picture at `path` is an animation, as its file says; nothing is decoded."""
    try:
        with open_picture(path, ANIMATED) as file:
            if file.format == "AVIF":
                return bool(file.is_animated)
            return _counted(file.format, path) > 1
    except UNREADABLE:
        return False


def _counted(kind: str | None, path: Path) -> int:
    """The number of frames of an animation of that `kind`, without decoding; at least one."""
    if kind == "GIF":
        return _gif_blocks(path.read_bytes())[0]
    if kind == "PNG":
        with path.open("rb") as file:
            return sum(chunk.name == b"fcTL" for chunk in chunks(file))
    if kind == "WEBP":
        return sum(name == b"ANMF" for name in _chunks(path.read_bytes()))
    return 1


def gif_fault(data: bytes) -> str | None:
    """Where the blocks of a GIF file's `data` break off, in words; None where they are complete."""
    frames, at = _gif_blocks(data)
    # b"\0,", the end of an extension and an image, marks an image that was not reached.
    if data[at : at + 1] != b";" or b"\0," in data[at:]:
        return f"it breaks off after {frames} frames"
    return None


def _gif_blocks(data: bytes) -> tuple[int, int]:
    """The number of frames in a GIF file's `data`, and the place behind its last block."""

    def after(table: int, at: int) -> int:
        """The place behind the colour table, if any, that begins `at`, by its byte of flags."""
        return at + (3 << (table & 7) + 1 if table & 0x80 else 0)

    whole = data + bytes(11)  # flags can be read even where the file is cut off
    at, frames = after(whole[10], 13), 0
    while at < len(data) and data[at] in (0x21, 0x2C):  # extension, image
        frames += data[at] == 0x2C
        at = after(whole[at + 9], at + 10) + 1 if data[at] == 0x2C else at + 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return frames, at


def read_animation(
    animation: Animation, start: int = 0, stop: int | None = None, on_lost: OnLost | None = None
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of `animation`, as they look when shown: (H, W, 3 or 4),
    uint8.

    For a damaged frame, another one stands in and `on_lost` gets a line, as in `read_series`.
    """
    count = len(animation.durations)
    stop = count if stop is None else min(stop, count)

    def reported() -> Iterator[Frame | None]:
        shown = itertools.chain(_frames(animation), itertools.repeat(None))
        for number, frame in enumerate(itertools.islice(shown, count)):
            if frame is None and on_lost is not None and start <= number < stop:
                on_lost(f"frame {number} of {animation.path} cannot be read; another stands in")
            yield frame

    if start < stop:
        yield from itertools.islice(with_stand_ins(reported()), start, stop)


def _played(file: Any) -> Iterator[tuple[Fraction, "Image | None"]]:
    """The duration in seconds and the picture, RGBA, of each frame of an animation. The picture is
    None where it is damaged; only in PNG files does Pillow read on after that."""
    size: tuple[int, int] | None = None
    # A PNG may have a still for readers that know no animation: it is not a frame.
    for number in itertools.count(1 if getattr(file, "default_image", False) else 0):
        try:
            file.seek(number)
        except UNREADABLE:
            return
        try:
            frame = _rgba(file, size)
            size = frame.size
        except UNREADABLE:
            frame = None
        yield _seconds(file.info.get("duration", 0)), frame
        if frame is None and file.format != "PNG":
            return


def _fault(file: Any, frames: int, whole: int) -> str | None:
    """Why the animation `file`, read to its end, lacks frames; None where it has them all. `frames`
    were found, and the first `whole` of them count."""
    data = Path(file.filename).read_bytes()
    if file.format == "PNG":
        frames = max(frames, file.n_frames - bool(getattr(file, "default_image", False)))
    if file.format == "WEBP":  # its decoder skips chunks with an unknown name
        frames = max(frames, sum(name not in NO_FRAMES for name in _chunks(data)))
    if frames > whole:
        return f"of its {frames} frames, {whole} can be read"
    return gif_fault(data) if file.format == "GIF" else None


def _chunks(data: bytes) -> Iterator[bytes]:
    """The names of the chunks of a WebP file."""
    at = 12
    while at + 8 <= len(data):
        yield data[at : at + 4]
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


def _rgba(file: "ImageFile", canvas: tuple[int, int] | None) -> "Image":
    """The current frame of `file`, RGBA, on the `canvas` (width, height) of the first frame."""
    from PIL import Image

    # A frame that reaches beyond the canvas makes the canvas grow in Pillow, but in no browser. One
    # damaged byte may put a frame so far out that memory runs out.
    canvas = canvas or file.size
    if file.width * file.height > 4 * canvas[0] * canvas[1]:
        raise ValueError("a frame lies far outside its canvas")
    file.load()
    if file.mode.startswith("I;16"):  # Pillow would clip these, not scale them
        grey = (np.asarray(file) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGBA")
    frame = file.convert("RGBA")
    return frame if frame.size == canvas else frame.crop((0, 0, *canvas))


def _seconds(milliseconds: float) -> Fraction:
    """The seconds for which a frame of that duration is shown.

    All major browsers treat delays under 20 ms, which in a GIF are 0 and 10 ms, as 100 ms.
    """
    if milliseconds <= 10:
        return Fraction(1, 10)
    # A PNG stores a duration as a fraction of 16-bit numbers: this restores it exactly.
    return Fraction(milliseconds / 1000).limit_denominator(65535)


def _frames(animation: Animation) -> Iterator[Frame | None]:
    """The frames of `animation`, to the end of the file; None for each that is damaged."""
    try:
        with open_picture(animation.path, ANIMATED) as file:
            orientation, colours = orientation_of(file), colours_of(file, animation.path)
            for _, frame in _played(file):
                if frame is None:
                    yield None
                    continue
                pixels = upright(rgba_in_srgb(frame, colours), orientation)
                same = pixels.shape[:2] == (animation.height, animation.width)
                order = [2, 1, 0, 3] if animation.has_alpha else [2, 1, 0]
                yield np.ascontiguousarray(pixels[..., order]) if same else None
    except UNREADABLE:
        return
