"""A frame to be dreamed, with its network, settings and terms."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import (
    Ascent,
    Beside,
    dream,
    not_finite,
    octaves_of,
    still_ascent,
)
from dreamreel.pipeline.dreaming.calibration import TRIED_SIDE, climb_for, further, further_at
from dreamreel.pipeline.dreaming.masks import Masks
from dreamreel.pipeline.dreaming.objectives.activations import L2
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.dreaming.terms import Pull, Terms, placed_response_of, response_of
from dreamreel.pipeline.dreaming.vocabulary import Seen, pulls_of, terms_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.networks.tiles import Cells
from dreamreel.pipeline.tensors import resize

# Gets how many steps are done, and how many there are.
OnSteps = Callable[[int, int], None]
IDLE: OnSteps = lambda done, total: None  # noqa: E731


@dataclass(frozen=True)
class Subject:
    """A frame to be dreamed: its `source` (1, 3, H, W), its `number`, and the network, settings,
    terms and penalties of its dream. `mask` (1, 1, H, W), 0 to 1, is where it is dreamed; None:
    everywhere. `calibrated` is the ascent `still` for that mask, once it is known. Of a part of a
    frame, `frame` is the whole frame's size (height, width)."""

    source: Tensor
    number: int
    network: Network
    settings: Settings
    terms: Terms
    pulls: Sequence[Pull] = ()
    mask: Tensor | None = None
    calibrated: Ascent | None = None
    frame: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        source: Tensor,
        number: int,
        network: Network,
        settings: Settings,
        masks: Masks | None = None,
        objective: Objective = L2,
    ) -> "Subject":
        """A subject whose terms are those that `settings` name, at the places of the `masks`, with
        `objective` for L2 on a layer. Raises UserError as `terms_of` does."""
        terms = terms_of(settings, network, Seen(source, number), masks, objective)
        whole = None if masks is None else masks.whole
        return cls(source, number, network, settings, terms, pulls_of(settings.dream), whole)

    @property
    def is_anywhere(self) -> bool:
        """Whether any place is dreamed."""
        return self.mask is None or bool(self.mask.any())

    def inside(self, values: Tensor) -> Tensor:
        """`values` (1, C, H, W), 0 where nothing is dreamed."""
        return values if self.mask is None else values * (self.mask > 0)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` (1, 1, H, W) over the places that are dreamed: a scalar."""
        if self.mask is None:
            return values.mean()
        inside = (self.mask > 0).float()
        return (values * inside).sum() / inside.sum().clamp_min(1)

    @property
    def still(self) -> Ascent:
        """The ascent of a picture that carries no dream yet."""
        return still_ascent(self.settings.dream)

    @property
    def first(self) -> Ascent:
        """The ascent `still`, as far as it takes inside the mask."""
        return self.calibrated or self.still

    def calibrate(self) -> "Subject":
        """This subject with an ascent that makes the dream inside its mask as strong as it would
        be there without one; see `calibration`."""
        if self.mask is None or self.calibrated is not None:
            return self
        small = self._tried()
        places = {id(term.where): term.where for term in small.terms if term.where is not None}
        climbs = [small._climb_in(where) for where in places.values()]
        full = {id(term.where): term.where for term in self.terms if term.where is not None}
        return replace(self, calibrated=further_at(self.still, climbs, list(full.values())))

    def _tried(self) -> "Subject":
        """This subject at the size at which it is calibrated."""
        height, width = self.source.shape[2:]
        scale = min(1.0, TRIED_SIDE / min(height, width))
        size = round(height * scale), round(width * scale)
        if scale == 1 or not self.network.runs_at(size, [term.layer for term in self.terms]):
            return self
        shrunk = {
            id(term.where): resize(term.where, size)
            for term in self.terms
            if term.where is not None
        }
        terms = [replace(term, where=shrunk.get(id(term.where))) for term in self.terms]
        return replace(self, source=resize(self.source, size), terms=terms)

    def _climb_in(self, where: Tensor) -> float:
        """How many times as far as a still the terms of the places `where` climb, to be as strong
        there as without a mask."""
        if not bool(where.any()):
            return 1.0
        terms = [term for term in self.terms if term.where is where]
        inside = replace(self, terms=terms)
        whole = replace(self, terms=[replace(term, where=None) for term in terms])
        dreamed = whole.dreamed(self.source, self.still)
        target = inside.responses(dreamed)[0]

        def response_at(climb: float) -> float:
            ascent = further(self.still, climb)
            return inside.responses(inside.dreamed(self.source, ascent))[0]

        return climb_for(target, response_at)

    def counting(self, on_steps: OnSteps) -> Callable[[], None]:
        """The callback for each step of the ascent `first` that tells `on_steps` how many are done,
        and how many there are in all octaves."""
        size, done = self.source.shape[2:], itertools.count(1)
        octaves = octaves_of(size, self.network, self.terms, self.settings.dream)
        total = sum(self.first.within(number, octaves)[0] for number in range(len(octaves)))
        return lambda: on_steps(next(done), total)

    def dreamed(
        self,
        start: Tensor,
        ascent: Ascent,
        on_step: Callable[[], None] = lambda: None,
        others: Terms = (),
    ) -> Tensor:
        """The dream of `start` (1, 3, h, w), the source with what is carried, by `ascent`. The
        terms `others` are climbed beside those of the subject, as in `Beside`."""
        if ascent.frame is None:
            ascent = replace(ascent, frame=self.frame or (start.shape[2], start.shape[3]))
        return dream(
            start,
            self.network,
            self.terms,
            self.settings.dream,
            ascent,
            key=(self.settings.seed, self.number),
            beside=Beside(others, self.pulls, self.source if self.pulls else None),
            on_step=on_step,
        )

    def response(self, images: Tensor, where: Tensor | None = None) -> Tensor:
        """The response of the terms to each of `images` (N, 3, H, W): (N,). See `response_of`."""
        return response_of(images, self.network, self.terms, where, self.settings.dream.tile)

    def responses(self, images: Tensor, where: Tensor | None = None) -> list[float]:
        """`response`, as numbers. Raises UserError where one is not finite."""
        found: list[float] = self.response(images, where).tolist()
        if not all(map(math.isfinite, found)):
            raise not_finite(self.network)
        return found

    def placed_response(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The response of the terms to `image` (1, 3, H, W), and where; see
        `placed_response_of`."""
        return placed_response_of(image, self.network, self.terms, self.settings.dream.tile)

    def within(self, part: Cells) -> "Subject":
        """This subject for the `part` of its source alone, and of its masks."""
        size = (self.source.shape[2], self.source.shape[3])
        terms = [term.over(lambda places: resize(places, size)[part]) for term in self.terms]
        source = self.source[part].contiguous(memory_format=torch.channels_last)
        mask = None if self.mask is None else self.mask[part]
        return replace(self, source=source, terms=terms, mask=mask, frame=self.frame or size)

    def by(self, settings: Settings) -> "Subject":
        """This subject with other `settings`, and the same terms."""
        return replace(self, settings=settings)
