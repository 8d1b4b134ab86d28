"""Each frame of a video with how it came from the one before: motion, cuts and flashes."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from dreamreel.pipeline.flow import (
    ALIKE,
    FlowEstimator,
    Motion,
    find_estimator,
    motion_between,
    working_frame,
)
from dreamreel.pipeline.images import Frame
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.shots import CutDetector


@dataclass(frozen=True)
class MovingFrame:
    """A source frame, its number, and how it came from the one before.

    `motion` is None where nothing is carried: at the beginning of a shot.
    """

    number: int
    frame: Frame
    motion: Motion | None


def follow_motion(
    frames: Iterable[Frame], rate: Fraction, settings: Settings, first: int = 0
) -> Iterator[MovingFrame]:
    """Each of `frames`, numbered from `first`, with its motion since the one before.

    A flash, some frames after which the picture is what it was before, is no cut: the motion
    across it is shared out among its frames. Raises UserError, at once, where the flow's
    estimator lacks its weights.
    """
    if settings.flow.method == "none":
        return (MovingFrame(first + i, frame, None) for i, frame in enumerate(frames))
    return _follow(frames, rate, settings, first, find_estimator(settings))


def _follow(
    frames: Iterable[Frame],
    rate: Fraction,
    settings: Settings,
    first: int,
    estimate: FlowEstimator,
) -> Iterator[MovingFrame]:
    side = settings.flow.height
    cuts = CutDetector(settings.shots, rate)
    longest_flash = round(settings.shots.flash_seconds * rate)
    coming = ((frame, working_frame(frame, side)) for frame in frames)
    ahead: deque[tuple[Frame, Frame]] = deque()  # what a look ahead has read already
    shared: deque[Motion] = deque()  # of the frames of a flash, still to be given out
    previous: Frame | None = None
    number = first
    while (pair := ahead.popleft() if ahead else next(coming, None)) is not None:
        frame, small = pair
        motion: Motion | None = None
        if previous is not None:
            motion = shared[0] if shared else motion_between(previous, small, estimate)
        if cuts.is_cut(small, motion):
            assert previous is not None
            while len(ahead) < longest_flash and (pair := next(coming, None)) is not None:
                ahead.append(pair)
            shared = across_flash(previous, [after for _, after in ahead], estimate)
            motion = shared[0] if shared else None
            if motion is None:
                cuts.accept()
        yield MovingFrame(number, frame, motion)
        if shared:
            shared.popleft()
        previous = small
        number += 1


def across_flash(before: Frame, after: list[Frame], estimate: FlowEstimator) -> deque[Motion]:
    """The motions that lead from `before`, by way of a flash, to the first frame `after` it that
    shows the same again, one for each frame; none where no such frame comes. The first frame of
    the flash is not among `after`."""
    for length, frame in enumerate(after, 2):
        motion = motion_between(before, frame, estimate)
        if motion.likeness >= ALIKE:
            return deque([motion.part(1 / length)] * length)
    return deque()
