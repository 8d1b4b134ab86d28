"""Dreams in motion."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.animate import (
    begin_shot,
    dream_video,
    follow_motion,
    infinite_zoom,
    noise,
)
from dreamreel.pipeline.dream import Ascent, dream
from dreamreel.pipeline.flow import warp
from dreamreel.pipeline.images import to_image
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.settings import Settings, build

RATE = Fraction(25)
CPU = torch.device("cpu")
Slide = Callable[[int, int], list[np.ndarray]]


def chosen(**dream: object) -> Settings:
    table = {"octaves": 2, "layers": {"textures": 1.0}, "steps": 5, "carry": 0.8, **dream}
    return build(("test", {"dream": table}))


@pytest.fixture
def slide(scene: np.ndarray) -> Slide:
    """`count` frames of 160x96 that show the scene further right by `pixels` each."""

    def frames(count: int, pixels: int) -> list[np.ndarray]:
        return [scene[20:116, pixels * i : pixels * i + 160] for i in range(count)]

    return frames


def dreamed(frames: list[np.ndarray], network: Network, settings: Settings) -> list[Tensor]:
    return list(dream_video(follow_motion(frames, RATE, settings), network, settings))


def details(frames: list[np.ndarray], images: list[Tensor]) -> list[Tensor]:
    return [image - to_image(frame, CPU) for frame, image in zip(frames, images, strict=True)]


def test_motion_follows_the_frames(slide: Slide) -> None:
    first, second = follow_motion(slide(2, 3), RATE, Settings(), first=7)
    assert (first.number, second.number) == (7, 8)
    assert first.motion is None and second.motion is not None
    assert np.median(second.motion.flow[10:-10, 10:-10], (0, 1)) == pytest.approx([3, 0], abs=0.2)


def test_a_cut_carries_nothing(slide: Slide) -> None:
    frames = slide(3, 1) + [255 - frame for frame in slide(3, 1)]
    motions = [moving.motion for moving in follow_motion(frames, RATE, Settings())]
    assert [motion is None for motion in motions] == [True, False, False, True, False, False]


def test_after_a_cut_the_dream_is_that_of_a_new_shot(dreamnet: Network, slide: Slide) -> None:
    settings = chosen()
    other = [255 - frame for frame in slide(2, 1)]
    after = dreamed(slide(2, 1) + other, dreamnet, settings)[2]
    alone = begin_shot(to_image(other[0], CPU), dreamnet, settings, 2)
    assert torch.equal(after, alone)


def test_a_dream_clings_to_what_moves(dreamnet: Network, slide: Slide) -> None:
    frames, settings = slide(8, 3), chosen()
    flow = torch.zeros(1, 2, 96, 160)
    flow[:, 0] = 3

    def unrest(images: list[Tensor]) -> float:
        found = details(frames, images)
        return float(
            np.mean(
                [
                    (warp(before, flow) - now)[..., 8:-8].square().mean()
                    for before, now in zip(found, found[1:], strict=False)
                ]
            )
        )

    ours = dreamed(frames, dreamnet, settings)
    alone = build(("test", settings.model_dump()), ("test", {"flow": {"method": "none"}}))
    assert unrest(ours) < 0.3 * unrest(dreamed(frames, dreamnet, alone))


def test_without_flow_each_frame_is_a_still(dreamnet: Network, slide: Slide) -> None:
    settings = build(("test", chosen().model_dump()), ("test", {"flow": {"method": "none"}}))
    images = dreamed(slide(2, 3), dreamnet, settings)
    still = dream(to_image(slide(2, 3)[1], CPU), dreamnet, settings.dream, Ascent(5, 1.5), frame=1)
    assert torch.equal(images[1], still)


def test_a_shot_does_not_ramp(dreamnet: Network, slide: Slide) -> None:
    frames, settings = slide(30, 0), build(("test", {"dream": {"octaves": 1}}))
    sizes = [float(d.abs().mean()) for d in details(frames, dreamed(frames, dreamnet, settings))]
    assert max(sizes) < 1.2 * min(sizes)


def test_newly_seen_places_are_dreamed_more(dreamnet: Network, scene: np.ndarray) -> None:
    wall, card = scene[:120, :200], np.ascontiguousarray(np.flip(scene, 0)[:120, 200:260])
    frames = []
    for number in range(4):
        frame = wall.copy()
        left = 60 + 12 * number
        frame[:, left : left + 60] = card
        frames.append(frame)

    def uncovered(gain: float) -> float:
        settings = chosen(new_area_gain=gain)
        return float(
            details(frames, dreamed(frames, dreamnet, settings))[-1][..., 85:95].abs().mean()
        )

    assert uncovered(4.0) > 1.3 * uncovered(1.0)


def test_video_is_the_same_twice(dreamnet: Network, slide: Slide) -> None:
    runs = [dreamed(slide(3, 2), dreamnet, chosen()) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_a_zoom_begins_with_its_picture_dreamed_and_goes_on(
    dreamnet: Network, picture: Tensor
) -> None:
    settings = chosen()
    images = list(infinite_zoom(picture, dreamnet, settings, 4, RATE))
    assert len(images) == 4
    assert torch.equal(images[0], dream(picture, dreamnet, settings.dream, Ascent(5, 1.5)))
    assert all(image.shape == picture.shape for image in images)
    assert not torch.allclose(images[2], images[3], atol=1e-3)


def test_a_zoom_moves_as_far_in_a_second_at_any_rate(dreamnet: Network, picture: Tensor) -> None:
    settings = build(
        ("test", {"dream": {"steps": 0, "frame_steps": 0}, "camera": {"zoom": 2.0, "hold": 0.0}})
    )
    ends = [
        list(infinite_zoom(picture, dreamnet, settings, rate + 1, Fraction(rate)))[-1]
        for rate in (10, 20)
    ]
    assert (ends[0] - ends[1]).abs().mean() < 0.01


def test_noise_has_something_at_every_scale_and_few_loud_colours() -> None:
    image = noise((96, 160), 5, CPU)
    assert image.shape == (1, 3, 96, 160)
    assert torch.equal(image, noise((96, 160), 5, CPU))
    assert not torch.equal(image, noise((96, 160), 6, CPU))
    assert 0.05 < image.std() < 0.4
    coarse = torch.nn.functional.avg_pool2d(image, 16)
    assert coarse.std() > 0.3 * image.std()
