"""Zooms as files: beginnings, --continue, --reverse, --loop and --to."""

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.errors import Stopped
from dreamreel.pipeline.jobs.paths import record_path, state_path
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.zoom import course
from dreamreel.pipeline.judging.zoom_figures import find_zoom, measure_zoom
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.encoding import CODECS
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.networks.catalog import BUNDLED_WEIGHTS
from making import Run, run_ffmpeg
from rendering import flight, going_on, render_zoom, zoom_job

Call = Callable[..., Run]
QUICK = {"octaves": 1, "steps": 2, "terms": "textures"}
LOSSLESS = {"codec": "ffv1"}
RATE = Fraction(10)


@pytest.fixture
def photo(tmp_path: Path, scene: np.ndarray) -> Path:
    cv2.imwrite(str(tmp_path / "photo.png"), scene[:64, :96])
    return tmp_path / "photo.png"


def chosen(output: dict[str, object] | None = None, **camera: object) -> Settings:
    return build(("test", {"dream": QUICK, "camera": camera, "output": output or {}}))


def frames_of(path: Path) -> list[np.ndarray]:
    return list(read_frames(path))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize(("zoom", "first"), [(1.4, 3), (0.7, 3), (0.8, 0.6)])
def test_a_continued_zoom_equals_a_longer_one(
    photo: Path, tmp_path: Path, zoom: float, first: float
) -> None:
    settings = chosen(LOSSLESS, zoom=zoom, rotation=5.0)
    short, whole = tmp_path / "short.mkv", tmp_path / "whole.mkv"
    render_zoom(photo, short, settings, flight(first, RATE))
    render_zoom(photo, whole, settings, flight(4.5, RATE))
    on = render_zoom(None, tmp_path / "on.mkv", settings, going_on(short, 4.5 - first))
    assert same(frames_of(on), frames_of(whole))
    further = render_zoom(None, tmp_path / "further.mkv", settings, going_on(on, 1))
    assert len(frames_of(further)) == 55 and same(frames_of(further)[:45], frames_of(whole))


def test_a_continuation_may_have_other_settings(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "zoom.mp4"
    render_zoom(photo, out, chosen(zoom=1.5), flight(1, RATE))
    run = dreamreel("zoom", "--continue", out, "--seconds", 1.5, "--set", "camera.zoom=0.5",
                    "--set", "dream.terms=parts")  # fmt: skip
    assert run.code == 0, run.err
    longer = tmp_path / "zoom-longer.mp4"
    assert run.out.splitlines()[-1] == str(longer)
    frames = frames_of(longer)
    assert len(frames) == 25 and probe(longer).rate == RATE
    assert np.abs(frames[9].astype(int) - frames_of(out)[9]).max() == 0
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(frames)]
    assert max(steps[9:]) < 3 * np.median(steps)
    job = read_record(record_path(longer)).job
    assert job.settings.camera.zoom == 0.5 and job.settings.dream.octaves == 1
    at = course(job, None)
    assert at(9).camera.zoom == 1.5 and at(10).camera.zoom == 0.5


