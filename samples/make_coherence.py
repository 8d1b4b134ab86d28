"""Measure how steady dreams are in motion, on generated footage and, if given, on real clips.

    python samples/make_coherence.py [table] [steady] [cuts] [uncovered] [picture]
        [--clips FOLDER] [--weights BVLC_GOOGLENET] [--judge SQUEEZENET1_1] [--into README.md]

Prints Markdown: `table` compares dreaming frame by frame, the linear blend of other tools, and
Dreamreel; `steady` measures a thousand frames of a still and of a slow pan; `cuts` the strength
after each cut of a clip that also has a fade and a flash; `uncovered` the strength of a wall that a
sliding card uncovers. `picture` writes `coherence.jpg` and `coherence.gif` beside this file.
Without names, all are made. `--judge` adds the strength that a second network measures. `--into`
also writes the printed text into a file, between its marks.
"""

import argparse
import contextlib
import io
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from make_results import label, put_into, write_gif
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import dream_video
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.judging.video_figures import (
    FrameFigures,
    Measures,
    Seer,
    measure_frames,
    summary,
)
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.reading import prefetch, read_frames, resized
from dreamreel.pipeline.motion.following import MovingFrame, follow_motion
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import to_frame, to_image
from dreamreel.pipeline.zooming.grain import noise

HERE = Path(__file__).resolve().parent
CPU = torch.device("cpu")
WIDTH, FRAMES = 480, 48  # pixels, and frames of each clip; not tuned
CLIPS = ("volcano", "cockatoo", "flower", "chaplin", "bunny")
LAYERS = {"dreamnet": "parts", "bvlc_googlenet": "inception_4c"}
RAW_SHARE = 0.85  # of the new frame in the linear blend, as the tools that blend have it
RATE = Fraction(25)  # frames per second of generated clips; a usual rate

Dreaming = Callable[[Iterable[Frame], Fraction, Network, Settings], Iterator[Tensor]]


@dataclass(frozen=True)
class Given:
    """The folder of real clips and the weights that were given, if any."""

    clips: Path | None
    weights: Path | None
    judge: Path | None


@dataclass(frozen=True)
class Shown:
    """A dreamed clip: its frames, its figures, and the seconds that one frame took."""

    dreams: list[Frame]
    found: Measures
    seconds: float


def ours(
    frames: Iterable[Frame], rate: Fraction, network: Network, settings: Settings
) -> Iterator[Tensor]:
    """The dreams of `frames`, carried along the flow."""
    moving: Iterable[MovingFrame] = prefetch(follow_motion(frames, rate, settings))
    return dream_video(moving, network, constant(settings))


def alone(
    frames: Iterable[Frame], rate: Fraction, network: Network, settings: Settings
) -> Iterator[Tensor]:
    """The dreams of `frames`, each dreamed like a still."""
    return ours(frames, rate, network, build_on(settings, {"flow": {"method": "none"}}))


def blended(
    frames: Iterable[Frame], rate: Fraction, network: Network, settings: Settings
) -> Iterator[Tensor]:
    """The dreams of `frames`, each blended with the dream before it and dreamed like a still."""
    last: Tensor | None = None
    for number, frame in enumerate(frames):
        image = to_image(frame, network.device)
        start = image if last is None else image.lerp(last, 1 - RAW_SHARE)
        subject = Subject.of(image, number, network, settings)
        last = subject.dreamed(start, subject.still)
        yield last


WAYS: dict[str, Dreaming] = {
    "frame by frame": alone,
    "linear blend": blended,
    "**Dreamreel**": ours,
}


def build_on(settings: Settings, table: dict[str, object]) -> Settings:
    """`settings`, overridden by those in `table`."""
    return build(("these", settings.model_dump(exclude_none=True)), ("those", table))


def show(
    frames: list[Frame],
    rate: Fraction,
    network: Network,
    settings: Settings,
    way: Dreaming,
    judge: Seer | None = None,
) -> Shown:
    """Dream `frames` in one `way`; the result is timed and measured."""
    dreams, began = [], time.perf_counter()
    for image in way(frames, rate, network, settings):
        dreams.append(to_frame(image))
    seconds = (time.perf_counter() - began) / len(frames)
    return Shown(dreams, figures(frames, dreams, rate, network, settings, judge), seconds)


