"""The figures of a finished zoom against its own beginning, their plot, and a sheet of frames."""

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
from dreamreel.pipeline.jobs.record import record_of_zoom
from dreamreel.pipeline.jobs.zoom import course, earlier_jobs
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.judging.video_figures import (
    CRISP_AT_LEAST,
    EXACTLY,
    LEVEL,
    SEEN_AT_LEAST,
    mean_lab,
)
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
from dreamreel.pipeline.zooming.things import ground_in, things_in

EARLY = (30, 60)  # frames, first and one past the last: a zoom has settled, and not drifted yet
EARLY_SPREAD = 300  # frames in the early mean of spread, which varies with the picture in view
SPREAD_EVERY = 10  # frames between measurements of spread, to save time
# Seconds in a mean of things or ground: at the usual 1.35 times a second, a thing that is born a
# quarter as high as the frame fills it in 4.6. Over less, one scene is compared with another.
GENERATION = 5
STILL_CHANGE = 0.1 * LEVEL  # floor of a divisor, the median change; a dreamed zoom's is far above
SHEET_FRAMES, SHEET_ACROSS = 24, 6  # frames on the sheet, and in a row of it
TINY = 1e-9  # floor of a divisor, the early spread
SHEET_WIDTH = 320  # pixels: the largest width of a frame on the sheet

CPU = torch.device("cpu")
Extremes = tuple[float, float]  # least, most
Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class FinishedZoom:
    """A zoom in a file, with the facts in its record.

    `size` (height, width) is that of the frames, before padding to even sides. `over_time` gives
    the settings of each frame in the order of dreaming. In `reverse`, frames are shown in the
    opposite order.
    """

    clip: Clip
    size: tuple[int, int]
    journey: Journey
    settings: Settings
    over_time: OverTime
    reverse: bool = False

    @property
    def frames(self) -> int:
        """The number of frames."""
        return self.journey.frames

    def dreamed(self, shown: int) -> int:
        """The number in the order of dreaming of the frame number `shown`; its own inverse."""
        return self.frames - 1 - shown if self.reverse else shown


@dataclass(frozen=True)
class FrameSeen:
    """The figures of one frame, as in `ZoomFigures`. `colour` (3,) is its mean in Lab; `change` and
    `warp_error` are against the frame shown before. None where they cannot be or were not measured.
    """

    sharpness: float
    colour: np.ndarray
    change: float | None
    warp_error: float | None
    spread: float | None
    excitement: float
    things: float | None
    ground: float | None


@dataclass(frozen=True)
class ZoomFigures:
    """The figures of a zoom, measured against its own beginning. None: the zoom is too short.

    Frames are counted in the order of dreaming. The early level is the mean over frames 30 to 59;
    of fewer than 61 frames, over the second quarter. Seconds are whole; the last one includes any
    left-over frames. Pairs are (least, most).
    `sharpness`: the mean squared Laplacian of the luma (Pech-Pacheco et al., ICPR 2000, take its
    variance), averaged over each second after the early frames, over the early level.
    `colour_drift`: the largest distance of a frame's mean colour, after the early frames, from the
    early mean, in CIE 1976 Lab.
    `jump`: the largest mean absolute change from frame to frame over the median change, which is
    taken as at least a tenth of a level of 255.
    `spread`: how much a frame's features vary over its places: the variance, summed over channels,
    of the unit feature vectors of the network's deepest layer with places. It is measured in every
    tenth frame, over the mean of the first 300 frames (of the first third, if there are fewer than
    900). A frame that is one pattern all over has almost none.
    `spread_in_a_second`: the least of its means over each second.
    `things`: how many things of the size that they have would fill a frame; see
    `zooming.things.things_in`. It halves where one creature fills half of the frame for seconds.
    `ground`: the fine energy of the ground, where nothing is excited, over the whole frame's; see
    `zooming.things.ground_in`. A weave that no layer means makes it larger, up to 1 and more. Both
    are means over five seconds, over those of the first five: `things` of all frames, `ground` of
    every tenth.
    `warp_error`: the median over frames of the mean squared difference between a frame and the one
    before, moved by the camera's own motion, where that was in the picture, for values in [0, 1]
    (the warp error of Lai et al., ECCV 2018, by the true motion).
    `seam`: of a loop, the warp error from its last frame to its first, over that median, which is
    taken as at least one level squared, (1/255)².
    `excitement`: the response of the dreamed layers, averaged over each second of the whole zoom.
    It is absolute, so zooms by the same network and layers can be compared at any rate.
    `series`: the figures frame by frame, in the order shown; sharpness and spread over their early
    levels, `early_sharpness` and `early_spread`; change in levels of 255.
    """

    frames: int
    seconds: float
    sharpness: Extremes | None
    colour_drift: float | None
    jump: float | None
    spread: Extremes
    spread_in_a_second: float
    things: Extremes | None
    ground: Extremes | None
    warp_error: float | None
    seam: float | None
    excitement: tuple[float, ...]
    early_sharpness: float
    early_spread: float
    early_things: float
    early_ground: float
    spread_layer: str
    series: Series


