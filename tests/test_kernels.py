"""Compiled kernels and blocks: the numbers of PyTorch's own layers, wherever they are computed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dreamreel.pipeline.compiled import library
from dreamreel.pipeline.networks import blocks, kernels
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import find_architecture
from dreamreel.pipeline.networks.dreamnet import Fire
from dreamreel.pipeline.networks.googlenet import LocalResponseNorm
from dreamreel.pipeline.networks.kernels import SOURCE, FastAvgPool, FastMaxPool, compiled
from dreamreel.pipeline.networks.network import Network

CPU = torch.device("cpu")
channels_last = torch.channels_last
needs_compiler = pytest.mark.skipif(compiled() is None, reason="no C compiler here")
SHAPES = {
    "images": st.integers(1, 2),
    "channels": st.sampled_from([1, 5, 64, 70, 130]),
    "height": st.integers(4, 13),
    "width": st.integers(4, 13),
    "kernel": st.integers(2, 3),
    "stride": st.integers(1, 3),
    "ceil": st.booleans(),
}


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compiled", lambda: None)


def spread(*shape: int, dtype: torch.dtype) -> Tensor:
    """A map of `shape` in which no two values of an image are equal, if that fits into `dtype`."""
    values = torch.linspace(-3, 3, torch.Size(shape).numel())
    mixed = values[torch.randperm(len(values))].reshape(shape).to(dtype)
    return mixed.contiguous(memory_format=channels_last)


def both_ways(layer: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """What `layer` gives for `x`, and the gradient of a fixed sum of it."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(True)
    y = layer(leaf)
    along = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).bfloat16().to(y.dtype)
    return y.detach(), torch.autograd.grad(y, leaf, along)[0]


