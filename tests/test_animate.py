"""The dream of a video: it moves with the picture, holds its strength, and restarts at a cut."""

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings, Video
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.schedule import Moment
from dreamreel.pipeline.config.timeline import constant, settings_at
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.carrying import begin_shot, dream_video
from dreamreel.pipeline.dreaming.control import StrengthLoop
from dreamreel.pipeline.dreaming.detail import hold_light
from dreamreel.pipeline.dreaming.patches import patches
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.motion.warping import warp
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import sharpness, to_image
from rendering import dreamed as dream_image
from rendering import response

RATE = Fraction(25)
CPU = torch.device("cpu")
Slide = Callable[[int, int], list[np.ndarray]]


def chosen(**given: object) -> Settings:
    """Quick settings, with the `given` settings of the sections `dream` and `video`."""
    table = {"octaves": 2, "terms": {"textures": 1.0}, "steps": 5, "carry": 0.8, **given}
    carries = {name: table.pop(name) for name in Video.model_fields if name in table}
    return build(("test", {"dream": table, "video": carries}))


@pytest.fixture
def slide(scene: np.ndarray) -> Slide:
    """A function (count, pixels) -> frames of 160x96; the view moves right by `pixels` a frame."""

    def frames(count: int, pixels: int) -> list[np.ndarray]:
        return [scene[20:116, pixels * i : pixels * i + 160] for i in range(count)]

    return frames


def dreamed(frames: list[np.ndarray], network: Network, settings: Settings) -> list[Tensor]:
    return list(dream_video(follow_motion(frames, RATE, settings), network, constant(settings)))


def details(frames: list[np.ndarray], images: list[Tensor]) -> list[Tensor]:
    return [image - to_image(frame, CPU) for frame, image in zip(frames, images, strict=True)]


def test_a_frame_has_the_motion_since_the_frame_before(slide: Slide) -> None:
    first, second = follow_motion(slide(2, 3), RATE, Settings(), first=7)
    assert (first.number, second.number) == (7, 8)
    assert first.motion is None and second.motion is not None
    moved = np.median(second.motion.flow[10:-10, 10:-10], (0, 1))
    assert moved == pytest.approx([3, 0], abs=0.2)


def test_no_motion_is_followed_across_a_cut(slide: Slide) -> None:
    frames = slide(3, 1) + [np.flip(frame, 0) for frame in slide(3, 1)]
    motions = [moving.motion for moving in follow_motion(frames, RATE, Settings())]
    assert [motion is None for motion in motions] == [True, False, False, True, False, False]


def test_after_a_cut_the_dream_begins_anew(dreamnet: Network, slide: Slide) -> None:
    settings = chosen()
    other = [np.ascontiguousarray(np.flip(frame, 0)) for frame in slide(2, 1)]
    after = dreamed(slide(2, 1) + other, dreamnet, settings)[2]
    source = to_image(other[0], CPU)
    assert torch.equal(after, source + begin_shot(Subject.of(source, 2, dreamnet, settings)).detail)


def test_detail_moves_with_the_picture(dreamnet: Network, slide: Slide) -> None:
    frames, settings = slide(8, 3), chosen()
    flow = torch.zeros(1, 2, 96, 160)
    flow[:, 0] = 3

    def warp_error(images: list[Tensor]) -> float:
        found = details(frames, images)
        return float(
            np.mean(
                [
                    (warp(before, flow) - now)[..., 8:-8].square().mean()
                    for before, now in itertools.pairwise(found)
                ]
            )
        )

    ours = dreamed(frames, dreamnet, settings)
    alone = build(("test", settings.model_dump()), ("test", {"flow": {"method": "none"}}))
    assert warp_error(ours) < 0.3 * warp_error(dreamed(frames, dreamnet, alone))


def test_without_flow_each_frame_is_dreamed_like_a_still(dreamnet: Network, slide: Slide) -> None:
    settings = build(
        ("test", chosen(hold_light=0.0).model_dump()), ("test", {"flow": {"method": "none"}})
    )
    images = dreamed(slide(2, 3), dreamnet, settings)
    still = dream_image(
        to_image(slide(2, 3)[1], CPU), dreamnet, settings.dream, Ascent(5, 1.5), key=(0, 1)
    )
    source = to_image(slide(2, 3)[1], CPU)
    assert torch.equal(images[1], source + (still - source))  # rounded as source plus detail


def strengths(frames: list[np.ndarray], network: Network, settings: Settings) -> list[float]:
    layers = settings.dream.terms

    def response_to(image: Tensor) -> float:
        return float(response(image, network, layers))

    images = dreamed(frames, network, settings)
    pairs = zip(frames, images, strict=True)
    return [response_to(image) / response_to(to_image(frame, CPU)) for frame, image in pairs]


