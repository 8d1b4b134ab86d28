"""What a GPU computes is what a CPU computes, but for rounding. Skipped where there is no CUDA."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.dreaming.terms import gradient_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.files import metadata_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import resize
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.distill import Distilled
from dreamreel.pipeline.training.fit import train
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom
from dreamreel.pipeline.zooming.journey import Journey

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
RATE = Fraction(24)
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def networks() -> tuple[Network, Network]:
    there, here = (load_network("dreamnet", None, one, "float32") for one in ("cpu", "cuda"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return there, here


@pytest.fixture(scope="module")
def image() -> Tensor:
    random = np.random.default_rng(5)
    coarse = torch.from_numpy(random.random((1, 3, 12, 16), np.float32))
    return resize(coarse, (144, 192))


def chosen(**dream: object) -> Settings:
    return build(("test", {"dream": {"octaves": 2, "steps": 4, **dream}}))


def guide(folder: Path) -> str:
    path = folder / "guide.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)).save(path)
    return f"guide:{path}@parts"


def close(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether two images differ by no more than a share of their contrast, RMS."""
    one, other = one.cpu(), other.cpu()
    return float((one - other).square().mean().sqrt()) <= share * float(one.std())


@pytest.mark.parametrize(
    "term", ["parts", "parts:strongest(8)", "mean:textures:3+5", "class:starfish", "guide",
             "objects:7@0.5:0.5"],
)  # fmt: skip
def test_gradients_agree(
    networks: tuple[Network, Network], image: Tensor, tmp_path: Path, term: str
) -> None:
    settings = chosen(terms=[guide(tmp_path) if term == "guide" else term])
    found = []
    for network in networks:
        source = image.to(network.device)
        subject = Subject.of(source, 0, network, settings)
        found.append(gradient_of(source.clone().requires_grad_(), network, subject.terms).cpu())
    assert close(found[0], found[1], 0.02)


def test_a_still_agrees_and_equal_seeds_give_equal_bytes(
    networks: tuple[Network, Network], image: Tensor
) -> None:
    settings = chosen(terms=["parts", "-0.5*tv"], laplacian=3, frequency=0.5)
    found = []
    for network in (*networks, networks[1]):
        subject = Subject.of(image.to(network.device), 0, network, settings)
        found.append(subject.dreamed(subject.source, subject.still))
    assert close(found[0], found[1], 0.15)
    assert close(found[1], found[2], 1e-3)


def frames() -> Iterator[np.ndarray]:
    picture = np.random.default_rng(3).integers(0, 255, (24, 32, 3), np.uint8)
    large = np.kron(picture, np.ones((8, 8, 1), np.uint8))
    for number in range(8):
        yield np.ascontiguousarray(np.roll(large, 2 * number, 1)[:144, :192])


def test_a_film_is_dreamed_and_its_state_survives_the_disk(
    networks: tuple[Network, Network],
) -> None:
    settings, network = chosen(), networks[1]
    moving = follow_motion(frames(), RATE, settings)
    state, shown = VideoState(), []
    for number, one in enumerate(moving):
        shown += list(dream_video([one], network, constant(settings), state))
        if number == 4:
            state = on_device(decode(VideoState, _copied(encode(state))), network.device)
    assert len(shown) == 8 and all(one.device.type == "cuda" for one in shown)
    assert all(bool(one.isfinite().all()) for one in shown)


def _copied(tree: Any) -> Any:
    """`tree` with its tensors and arrays as tensors on the CPU, as files hold them."""
    if isinstance(tree, dict):
        return {name: _copied(one) for name, one in tree.items()}
    if isinstance(tree, list):
        return [_copied(one) for one in tree]
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree)
    return tree.cpu() if isinstance(tree, Tensor) else tree


def test_a_zoom_is_dreamed(networks: tuple[Network, Network], image: Tensor) -> None:
    network = networks[1]
    journey = Journey(12, RATE, True)
    images = list(
        infinite_zoom(image.to(CUDA), network, constant(chosen()), journey, 0, ZoomState())
    )
    assert len(images) == 12
    assert all(one.device.type == "cuda" and bool(one.isfinite().all()) for one in images)


@pytest.mark.parametrize("look", [{}, {"terms": ["parts:3+5", "-0.5*tv"], "wrap": "both"}])
def test_a_replayed_step_is_the_plain_one(
    networks: tuple[Network, Network], image: Tensor, look: dict[str, object]
) -> None:
    network = networks[1]
    settings = chosen(steps=6, jitter=20, **look)

    def dreamed() -> Tensor:
        subject = Subject.of(image.to(CUDA), 0, network, settings)
        return subject.dreamed(subject.source, subject.still)

    network.forget()
    first, again = dreamed(), dreamed()
    network.replays._device = torch.device("cpu")  # never replays
    plain = dreamed()
    network.forget()
    assert close(first, plain, 2e-3) and close(again, plain, 2e-3)


def test_half_precision_dreams_as_much_as_full(
    networks: tuple[Network, Network], image: Tensor
) -> None:
    half = load_network("dreamnet", None, "cuda", "bfloat16")
    found = []
    for network in (networks[1], half):
        subject = Subject.of(image.to(CUDA), 0, network, chosen())
        dreamed = subject.dreamed(subject.source, subject.still)
        found.append(subject.responses(dreamed)[0] / subject.responses(subject.source)[0])
    assert found[1] == pytest.approx(found[0], rel=0.15) and found[0] > 1.1


@pytest.mark.parametrize("teacher", ["dreamnet", None])
def test_a_training_learns_the_same(
    tmp_path: Path, teacher: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    random = np.random.default_rng(3)
    for number in range(16):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 255, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((72, 72)).save(folder / f"{number}.png")
    found = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.safetensors"
        few = {"epochs": 1, "epoch_steps": 4, "batch": 4, "size": 64}
        course = Course(tmp_path / "pictures", out, **few, device=device, precision="float32",
                        distill_from=teacher)  # fmt: skip
        train(course)
        found.append(json.loads(metadata_of(out)["training"])["history"][0])
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=0.05)
    assert found[0]["checked_loss"] == pytest.approx(found[1]["checked_loss"], rel=0.05)


def test_a_batch_that_does_not_fit_is_computed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (72, 72, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    made, told = {"device": "cuda", "precision": "float32"}, []
    course = Course(tmp_path, tmp_path.with_suffix(".safetensors"), epochs=1, epoch_steps=2,
                    batch=8, size=64, distill_from="dreamnet", **made)  # fmt: skip
    loss = Distilled.loss

    def short(aim: Distilled, step: int, *part: Tensor) -> Tensor:
        if len(part[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(aim, step, *part)

    monkeypatch.setattr(Distilled, "loss", short)
    assert train(course, Report(on_notice=told.append)).exists()
    assert "memory is short: a batch is computed in parts of 4 pictures" in told
