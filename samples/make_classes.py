"""Make pictures of ten classes, and have other networks say what they see.

    python samples/make_classes.py NETWORK[=WEIGHTS]... [--photo FILE] [--film FILE]
        [--classes NAME,NAME] [--set NAME=VALUE]... [--sheet FILE.jpg] [--into FILE]

Each network makes a picture of each class: from noise; or in the photo, or in 24 frames of the
film, 320 pixels wide, with the usual settings. All the networks judge: a class's rank among all
that a network tells apart, 1 for what it sees first. Of a film, the median of its frames.

Prints a Markdown table, with the seconds of a picture on one thread; `--sheet` writes the pictures
onto one sheet, a row for each network, and `--into` the table into a file, between its marks.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from make_results import put_into
from torch import Tensor

from dreamreel.pipeline import load_network
from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_frame, to_image

CLASSES = "banana,starfish,screw,parachute,goldfish,castle,volcano,flamingo,tarantula,daisy"
SIDE = 224  # pixels: of a picture from noise, and of the shorter side of what is judged
WIDTH, FRAMES = 320, 24  # of a photo or a film
CELL = 112  # height of a picture on the sheet

Maker = Callable[[Network, dict[str, Any]], list[Tensor]]


def from_noise(network: Network, table: dict[str, Any]) -> list[Tensor]:
    """A picture from noise, by the settings in `table`."""
    return [imagine((SIDE, SIDE), network, build(("classes", table)))]


def in_photo(photo: Path, network: Network, table: dict[str, Any]) -> list[Tensor]:
    """The dream of `photo`."""
    image = load_picture(photo, torch.device("cpu")).image
    image = resize(image, (round(image.shape[2] * WIDTH / image.shape[3]), WIDTH))
    subject = Subject.of(image, 0, network, build(("classes", table)))
    return [subject.dreamed(image, subject.still)]


def in_film(film: Path, weights: Path | None, network: Network, table: dict[str, Any]) -> list[Any]:
    """Every fourth frame of the dream of `film`."""
    (term,) = table["dream"]["terms"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dream.mp4"
        given = ["--network", network.name, *(["--weights", weights] if weights else [])]
        size = ["--width", WIDTH, "--frames", f"0:{FRAMES}", "--layers", term, "--quiet"]
        command = [sys.executable, "-m", "dreamreel.cli", "video", film, "-o", out, *given, *size]
        subprocess.run(list(map(str, command)), check=True)
        reader, frames = cv2.VideoCapture(str(out)), []
        while (read := reader.read())[0]:
            frames.append(to_image(read[1], torch.device("cpu")))
    return frames[::4]


@torch.no_grad()
def rank(judge: Network, image: Tensor, number: int) -> int:
    """The rank of the class of that `number`, from 1, in what `judge` sees in `image`."""
    scale = SIDE / min(image.shape[2:])
    image = resize(image, (round(image.shape[2] * scale), round(image.shape[3] * scale)))
    head = judge.head()
    logits = head.of_whole(judge.activations(image, [head.layer])[head.layer]).float()[0]
    return int((logits > logits[number]).sum()) + 1


def seconds() -> float:
    """The seconds of processor time that this process and its children have taken."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def told(ranks: list[float]) -> str:
    """How many of the `ranks` are first, and among the first five."""
    return f"**{sum(one == 1 for one in ranks)} / {sum(one <= 5 for one in ranks)}**"


def cell_of(image: Tensor) -> Frame:
    width = round(image.shape[3] * CELL / image.shape[2])
    return to_frame(resize(image, (CELL, width)))


def main() -> None:
    """Make, judge, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="+", metavar="NETWORK[=WEIGHTS]")
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--classes", default=CLASSES)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--makers", type=int, help="only so many of the networks make; all judge")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [text.partition("=")[::2] for text in options.networks]
    files = [Path(file) if file else None for _, file in names]
    networks = [load_network(name, file) for (name, _), file in zip(names, files, strict=True)]
    classes = options.classes.split(",")
    columns, rows, sheet = [], [[name] for name in classes], []
    for network, file in list(zip(networks, files, strict=True))[: options.makers]:
        make: Maker = from_noise
        if options.photo is not None:
            make = partial(in_photo, options.photo)
        elif options.film is not None:
            make = partial(in_film, options.film, file)
        columns += [f"{network.name} → {judge.name}" for judge in networks] + ["s"]
        cells = []
        for row, name in zip(rows, classes, strict=True):
            sets = [("--set", parse_assignment(text)) for text in options.set]
            table = {"dream": {"terms": {f"class:{name}": 1.0}}}
            for _, more in sets:
                for key, value in more.items():
                    table.setdefault(key, {}).update(value)
            began = seconds()
            pictures = make(network, table)
            taken = seconds() - began
            for judge in networks:
                ranks = [rank(judge, one, judge.class_number(name)) for one in pictures]
                row.append(f"{statistics.median(ranks):g}")
            row.append(f"{taken:.0f}")
            cells.append(cell_of(pictures[-1]))
            print(" | ".join([network.name, name, *row[-len(networks) - 1 :]]), file=sys.stderr)
        sheet.append(np.hstack(cells))
    counts = [
        told([float(row[at]) for row in rows]) if name != "s" else ""
        for at, name in enumerate(columns, 1)
    ]
    lines = [["class", *columns], ["---"] * (len(columns) + 1), *rows, ["first / in five", *counts]]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    print(text)
    if options.sheet is not None:
        cv2.imwrite(str(options.sheet), np.vstack(sheet), [cv2.IMWRITE_JPEG_QUALITY, 70])
    if options.into is not None:
        put_into(options.into, text, "classes")


if __name__ == "__main__":
    main()
