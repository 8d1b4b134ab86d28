"""Explorers: their sheets, folders and films hold what was asked for, and tell how it was made."""

import json
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.exploring.activations import _View
from dreamreel.pipeline.exploring.layers import layer_rows, usual_stops
from dreamreel.pipeline.exploring.sheets import Cell, Page, drawn, in_rows, save_sheet
from dreamreel.pipeline.exploring.tour import melted
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import sharpness
from making import Run, read_clip, start

Call = Callable[..., Run]
QUICK = ("--steps", "1", "--octaves", "1")


@pytest.fixture
def photo(tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), scene[:72, :96])
    return path


def index_of(path: Path) -> dict:
    return json.loads(Path(f"{path}.json").read_text())


def cells_of(path: Path) -> list[dict]:
    return [cell for page in index_of(path)["pages"] for cell in page["cells"]]


def refused(run: Run, *words: str) -> None:
    assert run.code == 2 and run.err.count("\n") == 1, run.err
    assert all(word in run.err for word in words), run.err


# Sheets


def test_a_sheet_is_never_wider_than_a_screen() -> None:
    cell = Cell("a", Image.new("RGB", (900, 500)))
    assert drawn(in_rows("many", [cell] * 140, most=12)).width <= 2400
    assert drawn(Page("one", ((cell,),))).width < 600


def test_rows_of_a_sheet_are_as_full_as_can_be() -> None:
    cell = Cell("a", Image.new("RGB", (90, 50)))
    assert all(None not in in_rows("", [cell] * count).cells[-1] for count in (1, 2, 3, 8, 12, 15))


def test_a_detail_is_shown_at_full_size() -> None:
    picture = Image.new("RGB", (1000, 800))
    dots = Image.effect_noise((40, 40), 80).convert("RGB")
    picture.paste(dots, (480, 380))
    sheet = np.asarray(drawn(Page("", ((Cell("", picture),),), detail=(0.5, 0.5))))
    found = cv2.matchTemplate(sheet, np.asarray(dots), cv2.TM_SQDIFF)
    assert found.min() < 100  # of some 9e7 elsewhere: sums of floats are rounded


def test_a_cell_that_failed_says_why_in_its_place() -> None:
    good, bad = Cell("good", Image.new("RGB", (200, 100))), Cell("bad", why="no such layer")
    page = in_rows("", [good, bad])
    assert drawn(page).size == drawn(in_rows("", [good, good])).size


# Tours


def test_the_usual_stops_are_some_of_the_layers_from_low_to_high() -> None:
    for network in ("dreamnet", "vgg16"):
        stops, names = usual_stops(network), [row.name for row in layer_rows(network)]
        assert 6 <= len(stops) <= 12
        assert [names.index(stop) for stop in stops] == sorted(map(names.index, stops))
    assert "parts" in usual_stops("dreamnet")


def test_a_tour_shows_each_layer_and_tells_how_it_was_made(dreamreel: Call, photo: Path) -> None:
    run = dreamreel("tour", photo, "--layers", "stem,textures", *QUICK)
    assert run.code == 0 and run.out.strip().endswith("photo-tour.png"), run.err
    out = photo.with_name("photo-tour.png")
    assert [cell["label"].split(":")[0] for cell in cells_of(out)] == ["stem", "textures"]
    with Image.open(out) as sheet:
        told = json.loads(sheet.text["Description"])  # type: ignore[attr-defined]
    assert told["command"] == "tour" and told["settings"]["dream.steps"] == 1
    assert not list(photo.parent.glob("*unfinished*"))


def test_a_tour_as_a_folder_has_a_picture_of_each_layer(dreamreel: Call, photo: Path) -> None:
    run = dreamreel("tour", photo, "-o", "tour", "--layers", "stem,textures", *QUICK)
    assert run.code == 0, run.err
    names = sorted(path.name for path in Path("tour").iterdir())
    assert names == ["001-stem.png", "002-textures.png", "index.json"]
    refused(dreamreel("tour", photo, "-o", "tour", *QUICK), "not empty")


