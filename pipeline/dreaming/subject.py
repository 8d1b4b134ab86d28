"""A frame to be dreamed, and what it is dreamed by."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import Ascent, dream, still_ascent
from dreamreel.pipeline.dreaming.terms import Terms, response_of, terms_of
from dreamreel.pipeline.networks.network import Network


@dataclass(frozen=True)
class Subject:
    """The `source` (1, 3, H, W) of a frame, its `number`, and the network, settings and terms by
    which it is dreamed."""

    source: Tensor
    number: int
    network: Network
    settings: Settings
    terms: Terms

    @classmethod
    def of(cls, source: Tensor, number: int, network: Network, settings: Settings) -> "Subject":
        """The subject that `settings` make of `source`."""
        return cls(source, number, network, settings, terms_of(settings.dream, network))

    @property
    def still(self) -> Ascent:
        """The ascent of a picture that is dreamed from nothing."""
        return still_ascent(self.settings.dream)

    def dreamed(
        self, start: Tensor, ascent: Ascent, on_step: Callable[[], None] = lambda: None
    ) -> Tensor:
        """`start` (1, 3, h, w), the whole or a part of a frame, dreamed by `ascent`."""
        key = (self.settings.seed, self.number)
        return dream(
            start, self.network, self.terms, self.settings.dream, ascent, key=key, on_step=on_step
        )

    def responses(self, images: Tensor, where: Tensor | None = None) -> list[float]:
        """The response to each of `images` (N, 3, H, W), as `response_of` has it."""
        tile = self.settings.dream.tile
        found: list[float] = response_of(images, self.network, self.terms, where, tile).tolist()
        return found

    def by(self, settings: Settings) -> "Subject":
        """This, by other `settings` of the same terms."""
        return replace(self, settings=settings)
