"""Dreams that flow with a video: frames in, dreamed frames out.

The video loop is the octave loop turned on its side. The octave loop carries detail (dream minus
source) from a coarse image to a finer one by resizing it; this one carries detail from a frame to
the next by warping it along the flow.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.dreaming.ascent import Ascent, not_finite
from dreamreel.pipeline.dreaming.colour import Colours, coloured
from dreamreel.pipeline.dreaming.control import (
    FREE,
    STEADY_CLIMB,
    CrispnessLoop,
    FullnessLoop,
    StrengthLoop,
    at_full_strength,
    reference_strength,
)
from dreamreel.pipeline.dreaming.detail import (
    SMALLEST_CLIMB,
    Carried,
    Keeps,
    begun,
    climbed_on,
    clipped,
    hold_light,
    mixed,
)
from dreamreel.pipeline.dreaming.enlarging import enlarged, scale_of, shrunk
from dreamreel.pipeline.dreaming.masks import Masking, Painted
from dreamreel.pipeline.dreaming.patches import fill_in
from dreamreel.pipeline.dreaming.subject import IDLE, OnSteps, Subject
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.motion.content import share_seen
from dreamreel.pipeline.motion.following import Followed, MovingFrame
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.stages import timed
from dreamreel.pipeline.tensors import inside, pasted, resize, to_image

BARE_COUNTS = 1.0  # weight of a bare place in a measurement; a fully dreamed one's is 1 more
COARSE_SHARE = 0.35  # of the finest octave's climb, that the others take in one step
CATCH_UP_FRAMES = 4  # frames in which a newly seen place is dreamed as a still is
CATCH_UP_MORE = 1.4  # times a still's climb: fewer, larger steps lead less far
FEWER_STEPS = 0.2  # of a step: how much longer than a still's steps may become to save one
AWAKE = 0.1  # share of a frame that must be seen for it to be dreamed
# A shot that begins with less contrast than DIM, in levels, RMS, is watched while it becomes
# brighter: until its contrast has not risen, RISES times at once, for WAITS frames. Its dream is
# born again at BIRTH times the contrast of the last birth. What is held is measured anew in the
# end, at MEASURED_AGAIN times that contrast.
DIM, RISES, WAITS, BIRTH, MEASURED_AGAIN = 6.0, 1.01, 4, 1.5, 1.03
BLEND_FRAMES = 6  # in which a dream that is born again replaces the one before
FRESH_AT_LEAST = 0.01  # share of a frame that must be newly seen for a light touch


@dataclass
class Awakening:
    """The dim beginning of a shot that becomes brighter.

    The shot is dreamed once there is something to see. At certain levels of contrast, its dream is
    born again: dreamed like the first frame of a shot that begins so bright, and blended in over
    the next frames.
    """

    contrast: float = 0.0  # of the frame of the last birth
    most: float = 0.0  # contrast so far
    waited: int | None = None  # frames since it was reached; None if the shot is wide awake
    newborn: Carried | None = None  # the dream that is blended in
    blended: int = 0  # frames since that birth

    def begin(self, contrast: float) -> None:
        """Begin with a frame of that `contrast`."""
        self.contrast, self.most = contrast, contrast
        self.waited, self.newborn = 0 if contrast < DIM else None, None

    @property
    def rises(self) -> bool:
        """Whether the shot is still becoming brighter."""
        return self.waited is not None

    def tell(self, contrast: float) -> None:
        """Learn the `contrast` of the next frame."""
        if self.waited is not None:
            self.waited = 0 if contrast > RISES * self.most else self.waited + 1
            self.waited = self.waited if self.waited < WAITS else None
        self.most = max(self.most, contrast)

    def bear(self, newborn: Carried) -> None:
        """Take `newborn` to be blended in."""
        self.newborn, self.blended = newborn, 0

    def blend(self, carried: Carried) -> Carried:
        """`carried` with the newborn dream's share in the next frame, if there is one."""
        if self.newborn is None:
            return carried
        self.blended += 1
        blend = carried.towards(self.newborn, 1 / (1 + BLEND_FRAMES - self.blended))
        if self.blended == BLEND_FRAMES:
            self.newborn = None
        return blend


