"""Distilling: dreamnet learns to feel what another network feels, and its file dreams by itself;
stopped, it goes on to the same bytes; both versions of dreamnet load."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.networks.catalog import (
    dreamnet_of,
    find_architecture,
    load_network,
    network_layers,
)
from dreamreel.pipeline.networks.dreamnet import CHANNELS, VERSIONS
from dreamreel.pipeline.networks.files import described, metadata_of
from dreamreel.pipeline.networks.names import ALLOWED
from dreamreel.pipeline.networks.network import Network, anatomy_of, hollow
from dreamreel.pipeline.training.batches import Crops, batches_of
from dreamreel.pipeline.training.course import HEADS, Course
from dreamreel.pipeline.training.distill import Distilled, begin_distilling, telling_layers
from dreamreel.pipeline.training.fit import train
from dreamreel.pipeline.training.keeping import Progressed
from dreamreel.pipeline.training.labelled import Labelled
from dreamreel.pipeline.training.lesson import Lesson
from dreamreel.pipeline.training.pictures import read_pictures, read_unlabelled
from dreamreel.pipeline.training.student import relative_error
from making import SHARED, Run, start

Dreamreel = Callable[..., Run]

# A network without classes, whose layers are as wide as no other's.
TEACHER = """
import torch
from torch import nn

def build():
    torch.manual_seed(1)
    widths = (3, 8, 8, 12, 20, 28)
    return nn.Sequential(*(
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in zip(widths, widths[1:])
    ))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of 80x70 pixels, some in a folder in the folder."""
    folder, random = tmp_path_factory.mktemp("photos") / "photos", np.random.default_rng(5)
    (folder / "inner").mkdir(parents=True)
    for number in range(10):
        coarse = random.integers(0, 255, (7, 8, 3), np.uint8)
        picture = cv2.resize(coarse, (80, 70), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str((folder / "inner" if number % 2 else folder) / f"{number}.png"), picture)
    return folder


def course_in(folder: Path, out: Path) -> Course:
    few = {"epochs": 2, "epoch_steps": 3, "batch": 4, "size": 64}
    made = {"device": "cpu", "precision": "float32", "from_scratch": True}
    return Course(folder, out, **few, **made, distill_from="dreamnet")


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that an uninterrupted training of two epochs of four steps gives."""
    return train(course_in(photos, tmp_path_factory.mktemp("whole") / "small.safetensors"))


def test_a_distilled_network_loads_by_itself_and_tells_how_it_was_made(whole: Path) -> None:
    network = load_network(str(whole), device="cpu")
    assert network.head().classes == 1000
    assert network.class_number("starfish") == 327
    assert {row.name for row in network_layers(str(whole))} >= {*HEADS}
    told, made = described(whole), json.loads(metadata_of(whole)["training"])
    assert (told.architecture, told.version) == ("dreamnet", max(VERSIONS))
    teacher = made["from"]["teacher"]
    assert teacher["network"] == "dreamnet"
    assert teacher["weights_sha256"] == load_network("dreamnet", device="cpu").digest
    assert teacher["layers"] == {name: name for name in HEADS}
    assert made["history"][0].keys() >= {*HEADS, "loss", "checked_loss", "alike"}


def test_a_distillation_leaves_dreams_and_a_curve_and_no_state(whole: Path) -> None:
    names = {path.name for path in (whole.parent / "small").iterdir()}
    assert names >= {"epoch-01.jpg", "epoch-02.jpg", "losses.png"}
    assert "state.safetensors" not in names


def test_a_distillation_that_is_killed_goes_on_to_the_same_bytes(
    photos: Path, whole: Path, tmp_path: Path
) -> None:
    options = ("--epochs", 2, "--epoch-steps", 3, "--batch", 4, "--size", 64, "--from-scratch")
    given = ("-o", "small.safetensors", "--distill-from", "dreamnet", "--device", "cpu")
    process = start("train", photos, *given, *options, "--precision", "float32", folder=tmp_path)
    state = tmp_path / "small" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "small.safetensors").exists()
    course = course_in(photos, tmp_path / "small.safetensors")
    assert train(course).read_bytes() == whole.read_bytes()


