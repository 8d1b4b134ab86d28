"""A long render says so after its first frames, with what a smaller dream would take."""

import time
from collections.abc import Callable
from dataclasses import replace

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.presets import load_preset
from dreamreel.pipeline.dreaming.ascent import octaves_of
from dreamreel.pipeline.dreaming.enlarging import scale_of, shrunk
from dreamreel.pipeline.dreaming.terms import Term
from dreamreel.pipeline.dreaming.vocabulary import layers_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Box, fitted_size
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.networks.network import Network

LONG = 1800.0  # seconds that are left, beyond which it is told
# What is timed before: so many frames after the first, which is a still, and so many seconds at
# least, because threads that read ahead make the first frames seem fast.
TIMED_FRAMES, TIMED_SECONDS = 4, 10.0
# The pixels of a frame that are passed through the network take this many times as long as those
# that are only warped, held and encoded: 75 ms and 56 ms were measured at 640x360.
BESIDE = 1.3
DRAFT = "draft"
Sized = tuple[int, int]  # height, width


def pacing(
    report: Report,
    network: Network,
    settings: Settings,
    size: Sized,
    kind: str = "video",
    now: Callable[[], float] = time.monotonic,
) -> Report:
    """`report`, which also gets a line after the first frames of a film of frames of `size` if more
    than half an hour is left. Nothing is told of a render that was resumed after those frames: it
    was told before. `now` is the clock, in seconds."""
    since: list[tuple[int, float]] = []  # the first frame that was made, and when
    told = False

    def on_progress(progress: Progress) -> None:
        nonlocal told
        report.on_progress(progress)
        if told or progress.total is None or progress.before > TIMED_FRAMES:
            return
        since[:] = since or [(progress.done, now())]
        made, seconds = progress.done - since[0][0], now() - since[0][1]
        if made < TIMED_FRAMES or seconds < TIMED_SECONDS:
            return
        told = True
        each, left = seconds / made, progress.total - progress.done
        if each * left > LONG:
            report.on_notice(told_of(network, settings, size, kind, each, left, progress.total))

    return replace(report, on_progress=on_progress)


def told_of(
    network: Network,
    settings: Settings,
    size: Sized,
    kind: str,
    each: float,
    left: int,
    total: int,
) -> str:
    """The line for a film of `total` frames, each of which takes `each` seconds, `left` of them
    still to be made."""
    cost = cost_of(network, settings, size)
    others = []
    width = round(size[1] * scale_of(settings.dream, size[1]) / 4) * 2
    smaller = settings.model_copy(
        update={"dream": settings.dream.model_copy(update={"width": width})}
        if kind == "video"
        else {"width": width}
    )
    option = f"--set dream.width={width}" if kind == "video" else f"--width {width}"
    for name, other in ((option, smaller), (f"--preset {DRAFT}", _as_draft(settings))):
        at = size if name.startswith("--set") else fitted_size(*size, other.width)
        try:
            share = cost_of(network, other, at) / cost
        except UserError:  # the network needs larger pictures
            continue
        if share < 1:
            others.append(f"about {_told(each * total * share)} with {name}")
    instead = f"; from the start, it would take {' or '.join(others)}" if others else ""
    return f"about {_told(each * left)} are left{instead}"


def cost_of(network: Network, settings: Settings, size: Sized) -> float:
    """What a frame of `size` costs after a shot's first: the pixels that the network sees in all
    octaves, and those of the frame beside it."""
    scale = scale_of(settings.dream, size[1])
    at = shrunk(Box(0, 0, size[1], size[0]), scale).size
    terms = [Term(layer) for layer in layers_of(settings.dream, network).values()]
    octaves = octaves_of(at, network, terms, settings.dream)
    pixels = sum(octave.size[0] * octave.size[1] for octave in octaves)
    steps = settings.dream.steps if settings.flow.method == "none" else 1
    return pixels * steps / settings.video.cadence + BESIDE * size[0] * size[1]


def _as_draft(settings: Settings) -> Settings:
    """`settings` by the preset `draft`, over what else they say."""
    own = settings.model_dump(exclude_unset=True)
    return build(("the job", own), *load_preset(DRAFT).tables)


def _told(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    if hours >= 10:
        return f"{hours + round(minutes / 60)} hours"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
