"""Training: pictures in class folders become a network file.

AdamW with a short warm-up and a cosine, as for dreamnet itself. Half of each batch is first changed
by a step that makes the network less sure of it: a network that stands this has gradients that show
things rather than noise (Engstrom et al., Adversarial Robustness as a Prior, 2019), so that its
dreams are pictures of its classes. Some pictures of a batch are noise, changed more: what is none
of the classes is learned too, since a dream climbs a class alone, not against the others.

Every random number depends on the seed, the epoch and the step alone. A training that goes on from
its state on the CPU, with as many threads, ends with the same bytes.
"""

import math
import os
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, Stopped, UserError, usable
from dreamreel.pipeline.jobs.report import QUIET, Progress, Report
from dreamreel.pipeline.memory import free_memory, is_out_of_memory
from dreamreel.pipeline.networks.devices import find_device, find_precision
from dreamreel.pipeline.networks.layers import Anatomy
from dreamreel.pipeline.networks.network import Network, wiring_of
from dreamreel.pipeline.training.batches import (
    WORKERS,
    Crops,
    Middles,
    batches_of,
    seed_of,
    steps_of,
)
from dreamreel.pipeline.training.course import SMALLEST_BATCH, Course, check_course
from dreamreel.pipeline.training.keeping import (
    Progressed,
    load_state,
    own_folder,
    save_state,
)
from dreamreel.pipeline.training.pictures import Pictures, read_pictures
from dreamreel.pipeline.training.showing import plot_losses, show_epoch
from dreamreel.pipeline.training.student import Student, network_file, student_of

FRESH = 10.0  # the rate of parameters that begin with random numbers, over that of the others
DECAY, CLIP = 0.01, 1.0  # of the weights; the largest norm of a gradient
WARM_UP, LEAST = 0.05, 0.02  # the share of steps until the full rate, and of the rate at the end
SMOOTHING = 0.1  # of labels: no class is ever wholly sure
REACH, NOISE_REACH = 0.03, 0.1  # how far pictures and noise are changed, at most: rms, of 1
NOISY = 8  # one of so many pictures of a batch, after the first, is noise
NOISE = 0.12  # its standard deviation in each octave, of 1
ALONE = 0.5  # the weight of telling each class alone, over that of telling it from the others
PATIENCE = 6  # epochs without a lower loss, after which it ends
SAVED_EVERY = 60.0  # seconds between states on disk
REHEARSED = 3  # steps that are timed to plan those that fit into the minutes
SPARE = 0.9  # the share of the minutes that is planned: the machine may have more to do later
NEEDED = 2.0  # memory of a step over that of a dream's gradient, which keeps no weights' gradients


def train(course: Course, report: Report = QUIET, *, overwrite: bool = False,
          restart: bool = False) -> Path:  # fmt: skip
    """Train as `course` says, or go on with a training that was stopped. Returns the network file.

    Raises UserError where the pictures, the network or the output cannot be used, and Stopped where
    `report` asks for it, with the state on disk.
    """
    check_course(course)
    if course.output.exists() and not overwrite:
        raise UserError(f"{course.output} exists; --overwrite replaces it")
    pictures = read_pictures(course.folder, course.size, course.seed, report.on_notice)
    course = _fitting_batch(course, pictures, report)
    device = find_device(course.device)
    student = student_of(course, len(pictures.classes), device)
    with own_folder(course):
        if restart:
            course.state.unlink(missing_ok=True)
        lesson = Lesson(course, pictures, student, device, report)
        at = lesson.run()
        made = {**lesson.made(at), "classes": list(pictures.classes)}
        data = network_file(student, at.best, made)
        with usable(course.output):
            write_whole(course.output, lambda file: file.write(data))
        report.on_notice(f"the losses are drawn in {plot_losses(course, at)}")
        course.state.unlink(missing_ok=True)
    return course.output


