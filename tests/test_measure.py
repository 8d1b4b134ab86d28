"""The figures of a dream against its source, and the preview of motion."""

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.judging.video_figures import Measures, measure_frames, summary
from dreamreel.pipeline.networks.network import Network
from making import Run, write_clip

Frames = list[np.ndarray]
Measure = Callable[[Frames, Frames], Measures]


@pytest.fixture
def measured(dreamnet: Network) -> Measure:
    def measure(sources: Frames, dreams: Frames) -> Measures:
        pairs = zip(sources, dreams, strict=True)
        seer = (dreamnet, Settings(dream=Dream(terms={"textures": 1.0})))
        return summary(list(measure_frames(pairs, Fraction(25), seer, Settings())))

    return measure


@pytest.fixture
def sources(scene: np.ndarray) -> Frames:
    return [scene[20:116, 2 * i : 2 * i + 160] for i in range(6)]


def noisy(frames: Frames, spread: float) -> Frames:
    random = np.random.default_rng(1)
    return [
        np.uint8(np.clip(frame + random.normal(0, spread, frame.shape), 0, 255)) for frame in frames
    ]


def test_a_source_measured_against_itself_shows_no_difference(
    measured: Measure, sources: Frames
) -> None:
    found = measured(sources, sources)
    assert found.frames == 6
    assert found.strength == pytest.approx(1)
    assert found.sharpness == pytest.approx(1)
    assert found.colour_drift == found.brightness == 0
    assert found.warp_error is not None and found.warp_error_ratio is not None
    assert found.warp_error_ratio <= 1  # the source's own error is raised to a floor
    assert [one.cut for one in found.series] == [True] + [False] * 5


def test_the_warp_error_of_changing_noise_is_twice_its_variance(
    measured: Measure, sources: Frames
) -> None:
    found = measured(sources, noisy(sources, 8))
    # The difference of independent frames has twice the variance; bilinear sampling smooths one.
    assert found.warp_error == pytest.approx(2 * (8 / 255) ** 2, rel=0.35)


def test_a_blank_video_has_no_warp_error_and_no_strength(
    measured: Measure, sources: Frames
) -> None:
    found = measured(sources, [np.full_like(frame, 128) for frame in sources])
    assert found.warp_error == pytest.approx(0, abs=1e-9)
    assert found.strength < 0.5
    assert found.sharpness == 0


def test_a_slow_slide_shows_in_the_long_warp_error(measured: Measure, scene: np.ndarray) -> None:
    still = [scene[20:116, 20:180]] * 6
    creeping = [np.roll(still[0], i, 1) for i in range(6)]
    found = measured(still, creeping)
    assert found.warp_error is not None and found.long_warp_error is not None
    assert found.long_warp_error > 1.5 * found.warp_error


def test_flicker_is_measured_only_where_the_source_is_still(
    measured: Measure, sources: Frames, scene: np.ndarray
) -> None:
    still = [scene[20:116, 20:180]] * 5
    blinking = [np.clip(frame.astype(int) + 6 * (i % 2), 0, 255) for i, frame in enumerate(still)]
    assert measured(still, [np.uint8(frame) for frame in blinking]).flicker == pytest.approx(
        6, abs=0.3
    )
    assert measured(sources, noisy(sources, 8)).flicker is None  # there is no still place


def test_colour_drift_and_brightness_are_distances_in_lab(
    measured: Measure, sources: Frames
) -> None:
    grey = [np.full_like(frame, 100) for frame in sources]
    lighter = [np.full_like(frame, 120) for frame in sources]
    found = measured(grey, lighter)
    lab = [
        cv2.cvtColor(np.full((1, 1, 3), v / 255, np.float32), cv2.COLOR_BGR2Lab) for v in (100, 120)
    ]
    assert found.brightness == pytest.approx(float((lab[1] - lab[0])[0, 0, 0]), abs=0.05)
    assert found.colour_drift == pytest.approx(found.brightness, abs=0.05)


def test_blur_lowers_sharpness(measured: Measure, sources: Frames) -> None:
    soft = [cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in sources]
    assert measured(sources, soft).sharpness < 0.5


