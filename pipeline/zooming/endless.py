"""The endless zoom: dream, move the camera, dream again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.colour import Colours, coloured, with_colour_of
from dreamreel.pipeline.dreaming.control import (
    EvolutionLoop,
    VarietyLoop,
    at_full_strength,
    reference_strength,
)
from dreamreel.pipeline.dreaming.objectives.activations import DEVIATION, DIVERSITY
from dreamreel.pipeline.dreaming.subject import IDLE, OnSteps, Subject
from dreamreel.pipeline.dreaming.terms import (
    Term,
    are_active,
    mean_responses,
    proportions,
)
from dreamreel.pipeline.networks.network import Network, judged_size
from dreamreel.pipeline.tensors import blur, resize, sharpness
from dreamreel.pipeline.zooming.arrival import LIKE_IT, around, arrived, inlaid
from dreamreel.pipeline.zooming.bands import USUAL_RATE, DetailLoop, within
from dreamreel.pipeline.zooming.borders import filled, surrounded
from dreamreel.pipeline.zooming.camera import view
from dreamreel.pipeline.zooming.grain import Ahead, Chance, grain, seeds
from dreamreel.pipeline.zooming.journey import (
    Journey,
    apparent_scale,
    growth,
    homeward,
    margin_for,
    motions,
    nearness,
)
from dreamreel.pipeline.zooming.palette import Palette
from dreamreel.pipeline.zooming.things import LIVELY_SIGMA

MEASURED_EVERY = 3  # frames between measurements of the response
SPREAD_EVERY = 6  # frames between measurements of the spread
GROWN_SECONDS = 0.5  # until new picture is as old as any
GROWN_MORE = 6.0  # times further that it climbs until then
# How the ascent differs between lively and dull places: it goes as 1 / (LIVELY_FLOOR + lively),
# where the response is smoothed by LIVELY_SIGMA places. Below DULL of its mean, seeds are sown.
LIVELY_FLOOR, DULL = 0.2, 0.5
GROWS = 1.05  # times in a second: above this, the picture grows


@dataclass
class Untold:
    """What was measured of the last frame, until the loops learn of it in the next one: a frame
    waits for its device once.

    `numbers` (3,): its sharpness, its response and its spread; the latter two are 0 where they were
    not measured. `strength` and `climbed`: the setting and the proportions of the terms then.
    """

    numbers: Tensor
    has_response: bool
    has_spread: bool
    strength: float
    climbed: dict[str, float]


@dataclass
class ZoomState:
    """Everything that the next frame of a zoom needs of those before it."""

    canvas: Tensor | None = None  # the last frame with the margin around it
    grown: Tensor | None = None  # (1, 1, H, W): age of each place, from 0, new, to 1, grown
    goal: Tensor | None = None  # the dreamed goal with the picture around it
    palette: Palette | None = None  # the one to hold
    detail: DetailLoop = field(default_factory=DetailLoop)
    evolution: EvolutionLoop = field(default_factory=EvolutionLoop)
    variety: VarietyLoop = field(default_factory=VarietyLoop)
    # (1, 1, h, w): the response at the places of a frame, over its mean, as last measured
    lively: Tensor | None = None
    untold: Untold | None = None

    def learn(self) -> None:
        """Let the loops learn of the last frame."""
        if self.untold is None:
            return
        found, self.untold = self.untold, None
        crisp, response, spread = found.numbers.tolist()
        self.detail.tell(crisp)
        if found.has_response:
            self.evolution.tell(response, found.strength, found.climbed, self.detail.room)
        if found.has_spread:
            self.variety.tell(spread)

    def forget_network(self) -> None:
        """Reset the controllers that steer by a network's responses, for another network."""
        self.learn()
        self.evolution, self.variety = EvolutionLoop(), VarietyLoop()
        self.evolution.reference.strength = 0.0
        self.lively = None

    def arrive(self, margin: int) -> None:
        """Make the canvas, which has arrived at the goal, the reference of the frames to come. It
        has a `margin` of so many pixels."""
        assert self.canvas is not None
        self.goal, self.palette = None, Palette.of(within(self.canvas, margin))
        self.untold = None
        self.detail = DetailLoop()
        self.detail.begin(self.canvas, margin)
        self.forget_network()


