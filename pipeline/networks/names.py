"""The names of all networks, found without importing torch or torchvision; unknown names."""

import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dreamreel.pipeline.errors import UserError, nearest

# The networks that are defined here, with a line about each.
OURS = {
    "dreamnet": "our own, bundled: works offline",
    "bvlc_googlenet": "DeepDream's original; needs --weights FILE",
}
# How the names of torchvision's vision transformers begin, which see in patches.
NOT_CONVOLUTIONAL = ("vit_", "swin", "maxvit")
# A model in torchvision's source: its decorator, which may give its name, then its function.
REGISTERED = re.compile(
    r'^@register_model\((?:name=)?(?:"(\w+)")?\)\n(?:(?!def ).*\n)*?def (\w+)\(', re.MULTILINE
)


def network_names() -> dict[str, str]:
    """The name of every network, ours first, with a line about it."""
    return OURS | {name: "torchvision" for name in torchvision_names()}


def check_network_name(name: str) -> None:
    """Raise UserError, with the nearest names, if no network is called `name`."""
    known = network_names()
    if name in known:
        return
    if name.startswith(NOT_CONVOLUTIONAL):
        raise UserError(f"{name} is a vision transformer; dreamreel networks lists those that work")
    close = nearest(name, known)
    raise UserError(f"unknown network {name!r}{close or '; dreamreel networks lists them'}")


def check_layer(name: str, known: Collection[str], network: str) -> None:
    """Raise UserError, with the nearest names, if `name` is none of the `known` layers of
    `network`."""
    if name not in known:
        more = nearest(name, known) or f"; dreamreel layers {network} lists them"
        raise UserError(f"{network} has no layer {name!r}{more}")


@cache
def torchvision_names() -> tuple[str, ...]:
    """The names of torchvision's convolutional classifiers; none if it is not installed.

    They are read from its source, since importing it takes seconds.
    """
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(spec.submodule_search_locations[0]) / "models"
    names = {
        given or function
        for path in folder.glob("*.py")
        for given, function in REGISTERED.findall(path.read_text(encoding="utf-8"))
    }
    return tuple(sorted(name for name in names if not name.startswith(NOT_CONVOLUTIONAL)))
