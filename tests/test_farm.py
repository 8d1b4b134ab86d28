"""`dreamreel job`: a job file is rendered whole or in pieces, and its exit code says what to do."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from dreamreel.pipeline.app.batchfile import entries_of, read_batch
from dreamreel.pipeline.app.farm import read_job, write_job
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.job import Job, NamedFile, Threads
from dreamreel.pipeline.jobs.paths import folder_of
from dreamreel.pipeline.jobs.queue import Entry, queue_of
from dreamreel.pipeline.jobs.run import run
from making import ROOT, Run, start, write_clip

Call = Callable[..., Run]
CLUSTER = ROOT / "samples" / "cluster"
QUICK = {"octaves": 2, "steps": 2, "terms": "textures"}
# One frame takes a good part of a tenth of a second.
SLOW = {"octaves": 4, "steps": 10, "terms": "textures"}
SHOT, SHOTS = 50, 3  # frames of each shot, one piece each, and how many there are


@pytest.fixture(scope="module")
def shots_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """A clip of three shots of 50 frames, with sound."""
    frames = []
    for shot in range(SHOTS):
        picture = np.roll(scene if shot % 2 else 255 - scene, 40 * shot, 0)
        frames += [picture[20:116, 3 * i : 3 * i + 160] for i in range(SHOT)]
    folder = tmp_path_factory.mktemp("shots")
    return write_clip(folder / "shots.mp4", frames, Fraction(25), sound=True)


@pytest.fixture(scope="module")
def whole(shots_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dream of the whole clip."""
    return run(job_of(shots_clip, tmp_path_factory.mktemp("whole") / "whole.mp4"))


@pytest.fixture
def file(shots_clip: Path, tmp_path: Path) -> Path:
    """The job file of the whole clip, whose output is `out.mp4` beside it."""
    return written(job_of(shots_clip, tmp_path / "out.mp4"))


def job_of(source: Path, out: Path, dream: dict[str, Any] = QUICK, **changes: Any) -> Job:
    settings = build(("test", {"width": 64, "dream": dream}))
    about = {"threads": Threads(torch=1, encoder=1), **changes}
    return Job(kind="video", source=NamedFile(path=source), output=out, settings=settings, **about)


def written(job: Job) -> Path:
    path = job.output.with_name("job.json")
    write_job(path, job)
    return path


def told(run: Run) -> list[dict[str, Any]]:
    """The objects that a command printed, one a line."""
    return [json.loads(line) for line in run.out.splitlines()]


