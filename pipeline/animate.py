"""Frames in, dreamed frames out: dreams that flow with a video, and the endless zoom.

The video loop is the octave loop turned on its side: where that carries the detail (dream minus
source) from a coarse image to a finer one by resizing it, this carries it from one frame to the
next by warping it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.dream import TINY, Ascent, dream
from dreamreel.pipeline.durable import Tree
from dreamreel.pipeline.flow import Motion, flow_at, share_at, warp
from dreamreel.pipeline.images import blur, luma, resize, sharpness, to_image
from dreamreel.pipeline.motion import Followed, MovingFrame
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.settings import Dream, OverTime, Settings

BROAD_CELLS = 9  # cells in a frame's shorter side, below which light and colour are broad
MEASURED_EVERY = 3  # frames, when all is well: measuring takes two thirds of a step's time
BARE_COUNTS = 1.0  # how much a bare place counts, where a fully dreamed one counts 1 more
COARSE_SHARE = 0.35  # of the finest octave's climb, that the others take in one step
CATCH_UP_FRAMES = 4  # in which a newly seen place is dreamed as a still is
STEADY_CLIMB = 0.9  # of a frame, in steps of a still's size, until the loop has learned it
FEWER_STEPS = 0.2  # of a step: how much longer than a still's steps may become to save one
CATCH_UP_MORE = 1.4  # times a still's climb: fewer, larger steps lead less far
CRISP_SIGMA = 0.7  # pixels, below which detail is the finest
SMALLEST_CLIMB = 0.05  # levels, that a direction is still told from
FRESH_AT_LEAST = 0.01  # share of a frame that must be newly seen for a light touch
PATCH_SIDE = 120  # pixels of the shorter side at which uncovered places are looked for
PATCH_AT_LEAST, PATCHES_AT_MOST = 0.017, 0.25  # shares of a frame
PATCH_MORE = 1.5  # times a still's step
PATCH_ROUNDS = 3  # at most, each of half a still's steps
TELLING = 0.1  # strength below which a frame does not tell how strong others are to be
PATCH_UP_TO = 0.5  # share of the strength at which a patch is left to the frames after it


class StrengthLoop:
    """Drives a shot to one strength: measures its frames, and makes the next ones climb further
    or less far.

    Strength is how many times more a dream excites the layers than its source does. A shot's
    first frame, dreamed as a still, says what the later ones are to reach. A PI controller.
    """

    PROPORTIONAL, INTEGRAL = 3.0, 0.3
    SMALLEST, LARGEST = 0.05, 3.0  # climb of a frame, in steps of a still's size
    OFF = 0.1  # shortage, or surplus, beyond which every frame is measured
    FREE = 1.3  # how many times a source may become more, or less, exciting, and be followed

    def __init__(self) -> None:
        self.steady = STEADY_CLIMB  # the climb that holds the level; learned, and kept across cuts
        self._first = (1.0, 1.0)
        self.share = 1.0  # of the first frame's dream that is wanted by now
        self.shortage = 0.0  # of strength, as a share of what the dream is to add; below 0: surplus

    @property
    def climb(self) -> float:
        """How far the next frame is to climb, in steps of a still's size."""
        return self._limited(self.steady * (1 + self.PROPORTIONAL * self.shortage))

    @property
    def strength(self) -> float:
        """That of the shot's first frame."""
        return self._first[1]

    def is_due(self, since: int, cadence: int) -> bool:
        """Whether to measure the frame `since` frames after a shot's first: of those that are
        dreamed in full, the early ones, those that are off, and now and then one."""
        in_full, left = divmod(since, cadence)
        off = in_full < 4 or abs(self.shortage) > self.OFF
        return left == 0 and (off or in_full % MEASURED_EVERY == 0)

    def begin(self, source: float, dreamed: float) -> None:
        """A shot begins, its first frame excited from `source` to `dreamed`."""
        self._first = (source, dreamed / source)
        self.shortage = 0.0

    def tell(self, source: float, dreamed: float) -> None:
        """A frame of the shot was excited from `source` to `dreamed`."""
        target = self.target(source)
        # As a share of what the dream adds; a dream that calms its layers adds less than nothing.
        added = math.copysign(max(abs(target - 1), 0.05), target - 1)
        self.shortage = min(max((target - dreamed / source) / added, -1.0), 1.0)
        self.steady = self._limited(self.steady * math.exp(self.INTEGRAL * self.shortage))

    def target(self, source: float) -> float:
        """The strength that a frame, whose source is excited by `source`, is to reach.

        It is the first frame's. But stills reach about one excitement, whatever they are made
        of: where the source changes much within a shot, the strength gives way by halves.
        """
        began, strength = self._first
        strength = 1 + (strength - 1) * self.share
        change = source / began
        beyond = change / min(max(change, 1 / self.FREE), self.FREE)
        return 1 + (strength - 1) / beyond**0.5

    def _limited(self, climb: float) -> float:
        return min(max(climb, self.SMALLEST), self.LARGEST)


