"""The dream of what is seen just now, frame by frame, carried along the flow."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.masking import has_masks
from dreamreel.pipeline.jobs.preparation import palette_of
from dreamreel.pipeline.live.source import Seen
from dreamreel.pipeline.motion.following import MovingFrame, follow_motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_frame

WIDTH = 320  # pixels, where no other width is given: a frame of 320x180 takes a tenth of a second
# Frames a second that are assumed where a time must be counted in frames. The motion between two
# frames is what it is at any rate.
ASSUMED_RATE = Fraction(12)
# Pixels at the working size: a picture stands still while the flow of all but STRAY of its places
# is shorter. A hand-held camera moves by 0.5 to 2 and a still one by less than 0.1 in a frame.
STILL, STRAY = 0.4, 0.02
SETTLES, APPEARS, GOES = 0.5, 1.5, 0.4  # seconds: still before a dream begins; until it has come
# or gone. Chosen by eye, not tuned.


@dataclass(frozen=True)
class Shown:
    """A dreamed `frame` (H, W, 3), BGR, 8 bits; the seconds that it came after what it shows was
    seen; and the share of the dream in it, which is 0 while nothing is dreamed."""

    frame: Frame
    delay: float
    share: float


def check_live(settings: Settings) -> None:
    """Raise UserError if `settings` need a film that has an end, or a mask."""
    if settings.schedules:
        names = ", ".join(settings.schedules)
        raise UserError(f"a schedule of {names} needs a film with an end; give it one value")
    if has_masks(settings):
        raise UserError("a live dream has no masks; leave mask and region out")


def live_settings(settings: Settings) -> Settings:
    """`settings` for frames of which none may be waited for: a flash is taken for a cut."""
    shots = settings.shots.model_copy(update={"flash_seconds": 0.0})
    changed: Settings = settings.model_copy(update={"shots": shots})
    return changed


def dream_live(
    seen: Iterable[Seen], network: Network, settings: Settings, when_still: bool = False
) -> Iterator[Shown]:
    """The dream of each frame of `seen`, which gives the newest whenever it is asked.

    With `when_still`, a picture that moves is shown as it is, and nothing is computed but its
    motion. Once it stands still, a dream grows in it.
    """
    settings, came = live_settings(settings), _Times()
    over_time, palette = constant(settings), palette_of(settings)
    state, stillness = VideoState(), _Stillness()
    for moving in follow_motion(came.noted(seen), ASSUMED_RATE, settings):
        share = stillness.share(moving, time.monotonic()) if when_still else 1.0
        if share == 0:
            state = VideoState()
            yield Shown(moving.frame, came.since(), share)
            continue
        if when_still and state.carried is None:
            moving = replace(moving, motion=None)  # the dream begins here
        (image,) = dream_video([moving], network, over_time, state, palette=palette)
        frame = to_frame(image)
        if share < 1:
            frame = _blend(moving.frame, frame, share)
        yield Shown(frame, came.since(), share)


class _Times:
    """When the frame that was asked for last was seen."""

    def __init__(self) -> None:
        self._at = 0.0

    def noted(self, seen: Iterable[Seen]) -> Iterator[Frame]:
        for one in seen:
            self._at = one.at
            yield one.frame

    def since(self) -> float:
        return time.monotonic() - self._at


class _Stillness:
    """How much of a dream is shown: it comes once the picture has stood still, and goes when it
    moves."""

    def __init__(self) -> None:
        self._still_since: float | None = None
        self._before: float | None = None
        self._share = 0.0

    def share(self, moving: MovingFrame, now: float) -> float:
        """The share of the dream in the frame `moving`, at the time `now`, in seconds."""
        if not stands_still(moving):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        comes = self._still_since is not None and now - self._still_since >= SETTLES
        passed = 0.0 if self._before is None else now - self._before
        change = passed / APPEARS if comes else -passed / GOES
        self._share, self._before = min(max(self._share + change, 0.0), 1.0), now
        return self._share


def stands_still(moving: MovingFrame) -> bool:
    """Whether the picture of `moving` stands still since the frame before."""
    if moving.motion is None:
        return False
    return bool((np.hypot(*np.moveaxis(moving.motion.flow, -1, 0)) > STILL).mean() < STRAY)


def _blend(source: Frame, dreamed: Frame, share: float) -> Frame:
    mixed = source[..., :3] * np.float32(1 - share) + dreamed * np.float32(share)
    return mixed.round().astype(np.uint8)
