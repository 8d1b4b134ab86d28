"""Bars are found, whatever their colour, and kept as they are; dark scenes are not bars."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import dream_video
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.motion.bars import picture_of
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_frame
from making import Run, read_clip, write_clip

RATE = Fraction(25)
QUICK = {"dream": {"terms": "textures", "octaves": 2, "steps": 2}, "precision": "float32"}
Frames = list[np.ndarray]
Call = Callable[..., Run]
PICTURE = np.random.default_rng(5).integers(60, 220, (10, 15, 3)).astype(np.uint8)


def barred(picture: np.ndarray, sides: tuple[int, int, int, int], colour: int = 0) -> np.ndarray:
    """`picture` with bars at its left, top, right and bottom."""
    left, top, right, bottom = sides
    pads = ((top, bottom), (left, right), (0, 0))
    return np.pad(picture, pads, constant_values=colour)


def box_of(sides: tuple[int, int, int, int], frame: np.ndarray) -> Box:
    left, top, right, bottom = sides
    return Box(left, top, frame.shape[1] - right, frame.shape[0] - bottom)


def boxes(frames: Frames, settings: Settings | None = None) -> list[Box]:
    return [one.box for one in follow_motion(frames, RATE, settings or build(("test", QUICK)))]


def quick(bars: str = "auto") -> Settings:
    return build(("test", QUICK), ("bars", {"source": {"bars": bars}}))


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from([0, 16, 128, 255]),
    st.integers(0, 2),
    st.booleans(),
)
def test_bars_are_found_whatever_their_width_and_colour(
    wide: int, high: int, colour: int, noise: int, alike: bool
) -> None:
    picture = cv2.resize(PICTURE, (120, 90), interpolation=cv2.INTER_NEAREST)
    other = 0 if alike else 1
    sides = (wide, high, wide + other * (wide > 2), high + other * (high > 2))
    frame = barred(picture, sides, colour).astype(int)
    frame = frame + np.random.default_rng(0).integers(-noise, noise + 1, frame.shape)
    frame = np.clip(frame, 0, 255).astype(np.uint8)
    found = picture_of(frame, "auto")
    wanted = (wide if wide > 1 else 0, high if high > 1 else 0)
    assert (found.left, found.top) == wanted
    if wide > 1 and high > 1:
        assert found == box_of(sides, frame)


def test_words_in_a_bar_do_not_hide_it(scene: np.ndarray) -> None:
    frame = barred(scene[:100, :200], (0, 30, 0, 30))
    cv2.putText(frame, "words below", (40, 150), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 1)
    assert picture_of(frame, "auto") == Box(0, 30, 200, 130)


def test_a_picture_that_is_dark_at_one_edge_has_bars_on_both_sides(scene: np.ndarray) -> None:
    light = np.clip(np.linspace(1.4, 0, 100), 0, 1)[:, None, None]
    frame = barred(np.uint8(scene[:100, :200] * light), (0, 24, 0, 24))
    found = picture_of(frame, "auto")
    assert found.top == 24 and 116 <= found.bottom <= 132


def dark_pictures(scene: np.ndarray) -> dict[str, np.ndarray]:
    picture = scene[:120, :200]
    y, x = np.mgrid[-1:1:120j, -1:1:200j]
    night = np.zeros_like(picture)
    for column in range(200):
        night[int(70 + 12 * np.sin(column / 19)) :, column] = (16, 24, 20)
    night[[10, 20, 33], [30, 90, 150]] = 255
    words = np.zeros_like(picture)
    cv2.putText(words, "THE END", (40, 70), cv2.FONT_HERSHEY_SIMPLEX, 1, (255,) * 3, 2)
    disc = np.zeros_like(picture)
    cv2.circle(disc, (100, 60), 40, (200, 220, 230), -1)
    return {
        "dark": np.uint8(picture * 0.08),
        "vignette": np.uint8(picture * np.clip(1.2 - (x**2 + y**2), 0, 1)[..., None]),
        "night": night,
        "words": words,
        "disc": disc,
        "black": np.zeros_like(picture),
        "white": np.full_like(picture, 255),
        "one bright pixel": np.pad(
            np.full((1, 1, 3), 255, np.uint8), ((60, 59), (99, 100), (0, 0))
        ),
    }


@pytest.mark.parametrize("name", list(dark_pictures(np.zeros((240, 400, 3), np.uint8))))
def test_a_dark_scene_is_no_bar(scene: np.ndarray, name: str) -> None:
    picture = dark_pictures(scene)[name]
    assert picture_of(picture, "auto") == Box.whole(picture)


def test_bars_that_appear_move_and_go_are_followed(scene: np.ndarray) -> None:
    whole = scene[:120, :200]
    frames = []
    for depth in (0, 0, 4, 12, 20, 20, 20, 0, 0):
        frame = whole.copy()
        frame[:depth] = 0
        frame[120 - depth :] = 0
        frames.append(frame)
    assert [box.top for box in boxes(frames)] == [0, 0, 4, 12, 20, 20, 20, 0, 0]


def test_bars_hold_while_the_picture_is_dark(scene: np.ndarray) -> None:
    bright = barred(scene[:100, :200], (0, 20, 0, 20))
    frames = [bright, np.uint8(bright * 0.02), np.zeros_like(bright), bright]
    assert boxes(frames) == [Box(0, 20, 200, 120)] * 4


def test_a_picture_inside_bars_is_dreamed_as_if_it_were_all(
    scene: np.ndarray, dreamnet: Network
) -> None:
    plain = [np.ascontiguousarray(scene[i : 90 + i, 2 * i : 150 + 2 * i]) for i in range(4)]
    frames = [barred(one, (10, 16, 12, 20), 16) for one in plain]
    settings = quick()
    alone = dream_video(follow_motion(plain, RATE, settings), dreamnet, constant(settings))
    within = dream_video(follow_motion(frames, RATE, settings), dreamnet, constant(settings))
    for frame, one, other in zip(frames, alone, within, strict=True):
        result = to_frame(other)
        assert np.array_equal(result[16:-20, 10:-12], to_frame(one))
        result[16:-20, 10:-12] = frame[16:-20, 10:-12]
        assert np.array_equal(result, frame)


def test_a_dream_goes_on_when_bars_change(scene: np.ndarray, dreamnet: Network) -> None:
    frames = [scene[:120, :200].copy() for _ in range(6)]
    for frame in frames[3:]:
        frame[:20] = frame[-20:] = 0
    settings = quick()
    images = dream_video(follow_motion(frames, RATE, settings), dreamnet, constant(settings))
    dreams = [to_frame(image).astype(int) for image in images]
    before, after = (np.abs(dreams[n] - frames[n])[22:-22].mean() for n in (2, 3))
    assert after == pytest.approx(before, rel=0.25)
    assert np.array_equal(dreams[4][:20], frames[4][:20])


def test_bars_can_be_kept_as_picture_or_named(scene: np.ndarray) -> None:
    frame = barred(scene[:100, :200], (0, 20, 0, 20))
    assert boxes([frame] * 2, quick("keep")) == [Box.whole(frame)] * 2
    assert boxes([frame] * 2, quick("8:4:2:6")) == [Box(8, 4, 198, 134)] * 2


def test_named_bars_are_those_of_the_source_at_any_width(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    clip = write_clip(tmp_path / "a.mkv", [scene[:100, :200]] * 2)
    out = tmp_path / "out.mkv"
    options = ("--width", 100, "--set", "source.bars=0:20:0:10", "--layers", "textures")
    options += ("--codec", "ffv1")
    assert dreamreel("video", clip, "-o", out, "--steps", 2, "--octaves", 1, *options).code == 0
    plain = tmp_path / "plain.mkv"
    none = ("--set", "dream.steps=0", "--set", "video.frame_steps=0")
    assert dreamreel("video", clip, "-o", plain, *options, *none).code == 0
    change = np.abs(read_clip(out)[0].astype(int) - read_clip(plain)[0]).mean((1, 2))
    assert change[:10].max() == change[45:].max() == 0 < change[10:45].min()


@pytest.mark.parametrize("bars", ["0:60:0:60", "1:2:3", "a:b:c:d", "-1:0:0:0", "", "1e2:0:0:0"])
def test_bars_that_cannot_be_are_refused(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray, bars: str
) -> None:
    clip = write_clip(tmp_path / "a.mkv", [scene[:100, :200]] * 2)
    run = dreamreel("video", clip, "-o", tmp_path / "b.mkv", "--set", f"source.bars={bars}")
    assert run.code == 2 and "bars" in run.err
    assert not (tmp_path / "b.mkv").exists()


def test_a_still_and_a_zoom_leave_the_bars_out(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    frame = barred(scene[:100, :200], (0, 20, 0, 20), 255)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    still = tmp_path / "still.png"
    quick = ("--layers", "textures", "--steps", 2, "--octaves", 1)
    run = dreamreel("image", tmp_path / "a.png", "-o", still, *quick)
    assert run.code == 0 and "bars of 0:20:0:20" in run.err
    change = np.abs(cv2.imread(str(still)).astype(int) - frame).sum((1, 2))
    assert not change[:20].any() and not change[-20:].any() and change[20:-20].all()
    zoom = tmp_path / "zoom.mkv"
    assert dreamreel("zoom", tmp_path / "a.png", "-o", zoom, "--seconds", 0.1, *quick).code == 0
    assert read_clip(zoom)[0].shape[:2] == (100, 200)


def compressed(picture: np.ndarray) -> np.ndarray:
    """`picture` with a codec's noise and half the lines of colour."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR))


