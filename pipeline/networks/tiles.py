"""Overlapping tiles, in which a network sees an image that is too large for memory.

An objective is a sum over a layer's places. Each place is counted in exactly one tile, which holds
its whole receptive field. So the gradients of the tiles, added where they overlap, make the
gradient of the whole image, and there is no seam.
"""

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeVar

import torch
from torch import Tensor

from dreamreel.pipeline.errors import PassingError, UserError
from dreamreel.pipeline.memory import is_out_of_memory
from dreamreel.pipeline.networks.layers import Layer

# Pixels, taken for the receptive field of a layer that sees the whole image: the side of the images
# that classifiers are trained on.
WHOLE_FIELD = 224
# The core of a tile is its side without the overlap. At LEAST_SHARE of the overlap, a tile sees
# (1 + 1 / 0.25)² = 25 times the pixels of its core, so a gradient takes up to 25 times as long.
LEAST_SHARE = 0.25  # of the overlap
# Pixels. On a CPU, gradients of dreamnet's fire2a and textures at 384x384 take 4 times as long with
# cores of 64 pixels as in one piece, 8 and 14 times with 32, 1.4 and 2.2 times with 128.
LEAST_CORE = 64
# A picture of more than LARGE pixels is seen in tiles that take AT_ONCE bytes each, at most, on a
# CPU. In bfloat16 on one thread, a film of 3840x2160 then takes as long as in one piece, or less,
# with a fifth less memory (dreamnet, tiles of 2016 pixels). Up to 2560x1440, tiles would cost time:
# their overlap is too large a part of them.
LARGE, AT_ONCE = 2560 * 1440, 1.25 * 2**30
Found = TypeVar("Found")
Cells = tuple[EllipsisType, slice, slice]


@dataclass(frozen=True)
class Tile:
    """A part of an image, its `rows` and `columns`, with the places that are counted in it.

    `cells`: for each layer, the counted part of its activation on this tile; a layer that sees the
    whole image has none. The gradient of such a layer is weighed by `down` (h,) times `across`
    (w,) instead.
    """

    rows: slice
    columns: slice
    cells: Mapping[str, Cells]
    down: Tensor
    across: Tensor

    def part(self, image: Tensor) -> Tensor:
        """The part of `image` (N, C, H, W) in this tile: (N, C, h, w), channels last, detached."""
        part = image.detach()[self.index]
        return part.contiguous(memory_format=torch.channels_last)

    def counted(self, name: str, activation: Tensor) -> Tensor:
        """The places that this tile counts of `activation`, the layer `name`'s activation on it."""
        return activation[self.cells[name]] if name in self.cells else activation

    def weighed(self, name: str, gradient: Tensor) -> Tensor:
        """`gradient` (1, 3, h, w) of the layer `name`'s counted places, weighed so that those of
        all tiles can be added."""
        if name in self.cells:
            return gradient
        return gradient * torch.outer(self.down, self.across).to(gradient.device)

    @property
    def index(self) -> Cells:
        """The index of this tile in an image (N, C, H, W)."""
        return (..., self.rows, self.columns)


Grid = list[list[Tile]]  # tiles from left to right, in rows from top to bottom


