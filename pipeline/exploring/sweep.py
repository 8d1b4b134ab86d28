"""A sweep: one picture with every combination of some settings, on a labelled grid."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from dreamreel.pipeline.exploring.axes import Axis, combinations
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

MOST_ALONG, MOST_ALONE = 12, 48  # values of an axis on a page, with another one and alone


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
