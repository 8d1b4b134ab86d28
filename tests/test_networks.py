"""Networks: frozen and sped up, with the numbers of their originals; weights, layers, names."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import (
    favourite_layer,
    find_architecture,
    load_network,
    network_layers,
)
from dreamreel.pipeline.networks.cpu_kernels import StridedStem, suits_strided_stem
from dreamreel.pipeline.networks.devices import find_device
from dreamreel.pipeline.networks.googlenet import BvlcGoogLeNet, LocalResponseNorm
from dreamreel.pipeline.networks.kernels import FastMaxPool
from dreamreel.pipeline.networks.layers import Trace
from dreamreel.pipeline.networks.names import network_names
from dreamreel.pipeline.networks.network import Network

CPU = torch.device("cpu")
channels_last = torch.channels_last


def random_googlenet() -> nn.Module:
    """torchvision's GoogLeNet with random weights and batch norms that are not the identity."""
    torch.manual_seed(1)
    module = models.googlenet(weights=None, aux_logits=False, init_weights=False).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.1)
    return module


def test_dreamnet_gives_the_activations_of_its_original() -> None:
    network = load_network("dreamnet", device="cpu", precision="float32")
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(160.0), indexing="ij")
    image = torch.stack([x / 160, y / 96, (x + y) / 256])[None]
    for layer, shape, mean, std, largest in (
        ("textures", (480, 12, 20), 2.56765, 10.97260, 336.6692),
        ("parts", (512, 6, 10), 3.65084, 7.39550, 126.8381),
        ("creatures", (832, 6, 10), 0.61828, 2.40159, 56.4491),
        ("objects", (1024, 3, 5), 0.07176, 0.27202, 3.9012),
        ("classes", (1000,), -6.72105, 0.74511, -4.3591),
    ):
        activation = network.activations(image, [layer])[layer][0]
        assert activation.shape == shape
        assert activation.mean().item() == pytest.approx(mean, abs=2e-5)
        assert activation.std().item() == pytest.approx(std, abs=2e-5)
        assert activation.max().item() == pytest.approx(largest, abs=2e-3)


def test_folding_and_fast_layers_keep_activations_and_gradients(picture: Tensor) -> None:
    module = random_googlenet()
    network = assemble(find_architecture("googlenet"), module.state_dict(), CPU, torch.float32)
    kept: list[Tensor] = []
    module.inception4c.register_forward_hook(lambda part, inputs, output: kept.append(output))
    image = picture.clone().requires_grad_(True)
    module((image - 0.5) / 0.5)
    (expected,) = torch.autograd.grad(kept[0].square().sum(), image)
    image = picture.contiguous(memory_format=channels_last).requires_grad_(True)
    found = network.activations(image, ["inception4c"])["inception4c"]
    (gradient,) = torch.autograd.grad(found.square().sum(), image)
    assert torch.allclose(found, kept[0], rtol=1e-3, atol=1e-3 * kept[0].std().item())
    # Where two places differ by rounding, a max pool may choose the other one: single pixels of the
    # gradient may differ, its direction may not.
    scale = expected.abs().max()
    along = F.cosine_similarity((gradient / scale).flatten(), (expected / scale).flatten(), 0)
    assert along > 0.999
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.module.modules())


def test_a_gradient_in_bfloat16_points_the_same_way(picture: Tensor) -> None:
    gradients = []
    for precision in ("float32", "bfloat16"):
        network = load_network("dreamnet", device="cpu", precision=precision)
        image = picture.contiguous(memory_format=channels_last).requires_grad_(True)
        activation = network.activations(image, ["parts"])["parts"]
        gradients.append(torch.autograd.grad(activation.float().square().sum(), image)[0])
    assert F.cosine_similarity(*(g.flatten() for g in gradients), 0) > 0.97


def test_no_parameter_is_trainable(dreamnet: Network) -> None:
    assert not any(parameter.requires_grad for parameter in dreamnet.module.parameters())


def test_a_network_computes_no_deeper_than_asked(dreamnet: Network, picture: Tensor) -> None:
    ran: list[str] = []
    handles = [
        part.register_forward_hook(lambda part, inputs, output, name=name: ran.append(name))
        for name, part in dreamnet.module.named_modules()
    ]
    dreamnet.activations(picture, ["creatures"])
    for handle in handles:
        handle.remove()
    assert "fire4d" in ran and "creatures" in ran
    assert not {"textures", "parts", "fire5a", "objects"} & set(ran)


