"""The class head of a network, applied at each place of an image rather than to the whole of it.

Most classifiers average their last map over its places, and tell the classes from the mean. What
they compute after the mean tells the classes of a single place as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.networks.layers import PROBE_SIZE, Trace

# Modules that commute with a mean over places: the logits of the mean are the mean of the logits.
AFFINE = (nn.Linear, nn.Conv2d, nn.Flatten, nn.Dropout, nn.Identity)
# Operations that change no number.
RESHAPES = {
    *("view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "alias"),
    *("detach", "permute", "expand", "_to_copy", "contiguous"),
}


@dataclass(frozen=True)
class Wiring:
    """How a network's logits follow from its layer `layer`: rectified (ReLU) if `rectified`,
    averaged over places if `placed`, then through the modules `tail`, one after the other.

    `classes`: the number of logits. `exact`: whether the tail commutes with the mean.
    """

    layer: str
    classes: int
    placed: bool
    rectified: bool = False
    tail: tuple[str, ...] = ()
    exact: bool = True


@dataclass(frozen=True)
class Head:
    """What a class needs to be dreamed: the `layer` whose activation tells it.

    `at_places` turns that activation (N, C, h, w) into logits at each place (N, classes, h, w). If
    `exact`, their mean over places is the network's logits; else the network has a nonlinearity
    between its mean and its logits. If not `placed`, as in vgg, whose head sees where things are,
    the activation is the logits of the whole image (N, classes), and they stay as they are. If
    `rectified`, the mean is one of the activation's ReLU.
    """

    layer: str
    classes: int
    placed: bool
    exact: bool
    at_places: Callable[[Tensor], Tensor]
    rectified: bool = False

    def of_whole(self, activation: Tensor) -> Tensor:
        """The logits of whole images, (N, classes), from the layer's activation: exactly those of
        the network, whatever comes after the mean."""
        if not self.placed:
            return activation
        if self.exact:
            return self.at_places(activation).mean((2, 3))
        averaged = F.relu(activation) if self.rectified else activation
        return self.at_places(averaged.mean((2, 3), keepdim=True))[..., 0, 0]


def head_of(wiring: Wiring, module: nn.Module) -> Head:
    """The head of `module`, which is wired so."""
    tail = [module.get_submodule(name) for name in wiring.tail]

    def at_places(activation: Tensor) -> Tensor:
        x = F.relu(activation) if wiring.rectified else activation
        if not wiring.placed or not tail:
            return x
        count, _, height, width = x.shape
        x = x.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]  # each place an image of its own
        for part in tail:
            x = part(x.flatten(1) if isinstance(part, nn.Linear) else x)
        return x.view(count, height, width, -1).permute(0, 3, 1, 2)

    return Head(
        wiring.layer, wiring.classes, wiring.placed, wiring.exact, at_places, wiring.rectified
    )


def find_wiring(module: nn.Module) -> Wiring | None:
    """How the logits of `module`, which must be on the meta device, in eval mode, come about. None
    if it gives no logits (N, classes)."""
    trace = _HeadTrace()
    handles = [
        handle
        for name, part in module.named_modules()
        if name
        for handle in (
            part.register_forward_pre_hook(trace.entering(name)),
            part.register_forward_hook(trace.leaving(name)),
        )
    ]
    try:
        with torch.no_grad(), trace:
            logits = module(torch.empty(1, 3, PROBE_SIZE, PROBE_SIZE, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return None
    classes = logits.shape[1]
    if trace.layer is None:
        last = trace.last_flat
        return None if last is None else Wiring(last, classes, placed=False)
    parts = [module.get_submodule(name) for name in trace.tail]
    exact = all(isinstance(part, AFFINE) for part in parts)
    return Wiring(trace.layer, classes, True, trace.rectified, tuple(trace.tail), exact)


class _HeadTrace(Trace):
    """Follows a forward pass to its last mean over all places, and the modules after it.

    `layer` is the layer that is averaged; None if there is no mean, or if more follows than modules
    one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer: str | None = None
        self.rectified = False
        self.tail: list[str] = []
        self.last_flat: str | None = None  # the last layer without places
        self._inside: list[str] = []  # the innermost modules that run now
        self._made: dict[int, tuple[str, bool]] = {}  # the layer of a tensor; whether rectified
        self._alive: list[Any] = []  # tensors kept alive, so that no id is reused

    def entering(self, name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not any(part.children()):
                self._inside.append(name)

        return hook

    def leaving(self, name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not any(part.children()):
                self._inside.pop()
                if self.layer is not None and not isinstance(part, nn.AdaptiveAvgPool2d):
                    self.tail.append(name)
            if isinstance(output, Tensor):
                self._made[id(output)] = name, False
                if output.ndim == 2:
                    self.last_flat = name

        return hook

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        self._alive += [args, out]
        name = func.overloadpacket.__name__
        if _is_mean(name, args, out):
            self.layer, self.rectified = self._made.get(id(args[0]), (None, False))
            self.tail = []
        elif not self._inside and name in ("relu", "relu_") and self.layer is None:
            if id(args[0]) in self._made:
                self._made[id(out)] = self._made[id(args[0])][0], True
        elif not self._inside and name not in RESHAPES:
            self.layer = None
        return out


def _is_mean(name: str, args: tuple[Any, ...], out: Any) -> bool:
    """Whether an operation is a mean over all places of a map."""
    if name not in ("mean", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "avg_pool2d"):
        return False
    return bool(args[0].ndim == 4 and out.shape[:2] == args[0].shape[:2] and out[0, 0].numel() == 1)
