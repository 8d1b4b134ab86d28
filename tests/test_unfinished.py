"""Renders that are stopped and resumed; lost files, full disks, and changed sources."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import filelock
import numpy as np
import pytest

from dreamreel.pipeline.config.fields import Mask, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs import segments
from dreamreel.pipeline.jobs.job import Threads
from dreamreel.pipeline.jobs.paths import STATE, folder_of
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.segments import open_segments
from dreamreel.pipeline.media.clips import frame_times
from dreamreel.pipeline.media.encoding import Encoding, count_frames
from making import start, varying_clip, write_clip
from rendering import flight, render_video, render_zoom

QUICK = {
    "dream": {"octaves": 2, "steps": 2, "terms": "textures"},
    "output": {"save_seconds": 3600.0},
}
Render = Callable[[Path, Settings, Report], Path]


@pytest.fixture
def clip(tmp_path: Path, scene: np.ndarray) -> Path:
    """Two shots of eight frames, with sound; the first has a flash of two frames."""
    there = [scene[20:116, 3 * i : 3 * i + 160] for i in range(8)]
    then = [np.flip(scene[100:196, 2 * i : 2 * i + 160], 0) for i in range(8)]
    frames = [*there[:3], *[np.full_like(there[0], 255)] * 2, *there[5:], *then]
    return write_clip(tmp_path / "clip.mp4", frames, Fraction(25), sound=True)


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SHORTEST", 5)
    monkeypatch.setattr(segments, "LONGEST", 5)


def renders(clip: Path) -> dict[str, Render]:
    return {
        "video": lambda out, settings, report: render_video(clip, out, settings, report=report),
        "span": lambda out, settings, report: render_video(clip, out, settings, (2, 13), report),
        "preview": lambda out, settings, report: render_video(
            clip, out, settings, report=report, kind="preview"
        ),
        "masked preview": lambda out, settings, report: render_video(
            clip, out, with_mask(settings, clip), report=report, kind="preview"
        ),
        "zoom": lambda out, settings, report: render_zoom(
            None, out, settings, flight(0.5, Fraction(25), (96, 160)), report
        ),
    }


def with_mask(settings: Settings, clip: Path) -> Settings:
    """`settings` with a mask that is painted on the first frame of `clip` and carried."""
    mask = np.zeros((96, 160), np.uint8)
    mask[30:70, 50:110] = 255
    cv2.imwrite(str(clip.with_name("mask.png")), mask)
    painted = Mask(file=clip.with_name("mask.png"), carry=True)
    return settings.model_copy(update={"mask": painted})


def stopping_after(frames: int) -> Report:
    """A report that asks to stop once `frames` more frames are made."""
    asked = iter([False] * (frames - 1))
    return Report(is_stopping=lambda: next(asked, True))


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("kind", ["video", "span", "preview", "masked preview", "zoom"])
def test_a_render_stopped_often_equals_an_uninterrupted_one(
    clip: Path, tmp_path: Path, kind: str
) -> None:
    settings, render = build(("test", QUICK)), renders(clip)[kind]
    whole = render(tmp_path / "whole.mp4", settings, Report()).read_bytes()
    for pace in (1, 4, 5, 7):
        out = tmp_path / f"{pace}.mp4"
        stops = 0
        while not out.exists():
            try:
                render(out, settings, stopping_after(pace))
            except Stopped as stopped:
                stops += 1
                assert f"{pace * stops} of" in str(stopped) and "goes on" in str(stopped)
                assert not out.exists()
        assert stops >= 10 // pace
        assert out.read_bytes() == whole
        assert not folder_of(out).exists()


@pytest.mark.usefixtures("short_segments")
def test_joined_segments_hold_all_frames(clip: Path, tmp_path: Path) -> None:
    out = render_video(clip, tmp_path / "o.mp4", build(("test", QUICK)))
    assert count_frames(out) == 16


@pytest.mark.usefixtures("short_segments")
def test_joined_segments_keep_a_variable_rate(tmp_path: Path) -> None:
    source = varying_clip(tmp_path / "a.mp4")
    settings = build(("test", QUICK))
    for first, last in ((0, None), (20, 33)):
        out = tmp_path / f"{first}.mp4"
        render_video(source, out, settings, (first, last))
        due, found = frame_times(source)[first:last], frame_times(out)
        assert [float(time - found[0]) for time in found] == pytest.approx(
            [float(time - due[0]) for time in due], abs=0.001
        )


def test_another_job_is_refused_and_the_frames_so_far_are_kept(clip: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "o.mp4", build(("test", QUICK))
    with pytest.raises(Stopped):
        render_video(clip, out, settings, report=stopping_after(6))
    kept = sorted(path.name for path in folder_of(out).iterdir())
    other = build(("test", QUICK), ("more", {"seed": 7}))
    with pytest.raises(UserError, match=r"seed was 0, and you ask for 7\. Give.*--restart"):
        render_video(clip, out, other)
    with pytest.raises(UserError, match=r"the span of frames was 0:, and you ask for 0:3"):
        render_video(clip, out, settings, (0, 3))
    assert sorted(path.name for path in folder_of(out).iterdir()) == kept
    with pytest.raises(Stopped, match="^stopped; 2 of"):
        render_video(clip, out, other, report=stopping_after(2), restart=True)


def test_a_source_that_changed_is_another_job(
    clip: Path, tmp_path: Path, scene: np.ndarray
) -> None:
    out, settings = tmp_path / "o.mp4", build(("test", QUICK))
    with pytest.raises(Stopped):
        render_video(clip, out, settings, report=stopping_after(2))
    write_clip(clip, [scene[:96, :160]] * 16, Fraction(25))
    with pytest.raises(UserError, match="source"):
        render_video(clip, out, settings)


def test_a_second_render_into_the_same_file_is_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    with pytest.raises(Stopped):
        render_video(clip, out, build(("test", QUICK)), report=stopping_after(2))
    with (
        filelock.FileLock(folder_of(out) / "lock"),
        pytest.raises(UserError, match="being rendered already"),
    ):
        render_video(clip, out, build(("test", QUICK)))
    assert render_video(clip, out, build(("test", QUICK))) == out


@pytest.fixture
def usual() -> Encoding:
    return Encoding((32, 48), Fraction(25), 20, "veryfast")


def test_lost_frames_are_noticed(tmp_path: Path, usual: Encoding) -> None:
    out = tmp_path / "o.mp4"
    with (
        pytest.raises(KeyError),
        open_segments(out, {}, usual, Threads(torch=1, encoder=1)) as work,
    ):
        work.add(np.zeros((32, 48, 3), np.uint8))
        work.save(None)
        raise KeyError
    for path in folder_of(out).glob("*.raw"):
        path.unlink()
    with (
        pytest.raises(UserError, match="has lost frames; --restart"),
        open_segments(out, {}, usual, Threads(torch=1, encoder=1)),
    ):
        pass


def test_work_resumes_from_the_last_save(tmp_path: Path, usual: Encoding) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3), np.uint8)
    out = tmp_path / "o.mp4"
    with (
        pytest.raises(KeyError),
        open_segments(out, {}, usual, Threads(torch=1, encoder=1)) as work,
    ):
        for frame in frames[:2]:
            work.add(frame)
        work.save({"at": 2})
        work.add(frames[2])
        raise KeyError
    with open_segments(out, {}, usual, Threads(torch=2, encoder=2)) as work:
        assert (work.done, work.state) == (2, {"at": 2})
        assert work.threads == Threads(torch=1, encoder=1)  # those that it began with
        work.add(frames[3])
        work.save(None)
        ((segment, _),) = work.segments()
        assert count_frames(segment) == 3


def test_a_frame_of_another_size_is_a_programming_error(tmp_path: Path, usual: Encoding) -> None:
    with (
        pytest.raises(ValueError, match="in a video of"),
        open_segments(tmp_path / "o.mp4", {}, usual, Threads(torch=1, encoder=1)) as work,
    ):
        work.add(np.zeros((48, 32, 3), np.uint8))
    assert not folder_of(tmp_path / "o.mp4").exists()


@pytest.mark.usefixtures("short_segments")
def test_an_ffmpeg_that_is_killed_costs_no_frame(tmp_path: Path) -> None:
    out, large = tmp_path / "o.mp4", Encoding((540, 960), Fraction(25), 5, "slower")
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3), np.uint8)
    with (
        pytest.raises(UserError, match="killed by signal 9; the frames so far are kept"),
        open_segments(out, {}, large, Threads(torch=1, encoder=1)) as work,
    ):
        for _ in range(5):
            work.add(noise)
        work.save(None)
        assert work.encoder is not None
        work.encoder[0].kill()
        work.segments()
    with open_segments(out, {}, large, Threads(torch=1, encoder=1)) as work:
        assert work.done == 5
        ((segment, _),) = work.segments()
        assert count_frames(segment) == 5


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.usefixtures("short_segments")
def test_no_ffmpeg_is_left_running(tmp_path: Path) -> None:
    def children() -> set[str]:
        found = set()
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                if f"PPid:\t{os.getpid()}\n" in text and "ffmpeg" in text:
                    found.add(text)
        return found

    large = Encoding((1080, 1920), Fraction(25), 5, "slower")
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    with (
        pytest.raises(KeyError),
        open_segments(tmp_path / "o.mp4", {}, large, Threads(torch=1, encoder=1)) as work,
    ):
        for _ in range(5):
            work.add(noise)
        work.save(None)
        deadline = time.monotonic() + 10
        while not children():
            assert time.monotonic() < deadline
        raise KeyError
    assert not children()


def test_the_longest_file_names_have_work_folders_of_their_own(tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 251 + ".mp4")
    folder_of(longest).mkdir()
    assert folder_of(longest) != folder_of(tmp_path / ("n" * 250 + "m.mp4"))


OPTIONS = ("--set", "dream.octaves=2", "--set", "dream.steps=2", "--set", "dream.terms=textures",
           "--set", "output.save_seconds=0", "--quiet")  # fmt: skip


@pytest.fixture
def long_clip(tmp_path: Path, scene: np.ndarray) -> Path:
    frames = [scene[:96, i : 160 + i] for i in range(150)]
    return write_clip(tmp_path / "clip.mp4", frames, Fraction(25), sound=True)


def wait_for_work(out: Path, process: "subprocess.Popen[str]") -> None:
    state = folder_of(out) / STATE
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, long_clip: Path, number: int, code: int
) -> None:
    out = tmp_path / "o.mp4"
    process = start("video", long_clip, "-o", out, *OPTIONS)
    wait_for_work(out, process)
    process.send_signal(number)
    said, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert said == "" and err.count("\n") == 1
    assert err.startswith("dreamreel: stopped; ") and "the same command goes on" in err
    assert not out.exists() and folder_of(out).is_dir()


COMMANDS = {
    "video": ("video", "clip.mp4", "-o"),
    "zoom": ("zoom", "--size", "160x96", "--seconds", "4", "-o"),
}


def die(process: "subprocess.Popen[str]") -> None:
    process.kill()


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)


def kill_its_ffmpeg(process: "subprocess.Popen[str]") -> None:
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            text = status.read_text()
            if f"PPid:\t{process.pid}\n" in text and "ffmpeg" in text:
                os.kill(int(status.parent.name), signal.SIGKILL)


@pytest.mark.parametrize(
    ("command", "stop", "times"),
    [
        ("video", die, 2),
        ("zoom", die, 1),
        ("video", interrupt, 1),
        pytest.param("video", die, 20, marks=pytest.mark.slow),
        pytest.param("zoom", die, 20, marks=pytest.mark.slow),
        pytest.param("video", interrupt, 20, marks=pytest.mark.slow),
        pytest.param("video", kill_its_ffmpeg, 20, marks=pytest.mark.slow),
    ],
)
def test_a_render_stopped_at_random_moments_equals_an_uninterrupted_one(
    tmp_path: Path,
    long_clip: Path,
    command: str,
    stop: Callable[["subprocess.Popen[str]"], None],
    times: int,
) -> None:
    assert long_clip.name == "clip.mp4"

    def render(out: Path) -> "subprocess.Popen[str]":
        return start(*COMMANDS[command], out, *OPTIONS, folder=tmp_path)

    whole, out = tmp_path / "whole.mp4", tmp_path / "o.mp4"
    began = time.monotonic()
    assert render(whole).wait(240) == 0
    takes = time.monotonic() - began
    moments = random.Random(times)
    for _ in range(times):
        process = render(out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.2, 1) * takes)
        stop(process)
        process.communicate(timeout=240)
        if out.exists():
            assert out.read_bytes() == whole.read_bytes()
            out.unlink()
    if folder_of(out).exists():
        assert render(out).wait(240) == 0
        assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} - {"silent-clip.mp4"} <= {
        "clip.mp4", "whole.mp4", "whole.mp4.json", "o.mp4", "o.mp4.json",
        *(("whole.mp4.state", "o.mp4.state") if command == "zoom" else ()),
    }  # fmt: skip


def test_a_source_that_changes_during_the_render_stops_it(
    clip: Path, tmp_path: Path, scene: np.ndarray
) -> None:
    settings, before = build(("test", QUICK)), clip.read_bytes()
    whole = render_video(clip, tmp_path / "whole.mp4", settings).read_bytes()
    stat, out = clip.stat(), tmp_path / "o.mp4"
    with pytest.raises(Stopped):
        render_video(clip, out, settings, report=stopping_after(2))
    made = iter(range(100))

    def change(progress: Progress) -> None:
        if next(made) == 3:
            write_clip(clip, [scene[:96, :160]] * 16, Fraction(25))

    with pytest.raises(UserError, match="was changed while it was rendered.*are kept"):
        render_video(clip, out, settings, report=Report(on_progress=change))
    assert not out.exists()
    clip.write_bytes(before)
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert render_video(clip, out, settings).read_bytes() == whole


def test_a_folder_that_vanishes_during_the_render_stops_it(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    out, made = tmp_path / "there" / "o.mp4", iter(range(100))

    def vanish(progress: Progress) -> None:
        if next(made) == 3:
            shutil.rmtree(out.parent)

    with pytest.raises(UserError, match="could not be written"):
        render_video(clip, out, build(("test", QUICK)), report=Report(on_progress=vanish))


def test_no_thread_nor_temporary_file_is_left(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before, settings = set(threading.enumerate()), build(("test", QUICK))
    with pytest.raises(Stopped):
        render_video(clip, tmp_path / "o.mp4", settings, report=stopping_after(3))
    with pytest.raises(UserError):
        render_video(clip, tmp_path / "o.mp4", settings, (0, 2))
    render_video(clip, tmp_path / "o.mp4", settings)
    render_video(clip, tmp_path / "o.gif", settings)
    assert set(threading.enumerate()) == before
    assert not list(temporary.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    if getattr(os, "geteuid", lambda: 1)() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk]).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_stops_the_render_and_loses_nothing(
    tmp_path: Path, long_clip: Path, small_disk: Path
) -> None:
    assert start("video", long_clip, "-o", tmp_path / "whole.mp4", *OPTIONS).wait(120) == 0
    out, filler = small_disk / "o.mp4", small_disk / "filler"
    process = start("video", long_clip, "-o", out, *OPTIONS)
    wait_for_work(out, process)
    room = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(max(0, room - 500_000)))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("dreamreel: ") and err.count("\n") == 1
    assert "No space left" in err and "the same command goes on" in err
    filler.unlink()
    assert start("video", long_clip, "-o", out, *OPTIONS).wait(120) == 0
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in small_disk.iterdir()) == ["o.mp4", "o.mp4.json"]


def test_a_read_only_disk_refuses_the_render_and_loses_nothing(
    tmp_path: Path, long_clip: Path, small_disk: Path
) -> None:
    def mount(how: str) -> None:
        if subprocess.run(["mount", "-o", f"remount,{how}", small_disk]).returncode != 0:
            pytest.skip("the disk is in use, or cannot be remounted")

    def render(out: Path) -> "subprocess.Popen[str]":
        return start("video", long_clip, "-o", out, *OPTIONS)

    assert render(tmp_path / "whole.mp4").wait(120) == 0
    out = small_disk / "o.mp4"
    process = render(out)
    wait_for_work(out, process)
    process.send_signal(signal.SIGINT)  # a file open for writing would prevent `ro`
    process.communicate(timeout=60)
    mount("ro")
    refused = render(out)
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert err.startswith("dreamreel: ") and err.count("\n") == 1 and "Read-only" in err
    mount("rw")
    assert render(out).wait(120) == 0
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_too_little_disk_space_is_refused_at_once(
    tmp_path: Path, long_clip: Path, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 2_000_000))
    process = start("video", long_clip, "-o", small_disk / "o.mp4", *OPTIONS)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("dreamreel: ") and err.count("\n") == 1 and "MB of room" in err
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
