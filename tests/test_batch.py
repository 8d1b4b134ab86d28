"""Batches by real processes: what is done stays, what can be done is done, what cannot says why."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.batch import Options, drive
from dreamreel.pipeline.jobs.job import Job, NamedFile, Shots, Threads
from dreamreel.pipeline.jobs.queue import Claim, Entry, Outcome, Problem, Queue, Task, queue_of
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.jobs.tasks import perform
from making import ROOT, Run, start

Call = Callable[..., Run]
QUICK = 'width = 64\noctaves = 2\nsteps = 2\nlayers = "textures"\n'
# Jobs of which one frame takes a good part of a second.
SLOW = 'source = ["a.mp4", "b.mp4"]\nname = "{stem}"\nwidth = 320\noctaves = 4\nsteps = 10'
# Bytes of address space in which small jobs fit, and one of 16000 pixels does not.
MEMORY = 9_000_000 * 1024


@pytest.fixture
def folder(tmp_path: Path, moving_clip: Path) -> Path:
    """A folder with two clips, one that is damaged beyond reading, and a picture."""
    shutil.copy(moving_clip, tmp_path / "a.mp4")
    shutil.copy(moving_clip, tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(moving_clip.read_bytes()[:900])
    shutil.copy(ROOT / "samples" / "clouds.jpg", tmp_path / "sky.jpg")
    return tmp_path


def write(folder: Path, *jobs: str, defaults: str = QUICK, top: str = "") -> Path:
    """A batch file of those `jobs`."""
    path = folder / "jobs.toml"
    path.write_text(top + f"[defaults]\n{defaults}" + "".join(f"[[job]]\n{job}\n" for job in jobs))
    return path


def outputs(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished results, each with its inode and its time of change: another if it was made
    again."""
    found = {}
    for path in (folder / "renders").glob("*"):
        if path.suffix in (".mp4", ".jpg", ".png") and path.name != "matrix.jpg":
            found[path.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def entries(folder: Path) -> dict[str, Entry]:
    return {entry.name: entry for entry in queue_of(folder / "renders").entries()}


def states(folder: Path) -> dict[str, str]:
    return {name: entry.state for name, entry in entries(folder).items()}


def kill_tree(process: "subprocess.Popen[str]") -> None:
    """Kill a process and all that it has started, at once."""
    with suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(process.pid)]
        tree += tree[0].children(recursive=True)
        for one in tree:
            unless_gone(one.suspend)
        for one in tree:
            unless_gone(one.kill)
    process.wait()


