"""The settings of each frame, as schedules change them over time."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Protocol

from dreamreel.pipeline.config.checks import scheduled_value
from dreamreel.pipeline.config.fields import Section, Settings, path_to, put_at, value_of
from dreamreel.pipeline.config.schedule import Moment
from dreamreel.pipeline.errors import UserError

OverTime = Callable[[int], Settings]  # from a frame's number to its settings
Curves = dict[
    str, list[float]
]  # from the name of a setting that changes to its value in each frame


class Heard(Protocol):
    """Music as schedules hear it: values from 0 to 1 in each frame, named in `schedule.MUSIC`, and
    the times of its beats."""

    @property
    def beats(self) -> tuple[float, ...]:
        """The times of the beats, in seconds."""

    def at(self, frame: int) -> dict[str, float]:
        """The values in the frame of that number, by name."""


def constant(settings: Settings) -> OverTime:
    """A course of settings that are the same in every frame."""
    return lambda number: settings


def settings_at(settings: Settings, moment: Moment) -> Settings:
    """The settings at `moment`: each schedule replaced by its value there. `settings` itself where
    it has no schedule.

    Raises UserError where a schedule has no value there, or one that the setting refuses.
    """
    if not settings.schedules:
        return settings
    table: dict[str, Any] = {}
    for name, schedule in settings.schedules.items():
        put_at(table, path_to(name), scheduled_value(name, schedule, moment))
    updated: Settings = _updated(settings, table)
    return updated.following({})


def moment_of(frame: int, frames: int, fps: Fraction, heard: Heard | None) -> Moment:
    """The moment of frame number `frame`, of `frames` at the rate `fps`, with the music then."""
    if heard is None:
        return Moment(frame, frames, fps)
    return Moment(frame, frames, fps, heard.at(frame), heard.beats)


def curves(settings: Settings, frames: int, fps: Fraction, heard: Heard | None = None) -> Curves:
    """The values of every setting that changes, in each of `frames` frames at the rate `fps`.

    Raises UserError where no setting changes, and where a value is missing or out of bounds.
    """
    if not settings.schedules:
        raise UserError("nothing changes over time; try --set dream.strength='0:(1), 2s:(2)'")
    found: Curves = {name: [] for name in settings.schedules}
    for frame in range(frames):
        now = settings_at(settings, moment_of(frame, frames, fps, heard))
        for name, values in found.items():
            values.append(value_of(now, name))
    return found


def table(
    found: Curves, settings: Settings, fps: Fraction, heard: Heard | None = None
) -> list[tuple[str, ...]]:
    """The curves `found` as rows of text: one of names, then one at each second and each key."""
    rows: list[tuple[str, ...]] = [("frame", "seconds", *found)]
    for frame in _rows(found, settings, fps, heard):
        values = (f"{values[frame]:.4g}" for values in found.values())
        rows.append((str(frame), f"{float(frame / fps):.2f}", *values))
    return rows


def _rows(found: Curves, settings: Settings, fps: Fraction, heard: Heard | None) -> Iterator[int]:
    frames = max(len(values) for values in found.values())
    first = moment_of(0, frames, fps, heard)
    seconds = {math.ceil(second * fps) for second in range(math.ceil(frames / fps))}
    keys = {math.ceil(place) for one in settings.schedules.values() for place in one.places(first)}
    return (frame for frame in sorted(seconds | keys) if 0 <= frame < frames)


def _updated(old: Any, new: Any) -> Any:
    """`old` with the values of the nested table `new`, unchecked."""
    if not isinstance(new, dict):
        return new
    if not isinstance(old, Section):
        return {**old, **new}
    return old.model_copy(
        update={name: _updated(getattr(old, name), value) for name, value in new.items()}
    )
