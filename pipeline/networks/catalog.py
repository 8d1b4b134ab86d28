"""Names of networks and what each stands for: ours, Caffe's GoogLeNet, torchvision's.

A network of another kind is a function here that gives its `Architecture`, an entry in `NETWORKS`,
and its name with a line about it in `names.OURS`.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.devices import find_device, find_precision
from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.googlenet import BvlcGoogLeNet
from dreamreel.pipeline.networks.layers import Layer
from dreamreel.pipeline.networks.names import check_network_name
from dreamreel.pipeline.networks.network import (
    Architecture,
    Network,
    anatomy_of,
    favourite_of,
)
from dreamreel.pipeline.networks.weights import State, digest_of, fetch_weights, read_weights

BUNDLED_WEIGHTS = Path(__file__).resolve().parent / "dreamnet.safetensors"
MINUS_ONE_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # mean and std of inputs in [-1, 1]
# Layers that show parts of things: dogs, eyes, wheels. Seen by eye in dreams of each.
FAVOURITE_LAYERS = {
    "googlenet": "inception4c",
    "inception_v3": "Mixed_6b",
    "vgg16": "features.22",
    "vgg19": "features.26",
    "squeezenet1_1": "features.7",
}


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


def network_layers(name: str) -> list[Layer]:
    """The layers of the network called `name`, in the order of computing; needs no weights."""
    return list(anatomy_of(find_architecture(name)).layers.values())


def favourite_layer(name: str) -> str:
    """The layer of the network called `name` that is dreamed where none is asked for."""
    architecture = find_architecture(name)
    return favourite_of(architecture, anatomy_of(architecture).layers)


@cache
def find_architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises UserError, with the nearest, for an unknown one."""
    check_network_name(name)
    return NETWORKS[name]() if name in NETWORKS else _torchvision(name)


def _dreamnet() -> Architecture:
    return Architecture(
        "dreamnet",
        DreamNet,
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
        mean,
        std,
        lambda: fetch_weights(weights.url, name),
        favourite=FAVOURITE_LAYERS.get(name),
    )