def figures(
    frames: Iterable[Frame],
    dreams: Iterable[Frame],
    rate: Fraction,
    network: Network,
    settings: Settings,
    judge: Seer | None = None,
) -> Measures:
    """The figures of the `dreams` of `frames`."""
    seer = (network, settings)
    pairs = zip(frames, dreams, strict=True)
    return summary(list(measure_frames(pairs, rate, seer, settings, judge)))


def networks(weights: Path | None) -> Iterator[tuple[Network, Settings]]:
    """dreamnet and, if there are `weights`, bvlc_googlenet, each with settings for its layer."""
    for name, layer in LAYERS.items():
        if name == "dreamnet" or weights is not None:
            network = load_network(name, None if name == "dreamnet" else weights)
            yield network, build(("these", {"dream": {"terms": layer}}))


def judging(weights: Path | None) -> Seer | None:
    """The network that measures strength and dreams nothing; None without `weights`."""
    if weights is None:
        return None
    network = load_network("squeezenet1_1", weights)
    return network, Settings()


def footage(clips: Path | None) -> Iterator[tuple[str, Path]]:
    """The name and path of the generated clip, and of the CLIPS in the folder `clips`."""
    yield "clouds (ours)", HERE / "clouds.mp4"
    for name in CLIPS if clips is not None else ():
        assert clips is not None
        yield from ((name, path) for path in sorted(clips.glob(f"{name}_*"))[:1])


def table(given: Given) -> None:
    """Print a table of every network, clip and way of dreaming."""
    print(
        f"The first {FRAMES} frames at {WIDTH} wide, 4 octaves, `parts` of `dreamnet` and "
        "`inception_4c` of\n`bvlc_googlenet`; strength (*judged*: as `squeezenet1_1` sees it) "
        "and time a frame against dreaming\nevery frame alone (10 steps an octave):"
        "\n"
    )
    print(
        "| network | clip | way | warp error, times the source's | over the shot | strength "
        "| judged | sharpness | colour drift | time |"
    )
    print("|---" * 10 + "|")
    judge = judging(given.judge)
    for network, settings in networks(given.weights):
        for name, path in footage(given.clips):
            if path.parent == HERE and network.name != "dreamnet":
                continue
            frames = list(resized(read_frames(path, 0, FRAMES), WIDTH))
            rate = probe(path).rate
            first: Shown | None = None
            for title, way in WAYS.items():
                if title == "linear blend" and path.parent != HERE:
                    continue
                shown = show(frames, rate, network, settings, way, judge)
                first = first or shown
                print(row(network.name, name, title, shown, first), flush=True)


def row(network: str, clip: str, way: str, shown: Shown, first: Shown) -> str:
    """A row of the table: the figures of `shown`, some relative to those of `first`."""
    found, base = shown.found, first.found.judged_strength
    judged = f"{(found.judged_strength or 0) / base:.2f}" if base else ""
    return (
        f"| {network} | {clip} | {way} | {found.warp_error_ratio:.3g} "
        f"| {found.long_warp_error_ratio:.3g} | {found.strength / first.found.strength:.2f} "
        f"| {judged} | {found.sharpness:.2f} | {found.colour_drift:.2f} "
        f"| {shown.seconds / first.seconds:.2f} |"
    )


def textured(seed: int, size: tuple[int, int], tone: tuple[int, int, int]) -> Frame:
    """A wall of `size` (height, width): noise at all scales about the colour `tone`, BGR."""
    image = noise(size, seed, CPU)
    return to_frame(
        (
            image
            - image.mean((2, 3), keepdim=True)
            + torch.tensor(tone).flip(0).view(1, 3, 1, 1) / 255
        ).clamp(0, 1)
    )


