"""Dreams that flow with a video: frames in, dreamed frames out.

The video loop is the octave loop turned on its side. The octave loop carries detail (dream minus
source) from a coarse image to a finer one by resizing it; this one carries detail from a frame to
the next by warping it along the flow.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.control import (
    STEADY_CLIMB,
    CrispnessLoop,
    FullnessLoop,
    StrengthLoop,
    at_full_strength,
    reference_strength,
)
from dreamreel.pipeline.dreaming.detail import Carried, hold_light, mixed
from dreamreel.pipeline.dreaming.patches import fill_in
from dreamreel.pipeline.dreaming.subject import IDLE, OnSteps, Subject
from dreamreel.pipeline.motion.following import Followed, MovingFrame
from dreamreel.pipeline.motion.visibility import Motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_image

BARE_COUNTS = 1.0  # weight of a bare place in a measurement; a fully dreamed one's is 1 more
COARSE_SHARE = 0.35  # of the finest octave's climb, that the others take in one step
CATCH_UP_FRAMES = 4  # frames in which a newly seen place is dreamed as a still is
CATCH_UP_MORE = 1.4  # times a still's climb: fewer, larger steps lead less far
FEWER_STEPS = 0.2  # of a step: how much longer than a still's steps may become to save one
SMALLEST_CLIMB = 0.05  # levels of 255: the least that a direction is divided by
FRESH_AT_LEAST = 0.01  # share of a frame that must be newly seen for a light touch


@dataclass
class VideoState:
    """Everything that the next frame of a video needs of those before it."""

    carried: Carried | None = None  # from the last frame
    since: int = 0  # frames since the shot's first
    strength: StrengthLoop = field(default_factory=StrengthLoop)
    crispness: CrispnessLoop = field(default_factory=CrispnessLoop)
    fullness: FullnessLoop = field(default_factory=FullnessLoop)
    followed: Followed | None = None  # the state of `follow_motion`
    cuts: list[int] = field(default_factory=list)  # the first frames of all shots but the first

    def forget(self) -> None:
        """Begin a shot with loops that know nothing of the shots before, so that a shot is dreamed
        alike whether they were rendered or not."""
        self.since = 0
        self.strength, self.crispness = StrengthLoop(), CrispnessLoop()
        self.fullness = FullnessLoop()


def dream_video(
    frames: Iterable[MovingFrame],
    network: Network,
    over_time: OverTime,
    state: VideoState | None = None,
    on_first: OnSteps = IDLE,
) -> Iterator[Tensor]:
    """The dream of each frame, (1, 3, H, W) in [0, 1], in order.

    A shot's first frame is dreamed like a still. After that, detail is carried along the flow, and
    a few steps keep it alive, sized to hold the first frame's strength. Newly seen places are
    dreamed like a still, over a few frames. `over_time` gives the settings of each frame. `state`
    is that after the frames before, if there are any; it is updated in place. `on_first` gets the
    steps of the first frame of all: those done, and their number.
    """
    state = state or VideoState()
    for moving in frames:
        source = to_image(moving.frame, network.device)
        subject = Subject.of(source, moving.number, network, over_time(moving.number))
        if moving.motion is None or state.carried is None:
            if moving.followed is not None and state.carried is not None:
                state.cuts.append(moving.number)
            steps = on_first if state.carried is None else IDLE
            carried = _first_frame(subject, state, subject.counting(steps))
        else:
            carried = _next_frame(subject, state, state.carried, moving.motion)
        _measure(subject, state, carried)
        state.carried, state.followed = carried, moving.followed
        yield mixed(source, source + carried.detail, subject.settings.dream.mix)


def begin_shot(subject: Subject, on_step: Callable[[], None] = lambda: None) -> Carried:
    """A shot's first frame, dreamed like a still, with its broad light held.

    Its `direction` is such that a climb of `STEADY_CLIMB` steps of a still's size just replaces the
    detail that fades in a frame. `on_step` is called after each ascent step.
    """
    source, settings = subject.source, subject.settings.video
    dreamed = subject.dreamed(source, subject.still, on_step)
    detail = hold_light(dreamed, source, settings.hold_light) - source
    usual = STEADY_CLIMB * subject.still.size
    direction = detail * ((1 - settings.carry) / max(usual, SMALLEST_CLIMB))
    return Carried(detail, direction, torch.ones_like(source[:, :1]))


def carry_on(subject: Subject, arrived: Carried, climb: float, carry: float) -> Carried:
    """A frame dreamed in full: the share `carry` of the detail that `arrived` is kept, and a climb
    of `climb` steps of a still's size replaces the rest. Newly seen places climb further.

    No step is larger than a still's, unless `video.frame_steps` is too few. The direction of ascent
    is averaged along the flow, so that what single steps find by chance averages out.
    """
    source, settings, still = subject.source, subject.settings.video, subject.still
    fresh = ((1 - arrived.level) * CATCH_UP_FRAMES).clamp(0, 1)
    far = climb + max(0.0, _catch_up_climb(subject.settings) - climb) * fresh
    steps = min(max(1, round(float(far.mean()) - FEWER_STEPS)), settings.frame_steps)
    way = still.size * far
    start = (source + carry * arrived.detail).clamp(0, 1)
    dreamed = subject.dreamed(start, Ascent(steps, way / max(steps, 1), fresh, COARSE_SHARE))
    found = (dreamed - start) / way.clamp_min(SMALLEST_CLIMB)
    direction = found.lerp(arrived.direction, settings.momentum * arrived.level)
    climbed = (start + way * direction).clamp(0, 1)
    level = (arrived.level + fresh / CATCH_UP_FRAMES).clamp(0, 1)
    return Carried(hold_light(climbed, source, settings.hold_light) - source, direction, level)


def touch_up(subject: Subject, arrived: Carried) -> Carried:
    """A frame dreamed lightly, between those dreamed in full: nothing fades, and only newly seen
    places are dreamed, in the coarser octaves."""
    source, fresh = subject.source, 1 - arrived.level
    dreamed = start = (source + arrived.detail).clamp(0, 1)
    if float(fresh.mean()) > FRESH_AT_LEAST:
        way = subject.still.size * _catch_up_climb(subject.settings) * fresh
        dreamed = subject.dreamed(start, Ascent(1, way, fresh, coarse=1.0, finest=False))
        dreamed = hold_light(dreamed, source, subject.settings.video.hold_light)
    return Carried(dreamed - source, arrived.direction, arrived.level)


def _first_frame(subject: Subject, state: VideoState, on_step: Callable[[], None]) -> Carried:
    state.forget()
    carried = begin_shot(subject, on_step)
    _begin_loops(subject, state, carried)
    state.strength.reference.strength = reference_strength(subject.settings, subject.terms)
    return carried


def _next_frame(subject: Subject, state: VideoState, before: Carried, motion: Motion) -> Carried:
    state.since += 1
    loop, settings = state.strength, subject.settings.video
    arrived = before.along(motion)
    arrived = fill_in(subject, arrived, motion.uncovered, loop.reference.gain)
    if state.since % settings.cadence == 0:
        fullness = arrived.fullness()
        kept = state.fullness.carry(fullness, settings.carry, loop.shortage, loop.share)
        carried = carry_on(subject, arrived, loop.climb, kept)
    else:
        carried = touch_up(subject, arrived)
    detail = state.crispness.held(subject.source, carried.detail, loop.share)
    return replace(carried, detail=detail)


def _begin_loops(subject: Subject, state: VideoState, carried: Carried) -> None:
    state.crispness.begin(subject.source, carried.detail)
    state.fullness.begin(carried.fullness())


def _measure(subject: Subject, state: VideoState, carried: Carried) -> None:
    """Let the controllers measure the frame whose dream is `carried`, if that is due."""
    loop, source, settings = state.strength, subject.source, subject.settings
    steers = settings.flow.method != "none" and settings.video.frame_steps > 0
    began = state.since == 0
    if steers and loop.reference.is_missing(settings, subject.terms):
        still = begin_shot(subject.by(at_full_strength(settings)))
        _begin_loops(subject, state, still)
        loop.begin(*subject.responses(torch.cat([source, source + still.detail])))
        loop.reference.strength, began = 1.0, False
    loop.share = loop.reference.share(settings.dream.strength)
    if steers and loop.is_due(state.since, settings.video.cadence):
        pair = torch.cat([source, source + carried.detail])
        before, after = subject.responses(pair, BARE_COUNTS + carried.level)
        (loop.begin if began else loop.tell)(before, after)


def _catch_up_climb(settings: Settings) -> float:
    """The climb of a newly seen place in a frame, in steps of a still's size."""
    return CATCH_UP_MORE * settings.dream.steps / CATCH_UP_FRAMES