def find_zoom(path: Path, *more: tuple[str, Table]) -> FinishedZoom:
    """The zoom in the file or pictures at `path`, by the record beside it. `more` tables, as for
    `build`, win over the record's settings.

    Raises UserError where there is no record, where it belongs to another kind of render or another
    file, where several networks dreamed the zoom, and where music for a schedule is missing.
    """
    clip, record = probe(path, EXACTLY), record_path(place_of(path))
    job = record_of_zoom(path).job
    flight = flight_of(job)
    frames, size = flight.frames, flight.size or (0, 0)
    if (clip.height, clip.width) not in (size, even(size)) or clip.frames not in (frames, None):
        raise UserError(
            f"{path} has {clip.frames} frames of {clip.width}x{clip.height}, but its record "
            f"{record.name} has {frames} of {size[1]}x{size[0]}: it belongs to another file"
        )
    dreamed_by = {(one.settings.network, one.weights_sha256) for one in [job, *earlier_jobs(job)]}
    if len(dreamed_by) > 1:
        raise UserError(
            f"{path} was dreamed by several networks, and only a zoom by one can be measured"
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
    """The figures of `zoom`, measured by `network`, which must be the one that dreamed it.

    Only a few frames are in memory at a time. `on_frame` is called with (frames done, all frames).
    Raises UserError where the frames are too small for the network, or where fewer of them can be
    read than the record has.
    """
    moves = motions(zoom.over_time, zoom.journey, zoom.size)
    seen: list[FrameSeen] = []
    layer = network.deepest_layer(zoom.size)
    if layer is None:
        height, width = zoom.size
        raise UserError(
            f"frames of {width}x{height} are too small for {network.name} to measure their spread"
        )
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
        raise UserError(
            f"{zoom.clip.path} should have {zoom.frames} frames, and only {len(seen)} can be read"
        )
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
    """The figures of the frame `image` (1, 3, H, W), with that `number` in the order of dreaming.
    `last` is the image shown before it, if there is one; `moves` are all motions of the zoom."""
    change = error = spread = ground = None
    if last is not None:
        change = float((image - last).abs().mean())
        # In reverse, the frame shown before this one was dreamed after it.
        if zoom.reverse:
            error = warp_error(last, image, moves[number])
        else:
            error = warp_error(image, last, moves[number - 1])
    small = judged_size(image).to(network.device)
    excitement, lively = dreamed_response(small, network, zoom.over_time(number))
    if number % SPREAD_EVERY == 0:
        spread = spread_of(small, network, layer)
        ground = ground_in(image, lively)
    return FrameSeen(
        sharpness=float(sharpness(image)),
        colour=mean_lab(image),
        change=change,
        warp_error=error,
        spread=spread,
        excitement=excitement,
        things=things_in(lively),
        ground=ground,
    )


def warp_error(image: Tensor, before: Tensor, motion: Tensor) -> float | None:
    """The mean squared difference of `image` (1, 3, H, W) from `before`, the frame dreamed before
    it, moved by the homography `motion`; None where too little of that is in the picture."""
    size = (image.shape[2], image.shape[3])
    moved = view(motion, size, size[0], image.device)
    if float(moved.seen.mean()) < SEEN_AT_LEAST:
        return None
    squares = moved.seen * (image - moved.of(before)).square()
    return float(squares.sum() / (3 * moved.seen.sum()))


def summary(
    seen: list[FrameSeen], zoom: FinishedZoom, layer: str, closing_error: float | None
) -> ZoomFigures:
    """The figures of a zoom from those of its frames `seen`, one or more, in the order shown.
    `layer`: where spread was measured. `closing_error`: the warp error from a loop's last frame to
    its first."""
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
    counts = _by_generation([one.things for one in dreamed], rate)
    grounds = _by_generation([one.ground for one in dreamed], rate)
    early_things = max(counts[0], TINY)
    early_ground = max(grounds[0], TINY) if grounds else 1.0
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
        "things": [one.things for one in seen],
        "ground": [_over(one.ground, early_ground) for one in seen],
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
        things=_extremes(value / early_things for value in counts),
        ground=_extremes(value / early_ground for value in grounds),
        warp_error=error,
        seam=seam,
        excitement=tuple(_by_second([one.excitement for one in dreamed], range(count), rate)),
        early_sharpness=crisp,
        early_spread=varied,
        early_things=early_things,
        early_ground=early_ground,
        spread_layer=layer,
        series=series,
    )


