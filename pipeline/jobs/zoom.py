"""The render of a zoom, from its job to a verified file; also what --continue needs of one."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime, notices
from dreamreel.pipeline.dreaming.ascent import finite_frame
from dreamreel.pipeline.durable import UNREADABLE, Tree, load_tree
from dreamreel.pipeline.durable import check_finite as check_numbers
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Box, fitted_size
from dreamreel.pipeline.jobs.assembly import Plan, assemble, publish_film, verify
from dreamreel.pipeline.jobs.checks import Checked, bars_at, encoding_of, may_continue
from dreamreel.pipeline.jobs.identity import (
    digest,
    found_again,
    named,
    named_again,
    named_in,
    palette_digest,
    versions,
)
from dreamreel.pipeline.jobs.job import DEFAULT_CANVAS, Earlier, Flight, Job, flight_of
from dreamreel.pipeline.jobs.making import Coming, make, under_way
from dreamreel.pipeline.jobs.memory import told_peak
from dreamreel.pipeline.jobs.pace import pacing
from dreamreel.pipeline.jobs.paths import (
    STATE_FORMAT,
    Target,
    record_path,
    remove_state,
    state_path,
)
from dreamreel.pipeline.jobs.preparation import (
    bars_around,
    heard_by,
    palette_of,
    ready_network,
    settings_over_time,
    with_encoder,
)
from dreamreel.pipeline.jobs.record import Made, read_record
from dreamreel.pipeline.jobs.report import QUIET, Report, on_first
from dreamreel.pipeline.jobs.segments import Segments, largest_state, unreadable_state
from dreamreel.pipeline.jobs.soundness import check_zoom
from dreamreel.pipeline.media.clips import Raster, Tracks
from dreamreel.pipeline.media.encoding import CONTAINERS, Encoding, count_frames
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.motion.bars import picture_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.opening import check_readable
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import Leaving, crop_to, inside, to_frame
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom
from dreamreel.pipeline.zooming.grain import noise, plain
from dreamreel.pipeline.zooming.journey import Journey, growth, motions

# Times that the picture must grow in all before a zoom reaches its goal. Chosen; no measurement is
# on record.
SMALLEST_GROWTH = 8.0
# Largest `camera.zoom` (growth a second) in a message or raised by ourselves. Just below the bound
# of the setting, 100, so that rounding up stays within it.
FASTEST_ADVISED = 99.0
# Steps of crf by which a loop is encoded finer. Its first frame is encoded from nothing, its last
# from those before it, so their encoding noise differs more than that of neighbours: a seam. With
# H.264 the seam's warp error was about 2 times a normal step's at crf 17, 1.0 at 10 (7 finer), and
# 0.2 to 1.0 in three loops of the samples.
LOOP_FINER = 7
# Zooms that continue one another, at most. A record holds the jobs of all of them, one inside the
# other, three levels each, and JSON is read to a depth of 200.
MOST_EARLIER = 50


def render_zoom(checked: Checked, report: Report) -> Path:
    """Render the job's zoom into its output, and return the path of the output.

    The zoom begins with the job's source, a colour or noise. An unfinished render is resumed, to
    the same bytes. Raises UserError and Stopped as `run` does.
    """
    job, out, watched = checked.job, checked.out, checked.reads
    settings, flight = job.settings, flight_of(job)
    photo = None
    if job.source is not None:
        photo = _without_bars(_opaque(job.source.path, report), settings, report)
    job = _with_digests(job, canvas_of(flight, photo, settings))
    flight = flight_of(job)
    canvas, audio = _size(flight), None if job.audio is None else job.audio.path
    job, over_time = _fast_enough(job, audio, report)
    settings = job.settings
    network = ready_network(settings, canvas, report, checked.chosen)
    digests = {"weights_sha256": network.digest, "palette_sha256": palette_digest(settings)}
    job, palette = job.model_copy(update=digests), palette_of(settings)
    journey = _journey(flight, canvas, network, report)
    encoding = _encoding_of(flight, out, settings, report)
    job = job.model_copy(update={"settings": with_encoder(job.settings, encoding)})
    with under_way(out, job, encoding, flight.own_frames, network) as work:
        state = _state_of(work, flight, network, report)
        first = _first_picture(flight, photo, settings, network)
        begins = flight.begins + work.done
        report.on_estimate(told_peak(network, settings, canvas))
        told = on_first(report)
        images = infinite_zoom(
            first, network, over_time, journey, begins, state, told, palette=palette
        )
        frames = _frames(images, encoding, network)
        seconds, total = settings.output.save_seconds, flight.own_frames
        paced = pacing(report, network, settings, canvas, "zoom")
        make(frames, work, lambda: encode(state), total, watched, paced, seconds, network)
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
        path = publish_film(film, out, report, (job, made), kept)
        if kept is None and out.overwrite:  # a state there belongs to the film that was replaced
            remove_state(state_path(path))
        return path


def earlier_zoom(film: Path) -> Earlier:
    """The finished zoom in the file `film`, for another zoom to continue.

    Raises UserError if `film` is not a zoom, is a loop or reversed, or if its record or its state
    is missing or belongs to another film.
    """
    check_readable(film)
    record, state = record_path(film), state_path(film)
    if not os.path.exists(record):
        raise UserError(f"--continue: {film} has no record {record.name} beside it")
    job = read_record(record).job
    if job.kind != "zoom":
        raise UserError(f"--continue: {film} is a {job.kind} by its record, not a zoom")
    flight = flight_of(job)
    if flight.size is None:
        raise UserError(f"--continue: {record} names no size of the zoom, so it is damaged")
    if len(earlier_jobs(job)) + 1 > MOST_EARLIER:
        raise UserError(
            f"--continue: {film} continues {MOST_EARLIER} zooms already, one after the other, the "
            "most; begin another with its last frame as PHOTO"
        )
    if flight.loop:
        raise UserError(f"--continue: {film} is a loop, which goes on by itself")
    if flight.reverse:
        raise UserError(f"--continue: {film} is shown in reverse; render it without --reverse")
    if not os.path.exists(state):
        raise UserError(
            f"--continue: there is no {state}; a zoom keeps its state if output.keep_state = true, "
            f"and dreamreel reproduce {record} makes both again"
        )
    earlier = Earlier(film=named(film), job=job)
    _kept_of(earlier)
    return earlier


def _kept_of(earlier: Earlier) -> dict[str, Any]:
    """The content of the state file of the zoom `earlier`; see `load_state`. Raises UserError if it
    is that of another film, or if the film has other frames than its job says."""
    film, flight = earlier.film.path, flight_of(earlier.job)
    kept = load_state(state_path(film), _size(flight))
    if kept["film"] != digest(film):
        raise UserError(f"--continue: {state_path(film)} is of another film, not of {film}")
    if (frames := count_frames(film)) != flight.frames:
        raise UserError(
            f"--continue: {film} has {frames} frames, and {flight.frames} by its record: it cannot "
            "go on"
        )
    return kept


def music_of(earlier: Earlier, audio: Path | None) -> Path | None:
    """The music of a zoom that continues `earlier`: the earlier one's own music, else `audio`.

    Raises UserError if the earlier one's music is gone or changed, or if `audio` is other music.
    """
    own = earlier.job.audio
    if own is not None and audio is not None and digest(audio) == own.sha256:
        return audio
    found = found_again(own, record_path(earlier.film.path))
    if found is not None and audio is not None:
        raise UserError(
            f"--continue: {earlier.film.path} has its own sound, {found}; leave --audio out"
        )
    return found or audio


def load_state(path: Path, size: tuple[int, int]) -> dict[str, Any]:
    """The content of the state file at `path` (see `state_path`) of a zoom whose frames have that
    `size` (height, width) in pixels.

    It has the SHA-256 of the zoom as "film", that of the network's weights as "weights", and the
    encoded `ZoomState` as "state". Raises UserError if it cannot be read.
    """
    try:
        kept = load_tree(path, largest_state(3 * size[0] * size[1]))
        check_numbers(kept)
        if kept["format"] != STATE_FORMAT:
            raise ValueError(f"format {kept['format']}")
        if not isinstance(kept["weights"], str):
            raise ValueError("it names no weights")
        return {name: kept[name] for name in ("film", "weights", "state")}
    except UNREADABLE as error:
        raise UserError(
            f"{path} is no state of a zoom that this version of Dreamreel can read: {error}; "
            "dreamreel reproduce makes the zoom and its state anew from its record"
        ) from error


def canvas_of(flight: Flight, photo: Tensor | None, settings: Settings) -> tuple[int, int]:
    """The size (height, width) in pixels of the frames of `flight`.

    It is that of the zoom that `flight` continues; else the flight's own size, the size of `photo`
    (1, 3, H, W), or `DEFAULT_CANVAS`, fitted to `settings.width`.
    """
    if flight.earlier is not None:
        return _size(flight_of(flight.earlier.job))
    own = (photo.shape[2], photo.shape[3]) if photo is not None else DEFAULT_CANVAS
    height, width = flight.size or own
    return fitted_size(height, width, settings.width)


def course(job: Job, audio: Path | None, report: Report = QUIET) -> OverTime:
    """The settings of each frame of the zoom of `job`, by its number in the order of dreaming.

    Schedules run in the order in which the frames are shown: backwards for a reversed zoom, and
    from the first frame again after the last of a loop. They hear `audio`, if any; notices of it go
    to `report`. Frames of a zoom that this one continues have that zoom's settings.
    """
    flight = flight_of(job)
    frames, earlier = flight.frames, flight.earlier
    heard = heard_by(job.settings, audio)
    own = settings_over_time(job.settings, frames, flight.rate, heard, report=report)

    def shown(number: int) -> int:
        number = number % frames if flight.loop else min(number, frames - 1)
        return frames - 1 - number if flight.reverse else number

    if earlier is None:
        return lambda number: own(shown(number))
    before, begins = course(earlier.job, audio), flight.begins
    return lambda number: before(number) if number < begins else own(number)


def earlier_jobs(job: Job) -> list[Job]:
    """The jobs of the zooms that the zoom of `job` continues, the latest first."""
    earlier = flight_of(job).earlier
    return [] if earlier is None else [earlier.job, *earlier_jobs(earlier.job)]


def _size(flight: Flight) -> tuple[int, int]:
    assert flight.size is not None  # filled in by `_with_digests`
    return flight.size


def _with_digests(job: Job, canvas: tuple[int, int]) -> Job:
    flight = flight_of(job)
    flight = flight.model_copy(update={"size": canvas, "to": named_again(flight.to)})
    changes = {
        "source": named_again(job.source),
        "audio": named_again(job.audio),
        "files": named_in(job.settings),
    }
    return job.model_copy(update={**changes, "flight": flight})


def _journey(flight: Flight, canvas: tuple[int, int], network: Network, report: Report) -> Journey:
    goal = None
    if flight.to is not None:
        goal = crop_to(_opaque(flight.to.path, report), canvas).to(network.device)
    return Journey(flight.frames, flight.rate, flight.loop, goal, flight.motion_only, flight.begins)


def _first_picture(
    flight: Flight, photo: Tensor | None, settings: Settings, network: Network
) -> Tensor:
    """The first picture (1, 3, H, W): `photo` cropped to the frame, else a colour or noise."""
    size = _size(flight)
    if photo is not None:
        return crop_to(photo, size).to(network.device)
    if flight.colour is not None:
        return plain(flight.colour, size, settings.seed, network.device)
    return noise(size, settings.seed, network.device)


def _encoding_of(flight: Flight, out: Target, settings: Settings, report: Report) -> Encoding:
    """The encoding of the frames. Raises UserError if it differs from that of the zoom that
    `flight` continues."""
    raster = Raster(*_size(flight), flight.rate, flight.own_frames)
    encoding = encoding_of(raster, out, settings, report)
    if flight.loop and settings.output.crf is None and encoding.crf is not None:
        encoding = replace(encoding, crf=encoding.crf - LOOP_FINER)
    if flight.earlier is None:
        return replace(encoding, reverse=flight.reverse)
    if out.path.suffix.lower() not in CONTAINERS:
        raise UserError(
            f"--continue: a film goes on as a film, not as {out.path.name}; "
            f"{', '.join(CONTAINERS)} would work"
        )
    film, earlier = flight.earlier.film.path, flight.earlier.job.settings
    before = encoding_of(raster, replace(out, path=film), earlier, QUIET)
    if settings.width != earlier.width:
        raise UserError(f"--continue: {film} has its own size; leave width out")
    if encoding != before:
        raise UserError(
            f"--continue: {film} is {before.told(before.segment_suffix)}, and its new frames must "
            "be encoded alike; leave --codec, --crf, --pixel-format and output.* out"
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


def _state_of(work: Segments, flight: Flight, network: Network, report: Report) -> ZoomState:
    """The state to start from: that of the unfinished render, else that of the zoom which `flight`
    continues, else a new one. If the network changed, what was learned of the old one is dropped,
    with a notice to `report`. Raises UserError if the state is damaged.
    """
    if work.done:
        try:
            return _decoded(work.state, flight, network)
        except ValueError as error:
            raise UserError(unreadable_state(work.folder)) from error
    if flight.earlier is None:
        return ZoomState()
    path = state_path(flight.earlier.film.path)
    kept = _kept_of(flight.earlier)
    try:
        state = _decoded(kept["state"], flight, network)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {_made_again(flight.earlier)}") from error
    if kept["weights"] != network.digest:
        state.forget_network()
        report.on_notice(
            f"{flight.earlier.film.path} was dreamed by another network, or with other weights: "
            "how strong its dream is must be measured anew"
        )
    return state


def _decoded(tree: Tree, flight: Flight, network: Network) -> ZoomState:
    """The state of the zoom `flight` of which `encode` made `tree`, on the device of `network`.
    Raises ValueError if it is damaged."""
    state = decode(ZoomState, tree)
    check_zoom(state, _size(flight))
    return on_device(state, network.device)


def _made_again(earlier: Earlier) -> str:
    """How to get the state of the zoom `earlier` anew, for a message."""
    return f"dreamreel reproduce {record_path(earlier.film.path)} -o NEW.mp4 makes one anew"


def _frames(images: Iterator[Tensor], encoding: Encoding, network: Network) -> Iterator[Coming]:
    """`images` (1, 3, H, W) as frames of the encoding's depth."""
    for image in images:
        leaving = Leaving(image, encoding.depth)
        yield Coming(partial(finite_frame, leaving, network), leaving.is_on_its_way)


