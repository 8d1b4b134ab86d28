"""How long a finished zoom holds: its figures against its own beginning, a plot, a sheet."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings, Table
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.jobs.identity import found_again
from dreamreel.pipeline.jobs.job import Job, flight_of
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.zoom import course, earlier_jobs
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.judging.video_figures import CRISP_AT_LEAST, LEVEL, SEEN_AT_LEAST, mean_lab
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.encoding import even
from dreamreel.pipeline.media.reading import prefetch, read_frames, resized
from dreamreel.pipeline.media.sequences import place_of
from dreamreel.pipeline.media.stills import Picture, save_picture
from dreamreel.pipeline.networks.network import Network, judged_size
from dreamreel.pipeline.tensors import sharpness, to_image
from dreamreel.pipeline.zooming.camera import view
from dreamreel.pipeline.zooming.endless import dreamed_response, spread_of
from dreamreel.pipeline.zooming.journey import Journey, motions

EARLY = (30, 60)  # frames: once it has settled, and before it could go far
EARLY_SPREAD = 300  # frames: of the spread, which swings with what comes by
SPREAD_EVERY = 10  # frames
STILL_CHANGE = 0.1 * LEVEL  # from frame to frame, below which a zoom counts as standing still
SHEET_FRAMES, SHEET_ACROSS = 24, 6
TINY = 1e-9  # spread below which a zoom counts as having none
SHEET_WIDTH = 320  # pixels of a frame on the sheet, at most

CPU = torch.device("cpu")
Extremes = tuple[float, float]  # least, most
Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class FinishedZoom:
    """A zoom in a file, and what its record tells: its canvas `size` (height, width), its exact
    rate, and its settings over time, in the order of dreaming. A film of it in `reverse` shows
    last what was dreamed first."""

    clip: Clip
    size: tuple[int, int]
    journey: Journey
    settings: Settings
    over_time: OverTime
    reverse: bool = False

    @property
    def frames(self) -> int:
        """How many it has."""
        return self.journey.frames

    def dreamed(self, shown: int) -> int:
        """The number, in the order of dreaming, of the frame `shown`; or the other way round."""
        return self.frames - 1 - shown if self.reverse else shown


@dataclass(frozen=True)
class FrameSeen:
    """What one frame measures: the mean of its colour in Lab, (3,); its `change` and
    `warp_error` against its neighbour, as `ZoomFigures` tells; None where there is nothing to
    measure it by, or it is no sample."""

    sharpness: float
    colour: np.ndarray
    change: float | None
    warp_error: float | None
    spread: float | None
    excitement: float


@dataclass(frozen=True)
class ZoomFigures:
    """The figures of a zoom, which has nothing but its own beginning to be measured by. First and
    last are in the order of dreaming. None: too short to tell.

    The early level is the mean over frames 30 up to 60; of fewer than 61 frames, over the second
    quarter. Seconds are whole ones; what is left over counts with the last.
    `sharpness`: the mean squared Laplacian of the luma (Pech-Pacheco et al., ICPR 2000, take its
    variance), each second's mean after the early frames over the early one: least and most.
    `colour_drift`: the largest distance of a frame's mean colour, after the early ones, from the
    early mean, in CIE 1976 Lab.
    `jump`: the largest mean absolute change from one frame to the next over their median, which
    is a tenth of a level of 255 at the least.
    `spread`: how different a frame's places are to a network: the variance over places, summed
    over channels, of the activation of its deepest layer that has places, each place's brought to
    unit length; of every tenth frame, over the mean of the first 300 (of fewer than 900 frames, of
    the first third): least and most. A frame that is one pattern all over has next to none.
    `spread_in_a_second`: the least of each second's mean of that.
    `warp_error`: the median of the mean squared difference between a frame and the one before as
    the camera, by its own motion, should see it now, where that was in the picture, values in
    [0, 1] (the warp error of Lai et al., ECCV 2018, by the true motion).
    `seam`: of a loop, the same from its last frame to its first, over that median, which is one
    level squared, (1/255)², at the least.
    `excitement`: of the dreamed layers, each second's mean, of the whole zoom, absolute: the
    strengths of zooms by the same network and layers compare, whatever their rates.
    `series`: frame by frame, in the order of being shown; sharpness and spread over the early
    level, `early_sharpness` and `early_spread`; change in levels of 255.
    """

    frames: int
    seconds: float
    sharpness: Extremes | None
    colour_drift: float | None
    jump: float | None
    spread: Extremes
    spread_in_a_second: float
    warp_error: float | None
    seam: float | None
    excitement: tuple[float, ...]
    early_sharpness: float
    early_spread: float
    spread_layer: str
    series: Series


def find_zoom(path: Path, *more: tuple[str, Table]) -> FinishedZoom:
    """The zoom in the file, or pictures, at `path`, by the record beside it; `more` replaces some
    of its settings, as `build` takes them.

    Raises UserError where there is no record, where it is of another kind of render or of another
    file than this, and where music that a schedule hears is gone.
    """
    clip, record = probe(path), record_path(place_of(path))
    if not record.exists():
        raise UserError(
            f"{path} has no record {record.name} beside it, and only a zoom with its record is "
            "measured alone; else give the source as well: dreamreel measure SOURCE DREAM"
        )
    job = read_record(record).job
    if job.kind != "zoom":
        source = "SOURCE" if job.source is None else job.source.path
        raise UserError(
            f"{path} is a {job.kind} by its record, not a zoom: give its source as well, as "
            f"dreamreel measure {source} {path}"
        )
    flight = flight_of(job)
    frames, size = flight.frames, flight.size or (0, 0)
    if (clip.height, clip.width) not in (size, even(size)) or clip.frames not in (frames, None):
        raise UserError(
            f"{path} has {clip.frames} frames of {clip.width}x{clip.height}, and its record "
            f"{record.name} tells of {frames} of {size[1]}x{size[0]}: it is another file's"
        )
    dreamed_by = {(one.settings.network, one.weights_sha256) for one in [job, *earlier_jobs(job)]}
    if len(dreamed_by) > 1:
        raise UserError(
            f"{path} goes on with another network than it began with: no one network can measure it"
        )
    plain = job.settings.model_dump(mode="json", exclude_none=True)
    settings = build((str(record), plain), *more)
    over_time = course(job, _music(job, record))
    journey = Journey(frames, flight.rate, flight.loop)
    return FinishedZoom(clip, size, journey, settings, over_time, flight.reverse)


def measure_zoom(
    zoom: FinishedZoom,
    network: Network,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> ZoomFigures:
    """The figures of `zoom`, as `network`, the one that dreamed it, sees it.

    However many there are, a few frames at a time are in memory. Raises UserError where fewer
    can be read than its record tells of.
    """
    moves = motions(zoom.over_time, zoom.journey, zoom.size)
    seen: list[FrameSeen] = []
    layer = network.deepest_layer(zoom.size)
    if layer is None:
        height, width = zoom.size
        raise UserError(f"{network.name} tells no places of {width}x{height} apart")
    first = last = None
    with closing(prefetch(_images(zoom))) as images:
        for shown, image in enumerate(images):
            if last is None:
                first = image
            number = zoom.dreamed(shown)
            seen.append(see(zoom, network, layer, number, image, last, moves))
            last = image
            on_frame(len(seen), zoom.frames)
    if len(seen) != zoom.frames or first is None or last is None:
        raise UserError(f"{zoom.clip.path} has {zoom.frames} frames; {len(seen)} can be read")
    closing_error = None
    if zoom.journey.loop:
        begins, ends = (last, first) if zoom.reverse else (first, last)
        closing_error = warp_error(begins, ends, moves[-1])
    return summary(seen, zoom, layer, closing_error)


def see(
    zoom: FinishedZoom,
    network: Network,
    layer: str,
    number: int,
    image: Tensor,
    last: Tensor | None,
    moves: list[Tensor],
) -> FrameSeen:
    """What `image` (1, 3, H, W) measures, the frame of that `number` in the order of dreaming,
    where `last` is the one that is shown before it."""
    change = error = spread = None
    if last is not None:
        change = float((image - last).abs().mean())
        # What is shown before it was dreamed before it, or after it.
        if zoom.reverse:
            error = warp_error(last, image, moves[number])
        else:
            error = warp_error(image, last, moves[number - 1])
    small = judged_size(image).to(network.device)
    if number % SPREAD_EVERY == 0:
        spread = spread_of(small, network, layer)
    return FrameSeen(
        sharpness=sharpness(image),
        colour=mean_lab(image),
        change=change,
        warp_error=error,
        spread=spread,
        excitement=dreamed_response(small, network, zoom.over_time(number)),
    )


def warp_error(image: Tensor, before: Tensor, motion: Tensor) -> float | None:
    """Mean squared difference of `image` (1, 3, H, W) from `before`, the frame dreamed before it,
    as a camera sees that after `motion`; None where next to nothing of it is seen."""
    size = (image.shape[2], image.shape[3])
    moved = view(motion, size, size[0], image.device)
    if float(moved.seen.mean()) < SEEN_AT_LEAST:
        return None
    squares = moved.seen * (image - moved.of(before)).square()
    return float(squares.sum() / (3 * moved.seen.sum()))


def summary(
    seen: list[FrameSeen], zoom: FinishedZoom, layer: str, closing_error: float | None
) -> ZoomFigures:
    """The figures of the frames `seen`, one or more, in the order of being shown, by the network's
    `layer`; `closing_error` is the warp error from the last to the first of a loop."""
    rate, count = zoom.journey.rate, len(seen)
    dreamed = seen[::-1] if zoom.reverse else seen
    early, later = early_frames(count), range(early_frames(count).stop, count)
    crisp = max(statistics.fmean(dreamed[n].sharpness for n in early), CRISP_AT_LEAST)
    colour = np.mean([dreamed[n].colour for n in early], 0)
    spreads = [one.spread for one in dreamed]
    first_spreads = spreads[: max(1, min(EARLY_SPREAD, count // 3))]
    varied = max(statistics.fmean(_known(first_spreads)), TINY)
    errors, changes = (
        _known(getattr(one, name) for one in seen) for name in ("warp_error", "change")
    )
    error = statistics.median(errors) if errors else None
    seam = None
    if error is not None and closing_error is not None:
        seam = closing_error / max(error, LEVEL**2)
    series: Series = {
        "sharpness": [one.sharpness / crisp for one in seen],
        "colour_drift": [float(np.linalg.norm(one.colour - colour)) for one in seen],
        "change": [_over(one.change, LEVEL) for one in seen],
        "spread": [_over(one.spread, varied) for one in seen],
        "warp_error": [one.warp_error for one in seen],
        "excitement": [one.excitement for one in seen],
    }
    drifts = _known(series["colour_drift"][zoom.dreamed(n)] for n in later)
    return ZoomFigures(
        frames=count,
        seconds=float(count / rate),
        sharpness=_extremes(_by_second([one.sharpness / crisp for one in dreamed], later, rate)),
        colour_drift=max(drifts, default=None),
        jump=max(changes) / max(statistics.median(changes), STILL_CHANGE) if changes else None,
        spread=(min(_known(spreads)) / varied, max(_known(spreads)) / varied),
        spread_in_a_second=min(_by_second(spreads, range(count), rate)) / varied,
        warp_error=error,
        seam=seam,
        excitement=tuple(_by_second([one.excitement for one in dreamed], range(count), rate)),
        early_sharpness=crisp,
        early_spread=varied,
        spread_layer=layer,
        series=series,
    )


def early_frames(count: int) -> range:
    """Those of so many that the others are measured by: once it has settled, 30 up to 60; of fewer
    than 61, the second quarter."""
    if count > EARLY[1]:
        return range(*EARLY)
    return range(count // 4, max(1, count // 2))


def seconds_of(frames: range, rate: Fraction) -> list[range]:
    """`frames`, `rate` a second, by whole seconds, what is left over with the last; all of them
    where they are less than one."""
    count = max(1, math.floor(len(frames) / rate))
    starts = [frames.start + round(second * rate) for second in range(count)]
    pairs = itertools.pairwise([*starts, frames.stop])
    return [range(start, stop) for start, stop in pairs if start < stop]


def describe(found: ZoomFigures) -> str:
    """`found` for people."""

    def number(value: float | None, unit: str = "") -> str:
        return "too short to tell" if value is None else f"{value:.3g}{unit}"

    def between(values: Extremes | None, unit: str = "") -> str:
        return number(None) if values is None else f"{values[0]:.3g} to {values[1]:.3g}{unit}"

    mean = statistics.fmean(_known(found.series["excitement"]))
    rows = [
        ("frames", f"{found.frames}, {found.seconds:.4g} s"),
        ("sharpness", between(found.sharpness, " times the early, by seconds")),
        ("colour drift", number(found.colour_drift, " from the early, at most (Lab)")),
        ("jump", number(found.jump, " times the usual change")),
        (
            "spread",
            between(found.spread, f" times the early ({found.spread_layer})")
            + f"; by seconds {found.spread_in_a_second:.3g} at least",
        ),
        ("warp error", number(found.warp_error)),
        ("seam", number(found.seam, " times that")),
        ("excitement", f"{mean:.4g}; {between(_extremes(found.excitement), ' by seconds')}"),
    ]
    if found.seam is None:
        rows = [row for row in rows if row[0] != "seam"]
    return "\n".join(f"{name:13} {value}" for name, value in rows)


def as_table(found: ZoomFigures) -> dict[str, Any]:
    """`found` as JSON knows it."""
    return asdict(found)


PANELS = {  # of the plot: their titles, and which series is in each
    "sharpness": "sharpness",
    "colour drift, Lab": "colour_drift",
    "change, levels": "change",
    "spread": "spread",
    "excitement": "excitement",
}


def plot(found: ZoomFigures, path: Path, replace: bool = False) -> None:
    """Draw the series of `found` over the seconds of the film into the picture `path`.

    Raises UserError where it cannot be written, or is there already and not to be `replace`d.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), layout="constrained")
    panels = figure.subplots(len(PANELS), sharex=True)
    for axes, (title, name) in zip(panels, PANELS.items(), strict=True):
        values = found.series[name]
        told = [number for number, value in enumerate(values) if value is not None]
        seconds = [number * found.seconds / found.frames for number in told]
        marks = "." if name == "spread" or len(told) == 1 else ""
        axes.plot(seconds, _known(values), marker=marks, linewidth=1.2)
        if name in ("sharpness", "spread"):
            axes.axhline(1, color="grey", linestyle=":", linewidth=1)
        axes.set_ylim(0, 1.1 * max(_known(values), default=0) or 1)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("seconds")
    save_figure(figure, path, replace)


