"""Fixtures: small generated clips and pictures, a network, and the command line."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamreel import cli
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from making import SHARED, Run, run_ffmpeg, write_clip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="no shared folder beside the checkout"))


@pytest.fixture(scope="session", autouse=True)
def no_presets_of_its_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test see, or write to, the folder of presets of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DREAMREEL_PRESETS", str(tmp_path_factory.getbasetemp() / "no-presets"))
        yield


@pytest.fixture(scope="session")
def dreamnet() -> Network:
    return load_network("dreamnet", device="cpu")


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """A textured picture (240, 400, 3), uint8 BGR, with detail at every scale."""
    random = np.random.default_rng(3)
    total = np.full((240, 400, 3), 128.0)
    for cell in (64, 32, 16, 8, 4):
        coarse = random.standard_normal((240 // cell + 2, 400 // cell + 2, 3))
        total += 16 * cv2.resize(coarse, (400, 240), interpolation=cv2.INTER_CUBIC)
    return np.uint8(np.clip(total, 0, 255))


@pytest.fixture(scope="session")
def moving_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """12 frames of 160x96 at 30000/1001 per second; the view moves right by 3 pixels a frame. With
    sound."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [scene[20:116, 3 * i : 3 * i + 160] for i in range(12)]
    return write_clip(folder / "moving.mp4", frames, sound=True)


@pytest.fixture(scope="session")
def odd_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """5 frames of 131x77 in 4:4:4 at 25 per second, without sound."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [scene[i : 77 + i, 2 * i : 131 + 2 * i] for i in range(5)]
    path = folder / "odd.mkv"
    raw = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    run_ffmpeg(
        "-f",
        "rawvideo",
        "-pixel_format",
        "bgr24",
        "-video_size",
        "131x77",
        "-framerate",
        "25",
        "-i",
        "-",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv444p",
        str(path),
        stdin=raw,
    )
    return path


@pytest.fixture
def dreamreel(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Run]:
    """A function that runs the command line as the console script does: (*arguments) -> Run."""

    def call(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["dreamreel", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        code = ended.value.code
        return Run(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def picture() -> torch.Tensor:
    """A smooth image (1, 3, 96, 160) with a bright disc in the middle."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 160), indexing="ij")
    disc = (((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.05).float()
    return torch.stack([x, y, (x + y) / 2])[None].lerp(disc[None, None], 0.5)
