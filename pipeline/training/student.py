"""The network that learns: a module with heads for what it learns, and the file it becomes."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.catalog import dreamnet_of, find_architecture
from dreamreel.pipeline.networks.checkpoints import fitting
from dreamreel.pipeline.networks.devices import find_device, find_precision
from dreamreel.pipeline.networks.dreamnet import CHANNELS, NEWEST, DreamNet
from dreamreel.pipeline.networks.files import Described, described, file_of
from dreamreel.pipeline.networks.layers import Anatomy
from dreamreel.pipeline.networks.network import (
    Architecture,
    Network,
    hollow,
    wiring_of,
)
from dreamreel.pipeline.networks.weights import check_numbers, digest_of, read_weights
from dreamreel.pipeline.training.batches import Middles, seed_of
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.pictures import Pictures

USUAL = 32  # pictures by which it is measured how strongly layers respond


@dataclass
class Student:
    """A network that learns. `fresh` are its parameters that began with random numbers; `source`
    tells what it began as. `network` is the same module as one that dreams sees it. `paces` are
    the rates of some of its parameters, over that of the others."""

    architecture: Architecture
    module: nn.Module
    network: Network
    fresh: frozenset[str]
    source: dict[str, Any]
    paces: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.device


def student_of(course: Course, base: Architecture, architecture: Architecture) -> Student:
    """The network of `course` as a module of `architecture`, which begins with the weights of
    `base`, as far as they fit it, or with random ones. Raises UserError for weights that do not
    fit, and for a size that it cannot see."""
    architecture = replace(architecture, side=course.side)
    _check_size(architecture, course.side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(course.seed))
        module = architecture.build()
        if isinstance(module, DreamNet) and course.from_scratch:
            _begin_evenly(module)
    fresh, digest = frozenset(name for name, _ in module.named_parameters()), None
    if not course.from_scratch:
        fresh, digest = _begin_with_weights(course, base, module)
    device = find_device(course.device)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = seen_as(architecture, module, device, find_precision(course.precision, device))
    source = {"network": _name_of(course), "weights_sha256": digest}
    return Student(architecture, module, network, fresh, source)


def begun_as(course: Course) -> Architecture:
    """The architecture with which `course` begins: that of its network. A dreamnet that begins with
    random weights is of the newest version. Raises UserError as `find_architecture` does."""
    if course.from_scratch and course.network == "dreamnet":
        return dreamnet_of(NEWEST)
    return find_architecture(course.network)


def seen_as(
    architecture: Architecture, module: nn.Module, device: torch.device, precision: torch.dtype
) -> Network:
    """`module`, which goes on learning, as a network whose layers can be seen."""
    return Network(architecture, module, Anatomy({}, ()), device, precision, frozenset())


def relative_error(ours: Tensor, theirs: Tensor, usual: float) -> Tensor:
    """The squared error of `ours` to `theirs` (N, C, h, w) in each picture (N), over the mean
    square of theirs. Half of that is the `usual` one, so that an empty picture counts little."""
    ours, theirs = ours.float(), theirs.float()
    error = (ours - theirs).square().mean((1, 2, 3))
    return 2 * error / (theirs.square().mean((1, 2, 3)) + usual)


@torch.no_grad()
def usual_squares(
    see: Callable[[Tensor], Mapping[str, Tensor]], pictures: Pictures, size: int
) -> dict[str, float]:
    """The mean square of each activation (N, C, h, w) that `see` gives for images (N, 3, H, W), on
    the middles of some of the `pictures` to learn from."""
    middles = Middles(pictures, pictures.learned[:USUAL], size)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for images, _ in DataLoader(middles, 8):
        for name, one in see(images).items():
            found[name] += one.float().square().flatten(1).mean(1).tolist()
    return {name: mean(squares) for name, squares in found.items()}


def network_file(
    student: Student, weights: dict[str, Tensor], classes: Sequence[str], made: dict[str, Any]
) -> bytes:
    """The bytes of a file that holds `student` with `weights`: see `networks.files`. `classes` are
    their names, if they have any, and `made` tells how it was trained; equal arguments give equal
    bytes."""
    base, module = student.architecture, student.module
    wiring = wiring_of(base)
    channels = tuple(module.channels.values()) if isinstance(module, DreamNet) else None
    told = Described(
        architecture=student.source["network"],
        version=base.version,
        classes=0 if wiring is None else wiring.classes,
        mean=base.mean,
        std=base.std,
        swapped=base.swapped,
        side=base.side or 224,
        channels=None if channels == tuple(CHANNELS.values()) else channels,
    )
    metadata = {
        "classes": json.dumps(list(classes)),
        "network": told.model_dump_json(exclude_none=True),
        "training": json.dumps(made),
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


def _begin_with_weights(
    course: Course, base: Architecture, module: nn.Module
) -> tuple[frozenset[str], str]:
    """Fill `module` with the weights that `course` begins with, those of `base`. Returns the names
    of the parameters that they do not fill, and the digest of the weights."""
    own = course.weights if course.distill_from is None else None  # else they are the teacher's
    path = own or file_of(course.network)
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
    return fresh, digest_of(fit.weights)


def _begin_evenly(module: DreamNet) -> None:
    """Fill `module` with random numbers by which each layer is about as strong as the one before
    (He et al., Delving Deep into Rectifiers, 2015)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


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