@pytest.mark.parametrize("colour", [0, 16])
@pytest.mark.parametrize(
    "sides", [(0, 0, 0, 40), (0, 0, 0, 31), (0, 24, 0, 0), (60, 0, 0, 0), (0, 0, 33, 0)]
)
def test_one_bar_alone_is_found_under_the_noise_of_a_codec(
    scene: np.ndarray, sides: tuple[int, int, int, int], colour: int
) -> None:
    left, top, right, bottom = sides
    frame = barred(scene[: 192 - top - bottom, : 240 - left - right], sides, colour)
    assert picture_of(compressed(frame), "auto") == box_of(sides, frame)


def test_words_may_stand_in_one_bar_below_but_not_above(scene: np.ndarray) -> None:
    below = barred(scene[:150, :240], (0, 0, 0, 42))
    cv2.putText(below, "words below", (40, 178), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 1)
    assert picture_of(compressed(below), "auto") == Box(0, 0, 240, 150)
    above = barred(scene[:150, :240], (0, 42, 0, 0))
    cv2.putText(above, "12:30  100 %", (40, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 1)
    assert picture_of(compressed(above), "auto") == Box.whole(above)


@pytest.mark.parametrize("turned", [False, True], ids=["below", "aside"])
@pytest.mark.parametrize(
    ("slant", "waves", "blur", "level", "noise"),
    [
        (0.2, 0, 0.6, 0, 0),  # a table seen by a hand-held camera
        (1, 0, 0.6, 0, 0),
        (0, 0.7, 0.5, 0, 0),  # a sea at night
        (0, 0, 1.5, 0, 0),  # out of focus
        (0, 0, 0, 8, 1),  # a curtain
        (0, 0, 0, 24, 0),  # paint
    ],
)
def test_a_dark_side_of_a_picture_is_no_bar(
    scene: np.ndarray, turned: bool, slant: float, waves: float, blur: float, level: int,
    noise: float,
) -> None:  # fmt: skip
    light = np.float32(scene[:192, :240]) * 0.8 + 40
    y, x = np.mgrid[:192, :240].astype(np.float32)
    edge = 152 + np.tan(np.radians(slant)) * (x - 120) + waves * np.sin(x / 5)
    seen = np.clip(edge - y, 0, 1)
    seen = cv2.GaussianBlur(seen, (0, 0), blur) if blur else seen
    dark = level + noise * np.random.default_rng(0).standard_normal(light.shape)
    frame = np.uint8(np.clip(light * seen[..., None] + dark * (1 - seen[..., None]), 0, 255))
    frame = np.ascontiguousarray(frame.swapaxes(0, 1)) if turned else frame
    for one in (frame, compressed(frame)):
        assert picture_of(one, "auto") == Box.whole(one)
