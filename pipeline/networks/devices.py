"""The device and the precision in which a network computes, and the memory that is free."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.memory import free_memory as free_here

SHORT_TURN = 2e-4  # seconds that a thread of Python may keep others waiting; usually 5e-3
MOST_FLOW_THREADS = 6  # of 16 cores, six find the motion of 60 frames a second


def find_device(name: str) -> torch.device:
    """The device called `name`. For `auto`, the first that is there of CUDA, Apple's MPS and the
    CPU.

    Raises UserError if the name is unknown or there is no such device.
    """
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if has[kind]))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}; auto, cpu, cuda, cuda:1, mps work") from None
    there = [kind for kind in has if has[kind]]
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    beyond = (device.index or 0) >= count
    if not has.get(device.type) or beyond:
        raise UserError(f"there is no device {name!r} here; available: {', '.join(there)}")
    return device


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype called `name`. For `auto`, bfloat16 if `device` computes in it, else float32."""
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # Windows and macOS have no such file
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    words = set(
        next(
            (line for line in flags.splitlines() if line.startswith(("flags", "Features"))), ""
        ).split()
    )
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Inside, torch computes with `count` threads; if None, with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def computing_on(device: torch.device, threads: int | None) -> Iterator[None]:
    """Inside, a film is dreamed on `device`: on a CPU, torch computes with so many `threads`.

    Beside a GPU, torch has little to compute here, and more threads hinder those that follow the
    motion: at 720p, a frame took 24 ms with 16 threads and 15 ms with one. The thread that leads
    the GPU must not wait long for its turn.
    """
    with torch_threads(threads if device.type == "cpu" else 1):
        before = sys.getswitchinterval()
        sys.setswitchinterval(before if device.type == "cpu" else SHORT_TURN)
        try:
            yield
        finally:
            sys.setswitchinterval(before)


def flow_threads(device: torch.device) -> int:
    """How many threads find the motion of a film that is dreamed on `device`. A CPU dreams more
    slowly than one thread follows, and needs its cores for that."""
    if device.type == "cpu":
        return 1
    return max(1, min(MOST_FLOW_THREADS, (os.cpu_count() or 1) // 2))


def free_memory(device: torch.device) -> float:
    """How many bytes of memory `device` has left; infinity if that is unknown or need not be known.

    On a GPU, running out of memory raises an error that can be answered. On a CPU it may not: the
    OOM killer of Linux may end the process.
    """
    if device.type != "cpu":
        return math.inf
    return free_here()
