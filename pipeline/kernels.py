"""What makes a network's gradient with respect to its picture fast on a CPU.

A dream spends half of its time there, and training never asks for it: two layers that compute the
same numbers as PyTorch's with a faster way back, and memory that is not given away between steps.
"""

import ctypes
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_LAST = torch.channels_last


class StridedStem(nn.Module):
    """A first convolution, strided, over few channels, whose backward pass is dense.

    The gradient of a strided convolution is computed as that of the equal convolution over the
    space-to-depth picture: stride 1, stride² times the channels. Measured on GoogLeNet's
    7x7/2 stem at 640x360 in bfloat16: 9 ms against 15 ms.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = int(conv.stride[0]), int(conv.padding[0])  # type: ignore[arg-type]
        self.register_buffer("dense_weight", _space_to_depth(conv.weight.detach(), self.stride))

    def forward(self, image: Tensor) -> Tensor:
        """`image` (N, C, H, W) convolved."""
        if torch.is_autocast_enabled(image.device.type):
            image = image.to(self.weight.dtype)
        return _StemFunction.apply(
            image, self.weight, self.bias, self.dense_weight, self.stride, self.padding
        )


class StripedMaxPool(nn.MaxPool2d):
    """Max pooling whose backward pass uses every core on a single picture.

    PyTorch's runs one thread for each picture of a batch when channels are last. Here the places
    are dealt out in stripes, each gathered as if it were a picture of its own. Where a pooling
    takes strides it has too few places for that to pay.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`input` (N, C, H, W) pooled."""
        stripes = min(4, torch.get_num_threads())
        strides = _pair(self.stride) != [1, 1]
        if stripes == 1 or strides or input.shape[0] != 1 or not _is_cpu_channels_last(input):
            return super().forward(input)
        options = (_pair(self.kernel_size), _pair(self.stride), _pair(self.padding))
        return _PoolFunction.apply(input, *options, _pair(self.dilation), self.ceil_mode, stripes)


def suits_strided_stem(module: nn.Module) -> bool:
    """Whether `module` is a convolution that `StridedStem` can stand in for."""
    if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return False
    square = all(len(set(pair)) == 1 for pair in (module.kernel_size, module.stride,
                                                  module.padding))
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return square and plain and module.in_channels <= 4 and module.stride[0] > 1


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, for the next step, rather than return it to the
    system and fault it in again page by page: some hundredths of an evaluation. glibc only."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


class _StemFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None,
                dense_weight: Tensor, stride: int, padding: int) -> Tensor:  # fmt: skip
        ctx.save_for_backward(dense_weight)
        ctx.stride, ctx.padding, ctx.size = stride, padding, image.shape[2:]
        return F.conv2d(image, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dense_weight,) = ctx.saved_tensors
        blocks = F.conv_transpose2d(grads[0], dense_weight)
        padded = F.pixel_shuffle(blocks, ctx.stride)
        height, width = ctx.size
        top = ctx.padding
        # What the stride never reached has no gradient.
        missing = (0, max(0, width + top - padded.shape[3]), 0, max(0, height + top - padded.shape[2]))
        padded = F.pad(padded, missing) if any(missing) else padded
        return padded[:, :, top : top + height, top : top + width], None, None, None, None, None


class _PoolFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: list[int], stride: list[int], padding: list[int],
                dilation: list[int], ceil: bool, stripes: int) -> Tensor:  # fmt: skip
        pooled, where = torch.ops.aten.max_pool2d_with_indices(
            x, kernel, stride, padding, dilation, ceil
        )
        ctx.save_for_backward(where)
        reach = dilation[0] * (kernel[0] - 1) + 1
        ctx.shape, ctx.rows, ctx.stripes = x.shape, (stride[0], padding[0], reach), stripes
        return pooled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        (_, channels, height, width), (stride, padding, reach) = ctx.shape, ctx.rows
        out_height, out_width = where.shape[2:]
        places = out_height * out_width
        stripes = next(n for n in range(ctx.stripes, 0, -1) if places % n == 0)
        each = places // stripes

        def deal(places_last: Tensor) -> Tensor:
            flat = places_last.contiguous(memory_format=CHANNELS_LAST).permute(0, 2, 3, 1)
            return flat.reshape(stripes, each, 1, channels).permute(0, 3, 1, 2)

        # The op goes by the saved indices alone; its own sizes need only agree with each other.
        plane = torch.empty((stripes, channels, height * width, 1), dtype=grads[0].dtype,
                            memory_format=CHANNELS_LAST)  # fmt: skip
        sums = torch.ops.aten.max_pool2d_with_indices_backward(
            deal(grads[0]), plane, [height * width - each + 1, 1], [1, 1], [0, 0], [1, 1], False,
            deal(where),
        )  # fmt: skip
        sums = sums.permute(0, 2, 3, 1).reshape(stripes, height, width, channels)
        total = sums[0]
        for stripe in range(1, stripes):
            first = stripe * each // out_width * stride - padding
            last = ((stripe + 1) * each - 1) // out_width * stride - padding + reach
            rows = slice(max(0, first), min(height, last))
            total[rows] += sums[stripe, rows]
        return total[None].permute(0, 3, 1, 2), None, None, None, None, None, None


def _space_to_depth(weight: Tensor, stride: int) -> Tensor:
    """The weight (out, C, k, k) of a strided convolution, as (out, C stride², k', k')."""
    out, channels, kernel, _ = weight.shape
    blocks = -(-kernel // stride)
    missing = blocks * stride - kernel
    padded = F.pad(weight, (0, missing, 0, missing)).reshape(
        out * channels, 1, blocks * stride, blocks * stride
    )
    dense = F.pixel_unshuffle(padded, stride).reshape(out, channels * stride**2, blocks, blocks)
    return dense.contiguous(memory_format=CHANNELS_LAST)


def _is_cpu_channels_last(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.is_contiguous(memory_format=CHANNELS_LAST)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
