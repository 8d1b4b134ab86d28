"""Masks: where the dream is, and that the rest stays as it is."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build, to_toml
from dreamreel.pipeline.config.presets import load_preset
from dreamreel.pipeline.config.tables import read_toml
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.calibration import climb_for
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.dreaming.masks import Painted, as_light_as, like_colour, oklab
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.masking import masks_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.encoding import Encoding, encode
from dreamreel.pipeline.media.mattes import find_mattes, shaped
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.tensors import to_image
from making import read_clip, write_clip
from rendering import render_video

SIZE = (72, 96)
QUICK: dict[str, Any] = {
    "dream": {"octaves": 1, "steps": 2, "terms": "textures"},
    "flow": {"height": 72},
    "video": {"frame_steps": 1},
    "output": {"save_seconds": 3600.0, "codec": "ffv1"},
}


def settings_of(**tables: Any) -> Settings:
    return build(("quick", QUICK), ("test", tables))


def half(side: int = 48) -> np.ndarray:
    """A matte of the left of a frame."""
    matte = np.zeros((*SIZE, 3), np.uint8)
    matte[:, :side] = 255
    return matte


def write_matte(path: Path, matte: np.ndarray | None = None) -> Path:
    cv2.imwrite(str(path), half() if matte is None else matte)
    return path


@pytest.fixture
def pan(scene: np.ndarray) -> list[np.ndarray]:
    """Eight frames that move to the right by 2 pixels each."""
    return [
        np.ascontiguousarray(scene[30 : 30 + SIZE[0], 2 * i : 2 * i + SIZE[1]]) for i in range(8)
    ]


@pytest.fixture
def clip(tmp_path: Path, pan: list[np.ndarray]) -> Path:
    path = tmp_path / "pan.mkv"
    encode(pan, path, Encoding(SIZE, Fraction(25), codec="ffv1", pixel_format="bgr0"))
    return path


def still(source: Path, out: Path, settings: Settings) -> Path:
    return run(
        Job(kind="still", source=NamedFile(path=source), output=out, settings=settings), Report()
    )


def refusal(source: Path, **tables: Any) -> str:
    """The line with which the dream of the video `source` is refused."""
    with pytest.raises(UserError) as error:
        render_video(source, source.with_name("refused.mkv"), settings_of(**tables))
    assert not source.with_name("refused.mkv.unfinished").exists()
    return str(error.value)


def test_outside_its_mask_a_picture_stays_to_the_last_bit(
    tmp_path: Path, pan: list[np.ndarray]
) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), pan[0])
    mask = write_matte(tmp_path / "m.png")
    out = still(tmp_path / "in.png", tmp_path / "out.png", settings_of(mask={"file": str(mask)}))
    made = cv2.imread(str(out))
    assert np.array_equal(made[:, 48:], pan[0][:, 48:])
    assert not np.array_equal(made[:, :48], pan[0][:, :48])


def test_outside_its_mask_a_film_stays_to_the_last_bit(
    tmp_path: Path, clip: Path, pan: list[np.ndarray]
) -> None:
    mask = write_matte(tmp_path / "m.png")
    out = render_video(clip, tmp_path / "out.mkv", settings_of(mask={"file": str(mask)}))
    for made, source in zip(read_clip(out), read_clip(clip), strict=True):
        assert np.array_equal(made[:, 48:], source[:, 48:])
        assert not np.array_equal(made[:, :48], source[:, :48])


def test_a_mask_resumes_and_is_known_by_its_content(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "mattes"
    folder.mkdir()
    write_matte(folder / "0001.png")
    write_matte(folder / "0005.png", half(24))
    settings = settings_of(mask={"file": str(folder), "carry": True})
    whole = render_video(clip, tmp_path / "whole.mkv", settings)
    done = []

    def stops(progress: Any) -> None:
        done.append(progress.done)

    report = Report(on_progress=stops, is_stopping=lambda: bool(done) and done[-1] >= 3)
    with pytest.raises(Stopped):
        render_video(clip, tmp_path / "out.mkv", settings, report=report)
    kept = (folder / "0001.png").read_bytes()
    write_matte(folder / "0001.png", half(90))
    with pytest.raises(UserError, match="another mask"):
        render_video(clip, tmp_path / "out.mkv", settings)
    (folder / "0001.png").write_bytes(kept)
    resumed = render_video(clip, tmp_path / "out.mkv", settings)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_painted_mask_follows_the_picture() -> None:
    from dreamreel.pipeline.motion.visibility import standing

    motion = standing(SIZE)
    motion.flow[..., 0] = 2  # what is here was 2 pixels further right
    painted = Painted(0, torch.zeros(1, 2, *SIZE))
    for _ in range(5):
        painted = painted.along(motion)
    assert torch.allclose(painted.moved[0, 0, :, :60], torch.tensor(10.0), atol=1e-3)


def test_a_film_is_a_mask_by_time(tmp_path: Path, clip: Path) -> None:
    mattes = [half(12 * i + 12) for i in range(4)]
    film = write_clip(tmp_path / "m.mp4", mattes, Fraction(25, 2))
    lines: list[str] = []
    settings = settings_of(mask={"file": str(film)})
    out = render_video(clip, tmp_path / "out.mkv", settings, report=Report(on_notice=lines.append))
    assert any("12.5 masks a second" in line for line in lines)
    for number, (made, source) in enumerate(zip(read_clip(out), read_clip(clip), strict=True)):
        right = 12 * (number // 2) + 12 + 8
        assert np.array_equal(made[:, right:], source[:, right:])


def test_alpha_that_is_not_opaque_is_the_mask(tmp_path: Path) -> None:
    alpha = np.dstack([np.full((*SIZE, 3), 255, np.uint8), half()[..., 0]])
    path = write_matte(tmp_path / "a.png", alpha)
    assert find_mattes(path, Settings().source).by_alpha
    opaque = np.dstack([half(), np.full(SIZE, 255, np.uint8)])
    assert not find_mattes(write_matte(tmp_path / "o.png", opaque), Settings().source).by_alpha


def test_masks_that_do_not_suit_are_refused_in_a_line(tmp_path: Path, clip: Path) -> None:
    short = write_clip(tmp_path / "short.mp4", [half()] * 3, Fraction(25))
    wide = write_matte(tmp_path / "wide.png", np.zeros((72, 72, 3), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    gaps = tmp_path / "gaps"
    gaps.mkdir()
    for number in (1, 4):
        write_matte(gaps / f"{number:04}.png")
    assert "has 3 masks, and the dream needs 8" in refusal(clip, mask={"file": str(short)})
    assert "needs the source's shape" in refusal(clip, mask={"file": str(wide)})
    assert "there is no mask file" in refusal(clip, mask={"file": str(tmp_path / "none.png")})
    assert "text.png" in refusal(clip, mask={"file": str(tmp_path / "text.png")})
    assert "mask.carry=true" in refusal(clip, mask={"file": str(gaps)})
    assert "every frame already" in refusal(clip, mask={"file": str(short), "carry": True})
    assert "no transparency" in refusal(clip, mask={"key": "alpha"})
    assert "mask.key" in refusal(clip, mask={"file": "person"})
    flow = {"method": "none"}
    assert "needs the flow" in refusal(clip, mask={"key": "motion:moving"}, flow=flow)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("persn", "did you mean 'person'"),
        ("light:2..1", "light:0.6..1 is"),
        ("colour:#zz", "names no colour"),
        ("m.png", "mask.file"),
        ("", "is no key"),
    ],
)
def test_a_wrong_key_is_told(key: str, told: str) -> None:
    with pytest.raises(UserError, match="mask.key") as error:
        settings_of(mask={"key": key})
    assert told in str(error.value)


def test_colour_and_light_key_what_is_like_them() -> None:
    greens = np.array([[[0, 255, 0], [40, 220, 60], [200, 60, 40], [128, 128, 128]]], np.uint8)
    assert like_colour(greens, (0, 255, 0), 0.1)[0].round(2).tolist() == [1, 1, 0, 0]
    greys = np.array([[[0] * 3, [128] * 3, [255] * 3]], np.uint8)
    assert as_light_as(greys, (0.6, 1.0), 0.05)[0].tolist() == [0, 0, 1]
    assert like_colour(greys, (255, 255, 255), 0.1)[0].tolist() == [0, 0, 1]
    assert np.allclose(oklab(greys)[0, :, 0], [0, 0.6, 1], atol=0.01)


def test_a_mask_grows_shrinks_and_ends() -> None:
    matte = half()[..., 0].astype(np.float32) / 255
    assert shaped(matte, False, 0.1, 0).sum() > matte.sum() > shaped(matte, False, -0.1, 0).sum()
    assert np.array_equal(shaped(matte, True, 0, 0), 1 - matte)
    soft = shaped(matte, False, 0, 0.05)
    assert soft[0, 0] == 1 and soft[0, -1] == 0 and 0 < soft[0, 48] < 1


def test_two_regions_dream_two_dreams(tmp_path: Path, pan: list[np.ndarray]) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), pan[0])
    write_matte(tmp_path / "left.png")
    text = """
    [[region]]
    terms = { textures = 1 }
    mask = { file = "left.png" }
    [[region]]
    terms = { fire3a = 1 }
    mask = { file = "left.png", invert = true }
    """
    (tmp_path / "two.toml").write_text(text)
    found = load_preset(str(tmp_path / "two.toml")).settings()
    assert found.region[0].mask.file == tmp_path / "left.png"
    assert build(("again", read_toml(to_toml(found)))) == found
    both = build(("quick", QUICK), *load_preset(str(tmp_path / "two.toml")).tables)
    made = cv2.imread(str(still(tmp_path / "in.png", tmp_path / "two.png", both)))
    for at in (np.s_[:, :48], np.s_[:, 48:]):
        assert not np.array_equal(made[at], pan[0][at])


def test_the_climb_is_found_that_reaches_a_response() -> None:
    for power in (0.2, 0.5):
        found = climb_for(1.5, lambda climb, power=power: 1.2 * climb**power)
        assert abs(1.2 * found**power / 1.5 - 1) < 0.05


def test_an_empty_mask_leaves_the_film_as_it_is(tmp_path: Path, clip: Path) -> None:
    settings = settings_of(mask={"file": str(write_matte(tmp_path / "m.png", half(0)))})
    network, about = load_network("dreamnet", device="cpu"), probe(clip)
    with masks_of(settings, about, network.device) as masking:
        moving = follow_motion(read_frames(clip), about.rate, settings)
        images = list(
            dream_video(moving, network, constant(settings), VideoState(), masking=masking)
        )
    for image, frame in zip(images, read_frames(clip), strict=True):
        assert torch.equal(image, to_image(frame, network.device))
