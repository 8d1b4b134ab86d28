"""The motion between coming frames, estimated on several threads before it is asked for.

A GPU dreams a frame in less time than one thread takes to find its motion. The motion between two
frames depends on them alone, so that many can be found at once.
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.frames import Box, Frame
from dreamreel.pipeline.motion.flow import FlowEstimator, find_estimator, working_frame
from dreamreel.pipeline.motion.visibility import Motion, motion_between


@dataclass(frozen=True)
class _Pair:
    """Two working frames that are expected to follow each other, and the motion between them."""

    previous: Future[Frame]
    current: Future[Frame]
    motion: Future[Motion]

    def is_of(self, previous: Frame, current: Frame) -> bool:
        """Whether these are the two frames."""
        found = self.previous.result(), self.current.result()
        return np.array_equal(found[0], previous) and np.array_equal(found[1], current)


class Foresight:
    """Passes frames on, and reads as many ahead as it has threads, to find their motion meanwhile.

    It takes the picture to lie in the box in which it lay last. Where that turns out wrong, what it
    found is not used: the motion is the same with any number of threads.
    """

    def __init__(self, frames: Iterator[Frame], settings: Settings, threads: int) -> None:
        self._frames, self._settings, self._depth = frames, settings, threads + 1
        self._box: Box | None = None
        self._waiting: deque[Frame] = deque()
        self._pairs: deque[_Pair] = deque(maxlen=2 * self._depth)
        self._last: Future[Frame] | None = None
        self._pool = ThreadPoolExecutor(threads, "flow")
        self._own = threading.local()  # an estimator serves one thread at a time

    def __iter__(self) -> Iterator[Frame]:
        while True:
            while len(self._waiting) < self._depth and self._take():
                pass
            if not self._waiting:
                return
            yield self._waiting.popleft()

    def expects(self, box: Box) -> None:
        """Take the picture of coming frames to lie in `box`."""
        if box != self._box:
            self._box, self._last = box, None
            self._pairs.clear()

    def motion(self, previous: Frame, current: Frame) -> Motion | None:
        """The motion from `previous` to `current`, working frames both, if it was foreseen."""
        for number, pair in enumerate(self._pairs):
            if pair.is_of(previous, current):
                for _ in range(number):
                    self._pairs.popleft()
                return pair.motion.result()
        return None

    def close(self) -> None:
        """End all threads."""
        self._pool.shutdown(cancel_futures=True)

    def _take(self) -> bool:
        """Read a frame, if there is one, and begin to find its motion."""
        frame = next(self._frames, None)
        if frame is None:
            return False
        self._waiting.append(frame)
        if self._box is None:
            return True
        small = self._pool.submit(working_frame, self._box.of(frame), self._settings.flow.height)
        if self._last is not None:
            motion = self._pool.submit(self._between, self._last, small)
            self._pairs.append(_Pair(self._last, small, motion))
        self._last = small
        return True

    def _between(self, previous: Future[Frame], current: Future[Frame]) -> Motion:
        return motion_between(previous.result(), current.result(), self._estimator())

    def _estimator(self) -> FlowEstimator:
        if not hasattr(self._own, "estimate"):
            self._own.estimate = find_estimator(self._settings)
        found: FlowEstimator = self._own.estimate
        return found
