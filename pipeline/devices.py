"""Where a network computes, and how precisely."""

from pathlib import Path

import torch

from dreamreel.pipeline.errors import UserError


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