def test_a_tour_as_a_film_has_its_length(dreamreel: Call, photo: Path) -> None:
    given = ("--layers", "stem,textures", "--seconds", "0.5", "--fps", "12")
    run = dreamreel("tour", photo, "-o", "tour.mp4", *given, *QUICK)
    assert run.code == 0, run.err
    assert len(read_clip(Path("tour.mp4"))) == 6
    assert index_of(Path("tour.mp4"))["layers"] == ["stem", "textures"]


def test_a_film_of_many_parts_has_all_its_frames(
    dreamreel: Call, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamreel.pipeline.exploring.films.PART_BYTES", 3 * 72 * 96 * 3)
    given = ("--layers", "stem,textures", "--seconds", "0.7", "--fps", "10")
    run = dreamreel("tour", photo, "-o", "tour.mp4", *given, *QUICK)
    assert run.code == 0, run.err
    assert len(read_clip(Path("tour.mp4"))) == 7


def test_dreams_melt_into_one_another_evenly_and_without_losing_strength() -> None:
    random = np.random.default_rng(0)
    source = np.full((40, 60, 3), 128, np.uint8)
    dreams = [np.uint8(128 + 30 * random.standard_normal((40, 60, 3)).clip(-3, 3)) for _ in "abc"]
    frames = [frame.astype(float) for frame in melted([source, *dreams], 60)]
    assert np.array_equal(frames[0], dreams[0]) and np.array_equal(frames[-1], dreams[2])
    strengths = [float((frame - source).std()) for frame in frames]
    assert max(strengths) < 1.1 * min(strengths)
    steps = [float(np.abs(b - a).mean()) for a, b in pairwise(frames)]
    assert max(steps) < 6  # of some 34 levels between two dreams


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--layers", "texturs"), ("no layer 'texturs'", "'textures'")),
        (("--layers", "stem,,parts"), ("--layers", "missing")),
        (("--layers", "stem,textures:999999"), ("--layers", "malformed")),
        (("--layers", "0.5*stem"), ("--layers", "0.5*stem")),
        (("--network", "resnet18", "--weights", "photo.png"), ("photo.png",)),
        (("-o", "tour.xyz"), (".xyz", ".png")),
        (("-o", "photo.png", "--overwrite"), ("the source itself",)),
        (("-o", "photo.png/tour.png"), ("photo.png is a file",)),
        (("--network", "vgg"), ("unknown network",)),
        (("--set", "dream.octavs=2"), ("octavs",)),
    ],
)
def test_a_tour_that_cannot_be_made_is_refused_in_one_line(
    dreamreel: Call, photo: Path, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = sorted(photo.parent.iterdir())
    refused(dreamreel("tour", photo, *given, *QUICK), *words)
    assert sorted(photo.parent.iterdir()) == before


def test_a_sweep_that_is_killed_twice_ends_with_the_same_bytes(
    photo: Path, dreamreel: Call
) -> None:
    given = ("sweep", photo.name, "--over", "seed=1,2,3,4,5,6", "--steps", "3", "--octaves", "1")
    _killed_twice(given, photo, dreamreel, (1, 3))


def _killed_twice(
    given: tuple[str, ...], photo: Path, dreamreel: Call, killed_after: tuple[int, int]
) -> None:
    """Check that the sheet of `given` is the same if it is killed when so many cells are done."""
    assert dreamreel(*given, "-o", "whole.png").code == 0
    for done in killed_after:
        process = start(*given, "-o", "part.png", folder=photo.parent)
        while process.poll() is None:
            if len(list(photo.parent.glob("part.png.unfinished/cell-*.png"))) >= done:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.02)
        process.communicate()
    if not Path("part.png").exists():  # it was not too quick
        run = dreamreel(*given, "-o", "part.png")
        assert run.code == 0 and "going on after" in run.err, run.err
    assert Path("part.png").read_bytes() == Path("whole.png").read_bytes()
    assert not list(photo.parent.glob("*unfinished*"))


