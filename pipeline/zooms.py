"""Zooms, dreamed from their first picture to one whole, verified file."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.clips import Clip
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.files import (
    Target,
    check_output,
    check_record,
    check_source,
    check_video_name,
    digest,
)
from dreamreel.pipeline.grain import noise
from dreamreel.pipeline.images import crop_to, fitted_size, load_picture, to_frame
from dreamreel.pipeline.jobs import (
    QUIET,
    Report,
    audio_of,
    encoding_of,
    finish,
    heard_by,
    job_of,
    make,
    ready_network,
    settings_over_time,
    told_of,
    under_way,
)
from dreamreel.pipeline.journey import Journey
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.unfinished import Job, Threads
from dreamreel.pipeline.zoom import ZoomMemory, infinite_zoom

SMALLEST_TOTAL = 8.0  # times that a zoom grows at least, until what it leads to is there
DEFAULT_CANVAS = (360, 640)  # height, width of a zoom that starts from noise


@dataclass(frozen=True)
class Flight:
    """A zoom of so many `seconds`, `rate` frames a second, on a canvas of `size` (height, width),
    to which pictures are cropped; without it the first picture's own. It comes back to its
    beginning in a `loop`, or arrives at the picture `to`; nothing is dreamed where it
    `only_moves`."""

    seconds: float
    rate: Fraction
    size: tuple[int, int] | None = None
    loop: bool = False
    to: Path | None = None
    only_moves: bool = False
    audio: Path | None = None  # what schedules hear; it becomes the sound

    @property
    def frames(self) -> int:
        """How many it has."""
        return max(1, round(self.seconds * self.rate))


def render_zoom(
    photo: Path | None,
    out: Target,
    settings: Settings,
    flight: Flight,
    report: Report = QUIET,
    threads: Threads | None = None,
) -> Path:
    """Zoom into `photo`, or into noise, dreaming, into `out.path`.

    It is stopped, and goes on, as `render_video` does.
    """
    given = [path for path in (photo, flight.to, flight.audio) if path is not None]
    for path in given:
        check_source(path, out)
    check_video_name(out.path)
    check_output(out)
    check_record(out)
    _refuse_source_settings(settings)
    check_flight(flight, settings)
    loaded = _opaque(photo, report) if photo is not None else None
    canvas = flight.size or (tuple(loaded.shape[2:]) if loaded is not None else DEFAULT_CANVAS)
    canvas = fitted_size(canvas[0], canvas[1], settings.width)
    clip = Clip(out.path, *canvas, flight.rate, flight.frames)
    encoding = encoding_of(clip, out, settings, report)
    network = ready_network(settings, canvas, report)
    device = network.device
    image = noise(canvas, settings.seed, device)
    if loaded is not None:
        image = crop_to(loaded, canvas).to(device)
    goal = None
    if flight.to is not None:
        goal = crop_to(_opaque(flight.to, report), canvas).to(device)
    journey = Journey(flight.frames, flight.rate, flight.loop, goal, not flight.only_moves)
    heard = heard_by(settings, flight.audio)
    over_time = settings_over_time(settings, flight.frames, flight.rate, heard)
    sound = None
    if flight.audio is not None and settings.output.audio:
        sound = Clip(flight.audio, *canvas, flight.rate, None, has_audio=True)
    job = job_of("zoom", settings, photo, network, _told_of(flight, canvas))
    with under_way(out, job, encoding, flight.frames, threads) as work:
        memory = ZoomMemory.from_tree(work.state, device) if work.done else ZoomMemory()
        images = infinite_zoom(image, network, over_time, journey, work.done, memory)
        pictures = (to_frame(image, encoding.depth) for image in images)
        make(pictures, work, memory.as_tree, flight.frames, settings, report, given)
        told = told_of(job, settings, photo, out, work, network, {})
        return finish(work, encoding, out, report, told, sound)


def check_flight(flight: Flight, settings: Settings) -> None:
    """Raise UserError where a zoom cannot lead where it is to."""
    if flight.loop and flight.to is not None:
        raise UserError("--loop leads back to the beginning, --to to a photo: give one of them")
    if not flight.loop and flight.to is None:
        return
    what = "--loop" if flight.loop else "--to"
    total = settings.camera.zoom**flight.seconds
    if total < SMALLEST_TOTAL:
        needed = math.log(SMALLEST_TOTAL)
        if settings.camera.zoom <= 1:
            raise UserError(
                f"{what}: camera.zoom = {settings.camera.zoom:g} leads nowhere; 1.5 does"
            )
        raise UserError(
            f"{what}: {flight.seconds:g} s at camera.zoom = {settings.camera.zoom:g} grow the "
            f"picture {total:.2g} times, and {SMALLEST_TOTAL:g} are needed: --seconds "
            f"{math.ceil(10 * needed / math.log(settings.camera.zoom)) / 10:g} or camera.zoom="
            f"{math.ceil(100 * math.exp(needed / flight.seconds)) / 100:g} would do"
        )


def _opaque(photo: Path, report: Report) -> Tensor:
    """The picture `photo` (1, 3, H, W), what of it is transparent told of."""
    picture = load_picture(photo, torch.device("cpu"))
    if picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts: a video keeps none")
    return picture.image


def _told_of(flight: Flight, canvas: tuple[int, int]) -> Job:
    told: Job = {"count": flight.frames, "rate": str(flight.rate), "size": list(canvas)}
    if flight.loop:
        told["loop"] = True
    if flight.to is not None:
        told["to"] = {"path": str(flight.to.absolute()), "sha256": digest(flight.to)}
    if flight.only_moves:
        told["only_moves"] = True
    return told | audio_of(flight.audio)


def _refuse_source_settings(settings: Settings) -> None:
    """Raise UserError where settings of a source are given and there is none."""
    for name, value in settings.source:
        if value != type(settings.source).model_fields[name].default:
            raise UserError(f"source.{name} = {value}: a zoom reads no video")
