"""Uncovered places: the larger ones are dreamed at once, each in a patch of its own."""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.detail import Carried, clipped
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.tensors import blur

LOOKED_AT_SIDE = 120  # pixels of the shorter side at which uncovered places are looked for
PATCH_AT_LEAST, PATCHES_AT_MOST = 0.017, 0.25  # shares of a frame
PATCH_MORE = 1.5  # times a still's step
PATCH_ROUNDS = 3  # at most, each of half a still's steps
PATCH_UP_TO = 0.5  # share of the strength at which a patch is left to the frames after it
STEPS = 16  # into which a frame's sides are divided: patches have few sizes
ROUND_SHIFT = 40  # bits: rounds take numbers that no frame has, so that each has its own jitter


def fill_in(
    subject: Subject, arrived: Carried, uncovered: NDArray[np.bool_], strength: float
) -> Carried:
    """`arrived` with its larger `uncovered` places dreamed until they have half of `strength`.

    `uncovered` (h, w), of any size, marks the places that come from behind something. Their dream
    is added to `arrived.detail`, and their `level` becomes 1.
    """
    source = subject.source
    layers = [term.layer for term in subject.terms]
    size, side = (source.shape[2], source.shape[3]), subject.network.smallest_side(layers)
    boxes = patches(uncovered, size, side)
    if not boxes:
        return arrived
    still = subject.still
    bare = subject.inside(blur((arrived.level < 0.5).float(), 1.0))
    detail, level = arrived.detail.clone(), arrived.level.clone()
    for part in boxes:
        here, where = subject.within(part), bare[part]
        if not where.any():
            continue
        before = here.source
        ascent = Ascent(math.ceil(still.steps / 2), PATCH_MORE * still.size * where, where)
        dreamed, unseen = clipped(before + detail[part])
        for number in range(PATCH_ROUNDS):
            round_ = replace(here, number=subject.number + (number << ROUND_SHIFT))
            dreamed = round_.dreamed(dreamed, ascent)
            was, now = here.responses(torch.cat([before, dreamed]), where)
            if abs(now - was) >= PATCH_UP_TO * abs(strength - 1) * was:
                break
        detail[part] = dreamed - before + unseen
        level[part] = torch.maximum(level[part], where)
    return Carried(detail, arrived.direction, level)


def patches(
    uncovered: NDArray[np.bool_], size: tuple[int, int], side: int
) -> list[tuple[Any, slice, slice]]:
    """The boxes (..., rows, columns) around the larger `uncovered` places (h, w), in an image of
    `size` (height, width), each with sides of at least `side`. None at all where they would cover
    more than `PATCHES_AT_MOST` of it: then a box each would cost more than it gains."""
    scale = LOOKED_AT_SIDE / min(size)
    small = (round(size[1] * scale), round(size[0] * scale))
    found = cv2.resize(uncovered.astype(np.float32), small, interpolation=cv2.INTER_AREA) > 0.5
    solid = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, places, _ = cv2.connectedComponentsWithStats(solid)
    large = [place for place in places[1:].tolist() if place[4] > PATCH_AT_LEAST * solid.size]
    boxes = [
        (
            ...,
            _span(y / scale, h / scale, side, size[0]),
            _span(x / scale, w / scale, side, size[1]),
        )
        for x, y, w, h, _ in large
    ]
    covered = sum((r.stop - r.start) * (c.stop - c.start) for _, r, c in boxes)
    return boxes if covered <= PATCHES_AT_MOST * size[0] * size[1] else []


def _span(begin: float, length: float, side: int, whole: int) -> slice:
    """The slice from `begin` of `length`, with at least half of `side` more at either end, within 0
    and `whole`. Its length is a multiple of a `STEPS`th of `whole`, if there is room: a GPU repeats
    sizes faster than it learns new ones."""
    step = max(1, whole // STEPS)
    wanted = min(whole, math.ceil((length + side) / step) * step)
    start = min(max(0, round(begin + (length - wanted) / 2)), whole - wanted)
    return slice(start, start + wanted)
