"""State for the disk: dataclasses as trees of numbers and tensors, field by field.

The fields of a dataclass and their types are its schema. `encode` writes exactly these fields, and
`decode` checks the type of each. A field may be None, bool, int, float, str, a tensor, an array or
another dataclass; a list, a tuple, or a dict by name, of these; or one of these or None.
"""

import types
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.durable import Tree

State = TypeVar("State")


def encode(value: Any) -> Tree:
    """The tree of `value`, a dataclass or the value of a field. Raises TypeError for others."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: encode(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {name: encode(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [encode(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str | Tensor | np.ndarray):
        return value
    raise TypeError(f"{type(value).__name__} cannot be saved")


def decode(kind: type[State], tree: Tree) -> State:
    """The dataclass of the class `kind` from which `encode` made `tree`.

    Raises ValueError, which names the field, if a field is missing, unknown or of another type.
    """
    found: State = _decoded(kind, tree, kind.__name__)
    return found


def on_device(value: State, device: torch.device) -> State:
    """A copy of the dataclass `value` with all its tensors on `device`: those with four dimensions
    channels last, the others contiguous."""
    changes = {
        one.name: _moved(getattr(value, one.name), device)
        for one in fields(value)  # type: ignore[arg-type]
        if one.init
    }
    return replace(value, **changes)  # type: ignore[type-var]


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        images = value.ndim == 4
        layout = torch.channels_last if images else torch.contiguous_format
        return value.to(device).contiguous(memory_format=layout)
    if is_dataclass(value) and not isinstance(value, type):
        return on_device(value, device)
    if isinstance(value, list | tuple):
        return type(value)(_moved(one, device) for one in value)
    if isinstance(value, dict):
        return {name: _moved(one, device) for name, one in value.items()}
    return value


def _decoded(kind: Any, tree: Tree, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if hasattr(origin, "__value__"):  # a named type, as NDArray of some versions of numpy is
        return _decoded(origin.__value__[inner], tree, where)
    if origin in (Union, types.UnionType):
        others = [one for one in inner if one is not types.NoneType]
        if tree is None and len(others) < len(inner):
            return None
        return _decoded(others[0], tree, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return _decoded_fields(kind, tree, where)
    if kind is np.ndarray or origin is np.ndarray:
        return _of_type(Tensor, tree, where).numpy()
    if origin in (list, tuple):
        parts = _of_type(list, tree, where)
        if origin is tuple and inner[-1] is not ... and len(parts) != len(inner):
            raise ValueError(f"{where} has {len(parts)} parts, not {len(inner)}")
        kinds = [inner[0]] * len(parts) if origin is list or inner[-1] is ... else inner
        return origin(_decoded(k, one, where) for k, one in zip(kinds, parts, strict=True))
    if origin is dict:
        table = _of_type(dict, tree, where)
        return {
            str(name): _decoded(inner[1], one, f"{where}.{name}") for name, one in table.items()
        }
    return _of_type(kind, tree, where)


def _decoded_fields(kind: type, tree: Tree, where: str) -> Any:
    table, hints = _of_type(dict, tree, where), _hints(kind)
    names = [one.name for one in fields(kind)]
    if set(table) != set(names):
        odd = sorted(set(table) ^ set(names))
        raise ValueError(f"{where} has other fields than expected: {', '.join(map(str, odd))}")
    return kind(**{name: _decoded(hints[name], table[name], f"{where}.{name}") for name in names})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _of_type(kind: Any, value: Any, where: str) -> Any:
    exact = type(value) is kind if kind in (bool, int) else isinstance(value, kind)
    if kind is float and type(value) is int:
        return float(value)
    if not exact:
        raise ValueError(f"{where} is {type(value).__name__}, not {kind.__name__}")
    return value
