"""Images resampled, blurred and measured on a CPU by the functions of `pixels.c`, in one pass each.

`takes` tells whether they can be: elsewhere, `tensors` does the same by PyTorch's operations, with
other rounding.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.compiled import library

SOURCE = Path(__file__).resolve().with_name("pixels.c")
MOST_CHANNELS = 8  # of an image that is resampled, as in `pixels.c`


def compiled() -> ctypes.CDLL | None:
    """The functions of `pixels.c`; None where they cannot be compiled."""
    return library(SOURCE)


def takes(*images: Tensor) -> bool:
    """Whether compiled functions take the `images` (1, C, H, W): float32 on a CPU, channels last,
    and no gradient is wanted."""
    return all(_suits(image) for image in images) and compiled() is not None


def sampled(image: Tensor, grid: Tensor) -> Tensor:
    """`image` (1, C, H, W), of at most `MOST_CHANNELS`, at the points `grid` (1, H', W', 2): as
    `tensors.sample` with repeated edges."""
    channels, height, width = image.shape[1:]
    rows, columns = grid.shape[1:3]
    grid = grid.contiguous()
    into = _empty(channels, rows, columns)
    sizes = _numbers(channels, height, width)
    _run("sample", _at(image), *sizes, _at(grid), _at(into), *_numbers(rows, columns))
    return into


def carried(
    detail: Tensor, direction: Tensor, level: Tensor, maps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`detail`, `direction` (1, 3, H, W) and `level` (1, 1, H, W) pulled along a flow, times a
    share; `level` in [0, 1]. `maps` (1, 3, H, W), planes in memory: the flow, x and y, in pixels,
    and the share."""
    height, width = detail.shape[2:]
    found = _empty(3, height, width), _empty(3, height, width), _empty(1, height, width)
    given = (detail, direction, level, maps.contiguous())
    _run("carry", *map(_at, given), *map(_at, found), *_numbers(height, width))
    return found


def blurred(image: Tensor, kernel: Tensor) -> Tensor:
    """`image` (1, C, H, W) convolved with the `kernel` (2 r + 1,) across and down, edges reflected;
    r is less than either side."""
    channels, height, width = image.shape[1:]
    into = _empty(channels, height, width)
    sizes = _numbers(height, width, channels)
    _run("blur", _at(image), _at(into), *sizes, _at(kernel), *_numbers(len(kernel) // 2))
    return into


def light(image: Tensor, weights: Tensor) -> Tensor:
    """The sum (1, 1, H, W) of the channels of `image` (1, 3, H, W), by their `weights` (3,)."""
    height, width = image.shape[2:]
    into = _empty(1, height, width)
    _run("light", _at(image), _at(into), _at(weights), *_numbers(height * width))
    return into


def roughness(plane: Tensor) -> Tensor:
    """The mean squared Laplacian of `plane` (1, 1, H, W), which is at least 3 by 3: a scalar."""
    height, width = plane.shape[2:]
    sums = torch.empty(height - 2, dtype=torch.float64)
    _run("roughness", _at(plane), _at(sums), *_numbers(height, width))
    return (sums.sum() / ((height - 2) * (width - 2))).float()


def begun(source: Tensor, arrived: Tensor, carry: float) -> Tensor:
    """`source` (1, 3, H, W) with `carry` times the detail that `arrived`, in [0, 1]."""
    into = torch.empty_like(source)
    about = ctypes.c_float(carry), *_numbers(source.numel())
    _run("begin", _at(source), _at(arrived), _at(into), *about)
    return into


def climb(
    dreamed: Tensor,
    start: Tensor,
    before: Tensor,
    source: Tensor,
    way: Tensor,
    level: Tensor,
    momentum: float,
    least: float,
) -> None:
    """Make of `dreamed` (1, 3, H, W), which came of `start`, the direction of ascent for a climb of
    one level, with `momentum` times `level` of the one `before`; and of `start` what a climb of
    `way` (1, 1, H, W) levels along it adds to `source`. No way is less than `least`."""
    given = map(_at, (dreamed, start, before, source, way, level))
    about = ctypes.c_float(momentum), ctypes.c_float(least), *_numbers(way.numel())
    _run("climb", *given, *about)


def settle(
    detail: Tensor, source: Tensor, broad: Tensor, arrived: Tensor, share: float, carry: float
) -> None:
    """Take from `detail` (1, 3, H, W) the `share` of its `broad` light, within what a screen shows
    of it on `source`; add what a screen cannot show of `carry` times the detail that `arrived`."""
    given = map(_at, (detail, source, broad, arrived))
    about = ctypes.c_float(share), ctypes.c_float(carry), *_numbers(detail.numel())
    _run("settle", *given, *about)


def levels(image: Tensor) -> tuple[Tensor, bool]:
    """`image` (1, 3, H, W), RGB in [0, 1], as levels of 255 (H, W, 3), BGR, uint8; and whether it
    is finite throughout."""
    height, width = image.shape[2:]
    into = torch.empty((height, width, 3), dtype=torch.uint8)
    finite = _run("levels", _at(image), _at(into), *_numbers(height * width))
    return into, bool(finite)


def takes_frame(frame: NDArray[Any], device: torch.device) -> bool:
    """Whether compiled functions take the `frame` (H, W, 3) to the `device`."""
    plain = frame.dtype == np.uint8 and frame.shape[2] == 3 and frame.flags.c_contiguous
    return device.type == "cpu" and frame.size > 0 and plain and compiled() is not None


def image_of(frame: NDArray[np.uint8]) -> Tensor:
    """`frame` (H, W, 3), BGR, as an image (1, 3, H, W), RGB in [0, 1]."""
    height, width = frame.shape[:2]
    into = _empty(3, height, width)
    _run("shares", ctypes.c_void_p(frame.ctypes.data), _at(into), *_numbers(height * width))
    return into


def _suits(image: Tensor) -> bool:
    plain = image.device.type == "cpu" and image.dtype == torch.float32 and image.ndim == 4
    wants = torch.is_grad_enabled() and image.requires_grad
    whole = plain and image.shape[0] == 1 and image.numel() > 0 and not wants
    return whole and image.is_contiguous(memory_format=torch.channels_last)


def _empty(channels: int, height: int, width: int) -> Tensor:
    return torch.empty((1, channels, height, width), memory_format=torch.channels_last)


def _run(name: str, *arguments: object) -> int:
    """Call the compiled function `name` on as many threads as torch's."""
    functions = compiled()
    assert functions is not None
    found: int = functions[name](*arguments, torch.get_num_threads())
    return found


def _numbers(*values: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
