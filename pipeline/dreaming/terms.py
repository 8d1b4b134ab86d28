"""Terms: the gradient of their sum, and the response of an image to them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.activations import L2
from dreamreel.pipeline.dreaming.objectives.objective import Measure, Objective
from dreamreel.pipeline.dreaming.objectives.penalties import Penalty
from dreamreel.pipeline.networks.layers import Field
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.networks.tiles import Grid, Tile
from dreamreel.pipeline.tensors import resize

TINY = 1e-30  # floor of divisors: a gradient of size 0 stays 0
BARE = 1e-6  # share that the mean size of a gradient has of its size at every place
SMALLEST_RESPONSE = 1e-12  # floor of responses: keeps the logarithm of 0 finite


@dataclass(frozen=True)
class Term:
    """The unit of what is climbed: an `objective` on the activation of a `layer`.

    Its gradient is brought to unit scale, then multiplied by `weight`; a negative weight descends.
    `where` (1, 1, H, W), from 0 to 1 and of any size, weighs the places of the image, and only they
    change; None: all count alike. `spot`, of the same kind, weighs the places too, but what they
    see changes with them.
    """

    layer: str
    objective: Objective = L2
    weight: float = 1.0
    where: Tensor | None = None
    spot: Tensor | None = None

    def over(self, moved: Callable[[Tensor], Tensor]) -> "Term":
        """This term with its `where` and its `spot` as `moved` returns them."""
        if self.where is None and self.spot is None:
            return self
        where, spot = (None if one is None else moved(one) for one in (self.where, self.spot))
        return replace(self, where=where, spot=spot)

    @property
    def name(self) -> str:
        """The layer's name; after the objective's, where that is not L2."""
        return self.layer if self.objective is L2 else f"{self.objective.name}:{self.layer}"


@dataclass(frozen=True)
class Pull:
    """A `penalty` on the picture itself, times `weight`: a negative one takes away."""

    penalty: Penalty
    weight: float


Terms = Sequence[Term]
Means = Sequence[Tensor | None]  # for each term, the mean over the picture that it needs, or None


def are_active(terms: Terms) -> bool:
    """Whether any of `terms` has a weight other than 0."""
    return any(term.weight for term in terms)


def proportions(terms: Terms) -> dict[str, float]:
    """The weights of `terms` by name, as shares of the sum of their sizes; terms of weight 0 left
    out. Terms with equal proportions dream the same."""
    total = sum(abs(term.weight) for term in terms) or 1.0
    return {term.name: term.weight / total for term in terms if term.weight}


def covered(terms: Terms) -> Tensor | None:
    """The places (1, 1, H, W) at which any of `terms` counts: the most of their `where`; None where
    one of them counts everywhere."""
    places = [term.where for term in terms if term.where is not None]
    if not places or len(places) < len(terms):
        return None
    return torch.stack(places).amax(0)


def placed(terms: Terms, size: tuple[int, int]) -> list[Term]:
    """`terms` with each `where` and `spot` resized to `size` (height, width)."""
    return [term.over(lambda places: resize(places, size)) for term in terms]


def gradient_of(image: Tensor, network: Network, terms: Terms, tile: int | None = None) -> Tensor:
    """The gradient of the sum of `terms` with respect to `image`, (1, 3, H, W) both: each term's
    gradient, brought to a mean absolute value of 1 and times its weight, added. A single term of
    weight 1 is not brought to scale.

    The network sees at most `tile` pixels a side at once, if given, and no more than fits in
    memory.
    """
    active = [term for term in terms if term.weight != 0]
    gradients = network.sight.within_memory(
        lambda grid: _gradients(image, network, active, grid),
        (image.shape[2], image.shape[3]),
        _layers(active),
        tile,
    )
    if len(active) == 1 and active[0].weight == 1:
        return gradients[0]
    total = torch.zeros_like(image)
    for term, gradient in zip(active, gradients, strict=True):
        size = (image.shape[2], image.shape[3])
        where = None if term.where is None else resize(term.where, size)
        total += gradient * (term.weight / gradient_scale(gradient, "mean", where))
    return total


def view_gradient(views: Tensor, network: Network, term: Term) -> Tensor:
    """The gradient of `term`, as a whole where its objective knows that, with respect to `views`
    (N, 3, h, w), which show one thing each. Its weight is not applied."""
    views = views.requires_grad_(True)
    activation = network.activations(views, [term.layer])[term.layer]
    if term.objective.whole is not None:
        value = term.objective.whole(activation).sum()
    else:
        value = _measured(term.objective.climbed, term, network, _as_map(activation), None).sum()
    return torch.autograd.grad(value, views)[0]


@torch.no_grad()
def response_of(
    images: Tensor,
    network: Network,
    terms: Terms,
    where: Tensor | None = None,
    tile: int | None = None,
) -> Tensor:
    """The response of each of `images` (N, 3, H, W) to `terms`: (N,).

    A term's response is its mean over the places, weighed by `where` (1, 1, H, W) if given. That of
    several terms is the geometric mean, weighed by their weights. Terms of negative weight count
    only where none is positive; where all weights are 0, all terms count alike. For `tile`, see
    `gradient_of`.
    """
    counting = _counting(terms)
    return _together(counting, mean_responses(images, network, counting, where, tile))


@torch.no_grad()
def placed_response_of(
    image: Tensor, network: Network, terms: Terms, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """The response of `image` (1, 3, H, W) to `terms`, (1,), and where it is: (1, 1, h, w), with a
    mean of 1, at the places of the first layer that counts. For `tile`, see `gradient_of`."""
    counting = _counting(terms)
    maps = _maps_of(image, network, [replace(term, where=None) for term in counting], tile)
    means = [_mean_of(found, term.where) for term, found in zip(counting, maps, strict=True)]
    size, total = maps[0].shape[2:], sum(term.weight for term in counting)
    places = torch.zeros_like(maps[0])
    for term, found, mean in zip(counting, maps, means, strict=True):
        share = F.interpolate(found / mean.clamp_min(SMALLEST_RESPONSE), size, mode="bilinear")
        places += share * (term.weight / total)
    return _together(counting, means), places


@torch.no_grad()
def mean_responses(
    images: Tensor,
    network: Network,
    terms: Terms,
    where: Tensor | None = None,
    tile: int | None = None,
) -> list[Tensor]:
    """For each of `terms`, the mean response of each of `images` (N, 3, H, W), over the places of
    the term: (N,). Weights of terms are not applied. For `where` and `tile`, see `response_of`."""
    size = (images.shape[2], images.shape[3])
    maps = _maps_of(images, network, [replace(term, where=None) for term in terms], tile)
    return [
        _mean_of(found, _both(term.where, where, size))
        for term, found in zip(terms, maps, strict=True)
    ]


def _counting(terms: Terms) -> list[Term]:
    """The `terms` that count for a response, with positive weights; see `response_of`."""
    counting = [term for term in terms if term.weight > 0]
    counting = counting or [replace(term, weight=-term.weight) for term in terms if term.weight < 0]
    return counting or [replace(term, weight=1.0) for term in terms]


def _together(terms: Terms, means: Sequence[Tensor]) -> Tensor:
    """The geometric mean of the mean responses `means` to `terms`, weighed by their weights."""
    logs = [
        term.weight * mean.clamp_min(SMALLEST_RESPONSE).log()
        for term, mean in zip(terms, means, strict=True)
    ]
    return (torch.stack(logs).sum(0) / sum(term.weight for term in terms)).exp()


def _maps_of(images: Tensor, network: Network, terms: Terms, tile: int | None) -> list[Tensor]:
    """The response of `images` (N, 3, H, W) to each of `terms` at each place, (N, 1, h, w)."""
    maps: list[Tensor] = network.sight.within_memory(
        lambda grid: _responses(images, network, terms, grid),
        (images.shape[2], images.shape[3]),
        _layers(terms),
        tile,
    )
    return maps


def gradient_scale(gradient: Tensor, by: str, where: Tensor | None = None) -> Tensor:
    """The size of `gradient` (1, 3, H, W), a scalar: `by` "mean", its mean absolute value; `by`
    "std", its standard deviation. `where` (1, 1, H, W) weighs the places, if given."""
    if where is None:
        size = gradient.std(correction=0) if by == "std" else gradient.abs().mean()
        return size.clamp_min(TINY)
    weights = where.expand_as(gradient)
    share = weights.mean().clamp_min(TINY)
    if by == "std":
        mean = (weights * gradient).mean() / share
        return ((weights * (gradient - mean) ** 2).mean() / share).sqrt().clamp_min(TINY)
    return ((weights * gradient.abs()).mean() / share).clamp_min(TINY)


def scale_at(gradient: Tensor, by: str, terms: Terms, fresh: Tensor | None = None) -> Tensor:
    """The size of `gradient` (1, 3, H, W), as `gradient_scale` has it: a scalar, or (1, 1, H, W).

    It is found apart where `fresh` (1, 1, H, W) is 1 and where it is 0, and in the places of each
    of `terms` that has a `where` of its own, at the size of the gradient.
    """
    places = {
        id(term.where): term.where for term in terms if term.where is not None and term.weight
    }
    if not places:
        if fresh is None:
            return gradient_scale(gradient, by)
        old, new = (gradient_scale(gradient, by, at) for at in (1 - fresh, fresh))
        return old.lerp(new, fresh)
    share = torch.full_like(gradient[:, :1], BARE)
    total = BARE * gradient_scale(gradient, by) * torch.ones_like(share)
    for where in places.values():
        if fresh is None:
            scale = gradient_scale(gradient, by, where)
        else:
            old, new = (gradient_scale(gradient, by, where * at) for at in (1 - fresh, fresh))
            scale = old.lerp(new, fresh)
        total, share = total + where * scale, share + where
    return (total / share).clamp_min(TINY)


def are_placed(terms: Terms) -> bool:
    """Whether any of `terms` counts some places more than others, which may change with a frame."""
    return any(term.where is not None or term.spot is not None for term in terms)


def kinds(terms: Terms) -> tuple[tuple[str, Objective], ...]:
    """What the gradients of `terms` depend on beside the image."""
    return tuple((term.layer, term.objective) for term in terms)


def _layers(terms: Terms) -> list[str]:
    """The layers of `terms`, each once, in their order."""
    return list(dict.fromkeys(term.layer for term in terms))


def _climbed(term: Term) -> Measure:
    return term.objective.climbed


def _response(term: Term) -> Measure:
    return term.objective.response


def _gradients(image: Tensor, network: Network, terms: Terms, grid: Grid | None) -> list[Tensor]:
    """The gradient of each of `terms` with respect to `image`, which is seen whole or in the tiles
    of `grid`."""
    if grid is None and not are_placed(terms):
        return network.replays.run(
            ("gradients", *kinds(terms)),
            lambda given: list(_each_gradient(given.detach().requires_grad_(), network, terms)),
            [image],
        )
    if grid is None:
        return list(_each_gradient(image, network, terms))
    means = _means(image, network, terms, _climbed, grid)
    total = [torch.zeros_like(image) for _ in terms]
    for tile in chain(*grid):
        part = tile.part(image).requires_grad_(True)
        found = _each_gradient(part, network, _within(terms, tile), tile, means)
        for sum_, term, gradient in zip(total, terms, found, strict=True):
            sum_[tile.index] += tile.weighed(term.layer, gradient)
    return total


def _each_gradient(
    image: Tensor,
    network: Network,
    terms: Terms,
    tile: Tile | None = None,
    means: Means | None = None,
) -> Iterator[Tensor]:
    """The gradient of each of `terms` with respect to `image`: the whole picture, or the part in
    `tile`, with the `means` over the whole picture."""
    activations = network.activations(image, _layers(terms))
    for number, term in enumerate(terms):
        activation = _as_map(activations[term.layer])
        mean = None if means is None else means[number]
        places = _measured(_climbed(term), term, network, activation, mean)
        value = (places if tile is None else tile.counted(term.layer, places)).sum()
        later = {other.layer for other in terms[number + 1 :]}
        if term.layer not in later:
            del activations[term.layer]
        del activation, places
        yield torch.autograd.grad(value, image, retain_graph=bool(later))[0]


def _responses(images: Tensor, network: Network, terms: Terms, grid: Grid | None) -> list[Tensor]:
    """The response of each of `terms` at each place, (N, 1, h, w). Images are seen whole, or one by
    one in the tiles of `grid`."""
    if grid is None and not are_placed(terms):
        return network.replays.run(
            ("responses", *kinds(terms)),
            lambda given: _response_maps(given, network, terms),
            [images],
        )
    if grid is None:
        return _response_maps(images, network, terms)
    pictures = [_tiled_responses(image, network, terms, grid) for image in images.split(1)]
    return [torch.cat(maps) for maps in zip(*pictures, strict=True)]


def _tiled_responses(image: Tensor, network: Network, terms: Terms, grid: Grid) -> list[Tensor]:
    means = _means(image, network, terms, _response, grid)
    rows = [
        [
            _response_maps(tile.part(image), network, _within(terms, tile), tile, means)
            for tile in row
        ]
        for row in grid
    ]
    return [
        torch.cat([torch.cat([maps[number] for maps in row], 3) for row in rows], 2)
        for number in range(len(terms))
    ]


def _response_maps(
    images: Tensor,
    network: Network,
    terms: Terms,
    tile: Tile | None = None,
    means: Means | None = None,
) -> list[Tensor]:
    found = network.activations(images, _layers(terms))
    maps = []
    for number, term in enumerate(terms):
        mean = None if means is None else means[number]
        places = _measured(_response(term), term, network, _as_map(found[term.layer]), mean)
        maps.append(places if tile is None else tile.counted(term.layer, places))
    return maps


def _measured(
    measure: Measure, term: Term, network: Network, activation: Tensor, mean: Tensor | None
) -> Tensor:
    """The `measure` of `activation` at each place, (N, 1, h, w), times the term's weights. `mean`:
    the mean that the measure needs; None: that of `activation`."""
    weights = _weights(term, network, activation)
    if measure.averaged is not None and mean is None:
        mean = _mean_over(measure.averaged(activation), weights).detach()
    places = measure.places(activation, mean)
    return places if weights is None else places * weights


@torch.no_grad()
def _means(
    image: Tensor, network: Network, terms: Terms, kind: Callable[[Term], Measure], grid: Grid
) -> Means:
    """For each of `terms`, the mean over the picture that its measure needs, (1, C, 1, 1), computed
    tile by tile; None where it needs none. `kind` picks a term's measure."""
    needing = [number for number, term in enumerate(terms) if kind(term).averaged is not None]
    totals: dict[int, tuple[Tensor | float, Tensor | float]] = {n: (0.0, 0.0) for n in needing}
    for tile in chain(*grid) if needing else ():
        within = _within(terms, tile)
        found = network.activations(tile.part(image), _layers([terms[n] for n in needing]))
        for number in needing:
            term, averaged = within[number], kind(terms[number]).averaged
            assert averaged is not None
            activation = _as_map(found[term.layer])
            weights = _weights(term, network, activation)
            weights = torch.ones_like(activation[:, :1]) if weights is None else weights
            values, counts = (
                tile.counted(term.layer, one).double().sum((2, 3), keepdim=True)
                for one in (averaged(activation) * weights, weights)
            )
            totals[number] = (totals[number][0] + values, totals[number][1] + counts)
    means: list[Tensor | None] = [None] * len(terms)
    for number, (sum_, count) in totals.items():
        means[number] = (torch.as_tensor(sum_) / torch.as_tensor(count).clamp_min(TINY)).float()
    return means


