"""Parsers of rates, times, spans, sizes and colours as people write them."""

import re
from contextlib import suppress
from fractions import Fraction
from typing import Any

from dreamreel.pipeline.errors import UserError

SMALLEST_SIDE, LARGEST_SIDE = 16, 16384  # pixels; x264 takes no larger side
LAST_FRAME = 2**40  # largest frame number: 1,000 years at 30 frames a second
MOST_OBLONG = 50  # times a crop's longer side over the shorter; a round number
LONGEST_SECONDS = 86_400  # of a zoom: a day

Span = tuple[int, int | None]  # the first frame, and one past the last; None: to the end
Size = tuple[int, int]  # height, width
Colour = tuple[int, int, int]  # red, green and blue, 0 to 255


def parse_rate(value: Any) -> Fraction:
    """The rate, in frames a second, from `30`, `"23.976"` or `"30000/1001"`; see `snap_rate`.

    Raises ValueError for anything else, and for a rate below 1 or above 1000.
    """
    if isinstance(value, Fraction):
        return value
    plain = re.fullmatch(r"\d{1,7}(\.\d{1,9})?|\d{1,7}/[1-9]\d{0,6}", str(value))
    rate = Fraction(str(value)) if plain else Fraction(0)
    if not 1 <= rate <= 1000:
        raise ValueError("is no rate from 1 to 1000; 30, 23.976 and 30000/1001 are")
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
        raise UserError(f"{option} {text!r} {error}") from error


def parse_span(option: str, text: str) -> Span:
    """(first frame, one past the last or None) from `A:B`, `A:` or `:B`. Raises UserError for
    anything else."""
    first, colon, last = text.partition(":")
    with suppress(ValueError):
        start, stop = int(first or 0), int(last) if last else None
        in_order = stop is None or start < stop < LAST_FRAME
        if colon and 0 <= start < LAST_FRAME and in_order:
            return start, stop
    raise UserError(f"{option} {text!r} is no span of frames; 0:48 is, the first 48 frames")


def parse_time(option: str, text: str) -> float:
    """Seconds from `2.5`, `2.5s`, `1:02.5` or `1:00:02.5`. Raises UserError for anything else."""
    try:
        parts = [float(part) for part in text.removesuffix("s").split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < 1e9 for part in parts):
        raise UserError(f"{option} {text!r} is no time; 2.5 and 1:02.5 are")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def check_seconds(option: str, seconds: float) -> None:
    """Raise UserError unless `seconds`, given to `option`, can be the length of a zoom."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UserError(
            f"{option} {seconds:g} is no length of a zoom; give more than 0 and at most "
            f"{LONGEST_SECONDS} seconds"
        )


def parse_size(option: str, text: str) -> Size:
    """(height, width) in pixels from `640x360`, which is width x height. Raises UserError for
    anything else, and for a side out of bounds."""
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise UserError(f"{option} {text!r} is no size; 640x360 is")
    if not all(SMALLEST_SIDE <= int(side[:9]) <= LARGEST_SIDE for side in (width, height)):
        raise UserError(f"{option} {text!r}: each side is {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return int(height), int(width)


def parse_crop(value: str) -> tuple[Fraction, Size | None]:
    """(width over height, size (height, width) in pixels or None) from a shape such as `9:16`, or a
    size such as `1080x1920`. Raises ValueError for anything else."""
    shape = re.fullmatch(r"(\d{1,5}(?:\.\d{1,5})?):(\d{1,5}(?:\.\d{1,5})?)", value)
    size = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value)
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
        channels = ImageColor.getrgb(text)
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise UserError(f"{option} {text!r:.40} is no opaque colour; '#204060' and teal are")
    red, green, blue = channels
    return red, green, blue
