"""The layers of a network, with their strides and receptive fields.

They are found by running the network once on tensors without data.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Pixels, of the side of the image with which a network is run: a multiple of 32, the largest stride
# in use, and large enough for every network.
PROBE_SIZE = 320


@dataclass(frozen=True)
class Field:
    """Which pixels of the image the places of a layer see, along one axis or along both.

    `stride`: pixels between two places. `receptive`: the receptive field of a place, in pixels;
    None if a place sees the whole image. `first`: the pixel at which the field of the first place
    begins; below 0 if that lies in the padding.
    """

    stride: int = 1
    receptive: int | None = 1
    first: int = 0


Shape = tuple[int, ...]
Fields = tuple[Field, Field]  # down and across; they differ, since some kernels are not square


@dataclass(frozen=True)
class Layer:
    """A named layer: the number of its channels, and what its places see.

    `coarsest`: the largest stride of this layer and all before it, in pixels. `needs`: the modules
    that must run to compute it, itself included.
    """

    name: str
    channels: int
    field: Field
    coarsest: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Anatomy:
    """The layers of a network by name, in the order in which they are computed, its pairs of
    (convolution, batch norm) that can be folded into one layer, and those of (module, max pooling)
    where nothing but the pooling reads what the module gives."""

    layers: dict[str, Layer]
    foldable: tuple[tuple[str, str], ...]
    pooled: tuple[tuple[str, str], ...] = ()


def dissect(module: nn.Module) -> Anatomy:
    """The layers and foldable pairs of `module`, which must be on the meta device, in eval mode."""
    trace = _FieldTrace()
    layers: dict[str, Layer] = {}
    calls: list[str] = []
    ran: list[str] = []  # those of modules without others inside
    strides = [1]
    made_by: dict[int, str] = {}
    folds: list[tuple[str, str, Tensor]] = []
    given_by: dict[int, str] = {}
    pools: list[tuple[str, str, Tensor]] = []

    def watch(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls.append(name)
            if not any(part.children()):
                ran.append(name)
            if isinstance(part, nn.Conv2d):
                made_by[id(output)] = name
            if isinstance(part, nn.BatchNorm2d) and id(inputs[0]) in made_by:
                folds.append((made_by[id(inputs[0])], name, inputs[0]))
            if isinstance(part, nn.MaxPool2d) and id(inputs[0]) in given_by:
                pools.append((given_by[id(inputs[0])], name, inputs[0]))
            given_by[id(output)] = name  # the outermost module that gives it, which ends last
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
    once = {name for name, times in Counter(calls).items() if times == 1}
    foldable = tuple(
        (conv, norm)
        for conv, norm, between in folds
        if trace.readers(between) == 1 and {conv, norm} <= once
    )
    pooled = tuple(
        (maker, pool)
        for maker, pool, between in pools
        if trace.readers(between) - trace.writers(between) == 1 and {maker, pool} <= once
    )
    return Anatomy(layers, foldable, pooled)


class Trace(TorchDispatchMode):
    """Sees every operation that runs while it is entered, on the meta device.

    Many of torch's own operations there import its compiler, which takes a second: the commonest
    are answered here.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the compiler is imported, to keep it from what it never sees

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        shape = SHAPES[name](*args) if name in SHAPES else None
        if shape is not None:
            return next(iter(_tensors(args))).new_empty(shape)
        return func(*args, **(kwargs or {}))


