"""What is seen just now: the newest frame of a camera, or of a clip that plays in a loop."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, fitted_size, to_8_bits
from dreamreel.pipeline.jobs.kinds import checked_clip
from dreamreel.pipeline.media.reading import read_frames

CAMERA = re.compile(r"\d{1,3}|/dev/video\d{1,3}")
# Seconds after which a camera that gives no frame is taken to be gone, and for which the first is
# waited for: some take that long to wake.
GONE = 5.0
POLL = 0.2  # seconds between looks at whether to stop; a round number


@dataclass(frozen=True)
class Seen:
    """A `frame` (H, W, 3), BGR, 8 bits, and when it was seen, in seconds of `time.monotonic`."""

    frame: Frame
    at: float


# A function that calls another with each frame as it is seen, until that returns False.
Playing = Callable[[Callable[[Frame], bool]], None]


class Newest:
    """Plays a source in a thread and keeps its newest frame alone: nothing queues up.

    `playing` ends when it is closed. An error in the thread is raised where frames are asked for.
    """

    def __init__(self, playing: Playing) -> None:
        self._changed = threading.Condition()
        self._newest: Seen | None = None
        self._ends = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._play, args=(playing,), daemon=True)
        self._thread.start()

    def frames(self, is_stopping: Callable[[], bool] = lambda: False) -> Iterator[Seen]:
        """The newest frame, as often as it is asked for one that it has not given; to the end of
        the source, or until `is_stopping`. Raises UserError where none comes for `GONE` seconds."""
        while True:
            waited = time.monotonic()
            with self._changed:
                while self._newest is None and not self._ends:
                    self._changed.wait(POLL)
                    if is_stopping():
                        return
                    if time.monotonic() - waited > GONE:
                        raise UserError(f"no frame has come for {GONE:.0f} seconds")
                seen, self._newest = self._newest, None
            if seen is None:
                if self._error is not None:
                    raise self._error
                return
            if is_stopping():
                return
            yield seen

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join(GONE)

    def _play(self, playing: Playing) -> None:
        try:
            playing(self._take)
        except BaseException as error:  # raised in `frames`
            self._error = error
        with self._changed:
            self._ends = True
            self._changed.notify_all()

    def _take(self, frame: Frame) -> bool:
        with self._changed:
            self._newest = Seen(frame, time.monotonic())
            self._changed.notify_all()
            return not self._ends


def playing_of(source: str, settings: Source, width: int | None) -> Playing:
    """What plays the camera or the clip `source`, at `width`, or at its own if it is narrower.
    Raises UserError if it cannot be opened."""
    if CAMERA.fullmatch(source):
        return _camera(source, width)
    return _clip(Path(source), settings, width)


def _camera(name: str, width: int | None) -> Playing:
    number = int(re.findall(r"\d+$", name)[0])
    log = cv2.utils.logging
    before = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)  # what OpenCV says of a camera that is not there
    try:
        capture = cv2.VideoCapture(number)
    finally:
        log.setLogLevel(before)
    if not capture.isOpened():
        capture.release()
        raise UserError(
            f"there is no camera {name}, or another program uses it; 0 is the first, and a clip "
            "will do in its place: dreamreel live clip.mp4"
        )

    def play(take: Callable[[Frame], bool]) -> None:
        try:
            while True:
                came, frame = capture.read()
                if not came:
                    raise UserError(f"the camera {name} gives no frames any more")
                if not take(_small(np.asarray(frame), width)):
                    return
        finally:
            capture.release()

    return play


def _clip(path: Path, settings: Source, width: int | None) -> Playing:
    clip = checked_clip(path, settings)
    length = 1 / float(clip.rate)

    def play(take: Callable[[Frame], bool]) -> None:
        due = time.monotonic()
        while True:
            shown = 0
            with closing(read_frames(clip)) as frames:
                for frame in frames:
                    shown += 1
                    due += length
                    now = time.monotonic()
                    if now > due:  # decoding does not keep up: frames are skipped, not owed
                        due = max(due, now - length)
                    elif due > now:
                        time.sleep(due - now)
                    if not take(_small(frame, width)):
                        return
            if shown == 0:
                raise UserError(f"{path} has no frame that can be decoded")

    return play


def _small(frame: Frame, width: int | None) -> Frame:
    frame = to_8_bits(np.ascontiguousarray(frame[..., :3]))
    if width is None or width >= frame.shape[1]:
        return frame
    height, width = fitted_size(frame.shape[0], frame.shape[1], width)
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
