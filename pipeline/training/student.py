"""The network that learns: a module with a head for the new classes, and the file it becomes."""

import json
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.catalog import find_architecture
from dreamreel.pipeline.networks.checkpoints import fitting
from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.files import Described, described, file_of
from dreamreel.pipeline.networks.network import (
    Architecture,
    Normalise,
    hollow,
    with_class_count,
)
from dreamreel.pipeline.networks.weights import check_numbers, digest_of, read_weights
from dreamreel.pipeline.training.batches import seed_of
from dreamreel.pipeline.training.course import Course

# How firmly each head of dreamnet keeps its meaning: the weight of its squared error to the head
# before training, over that head's mean square. `objects` tells the classes, so it may change most.
KEPT = {"textures": 0.15, "parts": 0.15, "creatures": 0.1, "objects": 0.02}


@dataclass
class Student:
    """A network that learns. `fresh` are its parameters that began with random numbers. `teacher`
    is the network before training, whose heads it keeps; None: it has no such heads."""

    architecture: Architecture
    module: nn.Module
    normalise: Normalise
    fresh: frozenset[str]
    teacher: DreamNet | None
    source: dict[str, Any]

    def logits(self, images: Tensor) -> Tensor:
        """The logits (N, classes), float32, of `images` (N, 3, H, W) in [0, 1]."""
        return self.module(self.normalise(images)).float()

    def logits_and_drift(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `logits`; and how far the heads are from those of the teacher: see `KEPT`."""
        if self.teacher is None:
            return self.logits(images), torch.zeros((), device=images.device)
        ours: dict[str, Tensor] = {}
        theirs: dict[str, Tensor] = {}
        seen = self.normalise(images)
        with torch.no_grad():
            _heads(self.teacher, seen, theirs)
        logits = _heads(self.module, seen, ours)
        drift = [
            weight
            * F.mse_loss(ours[name].float(), theirs[name].float())
            / theirs[name].float().square().mean().clamp_min(1e-6)
            for name, weight in KEPT.items()
        ]
        return logits.float(), torch.stack(drift).sum()


def student_of(course: Course, classes: int, device: torch.device) -> Student:
    """The network of `course` with a head for so many `classes`, on `device`. Raises UserError as
    `find_architecture` does, and for weights that do not fit and a size that it cannot see."""
    base = find_architecture(course.network)
    architecture = replace(with_class_count(base, classes), side=course.size)
    _check_size(architecture, course.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(course.seed))
        module = architecture.build()
    fresh, digest = frozenset(name for name, _ in module.named_parameters()), None
    if not course.from_scratch:
        fresh, digest = _begin_with_weights(course, base, architecture, module)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = None
    if isinstance(module, DreamNet) and not course.from_scratch:
        teacher = DreamNet()
        teacher.load_state_dict(module.state_dict() | _no_classes(teacher))
        teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher.requires_grad_(False)
    source = {"network": _name_of(course), "weights_sha256": digest}
    normalise = Normalise(architecture).to(device)
    return Student(architecture, module, normalise, fresh, teacher, source)


def network_file(student: Student, weights: dict[str, Tensor], made: dict[str, Any]) -> bytes:
    """The bytes of a file that holds `student` with `weights`: see `networks.files`. `made`, a
    table whose "classes" are their names, tells how it was trained; equal arguments give equal
    bytes."""
    base = student.architecture
    told = Described(
        architecture=student.source["network"],
        version=base.version,
        classes=len(made["classes"]),
        mean=base.mean,
        std=base.std,
        swapped=base.swapped,
        side=base.side or 224,
    )
    metadata = {
        "classes": json.dumps(made["classes"]),
        "network": told.model_dump_json(),
        "training": json.dumps({name: one for name, one in made.items() if name != "classes"}),
    }
    plain = {name: one.detach().cpu().contiguous() for name, one in weights.items()}
    return _in_order(save(plain, metadata))


def _in_order(data: bytes) -> bytes:
    """The safetensors file `data` with its header's names in order: the library writes metadata in
    an order that changes from run to run."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _heads(module: nn.Module, seen: Tensor, found: dict[str, Tensor]) -> Tensor:
    """Run `module` on `seen`, and put the activations of its heads into `found`."""
    handles = [
        module.get_submodule(name).register_forward_hook(
            lambda part, inputs, output, name=name: found.__setitem__(name, output)
        )
        for name in KEPT
    ]
    try:
        return module(seen)
    finally:
        for handle in handles:
            handle.remove()


def _begin_with_weights(
    course: Course, base: Architecture, architecture: Architecture, module: nn.Module
) -> tuple[frozenset[str], str]:
    """Fill `module` with the weights of `course`. Returns the names of the parameters that they do
    not fill, and the digest of the weights."""
    path = course.weights or file_of(course.network)
    given = str(path) if path else f"the weights file of {course.network}"
    weights = read_weights(path) if path else base.fetch()
    fit = fitting(weights, hollow(base).state_dict(), given)
    wanted = module.state_dict()
    found = {
        name: one.float()
        for name, one in fit.weights.items()
        if name in wanted and one.shape == wanted[name].shape
    }
    check_numbers(found, given)
    if not found:
        raise UserError(f"{given} has no weights of {base.name}")
    module.load_state_dict(found, strict=False)
    fresh = frozenset(name for name, _ in module.named_parameters() if name not in found)
    head = list(wanted)[-1].rpartition(".")[0]
    for part in (f"{head}.weight", f"{head}.bias"):  # other classes, though as many
        if part in wanted and part not in fresh:
            bound = wanted[part].abs().mean() if part.endswith("weight") else 0.0
            random = torch.Generator().manual_seed(seed_of(course.seed, 1))
            with torch.no_grad():
                wanted[part].copy_(bound * torch.randn(wanted[part].shape, generator=random))
            fresh |= {part}
    return fresh, digest_of(fit.weights)


def _no_classes(teacher: DreamNet) -> dict[str, Tensor]:
    """The head of classes of `teacher`, which is not used."""
    return {f"classes.{name}": one for name, one in teacher.classes.state_dict().items()}


def _name_of(course: Course) -> str:
    """The name of the architecture of `course`, wherever its weights come from."""
    file = file_of(course.network)
    return course.network if file is None else described(file).architecture


def _check_size(architecture: Architecture, size: int) -> None:
    module = hollow(architecture)
    try:
        with torch.no_grad():
            module(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--size {size} is too small for {architecture.name} ({error}); twice as much may work"
        ) from error
