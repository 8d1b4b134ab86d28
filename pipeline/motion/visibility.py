"""Where a flow can be trusted, and what was uncovered."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.flow import FlowArray, FlowEstimator, Grey, grey

Share = NDArray[np.float32]  # (H, W), 0 to 1
BROAD = 8.0  # sigma, in pixels of the working size, of what counts as lighting, not as texture
NOISE = 10.0  # levels by which two pictures of one place may differ anyway
TEXTURED = 6.0  # levels of texture without which a frame has no structure to be known by
ALIKE = 0.6  # correlation of two frames' textures; cuts were seen at 0.3 and below, motion at 0.8


@dataclass(frozen=True)
class Motion:
    """How the previous frame became this one, at the working size (H, W).

    `flow` (H, W, 2) leads from this frame to the previous one, in its pixels. `visible` (H, W), 0
    to 1: where all tests trust it. `carried` (H, W), 0 to 1: where a dream may follow it, which is
    also where the texture is plainly the same. `uncovered` (H, W): what the previous frame
    certainly did not show. `likeness`: the correlation of this frame's texture with that of the
    previous one, pulled along the flow: about 1 within a shot, about 0 across a cut.
    """

    flow: FlowArray
    visible: Share
    carried: Share
    uncovered: NDArray[np.bool_]
    likeness: float = 1.0

    @property
    def hidden(self) -> float:
        """Share of the frame that the previous one did not show."""
        return 1 - float(self.visible.mean())

    def part(self, share: float) -> "Motion":
        """`share` of this motion, as if it had taken place in even steps."""
        return replace(self, flow=self.flow * np.float32(share))


def motion_between(previous: Frame, current: Frame, estimate: FlowEstimator) -> Motion:
    """The motion from `previous` to `current`, two frames at the working size."""
    back = estimate(current, previous)
    forth = estimate(previous, current)
    here, pulled = texture(grey(current)), texture(pull(grey(previous), back))
    differing, contrast = unlike(here, pulled)
    explained = differing < 0.25 * contrast + NOISE**2
    plainly = (differing < 0.1 * contrast) & (contrast > NOISE**2)
    inside = points_inside(back)
    safe = returns(back, forth) & inside & explained
    return Motion(
        back,
        soft(safe),
        soft(safe | (plainly & inside)),
        ~(explained & inside),
        likeness(here, pulled),
    )


def returns(back: FlowArray, forth: FlowArray) -> NDArray[np.bool_]:
    """Where there-and-back returns home, and no motion boundary lies: (H, W).

    Sundaram et al., ECCV 2010, with the constants of Ruder et al., 2016.
    """
    to_x, to_y = _pointed_at(back)
    returned = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = _squared(returned + back)
    occluded = missed > 0.01 * (_squared(returned) + _squared(back)) + 0.5
    across = _squared(cv2.Sobel(back, cv2.CV_32F, 1, 0, scale=1 / 8))
    down = _squared(cv2.Sobel(back, cv2.CV_32F, 0, 1, scale=1 / 8))
    boundary = across + down > 0.01 * _squared(back) + 0.002
    return np.asarray(~(occluded | boundary))


def points_inside(flow: FlowArray) -> NDArray[np.bool_]:
    """Where `flow` points inside the frame: (H, W)."""
    height, width = flow.shape[:2]
    to_x, to_y = _pointed_at(flow)
    return np.asarray((to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1))


def unlike(here: Grey, pulled: Grey) -> tuple[Grey, Grey]:
    """The photometric check: how much a frame's texture (H, W) differs, place by place, from that
    of the one before, `pulled` along the flow, and the contrast of both; in levels squared.

    Of texture alone, and to be compared with its own contrast: light that changes hides nothing.
    """
    differing = cv2.GaussianBlur((here - pulled) ** 2, (0, 0), 1.5)
    return np.asarray(differing), np.asarray(cv2.GaussianBlur(here**2 + pulled**2, (0, 0), 1.5))


def likeness(here: Grey, pulled: Grey) -> float:
    """The correlation of two textures (H, W): 1 for one picture, in any light, about 0 for two.

    1 as well where neither has any: nothing tells a black frame from a black frame, or from the
    last faint ones of a fade.
    """
    spread = float(np.sqrt(np.square(here).mean())), float(np.sqrt(np.square(pulled).mean()))
    if max(spread) < TEXTURED:
        return 1.0
    return float((here * pulled).mean()) / max(spread[0] * spread[1], 1e-6)


def texture(luma: Grey) -> Grey:
    """`luma` (H, W) less its broad light, float32."""
    values = luma.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), BROAD))


def pull(luma: Grey, flow: FlowArray) -> Grey:
    """`luma` (H, W) pulled along `flow`, edges repeated."""
    to_x, to_y = _pointed_at(flow)
    return np.asarray(
        cv2.remap(luma, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def soft(seen: NDArray[np.bool_]) -> Share:
    """`seen` (H, W), a pixel less all round and its edges feathered: 0 to 1."""
    eroded = cv2.erode(seen.astype(np.float32), np.ones((3, 3), np.uint8), borderValue=1.0)
    return np.asarray(cv2.GaussianBlur(eroded, (5, 5), 0), np.float32)


def _pointed_at(flow: FlowArray) -> tuple[Grey, Grey]:
    """The x and the y, each (H, W), that `flow` points at."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]


def _squared(vectors: NDArray[Any]) -> NDArray[Any]:
    """|v|² of (..., 2)."""
    return np.asarray(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)
