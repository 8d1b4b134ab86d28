"""What a render will follow, without dreaming: each frame with its motion, its doubts, its cuts."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.motion.flow import FlowArray
from dreamreel.pipeline.motion.following import MovingFrame

FULL_COLOUR = 0.04  # motion, in shorter sides a frame, that is drawn at its brightest
NOT_CARRIED, UNCOVERED = (40, 40, 255), (0, 220, 255)  # BGR
TINT = 0.55


def draw_motion(
    frames: Iterable[MovingFrame], on_cut: Callable[[int], None] = lambda number: None
) -> Iterator[Frame]:
    """For each of `frames`, a picture (H, 2 W, 3) of it beside its flow.

    In the frame, red is where no dream is carried, yellow what the frame before did not show. The
    flow's hue is its direction, its brightness tells its speed. A white border and a word mark a
    cut, told to `on_cut` by its number.
    """
    for moving in frames:
        height, width = moving.frame.shape[:2]
        left = to_8_bits(moving.frame[..., :3].copy())
        if moving.motion is None:
            right = np.zeros_like(left)
            if moving.followed is not None and moving.followed.judged > 1:
                on_cut(moving.number)
                cv2.rectangle(left, (0, 0), (width - 1, height - 1), (255, 255, 255), 6)
                _write(left, f"{moving.number}  cut")
            else:
                _write(left, str(moving.number))
        else:
            motion = moving.motion
            left = tinted(left, 1 - motion.carried, NOT_CARRIED)
            left = tinted(left, motion.uncovered.astype(np.float32), UNCOVERED)
            coloured = flow_colours(motion.flow)
            right = np.asarray(cv2.resize(coloured, (width, height)))
            _write(left, str(moving.number))
        yield np.hstack([left, right])


def tinted(frame: Frame, share: NDArray[np.float32], colour: tuple[int, int, int]) -> Frame:
    """`frame` drawn towards `colour`, BGR, by `share` (h, w), of any size."""
    height, width = frame.shape[:2]
    weight = TINT * cv2.resize(share, (width, height))[..., None]
    target = np.array(colour, np.float32)
    return np.asarray(np.round(frame + weight * (target - frame)), np.uint8)


def flow_colours(flow: FlowArray) -> Frame:
    """`flow` (H, W, 2) as a picture: hue by direction, brightness by the root of its speed, which
    shows slow motion too."""
    speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
    full = FULL_COLOUR * min(flow.shape[:2])
    hue = np.asarray(angle / 2).astype(np.uint8)  # OpenCV's circle has 180 degrees
    value = np.clip(255 * np.sqrt(np.asarray(speed) / full), 0, 255).astype(np.uint8)
    hsv = np.dstack([hue, np.full_like(hue, 200), value])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def _write(frame: Frame, text: str) -> None:
    """Write `text` into the corner of `frame`."""
    size = max(0.4, frame.shape[0] / 500)
    place = (round(16 * size), round(36 * size))
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)
