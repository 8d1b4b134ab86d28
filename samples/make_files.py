"""Check that a render keeps frames, times, sizes, sound and colours of files of every kind.

    python samples/make_files.py [--clips FOLDER] [--only WORDS] [--damaged N] [--into FILE]

Renders every case without a dream, and prints a Markdown table of what independent readers find in
the results: the ffmpeg command, Pillow, and PyAV's list of streams. `--clips` adds the real clips
of a folder; `--only` takes the cases whose names contain WORDS. `--damaged` also renders truncated
files, and N files with random bytes changed. `--into` also writes the printed text into a file,
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
from make_coherence import Both
from make_results import put_into

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.sequences import place_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # has the cases
from damage import cut_off, damaged, tally
from footage import CASES, RATE, Case, Pixels, colours, number_of, true_colours
from reading import SOUND_RATE, Seen, heard, pictures, seen
from rendering import render_video

UNDREAMED = (
    *("dream.steps=0", "video.frame_steps=0", "dream.octaves=1", "flow.method=none"),
    *("output.crf=1", "output.pixel_format=yuv444p", "output.speed=ultrafast"),
)
VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
HEARD = 0.5  # seconds of sound compared at its beginning and at its end; a round number
OPENCV_OFF = 2.0  # levels of 255 more than with PyAV: OpenCV rounds its colours
LATEST = 0.5  # of a frame, by which frames and sound may be off: beyond it, another is nearer


@dataclass(frozen=True)
class Found:
    """The findings in a case: its source `before` and its result `after` the render, the largest
    errors in time and sound (in frames) and in colour (in 255ths), the notices that were `told`,
    and the `decoder` of a film. `faults` names what is not as the case demands."""

    before: Seen | None = None
    after: Seen | None = None
    time_off: float | None = None
    sound_off: float | None = None
    colour_off: float | None = None
    told: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    decoder: str = ""


def undreamed(*assignments: str) -> Settings:
    """Settings that change no picture, with `assignments` as for --set on top."""
    return build(*((text, parse_assignment(text)) for text in (*UNDREAMED, *assignments)))


def try_case(case: Case, folder: Path, decoder: str = "auto") -> Found:
    """Make, render and compare the `case` in `folder`; `decoder` is for source.decoder."""
    source, out = case.make(folder), folder / case.out
    out.parent.mkdir(exist_ok=True)
    told: list[str] = []
    settings = undreamed(f"source.decoder={decoder}", *case.settings)
    try:
        made = render_video(source, out, settings, report=Report(on_notice=told.append))
    except UserError as error:
        refused = str(error)
        fault = [] if case.refused and "\n" not in refused else ["refused"]
        return Found(told=(refused,), faults=tuple(fault))
    except Exception as error:  # our own mistake: the table shows it
        return Found(faults=(f"crashed: {error!r}",))
    made = out if case.out.startswith("frames/") else made
    used = read_record(record_path(place_of(made))).job.settings.source.decoder
    if used == "opencv" and case.off is not None:
        case = replace(case, off=case.off + OPENCV_OFF)
    found = compare(case, source, made)
    missing = [word for word in case.told if not any(word in line for line in told)]
    faults = [*found.faults, *(f"not told: {word}" for word in missing)]
    faults += ["not refused"] if case.refused else []
    faults += ["more told"] if len(told) > len(case.told) and not case.chatty else []
    return replace(found, told=tuple(told), faults=tuple(faults), decoder=used)


def compare(case: Case, source: Path, made: Path) -> Found:
    """The differences between `source` and the result `made` of it."""
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
    """The largest error of colour in `made`, in 255ths, and the number of frames that are missing,
    surplus or in the wrong place."""
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
    """The largest mean difference between a frame `before` and the same one `after`, in 255ths."""
    pairs = zip(before, after, strict=False)
    return max(
        float(np.abs(one.astype(np.int16) - other[: one.shape[0], : one.shape[1]]).mean())
        for one, other in pairs
    )


def sounds_off(source: Path, made: Path, before: Seen, after: Seen) -> Iterator[float]:
    """The seconds by which sound comes later in `made` than in `source`, relative to the pictures:
    for each track, at its beginning and at its end."""
    for track in range(min(len(before.tracks), len(after.tracks))):
        one, other = heard(source, track, before.times[0]), heard(made, track, after.times[0])
        length = int(HEARD * SOUND_RATE)
        common = np.nonzero(np.abs(one) > 0.1 * np.abs(one).max(initial=1e-4))[0]
        if len(common) < length // 4:
            continue
        for begin in (common[0], max(common[0], common[-1] - length)):
            yield _lag(one, other, begin, length) / SOUND_RATE


def _lag(one: Pixels, other: Pixels, begin: int, length: int) -> int:
    """The samples by which `other` lags behind `one` from `begin` on, by cross-correlation."""
    reach = SOUND_RATE // 2
    piece = one[begin : begin + length]
    padded = np.pad(other, (reach, reach + length))[begin : begin + length + 2 * reach]
    size = len(padded) + len(piece)
    alike = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(piece, size)), size)
    return int(np.argmax(alike[: 2 * reach + 1])) - reach


def row(name: str, found: Found, exact: Found | None) -> str:
    """A row of the table: `found`, and, if OpenCV decoded it, what was `exact` by PyAV."""
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
    exact_off = None if exact is None else exact.colour_off
    for off in (found.time_off, found.sound_off, found.colour_off, exact_off):
        cells.append("" if off is None else f"{off:.2f}")
    told = "; ".join(found.told)
    cells += [{"opencv": "OpenCV", "pyav": "PyAV"}.get(found.decoder, ""), told]
    faults = [*found.faults, *(f"by PyAV: {one}" for one in (exact.faults if exact else ()))]
    cells[0] += f" **wrong: {', '.join(faults)}**" if faults else ""
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def real_cases(clips: Path) -> dict[str, Case]:
    """A case for each video in the folder `clips`."""
    return {
        path.name: Case(partial(_copied, path), drawn=False, off=1.0, chatty=True)
        for path in sorted(clips.iterdir())
        if path.suffix in VIDEOS
    }


def _copied(path: Path, folder: Path) -> Path:
    return Path(shutil.copy(path, folder / f"in{path.suffix}"))


def table(cases: dict[str, Case]) -> None:
    """Print the table, a row for each case."""
    print(
        "| case | frames | seconds | size | streams | time off | sound off | colour off "
        "| by PyAV | decoder | told |"
    )
    print("|---" * 11 + "|")
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            found, exact = try_case(case, Path(folder)), None
            if found.decoder == "opencv":
                with tempfile.TemporaryDirectory() as other:
                    exact = try_case(case, Path(other), "pyav")
            print(row(name, found, exact).replace(f"{folder}/", ""), flush=True)


def main() -> None:
    """Print what the options ask for."""
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
