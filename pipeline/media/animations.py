"""Pictures that move: GIF, WebP, PNG and AVIF, read frame by frame."""

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.sequences import OnLost, with_stand_ins
from dreamreel.pipeline.media.stills import UNREADABLE, orientation_of, upright
from dreamreel.pipeline.opening import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
NO_FRAMES = (b"VP8X", b"ANIM", b"ICCP", b"EXIF", b"XMP ")  # of WebP's chunks


@dataclass(frozen=True)
class Animation:
    """A picture that moves: how long each of its frames is shown, in seconds, and how often all of
    them are, as far as the file says; 0: for ever; and the `fault` by which some of its frames
    cannot be found, if any. Its frames are uint8."""

    path: Path
    height: int
    width: int
    has_alpha: bool
    durations: tuple[Fraction, ...]
    loops: int
    fault: str | None = None


def find_animation(path: Path) -> Animation | None:
    """The animation at `path`: a GIF, WebP, PNG or AVIF file. None where it is none of these, or
    a still. All of its frames are decoded, one at a time; those cut off at its end do not count.
    """
    try:
        with open_picture(path, ANIMATED) as file:
            if not getattr(file, "is_animated", False):
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
        return None  # whoever is asked next for what this is has words for what is wrong
    if not count:
        return None
    return Animation(path, height, width, has_alpha, tuple(shown[:count]), loops, fault)


def gif_fault(data: bytes) -> str | None:
    """Where the blocks of a GIF file's `data` break off; None where they lead to its end."""

    def after(table: int, at: int) -> int:
        """Past the colour table whose flags those are, if any, that begins `at`."""
        return at + (3 << (table & 7) + 1 if table & 0x80 else 0)

    whole = data + bytes(11)  # for what is cut off to have flags
    at, frames = after(whole[10], 13), 0
    while at < len(data) and data[at] in (0x21, 0x2C):  # an extension, an image
        frames += data[at] == 0x2C
        at = after(whole[at + 9], at + 10) + 1 if data[at] == 0x2C else at + 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    # An image comes after the end of an extension.
    if data[at : at + 1] != b";" or b"\0," in data[at:]:
        return f"it breaks off after {frames} frames"
    return None


def read_animation(
    animation: Animation, start: int = 0, stop: int | None = None, on_lost: OnLost | None = None
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of `animation`, as they look when shown.

    What a damaged frame shows, and what `on_lost` is told, is as for `read_series`.
    """
    count = len(animation.durations)
    stop = count if stop is None else min(stop, count)

    def told() -> Iterator[Frame | None]:
        shown = itertools.chain(_frames(animation), itertools.repeat(None))
        for number, frame in enumerate(itertools.islice(shown, count)):
            if frame is None and on_lost is not None and start <= number < stop:
                on_lost(f"frame {number} of {animation.path} cannot be read; another stands in")
            yield frame

    if start < stop:
        yield from itertools.islice(with_stand_ins(told()), start, stop)


def _played(file: Any) -> Iterator[tuple[Fraction, "Image | None"]]:
    """The frames of an animation, RGBA, as they look when shown, and for how long each is, in
    seconds. None for one that is damaged, which Pillow reads past only in PNG files."""
    size: tuple[int, int] | None = None
    # A PNG's still for those who know no animation is none of its frames.
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
    """Why the animation `file`, read to its end, may have more than the `frames` that were found,
    of which the `whole` ones count; None where it has no more."""
    data = Path(file.filename).read_bytes()
    if file.format == "PNG":
        frames = max(frames, file.n_frames - bool(getattr(file, "default_image", False)))
    if file.format == "WEBP":  # its decoder passes over chunks whose names it does not know
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
    """The frame at which `file` is, RGBA, on the `canvas` (width, height) of the first."""
    from PIL import Image

    # What goes beyond the canvas makes it grow in Pillow, and in no browser. One damaged byte may
    # put a frame so far out that no memory would do.
    canvas = canvas or file.size
    if file.width * file.height > 4 * canvas[0] * canvas[1]:
        raise ValueError("a frame of it lies far beyond its canvas")
    file.load()
    if file.mode.startswith("I;16"):  # which Pillow would not scale but clip
        grey = (np.asarray(file) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGBA")
    frame = file.convert("RGBA")
    return frame if frame.size == canvas else frame.crop((0, 0, *canvas))


def _seconds(milliseconds: float) -> Fraction:
    """How long a frame of that duration is shown.

    All major browsers treat delays under 20 ms, which in a GIF are 0 and 10 ms, as 100 ms.
    """
    if milliseconds <= 10:
        return Fraction(1, 10)
    # A PNG's durations are fractions of 16-bit numbers, which this finds again exactly.
    return Fraction(milliseconds / 1000).limit_denominator(65535)


def _frames(animation: Animation) -> Iterator[Frame | None]:
    """The frames of `animation`, None for each that is damaged; they end where the file does."""
    try:
        with open_picture(animation.path, ANIMATED) as file:
            orientation = orientation_of(file)
            for _, frame in _played(file):
                if frame is None:
                    yield None
                    continue
                pixels = upright(np.asarray(frame), orientation)
                same = pixels.shape[:2] == (animation.height, animation.width)
                order = [2, 1, 0, 3] if animation.has_alpha else [2, 1, 0]
                yield np.ascontiguousarray(pixels[..., order]) if same else None
    except UNREADABLE:
        return
