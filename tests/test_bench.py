"""The benchmark: its figures, their comparison, their picture, and the stages that it times."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import pytest
import torch

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.bench import films, measuring
from dreamreel.pipeline.judging.bench.course import Course, parse_sizes
from dreamreel.pipeline.judging.bench.figures import (
    Figures,
    as_json,
    compared,
    described,
    differing,
    read_figures,
    share_of,
)
from dreamreel.pipeline.judging.bench.measuring import measure
from dreamreel.pipeline.judging.bench.plot import plot_figures
from dreamreel.pipeline.stages import STAGES, measured, timed, timed_each
from making import Run
from rendering import render_video

# Small: these tests check which figures there are; `dreamreel bench` gives their values.
SMALL = Course(
    ((96, 128),),
    network="dreamnet",
    precision="float32",
    repeats=1,
    evaluated=(96, 128),
    matrix=128,
    pixels=1,
    overhead_frames=8,
    zoom_size=(96, 128),
    zoom_frames=2,
    steps=3,
    octaves=2,
)
MACHINE = {"device": "cpu", "torch": "2"}


def found(**values: list[float]) -> Figures:
    return Figures(MACHINE, values)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(SMALL)


def test_a_benchmark_tells_time_rate_memory_and_stages(figures: Figures) -> None:
    assert not figures.left_out
    assert {
        *("evaluation_speedup", "matrix_share", "coherent_speedup", "zoom_share"),
        *("overhead_wall_ms", "overhead_cpu_ms", "first_frame_s"),
        *("128x96 frame_ms", "128x96 frames_per_second", "128x96 peak_mib", "128x96 estimated_mib"),
        *(f"128x96 {stage}_ms" for stage in STAGES),
    } <= figures.values.keys()
    # What lies beside a dream is the difference of two lengths: too short here to be more than 0.
    long = [values for name, values in figures.values.items() if not name.startswith("overhead")]
    assert all(value > 0 for values in long for value in values)
    assert figures.median("128x96 peak_mib") > 100
    # The stages of one thread are parts of a frame's time.
    own = [stage for stage in STAGES if stage not in films.BESIDE]
    whole = figures.median("128x96 frame_ms")
    assert 0.3 < sum(figures.median(f"128x96 {stage}_ms") for stage in own) / whole <= 1.0


def test_the_plain_frame_is_about_as_strong_as_the_coherent_one(figures: Figures) -> None:
    plain, ours = (figures.median(f"{kind}_frame_strength") for kind in ("plain", "coherent"))
    assert ours > 1 and 0.5 < (plain - 1) / (ours - 1) < 2


def test_figures_come_back_from_their_json(figures: Figures, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(as_json(figures))
    again = read_figures(path)
    assert again.machine == figures.machine and again.values.keys() == figures.values.keys()
    assert {row[3] for row in compared(figures, again)[1:]} == {"1.000"}
    assert {row[4] for row in compared(figures, again)} == {""}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 9}', "\0", '{"format": 1, "mach'])
def test_a_file_without_figures_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UserError, match="holds no figures"):
        read_figures(path)
    with pytest.raises(UserError):
        read_figures(tmp_path / "none.json")


def test_a_stage_has_its_share_of_a_frame() -> None:
    values = {"8x8 frame_ms": [10.0], "8x8 warp_ms": [1.0, 3.0], "9x9 warp_ms": [1.0], "a_ms": [1]}
    one = Figures(MACHINE, values)
    assert [share_of(one, name) for name in values] == [None, 0.2, None, None]
    assert described(one)[2] == ("8x8 warp_ms", "2", "1", "3", "20%")
    assert json.loads(as_json(one))["figures"]["8x8 warp_ms"]["share"] == 0.2


def test_only_a_change_beyond_the_noise_is_better_or_worse() -> None:
    before = found(a_ms=[10, 11, 12], speedup=[4, 4.1, 4.2], once_ms=[10], b_ms=[1.0, 1.001])
    now = found(a_ms=[11.5, 13, 14], speedup=[5, 5.1, 5.2], once_ms=[11], b_ms=[1.002, 1.003])
    told = {row[0]: row[4] for row in compared(now, before)}
    assert told == {"figure": "", "a_ms": "", "speedup": "better", "once_ms": "", "b_ms": ""}
    told = {row[0]: row[4] for row in compared(found(a_ms=[13, 14], once_ms=[20]), before)}
    assert told == {"figure": "", "a_ms": "worse", "once_ms": "worse"}
    other = Figures({**MACHINE, "device": "cuda"}, {})
    assert differing(other, before) == ["device: cpu before, cuda now"]


def test_the_picture_shows_the_figures(figures: Figures, tmp_path: Path) -> None:
    for number, one in enumerate((figures, found(evaluation_ms=[1.0]))):
        path = tmp_path / f"{number}.png"
        plot_figures(one, path, replace=False)
        picture = cv2.imread(str(path))
        assert picture is not None and picture.std() > 5


def test_without_files_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "lacking", lambda: "PyAV")
    monkeypatch.setattr(films, "lacking", lambda: "PyAV")
    here = films._film_values
    monkeypatch.setattr(
        measuring, "film_values", lambda course, size: here(course, size, torch.get_num_threads())
    )
    monkeypatch.setattr(measuring, "evaluation_values", lambda course: {})
    bare = measure(SMALL)
    assert "first_frame_s: no PyAV" in bare.left_out
    assert "128x96 verify_ms: no PyAV" in bare.left_out
    named = {line.partition(":")[0] for line in bare.left_out}
    assert not named & bare.values.keys()
    assert {"128x96 frame_ms", "128x96 flow_ms", "128x96 octaves_ms"} <= bare.values.keys()


def test_sizes_are_names_or_pixels() -> None:
    assert parse_sizes("360p, 4K,640x360") == ((360, 640), (2160, 3840))
    assert len(parse_sizes("all")) == 4
    for text in ("", "5k", "360p,,4k", "10"):
        with pytest.raises(UserError, match="360p, 720p, 1080p, 4k and all"):
            parse_sizes(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--repeats", 0), "--repeats 0 is too few"),
        (("--sizes", "big"), "is no size"),
        (("--against", "none.json"), "none.json"),
        (("--plot", "b.txt"), ".png"),
        (("--plot", "nowhere/b.png"), "no folder nowhere"),
        (("--network", "nonet"), "nonet"),
        (("--device", "warp"), "unknown device"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    dreamreel: Callable[..., Run], options: tuple[str, object], told: str
) -> None:
    run = dreamreel("bench", *options)
    assert run.code == 2 and told in run.err and run.err.count("\n") == 1, run.err


def test_the_command_prints_and_compares(
    dreamreel: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dreamreel.pipeline.judging.bench import showing

    monkeypatch.setattr(showing, "measure", lambda course, say: found(a_ms=[1.0, 1.1]))
    before = tmp_path / "before.json"
    before.write_text(as_json(found(a_ms=[2.0, 2.1])))
    run = dreamreel("bench", "--against", before, "--plot", tmp_path / "b.png")
    assert run.code == 0 and (tmp_path / "b.png").exists()
    assert "better" in run.out and "0.512" in run.out
    run = dreamreel("bench", "--json", "--against", before)
    assert json.loads(run.out)["figures"]["a_ms"]["measured"] == [1.0, 1.1]
    assert "better" in run.err
    run = dreamreel("bench", "--plot", tmp_path / "b.png")
    assert run.code == 2 and "--overwrite" in run.err


def test_stages_are_timed_only_inside_measured() -> None:
    with timed("flow"):
        pass
    with measured() as stages:
        assert stages.seconds == {}
        with timed("flow"):
            pass
    with timed("warp"):
        pass
    assert set(stages.seconds) == {"flow"}


def test_a_stage_inside_another_counts_once_and_threads_do_not_mix() -> None:
    waits: list[int] = []
    with measured(lambda: waits.append(1)) as stages, timed("outer"):
        thread = threading.Thread(target=timed("beside")(lambda: None))
        thread.start()
        thread.join()
        with timed("inner"):
            threading.Event().wait(0.05)
    assert stages.seconds["inner"] >= 0.05 > stages.seconds["outer"]
    assert set(stages.seconds) == {"outer", "beside", "inner"} and len(waits) == 4


def test_a_stage_ends_with_its_error_and_its_generator() -> None:
    with measured() as stages:
        with pytest.raises(KeyError), timed("flow"):
            raise KeyError
        assert list(timed_each("decode", iter([1, 2]))) == [1, 2]
        with timed("warp"):
            pass
    assert set(stages.seconds) == {"flow", "decode", "warp"}


def test_measuring_changes_no_byte_of_a_film(moving_clip: Path, tmp_path: Path) -> None:
    quick = {"dream": {"steps": 1, "octaves": 1, "terms": "textures"}, "video": {"frame_steps": 1}}
    settings = build(("test", quick))
    plain = render_video(moving_clip, tmp_path / "a.mp4", settings, (0, 3))
    with measured() as stages:
        timed_ = render_video(moving_clip, tmp_path / "b.mp4", settings, (0, 3))
    assert plain.read_bytes() == timed_.read_bytes()
    assert set(stages.seconds) == set(STAGES)


def test_a_course_changes_with_its_sizes() -> None:
    course = replace(SMALL, pixels=8_000_000)
    assert course.frames((360, 640)) == 16 and course.frames((2160, 3840)) == 4
    assert Fraction(course.settings().dream.steps) == 3
