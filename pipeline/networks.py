"""Frozen networks with named layers: our own, Caffe's GoogLeNet, and torchvision's."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamreel.pipeline.architectures import BvlcGoogLeNet, DreamNet
from dreamreel.pipeline.devices import find_device, find_precision, free_memory
from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.kernels import (
    StridedStem,
    StripedMaxPool,
    keep_freed_memory,
    suits_strided_stem,
)
from dreamreel.pipeline.layers import Anatomy, Layer, dissect
from dreamreel.pipeline.tiles import Grid, Sight, Tile
from dreamreel.pipeline.weights import (
    State,
    check_numbers,
    digest_of,
    fetch_weights,
    read_weights,
)

BUNDLED_WEIGHTS = Path(__file__).resolve().parent / "dreamnet.safetensors"
MINUS_ONE_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Of memory: what is used, over what is kept for the way back (1.3 to 1.75 times it was measured),
# and by a picture, its gradient and what becomes of them, for each pixel.
MORE_THAN_KEPT, PICTURE_BYTES = 1.6, 60.0
MEASURED_AT = (512, 512)
TINY = 1e-12  # keeps the logarithm of an activation of nothing finite
# Families of torchvision's that see in patches, not by convolution.
NOT_CONVOLUTIONAL = ("vit_", "swin", "maxvit")
FAVOURITE_LAYERS = {
    "googlenet": "inception4c",
    "inception_v3": "Mixed_6b",
    "vgg16": "features.22",
    "vgg19": "features.26",
    "squeezenet1_1": "features.7",
}


@dataclass(frozen=True)
class Architecture:
    """How a network is built, what it expects of its input, and where its weights are.

    `mean` and `std` are of its input's channels in [0, 1]; `swapped` where they are BGR.
    `fetch` gives its own weights, or raises UserError.
    """

    name: str
    build: Callable[[], nn.Module]
    about: str
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
        self._module = module
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
            self._module.get_submodule(name).register_forward_hook(keep(name)) for name in wanted
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

    @torch.no_grad()
    def excitement(
        self,
        images: Tensor,
        weights: Mapping[str, float],
        where: Tensor | None = None,
        tile: int | None = None,
    ) -> Tensor:
        """How excited the layers of `weights` are by each of `images` (N, 3, H, W): (N,); by the
        places that `where` (1, 1, H, W) weighs, if given.

        The mean squared activation of a layer; of several, their geometric mean, each counting by
        its weight. Layers to be calmed, of negative weight, do not count beside others; where all
        weigh 0, they count alike. The network sees no more than `tile` pixels a side at once, if
        given, and no more than memory suffices for.
        """
        counting = {name: weight for name, weight in weights.items() if weight > 0}
        counting = counting or {name: -weight for name, weight in weights.items() if weight < 0}
        counting = counting or dict.fromkeys(weights, 1.0)
        squares = self.sight.within_memory(
            lambda grid: self._squares(images, counting, grid),
            (images.shape[2], images.shape[3]),
            counting,
            tile,
        )
        logs = [
            weight * _mean(squares[name], where).clamp_min(TINY).log()
            for name, weight in counting.items()
        ]
        return (torch.stack(logs).sum(0) / sum(counting.values())).exp()

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
        return {_favourite(self._architecture, self.layers): 1.0}

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

    def _squares(
        self, images: Tensor, names: Iterable[str], grid: Grid | None
    ) -> dict[str, Tensor]:
        """The mean square over the channels at each place of the layers `names`, (N, 1, h, w);
        seen as a whole, or picture by picture in the tiles of `grid`."""
        if grid is None:
            return {name: _square(found) for name, found in self.activations(images, names).items()}

        def of(image: Tensor, tile: Tile) -> dict[str, Tensor]:
            found = self.activations(tile.part(image), names)
            return {name: _square(tile.counted(name, found[name])) for name in names}

        pictures = [
            [[of(image, tile) for tile in row] for row in grid] for image in images.split(1)
        ]
        return {
            name: torch.cat(
                [
                    torch.cat([torch.cat([seen[name] for seen in row], 3) for row in rows], 2)
                    for rows in pictures
                ]
            )
            for name in names
        }

    def _run(self, image: Tensor, wanted: set[str]) -> None:
        if isinstance(self._module, DreamNet):
            self._module(image, wanted)
        else:
            self._module(image)

    def _autocast(self) -> Any:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)


def _square(activation: Tensor) -> Tensor:
    """The mean square over the channels of `activation`, (N, C, h, w) or (N, C): (N, 1, h, w)."""
    squares = activation.float().square().mean(1, keepdim=True)
    return squares if squares.ndim == 4 else squares[..., None, None]


def _mean(squares: Tensor, where: Tensor | None) -> Tensor:
    """The mean of each of `squares` (N, 1, h, w), weighed by `where` (1, 1, H, W)."""
    if where is None or not bool(where.any()):
        return squares.mean((1, 2, 3))
    weights = F.interpolate(where, squares.shape[2:], mode="bilinear", antialias=True)
    return (squares * weights).sum((1, 2, 3)) / weights.sum()


class _AllFound(Exception):
    """Raised inside a forward pass when there is nothing left to compute."""


def load_network(
    name: str, weights: Path | None = None, device: str = "auto", precision: str = "auto"
) -> Network:
    """The network called `name` with its own weights, or those in the file `weights`.

    Raises UserError for an unknown network or device, and for weights that cannot be had.
    """
    architecture = find_architecture(name)
    on = find_device(device)
    state = read_weights(weights) if weights is not None else architecture.fetch()
    given = str(weights) if weights is not None else f"the weights file of {name}"
    network = assemble(architecture, state, on, find_precision(precision, on), given)
    network.digest = digest_of(state)
    return network


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
    anatomy = _anatomy(architecture.name)
    module, missing = _fill(architecture, state, given)
    _fold_batch_norms(module, anatomy, missing)
    module.requires_grad_(False)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(precision)  # once, rather than by autocast at every step
    _speed_up(module)
    return Network(architecture, module, anatomy, device, precision, missing)


def network_names() -> dict[str, str]:
    """Every network's name and a line about it, ours first."""
    ours = {name: NETWORKS[name]().about for name in NETWORKS}
    return ours | {name: "torchvision" for name in _torchvision_names()}