@pytest.mark.slow
def test_a_sweep_of_24_cells_that_is_killed_twice_ends_with_the_same_bytes(
    photo: Path, dreamreel: Call
) -> None:
    over = ("--over", "seed=1,2,3,4,5,6", "--over", "dream.steps=1,2,3,4")
    _killed_twice(("sweep", photo.name, *over, "--octaves", "1"), photo, dreamreel, (5, 14))


def test_a_damaged_picture_of_an_unfinished_sheet_is_made_anew(
    photo: Path, dreamreel: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("sweep", photo, "--over", "seed=1,2,3", *QUICK)
    assert dreamreel(*given, "-o", "whole.png").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("dreamreel.pipeline.exploring.sweep.save_sheet", _interrupted)
        assert dreamreel(*given, "-o", "part.png").code == 130
    first, *_ = sorted(photo.parent.glob("part.png.unfinished/cell-*.png"))
    first.write_bytes(first.read_bytes()[:200])
    assert dreamreel(*given, "-o", "part.png").code == 0
    assert Path("part.png").read_bytes() == Path("whole.png").read_bytes()


def _interrupted(*given: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("ending", ["webp", "tif", "bmp", "avif", "JPG"])
def test_a_sheet_has_the_format_of_its_ending(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"sheet.{ending}"
    cell = Cell("a", Image.new("RGBA", (90, 50), (255, 0, 0, 128)))
    save_sheet([in_rows("one", [cell])], Target(out), {"command": "test"})
    with Image.open(out) as sheet:
        assert sheet.size == drawn(in_rows("one", [cell])).size


# Sweeps


def test_a_sweep_has_a_cell_for_each_combination(dreamreel: Call, photo: Path) -> None:
    over = ("--over", "dream.steps=1,2", "--over", "dream.step_size=0.5,1.5,4")
    run = dreamreel("sweep", photo, "-o", "s.png", *over, "--octaves", 1)
    assert run.code == 0, run.err
    found = [cell["over"] for cell in cells_of(Path("s.png"))]
    assert len(found) == 6 and {"dream.steps": "2", "dream.step_size": "0.5"} in found
    (page,) = index_of(Path("s.png"))["pages"]
    assert [(cell["row"], cell["column"]) for cell in page["cells"]][-1] == (2, 1)


def test_a_third_axis_makes_further_pages(dreamreel: Call, photo: Path) -> None:
    over = ("--over", "steps=1,2", "--over", "seed=1,2", "--over", "layers=stem,fire2a,fire2b")
    run = dreamreel("sweep", photo, "-o", "s.jpg", *over, "--octaves", 1)
    assert run.code == 0, run.err
    assert [page["file"] for page in index_of(Path("s.jpg"))["pages"]] == [
        "s.jpg", "s-2.jpg", "s-3.jpg"
    ]  # fmt: skip
    with Image.open("s-3.jpg") as sheet:
        assert json.loads(sheet.getexif()[0x010E])["over"]["seed"] == ["1", "2"]


def test_looks_classes_and_layers_can_be_swept_over(dreamreel: Call, photo: Path) -> None:
    for axis in ("preset=eyes,flock", "class=starfish,castle", "layers=stem,0.5*stem + textures"):
        run = dreamreel("sweep", photo, "-o", "s.png", "--over", axis, *QUICK, "--overwrite")
        assert run.code == 0, run.err
        assert len(cells_of(Path("s.png"))) == 2


def test_a_cell_that_cannot_be_made_stops_no_other(dreamreel: Call, photo: Path) -> None:
    run = dreamreel("sweep", photo, "-o", "s.png", "--over", "layers=stem,texturs", *QUICK)
    assert run.code == 0, run.err
    good, bad = cells_of(Path("s.png"))
    assert "why" not in good and "did you mean 'textures'" in bad["why"]


def test_a_moment_of_a_video_and_a_zoom_can_be_swept_over(
    dreamreel: Call, photo: Path, moving_clip: Path
) -> None:
    over = ("--over", "layers=stem,fire2a")
    run = dreamreel("sweep", moving_clip, "--still", 0.2, "-o", "v.png", *over, *QUICK)
    assert run.code == 0, run.err
    axis = ("--over", "camera.zoom=1.1,3")
    run = dreamreel("sweep", photo, "--zoom", 0.1, "-o", "z.png", *axis, "--layers", "stem", *QUICK)
    assert run.code == 0 and "note" not in run.err, run.err
    assert not list(photo.parent.glob("*unfinished*"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), ("needs an axis", "--over dream.steps=")),
        (("--over", "dream.steps"), ("not NAME=VALUE",)),
        (("--over", "dream.stps=1,2"), ("dream.stps", "dream.steps")),
        (("--over", "dream.steps=1,many"), ("dream.steps", "many")),
        (("--over", "steps=1,1"), ("twice",)),
        (("--over", "steps=1,2", "--over", "dream.steps=3"), ("both set dream.steps",)),
        (("--over", "octaves=1,2", "--octaves", "3"), ("--octaves", "both set dream.octaves")),
        (("--over", "preset=eyes,feever"), ("feever", "fever")),
        (("--over", "layers=texturs"), ("no layer 'texturs'",)),
        (("--over", "seed=" + ",".join(map(str, range(401)))), ("401", "400")),
        (("--over", "seed=1", "--detail", "2:2"), ("--detail",)),
        (("--over", "seed=1", "-o", "s.mp4"), (".mp4", ".png")),
    ],
)
def test_a_sweep_that_cannot_be_made_is_refused_in_one_line(
    dreamreel: Call, photo: Path, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = sorted(photo.parent.iterdir())
    refused(dreamreel("sweep", photo, *given), *words)
    assert sorted(photo.parent.iterdir()) == before


def test_a_film_without_a_moment_and_what_is_there_already_are_refused(
    dreamreel: Call, photo: Path, moving_clip: Path
) -> None:
    refused(dreamreel("sweep", moving_clip, "--over", "seed=1"), "--still")
    Path("s.png").write_bytes(b"precious")
    refused(dreamreel("sweep", photo, "-o", "s.png", "--over", "seed=1"), "exists")
    Path("t-2.png").write_bytes(b"precious")
    many = ("--over", "steps=1", "--over", "octaves=1", "--over", "seed=1,2")
    refused(dreamreel("sweep", photo, "-o", "t.png", *many), "t-2.png exists")


# What channels and classes look for

SMALL = ("--set", "imagine.views=1", "--set", "imagine.side=64", "--size", "64x64")
IMAGINED = ("--steps", "1", *SMALL)


@pytest.fixture
def photos(photo: Path, scene: np.ndarray) -> Path:
    folder = photo.parent / "photos"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), scene[: 80 + 40 * number, : 130 + 30 * number])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_channels_neurons_and_classes_are_visualized(dreamreel: Call, photo: Path) -> None:
    run = dreamreel("visualize", "dreamnet", "textures:3+5-6", *IMAGINED, "-o", "v.png")
    assert run.code == 0, run.err
    assert [cell["term"] for cell in cells_of(Path("v.png"))] == [
        f"mean:textures:{number}" for number in (3, 5, 6)
    ]
    run = dreamreel("visualize", "dreamnet", "textures:3@0.5:0.25", *IMAGINED, "-o", "n.png")
    assert run.code == 0 and cells_of(Path("n.png"))[0]["term"] == "mean:textures:3@0.5:0.25"
    given = ("--photos", photo, *IMAGINED)
    run = dreamreel("visualize", "dreamnet", "--classes", "starfish,castle", *given)
    assert run.code == 0, run.err
    found = [cell["label"] for cell in cells_of(Path("dreamnet-starfish-castle.png"))]
    assert found == ["starfish (327)", "castle (483)"]
    assert len(cells_of(Path("dreamnet-starfish-castle.png"))[0]["places"]) > 0


