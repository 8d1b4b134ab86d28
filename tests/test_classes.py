"""Classes: their names and numbers, and the head that tells them at each place."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from dreamreel.pipeline.app.classes import show_classes
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import find_architecture, load_network, wiring_by_name
from dreamreel.pipeline.networks.classes import class_names, find_class, imagenet_names
from dreamreel.pipeline.networks.names import network_names
from dreamreel.pipeline.networks.network import Architecture, Network
from making import SHARED

CPU = torch.device("cpu")


def random_network(name: str, precision: torch.dtype = torch.float32) -> Network:
    """The network called `name` with random weights."""
    torch.manual_seed(3)
    architecture = find_architecture(name)
    state = architecture.build().eval().state_dict()
    for key, tensor in state.items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    return assemble(architecture, state, CPU, precision)


def logits_of(network: Network, image: Tensor) -> Tensor:
    with torch.no_grad():
        output = network.module(network._normalise(image))
    assert isinstance(output, Tensor)
    return output


@pytest.mark.parametrize(
    "name", ["bvlc_googlenet", "resnet18", "squeezenet1_1", "dreamnet", "densenet121", "mnasnet0_5"]
)
def test_the_mean_of_the_logits_over_places_is_the_logits_of_the_image(
    name: str, picture: Tensor
) -> None:
    network = random_network(name)
    head = network.head()
    assert head.placed and head.exact and head.classes == 1000
    activation = network.activations(picture, [head.layer])[head.layer]
    placed = head.at_places(activation)
    assert placed.shape == (1, 1000, *activation.shape[2:])
    wanted = logits_of(network, picture)
    assert (placed.mean((2, 3)) - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny"])
def test_a_head_with_a_nonlinearity_is_applied_at_each_place_and_says_so(
    name: str, picture: Tensor
) -> None:
    network = random_network(name)
    head = network.head()
    assert head.placed and not head.exact
    activation = network.activations(picture, [head.layer])[head.layer]
    assert head.at_places(activation).shape[1] == 1000
    # Where all places are alike, no order of mean and nonlinearity matters.
    alike = activation.mean((2, 3), keepdim=True).expand_as(activation)
    wanted = logits_of(network, picture)
    assert (head.at_places(alike)[:, :, 0, 0] - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_a_head_that_sees_where_things_are_gives_the_logits_of_the_whole_image(
    picture: Tensor,
) -> None:
    network = random_network("alexnet")
    head = network.head()
    assert not head.placed and network.layers[head.layer].field.receptive is None
    logits = head.at_places(network.activations(picture, [head.layer])[head.layer])
    assert torch.equal(logits, logits_of(network, picture))


def test_a_class_has_a_gradient_at_one_place_in_half_precision(picture: Tensor) -> None:
    network = load_network("dreamnet", device="cpu", precision="bfloat16")
    head = network.head()
    image = picture.clone().requires_grad_(True)
    placed = head.at_places(network.activations(image, [head.layer])[head.layer])
    (gradient,) = torch.autograd.grad(placed[0, 327, 0, 0], image)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


class Odd(nn.Module):
    """A network with a sigmoid between its mean and its classes that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.sigmoid(self.conv(x).mean((2, 3))))


def test_an_operation_that_is_no_module_makes_a_head_of_the_whole_image(picture: Tensor) -> None:
    architecture = Architecture("odd", Odd, (0.5,) * 3, (0.5,) * 3, lambda: {})
    network = assemble(architecture, Odd().state_dict(), CPU, torch.float32)
    head = network.head()
    assert (head.layer, head.classes, head.placed) == ("fc", 5, False)


def test_classes_without_weights_are_refused(tmp_path: Path) -> None:
    state = models.squeezenet1_1(weights=None).state_dict()
    trunk = {name: tensor for name, tensor in state.items() if name.startswith("features")}
    save_file(trunk, tmp_path / "trunk.safetensors")
    network = load_network("squeezenet1_1", tmp_path / "trunk.safetensors", "cpu")
    with pytest.raises(UserError, match="do not reach layer 'classifier.2'"):
        network.head()
    state = models.resnet18(weights=None).state_dict()
    del state["fc.weight"], state["fc.bias"]
    save_file(state, tmp_path / "r.safetensors")
    with pytest.raises(UserError, match="do not reach the classes of resnet18: 'fc' is missing"):
        load_network("resnet18", tmp_path / "r.safetensors", "cpu").head()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(network_names()))
