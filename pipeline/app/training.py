"""The work of the command `train`: its options become a course."""

from dataclasses import asdict, dataclass
from pathlib import Path

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.errors import UserError, expanded
from dreamreel.pipeline.networks.names import allow_network, check_network_name
from dreamreel.pipeline.training.course import Course, check_course


@dataclass(frozen=True)
class TrainOptions:
    """The options of `train` that are no settings; None: not given."""

    distill_from: str | None
    layers: str | None
    from_scratch: bool
    epochs: int | None
    minutes: float | None
    batch: int | None
    size: int | None
    rate: float | None
    epoch_steps: int | None


def course_of(folder: Path, given: Given, options: TrainOptions) -> Course:
    """The course that `given` and `options` ask for. Raises UserError if it cannot work, before
    torch is imported."""
    if given.output is None:
        raise UserError("-o tells where the network goes: -o mine.safetensors")
    settings = given.settings()
    if options.distill_from is not None:
        allow_network(options.distill_from)  # named by the user himself
        check_network_name(options.distill_from)
    own = {name: value for name, value in asdict(options).items() if value is not None}
    if options.layers is not None:
        own["layers"] = tuple(name.strip() for name in options.layers.split(","))
    course = Course(
        expanded(folder),
        expanded(given.output),
        settings.network,
        settings.weights,
        seed=settings.seed,
        device=settings.device,
        precision=settings.precision,
        **own,
    )
    check_course(course)
    check_network_name(course.network)
    return course
