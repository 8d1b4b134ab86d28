"""Optical flow: its direction and scale, warping along it, and the places where it is occluded."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dreamreel.pipeline.config.fields import Flow, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.flow import FLOW_ESTIMATORS, find_estimator, working_frame
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.motion.visibility import Motion, motion_between, points_inside, soft
from dreamreel.pipeline.motion.warping import flow_at, share_at, warp
from dreamreel.pipeline.tensors import to_image

CPU = torch.device("cpu")


def settings_with(**flow: object) -> Settings:
    return build(("test", {"flow": flow}))


def between(previous: Frame, current: Frame, method: str = "dis") -> Motion:
    return motion_between(previous, current, find_estimator(settings_with(method=method)))


@pytest.fixture(scope="module")
def raft_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained small RAFT."""
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "raft.safetensors"
    save_file({name: tensor.clone() for name, tensor in raft_small().state_dict().items()}, path)
    return path


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_flow_points_from_the_current_frame_to_the_previous_one(
    scene: np.ndarray, method: str
) -> None:
    previous, current = scene[20:180, 20:260], scene[24:184, 14:254]
    motion = between(previous, current, method)
    inside = motion.flow[30:-30, 30:-30].reshape(-1, 2)
    # current(x) = previous(x + (-6, 4))
    assert np.median(inside, 0) == pytest.approx([-6, 4], abs=0.2)


def test_warping_along_the_flow_gives_the_current_frame(scene: np.ndarray) -> None:
    previous, current = scene[20:180, 20:260], scene[24:184, 14:254]
    motion = between(previous, current)
    flow, seen = flow_at(motion.flow, (160, 240), CPU), share_at(motion.visible, (160, 240), CPU)
    before, after = to_image(previous, CPU), to_image(current, CPU)
    error = ((warp(before, flow) - after).abs() * seen).sum() / (3 * seen.sum())
    assert error < 0.3 * (before - after).abs().mean()


def test_warping_by_zero_flow_changes_nothing(picture: torch.Tensor) -> None:
    warped = warp(picture, torch.zeros(1, 2, 96, 160))
    assert torch.allclose(warped, picture, atol=1e-5)


def test_warping_by_whole_pixels_shifts_the_image(picture: torch.Tensor) -> None:
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


def test_a_still_scene_has_no_occlusion(scene: np.ndarray) -> None:
    motion = between(scene, scene)
    assert motion.hidden < 0.01


def test_uncovered_places_are_occluded(scene: np.ndarray) -> None:
    card = np.ascontiguousarray(np.flip(scene, (0, 1))[:80, :80])
    previous, current = scene.copy(), scene.copy()
    previous[80:160, 160:240] = card
    current[80:160, 172:252] = card
    motion = between(previous, current)
    uncovered = motion.visible[90:150, 162:170]
    far_away = motion.visible[40:200, 20:120]
    assert uncovered.mean() < 0.3
    assert far_away.mean() > 0.97


def test_a_dream_is_carried_at_all_visible_places(scene: np.ndarray) -> None:
    motion = between(scene[20:180, 20:260], scene[24:184, 14:254])
    assert (motion.carried >= motion.visible).all()


def test_a_change_of_light_is_no_occlusion(scene: np.ndarray) -> None:
    darker = np.asarray(scene * 0.7, np.uint8)
    motion = between(scene, darker)
    assert motion.likeness > 0.9
    assert motion.hidden < 0.1


def test_another_picture_is_unlike_and_black_is_like_black(scene: np.ndarray) -> None:
    other = np.ascontiguousarray(np.flip(scene, (0, 1)))
    assert between(scene, other).likeness < 0.5
    black = np.zeros_like(scene)
    assert between(black, black + 2).likeness == 1


def test_places_outside_the_frame_are_not_visible() -> None:
    back = np.zeros((40, 60, 2), np.float32)
    back[..., 0] = -10
    seen = soft(points_inside(back))
    assert seen[:, :8].max() == 0
    assert seen[5:-5, 15:-5].min() == 1


def test_flow_is_scaled_to_the_size_of_the_frame() -> None:
    flow = np.zeros((30, 40, 2), np.float32)
    flow[...] = (2, 3)
    tensor = flow_at(flow, (90, 160), CPU)
    assert tensor.shape == (1, 2, 90, 160)
    assert share_at(np.ones((30, 40), np.float32), (90, 160), CPU).shape == (1, 1, 90, 160)
    assert tensor[0, :, 45, 80].tolist() == pytest.approx([8, 9])


def test_flow_is_estimated_at_a_fixed_size_or_that_of_a_smaller_frame(scene: np.ndarray) -> None:
    assert working_frame(scene, 240) is scene
    assert working_frame(scene, 120).shape == (120, 200, 3)
    assert working_frame(scene, 480) is scene
    assert working_frame(np.ascontiguousarray(scene.transpose(1, 0, 2)), 120).shape == (200, 120, 3)


