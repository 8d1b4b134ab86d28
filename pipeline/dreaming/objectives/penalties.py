"""Penalties: terms on the picture itself, rather than on a layer's activation.

They are climbed like other terms, so a negative weight takes away. Their gradients are not brought
to scale, because they are to vanish where nothing is left to penalise. They are such that a weight
of -1 pulls about as hard as a dream of weight 1 pushes: at a pixel that stands out from all of its
neighbours, or that differs from the source by `REFERENCE`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# From an image and its source, (1, 3, H, W) both, to the gradient of the penalty.
Penalty = Callable[[Tensor, Tensor], Tensor]
# 8 levels of 255: the order of what a still's dream adds.
REFERENCE = 8 / 255
SOFT = 1 / 255  # the difference of neighbours below which the variation is quadratic


def variation(image: Tensor, source: Tensor) -> Tensor:
    """The gradient of the total variation of `image`: the sum of the sizes of the differences of
    neighbours, below `SOFT` of their squares."""
    total = torch.zeros_like(image)
    for dimension in (2, 3):
        step = image.diff(dim=dimension)
        slope = step / (step.abs() + SOFT) / 4  # each pixel has four neighbours
        before = (0, 0, 0, 1) if dimension == 2 else (0, 1, 0, 0)
        after = (0, 0, 1, 0) if dimension == 2 else (1, 0, 0, 0)
        total += F.pad(slope, after) - F.pad(slope, before)
    return total


def change(image: Tensor, source: Tensor) -> Tensor:
    """The gradient of half the squared difference of `image` from `source`, over `REFERENCE`."""
    return (image - source) / REFERENCE


PENALTIES: dict[str, Penalty] = {"tv": variation, "change": change}
