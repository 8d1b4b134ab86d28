"""Schedules: a number for each frame, from keyframes and expressions.

A schedule is a table of keys, `{ "0s" = 1.2, "8s" = 2.0, ease = "in-out-cubic" }`; a line of keys
as in Deforum, `0:(1.02), 60:(1.05+0.02*sin(2*pi*t/30))`; or one expression.

Between keys, Deforum's rule holds: a number is interpolated to the value of the next key at that
key's frame; an expression is evaluated in each frame up to the next key. A key with an ease of its
own is interpolated in either case. There are two departures from Deforum. `s` is the time in
seconds, not a seed. A key past the end, which Deforum drops, still counts, so that the beginning of
a render does not depend on its length.

A schedule gives what happens in a second, Deforum's what happens from frame to frame. One that is
written `per_frame(0:(1.02), 60:(1.05))`, or has the entry `per_frame = true` in its table, is meant
as Deforum's; `checks.scheduled_value` makes it one of seconds.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any

from dreamreel.pipeline.config.arithmetic import Number
from dreamreel.pipeline.config.expressions import PLAIN, Formula, Names, constant, read

Ease = Callable[[float], float]  # from the share of the time to the share of the way, 0 to 1

MUSIC = ("loud", "bass", "mid", "treble", "onset", "beat")  # values of a frame, each 0 to 1
TIMES = ("t", "max_f", "n", "fps", "s")  # frame, last frame, count of frames, rate, seconds
LONGEST = 1_000_000  # characters: a line made from music may have a key for each frame
AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|%|b|)", re.ASCII)
CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d{1,9})?)", re.ASCII)
OWN_KEYS = ("ease", "bpm", "beat0", "per_frame")  # entries of a table that are no keyframes
# A number of up to 15 digits as the value of a key, which is read at once, as there may be many.
IN_BRACKETS = re.compile(
    r"\s*(?:\(\s*([+-]?\d{1,15}\.?\d{0,15})\s*\)|([+-]?\d{1,15}\.?\d{0,15}))\s*", re.ASCII
)
PER_FRAME = re.compile(r"\s*per_frame\s*\((.*)\)\s*", re.DOTALL)
Tempo = tuple[Fraction, Fraction]  # time of the first beat, and from beat to beat, in seconds


@dataclass(frozen=True)
class Moment:
    """A moment of a render: the number of its `frame`, from 0, of `frames` at the rate `fps`; the
    music's values in it (`sound`), and the times of all `beats`, in seconds."""

    frame: int
    frames: int
    fps: Fraction
    sound: Names = field(default_factory=dict)
    beats: tuple[float, ...] = ()

    def names(self, frame: float) -> dict[str, float]:
        """The variables of expressions, with their values at the time of `frame`. Between two
        frames, t is the number of the next one: it is always whole, as in Deforum."""
        times = (float(math.ceil(frame)), self.frames - 1.0, float(self.frames), float(self.fps))
        return {**dict(zip(TIMES, (*times, frame / float(self.fps)), strict=True)), **self.sound}


# Stands in before the render's length and music are known: frame 0 of 10 s, silent, a beat each
# half second.
NOMINAL = Moment(0, 300, Fraction(30), dict.fromkeys(MUSIC, 0.0), (0.0, 0.5))


@dataclass(frozen=True)
class Place:
    """The place of a key: its frame, as a function of a moment's rate and length, and of the beats
    of the music if it `counts_beats`."""

    frame: Callable[[Moment], float]
    counts_beats: bool = False


@dataclass(frozen=True)
class Key:
    """A keyframe: the `name` of its place as written; its `value`, which is a `number`, or an
    expression of the variables `names`; the `ease` to the next key."""

    name: str
    place: Place
    value: Formula
    number: float | None
    ease: Ease
    names: frozenset[str]


START = Place(lambda moment: 0.0)


