"""The two networks that we write down ourselves: dreamnet, and the GoogLeNet of Caffe's zoo."""

from collections.abc import Collection
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Fire(nn.Module):
    """Squeeze, expand two ways, side by side, plus the input where widths agree
    (Iandola et al., SqueezeNet, 2016)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.squeeze = nn.Conv2d(channels, quarter, 1)
        self.expand1x1 = nn.Conv2d(quarter, quarter, 1)
        self.expand3x3 = nn.Conv2d(quarter, out_channels - quarter, 3, padding=1)
        self.has_shortcut = channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W) as (N, out_channels, H, W)."""
        squeezed = F.relu(self.squeeze(x))
        expanded = torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], 1)
        return F.relu(expanded + x if self.has_shortcut else expanded)


class DreamNet(nn.Module):
    """Our own network: a trunk of fires with heads that feel what GoogLeNet's layers feel.

    Heads are side exits: only those named in `forward` are computed.
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
        """`x` (N, 3, H, W), normalised, through the trunk; returns the deepest head's output."""
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
    """A 1x1 convolution and its ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """`input` (N, C, H, W) as (N, out_channels, H, W), none below zero."""
        return F.relu(super().forward(input))


class LocalResponseNorm(nn.Module):
    """x / (1 + alpha/size * sum of x² over `size` neighbouring channels)^0.75
    (Krizhevsky et al., 2012), the sum as a 1x1 convolution with a band matrix:
    four times faster than PyTorch's own in bfloat16."""

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4) -> None:
        super().__init__()
        self.channels, self.size, self.alpha = channels, size, alpha

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W), normalised across channels."""
        band = _band(self.channels, self.size, self.alpha, x.device)
        inverse_root = torch.rsqrt(1 + F.conv2d(x * x, band))
        return x * (inverse_root * inverse_root.sqrt())


@cache
def _band(channels: int, size: int, alpha: float, device: torch.device) -> Tensor:
    """alpha/size where two channels are neighbours, as a 1x1 convolution's weight."""
    at = torch.arange(channels, device=device)
    near = (at[:, None] - at[None, :]).abs() <= size // 2
    return (near.float() * (alpha / size))[:, :, None, None]


class ConvReLU(nn.Conv2d):
    """A convolution and its ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` convolved, none below zero."""
        return F.relu(super().forward(input), inplace=True)


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al., Going deeper with convolutions, 2014)."""

    def __init__(
        self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
    ) -> None:
        super().__init__()
        self.b1x1 = ConvReLU(channels, one, 1)
        self.b3x3_reduce = ConvReLU(channels, three[0], 1)
        self.b3x3 = ConvReLU(three[0], three[1], 3, padding=1)
        self.b5x5_reduce = ConvReLU(channels, five[0], 1)
        self.b5x5 = ConvReLU(five[0], five[1], 5, padding=2)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.pool_proj = ConvReLU(channels, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W) through every branch, concatenated along the channels."""
        return torch.cat(
            [
                self.b1x1(x),
                self.b3x3(self.b3x3_reduce(x)),
                self.b5x5(self.b5x5_reduce(x)),
                self.pool_proj(self.pool(x)),
            ],
            1,
        )


class BvlcGoogLeNet(nn.Module):
    """The GoogLeNet of Caffe's model zoo, with which DeepDream began: true 5x5 branches, local
    response normalisation, biases, no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvReLU(3, 64, 7, stride=2, padding=3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = LocalResponseNorm(64)
        self.conv2_reduce = ConvReLU(64, 64, 1)
        self.conv2 = ConvReLU(64, 192, 3, padding=1)
        self.norm2 = LocalResponseNorm(192)
        self.inception_3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception_3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.inception_4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception_4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception_4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception_4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception_4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.inception_5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception_5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, 3, H, W), BGR, 0 to 255, mean taken off; returns logits (N, 1000)."""
        x = self.norm1(self.pool(self.conv1(x)))
        x = self.pool(self.norm2(self.conv2(self.conv2_reduce(x))))
        x = self.pool(self.inception_3b(self.inception_3a(x)))
        x = self.inception_4c(self.inception_4b(self.inception_4a(x)))
        x = self.pool(self.inception_4e(self.inception_4d(x)))
        x = self.inception_5b(self.inception_5a(x))
        return self.fc(x.mean((2, 3)))
