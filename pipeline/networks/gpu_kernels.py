"""Computations that a GPU repeats, recorded once and replayed.

A gradient is some hundreds of small kernels. To launch one takes the processor about as long as the
GPU takes to run it, so that the GPU waits. A CUDA graph launches all of them at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.memory import is_out_of_memory

SEEN_BEFORE = 2  # times that a computation runs plainly, which warms it up, before it is recorded
MOST_RECORDED, MOST_SEEN = 64, 512  # computations; the ones used least recently are forgotten

Compute = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class _Recording:
    """A graph with the tensors that it reads and writes. What `compute` uses lives as long as it:
    the graph knows only addresses."""

    graph: torch.cuda.CUDAGraph
    given: Tensor
    found: list[Tensor]
    compute: Compute


class Replays:
    """The computations of one network on one device, each by a key. On a CUDA device, what comes
    again is recorded and replayed; elsewhere, everything is computed plainly."""

    def __init__(self, device: torch.device) -> None:
        self._records = device.type == "cuda"
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._recorded: OrderedDict[Hashable, _Recording | None] = OrderedDict()
        self._pool: Any = None  # the memory that all recordings share

    def run(self, key: Hashable, compute: Compute, given: Tensor) -> list[Tensor]:
        """What `compute` makes of `given`, which it reads and leaves as it is.

        Equal keys, with tensors of one shape, must mean one computation, without chance and without
        any other tensor that changes. It must not wait for the device, or it is never recorded.
        """
        if not self._records:
            return compute(given)
        key = (key, tuple(given.shape), given.dtype)
        if key not in self._recorded:
            times = self._seen.pop(key, 0)
            if times < SEEN_BEFORE:
                self._seen[key] = times + 1
                _forget_beyond(self._seen, MOST_SEEN)
                return compute(given)
            self._recorded[key] = self._record(compute, given)
            _forget_beyond(self._recorded, MOST_RECORDED)
        self._recorded.move_to_end(key)
        recording = self._recorded[key]
        if recording is None:
            return compute(given)
        recording.given.copy_(given)
        recording.graph.replay()
        return [one.clone(memory_format=torch.preserve_format) for one in recording.found]

    def _record(self, compute: Compute, given: Tensor) -> _Recording | None:
        """A recording of `compute`; None where it waits for the device, or memory is too short for
        one."""
        fixed = given.detach().clone(memory_format=torch.preserve_format)
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                found = compute(fixed)
        except RuntimeError as error:
            if is_out_of_memory(error) or "captur" in str(error):
                return None
            raise
        return _Recording(graph, fixed, found, compute)


def _forget_beyond(kept: OrderedDict[Hashable, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
