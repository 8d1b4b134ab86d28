"""Pictures from nothing: a network's terms, imagined rather than dreamed into a picture.

The picture is a sum of waves whose colours are apart, so that a step changes its large shapes as
readily as its fine ones (Olah et al., Feature Visualization, 2017). Each step climbs the terms in
several random views of it: parts, turned, mirrored, in other light. What is in all of them is a
thing, rather than a pattern that only one network knows.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Imagine, Settings
from dreamreel.pipeline.dreaming.terms import Terms, gradient_scale
from dreamreel.pipeline.dreaming.views import Views, gradient_in, windows
from dreamreel.pipeline.dreaming.vocabulary import Seen, pulls_of, terms_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.network import Network

# The axes along which the colours of natural pictures vary apart, and their spread along each:
# light, blue to yellow, green to magenta (Ruderman et al., 1998).
AXES = ((0.577, 0.577, 0.577), (0.707, 0.0, -0.707), (0.408, -0.816, 0.408))
SPREADS = (1.0, 0.4, 0.25)
BETAS = (0.9, 0.99)  # of Adam
WARM_UP, LEAST_RATE = 10, 0.05  # steps until the full rate; the share of it that is left in the end
FAINT = 0.15  # the standard deviation of the waves of the first picture


class Waves:
    """A picture as the waves that add up to it. `waves` is what is climbed."""

    def __init__(self, size: tuple[int, int], random: torch.Generator, device: torch.device):
        height, width = size
        down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        # In natural pictures, the height of a wave falls like 1 / frequency. Counted in the whole
        # picture, a frequency is as easily climbed in a large one as in a small one.
        heights = 1 / np.maximum(np.hypot(down, across) * max(size), 1)
        self.size = size
        self._heights = torch.from_numpy(heights).float().to(device)
        drawn = torch.randn(1, 3, height, width // 2 + 1, 2, generator=random)
        self.waves = (FAINT * drawn).to(device).requires_grad_(True)
        self._colours = (torch.tensor(AXES).t() * torch.tensor(SPREADS)).to(device)

    def image(self) -> Tensor:
        """The image (1, 3, H, W), in [0, 1]."""
        spectrum = torch.view_as_complex(self.waves) * self._heights
        axes = torch.fft.irfft2(spectrum, s=self.size, norm="forward")
        image = torch.sigmoid(torch.einsum("nchw,dc->ndhw", axes, self._colours))
        return image.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def regularise(self, decay: float, blur: float, clip: float) -> None:
        """Fade the picture by the share `decay`, blur it by `blur` pixels, and turn the share
        `clip` of its pixels grey, those with the least colour (Yosinski et al., Understanding
        Neural Networks Through Deep Visualization, 2015)."""
        height, width = self.size
        if blur:
            down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
            passed = np.exp(-2 * (math.pi * blur) ** 2 * (down**2 + across**2))
            self.waves *= torch.from_numpy(passed).float().to(self.waves.device)[..., None]
        if clip:
            spectrum = torch.view_as_complex(self.waves) * self._heights
            axes = torch.fft.irfft2(spectrum, s=self.size, norm="forward")
            norms = axes.norm(dim=1, keepdim=True)
            kept = norms > norms.flatten().kthvalue(max(1, round(clip * norms.numel()))).values
            clipped = torch.fft.rfft2(axes * kept, norm="forward") / self._heights
            self.waves.copy_(torch.view_as_real(clipped))
        self.waves *= 1 - decay


def imagine(
    size: tuple[int, int],
    network: Network,
    settings: Settings,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """An image (1, 3, H, W) of `size` (height, width), in [0, 1], that shows the terms in
    `settings`.

    It begins with a faint noise; channels that are chosen by rank are those of that. Equal
    arguments on one machine give equal bytes. `on_step` is called after each of `imagine.steps`.
    Raises UserError as `terms_of` does, and where a gradient is not finite.
    """
    random = torch.Generator().manual_seed(settings.seed)
    picture = Waves(size, random, network.device)
    with torch.no_grad():
        first = picture.image()
    terms = terms_of(settings, network, Seen(first, 0))
    pulls, how = pulls_of(settings.dream), settings.imagine
    adam = torch.optim.Adam([picture.waves], betas=BETAS)
    for step in range(how.steps):
        done = step / how.steps
        adam.param_groups[0]["lr"] = how.rate * _rate_at(step, done)
        image = picture.image()
        seen = image.detach().requires_grad_(True)
        gradient = _gradient(seen, network, terms, how, done, random)
        for pull in pulls:
            gradient = gradient + pull.weight * pull.penalty(image.detach(), first)
        adam.zero_grad()
        image.backward(-gradient)
        adam.step()
        if how.decay or how.blur or how.clip:
            picture.regularise(how.decay, how.blur, how.clip)
        on_step()
    with torch.no_grad():
        return picture.image()


def _rate_at(step: int, done: float) -> float:
    """The share of the rate at a `step`, when so much is `done`: it falls like half a cosine."""
    falling = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2
    return min(1.0, (step + 1) / WARM_UP) * falling


def _gradient(
    image: Tensor,
    network: Network,
    terms: Terms,
    settings: Imagine,
    done: float,
    random: torch.Generator,
) -> Tensor:
    """The gradient of the `terms` in random views of `image` (1, 3, H, W), by `image`, brought to a
    mean absolute value of 1."""
    side = min(settings.side, network.side or settings.side)
    views = Views(
        settings.views, side, settings.least, settings.most, settings.turn, settings.shift
    )
    where = windows((image.shape[2], image.shape[3]), views, random)
    seen = torch.cat([window.of(image) for window in where])
    seen = _in_other_light(seen, settings, done, random)
    gradient = gradient_in(image, seen, where, network, terms)
    if not bool(gradient.isfinite().all()):
        raise UserError(
            f"what {network.name} imagines became NaN or infinite: its weights are too large or "
            "broken; try another layer, or --precision float32"
        )
    return gradient / gradient_scale(gradient, "mean")


def _in_other_light(
    views: Tensor, settings: Imagine, done: float, random: torch.Generator
) -> Tensor:
    """`views` (N, 3, h, w) with random contrast and colour, and with noise that falls as more is
    `done`."""
    count = views.shape[0]
    contrast = torch.exp(settings.contrast * (2 * torch.rand(count, 1, 1, 1, generator=random) - 1))
    tint = settings.tint * (2 * torch.rand(count, 3, 1, 1, generator=random) - 1)
    noise = settings.noise * (1 - done) * torch.randn(views.shape, generator=random)
    device = views.device
    return 0.5 + (views - 0.5) * contrast.to(device) + (tint + noise).to(device)
