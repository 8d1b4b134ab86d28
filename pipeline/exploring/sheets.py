"""Sheets: pictures side by side with labels, as picture files with an index beside them."""

import io
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, PngImagePlugin

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, UserError
from dreamreel.pipeline.jobs.paths import (
    PICTURE,
    Target,
    check_replaceable,
    check_target,
    make_folder_of,
    record_path,
)
from dreamreel.pipeline.judging.lettering import font_of, write_text
from dreamreel.pipeline.media.stills import check_picture_name, write_new
from dreamreel.pipeline.opening import read_json

SHEET_FORMAT = 1
SHEET_WIDTH = 2400  # pixels, at most: a screen shows it whole, or nearly
CELL = 400  # pixels, the widest cell; a round number
SMALLEST_CELL = 150  # pixels, the narrowest, so that its label can be read
ACROSS = 6  # cells in a row, at most, where no axis says how many
ASPECTS = (0.4, 2.0)  # height over width of a cell, at least and at most
GAP, MARGIN = 10, 24  # pixels between cells, and around a sheet
TITLE, LARGE, SMALL = 18, 15, 12  # pixels of letters: of the title, and of labels by cell size
WIDE = 190  # pixels of a cell from which its label is large
PAPER, GREY, ON_GREY = "#f7f6f3", "#757371", "#ffffff"
INDEX_BYTES = 1 << 26  # of an index that is read, at most; far above any that we write
IMAGE_DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # of EXIF
LONGEST_EXIF = 60_000  # bytes of a description: EXIF in a JPEG has 64 KiB in all


@dataclass(frozen=True)
class Cell:
    """A picture on a sheet with its label; or `why` there is none. `facts` stand in the index.

    The `picture` may be a file, which is read when it is drawn: many large ones would not fit into
    memory.
    """

    label: str
    picture: Image.Image | Path | None = None
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its picture; (0, 0) if there is none."""
        if isinstance(self.picture, Path):
            with Image.open(self.picture) as file:
                return file.size
        return (0, 0) if self.picture is None else self.picture.size

    def shown(self) -> Image.Image:
        """Its picture in RGB, on paper where it is transparent. Raises ValueError if there is
        none."""
        if self.picture is None:
            raise ValueError(f"{self.label} has no picture: {self.why}")
        if isinstance(self.picture, Path):
            return picture_in(self.picture)
        return on_paper(self.picture)


def picture_in(path: Path) -> Image.Image:
    """The picture in the file `path`, which we wrote, in RGB, on paper where it is transparent.
    Raises OSError if it is missing or damaged."""
    with Image.open(path) as file:
        return on_paper(file)


def on_paper(picture: Image.Image) -> Image.Image:
    """`picture` in RGB, on paper where it is transparent."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, PAPER)
    return Image.alpha_composite(paper, picture).convert("RGB")


@dataclass(frozen=True)
class Page:
    """The cells of a sheet, row by row; None where there is none.

    Where `rows` and `columns` label them, cells have no labels of their own. `detail` (across,
    down), from 0 to 1, is a place that is shown at full size below each picture. With `enlarges`,
    small pictures fill their cells. `note` is a line below the `title`.
    """

    title: str
    cells: tuple[tuple[Cell | None, ...], ...]
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    detail: tuple[float, float] | None = None
    enlarges: bool = False
    note: str = ""


def in_rows(title: str, cells: Sequence[Cell], most: int = ACROSS, **more: Any) -> Page:
    """A page with the `cells` in reading order, somewhat more of them in a row than there are rows,
    but at `most` so many, and such that the last row is as full as can be."""
    usual = math.ceil(math.sqrt(1.4 * len(cells)))
    near = range(min(max(1, usual - 1), most), min(usual + 1, most) + 1)
    across = min(near, key=lambda one: (-len(cells) % one, abs(one - usual)))
    padded: list[Cell | None] = [*cells, *([None] * (-len(cells) % across))]
    rows = tuple(tuple(padded[at : at + across]) for at in range(0, len(padded), across))
    return Page(title, rows, **more)


