"""Pooling, ReLU and normalisation on a CPU, with faster ways back than PyTorch's.

Where `compiled` has its functions, these are used. Elsewhere PyTorch's are, but that several cores
share the way back of a max pooling of one image, for which PyTorch's takes one.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.compiled import library

SOURCE = Path(__file__).resolve().with_name("kernels.c")
CHANNELS_LAST = torch.channels_last
NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}  # in `kernels.c`
MOST_PLACES = 254  # of a window, whose places are numbered in 8 bits
MOST_CHANNELS = 1024  # of a map that is normalised, as in `kernels.c`
Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The window of a max pooling: its size and stride, and the padding, down and across. If
    `ceil`, a last window may reach beyond the padding."""

    size: Pair
    stride: Pair
    padding: Pair
    ceil: bool = False

    def pooled(self, height: int, width: int) -> Pair:
        """The size (height, width) of a map of `height` and `width`, pooled."""
        return self._along(0, height), self._along(1, width)

    @property
    def keeps_size(self) -> bool:
        """Whether a pooled map has the size of its map."""
        fits = all(k == 2 * p + 1 for k, p in zip(self.size, self.padding, strict=True))
        return fits and self.stride == (1, 1)

    def _along(self, axis: int, side: int) -> int:
        size, stride, padding = self.size[axis], self.stride[axis], self.padding[axis]
        count = (side + 2 * padding - size + (stride - 1 if self.ceil else 0)) // stride + 1
        begins_beyond = self.ceil and (count - 1) * stride >= side + padding
        return count - begins_beyond


class FastMaxPool(nn.MaxPool2d):
    """Max pooling with a faster way back."""

    _rectified = False

    def rectify(self) -> bool:
        """Let the way back go through the ReLU of which every input is the output too, if it can,
        and return whether it can."""
        window = window_of(self)
        self._rectified = window is not None and has_kernel(window)
        return self._rectified

    def forward(self, input: Tensor) -> Tensor:
        """The max pooling of `input` (N, C, H, W)."""
        window = window_of(self)
        if window is None or not suits_pooling(input, window):
            return super().forward(input)
        pooled: Tensor = _PoolFunction.apply(input, window, self._rectified)
        return pooled


class FastAvgPool(nn.AvgPool2d):
    """Average pooling with a faster way back."""

    def forward(self, input: Tensor) -> Tensor:
        """The average pooling of `input` (N, C, H, W)."""
        window = Window(_pair(self.kernel_size), _pair(self.stride), _pair(self.padding))
        is_plain = window.padding == (0, 0) and self.divisor_override is None
        if not (is_plain and takes(input)):
            return super().forward(input)
        pooled: Tensor = _AverageFunction.apply(input, window, self.ceil_mode)
        return pooled


def compiled() -> ctypes.CDLL | None:
    """The functions of `kernels.c`; None where they cannot be compiled."""
    return library(SOURCE)


def takes(x: Tensor) -> bool:
    """Whether compiled functions take the map `x` (N, C, H, W)."""
    suits = x.device.type == "cpu" and x.ndim == 4 and x.dtype in NAMES and x.numel() > 0
    return suits and x.is_contiguous(memory_format=CHANNELS_LAST) and compiled() is not None


def normalised(x: Tensor, reach: int, share: float) -> Tensor:
    """The map `x` (N, C, H, W), which `takes` takes, divided by (1 + `share` * sum of x² over
    `reach` neighbouring channels on each side)^0.75. At most MOST_CHANNELS channels."""
    found: Tensor = _ResponseFunction.apply(x, reach, share)
    return found


def window_of(pool: nn.MaxPool2d) -> Window | None:
    """The window of `pool`; None if its places do not lie side by side."""
    if _pair(pool.dilation) != (1, 1) or pool.return_indices:
        return None
    size = _pair(pool.kernel_size)
    return Window(size, _pair(pool.stride), _pair(pool.padding), pool.ceil_mode)


