"""The dream of one image: ascent, octaves, steps, weights and jitter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.dreaming.ascent import Ascent, ascent_direction, jitter, octaves_of
from dreamreel.pipeline.dreaming.terms import Term, gradient_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.detail_size import size_of_detail
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_image
from rendering import dreamed as dream

QUICK = Dream(coarsest=68, octaves=2, terms={"textures": 1.0})
PARTS = [Term("parts")]
FIVE = Ascent(5, 1.5)


def strength(network: Network, image: Tensor, layer: str) -> float:
    with torch.no_grad():
        return float(network.activations(image, [layer])[layer].float().square().mean())


@pytest.mark.parametrize("layer", ["fire2b", "textures", "parts"])
def test_a_dream_raises_the_response_of_its_layer(
    dreamnet: Network, picture: Tensor, layer: str
) -> None:
    dreamed = dream(picture, dreamnet, Dream(coarsest=68, octaves=2, terms={layer: 1.0}), FIVE)
    assert strength(dreamnet, dreamed, layer) > 1.5 * strength(dreamnet, picture, layer)


def test_a_negative_weight_lowers_the_response_of_its_layer(
    dreamnet: Network, picture: Tensor
) -> None:
    calm = Dream(octaves=1, terms={"textures": -1.0})
    dreamed = dream(picture, dreamnet, calm, FIVE)
    assert strength(dreamnet, dreamed, "textures") < strength(dreamnet, picture, "textures")


def test_a_dream_is_an_image(dreamnet: Network, picture: Tensor) -> None:
    dreamed = dream(picture, dreamnet, QUICK, FIVE)
    assert dreamed.shape == picture.shape and dreamed.dtype == torch.float32
    assert dreamed.min() >= 0 and dreamed.max() <= 1


def test_the_same_arguments_give_the_same_bytes(dreamnet: Network, picture: Tensor) -> None:
    first = dream(picture, dreamnet, QUICK, FIVE, key=(4, 9))
    torch.rand(3)  # the global generator has no influence
    assert torch.equal(first, dream(picture, dreamnet, QUICK, FIVE, key=(4, 9)))
    assert not torch.equal(first, dream(picture, dreamnet, QUICK, FIVE, key=(5, 9)))
    assert not torch.equal(first, dream(picture, dreamnet, QUICK, FIVE, key=(4, 8)))


def test_a_dream_of_no_steps_changes_nothing(dreamnet: Network, picture: Tensor) -> None:
    assert torch.equal(dream(picture, dreamnet, QUICK, Ascent(0, 1.5)), picture)


def test_places_with_a_step_size_of_zero_do_not_change(dreamnet: Network, picture: Tensor) -> None:
    gain = torch.ones(1, 1, 96, 160)
    gain[..., :80] = 0
    dreamed = dream(picture, dreamnet, Dream(octaves=1), Ascent(3, 1.5 * gain))
    assert torch.equal(dreamed[..., :80], picture[..., :80])
    assert (dreamed[..., 80:] - picture[..., 80:]).abs().mean() > 1 / 255


def sides(network: Network, size: tuple[int, int], look: Dream) -> list[int]:
    return [min(octave.size) for octave in octaves_of(size, network, PARTS, look)]


def test_octaves_grow_by_the_octave_scale(dreamnet: Network) -> None:
    octaves = octaves_of((270, 480), dreamnet, PARTS, Dream(octaves=3, octave_scale=2))
    assert [octave.size for octave in octaves] == [(68, 120), (135, 240), (270, 480)]


def test_octaves_too_small_for_the_network_are_left_out(dreamnet: Network) -> None:
    assert sides(dreamnet, (90, 160), Dream(octaves=8)) == [70, 90]
    assert sides(dreamnet, (40, 40), Dream(octaves=8)) == [40]


@pytest.mark.parametrize("look", [Dream(), Dream(coarsest=80, octaves=2, octave_scale=1.6)])
def test_a_larger_picture_has_the_octaves_of_a_smaller_one(dreamnet: Network, look: Dream) -> None:
    small, large = (sides(dreamnet, size, look) for size in ((180, 320), (2160, 3840)))
    assert small[:-1] == large[: len(small) - 1]
    assert large[0] == (look.coarsest or round(270 / 1.4**3)) and large[-1] == 2160


def test_a_part_of_a_frame_is_dreamed_at_the_scales_of_the_frame(dreamnet: Network) -> None:
    octaves = octaves_of((200, 400), dreamnet, PARTS, Dream(), frame=(1080, 1920))
    scales = [octave.size[1] / 400 for octave in octaves]
    whole = [octave.size[0] / 1080 for octave in octaves_of((1080, 1920), dreamnet, PARTS, Dream())]
    assert scales == pytest.approx(whole[-len(scales) :], rel=0.02) and len(scales) < len(whole)


def test_octaves_finer_than_the_looks_own_are_climbed_ever_less(dreamnet: Network) -> None:
    octaves = octaves_of((1080, 1920), dreamnet, PARTS, Dream(octaves=3))
    found = [FIVE.within(number, octaves) for number in range(len(octaves))]
    climbs = [steps * times for steps, times in found]
    assert climbs[:3] == [5, 5, 5] and climbs[3:] == sorted(climbs[3:], reverse=True)
    assert 0 < climbs[-1] < climbs[3] < 5
    held = Ascent(2, 1.0, coarse=0.0)
    first_three = [held.within(number, octaves)[0] for number in range(3)]
    assert first_three == [0, 0, 2] and held.within(6, octaves)[0] == 1


def test_a_look_is_the_same_at_every_size(dreamnet: Network, scene: np.ndarray) -> None:
    picture = to_image(scene[:216, :384], torch.device("cpu"))
    look = Dream(terms={"textures": 1.0}, coarsest=40, octaves=2)
    details = []
    for size in ((54, 96), (108, 192)):
        source = resize(picture, size)
        dreamed = dream(source, dreamnet, look, FIVE)
        details.append(resize(dreamed - source, (54, 96)))
    one, other = (size_of_detail(detail) for detail in details)
    assert max(one, other) / min(one, other) < 1.2
    places = torch.stack([detail.flatten() for detail in details])
    assert float(torch.corrcoef(places)[0, 1]) > 0.6


def test_an_image_too_small_for_the_network_is_refused(dreamnet: Network) -> None:
    with pytest.raises(UserError, match="3x3 is too small for dreamnet at parts: 64x64 works"):
        octaves_of((3, 3), dreamnet, PARTS, Dream())


@pytest.mark.parametrize("by", ["mean", "std"])
def test_an_ascent_direction_has_a_size_of_1(dreamnet: Network, picture: Tensor, by: str) -> None:
    chosen = Dream(normalise=by, smoothing=1.0)
    direction = ascent_direction(picture, dreamnet, [Term("textures")], chosen, (5, -3))
    size = direction.std() if by == "std" else direction.abs().mean()
    assert size.item() == pytest.approx(1, rel=1e-4)


def test_the_weight_of_a_term_does_not_depend_on_the_scale_of_its_layer(
    dreamnet: Network, picture: Tensor
) -> None:
    # The activations of objects are a thousand times weaker than those of textures.
    alone = [
        gradient_of(picture.clone().requires_grad_(True), dreamnet, [Term(name, weight=2.0)])
        for name in ("textures", "objects")
    ]
    assert alone[0].abs().mean().item() == pytest.approx(2, rel=1e-3)
    assert alone[1].abs().mean().item() == pytest.approx(2, rel=1e-3)
    terms = [Term("textures", weight=2.0), Term("objects", weight=2.0)]
    both = gradient_of(picture.clone().requires_grad_(True), dreamnet, terms)
    assert torch.allclose(both, alone[0] + alone[1], atol=0.1)


def test_smoothing_takes_the_finest_detail_from_a_step(dreamnet: Network, picture: Tensor) -> None:
    def roughness(smoothing: float) -> float:
        chosen = Dream(smoothing=smoothing)
        direction = ascent_direction(picture, dreamnet, PARTS, chosen, (0, 0))
        return float((direction[..., 1:] - direction[..., :-1]).abs().mean())

    assert roughness(2.0) < 0.5 * roughness(0.0)


@settings(max_examples=50, deadline=None)
@given(
    largest=st.integers(0, 64),
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    key=st.tuples(*[st.integers(0, 2**62)] * 4),
)
def test_jitter_is_repeatable_and_within_its_bounds(
    largest: int, size: tuple[int, int], key: tuple[int, int, int, int]
) -> None:
    shift = jitter(largest, size, key)
    assert shift == jitter(largest, size, key)
    assert all(abs(s) <= min(largest, side // 2) for s, side in zip(shift, size, strict=True))