def test_a_continued_zoom_is_reproduced_from_its_record(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "zoom.mp4"
    render_zoom(photo, out, chosen(), flight(1, RATE))
    assert dreamreel("zoom", "--continue", out, "--seconds", 1).code == 0
    again = tmp_path / "again.mp4"
    run = dreamreel("reproduce", tmp_path / "zoom-longer.mp4.json", "-o", again)
    assert run.code == 0, run.err
    assert again.read_bytes() == (tmp_path / "zoom-longer.mp4").read_bytes()


def test_a_continuation_can_be_stopped_and_resumed(photo: Path, tmp_path: Path) -> None:
    first, settings = tmp_path / "zoom.mp4", chosen()
    render_zoom(photo, first, settings, flight(1, RATE))
    seen: list[Progress] = []
    stops = Report(on_progress=seen.append, is_stopping=lambda: len(seen) == 4)
    target = tmp_path / "on.mp4"
    with pytest.raises(Stopped):
        render_zoom(None, target, settings, going_on(first, 1), stops)
    render_zoom(None, target, settings, going_on(first, 1))
    whole = tmp_path / "whole.mp4"
    render_zoom(None, whole, settings, going_on(first, 1))
    assert whole.read_bytes() == target.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    {
        "nothing there": (["--continue", "none.mp4"], "no file"),
        "a photo as well": (
            ["photo.png", "--continue", "zoom.mp4"],
            "leave out PHOTO: --continue goes on",
        ),
        "another size": (
            ["--continue", "zoom.mp4", "--size", "64x64"],
            "--size: --continue goes on",
        ),
        "another rate": (["--continue", "zoom.mp4", "--fps", "25"], "--fps: --continue goes on"),
        "a loop of it": (["--continue", "zoom.mp4", "--loop"], "--loop: --continue goes on"),
        "a loop": (["--continue", "loop.mp4"], "goes on by itself"),
        "backwards": (["--continue", "back.mp4"], "in reverse"),
        "no state": (["--continue", "bare.mp4"], "bare.mp4.state"),
        "a damaged state": (["--continue", "torn.mp4"], "no state of a zoom"),
        "no state at all": (["--continue", "text.mp4"], "no state of a zoom"),
        "a record that lacks": (["--continue", "lacks.mp4"], "makes no sense"),
        "another width": (["--continue", "zoom.mp4", "--set", "width=32"], "leave width out"),
        "no rate": (["--continue", "zoom.mp4", "--fps", ""], "--fps: --continue goes on"),
        "another's state": (["--continue", "other.mp4"], "of another film"),
        "no record": (["--continue", "unknown.mp4"], "no record"),
        "another codec": (["--continue", "zoom.mp4", "--codec", "hevc"], "encoded alike"),
        "no film": (["--continue", "zoom.mp4", "-o", "on.gif"], "goes on as a film"),
        "itself": (["--continue", "zoom.mp4", "-o", "zoom.mp4", "--overwrite"], "source itself"),
    }.values(),
)
def test_a_zoom_that_cannot_be_continued_says_why(
    dreamreel: Call,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings, quick = chosen(), flight(0.3, RATE, motion_only=True)
    for name, one in (
        ("zoom", quick),
        ("loop", flight(3, RATE, loop=True, motion_only=True)),
        ("back", flight(0.3, RATE, reverse=True, motion_only=True)),
    ):
        faster = settings if name != "loop" else chosen(zoom=2.5)
        render_zoom(photo, Path(f"{name}.mp4"), faster, one)
    film = Path("zoom.mp4").read_bytes()
    record = Path("zoom.mp4.json").read_text()
    for name in ("bare", "other", "unknown", "torn", "text", "lacks"):
        Path(f"{name}.mp4").write_bytes(film)
        if name != "unknown":
            Path(f"{name}.mp4.json").write_text(record)
    state = Path("zoom.mp4.state").read_bytes()
    Path("torn.mp4.state").write_bytes(state[: len(state) // 2])
    Path("text.mp4.state").write_text("notes")
    Path("lacks.mp4.state").write_bytes(state)
    Path("lacks.mp4.json").write_text(record.replace('"frames"', '"counted"'))
    render_zoom(None, Path("noise.mp4"), settings, flight(0.2, RATE, (64, 96)))
    Path("other.mp4.state").write_bytes(Path("noise.mp4.state").read_bytes())
    run = dreamreel("zoom", *options)
    assert run.code == 2 and words in run.err and run.err.count("\n") == 1


def test_only_a_zoom_that_can_be_continued_keeps_its_state(photo: Path, tmp_path: Path) -> None:
    moves = flight(0.3, RATE, motion_only=True)
    kept = render_zoom(photo, tmp_path / "a.mp4", chosen(), moves)
    assert state_path(kept).exists()
    without = chosen({"keep_state": False})
    again = render_zoom(photo, kept, without, moves, overwrite=True)
    assert not state_path(again).exists()
    gif = render_zoom(photo, tmp_path / "a.gif", chosen(), moves)
    assert not state_path(gif).exists()


def test_a_reversed_zoom_has_the_frames_of_the_forward_one_backwards(
    photo: Path, tmp_path: Path
) -> None:
    settings = chosen(LOSSLESS)
    forward = render_zoom(photo, tmp_path / "a.mkv", settings, flight(1, RATE))
    back = flight(1, RATE, reverse=True)
    backward = render_zoom(photo, tmp_path / "b.mkv", settings, back)
    assert same(frames_of(backward)[::-1], frames_of(forward))


def test_a_reversed_zoom_of_many_segments_is_in_order(photo: Path, tmp_path: Path) -> None:
    settings = chosen(LOSSLESS, zoom=1.1)
    flights = [flight(52, RATE, motion_only=True, reverse=way) for way in (False, True)]
    forward, backward = (
        frames_of(render_zoom(photo, tmp_path / f"{name}.mkv", settings, one))
        for name, one in zip("ab", flights, strict=True)
    )
    assert len(forward) == 520 and same(backward[::-1], forward)


def test_schedules_follow_the_time_shown_even_in_reverse() -> None:
    def settings_of(**how: bool) -> OverTime:
        there = flight(1.1, Fraction(10), (64, 96), **how)
        return course(zoom_job(Path("o.mp4"), chosen(zoom="1 + t/100"), there), None)

    forward, backward = settings_of(), settings_of(reverse=True)
    assert [forward(n).camera.zoom for n in (0, 10)] == [1.0, 1.1]
    assert [backward(n).camera.zoom for n in (0, 10)] == [1.1, 1.0]
    assert settings_of(loop=True)(11).camera.zoom == 1.0


def test_a_zoom_can_begin_with_a_colour(dreamreel: Call, tmp_path: Path) -> None:
    out = tmp_path / "red.mp4"
    run = dreamreel("zoom", "--colour", "#c03020", "-o", out, "--size", "96x64", "--seconds", 0.4,
                    "--fps", 10, "--set", "dream.octaves=1", "--set", "dream.steps=2")  # fmt: skip
    assert run.code == 0, run.err
    blue, green, red = frames_of(out)[0].reshape(-1, 3).mean(0)
    assert abs(red - 0xC0) < 16 and abs(green - 0x30) < 16 and abs(blue - 0x20) < 16
    assert frames_of(out)[-1].std() > 2
    again = tmp_path / "again.mp4"
    assert dreamreel("reproduce", f"{out}.json", "-o", again).code == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--colour", "nocolour"], "nocolour"),
        (["photo.png", "--colour", "red"], "photo.png"),
        (["--loop", "--set", "camera.zoom=0.5", "--seconds", "5"], "camera.zoom=2 --reverse"),
        (["--loop", "--set", "camera.zoom=1"], "camera.zoom=1.24 would do"),
        (["--loop", "--set", "camera.zoom=1.2", "--seconds", "5"], "--seconds 11.5 or"),
        (["--loop", "--set", "camera.zoom=0:(1.1), 100%:(1.3)"], "a faster camera.zoom"),
    ],
)
def test_an_impossible_beginning_or_end_is_explained(
    dreamreel: Call,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = dreamreel("zoom", *options, "-o", "o.mp4", "--size", "96x64")
    assert run.code == 2 and words in run.err and run.err.count("\n") == 1
    assert not Path("o.mp4").exists()


@pytest.mark.parametrize("where", [["--loop"], ["--to", "photo.png"]])
def test_the_advice_on_how_to_arrive_works(
    dreamreel: Call,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--size", "96x64", "--fps", 5, "--motion-only", *where)
    slow = ("--set", "camera.zoom=1.35")
    run = dreamreel("zoom", "-o", "o.mp4", *options, "--seconds", 3, *slow)
    assert run.code == 2
    zoom, seconds = (
        run.err.rpartition(name)[2].split()[0] for name in ("camera.zoom=", "--seconds ")
    )
    run = dreamreel("zoom", "-o", "a.mp4", *options, "--seconds", 3, "--set", f"camera.zoom={zoom}")
    assert run.code == 0, run.err
    run = dreamreel("zoom", "-o", "b.mp4", *options, "--seconds", seconds, *slow)
    assert run.code == 0, run.err


def test_a_default_zoom_speed_is_raised_to_arrive(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    options = (photo, "--size", "96x64", "--fps", 5, "--motion-only", "--loop", "--seconds", 3)
    run = dreamreel("zoom", "-o", tmp_path / "o.mp4", *options)
    assert run.code == 0 and "camera.zoom is 2.01 rather than 1.35" in run.err
    job = json.loads((tmp_path / "o.mp4.json").read_text())["job"]
    assert job["settings"]["camera"]["zoom"] == pytest.approx(8 ** (1 / 3), abs=0.02)
    run = dreamreel("reproduce", tmp_path / "o.mp4.json", "-o", tmp_path / "again.mp4")
    assert run.code == 0, run.err
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "o.mp4").read_bytes()


def test_a_record_holds_how_a_zoom_began_and_was_shown(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    one = flight(0.3, RATE, (64, 96), reverse=True, colour=(1, 2, 3), motion_only=True)
    render_zoom(None, out, chosen(), one)
    job = json.loads(record_path(out).read_text())["job"]
    shown = job["flight"]
    assert shown["reverse"] and shown["colour"] == [1, 2, 3] and shown["frames"] == 3


def test_layers_may_have_a_weight_of_0_for_a_while(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    rests = ("--set", 'dream.terms={textures = "where(t < 3, 0, 1)"}', "--set", "dream.octaves=1")
    out = tmp_path / "rests.mkv"
    run = dreamreel("video", moving_clip, "-o", out, *rests, "--codec", "ffv1")
    assert run.code == 0, run.err
    apart = [
        np.abs(a.astype(int) - b).mean()
        for a, b in zip(frames_of(out), frames_of(moving_clip), strict=True)
    ]
    assert max(apart[:3]) < 1 and apart[11] > 2 * max(apart[:3])
    run = dreamreel("zoom", "-o", tmp_path / "z.mp4", *rests, "--size", "96x64", "--seconds", 0.3)
    assert run.code == 0, run.err
    run = dreamreel("zoom", "-o", tmp_path / "y.mp4", "--set", "dream.terms={textures = 0}")
    assert run.code == 2 and "weight 0" in run.err


def test_a_layer_scheduled_for_later_must_fit_the_tiles(dreamreel: Call, tmp_path: Path) -> None:
    layers = 'dream.terms={textures = 1, objects = "0:(0), 1s:(1)"}'
    run = dreamreel("zoom", "-o", tmp_path / "z.mp4", "--set", layers, "--set", "dream.tile=300")
    assert run.code == 2 and "objects" in run.err and "dream.tile = 300" in run.err


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "h264"), (".webm", "vp9")])
def test_a_zoom_can_be_continued_repeatedly_at_any_rate(
    photo: Path, tmp_path: Path, suffix: str, codec: str
) -> None:
    settings, rate = chosen({"codec": codec}), Fraction(24000, 1001)
    film = tmp_path / f"0{suffix}"
    render_zoom(photo, film, settings, flight(1.3, rate, motion_only=True))
    frames = len(frames_of(film))
    for number in range(1, 4):
        out = tmp_path / f"{number}{suffix}"
        film = render_zoom(None, out, settings, going_on(film, 0.8))
        frames += round(0.8 * rate)
        assert len(frames_of(film)) == frames
        assert float(probe(film).rate) == pytest.approx(float(rate), rel=0.01)


def test_a_continuation_of_an_arrival_begins_at_its_goal(photo: Path, tmp_path: Path) -> None:
    for name, colour in (("blue", (220, 60, 40)), ("green", (40, 200, 40))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 96, 3), colour, np.uint8))
    settings = chosen(LOSSLESS, zoom=8.0)
    there = flight(1.5, RATE, to=tmp_path / "blue.png")
    film = render_zoom(photo, tmp_path / "there.mkv", settings, there)
    on = going_on(film, 1.5, tmp_path / "green.png")
    longer = frames_of(render_zoom(None, tmp_path / "on.mkv", settings, on))
    colours = [frame.reshape(-1, 3).mean(0) for frame in longer]
    assert np.abs(colours[14] - (220, 60, 40)).max() < 12
    assert np.abs(colours[15] - colours[14]).max() < 25
    assert np.abs(colours[-1] - (40, 200, 40)).max() < 12
    middles = [frame[28:36, 40:56].reshape(-1, 3).mean(0) for frame in longer]
    assert middles[24][1] > middles[14][1] + 60


