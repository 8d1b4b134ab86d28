"""The aim of a training by another network: to feel, layer by layer, what that one feels.

The student is a dreamnet, whose heads answer as the teacher's layers do (Hinton et al., Distilling
the Knowledge in a Neural Network, 2015; Romero et al., FitNets, 2015). Half of each batch is first
changed by the student itself: it climbs a layer of its own, as a dream does, and then goes where it
misses its teacher most. Taught natural pictures alone, its dreams are noise: ascent finds what no
teacher ever told it.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.networks.catalog import dreamnet_of, load_network
from dreamreel.pipeline.networks.classes import names_of
from dreamreel.pipeline.networks.cpu_kernels import StridedStem
from dreamreel.pipeline.networks.files import described, file_of
from dreamreel.pipeline.networks.heads import Head
from dreamreel.pipeline.networks.kernels import FastAvgPool, FastMaxPool
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize
from dreamreel.pipeline.training.batches import Crops, Middles, seed_of
from dreamreel.pipeline.training.course import HEADS, SIZE, Course
from dreamreel.pipeline.training.keeping import Digests
from dreamreel.pipeline.training.lesson import Lesson
from dreamreel.pipeline.training.pictures import Pictures, read_unlabelled
from dreamreel.pipeline.training.showing import show_layers
from dreamreel.pipeline.training.student import (
    Student,
    begun_as,
    relative_error,
    student_of,
    usual_squares,
)

# How much the error of each head counts, and that of the classes, at a temperature that makes the
# unlikely ones count.
WEIGHTS = {"textures": 1.0, "parts": 1.5, "creatures": 1.0, "objects": 0.5}
CLASSES, TEMPERATURE = 0.15, 2.0
CLIMBED = ("textures", "parts", "creatures")  # one of these in a batch: what is dreamed most
CLIMBS = (1, 2, 3)  # steps of it; one of these numbers
CONTRARY = (0, 0, 1, 2)  # steps after them towards what the student misses
STEP = (0.006, 0.03)  # the size of each, of 1, where a gradient's mean is 1
SHARE = (0.1, 1.0)  # of a picture that a crop shows: things near and far
MOSAICS = 0.125  # the share of crops that are four in one
START = 0.3  # how strongly fresh heads respond at first, over the teacher: 1 would miss more
LEAST_PACE = 0.1  # the rate of a head whose teacher hardly responds, over that of the trunk
SHOWN = (128, 320)  # pixels of the side of the picture that is dreamed: four places of objects
CHECKED = 256  # pictures to check by, at most; a round number
# The strides at which the heads of dreamnet lie, in pixels.
STRIDES = {"textures": 8, "parts": 16, "creatures": 16, "objects": 32}
# Modules whose activation goes on to one that tells more: none of those that are derived from them.
PLAIN = {
    *(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity),
    *(StridedStem, FastMaxPool, FastAvgPool),
}
Felt = Mapping[str, Tensor]  # what a network feels in pictures, by the head that is to feel so
# The teacher of the bundled weights, and what it made of them: their heads know both.
KNOWN_TEACHERS = ("bvlc_googlenet", "dreamnet")


@dataclass(frozen=True)
class Teacher:
    """A network that teaches: the layer that each head is to feel, and what tells its classes."""

    network: Network
    layers: Mapping[str, str]
    head: Head | None

    @property
    def channels(self) -> dict[str, int]:
        """The channels of the layer of each head."""
        return {name: self.network.layers[layer].channels for name, layer in self.layers.items()}

    @torch.no_grad()
    def felt(self, images: Tensor) -> dict[str, Tensor]:
        """What it feels in `images` (N, 3, H, W), by head, nothing below zero: (N, C, h, w); with
        the logits (N, classes) as "classes", if it tells any."""
        names = {*self.layers.values()} | ({self.head.layer} if self.head else set())
        seen = self.network.activations(images, names)
        found = {name: seen[layer].float().clamp_min(0) for name, layer in self.layers.items()}
        if self.head is not None:
            found["classes"] = self.head.of_whole(seen[self.head.layer]).float()
        return found


class Distilled:
    """The aim to feel what `teacher` feels: see `lesson.Aim`."""

    digests: Digests
    layers: tuple[str, ...]
    plotted: tuple[str, ...] = HEADS
    plotted_as = "relative squared error"

    def __init__(
        self, course: Course, pictures: Pictures, teacher: Teacher, student: Student
    ) -> None:
        self.course, self.pictures = course, pictures
        self.teacher, self.student = teacher, student
        self.digests = {
            "pictures": pictures.digest,
            "weights": student.source["weights_sha256"],
            "teacher's weights": teacher.network.digest,
        }
        self.layers = HEADS if teacher.head is None else (*HEADS, "classes")
        self.classes = _names(teacher)
        self.usual = usual_squares(self._felt, pictures, course.side)
        self._begin_heads()

    def drawn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """`images`, and how far a step changes each (N): 0 for every second."""
        sizes = STEP[0] + (STEP[1] - STEP[0]) * torch.rand(len(images))
        sizes[1::2] = 0
        return images, sizes

    def loss(self, step: int, *part: Tensor) -> Tensor:
        """See `lesson.Aim`."""
        images, sizes = part
        images = self._changed(step, images.contiguous(memory_format=torch.channels_last), sizes)
        theirs = self._felt(images)
        return self._errors(theirs, self._seen(images)).mean()

    def check(self) -> dict[str, float]:
        """The relative squared error of each head on the pictures to check by, and the share of
        them whose likeliest class is the teacher's too."""
        module = self.student.module.eval()
        middles = Middles(self.pictures, self.pictures.checked[:CHECKED], self.course.side)
        missed: defaultdict[str, float] = defaultdict(float)
        whole: defaultdict[str, float] = defaultdict(float)
        losses: list[float] = []
        for images, _ in DataLoader(middles, self.course.batch):
            images = images.to(self.student.device, memory_format=torch.channels_last)
            with torch.no_grad():
                ours = self._seen(images)
                theirs = _in_places_of(ours, self._felt(images))
                losses += self._errors(theirs, ours).tolist()
            for name in HEADS:
                missed[name] += (ours[name].float() - theirs[name]).square().sum().item()
                whole[name] += theirs[name].square().sum().item()
            if self.teacher.head is not None:
                alike = ours["classes"].argmax(1) == theirs["classes"].argmax(1)
                missed["alike"] += int(alike.sum())
                whole["alike"] += len(images)
        module.train()
        shares = {name: missed[name] / max(whole[name], 1e-12) for name in whole}
        return {"checked_loss": mean(losses), **shares}

    def told(self, figures: dict[str, float]) -> str:
        """See `lesson.Aim`."""
        heads = ", ".join(f"{name} {figures[name]:.2f}" for name in HEADS)
        alike = f"; {figures['alike']:.0%} named alike" if "alike" in figures else ""
        return f"relative squared error of {heads}{alike} (loss {figures['checked_loss']:.2f})"

    def show(self, path: Path) -> None:
        """Write a picture to check by, and what each head makes of it, to the picture `path`."""
        side = max(SHOWN[0], min(SHOWN[1], self.course.side * 2))
        image, _ = Middles(self.pictures, self.pictures.checked[:1], side)[0]
        show_layers(self.student, HEADS, image[None], path)

    @torch.no_grad()
    def _begin_heads(self) -> None:
        """Let heads that begin with random numbers respond about as strongly as the teacher, and
        let all heads learn as fast, whatever its strength: as if that were 1."""
        ours = usual_squares(self._seen_there, self.pictures, self.course.side)
        for name in self.layers:
            strength = math.sqrt(self.usual[name])
            for part, one in self.student.module.get_submodule(name).named_parameters():
                self.student.paces[f"{name}.{part}"] = max(strength, LEAST_PACE)
                if f"{name}.{part}" in self.student.fresh and ours[name] > 0:
                    one.mul_(START * strength / math.sqrt(ours[name]))

    def _seen_there(self, images: Tensor) -> Felt:
        return self._seen(images.to(self.student.device))

    def _felt(self, images: Tensor) -> dict[str, Tensor]:
        """What the teacher feels in `images`."""
        return self.teacher.felt(images.to(self.student.device))

    def _errors(self, theirs: Felt, ours: Felt) -> Tensor:
        """How far `ours`, what the student feels in each picture, is from `theirs`: (N)."""
        theirs = _in_places_of(ours, theirs)
        errors = [
            weight * relative_error(ours[name], theirs[name], self.usual[name])
            for name, weight in WEIGHTS.items()
        ]
        if self.teacher.head is not None:
            said = (ours["classes"].float() / TEMPERATURE).log_softmax(1)
            wanted = (theirs["classes"] / TEMPERATURE).log_softmax(1)
            apart = F.kl_div(said, wanted, reduction="none", log_target=True).sum(1)
            errors.append(CLASSES * apart)
        return torch.stack(errors).sum(0)

    def _changed(self, step: int, images: Tensor, sizes: Tensor) -> Tensor:
        """`images`, those whose size of a step is not 0 changed as the module tells."""
        drawn = random.Random(seed_of(self.course.seed, step, 3))
        layer, climbs = drawn.choice(CLIMBED), drawn.choice(CLIMBS)
        contrary = drawn.choice(CONTRARY)
        moved = sizes > 0
        if not moved.any():
            return images
        some, far = images[moved], sizes[moved].view(-1, 1, 1, 1)
        for _ in range(climbs):
            some = _climbed(some, far, partial(self._response, layer))
        if contrary:
            theirs = self._felt(some)
            for _ in range(contrary):
                some = _climbed(some, far, partial(self._disagreement, theirs))
        changed = images.clone()
        changed[moved] = some
        return changed

    def _seen(self, images: Tensor) -> Felt:
        """What the student feels in `images`."""
        return self.student.network.activations(images, self.layers)

    def _disagreement(self, theirs: Felt, images: Tensor) -> Tensor:
        """How far what the student feels in `images` is from `theirs`, in all."""
        return self._errors(theirs, self._seen(images)).sum()

    def _response(self, layer: str, images: Tensor) -> Tensor:
        """How strongly `layer` of the student responds to `images`, in all."""
        seen = self.student.network.activations(images, [layer])[layer]
        return seen.float().square().mean((1, 2, 3)).sum()


