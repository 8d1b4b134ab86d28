"""Files written whole or not at all, and trees of numbers and tensors in them.

A file is written under a name of its own that nobody can guess, created exclusively, and takes its
place once all of it is on the disk. No link is followed on the way.
"""

import io
import math
import os
import pickle
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

# Of None, bool, int, float, str, tensors and arrays, in dicts with names for keys, and lists.
Tree = Any

# What torch raises over files that are damaged, or no tree at all.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError),
    pickle.UnpicklingError,
)
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def save_tree(path: Path, tree: Tree) -> None:
    """Write `tree` to `path`, durably; arrays become tensors. What was there stays until then."""
    import torch

    buffer = io.BytesIO()
    torch.save(_with_tensors(tree), buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def load_tree(path: Path) -> Tree:
    """The tree at `path`, its tensors on the CPU. Nothing in it can run code.

    Raises one of `UNREADABLE` where it is none.
    """
    import torch

    with open_own(path) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def check_finite(tree: Tree) -> None:
    """Raise ValueError where one of the numbers in `tree` is not finite."""
    import torch

    if isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            check_finite(value)
    elif isinstance(tree, torch.Tensor):
        if tree.is_floating_point() and not bool(tree.isfinite().all()):
            raise ValueError("a tensor holds numbers that are not finite")
    elif isinstance(tree, float) and not math.isfinite(tree):
        raise ValueError(f"{tree} is not finite")


def write_whole(path: Path, write: Callable[[IO[bytes]], object], replace: bool = True) -> None:
    """Let `write` fill the file `path`, which appears once all of it is on the disk.

    Raises FileExistsError where there is one already and it is not to `replace` it.
    """
    partial = partial_path(path)
    file = os.fdopen(create(partial), "wb")
    try:
        with file:
            write(file)
            flush(file)
        publish(partial, path, replace)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def partial_path(path: Path) -> Path:
    """A hidden name beside `path` that cannot be guessed."""
    # Not the whole name: the longest one allowed would become too long.
    return path.parent / f".{path.name[:32]}.{secrets.token_hex(8)}.partial"


def create(path: Path) -> int:
    """A new file at `path`, as a descriptor to write to. Raises FileExistsError where anything is
    there, a link included."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_LINK, 0o666)


def open_own(path: Path, mode: str = "rb") -> IO[bytes]:
    """The file at `path` that we wrote, open in `mode`: "rb", "ab" (made where there is none) or
    "r+b". Raises OSError where it is a link, or no regular file, or one with other names."""
    flags = {"rb": os.O_RDONLY, "ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT, "r+b": os.O_RDWR}
    # What is no file may keep waiting whoever opens it.
    descriptor = os.open(path, flags[mode] | NO_LINK | getattr(os, "O_NONBLOCK", 0), 0o666)
    file = os.fdopen(descriptor, mode)
    try:
        check_own(os.fstat(descriptor), path, shared=mode == "rb")
    except OSError:
        file.close()
        raise
    return file


def check_own(found: os.stat_result, path: Path, shared: bool = True) -> None:
    """Raise OSError unless what was `found` at `path` is a regular file; and, where it is not
    `shared`, one with no other name."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is no regular file")
    if not shared and found.st_nlink > 1:
        raise OSError(f"{path} has another name as well, which would be written to")


def publish(partial: Path, path: Path, replace: bool = True) -> None:
    """Give the file `partial`, which is on the disk, the name `path`, on the disk as well.

    Raises FileExistsError where there is something already and it is not to `replace` it.
    """
    take_name(partial, path, replace)
    flush_folder(path.parent)


def take_name(partial: Path, path: Path, replace: bool = True) -> None:
    """Give `partial` the name `path`, as `publish` does, but for the disk."""
    if replace:
        partial.replace(path)
    else:
        _take_new_name(partial, path)


def flush_folder(path: Path) -> None:
    """Have the names in the folder `path` on the disk."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def flush(file: IO[bytes]) -> None:
    """Have what was written to `file` on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _take_new_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path, follow_symlinks=False)  # fails where there is one, at one go
    except FileExistsError:
        raise
    except (OSError, NotImplementedError) as error:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from error
        partial.rename(path)
    else:
        partial.unlink()


def _with_tensors(tree: Tree) -> Tree:
    import torch

    if isinstance(tree, dict):
        return {name: _with_tensors(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_with_tensors(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(tree))
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tree
