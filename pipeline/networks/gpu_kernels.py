"""Computations that a GPU repeats, recorded once and replayed.

A gradient is some hundreds of small kernels. To launch one takes the processor about as long as the
GPU takes to run it, so that the GPU waits. A CUDA graph launches all of them at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.memory import is_out_of_memory

SEEN_BEFORE = 2  # times that a computation runs plainly, which warms it up, before it is recorded
MOST_RECORDED, MOST_SEEN = 64, 512  # computations; the ones used least recently are forgotten

Given = Tensor | int | float | None
Compute = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class _Recording:
    """A graph with the tensors that it reads and writes. What `compute` uses lives as long as it:
    the graph knows only addresses."""

    graph: torch.cuda.CUDAGraph
    given: list[Tensor | None]
    found: list[Tensor]
    compute: Compute

    def replayed(self, given: Sequence[Given]) -> list[Tensor]:
        """What is found for what is `given` now."""
        for fixed, one in zip(self.given, given, strict=True):
            if fixed is None or one is None:
                continue
            if isinstance(one, Tensor):
                fixed.copy_(one)
            else:
                fixed.fill_(one)
        self.graph.replay()
        return [one.clone(memory_format=torch.preserve_format) for one in self.found]


class Replays:
    """The computations of one network on one device, each by a key. On a CUDA device, what comes
    again is recorded and replayed; elsewhere, everything is computed plainly."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._recorded: OrderedDict[Hashable, _Recording | None] = OrderedDict()
        self._pool: Any = None  # the memory that all recordings share

    def run(self, key: Hashable, compute: Compute, given: Sequence[Given]) -> list[Tensor]:
        """What `compute` makes of what is `given`, which it reads and leaves as it is.

        Equal keys, with tensors of the same shapes, must mean one computation, without chance and
        without anything else that changes. Recorded, numbers are scalars on the device. If it waits
        for the device, it is never recorded.
        """
        if self._device.type != "cuda" or torch.cuda.is_current_stream_capturing():
            return compute(*given)
        key = (key, tuple(_kind(one) for one in given))
        if key not in self._recorded:
            times = self._seen.pop(key, 0)
            if times < SEEN_BEFORE:
                self._seen[key] = times + 1
                _forget_beyond(self._seen, MOST_SEEN)
                return compute(*given)
            self._recorded[key] = self._record(compute, given)
            _forget_beyond(self._recorded, MOST_RECORDED)
        self._recorded.move_to_end(key)
        recording = self._recorded[key]
        return compute(*given) if recording is None else recording.replayed(given)

    def _record(self, compute: Compute, given: Sequence[Given]) -> _Recording | None:
        """A recording of `compute`; None where it waits for the device, or memory is too short for
        one."""
        fixed = [self._fixed(one) for one in given]
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                found = compute(*fixed)
        except RuntimeError as error:
            if is_out_of_memory(error) or "captur" in str(error):
                self._pool = None  # it may still be recording
                return None
            raise
        return _Recording(graph, fixed, found, compute)

    def _fixed(self, one: Given) -> Tensor | None:
        """A tensor of its own, at an address that stays, with the value of `one`."""
        if isinstance(one, Tensor):
            return one.detach().clone(memory_format=torch.preserve_format)
        return None if one is None else torch.tensor(one, device=self._device)


def _kind(one: Given) -> Hashable:
    return ((*one.shape,), one.dtype) if isinstance(one, Tensor) else (type(one),)


def _forget_beyond(kept: OrderedDict[Hashable, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
