"""The camera of the endless zoom: zoom, rotation, pan, tilt and yaw."""

import math

import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.zooming.camera import Velocity, view

CPU = torch.device("cpu")
MOVES = [
    Velocity(1.7, 20, 0.1, -0.2),
    Velocity(0.6, -40, pivot_x=0.3, pivot_y=-0.2),
    Velocity(tilt=12, yaw=-8),
    Velocity(1.2, 5, 0.1, 0.1, 6, 9, 0.1, 0.1),
]


def moved(image: Tensor, camera: Velocity, seconds: float = 1.0) -> Tensor:
    size = (image.shape[2], image.shape[3])
    return view(camera.during(seconds, size[1] / size[0]), size, size[0], CPU).of(image)


def test_a_camera_at_rest_changes_nothing(picture: Tensor) -> None:
    assert torch.allclose(moved(picture, Velocity()), picture, atol=1e-5)


@pytest.mark.parametrize("rate", [24, 30, 60])
@pytest.mark.parametrize("camera", MOVES)
def test_a_camera_moves_equally_far_in_a_second_at_any_rate(rate: int, camera: Velocity) -> None:
    frame = camera.during(1 / rate, 16 / 9)
    assert torch.allclose(torch.linalg.matrix_power(frame, rate), camera.during(1, 16 / 9))


def test_a_zoom_of_2_doubles_sizes_about_the_pivot() -> None:
    image = torch.zeros(1, 3, 64, 96)
    image[:, :, 28:36, 40:56] = 1  # a bar, 8 high and 16 wide, in the middle
    seen = moved(image, Velocity(2.0))[0, 0] > 0.5
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (rows.min(), rows.max()) == (24, 39)
    assert (columns.min(), columns.max()) == (32, 63)
    aside = moved(image, Velocity(2.0, pivot_x=-1 / 12, pivot_y=-1 / 16))[0, 0] > 0.5
    rows, columns = aside.any(1).nonzero(), aside.any(0).nonzero()
    assert (rows.min(), columns.min()) == (28, 40)  # the pivot is a corner of the bar


def test_rotation_keeps_shapes_in_a_wide_picture() -> None:
    image = torch.zeros(1, 3, 64, 128)
    image[:, :, 22:42, 62:66] = 1  # an upright bar
    seen = moved(image, Velocity(rotation=90))[0, 0] > 0.5
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (4, 20)


def test_a_pan_moves_by_frame_widths_and_heights() -> None:
    image = torch.zeros(1, 3, 40, 80)
    image[:, :, 20, 60] = 1
    seen = moved(image, Velocity(pan_x=0.25, pan_y=-0.25))
    assert divmod(int(seen[0, 0].argmax()), 80) == (30, 40)


def test_yaw_brings_the_right_side_nearer_and_keeps_lines_straight() -> None:
    ahead = Velocity(yaw=20).during(1, 1.0)

    def comes_from(x: float, y: float) -> Tensor:
        at = ahead @ torch.tensor([x, y, 1.0], dtype=torch.float64)
        return at[:2] / at[2]

    assert comes_from(0, 0)[0] > 0
    left, middle, right = (comes_from(0.4, y) for y in (-0.4, 0.0, 0.4))
    cross = (middle - left)[0] * (right - left)[1] - (middle - left)[1] * (right - left)[0]
    assert abs(float(cross)) < 1e-12


def test_places_outside_the_previous_frame_are_marked_as_unseen() -> None:
    size = (40, 80)
    ahead = view(Velocity(1.5).during(1, 2.0), size, 40, CPU)
    back = view(Velocity(0.5).during(1, 2.0), size, 40, CPU)
    assert float(ahead.seen.min()) == 1
    assert 0.24 < float(back.seen.mean()) < 0.27
    assert float(back.seen[0, 0, 20, 40]) == 1 and float(back.seen[0, 0, 0, 0]) == 0


def test_resampling_takes_detail_only_between_pixels() -> None:
    size = (32, 32)
    still = view(Velocity().during(1, 1.0), size, 32, CPU)
    half = view(Velocity(pan_x=0.5 / 32).during(1, 1.0), size, 32, CPU)
    assert all(float(part.max()) < 1e-9 for part in still.taken)
    assert float(half.taken[0].min()) > 0.99 and float(half.taken[1].max()) < 1e-9


def test_a_hundred_resamplings_do_not_ring() -> None:
    torch.manual_seed(0)
    image = (0.5 + 0.1 * torch.randn(1, 3, 64, 64)).clamp(0, 1)
    roughness = (image[..., 1:] - image[..., :-1]).square().mean()
    for _ in range(100):
        image = moved(image, Velocity(1.01))
    assert (image[..., 1:] - image[..., :-1]).square().mean() <= roughness
    assert math.isfinite(float(image.sum()))
