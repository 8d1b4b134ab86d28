"""Caffe's GoogLeNet from its own files: read without Caffe, whatever a file holds."""

import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreamreel.pipeline.contents import CAFFE, content_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.caffe import read_caffemodel
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.googlenet import BvlcGoogLeNet
from dreamreel.pipeline.networks.weights import read_weights
from making import SHARED

State = dict[str, Tensor]
Blob = Callable[[Tensor, bool], bytes]


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def packed(tensor: Tensor, is_bias: bool) -> bytes:
    """A blob of today's Caffe."""
    shape = part(1, b"".join(map(varint, tensor.shape)))
    return part(7, shape) + part(5, tensor.numpy().astype("<f4").tobytes())


def doubles(tensor: Tensor, is_bias: bool) -> bytes:
    shape = b"".join(b"\x08" + varint(size) for size in tensor.shape)
    return part(8, tensor.numpy().astype("<f8").tobytes()) + part(7, shape)


def old(tensor: Tensor, is_bias: bool) -> bytes:
    """A blob of 2014: four sizes, and numbers that are not packed."""
    sizes = [1] * (4 - tensor.ndim) + list(tensor.shape)
    raw = tensor.numpy().astype("<f4").tobytes()
    single = b"".join(b"\x2d" + raw[at : at + 4] for at in range(0, len(raw), 4))
    return b"".join(bytes([n << 3]) + varint(s) for n, s in enumerate(sizes, 1)) + single


def theirs(ours: str) -> str:
    """What Caffe calls our layer `ours`."""
    names = {"conv1": "conv1/7x7_s2", "conv2_reduce": "conv2/3x3_reduce", "conv2": "conv2/3x3",
             "fc": "loss3/classifier"}  # fmt: skip
    return names.get(ours) or ours.replace(".b", "/").replace(".", "/")


def caffemodel(state: State, blob: Blob = packed, is_old: bool = False) -> bytes:
    """The file that Caffe would write, with a layer without weights before the others."""
    layers = [part(1 if not is_old else 4, b"data") + part(2 if not is_old else 3, b"Data")]
    for name in dict.fromkeys(key.rpartition(".")[0] for key in state):
        blobs = (blob(state[f"{name}.{what}"], what == "bias") for what in ("weight", "bias"))
        called = theirs(name).encode()
        if is_old:  # b"\x28\x04": its type, a convolution
            kept = part(4, called) + b"\x28\x04" + b"".join(part(6, one) for one in blobs)
        else:
            kept = part(1, called) + part(2, b"Convolution") + part(3, b"below")
            kept += b"".join(part(7, one) for one in blobs) + b"\x50\x01"
        layers.append(kept)
    number = 2 if is_old else 100
    return part(1, b"GoogleNet") + b"".join(part(number, layer) for layer in layers)


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(5)
    return dict(BvlcGoogLeNet().state_dict())


def small(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name.startswith("inception_3a")}


def test_a_caffemodel_gives_the_activations_of_the_same_weights(
    tmp_path: Path, state: State, picture: Tensor
) -> None:
    save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "w.bin").write_bytes(caffemodel(state))
    plain, caffe = (
        load_network("bvlc_googlenet", tmp_path / name, "cpu", "float32")
        for name in ("w.safetensors", "w.bin")
    )
    found = [network.activations(picture, ["fc"])["fc"] for network in (plain, caffe)]
    assert torch.equal(*found) and plain.digest == caffe.digest
    assert caffe.head().classes == 1000


@pytest.mark.parametrize(
    ("blob", "is_old"), [(packed, False), (doubles, False), (old, True), (packed, True)]
)
def test_every_way_of_writing_numbers_gives_the_same(
    tmp_path: Path, state: State, blob: Blob, is_old: bool
) -> None:
    wanted = small(state) | {name: state[name][:7] for name in ("fc.weight", "fc.bias")}
    (tmp_path / "w").write_bytes(caffemodel(wanted, blob, is_old))
    found = read_weights(tmp_path / "w")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.shared
def test_the_published_weights_come_through(tmp_path: Path) -> None:
    state = load_file(SHARED / "networks" / "bvlc_googlenet.safetensors")
    wide = {name: tensor.float() for name, tensor in state.items()}
    (tmp_path / "w.caffemodel").write_bytes(caffemodel(wide, is_old=True))
    found = read_weights(tmp_path / "w.caffemodel")
    assert all(torch.equal(found[name], wide[name]) for name in wide)


