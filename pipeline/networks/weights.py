"""Weights from files and downloads: tensors by name, loaded without running any code."""

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

Weights = Mapping[str, Tensor]


def read_weights(path: Path) -> Weights:
    """The tensors by name in the file `path`: .safetensors, or .pth or .pt with weights alone.

    Raises UserError if the file is missing, is of another kind, cannot be read, or holds more than
    weights.
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
    except Exception as error:  # what the libraries raise for a broken file is not documented
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise UserError(
                f"{path} holds more than weights, and loading that could run code; "
                "save its state_dict() instead"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as weights ({reason})") from error
    raise UserError(f"{path} is not a weights file; give a .safetensors, .pth or .pt file")


def fetch_weights(url: str, name: str, option: str = "--weights") -> Weights:
    """The weights of the network `name`, from torch's cache, or downloaded into it from `url` with
    a progress bar and a verified checksum.

    Raises UserError if they cannot be downloaded; the message names `option` as another way to give
    them.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / url.rpartition("/")[2]
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A file's name ends with the first digits of its SHA-256: resnet18-f37072fd.pth
            checksum = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(file), checksum, progress=True)
        except (OSError, RuntimeError) as error:  # no connection, full disk; wrong checksum
            reason = getattr(error, "reason", error)
            raise UserError(
                f"the weights of {name} could not be downloaded ({reason}): download {url} "
                f"elsewhere and put it into {folder}, or give it with {option}"
                + ("; the network dreamnet works offline" if option == "--weights" else "")
            ) from error
    return read_weights(file)


def check_numbers(weights: Weights, given: str) -> None:
    """Raise UserError unless all of `weights` are dense, real, finite numbers. The message calls
    the weights `given`."""
    for name, tensor in weights.items():
        if (kind := _odd_kind(tensor)) is not None:
            raise UserError(f"{given}: {name!r} is {kind}; plain numbers are needed")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{given}: {name!r} holds NaN or infinite numbers")


def _odd_kind(tensor: Tensor) -> str | None:
    """Why `tensor` is not a plain array of real numbers, in a word or two; None if it is one."""
    if tensor.device.type == "meta":
        return "without data"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.dtype == torch.bool or tensor.is_complex():
        return str(tensor.dtype).removeprefix("torch.")
    return None


def digest_of(weights: Weights) -> str:
    """The SHA-256 of `weights`, the same for every kind of file that holds them."""
    found = hashlib.sha256()
    for name in sorted(weights):
        if _odd_kind(weights[name]) is not None:  # no network takes it
            continue
        tensor = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _is_pickle(path: Path) -> bool:
    """Whether the file at `path` begins like a pickle, or is a zip archive like torch's files."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _only_tensors(loaded: Any, path: Path) -> Weights:
    """The tensors in `loaded`: a state dict, or a checkpoint in which a training script put one."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"{path} holds no named weights")
    return {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
