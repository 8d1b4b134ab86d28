"""The command line as a user calls it: results, and one clear line for each mistake."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dreamreel.pipeline.app.terminal import from_here
from dreamreel.pipeline.config.presets import preset_names
from dreamreel.pipeline.media.clips import probe
from making import ROOT, Run, read_clip, run_ffmpeg, write_clip

Call = Callable[..., Run]
QUICK = (
    "--set",
    "dream.octaves=1",
    "--set",
    "dream.steps=2",
    "--set",
    "dream.terms=textures",
    "--set",
    "video.carry=0.5",
)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if "partial" in path.name]


def test_a_video_keeps_its_frames_rate_and_sound(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dream.mp4"
    run = dreamreel("video", moving_clip, "-o", out, *QUICK, "--set", "dream.strength=2")
    assert run.code == 0, run.err
    assert run.out.splitlines()[-1] == str(out)
    assert "12/12 frames" in run.err
    source, dream = probe(moving_clip), probe(out)
    assert (dream.width, dream.height, dream.frames) == (160, 96, 12)
    assert dream.rate == source.rate == Fraction(30000, 1001)
    assert dream.has_audio
    assert len(read_clip(out)) == 12
    changed = np.abs(read_clip(out)[5].astype(int) - read_clip(moving_clip)[5]).mean()
    assert changed > 3
    assert not leftovers(tmp_path)


def test_without_an_output_name_a_video_goes_beside_its_source(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    shutil.copy(moving_clip, tmp_path / "clip.mp4")
    run = dreamreel("video", tmp_path / "clip.mp4", *QUICK, "--quiet")
    assert (run.code, run.err) == (0, "")
    assert run.out == f"{tmp_path / 'clip-dream.mp4'}\n"


def test_an_odd_size_is_padded_not_scaled(dreamreel: Call, odd_clip: Path, tmp_path: Path) -> None:
    run = dreamreel("video", odd_clip, "-o", tmp_path / "o.mp4", *QUICK)
    assert run.code == 0, run.err
    frames = read_clip(tmp_path / "o.mp4")
    assert len(frames) == 5 and frames[0].shape == (78, 132, 3)
    assert np.abs(frames[2][-1].astype(int) - frames[2][-2]).mean() < 3


def test_a_span_is_half_open_and_clipped_with_a_notice(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    run = dreamreel("video", moving_clip, "-o", tmp_path / "a.mp4", "--frames", "3:7", *QUICK)
    assert run.code == 0 and "note" not in run.err
    assert len(read_clip(tmp_path / "a.mp4")) == 4
    run = dreamreel("video", moving_clip, "-o", tmp_path / "b.mp4", "--frames", "9:99", *QUICK)
    assert run.code == 0
    assert "has 12 frames: dreamed 9:12" in run.err
    assert len(read_clip(tmp_path / "b.mp4")) == 3


def test_a_new_width_keeps_the_aspect_ratio(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    run = dreamreel(
        "video", moving_clip, "-o", tmp_path / "a.mp4", "--width", 120, "--frames", ":2", *QUICK
    )
    assert run.code == 0, run.err
    assert read_clip(tmp_path / "a.mp4")[0].shape == (72, 120, 3)


def test_the_same_command_gives_the_same_pictures(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        dreamreel("video", moving_clip, "-o", tmp_path / f"{name}.mp4", "--frames", ":3", *QUICK)
    one, other = (read_clip(tmp_path / f"{name}.mp4") for name in "ab")
    assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


def test_a_still_is_as_strong_as_the_video_at_its_time(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    run = dreamreel("video", moving_clip, "--still", "0.2", "-o", tmp_path / "a.png", *QUICK)
    assert run.code == 0, run.err
    assert run.out.splitlines()[-1] == str(tmp_path / "a.png")
    still = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))[..., ::-1].astype(int)
    assert still.shape == (96, 160, 3)
    sixth = read_clip(moving_clip)[5].astype(int)
    dreamreel("video", moving_clip, "-o", tmp_path / "a.mp4", *QUICK)
    moving = read_clip(tmp_path / "a.mp4")[5]
    assert 0.7 < np.abs(still - sixth).mean() / np.abs(moving - sixth).mean() < 1.4


def test_a_zoom_can_begin_with_noise(dreamreel: Call, tmp_path: Path) -> None:
    run = dreamreel(
        "zoom", "-o", tmp_path / "z.mp4", "--seconds", 0.5, "--fps", 12, "--size", "128x80", *QUICK
    )
    assert run.code == 0, run.err
    clip = probe(tmp_path / "z.mp4")
    assert (clip.width, clip.height, clip.frames, clip.rate) == (128, 80, 6, 12)


def test_a_zoom_crops_its_photo_to_the_size(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    Image.fromarray(scene).save(tmp_path / "photo.png")
    run = dreamreel(
        "zoom",
        tmp_path / "photo.png",
        "--seconds",
        0.1,
        "--fps",
        "30000/1001",
        "--size",
        "100x100",
        *QUICK,
    )
    assert run.code == 0, run.err
    clip = probe(tmp_path / "photo-zoom.mp4")
    assert (clip.width, clip.height, clip.rate) == (100, 100, Fraction(30000, 1001))


def test_a_picture_keeps_its_alpha_and_stands_upright(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    alpha = np.tile(np.arange(0, 200, dtype=np.uint8), (120, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    stored = Image.fromarray(np.dstack([scene[:120, :200], alpha]))
    stored.save(tmp_path / "a.png", exif=exif)
    run = dreamreel("image", tmp_path / "a.png", *QUICK)
    assert run.code == 0, run.err
    result = Image.open(tmp_path / "a-dream.png")
    assert (result.size, result.mode) == ((120, 200), "RGBA")
    kept = np.asarray(result)[..., 3]
    assert np.array_equal(kept, np.asarray(stored.transpose(Image.Transpose.ROTATE_270))[..., 3])


def test_alpha_that_cannot_be_kept_gives_a_notice(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    Image.fromarray(np.dstack([scene[:96, :160], scene[:96, :160, 0]])).save(tmp_path / "a.png")
    run = dreamreel("image", tmp_path / "a.png", "-o", tmp_path / "b.jpg", "--width", 100, *QUICK)
    assert run.code == 0 and "transparency" in run.err
    assert Image.open(tmp_path / "b.jpg").size == (100, 60)


@pytest.fixture
def bad_files(tmp_path: Path, moving_clip: Path, scene: np.ndarray) -> Path:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("these are words\n" * 50)
    (tmp_path / "folder.mp4").mkdir()
    shutil.copy(moving_clip, tmp_path / "clip.mp4")
    (tmp_path / "there.mp4").write_text("precious")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    Image.fromarray(scene[:96, :160]).save(tmp_path / "photo.png")
    Image.fromarray(scene[:3, :3]).save(tmp_path / "tiny.png")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(tmp_path / "sound.m4a"))
    (tmp_path / "look.toml").write_text("[dream]\nsteps = 3\n")
    (tmp_path / "jobs.toml").write_text('[[job]]\nsource = "clip.mp4"\n')
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"weight": [1.0]}))
    (tmp_path / "films").mkdir()
    shutil.copy(moving_clip, tmp_path / "films" / "clip.mp4")
    return tmp_path


BAD = {
    "missing file": ("video nothing.mp4 -o o.mp4", "there is no file nothing.mp4"),
    "empty file": ("video empty.mp4 -o o.mp4", "empty.mp4 is empty"),
    "text": ("video text.mp4 -o o.mp4", "text.mp4 is a text, not a film"),
    "folder": ("video folder.mp4 -o o.mp4", "folder.mp4 holds no picture; .png"),
    "only sound": ("video sound.m4a -o o.mp4", "sound.m4a is a sound, not a film"),
    "folder of a file": ("video clip.mp4 -o there.mp4/o.mp4", "there.mp4 is a file, not a folder"),
    "read-only folder": ("video clip.mp4 -o /proc/o.mp4", "/proc cannot be written to"),
    "output is a folder": ("video clip.mp4 -o folder.mp4", "folder.mp4 is a folder"),
    "output exists": ("video clip.mp4 -o there.mp4", "there.mp4 exists; --overwrite"),
    "output is input": ("video clip.mp4 -o clip.mp4 --overwrite", "clip.mp4 is the source itself"),
    "output links to input": ("video clip.mp4 -o link.mp4 --overwrite", "is the source itself"),
    "container": ("video clip.mp4 -o o.xyz", "o.xyz ends in .xyz; .mp4"),
    "a folder as result": ("video clip.mp4 -o films", "give a file in it, such as films/"),
    "a folder as picture": ("image photo.png -o films", "give a file in it, such as films/"),
    "past the end": ("video clip.mp4 --still 99 -o o.png", "no frame at 99 s; it ends at "),
    "start past the end": ("video clip.mp4 --start 99 -o o.mp4", "to its end; it ends at "),
    "ends before it starts": (
        "video clip.mp4 --start 0.3 --end 0.1",
        "give an end after the start",
    ),
    "a width with a unit": ("video clip.mp4 --width 64px -o o.mp4", "should be a whole number"),
    "no container": ("video clip.mp4 -o o", "o has no ending; .mp4"),
    "unknown setting": ("video clip.mp4 -o o.mp4 --set dream.octavs=3", "'dream.octaves'"),
    "unknown option": ("video clip.mp4 --outptu o.mp4", "--outptu"),
    "unknown command": ("vide clip.mp4", "vide"),
    "no argument": ("video", "IN"),
    "out of range": ("video clip.mp4 -o o.mp4 --set dream.octaves=0", "greater than or equal to 1"),
    "not a number": ("video clip.mp4 -o o.mp4 --seed one", "whole number"),
    "width": ("video clip.mp4 -o o.mp4 --width 3", "--width: width = 3"),
    "no such device": ("video clip.mp4 -o o.mp4 --device gpu", "unknown device 'gpu'"),
    "unknown preset": ("video clip.mp4 -o o.mp4 --preset creature", "'creatures'"),
    "unknown network": ("video clip.mp4 -o o.mp4 --network dreamnt", "'dreamnet'"),
    "unknown layer": ("video clip.mp4 -o o.mp4 --set dream.terms=part", "'parts'"),
    "no layer left": ("video clip.mp4 -o o.mp4 --set dream.terms={parts=0}", "weight 0"),
    "no weights": ("video clip.mp4 -o o.mp4 --weights no.pth", "there is no file no.pth"),
    "precision": ("video clip.mp4 -o o.mp4 --precision half", "'auto', 'bfloat16' or 'float32'"),
    "span": ("video clip.mp4 -o o.mp4 --frames 5", "--frames '5' is no span"),
    "span backwards": ("video clip.mp4 -o o.mp4 --frames 5:5", "is no span"),
    "span beyond reason": ("video clip.mp4 -o o.mp4 --frames 99999999999999999999:", "is no span"),
    "span past the end": ("video clip.mp4 -o o.mp4 --frames 50:60", "ends before frame 50"),
    "still and span": (
        "video clip.mp4 --still 0 --frames 0:3",
        "leave out --frames: --still makes one picture",
    ),
    "here": ("video .", "holds films"),
    "root": ("image / -o o.png", "/ is a folder"),
    "long name": ("video clip.mp4 -o " + "n" * 300 + ".mp4", "cannot be"),
    "long source": ("video " + "n" * 300 + ".mp4 -o o.mp4", "cannot be used"),
    "name of bytes": ("video n\udcff.mp4 -o o.mp4", "is not UTF-8"),
    "layers of lists": ('video clip.mp4 -o o.mp4 --set dream.terms=[["a"]]', "dream.terms"),
    "no such home": ("video clip.mp4 -o o.mp4 --preset ~nosuch/x.toml", "~nosuch"),
    "no such home for weights": ("video clip.mp4 -o o.mp4 --weights ~nosuch/x.pth", "~nosuch"),
    "endless number": ("video clip.mp4 -o o.mp4 --set seed=" + "9" * 5000, "seed"),
    "fps beyond reason": ("zoom -o o.mp4 --fps 1e99999999", "is no rate"),
    "too wide": ("zoom -o o.mp4 --size 20000x100", "16 to 16384"),
    "dangling link": ("video clip.mp4 -o dangling.mp4", "dangling.mp4 exists"),
    "icon": ("image photo.png -o o.ico", "o.ico ends in .ico"),
    "still past the end": ("video clip.mp4 -o o.png --still 99", "no frame at 99 s"),
    "still time": ("video clip.mp4 -o o.png --still soon", "'soon' is no time"),
    "still as video": ("video clip.mp4 -o o.mp4 --still 0", "o.mp4 ends in .mp4; .png"),
    "seconds": ("zoom -o o.mp4 --seconds 0", "--seconds 0"),
    "fps": ("zoom -o o.mp4 --fps fast", "'fast' is no rate"),
    "fps of nothing": ("zoom -o o.mp4 --fps 1/0", "'1/0' is no rate"),
    "size": ("zoom -o o.mp4 --size big", "'big' is no size"),
    "photo is a video": ("zoom clip.mp4 -o o.mp4", "clip.mp4 is a film, not a picture"),
    "tiny picture": ("image tiny.png -o o.png", "3x3 is too small"),
    "picture name": ("image photo.png -o o.mp4", "o.mp4 ends in .mp4; .png"),
    "picture as a film": ("video photo.png --still 0 -o there.mp4", "there.mp4 ends in .mp4"),
    "film as a picture": ("image clip.mp4", "dreamreel video dreams it, or one frame of it"),
    "sound as a picture": ("image sound.m4a", "a sound, not a picture; dreamreel video and zoom"),
    "folder as a picture": ("image folder.mp4", "a folder, not a picture; dreamreel batch dreams"),
    "look as a film": ("video look.toml", "a preset, not a film; --preset gives its look"),
    "film as a record": ("reproduce clip.mp4", "a film, not a record; dreamreel video dreams it"),
    "picture as a batch": ("batch photo.png", "a picture, not a batch file; dreamreel image"),
    "preset as a batch": ("batch look.toml", "a preset, not a batch file"),
    "batch as a film": ("video jobs.toml", "a batch file, not a film; dreamreel batch renders"),
    "picture as music": ("zoom -o o.mp4 --audio photo.png", "a picture, not a sound"),
    "weights as a picture": ("image w.pth", "--weights takes it, with --network NAME"),
    "sound to zoom on": ("zoom --continue sound.m4a", "a sound, not a film"),
    "film in a folder": ("video films", "dreamreel batch films dreams each of them"),
    "shots of a sound": ("shots sound.m4a", "a sound, not a film"),
    "exists, and a wrong codec": ("video clip.mp4 -o there.mp4 --codec prores", "prores"),
    "exists, and a wrong layer": ("video clip.mp4 -o there.mp4 --layers part", "'parts'"),
    "exists, and two ends": ("zoom photo.png -o there.mp4 --loop --to photo.png", "--loop ends"),
    "exists, and a late start": ("video clip.mp4 -o there.mp4 --frames 50:60", "before frame 50"),
    "exists, and no such music": ("video clip.mp4 -o there.mp4 --audio no.mp3", "no file no.mp3"),
    "layers of nothing": ("layers zzz", "unknown network 'zzz'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gives_one_line_and_writes_nothing(
    dreamreel: Call, bad_files: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(bad_files)
    before = {path: path.lstat().st_mtime_ns for path in bad_files.iterdir()}
    command, words = BAD[case]
    run = dreamreel(*command.split())
    assert run.code == 2
    assert run.out == ""
    assert run.err.startswith("dreamreel: ") and run.err.count("\n") == 1
    assert words in run.err, run.err
    assert {path: path.lstat().st_mtime_ns for path in bad_files.iterdir()} == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_on_a_machine_without_it_is_refused(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    run = dreamreel("video", moving_clip, "-o", tmp_path / "o.mp4", "--device", "cuda")
    assert run.code == 2 and "no device 'cuda' here; available: cpu" in run.err
    assert list(tmp_path.iterdir()) == []


def test_overwrite_replaces_the_output(dreamreel: Call, moving_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "o.mp4").write_text("old")
    run = dreamreel(
        "video", moving_clip, "-o", tmp_path / "o.mp4", "--overwrite", "--frames", ":2", *QUICK
    )
    assert run.code == 0 and probe(tmp_path / "o.mp4").frames == 2


def test_set_wins_over_a_preset_file_and_a_bundled_preset(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    Image.fromarray(scene[:96, :160]).save(tmp_path / "a.png")
    (tmp_path / "mine.toml").write_text("[dream]\nsteps = 1\noctaves = 1\n")
    run = dreamreel(
        "image",
        tmp_path / "a.png",
        "--preset",
        tmp_path / "mine.toml",
        "--preset",
        "eyes",
        "--set",
        "dream.steps=3",
    )
    assert run.code == 0, run.err
    assert "3/3 steps" in run.err


def test_presets_are_listed_and_printed_in_full(dreamreel: Call) -> None:
    listed = dreamreel("presets").out.splitlines()
    assert [line.split()[0] for line in listed[: listed.index("")]] == preset_names()
    printed = dreamreel("presets", "eyes").out
    assert 'terms = { "textures" = 1.0 }' in printed and "octave_scale = 1.3" in printed


def test_layers_are_listed_with_their_fields(dreamreel: Call) -> None:
    lines = dreamreel("layers", "dreamnet").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["stem"] == ["48", "2", "5"]
    assert rows["fire2a"] == ["160", "4", "17"]
    assert rows["parts"][:3] == ["*", "512", "16"]
    assert rows["classes"] == ["1000", "whole", "picture"]


def test_a_span_of_seconds_cuts_pictures_and_sound_alike(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.mp4"
    times = ("--start", "0.1", "--end", "0:00.3")
    assert dreamreel("video", moving_clip, "-o", out, *QUICK, *times).code == 0
    assert probe(out).frames == 6
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(0.2, abs=0.03)


def test_a_truncated_film_is_dreamed_as_far_as_it_goes_or_refused(
    dreamreel: Call, tmp_path: Path, scene: np.ndarray
) -> None:
    whole, part, out = tmp_path / "a.mp4", tmp_path / "part.mp4", tmp_path / "o.mp4"
    source = write_clip(
        tmp_path / "source.mp4", [scene[:96, 2 * i : 160 + 2 * i] for i in range(60)]
    )
    run_ffmpeg("-i", str(source), "-c", "copy", "-movflags", "+faststart", str(whole))
    part.write_bytes(whole.read_bytes()[: int(0.9 * whole.stat().st_size)])
    refused = dreamreel("video", part, "-o", out, *QUICK, "--strict")
    assert refused.code == 2 and "part.mp4 is damaged (" in refused.err
    assert sorted(tmp_path.iterdir()) == sorted([source, whole, part])
    run = dreamreel("video", part, "-o", out, *QUICK)
    assert run.code == 0 and "promises 60 frames; " in run.err
    assert 10 < (probe(out).frames or 0) < 60
    assert dreamreel("video", whole, "-o", tmp_path / "o2.mp4", *QUICK, "--strict").code == 0


def test_sound_can_be_left_out(dreamreel: Call, moving_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    assert dreamreel("video", moving_clip, "-o", out, *QUICK, "--no-audio").code == 0
    assert not probe(out).has_audio


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--start", "1", "--frames", "0:3"), "give one or the other"),
        (("--start", "soon"), "--start 'soon' is no time"),
        (("--start", "9"), "no frame from 9 s to its end"),
        (("--still", "0", "--end", "1"), "leave out --end: --still makes one picture"),
    ],
)
def test_invalid_spans_are_refused(
    dreamreel: Call, moving_clip: Path, arguments: tuple[str, ...], told: str
) -> None:
    run = dreamreel("video", moving_clip, *arguments)
    assert run.code == 2 and told in run.err and run.err.count("\n") == 1


def test_networks_are_listed(dreamreel: Call) -> None:
    names = [line.split()[0] for line in dreamreel("networks").out.splitlines()]
    assert names[:2] == ["dreamnet", "bvlc_googlenet"] and "resnet50" in names


def test_help_does_not_import_torch() -> None:
    code = "import sys; from dreamreel import cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dreamreel.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "cv2", "numpy", "pydantic"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }


def test_a_missing_libgl_gives_one_line_with_the_remedy(tmp_path: Path, moving_clip: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dreamreel.cli",
            "video",
            str(moving_clip),
            "-o",
            str(tmp_path / "o.mp4"),
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1  # the machine's fault, not the user's
    assert done.stderr.count("\n") == 1
    assert "libGL.so.1" in done.stderr and "apt install libgl1" in done.stderr


def test_the_samples_are_as_readme_describes_them() -> None:
    clip = probe(ROOT / "samples" / "clouds.mp4")
    assert (clip.width, clip.height, clip.rate, clip.has_audio) == (
        640,
        360,
        Fraction(30000, 1001),
        True,
    )
    assert clip.frames == round(6 * clip.rate)
    with av.open(str(ROOT / "samples" / "clouds.mp4")) as container:
        audio = container.streams.audio[0].codec_context
        assert (audio.name, audio.channels) == ("aac", 2)
    small = probe(ROOT / "samples" / "small.mp4")
    assert small.width % 2 == small.height % 2 == 1


def test_paths_in_the_working_folder_are_told_from_there(
    dreamreel: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = tmp_path / "a b", tmp_path / "a b c.toml"
    here.mkdir()
    monkeypatch.chdir(here)
    for path in (here / "look.toml", beside):
        path.write_text("[dream]\nstpes = 3\n")
    for given, told in (
        ("look.toml", "look.toml"),
        (here / "look.toml", "look.toml"),
        (beside, beside),
    ):
        run = dreamreel("presets", "check", given)
        assert run.code == 2 and run.err.startswith(f"dreamreel: {told}, line 2: "), run.err
    for text in (f"{here}", f"/x{here}/y", f"{here}/"):
        assert from_here(text) == text
