"""The endless zoom: dream, move the camera, dream again."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.animate import still_ascent, to_device
from dreamreel.pipeline.camera import Camera, view
from dreamreel.pipeline.checkpoint import Tree
from dreamreel.pipeline.dream import Ascent, dream
from dreamreel.pipeline.images import luma, resize
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.objectives import varied
from dreamreel.pipeline.settings import OverTime, Settings
from dreamreel.pipeline.spectrum import TINY, USUAL_RATE, DetailLoop, within

GRAIN = 1.0  # levels of noise in a frame, at 30 a second: what new detail is dreamed from
MEASURED_EVERY = 3  # frames
UNSEEN_FRAMES = 24  # for which what comes into view has grown, unseen, around the frame
SMALLEST_MARGIN, LARGEST_MARGIN = 8, 0.25  # of what is around it: pixels, and a share of its height
GROWN_SECONDS = 0.5  # until new picture is as old as any
GROWN_MORE = 6.0  # how much further it climbs until then
MEAN_PACE = 10  # times as fast as all else, the mean is held
PLACES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # quantiles of light that are held
# The size, in frames, at which what is arrived at begins to show, and at which it is there.
EMERGES = (0.05, 0.25)
SOFT_EDGE = 0.48  # of its height, while it is far: nothing of its shape is to show
SAMPLES = 4096  # pixels by which quantiles are told


class EvolutionLoop:
    """Keeps a zoom as strongly dreamed as its first frame: a PI controller of how far each frame
    climbs, in shares of what is set."""

    PROPORTIONAL, INTEGRAL = 1.0, 0.05
    LEAST, MOST = 0.25, 2.5

    def __init__(self) -> None:
        self.source, self.target = 0.0, 0.0  # excitement by the first frame, and by its dream
        self.began_at = 1.0  # the strength that was set then
        self.layers: dict[str, float] = {}  # that are excited
        self.steady, self.share = 1.0, 1.0

    def tell(self, excitement: float, strength: float, layers: dict[str, float]) -> None:
        """A frame excites the `layers` so much, when this `strength` is set. Of other layers than
        those before nothing is known but this: they are to stay so."""
        if layers != self.layers:
            change = excitement / self.target
            self.source, self.target = self.source * change, excitement
            self.began_at, self.layers = strength, dict(layers)
        wanted = strength / self.began_at if self.began_at else 1.0
        short = math.log(max(self.source + (self.target - self.source) * wanted, TINY) / excitement)
        self.steady = self._limited(self.steady * math.exp(self.INTEGRAL * short))
        self.share = self._limited(self.steady * math.exp(self.PROPORTIONAL * short))

    def _limited(self, share: float) -> float:
        return min(max(share, self.LEAST), self.MOST)


@dataclass
class Look:
    """The colours and the light that a zoom keeps: the mean of its channels, and the spread of its
    colour, which is what they have beyond the light, (1, 3, 1, 1) both; the quantiles of light."""

    mean: Tensor
    spread: Tensor
    light: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Look":
        """That of `image` (1, 3, H, W)."""
        light = luma(image)
        spread = (image - light).std((2, 3), keepdim=True)
        return cls(image.mean((2, 3), keepdim=True), spread, quantiles(light))

    def held(self, image: Tensor, now: "Look", seconds: float, hold: float) -> Tensor:
        """`image` (1, 3, H, W), which looks like `now`, drawn to this for some `seconds`, by `hold`
        (0 to 1) in one; its mean, which a dream pushes all the time, far faster. A dream that feeds
        on itself so does not burn out, fade or change its colour."""
        share, fast = (1 - (1 - hold) ** (seconds * pace) for pace in (1, MEAN_PACE))
        light = luma(image)
        wider = (self.spread / now.spread.clamp_min(1e-3)).clamp(0.5, 2)
        colour = (image - light) * (1 + share * (wider - 1))
        light = light.lerp(as_bright(light, now.light, self.light), share)
        changed = light + colour
        still_off = self.mean - now.mean - (changed - image).mean((2, 3), keepdim=True)
        return (changed + fast * still_off).clamp(0, 1)


def quantiles(light: Tensor) -> Tensor:
    """Those of `light` (1, 1, H, W) at `PLACES`, (P,)."""
    values = light.flatten()
    values = values[:: max(1, len(values) // SAMPLES)]
    return torch.quantile(values, torch.tensor(PLACES, device=light.device))


def as_bright(light: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """`light` on the curve that leads its quantiles `now` to those of `then`."""
    now = torch.cummax(now + 1e-5 * torch.arange(len(now), device=now.device), 0).values
    above = torch.bucketize(light, now[1:-1])
    low, high = now[above], now[above + 1]
    share = ((light - low) / (high - low)).clamp(0, 1)
    return then[above] + share * (then[above + 1] - then[above])


@dataclass
class ZoomMemory:
    """What `infinite_zoom` knows of the frames before: all that those after them need."""

    canvas: Tensor | None = None  # the last of them, and what is around it
    grown: Tensor | None = None  # (1, 1, H, W): from 0, new, to 1, how long each place was dreamed
    first: Tensor | None = None  # the canvas of the first frame
    look: Look | None = None
    detail: DetailLoop = field(default_factory=DetailLoop)
    evolution: EvolutionLoop = field(default_factory=EvolutionLoop)

    def as_tree(self) -> Tree:
        """This, to be saved."""
        return {
            "canvas": self.canvas,
            "grown": self.grown,
            "first": self.first,
            "look": self.look and vars(self.look),
            "detail": vars(self.detail),
            "evolution": vars(self.evolution),
        }

    @classmethod
    def from_tree(cls, tree: Tree, device: torch.device) -> "ZoomMemory":
        """What was saved."""
        canvas, grown, first = (
            to_device(tree[name], device) for name in ("canvas", "grown", "first")
        )
        look = Look(**{name: part.to(device) for name, part in tree["look"].items()})
        memory = cls(canvas, grown, first, look)
        vars(memory.detail).update(tree["detail"])
        vars(memory.evolution).update(tree["evolution"])
        return memory


@dataclass(frozen=True)
class Journey:
    """How many `frames` a zoom has, how many a second, and where it leads: back to its first frame
    in a `loop`, or to the picture `goal` (1, 3, H, W), at which it arrives with its last frame;
    else nowhere. It may be that it only moves, and nothing `dreams`."""

    frames: int
    rate: Fraction
    loop: bool = False
    goal: Tensor | None = None
    dreams: bool = True

    @property
    def length(self) -> int:
        """How many motions there are until it arrives: of a loop, the last leads to its first."""
        return self.frames if self.loop else self.frames - 1


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
    margin = margin_for(moves, size)
    ahead = homeward(moves) if journey.loop or journey.goal is not None else []
    for number in range(first, journey.frames):
        settings = over_time(number)
        if memory.canvas is None:
            begin(memory, image, network, settings, margin, journey.dreams)
        else:
            advance(memory, moves[number - 1], network, settings, number, journey, margin)
            goal = memory.first if journey.loop else journey.goal
            if goal is not None and memory.canvas is not None:
                memory.canvas = arrived(memory.canvas, goal, ahead[number], size[0])
        assert memory.canvas is not None
        yield within(memory.canvas, margin)


def motions(over_time: OverTime, journey: Journey, size: tuple[int, int]) -> list[Tensor]:
    """What each frame but the first sees of the one before: homographies, as `Camera.during`."""
    seconds, aspect = float(1 / journey.rate), size[1] / size[0]
    cameras = (Camera.from_settings(over_time(n).camera) for n in range(journey.length + 1))
    # From one frame to the next the camera is as fast as midway between.
    return [
        one.during(seconds / 2, aspect) @ next_one.during(seconds / 2, aspect)
        for one, next_one in itertools.pairwise(cameras)
    ]


def homeward(moves: list[Tensor]) -> list[Tensor]:
    """From the coordinates of each frame to those of where the last of `moves` leads."""
    total = torch.eye(3, dtype=torch.float64)
    found = [total]
    for move in reversed(moves):
        total = move @ total
        found.append(torch.linalg.inv(total))
    return found[::-1]


def begin(
    memory: ZoomMemory,
    image: Tensor,
    network: Network,
    settings: Settings,
    margin: int,
    dreams: bool,
) -> None:
    """The first canvas: `image`, with new picture around it, dreamed as a still."""
    canvas = image
    if margin:
        known = F.pad(torch.ones_like(image[:, :1]), (margin,) * 4)
        canvas = F.pad(image, (margin,) * 4, mode="replicate")
        canvas = filled(canvas, known, generator(settings.seed, 0))
    evolution = memory.evolution
    if dreams:
        evolution.source = excitement(image, network, settings)
        canvas = dream(canvas, network, settings.dream, still_ascent(settings), seed=settings.seed)
    calmer = memory.detail.begin(canvas).clamp(0, 1)
    canvas = calmer if dreams else canvas
    memory.canvas = memory.first = canvas
    memory.grown = torch.ones_like(canvas[:, :1])
    memory.look = Look.of(within(canvas, margin))
    if dreams:
        evolution.target = excitement(within(canvas, margin), network, settings)
        evolution.began_at, evolution.layers = settings.dream.strength, layers_of(settings, network)


def advance(
    memory: ZoomMemory,
    motion: Tensor,
    network: Network,
    settings: Settings,
    number: int,
    journey: Journey,
    margin: int,
) -> None:
    """The next canvas, which the camera has come to by `motion`."""
    canvas, grown, look = memory.canvas, memory.grown, memory.look
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
            objective=varied,
        )  # fmt: skip
    now = Look.of(within(canvas, margin))
    memory.canvas = look.held(canvas, now, 1 / rate, settings.camera.hold)
    memory.grown = (grown + 1 / (GROWN_SECONDS * rate)).clamp(0, 1)
    if journey.dreams and number % MEASURED_EVERY == 0:
        found = excitement(within(memory.canvas, margin), network, settings)
        memory.evolution.tell(found, settings.dream.strength, layers_of(settings, network))


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


def layers_of(settings: Settings, network: Network) -> dict[str, float]:
    """The layers that are dreamed, with their weights."""
    return dict(settings.dream.layers or network.default_layers())


def arrived(canvas: Tensor, goal: Tensor, back: Tensor, unit: int) -> Tensor:
    """`canvas` with `goal`, still far away, in its place: where the homography `back` leads from
    a frame's coordinates to the goal's own. It emerges while it is small, and from then on is just
    what it is, its edge soft, and ever less so."""
    scale = float(torch.linalg.det(back)) ** -0.5 * min(1.0, goal.shape[2] / canvas.shape[2])
    share = (math.log(max(scale, TINY) / EMERGES[0])) / math.log(EMERGES[1] / EMERGES[0])
    if share <= 0:
        return canvas
    size = (canvas.shape[2], canvas.shape[3])
    small = (max(2, round(goal.shape[2] * scale)), max(2, round(goal.shape[3] * scale)))
    there = view(back, size, unit, canvas.device, (goal.shape[2], goal.shape[3]))
    near = there.of(resize(goal, small) if scale < 0.75 else goal)
    soft = max(SOFT_EDGE * (1 - scale), 1 / unit)
    weight = (there.depth_inside / soft).clamp(0, 1)
    weight = (weight * weight * (3 - 2 * weight)) * min(share, 1.0) ** 2
    return canvas.lerp(near, weight).clamp(0, 1)


def margin_for(moves: list[Tensor], size: tuple[int, int]) -> int:
    """How many pixels around a frame of `size` (height, width) are dreamed unseen: as many as the
    edge moves in some of `moves` where the camera looks past it; none where it never does."""
    aspect, side = size[1] / size[0], torch.linspace(-0.5, 0.5, 33, dtype=torch.float64)
    end = torch.full_like(side, 0.5)
    pairs = ((side, end), (side, -end), (end, side), (-end, side))
    edge = torch.cat([torch.stack([x * aspect, y, torch.ones_like(x)]) for x, y in pairs], 1)
    farthest = 0.0
    for together in range(0, len(moves), UNSEEN_FRAMES):
        total = torch.linalg.multi_dot(
            [torch.eye(3).double()] * 2 + moves[together : together + UNSEEN_FRAMES]
        )
        x, y, depth = total @ edge
        beyond = torch.maximum((x / depth).abs() - aspect / 2, (y / depth).abs() - 0.5)
        farthest = max(farthest, float(beyond.max()))
    pixels = min(farthest, LARGEST_MARGIN) * size[0]
    return 0 if pixels < 0.01 else 2 * math.ceil(max(pixels, SMALLEST_MARGIN) / 2)


def filled(image: Tensor, known: Tensor, random: torch.Generator) -> Tensor:
    """`image` (1, 3, H, W) with what is not `known` (1, 1, H, W), from 0 to 1, made up: what is
    near, ever broader further away, and noise to dream from."""
    total, weight = image * known, known
    sums: list[tuple[Tensor, Tensor]] = []
    while min(total.shape[2:]) > 2:
        sums.append((total, weight))
        total = F.avg_pool2d(total, 2, ceil_mode=True)
        weight = F.avg_pool2d(weight, 2, ceil_mode=True)
    guess = total / weight.clamp_min(1e-4)
    for total, weight in reversed(sums):  # push and pull (Gortler et al., 1996)
        guess = F.interpolate(guess, total.shape[2:], mode="bilinear", align_corners=False)
        share = (4 * weight).clamp(0, 1)
        guess = guess + share * (total / weight.clamp_min(1e-4) - guess)
    made_up = guess + 0.06 * soft_noise(image, random)
    return (known * image + (1 - known) * made_up).clamp(0, 1)


def soft_noise(image: Tensor, random: torch.Generator) -> Tensor:
    """Noise like `image` (1, 3, H, W), equally strong at some scales, mostly of light."""
    size, total = (image.shape[2], image.shape[3]), torch.zeros_like(image)
    for cell in (1, 2, 4, 8):
        coarse = (max(2, size[0] // cell), max(2, size[1] // cell))
        light = torch.randn(1, 1, *coarse, generator=random)
        colour = 0.4 * torch.randn(1, 3, *coarse, generator=random)
        total += F.interpolate((light + colour).to(image.device), size, mode="bicubic")
    return total / 2


def grain(image: Tensor, random: torch.Generator, rate: float) -> Tensor:
    """Fine noise, as much as is strewn over `image` (1, 3, H, W) in a frame."""
    size = (image.shape[2], image.shape[3])
    fine = 0.7 * torch.randn(1, 1, *size, generator=random)
    fine = fine + 0.3 * torch.randn(1, 3, *size, generator=random)
    half = torch.randn(1, 1, size[0] // 2, size[1] // 2, generator=random)
    fine = fine + F.interpolate(half, size, mode="bicubic", align_corners=False)
    return (GRAIN / 255 * (USUAL_RATE / rate) ** 0.5 * fine).to(image.device)


def generator(seed: int, number: int) -> torch.Generator:
    """Randomness for the frame `number`, of (seed, frame) alone."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    )


def noise(size: tuple[int, int], seed: int, device: torch.device) -> Tensor:
    """A grey-based image (1, 3, H, W) of soft coloured noise: something at every scale, as in
    natural pictures, for a zoom that starts from nothing."""
    random = np.random.default_rng((seed, *size))
    total = torch.full((1, 3, *size), 0.5)
    cell = max(size)
    while cell >= 1:
        coarse = (max(2, size[0] // cell + 1), max(2, size[1] // cell + 1))
        values = torch.from_numpy(random.standard_normal((1, 3, *coarse)).astype(np.float32))
        # Channels that mostly agree: colours, but no confetti.
        values = 0.6 * values.mean(1, keepdim=True) * 3**0.5 + 0.4 * values
        total += 0.07 * F.interpolate(values, size, mode="bicubic", align_corners=False)
        cell //= 2
    return total.clamp(0, 1).contiguous(memory_format=torch.channels_last).to(device)
