"""From the terms in the settings, as text, to those that are climbed: channels chosen, classes
found, guides read."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.config.terms import PENALTIES, Channels, TermText, parse_term
from dreamreel.pipeline.dreaming.guides import guide_at
from dreamreel.pipeline.dreaming.objectives import penalties
from dreamreel.pipeline.dreaming.objectives.activations import CNN_VIS, L2, MEAN
from dreamreel.pipeline.dreaming.objectives.channels import on_channels, ranked, with_others
from dreamreel.pipeline.dreaming.objectives.classes import of_class
from dreamreel.pipeline.dreaming.objectives.guides import guided
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.dreaming.terms import Pull, Term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.network import Network


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
    dream: Dream, network: Network, seen: Seen, objective: Objective = L2
) -> tuple[Term, ...]:
    """The terms of `dream` that are climbed in a picture, without penalties. `objective` stands for
    L2 on a layer.

    Raises UserError for a layer, a channel or a class that the network does not have, and for a
    guide that cannot be read.
    """
    return tuple(
        _term(parse_term(text), weight, network, seen, objective)
        for text, weight in weighted(dream, network).items()
        if text not in PENALTIES
    )


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
    where = _at_place(text.place, layer, network, seen)
    return Term(layer, with_others(found), weight, where)


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
) -> Tensor | None:
    """1 at the one place of `layer` that is nearest to `place` (across, down), 0 elsewhere:
    (1, 1, h, w). None for a layer without places."""
    field = network.layers[layer].field
    if field.receptive is None:
        return None
    height, width = (max(1, side // field.stride) for side in seen.source.shape[2:])
    where = torch.zeros(1, 1, height, width, device=seen.source.device)
    column, row = (
        min(int(share * side), side - 1) for share, side in zip(place, (width, height), strict=True)
    )
    where[..., row, column] = 1
    return where