@dataclass(frozen=True)
class Schedule:
    """A number for each frame, a function of its moment alone. If it is `per_frame`, the number
    tells the motion from frame to frame, rather than in a second.

    Schedules of equal `source` are equal.
    """

    source: str | tuple[Any, ...]
    keys: tuple[Key, ...] = field(compare=False, repr=False)
    music: frozenset[str] = field(compare=False, repr=False)  # names of MUSIC that it uses
    counts_beats: bool = field(compare=False, repr=False)
    per_frame: bool = field(compare=False, repr=False)

    def at(self, moment: Moment) -> float:
        """The value at `moment`. Raises ValueError, with the frame, where there is none."""
        with self._answering(moment):
            return _finite(self._value(moment))

    def places(self, moment: Moment) -> tuple[float, ...]:
        """The frames of its keys, in order, at the rate and length of `moment`. Raises ValueError
        where a key has none."""
        with self._answering(moment):
            return self._placed(moment)[0]

    @property
    def needs_music(self) -> bool:
        """Whether it has no value without music."""
        return bool(self.music) or self.counts_beats

    def plain(self) -> Any:
        """The text or table that it was parsed from."""
        return self.source if isinstance(self.source, str) else _thawed(self.source)

    def _value(self, moment: Moment) -> float:
        places, keys = self._placed(moment)
        here = bisect_right(places, moment.frame) - 1
        if here < 0:
            return keys[0].value(moment.names(places[0]))
        value = keys[here].value(moment.names(moment.frame))
        if here + 1 == len(keys) or keys[here].ease is hold:
            return value
        # The music to come is not known: the next key's expression hears the music of now.
        aim = keys[here + 1].value(moment.names(places[here + 1]))
        share = (moment.frame - places[here]) / (places[here + 1] - places[here])
        return value + (aim - value) * keys[here].ease(share)

    def _placed(self, moment: Moment) -> tuple[tuple[float, ...], tuple[Key, ...]]:
        return _placed(self, moment.frames, moment.fps, moment.beats if self.counts_beats else ())

    @contextmanager
    def _answering(self, moment: Moment) -> Iterator[None]:
        """Raise ValueError, in one line, where music is missing or arithmetic fails inside."""
        if missing := sorted(self.music - moment.sound.keys()):
            raise ValueError(f"{missing[0]!r} needs music, and there is none; give --audio")
        if self.counts_beats and not moment.beats:
            lacking = "the music has none" if moment.sound else "there are none"
            more = "" if moment.sound else "--audio, or "
            raise ValueError(
                f"its keys count beats, and {lacking}; give {more}bpm = 120 in a table"
            )
        try:
            yield
        except ValueError as error:
            raise ValueError(f"frame {moment.frame}: {error}") from error

    def __reduce__(self) -> Any:  # formulas cannot be pickled
        return parse, (self.plain(),)


def parse(value: Any) -> Schedule:
    """The schedule in `value`: a number, an expression, a line of keys or a table of keys.

    Raises ValueError, in one line, for anything else: the place, and what was expected there.
    """
    if isinstance(value, Mapping):
        return _of_table(value)
    if not isinstance(value, str):
        return _schedule(repr(_number(value)), [_key("0", START, value)])
    if len(value) > LONGEST:
        raise ValueError(f"a schedule is at most {LONGEST} characters long, not {len(value)}")
    text = re.sub(r"[\s'\"]", " ", value)  # some write "0": (1)
    if whole := PER_FRAME.fullmatch(text):
        text = " " * whole.start(1) + whole[1]  # columns stay
    elif "per_frame" in text:
        raise ValueError("per_frame(…) goes around all keys: per_frame(0:(1.02), 60:(1.05))")
    items = _items(text)
    if all(colon < 0 for _, colon, _ in items):
        return _schedule(value, [_key("0", START, text)], bool(whole))
    return _schedule(value, [_in_line(text, *item) for item in items], bool(whole))


