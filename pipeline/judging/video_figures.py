"""The figures of a dreamed video against its source: stillness, strength, faithfulness."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings, Source
from dreamreel.pipeline.config.values import Bars
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.dreaming.vocabulary import layers_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, fitted_size
from dreamreel.pipeline.jobs.checks import bars_at
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.cropping import scaled
from dreamreel.pipeline.media.encoding import even
from dreamreel.pipeline.media.reading import prefetch, read_frames
from dreamreel.pipeline.motion.flow import FlowEstimator, find_estimator, working_frame
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.motion.visibility import Motion, motion_between
from dreamreel.pipeline.motion.warping import flow_at, sampling_grid, share_at
from dreamreel.pipeline.networks.network import Network, judged_size
from dreamreel.pipeline.tensors import sharpness, to_image

# How a result is read to be measured: OpenCV's coarser colours would count as its faults.
EXACTLY = Source(decoder="pyav")
LEVEL = 1 / 255  # one level of an 8-bit picture, in an image's unit
STILL = 2  # levels of 255 by which a still pixel may change, as codecs change it; not measured
SEEN_AT_LEAST = 0.02  # share of a frame, visible or still, that a figure needs; not measured
# Floor of a divisor, the source's sharpness. Rounding to 8 bits alone gives 0.75 levels squared
# (20 / 12 times the sum of the squares of LUMA), so only flat pictures fall below.
CRISP_AT_LEAST = 0.05 * LEVEL**2
Pairs = Iterable[tuple[Frame, Frame]]
Seer = tuple[Network, Settings]  # a network, and the terms by which it measures strength


@dataclass(frozen=True)
class FrameFigures:
    """The figures of one dreamed frame, as in `Measures`; None where they cannot be measured."""

    frame: int  # its number in the source
    cut: bool  # whether a shot begins here
    strength: float
    judged_strength: float | None
    sharpness: float
    brightness: float
    colour_drift: float
    flicker: float | None
    warp_error: float | None
    source_warp_error: float | None
    long_warp_error: float | None
    source_long_warp_error: float | None


@dataclass(frozen=True)
class Measures:
    """The figures of a dream, means over its frames; None where they cannot be measured.

    `warp_error`: mean squared change from frame to frame along the source's motion, where flow is
    trusted, for values in [0, 1] (Lai et al., ECCV 2018). `warp_error_ratio`: the same over the
    source's own, which is taken as at least one level squared, (1/255)². A blank video scores 0,
    so never quote it without the strength.
    `long_warp_error`, `long_warp_error_ratio`: the same against the first frame of each shot.
    `flicker`: mean absolute change from frame to frame where the source stands still, in levels
    of 255 (temporal flickering in VBench, Huang et al., CVPR 2024).
    `strength`: response of the dreamed layers (mean squared activation) over the source's own.
    `judged_strength`: the same by another network.
    `sharpness`: mean squared Laplacian of the luma over the source's own (Pech-Pacheco et al.,
    ICPR 2000, take its variance).
    `colour_drift`: distance of the mean colour from the source's, in CIE 1976 Lab.
    `brightness`: mean L of Lab minus the source's.
    `series`: the figures frame by frame.
    """

    frames: int
    warp_error: float | None
    warp_error_ratio: float | None
    long_warp_error: float | None
    long_warp_error_ratio: float | None
    flicker: float | None
    strength: float
    judged_strength: float | None
    sharpness: float
    colour_drift: float
    brightness: float
    series: tuple[FrameFigures, ...]


def measure(
    source: Path,
    dream: Path,
    seer: Seer,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    judge: Seer | None = None,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> Measures:
    """The figures of the video `dream`, which was made from the frames `span` of `source`.

    `seer` measures the strength, and `judge` the judged strength. The source is resized to the
    dream. `on_frame` is called with (frames done, all frames). Raises UserError where the two
    differ in shape or in number of frames, or where they are too small for a network.
    """
    before = probe(source, settings.source)
    after = probe(dream, EXACTLY)
    size = common_size(before, after)
    for network, chosen in filter(None, (seer, judge)):
        layers = [one for dream in chosen.dreams for one in layers_of(dream, network).values()]
        if not network.runs_at(size, layers):
            raise UserError(
                f"{dream} of {size[1]}x{size[0]} is too small for {network.name} at "
                f"{', '.join(layers)}; layers nearer the image may do"
            )
    total = common_count(before, after, span)
    start, stop = span
    sources = prefetch(scaled(frame, size) for frame in read_frames(before, start, stop))
    dreams = prefetch(frame[: size[0], : size[1], :3] for frame in read_frames(after))
    figures: list[FrameFigures] = []
    bars = bars_at(settings, before.size, size)
    with closing(sources), closing(dreams):
        pairs = _paired(sources, dreams, before, start)
        for one in measure_frames(pairs, before.rate, seer, settings, judge, start, bars):
            figures.append(one)
            on_frame(len(figures), total)
    return summary(figures)


def common_size(source: Clip, dream: Clip) -> tuple[int, int]:
    """(height, width) of the dream, without a row or column that was added to make it even.

    Raises UserError where `source`, resized, cannot have that shape.
    """
    given = (dream.height, dream.width)
    for width in (dream.width, dream.width - 1):
        size = fitted_size(source.height, source.width, width)
        if given in (size, even(size)):
            return size
    if dream.pixel_shape == 1 and _is_made_square(source, given):
        return given
    raise UserError(
        f"{dream.path} is {dream.width}x{dream.height}, of another shape than its source "
        f"{source.path} of {source.width}x{source.height}"
    )


def _is_made_square(source: Clip, size: tuple[int, int]) -> bool:
    """Whether `size` (height, width) is that of the frames of `source` with square pixels."""
    shape = source.pixel_shape
    before = round(size[1] / min(shape, Fraction(1)))  # the width before, or one beside it
    near = range(max(1, before - 2), before + 3)
    return any(fitted_size(source.height, source.width, width, shape) == size for width in near)


def common_count(source: Clip, dream: Clip, span: tuple[int, int | None]) -> int:
    """The dream's number of frames. Raises UserError where the span of `source` has another."""
    start, stop = span
    count = dream.frames or 0
    ends = [end for end in (stop, source.frames) if end is not None]
    if ends and min(ends) - start != count:
        raise _other_count(source, dream.path, max(0, min(ends) - start), count)
    return count


