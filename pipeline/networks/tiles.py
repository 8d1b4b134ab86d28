"""A picture too large for memory, seen by a network in overlapping tiles.

An objective is a sum over a layer's places. Each place is counted in just one tile, which holds all
of the picture that it sees; so the tiles' gradients, added where they overlap, are those of the
whole picture, and no seam can show.
"""

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeVar

import torch
from torch import Tensor

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.layers import Layer

WHOLE_FIELD = 224  # pixels, of a layer that sees the whole picture: that on which networks learn
# What is left of a tile without its overlap: with less, a tile saves little, and takes 25 times as
# long.
LEAST_CORE, LEAST_SHARE = 64, 0.25  # pixels, and of the overlap
# What PyTorch's allocators, oneDNN, cuBLAS and cuDNN say when there is no memory.
SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
WHOLE_TEXTS = (  # those that say no more
    "std::bad_alloc",
    "bad allocation",
    "could not create a primitive",
    "could not create a memory",
    "could not create a memory object",
)

Found = TypeVar("Found")
Cells = tuple[EllipsisType, slice, slice]


@dataclass(frozen=True)
class Tile:
    """A part of a picture, `rows` and `columns` of it, and what is counted there.

    `cells`: of each layer's map of this part, those counted; a layer that sees the whole picture
    has none. `down` (h,) times `across` (w,): what the gradient of such a layer counts.
    """

    rows: slice
    columns: slice
    cells: Mapping[str, Cells]
    down: Tensor
    across: Tensor

    def part(self, image: Tensor) -> Tensor:
        """This part of `image` (N, C, H, W), channels last."""
        part = image.detach()[self.index]
        return part.contiguous(memory_format=torch.channels_last)

    def counted(self, name: str, activation: Tensor) -> Tensor:
        """Those places of the layer `name`, of all its `activation` of this part, that are
        counted here."""
        return activation[self.cells[name]] if name in self.cells else activation

    def weighed(self, name: str, gradient: Tensor) -> Tensor:
        """`gradient` (1, 3, h, w) of what is counted of the layer `name`, ready to be added."""
        if name in self.cells:
            return gradient
        return gradient * torch.outer(self.down, self.across).to(gradient.device)

    @property
    def index(self) -> Cells:
        """Where in an image this part is."""
        return (..., self.rows, self.columns)


Grid = list[list[Tile]]  # tiles from left to right, in rows from top to bottom