@dataclass(frozen=True)
class _Flight:
    """What a zoom's frames have in common.

    `moves`: the motion from each frame to the next. `ahead`: for each frame, the homography to the
    goal, see `homeward`; empty without a goal. `margin` and `unit`: the margin's width and the
    frame's height, in pixels. `colours` are those of the picture `dream.palette`.
    `ahead_of_time` draws chance for coming frames.
    """

    network: Network
    journey: Journey
    moves: list[Tensor]
    ahead: list[Tensor | None]
    margin: int
    unit: int
    goal_palette: Palette | None
    colours: Colours | None = None
    ahead_of_time: Ahead | None = None

    @classmethod
    def of(
        cls, network: Network, over_time: OverTime, journey: Journey, size: tuple[int, int]
    ) -> "_Flight":
        moves = motions(over_time, journey, size)
        margin = margin_for(moves[max(0, journey.begins - 1) :], size)
        has_goal = journey.loop or journey.goal is not None
        goal = None if journey.goal is None else Palette.of(journey.goal)
        return cls(
            network, journey, moves, homeward(moves) if has_goal else [], margin, size[0], goal
        )

    def grows(self, number: int) -> bool:
        """Whether the picture grows on the way to frame `number`."""
        return growth([self.moves[number - 1]]) ** float(self.journey.rate) > GROWS

    def scale(self, number: int) -> float:
        """The scale at which frame `number` shows the goal; see `apparent_scale`."""
        return apparent_scale(self.ahead[number])

    def subject(self, image: Tensor, number: int, settings: Settings) -> Subject:
        """`image` with the terms of a zoom, whose objective is `DEVIATION`."""
        return Subject.of(image, number, self.network, settings, objective=DEVIATION)


def infinite_zoom(
    image: Tensor,
    network: Network,
    over_time: OverTime,
    journey: Journey,
    first: int = 0,
    state: ZoomState | None = None,
    on_first: OnSteps = IDLE,
    palette: Colours | None = None,
) -> Iterator[Tensor]:
    """The images of a `journey`, (1, 3, H, W) in [0, 1], in order.

    The first is `image`, dreamed like a still. Each later one is the one before, resampled by the
    moving camera, brought back to the first one's detail and palette, and dreamed a little further.
    Where the camera looks past the edge, new picture has grown in the margin, out of sight.
    `over_time` gives the settings of each frame. `state` is that after the frames before `first`,
    if there are any; it is updated in place. `on_first` gets the steps of the first frame: those
    done, and their number. `palette` has the colours of the picture `dream.palette`, if any.
    """
    state = state or ZoomState()
    flight = _Flight.of(network, over_time, journey, (image.shape[2], image.shape[3]))
    ahead = None if network.device.type == "cpu" else Ahead()
    flight = replace(flight, colours=palette, ahead_of_time=ahead)
    if state.canvas is not None:
        _refit(state, flight.unit + 2 * flight.margin, over_time(first).seed)
    try:
        for number in range(first, journey.frames):
            settings = over_time(number)
            if state.canvas is None:
                _begin(state, image, flight, settings, on_first)
            else:
                _advance(state, flight, settings, number)
            _approach(state, flight, settings, number)
            yield within(_canvas(state), flight.margin)
    finally:
        if ahead is not None:
            ahead.close()


def dreamed_response(image: Tensor, network: Network, settings: Settings) -> tuple[float, Tensor]:
    """The response of `image` (1, 3, H, W) to the terms that a zoom with `settings` climbs, and how
    lively each place is, (1, 1, h, w): the response there over its mean."""
    subject = Subject.of(image, 0, network, settings, objective=DEVIATION)
    response, places = subject.placed_response(image)
    return float(response), places


def spread_of(image: Tensor, network: Network, layer: str, tile: int | None = None) -> float:
    """The spread of `image` (1, 3, H, W): how much the features of `layer` vary over its places,
    from 0, all alike, to 1. `tile` is as for `response_of`."""
    return float(_spread_of(image, network, layer, tile))


def _spread_of(image: Tensor, network: Network, layer: str, tile: int | None) -> Tensor:
    tile = network.sight.at_least(tile, [layer])
    return mean_responses(image, network, [Term(layer, DIVERSITY)], tile=tile)[0]


def _canvas(state: ZoomState) -> Tensor:
    assert state.canvas is not None
    return state.canvas


def _refit(state: ZoomState, height: int, seed: int) -> None:
    """Bring the canvas to the `height` that is needed now: crop its margin, or fill in more."""
    canvas, grown = state.canvas, state.grown
    assert canvas is not None and grown is not None
    more = (height - canvas.shape[2]) // 2
    if more < 0:
        state.canvas, state.grown = within(canvas, -more), within(grown, -more)
    elif more > 0:
        state.canvas = surrounded(canvas, more, Chance(seed, 0))
        state.grown = F.pad(grown, (more,) * 4)