def check_pool(
    x: Tensor, kernel: int, stride: int, padding: int, ceil: bool, within: float = 2**-6
) -> None:
    options = {"ceil_mode": ceil}
    expected = both_ways(nn.MaxPool2d(kernel, stride, padding, **options), x.float())
    found = both_ways(FastMaxPool(kernel, stride, padding, **options), x)
    assert torch.equal(found[0].float(), expected[0])
    tolerance = 1e-5 if x.dtype == torch.float32 else within
    assert torch.allclose(found[1].float(), expected[1], rtol=tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(dtype=st.sampled_from([torch.float32, torch.bfloat16]), **SHAPES)
def test_a_max_pool_equals_that_of_pytorch_with_a_compiler(
    images: int, channels: int, height: int, width: int, kernel: int, stride: int, ceil: bool,
    dtype: torch.dtype,
) -> None:  # fmt: skip
    # No two values of a channel are equal: so few places are told apart in bfloat16.
    order = torch.rand(images, channels, height * width).argsort(2).float() - 80
    x = order.reshape(images, channels, height, width).to(dtype)
    x = x.contiguous(memory_format=channels_last)
    check_pool(x, kernel, stride, kernel // 2, ceil)


def test_a_max_pool_equals_that_of_pytorch_without_a_compiler(
    uncompiled: None, dtype: torch.dtype
) -> None:
    order = torch.randperm(99).reshape(1, 1, 9, 11).repeat(1, 6, 1, 1).to(dtype)
    x = order.contiguous(memory_format=channels_last)
    for kernel, stride, padding in ((3, 1, 1), (3, 2, 0), (2, 2, 0), (5, 1, 2)):
        # PyTorch's own sums are rounded at each addition.
        check_pool(x, kernel, stride, padding, ceil=True, within=0.1)


@needs_compiler
def test_a_max_pool_gives_the_same_bytes_on_any_number_of_threads(dtype: torch.dtype) -> None:
    x, before, found = spread(1, 70, 30, 31, dtype=dtype), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(both_ways(FastMaxPool(3, 1, 1), x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for pair in zip(*found, strict=True)
               for one, other in pairwise(pair))  # fmt: skip


@needs_compiler
def test_nan_and_infinity_pass_through_a_max_pool(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 64, 4, 4, dtype=dtype).contiguous(memory_format=channels_last)
    for bad in (float("nan"), -float("nan"), float("inf"), -float("inf")):
        x[0, :, 1, 1] = bad
        expected, found = F.max_pool2d(x, 2), FastMaxPool(2)(x)
        assert torch.equal(found.isnan(), expected.isnan())
        assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))


@needs_compiler
@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_an_average_pool_equals_that_of_pytorch(
    images: int, channels: int, height: int, width: int, kernel: int, stride: int, ceil: bool
) -> None:
    x = spread(images, channels, height, width, dtype=torch.float32)
    found = both_ways(FastAvgPool(kernel, stride, 0, ceil), x)
    expected = both_ways(nn.AvgPool2d(kernel, stride, 0, ceil), x)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_local_response_norm_has_the_gradient_of_pytorch(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    x = (torch.randn(2, 70, 5, 7) * 100).to(dtype).contiguous(memory_format=channels_last)
    expected = both_ways(lambda x: F.local_response_norm(x, 5, 1e-4, 0.75, 1.0), x.float())
    for functions in (compiled(), None):
        monkeypatch.setattr(kernels, "compiled", lambda functions=functions: functions)
        if functions is None and dtype == torch.bfloat16:
            continue  # its sums are rounded on the way
        for one, other in zip(both_ways(LocalResponseNorm(70), x), expected, strict=True):
            assert F.cosine_similarity(one.float().flatten(), other.flatten(), 0) > 0.9999
            assert torch.allclose(one.float(), other, rtol=2**-7, atol=1e-3 * other.abs().max())


def by(name: str, dtype: torch.dtype) -> tuple[Network, nn.Module]:
    """The network `name` with random weights, and its module as it was written, in float32."""
    torch.manual_seed(3)
    architecture = find_architecture(name)
    module = architecture.build().eval()
    for parameter in module.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return assemble(architecture, module.state_dict(), CPU, dtype), module.requires_grad_(False)


def gradient(network: Network, image: Tensor, names: list[str]) -> list[Tensor]:
    """The gradient of the mean square of each layer of `names`, all asked for at once."""
    leaf = image.clone().requires_grad_(True)
    found = network.activations(leaf, names)
    return [
        torch.autograd.grad(found[name].float().square().mean(), leaf, retain_graph=True)[0]
        for name in names
    ]


def alike(one: Tensor, other: Tensor) -> float:
    return F.cosine_similarity(one.flatten(), other.flatten(), 0).item()


NETWORKS = {
    "googlenet": "inception4a",
    "bvlc_googlenet": "inception_4a",
    "dreamnet": "parts",
    "squeezenet1_1": "features.7",
    "inception_v3": "Mixed_5c",
    "resnet18": "layer2",
}


@pytest.mark.parametrize("without", [False, True], ids=["compiled", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_the_network_as_it_was_written(
    name: str, without: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    network, module = by(name, torch.float32)
    layer, image = NETWORKS[name], torch.rand(2, 3, 110, 94).contiguous(memory_format=channels_last)
    kept: list[Tensor] = []
    module.get_submodule(layer).register_forward_hook(lambda part, x, y: kept.append(y.clone()))
    leaf = image.clone().requires_grad_(True)
    module(network._normalise(leaf))
    expected = torch.autograd.grad(kept[0].square().mean(), leaf)[0]
    assert alike(gradient(network, image, [layer])[0], expected) > 0.9999


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("googlenet", ["conv1", "conv3", "inception3a.branch2.0", "inception3b", "inception4a"]),
        ("googlenet", ["conv2.conv", "inception3a.branch4.0", "inception3a.branch1"]),
        ("bvlc_googlenet", ["conv1", "norm2", "inception_3a.b3x3_reduce", "inception_3b"]),
        ("dreamnet", ["stem", "fire2a.squeeze", "fire2b", "textures"]),
    ],
)
def test_layers_asked_for_together_are_those_asked_for_alone(name: str, layers: list[str]) -> None:
    network, _ = by(name, torch.float32)
    image = torch.rand(1, 3, 80, 96).contiguous(memory_format=channels_last)
    for layer, found in zip(layers, gradient(network, image, layers), strict=True):
        assert alike(found, gradient(network, image, [layer])[0]) > 0.99999, layer
    together = network.activations(image, layers)
    for layer in layers:
        alone = network.activations(image, [layer])[layer]
        assert torch.allclose(together[layer], alone, rtol=1e-4, atol=1e-4), layer


@pytest.mark.parametrize("name", ["googlenet", "bvlc_googlenet", "dreamnet"])
def test_bfloat16_keeps_the_direction_and_the_bytes(name: str) -> None:
    network, _ = by(name, torch.bfloat16)
    exact, _ = by(name, torch.float32)
    image = torch.rand(1, 3, 96, 112).contiguous(memory_format=channels_last)
    first, again = (gradient(network, image, [NETWORKS[name]])[0] for _ in range(2))
    assert torch.equal(first, again)
    assert alike(first, gradient(exact, image, [NETWORKS[name]])[0]) > 0.9


def test_a_fire_module_is_one_convolution_after_another(dtype: torch.dtype) -> None:
    network, _ = by("dreamnet", dtype)
    fire = network.module.get_submodule("fire2b")
    assert isinstance(fire, Fire)
    ran: list[str] = []
    x = torch.rand(1, 160, 8, 8).to(dtype).contiguous(memory_format=channels_last)
    fast = fire(x)
    fire.squeeze.register_forward_hook(lambda *_: ran.append("squeeze"))
    assert torch.allclose(fast.float(), fire(x).float(), rtol=0.05, atol=0.05) and ran


def test_a_packed_convolution_fits_each_size_and_keeps_few(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(48, 40, 3, padding=1).requires_grad_(False).to(dtype)
    fast = blocks.packed(conv)
    for side in (5, 40, *range(6, 16), 5):
        x = torch.randn(1, 48, side, side + 3).to(dtype).contiguous(memory_format=channels_last)
        expected, found = F.relu(conv(x)), fast(x)
        assert torch.allclose(found.float(), expected.float(), rtol=2**-6, atol=2**-6)
    assert len(fast._packed) <= 2 * blocks.MOST_SIZES


START = """
from dreamreel.pipeline.networks.kernels import compiled
print(compiled() is not None)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for caches, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def has_kernels() -> bool:
    """Whether kernels are found anew."""
    return library.__wrapped__(SOURCE) is not None


@needs_compiler
def test_kernels_are_compiled_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_kernels()
    (kept,) = (cache / "dreamreel").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("PATH", "")  # no compiler is needed any more
    assert has_kernels()


def test_without_a_compiler_there_are_no_kernels(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert not has_kernels() and not cache.exists()


@needs_compiler
def test_a_folder_that_cannot_be_written_to_costs_only_time(cache: Path) -> None:
    cache.write_text("no folder")
    assert has_kernels() and cache.read_text() == "no folder"


@needs_compiler
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_damaged_library_or_one_that_others_may_write_is_made_anew(
    cache: Path, mode: int
) -> None:
    assert has_kernels()
    (kept,) = (cache / "dreamreel").iterdir()
    whole = kept.read_bytes()
    kept.unlink()  # the one that is loaded stays
    kept.write_bytes(b"damaged")
    kept.chmod(mode)
    assert has_kernels() and kept.read_bytes() == whole
    assert kept.stat().st_mode & 0o077 == 0


@needs_compiler
def test_several_processes_compile_at_once(cache: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["True"] * 2
    assert len(list((cache / "dreamreel").iterdir())) == 1


def test_a_compiler_that_fails_leaves_the_plain_way(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gcc", "cc"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_kernels()


def test_the_source_is_installed() -> None:
    assert SOURCE.is_file()
