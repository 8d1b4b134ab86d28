"""Terms as people write them: `0.5*creatures:13`, `class:starfish`, `guide:flowers.jpg@parts`.

A dream climbs a sum of terms. `dream.terms` holds it as a table from each term's text to its
weight. It is also given as the text of a sum, or as a list of such texts:

    parts                     a layer
    0.7*parts - 0.3*textures  layers with weights; a negative one pushes away
    mean:parts                another objective on a layer: l2 (the default), mean, cnn_vis
    creatures:13              a channel of a layer
    creatures:3+7+20-25       several channels
    creatures:strongest(8)    those that the source excites most; weakest, average
    creatures:13@0.5:0.3      one neuron: the channel at a place, in widths and heights
    class:starfish            a class of the network, by name or number
    guide:flowers.jpg         a guide picture or video, at the default layer; @LAYER for another
    tv, change                penalties, given negative weights: total variation, and the difference
                              from the source
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from dreamreel.pipeline.config.tables import shown

LAYER_OBJECTIVES = ("l2", "mean", "cnn_vis")
Rank = Literal["strongest", "weakest", "average"]
RANKS: tuple[Rank, ...] = ("strongest", "weakest", "average")
PENALTIES = ("tv", "change")
KINDS = (*LAYER_OBJECTIVES, "class", "guide")
MOST_CHANNELS = 65_536  # a bound for what a text may ask for; a round number above any layer's
FORMS = "a layer, LAYER:CHANNELS, class:NAME, guide:FILE, tv or change"

NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
WEIGHT = re.compile(rf"\s*(?P<weight>{NUMBER})\s*\*\s*", re.ASCII)
JOINT = re.compile(r"\s+(?P<sign>[+-])\s+|\s*,\s*")  # between the terms of a sum
LAYER = re.compile(r"[^\W\d][\w.-]*")
PLACE = re.compile(rf"({NUMBER}):({NUMBER})", re.ASCII)
RANKED = re.compile(rf"({'|'.join(RANKS)})\((\d{{1,5}})\)", re.ASCII)


@dataclass(frozen=True)
class Channels:
    """Channels of a layer: those of the `numbers`, or `count` of them by `rank` on the source."""

    numbers: tuple[int, ...] = ()
    rank: Rank | None = None
    count: int = 0


@dataclass(frozen=True)
class TermText:
    """A term as it is written, without its weight.

    `kind` is an objective on a layer ("l2", "mean", "cnn_vis"), "class", "guide" or a penalty.
    `what` is the class's name or number, or the guide's path. `layer` is "" for the default.
    `place` is (across, down), from 0 to 1, of a single neuron.
    """

    kind: str
    what: str = ""
    layer: str = ""
    channels: Channels | None = None
    place: tuple[float, float] | None = None


@lru_cache(maxsize=1024)
def parse_term(text: str) -> TermText:
    """The term in `text`, without a weight. Raises ValueError, which says at which column what was
    expected, for anything else."""
    if text in PENALTIES:
        return TermText(text)
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        at = len(kind) + 1
        if not rest:
            raise _expected(text, at, {"class": "a class", "guide": "a file"}.get(kind, "a layer"))
        if kind == "class":
            return TermText(kind, rest)
        if kind == "guide":
            return _guide(rest)
        return _of_layer(text, at, kind)
    return _of_layer(text, 0, "l2")


def parse_sum(value: Any) -> Any:
    """The table of weights by term in `value`, the text of a sum or a list of such texts; anything
    else stays. The weights of equal terms are added. Raises ValueError for a malformed sum."""
    if isinstance(value, str):
        return _added(_terms_in(value))
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return _added(pair for text in value for pair in _terms_in(text, commas=False))
    return value


def check_terms(terms: Mapping[str, float]) -> Mapping[str, float]:
    """`terms` themselves. Raises ValueError where one is malformed."""
    for text in terms:
        parse_term(text)
    return terms


def files_in(terms: Iterable[str]) -> list[Path]:
    """The files that `terms` name, each once."""
    found = (parse_term(text) for text in terms)
    return list(dict.fromkeys(Path(one.what) for one in found if one.kind == "guide"))


def with_file(text: str, moved: Callable[[Path], Path]) -> str:
    """The term `text`; where it names a file, with the path that `moved` gives for it. Raises
    ValueError where it is malformed."""
    term = parse_term(text)
    if term.kind != "guide":
        return text
    layer = f"@{term.layer}" if term.layer else ""
    return f"{term.kind}:{moved(Path(term.what))}{layer}"


def _terms_in(text: str, commas: bool = True) -> list[tuple[str, float]]:
    """The terms of the sum in `text`, each with its weight."""
    pairs, start, sign = [], 0, 1.0
    if re.match(r"\s*-\s*[A-Za-z_]", text):  # -textures
        start, sign = text.index("-") + 1, -1.0
    joints = [one for one in JOINT.finditer(text) if commas or "," not in one[0]]
    for end, next_, after in [(one.start(), one["sign"], one.end()) for one in joints] + [
        (len(text), None, len(text))
    ]:
        body = text[start:end]
        weight = WEIGHT.match(body)
        name = (body if weight is None else body[weight.end() :]).strip()
        if not name:
            raise _expected(text, start, FORMS)
        parse_term(name)
        pairs.append((name, sign * (float(weight["weight"]) if weight else 1.0)))
        start, sign = after, -1.0 if next_ == "-" else 1.0
    return pairs


def _added(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, weight in pairs:
        found[name] = found.get(name, 0.0) + weight
    return found


def _guide(rest: str) -> TermText:
    """The guide of `FILE` or `FILE@LAYER`."""
    path, at, layer = rest.rpartition("@")
    if at and path and LAYER.fullmatch(layer) and "/" not in layer and not _is_ending(layer):
        return TermText("guide", path, layer)
    return TermText("guide", rest)


def _is_ending(layer: str) -> bool:
    """Whether what stands after an @ is the end of a file's name, as in `me@home.jpg`."""
    return bool(re.search(r"\.[A-Za-z]{3,4}$", layer))