def documented() -> dict[str, set[str]]:
    """The fields of each event, as the page about clusters lists them."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (CLUSTER / "README.md").read_text(), re.M)
    return {event: {"event", *re.findall(r"`(\w+)`", fields)} for event, fields in rows}


def test_each_kind_of_job_file_gives_the_same_film(
    file: Path, whole: Path, dreamreel: Call, tmp_path: Path
) -> None:
    job = read_job(file)
    queue = queue_of(tmp_path / "renders")
    queue.make(Path("jobs.toml"))
    queued = job.model_copy(update={"output": tmp_path / "renders" / "queued.mp4"})
    queue.write(Entry(name="queued.mp4", index=1, job=queued))
    record = tmp_path / "again" / f"{whole.name}.json"
    record.parent.mkdir()
    record.write_bytes(whole.with_name(record.name).read_bytes())
    for given in (file, queue.path("jobs", "queued.mp4"), record):
        done = dreamreel("job", given)
        assert done.code == 0, done.err
        assert Path(done.out.strip()).read_bytes() == whole.read_bytes(), given
    assert (record.parent / whole.name).is_file()  # beside its record, not where it was


def test_pieces_in_any_order_give_the_bytes_of_the_whole(
    file: Path, whole: Path, dreamreel: Call
) -> None:
    shots = dreamreel("job", file, "--shots", "--json-progress")
    assert told(shots)[-1] == {"event": "done", "pieces": SHOTS, "cuts": [SHOT, 2 * SHOT]}
    for piece in (2, 0, 1):
        done = dreamreel("job", file, "--piece", piece, "--json-progress")
        span = [SHOT * piece, SHOT * (piece + 1)]
        assert told(done)[-1] == {"event": "done", "piece": piece, "frames": span}
    joined = dreamreel("job", file, "--join")
    assert joined.code == 0 and Path(joined.out.strip()).read_bytes() == whole.read_bytes()
    left = {path.name for path in file.parent.iterdir()}
    assert left == {"job.json", "out.mp4", "out.mp4.json"}


def test_shots_that_are_known_are_not_found_again(file: Path, dreamreel: Call) -> None:
    first = told(dreamreel("job", file, "--shots", "--json-progress"))
    again = told(dreamreel("job", file, "--shots", "--json-progress"))
    assert len(first) > 1 and again == first[-1:]


def test_pieces_of_a_job_that_was_changed_are_not_joined(
    file: Path, shots_clip: Path, dreamreel: Call, tmp_path: Path
) -> None:
    """Pieces were known by their frames alone: the film had two looks."""
    dreamreel("job", file, "--shots")
    dreamreel("job", file, "--piece", 0)
    changed = job_of(shots_clip, read_job(file).output, {**QUICK, "strength": 2.0})
    write_job(file, changed)
    for options in (("--piece", 1), ("--join",)):
        refused = dreamreel("job", file, *options)
        assert refused.code == 2 and "was changed since its shots were found" in refused.err
    assert dreamreel("job", file, "--shots").code == 0
    for piece in range(SHOTS):
        assert dreamreel("job", file, "--piece", piece).code == 0
    joined = Path(dreamreel("job", file, "--join").out.strip())
    alone = run(changed.model_copy(update={"output": tmp_path / "alone.mp4"}))
    assert joined.read_bytes() == alone.read_bytes()


def test_a_machine_with_another_version_renders_no_piece(file: Path, dreamreel: Call) -> None:
    assert dreamreel("job", file, "--shots").code == 0
    path = file.with_name("out.mp4.shots.json")
    found = json.loads(path.read_text())
    found["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(found))
    refused = dreamreel("job", file, "--piece", 0)
    assert refused.code == 2 and "found with torch 1.0" in refused.err


def test_a_finished_piece_is_rendered_again_only_with_restart(file: Path, dreamreel: Call) -> None:
    dreamreel("job", file, "--shots")
    counts = []
    for options in ((), (), ("--restart",)):
        lines = told(dreamreel("job", file, "--piece", 1, "--json-progress", *options))
        counts.append(sum(line["event"] == "progress" for line in lines))
    assert counts[0] > 0 and counts[1] == 0 and counts[2] > 0


WRONG: dict[str, tuple[Callable[[str], str], tuple[object, ...], str]] = {
    "broken": (lambda text: text[:99], (), "is no job file"),
    "another": (lambda text: '["a"]', (), "is no job file"),
    "unknown": (lambda text: '{"bogus": 1,' + text[1:], (), "bogus: Extra inputs"),
    "setting": (
        lambda text: text.replace('"octaves"', '"octavs"', 1),
        (),
        "did you mean 'dream.octaves'",
    ),
    "kind": (lambda text: text.replace('"video"', '"preview"', 1), ("--shots",), "only a video"),
    "piece": (lambda text: text, ("--piece", 3), "there are pieces 0 to 2"),
    "below": (lambda text: text, ("--piece", -1), "there are pieces 0 to 2"),
    "join": (lambda text: text, ("--join",), "3 of 3 pieces"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_of_the_users_is_a_line_and_code_2(
    name: str, file: Path, dreamreel: Call
) -> None:
    change, options, why = WRONG[name]
    assert dreamreel("job", file, "--shots").code == 0
    file.write_text(change(file.read_text()))
    failed = dreamreel("job", file, *options, "--json-progress")
    assert failed.code == 2 and why in failed.err and failed.err.count("\n") == 1
    (line,) = told(failed)
    assert (line["event"], line["fault"]) == ("failed", "user") and why in line["error"]


def test_what_was_not_made_first_is_named(file: Path, dreamreel: Call) -> None:
    gone = dreamreel("job", file.with_name("nothing.json"), "--json-progress")
    assert gone.code == 2 and "there is no file" in gone.err and told(gone)[0]["fault"] == "user"
    for options in (("--piece", 0), ("--join",)):
        early = dreamreel("job", file, *options)
        assert early.code == 2 and "give --shots first" in early.err
    both = dreamreel("job", file, "--shots", "--join")
    assert both.code == 2 and "give one of" in both.err


def test_a_fault_of_ours_is_code_1_and_told(
    file: Path, dreamreel: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dreamreel.pipeline.app import farm

    def broken(*given: object, **named: object) -> Path:
        raise KeyError("a fault")

    monkeypatch.setattr(farm, "run", broken)
    with pytest.raises(KeyError):  # Python ends with code 1, and with a traceback
        dreamreel("job", file, "--json-progress")
    line = json.loads(capfd.readouterr().out)
    assert line == {"event": "failed", "fault": "ours", "error": "KeyError: 'a fault'"}


def slow_file(source: Path, folder: Path) -> Path:
    folder.mkdir()
    job = job_of(source, folder / "out.mp4", SLOW, span=(0, 40))
    return written(job)


def begun(file: Path, *options: object) -> "tuple[subprocess.Popen[str], IO[str]]":
    """A process that has rendered a frame, and what it prints from then on."""
    process = start("job", file, "--json-progress", *options)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "progress"
    return process, process.stdout


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_goes_on_to_equal_bytes(
    shots_clip: Path, tmp_path: Path, dreamreel: Call, signal_: signal.Signals
) -> None:
    alone = dreamreel("job", slow_file(shots_clip, tmp_path / "alone"))
    file = slow_file(shots_clip, tmp_path / "stopped")
    process, lines = begun(file)
    process.send_signal(signal_)
    *_, last = [json.loads(line) for line in lines]
    process.communicate()
    assert process.returncode == 130
    assert last["event"] == "stopped" and "the same command goes on" in last["line"]
    again = dreamreel("job", file, "--json-progress")
    assert again.code == 0
    first, *_ = told(again)
    assert first["event"] == "notice" and "going on after" in first["line"]
    made = Path(told(again)[-1]["output"]).read_bytes()
    assert made == Path(alone.out.strip()).read_bytes()


def test_a_film_that_another_process_renders_may_be_tried_later(
    shots_clip: Path, tmp_path: Path, dreamreel: Call
) -> None:
    file = slow_file(shots_clip, tmp_path / "twice")
    process, _ = begun(file)
    second = dreamreel("job", file, "--json-progress")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert second.code == 1
    assert told(second)[-1]["fault"] == "passing"
    assert "is being rendered already" in told(second)[-1]["error"]
    third = dreamreel("job", file)
    assert third.code == 0 and not folder_of(Path(third.out.strip())).exists()


def test_the_page_lists_the_events_of_jobs_and_batches(
    file: Path, shots_clip: Path, dreamreel: Call, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(shots_clip.read_bytes()[:900])
    batch = tmp_path / "jobs.toml"
    batch.write_text(
        '[defaults]\nwidth = 64\noctaves = 1\nsteps = 1\nframes = "0:3"\n'
        f'[[job]]\nsource = ["{shots_clip}", "broken.mp4"]\nname = "{{stem}}"\n'
    )
    (tmp_path / "rendered").mkdir()
    runs = [
        dreamreel("job", file, "--shots", "--json-progress"),
        dreamreel("job", file, "--piece", 0, "--json-progress"),
        dreamreel("job", file, "--join", "--json-progress"),
        dreamreel("job", file, "--json-progress"),
        dreamreel("job", file, "--json-progress"),
        dreamreel("batch", batch, "--json-progress"),
        dreamreel("batch", batch, "--status", "--json-progress"),
    ]
    assert [run.code for run in runs] == [0, 0, 2, 0, 2, 1, 1]
    fields = documented()
    lines = [line for run in runs for line in told(run)]
    assert {"progress", "done", "failed", "end", "running"} <= {line["event"] for line in lines}
    for line in lines:
        assert line.keys() <= fields[line["event"]], line


def test_the_batch_file_on_the_page_is_one(shots_clip: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (CLUSTER / "README.md").read_text(), re.S)
    (tmp_path / "clips").mkdir()
    for name in ("clips/one.mp4", "clips/two.mp4"):
        (tmp_path / name).write_bytes(shots_clip.read_bytes())
    (tmp_path / "photo.jpg").write_bytes((ROOT / "samples" / "clouds.jpg").read_bytes())
    (tmp_path / "song.m4a").write_bytes((ROOT / "samples" / "beat.m4a").read_bytes())
    (tmp_path / "jobs.toml").write_text(text)
    entries = entries_of(read_batch(tmp_path / "jobs.toml"))
    assert len(entries) > 5
    assert {entry.job.kind for entry in entries} == {"video", "zoom", "still"}


@pytest.fixture
def openjd(tmp_path: Path) -> Call:
    """A function that runs `openjd` with the template: (what to do, *options) -> Run."""
    pytest.importorskip("openjd.cli", reason="pip install openjd-cli")
    command = tmp_path / "dreamreel"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dreamreel.cli "$@"\n')
    command.chmod(0o755)

    def call(do: str, *options: str) -> Run:
        given = [f"Dreamreel={command}", f"Python={sys.executable}", *options]
        more = [one for option in given for one in ("-p", option)] if do == "run" else []
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("openjd")),
                do,
                str(CLUSTER / "openjd.yaml"),
                *more,
            ],
            capture_output=True,
            text=True,
        )
        return Run(ended.returncode, ended.stdout, ended.stderr)

    return call


def test_the_template_is_one(openjd: Call) -> None:
    checked = openjd("check")
    assert checked.code == 0, checked.out + checked.err


def test_the_template_renders_the_whole_in_pieces(openjd: Call, file: Path, whole: Path) -> None:
    done = openjd("run", f"JobFile={file}", f"Pieces={SHOTS}")
    assert done.code == 0, done.out + done.err
    assert file.with_name("out.mp4").read_bytes() == whole.read_bytes()
    shares = [float(one) for one in re.findall(r"openjd_progress: ([\d.]+)", done.out)]
    assert shares.count(100.0) >= SHOTS + 2 and all(0 < share <= 100 for share in shares)


def test_the_template_with_a_wrong_number_of_pieces_says_the_right_one(
    openjd: Call, file: Path
) -> None:
    wrong = openjd("run", f"JobFile={file}", f"Pieces={SHOTS + 1}")
    assert wrong.code != 0
    assert f"openjd_fail: there are {SHOTS} pieces: give Pieces={SHOTS}" in wrong.out
    assert "exited with code: 2 " in wrong.out and "--piece" not in wrong.out


def test_a_file_of_somebody_elses_in_the_place_of_the_shots_is_kept(
    dreamreel: Call, tmp_path: Path, moving_clip: Path
) -> None:
    shutil.copy(moving_clip, tmp_path / "a.mp4")
    job = Job(
        kind="video",
        source=NamedFile(path=tmp_path / "a.mp4"),
        output=tmp_path / "o.mp4",
        settings=build(("test", {"width": 64})),
    )
    write_job(tmp_path / "job.json", job)
    (tmp_path / "o.mp4.shots.json").write_text("mine")
    run = dreamreel("job", tmp_path / "job.json", "--shots")
    assert run.code == 2 and "o.mp4.shots.json exists and is no list of shots" in run.err
    assert (tmp_path / "o.mp4.shots.json").read_text() == "mine"
