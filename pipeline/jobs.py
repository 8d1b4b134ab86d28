"""What every job goes through: from its settings to one whole, verified file."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dreamreel.pipeline.clips import Clip, probe, read_frames
from dreamreel.pipeline.curves import moment_of
from dreamreel.pipeline.decoding import decode, look_of
from dreamreel.pipeline.dream import octave_sizes
from dreamreel.pipeline.durable import Tree, flush, publish, save_tree
from dreamreel.pipeline.encoding import CONTAINERS, Encoding, encoding_for
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.exports import FASTEST_GIF, export, lossless_encoding, publish_series
from dreamreel.pipeline.files import digest, named, stamp
from dreamreel.pipeline.images import Frame, fitted_size
from dreamreel.pipeline.music import hear
from dreamreel.pipeline.mux import Part, copy_pictures, mux, retime
from dreamreel.pipeline.networks import Network, load_network
from dreamreel.pipeline.paths import (
    Target,
    check_replaceable,
    is_record,
    is_series,
    is_state,
    place_of,
    record_path,
    state_path,
)
from dreamreel.pipeline.pictures import find_series, read_series
from dreamreel.pipeline.record import code_digest, versions, write_record
from dreamreel.pipeline.settings import OverTime, Settings, constant
from dreamreel.pipeline.unfinished import Job, Threads, Unfinished, begin


@dataclass(frozen=True)
class Progress:
    """How far a job is: `done` of `total` (None where nobody knows) frames, or steps, of which
    `before` were done when it went on."""

    done: int
    total: int | None
    before: int = 0


@dataclass(frozen=True)
class Report:
    """Where a job tells of itself: its progress, and what the user should know; and asks whether it
    is to stop."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda line: None
    is_stopping: Callable[[], bool] = lambda: False


QUIET = Report()


def files_of(settings: Settings) -> list[Path]:
    """The files that `settings` name, which a render reads."""
    return [path for path in (settings.weights, settings.flow.weights) if path is not None]


def audio_of(audio: Path | None) -> Job:
    """What a job tells of the music that it hears."""
    return {} if audio is None else {"audio": named(audio)}


def heard_by(settings: Settings, audio: Path | None) -> Path | None:
    """The music that schedules hear, if they hear any. Raises UserError where there is none."""
    if not settings.needs_music:
        return None
    if audio is None:
        names = ", ".join(settings.schedules)
        raise UserError(f"a schedule of {names} hears music, and there is none: --audio FILE")
    return audio


def settings_over_time(
    settings: Settings, frames: int, rate: Fraction, heard: Path | None, first: int = 0
) -> OverTime:
    """The settings of each of so many `frames`, the first of them numbered `first`. Raises
    UserError where a schedule has no value that its setting can have."""
    if not settings.schedules:
        return constant(settings)
    sound = None if heard is None else hear(heard, rate, frames, first / rate)

    @lru_cache(maxsize=4)
    def at(number: int) -> Settings:
        return settings.at(moment_of(number - first, frames, rate, sound))

    for number in range(first, first + frames):
        at(number)
    return at


def ready_network(settings: Settings, size: tuple[int, int], report: Report) -> Network:
    """The network of `settings`, sure to have its layers and to see a picture of `size`; where
    memory runs out for it, `report` is told."""
    network, layers = loaded_network(settings)
    network.sight.on_notice = report.on_notice
    changing = {name.removeprefix("dream.layers.") for name in settings.schedules}
    seen = [name for name in layers if layers[name] or name in changing]
    network.sight.check(settings.dream.tile, seen)
    octave_sizes(size, network, settings.dream)
    return network


def loaded_network(settings: Settings) -> tuple[Network, dict[str, float]]:
    """The network of `settings` and the layers it is to dream, which it is sure to have."""
    layers = settings.dream.layers
    if layers and not any(layers.values()) and "dream.layers" not in settings.changes:
        raise UserError("dream.layers gives every layer weight 0; one must have another")
    network = load_network(settings.network, settings.weights, settings.device, settings.precision)
    layers = layers or network.default_layers()
    network.check(layers)
    return network, layers


def job_of(
    kind: str, settings: Settings, source: Path | None, network: Network | None, more: Job
) -> Job:
    """What tells one render from another."""
    return {
        "dreamreel": version("dreamreel"),
        "code": code_digest(),
        "kind": kind,
        "source": source and digest(source),
        "weights": network and network.digest,
        **more,
        "settings": settings.model_dump(mode="json", exclude_none=True),
    }


