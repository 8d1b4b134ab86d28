"""Each frame of a video with the motion since the frame before; cuts and flashes are found."""

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
    """The state of following after a frame, from which the next frames can be followed.

    `previous`: that frame at the working size. `shared`: the motions of the frames that remain of a
    flash. `judged`: how many frames were judged. `last_cut`: the number of the last cut among them.
    """

    previous: Frame
    shared: tuple[Motion, ...]
    judged: int
    last_cut: int | None


@dataclass(frozen=True)
class MovingFrame:
    """A source frame with its number and the motion since the frame before.

    `motion`: None for the first frame of a shot, to which nothing is carried. `followed`: the state
    of following after this frame; None if motion is not followed.
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
    after_cut: bool = False,
) -> Iterator[MovingFrame]:
    """Each of `frames`, numbered from `first`, with its motion since the frame before. `since`: the
    state of following after the frames before, if there were any. `after_cut`: the first frame is
    known to follow a cut, so that the next cut is at least the shortest shot away.

    A flash is no cut: some frames later the picture is the same as before it. The motion across the
    flash is divided evenly among its frames. Raises UserError at once if the weights of the
    estimator of flow cannot be loaded.
    """
    if settings.flow.method == "none":
        return (MovingFrame(first + i, frame, None) for i, frame in enumerate(frames))
    if since is None and after_cut:
        cuts = CutDetector(settings.shots, rate, last_cut=0)
    elif since is None:
        cuts = CutDetector(settings.shots, rate)
    else:
        cuts = CutDetector(settings.shots, rate, since.judged, since.last_cut, since.previous)
    return _follow(frames, rate, settings, first, since, find_estimator(settings), cuts)


def frames_ahead(settings: Settings, rate: Fraction) -> int:
    """How many frames after a frame `follow_motion` may read to tell a flash from a cut."""
    return round(settings.shots.flash_seconds * rate)


def _follow(
    frames: Iterable[Frame],
    rate: Fraction,
    settings: Settings,
    first: int,
    since: Followed | None,
    estimate: FlowEstimator,
    cuts: CutDetector,
) -> Iterator[MovingFrame]:
    side = settings.flow.height
    shared: deque[Motion] = deque()  # of the frames that remain of a flash
    previous: Frame | None = None
    if since is not None:
        previous, shared = since.previous, deque(since.shared)
    longest_flash = frames_ahead(settings, rate)
    coming = ((frame, working_frame(frame, side)) for frame in frames)
    ahead: deque[tuple[Frame, Frame]] = deque()  # frames read ahead to find the end of a flash
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
    """One motion for each frame of a flash and for the first frame past it; empty if it is a cut.

    `before`: the last frame before the flash. `after`: the frames that follow the first frame of
    the flash. The flash is over at the first of them whose texture is that of `before` again. The
    motion to it is divided evenly.
    """
    for length, frame in enumerate(after, 2):
        motion = motion_between(before, frame, estimate)
        if motion.likeness >= ALIKE:
            return deque([motion.part(1 / length)] * length)
    return deque()
