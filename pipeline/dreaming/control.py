"""Controllers that hold a dream's strength, sharpness and detail over a film or zoom.

A control loop measures frames and sets how the next ones are dreamed. Its error is a shortage:
above 0 there is too little. The gains of all PI controllers are in `GAINS`.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.terms import Terms, are_active
from dreamreel.pipeline.stages import timed
from dreamreel.pipeline.tensors import blur, luma, sharpness

TINY = 1e-30  # keeps logarithms finite
TELLING = 0.1  # `dream.strength` below which a frame is no reference for others
CRISP_SIGMA = 0.7  # pixels; finer detail than a Gaussian of this leaves counts as the finest


@dataclass(frozen=True)
class Gains:
    """The gains p and i of a PI controller, and the least and most of its output.

    An error e changes the output at once: it "adds" p e, "scales" the output by 1 + p e, or "grows"
    it by exp(p e). It changes the learned output as well: "adds" i e; the others grow it by
    exp(i e).
    """

    proportional: float
    integral: float
    least: float
    most: float
    acts: Literal["adds", "scales", "grows"]


GAINS = {
    # The climb of a video's frame, in steps of a still's size. The error is the strength that is
    # missing, as a share of what the dream adds.
    "strength": Gains(3.0, 0.3, 0.05, 3.0, "scales"),
    # The share of a video frame's finest light that is added, below 0 taken. The error is the
    # logarithm of wanted over found sharpness.
    "crispness": Gains(0.2, 0.03, -0.2, 0.3, "adds"),
    # The share of `zoom.evolve` that a zoom's frame climbs. The error is the logarithm of wanted
    # over found response.
    "evolution": Gains(1.5, 0.1, 0.2, 1.8, "grows"),
    # The share given back, in a zoom's frame, of the finest light that resampling takes. The error
    # is the logarithm of wanted over found sharpness.
    "detail": Gains(2.5, 0.05, -0.8, 0.8, "adds"),
}


@dataclass
class Controller:
    """A PI controller with the gains called `name`. `steady` is its learned output, which holds the
    level while there is no error."""

    name: str
    steady: float

    @property
    def gains(self) -> Gains:
        """The gains and limits in `GAINS`."""
        return GAINS[self.name]

    def learn(self, error: float, most: float | None = None) -> None:
        """Learn from `error`. `most` limits the output in place of the gains' own limit."""
        change = self.gains.integral * error
        if self.gains.acts == "adds":
            self.steady = self._limited(self.steady + change, most)
        else:
            self.steady = self._limited(self.steady * math.exp(change), most)

    def output(self, error: float, most: float | None = None) -> float:
        """The output at this `error`, within the limits; `most` is as in `learn`."""
        change = self.gains.proportional * error
        match self.gains.acts:
            case "adds":
                output = self.steady + change
            case "scales":
                output = self.steady * (1 + change)
            case _:
                output = self.steady * math.exp(change)
        return self._limited(output, most)

    def _limited(self, output: float, most: float | None) -> float:
        return min(max(output, self.gains.least), self.gains.most if most is None else most)


@dataclass
class Reference:
    """The frame whose dream a loop holds: the responses to its source and to its dream, and the
    `dream.strength` set for it, which is 0 as long as there is no such frame."""

    source: float = 1.0
    dreamed: float = 1.0
    strength: float = 1.0

    @property
    def gain(self) -> float:
        """The response to its dream over that to its source."""
        return self.dreamed / self.source

    def share(self, strength: float) -> float:
        """The share of the reference's dream that is wanted at the setting `strength`."""
        return strength / self.strength if self.strength else 0.0

    def is_missing(self, settings: Settings, terms: Terms) -> bool:
        """Whether a still at strength 1 must be dreamed as the reference: a dream is wanted now,
        and the film began with too weak a one."""
        return self.strength == 0 and settings.dream.strength > 0 and are_active(terms)


def reference_strength(settings: Settings, terms: Terms) -> float:
    """The `dream.strength` of a frame; 0 where it is too weakly dreamed to be a reference."""
    tells = settings.dream.strength >= TELLING and are_active(terms)
    return settings.dream.strength if tells else 0.0


def at_full_strength(settings: Settings) -> Settings:
    """`settings` with a `dream.strength` of 1."""
    return settings.model_copy(
        update={"dream": settings.dream.model_copy(update={"strength": 1.0})}
    )