class Sight:
    """Decides how much of an image a network sees at once: all of it, while memory suffices."""

    def __init__(
        self,
        network: str,
        layers: Mapping[str, Layer],
        needs: Callable[[tuple[int, int], list[str]], float] = lambda size, names: 0.0,
        free: Callable[[], float] = lambda: math.inf,
        at_once: float = math.inf,
    ) -> None:
        """For the network called `network`, with `layers`. `needs` returns the bytes that it takes
        for a size (height, width) and some of the layers; `free` those that there are; `at_once`
        those that a part of a `LARGE` picture may take."""
        self.tile: int | None = None  # pixels, the largest side; None until memory falls short
        self.on_notice: Callable[[str], None] = lambda line: None
        self._network, self._layers = network, layers
        self._needs, self._free, self._at_once = needs, free, at_once
        self._estimated: set[tuple[tuple[int, int], tuple[str, ...]]] = set()

    def within_memory(
        self,
        see: Callable[[Grid | None], Found],
        size: tuple[int, int],
        names: Iterable[str],
        tile: int | None = None,
    ) -> Found:
        """The result of `see` for an image of `size` (height, width) and the layers `names`.

        `see` is called with a grid of tiles, no side larger than `tile` if given, or with None for
        the image as a whole. If memory runs out, it is called again with smaller tiles, and later
        calls keep to these. Raises UserError if `tile` is too small for the layers, or if memory
        runs out even with the smallest tiles.
        """
        names = list(names)
        self.check(tile, names)
        tile, failed = self._affordable(size, self.side_at_once(size, names, tile), names), False
        while True:
            try:
                found = see(self._grid(size, tile, names))
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not before here: the error's traceback holds tensors until its handler ends.
            release_memory()
            tile, failed = self._smaller_tile(size, tile, names), True
        if failed:
            self.tile = tile
            self.on_notice(
                f"out of memory at {size[1]}x{size[0]}: continuing in tiles of {tile} pixels, "
                "which is slower"
            )
        return found

    def check(self, tile: int | None, names: Iterable[str]) -> None:
        """Raise UserError if tiles of side `tile` are too small for the layers `names`."""
        names = list(names)
        if not self.fits(tile, names):
            least = smallest_tile(self._named(names))
            raise UserError(
                f"dream.tile = {tile} is too small for {self._network} at {', '.join(names)}: "
                f"{least} works, or an earlier layer"
            )

    def fits(self, tile: int | None, names: Iterable[str]) -> bool:
        """Whether tiles of side `tile` are large enough for the layers `names`; True for None."""
        return tile is None or tile >= smallest_tile(self._named(list(names)))

    def at_least(self, tile: int | None, names: Iterable[str]) -> int | None:
        """`tile`, or the smallest tile for the layers `names` if that is larger; None if None."""
        return None if tile is None else max(tile, smallest_tile(self._named(list(names))))

    def side_at_once(
        self, size: tuple[int, int], names: Iterable[str], tile: int | None = None
    ) -> int | None:
        """The side of the tiles, in pixels, in which an image of `size` (height, width) is seen for
        the layers `names`, if memory does not run out: `tile`, or smaller ones; None: at once."""
        names = list(names)
        limit = self._limit(tile, names)
        if tile is not None or math.prod(size) <= LARGE:
            return limit
        least = smallest_tile(self._named(names))
        while self._needs(_seen_at_once(size, limit), names) > self._at_once:
            if min(limit or max(size), max(size)) <= least:
                break
            limit = self._smaller_tile(size, limit, names)
        return limit

    def _affordable(self, size: tuple[int, int], tile: int | None, names: list[str]) -> int | None:
        """`tile`, or a smaller one for which memory suffices. Estimated once for each `size` and
        `names`."""
        case = (size, tuple(names))
        if case in self._estimated:
            return tile
        self._estimated.add(case)
        free, before = self._free(), tile
        while self._needs(_seen_at_once(size, tile), names) > free:
            if min(tile or max(size), max(size)) <= smallest_tile(self._named(names)):
                return before  # the estimate may be too high: try it
            tile = self._smaller_tile(size, tile, names)
        if tile != before:
            self.tile = tile
            self.on_notice(
                f"{size[1]}x{size[0]} needs about {self._needs(size, names) / 2**30:.1f} GiB of "
                f"memory and {free / 2**30:.1f} GiB are free: dreaming in tiles of {tile} pixels, "
                "which is slower"
            )
        return tile

    def _limit(self, tile: int | None, names: list[str]) -> int | None:
        """The smaller of `tile` and the tile to which memory limits this network, which may have
        been found for other layers."""
        if self.tile is None:
            return tile
        kept = max(self.tile, smallest_tile(self._named(names)))
        return kept if tile is None else min(kept, tile)

    def _grid(self, size: tuple[int, int], tile: int | None, names: list[str]) -> Grid | None:
        return (
            None if tile is None or max(size) <= tile else grid_of(size, tile, self._named(names))
        )

    def _smaller_tile(self, size: tuple[int, int], tile: int | None, names: list[str]) -> int:
        """The next smaller tile than `tile`, or than the whole image: one with half its core.
        Raises UserError if there is none."""
        layers = self._named(names)
        side, least = min(tile or max(size), max(size)), smallest_tile(layers)
        if side <= least:
            tried = "" if tile is None else f", even in tiles of {side} pixels"
            raise PassingError(
                f"there is not enough memory for a picture of {size[1]}x{size[0]} in "
                f"{self._network} at {', '.join(names)}{tried}: "
                "a smaller --width may work, or an earlier layer"
            )
        overlap = overlap_of(layers)
        return max(least, overlap + (side - overlap) // 2)

    def _named(self, names: Iterable[str]) -> list[Layer]:
        return [self._layers[name] for name in names]


def _seen_at_once(size: tuple[int, int], tile: int | None) -> tuple[int, int]:
    """The size that is seen at once of an image of `size` in tiles of side `tile`."""
    return size if tile is None else (min(size[0], tile), min(size[1], tile))


def grid_of(size: tuple[int, int], tile: int, layers: list[Layer]) -> Grid:
    """The tiles of an image of `size` (height, width) for `layers`, no side larger than `tile`.

    They overlap by at least a receptive field less one pixel. The gradient is that of the whole
    image, with two exceptions. Squeeze-and-excitation gates by a mean over all that it sees, which
    is then a tile; from one tile to the next the gates change over the breadth of a field. And a
    layer that sees the whole image takes each tile for an image; there the gradients of two tiles
    fade into each other over their overlap.
    """
    overlap, stride = overlap_of(layers), _stride(layers)
    rows, columns = (tile_slices(side, tile, overlap, stride) for side in size)
    down, across = _shares(rows), _shares(columns)
    seen = {layer.name: layer for layer in layers if layer.field.receptive is not None}
    row_cells = {name: _cells(rows, layer) for name, layer in seen.items()}
    column_cells = {name: _cells(columns, layer) for name, layer in seen.items()}

    def tile_at(i: int, j: int) -> Tile:
        cells: dict[str, Cells] = {
            name: (..., row_cells[name][i], column_cells[name][j]) for name in seen
        }
        return Tile(rows[i], columns[j], cells, down[i], across[j])

    return [[tile_at(i, j) for j in range(len(columns))] for i in range(len(rows))]


def tile_slices(length: int, tile: int, overlap: int, stride: int) -> list[slice]:
    """Slices of at most `tile` pixels that cover `length` pixels: as few as possible, and as short.

    Each begins at a multiple of `stride`, so that its places are places of the whole image too, and
    shares at least `overlap` pixels with the next.
    """
    if length <= tile:
        return [slice(0, length)]
    most = (tile - overlap) // stride
    count = math.ceil((length - overlap) / (most * stride))
    side = overlap + math.ceil((length - overlap) / (count * stride)) * stride
    spare, steps = length - side, (count - 1) * stride
    starts = [-(-number * spare // steps) * stride for number in range(count)]
    return [slice(start, min(start + side, length)) for start in starts]


def overlap_of(layers: Iterable[Layer]) -> int:
    """The least overlap of two tiles, in pixels: the largest receptive field of `layers`, less 1.
    A place whose field begins left of the second tile then lies within the first."""
    return max(layer.field.receptive or WHOLE_FIELD for layer in layers) - 1


def smallest_tile(layers: list[Layer]) -> int:
    """The smallest side, in pixels, that tiles for `layers` may have; see `LEAST_CORE`."""
    overlap, stride = overlap_of(layers), _stride(layers)
    core = math.ceil(max(LEAST_CORE, LEAST_SHARE * overlap) / stride)
    return math.ceil((overlap + core * stride) / 8) * 8


def release_memory() -> None:
    """Collect garbage, and return the unused memory of GPUs to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _stride(layers: Iterable[Layer]) -> int:
    """The smallest shift, in pixels, that moves every activation on the way to `layers` by whole
    places."""
    return math.lcm(*(layer.coarsest for layer in layers))


def _cells(slices: list[slice], layer: Layer) -> list[slice]:
    """The places of `layer` that are counted in each of `slices`, in its activation on that slice.

    They begin with the first place that sees nothing left of the slice, and end before the first
    of the next slice. At the two ends of the image all places are counted.
    """
    stride, first = layer.field.stride, layer.field.first
    begins = [math.ceil((one.start - first) / stride) for one in slices[1:]]
    offsets = [one.start // stride for one in slices]
    return [
        slice(begin and begin - offset, None if end is None else end - offset)
        for begin, end, offset in zip([0, *begins], [*begins, None], offsets, strict=True)
    ]


def _shares(slices: list[slice]) -> list[Tensor]:
    """The weight of each of `slices` at each of its pixels, for layers that see the whole image.

    The weights fade over the overlaps and sum to 1 at each pixel. Then each slice is weighed by its
    part of the length: its mean is over fewer places, so that each of them counts for more.
    """
    length = slices[-1].stop
    at = torch.arange(length)
    rises = [at - one.start + 1 if one.start > 0 else at + length for one in slices]
    falls = [one.stop - at if one.stop < length else 2 * length - at for one in slices]
    heights = torch.stack([torch.minimum(*pair) for pair in zip(rises, falls, strict=True)])
    shares = heights.clamp_min(0) / heights.clamp_min(0).sum(0)
    return [
        share[one] * ((one.stop - one.start) / length)
        for share, one in zip(shares, slices, strict=True)
    ]
