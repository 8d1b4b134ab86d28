"""Frames in, dreamed frames out: dreams that flow with a video, and the endless zoom.

The video loop is the octave loop turned on its side: where that carries the detail (dream minus
source) from a coarse image to a finer one by resizing it, this carries it from one frame to the
next by warping it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.camera import Camera, hold_colours, move
from dreamreel.pipeline.dream import Ascent, dream
from dreamreel.pipeline.flow import (
    FLOW_ESTIMATORS,
    Motion,
    motion_between,
    scaled_to,
    warp,
    working_frame,
)
from dreamreel.pipeline.images import Frame, to_image
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.shots import CutDetector

FRAMES_AT_ONCE = 4  # that a round stands for while a shot's first frame settles
SETTLED = 0.04  # how far from its level, as a share of it, that frame may be left
CALM_ROUNDS = 3
USUAL_RATE = 30  # frames a second, at which a zoom's steps have just the size that is set


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
    """Each of `frames`, numbered from `first`, with its motion since the one before."""
    if settings.flow.method == "none":
        yield from (MovingFrame(first + i, frame, None) for i, frame in enumerate(frames))
        return
    estimate = FLOW_ESTIMATORS[settings.flow.method]()
    shots = settings.shots
    cuts = CutDetector(shots.threshold, round(shots.min_seconds * rate))
    previous = None
    for number, frame in enumerate(frames, first):
        small = working_frame(frame, settings.flow.height)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        motion = None
        if not cuts.is_cut(small) and previous is not None:
            motion = motion_between(previous, grey, estimate)
            if motion.hidden > shots.max_hidden:
                motion = None
        yield MovingFrame(number, frame, motion)
        previous = grey


def dream_video(
    frames: Iterable[MovingFrame], network: Network, settings: Settings
) -> Iterator[Tensor]:
    """The dream of each frame (1, 3, H, W), in order.

    At a shot's beginning the frame is dreamed until it settles; after that its detail is carried
    along the flow, and a few steps keep it alive. What was not seen before gets larger steps.
    """
    detail: Tensor | None = None
    for moving in frames:
        source = to_image(moving.frame, network.device)
        if moving.motion is None or detail is None:
            dreamed = begin_shot(source, network, settings, moving.number)
        else:
            flow, seen = scaled_to(moving.motion, (source.shape[2], source.shape[3]), source.device)
            start = source + settings.dream.carry * seen * warp(detail, flow)
            gain = 1 + (settings.dream.new_area_gain - 1) * (1 - seen)
            dreamed = carry_on(start, network, settings, moving.number, gain)
        detail = dreamed - source
        yield dreamed


def begin_shot(
    source: Tensor,
    network: Network,
    settings: Settings,
    number: int,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """The dream of a shot's first frame, at the strength that the frames after it keep up.

    With flow, the frame is first dreamed as a still, and then carried on with itself, several
    frames at once, for as long as that still changes it; a few rounds frame by frame calm it.
    `on_step` is called after each step.
    """
    still = Ascent(settings.dream.steps, settings.dream.step_size)
    dreamed = dream(
        source, network, settings.dream, still, seed=settings.seed, frame=number, on_step=on_step
    )

    def again(carry: float, gain: float, round_: int) -> Tensor:
        start = source + carry * (dreamed - source)
        return carry_on(start, network, settings, number, gain, round_, on_step)

    if settings.flow.method == "none" or settings.dream.carry == 0:
        return dreamed
    carry, at_once = settings.dream.carry, FRAMES_AT_ONCE
    # A round for several frames: what they would carry, and steps that lead to the same level.
    fast, gain = carry**at_once, (1 - carry**at_once) / (1 - carry)
    strength = 0.0
    rounds = math.ceil(3 / (1 - fast))
    for round_ in range(1, rounds + 1):
        dreamed = again(fast, gain, round_)
        before, strength = strength, float((dreamed - source).abs().mean())
        # The gap to where this leads shrinks by `fast` a round: so much of it is still to come.
        if abs(strength - before) <= SETTLED * (1 - fast) * strength:
            break
    for round_ in range(rounds + 1, rounds + 1 + CALM_ROUNDS):
        dreamed = again(carry, 1.0, round_)
    return dreamed


def carry_on(
    start: Tensor,
    network: Network,
    settings: Settings,
    number: int,
    gain: Tensor | float = 1.0,
    round_: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """The few steps of a frame that carries on from `start`, made `gain` times larger."""
    few = Ascent(settings.dream.frame_steps, settings.dream.frame_step_size, gain)
    # Rounds of settling take numbers no frame has, so that each sees its own jitter.
    frame = number + (round_ << 40)
    start = start.clamp(0, 1)
    return dream(
        start, network, settings.dream, few, seed=settings.seed, frame=frame, on_step=on_step
    )


def infinite_zoom(
    image: Tensor, network: Network, settings: Settings, frames: int, rate: Fraction
) -> Iterator[Tensor]:
    """`frames` images (1, 3, H, W), `rate` a second: dream, move the camera, dream again.

    The first is `image`, dreamed as a still. Each later one is the one before, seen by a camera
    that moved for 1/rate of a second, dreamed a little further: by so much less as there are
    more frames in a second.
    """
    camera = Camera.from_settings(settings.camera).during(1 / rate)
    hold = 1 - (1 - settings.camera.hold) ** float(1 / rate)
    gain = settings.camera.evolve * float(USUAL_RATE / rate)
    current = dream(
        image,
        network,
        settings.dream,
        Ascent(settings.dream.steps, settings.dream.step_size),
        seed=settings.seed,
    )
    reference = current
    for number in range(frames):
        if number:
            moved = hold_colours(move(current, camera), reference, hold)
            current = carry_on(moved, network, settings, number, gain)
        yield current


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
