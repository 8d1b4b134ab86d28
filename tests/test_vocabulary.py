"""What terms climb: channels, neurons, classes, guides and penalties."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.objectives.channels import ranked
from dreamreel.pipeline.dreaming.objectives.guides import MOST_PLACES, features_of, nearest
from dreamreel.pipeline.dreaming.objectives.penalties import change, variation
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.dreaming.terms import gradient_of, placed
from dreamreel.pipeline.dreaming.vocabulary import Seen, terms_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network

QUICK = {"octaves": 1, "steps": 4, "jitter": 8}


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("dreamnet", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def image() -> Tensor:
    random = np.random.default_rng(5)
    coarse = torch.from_numpy(random.random((1, 3, 12, 16), np.float32))
    return torch.nn.functional.interpolate(coarse, (96, 128), mode="bicubic").clamp(0, 1)


def settings_with(*terms: str, **more: object) -> Settings:
    return build(("test", {"dream": {**QUICK, "terms": list(terms), **more}}))


def chosen(terms: dict[str, float]) -> Settings:
    return Settings(dream=Dream(terms=terms))


def dreamed(image: Tensor, network: Network, *terms: str) -> Tensor:
    subject = Subject.of(image, 0, network, settings_with(*terms))
    return subject.dreamed(image, Ascent(6, 2.0))


def term_response(image: Tensor, network: Network, *terms: str, seen: Tensor) -> float:
    return Subject.of(seen, 0, network, settings_with(*terms)).responses(image)[0]


@pytest.mark.parametrize(
    "term",
    ["mean:parts", "cnn_vis:parts", "parts:3+7", "parts:strongest(4)", "mean:parts:average(4)"],
)
def test_what_is_climbed_grows(network: Network, image: Tensor, term: str) -> None:
    after = dreamed(image, network, term)
    found = [term_response(one, network, term, seen=image) for one in (image, after)]
    assert found[1] > 1.05 * found[0]


def test_a_negative_weight_pushes_away(network: Network, image: Tensor) -> None:
    after = dreamed(image, network, "-1*parts")
    found = [term_response(one, network, "parts", seen=image) for one in (image, after)]
    assert found[1] < 0.9 * found[0]


def test_all_channels_are_the_layer(network: Network, image: Tensor) -> None:
    count = network.layers["textures"].channels
    whole, parts = (
        terms_of(chosen({text: 1.0}), network, Seen(image, 0))
        for text in ("textures", f"textures:0-{count - 1}")
    )
    one, other = (gradient_of(image.clone().requires_grad_(), network, t) for t in (whole, parts))
    assert torch.allclose(one, other, atol=1e-6 * float(one.abs().max()))


def test_channels_are_ranked_by_their_response() -> None:
    activation = torch.zeros(1, 5, 2, 2)
    for channel, size in enumerate((0.0, 3.0, 1.0, 2.0, 9.0)):
        activation[:, channel] = size
    assert ranked(activation, "strongest", 2) == (1, 4)
    assert ranked(activation, "weakest", 2) == (2, 3)
    assert ranked(activation, "average", 1) == (1,) or ranked(activation, "average", 1) == (4,)
    assert ranked(activation, "strongest", 99) == (0, 1, 2, 3, 4)


def test_a_neuron_changes_only_what_it_sees(network: Network, image: Tensor) -> None:
    layer = "textures"
    terms = terms_of(chosen({f"mean:{layer}:3@0.1:0.1": 1.0}), network, Seen(image, 0))
    gradient = gradient_of(image.clone().requires_grad_(), network, placed(terms, (96, 128)))
    touched = gradient.abs().sum(1)[0] > 0
    rows, columns = (touched.any(dim).nonzero().flatten() for dim in (1, 0))
    field = network.layers[layer].field.receptive
    assert field is not None and touched.any()
    assert int(rows.max()) <= 0.1 * 96 + field and int(columns.max()) <= 0.1 * 128 + field


def test_a_neuron_is_excited_even_from_silence(network: Network, image: Tensor) -> None:
    place = network.activations(image, ["parts"])["parts"][0, :, 3, 4]
    silent, loud = int(place.argmin()), int(place.argmax())
    assert float(place[silent]) == 0
    where = f"{4.5 / 8}:{3.5 / 6}"
    for channel in (silent, loud):
        after = dreamed(image, network, f"parts:{channel}@{where}")
        found = network.activations(after, ["parts"])["parts"][0, :, 3, 4]
        assert float(found.square().sum()) > 1.1 * float(place.square().sum())
    assert float(found[loud]) > 1.2 * float(place[loud])


def test_the_nearest_features_are_those_of_the_largest_product() -> None:
    torch.manual_seed(2)
    values, features = torch.randn(2, 6, 3, 4), torch.randn(6, 40)
    best = nearest(values, features)
    products = torch.einsum("nchw,ck->nkhw", values, features)
    assert torch.allclose((values * best).sum(1), products.amax(1), atol=1e-5)


def test_a_guide_is_thinned_evenly_and_keeps_no_empty_places() -> None:
    activation = torch.rand(1, 4, 60, 70) + 0.1
    activation[..., :10] = 0
    features = features_of(activation)
    assert features.shape == (4, MOST_PLACES) and bool((features > 0).all())
    assert features_of(torch.zeros(1, 4, 3, 3)).shape == (4, 1)


def picture(path: Path, image: Tensor) -> Path:
    pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_guide_draws_the_dream_to_its_own_features(
    network: Network, image: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    stripes = torch.zeros(1, 3, 96, 96)
    stripes[..., ::6, :] = stripes[..., 1::6, :] = stripes[..., 2::6, :] = 1
    guide = picture(tmp_path / "a guide@home.png", stripes)
    term = f"guide:{guide}@textures"
    after, plain = dreamed(image, network, term), dreamed(image, network, "textures")
    before, guided, unguided = (
        term_response(one, network, term, seen=image) for one in (image, after, plain)
    )
    assert guided > 1.05 * before and guided > unguided


def test_tiles_give_the_gradient_of_the_whole(
    network: Network, image: Tensor, tmp_path: Path
) -> None:
    large = torch.nn.functional.interpolate(image, (288, 400), mode="bilinear")
    guide = picture(tmp_path / "guide.png", image)
    for text in ("class:starfish", f"guide:{guide}@textures", "textures:2+5"):
        terms = terms_of(chosen({text: 1.0}), network, Seen(large, 0))
        layers = [term.layer for term in terms]
        tile = network.sight.at_least(64, layers)
        whole, tiled = (
            gradient_of(large.clone().requires_grad_(), network, terms, side)
            for side in (None, tile)
        )
        if tile is not None and tile < 400:
            assert float((whole - tiled).abs().max()) <= 0.02 * float(whole.abs().max()), text


def test_variation_is_the_gradient_of_the_total_variation() -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 3, 8, 9)
    for source in (image, torch.rand_like(image)):
        smoother = image - 0.02 * variation(image, source)
        total = [float(one.diff(dim=2).abs().sum() + one.diff(dim=3).abs().sum())
                 for one in (image, smoother)]  # fmt: skip
        assert total[1] < total[0]
    assert float(variation(torch.full((1, 3, 6, 6), 0.3), image).abs().max()) == 0


def test_a_penalty_on_change_keeps_the_dream_near_its_source(
    network: Network, image: Tensor
) -> None:
    free, held = (dreamed(image, network, *terms) for terms in (["parts"], ["parts", "-4*change"]))
    assert float((held - image).abs().mean()) < 0.8 * float((free - image).abs().mean())
    assert float(change(image, image).abs().max()) == 0


def test_penalties_alone_join_the_default_layer(network: Network, image: Tensor) -> None:
    subject = Subject.of(image, 0, network, settings_with("-1*tv"))
    assert [term.layer for term in subject.terms] == list(network.default_layers())
    assert len(subject.pulls) == 1


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("parts:9999", ["parts", "9999", "from 0 to"]),
        ("class:starfsh", ["starfsh", "starfish"]),
        ("class:1000", ["1000", "999"]),
        ("prats", ["prats", "parts"]),
        ("guide:nowhere.jpg", ["nowhere.jpg"]),
    ],
)
def test_what_the_network_lacks_is_told_in_a_line(
    network: Network, image: Tensor, term: str, words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        network.check([one.layer for one in terms_of(
            chosen({term: 1.0}), network, Seen(image, 0))])  # fmt: skip
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_a_film_guides_frame_by_frame_and_begins_anew(
    network: Network, image: Tensor, moving_clip: Path
) -> None:
    text = f"guide:{moving_clip}@textures"

    def gradient(number: int) -> Tensor:
        terms = terms_of(chosen({text: 1.0}), network, Seen(image, number))
        return gradient_of(image.clone().requires_grad_(), network, terms)

    from dreamreel.pipeline.media.clips import probe

    frames = probe(moving_clip).frames
    assert frames is not None
    first, later = gradient(0), gradient(frames // 2)
    assert not torch.equal(first, later)
    assert torch.equal(first, gradient(frames)) and torch.equal(later, gradient(frames // 2))