def test_an_activation_is_not_overwritten_by_a_later_layer(picture: Tensor) -> None:
    # The in-place ReLUs of VGG write into the output of the convolutions before them.
    torch.manual_seed(0)
    state = models.vgg11(weights=None).state_dict()
    network = assemble(find_architecture("vgg11"), state, CPU, torch.float32)
    alone = network.activations(picture, ["features.0"])["features.0"]
    both = network.activations(picture, ["features.0", "features.3"])["features.0"]
    assert alone.min() < 0
    assert torch.equal(alone, both)


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(2, 3),
    padding=st.integers(0, 3),
    height=st.integers(9, 24),
    width=st.integers(9, 24),
)
def test_a_strided_stem_equals_its_convolution(
    kernel: int, stride: int, padding: int, height: int, width: int
) -> None:
    conv = nn.Conv2d(3, 8, kernel, stride, padding)
    assert suits_strided_stem(conv)
    assert_same_function(conv, StridedStem(conv), torch.randn(1, 3, height, width))


@settings(max_examples=25, deadline=None)
@given(
    reach=st.integers(1, 2),
    threads=st.integers(1, 4),
    height=st.integers(5, 13),
    width=st.integers(5, 13),
)
def test_a_striped_pool_of_stride_1_equals_its_pool_on_any_threads(
    reach: int, threads: int, height: int, width: int
) -> None:
    options = (2 * reach + 1, 1, reach)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.randn(1, 5, height, width)
        assert_same_function(nn.MaxPool2d(*options), FastMaxPool(*options), x)
    finally:
        torch.set_num_threads(before)


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(2, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    ceil=st.booleans(),
    height=st.integers(4, 13),
    width=st.integers(4, 13),
)
def test_a_striped_pool_equals_its_pool(
    kernel: int, stride: int, padding: int, ceil: bool, height: int, width: int
) -> None:
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    striped = FastMaxPool(kernel, stride, padding, ceil_mode=ceil)
    assert_same_function(pool, striped, torch.randn(1, 5, height, width))


def assert_same_function(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    results = []
    for function in (one, other):
        leaf = x.clone().contiguous(memory_format=channels_last).requires_grad_(True)
        output = function(leaf)
        along = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        results.append((output, *torch.autograd.grad(output, leaf, along)))
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(expected, found, atol=1e-4)


def test_local_response_norm_equals_that_of_pytorch() -> None:
    x = torch.randn(1, 16, 5, 7) * 100
    expected = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)
    assert torch.allclose(LocalResponseNorm(16)(x), expected, rtol=1e-4)


def test_bvlc_googlenet_sees_bgr_minus_the_mean_of_caffe() -> None:
    state = BvlcGoogLeNet().state_dict()
    network = assemble(find_architecture("bvlc_googlenet"), state, CPU, torch.float32)
    seen: list[Tensor] = []
    network.module.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
    network.activations(
        torch.ones(1, 3, 64, 64) * torch.tensor([1.0, 0.5, 0]).view(1, 3, 1, 1), ["conv1"]
    )
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([-104, 127.5 - 117, 255 - 123], abs=1e-3)


def test_names_include_the_convolutional_networks_of_torchvision() -> None:
    names = network_names()
    assert list(names)[:2] == ["dreamnet", "bvlc_googlenet"]
    wanted = {
        "googlenet",
        "inception_v3",
        "vgg16",
        "vgg19",
        "resnet50",
        "squeezenet1_1",
        "densenet121",
        "mobilenet_v2",
        "convnext_tiny",
        "efficientnet_b0",
    }
    assert wanted <= names.keys()
    assert not [name for name in names if name.startswith(("vit", "swin"))]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "densenet121",
        "mobilenet_v2",
        "convnext_tiny",
        "efficientnet_b0",
        "vgg16",
        "inception_v3",
        "squeezenet1_1",
    ],
)
def test_layers_of_torchvision_networks_are_known_without_weights(name: str) -> None:
    layers = network_layers(name)
    assert len({layer.name for layer in layers}) == len(layers)
    assert favourite_layer(name) in {layer.name for layer in layers}
    first = layers[0]
    assert (first.field.stride, first.field.receptive) in {(1, 3), (2, 3), (2, 7), (4, 4)}


