"""dreamnet: our own small network, bundled with its weights."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class DreamNet(nn.Module):
    """Our own network: a trunk of fire modules, with heads that respond as GoogLeNet's layers do.

    A head is a side exit of the trunk. `forward` computes only the heads that it is asked for.
    """

    HEADS = ("textures", "parts", "creatures", "objects", "classes")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 48, 5, stride=2, padding=2)
        self.pool = nn.AvgPool2d(3, 2, ceil_mode=True)
        self.fire2a, self.fire2b = Fire(48, 160), Fire(160, 160)
        self.fire3a, self.fire3b, self.fire3c = Fire(160, 288), Fire(288, 288), Fire(288, 288)
        self.textures = Head(288, 480)
        self.fire4a, self.fire4b, self.fire4c = Fire(288, 448), Fire(448, 448), Fire(448, 448)
        self.parts = Head(448, 512)
        self.fire4d = Fire(448, 448)
        self.creatures = Head(448, 832)
        self.fire5a, self.fire5b = Fire(448, 640), Fire(640, 640)
        self.objects = Head(640, 1024)
        self.classes = nn.Linear(1024, 1000)

    def forward(self, x: Tensor, heads: Collection[str] = HEADS) -> Tensor:
        """Compute the trunk and `heads` for `x` (N, 3, H, W), normalised. Returns the logits
        (N, 1000) if "classes" is among `heads`, else the output of "objects" or of the trunk."""
        x = self.pool(F.relu(self.stem(x)))
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
        return self.classes(x.mean((2, 3))) if "classes" in heads else x


class Head(nn.Conv2d):
    """A 1x1 convolution with its ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """The activation (N, out_channels, H, W) for `input` (N, C, H, W), never below zero."""
        return F.relu(super().forward(input))


# The architecture by the version that files name; weights fit only their own. A change of any
# layer gets a new entry. The last is that of the bundled weights.
VERSIONS: dict[int, type[nn.Module]] = {1: DreamNet}
VERSION = max(VERSIONS)