def network_layers(name: str) -> list[Layer]:
    """The layers of the network called `name`, in the order of computing; needs no weights."""
    return list(_anatomy(name).layers.values())


def favourite_layer(name: str) -> str:
    """The layer of the network called `name` that is dreamed where none is asked for."""
    return _favourite(find_architecture(name), _anatomy(name).layers)


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises UserError, with the nearest, for an unknown one."""
    if name in NETWORKS:
        return NETWORKS[name]()
    known = _torchvision_names()
    if name not in known:
        if name.startswith(NOT_CONVOLUTIONAL):
            raise UserError(f"{name} sees in patches; Dreamreel dreams with convolutional networks")
        close = nearest(name, [*NETWORKS, *known])
        raise UserError(f"unknown network {name!r}{close or '; dreamreel networks lists them'}")
    return _torchvision(name)


def _fill(architecture: Architecture, state: State, given: str) -> tuple[nn.Module, frozenset[str]]:
    """The module with `state` in it, float32, and the names of its parts that got nothing."""
    module = _hollow(architecture)
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


def _hollow(architecture: Architecture) -> nn.Module:
    """The module without data, in eval mode: no memory, no time for random weights."""
    try:
        with torch.device("meta"):
            return architecture.build().eval()
    except NotImplementedError:  # a few compute their widths with tensors
        return architecture.build().eval().to("meta")


@cache
def _anatomy(name: str) -> Anatomy:
    return dissect(_hollow(find_architecture(name)))


@cache
def _runs_at(architecture: Architecture, size: tuple[int, int], names: frozenset[str]) -> bool:
    module = _hollow(architecture)
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

    module = _hollow(architecture).requires_grad_(False)
    with torch.device("meta"):
        network = Network(
            architecture, module, Anatomy({}, ()), torch.device("meta"), torch.float32, frozenset()
        )
        image = torch.empty(1, 3, *MEASURED_AT, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network.activations(image, names)
    return sum(kept.values()) / math.prod(MEASURED_AT)


def _favourite(architecture: Architecture, layers: Mapping[str, Layer]) -> str:
    """The architecture's own choice, or the last whole stage at stride 16 (8, 32): there a
    network knows the parts of things."""
    if architecture.favourite:
        return architecture.favourite
    for stride in (16, 8, 32):
        deep = [name for name, layer in layers.items() if layer.field.stride == stride]
        if deep:
            return max(deep, key=lambda name: (-name.count("."), deep.index(name)))
    return list(layers)[-1]


def _dreamnet() -> Architecture:
    return Architecture(
        "dreamnet",
        DreamNet,
        "our own, bundled: works offline",
        (0.45,) * 3,
        (0.25,) * 3,
        lambda: read_weights(BUNDLED_WEIGHTS),
        favourite="parts",
    )


def _bvlc_googlenet() -> Architecture:
    def needs_file() -> State:
        raise UserError(
            "bvlc_googlenet has no weights of its own: give them with --weights FILE.safetensors; "
            "dreamnet works without"
        )

    mean = (104 / 255, 117 / 255, 123 / 255)
    return Architecture(
        "bvlc_googlenet",
        BvlcGoogLeNet,
        "DeepDream's original; needs --weights FILE",
        mean,
        (1 / 255,) * 3,
        needs_file,
        swapped=True,
        favourite="inception_4c",
    )


NETWORKS: dict[str, Callable[[], Architecture]] = {
    "dreamnet": _dreamnet,
    "bvlc_googlenet": _bvlc_googlenet,
}


@cache
def _torchvision_names() -> tuple[str, ...]:
    from torchvision import models

    names = models.list_models(module=models)
    return tuple(name for name in names if not name.startswith(NOT_CONVOLUTIONAL))


def _torchvision(name: str) -> Architecture:
    from torchvision import models

    inception_like = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": False} if inception_like else {}
    weights = models.get_model_weights(name).DEFAULT
    if inception_like:  # what torchvision's own weights of these two expect
        mean, std = MINUS_ONE_TO_ONE
    else:
        expected = weights.transforms()
        mean, std = tuple(expected.mean), tuple(expected.std)
    return Architecture(
        name,
        lambda: models.get_model(name, weights=None, **options),
        "torchvision",
        mean,
        std,
        lambda: fetch_weights(weights.url, name),
        favourite=FAVOURITE_LAYERS.get(name),
    )
