"""Text on pictures: a font, and labels broken into the lines that a box has room for."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import ImageDraw, ImageFont

INK = "#1e1c1a"
LABEL_CHARACTERS = 120  # of a label that are measured and drawn, at most: three lines hold fewer
NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """A font of that size in pixels that has the letters of European languages: matplotlib's."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def write_text(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[int, int],
    box: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    colour: str = INK,
    low: bool = False,
) -> None:
    """Write `text` into the `box` (width, height) at `at`, from its top, or at its bottom if
    `low`; as many lines as fit."""
    line_height = round(font.size * 1.25)
    lines = _lines(text, font, box[0], max(1, min(3, box[1] // line_height)))
    y = at[1] + (box[1] - len(lines) * line_height if low else 0)
    for number, line in enumerate(lines):
        draw.text((at[0], y + number * line_height), line, fill=colour, font=font)


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """`text` broken into at most `most` lines of that width, in pixels; an ellipsis stands for
    what does not fit. Lines break at spaces and behind signs, or anywhere in a long word."""
    text = NOT_PRINTED.sub("\N{REPLACEMENT CHARACTER}", text)[:LABEL_CHARACTERS]
    lines = [""]
    for part in _parts(re.findall(r"\s+|[^\s\-_./,]+[\-_./,]*|[\-_./,]+", text), font, width):
        if font.getlength((lines[-1] + part).rstrip()) <= width:
            lines[-1] += part
        else:
            lines.append(part.lstrip())
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], last + "…"]
    return [line.strip() for line in lines if line.strip()]


def _parts(words: Iterable[str], font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """`words`, those wider than `width` letter by letter."""
    for word in words:
        yield from [word] if font.getlength(word) <= width else word
