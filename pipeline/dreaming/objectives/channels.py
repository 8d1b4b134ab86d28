"""Objectives on some channels of a layer, given by number or chosen by their response."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from dreamreel.pipeline.config.terms import Rank
from dreamreel.pipeline.dreaming.objectives.activations import half_squares
from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective

FAINT = 0.01  # weight of all channels beside a single neuron; a round number


@lru_cache(maxsize=64)  # frames have one objective as long as they have the same channels
def on_channels(objective: Objective, channels: tuple[int, ...]) -> Objective:
    """`objective` on only the `channels`, by number, of an activation."""
    index = lru_cache(maxsize=8)(partial(torch.tensor, channels))  # by device: moved there once
    return replace(
        objective,
        name=f"{objective.name}:{'+'.join(map(str, channels))}",
        climbed=_picking(objective.climbed, index),
        response=_picking(objective.response, index),
    )


@lru_cache(maxsize=64)
def with_others(objective: Objective) -> Objective:
    """`objective`, and faintly that of all channels. A single neuron that does not respond at all
    has no gradient; this one leads to pictures to which it may respond."""

    def places(activation: Tensor, mean: Tensor | None) -> Tensor:
        return objective.climbed.places(activation, mean) + FAINT * half_squares(activation)

    return replace(objective, climbed=replace(objective.climbed, places=places))


def ranked(activation: Tensor, rank: Rank, count: int) -> tuple[int, ...]:
    """The numbers of the `count` channels of `activation` (1, C, h, w) that are strongest, weakest
    or nearest to the average, by their mean square over the places, in rising order.

    All channels, where there are no more. Those that do not respond at all are not weak: they are
    left out as long as others are left, because nothing could be climbed.
    """
    strengths = activation.float().square().mean((0, 2, 3))
    alive = strengths > 0
    match rank:
        case "strongest":
            keys = -strengths
        case "weakest":
            keys = strengths.where(alive, torch.inf)
        case "average":
            mean = strengths[alive].mean() if bool(alive.any()) else strengths.mean()
            keys = (strengths - mean).abs().where(alive, torch.inf)
    chosen = keys.argsort(stable=True)[:count]
    return tuple(sorted(chosen.tolist()))


def _picking(measure: Measure, index: Callable[..., Tensor]) -> Measure:
    """`measure` of an activation's channels at what `index` gives for its device."""

    def picked(activation: Tensor) -> Tensor:
        return activation.index_select(1, index(device=activation.device))

    def places(activation: Tensor, mean: Tensor | None) -> Tensor:
        return measure.places(picked(activation), mean)

    averaged = measure.averaged
    return Measure(places, None if averaged is None else lambda given: averaged(picked(given)))
