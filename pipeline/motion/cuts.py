"""Where one shot ends and the next begins."""

from fractions import Fraction

import numpy as np

from dreamreel.pipeline.config.fields import Shots
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.visibility import ALIKE, Motion


class CutDetector:
    """Tells hard cuts from all else, as frames come one after the other.

    Two signs call for a look: PySceneDetect's content measure, and a flow that loses most of the
    frame. The frames' textures decide: motion, light and fades leave them alike, a cut does not.
    """

    def __init__(
        self,
        settings: Shots,
        rate: Fraction,
        judged: int = 0,
        last_cut: int | None = None,
        previous: Frame | None = None,
    ) -> None:
        """`judged` frames of the video, the last of them `previous`, are judged already."""
        from scenedetect import FrameTimecode
        from scenedetect.detectors import ContentDetector

        # Shortness is judged here: theirs would also forbid a cut near the clip's beginning.
        self._detector = ContentDetector(threshold=settings.threshold, min_scene_len=0)
        self._max_hidden = settings.max_hidden
        self._min_frames = round(settings.min_seconds * rate)
        self.judged = judged
        self.last_cut = last_cut
        if previous is not None:
            self._detector.process_frame(FrameTimecode(judged - 1, 25.0), previous)

    def is_cut(self, frame: Frame, motion: Motion | None) -> bool:
        """Whether `frame` (H, W, 3), BGR, the next of the video, begins a new shot; `motion` is
        how it came from the one before, None for the first."""
        from scenedetect import FrameTimecode

        found = self._detector.process_frame(FrameTimecode(self.judged, 25.0), np.asarray(frame))
        index, self.judged = self.judged, self.judged + 1
        if motion is None:
            return False
        long_enough = self.last_cut is None or index - self.last_cut >= self._min_frames
        called = bool(found) or motion.hidden > self._max_hidden
        return called and long_enough and motion.likeness < ALIKE

    def accept(self) -> None:
        """The frame judged last does begin a new shot."""
        self.last_cut = self.judged - 1