@contextmanager
def under_way(
    out: Target,
    job: Job,
    encoding: Encoding,
    frames: int | None,
    threads: Threads | None = None,
) -> Iterator[Unfinished]:
    """The render of `job` into `out`, begun or gone on with, and torch with its threads."""
    threads = threads or Threads(torch.get_num_threads(), os.cpu_count() or 1)
    before = torch.get_num_threads()
    with begin(place_of(out.path), job, encoding, threads, out.restart, frames) as work:
        torch.set_num_threads(work.threads.torch)
        try:
            yield work
        finally:
            torch.set_num_threads(before)


def encoding_of(
    clip: Clip, out: Target, settings: Settings, report: Report, abreast: int = 1
) -> Encoding:
    """How what is made of `clip` is encoded, so many pictures `abreast`."""
    height, width = fitted_size(clip.height, clip.width, settings.width)
    abreast *= 2 if settings.output.side_by_side else 1
    told = (height, abreast * width), clip.rate, clip.pixel_shape, clip.depth, clip.has_alpha
    suffix = out.path.suffix.lower()
    if suffix in CONTAINERS:
        encoding = encoding_for(settings.output, suffix, *told)
    else:
        encoding = lossless_encoding(settings.output, out.path, *told)
    if clip.has_alpha and not encoding.has_alpha:
        report.on_notice(f"{encoding.told(suffix)} keeps no transparency: written without")
    if clip.depth > encoding.depth == 8:
        more = "; --codec hevc or prores keeps 10" if suffix in CONTAINERS else ""
        report.on_notice(f"{encoding.told(suffix)} keeps 8 bits of the source's {clip.depth}{more}")
    if suffix == ".gif" and clip.rate > FASTEST_GIF:
        report.on_notice(f"players slow down a GIF of more than {FASTEST_GIF} frames a second")
    return encoding


def make(
    frames: Iterator[Frame],
    work: Unfinished,
    state: Callable[[], Tree],
    total: int | None,
    settings: Settings,
    report: Report,
    sources: Sequence[Path],
) -> None:
    """Have `work` keep all `frames`, and now and then the `state` after the one made last. Raises
    UserError where one of the `sources` has changed since they began: no such frame is kept."""
    stamps = [stamp(source) for source in sources]

    def save() -> None:
        for source, one in zip(sources, stamps, strict=True):
            if stamp(source) != one:
                raise UserError(f"{source} was changed while it was rendered: put it back")
        work.save(state())

    before = work.done
    if before:
        report.on_notice(f"going on after {before} frames that were done before")
    for frame in frames:
        work.add(frame)
        report.on_progress(Progress(work.frames, total, before))
        stopping = report.is_stopping()
        if stopping or work.is_due(settings.output.save_seconds):
            save()
        if stopping:
            of = "" if total is None else f" of {total}"
            raise Stopped(f"stopped; {work.done}{of} frames are done: the same command goes on")
    if work.frames > work.done:
        save()


def finish(
    work: Unfinished,
    encoding: Encoding,
    out: Target,
    report: Report,
    told: dict[str, Any] | None,
    clip: Clip | None = None,
    span: tuple[int, int | None] = (0, None),
    before: tuple[Path, int] | None = None,
    state: Tree | None = None,
) -> Path:
    """Put the file together, first what was made `before`, a film of so many frames, add the
    sound, look whether all is there, and give it its name; what is `told` of it, to its record, and
    the `state` after it, to its file."""
    place = place_of(out.path)
    if clip is not None:
        _tell_missing(clip, span, work.frames, report)
    parts = [Part(path, frames / encoding.rate) for path, frames in work.segments()]
    if encoding.reverse:
        parts.reverse()
    frames = work.frames
    if before is not None:
        film, more = before
        pictures = work.pieces / f"before.partial{encoding.segment_suffix}"
        copy_pictures(film, pictures, encoding.rate, more)
        parts, frames = [Part(pictures, more / encoding.rate), *parts], frames + more
    last = (frames - 1) / encoding.rate
    if clip is not None and clip.times:
        parts = [_retimed(parts, clip, span[0], work, encoding)]
        last = clip.shown_at(span[0] + work.frames - 1) - clip.shown_at(span[0])
    if out.path.suffix.lower() in CONTAINERS:
        sound = clip if clip is not None and clip.is_file else None
        seconds = None if clip is None else _seconds(clip, span, work.frames)
        if clip is not None and clip.frames is None and not clip.shown:  # sound alone, cut to fit
            seconds = (Fraction(0), frames / encoding.rate)
        made = work.pieces / f"whole.partial{out.path.suffix}"
        mux(parts, sound, made, seconds, report.on_notice)
        check_whole(made, frames, last)
    else:
        whole = work.pieces / "lossless.partial.mkv"
        mux(parts, None, whole, None, report.on_notice)
        varies = clip is not None and bool(clip.times)
        made = export(whole, out.path, encoding, span[0], varies, work.pieces)
        check_exported(made, work.frames, sum(part.seconds for part in parts))
    for path in [made] if made.is_file() else made.iterdir():
        with path.open("rb+") as file:
            flush(file)
    if told is not None:  # what stands there was ours at the beginning: it may be another by now
        check_replaceable(record_path(place), is_record, "record of a render", out.overwrite)
        write_record(record_path(place), told)
    if state is not None:
        check_replaceable(state_path(place), is_state, "state of a zoom", out.overwrite)
        save_tree(state_path(place), {"film": digest(made), "state": state})
    try:
        if is_series(out.path):
            publish_series(made, out.path, out.overwrite)
        else:
            publish(made, place, out.overwrite)
    except FileExistsError as error:
        raise UserError(f"{place} exists by now; --overwrite replaces it") from error
    return place


