"""A frozen network with named layers."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.blocks import as_written
from dreamreel.pipeline.networks.classes import find_class, names_of
from dreamreel.pipeline.networks.devices import free_memory
from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.gpu_kernels import Replays
from dreamreel.pipeline.networks.heads import Head, Wiring, find_wiring, head_of
from dreamreel.pipeline.networks.layers import Anatomy, Layer, Trace, dissect
from dreamreel.pipeline.networks.names import check_layer
from dreamreel.pipeline.networks.tiles import AT_ONCE, Sight
from dreamreel.pipeline.networks.weights import Weights

# An estimate of memory. `MORE_THAN_KEPT`: the memory that a gradient takes, as a multiple of the
# activations kept for its backward pass; 1.3 to 1.75 was measured. `PICTURE_BYTES`: bytes per pixel
# besides, for the image, its gradient and copies of them: five float32 RGB images of 12 bytes.
MORE_THAN_KEPT, PICTURE_BYTES = 1.6, 60.0
# Pixels (height, width) at which the kept activations are counted. 256 to 1024 a side give the same
# number per pixel.
MEASURED_AT = (512, 512)
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Architecture:
    """How a network is built, what input it expects, and where its weights come from.

    `mean` and `std` are those of its input's channels, in [0, 1]. `swapped`: the channels are BGR
    rather than RGB. `fetch` returns the network's own weights, or raises UserError.
    """

    name: str
    build: Callable[[], nn.Module]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fetch: Callable[[], Weights]
    swapped: bool = False
    favourite: str | None = None  # the layer that is dreamed by default; None: by its stride
    favourite_stride: int = 16  # pixels; where most networks respond to parts of things
    version: int = 1  # of its layers: weights fit only their own
    side: int | None = None  # pixels of the pictures that taught it, where they were small


class Normalise(nn.Module):
    """Turns an image in [0, 1] into the input that a network expects, in float32."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.swapped = architecture.swapped
        mean, std = (
            torch.tensor(values, device="cpu").view(1, 3, 1, 1)
            for values in (architecture.mean, architecture.std)
        )
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -(1 / std) * mean)

    def forward(self, image: Tensor) -> Tensor:
        """`image` (N, 3, H, W), RGB, less the mean and divided by the std, its channels in the
        network's order."""
        if self.swapped:
            image = image.flip(1)
        return torch.addcmul(self.get_buffer("shift"), image, self.get_buffer("scale"))


