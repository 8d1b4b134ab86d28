"""Where there is nothing to see, nothing is dreamed; what was dreamed before is there after it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.durable import load_tree, save_tree
from dreamreel.pipeline.jobs.segments import largest_state
from dreamreel.pipeline.motion.content import share_seen
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import to_frame
from making import Run

RATE = Fraction(25)
Frames = list[np.ndarray]
Call = Callable[..., Run]


@pytest.fixture(scope="module")
def settings() -> Settings:
    dream = {"terms": "textures", "octaves": 2, "steps": 4}
    return build(("test", {"dream": dream, "precision": "float32"}))


@pytest.fixture(scope="module")
def pan(scene: np.ndarray) -> Frames:
    return [np.ascontiguousarray(scene[:96, 2 * i : 160 + 2 * i]) for i in range(24)]


def dreams(
    frames: Frames, network: Network, settings: Settings, state: VideoState | None = None
) -> Frames:
    moving = follow_motion(frames, RATE, settings)
    return [to_frame(image) for image in dream_video(moving, network, constant(settings), state)]


def changes(frames: Frames, network: Network, settings: Settings) -> list[float]:
    """The mean change of each frame, in levels."""
    found = dreams(frames, network, settings)
    pairs = zip(found, frames, strict=True)
    return [float(np.abs(one.astype(int) - other).mean()) for one, other in pairs]


def dimmed(frame: np.ndarray, share: float, to: int = 0) -> np.ndarray:
    return np.uint8(np.round(to + share * (frame - float(to))))


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_flat_film_stays_as_it_is(level: int, dreamnet: Network, settings: Settings) -> None:
    flat = [np.full((96, 160, 3), level, np.uint8)] * 3
    assert changes(flat, dreamnet, settings) == [0, 0, 0]


def test_a_clear_sky_stays_as_it_is(dreamnet: Network, settings: Settings) -> None:
    light = np.linspace(150, 230, 96)[:, None, None] * np.array([1, 0.8, 0.6])
    sky = np.broadcast_to(light, (96, 160, 3)).round().astype(np.uint8)
    assert max(changes([sky] * 3, dreamnet, settings)) < 2


@pytest.mark.parametrize("level", [0, 255])
def test_a_flat_still_stays_as_it_is(level: int, dreamreel: Call, tmp_path: Path) -> None:
    picture = np.full((64, 96, 3), level, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    run = dreamreel("image", tmp_path / "a.png", "-o", tmp_path / "b.png", "--steps", 1)
    assert run.code == 0 and "nothing to see" in run.err
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png")), picture)


def test_between_nothing_and_something_the_way_is_smooth(
    pan: Frames, dreamnet: Network, settings: Settings
) -> None:
    shares = np.geomspace(0.02, 0.5, 9)
    found = [changes([dimmed(pan[0], share, 90)], dreamnet, settings)[0] for share in shares]
    assert found[0] == 0 and found[-1] > 2
    steps = np.diff(found)
    assert steps.min() > -0.4 and steps.max() < 0.5 * max(found)
    assert share_seen(0) == 0 and share_seen(100) == 1


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("length", [1, 4])
def test_a_dream_is_there_again_right_after_a_dip_or_a_flash(
    pan: Frames, level: int, length: int, dreamnet: Network, settings: Settings
) -> None:
    frames = list(pan[:16])
    frames[8 : 8 + length] = [np.full_like(pan[0], level)] * length
    found = changes(frames, dreamnet, settings)
    assert max(found[8 : 8 + length]) == 0
    plain = changes(pan[:16], dreamnet, settings)
    assert found[8 + length] == pytest.approx(plain[8 + length], rel=0.15)
    assert found[9 + length] == pytest.approx(plain[9 + length], rel=0.15)


def test_what_a_bright_frame_cannot_show_is_not_forgotten(
    pan: Frames, dreamnet: Network, settings: Settings
) -> None:
    frames = list(pan[:14])
    for number in (8, 9):  # overexposed, and still something to see
        frames[number] = np.uint8(np.clip(frames[number] * 1.0 + 110, 0, 255))
    found, plain = (changes(one, dreamnet, settings) for one in (frames, pan[:14]))
    assert found[11] == pytest.approx(plain[11], rel=0.15)


def test_a_pale_flash_hides_nothing(pan: Frames, dreamnet: Network, settings: Settings) -> None:
    frames = list(pan[:14])
    frames[8] = dimmed(pan[8], 0.3, 255)
    found, plain = (changes(one, dreamnet, settings) for one in (frames, pan[:14]))
    assert found[9] == pytest.approx(plain[9], rel=0.15)


def test_between_strobes_a_dream_keeps_its_strength(
    pan: Frames, dreamnet: Network, settings: Settings
) -> None:
    frames = [np.full_like(one, 255) if number % 4 == 0 else one for number, one in enumerate(pan)]
    found, plain = (changes(one, dreamnet, settings) for one in (frames, pan))
    lit = [number for number in range(8, 24) if number % 4]
    assert np.mean([found[n] for n in lit]) > 0.85 * np.mean([plain[n] for n in lit])


def test_a_shot_that_fades_in_has_the_dream_of_one_that_does_not(
    pan: Frames, dreamnet: Network, settings: Settings
) -> None:
    still = [pan[0]] * 24
    shares = np.clip(np.arange(24) / 10, 0, 1)
    fade = [dimmed(one, share) for one, share in zip(still, shares, strict=True)]
    faded, plain = (dreams(one, dreamnet, settings) for one in (fade, still))
    assert np.array_equal(faded[0], fade[0])
    sizes = [np.abs(one[-1].astype(float) - pan[0]) for one in (faded, plain)]
    assert sizes[0].mean() == pytest.approx(sizes[1].mean(), rel=0.2)
    details = [(one[-1].astype(float) - pan[0]).ravel() for one in (faded, plain)]
    assert np.corrcoef(*details)[0, 1] > 0.5


def test_a_scene_after_the_dark_has_a_dream_of_its_own(
    pan: Frames, scene: np.ndarray, dreamnet: Network, settings: Settings
) -> None:
    turned = np.ascontiguousarray(np.flip(scene, (0, 1)))[:96, :160]
    out = [dimmed(pan[0], share) for share in np.linspace(1, 0, 6)]
    back = [dimmed(turned, share) for share in np.linspace(0, 1, 6)]
    dark = [np.zeros_like(turned)] * 3
    frames = out + dark + back + [turned] * 9
    alone = dark[:2] + back + [turned] * 9
    one, other = dreams(frames, dreamnet, settings)[-1], dreams(alone, dreamnet, settings)[-1]
    own = np.corrcoef(*((image - turned.astype(float)).ravel() for image in (one, other)))[0, 1]
    assert own > 0.4


def test_a_render_goes_on_in_the_middle_of_the_dark(
    pan: Frames, dreamnet: Network, settings: Settings, tmp_path: Path
) -> None:
    fade = [dimmed(one, share) for one, share in zip(pan, np.arange(24) / 16, strict=True)][:16]
    frames = pan[:4] + [np.zeros_like(pan[0])] * 8 + fade
    whole = dreams(frames, dreamnet, settings)
    for stop in (6, 14, 20):
        state = VideoState()
        moving = follow_motion(frames, RATE, settings)
        images = dream_video(moving, dreamnet, constant(settings), state)
        done = [to_frame(image) for _, image in zip(range(stop), images, strict=False)]
        save_tree(tmp_path / f"{stop}", encode(state))
        saved = load_tree(tmp_path / f"{stop}", largest_state(pan[0].nbytes))
        state = on_device(decode(VideoState, saved), dreamnet.device)
        moving = follow_motion(frames[stop:], RATE, settings, stop, state.followed)
        rest = dream_video(moving, dreamnet, constant(settings), state)
        assert all(map(np.array_equal, done + [to_frame(image) for image in rest], whole))