def test_a_distillation_that_is_stopped_in_an_epoch_goes_on_to_the_same_bytes(
    photos: Path, whole: Path, tmp_path: Path
) -> None:
    course, steps = course_in(photos, tmp_path / "small.safetensors"), []
    report = Report(on_progress=steps.append, is_stopping=lambda: len(steps) == 5)
    with pytest.raises(Stopped, match="step 5 of 8"):
        train(course, report)
    with pytest.raises(UserError, match=r"another --layers \(None\)"):
        train(replace(course, layers=("fire3a", "fire4a", "fire4d", "fire5a")))
    assert train(course).read_bytes() == whole.read_bytes()


def test_a_teacher_that_changed_does_not_go_on_with_a_stopped_distillation(
    whole: Path, photos: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(whole.read_bytes())
    course = replace(course_in(photos, tmp_path / "s.safetensors"), distill_from=str(teacher))
    with pytest.raises(Stopped):
        train(course, Report(is_stopping=lambda: True))
    data = bytearray(teacher.read_bytes())
    data[-4:] = bytes(4)
    teacher.write_bytes(data)
    with pytest.raises(UserError, match="the teacher's weights are others.*--restart begins anew"):
        train(course)
    assert train(replace(course, epochs=1), restart=True).exists()


def test_a_student_learns_what_its_teacher_feels(photos: Path, tmp_path: Path) -> None:
    course = replace(course_in(photos, tmp_path / "s.safetensors"), epochs=2, epoch_steps=12)
    lesson = begin_distilling(replace(course, rate=2e-3), QUIET)
    course.beside.mkdir()
    before = lesson.aim.check()
    lesson.run()
    after = lesson.aim.check()
    assert after["textures"] < 0.9 * before["textures"]
    assert after["checked_loss"] < before["checked_loss"]


def test_a_student_that_begins_with_the_bundled_weights_feels_like_dreamnet_at_once(
    photos: Path, tmp_path: Path
) -> None:
    course = replace(course_in(photos, tmp_path / "s.safetensors"), from_scratch=False)
    lesson = begin_distilling(course, QUIET)
    figures = lesson.aim.check()
    assert all(figures[name] < 1e-3 for name in HEADS) and figures["alike"] == 1
    assert lesson.student.architecture.version == 1


def test_a_network_of_other_widths_without_classes_teaches(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"teacher_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TEACHER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ALLOWED, f"{name}:build")
    course = replace(course_in(photos, tmp_path / "s.safetensors"), size=32,
                     distill_from=f"{name}:build")  # fmt: skip
    out = train(replace(course, epochs=1, from_scratch=False))
    assert described(out).channels == (12, 20, 20, 28) and described(out).classes == 0
    network = load_network(str(out), device="cpu")
    assert network.layers["parts"].channels == 20
    with pytest.raises(UserError, match="tells no classes"):
        network.head()
    further = replace(course, network=str(out), output=tmp_path / "t.safetensors", epochs=1)
    assert described(train(replace(further, from_scratch=False))).channels == (12, 20, 20, 28)


def test_a_distilled_network_dreams_and_is_looked_into(
    whole: Path, photos: Path, tmp_path: Path, dreamreel: Dreamreel
) -> None:
    photo, quick = photos / "0.png", ("--steps", 1, "--octaves", 1)
    for given in (
        ("layers", whole),
        ("classes", "starfish", "--network", whole),
        ("image", photo, "-o", tmp_path / "d.png", "--network", whole, "--class", "starfish",
         *quick),
        ("tour", photo, "-o", tmp_path / "t.png", "--network", whole, "--layers",
         "textures,objects", *quick),
        ("visualize", whole, "textures:3", "-o", tmp_path / "v.png", "--steps", 1, "--size",
         "48x48"),
    ):  # fmt: skip
        run = dreamreel(*given)
        assert run.code == 0, run.err


def test_a_distilled_network_is_taught_classes_and_keeps_its_version(
    whole: Path, photos: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        copy = tmp_path / "set" / "ab"[number % 2] / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    course = Course(tmp_path / "set", tmp_path / "m.safetensors", epochs=1, epoch_steps=1, batch=4,
                    size=32, device="cpu", precision="float32")  # fmt: skip
    taught = described(train(replace(course, network=str(whole))))
    fresh = described(train(replace(course, from_scratch=True), overwrite=True))
    plain = described(train(course, overwrite=True))
    assert (taught.version, taught.classes) == (2, 2)
    assert (fresh.version, plain.version) == (2, 1)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    photos: Path, tmp_path: Path, parts: int
) -> None:
    course = replace(course_in(photos, tmp_path / "s.safetensors"), batch=8)
    crops = read_unlabelled(photos, 64, 0)
    labelled = replace(crops, classes=("a", "b"), labels=(0, 1) * 5)
    plain = replace(course, distill_from=None, from_scratch=False)
    for lesson in (
        begin_distilling(course, QUIET),
        Lesson(plain, labelled, Crops(labelled, 64, 0), Labelled(plain, labelled), QUIET),
    ):
        images, labels = next(batches_of(lesson.crops, 8, 0, 0, 0, 0))
        found = []
        for count in (1, parts):
            loss = lesson.gradients(Progressed(6, parts=count, step=1), images, labels)
            found.append((loss, _gradient(lesson)))
        assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
        off = (found[1][1] - found[0][1]).norm() / found[0][1].norm()
        assert off < 1e-3


def _gradient(lesson: Lesson) -> Tensor:
    """All gradients of the student of `lesson`, in a row."""
    parameters = lesson.student.module.parameters()
    return torch.cat([one.grad.flatten().clone() for one in parameters if one.grad is not None])


def test_every_second_picture_of_a_batch_becomes_a_dream_of_the_student(
    photos: Path, tmp_path: Path
) -> None:
    aim = begin_distilling(course_in(photos, tmp_path / "s.safetensors"), QUIET).aim
    assert isinstance(aim, Distilled)
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    _, sizes = aim.drawn(images, torch.zeros(4))
    assert sizes[0] > 0 and sizes[1] == 0
    changed = aim._changed(0, images, sizes)
    assert torch.equal(changed[1::2], images[1::2])
    assert 0.002 < (changed[::2] - images[::2]).abs().mean() < 0.2
    assert changed.min() >= 0 and changed.max() <= 1


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("bvlc_googlenet", "inception_3b inception_4c inception_4e inception_5b"),
        ("googlenet", "inception3b inception4c inception4e inception5b"),
        ("inception_v3", "Mixed_5d Mixed_6c Mixed_6e Mixed_7c"),
        ("resnet50", "layer2 layer3.3 layer3 layer4"),
        ("vgg16", "features.22 features.27 features.29 features"),
        ("dreamnet", "textures parts creatures objects"),
    ],
)
def test_the_layers_that_teach_are_those_of_the_strides_of_the_heads(
    name: str, layers: str
) -> None:
    architecture = find_architecture(name)
    network = Network(architecture, hollow(architecture), anatomy_of(architecture),
                      torch.device("meta"), torch.float32, frozenset())  # fmt: skip
    assert [*telling_layers(network).values()] == layers.split()


