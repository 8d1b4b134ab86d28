"""Zooms, dreamed from their first picture to one whole, verified file."""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.dreaming.ascent import check_finite
from dreamreel.pipeline.durable import UNREADABLE, load_tree
from dreamreel.pipeline.durable import check_finite as check_numbers
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, fitted_size
from dreamreel.pipeline.jobs.assembly import Plan, assemble, publish_film, verify
from dreamreel.pipeline.jobs.checks import Checked, may_continue
from dreamreel.pipeline.jobs.identity import digest, found_again, named, named_again, versions
from dreamreel.pipeline.jobs.job import Earlier, Flight, Job, flight_of
from dreamreel.pipeline.jobs.making import make, under_way
from dreamreel.pipeline.jobs.paths import (
    STATE_FORMAT,
    Target,
    record_path,
    remove_state,
    state_path,
)
from dreamreel.pipeline.jobs.preparation import (
    encoding_of,
    heard_by,
    ready_network,
    settings_over_time,
)
from dreamreel.pipeline.jobs.record import Made, read_record
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.jobs.segments import Segments, unreadable_state
from dreamreel.pipeline.media.clips import Raster, Tracks
from dreamreel.pipeline.media.encoding import CONTAINERS, Encoding
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.opening import check_readable
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import crop_to, to_frame
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom
from dreamreel.pipeline.zooming.grain import noise, plain
from dreamreel.pipeline.zooming.journey import Journey, growth, motions

SMALLEST_GROWTH = 8.0  # times that a zoom grows at least, on its way to a goal
FASTEST_ADVISED = 99.0  # zoom a second: faster is not advised, for 100 is the most that can be set
DEFAULT_CANVAS = (360, 640)  # height, width of a zoom that begins with noise or a colour
# Steps of crf that a loop is encoded finer. Its first frame is encoded from nothing, its last from
# those before; coarser, their noise differs more than neighbours' do, and there is a seam.
LOOP_FINER = 7


def render_zoom(checked: Checked, report: Report) -> Path:
    """Dream the job's flight, from its source, a colour or noise, into its output, whose path comes
    back.

    It is stopped, and goes on, as `render_video` does.
    """
    job, out, watched = checked.job, checked.out, checked.reads
    settings, flight = job.settings, flight_of(job)
    photo = None if job.source is None else _opaque(job.source.path, report)
    job = _with_digests(job, canvas_of(flight, photo, settings))
    flight = flight_of(job)
    canvas, audio = _size(flight), None if job.audio is None else job.audio.path
    job, over_time = _reaching(job, audio, report)
    settings = job.settings
    network = ready_network(settings, canvas, report)
    job = job.model_copy(update={"weights_sha256": network.digest})
    journey = _journey(flight, canvas, network, report)
    encoding = _encoding_of(flight, out, settings, report)
    with under_way(out, job, encoding, flight.own_frames, network) as work:
        state = _state_of(work, flight, network)
        first = _first_picture(flight, photo, settings, network)
        images = infinite_zoom(first, network, over_time, journey, flight.begins + work.done, state)
        frames = _frames(images, encoding, network)
        seconds, total = settings.output.save_seconds, flight.own_frames
        make(frames, work, lambda: encode(state), total, watched, report, seconds, network)
        made = Made(
            versions=versions(),
            network=network.name,
            device=str(network.device),
            frames=flight.frames,
            seconds=round(work.seconds, 1),
        )
        job = job.model_copy(update={"output": out.path, "threads": work.threads})
        plan = _plan(flight, encoding, audio if settings.output.audio else None)
        film = assemble(work, plan, out, report)
        verify(film, work, plan, out)
        kept = None
        if may_continue(job, out):
            kept = {"weights": network.digest, "state": encode(state)}
        path = publish_film(film, out, (job, made), kept)
        if kept is None and out.overwrite:  # one there is of the film that was replaced
            remove_state(state_path(path))
        return path


def earlier_zoom(film: Path) -> Earlier:
    """The finished zoom in the file `film`, which another one can continue.

    Raises UserError where it is none, or its record or its state are not there.
    """
    check_readable(film)
    record, state = record_path(film), state_path(film)
    if not record.exists():
        raise UserError(f"--continue: {film} has no record {record.name} beside it")
    job = read_record(record).job
    if job.kind != "zoom":
        raise UserError(f"--continue: {film} is a {job.kind} by its record, not a zoom")
    flight = flight_of(job)
    if flight.loop:
        raise UserError(f"--continue: {film} is a loop, which goes on by itself")
    if flight.reverse:
        raise UserError(f"--continue: {film} is shown in reverse")
    if not state.exists():
        raise UserError(
            f"--continue: {state} is not there; it is kept beside films that are no loop, where "
            "output.keep_state = true, and dreamreel reproduce makes both again"
        )
    if load_state(state)["film"] != digest(film):
        raise UserError(f"--continue: {state} is of another film than {film}")
    return Earlier(film=named(film), job=job)


