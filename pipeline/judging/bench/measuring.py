"""`measure`: the figures of this machine."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.judging.bench.beside import (
    first_frame_seconds,
    overhead_values,
    zoom_share,
)
from dreamreel.pipeline.judging.bench.course import (
    Course,
    lacking,
    machine_of,
    name_of,
)
from dreamreel.pipeline.judging.bench.evaluation import evaluation_values
from dreamreel.pipeline.judging.bench.figures import Figures, Values
from dreamreel.pipeline.judging.bench.films import film_values
from dreamreel.pipeline.judging.bench.footage import with_weights
from dreamreel.pipeline.judging.bench.plainly import found_plainly

Say = Callable[[str], None]
NEED_FILES = ("overhead_wall_ms", "overhead_cpu_ms", "first_frame_s")
STAGES_OF_FILES = ("decode_ms", "verify_ms")


def measure(course: Course, say: Say = lambda line: None) -> Figures:
    """The figures of this machine, by `course`; rivals take turns.

    `evaluation_ms`, `plain_evaluation_ms`, `evaluation_speedup`: one gradient, ours
    and written plainly. `evaluation_tflops`, `matrix_tflops`, `matrix_share`: its FLOP rate, that
    of a large matrix product, and their ratio. `plain_frame_ms`, `coherent_speedup`: a frame
    dreamed plainly and alone, as strongly as ours, and its time over that of ours. `overhead_…`: a
    frame without its dream. `zoom_share`: a zoom's frame over its first, a still. `first_frame_s`:
    from the command's start. For each size, a film's further frame, from decoding to a verified
    file: `frame_ms`, `frames_per_second`, `…_ms` of each stage, `peak_mib` and what is told before
    (`estimated_mib`), and `gpu_busy`, the share of the time in which a GPU computes.

    `say` receives a line before each measurement. Raises UserError on Windows, and where the
    course's device is not there.
    """
    if sys.platform == "win32":
        raise UserError("dreamreel bench needs Linux or macOS, which tell CPU time and memory")
    machine, gone = machine_of(course), lacking()
    values: Values = {}
    with (
        tempfile.TemporaryDirectory(prefix="dreamreel-bench-") as folder,
        with_weights(course, Path(folder)) as ready,
    ):
        loaded_network(ready.settings())  # mistakes show before anything is measured
        for found in _measured(ready, gone is None, say):
            for name, more in found.items():
                values.setdefault(name, []).extend(more)
    _compare_with_plain(values, course)
    left_out = [] if gone is None else [f"{name}: no {gone}" for name in _needing(course)]
    return Figures(machine, values, left_out)


def _measured(course: Course, has_files: bool, say: Say) -> Iterator[Values]:
    """The figures, one measurement after the other."""
    height, width = course.evaluated
    say(f"evaluating {course.network} at {width}x{height}, {course.repeats} times each way")
    yield evaluation_values(course)
    climb = f"{course.octaves} octaves of {course.steps} steps"
    say(f"dreaming a frame plainly in {climb}, until it is as strong as a coherent film's")
    rival = found_plainly(course)
    yield {"plain_frame_strength": [rival.found], "coherent_frame_strength": [rival.target]}
    for number in range(course.fewer):
        told = f"{number + 1} of {course.fewer}"
        for size in course.sizes:
            say(f"dreaming {course.frames(size)} frames of {name_of(size)} ({told})")
            yield _once(film_values(course, size))
        say(f"dreaming a frame plainly ({told})")
        yield {"plain_frame_ms": [rival.seconds() * 1000]}
        say(f"timing frames of a zoom against its first, a still ({told})")
        yield {"zoom_share": [zoom_share(course)]}
        if has_files:
            say(f"passing {course.overhead_frames} frames through all but the dream ({told})")
            yield _once(overhead_values(course))
            say(f"waiting for the first frame of a command ({told})")
            yield {"first_frame_s": [first_frame_seconds(course)]}


def _compare_with_plain(values: Values, course: Course) -> None:
    """Add what a plain frame takes over a coherent one of the same size, where that was timed."""
    frame = values.get(f"{name_of(course.evaluated)} frame_ms")
    if frame is not None:
        pairs = zip(values["plain_frame_ms"], frame, strict=True)
        values["coherent_speedup"] = [plain / one for plain, one in pairs]


def _needing(course: Course) -> list[str]:
    """The figures that cannot be measured without files."""
    stages = [f"{name_of(size)} {stage}" for size in course.sizes for stage in STAGES_OF_FILES]
    return [*NEED_FILES, *stages]


def _once(found: dict[str, float]) -> Values:
    return {name: [value] for name, value in found.items()}
