"""dreamnet: our own small network, bundled with its weights."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The channels of its heads but for the classes: those of the layers of GoogLeNet that taught it.
CHANNELS = {"textures": 480, "parts": 512, "creatures": 832, "objects": 1024}
CLASSES = 1000  # ImageNet's


@dataclass(frozen=True)
class Trunk:
    """How wide a dreamnet is at strides 4, 8, 16 and 32. If it is `smooth`, a blur goes before each
    stride, so that no pixel has more say than its neighbours: gradients have no grid."""

    widths: tuple[int, int, int, int]
    smooth: bool


FIRST = Trunk((160, 288, 448, 640), smooth=False)
LEAN = Trunk((96, 192, 448, 640), smooth=True)  # two thirds of the sums of the first


class Fire(nn.Module):
    """The fire module of SqueezeNet (Iandola et al., 2016): squeeze by 1x1, then expand by 1x1 and
    3x3 side by side. The input is added where its width is that of the output."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.squeeze = nn.Conv2d(channels, quarter, 1)
        self.expand1x1 = nn.Conv2d(quarter, quarter, 1)
        self.expand3x3 = nn.Conv2d(quarter, out_channels - quarter, 3, padding=1)
        self.has_shortcut = channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """The activation (N, out_channels, H, W) for `x` (N, C, H, W)."""
        squeezed = F.relu(self.squeeze(x))
        expanded = torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], 1)
        return F.relu(expanded + x if self.has_shortcut else expanded)


class BlurPool(nn.Module):
    """Half the size, blurred by 1, 2, 1 along each axis before (Zhang, Making Convolutional
    Networks Shift-Invariant Again, 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W) at stride 2, as large as a pooling of 3 without padding makes it."""
        return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 2, ceil_mode=True)


class DreamNet(nn.Module):
    """Our own network: a trunk of fire modules, with heads that respond as the layers of its
    teacher do, with as many `channels`. Without `classes` it tells none.

    A head is a side exit of the trunk. `forward` computes only the heads that it is asked for.
    """

    HEADS = (*CHANNELS, "classes")

    def __init__(
        self,
        trunk: Trunk = FIRST,
        channels: Mapping[str, int] = CHANNELS,
        classes: int = CLASSES,
    ) -> None:
        super().__init__()
        a, b, c, d = trunk.widths
        self.smooth = trunk.smooth
        self.stem = nn.Conv2d(3, 48, 5, stride=2, padding=2)
        self.pool = BlurPool() if trunk.smooth else nn.AvgPool2d(3, 2, ceil_mode=True)
        self.fire2a, self.fire2b = Fire(48, a), Fire(a, a)
        self.fire3a, self.fire3b, self.fire3c = Fire(a, b), Fire(b, b), Fire(b, b)
        self.textures = Head(b, channels["textures"])
        self.fire4a, self.fire4b, self.fire4c = Fire(b, c), Fire(c, c), Fire(c, c)
        self.parts = Head(c, channels["parts"])
        self.fire4d = Fire(c, c)
        self.creatures = Head(c, channels["creatures"])
        self.fire5a, self.fire5b = Fire(c, d), Fire(d, d)
        self.objects = Head(d, channels["objects"])
        self.classes = nn.Linear(channels["objects"], classes) if classes else None

    @property
    def channels(self) -> dict[str, int]:
        """The channels of each head but for the classes."""
        heads = (self.textures, self.parts, self.creatures, self.objects)
        return {name: head.out_channels for name, head in zip(CHANNELS, heads, strict=True)}

    def forward(self, x: Tensor, heads: Collection[str] = HEADS) -> Tensor:
        """Compute the trunk and `heads` for `x` (N, 3, H, W), normalised. Returns the logits
        (N, classes) if "classes" is among `heads`, else the output of "objects" or of the trunk."""
        x = self.pool(F.relu(self.stem(_blurred(x) if self.smooth else x)))
        x = self.pool(self.fire2b(self.fire2a(x)))
        x = self.fire3c(self.fire3b(self.fire3a(x)))
        if "textures" in heads:
            self.textures(x)
        x = self.fire4c(self.fire4b(self.fire4a(self.pool(x))))
        if "parts" in heads:
            self.parts(x)
        x = self.fire4d(x)
        if "creatures" in heads:
            self.creatures(x)
        x = self.fire5b(self.fire5a(self.pool(x)))
        if "objects" in heads or "classes" in heads:
            x = self.objects(x)
        if self.classes is None or "classes" not in heads:
            return x
        return self.classes(x.mean((2, 3)))


class Head(nn.Conv2d):
    """A 1x1 convolution with its ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """The activation (N, out_channels, H, W) for `input` (N, C, H, W), never below zero."""
        return F.relu(super().forward(input))


def _blurred(x: Tensor) -> Tensor:
    """`x` (N, C, H, W), blurred by 1, 2, 1 along each axis. What alternates from pixel to pixel,
    which a stride of 2 would mistake for something coarser, is gone."""
    wider = F.avg_pool2d(x, 2, 1, padding=1, count_include_pad=False)  # by a pixel
    return F.avg_pool2d(wider, 2, 1)


# The architecture by the version that files name; weights fit only their own. A change of any
# layer gets a new entry. What begins with random weights is of the newest.
VERSIONS: dict[int, Callable[..., DreamNet]] = {
    1: DreamNet,
    2: partial(DreamNet, LEAN),
}
BUNDLED = 1  # the version of the bundled weights
NEWEST = max(VERSIONS)