class Lesson:
    """A training as it runs: the student, its optimiser, and how far they are."""

    def __init__(self, course: Course, pictures: Pictures, student: Student,
                 device: torch.device, report: Report) -> None:  # fmt: skip
        self.course, self.pictures, self.student = course, pictures, student
        self.device, self.report = device, report
        self.precision = find_precision(course.precision, device)
        named = list(student.module.named_parameters())
        fresh = [one for name, one in named if name in student.fresh]
        known = [one for name, one in named if name not in student.fresh]
        faster = 1.0 if course.from_scratch else FRESH
        groups = [{"params": fresh, "scale": faster}, {"params": known, "scale": 1.0}]
        groups = [group for group in groups if group["params"]]
        self.rule = torch.optim.AdamW(groups, course.first_rate, weight_decay=DECAY)
        self.each = steps_of(len(pictures.learned), course.batch)
        self.crops = Crops(pictures, course.size, course.seed)

    def run(self) -> Progressed:
        """Train to the end. Raises Stopped as `train` does."""
        at = self._begin()
        before, saved = at.step, time.monotonic()
        while at.step < at.steps and not self._is_over(at):
            epoch, first = divmod(at.step, self.each)
            for images, labels in batches_of(
                self.crops, self.course.batch, self.course.seed, epoch, first, self._workers()
            ):
                began = time.monotonic()
                at.losses.append(self._step(at, images, labels))
                at.step += 1
                at.seconds += time.monotonic() - began
                self.report.on_progress(Progress(at.step, at.steps, before))
                if self.report.is_stopping():
                    self._stop(at)
                if time.monotonic() - saved > SAVED_EVERY:
                    self._save(at)
                    saved = time.monotonic()
                if at.step >= at.steps or self._is_late(at):
                    break
            self._end_epoch(at)
            self._save(at)
            saved = time.monotonic()
        return at

    def made(self, at: Progressed) -> dict[str, Any]:
        """How the network was made, for its file."""
        asked, best = self.course.asked(), at.best_epoch()
        return {
            "format": 1,
            "from": self.student.source,
            "asked": asked,
            "rate": self.course.first_rate,
            "seed": self.course.seed,
            "pictures": {
                "digest": self.pictures.digest,
                "learned": len(self.pictures.learned),
                "checked": len(self.pictures.checked),
            },
            "steps": at.step,
            "epoch": best,
            "history": at.history,
            "precision": str(self.precision).removeprefix("torch."),
            "versions": {name: version(name) for name in ("dreamreel", "torch", "torchvision")},
        }

    def _begin(self) -> Progressed:
        """How far the training is: as its state on disk says, or not begun."""
        course = self.course
        at = load_state(course, self.pictures.digest, self.student.module, self.rule)
        if at is not None:
            self.report.on_notice(f"goes on after step {at.step} of {at.steps}")
            return at
        at = Progressed(0, parts=self._parts())
        epochs = course.most_epochs
        steps = [] if epochs is None else [epochs * self.each]
        if course.minutes is not None:
            steps.append(self._steps_within(course.minutes * 60 * SPARE, at))
        at.steps = min(steps)
        return at

    def _steps_within(self, seconds: float, at: Progressed) -> int:
        """The steps that fit into so many `seconds`, by a rehearsal that leaves no trace."""
        before = {name: one.clone() for name, one in self.student.module.state_dict().items()}
        batches = batches_of(self.crops, self.course.batch, self.course.seed, 0, 0, 0)
        images, labels = next(batches)
        taken = []
        at.steps = REHEARSED
        for _ in range(REHEARSED):
            began = time.monotonic()
            self._step(at, images, labels)
            taken.append(time.monotonic() - began)
        began = time.monotonic()
        self._check()
        self._show(at, self.course.beside / "epoch-00.jpg")
        of_epoch = time.monotonic() - began
        self.student.module.load_state_dict(before)
        self.rule.state.clear()
        return max(1, int(seconds / (median(taken) + of_epoch / self.each)))

    def _parts(self) -> int:
        """The parts in which a step is computed, so that it fits into the memory of the CPU."""
        if self.device.type != "cpu":
            return 1
        architecture, batch = self.student.architecture, self.course.batch
        hollow = Network(architecture, self.student.module, Anatomy({}, ()), self.device,
                         self.precision, frozenset())  # fmt: skip
        wiring = wiring_of(architecture)
        assert wiring is not None  # it has a head for classes
        size = (self.course.size, self.course.size)
        needs, free = hollow.memory_for(size, [wiring.layer]) * NEEDED, free_memory()
        parts = 1
        while needs * batch / parts > free:
            parts = self._more_parts(parts)
        return parts

    def _more_parts(self, parts: int) -> int:
        """Twice as many `parts` of a batch, told. Raises PassingError if they become too small."""
        if self.course.batch // (2 * parts) < SMALLEST_BATCH:
            raise PassingError(
                f"there is not enough memory to train {self.student.architecture.name} at "
                f"{self.course.size} pixels; a smaller --size needs less"
            )
        left = self.course.batch // (2 * parts)
        self.report.on_notice(f"memory is short: a batch is computed in parts of {left} pictures")
        return 2 * parts

    def _is_late(self, at: Progressed) -> bool:
        minutes = self.course.minutes
        return minutes is not None and at.seconds > minutes * 60

    def _is_over(self, at: Progressed) -> bool:
        """Whether it ends before its last step."""
        if self._is_late(at):
            return True
        if at.history and len(at.history) - at.best_epoch() >= PATIENCE:
            self.report.on_notice(f"no better since epoch {at.best_epoch()}: it ends here")
            return True
        return False

    def _workers(self) -> int:
        """The processes that prepare pictures: a CPU that computes prepares them itself."""
        return 0 if self.device.type == "cpu" else min(WORKERS, os.cpu_count() or 1)

    def _step(self, at: Progressed, images: Tensor, labels: Tensor) -> float:
        """One step with a batch, in as many parts as memory needs. Returns its loss."""
        rate = self.course.first_rate * _rate_at(at.step / at.steps)
        for group in self.rule.param_groups:
            group["lr"] = rate * group["scale"]
        while True:
            try:
                loss = self._gradients(at, images, labels)
                break
            except RuntimeError as error:
                if self.device.type == "cpu" or not is_out_of_memory(error):
                    raise
            torch.cuda.empty_cache()
            at.parts = self._more_parts(at.parts)
        nn.utils.clip_grad_norm_(self.student.module.parameters(), CLIP)
        self.rule.step()
        if not math.isfinite(loss):
            raise UserError("the loss became NaN or infinite; a smaller --rate may help")
        return loss

    def _gradients(self, at: Progressed, images: Tensor, labels: Tensor) -> float:
        self.rule.zero_grad()
        self.student.module.train()
        total = torch.zeros((), device=self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self.course.seed, at.step, 2))  # dropout draws from it
            for some, named in zip(images.tensor_split(at.parts), labels.tensor_split(at.parts),
                                   strict=True):  # fmt: skip
                some[NOISY::NOISY] = noise_like(some[NOISY::NOISY])
                some = some.to(self.device, memory_format=torch.channels_last)
                named = named.to(self.device)
                some = self._changed(some, named)
                with self._autocast():
                    logits, drift = self.student.logits_and_drift(some)
                loss = loss_of(logits, named, NOISY).mean()
                share = len(some) / len(images)
                ((loss + drift) * share).backward()
                total += loss.detach() * share
        return total.item()

    def _changed(self, images: Tensor, labels: Tensor) -> Tensor:
        """`images`, every second one changed a little, so that the network is less sure of it."""
        some = images[::2].detach().requires_grad_(True)
        with self._autocast():
            logits = self.student.logits(some)
        loss = loss_of(logits, labels[::2], NOISY // 2).sum()
        gradient = torch.autograd.grad(loss, some)[0]
        scale = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        reach = torch.full((len(some), 1, 1, 1), REACH)
        reach[NOISY // 2 :: NOISY // 2] = NOISE_REACH
        reach = (reach * torch.rand(reach.shape)).to(self.device)
        changed = images.clone()
        changed[::2] = (some.detach() + reach * gradient / scale).clamp(0, 1)
        return changed

    def _check(self) -> tuple[float, float]:
        """The loss and the share of right answers on the pictures to check by."""
        module = self.student.module.eval()
        middles = Middles(self.pictures, self.course.size)
        right, loss = 0, 0.0
        for images, labels in torch.utils.data.DataLoader(middles, self.course.batch):
            seen = images.to(self.device, memory_format=torch.channels_last)
            with torch.no_grad(), self._autocast():
                logits = self.student.logits(seen).cpu()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
        module.train()
        return loss / len(middles), right / len(middles)

    def _end_epoch(self, at: Progressed) -> None:
        loss = mean(at.losses)
        at.losses = []
        checked, accuracy = self._check() if self.pictures.checked else (loss, 0.0)
        at.history.append({"loss": loss, "checked_loss": checked, "accuracy": accuracy})
        epoch = len(at.history)
        if at.best_epoch() == epoch:
            at.best = {name: one.detach().cpu().clone()
                       for name, one in self.student.module.state_dict().items()}  # fmt: skip
        path = self.course.beside / f"epoch-{epoch:02}.jpg"
        self._show(at, path)
        self.report.on_notice(
            f"epoch {epoch}: loss {loss:.2f}; {accuracy:.1%} of the pictures to check by are named "
            f"rightly (loss {checked:.2f}); {path}"
        )

    def _show(self, at: Progressed, path: Path) -> None:
        self.student.module.eval()
        show_epoch(self.student, len(self.pictures.classes), at, self.precision, path)
        self.student.module.train()

    def _save(self, at: Progressed) -> None:
        save_state(self.course, self.pictures.digest, at, self.student.module, self.rule)

    def _stop(self, at: Progressed) -> None:
        self._save(at)
        raise Stopped(f"stopped after step {at.step} of {at.steps}; the same command goes on")

    def _autocast(self) -> Any:
        enabled = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=enabled)


def noise_like(images: Tensor) -> Tensor:
    """Noise of every size, as strong as in natural pictures, in place of `images` (N, 3, H, W)."""
    count, channels, height, width = images.shape
    total, band = torch.full_like(images, 0.5), 0
    while min(height, width) >> band >= 2:
        coarse = torch.randn(count, channels, height >> band, width >> band)
        total += NOISE * F.interpolate(coarse, (height, width), mode="bilinear")
        band += 1
    return total.clamp(0, 1)


def loss_of(logits: Tensor, labels: Tensor, noisy: int) -> Tensor:
    """The loss of each picture (N) of a batch whose every `noisy`th, after the first, is noise: of
    telling its class from the others, and of telling each class alone; noise has none."""
    wanted = F.one_hot(labels, logits.shape[1]).float()
    is_class = torch.ones(len(logits), device=logits.device)
    is_class[noisy::noisy] = 0
    apart = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="none")
    alone = F.binary_cross_entropy_with_logits(
        logits, wanted * is_class[:, None], reduction="none"
    ).sum(1)
    return apart * is_class + ALONE * alone


def _rate_at(done: float) -> float:
    """The share of the rate when so much is `done`: it rises, then falls like half a cosine."""
    falling = LEAST + (1 - LEAST) * (1 + math.cos(math.pi * done)) / 2
    return min(1.0, (done + 1e-3) / WARM_UP) * falling


def _fitting_batch(course: Course, pictures: Pictures, report: Report) -> Course:
    """`course` with a batch of at most all pictures to learn from."""
    count = len(pictures.learned)
    if course.batch <= count:
        return course
    report.on_notice(f"there are {count} pictures to learn from: a batch is all of them")
    return replace(course, batch=count)
