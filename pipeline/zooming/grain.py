"""Noise and grain, from which a dream grows where there is no picture yet."""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

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
    image = (flat + grain(flat, Chance(seed, 0), USUAL_RATE)).clamp(0, 1)
    return image.contiguous(memory_format=torch.channels_last).to(device)


def grain(image: Tensor, chance: "Chance", rate: float) -> Tensor:
    """The fine noise to add to `image` (1, 3, H, W) in one frame, at `rate` frames a second. The
    noise of a second has the same variance at every rate."""
    size = (image.shape[2], image.shape[3])
    shapes = [(1, *size), (3, *size), (1, size[0] // 2, size[1] // 2)]
    light, colour, half = chance.normal("grain", shapes, image.device)
    fine = 0.7 * light + 0.3 * colour
    fine = fine + F.interpolate(half, size, mode="bicubic", align_corners=False)
    return GRAIN / 255 * (USUAL_RATE / rate) ** 0.5 * fine


def seeds(image: Tensor, where: Tensor, chance: "Chance", rate: float) -> Tensor:
    """Soft noise to add to `image` (1, 3, H, W) in one frame, at `rate` frames a second, as far as
    `where` (1, 1, H, W) says: something to dream from in dull places."""
    return (SEEDS * rate**-0.5) * where * soft_noise(image, chance, "seeds")


def soft_noise(image: Tensor, chance: "Chance", use: str) -> Tensor:
    """Noise of the shape of `image` (1, 3, H, W), equally strong at four scales, mostly grey: that
    of `chance` for this `use`."""
    size, total = (image.shape[2], image.shape[3]), torch.zeros_like(image)
    scales = [(max(2, size[0] // cell), max(2, size[1] // cell)) for cell in (1, 2, 4, 8)]
    drawn = chance.normal(use, [(4, *scale) for scale in scales], image.device)
    for one in drawn:
        total += F.interpolate(one[:, :1] + 0.4 * one[:, 1:], size, mode="bicubic")
    return total / 2


USES = ("fill", "grain", "seeds")  # of chance in a frame, each independent of the others


@dataclass(frozen=True)
class Chance:
    """The chance of the frame `number`: normal noise that depends on (seed, frame, use) alone, and
    is the same on every device. `ahead`, if given, draws that of the next frame meanwhile."""

    seed: int
    number: int
    ahead: "Ahead | None" = None

    def normal(
        self, use: str, shapes: list[tuple[int, int, int]], device: torch.device
    ) -> list[Tensor]:
        """Noise of each of `shapes` (C, H, W), for one of `USES`: (1, C, H, W), on `device`, to
        which it comes in one move."""
        counts = [math.prod(shape) for shape in shapes]
        key, draw = (self.seed, self.number, USES.index(use), sum(counts)), drawn
        if self.ahead is not None:
            draw = self.ahead.drawn
        parts = moved(draw(*key), device).split(counts)
        return [one.view(1, *shape) for one, shape in zip(parts, shapes, strict=True)]


class Ahead:
    """Draws, on threads, the noise that the next frame will ask for if it asks as the last did. A
    GPU dreams a frame in less time than one thread draws its noise."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(len(USES), "noise")
        self._coming: dict[tuple[int, int, int, int], Future[Tensor]] = {}

    def drawn(self, seed: int, number: int, use: int, count: int) -> Tensor:
        """As the function `drawn`."""
        found = self._coming.pop((seed, number, use, count), None)
        following = (seed, number + 1, use, count)
        self._coming[following] = self._pool.submit(drawn, *following)
        for key in [key for key in self._coming if key[1] < number]:
            self._coming.pop(key).cancel()
        return drawn(seed, number, use, count) if found is None else found.result()

    def close(self) -> None:
        """End all threads."""
        self._pool.shutdown(cancel_futures=True)


def drawn(seed: int, number: int, use: int, count: int) -> Tensor:
    """So many normal numbers (count,), which depend on the others alone."""
    state = int(np.random.SeedSequence((seed, number, use)).generate_state(1)[0])
    return torch.randn(count, generator=torch.Generator().manual_seed(state))
