"""The classes of a network: their names, found without importing torch where that can be, and a
class by its name.

A weights file brings names of its own as JSON in its metadata, under "classes", if it is a
safetensors file, or in a text file beside it that is called like it, with one name a line.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dreamreel.pipeline.contents import HEAD, SAFETENSORS, content_of
from dreamreel.pipeline.errors import UserError, expanded, nearest
from dreamreel.pipeline.networks.names import OURS, check_network_name, torchvision_names
from dreamreel.pipeline.opening import check_readable, read_text

# What the names of weights files end with, as resnet50_places365.pth.tar does.
ENDINGS = (".safetensors", ".caffemodel", ".pth", ".pt", ".ckpt", ".bin", ".tar")
LONGEST_NAMES = 16 << 20  # bytes of a list of names; far above ImageNet's 22,000 classes
LONGEST_HEADER = 100 << 20  # bytes of a safetensors file's header, as its own reader takes
# A line of Places365's list of categories, such as "/a/apartment_building/outdoor 8".
PLACES = re.compile(r"/\w/(\S+) (\d+)")
SYNSET = re.compile(r"n\d{8}\s+")  # WordNet's number before a name, in ImageNet's own lists
MANY = 6  # classes that a message names; a round number


def class_names(network: str, weights: Path | None = None) -> tuple[str, ...] | None:
    """The names of the classes of the network called `network` with its own weights, or with those
    in the file `weights`, in order. None if only their numbers are known.

    Raises UserError for an unknown network, and for files that cannot be read.
    """
    check_network_name(network)
    if weights is None and network in (*OURS, *torchvision_names()):
        return imagenet_names()
    if weights is None:
        return _names_of(network)
    weights = expanded(weights)
    check_readable(weights)
    own = _names_in(weights) or _names_beside(weights)
    if own:
        return own
    known = imagenet_names()
    return known if class_count(network, weights) == len(known) else None


def class_count(network: str, weights: Path | None = None) -> int:
    """The number of classes of the network called `network` with its own weights, or with those in
    the file `weights`. Raises UserError if it has none, and as `class_names` does."""
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.networks.catalog import load_network, wiring_by_name

    if weights is not None:
        return load_network(network, weights, "cpu", "float32").head().classes
    wiring = wiring_by_name(network)
    if wiring is None:
        raise UserError(f"{network} tells no classes; another network does")
    return wiring.classes


def find_class(names: Sequence[str] | None, query: str, count: int | None = None) -> int:
    """The number of the class that `query` means: a number below `count` or the length of `names`,
    a name, one of its spellings, or words that only one of the `names` holds. Neither case nor `_`
    for a space matters.

    Raises UserError, with the nearest names, if no class or more than one is meant.
    """
    count = len(names) if names is not None else count
    if re.fullmatch(r"\s*\d{1,9}\s*", query, re.ASCII):
        if count is not None and int(query) >= count:
            raise UserError(f"there is no class {int(query)}: they are 0 to {count - 1}")
        return int(query)
    if names is None:
        raise UserError(f"no class {query!r}: these classes have numbers alone, from 0 on")
    for found in _meanings(names, query):
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"{query!r} may be {_told(names, found)}; give one, or its number")
    spellings = [one for name in names for one in _spellings(name)]
    more = nearest(_plain(query), spellings) or "; dreamreel classes lists them"
    raise UserError(f"no class {query!r}{more}")


def search_classes(names: Sequence[str], query: str) -> list[int]:
    """The numbers of all classes that have `query` in their name, or that it is the number of."""
    return [
        number
        for number, name in enumerate(names)
        if _plain(query) in _plain(name) or query.strip() == str(number)
    ]


def _names_of(network: str) -> tuple[str, ...] | None:
    """ImageNet's names for a network of the user's own with 1,000 classes; None for another."""
    known = imagenet_names()
    return known if class_count(network) == len(known) else None


@cache
def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes (ILSVRC 2012), in order.

    They are read from torchvision's source, since importing it takes seconds.
    """
    spec = find_spec("torchvision")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        source = Path(folder) / "models" / "_meta.py"
        for node in ast.parse(source.read_text(encoding="utf-8")).body if source.exists() else ():
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith(
                "_IMAGENET_CATEGORIES"
            ):
                return tuple(ast.literal_eval(node.value))
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _meanings(names: Sequence[str], query: str) -> Iterator[list[int]]:
    """The classes that `query` can mean, by ever weaker signs: letter by letter, a spelling, its
    words in a row, the beginning of a word."""
    wanted = _plain(query)
    yield [number for number, name in enumerate(names) if name == query.strip()]
    plain = [[_plain(one) for one in _spellings(name)] for name in names]
    yield [number for number, ways in enumerate(plain) if wanted in ways]
    if not wanted:
        return
    for sign in (rf"\b{re.escape(wanted)}\b", rf"\b{re.escape(wanted)}"):
        yield [n for n, ways in enumerate(plain) if any(re.search(sign, one) for one in ways)]


def _spellings(name: str) -> list[str]:
    """`name`, and the names in it, as "tench, Tinca tinca" has two."""
    return [name, *(name.split(",") if "," in name else ())]


def _plain(name: str) -> str:
    """`name` in small letters, with single spaces between its words."""
    return " ".join(re.sub(r"[_\s-]+", " ", name).split()).casefold()


def _told(names: Sequence[str], numbers: Sequence[int]) -> str:
    told = ", ".join(f"{names[number]!r} ({number})" for number in numbers[:MANY])
    return told + (f" and {len(numbers) - MANY} more" if len(numbers) > MANY else "")


def _names_in(path: Path) -> tuple[str, ...] | None:
    """The names in the metadata of the safetensors file `path`; None if it has none."""
    with path.open("rb") as file:
        if content_of(file.read(HEAD)) is not SAFETENSORS:
            return None
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LONGEST_HEADER))
    try:
        listed = json.loads(json.loads(header)["__metadata__"]["classes"])
    except (KeyError, TypeError, ValueError, RecursionError):  # a broken file is told of on loading
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return None
    return tuple(listed) or None


def _names_beside(weights: Path) -> tuple[str, ...] | None:
    """The names in the text file beside `weights` that is called like it; None if there is none."""
    stem = weights.name
    while stem.lower().endswith(ENDINGS):
        stem = stem[: stem.rindex(".")]
    path = weights.with_name(f"{stem}.txt")
    if not path.is_file():
        return None
    try:
        lines = read_text(path, LONGEST_NAMES).removeprefix("\ufeff").splitlines()
    except ValueError as error:
        raise UserError(f"{path}, the names of the classes, is not UTF-8 text") from error
    names = [SYNSET.sub("", line.strip()) for line in lines if line.strip()]
    return tuple(_places(names) or names) or None


def _places(lines: Sequence[str]) -> list[str] | None:
    """The names in the `lines` of a list such as that of Places365, in the order of their numbers;
    None if it is not of this kind."""
    found = [PLACES.fullmatch(line) for line in lines]
    by_number = {int(match[2]): match[1].replace("_", " ") for match in found if match}
    if sorted(by_number) != list(range(len(lines))):
        return None
    return [by_number[number] for number in sorted(by_number)]
