"""The shape of a gradient: smoothed, its bands made equal, its frequencies weighed."""

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.tensors import blur, resize

TINY = 1e-30  # floor of divisors
SMALLEST_BAND = 4  # pixels: a picture's shorter side, below which it is not halved again


def shaped(gradient: Tensor, settings: Dream) -> Tensor:
    """`gradient` (1, 3, H, W), smoothed, its bands made equal and its frequencies weighed as
    `settings` say."""
    gradient = blur(gradient, settings.smoothing)
    if settings.laplacian:
        gradient = equal_bands(gradient, settings.laplacian)
    if settings.frequency:
        gradient = weighed_frequencies(gradient, settings.frequency)
    return gradient


def equal_bands(gradient: Tensor, bands: int) -> Tensor:
    """`gradient` (1, 3, H, W) with each of the `bands` of its Laplacian pyramid, and what remains
    below them, divided by its root mean square (Mordvintsev, DeepDreaming with TensorFlow,
    2016)."""
    found = []
    for _ in range(bands):
        height, width = gradient.shape[2:]
        if min(height, width) < 2 * SMALLEST_BAND:
            break
        low = resize(gradient, ((height + 1) // 2, (width + 1) // 2))
        found.append(_of_unit_size(gradient - resize(low, (height, width))))
        gradient = low
    total = _of_unit_size(gradient)
    for band in reversed(found):
        total = band + resize(total, (band.shape[2], band.shape[3]))
    return total


def weighed_frequencies(gradient: Tensor, exponent: float) -> Tensor:
    """`gradient` (1, 3, H, W) with each frequency f divided by f to the power of `exponent`: 1
    prefers broad shapes, as natural pictures do. f is in cycles over the shorter side, at least
    1."""
    height, width = gradient.shape[2:]
    side = min(height, width)
    down = torch.fft.fftfreq(height, 1 / side, device=gradient.device)[:, None]
    across = torch.fft.rfftfreq(width, 1 / side, device=gradient.device)[None]
    frequency = (down.square() + across.square()).sqrt().clamp_min(1)
    spectrum = torch.fft.rfft2(gradient) / frequency**exponent
    found = torch.fft.irfft2(spectrum, s=(height, width))
    return found.contiguous(memory_format=torch.channels_last)


def _of_unit_size(band: Tensor) -> Tensor:
    return band / band.square().mean().sqrt().clamp_min(TINY)
