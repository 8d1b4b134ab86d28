"""The job: one frozen, serialisable record of a render.

The command line makes one, `run` renders it, a work folder's job file and OUT.json hold it, and
reproducing, continuing and measuring read it back. A file in it is told apart by its SHA-256, which
`run` fills in, as it does the size of a zoom, the digest of the weights and the threads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dreamreel.pipeline.config.fields import FilePath, Rate, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.values import LARGEST_SIDE, LAST_FRAME, SMALLEST_SIDE

MOST_THREADS = 4096


class Model(BaseModel):
    """A frozen part of a job that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _as_settings(value: Any) -> Any:
    return build(("the job's settings", value)) if isinstance(value, Mapping) else value


FrameNumber = Annotated[int, Field(ge=0, le=LAST_FRAME)]
Count = Annotated[int, Field(ge=1, le=LAST_FRAME)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Channel = Annotated[int, Field(ge=0, le=255)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
AnySettings = Annotated[Settings, BeforeValidator(_as_settings)]


class NamedFile(Model):
    """A file, or a series of them, by its `path`, and by its content once that was read."""

    path: FilePath
    sha256: Digest | None = None


class Threads(Model):
    """How many threads share the work: other numbers round otherwise, and make other bytes."""

    torch: int = Field(ge=1, le=MOST_THREADS)
    encoder: int = Field(ge=1, le=MOST_THREADS)


class Earlier(Model):
    """The finished zoom that another one continues: its `film`, and the `job` that made it."""

    film: NamedFile
    job: "Job"


class Flight(Model):
    """A zoom of so many `frames`, `rate` a second, those of an `earlier` one that it continues
    included, on a canvas of `size` (height, width), to which pictures are cropped; None: the first
    picture's own.

    It begins with the job's source, a `colour` (red, green, blue) or noise. It comes back to its
    beginning in a `loop`, or arrives at the picture `to`; it is shown in `reverse`, last frame
    first; nothing is dreamed where it is `motion_only`. If it `raises_zoom`, a `camera.zoom` that
    is too slow for its goal is raised.
    """

    frames: Count
    rate: Rate
    size: tuple[Side, Side] | None = None
    colour: tuple[Channel, Channel, Channel] | None = None
    loop: bool = False
    to: NamedFile | None = None
    reverse: bool = False
    motion_only: bool = False
    raises_zoom: bool = False
    earlier: Earlier | None = None

    @property
    def begins(self) -> int:
        """The number of the first frame of its own."""
        return 0 if self.earlier is None else flight_of(self.earlier.job).frames

    @property
    def own_frames(self) -> int:
        """How many frames are made for it."""
        return self.frames - self.begins

    @property
    def seconds(self) -> float:
        """How long its own frames last."""
        return float(self.own_frames / self.rate)


class Job(Model):
    """A render, whole.

    `kind`: "video"; "preview" of a video's motion; "still", of a picture or of the frame shown `at`
    so many seconds of a video; "zoom", which has a `flight`. `source`: the film, the pictures, or
    the picture that a zoom begins with. `output`: the file, or such as frames/%05d.png. `span`: of
    a video, the first frame and one past the last; None: to its end. `audio`: the music that
    schedules hear.
    """

    kind: Literal["video", "preview", "still", "zoom"]
    source: NamedFile | None = None
    output: FilePath
    span: tuple[FrameNumber, FrameNumber | None] = (0, None)
    at: float | None = Field(None, ge=0)
    flight: Flight | None = None
    audio: NamedFile | None = None
    settings: AnySettings
    weights_sha256: Digest | None = None
    threads: Threads | None = None


Earlier.model_rebuild()

# What tells one picture size from none at all.
SMALLEST_CANVAS = SMALLEST_SIDE


def flight_of(job: Job) -> Flight:
    """The flight of a zoom's `job`, which has one."""
    if job.flight is None:
        raise ValueError(f"the job of a {job.kind} has no flight")
    return job.flight


def source_of(job: Job) -> Path:
    """The path of the source of a `job`, which has one."""
    if job.source is None:
        raise ValueError(f"the job of a {job.kind} has no source")
    return job.source.path


def as_table(job: Job) -> dict[str, Any]:
    """`job` as JSON holds it."""
    return job.model_dump(mode="json", exclude_none=True)
