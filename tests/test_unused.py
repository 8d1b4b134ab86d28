"""Settings that do nothing in a render are named, once; those of a look are not held against it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from making import Run

Call = Callable[..., Run]
QUICK = ("--set", "dream.steps=1", "--set", "dream.octaves=1", "--layers", "textures")
FILM = ("video", "clip.mp4", "-o", "o.mp4", "--frames", "0:1", *QUICK)
STILL = ("video", "clip.mp4", "-o", "o.png", "--still", "0", *QUICK)
PICTURE = ("image", "photo.png", "-o", "o.png", *QUICK)
ZOOM = ("zoom", "photo.png", "-o", "z.mp4", "--seconds", "0.1", *QUICK)


@pytest.fixture(autouse=True)
def sources(
    tmp_path: Path, moving_clip: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").symlink_to(moving_clip)
    Image.fromarray(scene[:96, :160]).save(tmp_path / "photo.png")
    Path("mine.toml").write_text('inherits = "tunnel"\n[camera]\nrotation = 3.0\n')


@pytest.mark.parametrize(
    ("command", "given", "line"),
    [
        (FILM, "--set camera.zoom=2 --set zoom.evolve=1", "camera.zoom, zoom.evolve do nothing"),
        (FILM, "--preset ./mine.toml", "camera.rotation does nothing in a video; dreamreel zoom"),
        (FILM, "--set flow.weights=photo.png", "flow.weights does nothing in a video; flow.method"),
        (FILM, "--crop-at top", "source.crop_at does nothing in a video; --crop does"),
        (FILM, "--audio clip.mp4", "no setting hears clip.mp4"),
        (FILM, "--preset tunnel", "the preset tunnel is for zoom, and only its dream shows in a"),
        (STILL, "--codec hevc", "output.codec does nothing in a still"),
        (PICTURE, "--set video.carry=0.5", "video.carry does nothing in a picture"),
        (PICTURE, "--preset tunnel", "the preset tunnel is for zoom"),
        (PICTURE, "--set dream.strength=1+s", "dream.strength: a picture has no time"),
        (PICTURE, "--octaves 9", "smaller octaves are left out"),
        (ZOOM, "--set flow.height=64 --set video.carry=0.9", "flow.height, video.carry do nothing"),
        (ZOOM, "--motion-only --strength 2", "dream.strength"),
    ],
)
def test_what_does_nothing_is_named_once(
    dreamreel: Call, command: tuple[str, ...], given: str, line: str
) -> None:
    if "--octaves" in given:
        command = command[:4]
    run = dreamreel(*command, *given.split())
    notes = [one for one in run.err.splitlines() if one.startswith("note: ") and line in one]
    assert run.code == 0 and len(notes) == 1, run.err


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (FILM, "--preset creatures --preset draft"),
        (FILM, "--set camera.zoom=1.35"),
        (PICTURE, "--preset eyes"),
        (PICTURE[:4], "--preset fever --steps 1"),
        (ZOOM, "--preset tunnel --set camera.zoom=1.5"),
        (STILL, "--crop 1:1 --crop-at left --set video.hold_light=0.5"),
    ],
)
def test_what_works_or_is_of_a_look_is_not_named(
    dreamreel: Call, command: tuple[str, ...], given: str
) -> None:
    run = dreamreel(*command, *given.split())
    assert run.code == 0 and "note" not in run.err, run.err


def test_a_refused_render_names_its_mistake_alone(dreamreel: Call) -> None:
    Path("o.mp4").write_text("precious")
    run = dreamreel(*FILM, "--set", "camera.zoom=2")
    assert run.code == 2 and run.err.count("\n") == 1 and "exists" in run.err