@dataclass(frozen=True)
class Written:
    """A schedule as it is written: its keys, each the text of its place, of its value and of its
    ease ("" for the usual one), and what else stands in its table, such as a bpm."""

    keys: tuple[tuple[str, str, str], ...]
    others: tuple[tuple[str, Any], ...] = ()

    def plain(self) -> Any:
        """The schedule as a number, a line or a table, whichever is the shortest that holds it."""
        places = [place for place, _, _ in self.keys]
        eased = any(ease for _, _, ease in self.keys) or len(set(places)) < len(places)
        if eased or set(dict(self.others)) - {"per_frame"}:
            table = dict(self.others)
            return table | {place: _told(text, ease) for place, text, ease in self.keys}
        line = ", ".join(f"{place}:({text})" for place, text, _ in self.keys)
        if places == ["0"]:
            line = self.keys[0][1]
        return f"per_frame({line})" if dict(self.others).get("per_frame") else line


def written(value: Any) -> Written:
    """The parts of the schedule in `value`, which is as for `parse`. Raises ValueError, as that
    does."""
    parse(value)
    if isinstance(value, Mapping):
        others = tuple((name, one) for name, one in value.items() if name in OWN_KEYS)
        pairs = ((str(name), one) for name, one in value.items() if name not in OWN_KEYS)
        return Written(tuple(_key_text(name, one) for name, one in pairs), others)
    if not isinstance(value, str):
        return Written((("0", _number_text(_number(value)), ""),))
    text = re.sub(r"[\s'\"]", " ", value)
    whole = PER_FRAME.fullmatch(text)
    line = whole[1] if whole else text
    keys = []
    for begins, colon, ends in _items(line):
        place = "0" if colon < 0 else line[begins:colon].strip()
        keys.append((place, _bare(line[max(colon + 1, begins) : ends]), ""))
    return Written(tuple(keys), (("per_frame", True),) if whole else ())


def _key_text(name: str, value: Any) -> tuple[str, str, str]:
    ease = str(value.get("ease", "")) if isinstance(value, Mapping) else ""
    inner = value["value"] if isinstance(value, Mapping) else value
    text = _bare(inner) if isinstance(inner, str) else _number_text(_number(inner))
    return name, text, ease


def _bare(text: str) -> str:
    """`text` without the brackets around all of it."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")"):
        depth = list(accumulate((one == "(") - (one == ")") for one in text))
        if 0 in depth[:-1]:
            break
        text = text[1:-1].strip()
    return text


def _number_text(number: float) -> str:
    return f"{number:.10g}"


def _told(text: str, ease: str) -> Any:
    value = float(text) if PLAIN.fullmatch(text) else text
    return {"value": value, "ease": ease} if ease else value


def parse_ease(name: Any) -> Ease:
    """The ease called `name`, one of `EASES`, or CSS's cubic Bézier, "bezier(x1, y1, x2, y2)".
    Raises ValueError for anything else."""
    if isinstance(name, str) and name in EASES:
        return EASES[name]
    numbers = re.fullmatch(r"bezier\(([^()]*)\)", str(name))
    points = [PLAIN.fullmatch(one.strip()) for one in numbers[1].split(",")] if numbers else []
    floats = [float(point[0]) for point in points if point is not None]
    if len(floats) == len(points) == 4 and 0 <= floats[0] <= 1 and 0 <= floats[2] <= 1:
        return _bezier(*floats)
    near = get_close_matches(str(name), EASES, 1)
    known = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(EASES)
    raise ValueError(f"unknown ease {name!r:.40}; {known}, and bezier(x1, y1, x2, y2)")


def linear(share: float) -> float:
    """The ease that goes evenly."""
    return share


def hold(share: float) -> float:
    """The ease that stays, and jumps at the next key."""
    return 0.0


def _bezier(x1: float, y1: float, x2: float, y2: float) -> Ease:
    """CSS's cubic-bezier: the curve from (0, 0) to (1, 1) with two control points."""

    def along(one: float, two: float, way: float) -> float:
        return 3 * one * way * (1 - way) ** 2 + 3 * two * way**2 * (1 - way) + way**3

    def ease(share: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):  # x grows along the curve: bisect down to a float's last bit
            middle = (low + high) / 2
            low, high = (middle, high) if along(x1, x2, middle) < share else (low, middle)
        return along(y1, y2, (low + high) / 2)

    return ease