def music_of(earlier: Earlier, audio: Path | None) -> Path | None:
    """The music of a zoom that continues an `earlier` one: that one's own, or `audio`, if it had
    none. Raises UserError where its own is gone, or `audio` is another."""
    own = earlier.job.audio
    if own is not None and audio is not None and digest(audio) == own.sha256:
        return audio
    found = found_again(own, record_path(earlier.film.path))
    if found is not None and audio is not None:
        raise UserError(
            f"--continue: {earlier.film.path} has its sound, {found}: leave --audio out"
        )
    return found or audio


def load_state(path: Path) -> dict[str, Any]:
    """The file at `path`, a `state_path`, as it was saved: `film`, the digest of the film that it
    is of, `weights`, that of the network's, and the `state`. Raises UserError where it cannot be
    read."""
    try:
        kept = load_tree(path)
        check_numbers(kept)
        if kept["format"] != STATE_FORMAT:
            raise ValueError(f"format {kept['format']}")
        return {name: kept[name] for name in ("film", "weights", "state")}
    except UNREADABLE as error:
        raise UserError(
            f"{path} is no state of a zoom that this Dreamreel can read: {error}"
        ) from error


def canvas_of(flight: Flight, photo: Tensor | None, settings: Settings) -> tuple[int, int]:
    """The size (height, width) of the frames."""
    if flight.earlier is not None:
        return _size(flight_of(flight.earlier.job))
    own = (photo.shape[2], photo.shape[3]) if photo is not None else DEFAULT_CANVAS
    height, width = flight.size or own
    return fitted_size(height, width, settings.width)


def course(job: Job, audio: Path | None) -> OverTime:
    """The settings of each frame of the zoom that is the `job`, in the order of dreaming; those of
    a zoom that it continues are that one's own.

    Schedules, which hear `audio` if any does, are told by the frames as they are shown; after the
    last of a loop, the first is shown again.
    """
    flight = flight_of(job)
    frames, earlier = flight.frames, flight.earlier
    own = settings_over_time(job.settings, frames, flight.rate, heard_by(job.settings, audio))

    def shown(number: int) -> int:
        number = number % frames if flight.loop else min(number, frames - 1)
        return frames - 1 - number if flight.reverse else number

    if earlier is None:
        return lambda number: own(shown(number))
    before, begins = course(earlier.job, audio), flight.begins
    return lambda number: before(number) if number < begins else own(number)


def earlier_jobs(job: Job) -> list[Job]:
    """The jobs of the zooms that the one of `job` continues, the last of them first."""
    earlier = flight_of(job).earlier
    return [] if earlier is None else [earlier.job, *earlier_jobs(earlier.job)]


def _size(flight: Flight) -> tuple[int, int]:
    assert flight.size is not None  # by now it was found
    return flight.size


def _with_digests(job: Job, canvas: tuple[int, int]) -> Job:
    flight = flight_of(job)
    flight = flight.model_copy(update={"size": canvas, "to": named_again(flight.to)})
    changes = {"source": named_again(job.source), "audio": named_again(job.audio)}
    return job.model_copy(update={**changes, "flight": flight})


def _journey(flight: Flight, canvas: tuple[int, int], network: Network, report: Report) -> Journey:
    goal = None
    if flight.to is not None:
        goal = crop_to(_opaque(flight.to.path, report), canvas).to(network.device)
    return Journey(flight.frames, flight.rate, flight.loop, goal, flight.motion_only, flight.begins)


def _first_picture(
    flight: Flight, photo: Tensor | None, settings: Settings, network: Network
) -> Tensor:
    """The first picture (1, 3, H, W)."""
    size = _size(flight)
    if photo is not None:
        return crop_to(photo, size).to(network.device)
    if flight.colour is not None:
        return plain(flight.colour, size, settings.seed, network.device)
    return noise(size, settings.seed, network.device)


def _encoding_of(flight: Flight, out: Target, settings: Settings, report: Report) -> Encoding:
    """How the frames are encoded. Raises UserError where those before were in another way."""
    raster = Raster(*_size(flight), flight.rate, flight.own_frames)
    encoding = encoding_of(raster, out, settings, report)
    if flight.loop and settings.output.crf is None and encoding.crf is not None:
        encoding = replace(encoding, crf=encoding.crf - LOOP_FINER)
    if flight.earlier is None:
        return replace(encoding, reverse=flight.reverse)
    if out.path.suffix.lower() not in CONTAINERS:
        raise UserError(f"--continue: a film goes on as a film: {', '.join(CONTAINERS)} would work")
    film, earlier = flight.earlier.film.path, flight.earlier.job.settings
    before = encoding_of(raster, replace(out, path=film), earlier, QUIET)
    if settings.width != earlier.width:
        raise UserError(f"--continue: {film} has its size: leave width out")
    if encoding != before:
        raise UserError(
            f"--continue: {film} is {before.told(before.segment_suffix)}, and what goes on is to "
            "be encoded alike: leave --codec, --crf, --pixel-format and output.* out"
        )
    return encoding


