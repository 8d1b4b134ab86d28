"""The last steps of a render: segments are assembled into one film, verified and published."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.durable import flush, publish, save_tree
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.identity import digest
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import (
    STATE_FORMAT,
    Target,
    check_replaceable,
    is_record,
    is_state,
    record_path,
    state_path,
)
from dreamreel.pipeline.jobs.record import Made, write_record
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.segments import Segments
from dreamreel.pipeline.media.clips import Tracks, probe
from dreamreel.pipeline.media.decoding import shown_times
from dreamreel.pipeline.media.encoding import CONTAINERS, Encoding
from dreamreel.pipeline.media.exports import export
from dreamreel.pipeline.media.mux import Part, copy_pictures, mux, retime
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.media.sequences import find_series, is_series, publish_series, read_series
from dreamreel.pipeline.stages import timed

# Seconds by which the last frame's time may be off: twice the millisecond to which Matroska rounds.
LATEST = Fraction(1, 500)
# Seconds by which an animation's length may be off, besides the length of one frame, because the
# last one's is a guess: twice the hundredth of a second to which times are rounded.
ROUNDED = Fraction(1, 50)


@dataclass(frozen=True)
class Plan:
    """How frames become a film.

    `encoding` is that of the segments. `first` is the number of the first frame, by which pictures
    are named. `times` are the times of all frames and of the end, in seconds since the first frame,
    if the rate varies. `tracks` (sound, subtitles) are added, `cut` to (begin, end) in seconds if
    given. `before` is the film that this one continues, with its number of frames.
    """

    encoding: Encoding
    first: int = 0
    times: tuple[Fraction, ...] = ()
    tracks: Tracks | None = None
    cut: tuple[Fraction, Fraction] | None = None
    before: tuple[Path, int] | None = None

    def frames(self, work: Segments) -> int:
        """The number of frames of the whole film."""
        return work.frames + (0 if self.before is None else self.before[1])

    def last(self, work: Segments) -> Fraction:
        """The time of the last frame, in seconds since the first."""
        return self.times[-2] if self.times else (self.frames(work) - 1) / self.encoding.rate


@timed("encode")
def assemble(work: Segments, plan: Plan, out: Target, report: Report) -> Path:
    """Join the segments of `work` as `plan` says, and return the path of the result in
    `work.pieces`: a file, or a folder of pictures if `out` is a series.

    Notices about tracks that were left out go to `report`. Raises UserError if ffmpeg fails.
    """
    rate, suffix = plan.encoding.rate, plan.encoding.segment_suffix
    parts = [Part(path, frames / rate) for path, frames in work.segments()]
    if plan.encoding.reverse:
        parts.reverse()
    if plan.before is not None:
        film, frames = plan.before
        pictures = work.pieces / f"before.partial{suffix}"
        copy_pictures(film, pictures, rate, frames)
        parts = [Part(pictures, frames / rate), *parts]
    if plan.times:
        even, own = (work.pieces / f"{name}.partial{suffix}" for name in ("even", "own"))
        mux(parts, None, even, None, report.on_notice)
        retime(even, own, plan.times)
        parts = [Part(own, plan.times[-1])]
    if out.path.suffix.lower() in CONTAINERS:
        made = work.pieces / f"whole.partial{out.path.suffix}"
        mux(parts, plan.tracks, made, plan.cut, report.on_notice)
        return made
    whole = work.pieces / "lossless.partial.mkv"
    mux(parts, None, whole, None, report.on_notice)
    return export(whole, out.path, plan.encoding, plan.first, bool(plan.times), work.pieces)


@timed("verify")
def verify(made: Path, work: Segments, plan: Plan, out: Target) -> None:
    """Decode the film `made` to its end. Raise RuntimeError unless it has all frames of `work`, and
    the right time of the last frame or, for an animation, the right length."""
    frames = plan.frames(work)
    if out.path.suffix.lower() in CONTAINERS:
        check_film(made, frames, plan.last(work))
    else:
        lasts = plan.times[-1] if plan.times else frames / plan.encoding.rate
        check_pictures(made, frames, lasts)


def publish_film(
    made: Path,
    out: Target,
    report: Report,
    record: tuple[Job, Made] | None,
    state: dict[str, Any] | None = None,
) -> Path:
    """Move the film `made` to the path of `out`, and return that path. The `record` and the `state`
    are written beside it before, if given.

    Raises UserError if a file that may not be replaced has appeared there meanwhile.
    """
    place = out.place
    for path in [made] if made.is_file() else made.iterdir():
        with path.open("rb+") as file:
            flush(file)
    report.before_publishing()
    if record is not None:
        check_replaceable(record_path(place), is_record, "record of a render", out.overwrite)
        write_record(record_path(place), *record)
    if state is not None:
        check_replaceable(state_path(place), is_state, "state of a zoom", out.overwrite)
        save_tree(state_path(place), {"format": STATE_FORMAT, "film": digest(made), **state})
    try:
        if is_series(out.path):
            publish_series(made, out.path, out.overwrite)
        else:
            publish(made, place, out.overwrite)
    except FileExistsError as error:
        raise UserError(f"{place} exists by now; --overwrite replaces it") from error
    return place


def check_film(video: Path, frames: int, last: Fraction) -> None:
    """Raise RuntimeError unless decoding `video` gives `frames` frames, the last of them `last`
    seconds after the first."""
    times = shown_times(video)
    if len(times) != frames:
        raise RuntimeError(f"{frames} frames went in, {len(times)} came out")
    since = (times[-1] or 0) - (times[0] or 0)
    if abs(since - last) > LATEST:
        raise RuntimeError(f"the last frame is shown at {float(since)} s, not {float(last)} s")


def check_pictures(made: Path, frames: int, seconds: Fraction) -> None:
    """Raise RuntimeError unless `made`, a folder of pictures or an animation, has `frames` frames.
    An animation must last `seconds`, and a WebP may have fewer frames: it joins equal ones."""
    series = find_series(made)
    came = sum(1 for _ in (read_frames(made) if series is None else read_series(series)))
    joined = made.suffix.lower() == ".webp" and came < frames
    if came != frames and not joined:
        raise RuntimeError(f"{frames} frames went in, {came} came out")
    if series is None and not (joined and came == 1):  # one picture alone has no time
        lasts = probe(made).shown_at(came)
        if abs(lasts - seconds) > ROUNDED + seconds / frames:
            raise RuntimeError(f"{float(seconds)} s went in, {float(lasts)} s came out")
