"""Batches of pictures: crops in an order and with changes that the seed and the epoch decide."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dreamreel.pipeline.training.pictures import Pictures

# How a picture differs each time that it is seen: the share of it that a crop shows, and changes of
# brightness, contrast, saturation and hue. As usual for training on ImageNet, but for closer crops:
# what is cut off too far is no longer the thing.
SHARE = (0.5, 1.0)
LIGHT = (0.3, 0.3, 0.3, 0.03)
WORKERS = 8  # processes that prepare pictures for a GPU, at most


def seed_of(*key: int) -> int:
    """A seed that depends on `key` alone."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def order_of(count: int, seed: int, epoch: int) -> list[int]:
    """The numbers below `count` in the order of an epoch."""
    random = torch.Generator().manual_seed(seed_of(seed, epoch))
    return torch.randperm(count, generator=random).tolist()


class Crops(Dataset[tuple[Tensor, int]]):
    """Crops of pictures: a number, and how often all were seen before, give a float32 image
    (3, size, size) in [0, 1] and its class. A crop depends on them and the seed alone, whichever
    process makes it. It shows a `share` (from, to) of its picture; that share `mosaics` of all is
    put together from crops of four pictures."""

    def __init__(
        self,
        pictures: Pictures,
        size: int,
        seed: int,
        share: tuple[float, float] = SHARE,
        mosaics: float = 0.0,
    ) -> None:
        self.pictures = pictures
        self._seed, self._mosaics, self._size = seed, mosaics, size
        self._crop = v2.RandomResizedCrop(size, scale=share)
        self._changes = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(*LIGHT),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        number, turn = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self._seed, turn, number))
            image = self._changes(self._crop(self.pictures.image(number)))
            if self._mosaics and torch.rand(()) < self._mosaics:
                image = self._mosaic(image)
        return image, self.pictures.labels[number]

    def _mosaic(self, image: Tensor) -> Tensor:
        """`image` and crops of three other pictures, each at half its size, in one."""
        learned = self.pictures.learned
        chosen = torch.randint(len(learned), (3,)).tolist()
        others = [self._changes(self._crop(self.pictures.image(learned[one]))) for one in chosen]
        four = [image, *others]
        rows = [torch.cat(four[:2], 2), torch.cat(four[2:], 2)]
        half: Tensor = v2.functional.resize(torch.cat(rows, 1), [self._size, self._size])
        return half


class Middles(Dataset[tuple[Tensor, int]]):
    """The middle of each of the pictures `numbers`: a float32 image (3, size, size), and its
    class."""

    def __init__(self, pictures: Pictures, numbers: Sequence[int], size: int) -> None:
        self.pictures, self._numbers = pictures, numbers
        self._change = v2.Compose(
            [v2.Resize(size), v2.CenterCrop(size), v2.ToDtype(torch.float32, scale=True)]
        )

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        number = self._numbers[place]
        return self._change(self.pictures.image(number)), self.pictures.labels[number]


def batches_of(
    crops: Crops, batch: int, seed: int, epoch: int, first: int, workers: int, turns: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch from number `first` on: images (N, 3, size, size) and classes (N).
    All pictures are seen so many `turns`. The last of the order, if they fill no batch, are left
    out."""
    learned = crops.pictures.learned
    order = [
        (learned[one], turn)
        for turn in range(epoch * turns, (epoch + 1) * turns)
        for one in order_of(len(learned), seed, turn)
    ]
    steps = steps_of(len(order), batch)
    chosen = [order[step * batch : (step + 1) * batch] for step in range(first, steps)]
    yield from DataLoader(crops, batch_sampler=chosen, num_workers=workers)


def steps_of(count: int, batch: int) -> int:
    """The batches in an epoch of `count` pictures."""
    return max(1, count // batch)


def turns_of(count: int, batch: int, steps: int) -> int:
    """How often an epoch shows `count` pictures, so that it has that many `steps` or more."""
    return max(1, math.ceil(steps * batch / count))
