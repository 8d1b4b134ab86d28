"""How long renders will take, from a quick measurement of this machine."""

import statistics
import time
from collections.abc import Iterable

import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.enlarging import scale_of, shrunk
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.jobs.preparation import fitting_network, keep_network
from dreamreel.pipeline.jobs.queue import Entry
from dreamreel.pipeline.jobs.report import QUIET
from dreamreel.pipeline.networks.devices import torch_threads
from dreamreel.pipeline.tensors import resize, to_image
from dreamreel.pipeline.zooming.bands import USUAL_RATE

REPEATS = 3  # of a measurement, of which the median counts; the first, a warm-up, does not
# Passes over all octaves that a frame of a video costs, with the measurements that steer strength,
# flow, decoding and encoding. Measured with dreamnet at 320x180, one thread: 1.0 to 1.2 in one shot
# with a core to spare, 2.1 over four short shots on one core. The middle of these.
VIDEO_MORE = 1.6
# The same for a zoom's frame, for each pass that `zoom.evolve` asks for. Measured at 320x180, 25
# frames a second: 1.2 with the default, up to 1.7 passes a frame with `tunnel` and `spiral`.
ZOOM_MORE = 1.5
SECONDS_BESIDE = 1.0  # of a job: opening, joining and checking. A picture of 96x54 took 0.7 to 1.0


def estimated_seconds(entries: Iterable[Entry], threads: int) -> dict[str, float]:
    """The seconds that each of `entries` will take one worker with so many `threads`, by name.
    Those whose size is not known are left out."""
    keep_network()
    passes: dict[tuple[str, tuple[int, int]], float] = {}
    found = {}
    with torch_threads(threads):
        for entry in entries:
            if entry.size is None or entry.frames is None:
                continue
            settings = entry.job.settings
            key = settings.model_dump_json(include={"network", "weights", "dream"}), entry.size
            if key not in passes:
                passes[key] = _pass_seconds(settings, entry.size)
            found[entry.name] = SECONDS_BESIDE + passes[key] * _passes(entry)
    return found


def _passes(entry: Entry) -> float:
    """The passes over all octaves that the render of `entry` takes, one step in each."""
    settings, frames = entry.job.settings, entry.frames or 1
    first = float(settings.dream.steps)
    if entry.job.kind == "still":
        return first
    if entry.job.kind == "preview" or (entry.job.flight and entry.job.flight.motion_only):
        return 0.05 * frames
    if entry.job.flight is not None:
        a_frame = settings.zoom.evolve * USUAL_RATE / float(entry.job.flight.rate)
        return first + ZOOM_MORE * max(a_frame, 0.5) * frames
    if settings.flow.method == "none":
        return first * frames
    return first + VIDEO_MORE * frames / settings.video.cadence


def _pass_seconds(settings: Settings, size: tuple[int, int]) -> float:
    """The seconds that one step in each octave takes, for a picture of `size` (height, width)."""
    network = fitting_network(settings, size, QUIET)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = to_image(noise, network.device)
    scale = scale_of(settings.dream, size[1])
    image = resize(image, shrunk(Box.whole(noise), scale).size)
    subject = Subject.of(image, 0, network, settings)
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subject.dreamed(image, Ascent(1, settings.dream.step_size)).sum().item()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])
