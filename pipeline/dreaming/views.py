"""Views of an image: random parts of it, turned and mirrored, at the size at which a network was
taught. What is in all of them is a thing, rather than a pattern of one size."""

from dataclasses import dataclass, replace
from math import radians

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.dreaming.terms import Terms, gradient_scale, view_gradient
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize

MOST_OBLONG = 2.0  # a view's longer side over the shorter: it shows a part of a strip


@dataclass(frozen=True)
class Views:
    """How views are drawn: so many (`count`), their shorter side `side` pixels long.

    A view shows from `least` to `most` of the image's shorter side, turned by at most `turn`
    degrees. It may leave the image by `shift` half sides; beyond its edges, the image is mirrored.
    """

    count: int
    side: int
    least: float
    most: float
    turn: float
    shift: float


# How a dream's views are drawn, and the noise in them: a standard deviation, of 1. Views of nearly
# the whole make one large thing; from 0.6 of it on, dreamnet found one class of six less.
OF_A_DREAM = Views(count=4, side=224, least=0.85, most=1.1, turn=10.0, shift=0.1)
NOISE = 0.05
# Octaves of a gradient that become equally strong. With 4 rather than 1, GoogLeNet's classes in a
# photo are surer for SqueezeNet (starfish 0.69 to 0.97), and a film's warp error is a quarter less.
BANDS = 4


@dataclass(frozen=True)
class Window:
    """Where in an image of any size a view lies: its `matrix` (2, 3) leads from the view to the
    image, in half sides of both. It shows the `share` of the image's shorter side."""

    matrix: Tensor
    share: float
    shape: tuple[int, int]

    def of(self, image: Tensor) -> Tensor:
        """The view of `image` (1, C, H, W): (1, C, h, w)."""
        fine = min(self.shape) / self.share  # the image's shorter side at the view's scale
        shorter = min(image.shape[2:])
        if shorter > fine:
            height, width = (max(1, round(side * fine / shorter)) for side in image.shape[2:])
            image = resize(image, (height, width))
        matrix = self.matrix.to(image.device)[None]
        grid = F.affine_grid(matrix, [1, 1, *self.shape], align_corners=False)
        return F.grid_sample(image, grid, "bilinear", "reflection", align_corners=False)


def windows(size: tuple[int, int], views: Views, random: torch.Generator) -> list[Window]:
    """Random windows into an image of `size` (height, width), by `views`."""
    shape = view_size(size, views.side)
    return [_window(size, shape, views, random) for _ in range(views.count)]


def view_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size (height, width) of a view of an image of `size`: the same shape, but no more than
    `MOST_OBLONG` times as long as wide, with its shorter side as long as `side`."""
    height, width = (side * min(MOST_OBLONG, one / min(size)) for one in size)
    return round(height), round(width)


def gradient_in(
    image: Tensor, seen: Tensor, where: list[Window], network: Network, terms: Terms
) -> Tensor:
    """The gradient of `terms` by `image` (1, 3, H, W), through its views `seen` (N, 3, h, w) in the
    windows `where`: that of each term is brought to a mean absolute value of 1 and weighed."""
    total = torch.zeros_like(seen)
    for term in terms:
        if term.weight:
            in_views = term.over(lambda places: torch.cat([one.of(places) for one in where]))
            found = view_gradient(seen.detach(), network, in_views)
            total += found * (term.weight / gradient_scale(found, "mean"))
    return torch.autograd.grad(seen, image, total)[0]


def gradient_of_things(
    image: Tensor, network: Network, terms: Terms, count: int, key: tuple[int, ...]
) -> Tensor:
    """The gradient of `terms`, each a whole thing, with respect to `image` (1, 3, H, W), in `count`
    random views that depend on `key` alone: each term's is brought to a mean absolute value of 1
    and weighed. A term's `where` weighs the places of its gradient."""
    seed = int(np.random.SeedSequence((*key, count)).generate_state(1)[0])
    random = torch.Generator().manual_seed(seed)
    side = min(OF_A_DREAM.side, network.side or OF_A_DREAM.side)
    views = replace(OF_A_DREAM, count=count, side=side)
    where = windows((image.shape[2], image.shape[3]), views, random)
    image = image.detach().requires_grad_(True)
    seen = torch.cat([window.of(image) for window in where])
    seen = seen + (NOISE * torch.randn(seen.shape, generator=random)).to(seen.device)
    total = torch.zeros_like(image)
    for term in terms:
        if term.weight:
            found = view_gradient(seen.detach(), network, term)
            found = torch.autograd.grad(seen, image, found, retain_graph=True)[0]
            found = equalised(found)
            if term.where is not None:
                found = found * resize(term.where, (image.shape[2], image.shape[3]))
            total = total + found * (term.weight / gradient_scale(found, "mean"))
    return total


def equalised(gradient: Tensor) -> Tensor:
    """`gradient` (1, 3, H, W) with its detail of each size, in `BANDS` octaves, brought to a mean
    absolute value of 1, as in TensorFlow's DeepDream tutorial (lap_normalize): natural pictures are
    as strong at every scale. Otherwise what is fine is far the strongest, and only the network that
    dreams knows it."""
    size = (gradient.shape[2], gradient.shape[3])
    total, rest = torch.zeros_like(gradient), gradient
    for band in range(1, BANDS):
        half = (max(1, size[0] >> band), max(1, size[1] >> band))
        coarse = resize(resize(rest, half), size)
        detail, rest = rest - coarse, coarse
        total += detail / gradient_scale(detail, "mean")
    return total + rest / gradient_scale(rest, "mean")


def _window(
    size: tuple[int, int], shape: tuple[int, int], views: Views, random: torch.Generator
) -> Window:
    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=random))

    high, wide = (side / min(shape) for side in shape)  # a whole view, in shorter sides
    down, across = (side / min(size) for side in size)  # the image
    share = views.least * (views.most / views.least) ** between(0, 1)
    turn = torch.tensor(radians(between(-views.turn, views.turn)))
    mirrored = 1.0 if between(0, 1) < 0.5 else -1.0
    right = between(-1, 1) * (abs(1 - share * wide / across) + views.shift)
    below = between(-1, 1) * (abs(1 - share * high / down) + views.shift)
    cos, sin = share * float(turn.cos()), share * float(turn.sin())
    matrix = torch.tensor(
        [
            [cos * mirrored * wide / across, -sin * high / across, right],
            [sin * mirrored * wide / down, cos * high / down, below],
        ]
    )
    return Window(matrix, share, shape)