def test_weights_of_another_number_of_classes_load(tmp_path: Path, state: State) -> None:
    places = state | {name: state[name][:365] for name in ("fc.weight", "fc.bias")}
    (tmp_path / "places.caffemodel").write_bytes(caffemodel(places))
    network = load_network("bvlc_googlenet", tmp_path / "places.caffemodel", "cpu", "float32")
    assert network.head().classes == 365


def test_a_caffemodel_is_told_by_its_content(state: State) -> None:
    some = small(state)
    for content in (caffemodel(some), caffemodel(some, is_old=True), caffemodel(some)[11:]):
        assert content_of(content[:4096]) is CAFFE
    for text in (b"\n# A text\n", b"\n\n\n", b'name: "GoogleNet"\nlayer {\n'):
        assert content_of(text) is not CAFFE


def one_blob(content: bytes) -> bytes:
    """A model with one layer, whose one blob holds `content`."""
    return part(1, b"net") + part(100, part(1, b"conv2/3x3") + part(7, content))


FLOATS = part(5, struct.pack("<2f", 1, 2))
BROKEN = {
    "too long a part": part(1, b"net") + b"\xa2\x06\xff\xff\xff\xff\x7f\n\x01a",
    "too long a number": part(1, b"net") + part(100, b"\n\x01a\x50" + b"\xff" * 11),
    "a group": part(1, b"net") + part(100, b"\n\x01a\x0b\x0b\x0b"),
    "cut off numbers": one_blob(part(7, b"\x08\x01") + part(5, b"abc")),
    "too large a shape": one_blob(part(7, b"\x08" + varint(1 << 62)) + FLOATS),
    "no numbers": one_blob(part(7, part(1, varint(1 << 40) * 2))),
    "many sides": one_blob(part(7, part(1, b"\x01" * 5000)) + FLOATS),
    "numbers as a varint": one_blob(b"\x28\x01"),
    "another network": part(1, b"net") + part(100, part(1, b"conv1_1") + part(7, FLOATS)),
    "many fields": part(1, b"net") + b"\xa2\x06\x03\n\x01a" + b"\x50\x01" * 100_001,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_caffemodel_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    (tmp_path / "w.caffemodel").write_bytes(BROKEN[how])
    with pytest.raises(UserError, match=r"w.caffemodel (cannot be read as|is) a Caffe model"):
        load_network("bvlc_googlenet", tmp_path / "w.caffemodel", "cpu")


def test_a_cut_off_caffemodel_is_refused_or_has_fewer_layers(
    tmp_path_factory: pytest.TempPathFactory, state: State
) -> None:
    whole, path = caffemodel(small(state)), tmp_path_factory.mktemp("cut") / "w"

    @settings(max_examples=60, deadline=None)
    @given(st.integers(12, len(whole) - 1), st.binary(max_size=8))
    def check(at: int, then: bytes) -> None:
        path.write_bytes(whole[:at] + then + whole[at + len(then) :] if then else whole[:at])
        readable(path)

    check()


def readable(path: Path) -> None:
    """Check that the file at `path` gives tensors or a line."""
    try:
        found = read_caffemodel(path)
    except UserError as error:
        assert re.search("Caffe model", str(error))
    else:
        assert all(isinstance(tensor, Tensor) for tensor in found.values())


def fields() -> st.SearchStrategy[bytes]:
    """Messages of fields that are whole, or not quite, inside of others."""
    numbers = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 100])
    leaf = st.one_of(
        st.builds(lambda n, v: varint(n << 3) + varint(v), numbers, st.integers(0, 1 << 64)),
        st.builds(lambda n, b: varint(n << 3 | 5) + b, numbers, st.binary(min_size=4, max_size=4)),
        st.builds(lambda n, b: varint(n << 3 | 1) + b, numbers, st.binary(min_size=8, max_size=8)),
        st.just(part(1, b"conv2/3x3")),
        st.binary(max_size=12),
    )

    def inside(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        joined: st.SearchStrategy[Iterable[bytes]] = st.lists(inner, max_size=4)
        return st.builds(lambda n, all_: part(n, b"".join(all_)), numbers, joined)

    return st.recursive(leaf, inside, max_leaves=12)


def test_no_bytes_make_the_reader_fail(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "w"

    @settings(max_examples=150, deadline=None)
    @given(fields())
    def check(content: bytes) -> None:
        path.write_bytes(b"\n\x03net" + content)
        readable(path)

    check()
