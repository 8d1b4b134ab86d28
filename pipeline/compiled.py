"""Functions in C, compiled once for this machine, where there is a C compiler.

They are kept in the user's cache folder. Without a compiler, or where its result does not load,
there are none, and whoever wants them takes the plain way.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from platformdirs import user_cache_path

from dreamreel.pipeline.durable import write_whole

COMPILE = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-c")
# GCC prefers half of AVX-512's width; with all of it, pooling takes four fifths of the time.
COMPILE_X86 = ("-mprefer-vector-width=512",)
PATIENCE = 60.0  # seconds for the compiler, which takes 0.3


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The functions of the file `source`, compiled at the first call on this machine; None if they
    cannot be compiled and loaded here."""
    # The threads of a process are those of torch's OpenMP, which torch has loaded by now.
    if sys.platform != "linux" or not torch.backends.openmp.is_available():
        return None
    compiler = shutil.which("gcc") or shutil.which("cc")
    kept = user_cache_path("dreamreel") / f"{source.stem}-{_digest(source)}.so"
    return _trusted(kept) or (_made(compiler, source, kept) if compiler else None)


def _trusted(file: Path) -> ctypes.CDLL | None:
    """The functions in the file `file`; None if it does not load, or if anyone but this user may
    have written it."""
    try:
        found = file.stat()
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        return ctypes.CDLL(str(file))
    except OSError:
        return None


def _made(compiler: str, source: Path, kept: Path) -> ctypes.CDLL | None:
    """The functions of `source`, compiled anew by `compiler`, and written to the file `kept` where
    that is possible; None if that fails."""
    try:
        with TemporaryDirectory() as folder:
            part, made = Path(folder) / "part.o", Path(folder) / "whole.so"
            # In two steps: linked with -fopenmp, it might bring threads of its own beside torch's.
            _call(compiler, *_options(), source, "-o", part)
            _call(compiler, "-shared", part, "-o", made)
            with suppress(OSError):  # a folder that cannot be written to: compiled anew each time
                kept.parent.mkdir(parents=True, exist_ok=True)
                code = made.read_bytes()
                write_whole(kept, lambda to: to.write(code))
                kept.chmod(0o600)
            made.chmod(0o700)  # the umask may let a group write
            # The temporary folder may be one from which nothing may be run.
            return _trusted(made) or _trusted(kept)
    except (OSError, subprocess.SubprocessError):
        return None


def _call(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


def _options() -> tuple[str, ...]:
    return COMPILE + (COMPILE_X86 if platform.machine() in ("x86_64", "AMD64") else ())


def _digest(source: Path) -> str:
    """What the functions of `source` depend on, compiled, as a short digest: a home folder may be
    shared by machines with different processors."""
    found = hashlib.sha256(source.read_bytes() + " ".join(_options()).encode())
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = [line for line in lines if line.startswith(("flags", "Features"))]
        found.update("".join(flags[:1]).encode())
    return found.hexdigest()[:16]
