"""Where a zoom leads: its motions, the margin they need, and what it arrives at."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from dreamreel.pipeline.camera import Camera
from dreamreel.pipeline.settings import OverTime
from dreamreel.pipeline.spectrum import TINY

UNSEEN_FRAMES = 24  # for which what comes into view has grown, unseen, around the frame
SMALLEST_MARGIN, LARGEST_MARGIN = 8, 0.25  # of what is around it: pixels, and a share of its height
UNSEEN_SCALE = 1e-4  # of a frame, below which nothing of what is arrived at can be seen
LARGEST_LOG = 700.0  # of a growth: what a float holds


@dataclass(frozen=True)
class Journey:
    """How many `frames` a zoom has, how many a second, and where it leads: back to its first frame
    in a `loop`, or to the picture `goal` (1, 3, H, W), at which it arrives with its last frame;
    else nowhere. It may be that it only moves, and nothing `dreams`. Of one that goes on with
    another, `begins` is the number of its own first frame."""

    frames: int
    rate: Fraction
    loop: bool = False
    goal: Tensor | None = None
    dreams: bool = True
    begins: int = 0

    @property
    def length(self) -> int:
        """How many motions there are until it arrives: of a loop, the last leads to its first."""
        return self.frames if self.loop else self.frames - 1


def motions(over_time: OverTime, journey: Journey, size: tuple[int, int]) -> list[Tensor]:
    """What each frame but the first sees of the one before: homographies, as `Camera.during`."""
    seconds, aspect = float(1 / journey.rate), size[1] / size[0]
    cameras = (Camera.from_settings(over_time(n).camera) for n in range(journey.length + 1))

    @lru_cache(maxsize=4)
    def between(one: Camera, next_one: Camera) -> Tensor:
        # From one frame to the next the camera is as fast as midway between.
        return one.during(seconds / 2, aspect) @ next_one.during(seconds / 2, aspect)

    return [between(one, next_one) for one, next_one in itertools.pairwise(cameras)]


def growth(moves: list[Tensor]) -> float:
    """How many times the picture grows by all `moves`."""
    logs = math.fsum(math.log(float(torch.linalg.det(move))) for move in moves) / -2
    return math.exp(min(max(logs, -LARGEST_LOG), LARGEST_LOG))


def homeward(moves: list[Tensor]) -> list[Tensor | None]:
    """From the coordinates of each frame to those of where the last of `moves` leads; None while
    that is too far away to be seen."""
    total = torch.eye(3, dtype=torch.float64)
    found: list[Tensor | None] = [total]
    for move in reversed(moves):
        total = move @ total
        found.append(torch.linalg.inv(total))
        if scale_of(total) > 1 / UNSEEN_SCALE:
            break
    return [None] * (len(moves) + 1 - len(found)) + found[::-1]


def scale_of(back: Tensor | None) -> float:
    """How large, in frames, that is whose coordinates the homography `back` leads to."""
    return 0.0 if back is None else float(torch.linalg.det(back)) ** -0.5


def nearness(scale: float, first: float, last: float) -> float:
    """From 0, at the scale `first` or below, to 1, at `last` or above, as steadily as a zoom."""
    share = math.log(max(scale, TINY) / first) / math.log(last / first)
    return min(max(share, 0.0), 1.0)


def margin_for(moves: list[Tensor], size: tuple[int, int]) -> int:
    """How many pixels around a frame of `size` (height, width) are dreamed unseen: as many as the
    edge moves in some of `moves` where the camera looks past it; none where it never does."""
    aspect, side = size[1] / size[0], torch.linspace(-0.5, 0.5, 33, dtype=torch.float64)
    end = torch.full_like(side, 0.5)
    pairs = ((side, end), (side, -end), (end, side), (-end, side))
    edge = torch.cat([torch.stack([x * aspect, y, torch.ones_like(x)]) for x, y in pairs], 1)
    farthest = 0.0
    for together in range(0, len(moves), UNSEEN_FRAMES):
        window = moves[together : together + UNSEEN_FRAMES]
        window += window[-1:] * (UNSEEN_FRAMES - len(window))  # as if it went on
        total = torch.linalg.multi_dot(window)
        x, y, depth = total @ edge
        beyond = torch.maximum((x / depth).abs() - aspect / 2, (y / depth).abs() - 0.5)
        farthest = max(farthest, float(beyond.max()))
    pixels = min(farthest, LARGEST_MARGIN) * size[0]
    return 0 if pixels < 0.01 else 2 * math.ceil(max(pixels, SMALLEST_MARGIN) / 2)
