"""Pictures in class folders: read, and divided into those to learn from and those to check by."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as change

from dreamreel.pipeline.errors import UserError, missing, usable
from dreamreel.pipeline.media.stills import FORMATS, UNREADABLE, read_pixels
from dreamreel.pipeline.memory import free_memory

LEAST = 4  # pictures of a class: three to learn from, and one to check by
CHECKED_BY = 0.15  # the share of each class by which the network is checked
ROOM = 1.25  # the shorter side of a kept picture over that of a crop: crops have room to move
FINER = 2.0  # as ROOM, where crops may show a small part: what is near and far is to be felt alike
OBLONG = 2.0  # a kept picture's longer side over its shorter: of a strip, the middle is kept
KEPT_SHARE = 0.5  # of the free memory, for pictures; others are read again when they are needed
# The names of two folders, each with all classes, of those who divide their pictures themselves.
DIVIDED = (("train", ("val", "valid", "validation", "test")),)
NAMED = 3  # files that a message names


@dataclass(frozen=True)
class Pictures:
    """Pictures with their classes. `images` are uint8 (3, H, W), or None where there was no memory
    for one. `learned` and `checked` are the numbers of those to learn from and to check by.
    `digest` is one of all names and sizes."""

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    images: tuple[Tensor | None, ...]
    learned: tuple[int, ...]
    checked: tuple[int, ...]
    digest: str
    side: int

    def image(self, number: int) -> Tensor:
        """The picture `number` (3, H, W), uint8. Raises UserError if it is no longer there."""
        kept = self.images[number]
        if kept is not None:
            return kept
        found = _read(self.paths[number], self.side)
        if isinstance(found, str):
            raise UserError(f"{self.paths[number]} changed while it was learned from: {found}")
        return found


class _Folders(ImageFolder):
    """torchvision's pictures in class folders, without hidden ones. An empty class is kept."""

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The names of the classes in order, and the number of each."""
        names = sorted(
            one.name for one in os.scandir(directory) if one.is_dir() and one.name[0] != "."
        )
        return names, {name: number for number, name in enumerate(names)}


def read_pictures(
    folder: Path, size: int, seed: int, notice: Callable[[str], None] = lambda line: None
) -> Pictures:
    """The pictures in the class folders of `folder`, for crops of `size` pixels. They are divided
    by `seed`, or as folders called train and val divide them.

    Pictures that cannot be read and those of one colour are left out; `notice` gets a line that
    counts them. Raises UserError if they are too few or of fewer than two classes.
    """
    with usable(folder):
        if not folder.exists():
            raise missing(folder, "folder")
        if not folder.is_dir():
            raise UserError(f"{folder} is a file; give a folder with a folder of pictures a class")
        first, second = _divided(folder)
        classes, found = _listed(first)
        others = [] if second is None else _listed_as(second, classes)
    paths = [path for path, _ in [*found, *others]]
    labels = [label for _, label in [*found, *others]]
    side = round(size * ROOM)
    images, good = _read_all(paths, side, notice)
    _check_counts(folder, classes, Counter(labels[one] for one in good if one < len(found)))
    if second is None:
        learned, checked = _split(labels, good, seed)
    else:
        learned = [one for one in good if one < len(found)]
        checked = [one for one in good if one >= len(found)]
    _tell(notice, classes, labels, learned, checked)
    digest = _digest(folder, [paths[one] for one in good])
    return Pictures(
        tuple(classes),
        tuple(paths),
        tuple(labels),
        tuple(images),
        tuple(learned),
        tuple(checked),
        digest,
        side,
    )


def read_unlabelled(
    folder: Path, size: int, seed: int, notice: Callable[[str], None] = lambda line: None
) -> Pictures:
    """All pictures in `folder` and the folders in it, of no class, for crops of `size` pixels from
    pictures of twice that. They are divided by `seed`, and bad ones left out, as `read_pictures`
    does. Raises UserError if they are too few."""
    with usable(folder):
        if not folder.exists():
            raise missing(folder, "folder")
        if not folder.is_dir():
            raise UserError(f"{folder} is a file; give a folder of pictures")
        paths = list(_all_in(folder))
    side = round(size * FINER)
    images, good = _read_all(paths, side, notice)
    if len(good) < LEAST:
        raise UserError(
            f"{folder} has {len(good)} usable pictures, in it and the folders in it; {LEAST} are "
            "the least, and a thousand teach far more"
        )
    labels = [0] * len(paths)
    learned, checked = _split(labels, good, seed)
    notice(f"{len(good)} pictures: {len(learned)} to learn from, {len(checked)} to check by")
    digest = _digest(folder, [paths[one] for one in good])
    return Pictures(
        (), tuple(paths), tuple(labels), tuple(images), tuple(learned), tuple(checked), digest, side
    )


def _all_in(folder: Path) -> Iterator[Path]:
    """The files in `folder` and the folders in it, but for hidden ones, in order."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            path = Path(place) / name
            if name[0] != "." and path.is_file():
                yield path


def _divided(folder: Path) -> tuple[Path, Path | None]:
    """The folder of pictures to learn from, and that of those to check by, if there are two."""
    names = {one.name.lower(): one for one in folder.iterdir() if one.is_dir()}
    for learned, checks in DIVIDED:
        checked = [names[name] for name in checks if name in names]
        if learned in names and len(names) == 2 and checked:
            return names[learned], checked[0]
    return folder, None


