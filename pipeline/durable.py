"""Files that are written whole or not at all, and trees of numbers and tensors in files.

A file is created under a temporary name that cannot be guessed, and renamed once all of it is on
the disk. Links are never followed.
"""

import json
import math
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

# None, bool, int, float, str, tensors and arrays; and lists, and dicts by name, of these.
Tree = Any

TENSOR = "<tensor>"  # the name that stands for a tensor's number, where no other name can stand

# What `load_tree` raises for a file that is damaged or holds no tree. RuntimeError: of torch, and
# of nesting that is too deep.
UNREADABLE = (
    *(OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError),
    *(AttributeError, MemoryError),
)
# Flags of os.open: refuse a link, keep the descriptor from child processes, do not translate line
# ends. Each exists on some systems only.
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def save_tree(path: Path, tree: Tree) -> None:
    """Write `tree` to `path`, with arrays as tensors. A file that is there is replaced once the new
    one is on the disk.

    It is a safetensors file: the tensors, by number, and in its metadata the rest of the tree, as
    JSON, and a checksum.
    """
    from safetensors.torch import save

    tensors: list[Any] = []
    plain = json.dumps(_without_tensors(tree, tensors))
    metadata = {"tree": plain, "crc32": str(_checksum(plain, tensors))}
    data = save({str(number): one for number, one in enumerate(tensors)}, metadata)
    write_whole(path, lambda file: file.write(data))


def load_tree(path: Path, most: int) -> Tree:
    """The tree in the file `path`, which has at most `most` bytes, with its tensors on the CPU.
    Loading it cannot run code.

    Raises one of `UNREADABLE` if the file is larger, damaged or holds no tree.
    """
    from safetensors import SafetensorError, safe_open

    size = _own_bytes(path)
    if size > most:
        raise ValueError(f"it has {size >> 20} MiB, more than the {most >> 20} that it may have")
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            tensors = [file.get_tensor(str(number)) for number in range(len(file.keys()))]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if found["crc32"] != str(_checksum(found["tree"], tensors)):
        raise ValueError("its bytes have changed since it was written")
    return _with_tensors(json.loads(found["tree"]), tensors)


def names_in_tree(path: Path) -> set[str]:
    """The names at the top of the tree in the file `path`, whose tensors are not read. Raises one
    of `UNREADABLE` if the file is damaged or holds no such tree."""
    from safetensors import SafetensorError, safe_open

    _own_bytes(path)
    try:
        with safe_open(path, "np") as file:  # without torch, whose import takes seconds
            return set(dict(json.loads((file.metadata() or {})["tree"])))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


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


def _own_bytes(path: Path) -> int:
    """The bytes of the file `path`, which we wrote. Raises OSError as `open_own` does."""
    with open_own(path) as file:
        return os.fstat(file.fileno()).st_size


def _checksum(plain: str, tensors: list[Any]) -> int:
    """The CRC-32 of the JSON text `plain` and of `tensors`: of their types, shapes and bytes."""
    import torch

    about = [(str(one.dtype), list(one.shape)) for one in tensors]
    found = zlib.crc32(f"{plain}{about}".encode())
    for one in tensors:
        found = zlib.crc32(one.reshape(-1).view(torch.uint8).numpy(), found)
    return found


def _without_tensors(tree: Tree, tensors: list[Any]) -> Tree:
    """`tree` with a number in place of each tensor and array, which are added to `tensors`."""
    import torch

    if isinstance(tree, dict):
        return {name: _without_tensors(value, tensors) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_tensors(value, tensors) for value in tree]
    if isinstance(tree, np.ndarray):
        tree = torch.from_numpy(np.ascontiguousarray(tree))
    if isinstance(tree, torch.Tensor):
        # A copy: safetensors refuses tensors that share their memory.
        tensors.append(tree.detach().cpu().clone(memory_format=torch.contiguous_format))
        return {TENSOR: len(tensors) - 1}
    return tree


def _with_tensors(plain: Any, tensors: list[Any]) -> Tree:
    """The tree of which `_without_tensors` made `plain` and `tensors`."""
    if isinstance(plain, dict):
        if plain.keys() == {TENSOR}:
            return tensors[plain[TENSOR]]
        return {name: _with_tensors(value, tensors) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_with_tensors(value, tensors) for value in plain]
    return plain
