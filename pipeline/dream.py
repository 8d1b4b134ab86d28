"""DeepDream on one image: octaves of gradient ascent (Mordvintsev et al., Inceptionism, 2015)."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.images import blur, resize
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.objectives import Objective, l2
from dreamreel.pipeline.settings import Dream
from dreamreel.pipeline.tiles import Grid

TINY = 1e-30  # keeps a gradient of nothing at nothing


@dataclass(frozen=True)
class Ascent:
    """How far to climb: steps in an octave, their size, and where they count for more.

    `size` is a step's mean change in levels of 255, everywhere or, as (1, 1, H, W), place by
    place. Where `fresh` (1, 1, H, W) is 1 rather than 0, gradients are brought to scale on their
    own: those of a place not dreamed yet are far weaker. `coarse`: the octaves but the finest
    climb that share of the way, in a single step each; None: like the finest. `finest`: whether
    it climbs at all.
    """

    steps: int
    size: Tensor | float
    fresh: Tensor | None = None
    coarse: float | None = None
    finest: bool = True

    def within(self, octave: int, octaves: int) -> tuple[int, float]:
        """The steps in `octave` of `octaves`, and how many times larger than `size` they are."""
        if octave == octaves - 1:
            return (self.steps if self.finest else 0), 1.0
        return (self.steps, 1.0) if self.coarse is None else (1, self.coarse * self.steps)


@dataclass(frozen=True)
class Aim:
    """What is climbed beside the layers that are set: the `objective` of a `layer`, by `weight`
    where theirs is 1."""

    layer: str
    objective: Objective
    weight: float


def dream(
    image: Tensor,
    network: Network,
    settings: Dream,
    ascent: Ascent,
    *,
    seed: int = 0,
    frame: int = 0,
    objective: Objective = l2,
    beside: Aim | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """`image` (1, 3, H, W) in [0, 1], dreamed; the same shape and range, float32.

    From the coarsest octave to the image itself: only the detail, what the dream added, passes
    from scale to scale. Where no layer has a weight, nothing is dreamed. Equal arguments on one
    machine give equal bytes. `on_step` is called after each step. Raises UserError where a gradient
    is no finite number.
    """
    weights = settings.layers or network.default_layers()
    if ascent.steps == 0 or not any(weights.values()):
        return image
    dreamed, detail = image, torch.zeros_like(image[:, :, :1, :1])
    sizes = octave_sizes(image.shape[2:], network, settings)
    climbed: list[Tensor] = []  # the mean size of each step, looked at in the end: once to wait
    for octave, size in enumerate(sizes):
        base = resize(image, size)
        dreamed = (base + resize(detail, size)).clamp(0, 1)
        steps, times = ascent.within(octave, len(sizes))
        length = times / 255 * _at(ascent.size, size)
        fresh = None if ascent.fresh is None else resize(ascent.fresh, size)
        aim = beside if beside and network.runs_at(size, (beside.layer,)) else None
        for step in range(steps):
            shift = jitter(settings.jitter, size, (seed, frame, octave, step))
            gradient = ascent_direction(
                dreamed, network, weights, settings, shift, fresh, objective, aim
            )
            dreamed = (dreamed + length * gradient).clamp(0, 1)
            climbed.append(gradient.abs().mean())
            on_step()
        detail = dreamed - base
    if climbed and not bool(torch.stack(climbed).isfinite().all()):
        raise _no_number(network)
    return dreamed


def check_finite(image: Tensor, network: Network) -> None:
    """Raise UserError unless all of `image` (1, 3, H, W), a dream of the `network`, is finite."""
    if not bool(image.isfinite().all()):
        raise _no_number(network)


def _no_number(network: Network) -> UserError:
    return UserError(
        f"the dream of {network.name} has turned into no number (NaN or infinite): its weights are "
        "too large or broken, or another layer or --precision float32 would do"
    )


def octave_sizes(size: Sequence[int], network: Network, settings: Dream) -> list[tuple[int, int]]:
    """(height, width) of each octave of an image of `size`, coarsest first, its own last.

    Octaves below the network's smallest sensible side are left out. Raises UserError where the
    image itself is too small for the network to see.
    """
    layers = settings.layers or network.default_layers()
    height, width = size
    if not network.runs_at((height, width), layers):
        side = network.smallest_side(layers)
        raise UserError(
            f"a picture of {width}x{height} is too small for {network.name} at "
            f"{', '.join(layers)}: {side}x{side} works, or a layer further down"
        )
    scales = [settings.octave_scale**octave for octave in reversed(range(settings.octaves))]
    sizes = [(round(height / scale), round(width / scale)) for scale in scales]
    smallest = network.smallest_side(layers)
    return [size for size in sizes[:-1] if min(size) >= smallest] + [(height, width)]


def ascent_direction(
    image: Tensor,
    network: Network,
    weights: Mapping[str, float],
    settings: Dream,
    shift: tuple[int, int],
    fresh: Tensor | None = None,
    objective: Objective = l2,
    beside: Aim | None = None,
) -> Tensor:
    """The direction in which to change `image` (1, 3, H, W): of mean size 1 (or std 1), where
    `fresh` is 1 and where it is 0.

    The image is rolled by `shift` while the network looks. Each layer's gradient is brought to
    equal scale before the layers are weighed, so that their weights mean what they say.
    """
    rolled = image.roll(shift, (2, 3)).requires_grad_(True)
    gradient = layer_gradients(rolled, network, weights, objective, settings.tile)
    if beside is not None:
        other = layer_gradients(
            rolled, network, {beside.layer: 1.0}, beside.objective, settings.tile
        )
        gradient = gradient / scale_of(gradient, "mean")
        gradient = gradient + other * (beside.weight / scale_of(other, "mean"))
    gradient = gradient.roll((-shift[0], -shift[1]), (2, 3))
    gradient = blur(gradient, settings.smoothing)
    if fresh is None:
        return gradient / scale_of(gradient, settings.normalise)
    old, new = (scale_of(gradient, settings.normalise, where) for where in (1 - fresh, fresh))
    return gradient / old.lerp(new, fresh)


def layer_gradients(
    image: Tensor,
    network: Network,
    weights: Mapping[str, float],
    objective: Objective,
    tile: int | None = None,
) -> Tensor:
    """The weighted sum of each layer's gradient with respect to `image`, each of mean size 1; of
    one layer alone, its gradient as it comes.

    The network sees no more than `tile` pixels a side at once, if given, and no more than memory
    suffices for.
    """
    active = {name: weight for name, weight in weights.items() if weight != 0}
    gradients = network.sight.within_memory(
        lambda grid: _gradients(image, network, active, objective, grid),
        (image.shape[2], image.shape[3]),
        active,
        tile,
    )
    if list(active.values()) == [1.0]:
        return gradients.popitem()[1]
    total = torch.zeros_like(image)
    for name, weight in active.items():
        total += gradients[name] * (weight / scale_of(gradients[name], "mean"))
    return total


def _gradients(
    image: Tensor,
    network: Network,
    names: Collection[str],
    objective: Objective,
    grid: Grid | None,
) -> dict[str, Tensor]:
    """The gradient of the objective of each of the layers `names` with respect to `image`, seen as
    a whole or in the tiles of `grid`."""
    if grid is None:
        return dict(_each_gradient(image, network, names, objective))
    total = {name: torch.zeros_like(image) for name in names}
    for tile in itertools.chain(*grid):
        part = tile.part(image).requires_grad_(True)
        for name, gradient in _each_gradient(part, network, names, objective, tile.counted):
            total[name][tile.index] += tile.weighed(name, gradient)
    return total


def _each_gradient(
    image: Tensor,
    network: Network,
    names: Collection[str],
    objective: Objective,
    counted: Callable[[str, Tensor], Tensor] = lambda name, activation: activation,
) -> Iterator[tuple[str, Tensor]]:
    """The name of each of the layers `names`, and the gradient with respect to `image` of the
    `objective` of what is `counted` of its activation."""
    activations = network.activations(image, names)
    for left, name in zip(reversed(range(len(names))), names, strict=True):
        value = objective(counted(name, activations.pop(name)))
        yield name, torch.autograd.grad(value, image, retain_graph=left > 0)[0]


def scale_of(gradient: Tensor, by: str, where: Tensor | float = 1.0) -> Tensor:
    """The size of `gradient` (1, 3, H, W): its mean absolute value, or its standard deviation;
    over the places that `where` (1, 1, H, W) weighs, if given."""
    weights = torch.as_tensor(where, device=gradient.device).expand_as(gradient)
    share = weights.mean().clamp_min(TINY)
    if by == "std":
        mean = (weights * gradient).mean() / share
        return ((weights * (gradient - mean) ** 2).mean() / share).sqrt().clamp_min(TINY)
    return ((weights * gradient.abs()).mean() / share).clamp_min(TINY)


def _at(values: Tensor | float, size: tuple[int, int]) -> Tensor | float:
    """`values` at `size`, where they are given place by place."""
    return resize(values, size) if isinstance(values, Tensor) else values


def jitter(largest: int, size: tuple[int, int], key: tuple[int, int, int, int]) -> tuple[int, int]:
    """A random shift (down, right) of up to `largest` pixels either way, from `key` alone:
    (seed, frame, octave, step)."""
    random = np.random.default_rng(key)
    reach = [min(largest, side // 2) for side in size]
    down, right = (int(random.integers(-most, most + 1)) for most in reach)
    return down, right
