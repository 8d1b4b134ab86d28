"""Guided dreams: each place is drawn to what it resembles most in a guide picture.

As in google/deepdream's notebook: the objective at a place is the dot product of its features with
those of the guide, of all its places, with which the product is largest.
"""

from functools import lru_cache

import torch
from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective

# Places of a guide that are kept, at most. More are thinned out evenly. At 640x360, stride 16 gives
# a guide 920 places.
MOST_PLACES = 1024
# Products of places and guide places that are held at once: 64 MiB of float32.
CHUNK = 1 << 24
TINY = 1e-12  # floor of a squared length, as a divisor


@lru_cache(maxsize=8)  # frames have one objective as long as they have the same features
def guided(features: Tensor) -> Objective:
    """The objective that draws each place to the nearest of the guide's `features` (C, K)."""

    def drawn(activation: Tensor, mean: Tensor | None = None) -> Tensor:
        values = activation.float()
        best = nearest(values.detach(), features.to(values.device))
        return (values * best).sum(1, keepdim=True)

    def likeness(activation: Tensor, mean: Tensor | None = None) -> Tensor:
        values = activation.float()
        best = nearest(values, features.to(values.device))
        along = (values * best).sum(1, keepdim=True).clamp_min(0)
        length = best.square().sum(1, keepdim=True).clamp_min(TINY)
        return along.square() / (length * values.shape[1])

    return Objective("guide", Measure(drawn), Measure(likeness))


def features_of(activation: Tensor) -> Tensor:
    """The feature vectors (C, K) of a guide whose `activation` is (1, C, h, w): those of all its
    places, thinned evenly to at most `MOST_PLACES`. Places without any response are left out,
    unless there are no others."""
    vectors = activation.float().flatten(2)[0]
    alive = vectors.square().sum(0) > 0
    vectors = vectors[:, alive] if bool(alive.any()) else vectors[:, :1]
    count = vectors.shape[1]
    if count > MOST_PLACES:
        at = torch.linspace(0, count - 1, MOST_PLACES, device=vectors.device).round().long()
        vectors = vectors[:, at]
    return vectors.contiguous()


@torch.no_grad()
def nearest(values: Tensor, features: Tensor) -> Tensor:
    """For each place of `values` (N, C, h, w), the one of `features` (C, K) whose dot product with
    it is largest: (N, C, h, w)."""
    count, channels, height, width = values.shape
    flat = values.permute(0, 2, 3, 1).reshape(-1, channels)
    rows = max(1, CHUNK // features.shape[1])
    best = torch.cat([(part @ features).argmax(1) for part in flat.split(rows)])
    found = features.t().contiguous()[best]
    return found.view(count, height, width, channels).permute(0, 3, 1, 2)
