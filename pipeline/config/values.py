"""Parsers of rates, times, spans, sizes and colours as people write them."""

import re
from contextlib import suppress
from fractions import Fraction
from typing import Any, Literal

from dreamreel.pipeline.config.tables import shown
from dreamreel.pipeline.errors import UserError

SMALLEST_SIDE, LARGEST_SIDE = 16, 16384  # pixels; x264 takes no larger side
LAST_FRAME = 2**40  # largest frame number: 1,000 years at 30 frames a second
MOST_OBLONG = 50  # times a crop's longer side over the shorter; a round number
LONGEST_SECONDS = 86_400  # of a zoom: a day
# Frames of a zoom or a schedule. All their settings and motions are worked out before the first:
# 0.9 ms and 0.6 kB for each, measured with one schedule. A round number: 11 hours at 25 a second.
MOST_FRAMES = 1_000_000
MANY_FRAMES = 5_000  # that take some seconds until the first, so that the user is told
SLOWEST, FASTEST = Fraction(1, 3600), Fraction(1000)  # frames a second

Span = tuple[int, int | None]  # the first frame, and one past the last; None: to the end
Size = tuple[int, int]  # height, width
Colour = tuple[int, int, int]  # red, green and blue, 0 to 255
# How bars are found; or those at the left, top, right and bottom, in pixels of the source.
Bars = Literal["auto", "keep"] | tuple[int, int, int, int]


def is_network_file(name: str) -> bool:
    """Whether a network's `name` is that of a file in which it lies, such as mine.safetensors."""
    return name.lower().endswith(".safetensors")


def parse_number(value: Any) -> float:
    """The number in the text `value`, such as `2.5`, `-1` or `1e3`; a number stays.

    Raises ValueError for anything else, digits other than 0 to 9 among them.
    """
    with suppress(ValueError):
        if not isinstance(value, str) or (value.isascii() and "_" not in value):
            return float(value)
    raise ValueError(f"{shown(value)} is no number; 2.5 is")


def parse_rate(value: Any) -> Fraction:
    """The rate, in frames a second, from `30`, `"23.976"` or `"30000/1001"`; see `snap_rate`.

    Raises ValueError for anything else, and for a rate below `SLOWEST` or above `FASTEST`.
    """
    if isinstance(value, Fraction):
        return value
    text = str(value)
    plain = re.fullmatch(r"[0-9]{0,7}\.[0-9]{1,9}|[0-9]{1,7}(/[1-9][0-9]{0,6})?", text)
    rate = Fraction(text) if plain else Fraction(0)
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(f"is no rate from {SLOWEST} to {FASTEST}; 30, 0.5 and 30000/1001 are")
    return snap_rate(rate)


def snap_rate(rate: Fraction) -> Fraction:
    """The whole number, or multiple of 1000/1001, within 0.02 % of `rate`; else `rate` itself.

    So 23.976 becomes 24000/1001, the exact rate that it stands for.
    """
    for exact in (Fraction(round(rate)), Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)):
        if exact > 0 and abs(rate - exact) < exact / 5000:
            return exact
    return rate.limit_denominator(100_000) or rate


def parse_fps(option: str, text: str) -> Fraction:
    """The rate in `text`, given to `option`. Raises UserError where it is none."""
    try:
        return parse_rate(text)
    except ValueError as error:
        raise UserError(f"{option} {shown(text)} {error}") from error


def parse_span(option: str, text: str) -> Span:
    """(first frame, one past the last or None) from `A:B`, `A:` or `:B`. Raises UserError for
    anything else."""
    if found := re.fullmatch(r"\s*(\d{0,13})\s*:\s*(\d{0,13})\s*", text, re.ASCII):
        start, stop = int(found[1] or 0), int(found[2]) if found[2] else None
        if start < LAST_FRAME and (stop is None or start < stop < LAST_FRAME):
            return start, stop
    raise UserError(f"{option} {shown(text)} is no span of frames; 0:48 is, the first 48 frames")