def _opaque(photo: Path, report: Report) -> Tensor:
    """The picture `photo` (1, 3, H, W) without alpha; a notice goes to `report` if it had any."""
    picture = load_picture(photo, torch.device("cpu"))
    if picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts, which a zoom does not keep")
    return picture.image


def _without_bars(photo: Tensor, settings: Settings, report: Report) -> Tensor:
    """The picture inside the bars of `photo` (1, 3, H, W), by `source.bars`."""
    frame = to_frame(photo)
    size = (photo.shape[2], photo.shape[3])
    box = picture_of(frame, bars_at(settings, size, size))
    if box == Box.whole(frame):
        return photo
    report.on_notice(
        f"{bars_around(frame, box)} are left out; --set source.bars=keep has them in the zoom"
    )
    return inside(photo, box)


def check_course(job: Job, canvas: tuple[int, int]) -> None:
    """Raise UserError if the zoom of `job`, with frames of the size `canvas`, cannot reach its goal
    or has a schedule that gives a value out of bounds."""
    flight = flight_of(job).model_copy(update={"size": canvas})
    audio = None if job.audio is None else job.audio.path
    _fast_enough(job.model_copy(update={"flight": flight}), audio, QUIET)


def _fast_enough(job: Job, audio: Path | None, report: Report) -> tuple[Job, OverTime]:
    """`job` and its settings over time, with a camera that grows the picture `SMALLEST_GROWTH`
    times on the way to its goal, if it has one.

    `camera.zoom` is raised if the flight allows it and nobody set it. Raises UserError if the
    growth is still too small.
    """
    flight, over_time = flight_of(job), course(job, audio, report)
    for line in notices(job.settings, over_time, flight.frames):
        report.on_notice(line)
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
                f"{SMALLEST_GROWTH:g} times in {flight.seconds:g} s; a longer zoom needs less"
            )
            camera = camera.model_copy(update={"zoom": raised})
            job = job.model_copy(
                update={"settings": job.settings.model_copy(update={"camera": camera})}
            )
            return job, course(job, audio)
    raise UserError(_too_slow(total, seconds, flight, job.settings))


