"""From the terms in the settings, as text, to those that are climbed: channels chosen, classes
found, guides read."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.terms import PENALTIES, Channels, TermText, parse_term
from dreamreel.pipeline.dreaming.guides import guide_at
from dreamreel.pipeline.dreaming.masks import Masks
from dreamreel.pipeline.dreaming.objectives import penalties
from dreamreel.pipeline.dreaming.objectives.activations import CNN_VIS, L2, MEAN
from dreamreel.pipeline.dreaming.objectives.channels import on_channels, ranked, with_others
from dreamreel.pipeline.dreaming.objectives.classes import of_class
from dreamreel.pipeline.dreaming.objectives.guides import guided
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.dreaming.terms import Pull, Term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize


@dataclass(frozen=True)
class Seen:
    """What terms may ask of the picture that is dreamed: the `source` (1, 3, H, W), and the
    `number` of the frame."""

    source: Tensor
    number: int


def weighted(dream: Dream, network: Network) -> dict[str, float]:
    """The terms of `dream`, as text, with their weights. The network's default layers join them
    where all others are penalties."""
    if any(text not in PENALTIES for text in dream.terms):
        return dict(dream.terms)
    return network.default_layers() | dict(dream.terms)


def terms_of(
    settings: Settings,
    network: Network,
    seen: Seen,
    masks: Masks | None = None,
    objective: Objective = L2,
) -> tuple[Term, ...]:
    """The terms that are climbed in a picture, without penalties: those of each region of
    `settings`, or those of the dream, at the places of their `masks`, if there are any.
    `objective` stands for L2 on a layer.

    Raises UserError for a layer, a channel or a class that the network does not have, and for a
    guide that cannot be read.
    """
    found = []
    for number, dream in enumerate(settings.dreams):
        where = None
        if masks is not None:
            where = masks.regions[number] if settings.region else masks.whole
        for text, weight in weighted(dream, network).items():
            if text not in PENALTIES:
                term = _term(parse_term(text), weight, network, seen, objective)
                found.append(_within(term, where))
    return tuple(found)


def pulls_of(dream: Dream) -> tuple[Pull, ...]:
    """The penalties of `dream` whose weight is not 0."""
    return tuple(
        Pull(penalties.PENALTIES[text], weight)
        for text, weight in dream.terms.items()
        if weight and text in PENALTIES
    )


def layers_of(dream: Dream, network: Network) -> dict[str, str]:
    """The layer that each term of `dream` but the penalties needs, by the term's text. Raises
    UserError for a layer, a channel or a class that the network does not have."""
    found = {}
    for text in weighted(dream, network):
        if text not in PENALTIES:
            term = parse_term(text)
            layer = found[text] = layer_of(term, network)
            network.check([layer])
            _check_channels(term.channels, layer, network)
            if term.kind == "class":
                network.class_number(term.what)
    return found


def layer_of(term: TermText, network: Network) -> str:
    """The layer of `network` that `term`, which is no penalty, needs."""
    if term.kind == "class":
        return network.head().layer
    return term.layer or next(iter(network.default_layers()))


def _term(
    text: TermText, weight: float, network: Network, seen: Seen, objective: Objective
) -> Term:
    layer = layer_of(text, network)
    if text.kind == "class":
        number = network.class_number(text.what)
        return Term(layer, of_class(network.head(), number, text.what), weight)
    if text.kind == "guide":
        guide = guide_at(Path(text.what), network)
        return Term(layer, guided(guide.features(layer, seen.number)), weight)
    found = {"l2": objective, "mean": MEAN, "cnn_vis": CNN_VIS}[text.kind]
    if text.channels is not None:
        numbers = _chosen(text.channels, layer, network, seen)
        found = on_channels(found, numbers)
    if text.place is None:
        return Term(layer, found, weight)
    spot, where = _at_place(text.place, layer, network, seen)
    return Term(layer, with_others(found), weight, where, spot)


def _within(term: Term, where: Tensor | None) -> Term:
    """`term`, at the places `where` (1, 1, H, W) alone; None: everywhere."""
    if where is None:
        return term
    if term.where is not None:
        where = where * resize(term.where, (where.shape[2], where.shape[3]))
    return replace(term, where=where)


def _chosen(channels: Channels, layer: str, network: Network, seen: Seen) -> tuple[int, ...]:
    """The numbers of `channels`; those that are chosen by rank by the source that is dreamed."""
    _check_channels(channels, layer, network)
    if channels.rank is None:
        return channels.numbers
    with torch.no_grad():
        activation = network.activations(seen.source, [layer])[layer]
    return ranked(activation, channels.rank, channels.count)


def _check_channels(channels: Channels | None, layer: str, network: Network) -> None:
    """Raise UserError if `layer` has not all of `channels`."""
    most = network.layers[layer].channels
    if channels is not None and max(channels.numbers, default=0) >= most:
        raise UserError(
            f"{layer} of {network.name} has no channel {max(channels.numbers)}: "
            f"it has {most}, from 0 to {most - 1}"
        )


def _at_place(
    place: tuple[float, float], layer: str, network: Network, seen: Seen
) -> tuple[Tensor | None, Tensor | None]:
    """1 at the one place of `layer` that is nearest to `place` (across, down), 0 elsewhere, and 1
    at what it sees of the source: (1, 1, h, w) both. None and None for a layer without places."""
    field = network.layers[layer].field
    if field.receptive is None:
        return None, None
    height, width = seen.source.shape[2:]
    rows, columns = (max(1, side // field.stride) for side in (height, width))
    column, row = min(int(place[0] * columns), columns - 1), min(int(place[1] * rows), rows - 1)
    spot = torch.zeros(1, 1, rows, columns, device=seen.source.device)
    spot[..., row, column] = 1
    where = torch.zeros(1, 1, height, width, device=seen.source.device)
    top, left = (field.first + field.stride * at for at in (row, column))
    bottom, right = top + field.receptive, left + field.receptive
    where[..., max(0, top) : bottom, max(0, left) : right] = 1
    return spot, where