def test_a_shot_keeps_the_strength_it_began_with(dreamnet: Network, slide: Slide) -> None:
    for frames in (slide(24, 0), slide(24, 2)):
        found = strengths(frames, dreamnet, chosen(steps=10))
        assert np.mean(found[12:]) == pytest.approx(found[0], rel=0.15)
        assert min(found) > 0.7 * found[0]


def test_strength_does_not_ramp_up_within_a_shot(dreamnet: Network, slide: Slide) -> None:
    settings = build(("test", {"dream": {"octaves": 1, "terms": "parts"}}))
    found = strengths(slide(30, 0), dreamnet, settings)
    assert max(found) < 1.12 * min(found)


def test_a_higher_strength_gives_a_stronger_dream(dreamnet: Network, slide: Slide) -> None:
    weak, usual, strong = (
        np.mean(strengths(slide(6, 1), dreamnet, chosen(strength=strength))) - 1
        for strength in (0.4, 1.0, 2.0)
    )
    assert 0 < weak < 0.7 * usual < 0.5 * strong


def test_a_negative_weight_calms_its_layer_in_a_video(dreamnet: Network, slide: Slide) -> None:
    settings = chosen(terms={"textures": -1.0})
    assert max(strengths(slide(6, 1), dreamnet, settings)) < 1


def test_a_frame_climbs_more_if_the_last_was_too_weak_and_less_if_too_strong() -> None:
    loop = StrengthLoop()
    loop.begin(10.0, 50.0)
    usual = loop.climb
    loop.tell(10.0, 40.0)
    more = loop.climb
    loop.begin(10.0, 50.0)
    loop.tell(10.0, 65.0)
    assert loop.climb < usual < more


def test_the_target_strength_stays_while_the_source_changes_little() -> None:
    loop = StrengthLoop()
    loop.begin(10.0, 50.0)
    assert loop.target(10.0) == loop.target(12.0) == loop.target(8.5) == 5
    assert 1 < loop.target(40.0) < 5 < loop.target(2.0)


def test_mix_blends_the_source_and_the_dream(dreamnet: Network, slide: Slide) -> None:
    frames = slide(2, 1)
    wet, half, dry = (dreamed(frames, dreamnet, chosen(mix=mix))[1] for mix in (1.0, 0.5, 0.0))
    source = to_image(frames[1], CPU)
    assert torch.equal(dry, source)
    assert torch.allclose(half, (source + wet) / 2, atol=1e-5)


def test_hold_light_takes_broad_light_and_leaves_fine_detail(picture: Tensor) -> None:
    torch.manual_seed(1)
    fine = 0.1 * torch.randn(picture.shape)
    source = picture * 0.5 + 0.25
    held = hold_light((source + fine + 0.1).clamp(0, 1), source, 1.0)
    assert abs(float((held - source).mean())) < 0.01
    assert float((held - source).std()) == pytest.approx(float(fine.std()), rel=0.1)
    assert torch.equal(hold_light(source + 0.1, source, 0.0), source + 0.1)


def test_a_long_still_video_neither_drifts_nor_blurs(dreamnet: Network, slide: Slide) -> None:
    frames = slide(60, 0)
    found = details(frames, dreamed(frames, dreamnet, chosen(steps=10, carry=0.9)))
    assert max(abs(float(detail.mean())) for detail in found) < 0.01

    def crispness(detail: Tensor) -> float:
        return float((detail[..., 1:] - detail[..., :-1]).square().mean())

    assert np.mean([crispness(d) for d in found[40:]]) == pytest.approx(
        np.mean([crispness(d) for d in found[10:20]]), rel=0.35
    )


@pytest.mark.parametrize("pixels", [0, 1])
def test_a_shot_stays_as_crisp_as_it_began(dreamnet: Network, slide: Slide, pixels: int) -> None:
    frames = slide(50, pixels)
    found = [
        float(sharpness(image) / sharpness(to_image(frame, CPU)))
        for frame, image in zip(frames, dreamed(frames, dreamnet, chosen(steps=10)), strict=True)
    ]
    assert np.mean(found[25:]) == pytest.approx(found[0], rel=0.15)


