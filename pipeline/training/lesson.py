"""A training as it runs, whatever it aims at: steps, epochs, states on disk, memory that is short.

Every random number depends on the seed, the epoch and the step alone. A training that goes on from
its state on the CPU, with as many threads, ends with the same bytes.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dreamreel.pipeline.errors import PassingError, Stopped, UserError
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.memory import free_memory, is_out_of_memory
from dreamreel.pipeline.training.batches import (
    WORKERS,
    Crops,
    batches_of,
    seed_of,
    steps_of,
    turns_of,
)
from dreamreel.pipeline.training.course import SMALLEST_BATCH, Course
from dreamreel.pipeline.training.keeping import Digests, Progressed, load_state, save_state
from dreamreel.pipeline.training.pictures import Pictures
from dreamreel.pipeline.training.student import Student

FRESH = 10.0  # the rate of parameters that begin with random numbers, over that of the others
DECAY, CLIP = 0.01, 1.0  # of the weights; the largest norm of a gradient
WARM_UP, LEAST = 0.05, 0.02  # the share of steps until the full rate, and of the rate at the end
PATIENCE = 6  # epochs that bring nothing, after which it ends
SAVED_EVERY = 60.0  # seconds between states on disk
REHEARSED = 6  # steps that are timed, after one, to plan those that fit into the minutes
SPARE = 0.9  # the share of the minutes that is planned: the machine may have more to do later
NEEDED = 2.0  # memory of a step over that of a dream's gradient, which keeps no weights' gradients


class Aim(Protocol):
    """What a training works towards: the loss of `student`, and how it is checked and shown.

    `digests` are those of the files that it reads, and `classes` the names of the classes that the
    student tells, if they have any. `layers` are those
    of the student through which gradients flow. Of the figures, those that are `plotted` have one
    scale, `plotted_as`.
    """

    student: Student
    digests: Digests
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    plotted: tuple[str, ...]
    plotted_as: str

    def drawn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """A batch (N, 3, H, W) and its classes (N), with what is drawn for it at random: tensors
        with N in the first place, which are divided where memory is short."""

    def loss(self, step: int, *part: Tensor) -> Tensor:
        """The mean loss of the pictures in a part of what `drawn` gave."""

    def check(self) -> dict[str, float]:
        """The figures of an epoch on the pictures to check by, "checked_loss" among them; none if
        there are no such pictures."""

    def told(self, figures: dict[str, float]) -> str:
        """What the figures of `check` say, in words."""

    def show(self, path: Path) -> None:
        """Write what the student dreams now to the picture `path`."""


class Lesson:
    """A training as it runs: the aim, the student's optimiser, and how far they are."""

    def __init__(
        self, course: Course, pictures: Pictures, crops: Crops, aim: Aim, report: Report
    ) -> None:
        self.course, self.pictures, self.crops, self.aim = course, pictures, crops, aim
        self.student, self.report = aim.student, report
        self.device = self.student.device
        groups = [
            {"params": some, "scale": scale} for scale, some in _by_pace(course, self.student)
        ]
        self.rule = torch.optim.AdamW(groups, course.first_rate, weight_decay=DECAY)
        self.turns = turns_of(len(pictures.learned), course.batch, course.epoch_steps)
        self.each = steps_of(len(pictures.learned) * self.turns, course.batch)

    def run(self) -> Progressed:
        """Train to the end. Raises Stopped where the report asks for it, with the state on disk."""
        at = self._begin()
        before, saved = at.step, time.monotonic()
        while at.step < at.steps and not self._is_over(at):
            epoch, first = divmod(at.step, self.each)
            for images, labels in self._batches(epoch, first):
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
            began = time.monotonic()
            self._end_epoch(at)
            saved = time.monotonic()
            at.seconds += saved - began
            self.plan_again(at)
            self._save(at)
        return at

    def plan_again(self, at: Progressed) -> None:
        """Plan fewer steps, where those that were planned take longer than the minutes: the rate is
        to have fallen when it ends."""
        if self.course.minutes is not None:
            left = max(0.0, self.course.minutes * 60 - at.seconds)
            at.steps = min(at.steps, at.step + int(SPARE * left * at.step / at.seconds))

    def made(self, at: Progressed) -> dict[str, Any]:
        """How the network was made, for its file."""
        return {
            "format": 1,
            "from": self.student.source,
            "asked": self.course.asked(),
            "rate": self.course.first_rate,
            "seed": self.course.seed,
            "pictures": {
                "digest": self.pictures.digest,
                "learned": len(self.pictures.learned),
                "checked": len(self.pictures.checked),
            },
            "steps": at.step,
            "epoch": at.best_epoch(),
            "history": at.history,
            "precision": str(self.student.network.precision).removeprefix("torch."),
            "versions": {name: version(name) for name in ("dreamreel", "torch", "torchvision")},
        }

    def _begin(self) -> Progressed:
        """How far the training is: as its state on disk says, or not begun."""
        course = self.course
        at = load_state(course, self.aim.digests, self.student.module, self.rule)
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

    def _batches(self, epoch: int, first: int) -> Any:
        # A CPU that computes prepares the pictures itself.
        workers = 0 if self.device.type == "cpu" else min(WORKERS, os.cpu_count() or 1)
        course, turns = self.course, self.turns
        return batches_of(self.crops, course.batch, course.seed, epoch, first, workers, turns)

    def _steps_within(self, seconds: float, at: Progressed) -> int:
        """The steps that fit into so many `seconds`, by a rehearsal that leaves no trace."""
        before = {name: one.clone() for name, one in self.student.module.state_dict().items()}
        taken = []
        at.steps = REHEARSED + 1
        for images, labels in self._batches(0, 0):
            began = time.monotonic()
            self._step(at, images, labels)
            taken.append(time.monotonic() - began)
            at.step += 1
            if at.step == at.steps:
                break
        at.step = 0
        began = time.monotonic()
        self.aim.check()
        self._show(self.course.beside / "epoch-00.jpg")
        of_epoch = time.monotonic() - began
        self.student.module.load_state_dict(before)
        self.rule.state.clear()
        return max(1, int(seconds / (mean(taken[1:] or taken) + of_epoch / self.each)))

    def _parts(self) -> int:
        """The parts in which a step is computed, so that it fits into the memory of the CPU."""
        if self.device.type != "cpu":
            return 1
        size = (self.course.side, self.course.side)
        needs = self.student.network.memory_for(size, self.aim.layers) * NEEDED
        parts, free = 1, free_memory()
        while needs * self.course.batch / parts > free:
            parts = self._more_parts(parts)
        return parts

    def _more_parts(self, parts: int) -> int:
        """Twice as many `parts` of a batch, told. Raises PassingError if they become too small."""
        left = self.course.batch // (2 * parts)
        if left < SMALLEST_BATCH:
            raise PassingError(
                f"there is not enough memory to train {self.student.architecture.name} at "
                f"{self.course.side} pixels; a smaller --size needs less"
            )
        self.report.on_notice(f"memory is short: a batch is computed in parts of {left} pictures")
        return 2 * parts

    def _is_late(self, at: Progressed) -> bool:
        minutes = self.course.minutes
        return minutes is not None and at.seconds > minutes * 60

    def _is_over(self, at: Progressed) -> bool:
        """Whether it ends before its last step."""
        if self._is_late(at):
            return True
        if at.has_settled(PATIENCE):
            told = f"no better for {PATIENCE} epochs: it ends here, with epoch {at.best_epoch()}"
            self.report.on_notice(told)
            return True
        return False

    def _step(self, at: Progressed, images: Tensor, labels: Tensor) -> float:
        """One step with a batch, in as many parts as memory needs. Returns its loss."""
        rate = self.course.first_rate * _rate_at(at.step / at.steps)
        for group in self.rule.param_groups:
            group["lr"] = rate * group["scale"]
        while True:
            try:
                loss = self.gradients(at, images, labels)
                break
            except RuntimeError as error:
                if self.device.type == "cpu" or not is_out_of_memory(error):
                    raise
            self.rule.zero_grad()  # what they hold is free again before it is asked for
            torch.cuda.empty_cache()
            at.parts = self._more_parts(at.parts)
        nn.utils.clip_grad_norm_(self.student.module.parameters(), CLIP)
        self.rule.step()
        if not math.isfinite(loss):
            raise UserError("the loss became NaN or infinite; a smaller --rate may help")
        return loss

    def gradients(self, at: Progressed, images: Tensor, labels: Tensor) -> float:
        """Compute the gradients of the loss of a batch, in `at.parts`, and return it. What is drawn
        at random is drawn for the whole: parts of a batch add up to it."""
        self.rule.zero_grad()
        self.student.module.train()
        total = torch.zeros((), device=self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self.course.seed, at.step, 2))  # dropout draws from it too
            drawn = self.aim.drawn(images, labels)
            for part in zip(*(one.tensor_split(at.parts) for one in drawn), strict=True):
                there = [one.to(self.device) for one in part]
                loss = self.aim.loss(at.step, *there) * (len(there[0]) / len(images))
                loss.backward()
                total += loss.detach()
        return total.item()

    def _end_epoch(self, at: Progressed) -> None:
        loss = mean(at.losses)
        at.losses = []
        figures = self.aim.check()
        at.history.append({"loss": loss, "checked_loss": loss, **figures})
        epoch = len(at.history)
        if at.best_epoch() == epoch:
            at.best = {name: one.detach().cpu().clone()
                       for name, one in self.student.module.state_dict().items()}  # fmt: skip
        path = self.course.beside / f"epoch-{epoch:02}.jpg"
        self._show(path)
        self.report.on_notice(f"epoch {epoch}: loss {loss:.2f}; {self.aim.told(figures)}; {path}")

    def _show(self, path: Path) -> None:
        self.student.module.eval()
        self.aim.show(path)
        self.student.module.train()

    def _save(self, at: Progressed) -> None:
        save_state(self.course, self.aim.digests, at, self.student.module, self.rule)

    def _stop(self, at: Progressed) -> None:
        self._save(at)
        raise Stopped(f"stopped after step {at.step} of {at.steps}; the same command goes on")


def _by_pace(course: Course, student: Student) -> Iterable[tuple[float, list[nn.Parameter]]]:
    """The parameters of `student` by their rates, over that of the course."""
    groups: defaultdict[float, list[nn.Parameter]] = defaultdict(list)
    for name, one in student.module.named_parameters():
        faster = FRESH if name in student.fresh and not course.from_scratch else 1.0
        groups[faster * student.paces.get(name, 1.0)].append(one)
    return groups.items()


def _rate_at(done: float) -> float:
    """The share of the rate when so much is `done`: it rises, then falls like half a cosine."""
    falling = LEAST + (1 - LEAST) * (1 + math.cos(math.pi * done)) / 2
    return min(1.0, (done + 1e-3) / WARM_UP) * falling
