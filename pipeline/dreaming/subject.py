"""A frame to be dreamed, with its network, settings and terms."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import Ascent, dream, octaves_of, still_ascent
from dreamreel.pipeline.dreaming.terms import Terms, placed_response_of, response_of, terms_of
from dreamreel.pipeline.networks.network import Network

# Gets how many steps are done, and how many there are.
OnSteps = Callable[[int, int], None]
IDLE: OnSteps = lambda done, total: None  # noqa: E731


@dataclass(frozen=True)
class Subject:
    """A frame to be dreamed: its `source` (1, 3, H, W), its `number`, and the network, settings and
    terms of its dream."""

    source: Tensor
    number: int
    network: Network
    settings: Settings
    terms: Terms

    @classmethod
    def of(cls, source: Tensor, number: int, network: Network, settings: Settings) -> "Subject":
        """A subject whose terms are those that `settings.dream` names."""
        return cls(source, number, network, settings, terms_of(settings.dream, network))

    @property
    def still(self) -> Ascent:
        """The ascent of a picture that carries no dream yet."""
        return still_ascent(self.settings.dream)

    def counting(self, on_steps: OnSteps) -> Callable[[], None]:
        """The callback for each step of the ascent `still` that tells `on_steps` how many are done,
        and how many there are in all octaves."""
        size, done = self.source.shape[2:], itertools.count(1)
        octaves = octaves_of(size, self.network, self.terms, self.settings.dream)
        total = sum(self.still.within(number, octaves)[0] for number in range(len(octaves)))
        return lambda: on_steps(next(done), total)

    def dreamed(
        self, start: Tensor, ascent: Ascent, on_step: Callable[[], None] = lambda: None
    ) -> Tensor:
        """The dream of `start` (1, 3, h, w), a whole frame or a part of one, by `ascent`."""
        key = (self.settings.seed, self.number)
        ascent = replace(ascent, frame=(self.source.shape[2], self.source.shape[3]))
        return dream(
            start, self.network, self.terms, self.settings.dream, ascent, key=key, on_step=on_step
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