@dataclass
class VideoState:
    """Everything that the next frame of a video needs of those before it."""

    carried: Carried | None = None  # from the last frame; None if the shot is not dreamed yet
    box: Box | None = None  # the picture in the last frame
    first: int = 0  # the number of the shot's first frame, whose chance its births share
    since: int = 0  # frames since the shot's first dream
    awakening: Awakening = field(default_factory=Awakening)
    strength: StrengthLoop = field(default_factory=StrengthLoop)
    crispness: CrispnessLoop = field(default_factory=CrispnessLoop)
    fullness: FullnessLoop = field(default_factory=FullnessLoop)
    painted: list[Painted | None] = field(default_factory=list)  # masks that follow the flow
    followed: Followed | None = None  # the state of `follow_motion`
    cuts: list[int] = field(default_factory=list)  # the first frames of all shots but the first

    def forget(self, first: int) -> None:
        """Begin a shot, with the frame `first`, with loops that know nothing of the shots before,
        so that a shot is dreamed alike whether they were rendered or not."""
        self.first, self.since, self.carried = first, 0, None
        self.strength, self.crispness = StrengthLoop(), CrispnessLoop()
        self.fullness, self.awakening = FullnessLoop(), Awakening()

    def refit(self, box: Box, scale: float = 1.0) -> None:
        """Bring what is carried, in frames at that `scale`, to the picture in `box` of the next
        frame."""
        if self.box is not None and self.carried is not None:
            boxes = shrunk(self.box, scale), shrunk(box, scale)
            self.carried = self.carried.refitted(*boxes)
            if self.awakening.newborn is not None:
                self.awakening.newborn = self.awakening.newborn.refitted(*boxes)
        if self.box is not None:
            before = self.box
            self.painted = [one and one.refitted(before, box) for one in self.painted]
        self.box = box


def dream_video(
    frames: Iterable[MovingFrame],
    network: Network,
    over_time: OverTime,
    state: VideoState | None = None,
    on_first: OnSteps = IDLE,
    palette: Colours | None = None,
    masking: Masking | None = None,
) -> Iterator[Tensor]:
    """The dream of each frame, (1, 3, H, W) in [0, 1], in order.

    A shot's first frame is dreamed like a still. After that, detail is carried along the flow, and
    a few steps keep it alive, sized to hold the first frame's strength. Newly seen places are
    dreamed like a still, over a few frames. Bars come out as they are. Where a frame has nothing to
    see, the dream is not shown, and waits. `over_time` gives the settings of each frame. `state`
    is that after the frames before, if there are any; it is updated in place. `on_first` gets the
    steps of the first frame that is dreamed of all: those done, and their number. `palette` has the
    colours of the picture `dream.palette`, if there is one. With `masking`, each frame is dreamed
    inside its masks; outside, it comes out as it is.
    """
    state = state or VideoState()
    on_steps = on_first if state.carried is None and not state.cuts else IDLE
    for moving in frames:
        whole = to_image(moving.frame, network.device)
        source = inside(whole, moving.box)
        settings, size = over_time(moving.number), moving.box.size
        if moving.motion is None:
            state.forget(moving.number)
            if moving.followed is not None and moving.followed.judged > 1:
                state.cuts.append(moving.number)
        scale = scale_of(settings.dream, whole.shape[3])
        state.refit(moving.box, scale)
        masks = None
        if masking is not None:
            state.painted = masking.follow(state.painted, moving, settings)
            masks = masking.of(moving, settings, state.painted)
        small = resize(source, shrunk(moving.box, scale).size)
        inner = None if masks is None else masks.at((small.shape[2], small.shape[3]))
        subject = Subject.of(small, moving.number, network, settings, inner)
        carried, seen = _carried_to(subject, state, moving, on_steps), share_seen(moving.contrast)
        on_steps = on_steps if carried is None else IDLE
        state.carried, state.followed = carried, moving.followed
        if carried is not None and seen > 0:
            dreamed = (source + seen * enlarged(carried.detail, size)).clamp(0, 1)
            look, mask = subject.settings.dream, None if masks is None else masks.whole
            dreamed = coloured(source, dreamed, look, palette, seen)
            whole = pasted(whole, mixed(source, dreamed, look.mix, mask), moving.box)
        yield whole


def _carried_to(
    subject: Subject, state: VideoState, moving: MovingFrame, on_steps: OnSteps
) -> Carried | None:
    """What the next frames need of this one; None as long as the shot has nothing to see, or
    nothing inside its mask. `on_steps` gets the steps of a shot's first frame."""
    awake = share_seen(moving.contrast) >= AWAKE and subject.is_anywhere
    if state.carried is None or moving.motion is None:
        if not awake:
            return None
        carried = _first_frame(subject, state, moving.contrast, on_steps)
    else:
        state.since += 1
        arrived = state.carried.along(moving.motion).inside(subject.mask)
        if not awake:
            return arrived
        carried = _next_frame(subject, state, arrived, moving)
    _measure(subject, state, carried, moving.contrast)
    return carried


