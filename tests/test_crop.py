"""Crops: one part of every picture is kept, alike in videos, stills, estimates and measurements."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.config.values import parse_crop
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.cropping import crop_of
from dreamreel.pipeline.media.reading import read_frames
from making import Run, read_clip, run_ffmpeg, write_clip

Call = Callable[..., Run]
QUICK = ("--set", "dream.steps=1", "--set", "dream.octaves=1", "--layers", "textures")


@pytest.mark.parametrize("text", ["9:16", "16:9", "1:1", "2.39:1", "4:5", "1080x1920", "64x48"])
@pytest.mark.parametrize("size", [(360, 640), (77, 131), (640, 360), (100, 100)])
def test_a_crop_is_the_largest_part_of_its_shape(text: str, size: tuple[int, int]) -> None:
    shape, exact = parse_crop(text)
    crop = crop_of(size, Source(crop=text))
    kept = size if crop is None else (crop.height, crop.width)
    assert kept[0] == size[0] or kept[1] == size[1]
    assert kept[0] <= size[0] and kept[1] <= size[1]
    assert abs(kept[1] - float(shape) * kept[0]) <= max(1, float(shape)) + 1e-6
    assert exact is None or (crop.size if crop else size) == exact


@pytest.mark.parametrize(
    ("place", "left"), [("left", 0), ("centre", 50), ("right", 100), ("top", 50)]
)
def test_a_crop_lies_where_it_is_asked_for(place: str, left: int) -> None:
    crop = crop_of((100, 200), Source(crop="1:1", crop_at=place))
    assert crop is not None and (crop.top, crop.left, crop.width) == (0, left, 100)
    turned = {"left": "top", "right": "bottom", "top": "left"}.get(place, place)
    crop = crop_of((200, 100), Source(crop="1:1", crop_at=turned))
    assert crop is not None and (crop.top, crop.left, crop.height) == (left, 0, 100)


@pytest.mark.parametrize(
    "text", ["9", "9:0", "0:9", "1:51", "9x9", "99999x9", "16:", "a:b", "", "\u0669:16"]
)
def test_what_is_no_crop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="9:16"):
        parse_crop(text)


@pytest.mark.parametrize("bars", ["auto", "0:20:0:20"])
def test_bars_are_those_of_the_cropped_picture(
    dreamreel: Call, scene: np.ndarray, tmp_path: Path, bars: str
) -> None:
    letterbox = np.zeros((120, 160, 3), np.uint8)
    letterbox[20:100] = scene[:80, :160]
    clip = write_clip(tmp_path / "c.mkv", [letterbox] * 3)
    given = ("--crop", "1:2", "--set", f"source.bars={bars}", "--set", "output.codec=ffv1")
    run = dreamreel("video", clip, "-o", tmp_path / "o.mkv", *given, *QUICK)
    assert run.code == 0 and "bars of 0:20:0:20 pixels" in run.err, run.err
    still = dreamreel("video", clip, "--still", 0, "-o", tmp_path / "o.png", *given[:-2], *QUICK)
    assert still.code == 0 and "bars of 0:20:0:20 pixels" in still.err, still.err
    kept = read_clip(clip)[0][:, 50:110].astype(int)
    for dreamed in (read_clip(tmp_path / "o.mkv")[0], cv2.imread(str(tmp_path / "o.png"))):
        changed = np.abs(dreamed.astype(int) - kept).mean((1, 2))
        # Beside the picture, its colours run over: they have half as many lines in the file.
        assert changed[:16].max() < 1 and changed[104:].max() < 1 and changed[20:100].mean() > 2


def test_pixels_that_are_not_square_are_counted_as_seen(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x96:r=5:d=0.4", "-vf", "setsar=2", str(path))
    clip = probe(path, Source(crop="1:1"))
    assert (clip.height, clip.width, clip.pixel_shape) == (96, 48, Fraction(2))
    exact = probe(path, Source(crop="64x64"))
    assert (exact.height, exact.width, exact.pixel_shape) == (64, 64, Fraction(1))


@pytest.mark.parametrize("rate", [None, Fraction(10)])
def test_the_frames_of_a_clip_are_cropped_at_any_rate(
    moving_clip: Path, rate: Fraction | None
) -> None:
    whole = list(read_frames(probe(moving_clip, Source(fps=rate)), 2, 4))
    clip = probe(moving_clip, Source(fps=rate, crop="1:1", crop_at="right"))
    part = list(read_frames(clip, 2, 4))
    assert len(part) == len(whole) == 2
    assert all(np.array_equal(p, w[:, 64:]) for p, w in zip(part, whole, strict=True))


def test_a_cropped_video_is_recorded_made_again_and_measured(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / "o.mp4", tmp_path / "again.mp4"
    crop = ("--crop", "1:1", "--crop-at", "right", "--frames", "0:3")
    run = dreamreel("video", moving_clip, "-o", out, *crop, "--side-by-side", *QUICK)
    assert run.code == 0, run.err
    frame, source = read_clip(out)[0].astype(int), read_clip(moving_clip)[0][:, 64:].astype(int)
    assert frame.shape == (96, 192, 3) and np.abs(frame[:, :96] - source).mean() < 5
    assert dreamreel("reproduce", f"{out}.json", "-o", again).code == 0
    assert again.read_bytes() == out.read_bytes()
    single = tmp_path / "single.mp4"
    assert dreamreel("video", moving_clip, "-o", single, *crop, *QUICK).code == 0
    run = dreamreel("measure", moving_clip, single, "--frames", "0:3", "--json")
    assert run.code == 0 and json.loads(run.out)["frames"] == 3, run.err


def test_stills_are_cropped_alike_with_their_alpha(
    dreamreel: Call, moving_clip: Path, tmp_path: Path, scene: np.ndarray
) -> None:
    alpha = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    Image.fromarray(np.dstack([scene[:100, :200], alpha])).save(tmp_path / "a.png")
    crop = ("--size", "80x80", "--crop-at", "left")
    run = dreamreel("image", tmp_path / "a.png", *crop, *QUICK)
    assert run.code == 0, run.err
    made = np.asarray(Image.open(tmp_path / "a-dream.png"))
    assert made.shape == (80, 80, 4) and made[..., 3].max() < 105
    run = dreamreel("video", moving_clip, "--still", 0, "-o", tmp_path / "s.png", *crop, *QUICK)
    assert run.code == 0 and Image.open(tmp_path / "s.png").size == (80, 80)


def test_batch_files_and_presets_take_crops(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    Image.fromarray(scene[:96, :160]).save(tmp_path / "a.png")
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\nsource = "a.png"\nname = "{stem}-{crop}"\ncrop = ["1:1", "9:16"]\n'
        'set = { "dream.steps" = 1, "dream.octaves" = 1 }\n'
    )
    run = dreamreel("batch", tmp_path / "jobs.toml", "--dry-run")
    assert run.code == 0 and "96x96" in run.out and "54x96" in run.out, run.out + run.err
    (tmp_path / "tall.toml").write_text('[source]\ncrop = "9:16"\n')
    run = dreamreel("image", tmp_path / "a.png", "--preset", tmp_path / "tall.toml", *QUICK)
    assert run.code == 0 and Image.open(tmp_path / "a-dream.png").size == (54, 96)


def test_one_crop_is_taken_not_two(dreamreel: Call, moving_clip: Path) -> None:
    run = dreamreel("video", moving_clip, "--crop", "9:16", "--size", "90x160")
    assert run.code == 2 and "--crop and --size both set source.crop" in run.err
