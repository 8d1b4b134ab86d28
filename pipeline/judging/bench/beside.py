"""What is measured beside films: the frame without its dream, a zoom, the first frame."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.judging.bench.course import Course
from dreamreel.pipeline.judging.bench.evaluation import finish
from dreamreel.pipeline.judging.bench.footage import RATE, sliding_clip
from dreamreel.pipeline.zooming.endless import infinite_zoom
from dreamreel.pipeline.zooming.grain import noise
from dreamreel.pipeline.zooming.journey import Journey

FIRST_FRAMES = 30  # of the film whose first frame is waited for


def overhead_values(course: Course) -> dict[str, float]:
    """The wall and the CPU time of a frame of the size of an evaluation without ascent steps, in
    milliseconds; those of ffmpeg are included."""
    nothing = course.settings(dream={"steps": 0}, video={"frame_steps": 0})
    long = course.overhead_frames
    short = long // 4
    with tempfile.TemporaryDirectory() as folder:
        clips = [
            sliding_clip(Path(folder) / f"{frames}.mp4", course.evaluated, frames)
            for frames in (short, long)
        ]
        # The difference of two lengths leaves out what any render costs once.
        (wall, cpu), (more_wall, more_cpu) = (_spent(clip, nothing) for clip in clips)
    frames = (long - short) / 1000
    return {
        "overhead_wall_ms": (more_wall - wall) / frames,
        "overhead_cpu_ms": (more_cpu - cpu) / frames,
    }


def zoom_share(course: Course) -> float:
    """The time of a frame of a zoom over that of its first, which is a still."""
    settings = course.settings()
    network = loaded_network(settings)
    image = noise(course.zoom_size, 0, network.device)
    ended = [time.perf_counter()]
    journey = Journey(course.zoom_frames + 1, RATE)
    for _ in infinite_zoom(image, network, constant(settings), journey):
        finish(network.device)
        ended.append(time.perf_counter())
    return (ended[-1] - ended[1]) / course.zoom_frames / (ended[1] - ended[0])


def first_frame_seconds(course: Course) -> float:
    """The seconds from the start of the command `dreamreel video`, with its defaults, to the first
    frame that it has dreamed."""
    with tempfile.TemporaryDirectory() as folder:
        clip = sliding_clip(Path(folder) / "clip.mp4", course.evaluated, FIRST_FRAMES)
        began = time.perf_counter()
        command = [sys.executable, "-m", "dreamreel.cli", "video", str(clip), "--json-progress"]
        command += ["--device", course.device, "--precision", course.precision]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    told = json.loads(line)
                    if told["event"] == "progress" and told["done"] > 0:
                        return time.perf_counter() - began
            finally:
                child.kill()
    raise RuntimeError("the command ended before its first frame")


def _spent(source: Path, settings: Settings) -> tuple[float, float]:
    """The wall and the CPU time, in seconds, of the dream of `source`."""
    job = Job(
        kind="video",
        source=NamedFile(path=source),
        output=source.with_name("out.mp4"),
        settings=settings,
    )
    began, before = time.perf_counter(), _cpu_time()
    run(job, overwrite=True)
    return time.perf_counter() - began, _cpu_time() - before


def _cpu_time() -> float:
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