STARTS: dict[str, Ease] = {
    "sine": lambda share: 1 - math.cos(share * math.pi / 2),
    "quad": lambda share: share**2,
    "cubic": lambda share: share**3,
    "quart": lambda share: share**4,
    "expo": lambda share: (2 ** (10 * share) - 1) / 1023,
    "back": lambda share: share**2 * (2.70158 * share - 1.70158),  # overshoots by a tenth
}


def _ended(start: Ease) -> Ease:
    return lambda share: 1 - start(1 - share)


def _both(start: Ease) -> Ease:
    return lambda s: start(2 * s) / 2 if s < 0.5 else 1 - start(2 - 2 * s) / 2


EASES: dict[str, Ease] = {
    "linear": linear,
    "hold": hold,
    "smooth": lambda share: share**2 * (3 - 2 * share),
    **{f"in-{name}": start for name, start in STARTS.items()},
    **{f"out-{name}": _ended(start) for name, start in STARTS.items()},
    **{f"in-out-{name}": _both(start) for name, start in STARTS.items()},
}


@lru_cache(maxsize=256)
def _placed(
    schedule: Schedule, frames: int, fps: Fraction, beats: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[Key, ...]]:
    """The frames of the keys, in order, and the keys. Of two in one place, the later one counts."""
    moment = Moment(0, frames, fps, {}, beats)
    found = {key.place.frame(moment): key for key in schedule.keys}
    return tuple(sorted(found)), tuple(found[place] for place in sorted(found))


def _finite(number: Number) -> float:
    """`number`, the value of a formula, as a float. Raises ValueError where it is not finite."""
    if isinstance(number, complex):
        raise ValueError("a complex value; real(…) or abs(…) makes a real one of it")
    if math.isnan(number):
        raise ValueError("no real value, as 0/0 and sqrt(-1) have none")
    if math.isinf(number):
        raise ValueError("no finite value: a division by zero, or a number too large")
    return float(number)


def _of_table(table: Mapping[str, Any]) -> Schedule:
    ease = parse_ease(table["ease"]) if "ease" in table else None
    tempo = _tempo(table)
    named = {str(name): value for name, value in table.items() if name not in OWN_KEYS}
    if not named:
        raise ValueError('expected at least one key, such as "0s" = 1.5')
    per_frame = table.get("per_frame", False)
    if not isinstance(per_frame, bool):
        raise ValueError("per_frame is true or false")
    keys = [_in_table(name, value, ease, tempo) for name, value in named.items()]
    return _schedule(_frozen(table), keys, per_frame)


def _tempo(table: Mapping[str, Any]) -> Tempo | None:
    if "bpm" not in table:
        if "beat0" in table:
            raise ValueError("beat0, the seconds of the first beat, belongs to a bpm")
        return None
    bpm, first = _number(table["bpm"]), _number(table.get("beat0", 0))
    if not 1 <= bpm <= 1000 or not 0 <= first <= 1e6:
        raise ValueError("bpm is from 1 to 1000, and beat0 the seconds of the first beat")
    return Fraction(first), 60 / Fraction(bpm)


def _in_table(name: str, value: Any, ease: Ease | None, tempo: Tempo | None) -> Key:
    try:
        if isinstance(value, Mapping):
            if "value" not in value or not value.keys() <= {"value", "ease"}:
                raise ValueError(
                    'expected a number, an expression or { value = 1.5, ease = "hold" }; a key '
                    'with a point is written in quotes, "0.5s"'
                )
            ease = parse_ease(value["ease"]) if "ease" in value else ease
            value = value["value"]
        return _key(name, _place(name, tempo), value, ease)
    except ValueError as error:
        raise ValueError(f"{name[:40]!r}: {error}") from error


def _items(text: str) -> list[tuple[int, int, int]]:
    """The keys with values in the line `text`: for each, where it begins, its last colon (-1: none)
    and where it ends. The last, since a key may have colons of its own, `1:02.5:(2)`."""
    items, depth, begins, colon = [], 0, 0, -1
    for place, sign in enumerate(text):
        depth = max(0, depth + (sign == "(") - (sign == ")"))
        if depth == 0 and sign == ":":
            colon = place
        elif depth == 0 and sign == ",":
            items.append((begins, colon, place))
            begins, colon = place + 1, -1
    if not items or text[begins:].strip():
        items.append((begins, colon, len(text)))
    return items