def _of_layer(text: str, at: int, kind: str) -> TermText:
    """The term of a layer that begins at column `at`, counted from 0, of `text`."""
    layer = LAYER.match(text, at)
    if layer is None:
        raise _expected(text, at, FORMS if at == 0 else "a layer")
    term, end = TermText(kind, layer=layer[0]), layer.end()
    if end < len(text) and text[end] == ":":
        place_at = text.find("@", end)
        stop = len(text) if place_at < 0 else place_at
        term = replace(term, channels=_channels(text, end + 1, stop))
        end = stop
    if end < len(text) and text[end] == "@" and term.channels is not None:
        return replace(term, place=_place(text, end + 1))
    if end < len(text):
        raise _expected(text, end, "':' and channels, or the end")
    return term


def _channels(text: str, start: int, stop: int) -> Channels:
    """The channels that `text` names between the columns `start` and `stop`."""
    body = text[start:stop]
    if ranked := RANKED.fullmatch(body):
        if not 1 <= int(ranked[2]) <= MOST_CHANNELS:
            raise _expected(text, start, f"a count from 1 to {MOST_CHANNELS}")
        return Channels(rank=ranked[1], count=int(ranked[2]))  # type: ignore[arg-type]
    numbers: list[int] = []
    at = start
    for part in body.split("+"):
        span = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part, re.ASCII)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if not first <= last < MOST_CHANNELS:
            raise _expected(text, at, "channels such as 13, 3+7+20-25 or strongest(8)")
        numbers += range(first, last + 1)
        at += len(part) + 1
    return Channels(tuple(dict.fromkeys(numbers)))


def _place(text: str, at: int) -> tuple[float, float]:
    found = PLACE.fullmatch(text, at)
    across, down = (float(found[1]), float(found[2])) if found else (-1.0, -1.0)
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise _expected(text, at, "a place such as 0.5:0.3, in widths and heights of the picture")
    return across, down


def _expected(text: str, at: int, what: str) -> ValueError:
    return ValueError(f"is malformed at column {at + 1} of {shown(text)}: expected {what}")
