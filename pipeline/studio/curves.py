"""Schedules as curves: their keys as they are drawn, dragged, added, removed and eased, and the
text that stands for them everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from dreamreel.pipeline.config.fields import all_fields
from dreamreel.pipeline.config.grammar import parse_value, value_text
from dreamreel.pipeline.config.schedule import Written, parse, written
from dreamreel.pipeline.config.timeline import Heard, moment_of
from dreamreel.pipeline.errors import UserError

POINTS = 240  # of a curve, at most: as many as a page has pixels for
MARGIN = 0.3  # of its range, that is drawn above and below a curve


@dataclass(frozen=True)
class Stage:
    """What a curve is drawn over: `frames` at the `rate`, and the music that is `heard`."""

    frames: int
    rate: Fraction
    heard: Heard | None = None

    @property
    def seconds(self) -> float:
        """The length."""
        return self.frames / float(self.rate)

    @property
    def beats(self) -> tuple[float, ...]:
        """The times of the beats, in seconds."""
        found = () if self.heard is None else self.heard.beats
        return tuple(one for one in found if one < self.seconds)

    def wave(self, points: int = POINTS) -> list[float]:
        """How loud the music is, 0 to 1, at so many times; nothing without music."""
        if self.heard is None:
            return []
        heard = self.heard
        frames = (round(at * (self.frames - 1) / (points - 1)) for at in range(points))
        return [round(heard.at(frame)["loud"], 3) for frame in frames]


@dataclass(frozen=True)
class Key:
    """A key: the text of its `place`, of its `value` and of its `ease` ("": the usual one), and
    where it is drawn: its time in `seconds`, and its value there."""

    place: str
    value: str
    ease: str = ""
    seconds: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class Curve:
    """The schedule of the setting `name`: its `keys`, in time's order, and what else is written in
    its table. `points` are its values (seconds, value)."""

    name: str
    keys: tuple[Key, ...]
    others: tuple[tuple[str, Any], ...] = ()
    points: tuple[tuple[float, float], ...] = ()

    @property
    def text(self) -> str:
        """The text behind NAME= on the command line."""
        plain = self._written().plain()
        return plain if isinstance(plain, str) else value_text(plain)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most value that is drawn."""
        values = [value for _, value in self.points]
        low, high = min(values), max(values)
        margin = MARGIN * (high - low) or 0.5 * abs(high) or 1.0
        least, most = bounds_of(self.name)
        return max(least, low - margin), min(most, high + margin)

    def moved(self, index: int, stage: Stage, seconds: float, value: float | None) -> "Curve":
        """The same with the key of that number at another time, and with another value, unless
        that is None or the key's is an expression."""
        keys, text = list(self.keys), self.keys[index].value
        if value is not None and _is_number(text) and abs(value - self.keys[index].height) > 1e-9:
            text = _number(self.name, value)
        stays = abs(seconds - keys[index].seconds) < 0.5 / float(stage.rate)
        place = keys[index].place if stays else place_at(seconds, stage)
        keys[index] = replace(keys[index], place=place, value=text)
        return curve_of(self.name, self._with(keys), stage)

    def added(self, stage: Stage, seconds: float, value: float) -> "Curve":
        """The same with another key."""
        key = Key(place_at(seconds, stage), _number(self.name, value))
        return curve_of(self.name, self._with([*self.keys, key]), stage)

    def removed(self, index: int, stage: Stage) -> "Curve":
        """The same without the key of that number. The last one stays."""
        keys = [key for at, key in enumerate(self.keys) if at != index]
        return curve_of(self.name, self._with(keys), stage) if keys else self

    def eased(self, index: int, stage: Stage, ease: str) -> "Curve":
        """The same with the `ease` of the key of that number; "" is the usual one."""
        keys = list(self.keys)
        keys[index] = replace(keys[index], ease=ease)
        return curve_of(self.name, self._with(keys), stage)

    def _with(self, keys: Sequence[Key]) -> Any:
        return replace(self, keys=tuple(keys))._written().plain()

    def _written(self) -> Written:
        return Written(tuple((key.place, key.value, key.ease) for key in self.keys), self.others)


def curve_of(name: str, value: Any, stage: Stage) -> Curve:
    """The curve of the setting `name`, whose schedule is `value`: a number, a table, or a text as
    on the command line. Raises UserError if it is none, or has no value somewhere."""
    try:
        value = parse_value(value) if isinstance(value, str) else value
        schedule, told = parse(value), written(value)
        first = moment_of(0, stage.frames, stage.rate, stage.heard)
        step = max(1, stage.frames // POINTS)
        frames = [*range(0, stage.frames, step), stage.frames - 1]
        points = []
        for frame in frames:
            moment = moment_of(frame, stage.frames, stage.rate, stage.heard)
            points.append((frame / float(stage.rate), schedule.at(moment)))
        # Now that it has values: a place may need music that there is not.
        places = {key.name: float(key.place.frame(first)) for key in schedule.keys}
        keys = []
        for place, text, ease in told.keys:
            frame = min(max(places[place], 0.0), stage.frames - 1.0)
            moment = moment_of(round(frame), stage.frames, stage.rate, stage.heard)
            keys.append(Key(place, text, ease, frame / float(stage.rate), schedule.at(moment)))
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    keys.sort(key=lambda key: key.seconds)
    return Curve(name, tuple(keys), told.others, tuple(points))


def place_at(seconds: float, stage: Stage) -> str:
    """The text of the place at a time: a beat, if there is one at that very time, or seconds."""
    seconds = min(max(0.0, seconds), stage.seconds)
    for number, beat in enumerate(stage.beats):
        if abs(beat - seconds) < 0.5 / float(stage.rate):
            return f"{number}b"
    return "0" if seconds == 0 else f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the most value of the setting `name`."""
    least, most = float("-inf"), float("inf")
    for one in all_fields()[name].metadata:
        least = float(getattr(one, "ge", getattr(one, "gt", least)))
        most = float(getattr(one, "le", getattr(one, "lt", most)))
    return least, most


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(name: str, value: float) -> str:
    least, most = bounds_of(name)
    return f"{min(max(value, least), most):.4g}"


def drawn(curve: Curve, stage: Stage, picked: int, label: str) -> dict[str, Any]:
    """What the page's script draws: `curve` over `stage`, with the key `picked` marked. `label` is
    what a screen reader calls a key."""
    low, high = curve.range
    keys = [{"t": round(key.seconds, 3), "v": key.height} for key in curve.keys]
    return {
        "keys": keys,
        "points": [[round(seconds, 3), value] for seconds, value in curve.points],
        "beats": [round(one, 3) for one in stage.beats],
        "wave": stage.wave(),
        "seconds": stage.seconds,
        "low": low,
        "high": high,
        "picked": picked,
        "label": label,
    }