class Network:
    """A frozen network with named layers. It computes no deeper than the layers asked for.

    `sight` decides how much of an image it is shown at once, so that memory suffices.
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
        self.digest: str | None = None  # the SHA-256 of its weights; None if none were loaded
        self.side = architecture.side
        self.notice: str | None = None  # a line for the user about its weights
        self.weights_file: Path | None = None  # that was given; None: its own weights
        self.forget()
        self._architecture = architecture
        self._missing = missing
        self._normalise = Normalise(architecture).to(device)
        self.module = module
        self._smallest: dict[frozenset[str], int] = {}

    def forget(self) -> None:
        """Forget what earlier renders asked to be remembered, and what images taught about memory:
        see them whole again, if possible."""
        self._remembered: dict[Hashable, Any] = {}
        free = partial(free_memory, self.device)
        at_once = AT_ONCE if self.device.type == "cpu" else math.inf
        self.sight = Sight(self.name, self.layers, self.memory_for, free, at_once)
        self.replays = Replays(self.device)

    def remembered(self, key: Hashable, find: Callable[[], Kept]) -> Kept:
        """The value of `find`, called once for `key` and kept: a guide, say, as this network sees
        it."""
        if key not in self._remembered:
            self._remembered[key] = find()
        kept: Kept = self._remembered[key]
        return kept

    def activations(self, image: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The activations of the layers `names` for `image` (N, 3, H, W) in [0, 1], in the
        network's precision: (N, C, h, w), or (N, C) for layers without places."""
        wanted = set(names)
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., Tensor]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                found[name] = output
                if found.keys() == wanted:
                    raise _AllFound
                return output.clone()  # the next layer may write into `output`

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

    def output(self, image: Tensor) -> Tensor:
        """What the network as a whole tells of `image` (N, 3, H, W) in [0, 1]: for most, logits."""
        with self._autocast():
            found: Tensor = self.module(self._normalise(image))
        return found

    @torch.no_grad()
    def overflows(self, image: Tensor, names: Iterable[str]) -> bool:
        """Whether an activation of the layers `names` for `image` (N, 3, H, W) is not finite."""
        with as_written():
            found = self.activations(image, names).values()
        return not all(bool(activation.isfinite().all()) for activation in found)

    def check(self, names: Iterable[str]) -> None:
        """Raise UserError unless every layer of `names` exists and all its weights are there."""
        for name in names:
            check_layer(name, self.layers, self.name)
            bare = [part for part in self.layers[name].needs if part in self._missing]
            if bare:
                raise UserError(
                    f"the weights given do not reach layer {name!r} of {self.name}: "
                    f"{bare[0]!r} is missing"
                )

    def reaches(self, name: str) -> bool:
        """Whether all weights on the way to the layer `name` are there."""
        return self._missing.isdisjoint(self.layers[name].needs)

    def class_number(self, query: str) -> int:
        """The number of the class that `query` means: its name, a part of it, or the number itself.
        Raises UserError, with the nearest names, if there is none, and as `head` does."""
        count = self.head().classes
        return find_class(names_of(self.weights_file, count), query, count)

    def default_layers(self) -> dict[str, float]:
        """The layer that is dreamed by default, with a weight of 1."""
        return {favourite_of(self._architecture, self.layers): 1.0}

    def head(self) -> Head:
        """What tells the classes, at each place where that can be.

        Raises UserError if the network has no classes, or if their weights are missing.
        """
        wiring = wiring_of(self._architecture)
        if wiring is None:
            raise UserError(f"{self.name} tells no classes; another network does")
        self.check([wiring.layer])
        bare = [part for part in wiring.tail if part in self._missing]
        if bare:
            raise UserError(
                f"the weights given do not reach the classes of {self.name}: {bare[0]!r} is missing"
            )
        return head_of(wiring, self.module)

    def memory_for(self, size: tuple[int, int], names: Iterable[str]) -> float:
        """An estimate of the bytes that the gradient of the layers `names` takes for an image of
        `size` (height, width)."""
        share = torch.finfo(self.precision).bits / 32
        kept = _kept_bytes(self._architecture, frozenset(names))
        return size[0] * size[1] * (kept * share * MORE_THAN_KEPT + PICTURE_BYTES)

    def smallest_side(self, names: Iterable[str]) -> int:
        """The shortest side, in pixels, of an image that is worth dreaming: four places of the
        coarsest layer on the way to `names`, or more if the network needs more to run."""
        wanted = frozenset(names)
        if wanted not in self._smallest:
            side = 4 * max(self.layers[name].coarsest for name in wanted)
            while not self.runs_at((side, side), wanted):
                side += 8
            self._smallest[wanted] = side
        return self._smallest[wanted]

    def runs_at(self, size: tuple[int, int], names: Iterable[str]) -> bool:
        """Whether an image of `size` (height, width) is large enough for the layers `names`."""
        return _runs_at(self._architecture, size, frozenset(names))

    def deepest_layer(self, size: tuple[int, int]) -> str | None:
        """The last layer with at least two places along the longer side of an image of `size`
        (height, width), and with its weights; None if there is none."""
        for name, layer in reversed(self.layers.items()):
            placed = layer.field.receptive is not None and max(size) >= 2 * layer.field.stride
            if placed and self.reaches(name) and self.runs_at(size, (name,)):
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
    """Raised inside a forward pass once all wanted layers are computed, to end it."""


def hollow(architecture: Architecture) -> nn.Module:
    """The module of `architecture` on the meta device, in eval mode. It has no data, so it takes no
    memory and no time for random weights."""
    try:
        with torch.device("meta"):
            return architecture.build().eval().to("meta")
    except NotImplementedError:  # a few networks compute their widths with tensors
        return architecture.build().eval().to("meta")


