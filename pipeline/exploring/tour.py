"""A tour of a network: a picture as each of its layers amplifies it, on a sheet, in a folder of
pictures, or in a film in which one layer's dream melts into the next."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.terms import parse_term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.about import about
from dreamreel.pipeline.exploring.cells import Wanted, rendered
from dreamreel.pipeline.exploring.films import Moving, Timing, check_film_target, is_film, make_film
from dreamreel.pipeline.exploring.layers import layer_rows
from dreamreel.pipeline.exploring.sheets import (
    Cell,
    check_sheet,
    in_rows,
    save_pictures,
    save_sheet,
)
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.checks import check_settings, files_of
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import kept_network, loaded_network
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.networks.dreamnet_layers import Row
from dreamreel.pipeline.networks.names import check_layer

HELD = 0.35  # share of a layer's time in a film for which its dream stands still
SECONDS_EACH = 1.5  # of a layer in a film, where its length is not given
RATE = Fraction(24)  # frames a second of a film


@dataclass(frozen=True)
class Tour:
    """A picture's tour: the `job` that dreams it, whose terms are those of each stop in turn, the
    `stops`, each a term, and a film's `seconds` and `rate`."""

    job: Job
    stops: tuple[str, ...]
    seconds: float | None = None
    rate: Fraction = RATE


def make_tour(tour: Tour, out: Target, report: Report) -> Path:
    """Render `tour` into `out`: a film, a picture with all stops, or a folder of pictures. Returns
    the path of the result. Raises UserError if it cannot be made, and Stopped, with the finished
    pictures saved, if `report` asks to stop."""
    check_tour(tour, out)
    film = is_film(out.path)
    rows = {row.name: row for row in layer_rows(tour.job.settings.network)}
    jobs = list(_jobs(tour, between=film))
    wanted = [Wanted(stop, job, facts=_facts(rows, stop)) for stop, job in jobs]
    with kept_network():
        loaded_network(jobs[-1][1].settings)  # where that fails, once, and not at each stop
        with rendered(wanted, out, report) as (cells, work):
            return _written(tour, cells, work.pieces, out, report)


def _written(tour: Tour, cells: Sequence[Cell], pieces: Path, out: Target, report: Report) -> Path:
    """Write the `cells` of `tour` into `out`, and return the path of the result. `pieces` is the
    folder for files that are being written."""
    settings = tour.job.settings
    told = about("tour", tour.job, {"layers": list(tour.stops)})
    if is_film(out.path):
        each = tour.seconds / len(tour.stops) if tour.seconds else SECONDS_EACH
        numbers = max(2, round(each * len(tour.stops) * tour.rate))
        keys = list(_keys(cells))

        def moving(first: int) -> Iterator[Frame]:
            return islice(melted(keys, numbers), first, None)

        film = Moving(moving, Timing(tour.rate), numbers)
        return make_film(film, out, settings, pieces, report, told)
    if not out.path.suffix:
        return save_pictures(cells, out.path, told, out.overwrite)
    name = "noise" if tour.job.source is None else tour.job.source.path.name
    title = f"{name}: what each layer of {settings.network} sees"
    return save_sheet([in_rows(title, list(map(_labelled, cells)))], out, told)


def check_tour(tour: Tour, out: Target) -> None:
    """Raise UserError if `tour` cannot be made into `out`."""
    settings = tour.job.settings
    sources = [] if tour.job.source is None else [tour.job.source.path]
    check_settings(settings)
    known = [row.name for row in layer_rows(settings.network)]
    for stop in tour.stops:
        layer = parse_term(stop).layer
        if layer:
            check_layer(layer, known, settings.network)
    if is_film(out.path):
        if tour.job.source is None:
            raise UserError("a film travels through a picture; give one in place of noise")
        check_film_target(out, sources, files_of(tour.job), settings)
    elif out.path.suffix:
        check_sheet(out, sources, files_of(tour.job))
    else:
        check_folder(out)


def check_folder(out: Target) -> None:
    """Raise UserError unless pictures can be written into the folder `out`: a new or an empty one,
    or with `overwrite` any."""
    if out.path.exists() and not out.path.is_dir():
        raise UserError(f"{out.path} is a file, not a folder to write pictures into")
    if out.path.is_dir() and any(out.path.iterdir()) and not out.overwrite:
        raise UserError(f"{out.path} is not empty; --overwrite writes into it, or give a new one")


