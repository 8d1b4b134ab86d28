"""The preview of a video's motion: each frame with its flow, its occluded places and its cuts."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.motion.flow import FlowArray
from dreamreel.pipeline.motion.following import MovingFrame

# The speed that is drawn at full brightness, in shorter sides of the frame per frame. The fastest
# hundredth of a close-up of a bird reaches 0.05, that of a slow landscape 0.005.
FULL_COLOUR = 0.04
NOT_CARRIED, UNCOVERED = (40, 40, 255), (0, 220, 255)  # red and yellow, as BGR
MASKED = (24, 24, 24)  # nearly black
TINT = 0.55  # share of a mark's colour where a place is marked; it was not measured


def draw_motion(
    frames: Iterable[MovingFrame],
    on_cut: Callable[[int], None] = lambda number: None,
    outside: Callable[[MovingFrame], NDArray[np.float32] | None] = lambda moving: None,
) -> Iterator[Frame]:
    """For each of `frames`, a picture (H, 2 W, 3), BGR with 8 bits: the frame, and its flow beside.

    In the frame, places to which no dream is carried are red, and those that are certainly occluded
    are yellow. Where a place is `outside` of all masks, by a share (h, w), it is dark. The hue of
    the flow is its direction, and its brightness its speed. A cut has a white border and the word
    "cut"; `on_cut` is called with its number.
    """
    for moving in frames:
        left = to_8_bits(moving.frame[..., :3].copy())
        right = np.zeros_like(left)
        picture, text = moving.box.of(left), str(moving.number)
        height, width = picture.shape[:2]
        if moving.motion is not None:
            motion = moving.motion
            marked = tinted(picture, 1 - motion.carried, NOT_CARRIED)
            picture[:] = tinted(marked, motion.uncovered.astype(np.float32), UNCOVERED)
            coloured = flow_colours(motion.flow)
            moving.box.of(right)[:] = cv2.resize(coloured, (width, height))
        elif moving.followed is not None and moving.followed.judged > 1:
            on_cut(moving.number)
            cv2.rectangle(left, (0, 0), (left.shape[1] - 1, left.shape[0] - 1), (255, 255, 255), 6)
            text += "  cut"
        if (bare := outside(moving)) is not None:
            picture[:] = tinted(picture, bare, MASKED)
        _write(left, text)
        yield np.hstack([left, right])


def tinted(frame: Frame, share: NDArray[np.float32], colour: tuple[int, int, int]) -> Frame:
    """`frame` (H, W, 3) blended with `colour`, BGR, where `share` (h, w), 0 to 1, is above 0.
    `share` may have any size."""
    height, width = frame.shape[:2]
    weight = TINT * cv2.resize(share, (width, height))[..., None]
    target = np.array(colour, np.float32)
    return np.asarray(np.round(frame + weight * (target - frame)), np.uint8)


def flow_colours(flow: FlowArray) -> Frame:
    """`flow` (H, W, 2) as a frame (H, W, 3), BGR: its direction as hue, and the root of its speed
    as brightness. The root makes slow motion visible."""
    speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
    full = FULL_COLOUR * min(flow.shape[:2])
    hue = np.asarray(angle / 2).astype(np.uint8)  # OpenCV's hue has 180 degrees
    value = np.clip(255 * np.sqrt(np.asarray(speed) / full), 0, 255).astype(np.uint8)
    hsv = np.dstack([hue, np.full_like(hue, 200), value])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def _write(frame: Frame, text: str) -> None:
    """Write `text` into the upper left corner of `frame`."""
    size = max(0.4, frame.shape[0] / 500)
    place = (round(16 * size), round(36 * size))
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)
