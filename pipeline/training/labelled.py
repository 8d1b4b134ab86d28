"""The aim of a training by class folders: to tell the classes, with gradients that show them.

Half of each batch is first changed by a step that makes the network less sure of it: a network that
stands this has gradients that show things rather than noise (Engstrom et al., Adversarial
Robustness as a Prior, 2019), so that its dreams are pictures of its classes. Some pictures of a
batch are noise, changed more: what is none of the classes is learned too, since a dream climbs a
class alone, not against the others.
"""

from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.network import Network, wiring_of, with_class_count
from dreamreel.pipeline.training.batches import Middles, seed_of
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.keeping import Digests
from dreamreel.pipeline.training.pictures import Pictures
from dreamreel.pipeline.training.showing import show_classes
from dreamreel.pipeline.training.student import (
    Student,
    begun_as,
    relative_error,
    seen_as,
    student_of,
    usual_squares,
)

SMOOTHING = 0.1  # of labels: no class is ever wholly sure
REACH, NOISE_REACH = 0.03, 0.1  # how far pictures and noise are changed, at most: rms, of 1
NOISY = 8  # one of so many pictures of a batch, after the first, is noise
NOISE = 0.12  # its standard deviation in each octave, of 1
ALONE = 0.5  # the weight of telling each class alone, over that of telling it from the others
# How firmly each head of dreamnet keeps its meaning: the weight of its squared error to the head
# before training, over that head's mean square. `objects` tells the classes, so it may change most.
KEPT = {"textures": 0.15, "parts": 0.15, "creatures": 0.1, "objects": 0.02}


class Labelled:
    """The aim to tell the classes of `pictures`: see `lesson.Aim`. A dreamnet that begins with
    weights keeps the meaning of its heads: `earlier` is the network before training."""

    digests: Digests
    layers: tuple[str, ...]
    plotted: tuple[str, ...] = ("accuracy",)
    plotted_as = "accuracy"

    def __init__(self, course: Course, pictures: Pictures) -> None:
        """Raises UserError as `student_of` does."""
        self.course, self.pictures, self.classes = course, pictures, pictures.classes
        self.student = student = _student_of(course, len(pictures.classes))
        self.digests = {
            "pictures": pictures.digest,
            "weights": student.source["weights_sha256"],
        }
        wiring = wiring_of(student.architecture)
        assert wiring is not None  # it has a head for classes
        self.layers = (wiring.layer,)
        self.earlier: Network | None = None
        if isinstance(student.module, DreamNet) and not course.from_scratch:
            module = deepcopy(student.module).requires_grad_(False)
            seen = student.network
            self.earlier = seen_as(student.architecture, module, seen.device, seen.precision)
            self.usual = usual_squares(self._felt_earlier, pictures, course.side)

    def drawn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """`images` with noise among them, `labels`, which are noise (N), and how far each is
        changed (N): 0 for every second."""
        images, is_noise = images.clone(), torch.zeros(len(images), dtype=torch.bool)
        is_noise[NOISY::NOISY] = True
        images[is_noise] = noise_like(images[is_noise])
        reach = torch.where(is_noise, NOISE_REACH, REACH) * torch.rand(len(images))
        reach[1::2] = 0
        return images, labels, is_noise, reach

    def loss(self, step: int, *part: Tensor) -> Tensor:
        """See `lesson.Aim`."""
        images, labels, is_noise, reach = part
        images = images.contiguous(memory_format=torch.channels_last)
        images = self._changed(images, labels, is_noise, reach)
        if self.earlier is None:
            return loss_of(self._logits(images), labels, is_noise).mean()
        seen = self.student.network.activations(images, [*KEPT, "classes"])
        loss = loss_of(seen["classes"].float(), labels, is_noise)
        with torch.no_grad():
            before = self._felt_earlier(images)
        for name, weight in KEPT.items():
            loss = loss + weight * relative_error(seen[name], before[name], self.usual[name])
        return loss.mean()

    def _felt_earlier(self, images: Tensor) -> dict[str, Tensor]:
        """What the heads of the network before training make of `images`."""
        assert self.earlier is not None
        return self.earlier.activations(images.to(self.student.device), KEPT)

    def _logits(self, images: Tensor) -> Tensor:
        """The logits (N, classes), float32, of `images` (N, 3, H, W) in [0, 1]."""
        return self.student.network.output(images).float()

    def _changed(self, images: Tensor, labels: Tensor, is_noise: Tensor, reach: Tensor) -> Tensor:
        """`images`, each changed as far as `reach` says, so that the network is less sure of it."""
        moved = reach > 0
        if not moved.any():
            return images
        some = images[moved].detach().requires_grad_(True)
        loss = loss_of(self._logits(some), labels[moved], is_noise[moved]).sum()
        gradient = torch.autograd.grad(loss, some)[0]
        scale = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        changed = images.clone()
        far = reach[moved].view(-1, 1, 1, 1)
        changed[moved] = (some.detach() + far * gradient / scale).clamp(0, 1)
        return changed

    def check(self) -> dict[str, float]:
        """The loss and the share of right answers on the pictures to check by, if there are any."""
        module = self.student.module.eval()
        middles = Middles(self.pictures, self.pictures.checked, self.course.side)
        right, loss = 0, 0.0
        for images, labels in DataLoader(middles, self.course.batch):
            seen = images.to(self.student.device, memory_format=torch.channels_last)
            with torch.no_grad():
                logits = self._logits(seen).cpu()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
        module.train()
        count = len(middles)
        return {"checked_loss": loss / count, "accuracy": right / count} if count else {}

    def told(self, figures: dict[str, float]) -> str:
        """See `lesson.Aim`."""
        if not figures:
            return "there are no pictures to check by"
        return (
            f"{figures['accuracy']:.1%} of the pictures to check by are named rightly (loss "
            f"{figures['checked_loss']:.2f})"
        )

    def show(self, path: Path) -> None:
        """Write what the first classes look like in its dreams to the picture `path`."""
        show_classes(self.student, len(self.pictures.classes), path)