def measure_frames(
    pairs: Pairs,
    rate: Fraction,
    seer: Seer,
    settings: Settings,
    judge: Seer | None = None,
    first: int = 0,
    bars: Bars | None = None,
) -> Iterator[FrameFigures]:
    """The figures of each of `pairs`, a source frame and its dream of the same size, in order.

    `rate`: frames a second. `first`: the number of the first frame in the source. `bars`: those of
    the source, which are not measured, as `follow_motion` takes them.
    """
    if settings.flow.method == "none":
        settings = settings.model_copy(update={"flow": type(settings.flow)()})
    estimate = find_estimator(settings)
    strength = strength_by(*seer)
    judged = strength_by(*judge) if judge is not None else None
    sources, dreams = itertools.tee(pairs)
    moving = follow_motion((source for source, _ in sources), rate, settings, first, bars=bars)
    cpu = torch.device("cpu")
    # The frame before, and the shot's first: (source frame, source image, dreamed image).
    last: tuple[Frame, Tensor, Tensor] | None = None
    opening: tuple[Frame, Tensor, Tensor] | None = None
    for shown, (_, frame) in zip(moving, dreams, strict=True):
        picture = np.ascontiguousarray(shown.picture)
        source, dreamed = to_image(picture, cpu), to_image(shown.box.of(frame), cpu)
        errors: dict[str, float | None] = {}
        flicker = None
        here = (picture, source, dreamed)
        resized = last is not None and last[1].shape != source.shape  # its bars change
        if shown.motion is None or last is None or opening is None or resized:
            opening = here
        else:
            near = warp_errors(shown.motion, here, last)
            errors["warp_error"], errors["source_warp_error"] = near
            far = warp_errors(_motion_since(opening[0], picture, estimate, settings), here, opening)
            errors["long_warp_error"], errors["source_long_warp_error"] = far
            flicker = flicker_between(last, here)
        lab, source_lab = mean_lab(dreamed), mean_lab(source)
        yield FrameFigures(
            frame=shown.number,
            cut=shown.motion is None,
            strength=strength(source, dreamed, shown.number),
            judged_strength=judged(source, dreamed, shown.number) if judged is not None else None,
            sharpness=float(sharpness(dreamed) / sharpness(source).clamp_min(CRISP_AT_LEAST)),
            brightness=float(lab[0] - source_lab[0]),
            colour_drift=float(np.linalg.norm(lab - source_lab)),
            flicker=flicker,
            **{name: errors.get(name) for name in ERRORS},
        )
        last = here


