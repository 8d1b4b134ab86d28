"""What excites what: the maps of a layer's channels for a picture, on a sheet, or for a video, as a
film with the maps beside it and the classes that the network tells."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from dreamreel.pipeline.config.terms import Channels, TermText
from dreamreel.pipeline.config.values import Span
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.about import about
from dreamreel.pipeline.exploring.cells import parts_in, sheet_folder
from dreamreel.pipeline.exploring.films import Moving, Timing, check_film_target, is_film, make_film
from dreamreel.pipeline.exploring.layers import check_channels
from dreamreel.pipeline.exploring.sheets import Cell, check_pages, check_sheet, in_rows, save_sheet
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.jobs.checks import check_settings, expected_frames
from dreamreel.pipeline.jobs.job import Job, source_of
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.judging.lettering import font_of, write_text
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.cropping import crop_of, scaled
from dreamreel.pipeline.media.reading import read_frames, still_at
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.classes import names_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_frame, to_image

# Channels whose maps are shown, where they are not given: with the picture, full rows of a sheet;
# full rows of a film.
ON_SHEET, IN_FILM = 47, 16
MOST_ON_PAGE, MOST_ACROSS, FILM_ACROSS = 96, 12, 4  # maps on a page, in its rows, in a film's
MAP_SIDE = 220  # pixels of the longer side of a map on a sheet
SAMPLES = 8  # frames of a film by which its channels are chosen, and their maps scaled
TAUGHT = 224  # pixels of the shorter side at which most networks were taught their classes
TOLD = 5  # classes, the most likely
COLOURS = cv2.COLORMAP_INFERNO
DARK, LIGHT, BAR = "#141414", "#eeeeee", "#b5482e"

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Sight:
    """A picture or a video, the source of `job`, whose `clip` is None for a picture; the `term`,
    some channels of a layer; and the `span` of a film's frames."""

    job: Job
    term: TermText
    clip: Clip | None = None
    span: Span = (0, None)


def map_activations(sight: Sight, out: Target, report: Report) -> Path:
    """Show what the source of `sight` excites, as a sheet or a film in `out`, and return its path.
    Raises UserError if it cannot be made, and Stopped if `report` asks to stop."""
    settings, source = sight.job.settings, source_of(sight.job)
    check_settings(settings)
    check_channels(sight.term, settings.network, placed=True)
    film = sight.clip is not None and sight.job.at is None
    if film:
        check_film_target(out, [source], [], settings)
        if not is_film(out.path):
            raise UserError(f"{out.path} is no film; .mp4 would work, or --still TIME")
        return _film(sight, loaded_network(settings), out, report)
    check_sheet(out, [source])
    return _sheet(sight, loaded_network(settings), out)


def _sheet(sight: Sight, network: Network, out: Target) -> Path:
    """The sheet of the maps of a picture."""
    image = _picture_of(sight)
    maps = _maps(image.to(network.device), network, sight.term.layer)
    numbers = _chosen(sight.term.channels, maps.mean((1, 2)), ON_SHEET)
    height, width = image.shape[2:]
    scale = MAP_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = Image.fromarray(to_frame(resize(image, size[::-1]))[..., ::-1].copy())
    cells = [Cell("the picture", shown)]
    for number in numbers:
        most = float(maps[number].max())
        facts = {"channel": number, "max": most, "mean": float(maps[number].mean())}
        picture = Image.fromarray(_coloured(maps[number], most, size)[..., ::-1].copy())
        cells.append(Cell(f"{number}: {most:.3g} at most", picture, facts=facts))
    pages = [cells[at : at + MOST_ON_PAGE] for at in range(0, len(cells), MOST_ON_PAGE)]
    check_pages(out, len(pages))
    scores = _scores(image.to(network.device), network)
    title = f"{source_of(sight.job).name}: {sight.term.layer} of {network.name}, strongest first"
    note = ", ".join(f"{name} {share:.0%}" for name, share in scores)
    told = about("activations", sight.job, _told(sight, numbers, scores))
    return save_sheet([in_rows(title, one, MOST_ACROSS, note=note) for one in pages], out, told)


def _film(sight: Sight, network: Network, out: Target, report: Report) -> Path:
    """The film of a video with its maps beside it."""
    assert sight.clip is not None
    clip = replace(sight.clip, square=True, subtitles=(), covers=(), attachments=0)
    total = expected_frames(clip, sight.span)
    view = _View.of(replace(sight, clip=clip), network, total or 1)
    told = about("activations", sight.job, _told(sight, view.numbers, []))
    timing = Timing(clip.rate, clip, sight.span)
    settings = sight.job.settings
    first, past = sight.span

    def shown(done: int) -> Iterator[Frame]:
        with closing(read_frames(clip, first + done, past)) as frames:
            yield from map(view.drawn, frames)

    with sheet_folder(out) as (work, _):
        kept = parts_in(work, sight.job, (sight.term, sight.span, clip.rate))
        film = Moving(shown, timing, total, kept)
        return make_film(film, out, settings, work.pieces, report, told)


