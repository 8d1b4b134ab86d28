"""DeepDream on one image: octaves of gradient ascent (Mordvintsev et al., Inceptionism, 2015)."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.dreaming.gradients import shaped
from dreamreel.pipeline.dreaming.terms import (
    TINY,
    Pull,
    Term,
    Terms,
    are_active,
    are_placed,
    covered,
    gradient_of,
    gradient_scale,
    kinds,
    placed,
    scale_at,
)
from dreamreel.pipeline.dreaming.views import gradient_of_things
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.stages import timed
from dreamreel.pipeline.tensors import Leaving, Shift, blur, resize, rolled

# An even climb: the size of a gradient is taken over cells, so many in the shorter side, blurred by
# EVEN_SIGMA cells; EVEN_FLOOR, of the mean size, keeps places without any gradient as they are.
EVEN_CELLS, EVEN_SIGMA, EVEN_FLOOR = 24, 1.6, 0.1
# The shorter side, in pixels, of the finest octave of a look that names no coarsest: that of a
# picture of 480x270, whose octaves are just those of the setting.
USUAL_FINEST = 270
LIGHTER = 1.5  # power by which a climb falls with the size of an octave finer than the look's


@dataclass(frozen=True)
class Octave:
    """One size of a picture that is dreamed: its `size` (height, width), and the `share` of a climb
    that it takes: 1, or less where it is finer than the look's own octaves."""

    size: tuple[int, int]
    share: float


Key = tuple[int, int, int, int]  # seed, frame, octave, step


@dataclass(frozen=True)
class Ascent:
    """How far to climb: the number of steps in an octave, and their size.

    `size` is a step's mean change in levels of 255: one number, or (1, 1, H, W) for each place.
    `fresh` (1, 1, H, W) is 1 at places not dreamed yet and 0 elsewhere; the gradients of the two
    are brought to scale apart, because those of undreamed places are far weaker. Each octave
    coarser than the look's finest takes one step, `coarse` times as long as that one's whole climb;
    None: it takes the same steps; 0: none. Unless `finest`, the look's finest octave takes none,
    nor do finer ones, if there is a coarser one. If `even`, dull places climb nearly as far as
    lively ones. `frame` is the size (height, width) of the frame of which the image is a part, or
    that lies in it within a margin; None: the image is a frame. Whether gradients are finite is
    `checked`, which waits for the device; otherwise, the dream is not finite where they are not.
    """

    steps: int
    size: Tensor | float
    fresh: Tensor | None = None
    coarse: float | None = None
    finest: bool = True
    even: bool = False
    frame: tuple[int, int] | None = None
    checked: bool = True

    def within(self, octave: int, octaves: Sequence[Octave]) -> tuple[int, float]:
        """(steps, factor on `size`) for the one of `octaves` with the number `octave`."""
        main = sum(one.share == 1 for one in octaves) - 1
        if octave < main and self.coarse is not None:
            return (1, self.coarse * self.steps) if self.coarse else (0, 1.0)
        if octave >= main > 0 and not self.finest:
            return 0, 1.0
        climb = self.steps * octaves[octave].share
        steps = math.ceil(climb)
        return steps, climb / max(steps, 1)


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


