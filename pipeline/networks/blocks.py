"""Blocks of known networks, computed in few passes on a CPU, when only the image has a gradient.

Convolutions that see the same map become one. Biases, ReLUs and additions happen inside of
convolutions, forward and back, whose weights are packed once. A block whose inner layers are asked
for is computed as it was written.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.networks.cpu_kernels import StridedStem
from dreamreel.pipeline.networks.kernels import (
    CHANNELS_LAST,
    FastMaxPool,
    Pair,
    Window,
    gated,
    max_pool,
    max_pool_back,
    suits_pooling,
    window_of,
)

# A fire module's 1x1 convolution is computed as a part of its 3x3 one, with zeros around it, where
# it is at most this share of both. At a quarter, in bfloat16 with AMX, a module takes 0.5 to 0.65
# of the time of two convolutions that are concatenated; in float32 the same time.
MERGED_SHARE = 0.25
MOST_SIZES = 8  # of maps, whose packed weights are kept: five octaves and a measured pair, and more


class PackedConv:
    """A convolution of stride 1 with constant weights, packed for each way and size of map."""

    def __init__(self, plain: Callable[[], tuple[Tensor, Tensor | None]], padding: Pair) -> None:
        """Of the weight (out, in, k, l) and the bias (out,), if any, that `plain` gives."""
        self._plain, self._padding = plain, padding
        self._packed: dict[tuple[bool, torch.Size], tuple[Tensor, Tensor | None, Pair]] = {}

    def __call__(self, x: Tensor, beside: Tensor | None = None, rectify: bool = True) -> Tensor:
        """The convolution of `x` (N, in, H, W), with `beside` (N, out, H, W) added if given, and
        its ReLU if `rectify`."""
        return _convolution(x, *self._for(x, back=False), beside, rectify)

    def back(self, g: Tensor, shape: torch.Size, beside: Tensor | None = None) -> Tensor:
        """The gradient of the input, of `shape` (N, in, H, W), where that of the convolution is `g`
        (N, out, H, W), with `beside` added if given."""
        return _convolution(g, *self._for(g, back=True), beside, False)

    def _for(self, x: Tensor, back: bool) -> tuple[Tensor, Tensor | None, Pair]:
        """The packed weight, the bias and the padding for maps of the size of `x`."""
        # A weight packed for one size may be repacked for another at each call, at up to 40 times
        # the cost of the convolution itself.
        key = back, x.shape
        found = self._packed.pop(key, None) or self._pack(x, back)
        self._packed[key] = found  # the last one used is the last one forgotten
        if len(self._packed) > 2 * MOST_SIZES:
            del self._packed[next(iter(self._packed))]
        return found

    def _pack(self, x: Tensor, back: bool) -> tuple[Tensor, Tensor | None, Pair]:
        weight, bias = self._plain()
        if not back:
            return _packed(weight, self._padding, x), bias, self._padding
        down, across = self._padding
        padding = weight.shape[2] - 1 - down, weight.shape[3] - 1 - across
        return _packed(weight.flip(2, 3).transpose(0, 1), padding, x), None, padding


class PackedStem:
    """A `StridedStem`, packed for the way back at the first use."""

    def __init__(self, stem: StridedStem) -> None:
        self._stem = stem
        dense = stem.get_buffer("dense_weight")
        turned = dense.transpose(0, 1).flip(2, 3)
        self._dense = PackedConv(lambda: (turned, None), (dense.shape[2] - 1, dense.shape[3] - 1))

    def __call__(self, x: Tensor) -> Tensor:
        """The ReLU of the convolution of `x` (N, in, H, W)."""
        pads, strides = [self._stem.padding] * 2, [self._stem.stride] * 2
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._stem.weight, self._stem.bias, pads, strides, [1, 1], 1, "relu", [], ""
        )
        return y

    def back(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of the input, of `shape` (N, in, H, W), where that of the convolution is
        `g`."""
        return self._stem.cropped(self._dense(g, rectify=False), (shape[2], shape[3]))


class RectifiedConv:
    """A convolution and its ReLU. If not `gated`, the way back through the ReLU is another's."""

    def __init__(self, conv: nn.Conv2d | StridedStem) -> None:
        self.conv = PackedStem(conv) if isinstance(conv, StridedStem) else packed(conv)
        self.gated = True

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        y = self.conv(x)
        return y, [y]

    def back(self, g: Tensor, kept: list[Tensor], shape: torch.Size) -> Tensor:
        g = gated(g, kept[0]) if kept else g
        return self.conv.back(g, shape)


class BareConv:
    """A convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = packed(conv)

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.conv(x, rectify=False), []

    def back(self, g: Tensor, kept: list[Tensor], shape: torch.Size) -> Tensor:
        return self.conv.back(g.contiguous(memory_format=CHANNELS_LAST), shape)


class Rectifier:
    """A ReLU. If not `gated`, the way back through it is another's."""

    gated = True

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        y = x.relu_() if self.in_place else x.relu()
        return y, [y]

    def back(self, g: Tensor, kept: list[Tensor], shape: torch.Size) -> Tensor:
        return gated(g, kept[0]) if kept else g