def test_uncovered_places_become_as_strong_as_the_rest(
    dreamnet: Network, scene: np.ndarray
) -> None:
    wall, card = scene[:144, :256], np.ascontiguousarray(np.flip(scene, 0)[:144, 140:400])
    frames, lefts = [], [96 + 14 * max(0, number - 2) for number in range(11)]
    for left in lefts:
        frame = wall.copy()
        frame[:, left:] = card[:, : 256 - left]
        frames.append(frame)
    settings = build(("test", {"dream": {"terms": {"textures": 1.0}, "octaves": 3}}))
    image, source = dreamed(frames, dreamnet, settings)[-1], to_image(frames[-1], CPU)
    uncovered, before = torch.zeros(1, 1, 144, 256), torch.zeros(1, 1, 144, 256)
    uncovered[..., lefts[0] + 8 : lefts[-4]] = 1  # uncovered three frames ago or earlier
    before[..., 8 : lefts[0] - 8] = 1

    def strength(where: Tensor) -> float:
        pair = response(torch.cat([source, image]), dreamnet, settings.dream.terms, where)
        return float(pair[1] / pair[0])

    assert strength(uncovered) > 0.7 * strength(before)


def test_patches_cover_uncovered_places_and_skip_specks() -> None:
    uncovered = np.zeros((60, 100), bool)
    assert patches(uncovered, (120, 200), 32) == []
    uncovered[5, 5] = True
    assert patches(uncovered, (120, 200), 32) == []
    uncovered[20:40, 60:70] = True
    ((_, rows, columns),) = patches(uncovered, (120, 200), 32)
    assert rows.start <= 40 and rows.stop >= 80 and columns.start <= 120 and columns.stop >= 140
    assert patches(np.ones((60, 100), bool), (120, 200), 32) == []


def test_with_a_cadence_the_frames_between_only_carry_the_dream(
    dreamnet: Network, slide: Slide
) -> None:
    frames = slide(5, 0)
    images = dreamed(frames, dreamnet, chosen(cadence=4))
    found = details(frames, images)
    assert all(torch.allclose(found[0], found[i], atol=1e-4) for i in (1, 2, 3))
    assert not torch.allclose(found[3], found[4], atol=1e-3)


def test_the_same_video_gives_the_same_dream(dreamnet: Network, slide: Slide) -> None:
    runs = [dreamed(slide(3, 2), dreamnet, chosen()) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_strength_may_change_over_time(dreamnet: Network, slide: Slide) -> None:
    frames = slide(24, 1)

    def over_time(number: int) -> Settings:
        return chosen(strength=1.0 if number < 4 else 0.4)

    moving = follow_motion(frames, RATE, chosen())
    images = list(dream_video(moving, dreamnet, over_time))
    sizes = [detail.abs().mean() for detail in details(frames, images)]
    steady = dreamed(frames, dreamnet, chosen())
    usual = [detail.abs().mean() for detail in details(frames, steady)]
    assert sizes[2] == usual[2]
    assert sizes[-1] < 0.8 * usual[-1]


@pytest.mark.parametrize(
    "fading_in",
    [{"strength": "0:(0), 8:(1)"}, {"terms": {"textures": "where(t < 8, 0, 1)"}}],
)
def test_a_dream_that_fades_in_reaches_full_strength(
    slide: Slide, dreamnet: Network, fading_in: dict[str, object]
) -> None:
    frames, fades = slide(30, 0), chosen(**fading_in)

    def over_time(number: int) -> Settings:
        return settings_at(fades, Moment(number, len(frames), RATE))

    moving = follow_motion(frames, RATE, fades)
    faded = details(frames, list(dream_video(moving, dreamnet, over_time)))
    whole = details(frames, dreamed(frames, dreamnet, chosen()))
    sizes = [float(detail.abs().mean()) for detail in faded]
    assert sizes[0] < 0.1 * float(whole[0].abs().mean())
    source = to_image(frames[-1], CPU)
    layers = {"textures": 1.0}
    strengths = [
        float(response(source + detail[-1], dreamnet, layers)) for detail in (faded, whole)
    ]
    assert strengths[0] > 0.75 * strengths[1]


def test_a_very_weak_dream_does_not_fade_away(slide: Slide, dreamnet: Network) -> None:
    frames = slide(25, 0)
    faint = details(frames, dreamed(frames, dreamnet, chosen(strength=0.05)))
    sizes = [float(detail.abs().mean()) for detail in faint]
    assert sizes[-1] > 0.5 * sizes[0] > 0


def test_a_source_is_measured_anew_when_it_has_changed() -> None:
    loop = StrengthLoop()
    assert loop.known_source(1, 10.0) is None
    loop.source, loop.source_since, loop.source_contrast = torch.ones(1), 4, 10.0
    assert loop.known_source(6, 10.5) is not None
    assert loop.known_source(6, 12.0) is None and loop.known_source(30, 10.0) is None