@timed("octaves")
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
    is too small for the network, and where a gradient is not finite, if `ascent` is to be checked.
    """
    if ascent.steps == 0 or not are_active(terms):
        return image
    dreamed, detail = image, torch.zeros_like(image[:, :, :1, :1])
    where = covered(terms)
    octaves = octaves_of(image.shape[2:], network, terms, settings, ascent.frame)
    sizes: list[Tensor] = []  # each gradient's mean size; read once, at the end: one wait
    for octave, size in enumerate(one.size for one in octaves):
        base = resize(image, size)
        original = base if beside.source is None else resize(beside.source, size)
        inside = 1.0 if where is None else (resize(where, size) > 0).float()
        dreamed = (base + inside * _enlarged(detail, size, settings.wrap)).clamp(0, 1)
        steps, times = ascent.within(octave, octaves)
        length = times / 255 * _at(ascent.size, size) * inside
        fresh = None if ascent.fresh is None else resize(ascent.fresh, size)
        seen = [term for term in beside.terms if network.runs_at(size, (term.layer,))]
        climb = Climb(network, terms, settings, ascent, seen, beside.pulls)
        for step in range(steps):
            at = (*key, octave, step)
            dreamed, *mean = climb.step(dreamed, original, length, fresh, at)
            sizes += mean
            on_step()
        detail = dreamed - base
    if sizes:
        _check_sizes(torch.stack(sizes), image, network, terms)
    return dreamed


def _check_sizes(sizes: Tensor, image: Tensor, network: Network, terms: Terms) -> None:
    """Raise UserError if one of the `sizes` of gradients for `image` is not finite, or is 0 because
    an activation is not finite."""
    least = float(torch.where(sizes.isfinite(), sizes, -1).min())  # waits once
    if least < 0:
        raise not_finite(network)
    if least == 0 and network.overflows(image, {term.layer for term in terms}):
        raise not_finite(network)


@dataclass(frozen=True)
class Climb:
    """The steps of gradient ascent in an octave: what `dream` climbs there, and how. `beside`: the
    terms that are climbed beside `terms`."""

    network: Network
    terms: Terms
    settings: Dream
    ascent: Ascent
    beside: Terms
    pulls: Sequence[Pull]

    def step(
        self, image: Tensor, source: Tensor, length: Tensor | float, fresh: Tensor | None, key: Key
    ) -> list[Tensor]:
        """`image` (1, 3, H, W) a step further, by `length` in [0, 1] for a gradient of size 1. If
        the ascent is to be checked, the gradient's mean size as well, a scalar.

        Penalties compare with `source` (1, 3, H, W); for `fresh` and `key`, see
        `ascent_direction`.
        """
        size = (image.shape[2], image.shape[3])
        shift = jitter(self.settings.jitter, size, key, self.settings.wrap)
        weights = [term.weight for term in self.beside]
        climbed = (*self.terms, *self.beside)
        if are_placed(climbed) or any(term.objective.whole for term in climbed):
            return self._taken(key, image, source, length, fresh, *shift, *weights)
        given = (image, source, length, fresh, *shift, *weights)
        return self.network.replays.run(self._kind(), partial(self._taken, key), given)

    def _taken(
        self,
        key: Key,
        image: Tensor,
        source: Tensor,
        length: Tensor | float,
        fresh: Tensor | None,
        down: Shift,
        right: Shift,
        *weights: float,
    ) -> list[Tensor]:
        beside = [replace(term, weight=one) for term, one in zip(self.beside, weights, strict=True)]
        gradient = ascent_direction(
            image, self.network, self.terms, self.settings, (down, right), fresh, beside, key
        )
        for pull in self.pulls:
            gradient = gradient + pull.weight * pull.penalty(image, source)
        gradient = evened(gradient) if self.ascent.even else gradient
        further = (image + length * gradient).clamp(0, 1)
        return [further, gradient.abs().mean()] if self.ascent.checked else [further]

    def _kind(self) -> Hashable:
        """What a step depends on beside what it is given."""
        look = self.settings
        shape = look.smoothing, look.laplacian, look.frequency, look.colour, look.normalise
        edges = look.wrap, look.symmetry, look.tile, self.network.sight.tile
        climbed = kinds(self.terms), tuple(term.weight for term in self.terms), kinds(self.beside)
        pulls = tuple((pull.penalty, pull.weight) for pull in self.pulls)
        return "step", shape, edges, climbed, pulls, self.ascent.even, self.ascent.checked


def check_finite(image: Tensor, network: Network) -> None:
    """Raise UserError unless `image` (1, 3, H, W), a dream of `network`, is finite throughout."""
    if not bool(image.isfinite().all()):
        raise not_finite(network)


def finite_frame(leaving: Leaving, network: Network) -> Frame:
    """The frame of the image that is `leaving`, a dream of `network`. Raises UserError unless it is
    finite throughout."""
    if not leaving.is_finite:
        raise not_finite(network)
    return leaving.frame()


def not_finite(network: Network) -> UserError:
    """The error that a dream of `network` has become NaN or infinite."""
    return UserError(
        f"the dream of {network.name} became NaN or infinite: its weights are too large or "
        "broken; try another layer, or --precision float32"
    )


def octaves_of(
    size: Sequence[int],
    network: Network,
    terms: Iterable[Term],
    settings: Dream,
    frame: tuple[int, int] | None = None,
) -> list[Octave]:
    """The octaves of an image of `size` (height, width), from the coarsest to the image itself.

    The image is a part of a frame of the size `frame`, or a frame with a margin; None: a frame.
    They are counted from the look's coarsest, so that a look shows the same things at every size of
    the image. Where that is larger than the look's finest octave, finer ones add detail to things,
    by ever shorter climbs, rather than things. Octaves smaller than the network's smallest side at
    these layers are left out. Raises UserError where the image itself is too small.
    """
    layers = list(dict.fromkeys(term.layer for term in terms))
    height, width = size
    whole = min(frame or size)
    if not network.runs_at((height, width), layers):
        least = network.smallest_side(layers)
        raise UserError(
            f"a picture of {width}x{height} is too small for {network.name} at "
            f"{', '.join(layers)}: {least}x{least} works, and a layer nearer the image may"
        )
    smallest, finest = network.smallest_side(layers), finest_side(settings)
    octaves = []
    for side in (*_sides(whole, settings), float(whole)):
        scaled = (round(height * side / whole), round(width * side / whole))
        own = side <= finest * settings.octave_scale**0.5
        if min(*scaled, round(side)) >= smallest or side == whole:
            octaves.append(Octave(scaled, 1.0 if own else (finest / side) ** LIGHTER))
    return octaves


def finest_side(settings: Dream) -> float:
    """The shorter side, in pixels, of the finest of the look's own octaves."""
    if settings.coarsest is None:
        return USUAL_FINEST
    return float(settings.coarsest * settings.octave_scale ** (settings.octaves - 1))