def test_no_warp_error_is_measured_across_a_cut(measured: Measure, scene: np.ndarray) -> None:
    other = np.ascontiguousarray(np.flip(scene, 0))
    frames = [scene[20:116, 20:180]] * 4 + [other[20:116, 20:180]] * 4
    found = measured(frames, frames)
    assert [one.frame for one in found.series if one.cut] == [0, 4]
    assert found.series[4].warp_error is None
    assert found.warp_error == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> tuple[Path, Path]:
    """A source of 10 frames of 320x192, and a dream of its frames 2 to 8 at 161x97."""
    folder = tmp_path_factory.mktemp("measure")
    frames = [scene[20:212, 3 * i : 3 * i + 320] for i in range(10)]
    source = write_clip(folder / "source.mp4", frames)
    small = [cv2.resize(frame, (160, 96), interpolation=cv2.INTER_AREA) for frame in frames]
    return source, write_clip(folder / "dream.mp4", noisy(small[2:8], 5))


def test_measure_prints_text_or_json(
    dreamreel: Callable[..., Run], clips: tuple[Path, Path], tmp_path: Path
) -> None:
    plot = tmp_path / "p.png"
    run = dreamreel("measure", *clips, "--frames", "2:8", "--plot", plot, "--quiet")
    assert run.code == 0, run.err
    assert "strength" in run.out and cv2.imread(str(plot)) is not None
    run = dreamreel(
        "measure",
        *clips,
        "--frames",
        "2:8",
        "--layers",
        "textures",
        "--judge",
        "dreamnet",
        "--judge-layers",
        "parts",
        "--json",
        "--quiet",
    )
    found = json.loads(run.out)
    wanted = {
        "warp_error",
        "warp_error_ratio",
        "long_warp_error",
        "strength",
        "judged_strength",
        "flicker",
        "sharpness",
        "colour_drift",
    }
    assert wanted <= found.keys()
    assert found["frames"] == 6 and found["series"]["frame"] == list(range(2, 8))
    assert found["judged_strength"] != found["strength"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["6 frames", "10", "--frames"]),
        (["--frames", "2:9"], ["6 frames", "7"]),
        (["--frames", "2:8", "--layers", "prats"], ["prats", "parts"]),
        (["--frames", "2:8", "--judge", "gogglenet"], ["gogglenet"]),
        (["--frames", "2:8", "--judge-layers", "parts"], ["--judge"]),
        (["--frames", "2:8", "--plot", "/proc/p.png"], ["/proc"]),
        (["--frames", "2:8", "--plot", "p.doc"], [".doc"]),
    ],
)
def test_a_mistake_gives_one_line(
    dreamreel: Callable[..., Run],
    clips: tuple[Path, Path],
    options: list[str],
    words: list[str],
) -> None:
    run = dreamreel("measure", *clips, *options, "--quiet")
    assert run.code == 2 and run.err.count("\n") == 1
    assert all(word in run.err for word in words)


def test_a_dream_of_another_shape_is_refused(
    dreamreel: Callable[..., Run], clips: tuple[Path, Path], tmp_path: Path, scene: np.ndarray
) -> None:
    square = write_clip(tmp_path / "square.mp4", [scene[:96, :96]] * 10)
    run = dreamreel("measure", clips[0], square, "--quiet")
    assert run.code == 2 and "96x96" in run.err and "320x192" in run.err


def test_an_odd_size_is_measured_without_its_padding(
    dreamreel: Callable[..., Run], odd_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.mp4"
    nothing = ["--set", "dream.steps=0", "--set", "video.frame_steps=0"]
    assert dreamreel("video", odd_clip, "-o", out, *nothing, "--quiet").code == 0
    run = dreamreel("measure", odd_clip, out, "--layers", "textures", "--json", "--quiet")
    assert run.code == 0, run.err
    assert json.loads(run.out)["strength"] == pytest.approx(1, abs=0.1)


def test_a_preview_shows_every_frame_beside_its_flow(
    dreamreel: Callable[..., Run], moving_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "flow.mp4"
    run = dreamreel("video", moving_clip, "--preview-flow", "-o", out)
    assert run.code == 0 and "no cuts" in run.err
    capture = cv2.VideoCapture(str(out))
    read = list(itertools.takewhile(lambda frame: frame[0], iter(capture.read, None)))
    assert len(read) == 12
    assert read[0][1].shape == (96, 320, 3)
    flow = read[6][1][10:-10, 170:-10].astype(int)
    assert flow.std((0, 1)).max() < 40 < flow.max()  # one motion, one colour


def test_a_preview_without_flow_is_refused(
    dreamreel: Callable[..., Run], moving_clip: Path
) -> None:
    run = dreamreel("video", moving_clip, "--preview-flow", "--set", "flow.method=none")
    assert run.code == 2 and "flow.method" in run.err
