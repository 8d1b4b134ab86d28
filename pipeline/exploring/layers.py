"""The layers and channels that explorers are asked for, checked without weights."""

from dreamreel.pipeline.config.terms import Channels, TermText, parse_term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.dreamnet_layers import Row, dreamnet_layers
from dreamreel.pipeline.networks.names import check_layer

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