class CrispnessLoop:
    """Keeps a shot as crisp as it began: what carrying softens or hardens, frame after frame, a
    little sharpening or softening makes good. A PI controller.

    Crisp is what a dream adds to its source's sharpness, so that a source may come into focus.
    """

    PROPORTIONAL, INTEGRAL = 0.2, 0.03
    SOFTEST, SHARPEST = -0.2, 0.3  # share of the finest light taken or added in a frame

    def __init__(self) -> None:
        self._steady = 0.0  # the amount that holds the level; learned, and kept across cuts
        self._added = 0.0

    def begin(self, source: Tensor, detail: Tensor) -> None:
        """A shot begins, with `detail` on `source`, (1, 3, H, W) both."""
        self._added = sharpness(source + detail) - sharpness(source)

    def held(self, source: Tensor, detail: Tensor, share: float = 1.0) -> Tensor:
        """`detail` on `source`, as it is to be shown and carried on; a `share` of the first frame's
        dream is wanted."""
        dreamed = source + detail
        target, now = sharpness(source) + share * self._added, sharpness(dreamed)
        short = math.log(target / now) if min(target, now) > 0 else 0.0
        self._steady = self._limited(self._steady + self.INTEGRAL * short)
        amount = self._limited(self._steady + self.PROPORTIONAL * short)
        # The picture's finest, not the detail's: where a dream smooths its source, a sharper
        # detail would make the picture softer. And its light alone: sharp colours are confetti.
        light = luma(dreamed)
        return detail + amount * (light - blur(light, CRISP_SIGMA))

    def _limited(self, amount: float) -> float:
        return min(max(amount, self.SOFTEST), self.SHARPEST)


class FullnessLoop:
    """Keeps a shot's dream as full as it began: where it thins, less of it fades, unless it is
    too strong. A still's chance detail would else fade, and the shot pale, at one strength."""

    GAIN = 10.0  # share of the fading that is spared, per part that is missing
    TOO_STRONG = 0.2  # surplus of strength at which nothing is spared

    def __init__(self) -> None:
        self._first = 0.0

    def begin(self, carried: "Carried") -> None:
        """A shot begins."""
        self._first = carried.fullness()

    def carry(self, arrived: "Carried", usual: float, shortage: float, share: float = 1.0) -> float:
        """How much of what `arrived` is to be kept, at least the `usual` share; a `share` of the
        first frame's dream is wanted."""
        missing = math.log(max(share * self._first, TINY) / max(arrived.fullness(), TINY))
        spared = _clamp(self.GAIN * missing) * _clamp(1 + shortage / self.TOO_STRONG)
        return usual + (1 - usual) * spared


def _clamp(share: float) -> float:
    return min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Carried:
    """What flows on from a frame.

    `detail` (1, 3, H, W): the dream minus the source. `direction` (1, 3, H, W): which way it
    climbed, as a change in [0, 1] per level of climb. `level` (1, 1, H, W): how much of its share
    of dreaming each place has had, from 0 to 1, all.
    """

    detail: Tensor
    direction: Tensor
    level: Tensor

    def fullness(self) -> float:
        """The mean size of the detail, where there is some."""
        size = (self.level * self.detail.abs()).mean()
        return float(size / self.level.mean().clamp_min(TINY))

    def along(self, motion: Motion) -> "Carried":
        """This, on the next frame's grid; nothing where that was not seen before."""
        size, device = (self.detail.shape[2], self.detail.shape[3]), self.detail.device
        flow = flow_at(motion.flow, size, device)
        seen = share_at(motion.carried, size, device)
        warped = seen * warp(torch.cat([self.detail, self.direction, self.level], 1), flow)
        return Carried(warped[:, :3], warped[:, 3:6], warped[:, 6:].clamp(0, 1))


