"""A render keeps what its source holds, as independent readers see it, and reports damage."""

from functools import partial
from pathlib import Path

import pytest

from damage import (
    CUT_OFF,
    MUST_NOT_BE,
    REFUSED,
    SOURCES,
    TOLD,
    change,
    cut_off,
    damaged,
    harmed_once,
)
from dreamreel.pipeline.media.clips import probe
from footage import CASES, SOUND, Case, clip, film, noise, with_cover
from make_files import compare, real_cases, try_case, undreamed
from making import SHARED

QUICK = (  # a case of each kind, and those that have failed before
    "two tracks of sound, .mkv", "sound that begins late", "sound that begins early, .mkv",
    "subtitles, .mp4 to .mkv", "subtitles that are pictures", "chapters and a title, .mp4",
    "turned by 90°", "pixels of 8:9", "161x97, H.264 4:4:4", "a variable rate, .mp4",
    "BT601, limited, untagged, 160x96", "each picture twice", "a cover, .mp4", "a cover, .mkv",
    "two streams of pictures, the second", "no length, live .webm", "a header alone, .mkv",
    ".avi, H.264 with B-frames", ".avi, Xvid", ".ts, which begins late", "cut, with an edit list",
    "to out.mp4, av1", "to frames/%05d.exr",
)  # fmt: skip
REAL = real_cases(SHARED / "clips") if SHARED.is_dir() else {}


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_a_render_keeps_frames_times_sound_and_colours(
    tmp_path: Path, name: str, decoder: str
) -> None:
    found = try_case(CASES[name], tmp_path, decoder)
    assert not found.faults, found


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_a_render_of_a_real_clip_keeps_frames_times_sound_and_colours(
    tmp_path: Path, name: str
) -> None:
    found = try_case(REAL[name], tmp_path)
    assert not found.faults, found


def test_the_comparison_finds_wrong_frames_sound_and_size(tmp_path: Path) -> None:
    first = film(tmp_path / "a.mp4", *SOUND)
    late = ("-map", "0:v", "-map", "1:a", "-c:a", "aac")
    other = film(tmp_path / "b.mp4", *noise(1, late=0.1), *late, numbers=[*range(29), 28],
                 size=(96, 162))  # fmt: skip
    found = compare(Case(clip("a.mp4")), first, other)
    assert found.sound_off == pytest.approx(2.5, abs=0.1)
    assert found.faults == ("frames (1 others)", "sound", "size")
    assert not compare(Case(clip("a.mp4")), first, first).faults


@pytest.mark.parametrize("out", ["out.mov", "out.webm"])
def test_a_cover_that_is_left_out_gives_a_notice(tmp_path: Path, out: str) -> None:
    found = try_case(Case(partial(with_cover, name="a.mp4"), out, chatty=True), tmp_path)
    assert any(line.endswith("cover: left out") for line in found.told)


@pytest.mark.parametrize(
    ("name", "seed", "kind"),
    [
        ("MP4, H.264, index first", 34, TOLD),  # one frame is lost
        ("MP4, H.264, index first", 144, TOLD),  # unreadable sound
        ("WebM, VP9", 102, TOLD),  # frames that the container loses
        ("WebM, VP9", 190, TOLD),
        ("AVI, MPEG-4", 27, REFUSED),  # an unknown codec
        ("AVI, MPEG-4", 489, REFUSED),  # a frame that lasts for days
        ("GIF", 7, TOLD),  # the last frame is lost
        ("GIF", 106, TOLD),  # the first is lost
        ("GIF", 10062, TOLD),
        ("GIF", 216, TOLD),  # all but the first are lost
        ("APNG", 19, TOLD),
        ("WebP", 53, TOLD),  # a frame whose chunk has another name
    ],
)
def test_a_loss_by_damage_is_reported_or_refused(
    tmp_path: Path, name: str, seed: int, kind: str
) -> None:
    outcome = harmed_once(name, partial(change, seed=seed), undreamed())
    assert outcome.kind == kind, outcome


def test_the_same_damage_is_reported_for_each_file(tmp_path: Path) -> None:
    whole = SOURCES["MKV, H.264"](tmp_path)
    for name in ("b.mkv", "c.mkv"):
        cut = tmp_path / name
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        (notice,) = probe(cut).notices
        assert "is damaged (File ended prematurely)" in notice
    assert not probe(whole).notices


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT_OFF)
def test_no_loss_in_a_truncated_file_goes_unreported(name: str) -> None:
    for _, where, outcome in cut_off(20, undreamed(), [name]):
        assert outcome.kind not in MUST_NOT_BE, (where, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_no_loss_in_a_damaged_file_goes_unreported(name: str) -> None:
    """500 files in all, spread over the sources."""
    for _, seed, outcome in damaged(500, undreamed(), [name]):
        assert outcome.kind not in MUST_NOT_BE, (seed, outcome)
