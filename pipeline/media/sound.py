"""Music: loudness, bands, onsets and beats of a file's sound, for each frame of a video."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.opening import check_readable, misnamed, open_container, regular_file

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]  # of sound: one channel (n,), from -1 to 1

# The sound is analysed in windows, one every hop. Where no measurement or source is named, a number
# below is a round one that was chosen, not measured.
AROUND = 600  # seconds; at least so much is heard before and after what is shown: a song is whole
RATE = 22050  # samples a second, of one channel: keeps what is below 11 kHz, and so the treble band
HOP = 220  # samples between windows, 10 ms: finer than a frame at up to 100 a second
HOP_RATE = Fraction(RATE, HOP)  # hops a second, about 100.2
HOPS = float(HOP_RATE)
BLOCK = 2048  # windows transformed at once: 32 MiB of the long ones in float64
GAP = 0.02  # seconds; a shorter gap between the times in a file is rounding, a longer one silence
WINDOW = 2048  # samples, 93 ms: bins of 10.8 Hz, a dozen of them in the bass band
SHORT = 512  # samples, 23 ms: short, to find when an onset is
BANDS = {"bass": (20, 150), "mid": (150, 2000), "treble": (2000, 10_000)}  # Hz
SILENT = 1e-4  # of full scale, -80 dB: lower amplitudes are silence; dither of 16 bits is
FAINT = 0.01  # of the strongest band, -40 dB: no band reaches 1 at a lower amplitude
QUIETEST = 30.0  # decibels: widest range of loudness that is stretched over 0 to 1
FLATTEST = 6.0  # decibels: narrowest such range
RELEASE = 0.15  # seconds in which a curve falls to 1/e after its sound has ended
FLUX_BANDS = 32  # at most, of the spectral flux, even in pitch; those narrower than a bin merge
FLUX_FLOOR = 60.0  # decibels below the loudest band and window; fainter sound does not count
LEAST_RISE = 0.5  # decibels of flux; single steady tones of 40 Hz to 5 kHz ripple by up to 0.3
EARLY = 0.004  # seconds added to each beat: clicks at 60 to 200 a minute are found 3 ms early
PEAK_REACH = 0.05  # seconds before and after an onset without a stronger one
PEAK_HEIGHT = 0.1  # of the onsets' 95th percentile, below which an onset does not count
TEMPO = 120.0  # beats a minute, the likeliest tempo, as in librosa.beat.beat_track
SPREAD = 0.9  # octaves, the standard deviation of the tempo around it; librosa has 1.0
SLOWEST, FASTEST = 40.0, 240.0  # beats a minute
TIGHT = 100.0  # cost of an uneven gap, times log(gap / period)^2; librosa's default `tightness`


@dataclass(frozen=True, eq=False)
class Sound:
    """What is heard in each frame of a video.

    `curves` holds one for each name in `schedule.MUSIC`, (frames,) from 0 to 1. `beats` are in
    seconds since frame 0, from the first that is not before it. `bpm` is the number of beats in a
    minute of all that was heard, 0 where there are none.
    """

    curves: dict[str, Floats]
    beats: tuple[float, ...]
    bpm: float

    def at(self, frame: int) -> dict[str, float]:
        """The value of each curve in `frame`; 0 before the first frame and after the last."""
        heard = 0 <= frame < len(self.curves["loud"])
        return {name: float(curve[frame]) if heard else 0.0 for name, curve in self.curves.items()}


def hear(path: Path, rate: Fraction, frames: int, start: Fraction = Fraction(0)) -> Sound:
    """The sound of the file at `path`, analysed for a video of `frames` frames, `rate` a second.
    Frame 0 is at `start` seconds of the sound.

    The whole song is heard, whatever part of it is shown, and of a longer sound at least `AROUND`
    seconds before and after that part. Raises UserError where the file has no sound that can be
    decoded.
    """
    begins = max(0, start // AROUND - 1) * AROUND
    ends = (math.ceil((start + Fraction(frames) / rate) / AROUND) + 1) * AROUND
    status = regular_file(path).stat()
    heard = _analysed(path, (status.st_mtime_ns, status.st_size), begins, max(ends, begins))
    later = start - begins  # the time of frame 0 in what was heard
    edges = [math.floor((later + frame / rate) * HOP_RATE) for frame in range(frames + 1)]
    curves = {name: _per_frame(curve, edges) for name, curve in heard.curves.items()}
    beats = heard.beats - float(later)
    is_heard = np.arange(frames) < math.ceil((heard.seconds - later) * rate)
    curves["beat"] = _beat_curve(beats, rate, frames) * is_heard
    return Sound(curves, tuple(beats[beats >= 0].tolist()), _tempo(heard.beats))


@dataclass(frozen=True, eq=False)
class _Heard:
    """The sound of a file, or of a part of it: the `curves` of all but the beat, at each hop, the
    times of its `beats` and its length in `seconds`."""

    curves: dict[str, Floats]
    beats: Floats
    seconds: Fraction


@lru_cache(maxsize=2)  # a batch has many jobs with the same song
def _analysed(path: Path, stamp: tuple[int, int], begins: int, ends: int) -> _Heard:
    """The sound of the file at `path` from `begins` to `ends`, in seconds. `stamp` tells the file
    from an earlier one of its name."""
    samples = read_sound(path, Fraction(begins), Fraction(ends - begins))
    levels, flux = _levels(samples), _flux(samples)
    curves = {"loud": _loudness(levels["loud"]), **_bands(levels), "onset": _onsets(flux)}
    released = {name: _released(curve) for name, curve in curves.items()}
    return _Heard(released, _beats(flux), Fraction(len(samples), RATE))


def read_sound(path: Path, start: Fraction, seconds: Fraction) -> Samples:
    """The sound of the file at `path` from `start` on, at most so many `seconds`: one channel,
    (n,), of `RATE` samples a second. Gaps in it are silent.

    Raises UserError where the file has no sound that can be decoded.
    """
    import av

    most, ends = math.ceil(seconds * RATE), -round(start * RATE)
    samples = [np.zeros(0, np.float32)]
    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise UserError(f"{path} has no sound")
            begins = Fraction(container.start_time or 0, 1_000_000) + start
            for time, part in _parts(container):
                late = 0 if time is None else round((time - begins) * RATE) - ends
                silent = late if late > GAP * RATE else 0
                if silent > 0:
                    length = min(ends + silent, most) - max(0, ends)
                    samples.append(np.zeros(max(0, length), np.float32))
                    ends += silent
                if ends >= most:
                    break
                samples.append(part[max(0, -ends) : most - ends])
                ends += len(part)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _no_sound(path, error) from error
    found = np.concatenate(samples)
    return found if len(found) else np.zeros(1, np.float32)


def check_sound(path: Path) -> None:
    """Raise UserError where the file at `path` has no sound; nothing is decoded."""
    import av

    check_readable(path)
    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise UserError(f"{path} has no sound")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _no_sound(path, error) from error


def _no_sound(path: Path, error: Exception) -> UserError:
    other = misnamed(path, "sound", ("sound", "film"))
    reason = getattr(error, "strerror", None) or error
    return UserError(other or f"{path} has no sound that can be decoded ({reason})")


def _parts(container: Any) -> Iterator[tuple[Fraction | None, NDArray[np.float32]]]:
    """The decoded sound in parts, each with its time in the file, in seconds. Damaged packets are
    left out."""
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


def _windows(samples: Samples, length: int) -> Iterator[Floats]:
    """The windows of `samples`, one centred on each hop, in blocks (k, length)."""
    from numpy.lib.stride_tricks import sliding_window_view

    windows = sliding_window_view(np.pad(samples, length // 2), length)[::HOP]
    shape = np.hanning(length + 1)[:-1]
    for first in range(0, len(windows), BLOCK):
        yield windows[first : first + BLOCK] * shape


def _levels(samples: Samples) -> dict[str, Floats]:
    """The RMS amplitude of the whole ("loud") and of each band, at each hop."""
    edges = {"loud": (0, RATE), **BANDS}
    found: dict[str, list[Floats]] = {name: [] for name in edges}
    pitch = np.fft.rfftfreq(WINDOW, 1 / RATE)
    energy = WINDOW * float(np.square(np.hanning(WINDOW + 1)).sum()) / 2
    for block in _windows(samples, WINDOW):
        power = np.square(np.abs(np.fft.rfft(block))) / energy
        for name, (low, high) in edges.items():
            found[name].append(np.sqrt(power[:, (low <= pitch) & (pitch < high)].sum(1)))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _loudness(level: Floats) -> Floats:
    """`level` in decibels, mapped to 0 to 1: from its 5th to its 95th percentile, within the limits
    `QUIETEST` and `FLATTEST`."""
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
    """The amplitude of each band, mapped to 0 to 1 by its own percentiles; a band that is faint
    beside the strongest stays low."""
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
    low = min(low, high / 2)  # a level that never changes is mapped to 1, not to 0
    return np.clip((level - low) / (high - low), 0, 1)


def _flux(samples: Samples) -> Floats:
    """The spectral flux at each hop: by how many decibels the bands of the spectrum rise, on
    average, less the usual rise in the second around."""
    edges = np.geomspace(30, RATE / 2, FLUX_BANDS + 1) * SHORT / RATE
    starts = np.unique(np.round(edges).astype(int))[:-1]
    blocks = [
        np.add.reduceat(np.square(np.abs(np.fft.rfft(block))), starts, axis=1)
        for block in _windows(samples, SHORT)
    ]
    power = np.concatenate([np.zeros((1, len(starts))), *blocks])
    silence = (SILENT * SHORT / 4) ** 2  # the power of a tone of that amplitude
    floor = max(float(power.max()) * 10 ** (-FLUX_FLOOR / 10), silence)
    rise = np.diff(10 * np.log10(np.maximum(power, floor)), axis=0)
    flux = np.maximum(rise, 0).mean(1)
    usual = _smoothed(flux, np.ones(round(HOPS) | 1))
    return np.maximum(flux - usual - LEAST_RISE, 0)


def _smoothed(curve: Floats, shape: Floats) -> Floats:
    """The moving average of `curve` with the weights `shape`, whose number is odd."""
    return np.convolve(curve, shape / shape.sum())[len(shape) // 2 :][: len(curve)]


def _onsets(flux: Floats) -> Floats:
    """The strength of the onset at each hop, up to 1; 0 where there is none."""
    peaks = _peaks(flux)
    onsets = np.zeros_like(flux)
    if len(peaks):
        full = np.percentile(flux[peaks], 95)
        onsets[peaks] = np.clip(flux[peaks] / full, 0, 1)
        onsets[onsets < PEAK_HEIGHT] = 0
    return onsets


def _peaks(flux: Floats) -> NDArray[np.intp]:
    """The hops at which `flux` is highest within `PEAK_REACH`."""
    from numpy.lib.stride_tricks import sliding_window_view

    reach = round(PEAK_REACH * HOPS)
    around = sliding_window_view(np.pad(flux, reach), 2 * reach + 1).max(1)
    found = np.flatnonzero((flux > 0) & (flux == around))
    return found[np.diff(found, prepend=-reach) > 1]


def _released(curve: Floats) -> Floats:
    """`curve` with a slow fall: it rises at once and decays over `RELEASE`."""
    kept, last, found = math.exp(-1 / (RELEASE * HOPS)), 0.0, []
    for value in curve.tolist():
        last = max(value, last * kept)
        found.append(last)
    return np.array(found)


def _per_frame(curve: Floats, edges: list[int]) -> Floats:
    """The highest value of `curve` while each frame is shown, (frames,): from one of the hops
    `edges`, (frames + 1,), to the next; 0 before its beginning and after its end."""
    found = np.zeros(len(edges) - 1)
    starts = np.array(edges[:-1], dtype=int)
    inside = np.flatnonzero((starts >= 0) & (starts < len(curve)))
    if len(inside):
        last = inside[-1]
        heard = curve[: max(edges[last] + 1, edges[last + 1])]
        found[inside] = np.maximum.reduceat(heard, starts[inside])
    return found


def _beats(flux: Floats) -> Floats:
    """The times of the beats, in seconds: the sequence that best keeps the tempo and meets the
    onsets (Ellis, Beat Tracking by Dynamic Programming, 2007)."""
    period = _period(flux)
    if period is None:
        return np.zeros(0)
    reach = max(1, round(period / 32))
    strength = _smoothed(flux / flux.std(), np.hanning(4 * reach + 3)[1:-1])
    places = _chain(strength, period)
    strong = strength[places] >= np.sqrt(np.mean(np.square(strength[places]))) / 2
    sounding = np.flatnonzero(strong)  # weak beats at both ends are dropped
    places = places[sounding[0] : sounding[-1] + 1]
    return places / HOPS + EARLY if len(places) > 1 else np.zeros(0)


def _period(flux: Floats) -> float | None:
    """The hops from one beat to the next; None where nothing repeats."""
    longest = math.ceil(60 * HOPS / SLOWEST)
    if not flux.any() or len(flux) < longest:
        return None
    blurred = _smoothed(flux, np.hanning(7)[1:-1])
    size = 2 ** math.ceil(math.log2(2 * len(flux)))
    alike = np.fft.irfft(np.square(np.abs(np.fft.rfft(blurred - blurred.mean(), size))))
    lags = np.arange(1, 2 * longest + 1)
    octaves = np.log2(60 * HOPS / lags / TEMPO)
    likely = np.maximum(alike[lags], 0) * np.exp(-np.square(octaves / SPREAD) / 2)
    # A rhythm repeats at twice its period as well: half of the evidence for the double counts for
    # the single.
    single = lags[math.floor(60 * HOPS / FASTEST) - 1 : longest]
    chances = likely[single - 1] + likely[2 * single - 1] / 2
    best = int(chances.argmax())
    return float(single[best]) if chances[best] > 0 else None


def _chain(strength: Floats, period: float) -> NDArray[np.intp]:
    """The hops of the best chain of beats. The score of a hop is its own strength, plus the score
    of the best chain before it, less the cost of an uneven gap."""
    gaps = np.arange(round(period / 2), round(2 * period) + 1)
    cost = TIGHT * np.square(np.log(gaps / period))
    score, before = strength.copy(), np.full(len(strength), -1)
    for hop in range(len(strength)):
        earlier = hop - gaps[gaps <= hop]
        if len(earlier):
            chances = score[earlier] - cost[: len(earlier)]
            best = int(chances.argmax())
            if chances[best] > 0:
                score[hop] += chances[best]
                before[hop] = earlier[best]
    last = max(0, len(score) - round(period))
    places = [last + int(score[last:].argmax())]
    while before[places[-1]] >= 0:
        places.append(int(before[places[-1]]))
    return np.array(places[::-1])


def _tempo(beats: Floats) -> float:
    """The beats a minute that fit `beats` best, by least squares; 0 for fewer than two."""
    if len(beats) < 2:
        return 0.0
    numbers = np.arange(len(beats)) - (len(beats) - 1) / 2
    return 60 / float((numbers * beats).sum() / np.square(numbers).sum())


def _beat_curve(beats: Floats, rate: Fraction, frames: int) -> Floats:
    """The beat curve, (frames,): 1 in the frame of each beat, falling to 0 at the next."""
    curve = np.zeros(frames)
    if len(beats):
        ends = [*beats[1:], beats[-1] + float(np.median(np.diff(beats)))]
        for beat, end in zip(beats, ends, strict=True):
            first, last = round(beat * float(rate)), round(end * float(rate))
            fall = np.square(1 - np.arange(last - first) / max(1, last - first))
            shown = slice(max(0, first), max(0, min(last, frames)))
            curve[shown] = fall[shown.start - first : max(0, shown.stop - first)]
    return curve
