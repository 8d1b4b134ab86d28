"""Make the sheet of what a distilled dreamnet dreams, while it learns.

    python samples/make_distill.py "5 minutes=early.safetensors" "20 minutes=small.safetensors" \\
        bundled=dreamnet --curve small/losses.png

Each row has a name and a network: a file of `dreamreel train`, a copy of the `state.safetensors` of
one that runs, or dreamnet. Its columns are the dreams of each head in a photo, and one from noise.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from dreamreel.pipeline import Settings, dream_image, imagine_image, load_network
from dreamreel.pipeline.durable import load_tree
from dreamreel.pipeline.judging.lettering import font_of
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import dreamnet_of
from dreamreel.pipeline.networks.dreamnet import NEWEST
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_frame

HERE = Path(__file__).resolve().parent
HEADS = ("textures", "parts", "creatures", "objects")
SIZE = (132, 176)  # pixels of a dream on the sheet
DREAMED = (240, 320)  # pixels at which it is dreamed
LEFT, TOP = 80, 20  # pixels for the names of rows and columns
MOST_BYTES = 1 << 30  # of a state


def network_of(name: str) -> Network:
    """The network called `name`, in a file, or in the state of a training."""
    if not Path(name).is_file():
        return load_network(name)
    try:
        state = load_tree(Path(name), MOST_BYTES)
    except (ValueError, KeyError, OSError):
        return load_network(name)
    return assemble(dreamnet_of(NEWEST), state["module"], torch.device("cpu"), torch.bfloat16)


def row_of(network: Network, photo: torch.Tensor) -> list[Image.Image]:
    """The dreams of each head of `network` in `photo`, and one from noise."""
    dreams = [dream_image(photo, network, Settings(dream={"terms": head})) for head in HEADS]
    noise = Settings(dream={"terms": "creatures"}, imagine={"steps": 60, "views": 2})
    dreams.append(imagine_image(DREAMED, network, noise))
    return [Image.fromarray(to_frame(one)[..., ::-1].copy()) for one in dreams]


def main() -> None:
    """Make the sheet that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", metavar="NAME=NETWORK")
    parser.add_argument("--curve", type=Path, help="the picture of the losses")
    parser.add_argument("-o", type=Path, default=HERE / "explorers" / "distill.jpg")
    given = parser.parse_args()
    photo = resize(load_picture(HERE / "clouds.jpg", torch.device("cpu")).image, DREAMED)
    curve = Image.open(given.curve).convert("RGB") if given.curve else None
    width = LEFT + SIZE[1] * (len(HEADS) + 1)
    below = 0 if curve is None else curve.height * (width // 2) // curve.width
    height = TOP + SIZE[0] * len(given.rows) + below
    sheet = Image.new("RGB", (width, height), "#141414")
    draw, font = ImageDraw.Draw(sheet), font_of(12)
    for number, head in enumerate((*HEADS, "creatures, from noise")):
        draw.text((LEFT + number * SIZE[1] + 3, 3), head, fill="#eee", font=font)
    for number, row in enumerate(given.rows):
        name, _, network = row.partition("=")
        top = TOP + number * SIZE[0]
        draw.text((4, top + SIZE[0] // 2), name, fill="#eee", font=font)
        for column, dream in enumerate(row_of(network_of(network), photo)):
            small = dream.resize(SIZE[::-1], Image.Resampling.LANCZOS)
            sheet.paste(small, (LEFT + column * SIZE[1], top))
    if curve is not None:
        small = curve.resize((width // 2, below), Image.Resampling.LANCZOS)
        sheet.paste(small, (LEFT, height - below))
    sheet.save(given.o, quality=75)


if __name__ == "__main__":
    main()
