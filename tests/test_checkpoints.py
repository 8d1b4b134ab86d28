"""Weights are read by what their file holds, whatever its ending and whatever wraps them."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor
from torchvision import models

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.motion.flow import find_estimator
from dreamreel.pipeline.networks.catalog import find_architecture, load_network
from dreamreel.pipeline.networks.checkpoints import WRAPPERS
from dreamreel.pipeline.networks.names import network_names
from dreamreel.pipeline.networks.network import Network, hollow
from dreamreel.pipeline.networks.weights import read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return dict(models.squeezenet1_1(weights=None).state_dict())


def other(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def inside(words: str, state: State) -> State:
    return {name.replace("features.", f"features.{words}"): one for name, one in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "with others": lambda state: {"state_dict": state, "epoch": 3, "args": None},
    "parallel": lambda state: under("module.", state),
    "parallel features": lambda state: {"state_dict": inside("module.", state), "epoch": 3},
    "lightning": lambda state: {"state_dict": under("model.", state), "callbacks": {}},
    "compiled": lambda state: under("_orig_mod.", state),
    "several": lambda state: {"model": under("module._orig_mod.backbone.", inside("net.", state))},
    "deep": lambda state: {"checkpoint": {"model": {"net": under("encoder.", state)}}},
    "in a sequence": lambda state: under("1.", state),
    "in a list": lambda state: [{"epoch": 3}, state],
    "by an unknown word": lambda state: under("our_dreaming_model.trunk.", state),
    "with an optimizer": lambda state: {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(1)}}},
        "model_state_dict": state,
    },
    "a part in each table": lambda state: {
        part: {name.removeprefix(f"{part}."): one for name, one in state.items() if part in name}
        for part in ("features", "classifier")
    },
    "beside an empty one": lambda state: {"model_ema": state, "model": {}},
}


def same(network: Network, state: State) -> bool:
    held = network.module.state_dict()
    return all(torch.equal(held[name].float(), one) for name, one in state.items())


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_weights_are_those_inside(tmp_path: Path, state: State, how: str) -> None:
    torch.save(WRAPPED[how](state), tmp_path / "w")
    network = load_network("squeezenet1_1", tmp_path / "w", "cpu", "float32")
    torch.save(state, tmp_path / "plain")
    plain = load_network("squeezenet1_1", tmp_path / "plain", "cpu", "float32")
    assert same(network, state) and network.notice is None
    assert network.digest == plain.digest


@pytest.mark.parametrize(
    "name",
    ["w.safetensors", "w.pth", "w.PTH", "w.pt", "w.ckpt", "w.bin", "w.pth.tar", "w", "w.jpg"],
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_ending_of_weights_does_not_matter(
    tmp_path: Path, state: State, name: str, kind: str
) -> None:
    path = tmp_path / name
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    found = read_weights(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[one], state[one]) for one in state)


@pytest.mark.parametrize("averaged", ["model_ema", "ema", "state_dict_ema", "params_ema"])
def test_averaged_weights_are_taken_and_it_is_said(
    tmp_path: Path, state: State, averaged: str
) -> None:
    torch.save({"model": other(state), averaged: under("module.", state)}, tmp_path / "w.pth")
    network = load_network("squeezenet1_1", tmp_path / "w.pth", "cpu", "float32")
    assert same(network, state)
    assert network.notice is not None
    assert f"'{averaged}.module' taken, not 'model'" in network.notice


def test_averages_that_lack_a_part_are_not_taken(tmp_path: Path, state: State) -> None:
    some = dict(list(other(state).items())[:-2])
    torch.save({"ema": some, "model": state}, tmp_path / "w.pth")
    assert same(load_network("squeezenet1_1", tmp_path / "w.pth", "cpu", "float32"), state)


def test_words_are_taken_off_only_where_the_rest_fits(tmp_path: Path) -> None:
    odd = {"head.conv1.weight": torch.zeros(64, 3, 7, 7), "tail.bn1.weight": torch.zeros(64)}
    torch.save(odd, tmp_path / "w.pth")
    with pytest.raises(UserError, match="no weights of resnet18.*'head.conv1.weight'"):
        load_network("resnet18", tmp_path / "w.pth", "cpu")


def test_no_network_has_a_name_that_wraps_others() -> None:
    for name in network_names():
        words = {
            word for key in hollow(find_architecture(name)).state_dict() for word in key.split(".")
        }
        assert not words & WRAPPERS, name


def test_flow_takes_wrapped_weights_too(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    wrapped = {"state_dict": under("module.", raft_small(weights=None).state_dict())}
    torch.save(wrapped, tmp_path / "raft.ckpt")
    table = {"method": "raft_small", "weights": str(tmp_path / "raft.ckpt")}
    find_estimator(build(("test", {"flow": table, "device": "cpu"})))
    torch.save({"state_dict": {"module.x": torch.zeros(1)}}, tmp_path / "raft.ckpt")
    with pytest.raises(UserError, match="has no weights of raft_small"):
        find_estimator(build(("test", {"flow": table, "device": "cpu"})))


def zipped(files: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def program() -> bytes:
    data = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), data)
    return data.getvalue()


def itself() -> bytes:
    data, table = io.BytesIO(), {}
    table["again"] = table
    torch.save(table, data)
    return data.getvalue()


NO_WEIGHTS = {
    "w.pth": (b"<!DOCTYPE html><html><body>Not found</body></html>", "is a web page, not weights"),
    "w.bin": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    "w.zip": (zipped({"w.pth": b"x"}), "is a ZIP archive, not weights; unpack"),
    "w.json": (b'{"error": "Access denied"}', "is a message in JSON, not weights"),
    "w.xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "error message"),
    "w.jpg": (b"\xff\xd8\xff\xe0 a JPEG", "is a JPEG picture, not weights"),
    "w.h5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "w.ckpt": (b"", "is empty"),
    "w": (b"x\0y\xff", "is not a weights file; safetensors, "),
    "w.crdownload": (zipped({"w/data.pkl": b"\x80"})[:40], "download that is not finished"),
    "w.pt": (program(), "is a TorchScript program; save its state_dict"),
    "w.pt2": (itself(), "holds no named weights"),
    "w.safetensors": (save({"a": torch.zeros(9)})[:-3], "cannot be read as weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_a_file_without_weights_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    content, words = NO_WEIGHTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_weights(tmp_path / name)
    assert name in str(error.value) and "weights_only" not in str(error.value)


HEADS = [b"", b"PK\x03\x04" + b"\0" * 26 + b"w/data.pkl", b"\x80\x02", b"\x80\x02\x8a\nl\xfc\x9cF",
         b"\x10\0\0\0\0\0\0\0{\"a\":{", save({"a": torch.zeros(2)})[:20]]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=300))
def test_any_bytes_as_weights_give_one_line(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + rest)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_weights_give_one_line_or_weights(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    torch.save({"state_dict": {"a.weight": torch.arange(6.0)}}, path)
    whole = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
        whole[at] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_weights(path)
    except UserError as error:
        assert "\n" not in str(error)
