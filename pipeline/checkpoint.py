"""State on disk: trees of numbers, tensors and arrays, written whole or not at all."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

# Of None, bool, int, float, str, tensors and arrays, in dicts with names for keys, and lists.
Tree = Any


def save_tree(path: Path, tree: Tree) -> None:
    """Write `tree` to `path`, durably; arrays become tensors. What was there stays until then."""
    buffer = io.BytesIO()
    torch.save(_with_tensors(tree), buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def load_tree(path: Path) -> Tree:
    """The tree at `path`, its tensors on the CPU. Nothing in it can run code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill `path`, which appears once all of it is on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
            flush(file)
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Give `partial`, which is on the disk, the name `path`, and have that on the disk too."""
    partial.replace(path)
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def flush(file: IO[bytes]) -> None:
    """Have what was written to `file` on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _with_tensors(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {name: _with_tensors(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_with_tensors(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(tree))
    if isinstance(tree, Tensor):
        return tree.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tree
