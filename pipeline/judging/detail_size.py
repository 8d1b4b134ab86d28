"""How large the things are that a dream added to its source."""

import torch
from torch import Tensor

from dreamreel.pipeline.tensors import luma


def size_of_detail(detail: Tensor) -> float:
    """The lag, in pixels, at which the autocorrelation of the luma of `detail` (1, 3, H, W), a
    dream minus its source, averaged over all directions, falls to one half; 0 if it has none."""
    light = luma(detail)[0, 0]
    light = light - light.mean()
    if not bool(light.any()):
        return 0.0
    height, width = light.shape
    power = torch.fft.rfft2(light, (2 * height, 2 * width)).abs().square()  # padded: no wrapping
    near = min(height, width) // 2
    alike = torch.fft.irfft2(power, (2 * height, 2 * width)).roll((near, near), (0, 1))
    away = torch.arange(2 * near) - near
    lags = torch.hypot(away[:, None].float(), away[None].float()).round().long().flatten()
    total = torch.bincount(lags, alike[: 2 * near, : 2 * near].flatten().cpu())
    shares = total / torch.bincount(lags).clamp_min(1)
    shares = shares / shares[0]
    below = int((shares < 0.5).nonzero()[0])
    high, low = float(shares[below - 1]), float(shares[below])
    return below - 1 + (high - 0.5) / (high - low)
