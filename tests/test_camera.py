"""The camera of the endless zoom."""

from fractions import Fraction

import pytest
import torch

from dreamreel.pipeline.camera import Camera, hold_colours, move

MOVES = [Camera(1.3), Camera(1.05, rotation=8), Camera(1.2, pan_x=0.1, pan_y=-0.05)]


def test_standing_still_changes_nothing(picture: torch.Tensor) -> None:
    assert torch.allclose(move(picture, Camera()), picture, atol=1e-5)


@pytest.mark.parametrize("rate", [24, 30, 60])
def test_a_second_is_a_second_at_any_rate(rate: int) -> None:
    camera = Camera(1.7, 20, 0.1, -0.2)
    frame = camera.during(Fraction(1, rate))
    assert frame.zoom**rate == pytest.approx(camera.zoom)
    assert frame.rotation * rate == pytest.approx(camera.rotation)
    assert (frame.pan_x * rate, frame.pan_y * rate) == pytest.approx((0.1, -0.2))


def test_zooming_doubles_about_the_centre() -> None:
    image = torch.zeros(1, 3, 64, 96)
    image[:, :, 28:36, 40:56] = 1  # 8 high, 16 wide, in the middle
    seen = move(image, Camera(2.0))[0, 0] > 0.5
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (rows.min(), rows.max()) == (24, 39)
    assert (columns.min(), columns.max()) == (32, 63)


def test_turning_keeps_shapes_in_a_wide_picture() -> None:
    image = torch.zeros(1, 3, 64, 128)
    image[:, :, 22:42, 62:66] = 1  # an upright bar
    # Only the middle square shows what was there; beside it the picture goes on mirrored.
    seen = move(image, Camera(rotation=90))[0, 0, :, 32:96] > 0.5
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (4, 20)


@pytest.mark.parametrize("camera", MOVES)
def test_no_move_shows_a_border(camera: Camera) -> None:
    image = torch.full((1, 3, 48, 80), 0.6)
    for _ in range(20):
        image = move(image, camera)
    assert torch.allclose(image, torch.full_like(image, 0.6), atol=1e-4)


def test_a_hundred_moves_do_not_ring() -> None:
    torch.manual_seed(0)
    image = (0.5 + 0.1 * torch.randn(1, 3, 64, 64)).clamp(0, 1)
    roughness = (image[..., 1:] - image[..., :-1]).square().mean()
    for _ in range(100):
        image = move(image, Camera(1.01))
    assert (image[..., 1:] - image[..., :-1]).square().mean() <= roughness


def test_colours_are_held_by_as_much_as_asked(picture: torch.Tensor) -> None:
    burnt = (picture * 1.5 + 0.1).clamp(0, 1)
    free, half, held = (hold_colours(burnt, picture, share) for share in (0.0, 0.5, 1.0))
    assert torch.allclose(free, burnt)
    off = [
        float((image.mean((2, 3)) - picture.mean((2, 3))).abs().max())
        for image in (free, half, held)
    ]
    assert off[0] > off[1] > off[2] and off[2] < 0.02
