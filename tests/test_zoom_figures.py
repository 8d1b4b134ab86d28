"""The figures of a zoom, which is measured against its own beginning."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.objectives.activations import DIVERSITY
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Flight, NamedFile
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import Made, write_record
from dreamreel.pipeline.judging.zoom_figures import (
    ZoomFigures,
    early_frames,
    find_zoom,
    measure_zoom,
    seconds_of,
)
from dreamreel.pipeline.media.encoding import Encoding, encode
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_frame, to_image
from dreamreel.pipeline.zooming.endless import infinite_zoom
from dreamreel.pipeline.zooming.journey import Journey
from dreamreel.pipeline.zooming.things import ground_in, things_in
from making import Run, write_clip
from rendering import flight as flight_of
from rendering import render_zoom, response, zoom_job

Frames = list[np.ndarray]
Film = Callable[..., Path]
Measure = Callable[[Path], ZoomFigures]
CPU = torch.device("cpu")
RATE = Fraction(30)
STILL = {"zoom": 1.0}


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """A function that writes frames, losslessly, as a zoom with its record."""

    def write(
        frames: Frames,
        camera: dict[str, Any] = STILL,
        rate: Fraction = RATE,
        name: str = "z.mkv",
        audio: NamedFile | None = None,
        **flight: Any,
    ) -> Path:
        size = (frames[0].shape[0], frames[0].shape[1])
        path = tmp_path / name
        encode(frames, path, Encoding(size, rate, codec="ffv1", pixel_format="bgr0"))
        settings = build(("test", {"dream": {"terms": "textures"}, "camera": camera}))
        there = Flight(frames=len(frames), rate=rate, size=size).model_copy(update=flight)
        made = Made(versions={}, network="dreamnet", device="cpu", frames=len(frames), seconds=0.0)
        job = zoom_job(path, settings, there).model_copy(update={"audio": audio})
        write_record(record_path(path), job, made)
        return path

    return write


@pytest.fixture
def measured(dreamnet: Network) -> Measure:
    return lambda path: measure_zoom(find_zoom(path), dreamnet)


@pytest.fixture(scope="module")
def photo(scene: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(scene[20:84, 20:116])


def moving(
    photo: np.ndarray, network: Network, count: int, loop: bool = False, **camera: float
) -> Frames:
    """The frames of a camera that moves over `photo`; nothing is dreamed."""
    over_time = constant(build(("test", {"camera": camera})))
    journey = Journey(count, RATE, loop, motion_only=True)
    images = infinite_zoom(to_image(photo, CPU), network, over_time, journey)
    return [to_frame(image) for image in images]


def test_a_still_zoom_measures_as_unchanged(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network
) -> None:
    found = measured(film([photo] * 70))
    assert (found.frames, found.seconds) == (70, pytest.approx(7 / 3))
    assert found.sharpness == found.spread == pytest.approx((1, 1))
    assert found.spread_in_a_second == pytest.approx(1)
    assert found.colour_drift == pytest.approx(0, abs=1e-3)
    assert found.jump == 0 and found.warp_error == pytest.approx(0, abs=1e-9)
    assert found.seam is None
    assert [n for n, one in enumerate(found.series["spread"]) if one is not None] == [
        *range(0, 70, 10)
    ]
    expected = float(response(to_image(photo, CPU), dreamnet, {"textures": 1.0}))
    assert found.excitement == pytest.approx((expected,) * 2, rel=1e-3)


def test_each_second_has_the_response_of_its_own_frames(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network
) -> None:
    pictures = [photo, np.full_like(photo, 128), np.ascontiguousarray(photo[::-1])]
    found = measured(film([one for one in pictures for _ in range(5)], rate=Fraction(5)))
    layers = {"textures": 1.0}
    expected = [float(response(to_image(one, CPU), dreamnet, layers)) for one in pictures]
    assert found.excitement == pytest.approx(expected, rel=1e-3)
    assert expected[1] < 0.7 * expected[0]


def test_a_flash_is_a_jump(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network
) -> None:
    camera = {"zoom": 2.0}
    frames = moving(photo, dreamnet, 40, **camera)
    calm = measured(film(frames, camera))
    frames[25] = np.uint8(np.clip(frames[25].astype(int) + 60, 0, 255))
    flashed = measured(film(frames, camera))
    assert calm.jump is not None and flashed.jump is not None
    assert calm.jump < 2.5 < 5 < flashed.jump
    changes = [change or 0 for change in flashed.series["change"]]
    assert set(np.argsort(changes)[-2:]) == {25, 26}


def test_blur_lowers_sharpness_and_leaves_colour(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    soft = [cv2.GaussianBlur(photo, (0, 0), 0.3 + n / 20) for n in range(40)]
    found = measured(film(soft, rate=Fraction(10)))
    assert found.sharpness is not None and found.colour_drift is not None
    assert found.sharpness[0] < 0.6 * found.sharpness[1] < 0.6
    assert found.colour_drift < 0.5


def test_one_soft_second_shows_in_the_lowest_sharpness(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    soft = cv2.GaussianBlur(photo, (0, 0), 1.5)
    found = measured(film([photo] * 60 + [soft] * 5 + [photo] * 5, rate=Fraction(5)))
    assert found.sharpness is not None
    assert found.sharpness[0] < 0.5 and found.sharpness[1] == pytest.approx(1)


def test_colour_drift_is_the_farthest_from_the_early_colour(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    greys = [np.full_like(photo, level) for level in [100] * 40 + [120] + [110] * 39]
    found = measured(film(greys))
    lab = [
        cv2.cvtColor(np.full((1, 1, 3), level / 255, np.float32), cv2.COLOR_BGR2Lab)[0, 0]
        for level in (100, 110, 120)
    ]
    # The frame of 120 is an early one: a thirtieth of the reference, and not measured against it.
    mean = (10 * lab[0] + lab[2] + 19 * lab[1]) / 30
    assert found.colour_drift == pytest.approx(float(np.linalg.norm(lab[1] - mean)), abs=0.05)


def test_a_repeated_pattern_has_less_spread_than_a_picture(
    film: Film, measured: Measure, scene: np.ndarray
) -> None:
    picture = scene[:192, :288]
    tile = np.tile(scene[:32, :32], (6, 9, 1))
    found = measured(film([picture] * 15 + [tile] * 30))
    assert found.spread[0] < 0.75 and found.spread[1] == pytest.approx(1, abs=0.2)
    assert found.spread[0] <= found.spread_in_a_second
    assert found.spread_layer == "objects"


def test_spread_depends_only_on_directions() -> None:
    def spread(places: Tensor) -> float:
        mean = DIVERSITY.response.averaged(places).mean((2, 3), keepdim=True)
        return float(DIVERSITY.response.places(places, mean).mean())

    places = torch.eye(4).reshape(1, 4, 2, 2)
    assert spread(places) == pytest.approx(3 / 4)  # four at right angles to each other
    lengths = torch.tensor([1.0, 5.0, 0.1, 30.0]).reshape(1, 1, 2, 2)
    assert spread(places * lengths) == pytest.approx(3 / 4)
    assert spread(torch.ones(1, 4, 2, 2) * lengths) == pytest.approx(0, abs=1e-6)
    assert spread(torch.zeros(1, 4, 2, 2)) == 0


def test_warp_error_counts_only_motion_that_is_not_the_cameras(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network
) -> None:
    camera = {"zoom": 2.0, "rotation": 30.0}
    frames = moving(photo, dreamnet, 10, **camera)
    own = measured(film(frames, camera)).warp_error
    none, other = (measured(film(frames, one)).warp_error for one in (STILL, {"zoom": 0.5}))
    assert own is not None and none is not None and other is not None
    assert own < 0.1 * none < 0.1 * other


def test_a_broken_loop_has_a_large_seam(film: Film, measured: Measure, photo: np.ndarray) -> None:
    waves = [np.cos(2 * np.pi * (n / 40 + np.arange(96) / 32))[:, None] for n in range(40)]
    frames = [np.uint8(np.clip(photo + 30 * wave, 0, 255)) for wave in waves]
    found = measured(film(frames, loop=True))
    assert found.seam == pytest.approx(1, abs=0.1)
    broken = measured(film([*frames[:-5], *frames[10:15]], loop=True))
    assert broken.seam is not None and broken.seam > 10
    assert measured(film(frames)).seam is None


def test_a_dreamed_loop_has_a_far_smaller_seam_than_another_ending(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network
) -> None:
    dream = {"terms": "textures", "octaves": 2, "steps": 5}
    camera = {"zoom": 6.0, "rotation": 30.0}
    over_time = constant(build(("test", {"dream": dream, "camera": camera})))
    images = infinite_zoom(to_image(photo, CPU), dreamnet, over_time, Journey(45, RATE, True))
    frames = [to_frame(image) for image in images]
    seam = measured(film(frames, camera, loop=True)).seam
    other = measured(film(frames[:-3] + frames[10:13], camera, loop=True)).seam
    assert seam is not None and other is not None
    assert seam < 0.05 * other


@pytest.mark.parametrize("loop", [False, True])
def test_a_reversed_zoom_has_the_figures_of_the_forward_one(
    film: Film, measured: Measure, photo: np.ndarray, dreamnet: Network, loop: bool
) -> None:
    camera = {"zoom": "where(t < 20, 3, 8)", "rotation": 20.0}
    shown = {**camera, "zoom": "where(t <= 20, 8, 3)"}  # the same, in the time shown
    frames = moving(photo, dreamnet, 41, loop, zoom=5.0, rotation=20.0)
    frames = [cv2.GaussianBlur(frame, (0, 0), 0.2 + n / 60) for n, frame in enumerate(frames)]
    there = measured(film(frames, camera, loop=loop))
    back = measured(film(frames[::-1], shown, loop=loop, reverse=True))
    assert back.series["sharpness"] == there.series["sharpness"][::-1]
    assert back.series["warp_error"][1:] == there.series["warp_error"][:0:-1]
    told = {name: value for name, value in vars(there).items() if name != "series"}
    assert told == {name: value for name, value in vars(back).items() if name != "series"}
    assert (there.seam is not None) == loop


def test_the_padding_of_an_odd_side_is_not_measured(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    odd = [np.roll(photo, n, 1)[:-1, :-1] for n in range(12)]
    padded = [cv2.copyMakeBorder(one, 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=255) for one in odd]
    assert measured(film(padded, size=(63, 95))) == measured(film(odd))


@pytest.mark.parametrize("count", [1, 2, 3, 60, 61, 62, 1000])
def test_early_frames_leave_some_to_compare(count: int) -> None:
    early = early_frames(count)
    assert len(early) > 0 and (early.stop < count or count == 1)
    assert count <= 60 or early == range(30, 60)


def test_a_single_frame_is_compared_to_nothing(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    found = measured(film([photo]))
    assert found.spread == (1, 1) and len(found.excitement) == 1
    assert found.sharpness is found.colour_drift is found.jump is found.warp_error is None


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(1, 2), Fraction(7)])
@pytest.mark.parametrize("frames", [range(60, 200), range(3), range(5, 5), range(10, 40)])
def test_seconds_leave_no_frame_out(frames: range, rate: Fraction) -> None:
    seconds = seconds_of(frames, rate)
    assert [number for second in seconds for number in second] == [*frames]
    if len(frames) >= rate:
        assert all(len(second) > rate - 1 for second in seconds)


def test_missing_music_matters_only_if_a_schedule_hears_it(film: Film, photo: np.ndarray) -> None:
    gone = NamedFile(path=Path("/nowhere/song.mp3"), sha256="0" * 64)
    assert find_zoom(film([photo] * 2, audio=gone)).frames == 2
    path = film([photo] * 2, {"zoom": "1+loud"}, audio=gone)
    with pytest.raises(UserError, match=r"song\.mp3.* is gone"):
        find_zoom(path)


def test_given_settings_win_over_those_of_the_record(film: Film, photo: np.ndarray) -> None:
    path = film([photo] * 2, {"zoom": "0:(1), 1:(3)"})
    zoom = find_zoom(path, ("--precision", {"precision": "float32"}))
    assert zoom.settings.precision == "float32"
    assert zoom.over_time(1).camera.zoom == 3
    with pytest.raises(UserError, match="--precision: precision = 'half'"):
        find_zoom(path, ("--precision", {"precision": "half"}))


@pytest.fixture(scope="module")
def dreamed(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """A rendered zoom of 40 frames of 95x63, with its record."""
    out = tmp_path_factory.mktemp("zoom") / "z.mp4"
    settings = build(("test", {"dream": {"octaves": 1, "steps": 2, "terms": "textures"}}))
    return render_zoom(None, out, settings, flight_of(4, Fraction(10), (63, 95)))


def test_measure_prints_text_or_json(
    dreamreel: Callable[..., Run], dreamed: Path, tmp_path: Path
) -> None:
    plot, sheet = tmp_path / "p.png", tmp_path / "s.png"
    run = dreamreel("measure", dreamed, "--plot", plot, "--sheet", sheet, "--quiet")
    assert run.code == 0, run.err
    assert [line.split("  ")[0] for line in run.out.splitlines()] == [
        "frames",
        "sharpness",
        "colour drift",
        "jump",
        "spread",
        "things",
        "ground",
        "warp error",
        "excitement",
    ]
    assert run.err == "" and cv2.imread(str(plot)) is not None
    cells = cv2.imread(str(sheet))
    assert cells is not None and cells.shape == (4 * 63, 6 * 95, 3)
    run = dreamreel("measure", dreamed, "--json", "--quiet", "--precision", "float32")
    found = json.loads(run.out)
    assert found["frames"] == 40 and len(found["excitement"]) == 4 and found["seam"] is None
    assert all(len(values) == 40 for values in found["series"].values())
    assert 0.5 < found["sharpness"][0] <= found["sharpness"][1] < 2


def test_a_sheet_shows_the_first_frame_first_and_the_last_one_last(
    dreamreel: Callable[..., Run], film: Film, tmp_path: Path
) -> None:
    greys = [np.full((64, 96, 3), 4 * n, np.uint8) for n in range(50)]
    path, out = film(greys), tmp_path / "s.png"
    assert dreamreel("measure", path, "--sheet", out, "--quiet").code == 0
    cells = cv2.imread(str(out))
    corners = cells[2::64, 2::96, 0].flatten()
    assert len(corners) == 24 and (corners[0], corners[-1]) == (0, 4 * 49)
    assert set(np.diff(corners.astype(int))) == {8, 12}
    assert cells[64 - 20 : 64, :60].max() > 200  # its time in seconds is written there
    assert dreamreel("measure", film(greys[:5]), "--sheet", out, "--overwrite").code == 0
    assert cv2.imread(str(out)).shape == (64, 6 * 96, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames", "0:5"], ["leave out --frames", "without a DREAM"]),
        (["--layers", "parts", "--judge", "vgg16"], ["--layers, --judge", "record"]),
        (["--judge-weights", "f.pth"], ["--judge-weights"]),
        (["--judge-layers", "parts"], ["--judge-layers"]),
        (["--set", "seed=3"], ["--set"]),
        (["--preset", "eyes"], ["--preset"]),
        (["--network", "vgg16"], ["--network"]),
        (["--weights", "f.pth"], ["--weights"]),
        (["--sheet", "s.doc"], [".doc"]),
        (["--sheet", "/proc/s.png"], ["/proc"]),
        (["--device", "gpu"], ["gpu"]),
    ],
)
def test_a_mistake_gives_one_line(
    dreamreel: Callable[..., Run], dreamed: Path, options: list[str], words: list[str]
) -> None:
    run = dreamreel("measure", dreamed, *options, "--quiet")
    assert run.code == 2 and run.err.count("\n") == 1
    assert all(word in run.err for word in words)


def test_a_sheet_is_refused_with_a_dream(
    dreamreel: Callable[..., Run], dreamed: Path, tmp_path: Path
) -> None:
    run = dreamreel("measure", dreamed, dreamed, "--sheet", tmp_path / "s.png")
    assert run.code == 2 and run.err.count("\n") == 1 and "--sheet" in run.err


def test_a_film_without_the_record_of_a_zoom_is_refused(
    dreamreel: Callable[..., Run], film: Film, photo: np.ndarray, tmp_path: Path
) -> None:
    def refusal(path: Path) -> str:
        run = dreamreel("measure", path, "--quiet")
        assert run.code == 2 and run.err.count("\n") == 1
        return run.err

    clip = write_clip(tmp_path / "clip.mp4", [photo] * 3)
    assert "clip.mp4.json" in refusal(clip) and "SOURCE DREAM" in refusal(clip)
    assert "no file" in refusal(tmp_path / "nothing.mp4")
    path = film([photo] * 3)
    record_path(path).rename(record_path(clip))
    write_clip(clip, [photo] * 4)
    assert "4 frames of 96x64" in refusal(clip) and "3 of 96x64" in refusal(clip)
    told = json.loads(record_path(clip).read_text())
    of_video = {**told["job"], "kind": "video", "source": {"path": str(clip)}}
    del of_video["flight"]
    record_path(clip).write_text(json.dumps(told | {"job": of_video}))
    assert "is a video by its record" in refusal(clip)
    record_path(clip).write_text("{")
    assert "clip.mp4.json is no record" in refusal(clip)


def waves(down: float, across: float, size: tuple[int, int] = (24, 40)) -> Tensor:
    """A response with so many crests down and across: half of them at places between the rest."""
    y, x = (
        torch.linspace(0, 2 * torch.pi * n, side)
        for n, side in zip((down, across), size, strict=True)
    )
    return (1.5 + y.cos()[:, None] * x.cos()).square()[None, None]


def test_things_are_as_many_as_would_fill_the_frame() -> None:
    few, more = things_in(waves(1, 2)), things_in(waves(2, 4))
    assert 2 < few < 5 and more == pytest.approx(4 * few, rel=0.25)
    assert things_in(10 * waves(1, 2)) == pytest.approx(few)  # however strong they are
    assert things_in(torch.ones(1, 1, 24, 40)) == 0
    assert things_in(torch.ones(1, 1, 1, 1)) == 0


def test_a_thing_that_comes_changes_their_number_little_by_little() -> None:
    lively = waves(1, 2)
    counts = []
    for share in torch.linspace(0, 1, 11):
        lively[0, 0, 10:14, 18:22] = 0.5 + 5 * share
        counts.append(things_in(lively))
    steps = np.abs(np.diff(counts)) / np.mean(counts)
    assert counts[-1] > counts[0] and steps.max() < 0.25


def test_fewer_creatures_fill_the_frame_the_larger_they_are() -> None:
    y, x = torch.linspace(-1, 1, 24)[:, None], torch.linspace(-1, 1, 40)
    creature, small = (0.1 + 3 * torch.exp(-s * (y**2 + x**2))[None, None] for s in (2, 32))
    assert things_in(creature) < 0.3 * things_in(small)


def test_things_and_ground_are_means_over_five_seconds(
    film: Film, measured: Measure, photo: np.ndarray
) -> None:
    turned = np.ascontiguousarray(photo[::-1, ::-1] // 2)
    found = measured(film([photo, photo, turned, turned] * 10, rate=Fraction(4)))
    assert found.things == pytest.approx((1, 1), abs=1e-3)
    assert found.ground is not None and found.early_things > 0
    fewer = cv2.resize(photo[:32, :48], (96, 64), interpolation=cv2.INTER_CUBIC)
    found = measured(film([photo] * 20 + [fewer] * 20, rate=Fraction(4)))
    assert found.things is not None and found.things[0] < 1 == pytest.approx(found.things[1])


def test_ground_is_full_of_fine_detail_only_where_a_weave_is_in_it() -> None:
    lively = torch.zeros(1, 1, 32, 32)
    lively[..., 16:] = 2.0
    weave = torch.full((1, 3, 64, 64), 0.5)
    weave[..., ::4, ::4] += 0.1
    clean, woven = weave.clone(), weave.clone()
    clean[..., :32] = woven[..., 32:] = 0.5
    tidy, full, even = (ground_in(one, lively) for one in (clean, woven, weave))
    assert tidy is not None and full is not None and even is not None
    assert tidy < 0.1 and full > 1.5 and even == pytest.approx(1, abs=0.05)
    assert ground_in(weave, torch.ones(1, 1, 8, 8)) is None


def test_fine_detail_that_eight_bits_cannot_show_is_none() -> None:
    lively = torch.ones(1, 1, 8, 8)
    lively[..., :4], lively[..., 4:] = 0.0, 2.0
    grains = torch.zeros(1, 3, 64, 64)
    grains[..., ::2, :20:2] = 0.5 / 255
    assert ground_in(grains, lively) == pytest.approx(1, abs=0.1)
