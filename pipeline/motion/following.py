"""Each frame of a video with the motion since the one before; cuts, dips and flashes are found."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import Bars, parse_bars
from dreamreel.pipeline.frames import Box, Frame
from dreamreel.pipeline.motion.bars import picture_of
from dreamreel.pipeline.motion.content import NOTHING, contrast
from dreamreel.pipeline.motion.cuts import CutDetector
from dreamreel.pipeline.motion.flow import ON_GPU, find_estimator, working_frame, working_size
from dreamreel.pipeline.motion.foresight import Foresight
from dreamreel.pipeline.motion.visibility import ALIKE, Motion, motion_between, standing
from dreamreel.pipeline.stages import timed

# A scene fades, and so ends, if its last frame before the dark has less than this share of the
# contrast that it had shortly before.
FADED = 0.5


@dataclass(frozen=True)
class Followed:
    """The state of following after a frame, from which the next frames can be followed.

    `previous`: the picture of that frame at the working size. `box`: where it is in its frame.
    `shared`: the motions of the frames that remain of a flash. `judged`: how many frames were
    judged. `last_cut`: the number of the last cut among them. `contrasts`: those of the shot's last
    frames. `ended`: whether the scene ended in the dark.
    """

    previous: Frame
    box: Box
    shared: tuple[Motion, ...]
    judged: int
    last_cut: int | None
    contrasts: tuple[float, ...]
    ended: bool


@dataclass(frozen=True)
class MovingFrame:
    """A source frame with its number and the motion since the frame before.

    `motion`: that of the picture; None for the first frame of a shot, to which nothing is carried.
    `box`: the picture, inside the bars. `contrast`: see `content.contrast`. `followed`: the state
    of following after this frame; None if motion is not followed.
    """

    number: int
    frame: Frame
    motion: Motion | None
    box: Box
    contrast: float
    followed: Followed | None = None

    @property
    def picture(self) -> Frame:
        """The frame without its bars."""
        return self.box.of(self.frame)


def follow_motion(
    frames: Iterable[Frame],
    rate: Fraction,
    settings: Settings,
    first: int = 0,
    since: Followed | None = None,
    after_cut: bool = False,
    bars: Bars | None = None,
    threads: int = 1,
) -> Iterator[MovingFrame]:
    """Each of `frames`, numbered from `first`, with its motion since the frame before.

    `since`: the state of following after the frames before, if there were any. `after_cut`: the
    first frame is known to follow a cut, so that the next cut is at least the shortest shot away.
    `bars`: those of the frames, as in `picture_of`; None: those of the settings. With more than one
    of `threads`, the motion of coming frames is estimated meanwhile: the same with any number.

    A flash or a dip is no cut: some frames later the picture is the same as before it. The motion
    across it is divided evenly among its frames. A scene that fades, and one that stays dark for
    longer, ends; the next begins once there is something to see. Raises UserError at once if the
    weights of the estimator of flow cannot be loaded.
    """
    bars = bars or parse_bars(settings.source.bars)
    if settings.flow.method == "none":
        return _unfollowed(frames, settings, bars, first)
    if since is None and after_cut:
        cuts = CutDetector(settings.shots, rate, last_cut=0)
    elif since is None:
        cuts = CutDetector(settings.shots, rate)
    else:
        cuts = CutDetector(settings.shots, rate, since.judged, since.last_cut, since.previous)
    if settings.flow.method in ON_GPU:  # each thread would load the weights again
        threads = 1
    return _Following(frames, rate, settings, bars, cuts, since, threads).frames(first)


def frames_ahead(settings: Settings, rate: Fraction) -> int:
    """How many frames after a frame `follow_motion` may read to tell a flash from a cut."""
    return round(settings.shots.flash_seconds * rate)


def _unfollowed(
    frames: Iterable[Frame], settings: Settings, bars: Bars, first: int
) -> Iterator[MovingFrame]:
    for number, frame in enumerate(frames, first):
        box = picture_of(frame, bars)
        small = working_frame(box.of(frame), settings.flow.height)
        yield MovingFrame(number, frame, None, box, contrast(small))


class _Following:
    """The state of `follow_motion` between two frames."""

    def __init__(
        self,
        frames: Iterable[Frame],
        rate: Fraction,
        settings: Settings,
        bars: Bars,
        cuts: CutDetector,
        since: Followed | None,
        threads: int,
    ) -> None:
        self._side, self._bars, self._cuts = settings.flow.height, bars, cuts
        self._estimate = find_estimator(settings)
        self._longest_flash = frames_ahead(settings, rate)
        self._foresight = Foresight(iter(frames), settings, threads) if threads > 1 else None
        self._coming = iter(frames if self._foresight is None else self._foresight)
        self._ahead: deque[Frame] = deque()  # frames read ahead to find the end of a flash
        self._previous = None if since is None else since.previous
        self._box = None if since is None else since.box
        # The motions of the frames that remain of a flash.
        self._shared = deque(() if since is None else since.shared)
        contrasts = () if since is None else since.contrasts
        self._contrasts = deque(contrasts, max(2, self._longest_flash))
        self._ended = since is not None and since.ended

    def frames(self, first: int) -> Iterator[MovingFrame]:
        number = first
        try:
            while (frame := self._next()) is not None:
                yield self._followed(number, frame)
                number += 1
        finally:
            if self._foresight is not None:
                self._foresight.close()

    def _next(self) -> Frame | None:
        return self._ahead.popleft() if self._ahead else next(self._coming, None)

    @timed("flow")
    def _followed(self, number: int, frame: Frame) -> MovingFrame:
        box = picture_of(frame, self._bars, self._box)
        if self._foresight is not None:
            self._foresight.expects(box)
        self._refit(box)
        small = self._small(frame, box)
        seen = contrast(small)
        motion = self._motion_to(small, seen)
        if motion is None:
            box = picture_of(frame, self._bars)  # a shot knows nothing of the bars before it
            small = self._small(frame, box)
            seen = contrast(small)
            self._cuts.see_again(small)
            self._contrasts.clear()
            self._ended = False
        self._contrasts.append(seen)
        self._previous, self._box = small, box
        followed = Followed(
            small,
            box,
            tuple(self._shared),
            self._cuts.judged,
            self._cuts.last_cut,
            tuple(self._contrasts),
            self._ended,
        )
        return MovingFrame(number, frame, motion, box, seen, followed)

    def _motion_to(self, small: Frame, seen: float) -> Motion | None:
        """The motion to the next frame; None where a shot begins."""
        previous, motion = self._previous, None
        if previous is not None:
            motion = self._shared[0] if self._shared else None
            motion = motion or self._found_before(previous, small)
            motion = motion or motion_between(previous, small, self._estimate)
        suspected = self._cuts.is_cut(small, motion)
        if previous is None:
            return None
        is_dark, was_dark = seen < NOTHING, self._contrasts[-1] < NOTHING
        if self._shared:
            return self._shared.popleft()
        if is_dark and not was_dark:
            self._shared = deque() if self._fades() else self._across_flash(previous)
            self._ended = not self._shared
        elif was_dark and not is_dark and self._ended:
            self._cuts.accept()
            return None
        elif suspected and not is_dark and not was_dark:
            self._shared = self._across_flash(previous)
            if not self._shared:
                self._cuts.accept()
                return None
        if self._shared:
            return self._shared.popleft()
        return standing((small.shape[0], small.shape[1])) if is_dark or was_dark else motion

    def _found_before(self, previous: Frame, small: Frame) -> Motion | None:
        """The motion between two working frames, if it was estimated while they came."""
        return None if self._foresight is None else self._foresight.motion(previous, small)

    def _fades(self) -> bool:
        """Whether the frames before the dark had become darker already."""
        return self._contrasts[-1] < FADED * max(self._contrasts)

    def _across_flash(self, before: Frame) -> deque[Motion]:
        """One motion for each frame of a flash and for the first frame past it; empty if it is no
        flash.

        `before`: the last frame before the flash. It is over at the first frame whose texture is
        that of `before` again. The motion to it is divided evenly.
        """
        while len(self._ahead) < self._longest_flash:
            frame = next(self._coming, None)
            if frame is None:
                break
            self._ahead.append(frame)
        assert self._box is not None
        for length, frame in enumerate(self._ahead, 2):
            small = self._small(frame, self._box)
            if contrast(small) < NOTHING:
                continue
            motion = motion_between(before, small, self._estimate)
            if motion.likeness >= ALIKE:
                return deque([motion.part(1 / length)] * length)
        return deque()

    def _refit(self, box: Box) -> None:
        """Bring what is known of the frame before to the place of the next picture."""
        if self._previous is None or self._box is None or box == self._box:
            return
        self._previous = refitted(self._previous, self._box, box, self._side)
        self._shared.clear()
        self._cuts.see_again(self._previous)
        self._box = box

    def _small(self, frame: Frame, box: Box) -> Frame:
        return working_frame(box.of(frame), self._side)


def refitted(small: Frame, box: Box, to: Box, side: int) -> Frame:
    """The picture `small` of `box`, at the working size of `side`, as that of the box `to`; edges
    repeated."""
    scale = small.shape[1] / box.size[1]
    size = working_size(to.size, side)
    rows = (np.arange(size[0], dtype=np.float32) + 0.5) * to.size[0] / size[0]
    columns = (np.arange(size[1], dtype=np.float32) + 0.5) * to.size[1] / size[1]
    at_y = (rows + to.top - box.top) * small.shape[0] / box.size[0] - 0.5
    at_x = (columns + to.left - box.left) * scale - 0.5
    x, y = np.meshgrid(at_x, at_y)
    return np.asarray(cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
