"""Zooms, dreamed from their first picture to one whole, verified file."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.clips import Clip
from dreamreel.pipeline.dream import check_finite
from dreamreel.pipeline.encoding import CONTAINERS, Encoding
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.files import check_video_name, digest, found_again, load_state, named
from dreamreel.pipeline.grain import noise, plain
from dreamreel.pipeline.images import Frame, crop_to, fitted_size, load_picture, to_frame
from dreamreel.pipeline.jobs import (
    QUIET,
    Report,
    audio_of,
    encoding_of,
    files_of,
    finish,
    heard_by,
    job_of,
    make,
    ready_network,
    settings_over_time,
    told_of,
    under_way,
)
from dreamreel.pipeline.journey import Journey, growth, motions
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.opening import check_readable
from dreamreel.pipeline.paths import (
    KEPT_ZOOM,
    RENDER,
    Target,
    check_target,
    record_path,
    remove_state,
    state_path,
)
from dreamreel.pipeline.record import Record, read_record, zoom_of
from dreamreel.pipeline.settings import OverTime, Settings, Table, build
from dreamreel.pipeline.unfinished import Job, Threads
from dreamreel.pipeline.zoom import ZoomMemory, infinite_zoom

SMALLEST_TOTAL = 8.0  # times that a zoom grows at least, until what it leads to is there
DEFAULT_CANVAS = (360, 640)  # height, width of a zoom that starts from noise
# Of crf: a loop's first frame is encoded from nothing, its last from those before; coarser, their
# noise differs more than neighbours do, and there is a seam.
LOOP_FINER = 7


@dataclass(frozen=True)
class Earlier:
    """A finished zoom that another goes on from: its film, what its record tells, and how many
    frames of what canvas (height, width) it has."""

    film: Path
    record: Record
    frames: int
    rate: Fraction
    size: tuple[int, int]


@dataclass(frozen=True)
class Flight:
    """A zoom of so many `seconds`, `rate` frames a second, on a canvas of `size` (height, width),
    to which pictures are cropped; without it the first picture's own.

    It begins with a photo, a `colour` (red, green, blue, from 0 to 255) or noise, or goes on from
    an `earlier` one, the first of these frames being its next. It comes back to its beginning in a
    `loop`, or arrives at the picture `to`; it is shown in `reverse`, last frame first; nothing is
    dreamed where it `only_moves`. What schedules hear, `audio`, becomes the sound.
    """

    seconds: float
    rate: Fraction
    size: tuple[int, int] | None = None
    loop: bool = False
    to: Path | None = None
    only_moves: bool = False
    audio: Path | None = None
    reverse: bool = False
    colour: tuple[int, int, int] | None = None
    earlier: Earlier | None = None

    @property
    def earlier_settings(self) -> list[tuple[str, Table]]:
        """Those of the earlier zoom, if there is one, as `build` takes them."""
        if self.earlier is None:
            return []
        settings = self.earlier.record.settings.model_dump(mode="json", exclude_none=True)
        return [(str(record_path(self.earlier.film)), settings)]

    @property
    def frames(self) -> int:
        """How many are made for it."""
        return max(1, round(self.seconds * self.rate))

    @property
    def begins(self) -> int:
        """The number of the first of them."""
        return self.earlier.frames if self.earlier is not None else 0

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.begins + self.frames


def render_zoom(
    photo: Path | None,
    out: Target,
    settings: Settings,
    flight: Flight,
    report: Report = QUIET,
    threads: Threads | None = None,
) -> Path:
    """Zoom into `photo`, or as `flight` says, dreaming, into `out.path`.

    It is stopped, and goes on, as `render_video` does.
    """
    film = flight.earlier.film if flight.earlier is not None else None
    given = [path for path in (photo, flight.to, flight.audio, film) if path is not None]
    for path in given:
        check_readable(path)
    check_video_name(out.path)
    before = [] if film is None else [record_path(film), state_path(film)]
    parts = KEPT_ZOOM if may_go_on(out, flight, settings) else RENDER
    check_target(out, given, [*before, *files_of(settings)], parts)
    _refuse_source_settings(settings)
    check_flight(flight, photo)
    loaded = _opaque(photo, report) if photo is not None else None
    canvas = canvas_of(flight, loaded, settings)
    job = job_of("zoom", settings, photo, None, _told_of(flight, canvas))
    over_time = course(settings, job, flight.audio)
    network = ready_network(settings, canvas, report)
    job["weights"] = network.digest
    image, goal = _beginning(flight, loaded, canvas, settings, network), None
    if flight.to is not None:
        goal = crop_to(_opaque(flight.to, report), canvas).to(network.device)
    journey = Journey(
        flight.total, flight.rate, flight.loop, goal, not flight.only_moves, flight.begins
    )
    check_journey(journey, flight, settings, over_time, canvas)
    encoding = _encoding_of(flight, canvas, out, settings, report)
    sound = None
    if flight.audio is not None and settings.output.audio:
        sound = Clip(flight.audio, *canvas, flight.rate, None, has_audio=True)
    with under_way(out, job, encoding, flight.frames, threads) as work:
        memory = _memory_of(work.state if work.done else None, flight, settings, network)
        images = infinite_zoom(
            image, network, over_time, journey, flight.begins + work.done, memory
        )
        pictures = (_shown(image, encoding, network) for image in images)
        make(pictures, work, memory.as_tree, flight.frames, settings, report, given)
        told = told_of(job, settings, photo, out, work, network, {"frames": flight.total})
        earlier = None if film is None else (film, flight.begins)
        kept = memory.as_tree() if may_go_on(out, flight, settings) else None
        path = finish(work, encoding, out, report, told, sound, before=earlier, state=kept)
        if kept is None and out.overwrite:  # one there is of the film that was replaced
            remove_state(state_path(path))
        return path


def going_on(film: Path, seconds: float, audio: Path | None, to: Path | None) -> Flight:
    """The flight that goes on from the one in the file `film`, to its sound, for `seconds` more.
    Raises UserError as `earlier_zoom` does, and where its sound is gone."""
    earlier = earlier_zoom(film)
    named = earlier.record.job.get("audio")
    if named is not None and audio is not None and digest(audio) == named["sha256"]:
        own: Path | None = audio
    else:
        own = found_again(named, record_path(film))
    if own is not None and audio not in (None, own):
        raise UserError(f"--continue: {film} has its sound, {own}: leave --audio out")
    return Flight(
        seconds,
        earlier.rate,
        earlier.size,
        to=to,
        only_moves=bool(earlier.record.job.get("only_moves")),
        audio=audio or own,
        earlier=earlier,
    )


def earlier_zoom(film: Path) -> Earlier:
    """The finished zoom in the file `film`, which another can go on from.

    Raises UserError where it is none, or what going on takes is not there.
    """
    check_readable(film)
    record, state = record_path(film), state_path(film)
    if not record.exists():
        raise UserError(f"--continue: {film} has no record {record.name} beside it")
    told = read_record(record)
    if told.kind != "zoom":
        raise UserError(f"--continue: {film} is a {told.kind} by its record, not a zoom")
    for key, why in (("loop", "a loop, which goes on by itself"), ("reverse", "shown in reverse")):
        if told.job.get(key):
            raise UserError(f"--continue: {film} is {why}")
    if not state.exists():
        raise UserError(
            f"--continue: {state} is not there; it is kept beside films that are no loop, where "
            "output.keep_state = true, and dreamreel reproduce makes both again"
        )
    if load_state(state)["film"] != digest(film):
        raise UserError(f"--continue: {state} is of another film than {film}")
    return Earlier(film, told, *zoom_of(told.job))


def check_flight(flight: Flight, photo: Path | None) -> None:
    """Raise UserError where parts of what is asked for exclude each other."""
    if flight.loop and flight.to is not None:
        raise UserError("--loop leads back to the beginning, --to to a photo: give one of them")
    if photo is not None and flight.colour is not None:
        raise UserError(f"a zoom begins with {photo} or with --colour: give one of them")


def check_journey(
    journey: Journey,
    flight: Flight,
    settings: Settings,
    over_time: OverTime,
    canvas: tuple[int, int],
) -> None:
    """Raise UserError where a zoom does not come near enough to what it leads to."""
    if not flight.loop and flight.to is None:
        return
    moves = motions(over_time, journey, canvas)[journey.begins :]
    total, seconds = growth(moves), len(moves) / float(flight.rate)
    if total >= SMALLEST_TOTAL * (1 - 1e-6):
        return
    what = "--loop" if flight.loop else "--to"
    needed, faster = math.log(SMALLEST_TOTAL), "a faster camera.zoom"
    if total < 1 / SMALLEST_TOTAL and flight.loop:
        raise UserError(
            f"{what}: the camera moves away, {1 / total:.3g} times in all; shown backwards, one "
            f"that moves in does so too: --set camera.zoom={total ** (-1 / seconds):.3g} --reverse"
        )
    zoom = math.exp(needed / seconds) if needed < seconds * math.log(100) else math.inf
    if "camera.zoom" not in settings.changes and zoom < 99:
        faster = f"camera.zoom={math.ceil(100 * zoom) / 100:g}"
    if total > 1.001 or zoom >= 99:
        longer = needed / math.log(total) * seconds if total > 1.001 else needed / math.log(2)
        longer += flight.seconds - seconds  # the last frame goes nowhere
        faster = f"--seconds {math.ceil(10 * longer) / 10:g} or {faster}"
    raise UserError(
        f"{what}: the camera makes the picture {total:.2g} times as large in {flight.seconds:g} s, "
        f"and {SMALLEST_TOTAL:g} times are needed: {faster} would do"
    )


def canvas_of(flight: Flight, photo: Tensor | None, settings: Settings) -> tuple[int, int]:
    """The size (height, width) of the frames."""
    if flight.earlier is not None:
        return flight.earlier.size
    own = (photo.shape[2], photo.shape[3]) if photo is not None else DEFAULT_CANVAS
    height, width = flight.size or own
    return fitted_size(height, width, settings.width)


def course(settings: Settings, job: Job, audio: Path | None) -> OverTime:
    """The settings of each frame of the zoom that is the `job`, in the order of dreaming: of those
    of a zoom before, its own. Schedules, which hear `audio` if any does, are told by the frames as
    they are shown; after the last of a loop, the first is shown again."""
    (frames, rate, _), earlier = zoom_of(job), job.get("earlier")
    later = settings_over_time(settings, frames, rate, heard_by(settings, audio))
    reverse = bool(job.get("reverse"))

    def shown(number: int) -> int:
        number = number % frames if job.get("loop") else min(number, frames - 1)
        return frames - 1 - number if reverse else number

    if earlier is None:
        return lambda number: later(shown(number))
    before = course(build(("the zoom before", earlier["settings"])), earlier["job"], audio)
    begins, _, _ = zoom_of(earlier["job"])
    return lambda number: before(number) if number < begins else later(number)


def settings_before(job: Job) -> list[Settings]:
    """Those of the zooms that the one that is the `job` goes on from, the last of them first."""
    earlier = job.get("earlier")
    if earlier is None:
        return []
    return [build(("the zoom before", earlier["settings"])), *settings_before(earlier["job"])]


def may_go_on(out: Target, flight: Flight, settings: Settings) -> bool:
    """Whether what --continue takes is kept beside the film."""
    ends = flight.loop or flight.reverse or out.path.suffix.lower() not in CONTAINERS
    return settings.output.keep_state and not ends


def _beginning(
    flight: Flight,
    photo: Tensor | None,
    canvas: tuple[int, int],
    settings: Settings,
    network: Network,
) -> Tensor:
    """The first picture (1, 3, H, W)."""
    if photo is not None:
        return crop_to(photo, canvas).to(network.device)
    if flight.colour is not None:
        return plain(flight.colour, canvas, settings.seed, network.device)
    return noise(canvas, settings.seed, network.device)


def _encoding_of(
    flight: Flight, canvas: tuple[int, int], out: Target, settings: Settings, report: Report
) -> Encoding:
    """How the frames are encoded. Raises UserError where those before were in another way."""
    clip = Clip(out.path, *canvas, flight.rate, flight.frames)
    encoding = encoding_of(clip, out, settings, report)
    if flight.loop and settings.output.crf is None and encoding.crf is not None:
        encoding = replace(encoding, crf=encoding.crf - LOOP_FINER)
    if (earlier := flight.earlier) is None:
        return replace(encoding, reverse=flight.reverse)
    if out.path.suffix.lower() not in CONTAINERS:
        raise UserError(f"--continue: a film goes on as a film: {', '.join(CONTAINERS)} would work")
    before = encoding_of(clip, replace(out, path=earlier.film), earlier.record.settings, QUIET)
    if settings.width != earlier.record.settings.width:
        raise UserError(f"--continue: {earlier.film} has its size: leave width out")
    if encoding != before:
        raise UserError(
            f"--continue: {earlier.film} is {before.told(before.segment_suffix)}, and what goes on "
            "is to be encoded alike: leave --codec, --crf, --pixel-format and output.* out"
        )
    return encoding


def _memory_of(saved: Any, flight: Flight, settings: Settings, network: Network) -> ZoomMemory:
    """What is known of the frames before: what was `saved` of a render that was stopped, or beside
    the zoom before. Another network has all to learn."""
    if saved is not None or flight.earlier is None:
        return ZoomMemory() if saved is None else ZoomMemory.from_tree(saved, network.device)
    memory = ZoomMemory.from_tree(
        load_state(state_path(flight.earlier.film))["state"], network.device
    )
    before = flight.earlier.record.settings
    if (settings.network, settings.weights) != (before.network, before.weights):
        memory.forget_network()
    return memory


def _shown(image: Tensor, encoding: Encoding, network: Network) -> Frame:
    """`image` as it is encoded."""
    check_finite(image, network)
    return to_frame(image, encoding.depth)


def _opaque(photo: Path, report: Report) -> Tensor:
    """The picture `photo` (1, 3, H, W), what of it is transparent told of."""
    picture = load_picture(photo, torch.device("cpu"))
    if picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts: a video keeps none")
    return picture.image


def _told_of(flight: Flight, canvas: tuple[int, int]) -> Job:
    told: Job = {"count": flight.total, "rate": str(flight.rate), "size": list(canvas)}
    flags = {"loop": flight.loop, "only_moves": flight.only_moves, "reverse": flight.reverse}
    told |= {name: True for name, is_set in flags.items() if is_set}
    if flight.to is not None:
        told["to"] = named(flight.to)
    if flight.colour is not None:
        told["colour"] = list(flight.colour)
    for _, settings in flight.earlier_settings:
        assert flight.earlier is not None
        job = flight.earlier.record.job
        told["earlier"] = named(flight.earlier.film) | {"job": job, "settings": settings}
    return told | audio_of(flight.audio)


def _refuse_source_settings(settings: Settings) -> None:
    """Raise UserError where settings of a source are given and there is none."""
    for name, value in settings.source:
        if value != type(settings.source).model_fields[name].default:
            raise UserError(f"source.{name} = {value}: a zoom reads no video")
