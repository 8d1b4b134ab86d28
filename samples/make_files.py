"""Show that what goes in comes out: frames, times, sizes, sounds and colours, of all files.

    python samples/make_files.py [--clips FOLDER] [--only WORDS] [--damaged N] [--into FILE]

renders every case undreamed and prints, as Markdown, what is found in the results by other readers
than our own: the ffmpeg command, Pillow, and PyAV's list of streams; `--clips` adds real ones,
`--only` takes the cases that have such words in their names. `--damaged` then renders files that
were cut off, and so many with random bytes changed. What was printed goes `--into` a file as well,
between its marks.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
from make_coherence import Both, put_into

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # whose cases these are
from damage import cut_off, damaged, tally
from footage import CASES, RATE, Case, Pixels, colours, number_of, true_colours
from reading import SOUND_RATE, Seen, heard, pictures, seen
from rendering import render_video

UNDREAMED = (
    *("dream.steps=0", "video.frame_steps=0", "dream.octaves=1", "flow.method=none"),
    *("output.crf=1", "output.pixel_format=yuv444p", "output.speed=ultrafast"),
)
VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
HEARD = 0.5  # seconds at either end of a sound that are compared
LATEST = 0.5  # frames, that anything may be early or late


@dataclass(frozen=True)
class Found:
    """What came of a case: of frames how many went in and came out, how far the worst is off in
    time, in frames, and in colour, in 255ths; how far the sounds are, in frames; and what the user
    was told. `faults` says what is not as it should be."""

    before: Seen | None = None
    after: Seen | None = None
    time_off: float | None = None
    sound_off: float | None = None
    colour_off: float | None = None
    told: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def undreamed(*assignments: str) -> Settings:
    """Settings that change no picture."""
    return build(*((text, parse_assignment(text)) for text in (*UNDREAMED, *assignments)))


def try_case(case: Case, folder: Path) -> Found:
    """Make, render and measure the `case` in the `folder`."""
    source, out = case.make(folder), folder / case.out
    out.parent.mkdir(exist_ok=True)
    told: list[str] = []
    try:
        made = render_video(
            source, out, undreamed(*case.settings), report=Report(on_notice=told.append)
        )
    except UserError as error:
        refused = str(error)
        fault = [] if case.refused and "\n" not in refused else ["refused"]
        return Found(told=(refused,), faults=tuple(fault))
    except Exception as error:  # a fault of ours, which the table is to show
        return Found(faults=(f"crashed: {error!r}",))
    made = out if case.out.startswith("frames/") else made
    found = compare(case, source, made)
    missing = [word for word in case.told if not any(word in line for line in told)]
    faults = [*found.faults, *(f"not told: {word}" for word in missing)]
    faults += ["not refused"] if case.refused else []
    faults += ["more told"] if len(told) > len(case.told) and not case.chatty else []
    return replace(found, told=tuple(told), faults=tuple(faults))


def compare(case: Case, source: Path, made: Path) -> Found:
    """What differs between the `source` and what was `made` of it."""
    before, after = seen(source, case.stream), seen(made)
    if case.timeless:
        times = [number / float(RATE) for number in range(len(before.times) + 1)]
        before = replace(before, times=tuple(times[:-1]), ends=times[-1])
    gap = before.seconds / max(1, len(before.times))
    off = [
        abs((b - before.times[0]) - (a - after.times[0])) / gap
        for b, a in zip(before.times, after.times, strict=False)
    ]
    time_off = max([*off, abs(before.seconds - after.seconds) / gap])
    sound_off = (
        max((abs(one) for one in sounds_off(source, made, before, after)), default=None)
        if after.tracks and before.tracks
        else None
    )
    colour_off, wrong = pictures_off(case, source, made)
    faults = []
    if len(before.times) != len(after.times) or wrong:
        faults.append(f"frames ({wrong} others)" if wrong else "frames")
    faults += ["times"] if time_off >= LATEST else []
    faults += ["sound"] if sound_off is not None and sound_off / gap >= LATEST else []
    faults += ["size"] if not np.allclose(before.size, after.size, atol=0.51) else []
    if case.off is not None and colour_off > case.off:
        faults.append("colour")
    if made.suffix in VIDEOS:
        faults += [
            name
            for name in ("tracks", "subtitles", "chapters", "title", "covers")
            if getattr(before, name) != getattr(after, name)
        ]
    sound = None if sound_off is None else sound_off / gap
    return Found(before, after, time_off, sound, colour_off, faults=tuple(faults))


def pictures_off(case: Case, source: Path, made: Path) -> tuple[float, int]:
    """How far the colours of what was `made` are off, in 255ths, and how many of its frames are
    other than they should be."""
    channels = 4 if case.alpha else 3
    after = pictures(made, channels=channels)
    if not case.drawn:
        return _mean_off(pictures(source, case.stream), after), 0
    off, wrong = 0.0, 0
    due = case.numbers or [number_of(frame) for frame in pictures(source, case.stream)]
    for number, frame in zip_longest(due, after):
        if number is None or frame is None:
            wrong += 1
            continue
        wrong += number_of(frame) != number
        off = max(off, float(np.abs(colours(frame) - true_colours(channels)).max()))
    return off, wrong


def _mean_off(before: Iterator[Pixels], after: Iterator[Pixels]) -> float:
    """The largest mean difference of two frames."""
    pairs = zip(before, after, strict=False)
    return max(
        float(np.abs(one.astype(np.int16) - other[: one.shape[0], : one.shape[1]]).mean())
        for one, other in pairs
    )


def sounds_off(source: Path, made: Path, before: Seen, after: Seen) -> Iterator[float]:
    """How many seconds later each track is heard in what was `made`, against the pictures, at its
    beginning and at its end."""
    for track in range(min(len(before.tracks), len(after.tracks))):
        one, other = heard(source, track, before.times[0]), heard(made, track, after.times[0])
        length = int(HEARD * SOUND_RATE)
        common = np.nonzero(np.abs(one) > 0.1 * np.abs(one).max(initial=1e-4))[0]
        if len(common) < length // 4:
            continue
        for begin in (common[0], max(common[0], common[-1] - length)):
            yield _lag(one, other, begin, length) / SOUND_RATE


def _lag(one: Pixels, other: Pixels, begin: int, length: int) -> int:
    """By how many samples `other` is behind `one` there: where they are most alike."""
    reach = SOUND_RATE // 2
    piece = one[begin : begin + length]
    padded = np.pad(other, (reach, reach + length))[begin : begin + length + 2 * reach]
    size = len(padded) + len(piece)
    alike = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(piece, size)), size)
    return int(np.argmax(alike[: 2 * reach + 1])) - reach


def row(name: str, found: Found) -> str:
    """A line of the table."""
    before, after = found.before, found.after
    cells = [name, "", "", "", ""]
    if before is not None and after is not None:
        width, height = after.size
        cells = [
            name,
            f"{len(after.times)} of {len(before.times)}",
            f"{after.seconds:.3f}",
            f"{width:g}x{height:g}",
            after.streams,
        ]
    for off in (found.time_off, found.sound_off, found.colour_off):
        cells.append("" if off is None else f"{off:.2f}")
    told = "; ".join(found.told)
    cells.append(told)
    cells[0] += f" **wrong: {', '.join(found.faults)}**" if found.faults else ""
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def real_cases(clips: Path) -> dict[str, Case]:
    """The real clips in a folder."""
    return {
        path.name: Case(partial(_copied, path), drawn=False, off=1.0, chatty=True)
        for path in sorted(clips.iterdir())
        if path.suffix in VIDEOS
    }


def _copied(path: Path, folder: Path) -> Path:
    return Path(shutil.copy(path, folder / f"in{path.suffix}"))


def table(cases: dict[str, Case]) -> None:
    """Every case, a line each."""
    print("| case | frames | seconds | size | streams | time off | sound off | colour off | told |")
    print("|---" * 9 + "|")
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            found = try_case(case, Path(folder))
            print(row(name, found).replace(f"{folder}/", ""), flush=True)


def main() -> None:
    """Show what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--damaged", type=int, default=0)
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    cases = {**CASES, **(real_cases(arguments.clips) if arguments.clips else {})}
    with contextlib.redirect_stdout(Both()) as printed:
        table({name: case for name, case in cases.items() if arguments.only in name})
        if arguments.damaged:
            print()
            for line in tally("cut off at 20 points", cut_off(20, undreamed())):
                print(line, flush=True)
            print()
            for line in tally("bytes changed", damaged(arguments.damaged, undreamed())):
                print(line, flush=True)
    if arguments.into is not None:
        put_into(arguments.into, printed.getvalue(), "files")


if __name__ == "__main__":
    main()