class _FieldTrace(Trace):
    """Follows stride and receptive field through every operation.

    Convolutions and poolings widen a field. Any other operation sees what its inputs see together.
    A map that is pooled to one place has no field: it acts as a gate, as in squeeze-and-excitation,
    and does not widen the field of the map that it gates.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[int, Fields | None] = {}
        self._readers: dict[int, int] = {}
        self._writers: dict[int, int] = {}  # operations in place, which are readers too
        self._alive: list[Any] = []  # tensors kept alive, so that no id is reused

    def of(self, tensor: Tensor) -> Field:
        fields = self._fields.get(id(tensor))
        return _union(fields) if fields else Field(1, None)

    def readers(self, tensor: Tensor) -> int:
        return self._readers.get(id(tensor), 0)

    def writers(self, tensor: Tensor) -> int:
        return self._writers.get(id(tensor), 0)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        inputs = list(_tensors(args))
        for tensor in inputs:
            self._readers[id(tensor)] = self._readers.get(id(tensor), 0) + 1
        if func._schema.is_mutable and inputs:
            self._writers[id(inputs[0])] = self._writers.get(id(inputs[0]), 0) + 1
        fields = self._after(func.overloadpacket.__name__, args, inputs)
        for tensor in _tensors((out,)):
            self._alive.append(tensor)
            self._fields[id(tensor)] = fields
        return out

    def _after(self, name: str, args: tuple[Any, ...], inputs: list[Tensor]) -> Fields | None:
        if name.startswith("empty"):
            return Field(), Field()
        known = [fields for fields in map(self._known, inputs) if fields is not None]
        if not known or name in ("mean", "_adaptive_avg_pool2d", "adaptive_max_pool2d"):
            return None
        rows, columns = (_union(fields) for fields in zip(*known, strict=True))
        return _widened(rows, name, args, 0), _widened(columns, name, args, 1)

    def _known(self, tensor: Tensor) -> Fields | None:
        return self._fields.get(id(tensor))


def _convolved(x: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Shape | None:
    stride, padding, dilation, transposed = rest[:4]
    if transposed or x.ndim != 4:
        return None
    sides = _slid(x, weight.shape[2:], stride, padding, dilation)
    return x.shape[0], weight.shape[0], *sides


def _averaged(x: Tensor, size: Sequence[int], *rest: Any) -> Shape | None:
    stride, padding, ceil = (*rest, *(None, (0, 0), False)[len(rest) :])[:3]
    if len(size) != 2 or x.ndim != 4:
        return None
    return *x.shape[:2], *_slid(x, size, stride or size, padding, (1, 1), ceil)


def _concatenated(tensors: Sequence[Tensor], axis: int = 0) -> Shape | None:
    shape = list(tensors[0].shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return tuple(shape)


def _together(*values: Any) -> Shape:
    """The shape of what an operation on each place of `values`, maps and numbers, gives."""
    return np.broadcast_shapes(*(getattr(value, "shape", ()) for value in values))


def _reduced(x: Tensor, axes: Sequence[int] | None = None, keep: bool = False) -> Shape:
    gone = {axis % x.ndim for axis in axes} if axes else set(range(x.ndim))
    sides = ((side, axis in gone) for axis, side in enumerate(x.shape))
    return tuple(1 if is_gone else side for side, is_gone in sides if keep or not is_gone)


def _slid(
    x: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool = False,
) -> Iterator[int]:
    """The height and width of what a window of `size` gives that slides over the map `x`."""
    for axis in (0, 1):
        side, step, pad = x.shape[2 + axis], stride[axis], padding[axis]
        room = side + 2 * pad - dilation[axis] * (size[axis] - 1) - 1
        if room < 0:
            raise RuntimeError("a window is larger than its map")
        count = (room + (step - 1 if ceil else 0)) // step + 1
        yield count - (ceil and (count - 1) * step >= side + pad)


SHAPES: dict[str, Callable[..., Shape | None]] = {
    "addmm": lambda bias, x, weight: (x.shape[0], weight.shape[1]),
    "addcmul": _together,
    "add": lambda x, y, *rest: _together(x, y),
    "mul": lambda x, y: _together(x, y),
    "relu": lambda x: tuple(x.shape),
    "mean": _reduced,
    "convolution": _convolved,
    "avg_pool2d": _averaged,
    "cat": _concatenated,
}


def _union(fields: Iterable[Field]) -> Field:
    """The field of a map that is made of maps with `fields`: all pixels that any of them sees."""
    fields = list(fields)
    first = min(field.first for field in fields)
    end = max(field.first + (field.receptive or 0) for field in fields)
    return Field(max(field.stride for field in fields), end - first, first)


def _widened(field: Field, name: str, args: tuple[Any, ...], axis: int) -> Field:
    """The `field` along `axis` (0 down, 1 across) after the operation `name` with `args`."""
    if name == "convolution":
        kernel, dilation = args[1].shape[2 + axis], args[5][axis]
        stride, padding = args[3][axis], args[4][axis]
    elif name.startswith("max_pool2d") or name == "avg_pool2d":
        kernel = args[1][axis]
        stride, padding = _at(args, 2, axis, kernel), _at(args, 3, axis, 0)
        dilation = _at(args, 4, axis, 1) if name.startswith("max_pool2d") else 1
    else:
        return field
    grown = (field.receptive or 0) + (kernel - 1) * dilation * field.stride
    return Field(field.stride * stride, grown, field.first - padding * field.stride)


def _at(args: tuple[Any, ...], index: int, axis: int, default: int) -> int:
    if len(args) <= index or not args[index]:
        return default
    value = args[index]
    return value[axis] if isinstance(value, list | tuple) else value


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
