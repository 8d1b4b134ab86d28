"""New picture past an edge: an extrapolation that is smoother further out, and noise."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.zooming.grain import Chance, soft_noise

NOISE = 0.06  # standard deviation, of 1, of the noise that new picture is dreamed from
TINY = 1e-12  # keeps a division by the weight of an unknown place finite


def filled(image: Tensor, known: Tensor, chance: Chance) -> Tensor:
    """`image` (1, 3, H, W), filled in where `known` (1, 1, H, W), from 0 to 1, is below 1: by
    push-pull interpolation (Gortler et al., The Lumigraph, 1996) and noise to dream from."""
    total, weight = image * known, known
    sums: list[tuple[Tensor, Tensor]] = []
    # Down to one place, which knows the mean: an unknown place of the last level would be black.
    while max(total.shape[2:]) > 1:
        sums.append((total, weight))
        total = F.avg_pool2d(total, 2, ceil_mode=True)
        weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    guess = total / weight.clamp_min(TINY)
    for total, weight in reversed(sums):
        guess = F.interpolate(guess, total.shape[2:], mode="bilinear", align_corners=False)
        share = (4 * weight).clamp(0, 1)
        guess = guess + share * (total / weight.clamp_min(TINY) - guess)
    made_up = guess + NOISE * soft_noise(image, chance, "fill")
    return (known * image + (1 - known) * made_up).clamp(0, 1)


def surrounded(image: Tensor, margin: int, chance: Chance) -> Tensor:
    """`image` (1, 3, H, W) with a filled-in `margin` of so many pixels on each side."""
    known = F.pad(torch.ones_like(image[:, :1]), (margin,) * 4)
    return filled(F.pad(image, (margin,) * 4, mode="replicate"), known, chance)
