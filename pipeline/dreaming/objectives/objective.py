"""The shape of an objective: what is climbed of an activation, and how much of it there is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# From an activation (N, C, h, w) and the mean that was asked for, (N or 1, C, 1, 1), or None, to a
# number for each place: (N, 1, h, w).
Places = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Measure:
    """A number for each place of an activation.

    `averaged` is the part of the activation, (N, C, h, w), whose mean over the picture it needs
    first; None where a place is all that it looks at. So a picture is measured exactly in tiles:
    in one pass, or, for the mean, in two.
    """

    places: Places
    averaged: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Objective:
    """What a dream makes of a layer: it climbs the sum of `climbed` over the places. The mean of
    `response`, never below 0, tells how much there is of it: loops steer by that."""

    name: str
    climbed: Measure
    response: Measure
