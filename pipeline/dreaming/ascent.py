"""DeepDream on one image: octaves of gradient ascent (Mordvintsev et al., Inceptionism, 2015)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.dreaming.gradients import shaped
from dreamreel.pipeline.dreaming.terms import (
    TINY,
    Pull,
    Term,
    Terms,
    are_active,
    covered,
    gradient_of,
    gradient_scale,
    placed,
    scale_at,
)
from dreamreel.pipeline.dreaming.views import gradient_of_things
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import blur, resize

# An even climb: the size of a gradient is taken over cells, so many in the shorter side, blurred by
# EVEN_SIGMA cells; EVEN_FLOOR, of the mean size, keeps places without any gradient as they are.
EVEN_CELLS, EVEN_SIGMA, EVEN_FLOOR = 24, 1.6, 0.1

Key = tuple[int, int, int, int]  # seed, frame, octave, step


@dataclass(frozen=True)
class Ascent:
    """How far to climb: the number of steps in an octave, and their size.

    `size` is a step's mean change in levels of 255: one number, or (1, 1, H, W) for each place.
    `fresh` (1, 1, H, W) is 1 at places not dreamed yet and 0 elsewhere; the gradients of the two
    are brought to scale apart, because those of undreamed places are far weaker. Each octave but
    the finest takes one step, `coarse` times as long as the finest octave's whole climb; None: it
    takes the same steps as the finest; 0: none. Unless `finest`, the finest octave takes none. If
    `even`, dull places climb nearly as far as lively ones.
    """

    steps: int
    size: Tensor | float
    fresh: Tensor | None = None
    coarse: float | None = None
    finest: bool = True
    even: bool = False

    def within(self, octave: int, octaves: int) -> tuple[int, float]:
        """(steps, factor on `size`) for `octave`, from 0, the coarsest, of `octaves`."""
        if octave == octaves - 1:
            return (self.steps if self.finest else 0), 1.0
        if self.coarse is None:
            return self.steps, 1.0
        return (1, self.coarse * self.steps) if self.coarse else (0, 1.0)


@dataclass(frozen=True)
class Beside:
    """What is climbed beside a sum of terms: other `terms` and the penalties `pulls`, with weights
    relative to that whole sum, brought to unit scale.

    Penalties compare with `source` (1, 3, H, W); None: with the image that is dreamed.
    """

    terms: Terms = ()
    pulls: Sequence[Pull] = ()
    source: Tensor | None = None


ALONE = Beside()


def still_ascent(settings: Dream) -> Ascent:
    """The ascent of a picture that carries no dream yet, by `settings`."""
    return Ascent(settings.steps, settings.step_size * settings.strength)


def dream(
    image: Tensor,
    network: Network,
    terms: Terms,
    settings: Dream,
    ascent: Ascent,
    *,
    key: tuple[int, int] = (0, 0),
    beside: Beside = ALONE,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """The dream of `image` (1, 3, H, W) in [0, 1]: the same shape and range, float32.

    Gradient ascent climbs the sum of `terms` in each octave, from the coarsest to the image itself.
    Only the detail, which the dream added, passes from octave to octave. What is `beside` is
    climbed as well. Where no term has a weight, and outside the places of all `terms`, the image
    comes back as it is. Randomness comes from `key` (seed, frame) alone: equal arguments on one
    machine give equal bytes. `on_step` is called after each step. Raises UserError where the image
    is too small for the network, and where a gradient is not finite.
    """
    if ascent.steps == 0 or not are_active(terms):
        return image
    dreamed, detail = image, torch.zeros_like(image[:, :, :1, :1])
    where = covered(terms)
    sizes = octave_sizes(image.shape[2:], network, terms, settings)
    climbed: list[Tensor] = []  # each gradient's mean size; read once, at the end: one wait
    for octave, size in enumerate(sizes):
        base = resize(image, size)
        original = base if beside.source is None else resize(beside.source, size)
        inside = 1.0 if where is None else (resize(where, size) > 0).float()
        dreamed = (base + inside * resize(detail, size)).clamp(0, 1)
        steps, times = ascent.within(octave, len(sizes))
        length = times / 255 * _at(ascent.size, size) * inside
        fresh = None if ascent.fresh is None else resize(ascent.fresh, size)
        seen = [term for term in beside.terms if network.runs_at(size, (term.layer,))]
        for step in range(steps):
            at = (*key, octave, step)
            shift = jitter(settings.jitter, size, at)
            gradient = ascent_direction(dreamed, network, terms, settings, shift, fresh, seen, at)
            gradient = _pulled(gradient, dreamed, original, beside.pulls)
            gradient = evened(gradient) if ascent.even else gradient
            dreamed = (dreamed + length * gradient).clamp(0, 1)
            climbed.append(gradient.abs().mean())
            on_step()
        detail = dreamed - base
    if climbed and not bool(torch.stack(climbed).isfinite().all()):
        raise _not_finite(network)
    return dreamed


def check_finite(image: Tensor, network: Network) -> None:
    """Raise UserError unless `image` (1, 3, H, W), a dream of `network`, is finite throughout."""
    if not bool(image.isfinite().all()):
        raise _not_finite(network)


def octave_sizes(
    size: Sequence[int], network: Network, terms: Iterable[Term], settings: Dream
) -> list[tuple[int, int]]:
    """(height, width) of each octave of an image of `size`, from the coarsest to `size` itself.

    Octaves smaller than the network's smallest side at these layers are left out. Raises UserError
    where the image itself is too small.
    """
    layers = list(dict.fromkeys(term.layer for term in terms))
    height, width = size
    if not network.runs_at((height, width), layers):
        side = network.smallest_side(layers)
        raise UserError(
            f"a picture of {width}x{height} is too small for {network.name} at "
            f"{', '.join(layers)}: {side}x{side} works, and a layer nearer the image may"
        )
    scales = [settings.octave_scale**octave for octave in reversed(range(settings.octaves))]
    sizes = [(round(height / scale), round(width / scale)) for scale in scales]
    smallest = network.smallest_side(layers)
    return [size for size in sizes[:-1] if min(size) >= smallest] + [(height, width)]


def ascent_direction(
    image: Tensor,
    network: Network,
    terms: Terms,
    settings: Dream,
    shift: tuple[int, int],
    fresh: Tensor | None = None,
    beside: Terms = (),
    key: Key = (0, 0, 0, 0),
) -> Tensor:
    """The direction in which a step changes `image` (1, 3, H, W): the gradient, smoothed and scaled
    to a mean absolute value of 1 (or std of 1, by `settings.normalise`).

    Places where `fresh` is 1 and where it is 0, and those of terms with a `where` of their own, are
    brought to scale apart. The network sees the image rolled by `shift` (down, right); for terms
    that are whole things, in random views, which depend on `key` (seed, frame, octave, step) alone.
    """
    size = (image.shape[2], image.shape[3])
    rolled = image.roll(shift, (2, 3)).requires_grad_(True)
    things = [term for term in terms if term.objective.whole is not None]
    others = [term for term in terms if term.objective.whole is None]
    gradient = torch.zeros_like(image)
    if are_active(others) or not things:
        gradient = gradient_of(rolled, network, placed(others, size, shift), settings.tile)
        if things and [term.weight for term in others if term.weight] == [1]:  # is unscaled
            gradient = gradient / gradient_scale(gradient, "mean")
    if are_active(things):
        found = gradient_of_things(image, network, things, settings.views, key)
        gradient = gradient + found.roll(shift, (2, 3))
    if beside:
        gradient = gradient / gradient_scale(gradient, "mean")
        for term in placed(beside, size, shift):
            tile = network.sight.at_least(settings.tile, [term.layer])
            other = gradient_of(rolled, network, [_of_weight_1(term)], tile)
            gradient = gradient + other * (term.weight / gradient_scale(other, "mean"))
    gradient = gradient.roll((-shift[0], -shift[1]), (2, 3))
    gradient = shaped(gradient, settings)
    return gradient / scale_at(gradient, settings.normalise, placed(terms, size), fresh)


def evened(gradient: Tensor) -> Tensor:
    """`gradient` (1, 3, H, W) divided by its own size around each place, and brought to a mean
    absolute value of 1."""
    height, width = gradient.shape[2:]
    cell = max(1, min(height, width) // EVEN_CELLS)
    size = (max(1, height // cell), max(1, width // cell))
    around = blur(resize(gradient.abs().mean(1, keepdim=True), size), EVEN_SIGMA)
    around = around / around.mean().clamp_min(TINY)
    divided = gradient / resize(EVEN_FLOOR + around, (height, width))
    return divided / gradient_scale(divided, "mean")


def jitter(largest: int, size: tuple[int, int], key: Key) -> tuple[int, int]:
    """A random shift (down, right), at most `largest` pixels and half a side either way. It depends
    on `key` (seed, frame, octave, step) alone."""
    random = np.random.default_rng(key)
    reach = [min(largest, side // 2) for side in size]
    down, right = (int(random.integers(-most, most + 1)) for most in reach)
    return down, right


def _pulled(gradient: Tensor, image: Tensor, source: Tensor, pulls: Sequence[Pull]) -> Tensor:
    """`gradient`, of unit scale, with those of the penalties `pulls` on `image`."""
    for pull in pulls:
        gradient = gradient + pull.weight * pull.penalty(image, source)
    return gradient


def _of_weight_1(term: Term) -> Term:
    return Term(term.layer, term.objective, 1.0, term.where)


def _at(values: Tensor | float, size: tuple[int, int]) -> Tensor | float:
    """`values`, resized to `size` where they are a tensor."""
    return resize(values, size) if isinstance(values, Tensor) else values


def _not_finite(network: Network) -> UserError:
    return UserError(
        f"the dream of {network.name} became NaN or infinite: its weights are too large or "
        "broken; try another layer, or --precision float32"
    )