def test_layers_that_no_weights_reach_do_not_teach(photos: Path, tmp_path: Path) -> None:
    weights = {
        name: one.contiguous()
        for name, one in load_network("dreamnet", device="cpu").module.state_dict().items()
        if not name.startswith(("fire5", "objects", "classes"))
    }
    save_file(weights, tmp_path / "part.safetensors")
    course = course_in(photos, tmp_path / "s.safetensors")
    aim = begin_distilling(replace(course, weights=tmp_path / "part.safetensors"), QUIET).aim
    assert isinstance(aim, Distilled)
    assert aim.teacher.layers["objects"] == "creatures" and aim.teacher.head is None


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_dreamnet_has_the_same_heads(version: int) -> None:
    architecture = dreamnet_of(version)
    layers = anatomy_of(architecture).layers
    assert {name: layers[name].channels for name in CHANNELS} == CHANNELS
    assert [layers[name].field.stride for name in CHANNELS] == [8, 16, 16, 32]
    for side in (32, 33, 47, 64, 100):  # the same places, whatever the version
        shapes = [
            tuple(VERSIONS[one]().pool(torch.empty(1, 48, side, side)).shape)
            for one in (1, version)
        ]
        assert shapes[0] == shapes[1]


def test_the_second_version_has_no_grid_and_costs_less() -> None:
    spreads, costs = [], []
    for version in (1, 2):
        module = VERSIONS[version]()
        x = torch.ones(1, 3, 65, 65, requires_grad=True)
        module.pool(module.pool(module.pool(x))).sum().backward()
        assert x.grad is not None
        inner = x.grad[0, 0, 20:44, 20:44]
        spreads.append(float(inner.std() / inner.mean()))
        with torch.device("meta"), FlopCounterMode(display=False) as counted:
            VERSIONS[version]()(torch.empty(1, 3, 160, 160))
        costs.append(counted.get_total_flops())
    assert spreads[0] > 0.4 and spreads[1] < 1e-5
    assert costs[1] < 0.7 * costs[0]


