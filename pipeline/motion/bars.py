"""Bars: flat borders beside a picture, as of a letterbox, that are no part of it."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.config.values import Bars
from dreamreel.pipeline.frames import Box, Frame, to_8_bits

# Levels of 255 by which a codec changes a bar, and by which it changes the lines beside an edge.
NOISE, RINGING = 3, 10
SPECKS = 0.02  # of a border line's pixels: the most that may have another colour than the bar
RINGING_LINES = 2  # lines of a bar, beside the picture, whose noise does not count
AT_LEAST = 2  # lines: a thinner bar is not worth the risk
AT_MOST = 0.8  # of a side: all the bars along it
# Shares of a line's pixels, of those beside the picture, that are not the bar's colour. Words may
# stand in a bar, but not at its edge; a straight edge has picture all along it.
WORDS, CLEAN, STRAIGHT, SURE = 0.4, 0.1, 0.7, 0.9
PARTIAL = 0.5  # of the next line's difference from the bar: a line with less is none of the picture
ALONE = 0.25  # of a side: the most of a bar that has no other across from it
BLACK = 24  # levels: the brightest black
BRIGHT = 30  # levels, from black: the darkest picture beside a bar that has none across
ACROSS = 4  # lines by which the bar across from one may be deeper
JITTER = 1  # lines by which an edge may be found elsewhere in another frame

Away = NDArray[np.uint8]  # (lines, pixels in a line): how far each pixel is from the bars' colour


@dataclass(frozen=True)
class _Bar:
    """The bar at one side: its depth in lines, and whether its edge was seen."""

    depth: int
    seen: bool = True


def picture_of(frame: Frame, bars: Bars, before: Box | None = None) -> Box:
    """The picture inside the bars of `frame` (H, W, 3 or 4).

    `bars`: how they are found, or where they are. `before`: the picture inside the frame before, of
    the same shot, which holds as long as nothing else is clear.
    """
    whole = Box.whole(frame)
    if bars == "keep":
        return whole
    if bars != "auto":
        left, top, right, bottom = bars
        return Box(left, top, whole.right - right, whole.bottom - bottom)
    found = _bars_of(frame)
    if before is None:
        return whole if found is None else _within(whole, found)
    if found is None:
        return _opened(frame, before)
    was = before.around(frame)
    return _within(whole, [_likelier(one, depth) for one, depth in zip(found, was, strict=True)])


def _within(whole: Box, bars: list[_Bar]) -> Box:
    left, top, right, bottom = (one.depth for one in bars)
    return Box(left, top, whole.right - right, whole.bottom - bottom)


def _likelier(found: _Bar, before: int) -> _Bar:
    """The bar that was `found`, or that of the frame `before` where the difference may be noise."""
    noise = JITTER if found.seen else ACROSS
    return _Bar(before) if abs(found.depth - before) <= noise else found


def _bars_of(frame: Frame) -> list[_Bar] | None:
    """The bars at the left, top, right and bottom of one `frame`; None where none are clear.

    Bars come in pairs of one colour, with straight edges; a picture may be so dark that only one of
    two edges can be seen. One alone is a bar only if it is quite flat, black and narrow. A dark
    scene has no straight edges.
    """
    colours = to_8_bits(frame[..., :3])
    borders = colours[:, 0], colours[0], colours[:, -1], colours[-1]
    own = [_colour_of(line) for line in borders]
    for colour in (one for one in own if one is not None):
        alike = [one is not None and bool(np.abs(one - colour).max() <= NOISE) for one in own]
        bars = _bars_of_colour(_away(colours, colour), alike, bool(colour.max() <= BLACK))
        if bars is not None:
            return bars
    return None


def _bars_of_colour(away: Away, borders: list[bool], black: bool) -> list[_Bar] | None:
    """The bars at the left, top, right and bottom of a frame, where pixels are so far `away` from
    their colour, which the `borders` have or not; None where there are none."""
    box = _inside(away > RINGING, borders)
    if box is None:
        return None
    across, down = away[:, box.columns], away[box.rows].T
    wide = _pair(down, (box.left, away.shape[1] - box.right), black)
    high = _pair(across, (box.top, away.shape[0] - box.bottom), black)
    if wide is None or high is None:
        return None
    bars = [wide[0], high[0], wide[1], high[1]]
    return bars if any(one.depth for one in bars) else None


def _colour_of(line: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The colour (3,) of a border line (L, 3); None if it has several, beyond a codec's noise."""
    colour = np.asarray(np.median(line, axis=0))
    away = np.abs(line - colour).max(1)
    is_flat = (away > RINGING).mean() <= SPECKS and away.mean() <= NOISE
    return colour if is_flat else None


def _inside(picture: NDArray[np.bool_], flat: list[bool]) -> Box | None:
    """The box that holds most of `picture` (H, W), the pixels of another colour than the bars, and
    touches each border that is not `flat` (left, top, right, bottom)."""
    height, width = picture.shape
    left, top, right, bottom = 0, 0, width, height
    for _ in range(2):  # the rows within the columns, and then again
        top, bottom = _range(picture[:, left:right].mean(1), flat[1], flat[3])
        if bottom - top < (1 - AT_MOST) * height:
            return None
        left, right = _range(picture[top:bottom].mean(0), flat[0], flat[2])
        if right - left < (1 - AT_MOST) * width:
            return None
    return Box(left, top, right, bottom)


