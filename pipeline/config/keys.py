"""Keys: masks made of the source itself, as people write them."""

import re
from dataclasses import dataclass
from typing import Literal

from dreamreel.pipeline.config.tables import shown
from dreamreel.pipeline.config.values import Colour, parse_colour
from dreamreel.pipeline.errors import UserError, nearest

# The classes of PASCAL VOC, as torchvision's networks of segmentation number them, from 1.
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
USUAL_WORDS = {  # what people call these classes
    **dict.fromkeys(("airplane", "plane"), "aeroplane"),
    **dict.fromkeys(("bike", "cycle"), "bicycle"),
    **dict.fromkeys(("people", "human", "man", "woman", "face"), "person"),
    **{"motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor", "plant": "pottedplant"},
    **{"dining_table": "diningtable", "table": "diningtable"},
}
WORDS = ("alpha", "motion:moving", "motion:still")
EXAMPLES = "alpha, colour:#00ff00, light:0.6..1, motion:moving, motion:still and person are"


@dataclass(frozen=True)
class Key:
    """What is dreamed of a source: what is opaque ("alpha"), of a `colour` (red, green, blue), as
    light as `span` ("light", 0 to 1), what `moves` or stays ("motion"), or a thing of the class of
    that `number` in `CLASSES`, from 1 ("class")."""

    kind: Literal["alpha", "colour", "light", "motion", "class"]
    colour: Colour = (0, 0, 0)
    span: tuple[float, float] = (0.0, 1.0)
    moves: bool = True
    number: int = 0


def parse_key(text: str) -> Key:
    """The key in `text`, such as `alpha`, `colour:#00ff00`, `light:0.6..1`, `motion:moving` or
    `person`. Raises ValueError for anything else, with the names that are nearest."""
    word, colon, value = (part.strip() for part in text.strip().partition(":"))
    word = word.lower()
    if word in ("colour", "color") and colon:
        return Key("colour", colour=_colour(value))
    if word in ("light", "luma") and colon:
        return Key("light", span=_span(value))
    if word == "motion" and value.lower() in ("moving", "still"):
        return Key("motion", moves=value.lower() == "moving")
    if word == "alpha" and not colon:
        return Key("alpha")
    word = USUAL_WORDS.get(word, word)
    if word in CLASSES and not colon:
        return Key("class", number=CLASSES.index(word) + 1)
    if re.search(r"[\\/]|\.\w{2,4}$", text) and not colon:
        raise ValueError("is no key but looks like a file, which is given by mask.file")
    near = nearest(text.strip(), (*WORDS, *CLASSES))
    raise ValueError(f"is no key{near}" if near else f"is no key; {EXAMPLES}")


def _colour(value: str) -> Colour:
    try:
        return parse_colour("colour", value)
    except UserError:
        raise ValueError(f"names no colour: {shown(value)}; #00ff00 and teal are colours") from None


def _span(value: str) -> tuple[float, float]:
    number = r"(\d?\.?\d{1,6})?"
    found = re.fullmatch(rf"{number}\s*\.\.\s*{number}", value, re.ASCII)
    low, high = (0.0, 0.0) if found is None else (float(found[1] or 0), float(found[2] or 1))
    if not 0 <= low < high <= 1:
        raise ValueError("is no range of light from 0, black, to 1, white; light:0.6..1 is")
    return low, high
