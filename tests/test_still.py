"""Stills: a name for each moment, a record to make them again, and a word when they are stopped."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.paths import usual_output
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.animations import moves
from dreamreel.pipeline.media.stills import Picture, load_picture, save_picture
from dreamreel.pipeline.tensors import to_image
from making import Run, write_clip

Call = Callable[..., Run]
QUICK = ("--set", "dream.steps=1", "--set", "dream.octaves=1", "--layers", "textures")


@pytest.fixture
def photo(tmp_path: Path, scene: np.ndarray) -> Path:
    Image.fromarray(scene[:96, :160]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_stills_of_two_moments_have_two_names(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [scene[:96, i : 160 + i] for i in range(12)])
    for moment, name in (("0", "0s"), ("0.25", "0.25s"), ("0:00.3", "0.3s")):
        run = dreamreel("video", clip, "--still", moment, "--quiet", *QUICK)
        assert run.out == f"{tmp_path / f'clip-dream-{name}.png'}\n", run.err


def test_a_still_of_a_folder_of_pictures_is_called_after_it(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.fromarray(scene[:96, :160]).save(tmp_path / "frames" / f"img_{number:04}.png")
    run = dreamreel("video", tmp_path / "frames/img_%04d.png", "--still", 0, "--quiet", *QUICK)
    assert run.code == 0 and run.out.strip() == str(tmp_path / "frames-dream-0s.png"), run.err


def test_a_picture_whose_format_cannot_be_written_becomes_a_png(
    dreamreel: Call, photo: Path
) -> None:
    odd = photo.rename(photo.with_name("photo.picture"))
    run = dreamreel("image", odd, "--quiet", *QUICK)
    assert run.code == 0 and run.out.strip().endswith("photo-dream.png"), run.err


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "avif"])
def test_a_picture_that_moves_is_told(
    dreamreel: Call, photo: Path, tmp_path: Path, ending: str
) -> None:
    frames = [Image.new("RGB", (64, 48), (60 * number, 90, 30)) for number in range(3)]
    moving = tmp_path / f"moving.{ending}"
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / f"still.{ending}")
    assert moves(moving) and not moves(tmp_path / f"still.{ending}") and not moves(photo)
    run = dreamreel("image", moving, "-o", tmp_path / "o.png", *QUICK)
    assert run.code == 0 and "moving" in run.err and "dreamreel video takes all" in run.err


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_still_is_made_again_from_its_record(
    dreamreel: Call, photo: Path, moving_clip: Path, tmp_path: Path, kind: str
) -> None:
    out, again = tmp_path / "o.png", tmp_path / "again.png"
    source = (photo,) if kind == "image" else (moving_clip, "--still", "0.2")
    made = dreamreel(kind, *source, "-o", out, "--seed", 5, "--width", 128, *QUICK)
    assert made.code == 0, made.err
    record = json.loads(Path(f"{out}.json").read_text())
    assert record["job"]["settings"]["seed"] == 5 and record["made"]["frames"] == 1
    run = dreamreel("reproduce", f"{out}.json", "-o", again)
    assert run.code == 0 and "1/1 steps" in run.err, run.err
    assert again.read_bytes() == out.read_bytes()


def test_a_still_replaces_no_file_that_is_not_its_record(dreamreel: Call, photo: Path) -> None:
    notes = photo.with_name("photo-dream.png.json")
    notes.write_text('{"mine": 1}')
    run = dreamreel("image", photo, *QUICK)
    assert run.code == 2 and "is no record of a render" in run.err
    assert notes.read_text() == '{"mine": 1}'
    assert not photo.with_name("photo-dream.png").exists()


def test_a_still_that_is_stopped_says_so_and_leaves_nothing(photo: Path) -> None:
    job = Job(
        kind="still",
        source=NamedFile(path=photo),
        output=photo.with_name("o.png"),
        settings=build(("test", {"dream": {"steps": 3, "octaves": 1}})),
    )
    with pytest.raises(Stopped, match="no picture was written"):
        run(job, Report(is_stopping=lambda: True))
    assert list(photo.parent.iterdir()) == [photo]


def test_a_still_of_a_video_has_the_settings_of_its_moment(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    fading = ("--set", "dream.strength=0:(0), 10:(1), 11:(1)")
    for name, moment, strength in (("a", 0, fading), ("b", 0.35, fading), ("c", 0.35, ())):
        out = tmp_path / f"{name}.png"
        run = dreamreel("video", moving_clip, "--still", moment, "-o", out, *strength, *QUICK)
        assert run.code == 0, run.err
    pixels = {name: np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abc"}
    assert np.array_equal(pixels["b"], pixels["c"])
    assert not np.array_equal(pixels["a"], pixels["b"])


def test_a_missing_folder_of_a_result_is_made_and_paths_are_printed_as_given(
    dreamreel: Call, photo: Path, moving_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    film = ("video", moving_clip, "--frames", "0:1", "--set", "video.frame_steps=0")
    for command, out in (
        (("image", "photo.png"), "new/a/photo.png"),
        (film, "films/b/c.mp4"),
        (film, "pictures/d/%04d.png"),
        (("schedule", "--set", "camera.zoom=1+s", "--plot", "plots/e.png"), None),
    ):
        run = dreamreel(*command, *(("-o", out, *QUICK, "--quiet") if out else ()))
        assert run.code == 0, run.err
        assert run.out.strip() == str(Path(out).parent if "%" in out else out) if out else True
    assert Path("plots/e.png").is_file() and Path("pictures/d/0000.png").is_file()


def test_the_usual_name_of_a_folder_given_as_a_dot_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    named = usual_output(tmp_path / "frames" / "..", "dream", ".mp4")
    assert named.resolve() == tmp_path.parent / f"{tmp_path.name}-dream.mp4"
    assert usual_output(Path("samples"), "dream", ".mp4") == Path("samples-dream.mp4")


def test_one_png_of_a_video_is_said_to_be_animated(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    film = ("video", moving_clip, "--frames", "0:2", "--set", "video.frame_steps=0", *QUICK)
    run = dreamreel(*film, "-o", tmp_path / "y.png")
    assert run.code == 0 and f"one animated PNG; -o {tmp_path}/y/%05d.png" in run.err
    for name in ("y/%05d.png", "y.apng"):
        run = dreamreel(*film, "-o", tmp_path / name)
        assert run.code == 0 and "animated" not in run.err


def test_a_still_of_a_batch_has_its_record_beside_it(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    text = '[[job]]\nsource = "photo.png"\nname = "one"\noctaves = 1\nsteps = 1\n'
    (tmp_path / "jobs.toml").write_text(text)
    run = dreamreel("batch", tmp_path / "jobs.toml", "--quiet")
    out = tmp_path / "renders" / "one.png"
    assert run.code == 0 and out.is_file(), run.err
    again = dreamreel("reproduce", f"{out}.json", "-o", tmp_path / "again.png")
    assert again.code == 0 and (tmp_path / "again.png").read_bytes() == out.read_bytes()
    assert [path.name for path in (out.parent / ".batch" / "made").iterdir()] == ["one.png.json"]


@pytest.mark.parametrize(("ending", "off"), [(".jpg", 1), (".avif", 1.2), (".webp", 3)])
def test_a_written_picture_is_read_again_nearly_as_it_was(
    tmp_path: Path, scene: np.ndarray, ending: str, off: float
) -> None:
    device = torch.device("cpu")
    image = to_image(np.ascontiguousarray(scene[:160, :240]), device)
    path = tmp_path / f"a{ending}"
    save_picture(path, Picture(image), replace=False)
    assert 255 * float((load_picture(path, device).image - image).abs().mean()) < off