def _begin(
    state: ZoomState, image: Tensor, flight: _Flight, settings: Settings, on_first: OnSteps
) -> None:
    """Set the first canvas: `image` with its margin, dreamed like a still."""
    margin, loop = flight.margin, flight.journey.loop
    dreams = not flight.journey.motion_only
    whole = max(margin, around(image.shape[2])) if loop else margin
    canvas = surrounded(image, whole, Chance(settings.seed, 0)) if whole else image
    subject, reference = flight.subject(image, 0, settings), state.evolution.reference
    if dreams:
        reference.source = subject.responses(image)[0]
        canvas = _still(canvas, whole, flight, settings, on_first)
    calmer = state.detail.begin(canvas, whole).clamp(0, 1)
    canvas = calmer if dreams else canvas
    state.goal = canvas if loop else None
    state.canvas = canvas = within(canvas, whole - margin)
    state.grown = torch.ones_like(canvas[:, :1])
    state.palette = Palette.of(within(canvas, margin))
    if dreams:
        reference.dreamed = subject.responses(within(canvas, margin))[0]
        reference.strength = reference_strength(settings, subject.terms)
        state.evolution.climbed = proportions(subject.terms)


def _advance(state: ZoomState, flight: _Flight, settings: Settings, number: int) -> None:
    """Move the camera to frame `number`, and dream the canvas further."""
    state.learn()
    canvas, grown, dreams = _canvas(state), state.grown, not flight.journey.motion_only
    palette = _palette_for(state, flight, number)
    assert grown is not None
    rate, chance = float(flight.journey.rate), Chance(settings.seed, number, flight.ahead_of_time)
    size = (canvas.shape[2], canvas.shape[3])
    seen = view(flight.moves[number - 1], size, flight.unit, canvas.device)
    canvas, grown = seen.of(canvas), (seen.of(grown) * seen.seen).clamp(0, 1)
    if not seen.whole:
        canvas = filled(canvas, seen.seen, chance)
    lively = _lively_at(state, flight, canvas)
    full = None if lively is None else lively.clamp(0, 1)
    canvas = state.detail.held(canvas, seen.taken, rate, flight.margin, full)
    if dreams:
        noise = grain(canvas, chance, rate)
        if lively is not None:
            noise = noise + seeds(canvas, (1 - lively / DULL).clamp(0, 1), chance, rate)
        canvas = (canvas + noise).clamp(0, 1)
        grows = flight.grows(number)
        ascent = _ascent_of_a_frame(settings, state.evolution.share, rate, grown, lively, grows)
        canvas = _dreamed(canvas, ascent, state, flight, settings, number)
    now = Palette.of(within(canvas, flight.margin))
    state.canvas = palette.held(canvas, now, 1 / rate, settings.zoom.hold_palette)
    state.grown = (grown + 1 / (GROWN_SECONDS * rate)).clamp(0, 1)
    image = within(state.canvas, flight.margin)
    if dreams:
        _measure(state, flight, flight.subject(image, number, settings))
    else:
        state.untold = _untold(sharpness(image))


def _approach(state: ZoomState, flight: _Flight, settings: Settings, number: int) -> None:
    """Blend the goal into the canvas, as far as frame `number` shows it."""
    journey = flight.journey
    if journey.goal is not None and state.goal is None:
        margin = around(flight.unit)
        canvas = surrounded(journey.goal, margin, Chance(settings.seed, 0))
        dreams = not journey.motion_only
        state.goal = _still(canvas, margin, flight, settings) if dreams else canvas
    back = flight.ahead[number] if flight.ahead and number > journey.begins else None
    if state.goal is not None and back is not None:
        goal, began, before = state.goal, flight.scale(journey.begins), flight.scale(number - 1)
        if journey.goal is not None:
            goal = inlaid(goal, journey.goal, flight.scale(number))
        state.canvas = arrived(_canvas(state), goal, back, flight.unit, began, before)
    if journey.goal is not None and number == journey.frames - 1:
        state.arrive(flight.margin)


def _palette_for(state: ZoomState, flight: _Flight, number: int) -> Palette:
    """The palette to hold in frame `number`: with a goal, one that moves towards the goal's."""
    assert state.palette is not None
    if flight.goal_palette is None:
        return state.palette
    first_like = max(LIKE_IT[0], flight.scale(flight.journey.begins))
    share = nearness(flight.scale(number), first_like, LIKE_IT[1])
    return state.palette.towards(flight.goal_palette, share)


def _still(
    image: Tensor, margin: int, flight: _Flight, settings: Settings, on_steps: OnSteps = IDLE
) -> Tensor:
    """`image` (1, 3, H, W), a frame with a `margin` of so many pixels, dreamed like a still, with
    the objective `L2`, in its colours."""
    subject = Subject.of(within(image, margin), 0, flight.network, settings)
    dreamed = subject.dreamed(image, subject.still, subject.counting(on_steps))
    return coloured(image, dreamed, settings.dream, flight.colours)


