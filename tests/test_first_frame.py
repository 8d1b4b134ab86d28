"""The first frame of a film is the slowest: its steps are told, before any frame is done."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Progress, Report
from making import Run, write_clip
from rendering import flight, render_video, render_zoom

QUICK = {"dream": {"steps": 2, "octaves": 2, "coarsest": 68, "terms": "textures"}}


@pytest.mark.parametrize("kind", ["video", "zoom"])
def test_the_steps_of_the_first_frame_are_told(
    moving_clip: Path, tmp_path: Path, kind: str
) -> None:
    told: list[Progress | str] = []
    report = Report(on_progress=lambda one: told.append("frame"), on_first=told.append)
    settings, out = build(("test", QUICK)), tmp_path / "o.mp4"
    if kind == "video":
        render_video(moving_clip, out, settings, (0, 3), report)
    else:
        render_zoom(None, out, settings, flight(0.3, Fraction(10), (96, 160)), report)
    assert told == [*(Progress(done, 4) for done in (1, 2, 3, 4)), *["frame"] * 3]


def test_the_first_frame_that_is_dreamed_after_the_dark_is_told_once(
    scene: np.ndarray, tmp_path: Path
) -> None:
    lit, other = scene[:96, :160], scene[96:192, 160:320]
    black = np.zeros_like(lit)
    clip = write_clip(tmp_path / "c.mkv", [black] * 4 + [lit] * 4 + [other] * 4)
    told: list[Progress | str] = []
    report = Report(on_progress=lambda one: told.append("frame"), on_first=told.append)
    out = render_video(clip, tmp_path / "o.mp4", build(("test", QUICK)), report=report)
    assert told.count("frame") == 12 and len(read_record(record_path(out)).made.cuts) >= 1
    steps = [one for one in told if one != "frame"]
    assert steps == [Progress(done, 4) for done in (1, 2, 3, 4)]
    assert told.index(steps[0]) >= 3  # nothing is dreamed in the dark


def test_a_terminal_says_that_the_first_frame_is_dreamed(
    dreamreel: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dreamreel.pipeline.app.terminal.LINES_EVERY", 0.0)
    run = dreamreel(
        *("zoom", "-o", tmp_path / "z.mp4", "--size", "96x64", "--seconds", "0.1", "--fps", "20"),
        *("--set", "dream.steps=2", "--octaves", "1"),
    )
    lines = run.err.splitlines()
    assert "of memory" in lines[0]
    assert lines[1] == "1/2 steps: dreaming the first frame, the slowest", run.err
    assert lines[-1].startswith("2/2 frames")