def _listed(folder: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    """The classes of `folder`, and its pictures with the number of the class of each."""
    inner = [one for one in folder.iterdir() if not one.name.startswith(".")]
    classes = sorted(one.name for one in inner if one.is_dir())
    if not classes:
        count = sum(one.suffix.lower() in FORMATS for one in inner)
        raise UserError(
            f"{folder} holds {count} pictures and no folders: put those of each class into a folder"
            f" of its own, such as {folder.name or 'pictures'}/cats; a network learns what things "
            "are by telling labelled classes apart; --distill-from needs none"
        )
    if len(classes) == 1:
        raise UserError(
            f"{folder} has one class, {classes[0]}; a network learns by telling classes apart: add "
            "a second folder, such as one of pictures of anything else"
        )
    return classes, _listed_as(folder, classes)


def _listed_as(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """The pictures in `folder`, with the number of the class of each, one of `classes`."""
    listed = _Folders(
        folder, is_valid_file=lambda path: Path(path).name[0] != ".", allow_empty=True
    )
    unknown = [name for name in listed.classes if name not in classes]
    if unknown:
        raise UserError(f"{folder / unknown[0]} is a class that there are no pictures to learn of")
    return [(Path(path), classes.index(listed.classes[label])) for path, label in listed.samples]


def _read_all(
    paths: Sequence[Path], side: int, notice: Callable[[str], None]
) -> tuple[list[Tensor | None], list[int]]:
    """The pictures at `paths`, as far as they fit into memory, and the numbers of good ones."""
    images: list[Tensor | None] = [None] * len(paths)
    good: list[int] = []
    bad: dict[str, list[Path]] = {}
    left = free_memory() * KEPT_SHARE
    with ThreadPoolExecutor() as readers:
        found: Iterator[Tensor | str] = readers.map(_read, paths, repeat(side))
        for number, one in enumerate(found):
            if isinstance(one, str):
                bad.setdefault(one, []).append(paths[number])
                continue
            good.append(number)
            left -= one.numel()
            if left > 0:
                images[number] = one
    for reason, named in bad.items():
        more = " ..." if len(named) > NAMED else ""
        notice(
            f"{len(named)} of {len(paths)} files left out, {reason}: "
            f"{', '.join(map(str, named[:NAMED]))}{more}"
        )
    if left <= 0:
        notice("the pictures do not all fit into memory: some are read again in each epoch")
    return images, good


def _read(path: Path, side: int) -> Tensor | str:
    """The picture at `path` (3, H, W), uint8, its shorter side at most `side` pixels long; or why
    it cannot be learned from."""
    try:
        pixels = read_pixels(path)
    except UNREADABLE:
        return "which cannot be read"
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    image, alpha = image[:3], image[3:].float() / 255
    if bool((alpha < 1).any()):  # what is transparent becomes grey
        image = (image * alpha + 128 * (1 - alpha)).round().byte()
    height, width = image.shape[1:]
    longest = round(min(height, width) * OBLONG)
    image = change.center_crop(image, [min(height, longest), min(width, longest)])
    if min(height, width) > side:
        image = change.resize(image, [side], antialias=True)
    if bool((image.amax((1, 2)) == image.amin((1, 2))).all()):
        return "which are of one colour"
    return image.contiguous()


def _check_counts(folder: Path, classes: Sequence[str], counts: Counter[int]) -> None:
    few = [number for number in range(len(classes)) if counts[number] < LEAST]
    if few:
        name, count = classes[few[0]], counts[few[0]]
        more = f", and {len(few) - 1} more classes have too few" if len(few) > 1 else ""
        raise UserError(
            f"{folder} has {count} usable pictures of class {name}{more}; {LEAST} are the least, "
            "and a hundred teach far more"
        )


def _split(labels: Sequence[int], good: Sequence[int], seed: int) -> tuple[list[int], list[int]]:
    """The numbers in `good`, divided by `seed` into those to learn from and to check by, in each
    class."""
    random = torch.Generator().manual_seed(seed)
    learned, checked = [], []
    for label in sorted(set(labels)):
        of_class = [one for one in good if labels[one] == label]
        order = torch.randperm(len(of_class), generator=random).tolist()
        count = max(1, round(len(of_class) * CHECKED_BY))
        checked += [of_class[one] for one in order[:count]]
        learned += [of_class[one] for one in order[count:]]
    return sorted(learned), sorted(checked)


def _tell(
    notice: Callable[[str], None],
    classes: Sequence[str],
    labels: Sequence[int],
    learned: Sequence[int],
    checked: Sequence[int],
) -> None:
    notice(
        f"{len(learned) + len(checked)} pictures of {len(classes)} classes: {len(learned)} to "
        f"learn from, {len(checked)} to check by"
    )
    seen = {labels[one] for one in checked}
    empty = [name for number, name in enumerate(classes) if number not in seen]
    if empty:
        notice(
            f"there is no picture to check by of {', '.join(empty[:NAMED])}"
            f"{' ...' if len(empty) > NAMED else ''}: the accuracy says nothing of these"
        )


def _digest(folder: Path, paths: Sequence[Path]) -> str:
    """A digest of the names and sizes of the files at `paths`, in `folder`."""
    found = hashlib.sha256()
    for path in paths:
        name = path.relative_to(folder).as_posix().encode(errors="surrogateescape")
        found.update(b"%s\0%d\0" % (name, path.stat().st_size))
    return found.hexdigest()