def _dreamed(
    canvas: Tensor,
    ascent: Ascent,
    state: ZoomState,
    flight: _Flight,
    settings: Settings,
    number: int,
) -> Tensor:
    """`canvas`, dreamed by `ascent`, with its diversity climbed beside where variety is short."""
    subject = flight.subject(canvas, number, settings)
    weight = state.variety.weight * settings.zoom.variety
    deepest = _layer_of_spread(subject)
    beside = [Term(deepest, DIVERSITY, weight)] if deepest is not None and weight > 0 else []
    frame = (canvas.shape[2] - 2 * flight.margin, canvas.shape[3] - 2 * flight.margin)
    dreamed = subject.dreamed(canvas, replace(ascent, frame=frame), others=beside)
    return with_colour_of(canvas, dreamed) if settings.dream.colour == "keep" else dreamed


def _measure(state: ZoomState, flight: _Flight, subject: Subject) -> None:
    """Measure the frame `subject.source` for the controllers, as far as that is due."""
    evolution, settings, image = state.evolution, subject.settings, subject.source
    if evolution.reference.is_missing(settings, subject.terms):
        still = _still(image, 0, flight, at_full_strength(settings))
        calm = DetailLoop().begin(still).clamp(0, 1)
        evolution.reference.source = subject.responses(image)[0]
        evolution.reference.dreamed = subject.responses(calm)[0]
        evolution.reference.strength = 1.0
        evolution.climbed = proportions(subject.terms)
    known = are_active(subject.terms) and evolution.reference.strength > 0
    response = spread = None
    if subject.number % MEASURED_EVERY == 0 and known:
        response, state.lively = subject.placed_response(image)
    small = replace(subject, source=judged_size(image))
    layer = _layer_of_spread(small)
    if subject.number % SPREAD_EVERY == 0 and layer is not None:
        spread = _spread_of(small.source, subject.network, layer, settings.dream.tile)
    climbed = proportions(subject.terms)
    state.untold = _untold(sharpness(image), response, spread, settings.dream.strength, climbed)


def _untold(
    crisp: Tensor,
    response: Tensor | None = None,
    spread: Tensor | None = None,
    strength: float = 0.0,
    climbed: dict[str, float] | None = None,
) -> Untold:
    """What was measured of a frame: how `crisp` it is, a scalar, and the others, (1,) each."""
    none = torch.zeros_like(crisp)
    found = [none if one is None else one.reshape(()) for one in (response, spread)]
    numbers = torch.stack([crisp, *found])
    return Untold(numbers, response is not None, spread is not None, strength, climbed or {})


def _layer_of_spread(subject: Subject) -> str | None:
    """The layer on which the spread of the subject's source is measured; None where the network has
    none at that size, or `zoom.variety` is 0."""
    if subject.settings.zoom.variety == 0:
        return None
    return subject.network.deepest_layer((subject.source.shape[2], subject.source.shape[3]))


def _lively_at(state: ZoomState, flight: _Flight, canvas: Tensor) -> Tensor | None:
    """How lively each place of `canvas` is, (1, 1, H, W): the response there, smoothed, over its
    mean. None as long as it was not measured."""
    if state.lively is None:
        return None
    size = (canvas.shape[2] - 2 * flight.margin, canvas.shape[3] - 2 * flight.margin)
    places = resize(blur(state.lively, LIVELY_SIGMA), size)
    return F.pad(places, (flight.margin,) * 4, mode="replicate")


def _ascent_of_a_frame(
    settings: Settings,
    share: float,
    rate: float,
    grown: Tensor,
    lively: Tensor | None,
    grows: bool,
) -> Ascent:
    """The ascent of a frame at `rate` frames a second: the `share` of `zoom.evolve`.

    Where picture has not `grown` (1, 1, H, W) yet, it is up to `GROWN_MORE` times that. It is more
    where the picture is dull, and less where it is `lively` (1, 1, H, W), if that is known. If the
    picture `grows`, only the finest octave is climbed: the camera makes small things large, so that
    small ones alone need to be born.
    """
    way = settings.zoom.evolve * USUAL_RATE / rate
    steps = min(max(1, math.ceil(way)), max(1, settings.zoom.frame_steps))
    size = settings.dream.step_size * settings.dream.strength * way * share / steps
    way_at = size * (1 + (GROWN_MORE - 1) * (1 - grown))
    if lively is not None:
        more = 1 / (LIVELY_FLOOR + lively)
        way_at = way_at * (more / more.mean())
    return Ascent(
        steps, way_at, coarse=0 if grows else None, even=lively is not None, checked=False
    )