MEASURED_EVERY = 3  # frames between measurements, when all is well: one takes two thirds of a step
# Frames for which a source's response stands in for those of its followers, and the change of
# contrast up to which it does. Measured each time, strength, warp error and sharpness of three
# films were the same within 2 %.
SOURCE_EVERY, ALIKE_CONTRAST = 5, 0.1
STEADY_CLIMB = 0.9  # steps of a still's size that a frame climbs, until the loop has learned it


FREE = 1.3  # times that a source usually may become more, or less, exciting; see `StrengthLoop`


@dataclass
class StrengthLoop:
    """Holds a shot's strength by how far each frame climbs.

    Strength is the response to a dream over the response to its source. The reference is the shot's
    first frame, dreamed like a still.
    """

    OFF = 0.1  # shortage, or surplus, beyond which every frame is measured

    control: Controller = field(default_factory=lambda: Controller("strength", STEADY_CLIMB))
    reference: Reference = field(default_factory=Reference)
    share: float = 1.0  # wanted share of the reference's dream
    free: float = FREE  # times that a source may become more exciting, and be followed wholly
    shortage: float = 0.0  # of strength, as a share of what the dream should add
    # (2,): the responses to the last frame that was measured and to its dream, until they are told
    untold: Tensor | None = None
    # (1,): the last measured response to a source, with its frame's number and contrast
    source: Tensor | None = None
    source_since: int = 0
    source_contrast: float = 0.0

    @property
    def climb(self) -> float:
        """The climb of the next frame, in steps of a still's size."""
        return self.control.output(self.shortage)

    def is_due(self, since: int, cadence: int) -> bool:
        """Whether to measure the frame `since` frames after a shot's first. Only frames dreamed in
        full are: the first four, every `MEASURED_EVERY`th, and all while the strength is off."""
        in_full, left = divmod(since, cadence)
        off = in_full < 4 or abs(self.shortage) > self.OFF
        return left == 0 and (off or in_full % MEASURED_EVERY == 0)

    def known_source(self, since: int, contrast: float) -> Tensor | None:
        """The response (1,) to a source shortly before the frame of that `contrast`, `since` frames
        after a shot's first, if it is about that to its own; None if it must be measured."""
        near = since - self.source_since < SOURCE_EVERY
        alike = abs(contrast - self.source_contrast) < ALIKE_CONTRAST * self.source_contrast
        return self.source if near and alike else None

    def begin(self, source: float, dreamed: float) -> None:
        """Begin a shot whose first frame's dream raised the response from `source` to `dreamed`."""
        self.reference.source, self.reference.dreamed = source, dreamed
        self.shortage = 0.0

    def tell(self, source: float, dreamed: float) -> None:
        """Learn from a frame whose dream raised the response from `source` to `dreamed`."""
        target = self.target(source)
        # A dream that calms its layers adds less than nothing.
        added = math.copysign(max(abs(target - 1), 0.05), target - 1)
        self.shortage = min(max((target - dreamed / source) / added, -1.0), 1.0)
        self.control.learn(self.shortage)

    def target(self, source: float) -> float:
        """The strength to reach in a frame whose source has the response `source`.

        It is the reference's as long as the source's response stays within `free` of the first. A
        still reaches about the same response whatever its source, so beyond that the strength to be
        added is divided by the square root of the excess.
        """
        strength = 1 + (self.reference.gain - 1) * self.share
        change = source / self.reference.source
        beyond = change / min(max(change, 1 / self.free), self.free)
        return 1 + (strength - 1) / beyond**0.5


@dataclass
class CrispnessLoop:
    """Holds a shot's crispness by a little sharpening or softening of each frame, against what
    carrying softens or hardens.

    Crispness is the sharpness that a dream adds to its source's: the source itself may come into
    focus. It is held where it is found, on the device of the dream, which need not be waited for.
    """

    learned: Tensor = field(default_factory=lambda: torch.zeros(()))  # a PI controller's output
    added: Tensor = field(default_factory=lambda: torch.zeros(()))  # by the first frame's dream

    @property
    def gains(self) -> Gains:
        """The gains and limits in `GAINS`."""
        return GAINS["crispness"]

    def begin(self, source: Tensor, detail: Tensor, where: Tensor | None = None) -> None:
        """Begin a shot with `detail` on `source`, (1, 3, H, W) both. `where` (1, 1, H, W) weighs
        the places, if given."""
        dreamed = (source + detail).clamp(0, 1)
        self.added = sharpness(dreamed, where) - sharpness(source, where)

    @timed("loops")
    def held(
        self, source: Tensor, detail: Tensor, share: float = 1.0, where: Tensor | None = None
    ) -> Tensor:
        """`detail` (1, 3, H, W) after `source` plus `detail` is sharpened or softened. `share`: the
        wanted share of the first frame's dream. `where` is as in `begin`."""
        dreamed = (source + detail).clamp(0, 1)
        target = sharpness(source, where) + share * self.added
        now, gains = sharpness(dreamed, where), self.gains
        known = torch.minimum(target, now) > 0
        short = torch.where(known, (target / now.clamp_min(TINY)).clamp_min(TINY).log(), 0.0)
        self.learned = (self.learned + gains.integral * short).clamp(gains.least, gains.most)
        output = (self.learned + gains.proportional * short).clamp(gains.least, gains.most)
        # Sharpen the picture, not the detail: where a dream smooths its source, sharper detail
        # would make the picture softer. Sharpen luma alone: sharp colours become coloured specks.
        light = luma(dreamed)
        return torch.addcmul(detail, output, light - blur(light, CRISP_SIGMA))