class Memory:
    """What `dream_video` knows of the frames before: all that the ones after it need."""

    def __init__(self) -> None:
        self.carried: Carried | None = None
        self.since = 0  # frames since the shot's first
        self.began_at = 1.0  # the strength that was set then
        self.strength = StrengthLoop()
        self.crispness = CrispnessLoop()
        self.fullness = FullnessLoop()
        self.followed: Followed | None = None
        self.cuts: list[int] = []  # the first frames of all shots but the first

    def as_tree(self) -> Tree:
        """This, to be saved."""
        return {
            "carried": self.carried and vars(self.carried),
            "since": self.since,
            "began_at": self.began_at,
            "cuts": self.cuts,
            **{name: vars(loop) for name, loop in self._loops().items()},
            "followed": self.followed and self.followed.as_tree(),
        }

    @classmethod
    def from_tree(cls, tree: Tree, device: torch.device) -> "Memory":
        """What was saved."""
        memory = cls()
        memory.since, memory.cuts = tree["since"], tree["cuts"]
        memory.began_at = tree["began_at"]
        if tree["carried"] is not None:
            parts = {name: to_device(part, device) for name, part in tree["carried"].items()}
            memory.carried = Carried(**parts)
        for name, loop in memory._loops().items():
            vars(loop).update(tree[name])
        if tree["followed"] is not None:
            memory.followed = Followed.from_tree(tree["followed"])
        return memory

    def _loops(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("strength", "crispness", "fullness")}


def to_device(image: Tensor, device: torch.device) -> Tensor:
    """`image` (1, C, H, W), saved, on `device` and laid out as all images are."""
    return image.to(device).contiguous(memory_format=torch.channels_last)


def dream_video(
    frames: Iterable[MovingFrame],
    network: Network,
    over_time: OverTime,
    memory: Memory | None = None,
) -> Iterator[Tensor]:
    """The dream of each frame (1, 3, H, W), in order.

    A shot's first frame is dreamed as a still; after that its detail is carried along the flow,
    and a few steps keep it alive, as large as it takes to keep the first frame's strength. What
    was not seen before is dreamed as a still is, over a few frames. Settings are those `over_time`.
    `memory` is that of the frames before, if they were dreamed already; it is kept up to date.
    """
    memory = memory or Memory()
    loop, crisp, full = memory.strength, memory.crispness, memory.fullness
    for moving in frames:
        source, number = to_image(moving.frame, network.device), moving.number
        settings = over_time(number)
        layers = settings.dream.layers or network.default_layers()
        cadence, carry = settings.dream.cadence, settings.dream.carry
        steers = settings.flow.method != "none" and settings.dream.frame_steps > 0
        if moving.motion is None or memory.carried is None:
            if moving.followed is not None and memory.carried is not None:
                memory.cuts.append(number)
            memory.since = 0
            carried = begin_shot(source, network, settings, number, loop.steady)
            crisp.begin(source, carried.detail)
            full.begin(carried)
            memory.began_at = telling_strength(settings, network)
        else:
            memory.since += 1
            arrived = memory.carried.along(moving.motion)
            uncovered = moving.motion.uncovered
            arrived = fill_in(source, arrived, uncovered, network, settings, number, loop.strength)
            if memory.since % cadence == 0:
                kept = full.carry(arrived, carry, loop.shortage, loop.share)
                carried = carry_on(source, arrived, network, settings, number, loop.climb, kept)
            else:
                carried = touch_up(source, arrived, network, settings, number)
            carried = replace(carried, detail=crisp.held(source, carried.detail, loop.share))
        dreamed = source + carried.detail
        began = memory.since == 0
        if steers and memory.began_at == 0 and settings.dream.strength > 0 and any(layers.values()):
            # What began with next to no dream is told by a still at strength 1.
            whole = settings.model_copy(update={"dream": at_full_strength(settings)})
            still = begin_shot(source, network, whole, number, loop.steady)
            crisp.begin(source, still.detail)
            full.begin(still)
            pair = torch.cat([source, source + still.detail])
            loop.begin(*network.excitement(pair, layers, tile=settings.dream.tile).tolist())
            memory.began_at, began = 1.0, False
        loop.share = settings.dream.strength / memory.began_at if memory.began_at else 0.0
        if steers and loop.is_due(memory.since, cadence):
            pair, where = torch.cat([source, dreamed]), BARE_COUNTS + carried.level
            before, after = network.excitement(pair, layers, where, settings.dream.tile).tolist()
            (loop.begin if began else loop.tell)(before, after)
        memory.carried, memory.followed = carried, moving.followed
        yield mixed(source, dreamed, settings)


