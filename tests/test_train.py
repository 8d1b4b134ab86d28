"""Training: one's own pictures become a network that loads by itself; stopped, it goes on to the
same bytes; what cannot be learned from is told."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamreel.pipeline.config.presets import merge_presets
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.networks.catalog import load_network, network_layers
from dreamreel.pipeline.networks.classes import own_names
from dreamreel.pipeline.networks.files import described, metadata_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.networks.weights import read_weights
from dreamreel.pipeline.training.batches import Crops, order_of
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.fit import train
from dreamreel.pipeline.training.keeping import Progressed
from dreamreel.pipeline.training.labelled import Labelled, loss_of, noise_like
from dreamreel.pipeline.training.lesson import Lesson
from dreamreel.pipeline.training.pictures import read_pictures
from dreamreel.pipeline.training.student import network_file
from making import Run, start

Dreamreel = Callable[..., Run]


def write_set(folder: Path, kinds: tuple[str, ...] = ("bars", "spots"), each: int = 8) -> Path:
    """So `each` pictures of 40x40 pixels of each of the `kinds`, in folders of their names."""
    random = np.random.default_rng(5)
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            picture = random.integers(0, 90, (40, 40, 3), np.uint8)
            if kind == "bars":
                picture[:, random.integers(4) :: 8] += 150
            else:
                cv2.circle(picture, random.integers(10, 30, 2).tolist(), 9, (30, 90, 240), -1)
            cv2.imwrite(str(folder / kind / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("few") / "few")


def course_in(folder: Path, out: Path) -> Course:
    few = {"epochs": 2, "epoch_steps": 3, "batch": 4, "size": 32}
    return Course(folder, out, **few, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def whole(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that an uninterrupted training of two epochs of three steps gives."""
    return train(course_in(few, tmp_path_factory.mktemp("whole") / "mine.safetensors"))


def test_a_training_leaves_dreams_and_a_curve_and_no_state(whole: Path) -> None:
    names = {path.name for path in (whole.parent / "mine").iterdir()}
    assert names >= {"epoch-01.jpg", "epoch-02.jpg", "losses.png"}
    assert "state.safetensors" not in names


def test_a_network_file_loads_by_itself(whole: Path) -> None:
    network = load_network(str(whole), device="cpu")
    assert network.class_number("spots") == 1
    assert own_names(whole) == ("bars", "spots")
    assert network.head().classes == 2
    assert network_layers(str(whole))[-1].channels == 2


def test_a_network_file_tells_how_it_was_made(whole: Path) -> None:
    told, made = described(whole), json.loads(metadata_of(whole)["training"])
    assert (told.architecture, told.version, told.side) == ("dreamnet", 1, 32)
    assert made["seed"] == 0
    assert made["pictures"]["learned"] == 14
    assert len(made["history"]) == 2


def test_heads_of_dreamnet_keep_their_meaning(whole: Path, dreamnet: Network) -> None:
    trained = load_network(str(whole), device="cpu")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for name in ("textures", "parts", "creatures"):
        before = dreamnet.activations(image, [name])[name]
        after = trained.activations(image, [name])[name]
        assert (after - before).square().mean() < 0.2 * before.square().mean()


def test_a_training_that_is_stopped_in_an_epoch_goes_on_to_the_same_bytes(
    few: Path, whole: Path, tmp_path: Path
) -> None:
    course, steps = course_in(few, tmp_path / "mine.safetensors"), []
    report = Report(on_progress=steps.append, is_stopping=lambda: len(steps) == 5)
    with pytest.raises(Stopped, match="step 5 of 6"):
        train(course, report)
    assert not course.output.exists()
    assert train(course).read_bytes() == whole.read_bytes()


def test_a_training_that_is_killed_goes_on_to_the_same_bytes(
    few: Path, whole: Path, tmp_path: Path
) -> None:
    options = ("--epochs", 2, "--batch", 4, "--size", 32, "--epoch-steps", 3, "--device", "cpu")
    process = start("train", few, "-o", "mine.safetensors", *options, "--precision", "float32",
                    folder=tmp_path)  # fmt: skip
    state = tmp_path / "mine" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "mine.safetensors").exists()
    course = course_in(few, tmp_path / "mine.safetensors")
    assert train(course).read_bytes() == whole.read_bytes()


