"""The names of all networks, found without importing torch or torchvision; unknown names."""

import os
import re
from collections.abc import Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.networks.files import described, file_of

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

ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".caffemodel")  # of files that hold weights alone
GROUP = "dreamreel.networks"  # the entry points by which installed packages offer networks
OWN = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")  # package.module:function
# The names of functions whose networks may be imported, which runs their code; by commas.
ALLOWED = "DREAMREEL_NETWORKS"


def network_names() -> dict[str, str]:
    """The name of every network, ours first, with a line about it."""
    theirs = {point.name: f"from {point.value}" for point in entry_points(group=GROUP)}
    return theirs | OURS | {name: "torchvision" for name in torchvision_names()}


def check_network_name(name: str) -> None:
    """Raise UserError, with the nearest names, if no network is called `name`, if it is a function
    that the user has not allowed, or a file that tells of no network."""
    if (file := file_of(name)) is not None:
        described(file)
        return
    if OWN.fullmatch(name):
        check_allowed(name)
        return
    known = network_names()
    if name in known:
        return
    if name.startswith(NOT_CONVOLUTIONAL):
        raise UserError(f"{name} is a vision transformer; dreamreel networks lists those that work")
    if name.lower().endswith(ENDINGS):
        raise UserError(
            f"{name} holds weights alone; give the network too: --network NAME --weights {name}"
        )
    close = nearest(name, known)
    raise UserError(f"unknown network {name!r}{close or '; dreamreel networks lists them'}")


def allow_network(name: str) -> None:
    """Allow this process, and those that it starts, to import the function `name`, such as
    `package.module:function`, whose network is to dream. Other names are allowed anyway."""
    if OWN.fullmatch(name) and file_of(name) is None:
        names = [one for one in os.environ.get(ALLOWED, "").split(",") if one]
        os.environ[ALLOWED] = ",".join(dict.fromkeys([*names, name]))


def check_allowed(name: str) -> None:
    """Raise UserError unless the user has named the function `name` himself: a preset, a record or
    a batch file of someone else's is to run no code."""
    if name not in os.environ.get(ALLOWED, "").split(","):
        raise UserError(
            f"the network {name} is code, which runs only where you name it yourself: give "
            f"--network {name}, or set the environment variable {ALLOWED}={name}"
        )


def entry_point(name: str) -> EntryPoint | None:
    """The network called `name` that an installed package offers; None if there is none."""
    if is_listed(name):
        return None
    return next(iter(entry_points(group=GROUP, name=name)), None)


def is_listed(name: str) -> bool:
    """Whether the network `name` is ours or torchvision's: its own classes are ImageNet's."""
    return name in OURS or name in torchvision_names()


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