def test_every_network_tells_a_thousand_classes(name: str) -> None:
    wiring = wiring_by_name(name)
    assert wiring is not None and wiring.classes == 1000
    assert wiring.placed != name.startswith(("vgg", "alexnet"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["dreamnet", "bvlc_googlenet", "squeezenet1_1"])
def test_networks_know_a_cat_where_it_is(name: str) -> None:
    photo = Image.open(SHARED / "photos" / "Egyptian_cat.jpg").convert("RGB").resize((224, 224))
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    weights = None if name == "dreamnet" else SHARED / "networks" / f"{name}.safetensors"
    network = load_network(name, weights, "cpu", "float32")
    head = network.head()
    placed = head.at_places(network.activations(image, [head.layer])[head.layer])
    names = class_names(name)
    assert names is not None
    first = [names[int(number)] for number in placed.mean((2, 3))[0].topk(5).indices]
    assert "Egyptian cat" in first


def test_imagenet_has_a_thousand_names() -> None:
    names = imagenet_names()
    assert len(names) == 1000
    assert (names[0], names[327], names[999]) == ("tench", "starfish", "toilet tissue")


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("starfish", 327),
        ("STARFISH", 327),
        ("jack-o'-lantern", 607),
        ("jack_o'_lantern", 607),
        ("great_white_shark", 2),
        ("great  white", 2),
        ("parachute", 701),
        ("Cardigan", 264),
        ("cardigan", 474),
        ("crane", 517),
        ("traffic light", 920),
        ("327", 327),
        ("golden ret", 207),
    ],
)
def test_a_class_is_found_by_its_number_its_name_or_its_words(query: str, number: int) -> None:
    assert find_class(imagenet_names(), query) == number


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("starfsh", "no class 'starfsh'; did you mean 'starfish'"),
        ("zzzz", "no class 'zzzz'; dreamreel classes lists them"),
        ("", "no class ''"),
        ("terrier", r"may be .*terrier' \(\d+\).* more; give one, or its number"),
        ("CARDIGAN", r"may be 'Cardigan' \(264\), 'cardigan' \(474\)"),
        ("1000", "no class 1000: they are 0 to 999"),
        ("-1", "no class '-1'"),
    ],
)
def test_a_class_that_is_not_clear_is_answered_with_those_that_are_near(
    query: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        find_class(imagenet_names(), query)


@given(st.text())
def test_any_query_is_a_class_or_a_mistake_of_the_user(query: str) -> None:
    names = ("tench, Tinca tinca", "goldfish")
    with suppress(UserError):
        assert find_class(names, query) in (0, 1)


def test_a_second_name_of_a_class_finds_it() -> None:
    assert find_class(("tench, Tinca tinca", "goldfish"), "tinca tinca") == 0


def squeezenet(classes: int) -> dict[str, Tensor]:
    return models.squeezenet1_1(weights=None, num_classes=classes).state_dict()


def test_weights_bring_names_in_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(squeezenet(2), path, {"classes": json.dumps(["cat", "dog"])})
    assert class_names("squeezenet1_1", path) == ("cat", "dog")


def test_weights_bring_names_in_a_text_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "net.pth.tar"
    torch.save({"state_dict": squeezenet(3)}, path)
    (tmp_path / "net.txt").write_text("\ufeffcat\n\nn02085620 dog, Canis\nbird\n")
    assert class_names("squeezenet1_1", path) == ("cat", "dog, Canis", "bird")
    (tmp_path / "net.txt").write_text("/a/airfield 0\n/b/bar_inn/outdoor 2\n/a/alley 1\n")
    assert class_names("squeezenet1_1", path) == ("airfield", "alley", "bar inn/outdoor")
    (tmp_path / "net.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="net.txt, the names of the classes, is not UTF-8"):
        class_names("squeezenet1_1", path)


def test_the_command_lists_numbers_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    show_classes("shark", None, None)
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in listed] == ["2", "3"]
    show_classes("327", "resnet50", None)
    assert capsys.readouterr().out == "327  starfish\n"
    with pytest.raises(UserError, match="has no class 'starfsh'; did you mean 'starfish'"):
        show_classes("starfsh", None, None)
    with pytest.raises(UserError, match="unknown network 'resnet5'"):
        show_classes("dog", "resnet5", None)