@cache
def _runs_at(architecture: Architecture, size: tuple[int, int], names: frozenset[str]) -> bool:
    module = hollow(architecture)
    with torch.device("meta"), Trace():
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
    """How many bytes per pixel of the image a float32 network keeps for the backward pass from the
    layers `names`. Counted on tensors without data."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.shape[0] == 1:  # an activation, not a weight
            kept[tensor.untyped_storage()._cdata] = tensor.numel() * tensor.element_size()
        return tensor

    module = hollow(architecture).requires_grad_(False)
    with torch.device("meta"), Trace():
        network = Network(
            architecture, module, Anatomy({}, ()), torch.device("meta"), torch.float32, frozenset()
        )
        image = torch.empty(1, 3, *MEASURED_AT, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network.activations(image, names)
    return sum(kept.values()) / math.prod(MEASURED_AT)


def favourite_of(architecture: Architecture, layers: Mapping[str, Layer]) -> str:
    """The default layer of `architecture`, one of `layers`: its own choice, or the last layer of
    the outermost modules at its favourite stride; at stride 16, 8 or 32 if there is none."""
    if architecture.favourite:
        return architecture.favourite
    for stride in (architecture.favourite_stride, 16, 8, 32):
        deep = [name for name, layer in layers.items() if layer.field.stride == stride]
        if deep:
            return max(deep, key=lambda name: (-name.count("."), deep.index(name)))
    return list(layers)[-1]


@cache
def with_classes(architecture: Architecture, layer: str, classes: int) -> Architecture:
    """`architecture` with `classes` outputs of its last layer, the linear or convolutional one
    called `layer`."""

    def build() -> nn.Module:
        module = architecture.build()
        old = module.get_submodule(layer)
        module.set_submodule(layer, _with_outputs(old, classes))
        return module

    return replace(architecture, build=build)


def with_class_count(architecture: Architecture, classes: int) -> Architecture:
    """`architecture` with so many `classes`. Raises UserError if its last layer, which is to tell
    them, is neither linear nor a convolution."""
    wiring, hollowed = wiring_of(architecture), hollow(architecture)
    if wiring is not None and wiring.classes == classes:
        return architecture
    layer = list(hollowed.state_dict())[-1].rpartition(".")[0]
    last = hollowed.get_submodule(layer)
    outputs = getattr(last, "out_features", getattr(last, "out_channels", None))
    if wiring is None or outputs != wiring.classes:
        raise UserError(f"{architecture.name} has no last layer that tells classes; another has")
    return with_classes(architecture, layer, classes)


def _with_outputs(layer: nn.Module, outputs: int) -> nn.Module:
    bias = layer.bias is not None
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(layer.in_channels, outputs, 1, bias=bias)
    assert isinstance(layer, nn.Linear)
    return nn.Linear(layer.in_features, outputs, bias=bias)


@cache
def anatomy_of(architecture: Architecture) -> Anatomy:
    """The layers of `architecture` and its foldable pairs, found without weights."""
    return dissect(hollow(architecture))


@cache
def wiring_of(architecture: Architecture) -> Wiring | None:
    """How the logits of `architecture` come about, found without weights; None if it has none."""
    return find_wiring(hollow(architecture))


# Pixels; a larger image is shrunk before figures are measured on it. A round number: for it,
# `memory_for` says 0.5 GiB for the default layer of dreamnet and 2.3 GiB for vgg16's, in float32.
JUDGED_PIXELS = 1 << 20


def judged_size(image: Tensor) -> Tensor:
    """`image` (N, 3, H, W), shrunk to `JUDGED_PIXELS` if it has more."""
    pixels = image.shape[2] * image.shape[3]
    if pixels <= JUDGED_PIXELS:
        return image
    scale = (JUDGED_PIXELS / pixels) ** 0.5
    size = (round(image.shape[2] * scale), round(image.shape[3] * scale))
    return F.interpolate(image, size, mode="bilinear", antialias=True)
