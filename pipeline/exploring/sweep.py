"""A sweep: one picture with every combination of some settings, on a labelled grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.cells import Wanted, rendered
from dreamreel.pipeline.exploring.sheets import (
    Cell,
    Page,
    check_pages,
    check_sheet,
    in_rows,
    save_sheet,
)
from dreamreel.pipeline.jobs.checks import files_of
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.report import Report

OPEN, CLOSED, QUOTES = "([{", ")]}", "\"'"
MOST_CELLS = 400  # pictures of a sweep: at seconds each, about an hour; a round number
MOST_ALONG, MOST_ALONE = 12, 48  # values of an axis on a page, with another one and alone
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


def make_sweep(
    axes: Sequence[Axis],
    wanted: Sequence[Wanted],
    out: Target,
    title: str,
    about: Mapping[str, Any],
    report: Report,
    detail: tuple[float, float] | None = None,
) -> Path:
    """Render the pictures `wanted`, one for each of the `combinations` of `axes`, onto sheets in
    `out`, and return the path of the first. See `Page` for `detail`.

    Raises UserError if no picture can be made, and Stopped, with the finished ones saved, if
    `report` asks to stop.
    """
    jobs = [one.job for one in wanted if one.job is not None]
    reads = {path for job in jobs for path in files_of(job)}
    sources = {job.source.path for job in jobs if job.source is not None}
    check_sheet(out, sorted(sources), sorted(reads))
    blank = [Cell("")] * len(wanted)
    check_pages(out, len(pages_of(axes, blank, "")))
    with rendered(wanted, out, report) as (cells, _):
        return save_sheet(pages_of(axes, cells, title, detail), out, about)


def pages_of(
    axes: Sequence[Axis],
    cells: Sequence[Cell],
    title: str,
    detail: tuple[float, float] | None = None,
) -> list[Page]:
    """The pages with the `cells` of the `combinations` of `axes`: the first axis runs across, the
    second down, any other, and what does not fit, over further pages."""
    if len(axes) == 1:
        starts = range(0, len(cells), MOST_ALONE)
        return [in_rows(title, cells[at : at + MOST_ALONE], detail=detail) for at in starts]
    by_values = dict(zip(combinations(axes), cells, strict=True))
    across, down, *others = axes
    pages = []
    for rest in combinations(others):
        told = [title, *(axis.label(value) for axis, value in zip(others, rest, strict=True))]
        for rows, columns in product(_parts(down.values), _parts(across.values)):
            grid = tuple(
                tuple(by_values[(column, row, *rest)] for column in columns) for row in rows
            )
            heads = tuple(map(across.label, columns)), tuple(map(down.label, rows))
            pages.append(Page(", ".join(told), grid, *heads, detail))
    return pages


def _parts(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[at : at + MOST_ALONG] for at in range(0, len(values), MOST_ALONG)]


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
