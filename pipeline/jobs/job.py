"""The job: one frozen, serialisable record of a render.

The command line makes one, `run` renders it, a work folder's job file and OUT.json hold it, and
reproducing, continuing and measuring read it back. `run` fills in the SHA-256 of each file in it,
the digests of weights and palette, the threads, and the size of a zoom.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dreamreel.pipeline.config.fields import FilePath, Rate, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.values import LARGEST_SIDE, LAST_FRAME
from dreamreel.pipeline.media.sequences import place_of

# Height and width, in pixels, of a zoom that begins with noise or a colour. A common size of 16:9,
# not tuned.
DEFAULT_CANVAS = (360, 640)
# Those of a picture that begins with noise: the side at which most networks are taught, so that
# things fill it.
NOISE_CANVAS = (224, 224)
MOST_THREADS = 4096  # a bound for what a job file may ask for; a round number above any machine's


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
    """A file or a series of pictures: its `path`, and its digest once it was read."""

    path: FilePath
    sha256: Digest | None = None


class Threads(Model):
    """The thread counts of a render. Other counts round sums differently and give other bytes."""

    torch: int = Field(ge=1, le=MOST_THREADS)
    encoder: int = Field(ge=1, le=MOST_THREADS)


class Earlier(Model):
    """The finished zoom that another one continues: its `film` and the `job` that made it."""

    film: NamedFile
    job: "Job"

    @model_validator(mode="after")
    def _is_of_a_zoom(self) -> "Earlier":
        if self.job.flight is None or self.job.flight.size is None:
            raise ValueError("it is no finished zoom")
        return self


class Flight(Model):
    """The part of a job that describes a zoom.

    It has `frames` frames, `rate` a second, including those of the `earlier` zoom that it
    continues. `size` (height, width) in pixels is that of its frames, to which pictures are
    cropped; None: that of its first picture.

    It begins with the job's source, a `colour` (red, green, blue) or noise. With `loop` it returns
    to its beginning, or it arrives at the picture `to`. With `reverse` its last frame is shown
    first. With `motion_only` nothing is dreamed. With `raises_zoom`, a `camera.zoom` that is too
    slow to reach its goal is raised.
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

    @model_validator(mode="after")
    def _goes_on(self) -> "Flight":
        if self.own_frames < 1:
            raise ValueError(f"it ends at frame {self.frames}, before the zoom that it continues")
        if self.earlier is not None and self.rate != flight_of(self.earlier.job).rate:
            raise ValueError("its rate is not that of the zoom that it continues")
        return self

    @property
    def begins(self) -> int:
        """The number of its first own frame: 0, or the number of frames of `earlier`."""
        return 0 if self.earlier is None else flight_of(self.earlier.job).frames

    @property
    def own_frames(self) -> int:
        """The number of its own frames, without those of `earlier`."""
        return self.frames - self.begins

    @property
    def seconds(self) -> float:
        """The length of its own frames, in seconds."""
        return float(self.own_frames / self.rate)


class Piece(Model):
    """A part of a video that is rendered alone, to be joined with others.

    Its frames are `first` to `stop` (excluded). With `after_cut`, the first follows a cut; then the
    piece has the bytes that it has in the whole. Otherwise the dream begins `preroll` frames before
    the first. `exact_from` is the frame from which PyAV decodes in OpenCV's place, if known. The
    piece is kept in the work folder of `place`.
    """

    first: FrameNumber
    stop: FrameNumber
    after_cut: bool = False
    preroll: int = Field(0, ge=0, le=LAST_FRAME)
    exact_from: FrameNumber | None = None
    place: FilePath

    @model_validator(mode="after")
    def _has_frames(self) -> "Piece":
        _check_rising(self.first, self.stop)
        return self


class Shots(Model):
    """The shots of a video: its span from frame `first` to `stop` (excluded), the frames at which
    it is cut, and the frame from which PyAV decodes in OpenCV's place, if any. As long as they are
    looked for, `is_whole` is false, and `stop` is the last cut so far."""

    first: FrameNumber
    stop: FrameNumber
    cuts: tuple[FrameNumber, ...] = ()
    exact_from: FrameNumber | None = None
    is_whole: bool = True

    @model_validator(mode="after")
    def _is_in_order(self) -> "Shots":
        _check_rising(self.first, *self.cuts, self.stop)
        return self

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The frames of each shot: first, and one past the last."""
        edges = [self.first, *self.cuts, self.stop]
        return list(pairwise(edges))


class Job(Model):
    """All that describes one render.

    `kind` is "video", "preview" (of a video's motion), "still" (of a picture, or of the frame that
    a video shows at `at` seconds) or "zoom", which has a `flight`. `source` is a clip or a picture;
    of a zoom, the first picture; None for a zoom or a still that begins with noise. `output` is a
    file, or a pattern such as frames/%05d.png. `span` of a video is its first frame and one past
    its last; None: to its end. `audio` is the music that schedules hear. `files` are those that its
    terms name, `masks` those of its masks, once they were read. Of a video, `piece` is the only
    part that is rendered. `key` is the digest by which a batch knows the job again.
    """

    kind: Literal["video", "preview", "still", "zoom"]
    source: NamedFile | None = None
    output: FilePath
    span: tuple[FrameNumber, FrameNumber | None] = (0, None)
    at: float | None = Field(None, ge=0)
    flight: Flight | None = None
    audio: NamedFile | None = None
    settings: AnySettings
    files: tuple[NamedFile, ...] = ()
    weights_sha256: Digest | None = None
    masks: tuple[NamedFile, ...] | None = None
    palette_sha256: Digest | None = None
    threads: Threads | None = None
    piece: Piece | None = None
    key: str | None = None

    @property
    def place(self) -> Path:
        """The file that it makes, or the folder of its pictures. A still's name is no pattern."""
        return self.output if self.kind == "still" else place_of(self.output)

    @model_validator(mode="after")
    def _is_complete(self) -> "Job":
        if (self.kind == "zoom") != (self.flight is not None):
            raise ValueError("a zoom has a flight, and nothing else has")
        begins_alone = self.kind == "zoom" or (self.kind == "still" and self.at is None)
        if self.source is None and not begins_alone:
            raise ValueError(f"a {self.kind} needs a source")
        if self.piece is not None and self.kind != "video":
            raise ValueError(f"a {self.kind} has no pieces")
        if self.span[1] is not None:
            _check_rising(*self.span)
        return self


Earlier.model_rebuild()


def fault_of(error: ValidationError) -> str:
    """The first fault that `error` tells of: the place in the table, and what is wrong there."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))
    told = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {told}" if where else told


def flight_of(job: Job) -> Flight:
    """The flight of the zoom of `job`. Raises ValueError if `job` is not that of a zoom."""
    if job.flight is None:
        raise ValueError(f"the job of a {job.kind} has no flight")
    return job.flight


def source_of(job: Job) -> Path:
    """The path of the source of `job`. Raises ValueError if it has none."""
    if job.source is None:
        raise ValueError(f"the job of a {job.kind} has no source")
    return job.source.path


def as_table(job: Job) -> dict[str, Any]:
    """`job` as a table that JSON can hold, without the fields that are None."""
    return job.model_dump(mode="json", exclude_none=True)


def _check_rising(*numbers: int | None) -> None:
    """Raise ValueError unless each of the frame `numbers` is larger than the one before."""
    for before, after in pairwise(number for number in numbers if number is not None):
        if after <= before:
            raise ValueError(f"frame {after} does not come after frame {before}")
