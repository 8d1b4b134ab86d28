"""What cannot be shown stops nothing: closed and full streams, readers that leave, terminals."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamreel.pipeline.app.terminal import printable
from dreamreel.pipeline.errors import LONGEST
from making import Run, start, write_clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")

DREAM = [sys.executable, "-m", "dreamreel.cli"]
QUICK = ("--set", "dream.octaves=1", "--set", "dream.steps=1", "--set", "dream.terms=textures")
IMAGE = ("image", "p.png", "-o", "o.png", *QUICK)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> Path:
    """The working folder, with the picture `p.png`."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene[:48, :64]).save("p.png")
    return tmp_path


def shell(line: str) -> Run:
    """The run of `line` by bash, in which the word DREAM stands for our command."""
    line = line.replace("DREAM ", f"{' '.join(DREAM)} ")
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    return Run(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    "streams",
    ["2>/dev/full", "2> >(true)", "<&- >&- 2>&-", "> >(true)"],
)
def test_a_stream_that_cannot_be_written_stops_no_dream(here: Path, streams: str) -> None:
    run = shell(f"DREAM {' '.join(IMAGE)} {streams}")
    assert run.code == 0 and (here / "o.png").exists(), run
    assert "Traceback" not in run.err and "Exception" not in run.err


@pytest.mark.parametrize("more", ["", "--json-progress"])
def test_a_path_that_cannot_be_printed_is_told_and_the_result_kept(here: Path, more: str) -> None:
    run = shell(f"DREAM {' '.join(IMAGE)} --quiet {more} >/dev/full")
    assert run.code == 1 and (here / "o.png").exists()
    assert run.err.count("\n") == 1 and "standard output cannot be written (No space" in run.err


@pytest.mark.parametrize("command", ["presets", "presets default", "networks", "--help"])
def test_a_listing_whose_reader_leaves_ends_without_a_word(here: Path, command: str) -> None:
    run = shell(f"DREAM {command} | head -n 1; exit ${{PIPESTATUS[0]}}")
    assert run.code == 0 and run.out.count("\n") == 1 and run.err == "", run
    run = shell(f"DREAM {command} > >(true)")
    assert run.code == 0 and run.err == "", run


def test_files_never_get_the_numbers_of_closed_streams(here: Path) -> None:
    told = here / "told"
    code = (
        "import os, sys; sys.argv = ['dreamreel', 'networks']\n"
        "from dreamreel.pipeline.app import entry\n"
        f"entry._run = lambda app: open({str(told)!r}, 'w').write(str(os.open('p.png', 0))) and 0\n"
        "from dreamreel.cli import main; main()"
    )
    shell(f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-")
    assert int(told.read_text()) > 2


@pytest.mark.parametrize("variables", ["PYTHONIOENCODING=ascii", "LC_ALL=C", "PYTHONUTF8=1"])
def test_names_are_printed_whatever_the_encoding(here: Path, variables: str) -> None:
    run = shell(f"{variables} DREAMREEL_PRESETS={here}/ö DREAM presets new calm")
    ways = {f"{here}/{folder}/calm.toml\n" for folder in ("ö", "\\xf6")}
    assert run.code == 0 and run.err == "" and run.out in ways, run
    assert (here / "ö" / "calm.toml").exists()


def test_a_deleted_working_folder_gives_one_line(here: Path) -> None:
    run = shell("mkdir gone && cd gone && rmdir ../gone && DREAM zoom --seconds 0.1")
    assert run.code == 2 and run.out == "" and run.err.count("\n") == 1
    assert "the working folder is gone" in run.err


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited on Linux")
@pytest.mark.parametrize("mebibytes", [400, 700, 1500])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_too_little_memory_gives_one_line(here: Path, mebibytes: int, threads: int) -> None:
    limits = f"export OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads}"
    run = shell(f"{limits}; ulimit -v {mebibytes << 10}; DREAM {' '.join(IMAGE)}")
    assert run.code == 1 and run.out == "" and run.err.count("\n") == 1, run
    assert "there is not enough memory" in run.err


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_machine_without_proc_gives_one_line(here: Path) -> None:
    if shell("unshare -m mount -t tmpfs none /proc").code:
        pytest.skip("no file system may be mounted here")
    run = shell(f"unshare -m bash -c 'mount -t tmpfs none /proc && DREAM {' '.join(IMAGE)}'")
    # torch has printed a line of its own before.
    assert "Traceback" not in run.err and run.err.count("\n") <= 2, run
    assert run.code == 0 or "/proc, which must be mounted" in run.err, run


# What a terminal would obey.

BELL = "a\x1b]0;title\x07\x9b31m\r\u202eb\u2028c\ud800.png"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    shown = printable(BELL)
    assert shown == "a\\x1b]0;title\\x07\\x9b31m\\r\\u202eb\\u2028c\\ud800.png"
    assert printable("Grüße 日本 👩\u200d🚀 e\u0301") == "Grüße 日本 👩\u200d🚀 e\u0301"
    long = printable("x" * 10**6 + "; the advice")
    assert len(long) < 1.1 * LONGEST and long.endswith("; the advice")


def on_a_terminal(command: list[str]) -> str:
    """What `command` prints where its standard output and error are one terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its)
    os.close(its)
    told = b""
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # all have left the terminal
            break
        if not more:
            break
        told += more
    process.wait()
    os.close(ours)
    return told.decode(errors="backslashreplace")


def test_names_reach_a_terminal_escaped_and_a_pipe_as_they_are(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMREEL_PRESETS", f"{here}/a\x1b[31mb")
    command = [*DREAM, "presets", "new", "calm", "--overwrite"]
    assert on_a_terminal(command).endswith("a\\x1b[31mb/calm.toml\r\n")
    found = subprocess.run(command, capture_output=True).stdout
    assert found == f"{here}/a\x1b[31mb/calm.toml\n".encode()
    told = on_a_terminal([*DREAM, "image", "a\x1b[31mb.png"])
    assert "a\\x1b[31mb.png" in told and "a\x1b" not in told


# Signals.


@pytest.mark.parametrize("numbers", [("SIGHUP", "SIGHUP"), ("SIGTERM",)])
def test_a_render_that_is_hung_up_on_saves_first(
    here: Path, scene: np.ndarray, numbers: tuple[str, ...]
) -> None:
    write_clip(here / "s.mp4", [scene[i % 9 : 48 + i % 9, :64] for i in range(400)])
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
    try:
        process = start("video", "s.mp4", "-o", "o.mp4", *QUICK)
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert process.stderr is not None
    while not (here / "o.mp4.unfinished" / "000000.raw").exists():
        assert process.poll() is None
        time.sleep(0.05)
    for number in numbers:
        process.send_signal(getattr(signal, number))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, numbers[0]), err
    assert "the same command goes on" in err
    assert (here / "o.mp4.unfinished" / "state.safetensors").exists()


def test_a_hang_up_is_ignored_under_nohup(
    dreamreel: Callable[..., Run], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert dreamreel(*IMAGE).code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("columns", ["0", "1", "abc", "-5"])
def test_a_line_of_progress_is_one_line_whatever_the_width(
    here: Path, scene: np.ndarray, columns: str
) -> None:
    write_clip(here / "s.mp4", [scene[:48, :64]] * 4)
    run = shell(f"COLUMNS={columns} DREAM shots s.mp4")
    assert run.code == 0 and run.err.startswith("4/4 frames, ") and run.err.count("\n") == 1
