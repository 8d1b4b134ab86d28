"""The loop of a render: frames are kept one by one, the state is saved at intervals."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.identity import identity_of, stamp
from dreamreel.pipeline.jobs.job import MOST_THREADS, Job, Threads
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.segments import Segments, open_segments
from dreamreel.pipeline.media.encoding import Encoding
from dreamreel.pipeline.networks.devices import computing_on
from dreamreel.pipeline.networks.network import Network

CPU = torch.device("cpu")


@contextmanager
def under_way(
    out: Target,
    job: Job,
    encoding: Encoding,
    frames: int | None,
    network: Network | None,
) -> Iterator[Segments]:
    """The render of `job` into `out`, new or resumed; `frames` is how many it has, if known.

    A piece is kept in its work folder. Inside the context, torch has the thread count of the
    render, and `network` the tile size that memory had forced on it before. Raises UserError as
    `open_segments` does.
    """
    threads = threads_of(job)
    identity = identity_of(job)
    place, keep = (out.place, False) if job.piece is None else (job.piece.place, True)
    with (
        open_segments(place, identity, encoding, threads, out.restart, frames, keep) as work,
        computing_on(CPU if network is None else network.device, work.threads.torch),
    ):
        if network is not None:
            network.sight.tile = work.tile
        yield work


def threads_of(job: Job) -> Threads:
    """The thread counts of the render of `job`: its own, or those of this process."""
    return job.threads or current_threads()


def current_threads() -> Threads:
    """The thread counts of this process."""
    torch_count, encoder = min(torch.get_num_threads(), MOST_THREADS), max(1, os.cpu_count() or 1)
    return Threads(torch=torch_count, encoder=encoder)


@dataclass(frozen=True)
class Coming:
    """The next frame of a render, which `arrived` gives; `is_on_its_way`: a GPU is still making it.
    `begins_shot`: it is the first of a shot, so that a segment begins with it."""

    arrived: Callable[[], Frame]
    is_on_its_way: bool = False
    begins_shot: bool = False


def make(
    frames: Iterator[Coming],
    work: Segments,
    state: Callable[[], Any],
    total: int | None,
    sources: Sequence[Path],
    report: Report,
    save_seconds: float,
    network: Network | None = None,
) -> None:
    """Add all `frames` to `work`, and save at least every `save_seconds` seconds.

    `state()` is the state after the last frame that `frames` gave. `total` is the number of frames
    of the render, if known; some may be done already. While a frame is on its way, the next one is
    begun, unless the state is to be saved between the two.

    Raises UserError if one of the files `sources` was changed since this call began: the frames
    since the last save are then not kept. Raises Stopped, with all frames saved, if `report` asks
    to stop.
    """
    stamps = [stamp(source) for source in sources]

    def save() -> None:
        _check_unchanged(sources, stamps)
        work.save(state(), None if network is None else network.sight.tile)

    before = work.done
    if before:
        report.on_notice(f"going on after {before} frames that are done already")

    waiting: list[Coming] = []

    def add_waiting() -> None:
        while waiting:
            coming = waiting.pop()
            if coming.begins_shot:
                work.cut()
            work.add(coming.arrived())
            report.on_progress(Progress(work.frames, total, before))

    for coming in frames:
        add_waiting()
        waiting.append(coming)
        saves = coming.begins_shot or work.is_due(save_seconds)
        if saves or not coming.is_on_its_way:
            add_waiting()
        stopping = report.is_stopping()
        if stopping:
            add_waiting()
        if saves or stopping:
            save()
        if stopping:
            raise _stopped(work.done, total)
    add_waiting()
    if work.frames > work.done:
        save()


def _check_unchanged(sources: Sequence[Path], stamps: Sequence[object]) -> None:
    for source, one in zip(sources, stamps, strict=True):
        if stamp(source) != one:
            raise UserError(f"{source} was changed while it was rendered; put the old file back")


def _stopped(done: int, total: int | None) -> Stopped:
    of = "" if total is None else f" of {total}"
    return Stopped(f"stopped; {done}{of} frames are done; the same command goes on")
