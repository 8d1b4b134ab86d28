"""The memory that this process may still use, and pictures that do not fit into it."""

import errno
import math
from pathlib import Path

from dreamreel.pipeline.errors import PassingError

# Where Linux describes the memory of this process's control group, for versions 2 and 1: the files
# below /sys/fs/cgroup with the limit, the use and the statistics, and the statistic that counts
# cached files.
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
# Bytes a pixel that a picture takes at least: decoded to RGBA of 8 bits, then as float32 RGB.
LEAST_BYTES = 4 + 12

# Parts of the messages of PyTorch's allocators, oneDNN, cuBLAS, cuDNN and OpenCV when memory runs
# out.
SIGNS = (
    "Insufficient memory",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
WHOLE_TEXTS = (  # messages that count only as a whole: longer ones have other causes
    "std::bad_alloc",
    "bad allocation",
    "could not create a primitive",
    "could not create a memory",
    "could not create a memory object",
)


def free_memory() -> float:
    """How many bytes of memory this process may still use; infinity if that is unknown."""
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024.0 * int(table["MemAvailable"].split()[0])
    except (OSError, LookupError, ValueError):
        return math.inf
    return min(free, *(_left_of(*names) for names in CGROUPS))


def check_fits(
    what: object,
    size: tuple[int, int],
    bytes_per_pixel: float = LEAST_BYTES,
    advice: str = "a smaller one would work",
) -> None:
    """Raise UserError if a picture of `size` (height, width) takes more memory than is free, at so
    many bytes per pixel. The message calls it `what`, and ends with `advice`."""
    needs, free = bytes_per_pixel * math.prod(size), min(free_memory(), addresses_left())
    if needs > free:
        raise PassingError(
            f"{what} is {size[1]}x{size[0]} pixels, which take at least {needs / 2**30:.1f} GiB of "
            f"memory, and {free / 2**30:.1f} GiB are free; {advice}"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the memory of the CPU or of a GPU ran out."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error)
    # OpenCV's errors are no RuntimeError; torch.OutOfMemoryError is one.
    known = isinstance(error, RuntimeError) or type(error).__module__.startswith("cv2")
    return known and (text in WHOLE_TEXTS or any(sign in text for sign in SIGNS))


def addresses_left() -> float:
    """How many bytes of addresses this process may still take (ulimit -v)."""
    try:
        import resource  # POSIX alone has it

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError, LookupError, ValueError):
        return math.inf
    return math.inf if most == resource.RLIM_INFINITY else most - pages * resource.getpagesize()


def _left_of(limit: str, used: str, stat: str, cache: str) -> float:
    """How many bytes a control group may still use. Cached files count as free, since the system
    drops them when memory is short."""
    folder = Path("/sys/fs/cgroup")
    try:
        lines = (folder / stat).read_text().splitlines()
        files = next(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))
        most, now = (int((folder / name).read_text()) for name in (limit, used))
    except (OSError, StopIteration, ValueError):  # no such group, or no limit: "max"
        return math.inf
    return float(most - now + files)
