"""A film dreamed frame by frame in the plain way, as strongly as a coherent one."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import dream_video
from dreamreel.pipeline.dreaming.terms import Term, Terms, response_of
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.judging.bench.course import Course
from dreamreel.pipeline.judging.bench.evaluation import Plain, finish, plain_dream, plain_of
from dreamreel.pipeline.judging.bench.footage import RATE, sliding_frames
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_image

FRAMES = 4  # of the coherent film whose last frame the plain dream equals in strength
FIRST_TRY = 4.0  # levels of 255: the size of a plain step, at first
TRIES, CLOSE = 3, 0.1  # to find it, and by which part of what the dream adds it may be missed


@dataclass(frozen=True)
class Plainly:
    """A frame dreamed in the plain way: the `frame`, the `plain` network and its course, the `size`
    of a step, and the strength `found` so, near the `target`, that of a coherent film."""

    frame: Tensor
    plain: Plain
    course: Course
    size: float
    found: float
    target: float

    def seconds(self) -> float:
        """The seconds that it takes, in as many steps and octaves as ours."""
        began = time.perf_counter()
        _dreamed(self.plain, self.frame, self.course, self.size)
        finish(self.course.on)
        return time.perf_counter() - began


def found_plainly(course: Course) -> Plainly:
    """A plain dream that is as strong as a coherent one."""
    plain, network = plain_of(course), loaded_network(course.settings())
    terms = [Term(plain.layer)]
    target, source = coherent_strength(network, terms, course)
    size = FIRST_TRY
    for _ in range(TRIES):
        dreamed = _dreamed(plain, source, course, size)
        tried = Plainly(
            source, plain, course, size, strength(network, terms, source, dreamed), target
        )
        if abs(tried.found - target) <= CLOSE * abs(target - 1):
            break
        size *= min(max(_further(target, tried.found), 0.25), 4.0)
    return tried


def coherent_strength(network: Network, terms: Terms, course: Course) -> tuple[float, Tensor]:
    """The strength of the last frame of a coherent film of `network`, and that frame's source."""
    settings = course.settings()
    moving = list(follow_motion(sliding_frames(course.evaluated, FRAMES), RATE, settings))
    dreamed = list(dream_video(moving, network, constant(settings)))[-1]
    source = to_image(moving[-1].frame, network.device)
    return strength(network, terms, source, dreamed), source


def strength(network: Network, terms: Terms, source: Tensor, dreamed: Tensor) -> float:
    """The response of `terms` to `dreamed` over that to `source`, (1, 3, H, W) both."""
    before, after = response_of(torch.cat([source, dreamed]), network, terms).tolist()
    return float(after / before)


def _dreamed(plain: Plain, frame: Tensor, course: Course, size: float) -> Tensor:
    scale = course.settings().dream.octave_scale
    return plain_dream(plain, frame, course.octaves, course.steps, scale, size)


def _further(target: float, found: float) -> float:
    """How many times as large steps are to be tried."""
    if found <= 1 or target <= 1:
        return 2.0 if found < target else 0.5
    return (target - 1) / (found - 1)