def test_a_stem_that_blurs_does_not_see_what_alternates() -> None:
    checks = torch.zeros(1, 3, 64, 64)
    checks[:, :, ::2, 1::2] = checks[:, :, 1::2, ::2] = 1
    for version, least, most in ((1, 0.01, 10), (2, 0, 1e-5)):
        torch.manual_seed(1)
        module, seen = VERSIONS[version](), []
        module.stem.register_forward_hook(
            lambda part, inputs, output, seen=seen: seen.append(output)
        )
        module(checks, ())
        module(torch.full_like(checks, 0.5), ())
        inner = (seen[0] - seen[1])[:, :, 3:-3, 3:-3].abs().max()
        assert least <= inner <= most


def test_pictures_of_no_class_are_found_in_all_folders(photos: Path, tmp_path: Path) -> None:
    told: list[str] = []
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden").mkdir()
    cv2.imwrite(str(photos / ".hidden" / "a.png"), np.eye(40, dtype=np.uint8) * 255)
    found = read_unlabelled(photos, 64, 0, told.append)
    assert len(found.learned) + len(found.checked) == 10
    assert told[0].startswith("1 of 11 files left out, which cannot be read")
    (photos / "notes.txt").unlink()
    few = tmp_path / "few"
    few.mkdir()
    cv2.imwrite(str(few / "a.png"), np.eye(40, dtype=np.uint8) * 255)
    with pytest.raises(UserError, match="has 1 usable pictures.*4 are the least"):
        read_unlabelled(few, 64, 0)


