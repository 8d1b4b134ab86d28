"""Terms: their gradients and responses, masks, and that tiles change none of these."""

from fractions import Fraction

import pytest
import torch
from test_tiles import textured
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.ascent import Ascent, dream
from dreamreel.pipeline.dreaming.control import VarietyLoop
from dreamreel.pipeline.dreaming.objectives import DEVIATION, DIVERSITY, L2, OBJECTIVES, Objective
from dreamreel.pipeline.dreaming.terms import (
    Term,
    gradient_of,
    mean_responses,
    proportions,
    response_of,
)
from dreamreel.pipeline.dreaming.vocabulary import Seen, terms_of
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom
from dreamreel.pipeline.zooming.journey import Journey

ROUNDING = 1e-3  # mean error allowed, as a share of a gradient's mean size; see `test_tiles`
SIZE, TILE = (163, 211), 144


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("dreamnet", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def image() -> Tensor:
    return textured(*SIZE)


def gradient(image: Tensor, network: Network, *terms: Term, tile: int | None = None) -> Tensor:
    return gradient_of(image.clone().requires_grad_(True), network, terms, tile)


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().mean() / wanted.abs().mean())


def left_half(image: Tensor) -> Tensor:
    where = torch.zeros_like(image[:, :1])
    where[..., : image.shape[3] // 2] = 1
    return where


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_gradient_of_any_objective_is_the_same_in_tiles(
    network: Network, image: Tensor, objective: Objective, masked: bool
) -> None:
    where = left_half(image) if masked else None
    terms = (Term("textures", objective, 1.0, where), Term("fire2b", objective, 0.5, where))
    whole = gradient(image, network, *terms)
    assert off(gradient(image, network, *terms, tile=TILE), whole) < ROUNDING


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_response_to_any_objective_is_the_same_in_tiles(
    network: Network, image: Tensor, objective: Objective, masked: bool
) -> None:
    terms = [Term("textures", objective, 1.0, left_half(image) if masked else None)]
    pair = torch.cat([image, image.flip(3) * 0.5])
    whole = response_of(pair, network, terms)
    assert torch.allclose(response_of(pair, network, terms, tile=TILE), whole, rtol=1e-4)


def zoomed(image: Tensor, network: Network, settings: Settings) -> list[Tensor]:
    """Nine frames of a zoom that climbs the diversity of its features from the first frame on."""
    state = ZoomState(variety=VarietyLoop(usual=1.0, told=VarietyLoop.EARLY, weight=1.0))
    journey = Journey(9, Fraction(10))
    return list(infinite_zoom(image, network, constant(settings), journey, state=state))


def test_a_tiled_zoom_equals_an_untiled_one(network: Network, image: Tensor) -> None:
    """A zoom climbs deviations from a mean over the whole picture, and measures responses."""
    image = textured(163, 400)  # wider than the tiles that the deepest layer needs
    dreams = {"terms": "textures", "octaves": 1, "steps": 2}
    tiled, whole = (
        build(("test", {"dream": dream})) for dream in ({**dreams, "tile": TILE}, dreams)
    )
    pairs = zip(zoomed(image, network, tiled), zoomed(image, network, whole), strict=True)
    for number, (one, other) in enumerate(pairs):
        assert float((one - other).abs().mean()) < (0.01 + 0.02 * number) / 255


def test_deviation_ignores_what_all_places_have_in_common(network: Network, image: Tensor) -> None:
    """Activations of a repeated pattern repeat as well, and deviate less from their mean."""
    pattern = image[..., :16, :16].repeat(1, 1, 10, 12)
    pattern = pattern.contiguous(memory_format=torch.channels_last)
    inside = (..., slice(64, 96), slice(64, 128))
    alike, special = (
        float(gradient(pattern, network, Term("textures", one))[inside].abs().mean())
        for one in (L2, DEVIATION)
    )
    assert special < 0.5 * alike


def test_diversity_responds_to_how_much_places_differ(network: Network, image: Tensor) -> None:
    pattern = image[..., :32, :32].repeat(1, 1, 6, 8).contiguous(memory_format=torch.channels_last)
    (varied,), (same,) = (
        mean_responses(one, network, [Term("objects", DIVERSITY)]) for one in (image, pattern)
    )
    assert 0 < float(same) < 0.9 * float(varied) < 1


def test_a_masked_term_is_climbed_only_inside_its_mask(network: Network, image: Tensor) -> None:
    where = left_half(image)
    found = gradient(image, network, Term("fire2a", where=where))
    field = network.layers["fire2a"].field.receptive or 0
    middle = image.shape[3] // 2
    assert found[..., : middle - 1].abs().mean() > 0
    assert found[..., middle + field :].abs().max() == 0


def test_a_mask_is_shifted_with_the_jitter(network: Network, image: Tensor) -> None:
    """Even with jitter, a masked dream changes nothing far from its mask."""
    settings = Dream(octaves=1, jitter=64, smoothing=0.0)
    terms = [Term("fire2a", where=left_half(image))]
    found = dream(image, network, terms, settings, Ascent(4, 2.0))
    field = network.layers["fire2a"].field.receptive or 0
    right = slice(image.shape[3] // 2 + field, image.shape[3] - field)
    assert float((found - image)[..., right].abs().max()) < 1e-6
    assert float((found - image)[..., :100].abs().mean()) > 1 / 255


def test_a_masked_response_ignores_the_picture_outside_its_mask(
    network: Network, image: Tensor
) -> None:
    dimmed = image.clone()
    dimmed[..., image.shape[3] // 2 :] = 0.5
    there = [Term("textures", where=left_half(image))]
    far = [Term("textures", where=1 - left_half(image))]
    kept, lost = (
        [float(response_of(one, network, terms)) for one in (image, dimmed)]
        for terms in (there, far)
    )
    assert kept[1] == pytest.approx(kept[0], rel=0.2) and lost[1] < 0.5 * lost[0]


def test_terms_of_one_layer_add_up(network: Network, image: Tensor) -> None:
    one, other = Term("parts", L2, 1.0), Term("parts", DEVIATION, 0.5)
    alone = [
        gradient(image, network, Term(t.layer, t.objective, 2 * t.weight)) / 2
        for t in (one, Term("parts", DEVIATION, 0.25))
    ]
    both = gradient(image, network, one, other)
    second = gradient(image, network, Term("parts", DEVIATION, 2.0)) / 4
    assert torch.allclose(both, alone[0] + second, atol=1e-3 * float(both.abs().mean()))


def test_terms_are_those_of_the_settings_or_the_default_of_the_network(
    network: Network, image: Tensor
) -> None:
    seen = Seen(image, 0)
    assert terms_of(Settings(), network, seen) == (Term("parts"),)
    settings = Settings(dream=Dream(terms={"textures": 2.0, "objects": 0.0}))
    chosen = terms_of(settings, network, seen, objective=DEVIATION)
    assert proportions(chosen) == {"deviation:textures": 1.0}