@dataclass
class FullnessLoop:
    """Holds a shot's fullness, the mean size of its detail: where the dream thins, less of it
    fades, unless it is too strong.

    Without it, the chance detail of the first frame fades, and a shot turns pale at equal strength.
    """

    GAIN = 10.0  # share of the fading that is spared, per part of the fullness that is missing
    TOO_STRONG = 0.2  # surplus of strength at which nothing is spared

    first: float = 0.0  # fullness of the first frame

    def begin(self, fullness: float) -> None:
        """Begin a shot with a dream of that `fullness`; see `Carried.fullness`."""
        self.first = fullness

    def carry(self, fullness: float, usual: float, shortage: float, share: float = 1.0) -> float:
        """The share of the detail to keep, at least the `usual` one, where it arrived with that
        `fullness`. `shortage`: that of strength. `share`: the wanted share of the first frame's
        dream."""
        missing = math.log(max(share * self.first, TINY) / max(fullness, TINY))
        spared = _clamp(self.GAIN * missing) * _clamp(1 + shortage / self.TOO_STRONG)
        return usual + (1 - usual) * spared


@dataclass
class EvolutionLoop:
    """Holds a zoom's strength at its first frame's, by the share of `zoom.evolve` that each frame
    climbs."""

    CROWDED = 0.4  # most that is climbed where there is no room for more detail

    control: Controller = field(default_factory=lambda: Controller("evolution", 0.4))
    reference: Reference = field(default_factory=lambda: Reference(0.0, 0.0))
    climbed: dict[str, float] = field(default_factory=dict)  # the proportions of the terms
    share: float = 0.4  # the output: about what it takes, until more is known

    def tell(
        self, response: float, strength: float, climbed: dict[str, float], room: float
    ) -> None:
        """Learn from a frame with that `response` to terms of which `climbed` are the
        `proportions`, at the setting `strength`. `room` is that for more detail, from 0, none, to
        1.

        Where the terms changed, the reference is scaled so that this response is the one to hold.
        """
        if climbed != self.climbed:
            change = response / self.reference.dreamed
            self.reference.source *= change
            self.reference.dreamed = response
            self.reference.strength = strength if strength >= TELLING else 0.0
            self.climbed = climbed
        if self.reference.strength == 0:
            return
        wanted = self.reference.share(strength)
        source, dreamed = self.reference.source, self.reference.dreamed
        short = math.log(max(source + (dreamed - source) * wanted, TINY) / response)
        most = self.CROWDED + (self.control.gains.most - self.CROWDED) * room
        self.control.learn(short, most)
        self.share = self.control.output(short, most)


@dataclass
class VarietyLoop:
    """Keeps a zoom from becoming one pattern: where the deepest features spread less over the
    picture than early on, their diversity is climbed beside the dream's own terms."""

    GAIN = 8.0  # weight, where that of the terms is 1, per part of the spread that is missing
    SLACK = 0.03  # part of the spread that may be missing
    MOST = 1.5  # weight
    EARLY = 50  # measurements, after which the usual spread is known

    usual: float = 0.0  # mean spread early on
    told: int = 0  # measurements in that mean
    weight: float = 0.0  # the output: the weight of `DIVERSITY`

    def tell(self, spread: float) -> None:
        """Learn from a frame of that `spread`, which is its mean response to `DIVERSITY`."""
        if self.told < self.EARLY:
            self.told += 1
            self.usual += (spread - self.usual) / self.told
        short = 1 - self.SLACK - spread / max(self.usual, TINY)
        self.weight = min(max(self.GAIN * short, 0.0), self.MOST)


def _clamp(share: float) -> float:
    return min(max(share, 0.0), 1.0)
