"""The axes of a sweep: settings with values to try."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from dreamreel.pipeline.errors import UserError

OPEN, CLOSED, QUOTES = "([{", ")]}", "\"'"
MOST_CELLS = 400  # pictures of a sweep: at seconds each, about an hour; a round number
# Axes whose values need no name beside them.
NAMELESS = ("preset", "class", "guide", "layers", "network", "dream.terms")


@dataclass(frozen=True)
class Axis:
    """A setting, or another thing that is swept over, by its `name`, and its `values` as text."""

    name: str
    values: tuple[str, ...]

    def label(self, value: str) -> str:
        """How `value` is called on a sheet."""
        if self.name in NAMELESS:
            return Path(value).stem if self.name in ("guide", "preset") else value
        return f"{self.name.rpartition('.')[2]} = {value}"


def parse_axis(text: str) -> Axis:
    """The axis in `text`, NAME=VALUE,VALUE. Raises UserError where it is none."""
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise UserError(
            f"--over {text!r:.80} is not NAME=VALUE,VALUE; try --over dream.steps=10,50,100"
        )
    found = split_values("--over", values)
    if len(set(found)) < len(found):
        raise UserError(f"--over {text!r:.80} has a value twice; give each once")
    return Axis(name.strip(), tuple(found))


def check_axes(axes: Sequence[Axis]) -> None:
    """Raise UserError unless there are `axes`, which do not make too many pictures."""
    if not axes:
        raise UserError("a sweep needs an axis: give --over, as in --over dream.steps=10,50,100")
    count = prod(len(axis.values) for axis in axes)
    if count > MOST_CELLS:
        sides = " x ".join(str(len(axis.values)) for axis in axes)
        raise UserError(
            f"--over makes {sides} = {count} pictures, and a sweep has at most {MOST_CELLS}; give "
            "fewer values"
        )


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    """Every combination of the values of `axes`; those of the last change first."""
    return product(*(axis.values for axis in axes))


def split_values(option: str, text: str) -> list[str]:
    """The values in `text`, between commas that are in no brackets or quotes. Raises UserError,
    which names `option`, if one is empty."""
    parts, depth, quote = [""], 0, ""
    for one in text:
        if quote:
            quote = "" if one == quote else quote
        elif one in QUOTES:
            quote = one
        else:
            depth += (one in OPEN) - (one in CLOSED)
        if one == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += one
    values = [part.strip() for part in parts]
    if not all(values):
        raise UserError(f"{option} {text!r:.80}: a value between two commas is missing")
    return values
