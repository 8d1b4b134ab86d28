"""The figures of a benchmark: medians and spreads, as text, as JSON, and against earlier ones."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.stages import STAGES

Values = dict[str, list[float]]  # what was measured, by the figure's name, as often as repeated
# The figures that are better when larger; all others are better when smaller.
MORE_IS_BETTER = ("speedup", "tflops", "matrix_share", "per_second", "gpu_busy")
FORMAT = 1  # of the JSON
CLEAR = 1.02  # ratio of medians below which a change is not told, however narrow the spreads
ALONE = 1.15  # the same where one of the two was measured only once; round numbers
DIGITS = 4  # significant ones, in JSON


@dataclass(frozen=True)
class Figures:
    """What a benchmark found: the `machine`, the `values` of each figure, and the rows that it
    `left_out`, each with the reason."""

    machine: Mapping[str, str | int]
    values: Values
    left_out: Sequence[str] = ()

    def median(self, name: str) -> float:
        """The median of the figure called `name`."""
        return statistics.median(self.values[name])


def as_json(figures: Figures) -> str:
    """`figures` as the text of a JSON object: for each figure its median, the least and the most,
    what was measured, and of a stage its share of a frame's time."""
    table = {
        "format": FORMAT,
        "machine": dict(figures.machine),
        "left_out": list(figures.left_out),
        "figures": {
            name: {
                "median": _rounded(statistics.median(values)),
                "least": _rounded(min(values)),
                "most": _rounded(max(values)),
                "measured": [_rounded(value) for value in values],
                "share": share_of(figures, name),
            }
            for name, values in figures.values.items()
        },
    }
    return json.dumps(table, indent=2)


def read_figures(path: Path) -> Figures:
    """The figures in the file `path`, as `as_json` wrote them. Raises UserError where there are
    none."""
    with usable(path):
        text = path.read_text()
    try:
        table: Any = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError
        values = {
            str(name): [float(one) for one in row["measured"]]
            for name, row in table["figures"].items()
        }
        if not all(values.values()):
            raise ValueError
        return Figures(dict(table["machine"]), values, list(table["left_out"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds no figures; dreamreel bench --json > {path} writes them"
        ) from error


def described(figures: Figures) -> list[tuple[str, ...]]:
    """`figures` as the rows of a table, the first of them its head."""
    rows: list[tuple[str, ...]] = [("figure", "median", "from", "to", "share")]
    for name, values in figures.values.items():
        cells = (statistics.median(values), min(values), max(values))
        share = share_of(figures, name)
        rows.append((name, *map(_told, cells), "" if share is None else f"{share:.0%}"))
    return rows


def share_of(figures: Figures, name: str) -> float | None:
    """The share of a frame's time that the figure called `name` takes, if it is a stage's. Decoding
    and flow are done by threads beside the others, so that all may sum to more than 1."""
    size, _, stage = name.rpartition(" ")
    whole = f"{size} frame_ms"
    if stage.removesuffix("_ms") not in STAGES or whole not in figures.values:
        return None
    return _rounded(figures.median(name) / figures.median(whole))


def told_machine(figures: Figures) -> str:
    """The machine of `figures`, in a line."""
    return ", ".join(f"{name} {value}" for name, value in figures.machine.items())


def compared(now: Figures, before: Figures) -> list[tuple[str, ...]]:
    """`now` against the figures `before`, as the rows of a table, the first of them its head. A
    figure is better or worse where its change is beyond the noise: where what was measured before
    and what is measured now do not overlap."""
    rows: list[tuple[str, ...]] = [("figure", "before", "now", "ratio", "")]
    for name, values in now.values.items():
        if name not in before.values:
            continue
        earlier = before.values[name]
        old, new = statistics.median(earlier), statistics.median(values)
        ratio = f"{new / old:.3f}" if old else "-"
        rows.append((name, _told(old), _told(new), ratio, verdict(name, earlier, values)))
    return rows


def differing(now: Figures, before: Figures) -> list[str]:
    """What else differs between two benchmarks, a line each: ratios then compare that as well."""
    return [
        f"{name}: {before.machine[name]} before, {now.machine[name]} now"
        for name in now.machine
        if name in before.machine and before.machine[name] != now.machine[name]
    ]


def verdict(name: str, before: Sequence[float], now: Sequence[float]) -> str:
    """Whether the figure called `name` became better or worse; empty within the noise."""
    old, new = statistics.median(before), statistics.median(now)
    if min(old, new) <= 0:
        return ""
    apart = min(now) > max(before) or max(now) < min(before)
    least = ALONE if min(len(before), len(now)) == 1 else CLEAR
    if not apart or max(old, new) / min(old, new) < least:
        return ""
    return "better" if (new > old) == more_is_better(name) else "worse"


def more_is_better(name: str) -> bool:
    """Whether the figure called `name` is better when larger."""
    return name.endswith(MORE_IS_BETTER)


def _told(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
