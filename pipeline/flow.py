"""Motion between frames: estimate it, warp along it, and see where it can be trusted.

Flow goes from the current frame to the previous one: (dx, dy) in pixels, so that
`warp(previous, flow)` pulls the previous frame onto the current grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.images import Frame, sample

FlowArray = NDArray[np.float32]  # (H, W, 2)
Grey = NDArray[np.uint8]  # (H, W)
# Flow from the first grey frame to the second, in pixels of theirs.
FlowEstimator = Callable[[Grey, Grey], FlowArray]


@dataclass(frozen=True)
class Motion:
    """How the previous frame became this one, at the working size: flow (H, W, 2) in its pixels,
    from this frame to the previous one, and where that can be trusted: visible (H, W), 0 to 1."""

    flow: FlowArray
    visible: NDArray[np.float32]

    @property
    def hidden(self) -> float:
        """Share of the frame that the previous one did not show."""
        return 1 - float(self.visible.mean())


def dis() -> FlowEstimator:
    """Dense inverse search (Kroeger et al., ECCV 2016): quick, needs no weights, repeatable."""
    # Flow runs beside the dream, whose threads take every core: more threads here only fight them.
    cv2.setNumThreads(1)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(here: Grey, there: Grey) -> FlowArray:
        return estimator.calc(here, there, None)

    return estimate


FLOW_ESTIMATORS: dict[str, Callable[[], FlowEstimator]] = {"dis": dis}


def working_frame(frame: Frame, height: int) -> Frame:
    """`frame` shrunk to `height`, at which flow is estimated whatever the video's size.

    The constants of the visibility test are in pixels: they hold at one size only.
    """
    if frame.shape[0] <= height:
        return frame
    width = max(16, round(frame.shape[1] * height / frame.shape[0]))
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


def motion_between(previous: Grey, current: Grey, estimate: FlowEstimator) -> Motion:
    """The motion from `previous` to `current`, two grey frames of one size."""
    back = estimate(current, previous)
    forth = estimate(previous, current)
    return Motion(back, visible(back, forth))


def visible(back: FlowArray, forth: FlowArray) -> NDArray[np.float32]:
    """Where what `back` points at was seen before: (H, W), 1 or 0, with soft edges between.

    1 where there-and-back returns home and no motion boundary lies (Sundaram et al., ECCV 2010,
    with the constants of Ruder et al., 2016), inside the frame; a pixel less all round.
    """
    height, width = back.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    to_x, to_y = x + back[..., 0], y + back[..., 1]
    returned = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = _squared(returned + back)
    occluded = missed > 0.01 * (_squared(returned) + _squared(back)) + 0.5
    across = _squared(cv2.Sobel(back, cv2.CV_32F, 1, 0, scale=1 / 8))
    down = _squared(cv2.Sobel(back, cv2.CV_32F, 0, 1, scale=1 / 8))
    boundary = across + down > 0.01 * _squared(back) + 0.002
    outside = (to_x < 0) | (to_x > width - 1) | (to_y < 0) | (to_y > height - 1)
    seen = (~(occluded | boundary | outside)).astype(np.float32)
    seen = cv2.erode(seen, np.ones((3, 3), np.uint8), borderValue=1.0)
    return np.asarray(cv2.GaussianBlur(seen, (5, 5), 0), np.float32)


def scaled_to(motion: Motion, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """`motion` at `size` (height, width): flow (1, 2, H, W) in pixels of that size, and visible
    (1, 1, H, W)."""
    height, width = size
    scale = np.array([width / motion.flow.shape[1], height / motion.flow.shape[0]], np.float32)
    flow = cv2.resize(motion.flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    seen = cv2.resize(motion.visible, (width, height), interpolation=cv2.INTER_LINEAR)
    flow_tensor = torch.from_numpy(flow).permute(2, 0, 1)[None]
    return flow_tensor.to(device), torch.from_numpy(seen)[None, None].to(device)


def warp(previous: Tensor, flow: Tensor) -> Tensor:
    """`previous` (1, C, H, W) pulled along `flow` (1, 2, H, W): warped(x) = previous(x + flow(x)).

    Float32, edges repeated; see `images.sample`.
    """
    height, width = previous.shape[2:]
    # grid_sample counts from -1 to 1 across pixel edges when corners are not aligned.
    x = torch.arange(width, device=flow.device, dtype=torch.float32)
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    grid = torch.stack(
        [(flow[0, 0] + x + 0.5) * (2 / width) - 1, (flow[0, 1] + y + 0.5) * (2 / height) - 1], -1
    )
    return sample(previous, grid[None], "border")


def _squared(vectors: NDArray[Any]) -> NDArray[Any]:
    """|v|² of (..., 2)."""
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2
