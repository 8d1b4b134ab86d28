"""Ray, for real: a head and workers on this machine's loopback."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from dreamreel.pipeline.jobs.queue import queue_of
from making import start, write_clip

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dreamreel[cluster]'")
QUICK = 'width = 64\noctaves = 2\nsteps = 2\nlayers = "textures"\n'
RAY = (sys.executable, "-m", "ray.scripts.scripts")
SHOTS = 4


def ray(*arguments: str) -> None:
    subprocess.run([*RAY, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a head without room for tasks, and of two machines of one core each, all of
    them on this one."""
    port = "26379"
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")  # by default a head makes a token, in the home folder
    ray("start", "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false",
        "--disable-usage-stats", "--object-store-memory=80000000")  # fmt: skip
    try:
        for _ in range(2):
            ray("start", f"--address=127.0.0.1:{port}", "--num-cpus=1",
                "--disable-usage-stats", "--object-store-memory=80000000")  # fmt: skip
        yield f"127.0.0.1:{port}"
    finally:
        ray("stop", "--force")
        patch.undo()


@pytest.fixture(scope="module")
def shots_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """A clip of four shots of 50 frames."""
    frames = []
    for shot in range(SHOTS):
        picture = np.roll(scene if shot % 2 else 255 - scene, 40 * shot, 0)
        frames += [picture[20:116, 3 * i : 3 * i + 160] for i in range(50)]
    path = tmp_path_factory.mktemp("shots") / "shots.mp4"
    return write_clip(path, frames, Fraction(25), sound=True)


def write(folder: Path, source: Path, output: str, more: str = "") -> Path:
    path = folder / f"{output}.toml"
    path.write_text(f'output = "{output}"\n[[job]]\nsource = "{source}"\n{QUICK}{more}')
    return path


def batch(path: Path, *options: object) -> "subprocess.Popen[str]":
    return start("batch", path, "--threads", 1, "--split-above", 20, *options, folder=path.parent)


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, out + err
    return err


def result(folder: Path, output: str) -> bytes:
    (film,) = (folder / output).glob("*.mp4")
    return film.read_bytes()


def test_a_cluster_gives_the_bytes_of_one_machine(
    cluster: str, shots_clip: Path, tmp_path: Path
) -> None:
    least = 'set = { "shots.min_seconds" = 0.2 }\n'
    ended(batch(write(tmp_path, shots_clip, "one", least)))
    here = write(tmp_path, shots_clip, "ray", least)
    ended(batch(here, "--engine", "ray", "--address", cluster))
    assert result(tmp_path, "ray") == result(tmp_path, "one")


def test_a_killed_worker_of_the_cluster_costs_its_piece_only(
    cluster: str, shots_clip: Path, tmp_path: Path
) -> None:
    least = 'set = { "shots.min_seconds" = 0.2 }\n'
    ended(batch(write(tmp_path, shots_clip, "one", least)))
    process = batch(write(tmp_path, shots_clip, "ray", least), "--engine", "ray",
                    "--address", cluster, "--retry", 3)  # fmt: skip
    queue = queue_of(tmp_path / "ray")
    killed = kill_one(queue.folder / "claims", process)
    err = ended(process)
    assert killed and result(tmp_path, "ray") == result(tmp_path, "one"), err


def kill_one(claims: Path, process: "subprocess.Popen[str]") -> bool:
    """Kill the process that has claimed a piece, once there is one."""
    ends = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < ends:
        for path in claims.glob("*.0*.json"):
            try:
                psutil.Process(json.loads(path.read_text())["process"]).kill()
            except (OSError, ValueError, psutil.NoSuchProcess):
                continue
            return True
        time.sleep(0.02)
    return False


def test_a_cluster_that_is_not_there_is_one_line(shots_clip: Path, tmp_path: Path) -> None:
    path = write(tmp_path, shots_clip, "none")
    err = ended(batch(path, "--engine", "ray", "--address", "127.0.0.1:1"), 2)
    assert "there is no Ray cluster at 127.0.0.1:1" in err