ERRORS = ("warp_error", "source_warp_error", "long_warp_error", "source_long_warp_error")


def summary(figures: list[FrameFigures]) -> Measures:
    """The means of `figures`, which has one frame or more."""

    def mean(name: str) -> float | None:
        values = [value for one in figures if (value := getattr(one, name)) is not None]
        return statistics.fmean(values) if values else None

    def ratio(name: str) -> float | None:
        error, own = mean(name), mean(f"source_{name}")
        return None if error is None or own is None else error / max(own, LEVEL**2)

    return Measures(
        frames=len(figures),
        warp_error=mean("warp_error"),
        warp_error_ratio=ratio("warp_error"),
        long_warp_error=mean("long_warp_error"),
        long_warp_error_ratio=ratio("long_warp_error"),
        flicker=mean("flicker"),
        strength=mean("strength") or 0.0,
        judged_strength=mean("judged_strength"),
        sharpness=mean("sharpness") or 0.0,
        colour_drift=mean("colour_drift") or 0.0,
        brightness=mean("brightness") or 0.0,
        series=tuple(figures),
    )


def warp_errors(
    motion: Motion,
    here: tuple[Frame, Tensor, Tensor],
    there: tuple[Frame, Tensor, Tensor],
) -> tuple[float | None, float | None]:
    """The warp errors of the dream and of the source, from the frame `there` to `here` along
    `motion`.

    Frames are (source frame, source image, dreamed image). None where too little of the frame was
    visible before.
    """
    size, device = (here[1].shape[2], here[1].shape[3]), here[1].device
    seen = share_at(motion.visible, size, device)
    if float(seen.mean()) < SEEN_AT_LEAST:
        return None, None
    grid = sampling_grid(flow_at(motion.flow, size, device))

    def error(image: Tensor, before: Tensor) -> float:
        pulled = F.grid_sample(before, grid, "bilinear", "border", align_corners=False)
        return float((seen * (image - pulled) ** 2).sum() / (3 * seen.sum()))

    return error(here[2], there[2]), error(here[1], there[1])


def flicker_between(
    before: tuple[Frame, Tensor, Tensor], after: tuple[Frame, Tensor, Tensor]
) -> float | None:
    """Mean absolute change of the dream, in levels of 255, where the source stands still; None
    where too little of it does. A pixel stands still if no pixel within two of it changes."""
    changed = (after[1] - before[1]).abs().amax(1, keepdim=True) > STILL * LEVEL
    still = F.max_pool2d(changed.float(), 5, stride=1, padding=2) == 0
    if float(still.float().mean()) < SEEN_AT_LEAST:
        return None
    change = (after[2] - before[2]).abs().mean(1, keepdim=True)
    return float(change[still].mean()) / LEVEL


def mean_lab(image: Tensor) -> np.ndarray:
    """The mean colour of `image` (1, 3, H, W) in CIE 1976 Lab: (3,), float64."""
    rgb = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab).mean((0, 1), dtype=np.float64))


def strength_by(network: Network, settings: Settings) -> Callable[[Tensor, Tensor, int], float]:
    """A function from a source and its dream, images (1, 3, H, W), and the frame's number, to the
    dream's strength: its response to the terms of `settings` over the source's."""

    def strength(source: Tensor, dreamed: Tensor, number: int) -> float:
        before, after = (judged_size(image).to(network.device) for image in (source, dreamed))
        subject = Subject.of(before, number, network, settings)
        return subject.responses(after)[0] / subject.responses(before)[0]

    return strength


