"""Picture made from nothing: noise, grain, and what grows past an edge."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.spectrum import USUAL_RATE

GRAIN = 1.0  # levels of noise in a frame, at 30 a second: what new detail is dreamed from


def filled(image: Tensor, known: Tensor, random: torch.Generator) -> Tensor:
    """`image` (1, 3, H, W) with what is not `known` (1, 1, H, W), from 0 to 1, made up: what is
    near, ever broader further away, and noise to dream from."""
    total, weight = image * known, known
    sums: list[tuple[Tensor, Tensor]] = []
    while min(total.shape[2:]) > 2:
        sums.append((total, weight))
        total = F.avg_pool2d(total, 2, ceil_mode=True)
        weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    guess = total / weight.clamp_min(1e-4)
    for total, weight in reversed(sums):  # push and pull (Gortler et al., 1996)
        guess = F.interpolate(guess, total.shape[2:], mode="bilinear", align_corners=False)
        share = (4 * weight).clamp(0, 1)
        guess = guess + share * (total / weight.clamp_min(1e-4) - guess)
    made_up = guess + 0.06 * soft_noise(image, random)
    return (known * image + (1 - known) * made_up).clamp(0, 1)


def surrounded(image: Tensor, margin: int, random: torch.Generator) -> Tensor:
    """`image` (1, 3, H, W) with so many pixels around it, `filled`."""
    known = F.pad(torch.ones_like(image[:, :1]), (margin,) * 4)
    return filled(F.pad(image, (margin,) * 4, mode="replicate"), known, random)


def soft_noise(image: Tensor, random: torch.Generator) -> Tensor:
    """Noise like `image` (1, 3, H, W), equally strong at some scales, mostly of light."""
    size, total = (image.shape[2], image.shape[3]), torch.zeros_like(image)
    for cell in (1, 2, 4, 8):
        coarse = (max(2, size[0] // cell), max(2, size[1] // cell))
        light = torch.randn(1, 1, *coarse, generator=random)
        colour = 0.4 * torch.randn(1, 3, *coarse, generator=random)
        total += F.interpolate((light + colour).to(image.device), size, mode="bicubic")
    return total / 2


def grain(image: Tensor, random: torch.Generator, rate: float) -> Tensor:
    """Fine noise, as much as is strewn over `image` (1, 3, H, W) in a frame."""
    size = (image.shape[2], image.shape[3])
    fine = 0.7 * torch.randn(1, 1, *size, generator=random)
    fine = fine + 0.3 * torch.randn(1, 3, *size, generator=random)
    half = torch.randn(1, 1, size[0] // 2, size[1] // 2, generator=random)
    fine = fine + F.interpolate(half, size, mode="bicubic", align_corners=False)
    return (GRAIN / 255 * (USUAL_RATE / rate) ** 0.5 * fine).to(image.device)


def generator(seed: int, number: int) -> torch.Generator:
    """Randomness for the frame `number`, of (seed, frame) alone."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    )


def plain(
    colour: tuple[int, int, int], size: tuple[int, int], seed: int, device: torch.device
) -> Tensor:
    """An image (1, 3, H, W) of one `colour` (red, green, blue, from 0 to 255), with just enough
    noise to dream from."""
    flat = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *size) / 255
    image = (flat + grain(flat, generator(seed, 0), USUAL_RATE)).clamp(0, 1)
    return image.contiguous(memory_format=torch.channels_last).to(device)


def noise(size: tuple[int, int], seed: int, device: torch.device) -> Tensor:
    """A grey-based image (1, 3, H, W) of soft coloured noise: something at every scale, as in
    natural pictures, for a zoom that starts from nothing."""
    random = np.random.default_rng((seed, *size))
    total = torch.full((1, 3, *size), 0.5)
    cell = max(size)
    while cell >= 1:
        coarse = (max(2, size[0] // cell + 1), max(2, size[1] // cell + 1))
        values = torch.from_numpy(random.standard_normal((1, 3, *coarse)).astype(np.float32))
        # Channels that mostly agree: colours, but no confetti.
        values = 0.6 * values.mean(1, keepdim=True) * 3**0.5 + 0.4 * values
        total += 0.07 * F.interpolate(values, size, mode="bicubic", align_corners=False)
        cell //= 2
    return total.clamp(0, 1).contiguous(memory_format=torch.channels_last).to(device)
