"""Formats that keep no shape of pixels get square ones, and the user is told."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import footage
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.reading import read_frames
from footage import wheel
from making import Run, run_ffmpeg

Call = Callable[..., Run]
PLAIN = ("--set", "dream.steps=0", "--set", "dream.octaves=1", "--width", 120)
OUTPUTS = ["out.gif", "out.webp", "out.apng", "out/%03d.png", "out/%03d.jpg", "out.png"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(("shape", "size"), [("2/3", (72, 80)), ("4/3", (54, 120))])
def test_pixels_are_made_square_where_their_shape_is_not_kept(
    dreamreel: Call, name: str, shape: str, size: tuple[int, int], tmp_path: Path
) -> None:
    out = tmp_path / name
    still = ("--still", 0) if name == "out.png" else ()
    run = dreamreel("video", wheel(tmp_path, shape), "-o", out, *still, *PLAIN)
    assert run.code == 0
    height, width = size
    assert f"made square, so that 120x72 becomes {width}x{height}" in run.err.replace("\n", " ")
    first = sorted(out.parent.glob("*"))[0] if "%" in name else out
    with Image.open(first) as picture:
        light = np.asarray(picture.convert("L")) > 127
    assert light.shape == size
    assert light.any(0).sum() == pytest.approx(light.any(1).sum(), abs=2)


def test_a_container_keeps_the_shape_untold(dreamreel: Call, tmp_path: Path) -> None:
    run = dreamreel("video", wheel(tmp_path, "2/3"), "-o", tmp_path / "out.mp4", *PLAIN)
    clip = probe(tmp_path / "out.mp4")
    assert (clip.height, clip.width, clip.pixel_shape) == (72, 120, Fraction(2, 3))
    assert "square" not in run.err


def test_what_became_square_can_be_measured(dreamreel: Call, tmp_path: Path) -> None:
    run = dreamreel(
        *("video", wheel(tmp_path, "2/3"), "-o", tmp_path / "out.apng", "--width", 160),
        *("--preset", "draft"),
    )
    assert run.code == 0
    run = dreamreel("measure", tmp_path / "wheel.mp4", tmp_path / "out.apng")
    assert run.code == 0, run.err


def test_side_by_side_doubles_the_square_size(dreamreel: Call, tmp_path: Path) -> None:
    out = tmp_path / "out.gif"
    source = wheel(tmp_path, "2/3")
    assert dreamreel("video", source, "-o", out, *PLAIN, "--side-by-side").code == 0
    assert {frame.shape for frame in read_frames(out)} == {(72, 160, 3)}


@pytest.mark.parametrize(
    ("shape", "size"), [("2/3", (360, 427)), ("3/2", (240, 640)), ("1", (360, 640))]
)
def test_square_pixels_make_no_side_longer(shape: str, size: tuple[int, int]) -> None:
    assert fitted_size(360, 640, None, Fraction(shape)) == size
    assert fitted_size(360, 640, 320, Fraction("2/3")) == (180, 213)


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_turned_film_with_wide_pixels_becomes_square_upright(
    dreamreel: Call, ending: str, tmp_path: Path
) -> None:
    footage.film(tmp_path / "a.mp4", numbers=range(3), filters="setsar=4/3")
    turned = tmp_path / f"b{ending}"
    run_ffmpeg("-display_rotation", "90", "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(turned))
    out = tmp_path / "out.gif"
    assert dreamreel("video", turned, "-o", out, *PLAIN[:4]).code == 0
    clip = probe(out)  # 96x160 pixels of 3:4
    assert (clip.width, clip.height) == (72, 160)


def test_a_film_of_equal_frames_becomes_a_webp_of_one(dreamreel: Call, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32), "teal").save(tmp_path / "in" / f"{number}.png")
    run = dreamreel("video", tmp_path / "in", "-o", tmp_path / "out.webp", *PLAIN[:4])
    assert run.code == 0
    with Image.open(tmp_path / "out.webp") as picture:
        assert getattr(picture, "n_frames", 1) == 1
