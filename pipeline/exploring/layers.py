"""The layers and channels that explorers are asked for, checked without weights."""

import numpy as np

from dreamreel.pipeline.config.terms import Channels, TermText, parse_term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.dreamnet_layers import FAVOURITE, Row, dreamnet_layers
from dreamreel.pipeline.networks.names import check_layer

MOST_LAYERS = 12  # of a tour whose layers are not given: a sheet of them can be read at a glance
ENOUGH = 6  # outer modules from which a network is told by them alone
MOST_CHANNELS = 2048  # of a sheet; above any layer's that is worth a look


def layer_rows(network: str) -> list[Row]:
    """The layers of `network`, as `dreamreel layers` lists them. Raises UserError for an unknown
    network."""
    if network == "dreamnet":
        return dreamnet_layers()
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.networks.catalog import network_layers

    return [
        Row(layer.name, layer.channels, layer.field.stride, layer.field.receptive)
        for layer in network_layers(network)
    ]


def usual_stops(network: str) -> tuple[str, ...]:
    """The layers of `network` that tell it: its outermost modules with places, evenly chosen where
    there are many; the default layer is among them. Raises UserError for an unknown network."""
    rows = [row for row in layer_rows(network) if row.receptive is not None]
    favourite = FAVOURITE
    if network != "dreamnet":
        from dreamreel.pipeline.networks.catalog import favourite_layer

        favourite = favourite_layer(network)
    depth = 0
    while sum(row.name.count(".") <= depth for row in rows) < min(ENOUGH, len(rows)):
        depth += 1
    names = [row.name for row in rows if row.name.count(".") <= depth]
    kept = {names[round(at)] for at in np.linspace(0, len(names) - 1, min(MOST_LAYERS, len(names)))}
    if favourite not in kept:
        order = [row.name for row in rows].index
        near = min(
            kept - {names[0], names[-1]} or kept,
            key=lambda name: abs(order(name) - order(favourite)),
        )
        kept = (kept - {near}) | {favourite}
    return tuple(row.name for row in rows if row.name in kept)


def parse_channels(text: str) -> TermText:
    """The channels, or the neuron, in `text`, LAYER:CHANNELS. Raises UserError if it names none."""
    try:
        term = parse_term(text)
    except ValueError as error:
        raise UserError(f"LAYER {error}") from error
    if term.kind == "class":
        raise UserError(f"{text} is a class, not a layer; dreamreel visualize takes --classes NAME")
    if not term.layer or term.kind == "guide":
        raise UserError(f"{text} is no layer; give LAYER or LAYER:CHANNELS, as in parts:3+7")
    return term


def check_channels(term: TermText, network: str, placed: bool = False) -> None:
    """Raise UserError if `network` lacks the layer or the channels of `term`, or, if they are to be
    `placed`, the layer has no places."""
    rows = {row.name: row for row in layer_rows(network)}
    check_layer(term.layer, rows, network)
    row, channels = rows[term.layer], term.channels or Channels()
    if max(channels.numbers, default=0) >= row.channels:
        raise UserError(
            f"{term.layer} of {network} has no channel {max(channels.numbers)}: it has "
            f"{row.channels}, from 0 to {row.channels - 1}"
        )
    if max(len(channels.numbers), channels.count) > MOST_CHANNELS:
        raise UserError(f"a sheet has at most {MOST_CHANNELS} channels; give fewer")
    if placed and row.receptive is None:
        others = [one.name for one in rows.values() if one.receptive is not None]
        raise UserError(
            f"{term.layer} of {network} sees the whole picture, and has no map; {others[-1]} has"
        )