def parse_time(option: str, text: str) -> float:
    """Seconds from `2.5`, `2.5s`, `1:02.5` or `1:00:02.5`. Raises UserError for anything else."""
    written = text.strip().removesuffix("s").split(":")
    plain = all(re.fullmatch(r"\d{1,9}(\.\d{0,12})?|\.\d{1,12}", one, re.ASCII) for one in written)
    parts = [float(one) for one in written] if plain else []
    if not 1 <= len(parts) <= 3:
        raise UserError(f"{option} {shown(text)} is no time; 2.5 and 1:02.5 are")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def check_seconds(option: str, seconds: float) -> None:
    """Raise UserError unless `seconds`, given to `option`, can be the length of a zoom."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UserError(
            f"{option} {seconds:g} is no length of a zoom; give more than 0 and at most "
            f"{LONGEST_SECONDS} seconds"
        )


def check_frames(frames: int) -> None:
    """Raise UserError if a zoom or a schedule cannot have so many `frames`."""
    if frames > MOST_FRAMES:
        raise UserError(
            f"that makes {frames:,} frames, and {MOST_FRAMES:,} is the most; give fewer seconds or "
            "fewer frames a second"
        )


def told_of_many(frames: int) -> str:
    """The notice that many `frames` are worked out before the first."""
    return f"the settings of {frames:,} frames are worked out first; that takes a while"


def parse_size(option: str, text: str) -> Size:
    """(height, width) in pixels from `640x360`, which is width x height. Raises UserError for
    anything else, and for a side out of bounds."""
    found = re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)\s*", text, re.ASCII | re.IGNORECASE)
    if not found:
        raise UserError(f"{option} {shown(text)} is no size; 640x360 is")
    # Nine digits tell whether a side is too large, however many there are.
    width, height = (int(side[:9]) if len(side) > 9 else int(side) for side in found.groups())
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (width, height)):
        raise UserError(
            f"{option} {shown(text)}: each side is {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        )
    return height, width


def parse_bars(text: str) -> Bars:
    """The bars of `auto`, `keep` or `L:T:R:B`, pixels at the left, top, right and bottom. Raises
    ValueError for anything else."""
    if text == "auto":
        return "auto"
    if text == "keep":
        return "keep"
    if not re.fullmatch(r"[0-9]{1,5}(:[0-9]{1,5}){3}", text):
        raise ValueError(
            "is neither auto nor keep nor bars L:T:R:B; 0:60:0:60 are bars of 60 pixels at the top "
            "and the bottom"
        )
    left, top, right, bottom = map(int, text.split(":"))
    return left, top, right, bottom


def parse_crop(value: str) -> tuple[Fraction, Size | None]:
    """(width over height, size (height, width) in pixels or None) from a shape such as `9:16`, or a
    size such as `1080x1920`. Raises ValueError for anything else."""
    shape = re.fullmatch(r"(\d{1,5}(?:\.\d{1,5})?):(\d{1,5}(?:\.\d{1,5})?)", value, re.ASCII)
    size = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value, re.ASCII)
    if shape is not None:
        wide, high = Fraction(shape[1]), Fraction(shape[2])
        if high and 1 <= MOST_OBLONG * wide / high <= MOST_OBLONG**2:
            return wide / high, None
    if size is not None:
        width, height = int(size[1]), int(size[2])
        if all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (width, height)):
            return Fraction(width, height), (height, width)
    raise ValueError(
        f"is no shape to {MOST_OBLONG}:1, nor a size from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels "
        "a side; 9:16, 1:1 and 1080x1920 are"
    )


def parse_colour(option: str, text: str) -> Colour:
    """(red, green, blue), 0 to 255 each, from `#204060` or a colour's name in CSS. Raises UserError
    for anything else, and for a colour that is not opaque."""
    from PIL import ImageColor

    channels: tuple[int, ...] = ()
    with suppress(ValueError):
        channels = ImageColor.getrgb(text) if text.isascii() else ()
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise UserError(f"{option} {shown(text)} is no opaque colour; '#204060' and teal are")
    red, green, blue = channels
    return red, green, blue
