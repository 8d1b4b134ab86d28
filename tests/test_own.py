"""A user's own network, named by its function: it dreams, and runs only where the user names it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.checks import check_settings
from dreamreel.pipeline.networks.catalog import find_architecture, load_network, network_layers
from dreamreel.pipeline.networks.names import ALLOWED, allow_network
from making import start

CODE = """
import pathlib, torch
from torch import nn
pathlib.Path("ran").touch()

class Net(nn.Module):
    mean, std = (0.1, 0.2, 0.3), [1, 1, 2]

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 4)
        self.register_buffer("gain", torch.full((1, 8, 1, 1), 2.0), persistent=False)

    def forward(self, x):
        return self.fc((self.conv(x).relu() * self.gain).mean((2, 3)))

def build():
    torch.manual_seed(1)
    return Net()

def text():
    return "no network"

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder, which is new for each test."""
    name = f"net_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ALLOWED, "")
    return name


def test_a_network_of_ones_own_dreams_with_its_own_weights_or_those_of_a_file(
    module: str, picture: Tensor, tmp_path: Path
) -> None:
    name = f"{module}:build"
    allow_network(name)
    network = load_network(name, device="cpu", precision="float32")
    assert [layer.name for layer in network_layers(name)] == ["conv", "fc"]
    assert network.default_layers() == {"fc": 1.0} or network.default_layers() == {"conv": 1.0}
    assert network.head().classes == 4 and network.digest
    architecture = find_architecture(name)
    assert architecture.mean == (0.1, 0.2, 0.3) and architecture.std == (1, 1, 2)
    with torch.no_grad():
        wanted = architecture.build()(network._normalise(picture))
    found = network.activations(picture, ["fc"])["fc"]
    assert (found - wanted).abs().max() < 1e-5
    zeros = {key: torch.zeros_like(one) for key, one in architecture.build().state_dict().items()}
    save_file(zeros, tmp_path / "w.safetensors")
    other = load_network(name, tmp_path / "w.safetensors", "cpu", "float32")
    assert not other.activations(picture, ["fc"])["fc"].any() and other.digest != network.digest


def test_code_that_the_user_did_not_name_does_not_run(module: str) -> None:
    name = f"{module}:build"
    with pytest.raises(UserError, match=f"is code.*--network {name}.*{ALLOWED}={name}"):
        check_settings(Settings(network=name))
    with pytest.raises(UserError, match="is code"):
        load_network(name, device="cpu")
    assert not Path("ran").exists()


def test_a_preset_or_a_batch_file_may_not_run_code_but_a_command_line_may(module: str) -> None:
    name = f"{module}:build"
    Path("p.toml").write_text(f"network = {json.dumps(name)}\n")
    Path("jobs.toml").write_text(f'[[job]]\nsource = "no.png"\nnetwork = {json.dumps(name)}\n')
    for command in (("layers", f"{module}:nosuch"), ("image", "no.png", "--preset", "p.toml")):
        process = start(*command)
        _, err = process.communicate()
        assert process.returncode == 2 and len(err.strip().splitlines()) == 1
        assert Path("ran").exists() == (command[0] == "layers")
        Path("ran").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nosuch", "there is no network .*nosuch"),
        ("text", "returns a str; it should return a torch.nn.Module"),
        ("number", "is a int, not a function"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(module: str, function: str, words: str) -> None:
    allow_network(f"{module}:{function}")
    with pytest.raises(UserError, match=words):
        load_network(f"{module}:{function}", device="cpu")


def test_a_module_that_is_not_there_is_refused_in_one_line(module: str) -> None:
    allow_network("no_such_module_at_all:build")
    with pytest.raises(UserError, match="there is no network no_such_module_at_all:build"):
        load_network("no_such_module_at_all:build", device="cpu")