def test_the_places_of_photos_excite_a_channel_most(
    dreamreel: Call, photos: Path, dreamnet: Network
) -> None:
    given = ("--photos", photos, *IMAGINED, "-o", "v.png")
    run = dreamreel("visualize", "dreamnet", "stem:strongest(2)", *given)
    assert run.code == 0, run.err
    for cell in cells_of(Path("v.png")):
        number = int(cell["term"].rpartition(":")[2])
        values = [place["value"] for place in cell["places"]]
        most = 0.0
        for path in photos.glob("*.png"):
            image = load_picture(path, torch.device("cpu")).image
            most = max(most, float(dreamnet.activations(image, ["stem"])["stem"][0, number].max()))
        assert len(values) == 4 and values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(most, abs=1e-3)
        left, top, right, bottom = cell["places"][0]["box"]
        assert (right - left, bottom - top) == (5, 5)  # the receptive field of the layer


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("dreamnet",), ("LAYER", "--classes")),
        (("dreamnet", "texturs"), ("no layer 'texturs'", "'textures'")),
        (("dreamnet", "textures:480"), ("no channel 480", "from 0 to 479")),
        (("dreamnet", "class:starfish"), ("--classes",)),
        (("dreamnet", "tv"), ("no layer",)),
        (("dreamnet", "textures:x"), ("malformed", "channels such as")),
        (("dreamnet", "textures:strongest(3)"), ("--photos",)),
        (("dreamnet", "--classes", "starfsh"), ("starfsh", "starfish")),
        (("dreamnt", "textures"), ("dreamnt", "dreamnet")),
        (("dreamnet", "stem:1", "--photos", "none"), ("no folder none",)),
        (("dreamnet", "stem:1", "--photos", "empty"), ("holds no pictures",)),
        (("dreamnet", "stem:1", "-o", "v.mp4"), (".mp4", ".png")),
        (("dreamnet", "stem:1", "--decay", "2"), ("imagine.decay",)),
    ],
)
def test_a_sheet_of_channels_that_cannot_be_made_is_refused_in_one_line(
    dreamreel: Call, photo: Path, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    Path("empty").mkdir()
    before = sorted(photo.parent.iterdir())
    refused(dreamreel("visualize", *given, "--steps", "1"), *words)
    assert sorted(photo.parent.iterdir()) == before


def test_each_regulariser_calms_what_is_imagined(dreamnet: Network) -> None:
    def imagined(**more: float) -> torch.Tensor:
        table = {"steps": 12, "views": 1, "side": 64, **more}
        settings = build(("test", {"dream": {"terms": "mean:textures:3"}, "imagine": table}))
        return imagine((64, 64), dreamnet, settings)

    plain = imagined()
    assert float((imagined(decay=0.2) - 0.5).std()) < float((plain - 0.5).std())
    assert sharpness(imagined(blur=1.0)) < 0.5 * sharpness(plain)

    def grey(image: torch.Tensor) -> float:
        """The share of pixels that are nearly grey."""
        return float(((image - 0.5).abs().amax(1) < 0.02).float().mean())

    assert grey(imagined(clip=0.6)) > grey(plain)


# What excites what


def test_maps_of_a_picture_come_strongest_first(
    dreamreel: Call, photo: Path, dreamnet: Network
) -> None:
    run = dreamreel("activations", photo, "fire2a:strongest(5)")
    assert run.code == 0, run.err
    first, *maps = cells_of(photo.with_name("photo-fire2a-strongest-5.png"))
    means = [cell["mean"] for cell in maps]
    assert len(means) == 5 and means == sorted(means, reverse=True)
    image = load_picture(photo, torch.device("cpu")).image
    found = dreamnet.activations(image, ["fire2a"])["fire2a"].clamp_min(0).mean((2, 3))[0]
    assert maps[0]["channel"] == int(found.argmax())
    assert "channel" not in first


def test_maps_of_a_video_are_a_film_of_its_length_with_its_sound(
    dreamreel: Call, photo: Path, moving_clip: Path
) -> None:
    run = dreamreel("activations", moving_clip, "fire2a", "-o", "a.mp4", "--frames", "2:6")
    assert run.code == 0, run.err
    frames, film = read_clip(Path("a.mp4")), probe(Path("a.mp4"))
    assert len(frames) == 4 and film.has_audio
    assert frames[0].shape == (96 + 130, 160 + 4 * 80, 3)
    source = read_clip(moving_clip)[2]
    assert np.abs(frames[0][:96, :160].astype(int) - source).mean() < 6
    assert len(index_of(Path("a.mp4"))["channels"]) == 16
    run = dreamreel("activations", moving_clip, "fire2a:1", "-o", "a.png", "--still", 0.2)
    assert run.code == 0 and cells_of(Path("a.png"))[1]["channel"] == 1
    assert sorted(path.name for path in photo.parent.iterdir()) == [
        "a.mp4", "a.mp4.json", "a.png", "a.png.json", "photo.png"
    ]  # fmt: skip


def test_a_film_of_maps_that_is_stopped_or_killed_goes_on_to_the_same_bytes(
    dreamreel: Call, photo: Path, moving_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamreel.pipeline.exploring.films.PART_FRAMES", 3)
    given = ("activations", moving_clip, "fire2a")
    assert dreamreel(*given, "-o", "whole.mp4").code == 0
    drawn, seen = _View.drawn, []

    def dying(view: _View, frame: np.ndarray) -> np.ndarray:
        seen.append(len(seen))
        if len(seen) == 6:
            raise KeyboardInterrupt  # in the second part
        return drawn(view, frame)

    monkeypatch.setattr(_View, "drawn", dying)
    assert dreamreel(*given, "-o", "part.mp4").code == 130
    assert len(list(photo.parent.glob("part.mp4.unfinished/cell-*.mp4"))) == 1
    seen[:] = [0] * 10
    run = dreamreel(*given, "-o", "part.mp4")
    assert run.code == 0 and "going on after 3 frames" in run.err, run.err
    assert len(seen) - 10 == 1 + len(read_clip(Path("whole.mp4"))) - 3  # its size, by the first
    assert Path("part.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert not list(photo.parent.glob("*unfinished*"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("photo.png", "texturs"), ("no layer 'texturs'",)),
        (("photo.png", "stem:48"), ("no channel 48",)),
        (("photo.png", "classes"), ("whole picture", "objects")),
        (("photo.png", "objects", "--width", "16"), ("too small for objects",)),
        (("photo.png", "stem", "-o", "a.mp4"), (".mp4", ".png")),
        (("photo.png", "stem", "--frames", "0:2"), ("--frames",)),
        (("none.png", "stem"), ("none.png",)),
        (("clip.mp4", "stem", "-o", "a.png"), ("a.png", ".mp4")),
        (("clip.mp4", "stem", "-o", "photo.png", "--still", "0"), ("exists",)),
        (("clip.mp4", "stem", "--frames", "90:99"), ("clip.mp4",)),
    ],
)
def test_maps_that_cannot_be_made_are_refused_in_one_line(
    dreamreel: Call, photo: Path, moving_clip: Path, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    Path("clip.mp4").symlink_to(moving_clip)
    before = sorted(photo.parent.iterdir())
    refused(dreamreel("activations", *given), *words)
    assert sorted(photo.parent.iterdir()) == before
