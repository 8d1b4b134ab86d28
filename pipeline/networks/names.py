"""The names of all networks, found without loading any, nor torch."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dreamreel.pipeline.errors import UserError, nearest

OURS = {
    "dreamnet": "our own, bundled: works offline",
    "bvlc_googlenet": "DeepDream's original; needs --weights FILE",
}
# Families of torchvision's that see in patches, not by convolution.
NOT_CONVOLUTIONAL = ("vit_", "swin", "maxvit")
# A registered model in torchvision's source: its decorators, then the function of its name.
REGISTERED = re.compile(
    r'^@register_model\((?:name=)?(?:"(\w+)")?\)\n(?:(?!def ).*\n)*?def (\w+)\(', re.MULTILINE
)


def network_names() -> dict[str, str]:
    """Every network's name and a line about it, ours first."""
    return OURS | {name: "torchvision" for name in torchvision_names()}


def check_network_name(name: str) -> None:
    """Raise UserError, with the nearest names, unless there is a network called `name`."""
    known = network_names()
    if name in known:
        return
    if name.startswith(NOT_CONVOLUTIONAL):
        raise UserError(f"{name} sees in patches; Dreamreel dreams with convolutional networks")
    close = nearest(name, known)
    raise UserError(f"unknown network {name!r}{close or '; dreamreel networks lists them'}")


@cache
def torchvision_names() -> tuple[str, ...]:
    """The names of torchvision's convolutional classifiers, as its own source registers them:
    importing it takes seconds."""
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