def begin_shot(subject: Subject, on_step: Callable[[], None] = lambda: None) -> Carried:
    """A shot's first frame, dreamed like a still, with its broad light held.

    Its `direction` is such that a climb of `STEADY_CLIMB` steps of a still's size just replaces the
    detail that fades in a frame. `on_step` is called after each ascent step.
    """
    source, settings = subject.source, subject.settings.video
    subject = subject.calibrate()
    dreamed = subject.dreamed(source, subject.first, on_step)
    detail = hold_light(dreamed, source, settings.hold_light, subject.mask) - source
    usual = STEADY_CLIMB * subject.still.size
    direction = detail * ((1 - settings.carry) / max(usual, SMALLEST_CLIMB))
    return Carried(detail, direction, subject.inside(torch.ones_like(source[:, :1])))


def carry_on(
    subject: Subject, arrived: Carried, climb: float, carry: float, bare: float
) -> Carried:
    """A frame dreamed in full: the share `carry` of the detail that `arrived` is kept, and a climb
    of `climb` steps of a still's size replaces the rest. Newly seen places, of which the mean share
    is `bare`, climb further.

    No step is larger than a still's, unless `video.frame_steps` is too few. The direction of ascent
    is averaged along the flow, so that what single steps find by chance averages out.
    """
    source, settings, still = subject.source, subject.settings.video, subject.still
    fresh, further = _fresh(subject, arrived, True), _catch_up_climb(subject.settings) - climb
    far = climb + max(0.0, further) * fresh
    mean = climb + max(0.0, further) * bare
    steps = min(max(1, round(mean - FEWER_STEPS)), settings.frame_steps)
    way = still.size * far
    start = begun(source, arrived.detail, carry)
    ascent = Ascent(steps, way / max(steps, 1), fresh, COARSE_SHARE, checked=False)
    dreamed = subject.dreamed(start, ascent)
    keeps = Keeps(carry, settings.momentum, settings.hold_light)
    detail, direction = climbed_on(source, arrived, (start, dreamed), way, keeps, subject.mask)
    level = (arrived.level + fresh / CATCH_UP_FRAMES).clamp(0, 1)
    return Carried(detail, direction, level).inside(subject.mask)


def touch_up(subject: Subject, arrived: Carried, bare: float) -> Carried:
    """A frame dreamed lightly, between those dreamed in full: nothing fades, and only newly seen
    places, of which the mean share is `bare`, are dreamed, in the coarser octaves."""
    source, fresh = subject.source, _fresh(subject, arrived, False)
    start, unseen = clipped(source + arrived.detail)
    dreamed = start
    if bare > FRESH_AT_LEAST:
        way = subject.still.size * _catch_up_climb(subject.settings) * fresh
        ascent = Ascent(1, way, fresh, coarse=1.0, finest=False, checked=False)
        dreamed = subject.dreamed(start, ascent)
        held = subject.settings.video.hold_light
        dreamed = hold_light(dreamed, source, held, subject.mask)
    touched = Carried(dreamed - source + unseen, arrived.direction, arrived.level)
    return touched.inside(subject.mask)


def _first_frame(
    subject: Subject, state: VideoState, contrast: float, on_steps: OnSteps
) -> Carried:
    state.forget(state.first)
    state.awakening.begin(contrast)
    first = replace(subject, number=state.first).calibrate()
    carried = begin_shot(first, first.counting(on_steps))
    _begin_loops(subject, state, carried)
    state.strength.reference.strength = reference_strength(subject.settings, subject.terms)
    return carried


def _next_frame(
    subject: Subject, state: VideoState, arrived: Carried, moving: MovingFrame
) -> Carried:
    assert moving.motion is not None
    settings, young = subject.settings.video, state.awakening
    if young.newborn is not None:
        young.newborn = young.newborn.along(moving.motion).inside(subject.mask)
    _wake(subject, state, moving.contrast)
    arrived, loop = young.blend(arrived), state.strength
    arrived = fill_in(subject, arrived, moving.motion.uncovered, loop.reference.gain)
    in_full = state.since % settings.cadence == 0
    fullness, bare = _read(subject, arrived, loop, in_full)
    if in_full:
        kept = state.fullness.carry(fullness, settings.carry, loop.shortage, loop.share)
        carried = carry_on(subject, arrived, loop.climb, kept, bare)
    else:
        carried = touch_up(subject, arrived, bare)
    detail = state.crispness.held(subject.source, carried.detail, loop.share, subject.mask)
    return replace(carried, detail=subject.inside(detail))


