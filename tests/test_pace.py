"""A long render says so, once, and what a smaller dream takes; its memory is told before."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.memory import peak_bytes, told_peak
from dreamreel.pipeline.jobs.pace import cost_of, pacing
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.reading import depth_for
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from making import Run

SIZE = (1080, 1920)


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("dreamnet", device="cpu")


def told(
    network: Network, each: float, total: int | None, before: int = 0, **settings: object
) -> list[str]:
    """The lines of a render of which each frame takes `each` seconds, the first ten times that."""
    lines: list[str] = []
    clock = [0.0]
    chosen = build(("test", settings))
    report = pacing(Report(on_notice=lines.append), network, chosen, SIZE, now=lambda: clock[0])
    for done in range(before + 1, min(total or 20, before + 20) + 1):
        clock[0] += each * (10 if done == before + 1 else 1)
        report.on_progress(Progress(done, total, before))
    return lines


def test_only_a_render_of_more_than_half_an_hour_is_told_and_once(network: Network) -> None:
    lines = told(network, 3.0, 2400)
    assert len(lines) == 1
    assert lines[0].startswith("about 2 h 0 min are left; from the start, it would take about ")
    assert "--set dream.width=960" in lines[0] and "--preset draft" in lines[0]
    assert told(network, 3.0, 500) == [] and told(network, 0.01, 9000) == []
    assert told(network, 3.0, None) == []


def test_a_slow_first_frame_alone_does_not_count(network: Network) -> None:
    assert told(network, 3.0, 590) == []  # with the first, it would seem to take an hour


def test_a_resumed_render_was_told_before(network: Network) -> None:
    assert told(network, 3.0, 2400, before=100) == []
    assert len(told(network, 3.0, 2400, before=2)) == 1  # it was stopped too soon to be told


@pytest.mark.parametrize("settings", [{}, {"flow": {"method": "none"}}, {"video": {"cadence": 3}}])
def test_a_smaller_dream_costs_less_and_never_less_than_the_rest(
    network: Network, settings: dict[str, object]
) -> None:
    whole, half = (
        cost_of(network, build(("test", settings), ("test", {"dream": {"width": width}})), SIZE)
        for width in (1920, 960)
    )
    assert 1.3 * math.prod(SIZE) < half < whole


def test_the_draft_of_a_draft_is_not_offered(network: Network) -> None:
    lines = told(network, 3.0, 2400, width=320, dream={"width": 64, "steps": 1})
    assert len(lines) == 1 and "dream.width=1920" not in lines[0]


def test_the_peak_grows_with_the_frame_and_is_told_with_what_is_free(network: Network) -> None:
    settings = Settings()
    sizes = [(360, 640), (720, 1280), SIZE, (2160, 3840), (4320, 7680)]
    peaks = [peak_bytes(network, settings, size) for size in sizes]
    assert peaks == sorted(peaks)
    smaller = build(("test", {"dream": {"width": 960}}))
    assert peak_bytes(network, smaller, SIZE) < peak_bytes(network, settings, SIZE)
    line = told_peak(network, settings, SIZE)
    assert line.startswith("1920x1080 takes about ") and line.endswith(" GiB are free")


def test_the_command_tells_the_peak_before_the_first_frame(
    dreamreel: Callable[..., Run], moving_clip: Path, tmp_path: Path
) -> None:
    quick = ("--steps", 1, "--octaves", 1, "--frames", "0:2")
    run = dreamreel("video", moving_clip, "-o", tmp_path / "o.mp4", *quick)
    lines = run.err.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("1/") or "frames" in line)
    peak = [n for n, line in enumerate(lines) if "GiB of memory" in line]
    assert run.code == 0 and len(peak) == 1 and peak[0] < first, run.err
    run = dreamreel("video", moving_clip, "-o", tmp_path / "q.mp4", *quick, "--quiet")
    assert run.err == ""


def test_fewer_large_frames_are_read_ahead() -> None:
    sizes = [(96, 160), (1080, 1920), (2160, 3840), (4320, 7680)]
    assert [depth_for(size) for size in sizes] == [4, 4, 2, 1]