def check_whole(video: Path, frames: int, last: Fraction) -> None:
    """Raise RuntimeError unless decoding `video` gives so many `frames`, the last of them shown
    `last` seconds after the first, within two milliseconds."""
    times = [picture.time for picture in decode(video, 0, look_of(video, 0))]
    if len(times) != frames:
        raise RuntimeError(f"{frames} frames went in, {len(times)} came out")
    since = (times[-1] or 0) - (times[0] or 0)
    if abs(since - last) > Fraction(1, 500):
        raise RuntimeError(f"the last frame is shown at {float(since)} s, not {float(last)} s")


def check_exported(made: Path, frames: int, seconds: Fraction | int) -> None:
    """Raise RuntimeError unless the pictures `made`, a folder or one animation, are so many, and
    last so many `seconds`. (WebP joins frames that are alike.)"""
    series = find_series(made)
    came = sum(1 for _ in (read_frames(made) if series is None else read_series(series)))
    joined = made.suffix.lower() == ".webp" and came < frames
    if came != frames and not joined:
        raise RuntimeError(f"{frames} frames went in, {came} came out")
    if series is None:
        lasts = probe(made).shown_at(came)
        # Each frame's time is rounded to centiseconds, and how long the last is shown is a guess.
        if abs(lasts - seconds) > Fraction(1, 50) + seconds / frames:
            raise RuntimeError(f"{float(seconds)} s went in, {float(lasts)} came out")


def _retimed(
    parts: list[Part], clip: Clip, start: int, work: Unfinished, encoding: Encoding
) -> Part:
    """The pictures of `parts`, each at the time at which the source `clip`, of a variable
    rate, shows the frame it is of."""
    suffix = encoding.segment_suffix
    even, own = (work.pieces / f"{name}.partial{suffix}" for name in ("even", "own"))
    mux(parts, None, even, None, lambda line: None)
    begins = clip.shown_at(start)
    times = [clip.shown_at(start + number) - begins for number in range(work.frames + 1)]
    retime(even, own, times)
    return Part(own, times[-1])


def told_of(
    job: Job,
    settings: Settings,
    source: Path | None,
    out: Target,
    work: Unfinished,
    network: Network,
    more: dict[str, Any],
) -> dict[str, Any]:
    """What the record of a render tells."""
    known = ("dreamreel", "code", "kind", "source", "weights", "settings")
    return {
        "kind": job["kind"],
        "output": str(out.path.relative_to(place_of(out.path).parent)),
        "source": source and {"path": str(source.absolute()), "sha256": job["source"]},
        "network": {"name": network.name, "weights_sha256": job["weights"]},
        "job": {name: value for name, value in job.items() if name not in known},
        "settings": job["settings"],
        "versions": versions(),
        "device": str(network.device),
        "threads": vars(work.threads),
        "frames": work.frames,
        "seconds": round(work.seconds, 1),
        **more,
    }


def _seconds(
    clip: Clip, span: tuple[int, int | None], frames: int
) -> tuple[Fraction, Fraction] | None:
    """Where in the source, in seconds, the dreamed frames lie; None for all of it."""
    start, stop = span
    if start == 0 and (stop is None or frames < stop or frames == clip.frames):
        return None
    return clip.shown_at(start), clip.shown_at(start + frames)


def _tell_missing(clip: Clip, span: tuple[int, int | None], frames: int, report: Report) -> None:
    start, stop = span
    if stop is not None and frames < stop - start:
        report.on_notice(
            f"{clip.path} has {start + frames} frames: dreamed {start}:{start + frames}"
        )
    elif stop is None and clip.frames is not None and start + frames < clip.frames:
        report.on_notice(
            f"{clip.path} promises {clip.frames} frames; {start + frames} could be read"
        )
