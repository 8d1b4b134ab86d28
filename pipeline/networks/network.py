"""A frozen network with named layers."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.networks.devices import free_memory
from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.layers import Anatomy, Layer, dissect
from dreamreel.pipeline.networks.tiles import Sight
from dreamreel.pipeline.networks.weights import State

# Of memory: what is used, over what is kept for the way back (1.3 to 1.75 times it was measured),
# and by a picture, its gradient and what becomes of them, for each pixel.
MORE_THAN_KEPT, PICTURE_BYTES = 1.6, 60.0
MEASURED_AT = (512, 512)


@dataclass(frozen=True)
class Architecture:
    """How a network is built, what it expects of its input, and where its weights are.

    `mean` and `std` are of its input's channels in [0, 1]; `swapped` where they are BGR.
    `fetch` gives its own weights, or raises UserError.
    """

    name: str
    build: Callable[[], nn.Module]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fetch: Callable[[], State]
    swapped: bool = False
    favourite: str | None = None  # the layer dreamed where none is asked for


class Normalise(nn.Module):
    """An image in [0, 1] as a network wants it; float32."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.swapped = architecture.swapped
        scale = 1 / torch.tensor(architecture.std).view(1, 3, 1, 1)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -scale * torch.tensor(architecture.mean).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """`image` (1, 3, H, W), RGB, less the mean, over the std, in the network's order."""
        if self.swapped:
            image = image.flip(1)
        return torch.addcmul(self.get_buffer("shift"), image, self.get_buffer("scale"))


class Network:
    """A frozen network. Dreams ask it for `activations`; it computes no deeper than it must.

    `sight` says how much of a picture to show it at once.
    """

    def __init__(
        self,
        architecture: Architecture,
        module: nn.Module,
        anatomy: Anatomy,
        device: torch.device,
        precision: torch.dtype,
        missing: frozenset[str],
    ) -> None:
        self.name = architecture.name
        self.device = device
        self.precision = precision
        self.layers = anatomy.layers
        self.digest: str | None = None  # the SHA-256 of its weights, where they were loaded
        self.sight = Sight(
            architecture.name, anatomy.layers, self.memory_for, lambda: free_memory(device)
        )
        self._architecture = architecture
        self._missing = missing
        self._normalise = Normalise(architecture).to(device)
        self.module = module
        self._smallest: dict[frozenset[str], int] = {}

    def activations(self, image: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The activations of the layers `names`, of shape (1, C, h, w), for `image`
        (1, 3, H, W) in [0, 1]; in the network's precision."""
        wanted = set(names)
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., Tensor]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                found[name] = output
                if found.keys() == wanted:
                    raise _AllFound
                return output.clone()  # what follows may write into it

            return hook

        handles = [
            self.module.get_submodule(name).register_forward_hook(keep(name)) for name in wanted
        ]
        try:
            with self._autocast():
                self._run(self._normalise(image), wanted)
        except _AllFound:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return found

    def check(self, names: Iterable[str]) -> None:
        """Raise UserError unless every layer of `names` exists and has its weights."""
        for name in names:
            if name not in self.layers:
                close = nearest(name, self.layers)
                more = close or f"; dreamreel layers {self.name} lists them"
                raise UserError(f"{self.name} has no layer {name!r}{more}")
            bare = [part for part in self.layers[name].needs if part in self._missing]
            if bare:
                raise UserError(
                    f"the weights given do not reach layer {name!r} of {self.name}: "
                    f"nothing for {bare[0]!r}"
                )

    def default_layers(self) -> dict[str, float]:
        """The layer that is dreamed where none is asked for, with its weight."""
        return {favourite_of(self._architecture, self.layers): 1.0}

    def memory_for(self, size: tuple[int, int], names: Iterable[str]) -> float:
        """About how many bytes it takes to see a picture of `size` (height, width) and find the
        gradient of the layers `names`."""
        share = torch.finfo(self.precision).bits / 32
        kept = _kept_bytes(self._architecture, frozenset(names))
        return size[0] * size[1] * (kept * share * MORE_THAN_KEPT + PICTURE_BYTES)

    def smallest_side(self, names: Iterable[str]) -> int:
        """The shortest side, in pixels, of a picture worth dreaming: at least four places of
        the coarsest layer in `names`, and enough for the network to run at all."""
        wanted = frozenset(names)
        if wanted not in self._smallest:
            side = 4 * max(self.layers[name].coarsest for name in wanted)
            while not self.runs_at((side, side), wanted):
                side += 8
            self._smallest[wanted] = side
        return self._smallest[wanted]

    def runs_at(self, size: tuple[int, int], names: Iterable[str]) -> bool:
        """Whether a picture of `size` (height, width) reaches the layers `names` at all."""
        return _runs_at(self._architecture, size, frozenset(names))

    def deepest_layer(self, size: tuple[int, int]) -> str | None:
        """The last layer, of those whose weights are there, that tells places of a picture of
        `size` (height, width) apart; None where none does."""
        for name, layer in reversed(self.layers.items()):
            placed = layer.field.receptive is not None and max(size) >= 2 * layer.field.stride
            known = self._missing.isdisjoint(layer.needs)
            if placed and known and self.runs_at(size, (name,)):
                return name
        return None

    def _run(self, image: Tensor, wanted: set[str]) -> None:
        if isinstance(self.module, DreamNet):
            self.module(image, wanted)
        else:
            self.module(image)

    def _autocast(self) -> Any:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)


