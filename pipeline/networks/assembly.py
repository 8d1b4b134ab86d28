"""A network put together: an architecture, its weights, and the layers that make it fast."""

import re
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.cpu_kernels import (
    StridedStem,
    StripedMaxPool,
    keep_freed_memory,
    suits_strided_stem,
)
from dreamreel.pipeline.networks.layers import Anatomy
from dreamreel.pipeline.networks.network import Architecture, Network, anatomy_of, hollow
from dreamreel.pipeline.networks.weights import (
    State,
    check_numbers,
)


def assemble(
    architecture: Architecture,
    state: State,
    device: torch.device,
    precision: torch.dtype,
    given: str = "the state",
) -> Network:
    """The network of `architecture` with the weights `state`, made fast, on `device`.

    Raises UserError, which calls the weights `given`, where none of them fit.
    """
    anatomy = anatomy_of(architecture)
    module, missing = _fill(architecture, state, given)
    _fold_batch_norms(module, anatomy, missing)
    module.requires_grad_(False)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(precision)  # once, rather than by autocast at every step
    _speed_up(module)
    return Network(architecture, module, anatomy, device, precision, missing)


def _fill(architecture: Architecture, state: State, given: str) -> tuple[nn.Module, frozenset[str]]:
    """The module with `state` in it, float32, and the names of its parts that got nothing."""
    module = hollow(architecture)
    wanted = module.state_dict()
    plain = {_plain_name(name): tensor for name, tensor in state.items()}
    found = {
        name: tensor
        for name, tensor in plain.items()
        if name in wanted and tensor.shape == wanted[name].shape
    }
    check_numbers(found, given)
    fitting = OrderedDict((name, tensor.float()) for name, tensor in found.items())
    if not fitting:
        raise UserError(
            f"{given} holds no weights of {architecture.name}: "
            f"it has {next(iter(plain), 'nothing')!r}, "
            f"where {next(iter(wanted))!r} was expected"
        )
    for name in wanted:
        if name.endswith("num_batches_tracked"):
            fitting.setdefault(name, torch.tensor(0))
    missing = frozenset(name.rpartition(".")[0] for name in wanted if name not in fitting)
    # What has no weights must still be somewhere; `check` sees to it that it is never asked.
    for name in wanted.keys() - fitting.keys():
        fitting[name] = torch.zeros(wanted[name].shape)
    fitting._metadata = getattr(state, "_metadata", None) or wanted._metadata  # type: ignore[attr-defined]
    module.load_state_dict(fitting, assign=True)
    return module, missing


def _plain_name(name: str) -> str:
    """A weight's name without what a data-parallel wrapper or an old densenet put into it."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name.removeprefix("module."))


def _fold_batch_norms(module: nn.Module, anatomy: Anatomy, missing: frozenset[str]) -> None:
    """Fold each batch norm into the convolution before it: that layer's name then means both."""
    for conv_name, norm_name in anatomy.foldable:
        if missing & {conv_name, norm_name}:
            continue
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(conv, norm)
        module.set_submodule(conv_name, fused)
        module.set_submodule(norm_name, nn.Identity())


def _speed_up(module: nn.Module) -> None:
    """Swap in the layers of `kernels`, under the same names."""
    keep_freed_memory()
    for name, part in list(module.named_modules()):
        # Only plain ones: a subclass may do more than its parent.
        if type(part) is nn.Conv2d and suits_strided_stem(part):
            module.set_submodule(name, StridedStem(part))
        elif type(part) is nn.MaxPool2d and not part.return_indices:
            module.set_submodule(
                name,
                StripedMaxPool(
                    part.kernel_size,
                    part.stride,
                    part.padding,
                    part.dilation,
                    False,
                    part.ceil_mode,
                ),
            )
