"""Weights under the names of other libraries, and heads with another number of classes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.catalog import (
    favourite_layer,
    find_architecture,
    load_network,
    network_layers,
)
from dreamreel.pipeline.networks.names import torchvision_names
from dreamreel.pipeline.networks.network import Network

State = dict[str, Tensor]
IN_BLOCK = {
    5: ("conv_dw", "se", "conv_pw"),  # by the modules of torchvision's block
    7: ("conv_pw", "conv_dw", "se", "conv_pwl"),
}


def random_state(name: str, classes: int = 1000) -> State:
    torch.manual_seed(2)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    state = models.get_model(name, weights=None, num_classes=classes, **options).state_dict()
    for key, tensor in state.items():
        if key.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return dict(state)


def timm_efficientnet(state: State) -> State:
    """`state` of torchvision's efficientnet, under timm's names."""
    found: State = {}
    for name, tensor in state.items():
        block = re.fullmatch(
            r"features\.([1-7])\.(\d+)\.block\.(\d)\.(?:([01])|fc([12]))(.*)", name
        )
        if block is None:
            name = name.replace("features.0.0", "conv_stem").replace("features.0.1", "bn1")
            name = name.replace("features.8.0", "conv_head").replace("features.8.1", "bn2")
            found[name.replace("classifier.1", "classifier")] = tensor
            continue
        stage, number, at = int(block[1]) - 1, block[2], int(block[3])
        parts = IN_BLOCK[5 if stage == 0 else 7]
        if block[5]:
            part = f"se.{('conv_reduce', 'conv_expand')[int(block[5]) - 1]}"
        elif block[4] == "0":
            part = parts[at]
        else:
            part = f"bn{[one for one in parts if one != 'se'].index(parts[at]) + 1}"
        found[f"blocks.{stage}.{number}.{part}{block[6]}"] = tensor
    return found


def timm_convnext(state: State) -> State:
    found: State = {}
    parts = {"block.0": "conv_dw", "block.2": "norm", "block.3": "mlp.fc1", "block.5": "mlp.fc2"}
    for name, tensor in state.items():
        name = name.replace("classifier.0", "head.norm").replace("classifier.2", "head.fc")
        if match := re.fullmatch(r"features\.(\d)\.(\d+)\.(.*)", name):
            stage, number, rest = int(match[1]), match[2], match[3]
            if stage == 0:
                name = f"stem.{number}.{rest}"
            elif stage % 2 == 0:
                name = f"stages.{stage // 2}.downsample.{number}.{rest}"
            elif rest == "layer_scale":
                name, tensor = f"stages.{stage // 2}.blocks.{number}.gamma", tensor.flatten()
            else:
                name = f"stages.{stage // 2}.blocks.{number}.{parts[rest[:7]]}{rest[7:]}"
        found[name] = tensor
    return found


def timm_regnet(state: State) -> State:
    found: State = {}
    for name, tensor in state.items():
        name = name.replace("stem.0", "stem.conv").replace("stem.1", "stem.bn")
        name = re.sub(r"trunk_output\.block(\d)\.block\d-(\d+)\.",
                      lambda m: f"s{m[1]}.b{int(m[2]) + 1}.", name)  # fmt: skip
        for at, ours in enumerate(("f.a", "f.b", "f.c"), 1):
            name = name.replace(ours, f"conv{at}")
        name = name.replace("proj.", "downsample.").replace("f.se", "se")
        name = re.sub(
            r"(conv\d|downsample)\.([01])", lambda m: f"{m[1]}.{('conv', 'bn')[int(m[2])]}", name
        )
        found[name.replace("fc.weight", "head.fc.weight").replace("fc.bias", "head.fc.bias")
              if name.startswith("fc.") else name] = tensor  # fmt: skip
    return found


def timm_vgg(state: State) -> State:
    found: State = {}
    new = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2",
           "classifier.6": "head.fc"}  # fmt: skip
    for name, tensor in state.items():
        layer, _, what = name.rpartition(".")
        if what == "weight" and layer == "classifier.0":
            tensor = tensor.view(4096, 512, 7, 7)
        found[f"{new.get(layer, layer)}.{what}"] = tensor
    return found


TIMM: dict[str, Callable[[State], State]] = {
    "efficientnet_b0": timm_efficientnet,
    "convnext_tiny": timm_convnext,
    "regnet_y_400mf": timm_regnet,
}


def holds(network: Network, state: State, picture: Tensor) -> bool:
    """Whether `network` computes what one with `state` does, at its last layer."""
    module = find_architecture(network.name).build().eval()
    nn.Module.load_state_dict(module, state)
    with torch.no_grad():
        theirs = module(network._normalise(picture))
        return bool((network.module(network._normalise(picture)) - theirs).abs().max() < 1e-3)


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_under_timms_names_load(
    tmp_path: Path, picture: Tensor, name: str, kind: str
) -> None:
    state, path = random_state(name), tmp_path / "w"
    theirs = TIMM[name](state)
    assert not theirs.keys() & {key for key in state if not key.startswith("stem.1.")}
    if kind == "safetensors":  # which brings the names in another order
        save_file({key: tensor.contiguous() for key, tensor in theirs.items()}, path)
    else:
        torch.save({"state_dict": {f"module.{k}": t for k, t in theirs.items()}}, path)
    network = load_network(name, path, "cpu", "float32")
    assert not network._missing and network.notice is None
    assert holds(network, state, picture)


def test_timms_vgg_has_convolutions_in_its_head(tmp_path: Path) -> None:
    state = random_state("vgg11")
    torch.save(timm_vgg(state), tmp_path / "w")
    held = load_network("vgg11", tmp_path / "w", "cpu", "float32").module.state_dict()
    assert all(torch.equal(held[name], state[name]) for name in state)


def test_a_part_of_timms_network_serves_the_layers_it_covers(tmp_path: Path) -> None:
    theirs = timm_convnext(random_state("convnext_tiny"))
    lower = {re.sub(r"^(stem|stages)\.", r"\1_", name): tensor for name, tensor in theirs.items()
             if not name.startswith("head")}  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in lower.items()}, tmp_path / "w")
    network = load_network("convnext_tiny", tmp_path / "w", "cpu", "float32")
    network.check(["features.7"])
    with pytest.raises(UserError, match="do not reach"):
        network.head()


def test_names_of_ones_own_go_by_order_and_shape_and_it_is_said(
    tmp_path: Path, picture: Tensor
) -> None:
    state = random_state("mobilenet_v2")
    own = {f"part{at}.{name.rpartition('.')[2]}": tensor
           for at, (name, tensor) in enumerate(state.items())}  # fmt: skip
    torch.save(own, tmp_path / "w.pth")
    network = load_network("mobilenet_v2", tmp_path / "w.pth", "cpu", "float32")
    assert network.notice is not None and "by order and shape" in network.notice
    assert holds(network, state, picture)


def swapped(state: State) -> Iterator[State]:
    """`state` under other names, with one thing that does not fit."""
    own = [(f"part{at}.{name.rpartition('.')[2]}", tensor)
           for at, (name, tensor) in enumerate(state.items())]  # fmt: skip
    yield dict([own[1], own[0], *own[2:]])  # a weight before another
    yield dict([*own, ("more.weight", torch.zeros(3))])
    yield dict([(own[0][0], torch.zeros(32, 3, 5, 5)), *own[1:]])
    yield dict([("part0.kernel", own[0][1]), *own[1:]])


def test_an_order_that_does_not_fit_wholly_is_refused(tmp_path: Path) -> None:
    for odd in swapped(random_state("mobilenet_v2")):
        torch.save(odd, tmp_path / "w.pth")
        with pytest.raises(UserError, match="no weights of mobilenet_v2"):
            load_network("mobilenet_v2", tmp_path / "w.pth", "cpu")


@pytest.mark.parametrize(
    "name",
    ["resnet18", "googlenet", "squeezenet1_1", "alexnet", "mobilenet_v3_small", "densenet121"],
)
def test_a_head_of_another_number_of_classes_comes_along(tmp_path: Path, name: str) -> None:
    state = random_state(name, 365)
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save({"epoch": 90, "arch": name, "state_dict": wrapped}, tmp_path / "p.pth.tar")
    network = load_network(name, tmp_path / "p.pth.tar", "cpu", "float32")
    assert network.head().classes == 365 and not network._missing
    assert load_network("dreamnet", device="cpu").head().classes == 1000


def test_a_head_of_another_width_is_left_out(tmp_path: Path) -> None:
    state = random_state("resnet18") | {"fc.weight": torch.zeros(365, 100)}
    torch.save(state, tmp_path / "w.pth")
    network = load_network("resnet18", tmp_path / "w.pth", "cpu", "float32")
    network.check(["layer4"])
    with pytest.raises(UserError, match="'fc' is missing"):
        network.head()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("googlenet", "inception4c"),
        ("inception_v3", "Mixed_6b"),
        ("vgg11_bn", "features.20"),
        ("vgg16", "features.22"),
        ("vgg19", "features.26"),
        ("resnet50", "layer3"),
        ("squeezenet1_0", "features.10"),
        ("squeezenet1_1", "features.7"),
        ("alexnet", "features.11"),
        ("densenet121", "features.denseblock3"),
        ("mobilenet_v3_large", "features.12"),
        ("efficientnet_b0", "features.5"),
        ("convnext_tiny", "features.5"),
        ("regnet_x_400mf", "trunk_output.block3"),
        ("shufflenet_v2_x1_0", "stage3"),
        ("mnasnet1_0", "layers.11"),
    ],
)
def test_the_default_layer_of_each_family_sees_parts_of_things(name: str, layer: str) -> None:
    layers = {one.name: one for one in network_layers(name)}
    assert favourite_layer(name) == layer
    assert layers[layer].field.stride in (8, 16)
    assert 0.4 < [*layers].index(layer) / len(layers) < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_every_network_dreams_with_weights_from_a_file(tmp_path: Path, name: str) -> None:
    from dreamreel.pipeline import Settings, dream_image

    torch.save(random_state(name), tmp_path / "w.pth")
    network = load_network(name, tmp_path / "w.pth", "cpu", "float32")
    settings = Settings(network=name, dream={"steps": 1, "octaves": 1})
    image = torch.rand(1, 3, 96, 96)
    dreamed = dream_image(image, network, settings)
    assert dreamed.isfinite().all() and not torch.equal(dreamed, image)
