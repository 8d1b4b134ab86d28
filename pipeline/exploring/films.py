"""Films that explorers make: their frames encoded, verified and published."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import Span
from dreamreel.pipeline.durable import publish
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
PART_FRAMES = 48  # of a part that is kept: a film that was stopped makes no more than these again
FramesFrom = Callable[[int], Iterable[Frame]]  # those of a film from a number on
Kept = Callable[[int, str], Path]  # the file of a part with this ending, kept until all are done


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


@dataclass(frozen=True)
class Moving:
    """What a film shows: its `frames`, all of one size, their `timing`, and their number, `total`,
    if it is known. Parts of it that are `kept` from before are not made again."""

    frames: FramesFrom
    timing: Timing
    total: int | None
    kept: Kept | None = None


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
    film: Moving,
    out: Target,
    settings: Settings,
    pieces: Path,
    report: Report,
    about: Mapping[str, Any],
) -> Path:
    """Encode `film` into `out`, with an index that holds `about` beside it. `pieces` is the folder
    for files that are being written. Returns the path of the film. Raises Stopped if `report` asks
    to stop."""
    timing = film.timing
    first = next(iter(film.frames(0)), None)
    if first is None:
        raise UserError(f"{out.path} would have no frames; give an earlier start")
    raster = Raster(first.shape[0], first.shape[1], timing.rate, film.total)
    unscaled = settings.model_copy(
        update={
            "width": None,
            "output": settings.output.model_copy(update={"side_by_side": False}),
        }
    )
    encoding = encoding_of(raster, out, unscaled, report)
    counted = _Counted(film, report)
    parts = _encoded(counted, encoding, pieces, film.kept)
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


def _encoded(frames: "_Counted", encoding: Encoding, pieces: Path, kept: Kept | None) -> list[Part]:
    """`frames` in encoded parts of a film, in the folder `pieces`, or as they are `kept`: a part's
    frames lie on the disk before they are encoded, and those of a whole film would fill it."""
    length, threads = max(1, PART_BYTES // encoding.frame_bytes), current_threads().encoder
    parts: list[Part] = []
    suffix = encoding.segment_suffix
    if kept is not None:
        length = min(length, PART_FRAMES)
        while (path := kept(len(parts), suffix)).exists():
            parts.append(Part(path, length / encoding.rate))
    frames.begin(len(parts) * length)
    source = iter(frames)
    for first in source:
        before = frames.done - 1
        path = pieces / f"{len(parts):06}.partial{suffix}"
        encode(chain([first], islice(source, length - 1)), path, encoding, threads)
        if kept is not None and frames.done - before == length:  # else it is the last
            publish(path, kept(len(parts), suffix))
            path = kept(len(parts), suffix)
        parts.append(Part(path, (frames.done - before) / encoding.rate))
    return parts


class _Counted:
    """Frames that report their progress; `done` is how many there were before."""

    def __init__(self, film: Moving, report: Report) -> None:
        self._film, self._report = film, report
        self.done = self._before = 0

    def begin(self, done: int) -> None:
        """Leave out so many frames that are `done` already."""
        self.done = self._before = done
        if done:
            self._report.on_notice(f"going on after {done} frames that are done already")

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._film.frames(self.done):
            if self._report.is_stopping():
                raise Stopped(self._told())
            self.done += 1
            self._report.on_progress(Progress(self.done, self._film.total, self._before))
            yield frame

    def _told(self) -> str:
        """What a film that is stopped says of going on."""
        if self._film.kept is None:
            return "stopped; no film was written, and the same command begins it anew"
        return f"stopped after {self.done} frames; the same command goes on with its last part"
