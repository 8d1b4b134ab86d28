"""What channels, neurons and classes look for: each imagined from noise, on a sheet, with the
places of photos that excite it most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.config.terms import Channels, TermText
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.about import about
from dreamreel.pipeline.exploring.cells import Wanted, rendered
from dreamreel.pipeline.exploring.layers import check_channels
from dreamreel.pipeline.exploring.photos import (
    Place,
    beside,
    exciting_places,
    mean_activations,
    photos_in,
)
from dreamreel.pipeline.exploring.sheets import Cell, check_sheet, in_rows, save_sheet
from dreamreel.pipeline.exploring.tour import with_terms
from dreamreel.pipeline.jobs.checks import check_settings
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import kept_network, loaded_network
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.networks.network import Network

USUAL_CHANNELS = 12  # of a layer whose channels are not given: a sheet at a glance
MOST_IMAGINED = 400  # pictures of a sheet, half a minute each; a round number
PLACES = 4  # of photos, beside each picture


@dataclass(frozen=True)
class Looks:
    """What to visualize with the `job` of a picture from noise: `term`, channels of a layer, or
    `classes` by name or number; and the folder of `photos`, if any."""

    job: Job
    term: TermText | None = None
    classes: tuple[str, ...] = ()
    photos: Path | None = None


def visualize(looks: Looks, out: Target, report: Report) -> Path:
    """Imagine what `looks` ask for onto a sheet in `out`, and return its path. Raises UserError if
    it cannot be made, and Stopped, with the finished pictures saved, if `report` asks to stop."""
    reads = [one for one in (looks.photos,) if one is not None and one.is_file()]
    check_sheet(out, [], reads)
    check_settings(looks.job.settings)
    photos = [] if looks.photos is None else photos_in(looks.photos)
    if looks.term is not None:
        _check_term(looks.term, looks.job.settings.network, bool(photos))
    with kept_network():
        network = loaded_network(looks.job.settings)
        terms, numbers = _terms(looks, network, photos, report)
        wanted = [
            Wanted(label, _imagining(looks.job, term), facts={"term": term})
            for label, term in terms
        ]
        with rendered(wanted, out, report) as (cells, _):
            if photos:
                layer, maps = _asked(looks, network, numbers)
                found = exciting_places(photos, network, layer, maps, PLACES)
                cells = [_with_places(*pair) for pair in zip(cells, found, strict=True)]
            about_ = about("visualize", looks.job, {"terms": [term for _, term in terms]})
            return save_sheet([in_rows(_title(looks), cells)], out, about_)


def _check_term(term: TermText, network: str, has_photos: bool) -> None:
    """Raise UserError if `network` lacks the layer or the channels of `term`, or if it ranks them
    by photos, and there are none."""
    check_channels(term, network)
    channels = term.channels or Channels()
    if max(len(channels.numbers), channels.count) > MOST_IMAGINED:
        raise UserError(f"at most {MOST_IMAGINED} channels are visualized at once; give fewer")
    if channels.rank is not None and not has_photos:
        raise UserError(
            f"{channels.rank}({channels.count}) ranks channels by photos; give --photos FOLDER"
        )


def _terms(
    looks: Looks, network: Network, photos: Sequence[Path], report: Report
) -> tuple[list[tuple[str, str]], list[int]]:
    """The label and the term of each picture, and the numbers of the channels or classes."""
    if looks.term is None:
        numbers = [network.class_number(name) for name in looks.classes]
        named = zip(looks.classes, numbers, strict=True)
        return [(f"{name} ({number})", f"class:{number}") for name, number in named], numbers
    term = looks.term
    channels = _channels(term, network, photos, report)
    kind = "mean" if term.kind == "l2" else term.kind
    place = "" if term.place is None else "@{:g}:{:g}".format(*term.place)
    texts = [f"{term.layer}:{number}{place}" for number in channels]
    return [(text, f"{kind}:{text}") for text in texts], channels


def _channels(
    term: TermText, network: Network, photos: Sequence[Path], report: Report
) -> list[int]:
    """The numbers of the channels of `term`: those that are given, or some, of which `report` gets
    a notice."""
    given, most = term.channels, network.layers[term.layer].channels
    if given is not None and given.rank is None:
        return list(given.numbers)
    rank = Channels(rank="strongest", count=min(USUAL_CHANNELS, most)) if given is None else given
    if given is None and most > USUAL_CHANNELS:
        which = f"{USUAL_CHANNELS} channels"
        told = f"the {which} that the photos excite most" if photos else f"the first {which}"
        report.on_notice(f"{told} of {most} are shown; {term.layer}:0-{most - 1} would show all")
    if not photos:
        return list(range(rank.count))
    order = mean_activations(photos, network, term.layer).argsort(descending=True, stable=True)
    match rank.rank:
        case "weakest":
            chosen = order.flip(0)
        case "average":
            middle = max(0, (len(order) - rank.count) // 2)
            chosen = order[middle:]
        case _:
            chosen = order
    return [int(number) for number in chosen[: rank.count]]


def _asked(
    looks: Looks, network: Network, numbers: Sequence[int]
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The layer, and the maps (K, h, w) in its activation, of the channels or classes of those
    `numbers`."""
    index = torch.tensor(list(numbers))
    if looks.term is not None:
        return looks.term.layer, lambda activation: _with_places_of(activation)[0, index]
    head = network.head()

    def shares(activation: Tensor) -> Tensor:  # a logit alone is high wherever all are
        logits = _with_places_of(head.at_places(activation)).float()
        return logits.log_softmax(1)[0, index]

    return head.layer, shares


def _with_places_of(activation: Tensor) -> Tensor:
    """`activation` (N, C, h, w); of (N, C), with a single place."""
    return activation if activation.ndim == 4 else activation[:, :, None, None]


def _imagining(job: Job, term: str) -> Job:
    return job.model_copy(update={"settings": with_terms(job.settings, {term: 1.0})})


def _with_places(cell: Cell, places: Sequence[Place]) -> Cell:
    """`cell` with what `places` show beside its picture."""
    told: list[dict[str, Any]] = [
        {"photo": str(one.photo), "box": list(one.box), "value": round(one.value, 4)}
        for one in places
    ]
    facts = {**cell.facts, "places": told}
    if cell.picture is None:
        return replace(cell, facts=facts)
    return replace(cell, picture=beside(cell.shown(), places), facts=facts)


def _title(looks: Looks) -> str:
    settings = looks.job.settings
    what = "classes" if looks.term is None else looks.term.layer
    places = ", and what in photos excites it most" if looks.photos else ""
    return f"{settings.network} {what}: what each looks for{places}"
