"""The journey of a zoom: its motions, the margin that they need, and the way to its goal."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.zooming.camera import Velocity

UNSEEN_FRAMES = 24  # frames for which picture has grown, unseen, before it comes into view
SMALLEST_MARGIN = 8  # pixels of a margin, where there is one
LARGEST_MARGIN = 0.25  # of a frame's height
UNSEEN_SCALE = 1e-4  # size, in frames, below which nothing of a goal can be seen
LARGEST_LOG = 700.0  # logarithm of a growth: a float holds no more
TINY = 1e-9  # keeps logarithms finite


@dataclass(frozen=True)
class Journey:
    """A zoom of so many `frames` at the `rate`, and its goal, if it has one: the image `goal`
    (1, 3, H, W), shown in the last frame, or the first frame of a `loop`.

    Nothing is dreamed if it is `motion_only`. A zoom that continues another one `begins` with the
    frame of that number.
    """

    frames: int
    rate: Fraction
    loop: bool = False
    goal: Tensor | None = None
    motion_only: bool = False
    begins: int = 0

    @property
    def length(self) -> int:
        """The number of motions. A loop has one more, from its last frame to its first."""
        return self.frames if self.loop else self.frames - 1


def motions(over_time: OverTime, journey: Journey, size: tuple[int, int]) -> list[Tensor]:
    """The motion from each frame to the next, as homographies from `Velocity.during`. `size` is
    (height, width)."""
    seconds, aspect = float(1 / journey.rate), size[1] / size[0]
    velocities = (Velocity.of(over_time(n).camera) for n in range(journey.length + 1))

    @lru_cache(maxsize=4)
    def between(one: Velocity, next_one: Velocity) -> Tensor:
        # Half the time at each frame's velocity: on average, that midway between them.
        return one.during(seconds / 2, aspect) @ next_one.during(seconds / 2, aspect)

    return [between(one, next_one) for one, next_one in itertools.pairwise(velocities)]


def growth(moves: list[Tensor]) -> float:
    """How many times the picture grows through all of `moves`."""
    logs = math.fsum(math.log(float(torch.linalg.det(move))) for move in moves) / -2
    return math.exp(min(max(logs, -LARGEST_LOG), LARGEST_LOG))


def homeward(moves: list[Tensor]) -> list[Tensor | None]:
    """For each frame, the homography from its coordinates to those of the goal, where the last of
    `moves` leads; None while the goal is too small to be seen."""
    total = torch.eye(3, dtype=torch.float64)
    found: list[Tensor | None] = [total]
    for move in reversed(moves):
        total = move @ total
        found.append(torch.linalg.inv(total))
        if apparent_scale(total) > 1 / UNSEEN_SCALE:
            break
    return [None] * (len(moves) + 1 - len(found)) + found[::-1]


def apparent_scale(back: Tensor | None) -> float:
    """The scale at which a frame shows the goal: 1 where it fills the frame, 0 for None. `back` is
    the homography from the frame's coordinates to the goal's."""
    return 0.0 if back is None else float(torch.linalg.det(back)) ** -0.5


def nearness(scale: float, first: float, last: float) -> float:
    """0 up to the scale `first`, 1 from the scale `last` on, and linear in the logarithm of `scale`
    between: it grows evenly in a steady zoom."""
    share = math.log(max(scale, TINY) / first) / math.log(last / first)
    return min(max(share, 0.0), 1.0)


def margin_for(moves: list[Tensor], size: tuple[int, int]) -> int:
    """The width, in pixels, of the margin around a frame of `size` (height, width): as far as the
    camera looks past an edge in `UNSEEN_FRAMES` of `moves`; 0 where it never does."""
    aspect, side = size[1] / size[0], torch.linspace(-0.5, 0.5, 33, dtype=torch.float64)
    end = torch.full_like(side, 0.5)
    pairs = ((side, end), (side, -end), (end, side), (-end, side))
    edge = torch.cat([torch.stack([x * aspect, y, torch.ones_like(x)]) for x, y in pairs], 1)
    farthest = 0.0
    for together in range(0, len(moves), UNSEEN_FRAMES):
        window = moves[together : together + UNSEEN_FRAMES]
        window += window[-1:] * (UNSEEN_FRAMES - len(window))  # as if the last motion went on
        total = torch.linalg.multi_dot(window)
        x, y, depth = total @ edge
        beyond = torch.maximum((x / depth).abs() - aspect / 2, (y / depth).abs() - 0.5)
        farthest = max(farthest, float(beyond.max()))
    pixels = min(farthest, LARGEST_MARGIN) * size[0]
    return 0 if pixels < 0.01 else 2 * math.ceil(max(pixels, SMALLEST_MARGIN) / 2)
