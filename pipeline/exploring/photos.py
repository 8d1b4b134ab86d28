"""The places of photos that excite channels, neurons and classes most."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreamreel.pipeline.errors import UserError, missing, usable
from dreamreel.pipeline.exploring.sheets import PAPER
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.media.clips import kind_of
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.layers import Field
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_frame

LONGEST_SIDE = 480  # pixels of a photo as it is seen: things are then as large as networks learned
MOST_PHOTOS = 2000  # of a folder: at a fifth of a second each, minutes; a round number
GAP = 4  # pixels between parts of a cell

# Turns a layer's activation (1, C, h, w) into the maps (K, h, w) of what is asked for.
Maps = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """A place of a photo: its `photo`, the `box` (left, top, right, bottom) in pixels of the photo
    as it is seen, how strongly it excites, and what it shows."""

    photo: Path
    box: tuple[int, int, int, int]
    value: float
    shown: Image.Image


def photos_in(folder: Path) -> list[Path]:
    """The pictures in `folder`, by name; or the one picture that it is. Raises UserError if there
    are none, or too many."""
    with usable(folder):
        if not os.path.lexists(folder):
            raise missing(folder, "folder")
        files = [folder] if folder.is_file() else sorted(one for one in folder.iterdir())
        found = [one for one in files if one.is_file() and kind_of(one) == "picture"]
    if not found:
        raise UserError(f"{folder} holds no pictures; --photos takes a folder of photos")
    if len(found) > MOST_PHOTOS:
        raise UserError(f"{folder} holds {len(found)} pictures, more than {MOST_PHOTOS}")
    return found


def exciting_places(
    photos: Sequence[Path], network: Network, layer: str, maps: Maps, count: int
) -> list[list[Place]]:
    """For each of the maps that are asked for, the `count` places of `photos` that excite it most,
    the strongest first. As many photos as can be are among them. Raises UserError if one cannot be
    read."""
    each = math.ceil(count / len(photos))
    found: list[list[Place]] = []
    for photo in photos:
        image = _seen(photo, network.device)
        if not network.runs_at((image.shape[2], image.shape[3]), [layer]):
            continue
        with torch.no_grad():
            asked = maps(network.activations(image, [layer])[layer]).float().cpu().numpy()
        found = found or [[] for _ in asked]
        field = network.layers[layer].field
        pixels = Image.fromarray(to_frame(image)[..., ::-1].copy())
        for places, values in zip(found, asked, strict=True):
            for value, row, column in _maxima(values, field, each):
                box = _box(field, row, column, pixels.size)
                places.append(Place(photo, box, value, pixels.crop(box)))
    if not found:
        raise UserError(f"the photos are too small for {layer} of {network.name}")
    return [sorted(places, key=lambda one: -one.value)[:count] for places in found]


def mean_activations(photos: Sequence[Path], network: Network, layer: str) -> Tensor:
    """The mean activation (C,) of each channel of `layer` over all places of `photos`. Raises
    UserError if one cannot be read."""
    total = torch.zeros(network.layers[layer].channels)
    for photo in photos:
        image = _seen(photo, network.device)
        if network.runs_at((image.shape[2], image.shape[3]), [layer]):
            with torch.no_grad():
                activation = network.activations(image, [layer])[layer].float()
            means = activation.flatten(2).mean(2) if activation.ndim == 4 else activation
            total += means[0].cpu()
    return total / len(photos)


def beside(picture: Image.Image, places: Sequence[Place]) -> Image.Image:
    """`picture` with what `places` show at its right, in two rows."""
    side = picture.height
    small = (side - GAP) // 2
    across = math.ceil(len(places) / 2)
    whole = Image.new("RGB", (picture.width + across * (small + GAP), side), PAPER)
    whole.paste(picture)
    for number, place in enumerate(places):
        row, column = divmod(number, across)
        factor = small / max(place.shown.size)
        width, height = place.shown.size
        size = max(1, round(width * factor)), max(1, round(height * factor))
        shown = place.shown.resize(size, Image.Resampling.BICUBIC)
        left = picture.width + GAP + column * (small + GAP) + (small - shown.width) // 2
        top = row * (small + GAP) + (small - shown.height) // 2
        whole.paste(shown, (left, top))
    return whole


def _seen(photo: Path, device: torch.device) -> Tensor:
    """The image (1, 3, H, W) of `photo`, no longer than `LONGEST_SIDE`."""
    image = load_picture(photo, device).image
    height, width = image.shape[2:]
    scale = LONGEST_SIDE / max(height, width)
    return image if scale >= 1 else resize(image, fitted_size(height, width, round(width * scale)))


def _maxima(values: np.ndarray, field: Field, count: int) -> Iterator[tuple[float, int, int]]:
    """The `count` largest of `values` (h, w) that are half a receptive field apart, each with its
    row and column."""
    left = values.astype(np.float32).copy()
    apart = 1 if field.receptive is None else max(1, field.receptive // (2 * field.stride))
    for _ in range(count):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        if not np.isfinite(left[row, column]):
            return
        yield float(left[row, column]), int(row), int(column)
        rows = slice(max(0, int(row) - apart), int(row) + apart + 1)
        left[rows, max(0, int(column) - apart) : int(column) + apart + 1] = -np.inf


def _box(field: Field, row: int, column: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What a place of a layer sees of a picture of `size` (width, height), moved into it; all of it
    for a layer without places."""
    width, height = size
    if field.receptive is None:
        return 0, 0, width, height
    across, down = min(field.receptive, width), min(field.receptive, height)
    left = min(max(field.first + column * field.stride, 0), width - across)
    top = min(max(field.first + row * field.stride, 0), height - down)
    return left, top, left + across, top + down