def _in_line(text: str, begins: int, colon: int, ends: int) -> Key:
    if colon < 0:
        found = repr(text[ends]) if ends < len(text) else "the end"
        raise ValueError(f"column {ends + 1}: expected ':' and a value, found {found}")
    name = text[begins:colon]
    try:
        place = _place(name.strip(), None)
    except ValueError as error:
        column = begins + len(name) - len(name.lstrip()) + 1
        raise ValueError(f"column {column}: {error}") from error
    return _key(name.strip(), place, text[colon + 1 : ends], begins=colon + 1)


def _key(name: str, place: Place, value: Any, ease: Ease | None = None, begins: int = 0) -> Key:
    """The key with that `name`, `place` and `value`; text begins after the column `begins`."""
    if isinstance(value, str) and (plain := IN_BRACKETS.fullmatch(value)):
        value = float(plain[1] or plain[2])
    if isinstance(value, str):
        formula, names = read(value, (*TIMES, *MUSIC), begins)
        # Like Deforum, ignore brackets and spaces around a number.
        plain = PLAIN.fullmatch(re.sub(r"[\s()]", "", value))
        number = float(plain[0]) if plain else None
    else:
        number, names = _number(value), frozenset()
        formula = constant(number)
    usual = hold if number is None else linear
    return Key(name, place, formula, number, ease or usual, names)


def _place(name: str, tempo: Tempo | None) -> Place:
    """The place that a key's `name` means. Raises ValueError where it means none."""
    if clock := CLOCK.fullmatch(name):
        minutes = int(clock[1] or 0) * 60 + int(clock[2])
        return Place(lambda moment: float((minutes * 60 + Fraction(clock[3])) * moment.fps))
    if not (found := AMOUNT.fullmatch(name)):
        return _named_place(name)
    amount = Fraction(found[1])
    match found[2]:
        case "s":
            return Place(lambda moment: float(amount * moment.fps))
        case "%":
            return Place(lambda moment: float(amount * (moment.frames - 1) / 100))
        case "b" if tempo is not None:
            begins, gap = tempo
            return Place(lambda moment: float((begins + amount * gap) * moment.fps))
        case "b":
            return Place(lambda moment: _beat(amount, moment), counts_beats=True)
    return Place(lambda moment: float(amount))


def _named_place(name: str) -> Place:
    """The place of a key that is an expression, such as max_f-1."""
    try:
        formula, _ = read(name, ("max_f", "n", "fps"))
    except ValueError as error:
        raise ValueError(
            f"expected a key such as 48, 2s, 1:02.5, 50%, 4b or max_f-1, found {name[:40]!r}"
        ) from error
    return Place(lambda moment: _finite(formula(moment.names(0))))


def _beat(number: Fraction, moment: Moment) -> float:
    """The frame of the music's beat `number`, counted from 0. Between two beats, and after the
    last, time is divided evenly."""
    beats = moment.beats if len(moment.beats) > 1 else (*moment.beats, moment.beats[0] + 0.5)
    before = min(math.floor(number), len(beats) - 2)
    seconds = beats[before] + float(number - before) * (beats[before + 1] - beats[before])
    return seconds * float(moment.fps)


def _schedule(source: Any, keys: list[Key], per_frame: bool = False) -> Schedule:
    names = frozenset[str]().union(*(key.names for key in keys))
    counts_beats = any(key.place.counts_beats for key in keys)
    return Schedule(source, tuple(keys), names & set(MUSIC), counts_beats, per_frame)


def _frozen(table: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        (str(name), _frozen(value) if isinstance(value, Mapping) else value)
        for name, value in table.items()
    )


def _thawed(pairs: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _thawed(value) if isinstance(value, tuple) else value for name, value in pairs}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number or an expression, found {str(value)[:40]!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("expected a number that is finite")
    return number