def test_every_estimator_can_be_chosen() -> None:
    choices = Flow.model_json_schema()["properties"]["method"]["enum"]
    assert set(choices) == {*FLOW_ESTIMATORS, "none"}


@pytest.mark.parametrize("size", [(96, 160), (135, 201)])
def test_raft_gives_flow_at_any_frame_size(
    raft_file: Path, scene: np.ndarray, size: tuple[int, int]
) -> None:
    estimate = find_estimator(settings_with(method="raft_small", weights=str(raft_file)))
    frame = np.ascontiguousarray(scene[: size[0], : size[1]])
    flow = estimate(frame, frame)
    assert flow.shape == (*size, 2) and flow.dtype == np.float32
    assert np.isfinite(flow).all()


def test_raft_refuses_weights_of_another_network(raft_file: Path) -> None:
    with pytest.raises(UserError, match="raft"):
        find_estimator(settings_with(method="raft", weights=str(raft_file)))


def test_without_a_download_raft_names_the_setting_for_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_net(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_net)
    with pytest.raises(UserError, match="flow.weights"):
        find_estimator(settings_with(method="raft"))


def test_flow_does_not_depend_on_the_size_of_the_frame(scene: np.ndarray) -> None:
    def motion(scale: int) -> np.ndarray:
        large = np.repeat(np.repeat(scene, scale, 0), scale, 1)
        pair = large[:, : -8 * scale], large[:, 8 * scale :]
        small = [working_frame(np.ascontiguousarray(frame), 120) for frame in pair]
        flow = between(*small).flow
        return flow_at(flow, (240 * scale, 392 * scale), CPU)[0, 0].numpy() / scale

    near, far = motion(1), motion(2)
    assert np.median(near) == pytest.approx(np.median(far), abs=0.1)
    assert np.median(near) == pytest.approx(8, abs=0.5)


@pytest.mark.parametrize("noise", [10, 20])
def test_grain_hides_nothing(scene: np.ndarray, noise: int) -> None:
    random = np.random.default_rng(1)

    def grainy(left: int) -> np.ndarray:
        frame = scene[:180, left : left + 320] + random.normal(0, noise, (180, 320, 1))
        return np.clip(frame, 0, 255).astype(np.uint8)

    motion = between(grainy(0), grainy(2))
    assert motion.carried[8:-8, 8:-8].mean() > 0.85
    assert motion.uncovered[8:-8, 8:-8].mean() < 0.05
    assert np.median(motion.flow[..., 0]) == pytest.approx(2, abs=0.4)


def test_what_a_card_uncovers_is_found_in_spite_of_grain(scene: np.ndarray) -> None:
    random = np.random.default_rng(1)
    card = np.ascontiguousarray(np.flip(scene, (0, 1))[:80, :80])

    def frame(left: int) -> np.ndarray:
        wall = scene.copy()
        wall[80:160, left : left + 80] = card
        return np.clip(wall + random.normal(0, 8, wall.shape), 0, 255).astype(np.uint8)

    motion = between(frame(160), frame(184))
    assert motion.carried[90:150, 162:182].mean() < 0.1
    assert motion.uncovered[90:150, 162:182].mean() > 0.4


def test_flakes_hide_nothing_behind_them(scene: np.ndarray) -> None:
    random = np.random.default_rng(1)

    def snowy() -> np.ndarray:
        frame = scene[:180, :320].copy()
        for x, y in random.integers((4, 4), (316, 176), (40, 2)):
            frame[y : y + 3, x : x + 3] = 250
        return frame

    assert between(snowy(), snowy()).carried.mean() > 0.8


def test_motion_is_the_same_with_any_number_of_threads(scene: np.ndarray) -> None:
    def shown() -> Iterator[np.ndarray]:
        for number in range(10):
            frame = scene[40:, 3 * number : 3 * number + 300].copy()
            if number >= 5:  # bars begin
                frame[:24] = frame[-24:] = 0
            yield frame[::-1] if number >= 7 else frame  # a cut

    settings = build(("test", {"shots": {"min_seconds": 0.0}}))
    one, several = (
        list(follow_motion(shown(), Fraction(24), settings, threads=threads)) for threads in (1, 3)
    )
    assert [moving.box for moving in one] == [moving.box for moving in several]
    assert len(one) == 10 and sum(moving.motion is None for moving in one) >= 1
    for here, there in zip(one, several, strict=True):
        assert (here.motion is None) == (there.motion is None)
        if here.motion is not None and there.motion is not None:
            assert np.array_equal(here.motion.flow, there.motion.flow)
            assert np.array_equal(here.motion.carried, there.motion.carried)
