"""Weights from files and downloads: tensors by name, loaded without running any code."""

import hashlib
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamreel.pipeline.contents import CAFFE, HEAD, PICKLE, SAFETENSORS, TORCH, content_of
from dreamreel.pipeline.errors import UserError, expanded, missing, usable
from dreamreel.pipeline.networks.caffe import read_caffemodel
from dreamreel.pipeline.opening import check_readable, misnamed

Weights = Mapping[str, Tensor]
FORMATS = (
    "safetensors, files of torch.save (.pth, .pt, .ckpt, .bin) and Caffe's GoogLeNet are, whatever "
    "their ending"
)
DEEPEST = 16  # tables inside of others; far above any checkpoint's, against a file made to be deep


def read_weights(path: Path) -> Weights:
    """The tensors in the file `path`, by name: safetensors, what torch.save wrote, or the weights
    of Caffe's GoogLeNet (see `caffe`). Those inside of others have the names of all, such as
    "state_dict.conv1.weight".

    Raises UserError if the file is missing, is of another kind, cannot be read, or holds more than
    weights.
    """
    path = expanded(path)
    with usable(path):
        if not os.path.lexists(path):
            raise missing(path, "weights file")
    check_readable(path)
    path = path.absolute()
    try:
        with path.open("rb") as file:
            content = content_of(file.read(HEAD))
            if content == SAFETENSORS:
                from safetensors.torch import load_file

                return load_file(path)
            if content == CAFFE:
                return read_caffemodel(path)
            if content in (TORCH, PICKLE):
                _refuse_program(path)
                file.seek(0)  # torch would go by the ending of a name
                return _only_tensors(torch.load(file, map_location="cpu", weights_only=True), path)
    except Exception as error:  # what the libraries raise for a broken file is not documented
        if isinstance(error, UserError):
            raise
        raise _no_weights(path, error) from error
    raise UserError(misnamed(path, "weights", ()) or f"{path} is not a weights file; {FORMATS}")


def _refuse_program(path: Path) -> None:
    """Raise UserError if the file at `path` is an archive of TorchScript."""
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise UserError(f"{path} is a TorchScript program; save its state_dict() instead")


def _no_weights(path: Path, error: Exception) -> UserError:
    """The error that the file at `path`, which gave `error`, cannot be read as weights."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) and "unsupported" in text.lower():
        return UserError(
            f"{path} holds more than weights, and loading that could run code; "
            "save its state_dict() instead"
        )
    if isinstance(error, pickle.UnpicklingError):  # whose advice is to load it unsafely
        text = "it is damaged"
    reason = re.split(r"\n|\. |$", text)[0] or type(error).__name__
    other = misnamed(path, "weights", ("weights",))
    return UserError(other or f"{path} cannot be read as weights ({reason})")


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


def _only_tensors(loaded: Any, path: Path) -> Weights:
    """The tensors in `loaded`, a state dict or whatever a training script put one into, by name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def collect(inner: Any, above: tuple[str, ...]) -> None:
        if isinstance(inner, Tensor) and above:
            found[".".join(above)] = inner
        elif isinstance(inner, dict | list | tuple) and id(inner) not in seen:
            seen.add(id(inner))
            if len(above) < DEEPEST:
                pairs = inner.items() if isinstance(inner, dict) else enumerate(inner)
                for name, value in pairs:
                    collect(value, (*above, str(name)))

    collect(loaded, ())
    if not found:
        raise UserError(f"{path} holds no named weights")
    return found
