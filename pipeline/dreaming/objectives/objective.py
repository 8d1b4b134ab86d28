"""The type of an objective: a measure of activations to climb, and one to steer by."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# A function from an activation (N, C, h, w), and the mean (N or 1, C, 1, 1) that its measure asks
# for, or None, to a number for each place: (N, 1, h, w).
Places = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Measure:
    """A number for each place of an activation, by the function `places`.

    If `places` needs a mean over the picture, `averaged` gives the values to average, (N, C, h, w),
    from the activation. Tiles can therefore be measured exactly: in one pass, or in two where there
    is a mean to be found first.
    """

    places: Places
    averaged: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Objective:
    """What a dream climbs on a layer: the sum of `climbed` over the places.

    The mean of `response` over the places, never below 0, says how much of it an image has;
    controllers steer by that. `whole`, from an activation to a number for each image, (N,), is
    climbed instead in views of the picture, as what it knows is whole things; None: it has none.
    """

    name: str
    climbed: Measure
    response: Measure
    whole: Callable[[Tensor], Tensor] | None = None
