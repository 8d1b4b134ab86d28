"""Where one shot ends and the next begins."""

import numpy as np

from dreamreel.pipeline.images import Frame


class CutDetector:
    """Finds hard cuts as frames come, one after the other, by PySceneDetect's content measure."""

    def __init__(self, threshold: float, min_frames: int) -> None:
        """`threshold`: mean change of hue, saturation and value; `min_frames`: shortest shot."""
        from scenedetect.detectors import ContentDetector

        # Shortness is judged here: theirs would also forbid a cut near the clip's beginning.
        self._detector = ContentDetector(threshold=threshold, min_scene_len=0)
        self._min_frames = min_frames
        self._index = 0
        self._last_cut: int | None = None

    def is_cut(self, frame: Frame) -> bool:
        """Whether `frame` (H, W, 3), BGR, the next of the video, begins a new shot."""
        from scenedetect import FrameTimecode

        found = self._detector.process_frame(FrameTimecode(self._index, 25.0), np.asarray(frame))
        long_enough = self._last_cut is None or self._index - self._last_cut >= self._min_frames
        cut = bool(found) and long_enough
        if cut:
            self._last_cut = self._index
        self._index += 1
        return cut