class Sight:
    """How much of a picture a network sees at once: all of it, as long as memory suffices."""

    def __init__(
        self,
        network: str,
        layers: Mapping[str, Layer],
        needs: Callable[[tuple[int, int], list[str]], float] = lambda size, names: 0.0,
        free: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Of the `network` of that name, which `needs` so many bytes for a picture of a size
        (height, width) and some of its layers; so many are `free`."""
        self.tile: int | None = None  # pixels: the largest side, since memory ran out
        self.on_notice: Callable[[str], None] = lambda line: None
        self._network, self._layers = network, layers
        self._needs, self._free = needs, free
        self._weighed: set[tuple[tuple[int, int], tuple[str, ...]]] = set()

    def within_memory(
        self,
        see: Callable[[Grid | None], Found],
        size: tuple[int, int],
        names: Iterable[str],
        tile: int | None = None,
    ) -> Found:
        """What `see` finds of a picture of `size` (height, width) for the layers `names`.

        It is called with the tiles, no side larger than `tile` if given, or with None for the
        picture as a whole; where memory runs out, again with smaller tiles, which are kept to from
        then on. Raises UserError where `tile` is too small, or memory, even for the smallest.
        """
        names = list(names)
        self.check(tile, names)
        tile, failed = self._affordable(size, self._limit(tile, names), names), False
        while True:
            try:
                found = see(self._grid(size, tile, names))
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Only here, past the error, is what its traceback held let go of.
            release_memory()
            tile, failed = self._smaller(size, tile, names), True
        if failed:
            self.tile = tile
            self.on_notice(
                f"out of memory at {size[1]}x{size[0]}: going on in tiles of {tile} pixels, "
                "more slowly"
            )
        return found

    def check(self, tile: int | None, names: Iterable[str]) -> None:
        """Raise UserError where tiles of side `tile` are too small for the layers `names`."""
        names = list(names)
        if not self.fits(tile, names):
            least = smallest_tile(self._chosen(names))
            raise UserError(
                f"dream.tile = {tile} is too small for {self._network} at {', '.join(names)}: "
                f"{least} works, or a layer further down"
            )

    def fits(self, tile: int | None, names: Iterable[str]) -> bool:
        """Whether tiles of side `tile`, if given, are large enough for the layers `names`."""
        return tile is None or tile >= smallest_tile(self._chosen(list(names)))

    def at_least(self, tile: int | None, names: Iterable[str]) -> int | None:
        """`tile`, or, where it is too small for the layers `names`, the smallest that is not."""
        return None if tile is None else max(tile, smallest_tile(self._chosen(list(names))))

    def _affordable(self, size: tuple[int, int], tile: int | None, names: list[str]) -> int | None:
        """`tile`, or a smaller one that memory suffices for, looked at once for each `size`."""
        job = (size, tuple(names))
        if job in self._weighed:
            return tile
        self._weighed.add(job)
        free, before = self._free(), tile
        while self._needs(_at_most(size, tile), names) > free:
            if min(tile or max(size), max(size)) <= smallest_tile(self._chosen(names)):
                return before  # nobody knows for sure: let it be tried
            tile = self._smaller(size, tile, names)
        if tile != before:
            self.tile = tile
            self.on_notice(
                f"{size[1]}x{size[0]} takes about {self._needs(size, names) / 2**30:.1f} GiB of "
                f"memory, and {free / 2**30:.1f} are free: dreamed in tiles of {tile} pixels, more "
                "slowly"
            )
        return tile

    def _limit(self, tile: int | None, names: list[str]) -> int | None:
        """The smaller of `tile` and the one to keep to, which other layers may have led to."""
        if self.tile is None:
            return tile
        kept = max(self.tile, smallest_tile(self._chosen(names)))
        return kept if tile is None else min(kept, tile)

    def _grid(self, size: tuple[int, int], tile: int | None, names: list[str]) -> Grid | None:
        return None if tile is None or max(size) <= tile else cut(size, tile, self._chosen(names))

    def _smaller(self, size: tuple[int, int], tile: int | None, names: list[str]) -> int:
        """The next smaller tile than `tile`, or than all of `size`: its core halved."""
        layers = self._chosen(names)
        side, least = min(tile or max(size), max(size)), smallest_tile(layers)
        if side <= least:
            tried = "" if tile is None else f", not even in tiles of {side} pixels"
            raise UserError(
                f"there is not enough memory for a picture of {size[1]}x{size[0]} in "
                f"{self._network} at {', '.join(names)}{tried}: "
                "a smaller --width works, or a layer further down"
            )
        overlap = overlap_of(layers)
        return max(least, overlap + (side - overlap) // 2)

    def _chosen(self, names: Iterable[str]) -> list[Layer]:
        return [self._layers[name] for name in names]


def _at_most(size: tuple[int, int], tile: int | None) -> tuple[int, int]:
    """What of a picture of `size` is seen at once in tiles of side `tile`."""
    return size if tile is None else (min(size[0], tile), min(size[1], tile))


def cut(size: tuple[int, int], tile: int, layers: list[Layer]) -> Grid:
    """A picture of `size` (height, width) in tiles, no side larger than `tile`, for `layers`.

    Their overlap is a receptive field less one pixel. That is exact but for two kinds of layers.
    Squeeze-and-excitation gates by a mean of all it sees: of a tile, then, whose gates change over
    the breadth of a field to those of the next. Where a layer sees the whole picture, each tile
    is taken for a picture, and their gradients fade over where they overlap.
    """
    overlap, stride = overlap_of(layers), _stride(layers)
    rows, columns = (spans(side, tile, overlap, stride) for side in size)
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


def spans(length: int, tile: int, overlap: int, stride: int) -> list[slice]:
    """`length` pixels in as few spans as can be of at most `tile`, and these as short as can be.

    Each begins at a multiple of `stride`, so that it has just the places that the whole has, and
    has at least `overlap` pixels in common with the next.
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
    """How many pixels two tiles have in common at least: with one more, each place of `layers`
    that begins to see left of the second tile has seen all by the end of the first."""
    return max(layer.field.receptive or WHOLE_FIELD for layer in layers) - 1


def smallest_tile(layers: list[Layer]) -> int:
    """The smallest side, in pixels, of tiles for `layers` that are worth their while."""
    overlap, stride = overlap_of(layers), _stride(layers)
    core = math.ceil(max(LEAST_CORE, LEAST_SHARE * overlap) / stride)
    return math.ceil((overlap + core * stride) / 8) * 8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, the CPU's or a GPU's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        text in WHOLE_TEXTS or any(sign in text for sign in SIGNS)
    )


def release_memory() -> None:
    """Let go of what nobody holds any more; on GPUs, return it to the system too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _stride(layers: Iterable[Layer]) -> int:
    """The least shift, in pixels, that shifts every map on the way to `layers` by whole places."""
    return math.lcm(*(layer.coarsest for layer in layers))


def _cells(spans: list[slice], layer: Layer) -> list[slice]:
    """The places of `layer` that are counted in each of `spans`, in its own map of it.

    From the first that sees nothing left of the span, up to the next span's first; all there are
    at the picture's two ends.
    """
    stride, first = layer.field.stride, layer.field.first
    begins = [math.ceil((span.start - first) / stride) for span in spans[1:]]
    offsets = [span.start // stride for span in spans]
    return [
        slice(begin and begin - offset, None if end is None else end - offset)
        for begin, end, offset in zip([0, *begins], [*begins, None], offsets, strict=True)
    ]


def _shares(spans: list[slice]) -> list[Tensor]:
    """What each of `spans` counts in each of its pixels: fading to where it ends and another goes
    on, all together 1; of which it counts its part of the length, since a mean over fewer places
    makes each of them count more."""
    length = spans[-1].stop
    at = torch.arange(length)
    rises = [at - span.start + 1 if span.start > 0 else at + length for span in spans]
    falls = [span.stop - at if span.stop < length else 2 * length - at for span in spans]
    heights = torch.stack([torch.minimum(*pair) for pair in zip(rises, falls, strict=True)])
    shares = heights.clamp_min(0) / heights.clamp_min(0).sum(0)
    return [
        share[span] * ((span.stop - span.start) / length)
        for share, span in zip(shares, spans, strict=True)
    ]
