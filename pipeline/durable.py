"""Files that are written whole or not at all, and trees of numbers and tensors in files.

A file is created under a temporary name that cannot be guessed, and renamed once all of it is on
the disk. Links are never followed.
"""

import io
import math
import os
import pickle
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

# None, bool, int, float, str, tensors and arrays; and lists, and dicts by name, of these.
Tree = Any

# What torch.load raises for a file that is damaged or holds no tree.
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError),
    pickle.UnpicklingError,
)
# Flags of os.open: refuse a link, keep the descriptor from child processes, do not translate line
# ends. Each exists on some systems only.
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def save_tree(path: Path, tree: Tree) -> None:
    """Write `tree` to `path`, with arrays as tensors. A file that is there is replaced once the new
    one is on the disk."""
    import torch

    buffer = io.BytesIO()
    torch.save(_with_tensors(tree), buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def load_tree(path: Path) -> Tree:
    """The tree in the file `path`, with its tensors on the CPU. Loading it cannot run code.

    Raises one of `UNREADABLE` if the file is damaged or holds no tree.
    """
    import torch

    with open_own(path) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def check_finite(tree: Tree) -> None:
    """Raise ValueError if a number in `tree` is not finite."""
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
    """Let `write` write the file `path`, which gets that name once all of it is on the disk.

    Raises FileExistsError if there is one and `replace` is false.
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
    # A part of the name only: the longest name that is allowed would become too long.
    return path.parent / f".{path.name[:32]}.{secrets.token_hex(8)}.partial"


def create(path: Path) -> int:
    """Create the file `path` and return a descriptor to write to. Raises FileExistsError if
    anything is there, even a link."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_LINK, 0o666)


def open_own(path: Path, mode: str = "rb") -> IO[bytes]:
    """Open the file `path`, which we wrote, in `mode`: "rb", "r+b", or "ab", which creates it.

    Raises OSError if it is a link or not a regular file, and, when it is opened for writing, if it
    has a second name.
    """
    flags = {"rb": os.O_RDONLY, "ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT, "r+b": os.O_RDWR}
    # Not blocking: opening a pipe would wait for its other end.
    descriptor = os.open(path, flags[mode] | NO_LINK | getattr(os, "O_NONBLOCK", 0), 0o666)
    file = os.fdopen(descriptor, mode)
    try:
        check_own(os.fstat(descriptor), path, shared=mode == "rb")
    except OSError:
        file.close()
        raise
    return file


def check_own(found: os.stat_result, path: Path, shared: bool = True) -> None:
    """Raise OSError unless `found`, the status of `path`, is that of a regular file. If `shared` is
    false, it may not have a second name (a hard link) either."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file")
    if not shared and found.st_nlink > 1:
        raise OSError(f"{path} has a second name (a hard link), so that two files would be changed")


def link_or_copy(path: Path, name: Path) -> None:
    """Give the file `path` the second name `name`, or copy it where the file system has no links.

    Raises FileExistsError if there is something at `name`.
    """
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        with open_own(path) as source, os.fdopen(create(name), "wb") as file:
            shutil.copyfileobj(source, file)
            flush(file)


def publish(partial: Path, path: Path, replace: bool = True) -> None:
    """Rename the file `partial`, which is on the disk, to `path`, and wait until the name is on the
    disk too.

    Raises FileExistsError if there is something at `path` and `replace` is false.
    """
    take_name(partial, path, replace)
    flush_folder(path.parent)


def take_name(partial: Path, path: Path, replace: bool = True) -> None:
    """Rename `partial` to `path`, as `publish` does, but do not wait for the disk."""
    if replace:
        partial.replace(path)
    else:
        _take_new_name(partial, path)


def flush_folder(path: Path) -> None:
    """Wait until the names in the folder `path` are on the disk."""
    if os.name != "posix":  # Windows cannot open a folder
        return
    try:
        folder = os.open(path, os.O_RDONLY)
    except PermissionError:  # it may be written to but not listed
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def flush(file: IO[bytes]) -> None:
    """Wait until all that was written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _take_new_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path, follow_symlinks=False)  # atomic; fails if there is one
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