def test_small_pictures_have_small_crops_unless_a_size_is_given(
    photos: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    course = replace(course_in(photos, tmp_path / "s.safetensors"), size=None)
    lesson = begin_distilling(course, Report(on_notice=told.append))
    assert lesson.course.side == 112
    assert any("crops have 112 pixels" in line for line in told)


def test_an_empty_picture_counts_little_in_a_relative_error() -> None:
    theirs = torch.stack([torch.zeros(4, 5, 5), torch.ones(4, 5, 5)])
    error = relative_error(theirs + 0.1, theirs, usual=1.0)
    assert error.tolist() == pytest.approx([0.02, 0.01])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--distill-from", "dreamnot"), "unknown network 'dreamnot'"),
        (("--distill-from", "bvlc_googlenet"), "comes without weights"),
        (("--distill-from", "dreamnet", "--network", "resnet18", "--from-scratch"),
         "what learns from dreamnet is dreamnet"),
        (("--distill-from", "dreamnet", "--layers", "textures,parts"), "2 layers; 4 are needed"),
        (("--distill-from", "dreamnet", "--layers", "textures,parts,parts,objets"), "'objects'"),
        (("--distill-from", "dreamnet", "--layers", "textures,parts,parts,classes"), "no places"),
        (("--layers", "textures,parts,parts,objects"), "that --distill-from names"),
        (("--distill-from", "dreamnet", "--size", 16), "--size 16 is not between"),
    ],
)  # fmt: skip
def test_what_cannot_teach_gets_a_line(
    options: tuple[object, ...], message: str, photos: Path, tmp_path: Path, dreamreel: Dreamreel
) -> None:
    out = tmp_path / "s.safetensors"
    run = dreamreel("train", photos, "-o", out, *options)
    assert run.code == 2
    lines = [line for line in run.err.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1 and message in lines[0]
    assert not any(tmp_path.iterdir())


def test_a_description_of_a_network_without_classes_is_of_dreamnet_alone(whole: Path) -> None:
    told = described(whole)
    with pytest.raises(ValueError, match="resnet18 has no classes"):
        type(told).model_validate(told.model_dump() | {"architecture": "resnet18", "classes": 0})


def test_read_pictures_still_wants_classes(photos: Path) -> None:
    with pytest.raises(UserError, match="--distill-from"):
        read_pictures(photos / "inner", 32, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_place_of_each_version_sees_its_field_alone(version: int) -> None:
    torch.manual_seed(1)
    module, field = VERSIONS[version](), anatomy_of(dreamnet_of(version)).layers["textures"].field
    seen: list[Tensor] = []
    module.textures.register_forward_hook(lambda _, __, output: seen.append(output))
    image = torch.rand(1, 3, 200, 200, requires_grad=True)
    module(image, ["textures"])
    seen[0][0, :, 12, 12].sum().backward()
    assert image.grad is not None
    reached = image.grad[0].abs().sum((0, 1)).nonzero().flatten()
    begins = field.first + 12 * field.stride
    assert reached.min() == begins and reached.max() == begins + (field.receptive or 0) - 1


# Training on a device that mixes with nothing from the CPU: the losses of a step, there and here.
ELSEWHERE = """
import sys
from pathlib import Path
import torch
from pretend import Device
from dreamreel.pipeline.jobs.report import QUIET
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.distill import begin_distilling
from dreamreel.pipeline.training.keeping import Progressed
from dreamreel.pipeline.training.lesson import Lesson

torch.__future__.set_overwrite_module_params_on_conversion(True)
course = Course(Path(sys.argv[1]), Path("s.safetensors"), batch=4, size=64, device="cpu",
                precision="float32", distill_from="dreamnet", from_scratch=True)
for away in (False, True):
    lesson = begin_distilling(course, QUIET)
    images, labels = next(lesson._batches(0, 0))
    with Device():
        if away:
            for network in (lesson.student.network, lesson.aim.teacher.network):
                network.module.to("away")
                network._normalise.to("away")
                network.device = torch.device("away")
            lesson = Lesson(lesson.course, lesson.pictures, lesson.crops, lesson.aim, QUIET)
        print(lesson._step(Progressed(9, parts=2), images, labels), lesson.aim.check())
"""


@pytest.mark.shared
def test_a_step_mixes_no_devices(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch.utils.backend_registration")
    path = os.pathsep.join(
        [str(SHARED / "gpu"), str(SHARED.parent), os.environ.get("PYTHONPATH", "")]
    )
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, str(photos)], cwd=tmp_path, text=True,
                         capture_output=True, env=os.environ | {"PYTHONPATH": path})  # fmt: skip
    assert run.returncode == 0, run.stderr
    here, there = ([float(one) for one in re.findall(r"\d+\.\d+", line)]
                   for line in run.stdout.splitlines())  # fmt: skip
    # Elsewhere, the teacher's layers are the plain ones, which add in another order.
    assert here and here == pytest.approx(there, rel=1e-4)
