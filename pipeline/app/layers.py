"""The work of the command `layers`: the layers of a network, printed."""

from dreamreel.pipeline.app.terminal import print_table
from dreamreel.pipeline.networks.dreamnet_layers import FAVOURITE, Row, dreamnet_layers
from dreamreel.pipeline.networks.names import allow_network, check_network_name


def show_layers(network: str) -> None:
    """Print the layers of `network`, the default one marked. Raises UserError for an unknown
    network."""
    allow_network(network)
    check_network_name(network)
    known = (dreamnet_layers(), FAVOURITE) if network == "dreamnet" else _found(network)
    rows = [("layer", "channels", "stride", "receptive field")]
    for row in known[0]:
        name = f"{row.name} *" if row.name == known[1] else row.name
        sees = ("", "whole picture")
        if row.receptive is not None:
            sees = (str(row.stride), str(row.receptive))
        rows.append((name, str(row.channels), *sees))
    print_table(rows)


def _found(network: str) -> tuple[list[Row], str]:
    """The layers of `network`, and the name of the default one, found by running it once."""
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.networks.catalog import favourite_layer, network_layers

    rows = [
        Row(layer.name, layer.channels, layer.field.stride, layer.field.receptive)
        for layer in network_layers(network)
    ]
    return rows, favourite_layer(network)