def unless_gone(action: Callable[[], object]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()


def waits_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_everything_that_can_be_done_is_done_and_the_rest_says_why(
    dreamreel: Call, folder: Path
) -> None:
    batch = write(folder, 'source = "*.mp4"\npreset = ["eyes", "garden"]', 'source = "sky.jpg"')
    first = dreamreel("batch", batch)
    assert first.code == 1
    found = states(folder)
    assert found == {
        **{f"{stem}-{look}.mp4": "done" for stem in "ab" for look in ("eyes", "garden")},
        **{f"c-{look}.mp4": "failed" for look in ("eyes", "garden")},
        "sky-default.jpg": "done",
    }
    error = entries(folder)["c-eyes.mp4"].error
    assert error is not None and error.fault == "user" and "c.mp4" in error.message
    assert "c.mp4" in first.out and "5 done, 2 failed" in first.out
    assert (folder / "renders" / "report.html").is_file()
    assert (folder / "renders" / "matrix.jpg").is_file()
    before = outputs(folder)
    again = dreamreel("batch", batch)
    assert again.code == 1 and outputs(folder) == before


def test_a_changed_job_is_done_again_and_no_other(dreamreel: Call, folder: Path) -> None:
    jobs = 'source = ["a.mp4", "b.mp4"]\nname = "{stem}"\nframes = "0:3"'
    assert dreamreel("batch", write(folder, jobs)).code == 0
    before = outputs(folder)
    shutil.copy(folder / "b.mp4", folder / "b2.mp4")
    (folder / "b.mp4").unlink()
    shutil.copy(folder / "b2.mp4", folder / "b.mp4")
    assert dreamreel("batch", write(folder, jobs)).code == 0
    after = outputs(folder)
    assert after["a.mp4"] == before["a.mp4"] and after["b.mp4"] != before["b.mp4"]
    (folder / "renders" / "a.mp4").unlink()
    assert dreamreel("batch", write(folder, jobs)).code == 0
    assert outputs(folder)["b.mp4"] == after["b.mp4"] and "a.mp4" in outputs(folder)


def test_a_job_after_another_has_the_bytes_that_it_has_alone(
    dreamreel: Call, folder: Path, tmp_path: Path
) -> None:
    batch = write(
        folder,
        'source = "sky.jpg"\nset = { "dream.tile" = 280 }\nprecision = "float32"\nwidth = 320',
        'source = "a.mp4"\nstrength = 2\nseed = 5\nname = "first"',
        'source = "b.mp4"\npreset = "eyes"\nname = "second"',
        'kind = "zoom"\nsource = "sky.jpg"\nseconds = 0.2\nname = "third"',
        'source = "sky.jpg"\nname = "fourth"',
    )
    assert dreamreel("batch", batch, "--threads", 1).code == 0
    for name, entry in entries(folder).items():
        alone = tmp_path / f"alone-{name}"
        job = entry.job.model_copy(update={"output": alone, "key": None})
        made = (folder / "renders" / name).read_bytes()
        assert subprocess_render(job, tmp_path).read_bytes() == made, name


def subprocess_render(job: Job, folder: Path) -> Path:
    """Render `job` in a process of its own."""
    from dreamreel.pipeline.app.farm import write_job

    write_job(folder / "alone.json", job)
    process = start("job", folder / "alone.json", folder=folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return Path(out.strip())


def kill_and_finish(folder: Path, times: int, seed: int, *options: object) -> None:
    """Kill a batch of 13 jobs so many times at random moments; then let it end. A source is
    damaged, so that 4 jobs fail, and one job is over its memory."""
    batch = write(
        folder,
        'source = "*.mp4"\nname = "{stem}-{preset}"\n'
        'preset = ["eyes", "garden", "fever", "woodcut"]',
        'source = "sky.jpg"\nwidth = 16000\nname = "huge"\noctaves = 1\nsteps = 1',
        defaults=QUICK.replace("64", "144") + 'set = { "output.save_seconds" = 0 }\n',
    )
    order = random.Random(seed)
    before: dict[str, tuple[int, int]] = {}
    for _ in range(times):
        process = within_memory("batch", batch, "--retry", 1, *options, folder=folder)
        ends = time.monotonic() + order.uniform(3.0, 10.0)
        while time.monotonic() < ends and process.poll() is None:
            time.sleep(0.02)
        kill_tree(process)
        now = outputs(folder)
        assert before.items() <= now.items()  # nothing is rendered twice
        before = now
    process = within_memory("batch", batch, "--retry", 1, *options, folder=folder)
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert before.items() <= outputs(folder).items()
    assert "8 done, 5 failed" in out
    assert {name for name, state in states(folder).items() if state == "failed"} == {
        "huge.jpg",
        *(f"c-{look}.mp4" for look in ("eyes", "garden", "fever", "woodcut")),
    }
    assert not list((folder / "renders").glob("*.unfinished"))


def within_memory(*arguments: object, folder: Path) -> "subprocess.Popen[str]":
    """Start the command line in `folder`, with no more than `MEMORY` for each process."""
    limit = f'ulimit -v {MEMORY // 1024}; exec "$@"'
    command = [sys.executable, "-m", "dreamreel.cli", *map(str, arguments)]
    return subprocess.Popen(
        ["/bin/sh", "-c", limit, "sh", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_batch_that_is_killed_goes_on(folder: Path) -> None:
    kill_and_finish(folder, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_that_is_killed_ten_times_goes_on(folder: Path, workers: int) -> None:
    kill_and_finish(folder, 10, workers, "--workers", workers)


def test_a_killed_worker_costs_its_job_a_try(folder: Path) -> None:
    batch = write(folder, 'source = ["a.mp4", "b.mp4"]')
    process = start("batch", batch, "--workers", 1, folder=folder)
    queue = queue_of(folder / "renders")
    waits_for(lambda: queue.exists() and any_claim(queue), process)
    (worker,) = [
        one
        for one in psutil.Process(process.pid).children()
        if "workers" in " ".join(one.cmdline())
    ]
    worker.kill()
    _, err = process.communicate()
    assert process.returncode == 0
    assert "its worker died by signal 9" in err
    assert set(states(folder).values()) == {"done"}


def any_claim(queue: Queue) -> bool:
    return any(queue.claimed(path.stem) for path in (queue.folder / "claims").glob("*.json"))


def test_a_job_over_its_memory_fails_alone(folder: Path) -> None:
    batch = write(folder, 'source = "sky.jpg"\nwidth = [64, 16000, 80]\noctaves = 1\nsteps = 1')
    process = within_memory("batch", batch, "--retry", 0, folder=folder)
    _, err = process.communicate()
    assert process.returncode == 1, err
    found = entries(folder)
    assert [entry.state for entry in found.values()] == ["done", "failed", "done"]
    error = found["sky-default-16000.jpg"].error
    assert error is not None and error.fault == "passing" and "memory" in error.message


def test_ctrl_c_saves_everything_and_the_same_command_goes_on(
    folder: Path, dreamreel: Call
) -> None:
    batch = write(folder, SLOW)
    process = start("batch", batch, folder=folder)
    waits_for(lambda: frames_done(folder, "a.mp4") >= 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert states(folder) == {"a.mp4": "waiting", "b.mp4": "waiting"}
    assert (folder / "renders" / "a.mp4.unfinished" / "state.safetensors").is_file()
    assert dreamreel("batch", batch, "--status").code == 0
    again = dreamreel("batch", batch)
    assert again.code == 0 and "going on after" in again.err


def test_a_second_ctrl_c_ends_everything_at_once(folder: Path) -> None:
    batch = write(folder, SLOW.replace("octaves = 4", "octaves = 8"))
    process = start("batch", batch, folder=folder)
    waits_for(lambda: any_claim(queue_of(folder / "renders")), process)
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert not alive


def frames_done(folder: Path, name: str) -> int:
    queue = queue_of(folder / "renders")
    if not queue.exists():
        return 0
    step = queue.step(name)
    return 0 if step is None else step.done


def test_a_batch_is_paused_from_another_process(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, SLOW)
    nothing = dreamreel("batch", batch, "--pause")
    assert nothing.code == 2 and "nothing to pause" in nothing.err
    process = start("batch", batch, folder=folder)
    waits_for(lambda: frames_done(folder, "a.mp4") >= 1, process)
    second = dreamreel("batch", batch)
    assert second.code == 2 and "is being rendered already" in second.err
    status = dreamreel("batch", batch, "--status")
    assert "a.mp4" in status.out and "under way" in status.out
    assert dreamreel("batch", batch, "--pause").code == 0
    process.communicate()
    assert process.returncode == 130
    assert dreamreel("batch", batch).code == 0
    assert set(states(folder).values()) == {"done"}


def test_patterns_choose_which_jobs_run_and_which_first(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, 'source = ["a.mp4", "b.mp4", "sky.jpg"]\nname = "{stem}"')
    run = dreamreel("batch", batch, "--only", "sky*", "--json-progress")
    assert run.code == 0
    assert states(folder) == {"a.mp4": "waiting", "b.mp4": "waiting", "sky.jpg": "done"}
    run = dreamreel("batch", batch, "--first", "b*", "--json-progress")
    told = [json.loads(line) for line in run.out.splitlines()]
    assert [one["job"] for one in told if one["event"] == "done"] == ["b.mp4", "a.mp4"]
    assert {one["event"] for one in told} <= {"progress", "notice", "running", "done", "end"}
    progress = [one for one in told if one["event"] == "progress" and one["job"] == "a.mp4"]
    assert all(0 <= one["done"] <= 12 for one in progress)
    assert told[-1] == {"event": "end", "done": 3, "failed": 0, "waiting": 0}
    wrong = dreamreel("batch", batch, "--only", "nothing*")
    assert wrong.code == 2 and "no job is named like" in wrong.err


def test_a_dry_run_writes_nothing(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, 'source = ["a.mp4", "c.mp4"]\npreset = ["eyes", "garden"]')
    before = sorted(folder.rglob("*"))
    run = dreamreel("batch", batch, "--dry-run")
    assert run.code == 1 and sorted(folder.rglob("*")) == before
    assert run.out.count("about") == 4 and "cannot be done" in run.out
    assert "4 jobs, 2 to do" in run.out


def test_a_batch_stops_after_a_time(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, 'source = ["a.mp4", "b.mp4"]\nname = "{stem}"')
    assert dreamreel("batch", batch, "--stop-after", "soon").code == 2
    run = dreamreel("batch", batch, "--stop-after", "1s")
    assert run.code == 130
    assert dreamreel("batch", batch).code == 0


def test_a_picture_that_was_finished_but_not_named_is_not_dreamed_again(
    folder: Path, dreamreel: Call
) -> None:
    batch = write(folder, 'source = "sky.jpg"\nname = "one"')
    assert dreamreel("batch", batch).code == 0
    queue, place = queue_of(folder / "renders"), folder / "renders" / "one.jpg"
    entry = queue.entry("one.jpg")
    before = place.stat().st_ino
    queue.write(entry.but(state="running"))  # killed before its end was noted
    assert perform(queue, Task(do="render", name="one.jpg"), (48, None)).state == "done"
    assert place.stat().st_ino == before
    place.rename(queue.path("made", "one.jpg", ".jpg"))  # killed before it had its name
    queue.write(entry.but(state="running"))
    assert perform(queue, Task(do="render", name="one.jpg"), (48, None)).state == "done"
    assert place.stat().st_ino == before


@pytest.fixture
def queue(folder: Path) -> Queue:
    found = queue_of(folder / "renders")
    found.make(folder / "jobs.toml")
    settings = build(("test", {"width": 64, "dream": {"octaves": 2, "steps": 2}}))
    job = Job(
        kind="video",
        source=NamedFile(path=folder / "a.mp4"),
        output=folder / "renders" / "a.mp4",
        settings=settings,
        threads=Threads(torch=1, encoder=1),
        key="0" * 64,
    )
    found.write(Entry(name="a.mp4", index=1, job=job, frames=12, size=(38, 64)))
    return found


def test_a_task_is_claimed_by_one_at_a_time(queue: Queue) -> None:
    held = queue.claim("a.mp4")
    assert held is not None and queue.claim("a.mp4") is None
    assert perform(queue, Task(do="render", name="a.mp4"), (48, None)).state == "lost"
    held.release()
    again = queue.claim("a.mp4")
    assert again is not None


def test_a_dead_claim_is_taken_over_and_its_holder_notices(queue: Queue) -> None:
    held = queue.claim("a.mp4", lease=0.0)
    assert held is not None
    time.sleep(0.01)
    other = queue.claim("a.mp4")
    assert other is not None
    assert not held.renew() and held.is_lost
    held.release()  # must not give back what is another's
    assert queue.claim("a.mp4") is None


def test_a_claim_of_a_process_that_is_gone_is_dead_at_once(queue: Queue) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    until = time.time() + 100
    claim = {"token": "x", "host": socket.gethostname(), "process": gone.pid, "until": until}
    queue.path("claims", "a.mp4").write_text(json.dumps(claim))
    assert Claim(**claim).is_dead()  # type: ignore[arg-type]
    assert not Claim(**{**claim, "host": "elsewhere"}).is_dead()  # type: ignore[arg-type]
    assert queue.claim("a.mp4") is not None


def test_who_loses_the_claim_stops_and_publishes_nothing(queue: Queue, folder: Path) -> None:
    stolen: list[object] = []

    def steal() -> bool:
        if not stolen and (step := queue.step("a.mp4")) is not None and step.done >= 1:
            queue.path("claims", "a.mp4").unlink()
            stolen.append(queue.claim("a.mp4"))
            time.sleep(0.5)  # until the thread that renews the claim has noticed
        return False

    outcome = perform(queue, Task(do="render", name="a.mp4"), (48, None), steal, lease=0.4)
    assert outcome.state == "lost" and stolen != [None]
    assert not (folder / "renders" / "a.mp4").exists()


def test_who_loses_the_claim_after_the_last_frame_publishes_nothing(
    queue: Queue, folder: Path
) -> None:
    stolen: list[object] = []

    def steal() -> bool:  # after the last frame, long before the claim would be renewed
        if not stolen and (step := queue.step("a.mp4")) is not None and step.done == 12:
            queue.path("claims", "a.mp4").unlink()
            stolen.append(queue.claim("a.mp4"))
        return False

    outcome = perform(queue, Task(do="render", name="a.mp4"), (48, None), steal, lease=1000.0)
    assert stolen and outcome.state == "lost"
    assert not (folder / "renders" / "a.mp4").exists()
    assert not (folder / "renders" / "a.mp4.json").exists()


def test_an_error_of_ours_has_its_traceback_in_the_log(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamreel.pipeline.jobs import tasks

    def broken(*given: object, **named: object) -> Path:
        raise KeyError("a fault")

    monkeypatch.setattr(tasks, "run", broken)
    outcome = perform(queue, Task(do="render", name="a.mp4"), (48, None))
    assert outcome.state == "failed"
    assert outcome.error is not None and outcome.error.fault == "ours"
    log = queue.path("logs", "a.mp4", ".log").read_text()
    assert "Traceback" in log and "KeyError" in log


def test_outcomes_and_entries_survive_their_files(queue: Queue) -> None:
    entry = queue.entry("a.mp4")
    queue.write(entry.but(state="failed", tries=2))
    assert queue.entry("a.mp4") == entry.but(state="failed", tries=2)
    outcome = Outcome(task=Task(do="piece", name="a", piece=3), state="done", frames=9)
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_two_workers_give_the_bytes_of_one(folder: Path, dreamreel: Call) -> None:
    one = write(folder, 'source = ["a.mp4", "b.mp4"]\npreset = "eyes"', top='output = "one"\n')
    assert dreamreel("batch", one, "--threads", 1).code == 0
    two = write(folder, 'source = ["a.mp4", "b.mp4"]\npreset = "eyes"', top='output = "two"\n')
    assert dreamreel("batch", two, "--threads", 1, "--workers", 2).code == 0
    for path in (folder / "one").glob("*.mp4"):
        assert (folder / "two" / path.name).read_bytes() == path.read_bytes()


def test_run_and_perform_are_the_same_render(queue: Queue, tmp_path: Path) -> None:
    job = queue.entry("a.mp4").job
    alone = run(job.model_copy(update={"output": tmp_path / "alone.mp4", "key": None}))
    assert perform(queue, Task(do="render", name="a.mp4"), (48, None)).state == "done"
    assert job.output.read_bytes() == alone.read_bytes()


def test_the_folders_of_results_are_made(folder: Path, dreamreel: Call) -> None:
    batch = write(
        folder,
        'source = "sky.jpg"\noutput = "renders/stills"\nname = "one"',
        'source = "a.mp4"\nname = "films/{stem}"\nframes = "0:2"',
    )
    assert dreamreel("batch", batch).code == 0
    assert (folder / "renders" / "stills" / "one.jpg").is_file()
    assert (folder / "renders" / "films" / "a.mp4").is_file()


def test_nothing_that_the_batch_did_not_make_is_replaced(folder: Path, dreamreel: Call) -> None:
    stills = 'source = "sky.jpg"\nname = "one"'
    (folder / "renders").mkdir()
    (folder / "renders" / "report.html").write_text("mine")
    run = dreamreel("batch", write(folder, stills))
    assert run.code == 2 and "report.html exists" in run.err
    assert (folder / "renders" / "report.html").read_text() == "mine"
    (folder / "renders" / "report.html").unlink()
    assert dreamreel("batch", write(folder, stills)).code == 0
    (folder / "renders" / "one.jpg").write_text("mine")
    run = dreamreel("batch", write(folder, stills + "\nseed = 2"))
    assert run.code == 2 and "is not the file that this batch made" in run.err
    assert (folder / "renders" / "one.jpg").read_text() == "mine"
    assert dreamreel("batch", write(folder, stills + "\nseed = 2"), "--overwrite").code == 0


def test_two_batches_do_not_share_a_folder(folder: Path, dreamreel: Call) -> None:
    first = write(folder, 'source = "sky.jpg"\nname = "one"').rename(folder / "first.toml")
    assert dreamreel("batch", first).code == 0
    before = states(folder)
    other = write(folder, 'source = "sky.jpg"\nname = "two"')
    run = dreamreel("batch", other)
    assert run.code == 2 and "holds the results of" in run.err and "first.toml" in run.err
    assert states(folder) == before


def test_the_output_of_a_folder_is_another_folder(folder: Path, dreamreel: Call) -> None:
    run = dreamreel("batch", folder, "-o", folder)
    assert run.code == 2 and "is the folder of the sources" in run.err
    run = dreamreel("batch", "/", "--dry-run")
    assert run.code == 2 and "no name" in run.err


def test_a_result_that_is_the_users_by_now_is_kept_after_any_number_of_changes(
    folder: Path, dreamreel: Call
) -> None:
    still = 'source = "sky.jpg"\nname = "one"\nseed = '
    for seed in (1, 2):
        assert dreamreel("batch", write(folder, f"{still}{seed}")).code == 0
    (folder / "renders" / "one.jpg").write_text("mine")
    run = dreamreel("batch", write(folder, f"{still}3"))
    assert run.code == 2 and "is not the file that this batch made" in run.err
    assert (folder / "renders" / "one.jpg").read_text() == "mine"


def test_a_log_that_is_a_link_is_not_written_through(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, 'source = "sky.jpg"\nname = "one"')
    assert dreamreel("batch", batch).code == 0
    (folder / "victim").write_text("mine")
    for name in ("one.jpg.log", "worker-1.log"):
        log = folder / "renders" / ".batch" / "logs" / name
        log.unlink(missing_ok=True)
        log.symlink_to(folder / "victim")
    (folder / "renders" / "one.jpg").unlink()
    (folder / "sky.jpg").write_bytes((folder / "sky.jpg").read_bytes()[:5000])
    dreamreel("batch", batch)
    assert (folder / "victim").read_text() == "mine"


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ('source = "sky.jpg"\nname = "matrix.jpg"', "matrix.jpg is the batch's own"),
        ('source = "sky.jpg"\noutput = "renders/.batch/made"', "is the batch's own"),
        ('source = ["a.mp4", "b.mp4"]\noutput = "."\nname = "{stem}"', "is a source of this batch"),
        (
            'source = "a.mp4"\naudio = "b.mp4"\noutput = "."\nname = "b"',
            "is a source of this batch",
        ),
    ],
)
def test_no_job_writes_what_is_the_batchs_or_a_source(
    folder: Path, dreamreel: Call, job: str, words: str
) -> None:
    before = (folder / "b.mp4").read_bytes()
    run = dreamreel("batch", write(folder, job), "--overwrite")
    assert run.code == 2 and words in run.err, run.err
    assert (folder / "b.mp4").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system here")
def test_a_picture_may_go_to_another_file_system(folder: Path, dreamreel: Call) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        job = f'source = "sky.jpg"\noutput = "{other}"\nname = "one"'
        assert dreamreel("batch", write(folder, job)).code == 0
        assert (Path(other) / "one.jpg").stat().st_size > 0


def test_the_frames_of_a_render_by_hand_are_not_discarded(folder: Path, dreamreel: Call) -> None:
    batch = write(folder, SLOW.replace('["a.mp4", "b.mp4"]', '"a.mp4"'))
    (folder / "renders").mkdir()
    process = start("video", "a.mp4", "-o", "renders/a.mp4", "--width", 320, folder=folder)
    work = folder / "renders" / "a.mp4.unfinished"
    waits_for(lambda: any(work.glob("*.raw")), process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert (work / "state.safetensors").is_file()
    assert dreamreel("batch", batch).code == 1
    again = write(folder, SLOW.replace('["a.mp4", "b.mp4"]', '"a.mp4"') + "\nseed = 3")
    assert dreamreel("batch", again).code == 1
    assert (work / "state.safetensors").is_file()


class Scripted:
    """An engine that is given two tasks, and says how each of them ended."""

    def __init__(self, *ends: Outcome) -> None:
        self.workers, self.ends, self.tasks = 2, list(ends), 0

    @property
    def free(self) -> int:
        return 2 - self.tasks

    def start(self, task: Task) -> None:
        self.tasks += 1

    def outcomes(self) -> list[Outcome]:
        found, self.ends = (self.ends, []) if self.tasks == 2 else ([], self.ends)
        return found

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def test_a_job_that_failed_does_not_wait_again_because_its_other_pieces_were_stopped(
    queue: Queue,
) -> None:
    queue.write_shots("a.mp4", Shots(first=0, stop=12, cuts=(6,)))
    first, second = (Task(do="piece", name="a.mp4", piece=number) for number in (0, 1))
    problem = Problem(fault="user", message="no")
    failed = Outcome(task=first, state="failed", error=problem)
    engine = Scripted(failed, Outcome(task=second, state="stopped"))
    options = Options(retry=0, least=2, split_above=0)
    (entry,) = drive(queue, engine, options, lambda: False, lambda *_: None)
    assert entry.state == "failed"
