"""Put a network together: an architecture, its weights, and faster layers where there are any."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.blocks import quicken
from dreamreel.pipeline.networks.checkpoints import fitting
from dreamreel.pipeline.networks.cpu_kernels import (
    StridedStem,
    keep_freed_memory,
    suits_strided_stem,
)
from dreamreel.pipeline.networks.kernels import FastAvgPool, FastMaxPool
from dreamreel.pipeline.networks.layers import Anatomy
from dreamreel.pipeline.networks.network import (
    Architecture,
    Network,
    anatomy_of,
    hollow,
    wiring_of,
    with_classes,
)
from dreamreel.pipeline.networks.weights import Weights, check_numbers, digest_of


def assemble(
    architecture: Architecture,
    weights: Weights,
    device: torch.device,
    precision: torch.dtype,
    given: str = "the state dict",
) -> Network:
    """The network of `architecture` with `weights`, by its own names or wrapped (see `fitting`),
    frozen, on `device`, computing in `precision`. It has as many classes as the weights tell.

    Raises UserError if none of the weights fit, or if one is not finite; the message calls them
    `given`.
    """
    wanted = hollow(architecture).state_dict()
    fit = fitting(weights, wanted, given)
    architecture = _with_its_classes(architecture, fit.weights, wanted)
    anatomy = anatomy_of(architecture)
    module, missing = _fill(architecture, fit.weights, given)
    _fold_batch_norms(module, anatomy, missing)
    module.requires_grad_(False)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(precision)  # once; autocast would convert the weights again at every step
    _speed_up(module)
    if device.type == "cpu":
        quicken(module, anatomy.pooled)
    network = Network(architecture, module, anatomy, device, precision, missing)
    network.digest, network.notice = digest_of(fit.weights), fit.notice
    return network


def _with_its_classes(
    architecture: Architecture, weights: Weights, wanted: Weights
) -> Architecture:
    """`architecture` with as many outputs of its last layer as `weights` have there, if all else of
    that layer is as in the state dict `wanted`."""
    wiring = wiring_of(architecture)
    layer = list(wanted)[-1].rpartition(".")[0]
    name = f"{layer}.weight"
    old, new = wanted.get(name), weights.get(name)
    if wiring is None or old is None or new is None or old.shape[0] != wiring.classes:
        return architecture
    is_known = isinstance(hollow(architecture).get_submodule(layer), nn.Conv2d | nn.Linear)
    if not is_known or new.shape == old.shape or new.shape[1:] != old.shape[1:] or not len(new):
        return architecture
    return with_classes(architecture, layer, new.shape[0])


def _fill(
    architecture: Architecture, weights: Weights, given: str
) -> tuple[nn.Module, frozenset[str]]:
    """The module with `weights` in float32, and the names of its parts that got none."""
    module = hollow(architecture)
    wanted = module.state_dict()
    if any(name not in wanted for name, _ in module.named_buffers()):
        module = architecture.build().eval()  # its other buffers have their data from nowhere else
    found = {
        name: tensor
        for name, tensor in weights.items()
        if name in wanted and tensor.shape == wanted[name].shape
    }
    check_numbers(found, given)
    fitting = OrderedDict((name, tensor.float()) for name, tensor in found.items())
    if not fitting:
        raise UserError(
            f"{given} has no weights of {architecture.name}: "
            f"it holds {next(iter(weights), 'nothing')!r}, "
            f"but {next(iter(wanted))!r} was expected"
        )
    for name in wanted:
        if name.endswith("num_batches_tracked"):
            fitting.setdefault(name, torch.tensor(0))
    missing = frozenset(name.rpartition(".")[0] for name in wanted if name not in fitting)
    # Parts without weights get zeros. `Network.check` refuses the layers that need them.
    for name in wanted.keys() - fitting.keys():
        fitting[name] = torch.zeros(wanted[name].shape)
    fitting._metadata = getattr(weights, "_metadata", None) or wanted._metadata  # type: ignore[attr-defined]
    module.load_state_dict(fitting, assign=True)
    return module, missing


def _fold_batch_norms(module: nn.Module, anatomy: Anatomy, missing: frozenset[str]) -> None:
    """Fold each batch norm into the convolution before it. The convolution's name then means both:
    its activation is that of the batch norm."""
    for conv_name, norm_name in anatomy.foldable:
        if missing & {conv_name, norm_name}:
            continue
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(conv, norm)
        module.set_submodule(conv_name, fused)
        module.set_submodule(norm_name, nn.Identity())


def _speed_up(module: nn.Module) -> None:
    """Replace layers by faster ones, under the same names."""
    keep_freed_memory()
    for name, part in list(module.named_modules()):
        # Only these very classes: a subclass may do more than its parent.
        if type(part) is nn.Conv2d and suits_strided_stem(part):
            module.set_submodule(name, StridedStem(part))
        elif type(part) is nn.AvgPool2d:
            module.set_submodule(name, _as(FastAvgPool, part))
        elif type(part) is nn.MaxPool2d and not part.return_indices:
            module.set_submodule(name, _as(FastMaxPool, part))


def _as(kind: type[nn.Module], part: nn.Module) -> nn.Module:
    """`part` as one of the `kind` that extends its own."""
    found = kind.__new__(kind)
    found.__dict__.update(part.__dict__)
    return found