def suits_pooling(x: Tensor, window: Window) -> bool:
    """Whether `max_pool` takes the map `x` (N, C, H, W) and `window`, and gains by it."""
    if x.device.type != "cpu" or x.ndim != 4 or x.dtype not in NAMES or x.numel() == 0:
        return False
    if not x.is_contiguous(memory_format=CHANNELS_LAST) or min(window.pooled(*x.shape[2:])) < 1:
        return False
    # A strided pooling has too few places to gain by stripes.
    return has_kernel(window) or (window.keeps_size and x.shape[0] == 1 and _stripes() > 1)


def has_kernel(window: Window) -> bool:
    """Whether poolings by `window` are compiled."""
    return window.size[0] * window.size[1] <= MOST_PLACES and compiled() is not None


def max_pool(x: Tensor, window: Window, rectified: bool = False) -> tuple[Tensor, Tensor]:
    """The map `x` (N, C, H, W), channels last, pooled, and where each value came from, for
    `max_pool_back`: as its place in its window in 8 bits, or in the map as PyTorch has it. If
    `rectified`, which takes a compiled kernel, values that are 0 or less pass no gradient on."""
    if not has_kernel(window):
        assert not rectified
        return torch.ops.aten.max_pool2d_with_indices(
            x, window.size, window.stride, window.padding, (1, 1), window.ceil
        )
    size = (*x.shape[:2], *window.pooled(*x.shape[2:]))
    pooled, where = (
        torch.empty(size, dtype=dtype, memory_format=CHANNELS_LAST)
        for dtype in (x.dtype, torch.uint8)
    )
    shape = _shape(tuple(x.shape), window, tuple(pooled.shape[2:]))
    _run("pool", x.dtype, _at(x), _at(pooled), _at(where), shape, int(rectified))
    return pooled, where


def max_pool_back(
    g: Tensor, where: Tensor, window: Window, shape: torch.Size, beside: Tensor | None = None
) -> Tensor:
    """The gradient of a map of `shape` (N, C, H, W), where that of the pooled map is `g` and its
    values came from `where`. `beside`, of the same shape, is added."""
    g = g.contiguous(memory_format=CHANNELS_LAST)
    if where.dtype == torch.uint8:
        into = torch.empty(shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        beside = None if beside is None else beside.contiguous(memory_format=CHANNELS_LAST)
        sizes = _shape(tuple(shape), window, tuple(g.shape[2:]))
        _run("unpool", g.dtype, _at(g), _at(where), _at(beside), _at(into), sizes)
        return into
    if window.keeps_size and shape[0] == 1 and _stripes() > 1:
        into = _striped_back(g, where, window.padding[0])
    else:
        # The operation reads nothing of the map but its size.
        map_ = torch.empty(shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        into = torch.ops.aten.max_pool2d_with_indices_backward(
            g, map_, window.size, window.stride, window.padding, (1, 1), window.ceil, where
        )
    return into if beside is None else into.add_(beside)


def gated(g: Tensor, y: Tensor, into: Tensor | None = None) -> Tensor:
    """`g` where `y`, the output of a ReLU, is above 0, and 0 elsewhere: (N, C, H, W), channels
    last, written to `into` if given. Each may be some of the channels of a larger map."""
    if into is None:
        into = torch.empty(y.shape, dtype=y.dtype, memory_format=CHANNELS_LAST)
    aparts = [_apart(one) for one in (g, y, into)]
    if None in aparts or y.dtype not in NAMES or compiled() is None:
        return torch.ops.aten.threshold_backward.grad_input(g, y, 0, grad_input=into)
    maps = zip((g, y, into), aparts, strict=True)
    pairs = [value for one, apart in maps for value in (_at(one), ctypes.c_int64(apart or 0))]
    _run("gate", y.dtype, *pairs, *_places(y))
    return into


class _PoolFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window, rectified: bool) -> Tensor:
        pooled, where = max_pool(x, window, rectified)
        ctx.save_for_backward(where)
        ctx.window, ctx.shape = window, x.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        return max_pool_back(grads[0], where, ctx.window, ctx.shape), None, None


class _AverageFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window, ceil: bool) -> Tensor:
        ctx.window, ctx.shape = window, tuple(x.shape)
        return F.avg_pool2d(x, window.size, window.stride, 0, ceil)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g = grads[0].contiguous(memory_format=CHANNELS_LAST)
        into = torch.empty(ctx.shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        shape = _shape(ctx.shape, ctx.window, tuple(g.shape[2:]))
        _run("unaverage", g.dtype, _at(g), _at(into), shape)
        return into, None, None


class _ResponseFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: int, share: float) -> Tensor:
        y = torch.empty_like(x)
        ctx.save_for_backward(x)
        ctx.band = ctypes.c_int64(reach), ctypes.c_float(share)
        _run("respond", x.dtype, _at(x), _at(y), *_places(x), *ctx.band)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        g = grads[0].contiguous(memory_format=CHANNELS_LAST)
        into = torch.empty_like(x)
        _run("unrespond", x.dtype, _at(g), _at(x), _at(into), *_places(x), *ctx.band)
        return into, None, None


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        *("images", "channels", "height", "width", "pooled_height", "pooled_width"),
        *("kernel_y", "kernel_x", "stride_y", "stride_x", "padding_y", "padding_x"),
    )]  # fmt: skip