def describe(found: Measures) -> str:
    """`found` as text, a line for each figure."""

    def number(value: float | None, unit: str = "") -> str:
        return "cannot be measured" if value is None else f"{value:.4g}{unit}"

    def error(value: float | None, ratio: float | None) -> str:
        if value is None or ratio is None:
            return number(None)
        return f"{value:.3g}, {ratio:.3g} times the source's own"

    rows = [
        ("frames", str(found.frames)),
        ("warp error", error(found.warp_error, found.warp_error_ratio)),
        ("over a shot", error(found.long_warp_error, found.long_warp_error_ratio)),
        ("flicker", number(found.flicker, " levels where the source stands still")),
        ("strength", number(found.strength, " times the source")),
        ("as judged", number(found.judged_strength, " times the source")),
        ("sharpness", number(found.sharpness, " times the source")),
        ("colour drift", number(found.colour_drift, " (Lab)")),
        ("brightness", f"{found.brightness:+.3g} (L of Lab)"),
    ]
    if found.judged_strength is None:
        rows = [row for row in rows if row[0] != "as judged"]
    return "\n".join(f"{name:13} {value}" for name, value in rows)


def as_table(found: Measures) -> dict[str, Any]:
    """`found` as a table for JSON; the series become a list of values under each name."""
    table = asdict(found)
    names = [field.name for field in fields(FrameFigures)]
    table["series"] = {name: [getattr(one, name) for one in found.series] for name in names}
    return table


def plot(found: Measures, path: Path, replace: bool = False) -> None:
    """Draw the figures over time into the picture `path`; dotted lines are cuts.

    Raises UserError where the file cannot be written, or exists and must not be replaced.
    """
    from matplotlib.figure import Figure

    panels = {
        "warp error": ("warp_error", "source_warp_error"),
        "over a shot": ("long_warp_error", "source_long_warp_error"),
        "flicker, levels": ("flicker",),
        "strength": ("strength", "judged_strength"),
        "sharpness": ("sharpness",),
        "colour, Lab": ("colour_drift", "brightness"),
    }
    numbers = [one.frame for one in found.series]
    figure = Figure(figsize=(10, 12), layout="constrained")
    for axes, (title, names) in zip(
        figure.subplots(len(panels), sharex=True), panels.items(), strict=True
    ):
        for name in names:
            values = [getattr(one, name) for one in found.series]
            if any(value is not None for value in values):
                floats = [float("nan") if value is None else value for value in values]
                axes.plot(numbers, floats, label=name.replace("_", " "), linewidth=1.2)
        for one in found.series[1:]:
            if one.cut:
                axes.axvline(one.frame, color="grey", linestyle=":", linewidth=1)
        if "error" in title or title == "over a shot":
            axes.set_yscale("log")
        axes.set_ylabel(title)
        if axes.lines:
            axes.legend(loc="upper right", fontsize=8)
        axes.grid(alpha=0.3)
    axes.set_xlabel("frame of the source")
    save_figure(figure, path, replace)


def _motion_since(
    opening: Frame, frame: Frame, estimate: FlowEstimator, settings: Settings
) -> Motion:
    """The motion from a shot's first frame, `opening`, to `frame`, estimated at once."""
    side = settings.flow.height
    return motion_between(working_frame(opening, side), working_frame(frame, side), estimate)


def _paired(
    sources: Iterator[Frame], dreams: Iterator[Frame], source: Clip, start: int
) -> Iterator[tuple[Frame, Frame]]:
    """Pairs of a source frame and its dream. Raises UserError where one ends before the other."""
    for count in itertools.count():
        shown, dreamed = next(sources, None), next(dreams, None)
        if shown is not None and dreamed is not None:
            yield shown, dreamed
        elif shown is None and dreamed is None:
            return
        else:
            which = "source" if shown is None else "dream"
            raise UserError(
                f"the {which} ends after {count} frames, counted from frame {start} of "
                f"{source.path}, and the other goes on; if only a part was dreamed, name it with "
                "--frames A:B"
            )


def _other_count(source: Clip, dream: Path, expected: int, count: int) -> UserError:
    return UserError(
        f"{dream} has {count} frames and {source.path} {expected}; "
        "if only a part was dreamed, name it with --frames A:B"
    )
