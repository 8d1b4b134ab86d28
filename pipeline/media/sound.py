"""Music: what a file's sound does in each frame of a video, and when its beats are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.opening import open_container

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]  # of sound: one channel (n,), from -1 to 1

RATE = 22050  # samples a second, of one channel
HOP = 220  # samples from one look at the sound to the next
LOOK_RATE = Fraction(RATE, HOP)  # looks a second
LOOKS = float(LOOK_RATE)
BLOCK = 2048  # looks at once
GAP = 0.02  # seconds that the file's times must leave out for silence; less is their rounding
WINDOW, SHORT = 2048, 512  # samples: long enough to tell bass from mid; short enough to tell when
BANDS = {"bass": (20, 150), "mid": (150, 2000), "treble": (2000, 10_000)}  # Hz
SILENT = 1e-4  # amplitude of full scale, -80 dB, below which is silence
FAINT = 0.01  # of the strongest band, -40 dB, at which another one reaches its 1 at the least
QUIETEST, FLATTEST = 30.0, 6.0  # decibels of loudness from 0 to 1: at most, and at least
RELEASE = 0.15  # seconds in which what is no longer heard falls to a third
FLUX_BANDS, FLUX_FLOOR = 32, 60.0  # bands; decibels under the loudest, below which nothing counts
LEAST_RISE = 0.5  # decibels: a steady tone's own ripple is below
EARLY = 0.004  # seconds by which a window sees a click before its middle does, measured
PEAK_REACH = 0.05  # seconds before and after an onset that have none stronger
PEAK_HEIGHT = 0.1  # of the strong ones, below which it is none
TEMPO, SPREAD = 120.0, 0.9  # beats a minute that are likeliest, and how many octaves about them
SLOWEST, FASTEST = 40.0, 240.0  # beats a minute
TIGHT = 100.0  # what it costs a beat to be early or late


@dataclass(frozen=True, eq=False)
class Sound:
    """What is heard in each frame of a video: a curve for each of `schedule.MUSIC`, from 0 to 1;
    when the beats are, in seconds since frame 0, and how many there are in a minute, 0 where there
    are none."""

    curves: dict[str, Floats]
    beats: tuple[float, ...]
    bpm: float

    def at(self, frame: int) -> dict[str, float]:
        """The values in `frame`; nothing is heard before the first and after the last."""
        heard = 0 <= frame < len(self.curves["loud"])
        return {name: float(curve[frame]) if heard else 0.0 for name, curve in self.curves.items()}


def hear(path: Path, rate: Fraction, frames: int, start: Fraction = Fraction(0)) -> Sound:
    """The sound of the file at `path` as `frames` frames of a video hear it, `rate` a second, the
    first at `start`, in seconds.

    Raises UserError where there is none that can be decoded.
    """
    samples = read_sound(path, start, Fraction(frames) / rate)
    levels, flux = _levels(samples), _flux(samples)
    beats = _beats(flux)
    curves = {"loud": _loudness(levels["loud"]), **_bands(levels), "onset": _onsets(flux)}
    curves = {name: _shown(_released(curve), rate, frames) for name, curve in curves.items()}
    heard = math.ceil(len(samples) * rate / RATE)
    curves["beat"] = _beat_curve(beats, rate, frames) * (np.arange(frames) < heard)
    return Sound(curves, tuple(beats.tolist()), _tempo(beats))


def read_sound(path: Path, start: Fraction, seconds: Fraction) -> Samples:
    """At most so many `seconds` of the sound of the file at `path`, from `start` on: one channel
    (n,), `RATE` a second. Raises UserError where there is none that can be decoded."""
    import av

    samples, ends = np.zeros(math.ceil(seconds * RATE), np.float32), -round(start * RATE)
    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise UserError(f"{path} has no sound")
            begins = Fraction(container.start_time or 0, 1_000_000) + start
            for time, part in _parts(container):
                late = 0 if time is None else round((time - begins) * RATE) - ends
                ends += late if late > GAP * RATE else 0
                if ends >= len(samples):
                    break
                kept = part[max(0, -ends) : len(samples) - ends]
                samples[max(0, ends) : max(0, ends) + len(kept)] = kept
                ends += len(part)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} has no sound that can be decoded ({reason})") from error
    return samples[: max(1, ends)]  # of nothing, one that is silent


def _parts(container: Any) -> Iterator[tuple[Fraction | None, NDArray[np.float32]]]:
    """The sound bit by bit, each with its time in the file; what is damaged is left out."""
    import av

    resampler = av.AudioResampler("flt", "mono", RATE)
    for packet in container.demux(container.streams.audio[0]):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        for frame in [*decoded, *([None] if packet.dts is None else [])]:
            for part in resampler.resample(frame):
                time = None if part.pts is None else part.pts * part.time_base
                yield time, part.to_ndarray()[0]


def _looks(samples: Samples, length: int) -> Iterator[Floats]:
    """Blocks (k, length) of windows of the sound, one about each look's moment."""
    from numpy.lib.stride_tricks import sliding_window_view

    windows = sliding_window_view(np.pad(samples, length // 2), length)[::HOP]
    shape = np.hanning(length + 1)[:-1]
    for first in range(0, len(windows), BLOCK):
        yield windows[first : first + BLOCK] * shape


def _levels(samples: Samples) -> dict[str, Floats]:
    """The RMS amplitude of the whole, and of each band, at each look."""
    edges = {"loud": (0, RATE), **BANDS}
    found: dict[str, list[Floats]] = {name: [] for name in edges}
    pitch = np.fft.rfftfreq(WINDOW, 1 / RATE)
    energy = WINDOW * float(np.square(np.hanning(WINDOW + 1)).sum()) / 2
    for block in _looks(samples, WINDOW):
        power = np.square(np.abs(np.fft.rfft(block))) / energy
        for name, (low, high) in edges.items():
            found[name].append(np.sqrt(power[:, (low <= pitch) & (pitch < high)].sum(1)))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _loudness(level: Floats) -> Floats:
    """From 0, the quietest that counts, to 1, in decibels."""
    sounding = level[level > SILENT]
    if not sounding.size:
        return np.zeros_like(level)
    least = _decibels(np.float64(SILENT))
    quiet, loud = _decibels(np.percentile(sounding, [5, 95]))
    loud = max(loud, least + FLATTEST)
    quiet = max(least, min(max(quiet, loud - QUIETEST), loud - FLATTEST))
    return np.clip((_decibels(np.maximum(level, SILENT)) - quiet) / (loud - quiet), 0, 1)


def _decibels(amplitude: Any) -> Any:
    return 20 * np.log10(amplitude)


def _bands(levels: dict[str, Floats]) -> dict[str, Floats]:
    """The bands' amplitudes, each from 0 to 1; one that is faint beside the others stays low."""
    sounding = levels["loud"] > SILENT
    if not sounding.any():
        return {name: np.zeros_like(levels[name]) for name in BANDS}
    lows, highs = np.percentile([levels[name][sounding] for name in BANDS], [5, 95], axis=1)
    least = max(SILENT, FAINT * float(highs.max()))
    return {
        name: _between(levels[name], low, max(high, least))
        for name, low, high in zip(BANDS, lows.tolist(), highs.tolist(), strict=True)
    }


def _between(level: Floats, low: float, high: float) -> Floats:
    low = min(low, high / 2)  # what never changes is there all the time
    return np.clip((level - low) / (high - low), 0, 1)


def _flux(samples: Samples) -> Floats:
    """How much, in decibels, the bands of a spectrum rise from look to look, on average, over what
    is usual about there."""
    edges = np.geomspace(30, RATE / 2, FLUX_BANDS + 1) * SHORT / RATE
    starts = np.unique(np.round(edges).astype(int))[:-1]
    blocks = [
        np.add.reduceat(np.square(np.abs(np.fft.rfft(block))), starts, axis=1)
        for block in _looks(samples, SHORT)
    ]
    power = np.concatenate([np.zeros((1, len(starts))), *blocks])
    silence = (SILENT * SHORT / 4) ** 2  # the power of a tone so faint
    floor = max(float(power.max()) * 10 ** (-FLUX_FLOOR / 10), silence)
    rise = np.diff(10 * np.log10(np.maximum(power, floor)), axis=0)
    flux = np.maximum(rise, 0).mean(1)
    usual = _smoothed(flux, np.ones(round(LOOKS) | 1))
    return np.maximum(flux - usual - LEAST_RISE, 0)


def _smoothed(curve: Floats, shape: Floats) -> Floats:
    """`curve`, averaged with the weights `shape`, an odd count of them."""
    return np.convolve(curve, shape / shape.sum())[len(shape) // 2 :][: len(curve)]


def _onsets(flux: Floats) -> Floats:
    """At each look where something sets in, how strongly, up to 1."""
    peaks = _peaks(flux)
    onsets = np.zeros_like(flux)
    if len(peaks):
        full = np.percentile(flux[peaks], 95)
        onsets[peaks] = np.clip(flux[peaks] / full, 0, 1)
        onsets[onsets < PEAK_HEIGHT] = 0
    return onsets


def _peaks(flux: Floats) -> NDArray[np.intp]:
    """The looks at which `flux` is highest round about."""
    from numpy.lib.stride_tricks import sliding_window_view

    reach = round(PEAK_REACH * LOOKS)
    around = sliding_window_view(np.pad(flux, reach), 2 * reach + 1).max(1)
    found = np.flatnonzero((flux > 0) & (flux == around))
    return found[np.diff(found, prepend=-reach) > 1]


def _released(curve: Floats) -> Floats:
    """`curve`, which it follows up at once, and down slowly."""
    kept, last, found = math.exp(-1 / (RELEASE * LOOKS)), 0.0, []
    for value in curve.tolist():
        last = max(value, last * kept)
        found.append(last)
    return np.array(found)


def _shown(curve: Floats, rate: Fraction, frames: int) -> Floats:
    """The highest of `curve` while each frame is shown; nothing after its end."""
    step = LOOK_RATE / rate
    starts = np.array([math.floor(frame * step) for frame in range(frames)], dtype=int)
    starts = starts[starts < len(curve)]
    highest = np.maximum.reduceat(curve, starts) if len(starts) else np.zeros(0)
    if len(starts):
        highest[-1] = curve[starts[-1] : starts[-1] + math.ceil(step)].max()
    return np.pad(highest, (0, frames - len(highest)))


def _beats(flux: Floats) -> Floats:
    """When the beats are, in seconds: as even as the tempo, and as much on what sets in, as can be
    (Ellis, Beat Tracking by Dynamic Programming, 2007)."""
    period = _period(flux)
    if period is None:
        return np.zeros(0)
    reach = max(1, round(period / 32))
    strength = _smoothed(flux / flux.std(), np.hanning(4 * reach + 3)[1:-1])
    places = _chain(strength, period)
    strong = strength[places] >= np.sqrt(np.mean(np.square(strength[places]))) / 2
    sounding = np.flatnonzero(strong)  # before the first and after the last strong one is none
    places = places[sounding[0] : sounding[-1] + 1]
    return places / LOOKS + EARLY if len(places) > 1 else np.zeros(0)


def _period(flux: Floats) -> float | None:
    """Looks from beat to beat; None where nothing comes again."""
    longest = math.ceil(60 * LOOKS / SLOWEST)
    if not flux.any() or len(flux) < longest:
        return None
    blurred = _smoothed(flux, np.hanning(7)[1:-1])
    size = 2 ** math.ceil(math.log2(2 * len(flux)))
    alike = np.fft.irfft(np.square(np.abs(np.fft.rfft(blurred - blurred.mean(), size))))
    lags = np.arange(1, 2 * longest + 1)
    octaves = np.log2(60 * LOOKS / lags / TEMPO)
    likely = np.maximum(alike[lags], 0) * np.exp(-np.square(octaves / SPREAD) / 2)
    # A beat's double comes again as surely as it does: half of what speaks for that speaks for it.
    single = lags[math.floor(60 * LOOKS / FASTEST) - 1 : longest]
    chances = likely[single - 1] + likely[2 * single - 1] / 2
    best = int(chances.argmax())
    return float(single[best]) if chances[best] > 0 else None


def _chain(strength: Floats, period: float) -> NDArray[np.intp]:
    """The looks of the best chain of beats: each look's score is its own strength and that of the
    best chain before it, less what an uneven gap costs."""
    gaps = np.arange(round(period / 2), round(2 * period) + 1)
    cost = TIGHT * np.square(np.log(gaps / period))
    score, before = strength.copy(), np.full(len(strength), -1)
    for look in range(len(strength)):
        earlier = look - gaps[gaps <= look]
        if len(earlier):
            chances = score[earlier] - cost[: len(earlier)]
            best = int(chances.argmax())
            if chances[best] > 0:
                score[look] += chances[best]
                before[look] = earlier[best]
    last = max(0, len(score) - round(period))
    places = [last + int(score[last:].argmax())]
    while before[places[-1]] >= 0:
        places.append(int(before[places[-1]]))
    return np.array(places[::-1])


def _tempo(beats: Floats) -> float:
    """Beats a minute: those that fit `beats` best."""
    if len(beats) < 2:
        return 0.0
    numbers = np.arange(len(beats)) - (len(beats) - 1) / 2
    return 60 / float((numbers * beats).sum() / np.square(numbers).sum())


def _beat_curve(beats: Floats, rate: Fraction, frames: int) -> Floats:
    """1 in the frame of each beat, falling to 0 where the next is."""
    curve = np.zeros(frames)
    if len(beats):
        ends = [*beats[1:], beats[-1] + float(np.median(np.diff(beats)))]
        for beat, end in zip(beats, ends, strict=True):
            first, last = round(beat * float(rate)), round(end * float(rate))
            fall = np.square(1 - np.arange(last - first) / max(1, last - first))
            curve[first:last] = fall[: max(0, frames - first)]
    return curve
