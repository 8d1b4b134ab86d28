"""Rates below one frame a second work as others do."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

import footage
from dreamreel.pipeline.config.values import parse_rate
from dreamreel.pipeline.media.clips import probe
from making import Run, read_clip

Call = Callable[..., Run]
QUICK = ("--set", "dream.steps=1", "--set", "dream.octaves=1", "--width", 64)


@pytest.fixture
def slow_clip(tmp_path: Path) -> Path:
    """Four frames, each shown for two seconds, with sound."""
    return footage.film(
        tmp_path / "slow.mp4", *footage.noise(1, 8), "-c:a", "aac", rate=Fraction(1, 2),
        numbers=range(4), codec=footage.PLAIN,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rate"),
    [("0.5", Fraction(1, 2)), ("1/3600", Fraction(1, 3600)), ("0.1", Fraction(1, 10)), (".5", 0.5)],
)
def test_slow_rates_are_read(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["0", "1/3601", "0.0001", "-0.5", "\u0661\u0662", "\u00bd", "1001"]
)
def test_no_other_rate_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate from 1/3600 to 1000"):
        parse_rate(text)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm", "o.gif", "o.webp", "o.apng"])
def test_a_slow_film_keeps_its_rate_and_length(
    dreamreel: Call, slow_clip: Path, name: str, tmp_path: Path
) -> None:
    run = dreamreel("video", slow_clip, "-o", tmp_path / name, *QUICK)
    assert run.code == 0
    clip = probe(tmp_path / name)
    assert (clip.frames, clip.rate, clip.shown_at(4)) == (4, Fraction(1, 2), 8)
    assert clip.has_audio == (name in ("o.mp4", "o.mkv", "o.webm"))


@pytest.mark.parametrize(("fps", "numbers"), [("0.25", [0, 2]), ("1", [0, 0, 1, 1, 2, 2, 3, 3])])
def test_a_film_takes_a_slow_rate(
    dreamreel: Call, slow_clip: Path, fps: str, numbers: list[int], tmp_path: Path
) -> None:
    out = tmp_path / "o.mp4"
    shown = ("--set", "dream.steps=0", "--set", "dream.octaves=1")
    assert dreamreel("video", slow_clip, "-o", out, "--fps", fps, *shown).code == 0
    assert [footage.number_of(frame) for frame in read_clip(out)] == numbers
    assert probe(out).rate == Fraction(fps)


def test_a_slow_zoom_is_made_and_measured(dreamreel: Call, tmp_path: Path) -> None:
    out = tmp_path / "z.mp4"
    run = dreamreel(
        *("zoom", "-o", out, "--seconds", 6, "--fps", "0.5", "--size", "64x48"),
        *("--set", "dream.steps=1", "--set", "dream.octaves=1"),
    )
    assert run.code == 0
    assert (probe(out).frames, probe(out).rate) == (3, Fraction(1, 2))
    assert dreamreel("measure", out).code == 0


def test_a_slow_schedule_is_shown(dreamreel: Call) -> None:
    run = dreamreel("schedule", "--set", "dream.mix=t/40", "--seconds", 40, "--fps", "0.1")
    assert run.code == 0
    rows = [line.split() for line in run.out.splitlines()[1:]]
    assert [float(row[1]) for row in rows] == [0, 10, 20, 30]


def test_a_gif_that_cannot_be_that_slow_is_refused(
    dreamreel: Call, slow_clip: Path, tmp_path: Path
) -> None:
    run = dreamreel("video", slow_clip, "-o", tmp_path / "o.gif", "--fps", "1/700", *QUICK)
    assert run.code == 2 and ".webp, .apng and .mp4 do" in " ".join(run.err.split())


def test_slow_pictures_become_a_film(dreamreel: Call, tmp_path: Path) -> None:
    footage.stills(tmp_path, "in", numbers=range(3))
    out = tmp_path / "o.mp4"
    run = dreamreel("video", tmp_path / "in", "-o", out, "--fps", "0.2", *QUICK)
    assert run.code == 0 and probe(out).shown_at(3) == 15
