"""Noise and grain, from which a dream grows where there is no picture yet."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.tensors import moved
from dreamreel.pipeline.zooming.bands import USUAL_RATE

SEEDS = 0.03  # standard deviation, of 1, of what is sown in dull places in a second
GRAIN = 1.0  # levels of 255 in a frame, at 30 a second: new detail is dreamed from it


def noise(size: tuple[int, int], seed: int, device: torch.device) -> Tensor:
    """A grey image (1, 3, H, W) of soft coloured noise, equally strong at every scale, like natural
    pictures; `size` is (height, width)."""
    random = np.random.default_rng((seed, *size))
    total = torch.full((1, 3, *size), 0.5)
    cell = max(size)
    while cell >= 1:
        coarse = (max(2, size[0] // cell + 1), max(2, size[1] // cell + 1))
        values = torch.from_numpy(random.standard_normal((1, 3, *coarse)).astype(np.float32))
        # Mostly grey: independent channels would make coloured specks.
        values = 0.6 * values.mean(1, keepdim=True) * 3**0.5 + 0.4 * values
        total += 0.07 * F.interpolate(values, size, mode="bicubic", align_corners=False)
        cell //= 2
    return total.clamp(0, 1).contiguous(memory_format=torch.channels_last).to(device)


def plain(
    colour: tuple[int, int, int], size: tuple[int, int], seed: int, device: torch.device
) -> Tensor:
    """An image (1, 3, H, W) of one `colour` (red, green, blue, 0 to 255 each), with grain to dream
    from; `size` is (height, width)."""
    flat = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *size) / 255
    image = (flat + grain(flat, generator(seed, 0), USUAL_RATE)).clamp(0, 1)
    return image.contiguous(memory_format=torch.channels_last).to(device)


def grain(image: Tensor, random: torch.Generator, rate: float) -> Tensor:
    """The fine noise to add to `image` (1, 3, H, W) in one frame, at `rate` frames a second. The
    noise of a second has the same variance at every rate."""
    size = (image.shape[2], image.shape[3])
    shapes = [(1, *size), (3, *size), (1, size[0] // 2, size[1] // 2)]
    light, colour, half = _normal(shapes, random, image.device)
    fine = 0.7 * light + 0.3 * colour
    fine = fine + F.interpolate(half, size, mode="bicubic", align_corners=False)
    return GRAIN / 255 * (USUAL_RATE / rate) ** 0.5 * fine


def seeds(image: Tensor, where: Tensor, random: torch.Generator, rate: float) -> Tensor:
    """Soft noise to add to `image` (1, 3, H, W) in one frame, at `rate` frames a second, as far as
    `where` (1, 1, H, W) says: something to dream from in dull places."""
    return (SEEDS * rate**-0.5) * where * soft_noise(image, random)


def soft_noise(image: Tensor, random: torch.Generator) -> Tensor:
    """Noise of the shape of `image` (1, 3, H, W), equally strong at four scales, mostly grey."""
    size, total = (image.shape[2], image.shape[3]), torch.zeros_like(image)
    scales = [(max(2, size[0] // cell), max(2, size[1] // cell)) for cell in (1, 2, 4, 8)]
    drawn = _normal([(4, *scale) for scale in scales], random, image.device)
    for one in drawn:
        total += F.interpolate(one[:, :1] + 0.4 * one[:, 1:], size, mode="bicubic")
    return total / 2


def _normal(
    shapes: list[tuple[int, int, int]], random: torch.Generator, device: torch.device
) -> list[Tensor]:
    """Normal noise of each of `shapes` (C, H, W): (1, C, H, W). It is the same on every device, to
    which it comes in one move."""
    counts = [math.prod(shape) for shape in shapes]
    drawn = moved(torch.randn(sum(counts), generator=random), device).split(counts)
    return [one.view(1, *shape) for one, shape in zip(drawn, shapes, strict=True)]


def generator(seed: int, number: int) -> torch.Generator:
    """A random generator for the frame `number`, seeded by (seed, frame) alone."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    )