def test_receptive_fields_are_those_of_the_literature() -> None:
    # Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, 2019.
    resnet = {layer.name: layer for layer in network_layers("resnet50")}
    assert resnet["maxpool"].field.receptive == 11
    vgg = {layer.name: layer for layer in network_layers("vgg16")}
    assert (vgg["features.30"].field.receptive, vgg["features.30"].field.stride) == (212, 32)


def test_a_receptive_field_is_where_the_gradient_of_a_place_reaches(dreamnet: Network) -> None:
    field = dreamnet.layers["textures"].field
    network = load_network("dreamnet", device="cpu", precision="float32")
    image = torch.rand(1, 3, 192, 192, requires_grad=True)
    activation = network.activations(image, ["fire3c"])["fire3c"]
    place = activation.shape[2] // 2
    middle = activation[:, :, place, activation.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == field.receptive
    assert rows.min() == field.first + place * field.stride
    assert field.stride == 8


def test_a_1x7_kernel_widens_the_receptive_field() -> None:
    layers = {layer.name: layer.field for layer in network_layers("inception_v3")}
    before, after = layers["Mixed_6b.branch7x7_1"], layers["Mixed_6b.branch7x7_2"]  # 1x7
    assert after.receptive == (before.receptive or 0) + 6 * 16


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil=st.booleans(),
    height=st.integers(4, 24),
    width=st.integers(4, 24),
)
def test_shapes_are_traced_as_they_are_computed(
    kernel: int, stride: int, padding: int, dilation: int, ceil: bool, height: int, width: int
) -> None:
    conv = nn.Conv2d(3, 4, (kernel, 1), stride, (padding, 0), dilation)
    average = nn.AvgPool2d(kernel, stride, min(padding, kernel // 2), ceil)
    operations: list[Callable[[Tensor], Tensor]] = [
        conv,
        average,
        F.relu,
        lambda x: torch.cat([x, x[:, :1]], -3),
        lambda x: x + x[:, :1] * x.mean((2, 3), keepdim=True),
        lambda x: x.mean((2, 3)),
        lambda x: x.mean(),
        lambda x: torch.addcmul(x, x[:, :1], x[..., :1]),
        lambda x: F.linear(x.mean((2, 3)), torch.ones(7, 3, device=x.device), torch.ones(7).to(x)),
    ]
    x = torch.rand(2, 3, height, width)
    for operation in operations:
        with torch.no_grad(), Trace():
            moved = operation.to("meta") if isinstance(operation, nn.Module) else operation
            traced = _shape_or_none(moved, x.to("meta"))
        fresh = nn.Conv2d(3, 4, (kernel, 1), stride, (padding, 0), dilation)
        assert traced == _shape_or_none(fresh if operation is conv else operation, x)


def _shape_or_none(operation: Callable[[Tensor], Tensor], x: Tensor) -> torch.Size | None:
    """The shape of what `operation` makes of `x`; None where a window is larger than the map."""
    try:
        return operation(x).shape
    except RuntimeError:
        return None


def test_partial_weights_serve_the_layers_they_cover(tmp_path: Path, picture: Tensor) -> None:
    torch.manual_seed(0)
    state = models.squeezenet1_1(weights=None).state_dict()
    lower = {name: tensor for name, tensor in state.items() if name < "features.6"}
    torch.save({"state_dict": {f"module.{k}": v for k, v in lower.items()}}, tmp_path / "lower.pth")
    network = load_network("squeezenet1_1", tmp_path / "lower.pth", "cpu", "float32")
    network.check(["features.5"])
    assert network.activations(picture, ["features.4"])["features.4"].abs().sum() > 0
    with pytest.raises(UserError, match="do not reach layer 'features.9'.*features.6"):
        network.check(["features.9"])


def test_weights_with_another_classifier_load(tmp_path: Path) -> None:
    state = models.squeezenet1_1(weights=None, num_classes=7).state_dict()
    save_file(state, tmp_path / "mine.safetensors")
    load_network("squeezenet1_1", tmp_path / "mine.safetensors", "cpu").check(["features.12"])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "plain.pt"):
        with pytest.raises(UserError, match="more than weights"):
            load_network("resnet18", tmp_path / name, "cpu")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.safetensors", b"nothing like it", "is a text, not weights"),
        ("w.pth", b"", "w.pth is empty"),
        ("w.pth", b"\xff\xd8\xff\xe0 a JPEG", "is a JPEG picture, not weights"),
        ("w.bin", b"x", "is a text, not weights"),
    ],
)
def test_broken_weights_give_one_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_network("resnet18", tmp_path / name, "cpu")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"something.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="no weights of resnet18.*something.weight.*conv1.weight"):
        load_network("resnet18", tmp_path / "w.safetensors", "cpu")