@dataclass(frozen=True)
class _View:
    """What a film shows: each frame of that `size` (height, width), the maps of the channels
    `numbers` of `layer`, whose brightest values are `most`, and the classes."""

    network: Network
    layer: str
    size: tuple[int, int]
    numbers: Sequence[int]
    most: Sequence[float]

    @classmethod
    def of(cls, sight: Sight, network: Network, frames: int) -> "_View":
        """The view of the film of `sight`, which has so many `frames`; some of them choose the
        channels."""
        assert sight.clip is not None
        clip, layer = sight.clip, sight.term.layer
        size = clip.raster.size_at(sight.job.settings.width)
        means, peaks = [], []
        for share in np.linspace(0, frames - 1, min(SAMPLES, frames)):
            number = sight.span[0] + int(share)
            for frame in read_frames(clip, number, number + 1):
                image = to_image(to_8_bits(scaled(frame, size)), network.device)
                maps = _maps(image, network, layer)
                means.append(maps.mean((1, 2)))
                peaks.append(maps.max((1, 2)))
        if not means:
            raise UserError(f"{clip.path} has no frames there")
        numbers = _chosen(sight.term.channels, np.mean(means, 0), IN_FILM)
        most = np.max(peaks, 0)
        return cls(network, layer, size, numbers, [float(most[number]) for number in numbers])

    def drawn(self, frame: Frame) -> Frame:
        """`frame` with its classes below it, and the maps at its right."""
        height, width = self.size
        frame = np.ascontiguousarray(to_8_bits(scaled(frame, self.size))[..., :3])
        image = to_image(frame, self.network.device)
        maps = _maps(image, self.network, self.layer)
        small = (width // 2, height // 2)
        rows = math.ceil(len(self.numbers) / FILM_ACROSS)
        below = max(height + TOLD * 26, rows * small[1])
        sheet = Image.new("RGB", (width + FILM_ACROSS * small[0], below), DARK)
        sheet.paste(Image.fromarray(frame[..., ::-1].copy()))
        draw, font = ImageDraw.Draw(sheet), font_of(12)
        for at, (number, most) in enumerate(zip(self.numbers, self.most, strict=True)):
            row, column = divmod(at, FILM_ACROSS)
            x, y = width + column * small[0], row * small[1]
            sheet.paste(
                Image.fromarray(_coloured(maps[number], most, small)[..., ::-1].copy()), (x, y)
            )
            draw.text((x + 4, y + 2), str(number), fill=LIGHT, font=font)
        for at, (name, share) in enumerate(_scores(image, self.network)):
            y = height + 4 + at * 25
            draw.rectangle((4, y, 4 + round(share * (width - 8)), y + 20), fill=BAR)
            label = f"{share:.0%}  {name}"
            write_text(draw, label, (8, y + 2), (width - 16, 20), font_of(14), colour=LIGHT)
        return np.ascontiguousarray(np.asarray(sheet)[..., ::-1])


def _picture_of(sight: Sight) -> Tensor:
    """The image (1, 3, H, W) that is looked at."""
    settings, cpu = sight.job.settings, torch.device("cpu")
    if sight.clip is not None:
        clip = replace(sight.clip, square=True)
        _, frame = still_at(clip, sight.job.at or 0.0)
        return to_image(scaled(frame, clip.raster.size_at(settings.width)), cpu)
    image = load_picture(source_of(sight.job), cpu).image
    crop = crop_of((image.shape[2], image.shape[3]), settings.source)
    if crop is not None:
        image = image[:, :, *crop.part]
    width = settings.width or image.shape[3]
    return resize(image, (max(1, round(image.shape[2] * width / image.shape[3])), width))


def _maps(image: Tensor, network: Network, layer: str) -> Map:
    """What each channel of `layer` makes of `image` (1, 3, H, W), without what is negative:
    (C, h, w). Raises UserError if the image is too small."""
    size = (image.shape[2], image.shape[3])
    if not network.runs_at(size, [layer]):
        side = network.smallest_side([layer])
        raise UserError(f"{size[1]}x{size[0]} is too small for {layer}; {side} pixels a side work")
    with torch.no_grad():
        found = network.activations(image, [layer])[layer].float().clamp_min(0)[0]
    maps: Map = found.cpu().numpy()
    return maps


def _chosen(channels: Channels | None, means: NDArray[Any], usual: int) -> list[int]:
    """The numbers of the `channels`, the strongest by their `means` first; of all, as many as are
    `usual`."""
    order = [int(number) for number in np.argsort(-means, kind="stable")]
    if channels is None:
        return order[:usual]
    if channels.rank is None:
        wanted = set(channels.numbers)
        return [number for number in order if number in wanted]
    if channels.rank == "weakest":
        order = order[::-1]
    begins = max(0, (len(order) - channels.count) // 2) if channels.rank == "average" else 0
    return order[begins : begins + channels.count]


def _coloured(values: Map, most: float, size: tuple[int, int]) -> Frame:
    """The map `values` (h, w), 0 to `most`, in colours at `size` (width, height)."""
    scaled_ = np.clip(values / most, 0, 1) if most > 0 else np.zeros_like(values)
    large = cv2.resize(scaled_.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return cv2.applyColorMap(np.rint(large * 255).astype(np.uint8), COLOURS)


def _scores(image: Tensor, network: Network) -> list[tuple[str, float]]:
    """The names and the shares of the most likely classes of `image`; none if `network` tells
    none."""
    try:
        head = network.head()
    except UserError:
        return []
    height, width = image.shape[2:]
    scale = TAUGHT / min(height, width)
    small = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    with torch.no_grad():
        activation = network.activations(small, [head.layer])[head.layer]
        shares = head.of_whole(activation).float().softmax(1)[0]
    names = names_of(network.weights_file, head.classes)
    best = shares.topk(min(TOLD, len(shares)))
    return [
        (names[number] if names else f"class {number}", share)
        for number, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _told(sight: Sight, numbers: Sequence[int], scores: list[tuple[str, float]]) -> dict[str, Any]:
    """What an index tells of the maps of the channels `numbers`."""
    told: dict[str, Any] = {"layer": sight.term.layer, "channels": list(numbers)}
    if scores:
        told["classes"] = {name: round(share, 4) for name, share in scores}
    return told
