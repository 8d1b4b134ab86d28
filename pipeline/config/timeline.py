"""The settings of each frame, as schedules change them over time."""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

from dreamreel.pipeline.config.checks import scheduled_value
from dreamreel.pipeline.config.fields import GROWTH, Section, Settings, path_to, put_at
from dreamreel.pipeline.config.schedule import Moment
from dreamreel.pipeline.errors import UserError

FAINT = 0.05  # growth a second that is hardly seen; 1.04 is a usual growth a frame in Deforum
TINY = 1e-9  # keeps a rounded 1.05 within FAINT of 1
SAMPLED = 100  # frames at which a zoom is looked at for that, at least; a round number

OverTime = Callable[[int], Settings]  # from a frame's number to its settings
Curves = Mapping[str, Sequence[float]]  # from a setting that changes to its value in each frame
SPAN = ".."  # between the least and the most of a row


class Heard(Protocol):
    """Music as schedules hear it: values from 0 to 1 in each frame, named in `schedule.MUSIC`, and
    the times of its beats."""

    @property
    def beats(self) -> tuple[float, ...]:
        """The times of the beats, in seconds."""

    @property
    def bpm(self) -> float:
        """The beats in a minute of the whole music, 0 where there are none."""

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


def notices(settings: Settings, over_time: OverTime, frames: int) -> Iterator[str]:
    """What to tell of the schedules in `settings`, which `over_time` follows for so many `frames`;
    see `faint_zoom`."""
    if GROWTH in settings.schedules:
        looked_at = range(0, frames, max(1, frames // SAMPLED))
        line = faint_zoom(settings, [over_time(frame).camera.zoom for frame in looked_at])
        if line is not None:
            yield line


def faint_zoom(settings: Settings, values: Sequence[float]) -> str | None:
    """A line if the zoom of `settings` is a schedule that hardly moves, as one of Deforum's does
    that is not `per_frame`. `values` are some of those that it has."""
    zoom = settings.schedules.get(GROWTH)
    if zoom is None or zoom.per_frame or any(abs(value - 1) > FAINT + TINY for value in values):
        return None
    written = zoom.plain()
    as_deforum = f"per_frame({written})" if isinstance(written, str) else "per_frame(0:(1.02))"
    return (
        f"{GROWTH} is growth in a second, and hardly seen within {FAINT:.0%} of 1; growth from "
        f"frame to frame, as in Deforum: --set '{GROWTH}={as_deforum}'"
    )


def without_beat(settings: Settings, heard: Heard | None) -> bool:
    """Whether a schedule in `settings` follows the beat of music, and `heard` has none."""
    follows = any("beat" in schedule.music for schedule in settings.schedules.values())
    return follows and heard is not None and not heard.bpm


def curves(settings: Settings, frames: int, fps: Fraction, heard: Heard | None = None) -> Curves:
    """The values of every setting that changes, in each of `frames` frames at the rate `fps`.

    Raises UserError where no setting changes, and where a value is missing or out of bounds.
    """
    if not settings.schedules:
        raise UserError("nothing changes over time; try --set dream.strength='0:(1), 2s:(2)'")
    found = {name: array("d") for name in settings.schedules}
    for frame in range(frames):
        moment = moment_of(frame, frames, fps, heard)
        for name, schedule in settings.schedules.items():
            found[name].append(scheduled_value(name, schedule, moment))
    return found


def table(
    found: Curves, settings: Settings, fps: Fraction, heard: Heard | None = None
) -> list[tuple[str, ...]]:
    """The curves `found` as rows of text: one of names, then one at each second and each key, with
    the least and the most until the next row, `1..1.5`, or the value that stays."""
    rows: list[tuple[str, ...]] = [("frame", "seconds", *found)]
    places = [*_rows(found, settings, fps, heard), max(len(values) for values in found.values())]
    for frame, end in pairwise(places):
        cells = (_span(values[frame:end]) for values in found.values())
        rows.append((str(frame), f"{float(frame / fps):.2f}", *cells))
    return rows


def _span(values: Sequence[float]) -> str:
    least, most = f"{min(values):.4g}", f"{max(values):.4g}"
    return least if least == most else f"{least}{SPAN}{most}"


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