class FireBlock:
    """A fire module: a convolution, then two of its result side by side, concatenated. If
    `shortcut`, the module's input is added before the last ReLU."""

    def __init__(self, squeeze: nn.Conv2d, sides: list[nn.Conv2d], shortcut: bool) -> None:
        self.squeeze, self.shortcut = packed(squeeze), shortcut
        self.expand = merged(sides)

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        squeezed = self.squeeze(x)
        y = self.expand(squeezed, x if self.shortcut else None)
        return y, [y, squeezed]

    def back(self, g: Tensor, kept: list[Tensor], shape: torch.Size) -> Tensor:
        y, squeezed = kept
        g = gated(g, y)
        inner = gated(self.expand.back(g, squeezed.shape), squeezed)
        return self.squeeze.back(inner, shape, g if self.shortcut else None)


class InceptionBlock:
    """An inception module (Szegedy et al., 2014): branches of a 1x1 convolution each, some with a
    larger one behind it, and a branch of a max pooling with a 1x1 convolution, concatenated; each
    convolution has its ReLU."""

    def __init__(
        self, branches: list[list[nn.Conv2d]], pool: Window, projection: nn.Conv2d
    ) -> None:
        firsts = [branch[0] for branch in branches]
        self.first = merged(firsts)
        self.inner = [one.out_channels for one in firsts]
        self.pool, self.projection = pool, packed(projection)
        self.outer = [*(branch[-1].out_channels for branch in branches), projection.out_channels]
        self.behind = [packed(branch[1]) if len(branch) > 1 else None for branch in branches]

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        inner = self.first(x)
        parts = [
            part if conv is None else conv(part.contiguous(memory_format=CHANNELS_LAST))
            for part, conv in zip(inner.split(self.inner, 1), self.behind, strict=True)
        ]
        pooled, where = max_pool(x, self.pool)
        y = torch.cat([*parts, self.projection(pooled)], 1)
        return y, [y, inner, where]

    def back(self, g: Tensor, kept: list[Tensor], shape: torch.Size) -> Tensor:
        y, inner, where = kept
        gs, ys = g.split(self.outer, 1), y.split(self.outer, 1)
        total = torch.empty_like(inner)
        for number, (part, conv) in enumerate(
            zip(inner.split(self.inner, 1), self.behind, strict=True)
        ):
            into = total.narrow(1, sum(self.inner[:number]), self.inner[number])
            found = gs[number]
            if conv is not None:
                found = conv.back(gated(found, ys[number]), part.shape)
            gated(found, part, into)
        pooled = self.projection.back(gated(gs[-1], ys[-1]), where.shape)
        return max_pool_back(pooled, where, self.pool, shape, self.first.back(total, shape))


Block = BareConv | Rectifier | RectifiedConv | FireBlock | InceptionBlock


def quicken(module: nn.Module, pooled: Iterable[tuple[str, str]]) -> None:
    """Let each known block of the frozen `module` compute by its `Block`, under its own name.

    `pooled`: the names of (module, max pooling) where nothing but the pooling reads what the module
    gives.
    """
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return
    blocks: dict[str, Block] = {}
    for name, part in module.named_modules():
        make = BLOCKS.get(f"{type(part).__module__}.{type(part).__qualname__}")
        block = make(part) if make is not None else None
        if block is not None:
            blocks[name] = block
            part.forward = _by_block(part, part.forward, block)
    for name, pool in pooled:
        block, reader = blocks.get(name), module.get_submodule(pool)
        if isinstance(block, Rectifier | RectifiedConv) and isinstance(reader, FastMaxPool):
            block.gated = not reader.rectify()


_slow = ContextVar("_slow", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """Inside, blocks compute as they were written: fused ReLUs turn NaN into 0."""
    before = _slow.set(True)
    try:
        yield
    finally:
        _slow.reset(before)


def packed(conv: nn.Conv2d) -> PackedConv:
    """`conv`, packed."""
    return PackedConv(lambda: (conv.weight, conv.bias), _padding(conv))


def merged(convs: list[nn.Conv2d]) -> PackedConv:
    """The one convolution whose result is those of `convs`, concatenated."""
    down, across = (max(sides) for sides in zip(*map(_padding, convs), strict=True))

    def plain() -> tuple[Tensor, Tensor]:
        return torch.cat(list(map(padded, convs))), torch.cat(list(map(_bias, convs)))

    def padded(conv: nn.Conv2d) -> Tensor:
        y, x = _padding(conv)
        return F.pad(conv.weight, (across - x, across - x, down - y, down - y))

    return PackedConv(plain, (down, across))


def _by_block(
    part: nn.Module, plainly: Callable[[Tensor], Tensor], block: Block
) -> Callable[[Tensor], Tensor]:
    inner = [one for one in part.modules() if one is not part]
    dtype = next((one.dtype for one in part.parameters()), None)

    def forward(x: Tensor) -> Tensor:
        is_asked_within = any(one._forward_hooks for one in inner)
        if is_asked_within or _slow.get() or x.device.type != "cpu" or x.ndim != 4:
            return plainly(x)
        x = x.to(dtype or x.dtype).contiguous(memory_format=CHANNELS_LAST)
        if isinstance(block, InceptionBlock) and not suits_pooling(x, block.pool):
            return plainly(x)
        # Whoever asks for a layer reads it beside the pooling.
        gated = getattr(block, "gated", True) or bool(part._forward_hooks)
        y: Tensor = _BlockFunction.apply(x, block, gated)
        return y

    return forward


class _BlockFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: Block, gated: bool) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y, kept = block(x)
        if y is x:
            ctx.mark_dirty(x)
        ctx.save_for_backward(*(kept if gated else ()))
        ctx.block, ctx.shape = block, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.block.back(grads[0], list(ctx.saved_tensors), ctx.shape), None, None


