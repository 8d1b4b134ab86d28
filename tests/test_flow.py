"""Motion: estimated, followed, and distrusted where it should be."""

import cv2
import numpy as np
import pytest
import torch

from dreamreel.pipeline.flow import (
    Motion,
    dis,
    motion_between,
    scaled_to,
    visible,
    warp,
    working_frame,
)
from dreamreel.pipeline.images import to_image

CPU = torch.device("cpu")


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def test_flow_points_from_here_to_the_previous_frame(scene: np.ndarray) -> None:
    previous, current = scene[20:180, 20:260], scene[24:184, 14:254]
    motion = motion_between(grey(previous), grey(current), dis())
    inside = motion.flow[30:-30, 30:-30].reshape(-1, 2)
    # current(x) = previous(x + (-6, 4))
    assert np.median(inside, 0) == pytest.approx([-6, 4], abs=0.2)


def test_warping_along_the_flow_gives_the_current_frame(scene: np.ndarray) -> None:
    previous, current = scene[20:180, 20:260], scene[24:184, 14:254]
    motion = motion_between(grey(previous), grey(current), dis())
    flow, seen = scaled_to(motion, (160, 240), CPU)
    before, after = to_image(previous, CPU), to_image(current, CPU)
    error = ((warp(before, flow) - after).abs() * seen).sum() / (3 * seen.sum())
    assert error < 0.3 * (before - after).abs().mean()


def test_warping_by_nothing_is_nothing(picture: torch.Tensor) -> None:
    warped = warp(picture, torch.zeros(1, 2, 96, 160))
    assert torch.allclose(warped, picture, atol=1e-5)


def test_warping_by_whole_pixels_moves_them(picture: torch.Tensor) -> None:
    flow = torch.zeros(1, 2, 96, 160)
    flow[:, 0], flow[:, 1] = 7, -3
    warped = warp(picture, flow)
    assert torch.allclose(warped[:, :, 3:, :-7], picture[:, :, :-3, 7:], atol=1e-4)


def test_a_hundred_half_pixel_warps_do_not_ring() -> None:
    torch.manual_seed(0)
    detail = torch.randn(1, 3, 64, 64)
    energy = detail.square().mean()
    there, back = torch.full((1, 2, 64, 64), 0.5), torch.full((1, 2, 64, 64), -0.5)
    for _ in range(50):
        detail = warp(warp(detail, there), back)
    assert detail.square().mean() < energy


def test_a_still_scene_is_all_visible(scene: np.ndarray) -> None:
    motion = motion_between(grey(scene), grey(scene), dis())
    assert motion.hidden < 0.01


def test_what_was_covered_is_not_visible(scene: np.ndarray) -> None:
    card = np.ascontiguousarray(np.flip(scene, (0, 1))[:80, :80])
    previous, current = scene.copy(), scene.copy()
    previous[80:160, 160:240] = card
    current[80:160, 172:252] = card
    motion = motion_between(grey(previous), grey(current), dis())
    uncovered = motion.visible[90:150, 162:170]
    far_away = motion.visible[40:200, 20:120]
    assert uncovered.mean() < 0.3
    assert far_away.mean() > 0.97


def test_beyond_the_frame_is_not_visible() -> None:
    back = np.zeros((40, 60, 2), np.float32)
    back[..., 0] = -10
    seen = visible(back, -back)
    assert seen[:, :8].max() == 0
    assert seen[5:-5, 15:-5].min() == 1


def test_motion_is_scaled_to_the_frame() -> None:
    flow = np.zeros((30, 40, 2), np.float32)
    flow[...] = (2, 3)
    tensor, seen = scaled_to(Motion(flow, np.ones((30, 40), np.float32)), (90, 160), CPU)
    assert tensor.shape == (1, 2, 90, 160) and seen.shape == (1, 1, 90, 160)
    assert tensor[0, :, 45, 80].tolist() == pytest.approx([8, 9])


def test_small_frames_are_not_enlarged_for_flow(scene: np.ndarray) -> None:
    assert working_frame(scene, 480) is scene
    assert working_frame(scene, 120).shape == (120, 200, 3)
