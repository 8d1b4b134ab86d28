"""The work of the command `classes`: the classes of a network, printed."""

from pathlib import Path

from dreamreel.pipeline.app.terminal import print_table
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError, nearest
from dreamreel.pipeline.networks.classes import class_count, class_names, search_classes
from dreamreel.pipeline.networks.names import allow_network


def show_classes(query: str | None, network: str | None, weights: Path | None) -> None:
    """Print number and name of the classes of `network`, or else of the one that dreams by default,
    or of those that have `query` in their name. Raises UserError if there are none."""
    network = network or Settings().network
    allow_network(network)
    names = class_names(network, weights)
    if names is None:
        if query is not None:
            raise UserError(f"the classes of {weights} have numbers alone; no name can be sought")
        names = ("",) * class_count(network, weights)
    numbers = range(len(names)) if query is None else search_classes(names, query)
    if not numbers:
        more = nearest(query or "", names) or "; without a QUERY, all are listed"
        raise UserError(f"{network} has no class {query!r}{more}")
    print_table([(str(number), names[number]) for number in numbers])
