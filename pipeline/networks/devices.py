"""Where a network computes, and how precisely."""

import math
from pathlib import Path

import torch

from dreamreel.pipeline.errors import UserError

# Where Linux tells of a container's memory: its limit, what is used, and how much of that is files;
# of control groups of version 2 and 1.
CONTAINERS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def find_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first of CUDA, Apple's MPS and the CPU there is.

    Raises UserError where there is no such device.
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
        raise UserError(f"there is no device {name!r} here; there is {', '.join(there)}")
    return device


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of `name`; `auto` is bfloat16 where `device` computes in it, else float32."""
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
    except OSError:  # neither Windows nor macOS says it in one place
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    words = set(
        next(
            (line for line in flags.splitlines() if line.startswith(("flags", "Features"))), ""
        ).split()
    )
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def free_memory(device: torch.device) -> float:
    """How many bytes of memory `device` has left; infinitely many where running out of it raises
    an error, or nobody can tell. Linux ends who uses what it has not got."""
    if device.type != "cpu":
        return math.inf
    try:
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024.0 * int(told["MemAvailable"].split()[0])
    except (OSError, LookupError, ValueError):
        return math.inf
    return min(free, *(_left_of(*names) for names in CONTAINERS))


def _left_of(limit: str, used: str, stat: str, cache: str) -> float:
    """What is left of a container's limit, its files in memory not counted, for they may go."""
    folder = Path("/sys/fs/cgroup")
    try:
        lines = (folder / stat).read_text().splitlines()
        files = next(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))
        most, now = (int((folder / name).read_text()) for name in (limit, used))
    except (OSError, StopIteration, ValueError):  # no such container, or no limit: "max"
        return math.inf
    return float(most - now + files)
