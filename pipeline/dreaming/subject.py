"""A frame to be dreamed, with its network, settings and terms."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import Ascent, dream, octave_sizes, still_ascent
from dreamreel.pipeline.dreaming.terms import Pull, Terms, placed_response_of, response_of
from dreamreel.pipeline.dreaming.vocabulary import Seen, pulls_of, terms_of
from dreamreel.pipeline.dreaming.objectives.activations import L2
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.networks.network import Network

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
        beside: Terms = (),
    ) -> Tensor:
        """The dream of `start` (1, 3, h, w), the source with what is carried, by `ascent`; `beside`
        is as for `dream`."""
        return dream(
            start,
            self.network,
            self.terms,
            self.settings.dream,
            ascent,
            key=(self.settings.seed, self.number),
            beside=beside,
            pulls=self.pulls,
            source=self.source,
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

    def by(self, settings: Settings) -> "Subject":
        """This subject with other `settings`, and the same terms."""
        return replace(self, settings=settings)