def early_frames(count: int) -> range:
    """The numbers of the early frames of `count`, against which the others are measured: 30 to 59;
    of fewer than 61 frames, the second quarter."""
    if count > EARLY[1]:
        return range(*EARLY)
    return range(count // 4, max(1, count // 2))


def seconds_of(frames: range, rate: Fraction) -> list[range]:
    """`frames` at the `rate`, divided into whole seconds. Left-over frames go with the last second;
    all are one range where they last less than a second."""
    count = max(1, math.floor(len(frames) / rate))
    starts = [frames.start + round(second * rate) for second in range(count)]
    pairs = itertools.pairwise([*starts, frames.stop])
    return [range(start, stop) for start, stop in pairs if start < stop]


def describe(found: ZoomFigures) -> str:
    """`found` as text, a line for each figure."""

    def number(value: float | None, unit: str = "") -> str:
        return "too short to measure" if value is None else f"{value:.3g}{unit}"

    def between(values: Extremes | None, unit: str = "") -> str:
        return number(None) if values is None else f"{values[0]:.3g} to {values[1]:.3g}{unit}"

    mean = statistics.fmean(_known(found.series["excitement"]))
    rows = [
        ("frames", f"{found.frames}, {found.seconds:.4g} s"),
        ("sharpness", between(found.sharpness, " times the early, by seconds")),
        ("colour drift", number(found.colour_drift, " from the early, at most (Lab)")),
        ("jump", number(found.jump, " times the median change")),
        (
            "spread",
            between(found.spread, f" times the early ({found.spread_layer})")
            + f"; by seconds {found.spread_in_a_second:.3g} at least",
        ),
        (
            "things",
            between(found.things, " times the first, by five seconds")
            + f"; {found.early_things:.3g} fill a frame at first",
        ),
        (
            "ground",
            between(found.ground, " times the first, by five seconds")
            + f"; {found.early_ground:.3g} of the frame's fine energy at first",
        ),
        ("warp error", number(found.warp_error)),
        ("seam", number(found.seam, " times that")),
        ("excitement", f"{mean:.4g}; {between(_extremes(found.excitement), ' by seconds')}"),
    ]
    if found.seam is None:
        rows = [row for row in rows if row[0] != "seam"]
    return "\n".join(f"{name:13} {value}" for name, value in rows)


def as_table(found: ZoomFigures) -> dict[str, Any]:
    """`found` as a table for JSON."""
    return asdict(found)


PANELS = {  # of the plot: title, and name of the series
    "sharpness": "sharpness",
    "colour drift, Lab": "colour_drift",
    "change, levels": "change",
    "spread": "spread",
    "things": "things",
    "ground": "ground",
    "excitement": "excitement",
}


def plot(found: ZoomFigures, path: Path, replace: bool = False) -> None:
    """Draw the series of `found` over the seconds of the film into the picture `path`.

    Raises UserError where the file cannot be written, or exists and must not be replaced.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 13), layout="constrained")
    panels = figure.subplots(len(PANELS), sharex=True)
    for axes, (title, name) in zip(panels, PANELS.items(), strict=True):
        values = found.series[name]
        told = [number for number, value in enumerate(values) if value is not None]
        seconds = [number * found.seconds / found.frames for number in told]
        marks = "." if name in ("spread", "ground") or len(told) == 1 else ""
        axes.plot(seconds, _known(values), marker=marks, linewidth=1.2)
        if name in ("sharpness", "spread", "ground"):
            axes.axhline(1, color="grey", linestyle=":", linewidth=1)
        axes.set_ylim(0, 1.1 * max(_known(values), default=0) or 1)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("seconds")
    save_figure(figure, path, replace)


def sheet(zoom: FinishedZoom, path: Path, replace: bool = False) -> None:
    """Write a sheet into the picture `path`: 24 frames of `zoom`, evenly spaced from first to last,
    six in a row, each labelled with its time. Raises UserError where it cannot be written."""
    count = min(SHEET_FRAMES, zoom.frames)
    numbers = [round(i * (zoom.frames - 1) / max(1, count - 1)) for i in range(count)]
    cells = [labelled(_frame(zoom, n), float(n / zoom.journey.rate)) for n in numbers]
    cells += [np.zeros_like(cells[0])] * (-count % SHEET_ACROSS)
    rows = [np.hstack(cells[i : i + SHEET_ACROSS]) for i in range(0, len(cells), SHEET_ACROSS)]
    save_picture(path, Picture(to_image(np.vstack(rows), CPU)), replace)


def labelled(frame: Frame, seconds: float) -> Frame:
    """`frame` (H, W, 3), uint8, shrunk to a cell's width, with `seconds` written in a corner."""
    cell = next(resized([frame], min(SHEET_WIDTH, frame.shape[1]))).copy()
    at, font = (4, cell.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(cell, f"{seconds:.1f} s", at, font, 0.4, colour, width, cv2.LINE_AA)
    return cell


def _music(job: Job, record: Path) -> Path | None:
    """The file of the music that schedules of `job` need; None where they need none."""
    if not any(one.settings.needs_music for one in (job, *earlier_jobs(job))):
        return None
    return found_again(job.audio, record)


def _images(zoom: FinishedZoom) -> Iterator[Tensor]:
    """The frames of `zoom` as images, without a row or column that was added to make them even."""
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
    """The mean of `values` in each second of `frames` in which some are known."""
    seconds = (_known(values[n] for n in second) for second in seconds_of(frames, rate))
    return [statistics.fmean(known) for known in seconds if known]


def _by_generation(values: list[float | None], rate: Fraction) -> list[float]:
    """The mean of `values` in each `GENERATION` in which some are known."""
    return _by_second(values, range(len(values)), rate * GENERATION)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _over(value: float | None, level: float) -> float | None:
    return None if value is None else value / level


def _extremes(values: Iterable[float]) -> Extremes | None:
    told = list(values)
    return (min(told), max(told)) if told else None
