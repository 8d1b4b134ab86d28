"""The work of the command `classes`: the classes of a network, printed."""

from pathlib import Path

from dreamreel.pipeline.app.terminal import print_table
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.networks.classes import (
    imagenet_names,
    names_of,
    own_names,
    search_classes,
)
from dreamreel.pipeline.networks.files import file_of
from dreamreel.pipeline.networks.names import allow_network, check_network_name, is_listed


def show_classes(query: str | None, network: str | None, weights: Path | None) -> None:
    """Print number and name of the classes of `network`, or else of the one that dreams by default,
    or of those that have `query` in their name. Raises UserError if there are none."""
    network = network or Settings().network
    allow_network(network)
    names = class_names(network, weights)
    if names is None:
        if query is not None:
            raise UserError(
                f"the classes of {weights or network} have numbers alone; no name can be sought"
            )
        names = ("",) * class_count(network, weights)
    numbers = range(len(names)) if query is None else search_classes(names, query)
    if not numbers:
        more = nearest(query or "", names) or "; without a QUERY, all are listed"
        raise UserError(f"{network} has no class {query!r}{more}")
    print_table([(str(number), names[number]) for number in numbers])


def class_names(network: str, weights: Path | None = None) -> tuple[str, ...] | None:
    """The names of the classes of the network called `network` with its own weights, or with those
    in the file `weights`, in order. None if only their numbers are known.

    Raises UserError for an unknown network, and for files that cannot be read.
    """
    check_network_name(network)
    weights = weights or file_of(network)
    if weights is None and is_listed(network):
        return imagenet_names()
    if weights is None:
        return names_of(None, class_count(network))
    return own_names(weights) or names_of(weights, class_count(network, weights))


def class_count(network: str, weights: Path | None = None) -> int:
    """The number of classes of the network called `network` with its own weights, or with those in
    the file `weights`. Raises UserError if it has none, and as `class_names` does."""
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.networks.catalog import load_network, wiring_by_name

    weights = weights or file_of(network)
    if weights is not None:
        return load_network(network, weights, "cpu", "float32").head().classes
    wiring = wiring_by_name(network)
    if wiring is None:
        raise UserError(f"{network} tells no classes; another network does")
    return wiring.classes
