"""Films that explorers make: their frames encoded, verified and published."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import Span
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.exploring.sheets import check_index, write_index
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.assembly import check_film, check_pictures, publish_film
from dreamreel.pipeline.jobs.checks import encoding_of
from dreamreel.pipeline.jobs.making import current_threads
from dreamreel.pipeline.jobs.paths import Target, check_target, check_video_name, record_path
from dreamreel.pipeline.jobs.report import QUIET, Progress, Report
from dreamreel.pipeline.media.clips import Clip, Raster
from dreamreel.pipeline.media.encoding import CONTAINERS, Encoding, encode
from dreamreel.pipeline.media.exports import export
from dreamreel.pipeline.media.mux import Part, mux, retime

PART_BYTES = 1 << 28  # of frames that are encoded at a time; a round number


@dataclass(frozen=True)
class Timing:
    """The `rate` of a film in frames a second. Where its frames are the `span` of a `clip`, they
    have the times that they have there, and its sound comes along."""

    rate: Fraction
    clip: Clip | None = None
    span: Span = (0, None)

    def times(self, frames: int) -> tuple[Fraction, ...]:
        """The times of so many frames, and of their end, since the first; empty if the rate is
        constant."""
        if self.clip is None or not self.clip.times:
            return ()
        begins = self.clip.shown_at(self.span[0])
        return tuple(
            self.clip.shown_at(self.span[0] + number) - begins for number in range(frames + 1)
        )

    def cut(self, frames: int) -> tuple[Fraction, Fraction] | None:
        """Where so many frames begin and end in the clip, in seconds; None for all of it."""
        if self.clip is None or self.span == (0, None):
            return None
        return self.clip.shown_at(self.span[0]), self.clip.shown_at(self.span[0] + frames)


def is_film(path: Path) -> bool:
    """Whether `path` has the ending of a film. A .png or .webp is a picture here."""
    return path.suffix.lower() in (*CONTAINERS, ".gif", ".apng")


def check_film_target(
    out: Target, sources: Iterable[Path], others: Iterable[Path], settings: Settings
) -> None:
    """Raise UserError unless a film can be written into `out`, with its index beside it, and is
    none of the files that are read: the `sources` and `others`."""
    check_video_name(out.path)
    encoding_of(Raster(64, 64, Fraction(24), 1), out, settings, QUIET)
    check_target(out, list(sources), list(others), ("work",))
    check_index(record_path(out.path), out.overwrite)


def make_film(
    frames: Iterable[Frame],
    timing: Timing,
    out: Target,
    settings: Settings,
    pieces: Path,
    total: int | None,
    report: Report,
    about: Mapping[str, Any],
) -> Path:
    """Encode `frames`, all of one size, into the film `out`, with an index that holds `about`
    beside it. `pieces` is the folder for files that are being written; `total` is the number of
    frames, if known. Returns the path of the film. Raises Stopped if `report` asks to stop."""
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise UserError(f"{out.path} would have no frames; give an earlier start")
    raster = Raster(first.shape[0], first.shape[1], timing.rate, total)
    unscaled = settings.model_copy(
        update={
            "width": None,
            "output": settings.output.model_copy(update={"side_by_side": False}),
        }
    )
    encoding = encoding_of(raster, out, unscaled, report)
    counted = _Counted(first, source, total, report)
    parts = _encoded(counted, encoding, pieces)
    rate, suffix = timing.rate, out.path.suffix
    times = timing.times(counted.done)
    if times:
        even, own = (
            pieces / f"{name}.partial{encoding.segment_suffix}" for name in ("even", "own")
        )
        mux(parts, None, even, None, report.on_notice)
        retime(even, own, times)
        parts = [Part(own, times[-1])]
    ends = times[-1] if times else counted.done / rate
    last = times[-2] if times else (counted.done - 1) / rate
    if suffix.lower() in CONTAINERS:
        made = pieces / f"whole.partial{suffix}"
        tracks = None if timing.clip is None else timing.clip.tracks
        mux(parts, tracks, made, timing.cut(counted.done), report.on_notice)
        check_film(made, counted.done, last)
    else:
        whole = pieces / "lossless.partial.mkv"
        mux(parts, None, whole, None, report.on_notice)
        made = export(whole, out.path, encoding, 0, bool(times), pieces)
        check_pictures(made, counted.done, ends)
    write_index(record_path(out.path), about, out.overwrite)
    return publish_film(made, out, report, None)


def _encoded(frames: "_Counted", encoding: Encoding, pieces: Path) -> list[Part]:
    """`frames` in encoded parts of a film, in the folder `pieces`: a part's frames lie on the disk
    before they are encoded, and those of a whole film would fill it."""
    length, threads = max(1, PART_BYTES // encoding.frame_bytes), current_threads().encoder
    parts: list[Part] = []
    source = iter(frames)
    for first in source:
        before = frames.done - 1
        path = pieces / f"{len(parts):06}.partial{encoding.segment_suffix}"
        encode(chain([first], islice(source, length - 1)), path, encoding, threads)
        parts.append(Part(path, (frames.done - before) / encoding.rate))
    return parts


class _Counted:
    """Frames that report their progress; `done` is how many were taken."""

    def __init__(
        self, first: Frame, others: Iterator[Frame], total: int | None, report: Report
    ) -> None:
        self._frames, self._total, self._report = (first, others), total, report
        self.done = 0

    def __iter__(self) -> Iterator[Frame]:
        first, others = self._frames
        yield self._count(first)
        for frame in others:
            if self._report.is_stopping():
                raise Stopped("stopped; no film was written, and the same command begins it anew")
            yield self._count(frame)

    def _count(self, frame: Frame) -> Frame:
        self.done += 1
        self._report.on_progress(Progress(self.done, self._total))
        return frame
