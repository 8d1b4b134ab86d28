"""Networks by name: our own, Caffe's GoogLeNet, torchvision's, and the user's (see `own`).

To add another kind of network, write a function that returns its `Architecture`, enter it in
`NETWORKS`, and describe it in `names.OURS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.devices import find_device, find_precision
from dreamreel.pipeline.networks.dreamnet import BUNDLED, CHANNELS, CLASSES, VERSIONS
from dreamreel.pipeline.networks.dreamnet_layers import FAVOURITE
from dreamreel.pipeline.networks.files import described, file_of
from dreamreel.pipeline.networks.googlenet import BvlcGoogLeNet
from dreamreel.pipeline.networks.heads import Wiring
from dreamreel.pipeline.networks.layers import Layer
from dreamreel.pipeline.networks.names import (
    check_network_name,
    entry_point,
    is_listed,
    torchvision_names,
)
from dreamreel.pipeline.networks.network import (
    Architecture,
    Network,
    anatomy_of,
    favourite_of,
    wiring_of,
    with_class_count,
)
from dreamreel.pipeline.networks.own import own_architecture
from dreamreel.pipeline.networks.weights import Weights, fetch_weights, read_weights

BUNDLED_WEIGHTS = Path(__file__).resolve().parent / "dreamnet.safetensors"
# Mean and std that bring an image in [0, 1] to [-1, 1].
MINUS_ONE_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# The layers that dream parts of things, dogs, eyes and wheels, where they are not the last ones at
# their stride, and the strides, in pixels, at which they lie where that is not `favourite_stride`'s
# usual one: by the beginnings of names. Chosen by eye, from dreams of each.
FAVOURITE_LAYERS = {"googlenet": "inception4c", "inception_v3": "Mixed_6b"}
FAVOURITE_STRIDES = {"vgg": 8, "squeezenet": 8}


def load_network(
    name: str, weights: Path | None = None, device: str = "auto", precision: str = "auto"
) -> Network:
    """The network called `name`, with its own weights or those in the file `weights`.

    `device` and `precision` are as in the settings. Raises UserError for an unknown network, for a
    device that is not there, and for weights that cannot be loaded.
    """
    architecture = find_architecture(name)
    on = find_device(device)
    weights = weights or file_of(name)
    loaded = read_weights(weights) if weights is not None else architecture.fetch()
    given = str(weights) if weights is not None else f"the weights file of {name}"
    network = assemble(architecture, loaded, on, find_precision(precision, on), given)
    network.weights_file = weights
    return network


def network_layers(name: str) -> list[Layer]:
    """The layers of the network called `name`, in the order in which they are computed. Needs no
    weights. Raises UserError for an unknown network."""
    return list(anatomy_of(find_architecture(name)).layers.values())


def favourite_layer(name: str) -> str:
    """The default layer of the network called `name`. Raises UserError for an unknown network."""
    architecture = find_architecture(name)
    return favourite_of(architecture, anatomy_of(architecture).layers)


def wiring_by_name(name: str) -> Wiring | None:
    """How the logits of the network called `name` come about, found without weights; None if it has
    none. Raises UserError for an unknown network."""
    return wiring_of(find_architecture(name))


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`, or that of the file `name`. Raises UserError for an unknown
    one, with the nearest, and for a file that tells of no network."""
    check_network_name(name)
    file = file_of(name)
    if file is None:
        return _named(name)
    changed = file.stat()
    return _in_file(file, (changed.st_mtime_ns, changed.st_size))


@cache
def _named(name: str) -> Architecture:
    if name in NETWORKS:
        return NETWORKS[name]()
    return _torchvision(name) if name in torchvision_names() else own_architecture(name)


@cache
def _in_file(file: Path, changed: tuple[int, int]) -> Architecture:
    """The architecture of the network in `file`, which was `changed` (time, bytes) last."""
    told = described(file)
    if not is_listed(told.architecture) and entry_point(told.architecture) is None:
        raise UserError(
            f"{file} is a network {told.architecture}, which is not known by this name; if it is "
            f"code of yours: --network {told.architecture} --weights {file}"
        )
    is_dreamnet = told.architecture == "dreamnet"
    base = _named(told.architecture)
    versions = VERSIONS if is_dreamnet else {base.version: base.build}
    if told.version not in versions:
        raise UserError(
            f"{file} is {told.architecture} of version {told.version}; known here: "
            f"{', '.join(map(str, versions))}. A newer Dreamreel made it"
        )
    if is_dreamnet:
        channels = dict(zip(CHANNELS, told.channels or CHANNELS.values(), strict=True))
        base = dreamnet_of(told.version, channels, told.classes)
    found = replace(
        base,
        name=str(file),
        mean=told.mean,
        std=told.std,
        swapped=told.swapped,
        side=told.side,
        fetch=partial(read_weights, file),
    )
    return found if is_dreamnet else with_class_count(found, told.classes)


def dreamnet_of(
    version: int = BUNDLED, channels: Mapping[str, int] = CHANNELS, classes: int = CLASSES
) -> Architecture:
    """The architecture of dreamnet of a `version`, with so many `channels` in each head, and
    `classes`, if any. The bundled weights are those of the version `BUNDLED`."""
    return Architecture(
        "dreamnet",
        partial(VERSIONS[version], channels=channels, classes=classes),
        (0.45,) * 3,
        (0.25,) * 3,
        lambda: read_weights(BUNDLED_WEIGHTS),
        favourite=FAVOURITE,
        version=version,
    )


def _bvlc_googlenet() -> Architecture:
    def refuse() -> Weights:
        raise UserError(
            "bvlc_googlenet comes without weights: give them with --weights FILE.safetensors, or "
            "use dreamnet, whose weights are bundled"
        )

    mean = (104 / 255, 117 / 255, 123 / 255)  # ImageNet's, in BGR, as Caffe subtracts it
    return Architecture(
        "bvlc_googlenet",
        BvlcGoogLeNet,
        mean,
        (1 / 255,) * 3,
        refuse,
        swapped=True,
        favourite="inception_4c",
    )


NETWORKS: dict[str, Callable[[], Architecture]] = {
    "dreamnet": dreamnet_of,
    "bvlc_googlenet": _bvlc_googlenet,
}


def _torchvision(name: str) -> Architecture:
    from torchvision import models

    inception_like = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": False} if inception_like else {}
    weights = models.get_model_weights(name).DEFAULT
    if inception_like:  # torchvision's weights of these two expect [-1, 1]
        mean, std = MINUS_ONE_TO_ONE
    else:
        expected = weights.transforms()
        mean, std = tuple(expected.mean), tuple(expected.std)
    return Architecture(
        name,
        lambda: models.get_model(name, weights=None, **options),
        mean,
        std,
        lambda: fetch_weights(weights.url, name),
        favourite=FAVOURITE_LAYERS.get(name),
        favourite_stride=next(
            (stride for family, stride in FAVOURITE_STRIDES.items() if name.startswith(family)),
            Architecture.favourite_stride,
        ),
    )
