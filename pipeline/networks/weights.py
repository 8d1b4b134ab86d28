"""Weights from files and from the net: tensors by name, and nothing that could run."""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.errors import UserError, expanded, usable
from dreamreel.pipeline.opening import check_readable

State = Mapping[str, Tensor]


def read_weights(path: Path) -> State:
    """The tensors in `path` by name: safetensors, or a PyTorch file of nothing but weights.

    Raises UserError where the file is missing, of another kind, or holds more than weights.
    """
    path = expanded(path)
    with usable(path):
        if not os.path.lexists(path):
            raise UserError(f"there is no weights file {path}")
    check_readable(path)
    path = path.absolute()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix in (".pth", ".pt"):
            return _only_tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except Exception as error:  # what a broken file raises is not documented
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise UserError(
                f"{path} holds more than weights, and loading that could run code; "
                "save its state_dict() instead"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as weights ({reason})") from error
    raise UserError(f"{path} is no weights file; .safetensors, .pth and .pt are read")


def fetch_weights(url: str, name: str, option: str = "--weights") -> State:
    """The weights of the network `name` at `url`, from torch's cache, or fetched into it with
    progress, their checksum verified. Raises UserError where they cannot be fetched; a file of
    them could be given by `option`."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / url.rpartition("/")[2]
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Their file names end in the beginning of their SHA-256: resnet18-f37072fd.pth
            checksum = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(file), checksum, progress=True)
        except (OSError, RuntimeError) as error:  # no connection, a full disk; a wrong checksum
            reason = getattr(error, "reason", error)
            raise UserError(
                f"the weights of {name} could not be fetched ({reason}): fetch {url} elsewhere "
                f"and put it into {folder}, or name it with {option}"
                + ("; the network dreamnet works offline" if option == "--weights" else "")
            ) from error
    return read_weights(file)


def check_numbers(weights: State, given: str) -> None:
    """Raise UserError unless all of `weights`, which are called `given`, are finite numbers."""
    for name, tensor in weights.items():
        if (kind := _odd_kind(tensor)) is not None:
            raise UserError(f"{given}: {name!r} is {kind}, where plain numbers were expected")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{given}: {name!r} holds numbers that are not finite (NaN, infinite)")


def _odd_kind(tensor: Tensor) -> str | None:
    """What makes `tensor` no plain array of numbers; None where nothing does."""
    if tensor.device.type == "meta":
        return "without data"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.dtype == torch.bool or tensor.is_complex():
        return str(tensor.dtype).removeprefix("torch.")
    return None


def digest_of(state: State) -> str:
    """The SHA-256 of the weights in `state`, whatever kind of file they came in."""
    found = hashlib.sha256()
    for name in sorted(state):
        if _odd_kind(state[name]) is not None:  # which no network takes
            continue
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _is_pickle(path: Path) -> bool:
    """Whether the file at `path` begins as a pickle does, or as the archive torch puts one into."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _only_tensors(loaded: Any, path: Path) -> State:
    """A state dict out of a checkpoint, where training scripts wrap it."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"{path} holds no weights by name")
    return {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