def _packed(weight: Tensor, padding: Pair, x: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight.contiguous(), list(padding), [1, 1], [1, 1], 1, list(x.shape)
    )
    return found


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Pair,
    beside: Tensor | None,
    rectify: bool,
) -> Tensor:
    pads, ones, relu = list(padding), [1, 1], "relu" if rectify else "none"
    found: Tensor
    if beside is None:
        found = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, pads, ones, ones, 1, relu, [], ""
        )
    else:
        found = torch.ops.mkldnn._convolution_pointwise.binary(
            *(x, beside, weight, bias, pads, ones, ones, 1),
            *("add", 1.0, "relu" if rectify else None, [], ""),
        )
    return found


def _bias(conv: nn.Conv2d) -> Tensor:
    return conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias


def _padding(conv: nn.Conv2d) -> Pair:
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


def _is_plain(conv: Any) -> bool:
    """Whether `conv` can be a `PackedConv` that keeps the size of its map."""
    if not isinstance(conv, nn.Conv2d):
        return False
    keeps = conv.padding == tuple(size // 2 for size in conv.kernel_size)
    odd = all(size % 2 for size in conv.kernel_size) and conv.padding_mode == "zeros"
    return odd and keeps and conv.stride == conv.dilation == (1, 1) and conv.groups == 1


def _basic(part: Any) -> RectifiedConv | None:
    """torchvision's convolution with its folded batch norm and ReLU."""
    is_stem = isinstance(part.conv, StridedStem) and isinstance(part.bn, nn.Identity)
    return RectifiedConv(part.conv) if is_stem or _is_folded(part) else None


def _is_folded(part: Any) -> bool:
    return _is_plain(part.conv) and isinstance(part.bn, nn.Identity)


def _inception(part: Any) -> InceptionBlock | None:
    """torchvision's inception module of GoogLeNet."""
    branches = [[part.branch1], [*part.branch2], [*part.branch3]]
    pool, projection = part.branch4
    convs = [*branches[0], *branches[1], *branches[2], projection]
    if not all(map(_is_folded, convs)):
        return None
    return _inception_of(
        [[one.conv for one in branch] for branch in branches], pool, projection.conv
    )


def _our_inception(part: Any) -> InceptionBlock | None:
    branches = [[part.b1x1], [part.b3x3_reduce, part.b3x3], [part.b5x5_reduce, part.b5x5]]
    return _inception_of(branches, part.pool, part.pool_proj)


def _inception_of(
    branches: list[list[nn.Conv2d]], pool: nn.MaxPool2d, projection: nn.Conv2d
) -> InceptionBlock | None:
    window = window_of(pool)
    return None if window is None else InceptionBlock(branches, window, projection)


def _fire(part: Any) -> FireBlock | None:
    share = part.expand1x1.out_channels / (
        part.expand1x1.out_channels + part.expand3x3.out_channels
    )
    if share > MERGED_SHARE:
        return None
    return FireBlock(part.squeeze, [part.expand1x1, part.expand3x3], part.has_shortcut)


def _bare(part: Any) -> BareConv | None:
    return BareConv(part) if _is_plain(part) else None


def _conv_relu(part: Any) -> RectifiedConv | None:
    return RectifiedConv(part) if _is_plain(part) else None


OURS = "dreamreel.pipeline.networks"
BLOCKS: dict[str, Callable[[Any], Block | None]] = {
    "torch.nn.modules.conv.Conv2d": _bare,
    "torch.nn.modules.activation.ReLU": lambda part: Rectifier(part.inplace),
    "torchvision.models.googlenet.BasicConv2d": _basic,
    "torchvision.models.inception.BasicConv2d": _basic,
    "torchvision.models.googlenet.Inception": _inception,
    f"{OURS}.googlenet.Inception": _our_inception,
    f"{OURS}.googlenet.ConvReLU": _conv_relu,
    f"{OURS}.dreamnet.Fire": _fire,
    f"{OURS}.dreamnet.Head": _conv_relu,
}
