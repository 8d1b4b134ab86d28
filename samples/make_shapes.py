"""Make a set of small pictures to train on: eight kinds of shapes, a folder for each.

    python samples/make_shapes.py shapes            # 2,000 pictures of 128 pixels
    dreamreel train shapes -o shapes.safetensors

A shape's texture, colours, size, turn and place, and the ground behind it, say nothing about its
kind: only its outline does.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 128  # pixels
FINER = 4  # masks are drawn so many times larger, then averaged: outlines are smooth
Random = np.random.Generator
Points = NDArray[np.float64]
Pixels = NDArray[np.float32]


def _around(count: int, radii: tuple[float, ...]) -> Points:
    """Points at even angles around the centre, from the top on, at the `radii` in turn."""
    angles = np.arange(count) * 2 * np.pi / count - np.pi / 2
    return np.resize(radii, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 80)
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([16 * np.sin(t) ** 3, down], 1) / 16


def _crescent() -> Points:
    outer = np.linspace(0.25 * np.pi, 1.75 * np.pi, 60)
    inner = outer[::-1]
    tips = np.stack([np.cos(outer), np.sin(outer)], 1)
    hollow = np.stack([0.32 + 0.78 * np.cos(inner), 0.91 * np.sin(inner)], 1)
    return np.concatenate([tips, hollow])


def _cross() -> Points:
    a, b = 0.3, 0.95
    corner = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
    return np.array([*corner, *((-x, -y) for x, y in corner)])


# The outline of each kind in [-1, 1], x and y. A ring is a circle with a hole.
OUTLINES: dict[str, Callable[[], Points]] = {
    "circle": lambda: _around(60, (0.9,)),
    "cross": _cross,
    "crescent": _crescent,
    "heart": _heart,
    "ring": lambda: _around(60, (0.95,)),
    "square": lambda: _around(4, (1.1,)),
    "star": lambda: _around(10, (1.05, 0.44)),
    "triangle": lambda: _around(3, (1.05,)),
}


def mask_of(kind: str, random: Random) -> Pixels:
    """Where a shape of a `kind` is, at a random place, size and turn: (SIDE, SIDE, 1), 0 to 1."""
    side = SIDE * FINER
    turn = random.uniform(-0.35, 0.35)  # 20 degrees: a cross stays a cross
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    radius = side * random.uniform(0.22, 0.44)
    most = side / 2 - radius
    centre = side / 2 + random.uniform(-0.9, 0.9, 2) * most
    points = OUTLINES[kind]() @ turned.T * radius + centre
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1.0)
    if kind == "ring":
        hole = _around(60, (0.52,)) * radius + centre
        cv2.fillPoly(mask, [hole.round().astype(np.int32)], 0.0)
    return cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, None]


def surface(random: Random, shade: float) -> Pixels:
    """A texture in two colours about as light as `shade`: (SIDE, SIDE, 3), BGR, 0 to 1."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    angle, wave = random.uniform(0, np.pi), random.uniform(6, 24)
    along = (across * np.cos(angle) + down * np.sin(angle)) * 2 * np.pi / wave
    beside = (down * np.cos(angle) - across * np.sin(angle)) * 2 * np.pi / wave
    match random.integers(5):
        case 0:  # stripes
            pattern = np.sin(along)
        case 1:  # checks
            pattern = np.sign(np.sin(along) * np.sin(beside))
        case 2:  # dots
            pattern = np.where(np.cos(along) + np.cos(beside) > 0.9, 1.0, -1.0)
        case 3:  # clouds
            rough = random.normal(size=(SIDE // 8, SIDE // 8)).astype(np.float32)
            pattern = cv2.resize(rough, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        case _:  # a slope of light
            pattern = np.cos(along * wave / (2.5 * SIDE))
    one, other = (np.clip(shade + random.uniform(-0.22, 0.22, 3), 0, 1) for _ in range(2))
    share = np.clip(pattern, -1, 1)[:, :, None] * 0.5 + 0.5
    return (share * one + (1 - share) * other).astype(np.float32)


def picture(kind: str, random: Random) -> NDArray[np.uint8]:
    """A picture of a shape of this `kind`: (SIDE, SIDE, 3), BGR."""
    light, dark = random.uniform(0.65, 0.9), random.uniform(0.1, 0.4)
    shades = (light, dark) if random.random() < 0.5 else (dark, light)
    mask = mask_of(kind, random)
    mixed = mask * surface(random, shades[0]) + (1 - mask) * surface(random, shades[1])
    mixed += random.normal(0, 0.02, mixed.shape)
    return np.clip(mixed * 255 + 0.5, 0, 255).astype(np.uint8)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=250, help="pictures of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for number, kind in enumerate(OUTLINES):
        (given.folder / kind).mkdir(parents=True, exist_ok=True)
        for one in range(given.each):
            random = np.random.default_rng((given.seed, number, one))
            cv2.imwrite(str(given.folder / kind / f"{one:04}.png"), picture(kind, random))


if __name__ == "__main__":
    main()
