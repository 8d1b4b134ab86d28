"""A training on disk: its state, with which a stopped one goes on to the same bytes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor, nn

from dreamreel.pipeline.durable import UNREADABLE, load_tree, save_tree
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.training.course import Course

FORMAT = 2  # of a state; one of another number is not read
LARGEST_STATE = 64 << 30  # bytes; a state is four times as large as the network

# Losses that differ by less are alike: where few hundred pictures check a network that names them
# all, its losses differ so much from epoch to epoch, and one that learned for longer dreams better.
ALIKE = 0.02
Weights = dict[str, Tensor]
Digests = Mapping[str, str | None]


@dataclass
class Progressed:
    """How far a training is: so many `step`s of `steps`, `seconds` long, each computed in `parts`.

    `losses` are those of the epoch's steps, and `history` has a table of figures for each epoch.
    `best` are the weights of the epoch with the least loss on the pictures to check by.
    """

    steps: int
    parts: int = 1
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def best_epoch(self) -> int:
        """The number of the epoch, from 1, that had the least loss; of those alike, the last."""
        losses = [figures["checked_loss"] for figures in self.history]
        return max(one for one, loss in enumerate(losses, 1) if loss <= min(losses) + ALIKE)

    def has_settled(self, epochs: int) -> bool:
        """Whether the last so many `epochs` brought nothing: they were worse than the best one, or
        they lowered neither the checked loss nor, by a hundredth, that of what is learned."""
        if len(self.history) <= epochs:
            return False
        if len(self.history) - self.best_epoch() >= epochs:
            return True
        return not (self._fell("checked_loss", epochs, ALIKE) or self._fell("loss", epochs, 0.0))

    def _fell(self, name: str, epochs: int, least: float) -> bool:
        losses = [figures[name] for figures in self.history]
        before, after = min(losses[:-epochs]), min(losses[-epochs:])
        return after < before - max(least, 0.01 * before)


@contextmanager
def own_folder(course: Course) -> Iterator[Path]:
    """The folder beside the output of `course`, which no other training uses meanwhile. Raises
    UserError if one does, or if it cannot be made."""
    folder = course.beside
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(f"{course.output} is being trained by another process") from error
    try:
        yield folder
    finally:
        lock.release()


def save_state(
    course: Course, digests: Digests, at: Progressed, module: nn.Module, rule: torch.optim.Optimizer
) -> None:
    """Write the state of a training, whole or not at all. `digests` are those of what it reads, by
    name: its pictures, the weights that it began with, its teacher."""
    moments = [rule.state[one] for group in rule.param_groups for one in group["params"]]
    tree = {
        "format": FORMAT,
        "asked": course.asked(),
        "digests": dict(digests),
        "at": {**figures_of(at), "best": at.best},
        "module": module.state_dict(),
        "moments": moments,
    }
    with usable(course.state):
        save_tree(course.state, tree)


def figures_of(at: Progressed) -> dict[str, Any]:
    """The numbers of `at`, by name."""
    return {
        "steps": at.steps,
        "parts": at.parts,
        "step": at.step,
        "seconds": at.seconds,
        "losses": at.losses,
        "history": at.history,
    }


def load_state(
    course: Course, digests: Digests, module: nn.Module, rule: torch.optim.Optimizer
) -> Progressed | None:
    """Bring `module` and `rule` to the state on disk, and return how far it is; None if there is
    none. Raises UserError if it is of other options, or of files with other `digests`, or is
    damaged."""
    if not course.state.exists():
        return None
    again = "--restart begins anew"
    try:
        tree = load_tree(course.state, LARGEST_STATE)
        if tree["format"] != FORMAT:
            raise UserError(f"{course.state} is of another version of Dreamreel; {again}")
        asked = course.asked()
        other = [name for name in asked if tree["asked"].get(name) != asked[name]]
        if other:
            name = other[0].replace("_", "-")
            raise UserError(
                f"{course.state} is a stopped training with another --{name} "
                f"({tree['asked'].get(other[0])}); give the same, or {again}"
            )
        for what, digest in digests.items():
            if tree["digests"].get(what) != digest:
                raise UserError(
                    f"the {what} {_place_of(what, course)}are others than those of the stopped "
                    f"training {course.state}; {again}"
                )
        module.load_state_dict(tree["module"])
        _load_moments(rule, tree["moments"])
        return Progressed(**tree["at"])
    except UNREADABLE as error:
        raise UserError(f"{course.state} is damaged ({error}); {again}") from error


def _load_moments(rule: torch.optim.Optimizer, moments: list[dict[str, Tensor]]) -> None:
    parameters = [one for group in rule.param_groups for one in group["params"]]
    for parameter, found in zip(parameters, moments, strict=True):
        # In the layout of the parameter, as it was: another is computed in another order.
        rule.state[parameter] = {
            name: one if one.ndim == 0 else torch.empty_like(parameter).copy_(one)
            for name, one in found.items()
        }


def _place_of(what: str, course: Course) -> str:
    """Where that which has a digest lies, for a message."""
    return f"in {course.folder} " if what == "pictures" else ""