@cache
def _shape(shape: tuple[int, int, int, int], window: Window, pooled: Pair) -> Any:
    return ctypes.byref(_Shape(*shape, *pooled, *window.size, *window.stride, *window.padding))


def _run(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call the compiled function `name` for maps of `dtype`, on as many threads as torch's."""
    functions = compiled()
    assert functions is not None
    functions[f"{name}_{NAMES[dtype]}"](*arguments, torch.get_num_threads())


def _places(map_: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """The numbers of places and channels of `map_`."""
    channels = map_.shape[1]
    return ctypes.c_int64(map_.numel() // channels), ctypes.c_int64(channels)


def _striped_back(g: Tensor, where: Tensor, reach: int) -> Tensor:
    """The way back of a pooling that keeps the size, for one image, by PyTorch's operation, which
    takes a thread for each image of a batch: the places are divided into stripes, and each stripe
    is treated as an image."""
    _, channels, height, width = where.shape
    places = height * width
    stripes = next(n for n in range(_stripes(), 0, -1) if places % n == 0)
    each = places // stripes

    def deal(map_: Tensor) -> Tensor:
        flat = map_.permute(0, 2, 3, 1)
        return flat.reshape(stripes, each, 1, channels).permute(0, 3, 1, 2)

    # The operation reads the saved indices only; the sizes passed to it need only agree.
    plane = torch.empty((stripes, channels, places, 1), dtype=g.dtype, memory_format=CHANNELS_LAST)
    sums = torch.ops.aten.max_pool2d_with_indices_backward(
        deal(g), plane, [places - each + 1, 1], [1, 1], [0, 0], [1, 1], False, deal(where)
    )
    sums = sums.permute(0, 2, 3, 1).reshape(stripes, height, width, channels)
    total: Tensor = sums[0]
    for stripe in range(1, stripes):
        first = stripe * each // width - reach
        last = ((stripe + 1) * each - 1) // width + reach
        rows = slice(max(0, first), last + 1)
        total[rows] += sums[stripe, rows]
    return total[None].permute(0, 3, 1, 2)


def _stripes() -> int:
    # At most 4: each stripe needs a gradient map of the full size. The number was not measured.
    return min(4, torch.get_num_threads())


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _apart(map_: Tensor) -> int | None:
    """How many values lie from one place of `map_` (N, C, H, W) to the next, if its channels lie
    together and all places evenly; else None."""
    _, channels, height, width = map_.shape
    images, channel, rows, apart = map_.stride()
    even = channel == 1 and apart >= channels and rows == width * apart
    return apart if even and (map_.shape[0] == 1 or images == height * rows) else None


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