def _range(shares: NDArray[np.float64], first: bool, last: bool) -> tuple[int, int]:
    """Where a picture begins and ends, by the share of it in each line. It reaches the first, or
    the last, line unless there may be a bar."""
    full = np.flatnonzero(shares >= max(np.quantile(shares, 0.9) / 2, 1e-9))
    if not len(full):
        return 0, 0
    begin, end = int(full[0]) if first else 0, int(full[-1]) + 1 if last else len(shares)
    return begin, end


def _pair(away: Away, depths: tuple[int, int], black: bool) -> tuple[_Bar, _Bar] | None:
    """The bars at the first and at the last lines of `away`, which are about `depths` deep; None
    where they are none after all."""
    sides = away, away[::-1]
    found = [_edge(side, depth) for side, depth in zip(sides, depths, strict=True)]
    if found == [0, 0]:
        return _Bar(0), _Bar(0)
    edges = [
        _edge_share(side, depth) if _is_clean(side, depth) else 0.0
        for side, depth in zip(sides, found, strict=True)
    ]
    bars = [_Bar(depth) for depth in found]
    if 0 in found:
        at = 1 - found.index(0)
        return (bars[0], bars[1]) if black and _stands_alone(sides[at], found[at]) else None
    at = int(np.argmax(edges))
    if min(edges) < STRAIGHT:
        deep = min(found[1 - at], found[at] + ACROSS)
        if edges[at] < SURE or deep < found[at] or not _is_clean(sides[1 - at], found[at]):
            return None
        bars[1 - at] = _Bar(_flat_lines(sides[1 - at], found[at], deep), seen=False)
    return bars[0], bars[1]


def _stands_alone(away: Away, depth: int) -> bool:
    """Whether the first `depth` lines are a bar though there is none across from it."""
    outer = away[: max(1, depth - RINGING_LINES)]
    straight = _edge_share(away, depth) >= SURE and away[depth : depth + 2].mean() >= BRIGHT
    narrow, flat = depth <= ALONE * len(away), outer.max() <= NOISE
    return bool(straight and narrow and flat)


def _edge(away: Away, depth: int) -> int:
    """`depth`, or a line more where the last lines of colour are only half the picture's; 0 where
    the bar is too thin."""
    for _ in range(RINGING_LINES):
        here, next_ = (float(away[line].mean()) for line in (depth, min(depth + 1, len(away) - 1)))
        if depth == 0 or here >= PARTIAL * next_:
            break
        depth += 1
    return depth if depth >= AT_LEAST else 0


def _edge_share(away: Away, depth: int) -> float:
    """The share of picture in the two lines past a bar; 1 where there is no bar."""
    return float((away[depth : depth + 2] > RINGING).mean()) if depth else 1.0


def _is_clean(away: Away, depth: int) -> bool:
    """Whether there is nothing but some words in the first `depth` lines."""
    if depth == 0:
        return True
    outer = away[: max(1, depth - RINGING_LINES)]
    lines = (outer > RINGING).mean(1)
    near = lines[-RINGING_LINES - 1 :]
    if max(near.mean(), lines[0]) > CLEAN or lines.max() > WORDS:
        return False
    calm = outer[outer <= RINGING]
    return bool(calm.size and calm.mean() <= NOISE)


def _flat_lines(away: Away, first: int, last: int) -> int:
    """How many lines are a bar: `first`, and those after them that are flat, up to `last`."""
    depth = first
    while depth < last and away[depth].max() <= NOISE:
        depth += 1
    return depth


def _opened(frame: Frame, box: Box) -> Box:
    """`box` without the bars of `frame` in which there is picture now."""
    colours = to_8_bits(frame[..., :3])
    height, width = frame.shape[:2]
    if box.left and _has_picture(colours[box.rows, : box.left]):
        box = replace(box, left=0)
    if box.top and _has_picture(colours[: box.top, box.columns]):
        box = replace(box, top=0)
    if box.right < width and _has_picture(colours[box.rows, box.right :]):
        box = replace(box, right=width)
    if box.bottom < height and _has_picture(colours[box.bottom :, box.columns]):
        box = replace(box, bottom=height)
    return box


def _has_picture(bar: NDArray[np.uint8]) -> bool:
    """Whether a bar (h, w, 3) is no longer of one colour."""
    return bool((_away(bar, np.median(bar, axis=(0, 1))) > RINGING).mean() > WORDS)


def _away(colours: NDArray[np.uint8], colour: NDArray[Any]) -> Away:
    """How far each pixel (H, W, 3) is from `colour`, (3,), in its most different channel."""
    far = cv2.absdiff(np.ascontiguousarray(colours), np.array([*colour, 0], np.float64))
    blue, green, red = cv2.split(far)
    return np.asarray(cv2.max(cv2.max(blue, green), red))