def drawn(page: Page) -> Image.Image:
    """`page` as a picture, at most `SHEET_WIDTH` wide."""
    layout = _layout(page)
    right, below = layout.corner(len(page.cells), len(page.cells[0]))
    sheet = Image.new("RGB", (right - GAP + MARGIN, below - GAP + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(sheet), font_of(LARGE if layout.width >= WIDE else SMALL)
    for text, y, size in ((page.title, MARGIN // 2, TITLE), (page.note, TITLE + MARGIN, LARGE)):
        write_text(draw, text, (MARGIN, y), (sheet.width - 2 * MARGIN, 24), font_of(size))
    for number, label in enumerate(page.columns):
        x, y = layout.corner(0, number)
        box = (layout.width, layout.top - 8)
        write_text(draw, label, (x, y - layout.top), box, font, low=True)
    for row, cells in enumerate(page.cells):
        if page.rows:
            at = (MARGIN, layout.corner(row, 0)[1])
            write_text(draw, page.rows[row], at, (layout.left - 12, layout.height), font)
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            x, y = at = layout.corner(row, column)
            _paste(sheet, cell, at, layout, page)
            if layout.foot:
                below = y + layout.height + layout.below + 3
                write_text(draw, cell.label, (x, below), (layout.width, layout.foot - 3), font)
    return sheet


def check_sheet(out: Target, sources: Sequence[Path], others: Sequence[Path] = ()) -> None:
    """Raise UserError unless a sheet can be written into `out`, with its index beside it, and is
    none of the files that are read: the `sources` and `others`."""
    check_picture_name(out.path)
    check_target(out, sources, others, ("work",))
    check_index(record_path(out.path), out.overwrite)


def check_pages(out: Target, pages: int) -> None:
    """Raise UserError unless so many pages of a sheet can be written into `out` and beside it."""
    for path in page_paths(out.path, pages)[1:]:
        check_target(replace(out, path=path), [], [], PICTURE)


def check_index(path: Path, overwrite: bool) -> None:
    """Raise UserError if something that is no index is at `path`, and may not be replaced."""
    check_replaceable(path, is_index, "index of a sheet", overwrite)


def is_index(path: Path) -> bool:
    """Whether the file at `path` is the index of a sheet, of any format number."""
    try:
        found = read_json(path, INDEX_BYTES)
    except (UserError, ValueError):
        return False
    return isinstance(found, dict) and "dreamreel_sheet" in found


def page_paths(path: Path, pages: int) -> list[Path]:
    """The paths of the pages of a sheet at `path`: OUT.png, OUT-2.png and so on."""
    return [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, pages + 1))]


def save_sheet(pages: Sequence[Page], out: Target, about: Mapping[str, Any]) -> Path:
    """Write `pages` into the picture `out`, those after the first into further ones beside it, and
    their index. `about` tells how they were made, in the index and in the metadata of each.

    Returns the path of the first. Raises UserError where one of them cannot be written.
    """
    paths = page_paths(out.path, len(pages))
    files = [
        (path, _encoded(drawn(page), path, about)) for path, page in zip(paths, pages, strict=True)
    ]
    listed = [
        {"file": path.name, "title": page.title, "cells": list(_facts(page))}
        for path, page in zip(paths, pages, strict=True)
    ]
    make_folder_of(out.path)
    write_index(record_path(out.path), {**about, "pages": listed}, out.overwrite)
    for path, data in reversed(files):  # the first last: where it is, all are
        write_new(path, data, out.overwrite)
    return out.path


def save_pictures(
    cells: Sequence[Cell], folder: Path, about: Mapping[str, Any], replace: bool
) -> Path:
    """Write the picture of each of `cells` into a file of its own in `folder`, and an index of
    them. Returns the folder. Raises UserError where one of them cannot be written."""
    files = []
    for number, cell in enumerate(cells, 1):
        if cell.picture is not None:
            path = folder / f"{number:03}-{file_name(cell.label)}.png"
            files.append({"file": path.name, "label": cell.label, **cell.facts})
            write_new(path, _encoded(cell.shown(), path, about), replace)
        else:
            files.append({"label": cell.label, "why": cell.why, **cell.facts})
    write_index(folder / "index.json", {**about, "pictures": files}, replace)
    return folder


def file_name(label: str) -> str:
    """`label` as a part of a file's name."""
    return "".join(one if one.isalnum() or one in "._=" else "-" for one in label)[:80].strip("-.")


def write_index(path: Path, table: Mapping[str, Any], overwrite: bool) -> None:
    """Write the index `table` to `path`. Raises UserError as `check_index` does."""
    make_folder_of(path)
    check_index(path, overwrite)
    data = json.dumps({"dreamreel_sheet": SHEET_FORMAT, **table}, indent=2).encode()
    write_whole(path, lambda file: file.write(data))


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a sheet lie, in pixels: the size of a picture, the labels to the `left`,
    on `top` and at the `foot` of each cell, the detail `below` it, and the `title`."""

    width: int
    height: int
    left: int
    top: int
    foot: int
    below: int
    title: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner (x, y) of a cell."""
        down = self.height + self.below + self.foot + GAP
        return (
            MARGIN + self.left + column * (self.width + GAP),
            MARGIN + self.title + self.top + row * down,
        )


def _layout(page: Page) -> _Layout:
    sizes = [cell.size for cells in page.cells for cell in cells if cell and cell.picture]
    aspect = statistics.median([height / width for width, height in sizes] or [9 / 16])
    aspect = min(max(aspect, ASPECTS[0]), ASPECTS[1])
    across = max(1, len(page.cells[0]))
    left = 150 if page.rows else 0
    room = (SHEET_WIDTH - 2 * MARGIN - left + GAP) // across - GAP
    own = CELL if page.enlarges else max((one[0] for one in sizes), default=CELL)
    if page.detail is not None:  # the part that is shown at full size is to be a part
        own //= 2
    width = max(1, min(max(own, SMALLEST_CELL), CELL, room))
    height = max(1, round(width * aspect))
    below = 0 if page.detail is None else height + GAP // 2
    lines = 40 if page.columns else 0
    foot = 0 if page.columns else round(2.7 * (LARGE if width >= WIDE else SMALL))
    return _Layout(
        width,
        height,
        left,
        lines,
        foot,
        below,
        (34 if page.title else 0) + (24 if page.note else 0),
    )


def _paste(
    sheet: Image.Image, cell: Cell, at: tuple[int, int], layout: _Layout, page: Page
) -> None:
    """Put the picture of `cell` into the place `at` of `sheet`, or why there is none."""
    (x, y), (width, height) = at, (layout.width, layout.height)
    if cell.picture is None:
        draw = ImageDraw.Draw(sheet)
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=GREY)
        inner, font = (width - 12, height - 12), font_of(SMALL)
        write_text(draw, cell.why, (x + 6, y + 6), inner, font, colour=ON_GREY)
        return
    shown = whole = cell.shown()
    factor = min(width / shown.width, height / shown.height)
    if factor < 1 or page.enlarges:
        size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(shown, (x + (width - shown.width) // 2, y + (height - shown.height) // 2))
    if page.detail is not None:
        part = _detail(whole, page.detail, (width, height))
        sheet.paste(part, (x + (width - part.width) // 2, y + height + GAP // 2))


def _detail(picture: Image.Image, place: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """The part of `picture` around `place` (across, down), of at most `size` (width, height)."""
    width, height = min(picture.width, size[0]), min(picture.height, size[1])
    left = min(max(round(picture.width * place[0] - width / 2), 0), picture.width - width)
    top = min(max(round(picture.height * place[1] - height / 2), 0), picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def _encoded(picture: Image.Image, path: Path, about: Mapping[str, Any]) -> bytes:
    """The bytes of `picture` in the format of the ending of `path`; its metadata has `about`."""
    text = json.dumps(about)
    suffix, data = path.suffix.lower(), io.BytesIO()
    options: dict[str, Any] = {}
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Software", "Dreamreel")
        info.add_text("Description", text)
        options = {"pnginfo": info}
    elif suffix not in (".bmp", ".ppm"):
        exif = Image.Exif()
        exif[SOFTWARE], exif[IMAGE_DESCRIPTION] = "Dreamreel", text[:LONGEST_EXIF]
        options = {"exif": exif.tobytes(), "quality": 92}
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0
    try:
        picture.save(data, Image.registered_extensions()[suffix], **options)
    except (OSError, ValueError) as error:
        kind = PassingError if isinstance(error, OSError) else UserError
        raise kind(f"{path} could not be written ({error})") from error
    return data.getvalue()


def _facts(page: Page) -> Iterator[dict[str, Any]]:
    """What the index tells of each cell of `page`."""
    for row, cells in enumerate(page.cells):
        for column, cell in enumerate(cells):
            if cell is not None:
                told = {"row": row, "column": column, "label": cell.label, **cell.facts}
                yield told if cell.picture is not None else {**told, "why": cell.why}
