"""A command answers at once: what needs no network imports no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from dreamreel.pipeline.networks.catalog import favourite_layer, network_layers
from dreamreel.pipeline.networks.dreamnet_layers import FAVOURITE, dreamnet_layers

CODE = """
import sys
from dreamreel.cli import main
sys.argv = ["dreamreel", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print("torch" in sys.modules, end.code, file=sys.stderr)
"""
AT_ONCE = (
    "layers dreamnet",
    "layers nosuch",
    "networks",
    "classes dog",
    "classes starfsh",
    "presets eyes",
    "schedule --set camera.zoom=1.2",
    "video no.mp4",
    "video clip.mp4 -o o.mp4 --layers part",
    "video clip.mp4 -o clip.mp4",
    "image no.png",
    "zoom no.png",
    "zoom --continue no.mp4",
    "shots no.mp4",
    "measure no.mp4 no.mp4",
    "measure clip.mp4",
    "reproduce no.json",
    "batch no.toml",
    "job no.json",
)


@pytest.mark.parametrize("command", AT_ONCE)
def test_what_needs_no_network_imports_no_torch(
    moving_clip: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "clip.mp4").symlink_to(moving_clip)
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stderr.splitlines()[-1].startswith("False"), done.stderr


HEAVY = ("torch._dynamo", "torch._inductor", "sympy", "torchvision", "pandas", "scipy", "ray")


def test_a_dream_of_our_network_imports_no_compiler(moving_clip: Path, tmp_path: Path) -> None:
    code = CODE.replace('"torch" in', f"[name for name in {HEAVY} if name in").replace(
        "sys.modules, end", "sys.modules], end"
    )
    command = ("video", moving_clip, "--frames", "0:2", "--width", "64", "-o", tmp_path / "o.mp4")
    quick = ("--set", "dream.steps=1", "--octaves", "1")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command), *quick], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "[] 0", done.stderr


def test_the_list_of_our_layers_is_that_of_the_network() -> None:
    found = [
        (layer.name, layer.channels, layer.field.receptive) for layer in network_layers("dreamnet")
    ]
    assert [(row.name, row.channels, row.receptive) for row in dreamnet_layers()] == found
    assert favourite_layer("dreamnet") == FAVOURITE
