"""How long the stages of a render take, while somebody measures them.

A stage is a part of the work on a frame, such as "flow" or "encode". Code of a stage runs inside
`timed("flow")`, used with `with` or as a decorator. Unless it runs inside `measured`, that costs
one look at a variable, and never waits for a device.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")
STAGES = ("decode", "flow", "warp", "loops", "octaves", "encode", "verify")  # in a frame's order


@dataclass
class Stages:
    """The `seconds` that each stage took so far, less those of the stages inside it. Stages of
    several threads may pass at once, so that their sum may exceed what a clock says.

    `wait` is called where a stage begins and ends: it returns once the device has done its work.
    """

    wait: Callable[[], None] = lambda: None
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: int = field(default_factory=threading.get_ident)  # that works with the device

    def wait_here(self) -> None:
        """Wait for the device, in the thread that works with it alone: others, which read and
        follow, would disturb what it records."""
        if threading.get_ident() == self._thread:
            self.wait()

    def add(self, stage: str, seconds: float) -> None:
        """Add `seconds` to the `stage`."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


_measuring: Stages | None = None  # who measures now
_open = threading.local()  # `stack`: the stages that this thread is in, each with its start


@contextmanager
def measured(wait: Callable[[], None] = lambda: None) -> Iterator[Stages]:
    """Measure the stages of all threads inside; `wait` is as in `Stages`."""
    global _measuring
    before, _measuring = _measuring, Stages(wait)
    try:
        yield _measuring
    finally:
        _measuring = before


class timed(ContextDecorator):
    """The `stage` of a render whose code runs inside."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def __enter__(self) -> None:
        if _measuring is not None:
            _measuring.wait_here()
            _stack().append([time.perf_counter(), 0.0])

    def __exit__(self, *error: object) -> None:
        if _measuring is None or not _stack():
            return
        _measuring.wait_here()
        began, inside = _stack().pop()
        took = time.perf_counter() - began
        _measuring.add(self.stage, took - inside)
        if _stack():
            _stack()[-1][1] += took


def timed_each(stage: str, items: Iterable[Item]) -> Iterator[Item]:
    """`items`, of which making each is of the `stage`."""
    iterator = iter(items)
    try:
        while True:
            with timed(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def _stack() -> list[list[float]]:
    if not hasattr(_open, "stack"):
        _open.stack = []
    stack: list[list[float]] = _open.stack
    return stack