@pytest.mark.parametrize(
    "name",
    [
        "mnasnet0_5",
        "densenet121",
        "shufflenet_v2_x0_5",
        "regnet_x_400mf",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "alexnet",
        "resnet18",
    ],
)
def test_every_family_loads_its_own_weights_and_has_a_gradient(name: str, picture: Tensor) -> None:
    architecture = find_architecture(name)
    network = assemble(architecture, architecture.build().state_dict(), CPU, torch.float32)
    layer = favourite_layer(name)
    network.check([layer])
    image = picture.contiguous(memory_format=channels_last).requires_grad_(True)
    activation = network.activations(image, [layer])[layer]
    (gradient,) = torch.autograd.grad(activation.square().sum(), image)
    assert gradient.abs().sum() > 0


def test_densenet_weights_load_by_their_published_names() -> None:
    architecture = find_architecture("densenet121")
    state = architecture.build().state_dict()
    published = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", name): tensor
        for name, tensor in state.items()
    }
    assert published.keys() != state.keys()
    network = assemble(architecture, published, CPU, torch.float32)
    network.check(["features.denseblock4"])


@pytest.mark.parametrize("name", [n for n in network_names() if n != "bvlc_googlenet"])
def test_every_network_listed_can_be_built(name: str) -> None:
    architecture = find_architecture(name)
    assert len(architecture.mean) == len(architecture.std) == 3
    assert favourite_layer(name) in {layer.name for layer in network_layers(name)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dreamnt", "did you mean 'dreamnet'"),
        ("resnet5", "did you mean 'resnet50'"),
        ("GoogLeNet", "did you mean 'googlenet'"),
        ("zzz", "dreamreel networks lists them"),
        ("vit_b_16", "is a vision transformer"),
        ("bvlc_googlenet", "--weights FILE"),
    ],
)
def test_an_unavailable_network_is_refused_with_advice(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_network(name, device="cpu")


def test_an_unknown_layer_is_answered_with_the_nearest_name(dreamnet: Network) -> None:
    with pytest.raises(UserError, match="no layer 'creature'; did you mean 'creatures'"):
        dreamnet.check(["parts", "creature"])


def test_without_a_connection_the_file_to_fetch_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a port without a server
    with pytest.raises(UserError) as error:
        load_network("resnet18", device="cpu")
    message = str(error.value)
    assert "resnet18-" in message and str(tmp_path) in message and "dreamnet" in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_download_has_a_checksum_in_its_name() -> None:
    for name in network_names():
        if name not in ("dreamnet", "bvlc_googlenet"):
            url = models.get_model_weights(name).DEFAULT.url
            assert re.fullmatch(r".*-[0-9a-f]{8,64}\.pth", url), url


def test_weights_in_the_cache_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(models.squeezenet1_1(weights=None).state_dict(), folder / url.rpartition("/")[2])
    load_network("squeezenet1_1", device="cpu").check(["features.12"])


def test_a_missing_device_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match="no device 'cuda' here; available: cpu"):
        find_device("cuda")
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        find_device("gpu")


def test_the_deepest_layer_has_more_than_one_place(dreamnet: Network) -> None:
    assert dreamnet.deepest_layer((96, 160)) == "objects"
    assert dreamnet.deepest_layer((16, 16)) != "objects"
    activation = dreamnet.activations(torch.rand(1, 3, 96, 160), ["objects"])["objects"]
    assert activation.shape[2] * activation.shape[3] > 1