def sheet(zoom: FinishedZoom, path: Path, replace: bool = False) -> None:
    """Write the picture `path`: 24 frames of `zoom`, evenly spaced from its first to its last, six
    in a row, each with its second. Raises UserError where it cannot be written."""
    count = min(SHEET_FRAMES, zoom.frames)
    numbers = [round(i * (zoom.frames - 1) / max(1, count - 1)) for i in range(count)]
    cells = [labelled(_frame(zoom, n), float(n / zoom.journey.rate)) for n in numbers]
    cells += [np.zeros_like(cells[0])] * (-count % SHEET_ACROSS)
    rows = [np.hstack(cells[i : i + SHEET_ACROSS]) for i in range(0, len(cells), SHEET_ACROSS)]
    save_picture(path, Picture(to_image(np.vstack(rows), CPU)), replace)


def labelled(frame: Frame, seconds: float) -> Frame:
    """`frame` (H, W, 3), 8 bits, no wider than a cell of the sheet, with its second in a corner."""
    cell = next(resized([frame], min(SHEET_WIDTH, frame.shape[1]))).copy()
    at, font = (4, cell.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(cell, f"{seconds:.1f} s", at, font, 0.4, colour, width, cv2.LINE_AA)
    return cell


def _music(job: Job, record: Path) -> Path | None:
    """The music that schedules of `job` hear, if they do; the very file that they heard."""
    if not any(one.settings.needs_music for one in (job, *earlier_jobs(job))):
        return None
    return found_again(job.audio, record)


def _images(zoom: FinishedZoom) -> Iterator[Tensor]:
    """The frames of `zoom` as images, without the row and column that made its sides even."""
    height, width = zoom.size
    with closing(read_frames(zoom.clip, 0, zoom.frames)) as frames:
        for frame in frames:
            yield to_image(frame[:height, :width], CPU)


def _frame(zoom: FinishedZoom, shown: int) -> Frame:
    with closing(read_frames(zoom.clip, shown, shown + 1)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise UserError(f"frame {shown} of {zoom.clip.path} cannot be read")
    return to_8_bits(frame[: zoom.size[0], : zoom.size[1], :3])


def _by_second(
    values: list[float] | list[float | None], frames: range, rate: Fraction
) -> list[float]:
    """The mean of `values` in each second of `frames` that has one."""
    seconds = (_known(values[n] for n in second) for second in seconds_of(frames, rate))
    return [statistics.fmean(known) for known in seconds if known]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _over(value: float | None, level: float) -> float | None:
    return None if value is None else value / level


def _extremes(values: Iterable[float]) -> Extremes | None:
    told = list(values)
    return (min(told), max(told)) if told else None
