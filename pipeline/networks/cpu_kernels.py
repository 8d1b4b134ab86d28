"""Faster gradients with respect to the image, on a CPU.

A dream spends half of its time on this gradient, and training never needs it. So there is a layer
that computes the same numbers as PyTorch's, with a faster backward pass, and a way to keep freed
memory between steps. See `kernels` and `blocks` for others.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_LAST = torch.channels_last
# Bytes: less than a picture of 3840x2160 has, more than a map of any network at 1920x1080 and less.
LARGE = 90 << 20


class StridedStem(nn.Module):
    """A network's first convolution, strided and over few channels, with a dense backward pass.

    It is equal to a convolution of stride 1 over the space-to-depth image, which has stride² times
    the channels; its gradient is computed as the gradient of that one. For GoogLeNet's 7x7 stem of
    stride 2, at 640x360 in bfloat16, it takes 9 ms rather than 15 ms.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = int(conv.stride[0]), int(conv.padding[0])
        self.register_buffer("dense_weight", _space_to_depth(conv.weight.detach(), self.stride))

    def forward(self, image: Tensor) -> Tensor:
        """The convolution of `image` (N, C, H, W)."""
        if torch.is_autocast_enabled(image.device.type):
            image = image.to(self.weight.dtype)
        return _StemFunction.apply(
            image, self.weight, self.bias, self.dense_weight, self.stride, self.padding
        )

    def cropped(self, blocks: Tensor, size: tuple[int, int]) -> Tensor:
        """The gradient of an image of `size` (height, width), where `blocks` (N, C stride², h, w)
        is that of its space-to-depth image."""
        return _cropped(blocks, self.stride, self.padding, size)


def suits_strided_stem(module: nn.Module) -> bool:
    """Whether `StridedStem` can replace `module`: a plain, square, strided convolution over at
    most 4 channels."""
    if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return False
    square = all(
        len(set(pair)) == 1 for pair in (module.kernel_size, module.stride, module.padding)
    )
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return square and plain and module.in_channels <= 4 and module.stride[0] > 1


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next step. Does nothing without glibc.

    Blocks from LARGE on are returned all the same, as they would be kept in fragments: such are the
    pictures of 4K films, which so take five sixths of the memory, in 1.07 of the time. Others,
    returned to the system, would be faulted in again page by page, which costs some hundredths
    of an evaluation. Where memory is limited, the library is told to return it at once instead:
    the fragments that it keeps would leave no room for smaller tiles.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
        limited = is_memory_limited()
        # In bytes. 128 KiB is glibc's default for both. Else blocks below LARGE come from the heap,
        # and the heap is trimmed only when the largest number that an int holds is free.
        libc.mallopt(mmap_threshold, 1 << 17 if limited else LARGE)
        libc.mallopt(trim_threshold, 1 << 17 if limited else (1 << 31) - 1)


def is_memory_limited() -> bool:
    """Whether Linux may refuse memory to this process: under `ulimit -v`, or where
    vm.overcommit_memory is 2. Elsewhere it grants memory that it does not have, and the OOM killer
    may end the process that uses it."""
    import resource  # Windows has no such module

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return True
    strict = Path("/proc/sys/vm/overcommit_memory")
    return strict.exists() and strict.read_text().strip() == "2"


class _StemFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dense_weight: Tensor,
        stride: int,
        padding: int,
    ) -> Tensor:
        ctx.save_for_backward(dense_weight)
        ctx.stride, ctx.padding, ctx.size = stride, padding, image.shape[2:]
        return F.conv2d(image, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dense_weight,) = ctx.saved_tensors
        blocks = F.conv_transpose2d(grads[0], dense_weight)
        found = _cropped(blocks, ctx.stride, ctx.padding, ctx.size)
        return found, None, None, None, None, None


def _cropped(blocks: Tensor, stride: int, top: int, size: tuple[int, int]) -> Tensor:
    padded = F.pixel_shuffle(blocks, stride)
    height, width = size
    # Pixels that the stride never reached have no gradient.
    right, bottom = width + top - padded.shape[3], height + top - padded.shape[2]
    missing = (0, max(0, right), 0, max(0, bottom))
    padded = F.pad(padded, missing) if any(missing) else padded
    return padded[:, :, top : top + height, top : top + width]


def _space_to_depth(weight: Tensor, stride: int) -> Tensor:
    """The weight (out, C, k, k) of a strided convolution as that of the dense one over the
    space-to-depth image: (out, C stride², k', k'), with k' = k / stride rounded up."""
    out, channels, kernel, _ = weight.shape
    blocks = -(-kernel // stride)
    missing = blocks * stride - kernel
    padded = F.pad(weight, (0, missing, 0, missing)).reshape(
        out * channels, 1, blocks * stride, blocks * stride
    )
    dense = F.pixel_unshuffle(padded, stride).reshape(out, channels * stride**2, blocks, blocks)
    return dense.contiguous(memory_format=CHANNELS_LAST)
