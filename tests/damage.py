"""Files that were truncated or had random bytes changed, and the outcome of rendering them."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.ffmpeg import ffmpeg
from footage import MPEG4, PLAIN, PRORES, SOUND, VP9, WEBP, animation, clip, noise, stills
from reading import Seen, seen
from rendering import render_video

FEW = range(24)  # numbers of the frames in each source: few, for hundreds of renders
HEADER = 2048  # bytes at either end, where headers are: a third of the files are changed there
MOST = 200  # bytes changed in one file, at most; a round number, not tuned
LONGEST = 60  # seconds after which a render counts as hung; a sound file takes half a second
LATEST = 0.5  # of a frame, by which one may be early or late: beyond it, another is nearer
WHOLE, TOLD, REFUSED, OTHER, SILENT, CRASH = OUTCOMES = (
    "whole", "told of", "refused in a line", "another film, to any reader", "less, untold", "crash",
)  # fmt: skip

MUST_NOT_BE = (SILENT, CRASH)
OF_LOSS = ("damaged", "could be read", "could not be decoded", "cannot be read", "promises",
           "the source's sound")  # fmt: skip

SOURCES: dict[str, Callable[[Path], Path]] = {
    "MP4, H.264": clip("a.mp4", *SOUND, codec=PLAIN, numbers=FEW),
    "MP4, H.264, index first": clip(
        "a.mp4", *SOUND, "-movflags", "+faststart", codec=PLAIN, numbers=FEW),
    "MKV, H.264": clip("a.mkv", *SOUND, codec=(*PLAIN, "-g", "8"), numbers=FEW),
    "WebM, VP9": clip("a.webm", *noise(1), "-c:a", "libopus", "-shortest", codec=VP9, numbers=FEW),
    "TS, H.264": clip("a.ts", *SOUND, codec=(*PLAIN, "-g", "8"), numbers=FEW),
    "AVI, MPEG-4": clip(
        "a.avi", *noise(1), "-c:a", "libmp3lame", "-shortest", codec=MPEG4, numbers=FEW),
    "MOV, ProRes": clip("a.mov", codec=PRORES, numbers=FEW),
    "GIF": partial(animation, name="a.gif"),
    "APNG": partial(animation, name="a.png", codec=("-f", "apng")),
    "WebP": partial(animation, name="a.webp", codec=WEBP),
    "a folder of PNGs": partial(stills, name="in", numbers=FEW),
}  # fmt: skip


CUT_OFF = ("MP4, H.264", "MP4, H.264, index first", "MKV, H.264", "WebM, VP9", "TS, H.264")
Harm = Callable[[Path], None]


@dataclass(frozen=True)
class Outcome:
    """The outcome of rendering a file: its kind, and the message or the loss."""

    kind: str
    said: str


Tried = tuple[str, str, Outcome]  # the source's name, how it was harmed, and the outcome


def damaged(count: int, settings: Settings, names: Collection[str] = SOURCES) -> Iterator[Tried]:
    """The outcomes for `count` files with random bytes changed, spread evenly over all SOURCES; of
    these, only the sources in `names` are rendered."""
    for first, name in enumerate(SOURCES):
        seeds = range(first, count if name in names else 0, len(SOURCES))
        harms = [(f"seed {seed}", partial(change, seed=seed)) for seed in seeds]
        yield from tried(name, harms, settings)


def cut_off(points: int, settings: Settings, names: Collection[str] = CUT_OFF) -> Iterator[Tried]:
    """The outcomes for each source in `names`, truncated at so many `points`."""
    for name in names:
        shares = [(number + 0.5) / points for number in range(points)]
        harms = [(f"{share:.1%}", partial(shorten, share=share)) for share in shares]
        yield from tried(name, harms, settings)


def harmed_once(name: str, harm: Harm, settings: Settings) -> Outcome:
    """The outcome for the source of that name after `harm`."""
    ((_, _, outcome),) = tried(name, [("", harm)], settings)
    return outcome


def tried(name: str, harms: Sequence[tuple[str, Harm]], settings: Settings) -> Iterator[Tried]:
    """The outcome for the source of that name after each of `harms`, made to a fresh copy."""
    if not harms:
        return
    with tempfile.TemporaryDirectory() as folder:
        source = SOURCES[name](Path(folder))
        (Path(folder) / "out").mkdir()
        told, made = rendered(source, Path(folder) / "out", settings)
        whole = seen(made)
        for way, harm in harms:
            yield name, way, try_harmed(source, harm, whole, told, settings)


def try_harmed(
    source: Path, harm: Harm, whole: Seen, usual: list[str], settings: Settings
) -> Outcome:
    """The outcome for a copy of `source` after `harm`. `whole` and `usual` are the render and the
    notices of the source itself."""
    with tempfile.TemporaryDirectory() as name, working_in(Path(name) / "tmp"):
        folder, out = Path(name), Path(name) / "out"
        out.mkdir()
        harmed = folder / source.name
        shutil.copytree(source, harmed) if source.is_dir() else shutil.copy(source, harmed)
        harm(harmed)
        threads, others = threading.active_count(), children()
        try:
            with time_limit(LONGEST):
                told, made = rendered(harmed, out, settings)
        except UserError as error:
            outcome = Outcome(REFUSED if "\n" not in str(error) else CRASH, str(error))
            return left_behind(folder, None, threads, others) or outcome
        except Exception as error:
            return Outcome(CRASH, repr(error))
        if (left := left_behind(folder, made, threads, others)) is not None:
            return left
        news = [line for line in told if line not in usual]
        lost = loss(whole, seen(made))
        if lost and not any(word in line for line in news for word in OF_LOSS):
            return Outcome(OTHER if is_so_for_others(harmed, made) else SILENT, lost)
        return Outcome(TOLD if news else WHOLE, "; ".join(news))


def rendered(source: Path, out: Path, settings: Settings) -> tuple[list[str], Path]:
    """The notices while `source` is rendered into the folder `out`, and the path of the result."""
    told: list[str] = []
    report = Report(on_notice=lambda line: told.append(line.replace(f"{source.parent}/", "")))
    return told, render_video(source, out / "out.mp4", settings, report=report)


def shorten(path: Path, share: float) -> None:
    """Truncate the file at `path` to that share of its bytes."""
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def change(path: Path, seed: int) -> None:
    """Change random bytes of the file at `path`, or of one file in that folder: all over it, or
    only at its beginning or end, where headers are."""
    random = np.random.default_rng(seed)
    if path.is_dir():
        files = sorted(path.iterdir())
        path = files[random.integers(len(files))]
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    count = int(np.exp(random.uniform(0, np.log(MOST))))
    near = min(HEADER, len(data))
    reach = [len(data), near, -near][random.choice(3, p=[2 / 3, 1 / 6, 1 / 6])]
    places = random.integers(min(0, reach), max(0, reach), count)
    data[places] = random.integers(0, 256, count)
    path.write_bytes(data.tobytes())


def loss(whole: Seen, found: Seen) -> str:
    """The loss in `found` against `whole`, in words; "" if it has all frames in time, and sound."""
    if len(found.times) < len(whole.times):
        return f"{len(found.times)} frames of {len(whole.times)}"
    if len(found.tracks) < len(whole.tracks):
        return "no sound"
    gap = whole.seconds / len(whole.times)
    off = max(abs(one - other) for one, other in zip(whole.times, found.times, strict=False)) / gap
    return f"out of time by {off:.1f} frames" if off >= LATEST else ""


def is_so_for_others(source: Path, made: Path) -> bool:
    """Whether the ffmpeg command, too, reads `source` without an error and finds in it what was
    `made`. The damage then turned one valid value into another, which no reader can notice."""
    command = [ffmpeg(), "-v", "error", "-i", str(source), "-map", "0:v:0", "-f", "null", "-"]
    if subprocess.run(command, capture_output=True).stderr:
        return False
    return not loss(seen(source), seen(made))


def left_behind(
    folder: Path, made: Path | None, threads: int, others: Sequence[str]
) -> Outcome | None:
    """A crash, if files, threads beyond `threads` or processes beyond `others` are left."""
    wanted = {made, made.with_name(f"{made.name}.json")} if made is not None else set()
    kept = [path for path in (folder / "out").iterdir() if path not in wanted]
    left = [path.name for path in [*kept, *(folder / "tmp").iterdir()]]
    left += [f"process {one}" for one in children() if one not in others]
    left += ["a thread"] if threading.active_count() > threads else []
    return Outcome(CRASH, f"left behind: {', '.join(left)}") if left else None


def children() -> list[str]:
    """The running processes that this one started; none where the system has no /proc."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return []
    return [one for task in tasks.iterdir() for one in (task / "children").read_text().split()]


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Put temporary files into `folder`, which it makes, for the time of the block."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError if the block takes longer than `seconds`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tally(title: str, found: Iterator[Tried]) -> Iterator[str]:
    """A Markdown table of the outcomes, by lines, after a line for each that must not occur."""
    counts: dict[str, Counter[str]] = {}
    for name, way, outcome in found:
        counts.setdefault(name, Counter())[outcome.kind] += 1
        if outcome.kind in MUST_NOT_BE:
            yield f"{name}, {way}: {outcome.kind}: {outcome.said}\n"
    yield f"| {title} | files | {' | '.join(OUTCOMES)} |"
    yield "|---" * (2 + len(OUTCOMES)) + "|"
    counts["all"] = sum(counts.values(), Counter())
    for name, counter in counts.items():
        cells = [name, str(counter.total()), *(str(counter[kind]) for kind in OUTCOMES)]
        yield f"| {' | '.join(cells)} |"
