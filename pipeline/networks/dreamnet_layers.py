"""The layers of `dreamnet`, known without torch, whose import takes seconds."""

from dataclasses import dataclass

FAVOURITE = "parts"  # its default layer, chosen by eye
# Name, channels, stride and receptive field in pixels, as `layers.dissect` finds them.
TABLE = """
stem 48 2 5
fire2a.squeeze 40 4 9
fire2a.expand1x1 40 4 9
fire2a.expand3x3 120 4 17
fire2a 160 4 17
fire2b.squeeze 40 4 17
fire2b.expand1x1 40 4 17
fire2b.expand3x3 120 4 25
fire2b 160 4 25
fire3a.squeeze 72 8 33
fire3a.expand1x1 72 8 33
fire3a.expand3x3 216 8 49
fire3a 288 8 49
fire3b.squeeze 72 8 49
fire3b.expand1x1 72 8 49
fire3b.expand3x3 216 8 65
fire3b 288 8 65
fire3c.squeeze 72 8 65
fire3c.expand1x1 72 8 65
fire3c.expand3x3 216 8 81
fire3c 288 8 81
textures 480 8 81
fire4a.squeeze 112 16 97
fire4a.expand1x1 112 16 97
fire4a.expand3x3 336 16 129
fire4a 448 16 129
fire4b.squeeze 112 16 129
fire4b.expand1x1 112 16 129
fire4b.expand3x3 336 16 161
fire4b 448 16 161
fire4c.squeeze 112 16 161
fire4c.expand1x1 112 16 161
fire4c.expand3x3 336 16 193
fire4c 448 16 193
parts 512 16 193
fire4d.squeeze 112 16 193
fire4d.expand1x1 112 16 193
fire4d.expand3x3 336 16 225
fire4d 448 16 225
creatures 832 16 225
pool 448 32 257
fire5a.squeeze 160 32 257
fire5a.expand1x1 160 32 257
fire5a.expand3x3 480 32 321
fire5a 640 32 321
fire5b.squeeze 160 32 321
fire5b.expand1x1 160 32 321
fire5b.expand3x3 480 32 385
fire5b 640 32 385
objects 1024 32 385
classes 1000 1 whole
"""


@dataclass(frozen=True)
class Row:
    """A layer of a list of layers: its name, its channels, and the stride and the receptive field
    of its places, in pixels; None if a place sees the whole picture."""

    name: str
    channels: int
    stride: int
    receptive: int | None


def dreamnet_layers() -> list[Row]:
    """The layers of `dreamnet`, in the order in which they are computed."""
    rows = (line.split() for line in TABLE.split("\n") if line)
    return [
        Row(name, int(channels), int(stride), None if sees == "whole" else int(sees))
        for name, channels, stride, sees in rows
    ]