def noise_like(images: Tensor) -> Tensor:
    """Noise of every size, as strong as in natural pictures, in place of `images` (N, 3, H, W)."""
    count, channels, height, width = images.shape
    total, band = torch.full_like(images, 0.5), 0
    while min(height, width) >> band >= 2:
        coarse = torch.randn(count, channels, height >> band, width >> band)
        total += NOISE * F.interpolate(coarse, (height, width), mode="bilinear")
        band += 1
    return total.clamp(0, 1)


def loss_of(logits: Tensor, labels: Tensor, is_noise: Tensor) -> Tensor:
    """The loss of each picture (N) of a batch: of telling its class from the others, and of telling
    each class alone. What `is_noise` (N) has no class."""
    wanted = F.one_hot(labels, logits.shape[1]).float()
    is_class = (~is_noise).float()
    apart = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="none")
    alone = F.binary_cross_entropy_with_logits(
        logits, wanted * is_class[:, None], reduction="none"
    ).sum(1)
    return apart * is_class + ALONE * alone


def _student_of(course: Course, classes: int) -> Student:
    """The network of `course` with a head for so many `classes`, which begins with random numbers:
    another network's classes are others, though as many."""
    base = begun_as(course)
    student = student_of(course, base, with_class_count(base, classes))
    if course.from_scratch:
        return student
    wanted = dict(student.module.named_parameters())
    head = list(student.module.state_dict())[-1].rpartition(".")[0]
    for part in (f"{head}.weight", f"{head}.bias"):
        if part in wanted and part not in student.fresh:
            bound = wanted[part].abs().mean().cpu() if part.endswith("weight") else 0.0
            random = torch.Generator().manual_seed(seed_of(course.seed, 1))
            with torch.no_grad():
                wanted[part].copy_(bound * torch.randn(wanted[part].shape, generator=random))
            student.fresh |= {part}
    return student
