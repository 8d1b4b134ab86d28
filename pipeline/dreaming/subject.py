"""A frame to be dreamed, with its network, settings and terms."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import Ascent, Beside, dream, octave_sizes, still_ascent
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
    terms and penalties of its dream."""

    source: Tensor
    number: int
    network: Network
    settings: Settings
    terms: Terms
    pulls: Sequence[Pull] = ()

    @classmethod
    def of(
        cls,
        source: Tensor,
        number: int,
        network: Network,
        settings: Settings,
        objective: Objective = L2,
    ) -> "Subject":
        """A subject whose terms are those that `settings.dream` names, with `objective` for L2 on a
        layer. Raises UserError as `terms_of` does."""
        seen = Seen(source, number)
        terms = terms_of(settings.dream, network, seen, objective)
        return cls(source, number, network, settings, terms, pulls_of(settings.dream))

    @property
    def still(self) -> Ascent:
        """The ascent of a picture that carries no dream yet."""
        return still_ascent(self.settings.dream)

    def counting(self, on_steps: OnSteps) -> Callable[[], None]:
        """The callback for each step of the ascent `still` that tells `on_steps` how many are done,
        and how many there are in all octaves."""
        size, done = self.source.shape[2:], itertools.count(1)
        sizes = octave_sizes(size, self.network, self.terms, self.settings.dream)
        return lambda: on_steps(next(done), self.still.steps * len(sizes))

    def dreamed(
        self,
        start: Tensor,
        ascent: Ascent,
        on_step: Callable[[], None] = lambda: None,
        others: Terms = (),
    ) -> Tensor:
        """The dream of `start` (1, 3, h, w), the source with what is carried, by `ascent`. The
        terms `others` are climbed beside those of the subject, as in `Beside`."""
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

    def responses(self, images: Tensor, where: Tensor | None = None) -> list[float]:
        """The response of the terms to each of `images` (N, 3, H, W). See `response_of`."""
        tile = self.settings.dream.tile
        found: list[float] = response_of(images, self.network, self.terms, where, tile).tolist()
        return found

    def placed_response(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The response of the terms to `image` (1, 3, H, W), and where; see
        `placed_response_of`."""
        return placed_response_of(image, self.network, self.terms, self.settings.dream.tile)

    def within(self, part: Cells) -> "Subject":
        """This subject for the `part` of its source alone."""
        size = (self.source.shape[2], self.source.shape[3])
        terms = [
            term if term.where is None else replace(term, where=resize(term.where, size)[part])
            for term in self.terms
        ]
        source = self.source[part].contiguous(memory_format=torch.channels_last)
        return replace(self, source=source, terms=terms)

    def by(self, settings: Settings) -> "Subject":
        """This subject with other `settings`, and the same terms."""
        return replace(self, settings=settings)
