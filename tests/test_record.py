"""Records, and files reproduced from them."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.reproduce import reproduce
from making import write_clip
from rendering import flight, render_video, render_zoom

QUICK = build(("test", {"dream": {"octaves": 2, "steps": 2, "terms": "textures"}, "seed": 3}))


@pytest.fixture
def clip(tmp_path: Path, scene: np.ndarray) -> Path:
    there = [scene[20:116, 3 * i : 3 * i + 160] for i in range(5)]
    then = [np.flip(scene[100:196, 2 * i : 2 * i + 160], 0) for i in range(3)]
    return write_clip(tmp_path / "clip.mp4", [*there, *then], Fraction(25), sound=True)


@pytest.fixture
def out(clip: Path, tmp_path: Path) -> Path:
    return render_video(clip, tmp_path / "o.mp4", QUICK, (1, 7))


def test_a_record_holds_the_job_and_how_it_went(out: Path, clip: Path) -> None:
    told = json.loads(record_path(out).read_text())
    job, made = told["job"], told["made"]
    assert job["source"]["path"] == str(clip) and len(job["source"]["sha256"]) == 64
    assert len(job["weights_sha256"]) == 64 and job["output"] == "o.mp4"
    assert made["frames"] == 6 and made["cuts"] == [5] and made["seconds"] >= 0
    assert job["settings"]["seed"] == 3 and job["settings"]["dream"]["octaves"] == 2
    assert made["device"] == "cpu" and set(job["threads"]) == {"torch", "encoder"}
    assert {"dreamreel", "torch", "opencv-python"} <= set(made["versions"])
    settings = read_record(record_path(out)).job.settings
    assert settings.source.decoder == "opencv"  # found out, where QUICK says "auto"
    assert settings.model_copy(update={"source": QUICK.source}) == QUICK


def test_a_video_is_reproduced_from_its_record(out: Path, tmp_path: Path) -> None:
    again = reproduce(record_path(out), tmp_path / "again.mp4")
    assert again.read_bytes() == out.read_bytes()


def test_a_zoom_is_reproduced_from_its_record(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    out = render_zoom(None, tmp_path / "z.mp4", QUICK, flight(0.2, rate, (96, 128)))
    again = reproduce(record_path(out), tmp_path / "again.mp4")
    assert again.read_bytes() == out.read_bytes()


def test_a_source_that_moved_is_found_beside_the_record_or_can_be_named(
    out: Path, clip: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clip = clip.rename(elsewhere / clip.name)
    record = record_path(out).rename(elsewhere / "o.mp4.json")
    again = reproduce(record, tmp_path / "again.mp4")
    assert again.read_bytes() == out.read_bytes()
    clip = clip.rename(elsewhere / "other.mp4")
    with pytest.raises(UserError, match="there is no file"):
        reproduce(record, tmp_path / "again2.mp4")
    again = reproduce(record, tmp_path / "again2.mp4", clip)
    assert again.read_bytes() == out.read_bytes()


def test_a_source_with_other_content_is_refused(
    out: Path, clip: Path, tmp_path: Path, scene: np.ndarray
) -> None:
    write_clip(clip, [scene[:96, :160]] * 8, Fraction(25))
    with pytest.raises(UserError, match="is not what .* was made of"):
        reproduce(record_path(out), tmp_path / "again.mp4")
    assert not (tmp_path / "again.mp4").exists()


def test_other_library_versions_give_a_notice(out: Path, tmp_path: Path) -> None:
    record = record_path(out)
    told = json.loads(record.read_text())
    told["made"]["versions"]["torch"] = "0.1"
    record.write_text(json.dumps(told))
    notices: list[str] = []
    reproduce(record, tmp_path / "again.mp4", report=Report(on_notice=notices.append))
    assert len(notices) == 1 and "made with torch 0.1, now " in notices[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"record": 99}',
        '{"record": 1}',
        '{"record": 2}',
        '{"record": 2, "job": 3}',
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "o.mp4.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"o\.mp4\.json is "):
        reproduce(path, tmp_path / "o.mp4")


def test_a_foreign_file_in_place_of_the_record_is_kept(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "o.mp4.json"
    path.write_text('{"mine": true}')
    with pytest.raises(UserError, match="is no record of a render; --overwrite"):
        render_video(clip, tmp_path / "o.mp4", QUICK)
    assert path.read_text() == '{"mine": true}'


def test_pictures_are_reproduced_from_their_record(moving_clip: Path, tmp_path: Path) -> None:
    settings = build(("test", {"dream": {"steps": 1, "octaves": 1, "terms": "textures"}}))
    render_video(moving_clip, tmp_path / "o" / "%03d.png", settings, (2, 4))
    record = tmp_path / "o.json"
    assert read_record(record).job.output == tmp_path / "o" / "%03d.png"
    reproduce(record, tmp_path / "again" / "%03d.png")
    for name in ("002.png", "003.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "o" / name).read_bytes()


def test_reproducing_needs_the_music_that_a_schedule_heard(clip: Path, tmp_path: Path) -> None:
    quiet = {"dream": {"octaves": 1, "steps": 1, "terms": "textures", "strength": "0.5+loud"}}
    settings = build(("test", {**quiet, "output": {"audio": False}}))
    song = tmp_path / "song.mp4"
    song.write_bytes(clip.read_bytes())
    out = render_video(clip, tmp_path / "own.mp4", settings)
    assert out == tmp_path / "own.mp4"
    render_video(clip, tmp_path / "o.mp4", settings, audio=song)
    song.unlink()
    with pytest.raises(UserError, match="song.mp4, which .* was made with, is gone"):
        reproduce(tmp_path / "o.mp4.json", tmp_path / "again.mp4")
