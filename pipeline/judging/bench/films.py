"""Films that are dreamed, each in a process of its own: time, stages, memory, a GPU's work."""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.config.values import Size
from dreamreel.pipeline.dreaming.carrying import dream_video
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.memory import peak_bytes
from dreamreel.pipeline.jobs.preparation import fitting_network, loaded_network
from dreamreel.pipeline.jobs.report import QUIET, Progress, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.judging.bench.course import Course, lacking, name_of
from dreamreel.pipeline.judging.bench.evaluation import finish
from dreamreel.pipeline.judging.bench.footage import RATE, sliding_clip, sliding_frames
from dreamreel.pipeline.media.reading import prefetch
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.stages import STAGES, Stages, measured, timed
from dreamreel.pipeline.tensors import to_frame

MIB = 1 << 20
BESIDE = ("decode", "flow")  # stages of threads that run ahead of the dream
Render = Callable[[Callable[[], None]], None]  # gets what to call after each frame


@dataclass
class Watch:
    """The clock of a film that is dreamed: from its first finished frame to its end, since a start
    and a shot's first frame are what any film costs once."""

    stages: Stages
    frames: int = 0
    began: float = 0.0
    ended: float = 0.0
    at_first: dict[str, float] = field(default_factory=dict)

    def tell(self) -> None:
        """A frame is finished."""
        self.frames += 1
        if self.frames == 1:
            self.began, self.at_first = time.perf_counter(), dict(self.stages.seconds)

    @property
    def seconds(self) -> float:
        """The seconds that a further frame takes."""
        return (self.ended - self.began) / max(1, self.frames - 1)

    def seconds_of(self, stage: str) -> float:
        """The seconds that the `stage` of a further frame takes. Threads that run ahead do the
        work of later frames before the first is finished, so theirs are those of any frame."""
        total = self.stages.seconds.get(stage, 0.0)
        if stage in BESIDE:
            return total / max(1, self.frames)
        return (total - self.at_first.get(stage, 0.0)) / max(1, self.frames - 1)


def film_values(course: Course, size: Size) -> dict[str, float]:
    """The figures of one film of frames of `size`, dreamed in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_film_values, (course, size, torch.get_num_threads()))


def rendering(course: Course, size: Size, folder: Path) -> Render:
    """A function that dreams a film of frames of `size`: from a file to a file, or where these
    cannot be read or written, of frames in memory that go nowhere."""
    settings, frames = course.settings(), course.frames(size)
    if lacking() is not None:
        return partial(_dream_frames, settings, size, frames)
    clip = sliding_clip(folder / f"{frames}.mp4", size, frames)
    return partial(_dream_file, settings, clip)


def peak_resident() -> int:
    """The peak of this process's resident memory so far, in bytes."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak on Linux includes that of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _film_values(course: Course, size: Size, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    name, device = name_of(size), course.on
    on_gpu = device.type == "cuda"
    wait = partial(finish, device)
    with tempfile.TemporaryDirectory() as folder:
        render = rendering(course, size, Path(folder))
        estimate = estimated_bytes(course, size)
        if on_gpu:  # a first render compiles kernels and tries algorithms
            _watched(render, wait)
            torch.cuda.reset_peak_memory_stats(device)
        with measured() as stages:
            watch = _watched(render, wait, stages)
        peak = torch.cuda.max_memory_allocated(device) if on_gpu else peak_resident()
        found = {
            "frame_ms": watch.seconds * 1000,
            "frames_per_second": 1 / watch.seconds,
            "peak_mib": peak / MIB,
            "estimated_mib": estimate / MIB,
        }
        if on_gpu:
            # A short one: what is recorded of each kernel takes a while to read.
            short = rendering(replace(course, pixels=course.pixels // 4), size, Path(folder))
            found["gpu_busy"] = _busy_share(short, wait)
            with measured(wait) as stages:  # waits slow the film down, so it is another one
                watch = _watched(render, wait, stages)
    there = [stage for stage in STAGES if stage in stages.seconds]
    found |= {f"{stage}_ms": watch.seconds_of(stage) * 1000 for stage in there}
    return {f"{name} {figure}": value for figure, value in found.items()}


def estimated_bytes(course: Course, size: Size) -> float:
    """The peak of memory, in bytes, that is told before the first frame of a film of `size`."""
    settings = course.settings()
    return peak_bytes(fitting_network(settings, size, QUIET), settings, size)


def _watched(render: Render, wait: Callable[[], None], stages: Stages | None = None) -> Watch:
    watch = Watch(stages or Stages())

    def tell() -> None:
        if watch.frames == 0:
            wait()
        watch.tell()

    render(tell)
    wait()
    watch.ended = time.perf_counter()
    return watch


def _dream_file(settings: Settings, clip: Path, on_frame: Callable[[], None]) -> None:
    def on_progress(progress: Progress) -> None:
        on_frame()

    job = Job(
        kind="video",
        source=NamedFile(path=clip),
        output=clip.with_name("dream.mp4"),
        settings=settings,
    )
    run(job, Report(on_progress), overwrite=True)


def _dream_frames(
    settings: Settings, size: Size, frames: int, on_frame: Callable[[], None]
) -> None:
    network = loaded_network(settings)
    read = prefetch(sliding_frames(size, frames))
    moving = prefetch(follow_motion(read, RATE, settings))
    for image in dream_video(moving, network, constant(settings)):
        with timed("encode"):  # the way from the device alone
            to_frame(image)
        on_frame()


def _busy_share(render: Render, wait: Callable[[], None]) -> float:
    """The share of the time of a film, from its second frame on, in which the GPU computes."""
    from torch.profiler import ProfilerActivity, profile

    profiler = profile(activities=[ProfilerActivity.CUDA])
    watch = Watch(Stages())

    def tell() -> None:
        if watch.frames == 0:
            wait()
            profiler.start()
        watch.tell()

    render(tell)
    wait()
    watch.ended = time.perf_counter()
    profiler.stop()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if "CUDA" in str(event.device_type)
    ]
    return _covered(sorted(spans)) / 1e6 / (watch.ended - watch.began)


def _covered(spans: list[tuple[float, float]]) -> float:
    """The length that the sorted `spans` (start, end) cover together."""
    total, until = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
