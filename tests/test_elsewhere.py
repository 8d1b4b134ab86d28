"""The way of a GPU, on a device that is not there: what it dreams is what a CPU dreams, and a frame
moves little and waits once."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamreel.pipeline import pixels
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.dreaming.masks import Masking
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.dreaming.terms import gradient_of, response_of
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks import assembly, kernels
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import to_image
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom
from dreamreel.pipeline.zooming.grain import noise
from dreamreel.pipeline.zooming.journey import Journey

try:
    from elsewhere import counts, moved_there
except ImportError as error:  # torch calls this part of it experimental
    pytest.skip(f"torch has no devices of one's own: {error}", allow_module_level=True)

RATE, SIZE = Fraction(24), (108, 192)
Dreaming = Callable[[Network], list[Tensor]]


@pytest.fixture(autouse=True)
def plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU compute as other devices do: its faster layers add in another order."""
    monkeypatch.setattr(assembly, "quicken", lambda *_: None)
    monkeypatch.setattr(kernels, "suits_pooling", lambda *_: False)
    monkeypatch.setattr(kernels, "takes", lambda _: False)
    monkeypatch.setattr(pixels, "takes", lambda *_: False)
    monkeypatch.setattr(pixels, "takes_frame", lambda *_: False)


def chosen(**dream: object) -> Settings:
    return build(("test", {"dream": {"octaves": 2, "steps": 4, **dream}}))


def frames(count: int = 8) -> Iterator[np.ndarray]:
    picture = np.random.default_rng(3).integers(0, 255, (24, 36, 3), np.uint8)
    large = np.kron(picture, np.ones((6, 6, 1), np.uint8))
    for number in range(count):
        yield np.ascontiguousarray(np.roll(large, 2 * number, 1)[: SIZE[0], : SIZE[1]])


def here_and_there(dreaming: Dreaming) -> tuple[list[Tensor], list[Tensor]]:
    """What `dreaming` makes on the CPU and elsewhere."""
    here = dreaming(load_network("dreamnet", None, "cpu", "float32"))
    with moved_there(load_network("dreamnet", None, "cpu", "float32")) as network:
        there = [one.cpu() for one in dreaming(network)]
    return here, there


def assert_equal(dreaming: Dreaming) -> None:
    here, there = here_and_there(dreaming)
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one, other)


def video(network: Network, settings: Settings, state: VideoState | None = None) -> list[Tensor]:
    moving = follow_motion(frames(), RATE, settings)
    return list(dream_video(moving, network, constant(settings), state))


def zoom(network: Network, settings: Settings) -> list[Tensor]:
    image, journey = noise(SIZE, 0, network.device), Journey(9, RATE)
    return list(infinite_zoom(image, network, constant(settings), journey))


@pytest.mark.parametrize("dream", [{}, {"terms": ["parts:strongest(8)", "-0.5*tv"]}])
def test_a_film_is_dreamed_alike(dream: dict[str, object]) -> None:
    assert_equal(lambda network: video(network, chosen(**dream)))


def test_a_zoom_is_dreamed_alike() -> None:
    assert_equal(lambda network: zoom(network, chosen()))


def test_a_film_goes_on_alike_from_a_saved_state() -> None:
    settings = chosen()

    def dreamed(network: Network) -> list[Tensor]:
        state, shown = VideoState(), list[Tensor]()
        for number, moving in enumerate(follow_motion(frames(), RATE, settings)):
            shown += dream_video([moving], network, constant(settings), state)
            if number == 3:
                state = on_device(decode(VideoState, saved(encode(state))), network.device)
        return shown

    assert_equal(dreamed)


@pytest.mark.parametrize(
    "term", ["parts", "mean:textures:3+5", "class:starfish", "objects:7@0.5:0.5", "guide"]
)
def test_a_still_is_dreamed_alike(tmp_path: Path, term: str) -> None:
    guide = tmp_path / "guide.png"
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 255, (90, 120, 3), np.uint8)).save(guide)
    settings = chosen(terms=[f"guide:{guide}@parts" if term == "guide" else term])

    def dreamed(network: Network) -> list[Tensor]:
        source = to_image(next(frames()), network.device)
        subject = Subject.of(source, 0, network, settings)
        gradient = gradient_of(source.clone().requires_grad_(), network, subject.terms)
        dream = subject.dreamed(source, subject.still)
        return [gradient, dream, response_of(dream, network, subject.terms)]

    assert_equal(dreamed)


def test_a_film_is_dreamed_alike_inside_a_mask() -> None:
    settings = build(
        ("test", {"dream": {"octaves": 1, "steps": 3}, "mask": {"key": "light:0.4..1"}})
    )

    def dreamed(network: Network) -> list[Tensor]:
        moving = follow_motion(frames(4), RATE, settings)
        masking = Masking([None], network.device)
        return list(dream_video(moving, network, constant(settings), masking=masking))

    assert_equal(dreamed)


def test_tiles_are_computed_alike() -> None:
    image = noise((300, 280), 4, torch.device("cpu"))

    def dreamed(network: Network) -> list[Tensor]:
        subject = Subject.of(image.to(network.device), 0, network, chosen())
        leaf = subject.source.requires_grad_()
        return [gradient_of(leaf, network, subject.terms, 256)]

    assert_equal(dreamed)


def saved(tree: Any) -> Any:
    """`tree` as files hold it: with tensors on the CPU, and arrays as tensors."""
    if isinstance(tree, dict):
        return {name: saved(one) for name, one in tree.items()}
    if isinstance(tree, list):
        return [saved(one) for one in tree]
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree)
    return tree.cpu() if isinstance(tree, Tensor) else tree


def counted(dreaming: Callable[[Network], Iterator[Tensor]]) -> list[dict[str, int]]:
    """What each frame of `dreaming` moved and waited for, from the fourth on."""
    found = []
    with moved_there(load_network("dreamnet", None, "cpu", "float32")) as network:
        for _ in dreaming(network):
            found.append(dict(counts))
            counts.clear()
    return found[3:]


def test_a_frame_of_a_film_moves_twice_and_waits_once() -> None:
    settings = chosen()
    found = counted(
        lambda network: dream_video(
            follow_motion(frames(), RATE, settings), network, constant(settings), VideoState()
        )
    )
    assert found and all(one == {"to": 2, "waits": 1} for one in found)


def test_a_frame_of_a_zoom_moves_twice_and_waits_once() -> None:
    found = counted(
        lambda network: infinite_zoom(
            noise(SIZE, 0, network.device), network, constant(chosen()), Journey(9, RATE),
            state=ZoomState(),
        )
    )  # fmt: skip
    assert found
    for one in found:
        assert one.get("to", 0) <= 2 and one.get("waits", 0) <= 1 and not one.get("from", 0)
