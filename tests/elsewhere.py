"""A device that is not there: `elsewhere` computes on the CPU, and says that it is another device.

It mixes with nothing of the CPU, and counts what a GPU would have to wait for: tensors moved to it
and from it, and numbers that Python asks of it. So the way of a GPU is tested without one: what
mixes, what moves and what waits. It says nothing of speed, of memory or of half precision.

torch calls a device of one's own "privateuse1", and its support of one in Python experimental.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from dreamreel.pipeline.networks.network import Network

NAME = "elsewhere"
NEVER_THERE = ("pin_memory", "non_blocking")  # arguments of a copy that mean nothing here

counts: Counter[str] = Counter()  # moves "to" the device, "from" it, and "waits" for it


class There(Tensor):
    """A tensor that says it is elsewhere. Its numbers are those of `here`, which is on the CPU."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        there: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device=f"{NAME}:0",
            requires_grad=here.requires_grad,
        )
        return there

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def tolist(self) -> Any:
        counts["waits"] += 1
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        if name == "_to_copy":
            return _copied(func, args[0], kwargs)
        if name == "_local_scalar_dense":
            counts["waits"] += 1
        for one in _pytree.tree_leaves((args, kwargs)):
            if isinstance(one, Tensor) and not isinstance(one, There) and one.ndim:
                raise RuntimeError(f"{func} mixes devices")
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        found = func(*_pytree.tree_map(_here, args), **_pytree.tree_map(_here, kwargs))
        return _pytree.tree_map(_there, found)


class Making(TorchDispatchMode):
    """While it lasts, what is made elsewhere, or moved there, is a `There`."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if device is None or torch.device(device).type != NAME:
            return func(*args, **kwargs)
        if any(isinstance(one, There) for one in args):
            return func(*args, **kwargs)
        kwargs["device"] = torch.device("cpu")
        kwargs.pop("non_blocking", None)
        counts["to"] += func.overloadpacket.__name__ == "_to_copy"
        return There(func(*args, **kwargs))


@contextmanager
def moved_there(network: Network) -> Iterator[Network]:
    """Inside, `network` is elsewhere, and what it needs can be; the counts begin at 0."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Making():
            network.module.to(NAME)
            network._normalise.to(NAME)
            network.device = torch.device(f"{NAME}:0")
            counts.clear()
            yield network
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _copied(func: Any, there: There, kwargs: dict[str, Any]) -> Tensor:
    """`there` on another device, or with another dtype or layout."""
    target = torch.device(kwargs.pop("device", None) or NAME)
    here = func(there.here, **{name: kwargs[name] for name in kwargs.keys() - {*NEVER_THERE}})
    if target.type != "cpu":
        return There(here)
    counts["from"] += 1
    moved: Tensor = here.clone()
    return moved


def _here(one: Any) -> Any:
    return one.here if isinstance(one, There) else one


def _there(one: Any) -> Any:
    return There(one) if isinstance(one, Tensor) else one


def _empty(
    size: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: Any = None,
) -> There:
    layout = memory_format or torch.contiguous_format
    return There(torch.empty(size, dtype=dtype, device="cpu", memory_format=layout))


def _empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
) -> There:
    return There(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _here(target).copy_(_here(source))
    return target


_setup_privateuseone_for_python_backend(NAME)
# What torch makes where no mode looks, such as torch.as_tensor(1.0, device="elsewhere").
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
