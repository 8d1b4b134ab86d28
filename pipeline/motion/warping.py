"""Warp images along a flow, which is first scaled to their size."""

import cv2
import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.motion.flow import FlowArray
from dreamreel.pipeline.motion.visibility import Share
from dreamreel.pipeline.tensors import sample


def flow_at(flow: FlowArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """`flow` (h, w, 2) at `size` (height, width): (1, 2, H, W), in pixels of that size."""
    height, width = size
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    scaled = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].to(device)


def share_at(share: Share, size: tuple[int, int], device: torch.device) -> Tensor:
    """`share` (h, w) at `size` (height, width): (1, 1, H, W)."""
    scaled = cv2.resize(share, size[::-1], interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(scaled)[None, None].to(device)


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