def with_terms(settings: Settings, terms: dict[str, float]) -> Settings:
    """`settings` that climb `terms` alone. Raises UserError where one is malformed."""
    built = build(("terms", {"dream": {"terms": terms}})).dream.terms
    dream = settings.dream.model_copy(update={"terms": built})
    kept = {name: one for name, one in settings.schedules.items() if "dream.terms" not in name}
    return settings.model_copy(update={"dream": dream}).following(kept)


def melted(keys: Sequence[Frame], frames: int) -> Iterator[Frame]:
    """So many frames that travel through `keys`: the source, then in turn the picture of a stop and
    one between it and the next.

    What the dreams add to the source is blended, with shares whose squares add up to 1: two dreams
    hardly agree, and so the blend is as strong as they are. It stands still for a while at stops.
    """
    source = keys[0].astype(np.float32)
    details = [key.astype(np.float32) - source for key in keys[1:]]
    for number in range(frames):
        at = _place(number / max(1, frames - 1), (len(details) + 1) // 2)
        before = min(int(at), len(details) - 1)
        share = at - before
        detail = details[before]
        if share > 0:
            after, angle = details[before + 1], share * math.pi / 2
            alike = _alikeness(detail, after)
            mean = (1 - share) * detail + share * after
            apart = math.cos(angle) * detail + math.sin(angle) * after
            detail = alike * mean + (1 - alike) * apart
        yield np.clip(np.rint(source + detail), 0, 255).astype(np.uint8)


def _place(share: float, stops: int) -> float:
    """Where between the keys of so many stops a film is, when that `share` of it is over: an even
    number is a stop, where it rests."""
    at = share * stops
    stop = min(int(at), stops - 1)
    within = at - stop  # 0 to 1: on the way from the stop before, at rest, on the way to the next
    way = (1 - HELD) / 2
    if within < way:
        moved = -_eased(1 - within / way) if stop > 0 else 0.0
    elif within > 1 - way:
        moved = _eased((within - 1 + way) / way) if stop < stops - 1 else 0.0
    else:
        moved = 0.0
    return 2 * stop + moved


def _eased(share: float) -> float:
    """`share`, 0 to 1, from rest to an even pace."""
    return share * share * (2 - share)


def _alikeness(one: np.ndarray, other: np.ndarray) -> float:
    """How far two details agree: their correlation, 0 to 1."""
    both = math.sqrt(float((one * one).mean()) * float((other * other).mean()))
    return min(max(float((one * other).mean()) / both, 0.0), 1.0) if both else 1.0


def _keys(cells: Sequence[Cell]) -> Iterator[Frame]:
    """The pictures of `cells` as frames. Raises UserError if one of them could not be made."""
    for cell in cells:
        if cell.picture is None:
            raise UserError(f"{cell.label}: {cell.why}")
        yield cv2.cvtColor(np.asarray(cell.shown()), cv2.COLOR_RGB2BGR)


def _jobs(tour: Tour, between: bool) -> Iterator[tuple[str, Job]]:
    """The label and the job of each stop; for a film, `between` them those of both at once, after
    one that shows the source."""
    if between:
        shown = {"mix": 0.0, "steps": 1, "octaves": 1}
        dream = tour.job.settings.dream.model_copy(update=shown)
        plain = tour.job.settings.model_copy(update={"dream": dream})
        yield (
            "source",
            tour.job.model_copy(update={"settings": with_terms(plain, {tour.stops[0]: 1.0})}),
        )
    for number, stop in enumerate(tour.stops):
        if number and between:
            both = {tour.stops[number - 1]: 1.0, stop: 1.0}
            yield "between", _dreaming(tour.job, both)
        yield stop, _dreaming(tour.job, {stop: 1.0})


def _dreaming(job: Job, terms: dict[str, float]) -> Job:
    return job.model_copy(update={"settings": with_terms(job.settings, terms)})


def _facts(rows: Mapping[str, Row], stop: str) -> dict[str, Any]:
    """What the index tells of the layer of `stop`, one of `rows`."""
    row = rows.get(parse_term(stop).layer)
    return {} if row is None else {"stride": row.stride, "receptive_field": row.receptive}


def _labelled(cell: Cell) -> Cell:
    """`cell` with a label that says how much of the picture a place of its layer sees."""
    sees = cell.facts.get("receptive_field")
    return cell if sees is None else replace(cell, label=f"{cell.label}: sees {sees} px")