def test_a_zoom_to_music_can_be_moved_and_continued(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    song = tmp_path / "song.wav"
    run_ffmpeg("-f", "lavfi", "-i", "sine=220:duration=2", str(song))
    quick = ("--size", "96x64", "--fps", 10, "--motion-only", "--quiet")
    out = tmp_path / "a.mp4"
    run = dreamreel("zoom", photo, "-o", out, "--audio", song, "--seconds", 0.5, *quick,
                    "--set", "camera.zoom=1.2+0.8*loud")  # fmt: skip
    assert run.code == 0, run.err
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (*tmp_path.glob("a.mp4*"), song):
        path.rename(moved / path.name)
    run = dreamreel(
        "zoom", "--continue", moved / "a.mp4", "--seconds", 0.5, "--set", "camera.zoom=1.1"
    )
    assert run.code == 0, run.err
    longer = moved / "a-longer.mp4"
    assert len(frames_of(longer)) == 10 and probe(longer).has_audio
    assert dreamreel("measure", longer).code == 0


def test_a_foreign_file_in_place_of_the_state_is_kept(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    quick = ("--size", "96x64", "--fps", 10, "--seconds", 0.2, "--motion-only")
    (tmp_path / "a.mp4.state").write_text("mine")
    run = dreamreel("zoom", photo, "-o", tmp_path / "a.mp4", *quick)
    assert run.code == 2 and "a.mp4.state exists" in run.err
    (tmp_path / "a.gif.state").write_text("mine")
    assert dreamreel("zoom", photo, "-o", tmp_path / "a.gif", *quick).code == 0
    (tmp_path / "b.mp4.state").mkdir()
    run = dreamreel("zoom", photo, "-o", tmp_path / "b.mp4", *quick, "--overwrite")
    assert run.code == 2 and "b.mp4.state is a folder" in run.err
    assert (tmp_path / "a.mp4.state").read_text() == "mine"
    assert (tmp_path / "a.gif.state").read_text() == "mine"


def test_a_zoom_continued_by_another_network_is_not_measured(
    dreamreel: Call, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.mp4"
    render_zoom(photo, out, chosen(), flight(0.6, RATE))
    weights = tmp_path / "own.safetensors"
    save_file({name: 1.01 * one for name, one in load_file(BUNDLED_WEIGHTS).items()}, weights)
    run = dreamreel("zoom", "--continue", out, "--seconds", 0.6, "--weights", weights)
    assert run.code == 0, run.err
    run = dreamreel("measure", tmp_path / "a-longer.mp4")
    assert run.code == 2 and "by several networks" in run.err


@pytest.mark.parametrize("colour", ["rgb(300,0,0)", "rgba(255,0,0,0)", f"rgb({10**20},0,0)"])
def test_a_colour_must_be_opaque_and_in_range(dreamreel: Call, tmp_path: Path, colour: str) -> None:
    run = dreamreel("zoom", "--colour", colour, "-o", tmp_path / "o.mp4")
    assert run.code == 2 and "--colour" in run.err and run.err.count("\n") == 1


def test_advice_stays_within_the_bounds_of_settings(dreamreel: Call, tmp_path: Path) -> None:
    run = dreamreel("zoom", "--loop", "--seconds", 0.2, "-o", tmp_path / "o.mp4", "--size", "64x64")
    assert run.code == 2 and "camera.zoom=" not in run.err and "--seconds" in run.err


def test_an_encoded_loop_has_no_seam(photo: Path, tmp_path: Path) -> None:
    def seam(output: dict[str, object]) -> float:
        out = tmp_path / "loop.mp4"
        one = flight(1.5, Fraction(20), loop=True)
        render_zoom(photo, out, chosen(output, zoom=5.0), one, overwrite=True)
        zoom = find_zoom(out)
        found = measure_zoom(zoom, loaded_network(zoom.settings)).seam
        assert found is not None
        return found

    finer = seam({})
    assert finer < 1.5 and finer < 0.7 * seam({"crf": CODECS["h264"].crf})