def _too_slow(total: float, seconds: float, flight: Flight, settings: Settings) -> str:
    """The message for a picture that grows only `total` times in `seconds`."""
    option = "--loop" if flight.loop else "--to"
    if total < 1 / SMALLEST_GROWTH and flight.loop:
        return (
            f"{option}: the camera moves away, {1 / total:.3g} times in all, but must move in; "
            f"to show that backwards: --set camera.zoom={total ** (-1 / seconds):.3g} --reverse"
        )
    return (
        f"{option}: the picture grows {total:.2g} times in {flight.seconds:g} s, but must grow "
        f"{SMALLEST_GROWTH:g} times; {_advice(total, seconds, flight, settings)} would do"
    )


def _advice(total: float, seconds: float, flight: Flight, settings: Settings) -> str:
    """The options that would make a picture grow enough which grows `total` times in `seconds`."""
    needed, faster = math.log(SMALLEST_GROWTH), "a faster camera.zoom"
    possible = needed < seconds * math.log(FASTEST_ADVISED + 1)
    zoom = math.exp(needed / seconds) if possible else math.inf
    if "camera.zoom" not in settings.changes and zoom < FASTEST_ADVISED:
        faster = f"camera.zoom={math.ceil(100 * zoom) / 100:g}"
    if total > 1.001 or zoom >= FASTEST_ADVISED:
        longer = needed / math.log(total) * seconds if total > 1.001 else needed / math.log(2)
        longer += flight.seconds - seconds  # the last frame has no motion after it
        faster = f"--seconds {math.ceil(10 * longer) / 10:g} or {faster}"
    return faster