def begin_distilling(course: Course, report: Report) -> Lesson:
    """The lesson of `course`, whose teacher is a network. Raises UserError where the pictures, the
    teacher or the student cannot be used."""
    assert course.distill_from is not None
    pictures = read_unlabelled(course.folder, course.side, course.seed, report.on_notice)
    if course.size is None and _is_small(pictures, course.side):
        course = replace(course, size=SIZE)
        report.on_notice(f"most pictures are small: crops have {SIZE} pixels a side")
    teacher = teacher_of(course)
    told = ", ".join(f"{name}: {layer}" for name, layer in teacher.layers.items())
    report.on_notice(f"what the heads are to feel of {teacher.network.name}: {told}")
    student = distilled_student(course, teacher)
    crops = Crops(pictures, course.side, course.seed, SHARE, MOSAICS)
    return Lesson(course, pictures, crops, Distilled(course, pictures, teacher, student), report)


def teacher_of(course: Course) -> Teacher:
    """The teacher of `course`. Raises UserError as `load_network` does, for layers that it lacks,
    and for one that cannot see so small crops."""
    name = course.distill_from
    assert name is not None
    network = load_network(name, course.weights, course.device, course.precision)
    if course.layers is None:
        layers = telling_layers(network)
    else:
        network.check(course.layers)
        layers = dict(zip(HEADS, course.layers, strict=True))
    bare = [one for one in layers.values() if network.layers[one].field.receptive is None]
    if bare:
        raise UserError(f"{bare[0]} of {name} has no places; a layer with places can be felt")
    network.check(layers.values())
    size = (course.side, course.side)
    if not network.runs_at(size, set(layers.values())):
        least = network.smallest_side(set(layers.values()))
        raise UserError(f"--size {course.side} is too small for {name}; {least} works")
    return Teacher(network, layers, _head_of(network))