def coarsest_side(settings: Dream) -> float:
    """The shorter side, in pixels, of the coarsest octave, at which the largest things are born."""
    return finest_side(settings) / settings.octave_scale ** (settings.octaves - 1)


def _sides(side: int, settings: Dream) -> Iterator[float]:
    """The shorter sides of the octaves of an image with that shorter `side`, but its own."""
    octave, scale = coarsest_side(settings), settings.octave_scale
    while octave < side / scale**0.5:
        yield octave
        octave *= scale


def ascent_direction(
    image: Tensor,
    network: Network,
    terms: Terms,
    settings: Dream,
    shift: tuple[Shift, Shift],
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
    seen, back = rolled(image, shift).requires_grad_(True), (-shift[0], -shift[1])
    things = [term for term in terms if term.objective.whole is not None]
    others = [term for term in terms if term.objective.whole is None]
    gradient = torch.zeros_like(image)
    if are_active(others) or not things:
        gradient = gradient_of(seen, network, _rolled(others, size, shift), settings.tile)
        if things and [term.weight for term in others if term.weight] == [1]:  # is unscaled
            gradient = gradient / gradient_scale(gradient, "mean")
    if are_active(things):
        found = gradient_of_things(image, network, things, settings.views, key)
        gradient = gradient + rolled(found, shift)
    if beside:
        gradient = gradient / gradient_scale(gradient, "mean")
        for term in _rolled(beside, size, shift):
            tile = network.sight.at_least(settings.tile, [term.layer])
            other = gradient_of(seen, network, [_of_weight_1(term)], tile)
            gradient = gradient + other * (term.weight / gradient_scale(other, "mean"))
    if settings.wrap == "none":
        gradient = shaped(rolled(gradient, back), settings)
    else:  # in the rolled picture, edges that meet are within it
        gradient = rolled(shaped(gradient, settings), back)
    if settings.symmetry > 1:
        gradient = turned_alike(gradient, settings.symmetry)
    if settings.colour == "keep":
        gradient = gradient.mean(1, keepdim=True).expand_as(gradient)
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


def turned_alike(image: Tensor, turns: int) -> Tensor:
    """The mean of `image` (1, C, H, W) turned about its centre by each of so many `turns` of a full
    turn. A place that lies outside the image in some of these takes the mean of the others."""
    height, width = image.shape[2:]
    y = (torch.arange(height, device=image.device) + 0.5 - height / 2)[:, None]
    x = (torch.arange(width, device=image.device) + 0.5 - width / 2)[None]
    total, seen = image, torch.ones_like(image[:, :1])
    both = torch.cat([image, seen], 1)
    for turn in range(1, turns):
        angle = 2 * math.pi * turn / turns
        across = (math.cos(angle) * x - math.sin(angle) * y) * (2 / width)
        down = (math.sin(angle) * x + math.cos(angle) * y) * (2 / height)
        grid = torch.stack([across, down], -1)[None].to(image)
        turned = F.grid_sample(both, grid, "bilinear", "zeros", align_corners=False)
        total, seen = total + turned[:, :-1], seen + turned[:, -1:]
    return total / seen


def jitter(largest: int, size: tuple[int, int], key: Key, wrap: str = "none") -> tuple[int, int]:
    """A random shift (down, right), at most `largest` pixels and half a side either way. It depends
    on `key` (seed, frame, octave, step) alone. Across edges that `wrap`, as in `dream.wrap`, it is
    up to half a side, so that the network sees each step across them at another place."""
    random = np.random.default_rng(key)
    wrapped = {"none": (), "y": (0,), "x": (1,), "both": (0, 1)}[wrap]
    reach = [
        side // 2 if axis in wrapped else min(largest, side // 2) for axis, side in enumerate(size)
    ]
    down, right = (int(random.integers(-most, most + 1)) for most in reach)
    return down, right


def _enlarged(detail: Tensor, size: tuple[int, int], wrap: str) -> Tensor:
    """`detail` (1, C, h, w) at the larger `size` (height, width), continued over edges that
    `wrap`."""
    if wrap == "none" or min(detail.shape[2:]) == 1:
        return resize(detail, size)
    across = "circular" if wrap in ("x", "both") else "replicate"
    down = "circular" if wrap in ("y", "both") else "replicate"
    wide = F.pad(F.pad(detail, (1, 1, 0, 0), mode=across), (0, 0, 1, 1), mode=down)
    # Where each new place lies in the padded picture, in grid_sample's coordinates.
    y, x = (
        2 * ((torch.arange(new, device=detail.device) + 0.5) * old / new + 1) / (old + 2) - 1
        for new, old in zip(size, detail.shape[2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(detail)
    return F.grid_sample(wide, grid, "bilinear", "border", align_corners=False)


def _rolled(terms: Terms, size: tuple[int, int], shift: tuple[Shift, Shift]) -> list[Term]:
    """`terms`, each with its places at `size` (height, width), rolled by `shift`."""
    return [term.over(lambda places: rolled(resize(places, size), shift)) for term in terms]


def _of_weight_1(term: Term) -> Term:
    return Term(term.layer, term.objective, 1.0, term.where)


def _at(values: Tensor | float, size: tuple[int, int]) -> Tensor | float:
    """`values`, resized to `size` where they are a tensor."""
    return resize(values, size) if isinstance(values, Tensor) else values