class _AllFound(Exception):
    """Raised inside a forward pass when there is nothing left to compute."""


def hollow(architecture: Architecture) -> nn.Module:
    """The module without data, in eval mode: no memory, no time for random weights."""
    try:
        with torch.device("meta"):
            return architecture.build().eval()
    except NotImplementedError:  # a few compute their widths with tensors
        return architecture.build().eval().to("meta")


@cache
def _runs_at(architecture: Architecture, size: tuple[int, int], names: frozenset[str]) -> bool:
    module = hollow(architecture)
    with torch.device("meta"):
        network = Network(
            architecture, module, Anatomy({}, ()), torch.device("meta"), torch.float32, frozenset()
        )
        try:
            found = network.activations(torch.empty(1, 3, *size), names)
        except (RuntimeError, ValueError):  # "kernel size can't be greater than input size"
            return False
    return all(activation.numel() > 0 for activation in found.values())


@cache
def _kept_bytes(architecture: Architecture, names: frozenset[str]) -> float:
    """How many bytes a network of float32 keeps for each pixel of a picture, on the way to the
    layers `names`, for the way back. Counted on tensors without data."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.shape[0] == 1:  # no weights
            kept[tensor.untyped_storage()._cdata] = tensor.numel() * tensor.element_size()
        return tensor

    module = hollow(architecture).requires_grad_(False)
    with torch.device("meta"):
        network = Network(
            architecture, module, Anatomy({}, ()), torch.device("meta"), torch.float32, frozenset()
        )
        image = torch.empty(1, 3, *MEASURED_AT, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network.activations(image, names)
    return sum(kept.values()) / math.prod(MEASURED_AT)


def favourite_of(architecture: Architecture, layers: Mapping[str, Layer]) -> str:
    """The architecture's own choice, or the last whole stage at stride 16 (8, 32): there a
    network knows the parts of things."""
    if architecture.favourite:
        return architecture.favourite
    for stride in (16, 8, 32):
        deep = [name for name, layer in layers.items() if layer.field.stride == stride]
        if deep:
            return max(deep, key=lambda name: (-name.count("."), deep.index(name)))
    return list(layers)[-1]


@cache
def anatomy_of(architecture: Architecture) -> Anatomy:
    """The layers of `architecture`, found without weights."""
    return dissect(hollow(architecture))


JUDGED_PIXELS = 1 << 20  # a frame with more of them is shrunk for the networks


def judged_size(image: Tensor) -> Tensor:
    """`image`, or a smaller one where it is too large for a network in reasonable memory."""
    pixels = image.shape[2] * image.shape[3]
    if pixels <= JUDGED_PIXELS:
        return image
    scale = (JUDGED_PIXELS / pixels) ** 0.5
    size = (round(image.shape[2] * scale), round(image.shape[3] * scale))
    return F.interpolate(image, size, mode="bilinear", antialias=True)
