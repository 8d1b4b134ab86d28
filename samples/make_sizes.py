"""Measure whether a look is the same at every size, on photos.

    python samples/make_sizes.py PHOTO... [--widths 320 640 1280 1920] [--preset NAME]
        [--network NAME] [--weights FILE] [--set NAME=VALUE]... [--sheet FILE]

Dreams each photo at each width, and brings source and dream to the first width. Prints the size of
what is dreamed, as Markdown: the lag, in pixels of that width, at which the autocorrelation of the
detail's luma falls to one half. `--sheet` writes the dreams side by side.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from make_results import label
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.config.presets import merge_presets
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Frame, fitted_size
from dreamreel.pipeline.judging.detail_size import size_of_detail
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_frame

CPU = torch.device("cpu")


def dreamed_at(photo: Tensor, width: int, network: Network, settings: Settings) -> Tensor:
    """`photo` (1, 3, H, W) at that `width`, dreamed as `dreamreel image` does: (2, 3, h, w), source
    and dream."""
    source = resize(photo, fitted_size(photo.shape[2], photo.shape[3], width))
    subject = Subject.of(source, 0, network, settings)
    return torch.cat([source, subject.dreamed(source, subject.still)])


def row_of(
    photo: Tensor, widths: list[int], network: Network, settings: Settings
) -> tuple[list[float], list[Frame]]:
    """For each of `widths`, the size of what is dreamed and the dream, at the first width."""
    size = fitted_size(photo.shape[2], photo.shape[3], widths[0])
    sizes, frames = [], []
    for width in widths:
        pair = resize(dreamed_at(photo, width, network, settings), size)
        sizes.append(size_of_detail(pair[1:] - pair[:1]))
        frames.append(label(to_frame(pair[1:]), f"{width} wide"))
    return sizes, frames


def main() -> None:
    """Print the table, and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--widths", type=int, nargs="+", default=[320, 640, 1280, 1920])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--network", default="dreamnet")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    assigned = [("--set", parse_assignment(text)) for text in given.set]
    settings = build(*merge_presets([given.preset], None), *assigned)
    network = load_network(given.network, given.weights, "cpu", "auto")
    print("| photo | " + " | ".join(f"{width}" for width in given.widths) + " | most / least |")
    print("|---" * (len(given.widths) + 2) + "|")
    rows = []
    for path in given.photos:
        photo = load_picture(path, CPU).image
        sizes, frames = row_of(photo, given.widths, network, settings)
        told = " | ".join(f"{size:.2f}" for size in sizes)
        print(f"| {path.stem} | {told} | {max(sizes) / min(sizes):.2f} |", flush=True)
        rows.append(np.hstack(frames))
    if given.sheet is not None:
        width = max(row.shape[1] for row in rows)
        rows = [cv2.copyMakeBorder(row, 0, 4, 0, width - row.shape[1], 0) for row in rows]
        cv2.imwrite(str(given.sheet), np.vstack(rows))


if __name__ == "__main__":
    main()
