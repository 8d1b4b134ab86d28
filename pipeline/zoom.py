"""The endless zoom: dream, move the camera, dream again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.animate import (
    TELLING,
    at_full_strength,
    still_ascent,
    telling_strength,
    to_device,
)
from dreamreel.pipeline.arrival import LIKE_IT, around, arrived, inlaid
from dreamreel.pipeline.camera import view
from dreamreel.pipeline.dream import Aim, Ascent, dream
from dreamreel.pipeline.durable import Tree
from dreamreel.pipeline.grain import filled, generator, grain, surrounded
from dreamreel.pipeline.journey import (
    Journey,
    homeward,
    margin_for,
    motions,
    nearness,
    scale_of,
)
from dreamreel.pipeline.look import Look
from dreamreel.pipeline.measure import judged_size
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.objectives import diverse, spread, varied
from dreamreel.pipeline.settings import OverTime, Settings
from dreamreel.pipeline.spectrum import TINY, USUAL_RATE, DetailLoop, within

MEASURED_EVERY, LOOKED_THROUGH_EVERY = 3, 6  # frames: the strength, and the variety
GROWN_SECONDS = 0.5  # until new picture is as old as any
GROWN_MORE = 6.0  # how much further it climbs until then


class EvolutionLoop:
    """Keeps a zoom as strongly dreamed as its first frame: a PI controller of how far each frame
    climbs, in shares of what is set."""

    PROPORTIONAL, INTEGRAL = 1.5, 0.1
    LEAST, CROWDED, MOST = 0.2, 0.4, 1.8

    def __init__(self) -> None:
        self.source, self.target = 0.0, 0.0  # excitement by the first frame, and by its dream
        self.began_at = 1.0  # the strength that was set then
        self.layers: dict[str, float] = {}  # that are excited
        self.steady, self.share = 0.4, 0.4  # about what it takes, until more is known

    def tell(
        self, excitement: float, strength: float, layers: dict[str, float], room: float
    ) -> None:
        """A frame excites the `layers` so much, when this `strength` is set. Of other layers than
        those before nothing is known but this: they are to stay so. As little `room` as there is
        for more detail, from 1, enough, to 0, so little does it climb."""
        layers = alike(layers)
        if layers != self.layers:
            change = excitement / self.target
            self.source, self.target = self.source * change, excitement
            self.began_at, self.layers = strength if strength >= TELLING else 0.0, layers
        if self.began_at == 0:
            return
        wanted = strength / self.began_at
        short = math.log(max(self.source + (self.target - self.source) * wanted, TINY) / excitement)
        most = self.CROWDED + (self.MOST - self.CROWDED) * room

        def limited(share: float) -> float:
            return min(max(share, self.LEAST), most)

        self.steady = limited(self.steady * math.exp(self.INTEGRAL * short))
        self.share = limited(self.steady * math.exp(self.PROPORTIONAL * short))


class VarietyLoop:
    """Keeps a zoom from becoming one pattern: where the deepest features vary less over the
    picture than they did early on, their spread is climbed, beside what is dreamed."""

    GAIN, SLACK, MOST = 8.0, 0.03, 1.5
    EARLY = 50  # times, after which what is usual is known

    def __init__(self) -> None:
        self.usual, self.told = 0.0, 0  # the spread early on, and how often it was told
        self.weight = 0.0  # of climbing it, where that of the layers is 1

    def tell(self, found: float) -> None:
        """The spread was `found` in a frame."""
        if self.told < self.EARLY:
            self.told += 1
            self.usual += (found - self.usual) / self.told
        short = 1 - self.SLACK - found / max(self.usual, TINY)
        self.weight = min(max(self.GAIN * short, 0.0), self.MOST)


@dataclass
class ZoomMemory:
    """What `infinite_zoom` knows of the frames before: all that those after them need."""

    canvas: Tensor | None = None  # the last of them, and what is around it
    grown: Tensor | None = None  # (1, 1, H, W): from 0, new, to 1, how long each place was dreamed
    goal: Tensor | None = None  # what is arrived at, dreamed, and what is around it
    look: Look | None = None
    detail: DetailLoop = field(default_factory=DetailLoop)
    evolution: EvolutionLoop = field(default_factory=EvolutionLoop)
    variety: VarietyLoop = field(default_factory=VarietyLoop)

    def forget_network(self) -> None:
        """What one network saw of the frames before says nothing about what another will."""
        self.evolution, self.variety = EvolutionLoop(), VarietyLoop()
        self.evolution.began_at = 0.0

    def arrive(self, margin: int) -> None:
        """The frames to come are to be as what was arrived at is, which lies `margin` pixels from
        the edges."""
        assert self.canvas is not None
        self.goal, self.look = None, Look.of(within(self.canvas, margin))
        self.detail = DetailLoop()
        self.detail.begin(self.canvas, margin)
        self.forget_network()

    def as_tree(self) -> Tree:
        """This, to be saved."""
        return {
            "canvas": self.canvas,
            "grown": self.grown,
            "goal": self.goal,
            "look": self.look and vars(self.look),
            "detail": vars(self.detail),
            "evolution": vars(self.evolution),
            "variety": vars(self.variety),
        }

    @classmethod
    def from_tree(cls, tree: Tree, device: torch.device) -> "ZoomMemory":
        """What was saved."""
        canvas, grown = (to_device(tree[name], device) for name in ("canvas", "grown"))
        goal = None if tree["goal"] is None else to_device(tree["goal"], device)
        look = Look(**{name: part.to(device) for name, part in tree["look"].items()})
        memory = cls(canvas, grown, goal, look)
        vars(memory.detail).update(tree["detail"])
        vars(memory.evolution).update(tree["evolution"])
        vars(memory.variety).update(tree["variety"])
        return memory


def infinite_zoom(
    image: Tensor,
    network: Network,
    over_time: OverTime,
    journey: Journey,
    first: int = 0,
    memory: ZoomMemory | None = None,
) -> Iterator[Tensor]:
    """The images (1, 3, H, W) of a `journey`: dream, move the camera, dream again.

    The first is `image`, dreamed as a still. Each later one is the one before, seen by a camera
    that moved on, as crisp, as bright and as colourful as the first, dreamed a little further.
    Where the camera looks past the edge, new picture has grown there, unseen, for a while. Where
    those before frame `first` were dreamed already, `memory` is of them; it is kept up to date.
    """
    memory = memory or ZoomMemory()
    size = (image.shape[2], image.shape[3])
    moves = motions(over_time, journey, size)
    margin = margin_for(moves[max(0, journey.begins - 1) :], size)
    if memory.canvas is not None:
        refit(memory, size[0] + 2 * margin, over_time(first).seed)
    ahead = homeward(moves) if journey.loop or journey.goal is not None else []
    scales = [scale_of(back) for back in ahead]
    goal_look = None if journey.goal is None else Look.of(journey.goal)
    for number in range(first, journey.frames):
        settings = over_time(number)
        if memory.canvas is None:
            begin(memory, image, network, settings, margin, journey)
        else:
            look = memory.look
            if goal_look is not None and look is not None:
                first_like = max(LIKE_IT[0], scales[journey.begins])
                share = nearness(scales[number], first_like, LIKE_IT[1])
                look = look.towards(goal_look, share)
            advance(memory, moves[number - 1], network, settings, number, journey, margin, look)
        if journey.goal is not None and memory.goal is None:
            memory.goal = as_goal(journey.goal, network, settings, journey.dreams)
        assert memory.canvas is not None
        back = ahead[number] if ahead and number > journey.begins else None
        if memory.goal is not None and back is not None:
            goal, began, before = memory.goal, scales[journey.begins], scales[number - 1]
            if journey.goal is not None:
                goal = inlaid(goal, journey.goal, scales[number])
            memory.canvas = arrived(memory.canvas, goal, back, size[0], began, before)
        if journey.goal is not None and number == journey.frames - 1:
            memory.arrive(margin)
        yield within(memory.canvas, margin)


def refit(memory: ZoomMemory, height: int, seed: int) -> None:
    """Have the canvas of the frames before as high as is needed now: what lies around it is cut
    off, or made up."""
    canvas, grown = memory.canvas, memory.grown
    assert canvas is not None and grown is not None
    more = (height - canvas.shape[2]) // 2
    if more < 0:
        memory.canvas, memory.grown = within(canvas, -more), within(grown, -more)
    elif more > 0:
        memory.canvas = surrounded(canvas, more, generator(seed, 0))
        memory.grown = F.pad(grown, (more,) * 4)


def as_goal(image: Tensor, network: Network, settings: Settings, dreams: bool) -> Tensor:
    """`image` (1, 3, H, W), to be arrived at: with picture around it, dreamed as a still."""
    canvas = surrounded(image, around(image.shape[2]), generator(settings.seed, 0))
    if not dreams:
        return canvas
    return dream(canvas, network, settings.dream, still_ascent(settings), seed=settings.seed)


def begin(
    memory: ZoomMemory,
    image: Tensor,
    network: Network,
    settings: Settings,
    margin: int,
    journey: Journey,
) -> None:
    """The first canvas: `image`, with new picture around it, dreamed as a still."""
    whole = max(margin, around(image.shape[2])) if journey.loop else margin
    canvas = surrounded(image, whole, generator(settings.seed, 0)) if whole else image
    evolution = memory.evolution
    if journey.dreams:
        evolution.source = excitement(image, network, settings)
        canvas = dream(canvas, network, settings.dream, still_ascent(settings), seed=settings.seed)
    calmer = memory.detail.begin(canvas, whole).clamp(0, 1)
    canvas = calmer if journey.dreams else canvas
    memory.goal = canvas if journey.loop else None
    memory.canvas = canvas = within(canvas, whole - margin)
    memory.grown = torch.ones_like(canvas[:, :1])
    memory.look = Look.of(within(canvas, margin))
    if journey.dreams:
        evolution.target = excitement(within(canvas, margin), network, settings)
        evolution.began_at = telling_strength(settings, network)
        evolution.layers = alike(layers_of(settings, network))


def advance(
    memory: ZoomMemory,
    motion: Tensor,
    network: Network,
    settings: Settings,
    number: int,
    journey: Journey,
    margin: int,
    look: Look | None,
) -> None:
    """The next canvas, which the camera has come to by `motion`; it is to have this `look`."""
    canvas, grown = memory.canvas, memory.grown
    assert canvas is not None and grown is not None and look is not None
    rate, random = float(journey.rate), generator(settings.seed, number)
    unit = canvas.shape[2] - 2 * margin
    seen = view(motion, (canvas.shape[2], canvas.shape[3]), unit, canvas.device)
    canvas, grown = seen.of(canvas), (seen.of(grown) * seen.seen).clamp(0, 1)
    if float(seen.seen.min()) < 1:
        canvas = filled(canvas, seen.seen, random)
    canvas = memory.detail.held(canvas, seen.taken, rate, margin)
    if journey.dreams:
        canvas = (canvas + grain(canvas, random, rate)).clamp(0, 1)
        ascent = ascent_of_a_frame(settings, memory.evolution.share, rate, grown)
        canvas = dream(
            canvas, network, settings.dream, ascent, seed=settings.seed, frame=number,
            objective=varied, beside=aim_at_variety(memory.variety, network, settings, canvas),
        )  # fmt: skip
    now = Look.of(within(canvas, margin))
    memory.canvas = look.held(canvas, now, 1 / rate, settings.camera.hold)
    memory.detail.tell(within(memory.canvas, margin))
    memory.grown = (grown + 1 / (GROWN_SECONDS * rate)).clamp(0, 1)
    if journey.dreams:
        measure(memory, within(memory.canvas, margin), network, settings, number)


def measure(
    memory: ZoomMemory,
    image: Tensor,
    network: Network,
    settings: Settings,
    number: int,
) -> None:
    """Tell the loops of the `image` (1, 3, H, W) that frame `number` became, where it is due."""
    layers, evolution = layers_of(settings, network), memory.evolution
    if evolution.began_at == 0 and settings.dream.strength > 0 and any(layers.values()):
        # What began with next to no dream is told by a still at strength 1.
        whole = settings.model_copy(update={"dream": at_full_strength(settings)})
        still = dream(image, network, whole.dream, still_ascent(whole), seed=settings.seed)
        calm = DetailLoop().begin(still).clamp(0, 1)
        evolution.source = excitement(image, network, settings)
        evolution.target = excitement(calm, network, settings)
        evolution.began_at, evolution.layers = 1.0, alike(layers)
    if number % MEASURED_EVERY == 0 and any(layers.values()) and evolution.began_at > 0:
        found = excitement(image, network, settings)
        evolution.tell(found, settings.dream.strength, layers, memory.detail.room)
    image = judged_size(image)
    deepest = deepest_of(network, settings, image)
    if number % LOOKED_THROUGH_EVERY == 0 and deepest is not None:
        activation = network.activations(image, [deepest])[deepest]
        memory.variety.tell(spread(activation))


def aim_at_variety(
    variety: VarietyLoop, network: Network, settings: Settings, image: Tensor
) -> Aim | None:
    """What is climbed for it, if anything need be, of `image` (1, 3, H, W)."""
    weight = variety.weight * settings.camera.variety
    deepest = deepest_of(network, settings, image)
    return Aim(deepest, diverse, weight) if deepest is not None and weight > 0 else None


def deepest_of(network: Network, settings: Settings, image: Tensor) -> str | None:
    """The layer that tells how varied `image` (1, 3, H, W) is; None where it cannot be seen, or
    nobody wants to know."""
    found = network.deepest_layer((image.shape[2], image.shape[3]))
    wanted = found is not None and settings.camera.variety > 0
    return found if wanted and network.sight.fits(settings.dream.tile, [str(found)]) else None


def ascent_of_a_frame(settings: Settings, share: float, rate: float, grown: Tensor) -> Ascent:
    """How far a frame climbs, `rate` of which make a second: a `share` of what is set, and more
    where picture has not `grown` (1, 1, H, W) for long."""
    way = settings.camera.evolve * USUAL_RATE / rate
    steps = min(max(1, math.ceil(way)), max(1, settings.dream.frame_steps))
    size = still_ascent(settings).size * way * share / steps
    if float(grown.min()) == 1:
        return Ascent(steps, size)
    return Ascent(steps, size * (1 + (GROWN_MORE - 1) * (1 - grown)))


def excitement(image: Tensor, network: Network, settings: Settings) -> float:
    """How excited the dreamed layers are by `image` (1, 3, H, W)."""
    layers = layers_of(settings, network)
    return float(network.excitement(image, layers, tile=settings.dream.tile))


def alike(layers: dict[str, float]) -> dict[str, float]:
    """`layers` with the weights that say the same, and sum to 1."""
    total = sum(map(abs, layers.values())) or 1.0
    return {name: weight / total for name, weight in layers.items() if weight}


def layers_of(settings: Settings, network: Network) -> dict[str, float]:
    """The layers that are dreamed, with their weights."""
    return dict(settings.dream.layers or network.default_layers())
