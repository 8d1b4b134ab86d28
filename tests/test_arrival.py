"""A zoom arrives at its goal: the goal is complete at the end, and shows no edge on the way."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.zooming.arrival import around, arrived, inlaid, opacity
from dreamreel.pipeline.zooming.camera import Velocity, view
from dreamreel.pipeline.zooming.journey import apparent_scale, growth, homeward

CPU = torch.device("cpu")
SIZE = (90, 160)


def coordinates(scale: float, goal: tuple[int, int]) -> Tensor:
    """The places in a `goal` of that size (height, width) at which a frame looks that shows it at
    `scale`: a grid for `grid_sample`."""
    back = torch.diag(torch.tensor([1 / scale, 1 / scale, 1.0], dtype=torch.float64))
    return view(back, SIZE, SIZE[0], CPU, goal).grid


def goal_size() -> tuple[int, int]:
    margin = around(SIZE[0])
    return SIZE[0] + 2 * margin, SIZE[1] + 2 * margin


def flown(steps: int, canvas: Tensor, goal: Tensor, until: float = 0.5) -> Tensor:
    """`canvas` after `steps` motions, in which the goal grows from 1/16 of a frame to `until`."""
    factor = (16 * until) ** (1 / steps)
    scales = [factor**number / 16 for number in range(steps + 1)]
    move = Velocity(factor).during(1, SIZE[1] / SIZE[0])
    for before, scale in pairwise(scales):
        canvas = view(move, SIZE, SIZE[0], CPU).of(canvas)
        back = torch.diag(torch.tensor([1 / scale, 1 / scale, 1.0], dtype=torch.float64))
        canvas = arrived(canvas, goal, back, SIZE[0], scales[0], before)
    return canvas


@pytest.mark.parametrize("scale", [0.93, 0.97, 1.0])
def test_at_the_end_the_goal_is_opaque_wherever_the_last_motion_looks(scale: float) -> None:
    there = opacity(coordinates(scale, goal_size()), goal_size(), SIZE[0], scale, 1.0)
    seen = view(Velocity(1 / scale).during(1, SIZE[1] / SIZE[0]), SIZE, SIZE[0], CPU).of(there)
    assert float(seen.min()) > 0.99


def test_a_goal_becomes_more_opaque_as_it_comes_nearer() -> None:
    grid = coordinates(0.5, goal_size())
    shares = [opacity(grid, goal_size(), SIZE[0], s, 0.5) for s in (0.3, 0.5, 0.7, 0.9)]
    assert all(float((b - a).min()) > -0.02 for a, b in pairwise(shares))
    means = [float(share.mean()) for share in shares]
    assert means == sorted(means) and means[-1] > means[0] + 0.3


def test_a_goal_has_an_uneven_outline_inside_its_edge() -> None:
    for scale in (0.25, 0.4, 0.6):
        there = opacity(coordinates(scale, goal_size()), goal_size(), SIZE[0], scale, 0.2)
        rows = (there[0, 0] > 0.5).sum(1)
        widths = rows[rows > 0]
        assert widths.min() < 0.7 * widths.max()
        at_edge = F.grid_sample(torch.ones(1, 1, *goal_size()), coordinates(scale, goal_size()),
                                "bilinear", "zeros", align_corners=False)  # fmt: skip
        assert float(there[at_edge < 0.5].max() if (at_edge < 0.5).any() else 0) < 0.02


def test_an_arrival_looks_the_same_at_any_number_of_frames() -> None:
    canvas, goal = torch.full((1, 3, *SIZE), 0.2), torch.full((1, 3, *goal_size()), 0.8)
    few, many = flown(20, canvas, goal), flown(80, canvas, goal)
    assert (few - many).abs().mean() < 0.03 and (few - many).abs().max() < 0.22
    middle = many[:, :, SIZE[0] // 2, SIZE[1] // 2]
    assert float(middle.min()) > 0.79


def test_no_edge_shows_between_a_dark_canvas_and_a_bright_goal() -> None:
    canvas, goal = torch.full((1, 3, *SIZE), 0.1), torch.full((1, 3, *goal_size()), 0.9)
    image = flown(40, canvas, goal)
    assert image.max() - image.min() > 0.7
    step = (image[..., 1:] - image[..., :-1]).abs().max()
    assert float(step) < 0.15


def test_an_inlaid_picture_has_soft_edges_and_is_whole_at_the_end(picture: Tensor) -> None:
    margin = around(picture.shape[2])
    goal = torch.zeros(1, 3, picture.shape[2] + 2 * margin, picture.shape[3] + 2 * margin)
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    end, far = inlaid(goal, picture, 1.0), inlaid(goal, picture, 0.4)
    assert torch.equal(end[inside], picture)
    assert float(end.sum()) == pytest.approx(float(picture.sum()))
    assert float(far[inside][:, :, 0].max()) < 0.05
    assert torch.equal(far[inside][:, :, 47:49, 60:100], picture[:, :, 47:49, 60:100])


def test_growth_multiplies_over_motions_without_overflow_for_an_hour() -> None:
    move = Velocity(1.5, 20, 0.1, tilt=4).during(0.1, 1.5)
    assert growth([move] * 20) == pytest.approx(1.5**2)
    ahead = homeward([Velocity(1.5).during(1 / 30, 1.5)] * 108_000)
    assert len(ahead) == 108_001 and apparent_scale(ahead[-1]) == 1
    assert ahead[0] is None and apparent_scale(ahead[0]) == 0
    assert apparent_scale(ahead[-31]) == pytest.approx(1 / 1.5)
    assert growth([move] * 108_000) > 1e300