def test_another_option_or_picture_does_not_go_on_with_a_stopped_training(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    course = course_in(folder, tmp_path / "mine.safetensors")
    with pytest.raises(Stopped):
        train(course, Report(is_stopping=lambda: True))
    with pytest.raises(UserError, match=r"another --seed \(0\); give the same, or --restart"):
        train(replace(course, seed=1))
    cv2.imwrite(str(folder / "bars" / "new.png"), np.eye(40, dtype=np.uint8) * 255)
    with pytest.raises(UserError, match="pictures.*are others"):
        train(course)
    assert train(course, restart=True).exists()


def test_a_trained_network_is_trained_further(whole: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", ("bars", "spots", "more"))
    course = course_in(folder, tmp_path / "next.safetensors")
    out = train(replace(course, network=str(whole), epochs=1))
    assert load_network(str(out), device="cpu").class_number("more") == 1
    assert described(out).architecture == "dreamnet"


def test_another_network_is_trained_from_scratch(few: Path, tmp_path: Path) -> None:
    course = course_in(few, tmp_path / "mine.safetensors")
    out = train(replace(course, network="resnet18", from_scratch=True, epochs=1))
    assert load_network(str(out), device="cpu").class_number("bars") == 0
    assert described(out).mean == pytest.approx((0.485, 0.456, 0.406))


def test_short_memory_makes_smaller_parts_until_it_is_too_little(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamreel.pipeline.training.lesson.free_memory", lambda: 1.0)
    told: list[str] = []
    with pytest.raises(UserError, match="not enough memory to train dreamnet at 32 pixels"):
        train(course_in(few, tmp_path / "mine.safetensors"), Report(on_notice=told.append))
    assert "memory is short: a batch is computed in parts of 2 pictures" in told


def test_noise_is_none_of_the_classes() -> None:
    labels = torch.tensor([1, 1, 1])
    sure = loss_of(
        torch.tensor([[-5.0, 5.0]] * 3), labels, is_noise=torch.tensor([False, True, True])
    )
    none = loss_of(
        torch.tensor([[-5.0, -5.0]] * 3), labels, is_noise=torch.tensor([False, True, True])
    )
    assert sure[0] < none[0]  # the first is a picture of class 1
    assert (none[1:] < sure[1:]).all()


def test_noise_has_every_size_and_fills_its_place() -> None:
    noise = noise_like(torch.empty(4, 3, 64, 64))
    assert noise.min() >= 0 and noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.1)
    coarse = torch.nn.functional.avg_pool2d(noise, 16)
    assert coarse.std() > 0.1  # white noise of this strength would leave 0.03


def test_minutes_end_a_training(few: Path, tmp_path: Path) -> None:
    course = replace(course_in(few, tmp_path / "mine.safetensors"), epochs=100_000, minutes=0.05)
    began = time.monotonic()
    train(course)
    assert time.monotonic() - began < 60  # on a busy machine; epochs alone would take hours
    assert json.loads(metadata_of(course.output)["training"])["steps"] >= 1


def test_a_training_that_is_slower_than_planned_plans_fewer_steps(
    few: Path, tmp_path: Path
) -> None:
    course = replace(course_in(few, tmp_path / "mine.safetensors"), minutes=2.0)
    pictures = read_pictures(few, 32, 0)
    lesson = Lesson(course, pictures, Crops(pictures, 32, 0), Labelled(course, pictures), QUIET)
    for seconds, steps in ((60.0, 19), (130.0, 10), (10.0, 100)):
        at = Progressed(100, step=10, seconds=seconds)
        lesson.plan_again(at)
        assert at.steps == steps


@pytest.mark.parametrize(
    ("checked", "learned", "best", "settled"),
    [
        ([3, 2, 1, 1.01, 0.99, 1, 1.01], [3, 2, 1, 0.9, 0.8, 0.7, 0.6], 7, False),  # still learns
        ([3, 2, 1, 1.01, 0.99, 1, 1.01], [3, 2, 1, 1, 1, 1, 1], 7, True),  # neither falls
        ([3, 1, 2, 2, 2, 2, 2], [3, 2, 1, 0.9, 0.8, 0.7, 0.6], 2, True),  # by heart
        ([3, 1, 2], [3, 2, 1], 2, False),  # too early to tell
    ],
)
def test_a_training_ends_when_nothing_is_learned_any_more(
    checked: list[float], learned: list[float], best: int, settled: bool
) -> None:
    losses = zip(checked, learned, strict=True)
    at = Progressed(10, history=[{"checked_loss": one, "loss": two} for one, two in losses])
    assert at.best_epoch() == best
    assert at.has_settled(4) == settled


def test_epochs_see_every_picture_once_in_another_order() -> None:
    first, second = order_of(30, 0, 0), order_of(30, 0, 1)
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


@pytest.mark.parametrize(
    ("kinds", "each", "message"),
    [
        ((), 0, "no folders: put those of each class into a folder of its own"),
        (("bars",), 8, "has one class, bars; a network learns by telling classes apart"),
        (("bars", "spots"), 3, "has 3 usable pictures of class bars, and 1 more"),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused(
    kinds: tuple[str, ...], each: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite(str(tmp_path / "set" / "a.png"), np.eye(40, dtype=np.uint8))
    with pytest.raises(UserError, match=message):
        read_pictures(write_set(tmp_path / "set", kinds, each), 32, 0)


def test_files_that_teach_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    folder, told = write_set(tmp_path / "set"), []
    (folder / "bars" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "bars" / "photo.heic").write_bytes(b"no picture")
    (folder / "bars" / ".DS_Store").write_bytes(b"hidden")
    cv2.imwrite(str(folder / "spots" / "grey.png"), np.full((40, 40, 3), 90, np.uint8))
    found = read_pictures(folder, 32, 0, told.append)
    assert any(line.startswith("2 of 19 files left out, which cannot be read") for line in told)
    assert any(line.startswith("1 of 19 files left out, which are of one colour") for line in told)
    assert len(found.learned) + len(found.checked) == 16


def test_pictures_that_are_divided_already_stay_so(tmp_path: Path) -> None:
    write_set(tmp_path / "train")
    write_set(tmp_path / "val", ("bars",), 2)
    told: list[str] = []
    found = read_pictures(tmp_path, 32, 0, told.append)
    assert {found.paths[one].parent.parent.name for one in found.checked} == {"val"}
    assert len(found.checked) == 2
    assert any("no picture to check by of spots" in line for line in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "-o tells where the network goes"),
        (("-o", "few/mine.safetensors"), "among the pictures"),
        (("-o", "mine.pth"), "must end in .safetensors"),
        (("-o", "m.safetensors", "--epochs", 0), "--epochs 0 is not between 1 and 100000"),
        (("-o", "m.safetensors", "--size", 8), "--size 8 is not between 32 and 1024"),
        (("-o", "m.safetensors", "--network", "vgg16", "--size", 16), "--size 16 is not"),
        (("-o", "m.safetensors", "--network", "nothing.safetensors"), "there is no network file"),
    ],
)
def test_wrong_options_get_a_line(
    options: tuple[object, ...],
    message: str,
    few: Path,
    dreamreel: Dreamreel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(few.parent)
    run = dreamreel("train", few, *options)
    assert [path.name for path in few.parent.iterdir()] == ["few"]
    assert run.code == 2
    assert message in run.err and run.err.count("\n") == 1


def test_a_network_file_is_named_relative_to_its_preset(whole: Path) -> None:
    preset = whole.with_name("look.toml")
    preset.write_text('description = "mine"\nnetwork = "mine.safetensors"\n')
    ((_, table),) = merge_presets([str(preset)])
    assert Path(table["network"]) == whole.resolve()


def test_a_network_file_dreams_and_lists_its_classes(
    whole: Path, tmp_path: Path, dreamreel: Dreamreel
) -> None:
    assert dreamreel("classes", "--network", whole).out.split() == ["0", "bars", "1", "spots"]
    out = tmp_path / "dream.png"
    run = dreamreel(
        *("image", "noise", "-o", out, "--network", whole, "--class", "spots", "--size", "48x48"),
        *("--set", "imagine.steps=2", "--set", "imagine.views=1"),
    )
    assert run.code == 0, run.err
    assert out.exists()


def test_a_file_that_is_no_network_is_refused(whole: Path, few: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    with pytest.raises(UserError, match="does not tell which network it is.*--weights"):
        load_network(str(plain))
    with pytest.raises(UserError, match="holds weights alone"):
        load_network("mine.pth")
    student = Labelled(course_in(few, whole), read_pictures(few, 32, 0)).student
    weights = dict(read_weights(whole))
    for change, message in (
        ({"version": 99}, "version 99; known here: 1, 2"),
        ({"architecture": "mine:build"}, "--network mine:build --weights"),
        ({"architecture": str(whole)}, "not known by this name"),
        ({"std": (0.0, 1.0, 1.0)}, "std is"),
    ):
        data = network_file(student, weights, ["bars", "spots"], {})
        told = json.loads(metadata_of(whole)["network"]) | change
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"]["network"] = json.dumps(told)
        text = json.dumps(header).encode()
        plain.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        with pytest.raises(UserError, match=message):
            load_network(str(plain))