def _mean_over(values: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of `values` (N, C, h, w) over the places, weighed by `weights` (1, 1, h, w), if
    given: (N, C, 1, 1)."""
    if weights is None:
        return values.mean((2, 3), keepdim=True)
    total = weights.sum((2, 3), keepdim=True).clamp_min(TINY)
    return (values * weights).sum((2, 3), keepdim=True) / total


def _within(terms: Terms, tile: Tile) -> list[Term]:
    """`terms` with the part of their `where` and `spot` that lies in `tile`."""
    return [term.over(tile.part) for term in terms]


def _as_map(activation: Tensor) -> Tensor:
    """`activation`, (N, C, h, w) or (N, C), as (N, C, h, w): one without places gets one place."""
    return activation if activation.ndim == 4 else activation[..., None, None]


def _weights(term: Term, network: Network, activation: Tensor) -> Tensor | None:
    """The weights of `term` at the places of `activation`, (1, 1, h, w); None where all are 1."""
    field = network.layers[term.layer].field
    where, spot = (_at_places(one, field, activation) for one in (term.where, term.spot))
    if where is None or spot is None:
        return spot if where is None else where
    return where * spot


def _at_places(where: Tensor | None, field: Field, activation: Tensor) -> Tensor | None:
    """`where` (1, 1, H, W) at the places of `activation`, (1, 1, h, w); None if it is None.

    Each place takes the mean over a square in the middle of its receptive field, as wide as the
    layer's stride. It is therefore the same in every tile that holds the place.
    """
    if where is None:
        return None
    height, width = activation.shape[2:]
    if field.receptive is None:
        return where.mean((2, 3), keepdim=True)
    begins = field.first + (field.receptive - field.stride) // 2  # the first place's square
    needed = [begins + side * field.stride for side in (height, width)]
    missing = [max(0, end - side) for end, side in zip(needed, where.shape[2:], strict=True)]
    before = max(0, -begins)
    padded = F.pad(where, (before, missing[1], before, missing[0]), mode="replicate")
    start = begins + before
    cut = padded[:, :, start : start + height * field.stride, start : start + width * field.stride]
    return F.avg_pool2d(cut, field.stride)


def _both(one: Tensor | None, other: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """The product of the weights `one` and `other` of places, at `size` (height, width); None: all
    count alike."""
    given = [resize(where, size) for where in (one, other) if where is not None]
    return given[0] * given[1] if len(given) == 2 else (given[0] if given else None)


def _mean_of(maps: Tensor, where: Tensor | None) -> Tensor:
    """The mean of each of `maps` (N, 1, h, w): (N,). `where` (1, 1, H, W) weighs the places, if it
    is given and not 0 everywhere."""
    if where is None:
        return maps.mean((1, 2, 3))
    weights = F.interpolate(where, maps.shape[2:], mode="bilinear", antialias=True)
    total = weights.sum()
    weighed = (maps * weights).sum((1, 2, 3)) / total.clamp_min(TINY)
    return torch.where(total > 0, weighed, maps.mean((1, 2, 3)))
