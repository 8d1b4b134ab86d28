"""What the layers of a network are: found by running it once on tensors without data."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

PROBE_SIZE = 320  # pixels; a multiple of every stride in use, and enough for every network


@dataclass(frozen=True)
class Field:
    """How a place in a feature map sees the picture: both in pixels of it.

    `receptive` is None where a place sees the whole picture.
    """

    stride: int = 1
    receptive: int | None = 1


@dataclass(frozen=True)
class Layer:
    """One named layer: its channels, and the stride and receptive field of its places.

    `coarsest` is the largest stride on the way to it, `needs` the modules that run before it is
    known, itself included.
    """

    name: str
    channels: int
    field: Field
    coarsest: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Anatomy:
    """A network's layers in the order in which they are computed, and its (convolution, batch
    norm) pairs that can be folded into one."""

    layers: dict[str, Layer]
    foldable: tuple[tuple[str, str], ...]


def dissect(module: nn.Module) -> Anatomy:
    """The anatomy of `module`, which must be on the meta device and in eval mode."""
    trace = _FieldTrace()
    layers: dict[str, Layer] = {}
    ran: list[str] = []
    strides = [1]
    made_by: dict[int, str] = {}
    folds: list[tuple[str, str, Tensor]] = []

    def watch(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not any(part.children()):
                ran.append(name)
            if isinstance(part, nn.Conv2d):
                made_by[id(output)] = name
            if isinstance(part, nn.BatchNorm2d) and id(inputs[0]) in made_by:
                folds.append((made_by[id(inputs[0])], name, inputs[0]))
            if isinstance(output, Tensor) and output.ndim in (2, 4) and output.shape[1] > 0:
                layers.pop(name, None)
                field = trace.of(output)
                strides.append(field.stride)
                layers[name] = Layer(name, output.shape[1], field, max(strides), tuple(ran))

        return hook

    handles = [
        part.register_forward_hook(watch(name)) for name, part in module.named_modules() if name
    ]
    try:
        with torch.no_grad(), trace:
            module(torch.empty(1, 3, PROBE_SIZE, PROBE_SIZE, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    once = {name for name in ran if ran.count(name) == 1}
    foldable = tuple(
        (conv, norm)
        for conv, norm, between in folds
        if trace.readers(between) == 1 and {conv, norm} <= once
    )
    return Anatomy(layers, foldable)


class _FieldTrace(TorchDispatchMode):
    """Follows stride and receptive field through every operation.

    Convolutions and poolings widen a field; everything else takes the widest of what it is given.
    A map that is pooled to one place has no field of its own: it gates, as in squeeze-and-
    excitation, and is left out of the widest.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[int, Field | None] = {}
        self._readers: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is given twice

    def of(self, tensor: Tensor) -> Field:
        return self._fields.get(id(tensor)) or Field(1, None)

    def readers(self, tensor: Tensor) -> int:
        return self._readers.get(id(tensor), 0)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = list(_tensors(args))
        for tensor in inputs:
            self._readers[id(tensor)] = self._readers.get(id(tensor), 0) + 1
        field = self._after(func.overloadpacket.__name__, args, inputs)
        for tensor in _tensors((out,)):
            self._alive.append(tensor)
            self._fields[id(tensor)] = field
        return out

    def _after(self, name: str, args: tuple[Any, ...], inputs: list[Tensor]) -> Field | None:
        if name.startswith("empty"):
            return Field()
        known = [field for field in map(self._known, inputs) if field is not None]
        if not known or name in ("mean", "_adaptive_avg_pool2d", "adaptive_max_pool2d"):
            return None
        field = max(known, key=lambda f: (f.stride, f.receptive or 0))
        receptive = max(f.receptive or 0 for f in known)
        field = replace(field, receptive=receptive)
        if name == "convolution":
            kernel, stride, dilation = args[1].shape[2], args[3][0], args[5][0]
        elif name.startswith("max_pool2d"):
            kernel, stride, dilation = args[1][0], (args[2] or args[1])[0], _at(args, 4, 1)
        elif name == "avg_pool2d":
            kernel, stride, dilation = args[1][0], (_at(args, 2, None) or args[1][0]), 1
        else:
            return field
        grown = (field.receptive or 0) + (kernel - 1) * dilation * field.stride
        return Field(field.stride * stride, grown)

    def _known(self, tensor: Tensor) -> Field | None:
        return self._fields.get(id(tensor))


def _at(args: tuple[Any, ...], index: int, default: Any) -> Any:
    if len(args) <= index or not args[index]:
        return default
    value = args[index]
    return value[0] if isinstance(value, list | tuple) else value


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
