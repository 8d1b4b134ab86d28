"""bvlc_googlenet: the GoogLeNet of Caffe's model zoo, with which DeepDream began."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.networks.kernels import MOST_CHANNELS, normalised, takes


class LocalResponseNorm(nn.Module):
    """x / (1 + alpha/size * sum of x² over `size` neighbouring channels)^0.75
    (Krizhevsky et al., 2012).

    Where it is not compiled (see `kernels`), the sum is a 1x1 convolution with a band matrix, four
    times as fast as PyTorch's own layer in bfloat16.
    """

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4) -> None:
        super().__init__()
        self.channels, self.size, self.alpha = channels, size, alpha

    def forward(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W), normalised across channels."""
        if takes(x) and self.channels <= MOST_CHANNELS and self.size <= 31:
            return normalised(x, self.size // 2, self.alpha / self.size)
        matrix = _band_matrix(self.channels, self.size, self.alpha, x.device)
        inverse_root = torch.rsqrt(1 + F.conv2d(x * x, matrix))
        return x * (inverse_root * inverse_root.sqrt())


@cache
def _band_matrix(channels: int, size: int, alpha: float, device: torch.device) -> Tensor:
    """The weight (C, C, 1, 1) of a 1x1 convolution: alpha/size where two channels are neighbours,
    0 elsewhere."""
    at = torch.arange(channels, device=device)
    near = (at[:, None] - at[None, :]).abs() <= size // 2
    return (near.float() * (alpha / size))[:, :, None, None]


class ConvReLU(nn.Conv2d):
    """A convolution with its ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        """The activation for `input` (N, C, H, W), never below zero."""
        return F.relu(super().forward(input), inplace=True)


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al., Going deeper with convolutions, 2014): 1x1, 3x3,
    5x5 and pooling. `three` and `five` are the widths of the reduction and of the convolution."""

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
        """The outputs of the four branches for `x` (N, C, H, W), concatenated along channels."""
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
    """The GoogLeNet of Caffe's model zoo. Unlike torchvision's it has true 5x5 branches, local
    response normalisation and biases, and no batch norm."""

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
        """The logits (N, 1000) for `x` (N, 3, H, W): BGR, 0 to 255, less the mean."""
        x = self.norm1(self.pool(self.conv1(x)))
        x = self.pool(self.norm2(self.conv2(self.conv2_reduce(x))))
        x = self.pool(self.inception_3b(self.inception_3a(x)))
        x = self.inception_4c(self.inception_4b(self.inception_4a(x)))
        x = self.pool(self.inception_4e(self.inception_4d(x)))
        x = self.inception_5b(self.inception_5a(x))
        return self.fc(x.mean((2, 3)))