def telling_strength(settings: Settings, network: Network) -> float:
    """The strength that is set, where a dream of it tells how strong others are to be; else 0."""
    layers = settings.dream.layers or network.default_layers()
    tells = settings.dream.strength >= TELLING and any(layers.values())
    return settings.dream.strength if tells else 0.0


def at_full_strength(settings: Settings) -> Dream:
    """Those of the dream, at strength 1."""
    return settings.dream.model_copy(update={"strength": 1.0})


def mixed(source: Tensor, dreamed: Tensor, settings: Settings) -> Tensor:
    """What is shown of a dream: `dream.mix` of it, the rest its source."""
    return dreamed if settings.dream.mix == 1 else source.lerp(dreamed, settings.dream.mix)


def begin_shot(
    source: Tensor,
    network: Network,
    settings: Settings,
    number: int,
    steady: float = STEADY_CLIMB,
    on_step: Callable[[], None] = lambda: None,
) -> Carried:
    """A shot's first frame, dreamed as a still, its broad light held.

    Its direction is the one that, with a climb of `steady`, just makes good what fades.
    """
    dreamed = dream(
        source,
        network,
        settings.dream,
        still_ascent(settings),
        seed=settings.seed,
        frame=number,
        on_step=on_step,
    )
    detail = hold_broad(dreamed, source, settings.dream.hold) - source
    usual = steady * still_ascent(settings).size
    direction = detail * ((1 - settings.dream.carry) / max(usual, SMALLEST_CLIMB))
    return Carried(detail, direction, torch.ones_like(source[:, :1]))


def still_ascent(settings: Settings) -> Ascent:
    """The steps of a picture that is dreamed from nothing."""
    return Ascent(settings.dream.steps, settings.dream.step_size * settings.dream.strength)


def catch_up_climb(settings: Settings) -> float:
    """How far a newly seen place climbs in a frame, in steps of a still's size."""
    return CATCH_UP_MORE * settings.dream.steps / CATCH_UP_FRAMES


def carry_on(
    source: Tensor,
    arrived: Carried,
    network: Network,
    settings: Settings,
    number: int,
    climb: float,
    carry: float,
) -> Carried:
    """A frame on which a dream `arrived`: a share `carry` of that stays, and a climb of `climb`
    steps of a still's size makes the rest good; newly seen places catch up.

    No step is larger than a still's, as long as `frame_steps` suffice for it. The direction is
    smoothed along the flow: what each step finds anew by chance averages out.
    """
    chosen = settings.dream
    still = still_ascent(settings)
    fresh = ((1 - arrived.level) * CATCH_UP_FRAMES).clamp(0, 1)
    catch_up = catch_up_climb(settings)
    far = climb + max(0.0, catch_up - climb) * fresh
    steps = min(max(1, round(float(far.mean()) - FEWER_STEPS)), chosen.frame_steps)
    way = still.size * far
    start = (source + carry * arrived.detail).clamp(0, 1)
    ascent = Ascent(steps, way / max(steps, 1), fresh, COARSE_SHARE)
    dreamed = dream(start, network, chosen, ascent, seed=settings.seed, frame=number)
    found = (dreamed - start) / way.clamp_min(SMALLEST_CLIMB)
    direction = found.lerp(arrived.direction, chosen.momentum * arrived.level)
    dreamed = hold_broad((start + way * direction).clamp(0, 1), source, chosen.hold)
    level = (arrived.level + fresh / CATCH_UP_FRAMES).clamp(0, 1)
    return Carried(dreamed - source, direction, level)


