"""How a network is trained: what is asked for, and the files that a training writes."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.values import is_network_file
from dreamreel.pipeline.errors import UserError

EPOCHS = 20  # times that all pictures are seen, where neither epochs nor minutes are given
BATCH = 32  # pictures of a step
SIZE = 112  # pixels; two thirds of a step's time at 160, and shapes of 20 pixels are told apart
FELT_SIZE = 160  # pixels of what is felt layer by layer, where most pictures are as large
EPOCH_STEPS = 20  # of an epoch at least: its check and its dreams take as long as a few
RATE, SCRATCH_RATE = 3e-4, 1e-3  # AdamW's; what is learned already is changed more slowly
SMALLEST_SIZE, LARGEST_SIZE = 32, 1024
SMALLEST_BATCH = 2  # batch norms need two
HEADS = ("textures", "parts", "creatures", "objects")  # of dreamnet, that feel as layers do


@dataclass(frozen=True)
class Course:
    """A training: the pictures in `folder` teach `network`, which goes to the file `output`.

    `weights`: those that it begins with; None: its own. With `from_scratch` it begins with random
    ones. It ends after so many `epochs` or `minutes`, whichever is first. An epoch has at least
    `epoch_steps`: few pictures are seen several times in one. `size`: see `side`.

    `distill_from` is a network that teaches in place of class folders, with the `weights`. It is
    felt in its `layers`, one for each head of dreamnet; None: those that suit.
    """

    folder: Path
    output: Path
    network: str = "dreamnet"
    weights: Path | None = None
    from_scratch: bool = False
    epochs: int | None = None
    minutes: float | None = None
    batch: int = BATCH
    size: int | None = None
    epoch_steps: int = EPOCH_STEPS
    rate: float | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    distill_from: str | None = None
    layers: tuple[str, ...] | None = None

    @property
    def most_epochs(self) -> int | None:
        """The epochs after which it ends; None if the minutes alone end it."""
        return EPOCHS if self.epochs is None and self.minutes is None else self.epochs

    @property
    def side(self) -> int:
        """The side of the crops, in pixels."""
        return self.size or (SIZE if self.distill_from is None else FELT_SIZE)

    @property
    def first_rate(self) -> float:
        """The rate of AdamW at its highest."""
        return self.rate or (SCRATCH_RATE if self.from_scratch else RATE)

    @property
    def beside(self) -> Path:
        """The folder beside the output, for its state, the dreams of each epoch and the curve."""
        own = self.output.with_suffix("")
        if own.absolute() != self.folder.absolute():
            return own
        return own.with_name(f"{own.name}-training")  # not among the pictures

    @property
    def state(self) -> Path:
        """The file that holds a training that was stopped."""
        return self.beside / "state.safetensors"

    def asked(self) -> dict[str, Any]:
        """All that decides the result, but for the pictures themselves, by name."""
        table = asdict(self)
        del table["folder"], table["output"]
        table["weights"] = None if self.weights is None else str(self.weights)
        table["layers"] = None if self.layers is None else list(self.layers)
        return table


def check_course(course: Course) -> None:
    """Raise UserError if `course` cannot work, whatever its pictures are."""
    bounds = {
        "--epochs": (course.epochs, 1, 100_000),
        "--minutes": (course.minutes, 0.05, 100_000),
        "--batch": (course.batch, SMALLEST_BATCH, 65_536),
        "--epoch-steps": (course.epoch_steps, 1, 100_000),
        "--size": (course.size, SMALLEST_SIZE, LARGEST_SIZE),
        "--rate": (course.rate, 1e-8, 10),
    }
    for name, (value, least, most) in bounds.items():
        if value is not None and not least <= value <= most:
            raise UserError(f"{name} {value:g} is not between {least:g} and {most:g}")
    if not is_network_file(course.output.name) or not course.output.stem.strip("."):
        raise UserError(f"{course.output} must end in .safetensors, such as mine.safetensors")
    if course.output.is_dir():
        raise UserError(f"{course.output} is a folder; give a file such as mine.safetensors")
    if Path(os.path.realpath(course.output)).is_relative_to(os.path.realpath(course.folder)):
        raise UserError(
            f"{course.output} lies in {course.folder}, among the pictures; give a place beside it"
        )
    if course.distill_from is None and course.layers is not None:
        raise UserError("--layers names layers of the network that --distill-from names")
    if course.layers is not None and len(course.layers) != len(HEADS):
        raise UserError(
            f"--layers {','.join(course.layers)}: {len(course.layers)} layers; {len(HEADS)} are "
            f"needed, with commas between them: what {', '.join(HEADS)} are to feel"
        )
    if course.from_scratch and course.weights is not None and course.distill_from is None:
        raise UserError("--from-scratch begins with random weights; leave out --weights")