def _plan(flight: Flight, encoding: Encoding, audio: Path | None) -> Plan:
    earlier = flight.earlier
    return Plan(
        encoding,
        tracks=None if audio is None else Tracks(audio, has_audio=True),
        cut=None if audio is None else (Fraction(0), flight.frames / flight.rate),
        before=None if earlier is None else (earlier.film.path, flight.begins),
    )


def _state_of(work: Segments, flight: Flight, network: Network) -> ZoomState:
    """The state after the frames before: as saved by a render that was stopped, or beside the zoom
    that is continued. Another network has all to learn."""
    if work.done:
        try:
            return on_device(decode(ZoomState, work.state), network.device)
        except ValueError as error:
            raise UserError(unreadable_state(work.folder)) from error
    if flight.earlier is None:
        return ZoomState()
    path = state_path(flight.earlier.film.path)
    kept = load_state(path)
    try:
        state = on_device(decode(ZoomState, kept["state"]), network.device)
    except ValueError as error:
        raise UserError(f"{path} is no state of a zoom that can be read: {error}") from error
    if kept["weights"] != network.digest:
        state.forget_network()
    return state


def _frames(images: Iterator[Tensor], encoding: Encoding, network: Network) -> Iterator[Frame]:
    """`images` as they are encoded."""
    for image in images:
        check_finite(image, network)
        yield to_frame(image, encoding.depth)


def _opaque(photo: Path, report: Report) -> Tensor:
    """The picture `photo` (1, 3, H, W); `report` is told where parts of it are transparent."""
    picture = load_picture(photo, torch.device("cpu"))
    if picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts: a video keeps none")
    return picture.image


def _reaching(job: Job, audio: Path | None, report: Report) -> tuple[Job, OverTime]:
    """`job`, and its settings over time, with a zoom fast enough to come near its goal, if it has
    one: the camera's is raised where nobody set it. Raises UserError where that does not do."""
    flight, over_time = flight_of(job), course(job, audio)
    if not flight.loop and flight.to is None:
        return job, over_time
    journey = Journey(flight.frames, flight.rate, flight.loop)
    moves = motions(over_time, journey, _size(flight))[flight.begins :]
    total, seconds = growth(moves), len(moves) / float(flight.rate)
    if total >= SMALLEST_GROWTH * (1 - 1e-6):
        return job, over_time
    if total > 1 and flight.raises_zoom and "camera.zoom" not in job.settings.changes:
        camera = job.settings.camera
        raised = camera.zoom * (SMALLEST_GROWTH / total) ** (1 / seconds)
        raised = math.ceil(100 * raised) / 100
        if raised < FASTEST_ADVISED:
            report.on_notice(
                f"camera.zoom is {raised:g} rather than {camera.zoom:g}, so that the picture grows "
                f"{SMALLEST_GROWTH:g} times in {flight.seconds:g} s; a longer zoom may be slower"
            )
            camera = camera.model_copy(update={"zoom": raised})
            job = job.model_copy(
                update={"settings": job.settings.model_copy(update={"camera": camera})}
            )
            return job, course(job, audio)
    raise UserError(_too_slow(total, seconds, flight, job.settings))


def _too_slow(total: float, seconds: float, flight: Flight, settings: Settings) -> str:
    """The message for a picture that grows `total` times in so many `seconds`."""
    what = "--loop" if flight.loop else "--to"
    if total < 1 / SMALLEST_GROWTH and flight.loop:
        return (
            f"{what}: the camera moves away, {1 / total:.3g} times in all; shown backwards, one "
            f"that moves in does so too: --set camera.zoom={total ** (-1 / seconds):.3g} --reverse"
        )
    return (
        f"{what}: the camera makes the picture {total:.2g} times as large in {flight.seconds:g} s, "
        f"and {SMALLEST_GROWTH:g} times are needed: {_advice(total, seconds, flight, settings)} "
        "would do"
    )


def _advice(total: float, seconds: float, flight: Flight, settings: Settings) -> str:
    """What would make a picture that grows `total` times in so many `seconds` grow enough."""
    needed, faster = math.log(SMALLEST_GROWTH), "a faster camera.zoom"
    possible = needed < seconds * math.log(FASTEST_ADVISED + 1)
    zoom = math.exp(needed / seconds) if possible else math.inf
    if "camera.zoom" not in settings.changes and zoom < FASTEST_ADVISED:
        faster = f"camera.zoom={math.ceil(100 * zoom) / 100:g}"
    if total > 1.001 or zoom >= FASTEST_ADVISED:
        longer = needed / math.log(total) * seconds if total > 1.001 else needed / math.log(2)
        longer += flight.seconds - seconds  # the last frame goes nowhere
        faster = f"--seconds {math.ceil(10 * longer) / 10:g} or {faster}"
    return faster