def fill_in(
    source: Tensor,
    arrived: Carried,
    uncovered: NDArray[np.bool_],
    network: Network,
    settings: Settings,
    number: int,
    strength: float,
) -> Carried:
    """`arrived`, its larger `uncovered` places (h, w), at any size, dreamed at once up to
    `strength`, each in a patch of its own."""
    size = (source.shape[2], source.shape[3])
    layers = settings.dream.layers or network.default_layers()
    boxes = patches(uncovered, size, network.smallest_side(layers))
    if not boxes:
        return arrived
    still = still_ascent(settings)
    bare = blur((arrived.level < 0.5).float(), 1.0)
    detail, level = arrived.detail.clone(), arrived.level.clone()
    steps = math.ceil(still.steps / 2)
    for part in boxes:
        before, where = source[part].contiguous(memory_format=torch.channels_last), bare[part]
        if not where.any():
            continue
        ascent = Ascent(steps, PATCH_MORE * still.size * where, where)
        dreamed = (before + detail[part]).clamp(0, 1)
        for round_ in range(PATCH_ROUNDS):
            # Rounds take numbers that no frame has, so that each sees its own jitter.
            key = number + (round_ << 40)
            dreamed = dream(dreamed, network, settings.dream, ascent, seed=settings.seed, frame=key)
            pair = torch.cat([before, dreamed])
            was, now = network.excitement(pair, layers, where, settings.dream.tile).tolist()
            if abs(now - was) >= PATCH_UP_TO * abs(strength - 1) * was:
                break
        detail[part] = dreamed - before
        level[part] = torch.maximum(level[part], where)
    return Carried(detail, arrived.direction, level)


def patches(
    uncovered: NDArray[np.bool_], size: tuple[int, int], side: int
) -> list[tuple[Any, slice, slice]]:
    """The parts (..., rows, columns) of an image of `size` (height, width) round the larger
    `uncovered` places, each side at least `side`; none where they would be most of the image."""
    scale = PATCH_SIDE / min(size)
    small = (round(size[1] * scale), round(size[0] * scale))
    found = cv2.resize(uncovered.astype(np.float32), small, interpolation=cv2.INTER_AREA) > 0.5
    solid = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, places, _ = cv2.connectedComponentsWithStats(solid)
    large = [place for place in places[1:].tolist() if place[4] > PATCH_AT_LEAST * solid.size]
    boxes = [
        (
            ...,
            _span(y / scale, h / scale, side, size[0]),
            _span(x / scale, w / scale, side, size[1]),
        )
        for x, y, w, h, _ in large
    ]
    covered = sum((r.stop - r.start) * (c.stop - c.start) for _, r, c in boxes)
    return boxes if covered <= PATCHES_AT_MOST * size[0] * size[1] else []


def _span(begin: float, length: float, side: int, whole: int) -> slice:
    """From `begin`, `length` long, with half of `side` more at either end; within `whole`."""
    start = min(max(0, round(begin - side / 2)), max(0, whole - side))
    return slice(start, min(whole, max(round(begin + length + side / 2), start + side)))


def touch_up(
    source: Tensor, arrived: Carried, network: Network, settings: Settings, number: int
) -> Carried:
    """A frame between those dreamed in full: nothing fades, and only what is newly seen is
    dreamed, coarsely."""
    chosen, fresh = settings.dream, 1 - arrived.level
    dreamed = start = (source + arrived.detail).clamp(0, 1)
    if float(fresh.mean()) > FRESH_AT_LEAST:
        way = still_ascent(settings).size * catch_up_climb(settings) * fresh
        ascent = Ascent(1, way, fresh, coarse=1.0, finest=False)
        dreamed = dream(start, network, chosen, ascent, seed=settings.seed, frame=number)
        dreamed = hold_broad(dreamed, source, chosen.hold)
    return Carried(dreamed - source, arrived.direction, arrived.level)


def hold_broad(dreamed: Tensor, source: Tensor, share: float) -> Tensor:
    """`dreamed` with `share` of the broad light and colour that it added to `source` taken back."""
    if share == 0:
        return dreamed
    size = (dreamed.shape[2], dreamed.shape[3])
    cell = max(1, round(min(size) / BROAD_CELLS))
    cells = (math.ceil(size[0] / cell), math.ceil(size[1] / cell))
    broad = blur(resize(dreamed - source, cells), 1.0)
    return (dreamed - share * resize(broad, size)).clamp(0, 1)
