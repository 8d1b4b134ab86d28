"""How much there is to see in a frame: nothing in the dark, in a flash or in a flat colour."""

import cv2
import numpy as np

from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.flow import grey
from dreamreel.pipeline.motion.visibility import texture

FINE = 1.5  # sigma, in pixels of the working size, of the blur that takes the noise of a sensor
# Levels of 255, RMS, of the texture that is left: below NOTHING there is nothing to see, from
# ENOUGH on all can be seen, and the share grows evenly between. Clips in daylight have 8 to 20.
NOTHING, ENOUGH = 0.8, 3.0


def contrast(frame: Frame) -> float:
    """How much texture a frame (H, W, 3) of the working size has, in levels of 255, RMS."""
    calm = cv2.GaussianBlur(grey(frame).astype(np.float32), (0, 0), FINE)
    return float(np.sqrt(np.square(texture(calm)).mean()))


def share_seen(contrast: float) -> float:
    """How much there is to see in a frame of that `contrast`: from 0, nothing, to 1, enough."""
    return min(max((contrast - NOTHING) / (ENOUGH - NOTHING), 0.0), 1.0)