def _read(
    subject: Subject, arrived: Carried, loop: StrengthLoop, in_full: bool
) -> tuple[float, float]:
    """The fullness of what `arrived`, and the mean share of newly seen places. The `loop` is told
    what was measured of the frame before. Here alone does a frame wait for its device."""
    found = torch.stack([arrived.fullness(), subject.mean(_fresh(subject, arrived, in_full))])
    untold, loop.untold = loop.untold, None
    numbers = (found if untold is None else torch.cat([found, untold])).tolist()
    if not all(map(math.isfinite, numbers)):
        raise not_finite(subject.network)
    if untold is not None:
        loop.tell(*numbers[2:])
    return numbers[0], numbers[1]


def _fresh(subject: Subject, arrived: Carried, in_full: bool) -> Tensor:
    """How newly seen each place is, (1, 1, H, W), from 0 to 1. In a frame dreamed `in_full`, all
    counts that is not wholly dreamed."""
    bare = 1 - arrived.level
    return subject.inside((bare * CATCH_UP_FRAMES).clamp(0, 1) if in_full else bare)


def _wake(subject: Subject, state: VideoState, contrast: float) -> None:
    """Dream a frame of that `contrast` like the shot's first, by the same chance, if it is much
    brighter than that, and hold that dream's strength from now on."""
    young = state.awakening
    before = young.rises
    young.tell(contrast)
    if not before:
        return
    born = contrast > BIRTH * young.contrast
    if born or (not young.rises and contrast > MEASURED_AGAIN * young.contrast):
        young.contrast = contrast
        newborn = begin_shot(replace(subject, number=state.first))
        _begin_loops(subject, state, newborn)
        state.strength = StrengthLoop(reference=state.strength.reference)
        state.strength.begin(*_pair_of_responses(subject, newborn).tolist())
        if born:
            young.bear(newborn)
    state.strength.free = 1.0 if young.rises else FREE


def _pair_of_responses(
    subject: Subject, carried: Carried, where: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """The responses to a frame and to its dream `carried`, (2,). `where` weighs the places, if
    given. `known`: the response (1,) to the frame, if it need not be measured."""
    dreamed = (subject.source + carried.detail).clamp(0, 1)
    if known is None:  # one by one: two at once take twice the memory, and no less time
        known = subject.response(subject.source, where)
    return torch.cat([known, subject.response(dreamed, where)])


@timed("loops")
def _begin_loops(subject: Subject, state: VideoState, carried: Carried) -> None:
    state.crispness.begin(subject.source, carried.detail, subject.mask)
    state.fullness.begin(float(carried.fullness()))


@timed("loops")
def _measure(subject: Subject, state: VideoState, carried: Carried, contrast: float) -> None:
    """Let the controllers measure the frame of that `contrast` whose dream is `carried`, if that is
    due."""
    loop, settings = state.strength, subject.settings
    steers = settings.flow.method != "none" and settings.video.frame_steps > 0
    began = state.since == 0
    if steers and loop.reference.is_missing(settings, subject.terms):
        still = begin_shot(subject.by(at_full_strength(settings)))
        _begin_loops(subject, state, still)
        loop.begin(*_pair_of_responses(subject, still).tolist())
        loop.reference.strength, began = 1.0, False
    loop.share = loop.reference.share(settings.dream.strength)
    if steers and loop.is_due(state.since, settings.video.cadence):
        where, known = BARE_COUNTS + carried.level, None
        if not began:
            known = loop.known_source(state.since, contrast)
        found = _pair_of_responses(subject, carried, where, known)
        if known is None:
            loop.source, loop.source_since, loop.source_contrast = found[:1], state.since, contrast
        if began:
            loop.begin(*found.tolist())
        else:
            loop.untold = found  # until the next frame, which waits for its device once


def _catch_up_climb(settings: Settings) -> float:
    """The climb of a newly seen place in a frame, in steps of a still's size."""
    return CATCH_UP_MORE * settings.dream.steps / CATCH_UP_FRAMES
