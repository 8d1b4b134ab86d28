"""Each frame of a video with how it came from the one before: motion, cuts and flashes."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.cuts import CutDetector
from dreamreel.pipeline.motion.flow import FlowEstimator, find_estimator, working_frame
from dreamreel.pipeline.motion.visibility import ALIKE, Motion, motion_between


@dataclass(frozen=True)
class Followed:
    """All that following the frames after one needs: that frame at the working size, the motions
    of the rest of a flash, and how many frames were judged, the last cut among them."""

    previous: Frame
    shared: tuple[Motion, ...]
    judged: int
    last_cut: int | None


@dataclass(frozen=True)
class MovingFrame:
    """A source frame, its number, and how it came from the one before.

    `motion` is None where nothing is carried: at the beginning of a shot. `followed` is where
    following stands; None where nothing is followed.
    """

    number: int
    frame: Frame
    motion: Motion | None
    followed: Followed | None = None


def follow_motion(
    frames: Iterable[Frame],
    rate: Fraction,
    settings: Settings,
    first: int = 0,
    since: Followed | None = None,
) -> Iterator[MovingFrame]:
    """Each of `frames`, numbered from `first`, with its motion since the one before; `since`,
    where those before were followed already.

    A flash, some frames after which the picture is what it was before, is no cut: the motion
    across it is shared out among its frames. Raises UserError, at once, where the flow's
    estimator lacks its weights.
    """
    if settings.flow.method == "none":
        return (MovingFrame(first + i, frame, None) for i, frame in enumerate(frames))
    return _follow(frames, rate, settings, first, since, find_estimator(settings))


def _follow(
    frames: Iterable[Frame],
    rate: Fraction,
    settings: Settings,
    first: int,
    since: Followed | None,
    estimate: FlowEstimator,
) -> Iterator[MovingFrame]:
    side = settings.flow.height
    cuts = CutDetector(settings.shots, rate)
    shared: deque[Motion] = deque()  # of the frames of a flash, still to be given out
    previous: Frame | None = None
    if since is not None:
        previous, shared = since.previous, deque(since.shared)
        cuts = CutDetector(settings.shots, rate, since.judged, since.last_cut, previous)
    longest_flash = round(settings.shots.flash_seconds * rate)
    coming = ((frame, working_frame(frame, side)) for frame in frames)
    ahead: deque[tuple[Frame, Frame]] = deque()  # what a look ahead has read already
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
        if shared:
            shared.popleft()
        followed = Followed(small, tuple(shared), cuts.judged, cuts.last_cut)
        yield MovingFrame(number, frame, motion, followed)
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
