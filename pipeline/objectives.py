"""What a dream climbs: a number for a layer's activation, larger the more excited it is.

A sum over the activation's places, so that it is also the sum of its tiles' (see `tiles`).
"""

from collections.abc import Callable

from torch import Tensor

Objective = Callable[[Tensor], Tensor]


def l2(activation: Tensor) -> Tensor:
    """Half the sum of squares of `activation` (1, C, h, w): whatever is there, more of it.

    The objective of the original DeepDream (Mordvintsev et al., 2015). Reduced in float32.
    """
    return activation.float().square().sum() / 2


def varied(activation: Tensor) -> Tensor:
    """Half the sum of squares of what `activation` (1, C, h, w) has beyond each channel's mean over
    the picture: what is special in each place, rather than the same everywhere.

    A picture that feeds on its own dream, under the plain objective, ends as one pattern.
    """
    values = activation.float()
    return (values - values.mean((2, 3), keepdim=True).detach()).square().sum() / 2


def diverse(activation: Tensor) -> Tensor:
    """How little the places of `activation` (1, C, h, w) have in common: climbed, their features
    turn away from the mean over the picture, and their `spread` grows."""
    units = _unit(activation)
    return -(units * units.mean((2, 3), keepdim=True).detach()).sum()


def spread(activation: Tensor) -> float:
    """How different the places of `activation` (1, C, h, w) are: the variance over them, summed
    over the channels, of what each is but for its length; from 0, all alike, to 1."""
    units = _unit(activation)
    return float((units - units.mean((2, 3), keepdim=True)).square().sum(1).mean())


def _unit(activation: Tensor) -> Tensor:
    values = activation.float()
    return values / values.norm(dim=1, keepdim=True).clamp_min(1e-6)


OBJECTIVES: dict[str, Objective] = {"l2": l2, "varied": varied, "diverse": diverse}
