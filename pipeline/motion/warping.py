"""Warp images along a flow, which is first scaled to their size."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline import pixels
from dreamreel.pipeline.motion.flow import FlowArray
from dreamreel.pipeline.motion.visibility import Motion, Share
from dreamreel.pipeline.tensors import moved, sample


def flow_at(flow: FlowArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """`flow` (h, w, 2) at `size` (height, width): (1, 2, H, W), in pixels of that size."""
    return _scaled(flow, size, device)


def share_at(share: Share, size: tuple[int, int], device: torch.device) -> Tensor:
    """`share` (h, w) at `size` (height, width): (1, 1, H, W)."""
    return _at_size(share[..., None], size, device)


def carried_along(
    motion: Motion, detail: Tensor, direction: Tensor, level: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`detail` and `direction` (1, 3, H, W) and `level` (1, 1, H, W), warped along `motion`, and 0
    where it carries nothing; `level` in [0, 1]."""
    size, device = (detail.shape[2], detail.shape[3]), detail.device
    # The flow and the share that is carried come to the device in one move.
    maps = _scaled(np.dstack([motion.flow, motion.carried]), size, device)
    if pixels.takes(detail, direction, level):
        return pixels.carried(detail, direction, level, maps)
    flow, share = maps[:, :2], maps[:, 2:]
    warped = share * warp(torch.cat([detail, direction, level], 1), flow)
    return warped[:, :3], warped[:, 3:6], warped[:, 6:].clamp(0, 1)


def warp(previous: Tensor, flow: Tensor) -> Tensor:
    """`previous` (1, C, H, W) pulled along `flow` (1, 2, H, W): warped(x) = previous(x + flow(x)).

    In float32, with edges repeated; `tensors.sample` resamples.
    """
    return sample(previous, sampling_grid(flow), "border")


def sampling_grid(flow: Tensor) -> Tensor:
    """The points (1, H, W, 2) at which `flow` (1, 2, H, W) points, in grid_sample's coordinates."""
    height, width = flow.shape[2:]
    # With align_corners=False, -1 and 1 are the outer edges of the first and the last pixel.
    x = torch.arange(width, device=flow.device, dtype=torch.float32)
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    to_x = (flow[:, 0] + x + 0.5) * (2 / width) - 1
    to_y = (flow[:, 1] + y + 0.5) * (2 / height) - 1
    return torch.stack([to_x, to_y], -1)


def _scaled(maps: NDArray[Any], size: tuple[int, int], device: torch.device) -> Tensor:
    """`maps` (h, w, C), of which the first two are a flow, at `size`: (1, C, H, W)."""
    across, down = size[1] / maps.shape[1], size[0] / maps.shape[0]
    found = _at_size(maps, size, device)
    if (across, down) != (1, 1):
        found[:, 0] *= across
        found[:, 1] *= down
    return found


def _at_size(maps: NDArray[Any], size: tuple[int, int], device: torch.device) -> Tensor:
    """`maps` (h, w, C) at `size` (height, width): (1, C, H, W). The small maps are moved to the
    `device`, and enlarged there."""
    small = moved(torch.from_numpy(np.ascontiguousarray(maps)), device).permute(2, 0, 1)[None]
    if tuple(small.shape[2:]) == size:
        return small.clone()
    return F.interpolate(small.contiguous(), size, mode="bilinear", align_corners=False)
