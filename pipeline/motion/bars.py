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
# A bar that has none across from it. In H.264 at CRF 18, 31 of 36 beside photos are found, all but
# some beside a very dark one. Of 72 dark sides of photos whose edge is soft, curved, uneven by half
# a line or aslant by 0.1 degrees or more, 1 is taken for a bar.
ALONE = 0.26  # of a side: its most; the bar beside a 4:3 picture in 16:9 has 0.25
BLACKS = {0: 2, 16: 4}  # levels that black has, in full and in limited range: so far off at most
BRIGHT = 25  # levels, from black: the darkest picture beside it
BLOCK = 8  # lines of it, or pixels, to which the noise of a codec reaches from what is beside
LEAKS = 0.05  # of a line's pixels there: the most that are not the bar's colour
SLANT = 0.15  # lines: the most by which its edge lies elsewhere in one eighth than in another
UNEVEN, ROUGH = 0.25, 0.1  # lines by which its edge is elsewhere, in the most of the pixels
ACROSS = 4  # lines by which the bar across from one may be deeper
JITTER = 1  # lines by which an edge may be found elsewhere in another frame

LEFT, TOP, RIGHT, BOTTOM = range(4)
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
    two edges can be seen. One alone is a bar only if it is narrow, flat, of a level that black has
    in a film, and its edge sharp and exactly straight, as no camera sees a sea or a table. A dark
    scene has no straight edges.
    """
    colours = to_8_bits(frame[..., :3])
    borders = colours[:, 0], colours[0], colours[:, -1], colours[-1]
    own = [_colour_of(line) for line in borders]
    for colour in (one for one in own if one is not None):
        alike = [one is not None and bool(np.abs(one - colour).max() <= NOISE) for one in own]
        bars = _bars_of_colour(colours, colour, alike)
        if bars is not None:
            return bars
    return None


def _bars_of_colour(
    colours: NDArray[np.uint8], colour: NDArray[np.float64], borders: list[bool]
) -> list[_Bar] | None:
    """The bars of that `colour` (3,) at the left, top, right and bottom of a frame's `colours`
    (H, W, 3), whose `borders` have it or not; None where there are none."""
    away = _away(colours, colour)
    box = _inside(away > RINGING, borders)
    if box is None:
        return None
    across, down = away[:, box.columns], away[box.rows].T
    wide = _pair(down, (box.left, away.shape[1] - box.right))
    high = _pair(across, (box.top, away.shape[0] - box.bottom))
    if wide is None or high is None:
        return None
    bars = [wide[0], high[0], wide[1], high[1]]
    for side in (LEFT, TOP, RIGHT, BOTTOM):
        if bars[side].depth and not bars[(side + 2) % 4].depth:
            depth = _depth_alone(colours, colour, box, side, bars[side].depth)
            if depth == 0:
                return None
            bars[side] = _Bar(depth)
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


def _pair(away: Away, depths: tuple[int, int]) -> tuple[_Bar, _Bar] | None:
    """The bars at the first and at the last lines of `away`, which are about `depths` deep; None
    where they are none after all. One that has none across is only seen to be deep enough."""
    sides = away, away[::-1]
    found = [_edge(side, depth) for side, depth in zip(sides, depths, strict=True)]
    if 0 in found:
        return _Bar(found[0]), _Bar(found[1])
    edges = [
        _edge_share(side, depth) if _is_clean(side, depth) else 0.0
        for side, depth in zip(sides, found, strict=True)
    ]
    bars = [_Bar(depth) for depth in found]
    at = int(np.argmax(edges))
    if min(edges) < STRAIGHT:
        deep = min(found[1 - at], found[at] + ACROSS)
        if edges[at] < SURE or deep < found[at] or not _is_clean(sides[1 - at], found[at]):
            return None
        bars[1 - at] = _Bar(_flat_lines(sides[1 - at], found[at], deep), seen=False)
    return bars[0], bars[1]


def _depth_alone(
    colours: NDArray[np.uint8], colour: NDArray[np.float64], box: Box, side: int, depth: int
) -> int:
    """How deep the bar of that `colour` at a `side` of the picture in `box` is, which is about
    `depth` deep and has none across; 0 where it is none."""
    if all(np.abs(colour - black).max() > off for black, off in BLACKS.items()):
        return 0
    # Brightness alone, since most films have half the lines of colour.
    light = cv2.absdiff(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), float(colour.mean()))
    lines = light[:, box.columns] if side in (TOP, BOTTOM) else light[box.rows].T
    lines = lines[::-1] if side in (RIGHT, BOTTOM) else lines
    depth = _first_of_picture(lines, depth)
    straight = _edge_share(lines, depth) >= STRAIGHT and lines[depth : depth + 2].mean() >= BRIGHT
    stands = (
        AT_LEAST <= depth <= ALONE * len(lines)
        and straight
        and _is_flat(lines[:depth], words=side == BOTTOM)
        and _is_sharp(lines, depth)
    )
    return depth if stands else 0


def _first_of_picture(lines: Away, depth: int) -> int:
    """The first line, near the line `depth`, that has the brightness of those after it."""
    means = lines[: depth + BLOCK].mean(1)
    for line in range(max(0, depth - BLOCK), min(depth + ACROSS, len(means))):
        if means[line] >= max(PARTIAL * means[line : line + ACROSS].max(), RINGING):
            return line
    return depth


def _is_flat(bar: Away, words: bool) -> bool:
    """Whether a `bar` is of one colour, but for `words` in it, if they may be, and for the noise of
    a codec around them and beside the picture."""
    depth = len(bar)
    beside = BLOCK if depth > 2 * BLOCK else RINGING_LINES
    outer = bar[: max(1, depth - beside)]
    other = np.zeros(outer.shape, np.uint8)
    if words and _is_clean(bar, depth):
        around = np.ones((2 * BLOCK + 1, 2 * BLOCK + 1), np.uint8)
        other = cv2.dilate(np.uint8(outer > RINGING), around)
    calm = outer[other == 0]
    leaks = (bar[depth - beside : depth - 1] > RINGING).mean(1)
    return bool(calm.size and (calm > NOISE).mean() <= SPECKS and leaks.max(initial=0) <= LEAKS)


def _is_sharp(lines: Away, depth: int) -> bool:
    """Whether the edge of a bar, the first `depth` of the `lines`, is at the same place, to a part
    of a line, in all the pixels along it that the picture lights."""
    picture = lines[depth : depth + ACROSS].max(0).astype(np.float32)
    lit = np.flatnonzero(picture >= BRIGHT)
    before = lines[max(0, depth - 2) : depth].astype(np.float32) / np.maximum(picture, 1)
    place = before.clip(0, 1).sum(0)  # by how many lines the picture reaches into the bar
    eighths = np.array_split(np.arange(lines.shape[1]), 8)
    places = [np.median(place[np.intersect1d(part, lit)]) for part in eighths
              if np.intersect1d(part, lit).size > ACROSS]  # fmt: skip
    if len(places) < 2:
        return False
    uneven = np.abs(place[lit] - np.median(place[lit])) > UNEVEN
    return bool(np.ptp(places) <= SLANT and uneven.mean() <= ROUGH)


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