def telling_layers(network: Network) -> dict[str, str]:
    """The layer of `network` that each head of dreamnet is to feel: the last one at stride 8, the
    middle and the last one at 16, the last one at 32, of its outermost modules. Where there is none
    at a stride, one at the next smaller stride that has any."""
    found = {}
    for head, stride in STRIDES.items():
        names = _stage(network, stride)
        found[head] = names[len(names) // 2] if head == "parts" else names[-1]
    return found


def distilled_student(course: Course, teacher: Teacher) -> Student:
    """The dreamnet of `course`, with heads as wide as the layers of `teacher`. Raises UserError if
    its network is another one, and as `student_of` does."""
    base, file = begun_as(course), file_of(course.network)
    kind = course.network if file is None else described(file).architecture
    if kind != "dreamnet":
        raise UserError(
            f"--network {course.network}: what learns from {course.distill_from} is dreamnet, or a "
            "file of it that dreamreel train wrote; leave --network out"
        )
    classes = 0 if teacher.head is None else teacher.head.classes
    own = dreamnet_of(base.version, teacher.channels, classes)
    student = student_of(course, base, replace(own, name=base.name, fetch=base.fetch))
    if file is None and teacher.network.name not in KNOWN_TEACHERS:
        heads = [name for name, _ in student.module.named_parameters()]
        heads = [name for name in heads if name.partition(".")[0] in (*HEADS, "classes")]
        student.fresh |= {*heads}
    student.source["teacher"] = {
        "network": course.distill_from,
        "weights_sha256": teacher.network.digest,
        "layers": dict(teacher.layers),
    }
    return student


def _stage(network: Network, stride: int) -> list[str]:
    """The layers of `network` at `stride`, or else at the next smaller one, in order: those of the
    outermost modules among which there are two, if there are. Raises UserError if it has none."""
    placed = {
        name: one
        for name, one in network.layers.items()
        if one.field.receptive is not None and network.reaches(name)
    }
    if not placed:
        raise UserError(f"{network.name} has no layers with places, which alone can be felt")
    telling = [
        name for name in placed if type(network.module.get_submodule(name)) not in PLAIN
    ] or list(placed)
    strides = {placed[name].field.stride for name in telling}
    at = max((one for one in strides if one <= stride), default=min(strides))
    here = [name for name in telling if placed[name].field.stride == at]
    depths = sorted({name.count(".") for name in here})
    for depth in depths:
        outer = [name for name in here if name.count(".") <= depth]
        if len(outer) > 1:
            return outer
    return here


def _climbed(images: Tensor, sizes: Tensor, response: Callable[[Tensor], Tensor]) -> Tensor:
    """`images` after a step of these `sizes` (N, 1, 1, 1) that makes the `response` larger."""
    seen = images.detach().requires_grad_(True)
    gradient = torch.autograd.grad(response(seen), seen)[0]
    scale = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return (seen.detach() + sizes * gradient / scale).clamp(0, 1)


def _in_places_of(ours: Felt, theirs: Felt) -> dict[str, Tensor]:
    """`theirs` in as many places as `ours`: other networks have other borders and strides."""
    found = dict(theirs)
    for name in HEADS:
        height, width = ours[name].shape[2:]
        found[name] = resize(theirs[name], (height, width))
    return found


def _is_small(pictures: Pictures, side: int) -> bool:
    """Whether most of `pictures` are smaller than crops of `side` pixels."""
    sides = [min(one.shape[1:]) for one in pictures.images if one is not None]
    return bool(sides) and median(sides) < side


def _head_of(network: Network) -> Head | None:
    """What tells the classes of `network`; None if it tells none."""
    try:
        return network.head()
    except UserError:
        return None


def _names(teacher: Teacher) -> tuple[str, ...]:
    """The names of the classes of `teacher`; none if it has none, or they have numbers alone."""
    if teacher.head is None:
        return ()
    return names_of(teacher.network.weights_file, teacher.head.classes) or ()
