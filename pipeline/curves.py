"""What schedules make of settings over time: the moments of a render, a table, a picture."""

import io
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.images import write_new
from dreamreel.pipeline.music import Sound
from dreamreel.pipeline.schedule import Moment
from dreamreel.pipeline.settings import Settings, value_of

Curves = dict[str, list[float]]  # by the name of what changes, its value in each frame


def moment_of(frame: int, frames: int, fps: Fraction, sound: Sound | None) -> Moment:
    """The moment of the `frame` of that number, of so many, and what is heard in it."""
    if sound is None:
        return Moment(frame, frames, fps)
    return Moment(frame, frames, fps, sound.at(frame), sound.beats)


def curves(settings: Settings, frames: int, fps: Fraction, sound: Sound | None = None) -> Curves:
    """The value in each of so many `frames` of all that changes.

    Raises UserError where nothing does, and where a value is missing or out of range.
    """
    if not settings.schedules:
        raise UserError("nothing changes over time; try --set dream.strength='0:(1), 2s:(2)'")
    found: Curves = {name: [] for name in settings.schedules}
    for frame in range(frames):
        now = settings.at(moment_of(frame, frames, fps, sound))
        for name, values in found.items():
            values.append(value_of(now, name))
    return found


def table(
    found: Curves, settings: Settings, fps: Fraction, sound: Sound | None = None
) -> list[tuple[str, ...]]:
    """The values `found`, in rows of text under one of names: at each second and each key."""
    rows: list[tuple[str, ...]] = [("frame", "seconds", *found)]
    for frame in _rows(found, settings, fps, sound):
        values = (f"{values[frame]:.4g}" for values in found.values())
        rows.append((str(frame), f"{float(frame / fps):.2f}", *values))
    return rows


def plot(
    found: Curves, fps: Fraction, path: Path, beats: Sequence[float] = (), replace: bool = False
) -> None:
    """Draw the values `found` over time into the picture `path`; dotted lines are `beats`.

    Raises UserError where it cannot be written, or is there already and not to be `replace`d.
    """
    from matplotlib.figure import Figure  # without a screen

    figure = Figure(figsize=(10, 0.6 + 1.6 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, found.items(), strict=True):
        seconds = [float(frame / fps) for frame in range(len(values))]
        axes.plot(seconds, values, linewidth=1.2)
        for beat in beats:
            axes.axvline(beat, color="grey", linestyle=":", linewidth=0.6)
        axes.set_title(name, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
    axes.set_xlabel("seconds")
    save_figure(figure, path, replace)


def save_figure(figure: Any, path: Path, replace: bool) -> None:
    """Write matplotlib's `figure` to `path`, whole or not at all. Raises UserError where that
    cannot be, or there is a file by now that it is not to `replace`."""
    data = io.BytesIO()
    try:
        figure.savefig(data, dpi=100, format=path.suffix.lower().lstrip("."))
        write_new(path, data.getvalue(), replace)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} could not be written ({error})") from error


def _rows(found: Curves, settings: Settings, fps: Fraction, sound: Sound | None) -> Iterator[int]:
    frames = max(len(values) for values in found.values())
    first = moment_of(0, frames, fps, sound)
    seconds = {math.ceil(second * fps) for second in range(math.ceil(frames / fps))}
    keys = {math.ceil(place) for one in settings.schedules.values() for place in one.places(first)}
    return (frame for frame in sorted(seconds | keys) if 0 <= frame < frames)