def steady(given: Given) -> None:
    """Print how strength, sharpness and colour change over a thousand frames of a still or pan."""
    network, settings = next(networks(None))
    size, count = (144, 256), 1000
    photo = cv2.resize(
        cv2.imread(str(HERE / "clouds.jpg")), size[::-1], interpolation=cv2.INTER_AREA
    )
    wide = textured(3, (size[0], size[1] + count // 2), (110, 120, 130))

    def pan() -> Iterator[Frame]:
        for number in range(count):
            move = np.array([[1, 0, -number / 2], [0, 1, 0]], np.float32)
            yield np.asarray(cv2.warpAffine(wide, move, size[::-1], flags=cv2.INTER_CUBIC))

    print(
        f"\n{count:,} frames of {size[1]}x{size[0]}; strength and sharpness against the first "
        "frame's, each second's mean:\n"
    )
    print("| clip | strength | sharpness | colour drift | brightness |\n|---|---|---|---|---|")
    for name, frames in (("a still", itertools.repeat(photo, count)), ("a slow pan", pan())):
        sources, seen = itertools.tee(frames)
        dreams = (to_frame(image) for image in ours(sources, RATE, network, settings))
        series = figures(seen, dreams, RATE, network, settings).series
        strengths = over_seconds([one.strength for one in series])
        crisp = over_seconds([one.sharpness for one in series])
        light = over_seconds([one.brightness for one in series])
        print(
            f"| {name} | {span(strengths, series[0].strength)} "
            f"| {span(crisp, series[0].sharpness)} "
            f"| at most {max(one.colour_drift for one in series):.2f} "
            f"| {min(light):+.2f} to {max(light):+.2f} |",
            flush=True,
        )


def over_seconds(values: list[float]) -> list[float]:
    """The means of `values` over each second; the first value is left out."""
    count = int(RATE)
    return [statistics.fmean(values[i : i + count]) for i in range(1, len(values) - count, count)]


def span(values: list[float], first: float) -> str:
    """The range of `values` relative to `first`, in per cent."""
    low, high = (100 * (end / first - 1) for end in (min(values), max(values)))
    return f"{low:+.0f} % to {high:+.0f} %"


def cuts(given: Given) -> None:
    """Print the strength of the first frames of each shot relative to its last ones."""
    network, settings = next(networks(None))
    settings = build_on(settings, {"shots": {"min_seconds": 0.4}})
    print(
        "\nCuts, in a clip of ours that also fades (58 to 81) and flashes (94, 95), and in real "
        "footage; the\nstrength of the three frames after each, against that of the shot's last "
        "three (frame by frame, it\nis the footage's own). A fade through black is a cut; the shot "
        "before it ends in black, where the\nfigure tells nothing:\n"
    )
    print("| clip | cut at | strength after it | frame by frame |\n|---|---|---|---|")
    generated = cut_clip()
    sources = [("generated", generated, RATE)]
    for path in sorted(given.clips.glob("bikes_*")) if given.clips is not None else []:
        sources.append(("bikes", list(resized(read_frames(path), 320)), probe(path).rate))
    for name, frames, rate in sources:
        found = [show(frames, rate, network, settings, way).found.series for way in (ours, alone)]
        starts = [one.frame for one in found[0] if one.cut] + [len(frames)]
        for begin, end in pairwise(starts):
            ratios = [f"{early_to_late(series[begin:end]):.2f}" for series in found]
            print(f"| {name} | {begin} | {' | '.join(ratios)} |", flush=True)


def early_to_late(shot: Sequence[FrameFigures]) -> float:
    """The strength of the first three frames of a shot relative to its last three."""
    early, late = (statistics.fmean(one.strength for one in part) for part in (shot[:3], shot[-3:]))
    return early / late


def cut_clip() -> list[Frame]:
    """Four shots that pan: cuts at 24 and 48, a fade through black from 58 to 81, a flash at 94."""
    walls = [
        textured(seed, (144, 400), tone)
        for seed, tone in enumerate(
            [(90, 120, 160), (150, 110, 80), (100, 140, 100), (120, 90, 140)], 11
        )
    ]
    shot = [[wall[:, 2 * i : 2 * i + 256] for i in range(60)] for wall in walls]
    out = [
        np.uint8(frame * share)
        for frame, share in zip(shot[2][10:22], np.linspace(1, 0, 12), strict=True)
    ]
    back = [
        np.uint8(frame * share)
        for frame, share in zip(shot[3][:12], np.linspace(0, 1, 12), strict=True)
    ]
    flash = [np.full_like(shot[3][0], 255)] * 2
    return [
        *shot[0][:24],
        *shot[1][:24],
        *shot[2][:10],
        *out,
        *back,
        *shot[3][12:24],
        *flash,
        *shot[3][26:44],
    ]


def uncovered(given: Given) -> None:
    """Print the strength of a wall, by frames since a card uncovered it, relative to the wall
    beside it. Each place is compared with stills of the bare wall, because strength depends on
    what is there."""
    print(
        "\nA card slides off a wall, 24 pixels a frame at 480x270; the strength of what it "
        "uncovered *k* frames\nago, against the wall beside it:\n"
    )
    print("| network | " + " | ".join(f"k = {age}" for age in range(7)) + " |\n" + "|---" * 8 + "|")
    for network, settings in networks(given.weights):
        ratios: dict[int, list[float]] = {age: [] for age in range(7)}
        for seed in (1, 5):
            for age, ratio in uncovered_by_age(network, settings, seed):
                ratios[age].append(ratio)
        cells = " | ".join(f"{statistics.fmean(values):.2f}" for values in ratios.values())
        print(f"| {network.name} | {cells} |", flush=True)


def uncovered_by_age(
    network: Network, settings: Settings, seed: int
) -> Iterator[tuple[int, float]]:
    """For each uncovered strip: (frames since then, strength relative to the wall beside it)."""
    wall, card = (
        textured(s, (270, 480), tone)
        for s, tone in ((seed, (110, 120, 130)), (seed + 1, (150, 120, 90)))
    )
    still, speed, count = 5, 24, 15
    lefts = [220 + speed * max(0, number - still) for number in range(count + 1)]
    frames = []
    for left in lefts[:-1]:
        frame = wall.copy()
        frame[:, left:] = card[:, : max(0, 480 - left)]
        frames.append(frame)

    def columns(image: Tensor) -> Tensor:
        (layer,) = settings.dream.terms
        with torch.no_grad():
            return network.activations(image, [layer])[layer].float().square().mean((0, 1, 2)).cpu()

    bare = to_image(wall, network.device)
    subjects = [Subject.of(bare, number, network, settings) for number in range(3)]
    stills = [columns(subject.dreamed(bare, subject.still)) for subject in subjects]
    reference = torch.stack(stills).mean(0)
    x = (torch.arange(len(reference)) + 0.5) * 480 / len(reference)
    beside = x < 160
    for number, image in enumerate(ours(frames, RATE, network, settings)):
        found = columns(image)
        for age in range(min(7, number - still)):
            strip = (x >= lefts[number - age - 1]) & (x < min(480, lefts[number - age]))
            if strip.any():
                yield (
                    age,
                    float(
                        (found[strip].mean() / reference[strip].mean())
                        / (found[beside].mean() / reference[beside].mean())
                    ),
                )


def picture(given: Given) -> None:
    """Write neighbouring frames of every way of dreaming, side by side, and a short GIF of them."""
    network, settings = next(networks(None))
    path, start, stop = HERE / "clouds.mp4", 60, 100
    frames = list(resized(read_frames(path, start, stop), 360))
    rate = probe(path).rate
    shown = {title: show(frames, rate, network, settings, way) for title, way in WAYS.items()}
    rows = []
    for number in (30, 31):
        rows.append(
            np.hstack([label(one.dreams[number], name.strip("*")) for name, one in shown.items()])
        )
    changes = [
        np.uint8(np.clip(np.abs(one.dreams[31].astype(int) - one.dreams[30]) * 3, 0, 255))
        for one in shown.values()
    ]
    texts = [f"change x3; E/E source {one.found.warp_error_ratio:.1f}" for one in shown.values()]
    rows.append(np.hstack([label(one, text) for one, text in zip(changes, texts, strict=True)]))
    cv2.imwrite(str(HERE / "coherence.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])
    triples = zip(*(one.dreams[26:] for one in shown.values()), strict=True)
    small = [
        [cv2.resize(one, (200, 112), interpolation=cv2.INTER_AREA) for one in triple]
        for triple in triples
    ]
    write_gif(HERE / "coherence.gif", [np.hstack(triple) for triple in small], 12)


SHOWN = {
    "table": table,
    "steady": steady,
    "cuts": cuts,
    "uncovered": uncovered,
    "picture": picture,
}


class Both(io.StringIO):
    """A text buffer that also writes to the terminal."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)
        sys.__stdout__.flush()
        return super().write(text)


def main() -> None:
    """Make the named parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*SHOWN, []])
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(Both()) as printed:
        for name in arguments.names or SHOWN:
            SHOWN[name](Given(arguments.clips, arguments.weights, arguments.judge))
    if arguments.into is not None:
        put_into(arguments.into, printed.getvalue())


if __name__ == "__main__":
    main()
