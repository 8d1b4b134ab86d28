"""Detection of hard cuts: where one shot ends and the next begins."""

from fractions import Fraction
from typing import Any

import numpy as np

from dreamreel.pipeline.config.fields import Shots
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.visibility import ALIKE, Motion


class CutDetector:
    """Detects hard cuts, frame after frame.

    There are two signs of a cut: PySceneDetect's content measure exceeds its threshold, or most of
    the frame is occluded. Then the textures of the two frames decide: they correlate across motion,
    changes of light and fades, but not across a cut.
    """

    def __init__(
        self,
        settings: Shots,
        rate: Fraction,
        judged: int = 0,
        last_cut: int | None = None,
        previous: Frame | None = None,
    ) -> None:
        """To go on after `judged` frames, give the last of them as `previous`, and the number of
        the `last_cut` among them."""
        self._threshold = settings.threshold
        self._detector = self._begun()
        self._max_hidden = settings.max_hidden
        self._min_frames = round(settings.min_seconds * rate)
        self.judged = judged
        self.last_cut = last_cut
        if previous is not None:
            self.see_again(previous)

    def see_again(self, previous: Frame) -> None:
        """Take `previous` for the frame that was judged last, where that had another size."""
        from scenedetect import FrameTimecode

        self._detector = self._begun()
        self._detector.process_frame(FrameTimecode(self.judged - 1, 25.0), previous)

    def _begun(self) -> Any:
        from scenedetect.detectors import ContentDetector

        # `is_cut` checks how long the shot is: PySceneDetect's own check would also forbid a cut
        # soon after the clip begins.
        return ContentDetector(threshold=self._threshold, min_scene_len=0)

    def is_cut(self, frame: Frame, motion: Motion | None) -> bool:
        """Whether the next `frame` (H, W, 3), BGR, begins a new shot. `motion` leads to it from the
        frame before; None for the first frame, which is no cut."""
        from scenedetect import FrameTimecode

        found = self._detector.process_frame(FrameTimecode(self.judged, 25.0), np.asarray(frame))
        index, self.judged = self.judged, self.judged + 1
        if motion is None:
            return False
        long_enough = self.last_cut is None or index - self.last_cut >= self._min_frames
        suspected = bool(found) or motion.hidden > self._max_hidden
        return suspected and long_enough and motion.likeness < ALIKE

    def accept(self) -> None:
        """Record that the frame that `is_cut` judged last begins a new shot. A flash does not."""
        self.last_cut = self.judged - 1
