"""What came of a batch, to look at: `report.html` with all its jobs, and `matrix.jpg`, a sheet on
which looks are compared."""

import base64
import hashlib
import io
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dreamreel.pipeline.config.values import LARGEST_SIDE
from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.queue import Entry, State, queue_of
from dreamreel.pipeline.judging.lettering import NOT_PRINTED, font_of, write_text
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.converting import Converter, Raw
from dreamreel.pipeline.media.exports import is_animated
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.media.sequences import is_series
from dreamreel.pipeline.media.stills import UNREADABLE, read_pixels
from dreamreel.pipeline.opening import open_container, open_picture

TEMPLATE = Path(__file__).resolve().parent / "batch_page.html"
# Bytes of all thumbnails, before base64 makes them 4/3 as long: the page stays below 20 MB, which a
# phone still opens. One job has THUMB_BYTES at most: ten frames of 320x180 at quality 50.
PAGE_BYTES, THUMB_BYTES = 14_000_000, 140_000
# Number of frames, longest side in pixels and WebP quality of a thumbnail: the first that is small
# enough is taken. The last is taken in any case; it has about 4 kB.
THUMBS = ((10, 320, 50), (10, 320, 30), (10, 240, 25), (8, 160, 25), (1, 320, 40), (1, 160, 25))
# Jobs with a thumbnail, the first of the batch: a film takes a quarter of a second to look at, and
# nobody looks at more than some hundreds. A round number.
MOST_THUMBS = 400
# Milliseconds for which a thumbnail shows a frame. Frames that lie far apart flash: 2.5 of them a
# second stay below the 3 that are safe to see (WCAG 2.2, 2.3.1).
THUMB_SHOWS = 400
# Frames up to which a film is decoded on to the next frame that is wanted; beyond, a seek to a
# keyframe is as good: x264 sets one every 250 frames.
WALK = 250
SHEET_SIDE = 4000  # pixels of a sheet, at most: viewers zoom into that without trouble
SHEET_CELLS = 400  # of a sheet, at most: 20 by 20, of 190 pixels each
CELL, SMALLEST_CELL = 320, 110  # longest side of a cell in pixels, and the least worth a look
ASPECTS = (0.5, 1.8)  # height over width of a cell, at least and at most
GAP, MARGIN = 8, 24  # pixels between cells, and around a sheet
PAPER, GREY, ON_GREY = "#f7f6f3", "#757371", "#ffffff"

STATES: tuple[State, ...] = ("done", "failed", "running", "waiting")  # as a page lists them
SHORT = 20  # characters of a setting's value that stay in one line
FAULTS = {  # whose fault an error is, for a reader
    "user": "To correct in the job, its settings or its files",
    "passing": "May pass by itself: try again",
    "ours": "An error in Dreamreel",
}
WHY_UNSEEN = {
    "waiting": "waiting",
    "running": "running",
    "failed": "failed",
    "gone": "the file is gone",
    "unreadable": "no picture can be read",
    "many": "only the first have pictures",
}


@dataclass(frozen=True)
class Sight:
    """What can be seen of a job: frames of its output in order, shrunk, RGB or RGBA; or `why` there
    are none, one of `WHY_UNSEEN`. `size` (height, width) is that of the output, in pixels."""

    frames: tuple[Image.Image, ...] = ()
    size: tuple[int, int] | None = None
    why: str = ""


@dataclass(frozen=True)
class Grid:
    """The cells of a sheet, row by row; None where there is no job. `rows` and `columns` are their
    labels; without them, each cell has the name of its job below."""

    cells: tuple[tuple[Entry | None, ...], ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def write_page(entries: Sequence[Entry], path: Path, title: str) -> None:
    """Write the page `path`, such as renders/report.html, about all `entries`, in their order.

    It is one file that needs no other and no network. Its links are relative: to outputs, records
    and logs that exist now. An output that cannot be read has no thumbnail, nor has a job after the
    first `MOST_THUMBS`. Raises OSError if the page cannot be written.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    script = template.partition("<script>")[2].partition("</script>")[0]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(template).substitute(
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'",
        title=_text(title),
        totals=_totals(entries),
        filters=_filters(entries),
        jobs=_table(entries, path.parent) if entries else "<p>There are no jobs yet.</p>",
        written=f"As of {time.strftime('%Y-%m-%d %H:%M')}.",
    )
    write_whole(path, lambda file: file.write(page.encode()))


def write_matrix(entries: Sequence[Entry], path: Path) -> None:
    """Write the picture `path`, a JPEG such as renders/matrix.jpg, with a frame of each job.

    Rows are sources and columns are looks, if most pairs of these have a job, and only one. Any
    other jobs are cells in order, each with its name. A job without a picture is a grey cell that
    says why. Beyond 400 jobs, only the first are shown. Raises OSError if the file cannot be
    written.
    """
    shown = entries[:SHEET_CELLS]
    left_out = f"The first {len(shown)} of {len(entries)} jobs" if len(shown) < len(entries) else ""
    sights = {entry.name: _sight(entry, 1, CELL) for entry in shown}
    grid = _grid(shown)
    if grid is None or _cell_size(grid, sights)[0] < SMALLEST_CELL:
        grid = _plain_grid(shown)
    data = io.BytesIO()
    _drawn(grid, sights, left_out).save(data, "JPEG", quality=88)
    write_whole(path, lambda file: file.write(data.getvalue()))


# The page


def _text(text: str) -> str:
    """`text` for HTML, without characters that cannot be shown."""
    return escape(NOT_PRINTED.sub("\N{REPLACEMENT CHARACTER}", text))


def _totals(entries: Sequence[Entry]) -> str:
    done = [entry for entry in entries if entry.state == "done"]
    rows = {
        "Frames": f"{sum(entry.done_frames for entry in done):,}",
        "Time of work": _duration(sum(entry.seconds for entry in done)),
        "Size": _bytes(sum(entry.bytes for entry in done)),
    }
    counts = Counter(entry.state for entry in entries)
    told = [state for state in STATES if counts[state] or state in ("done", "failed")]
    rows = {state.capitalize(): f"{counts[state]:,}" for state in told} | rows
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items())


def _filters(entries: Sequence[Entry]) -> str:
    """Buttons that show the jobs of one state alone; nothing if all have the same."""
    found = {entry.state for entry in entries}
    if len(found) < 2:
        return ""
    inputs = "".join(
        f'<input type="radio" name="only" id="only-{name}"{" checked" if name == "all" else ""}>'
        f'<label for="only-{name}">{name.capitalize()}</label>'
        for name in ("all", *(state for state in STATES if state in found))
    )
    return f'<fieldset class="filters"><legend>Jobs to show</legend>{inputs}</fieldset>'


def _table(entries: Sequence[Entry], folder: Path) -> str:
    settings = list(dict.fromkeys(name for entry in entries for name in entry.shown))
    most = min(THUMB_BYTES, PAGE_BYTES // min(len(entries), MOST_THUMBS))
    numbers = ("Frames", "Size", "Time", "Frames/s", "Bytes")
    heads = "".join(
        f'<th scope="col" role="columnheader" data-sorts{css}>{_text(name)}</th>'
        for name, css in (
            ("Job", ""),
            *((name, "") for name in settings),
            *((name, ' class="number"') for name in numbers),
        )
    )
    rows = "\n".join(
        _row(entry, settings, numbers, folder, most if place < MOST_THUMBS else 0)
        for place, entry in enumerate(entries)
    )
    return (
        '<div class="wide" role="region" aria-label="Jobs" tabindex="0"><table role="table">'
        '<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">'
        f'<span class="hidden">Picture</span></th>{heads}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}\n</tbody></table></div>'
    )


def _row(
    entry: Entry, settings: Sequence[str], numbers: Sequence[str], folder: Path, most: int
) -> str:
    sight = Sight(size=entry.size, why="many")
    if most:
        sight = _sight(entry, THUMBS[0][0], THUMBS[0][1])
    link = _link(_place(entry), folder) if entry.state == "done" else None
    cells = [
        f'<td role="cell" class="seen">{_thumbnail(entry, sight, link, most)}</td>',
        f'<td role="cell" class="job" data-value="{entry.index}">{_job(entry, link, folder)}</td>',
        *(_cell("set", name, entry.shown.get(name) or None) for name in settings),
        *(
            _cell("number", name, *value)
            for name, value in zip(numbers, _figures(entry, sight), strict=True)
        ),
    ]
    return f'<tr role="row" class="{entry.state}">{"".join(cells)}</tr>'


def _cell(css: str, label: str, text: str | None, value: float | None = None) -> str:
    """A cell of the table with `text`, sorted by `value` if there is one; a dash without text."""
    key = ("" if text is None else text) if value is None else f"{value:.6g}"
    inner = '<span class="quiet">&ndash;</span>' if text is None else f"<bdi>{_text(text)}</bdi>"
    css += " unknown" if text is None else " short" if len(text) <= SHORT else ""
    return (
        f'<td role="cell" class="{css}" data-label="{_text(label)}" data-value="{_text(key)}">'
        f"{inner}</td>"
    )


def _figures(entry: Entry, sight: Sight) -> Iterator[tuple[str | None, float | None]]:
    """The frames, size, time, frames a second and bytes of `entry`: as text, and to sort by."""
    done = entry.state == "done"
    frames = entry.done_frames if done else entry.frames
    yield (f"{frames:,}" + ("" if done else " planned") if frames else None), frames
    size = sight.size or entry.size
    yield (
        (f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}", size[0] * size[1]) if size else (None, None)
    )
    known = done and entry.seconds > 0
    yield (_duration(entry.seconds), entry.seconds) if known else (None, None)
    moves = known and entry.job.kind != "still"
    rate = entry.done_frames / entry.seconds if moves and entry.done_frames else None
    yield (None if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}"), rate
    yield (_bytes(entry.bytes), entry.bytes) if done and entry.bytes else (None, None)


def _job(entry: Entry, link: str | None, folder: Path) -> str:
    """The name of `entry`, its state, its links and its error."""
    name = f"<bdi>{_text(entry.name)}</bdi>"
    opening, closing_ = (f'a href="{link}"', "a") if link else ("span", "span")
    name = f'<{opening} class="name">{name}</{closing_}>'
    place, log = _place(entry), queue_of(folder).path("logs", entry.name, ".log")
    beside = {"record": record_path(place) if link else None, "log": log}
    links = [
        f'<a href="{target}">{what}</a>'
        for what, file in beside.items()
        if file is not None and (target := _link(file, folder)) is not None
    ]
    state = f'<span class="state">{entry.state}</span>'
    about = " · ".join([f"{entry.index}", entry.job.kind, state, *links])
    return f'{name}<p class="about">{about}</p>{_notices(entry)}{_error(entry)}'


def _error(entry: Entry) -> str:
    if entry.error is None or entry.state == "done":
        return ""
    tries = f" (tried {entry.tries} times)" if entry.tries > 1 else ""
    return (
        f'<p class="error"><b>{FAULTS[entry.error.fault]}{tries}</b> '
        f"<bdi>{_text(entry.error.message)}</bdi></p>"
    )


def _link(path: Path, folder: Path) -> str | None:
    """The address of `path` relative to `folder`; None if nothing is there, or on another drive."""
    try:
        if not path.exists():
            return None
        relative = Path(os.path.relpath(path, folder)).as_posix()
        return escape(quote(os.fsencode(relative), safe="/"))
    except (OSError, ValueError):
        return None


def _notices(entry: Entry) -> str:
    """What the render of `entry` had to say, such as that its source is damaged."""
    return "".join(f'<p class="about"><bdi>{_text(one)}</bdi></p>' for one in entry.notices[:3])


def _thumbnail(entry: Entry, sight: Sight, link: str | None, most: int) -> str:
    """The picture of `entry` for the page, of at most `most` bytes before base64."""
    if not sight.frames:
        return f'<div class="none">{WHY_UNSEEN[sight.why]}</div>'
    loop, still = _encoded(sight.frames, most)
    width, height = sight.frames[0].size
    what = f"{len(sight.frames)} frames of " if len(sight.frames) > 1 else ""
    picture = (
        f'<img src="{_data(loop)}" width="{width}" height="{height}" decoding="async" '
        f'alt="{what}{_text(entry.name)}">'
    )
    if still:  # those who asked their system for less motion see one frame
        quiet = f'<source media="(prefers-reduced-motion: reduce)" srcset="{_data(still)}">'
        picture = f"<picture>{quiet}{picture}</picture>"
    return f'<a href="{link}">{picture}</a>' if link else picture


def _data(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _encoded(frames: Sequence[Image.Image], most: int) -> tuple[bytes, bytes]:
    """`frames` as an animated WebP, and the middle one alone, together of at most `most` bytes; of
    a single frame, or where there is room for no more, that alone and nothing."""
    loop = still = b""
    for count, side, quality in THUMBS:
        if count > 1 and len(frames) == 1:
            count = 1
        chosen = [frames[number] for number in _spread(len(frames), count)]
        small = [_thumb(frame, side) for frame in chosen]
        loop = _webp(small, quality)
        still = _webp([small[len(small) // 2]], quality) if len(small) > 1 else b""
        if len(loop) + len(still) <= most:
            break
    return loop, still


def _thumb(frame: Image.Image, side: int) -> Image.Image:
    if max(frame.size) <= side:
        return frame
    return frame.resize(_within(frame.size, (side, side)), Image.Resampling.LANCZOS)


def _webp(frames: Sequence[Image.Image], quality: int) -> bytes:
    data = io.BytesIO()
    more: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "loop": 0}
    more["duration"] = THUMB_SHOWS
    frames[0].save(data, "WEBP", quality=quality, **(more if len(frames) > 1 else {}))
    return data.getvalue()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.3g} {unit}"


# What is seen of a job


def _place(entry: Entry) -> Path:
    return entry.output or entry.job.place


def _sight(entry: Entry, count: int, side: int) -> Sight:
    """What can be seen of `entry`: `count` frames at most, spread evenly, within `side` pixels."""
    import av

    if entry.state != "done":
        return Sight(why=entry.state)
    try:
        if not _place(entry).exists():
            return Sight(why="gone")
        return _seen(entry, count, side)
    except (*UNREADABLE, av.FFmpegError, MemoryError):  # it was damaged since it was made
        return Sight(why="unreadable")


def _seen(entry: Entry, count: int, side: int) -> Sight:
    place, output = _place(entry), entry.job.output
    if entry.job.kind == "still" or is_animated(place):
        _check_size(place)
    if entry.job.kind == "still":
        pixels = to_8_bits(read_pixels(place))[..., [2, 1, 0, 3]]
        return Sight((_small(pixels, 1.0, side),), pixels.shape[:2])
    clip = probe(place / output.name if is_series(output) else place)
    numbers = _spread(clip.frames or entry.done_frames or 1, count)
    shape = float(clip.pixel_shape)
    frames = tuple(_small(frame, shape, side) for frame in _frames_at(clip, numbers))
    return Sight(frames, (clip.height, clip.width), "" if frames else "unreadable")


def _check_size(picture: Path) -> None:
    """Raise UserError if the file `picture` says that it is larger than any render: one damaged
    byte in a WebP, and decoding takes minutes and gigabytes."""
    with open_picture(picture) as file:
        if max(file.size) > LARGEST_SIDE:
            raise UserError(f"{picture} is damaged")


def _spread(total: int, count: int) -> list[int]:
    """The middles of `count` equal parts of 0 to `total`; all of them if there are no more."""
    return sorted({(2 * part + 1) * total // (2 * count) for part in range(count)})


def _frames_at(clip: Clip, numbers: Sequence[int]) -> Iterator[Frame]:
    """The frames of `clip` with these `numbers`, which rise. Those of a film may be a frame or two
    late."""
    if clip.is_file and clip.format is not None and clip.shown:
        yield from _film_frames(clip, numbers)
    elif clip.series is not None:
        for number in numbers:
            yield from read_frames(clip, number, number + 1)
    else:  # an animation is decoded from its beginning each time
        wanted = set(numbers)
        with closing(read_frames(clip, 0, numbers[-1] + 1)) as frames:
            yield from (frame for number, frame in enumerate(frames) if number in wanted)


def _film_frames(clip: Clip, numbers: Sequence[int]) -> Iterator[Frame]:
    """The frames of a film as `_frames_at` gives them.

    `read_frames` decodes with one thread, from the third keyframe before, and converts each frame:
    for ten frames of a 1920x1080 film of a minute, 25 s on two cores. This takes 4.4 s. In a longer
    film, each frame is the keyframe before.
    """
    import av

    assert clip.format is not None
    hops = len(numbers) > 1 and numbers[1] - numbers[0] > WALK
    converter, at = Converter(clip.format), 0
    with open_container(clip.path) as container:
        stream: Any = container.streams[clip.stream]
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONREF"  # of no use to other frames, nor to us
        pictures = container.decode(stream)
        for number in numbers:
            wanted = clip.shown[min(number, len(clip.shown) - 1)]
            if hops or number - at > WALK:
                container.seek(math.floor(wanted / stream.time_base), stream=stream)
                pictures = container.decode(stream)
            at, found = number, None
            with suppress(av.FFmpegError):  # it may be damaged here, and sound elsewhere
                for found in map(Raw.of, pictures):
                    if hops or found.time is None or found.time >= wanted:
                        break
            if found is not None:
                yield converter.take(found).frame()


def _small(frame: Frame, shape: float, side: int) -> Image.Image:
    """`frame`, whose pixels are `shape` times as wide as high, within `side` pixels."""
    height, width = frame.shape[:2]
    frame = to_8_bits(frame)
    size = _within((max(1, round(width * shape)), height), (side, side))
    if size != (width, height):
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    opaque = frame.shape[2] == 3 or bool((frame[..., 3] == 255).all())
    return Image.fromarray(np.ascontiguousarray(frame[..., [2, 1, 0] if opaque else [2, 1, 0, 3]]))


def _within(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """`size` (width, height) shrunk in proportion to fit into `box`."""
    factor = min(1.0, box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


# The sheet


def _grid(entries: Sequence[Entry]) -> Grid | None:
    """`entries` in rows of one source and columns of one look; None if a pair of these has two
    jobs, or if half of the pairs or more have none."""
    for names in _looks(entries):
        found = {(_source(one.job), _look(one, names)): one for one in entries}
        rows = list(dict.fromkeys(source for source, _ in found))
        columns = list(dict.fromkeys(look for _, look in found))
        if len(found) == len(entries) and 2 * len(found) > len(rows) * len(columns):
            cells = tuple(tuple(found.get((row, look)) for look in columns) for row in rows)
            return Grid(cells, tuple(_short(rows)), tuple(map(_look_label, columns)))
    return None


def _looks(entries: Sequence[Entry]) -> Iterator[list[str]]:
    """The names of settings by which looks may be told apart, the best first: the preset alone, or
    all that are shown and do not name the source."""
    names = dict.fromkeys(name for entry in entries for name, value in entry.shown.items() if value)
    if "preset" in names:
        yield ["preset"]
    yield [name for name in names if not all(_names_source(entry, name) for entry in entries)]


def _names_source(entry: Entry, name: str) -> bool:
    source = Path(_source(entry.job))
    value = entry.shown.get(name) or "?"
    alike = (str(source), source.name, source.stem)
    return name == "source" or value in alike or source.as_posix().endswith(f"/{value}")


def _look(entry: Entry, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, entry.shown[name]) for name in names if entry.shown.get(name))


def _look_label(look: tuple[tuple[str, str], ...]) -> str:
    if len(look) == 1:
        name, value = look[0]
        return value if name == "preset" else f"{name} {value}"
    return ", ".join(f"{name} {value}" for name, value in look) or "default"


def _source(job: Job) -> str:
    """What `job` begins with: the path of its source, or of the zoom before; a colour, or noise."""
    if job.source is not None:
        return str(job.source.path)
    if job.flight is None or (job.flight.earlier is None and job.flight.colour is None):
        return "noise"
    if job.flight.earlier is not None:
        return str(job.flight.earlier.film.path)
    return "#{:02x}{:02x}{:02x}".format(*(job.flight.colour or (0, 0, 0)))


def _short(sources: Sequence[str]) -> list[str]:
    """The name of each of `sources`, with its folder where two have the same name."""
    names = [Path(source).name for source in sources]
    return [
        name if names.count(name) == 1 else str(Path(Path(source).parent.name, name))
        for name, source in zip(names, sources, strict=True)
    ]


def _plain_grid(entries: Sequence[Entry]) -> Grid:
    """`entries` in as many rows as columns, or one less."""
    across = max(1, math.ceil(math.sqrt(len(entries))))
    cells: list[Entry | None] = [*entries, *([None] * (-len(entries) % across))]
    return Grid(tuple(tuple(cells[at : at + across]) for at in range(0, len(cells), across)))


@dataclass(frozen=True)
class Layout:
    """Where the parts of a sheet lie, in pixels: the `cell` (width, height), the labels to the
    `left`, on `top`, and at the `foot` of each cell."""

    cell: tuple[int, int]
    left: int
    top: int
    foot: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner (x, y) of a cell."""
        width, height = self.cell
        return (
            MARGIN + self.left + column * (width + GAP),
            MARGIN + self.top + row * (height + self.foot + GAP),
        )


def _cell_size(grid: Grid, sights: dict[str, Sight]) -> tuple[int, int]:
    return _layout(grid, sights).cell


def _layout(grid: Grid, sights: dict[str, Sight]) -> Layout:
    """The layout of `grid`, with cells as large as fit and as high as half of its pictures are."""
    firsts = [sight.frames[0].size for sight in sights.values() if sight.frames]
    aspect = statistics.median([height / width for width, height in firsts] or [9 / 16])
    aspect = min(max(aspect, ASPECTS[0]), ASPECTS[1])
    heading = 66 if any(len(label) > SHORT for label in grid.columns) else 30  # three lines, or one
    left, top, foot = (180, heading, 0) if grid.rows else (0, 8, 42)
    across, down = max(1, len(grid.cells[0] if grid.cells else ())), max(1, len(grid.cells))
    room = SHEET_SIDE - 2 * MARGIN
    width = (room - left) / across - GAP
    height = (room - top) / down - GAP - foot
    longest = min(CELL / max(1, aspect), width, height / aspect)
    return Layout((max(1, int(longest)), max(1, int(longest * aspect))), left, top, foot)


def _drawn(grid: Grid, sights: dict[str, Sight], note: str) -> Image.Image:
    """`grid` as a picture, with a `note` at its top."""
    layout = _layout(grid, sights)
    width, height = layout.cell
    right, below = layout.corner(len(grid.cells) or 1, len(next(iter(grid.cells), ())) or 1)
    sheet = Image.new("RGB", (right - GAP + MARGIN, below - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = font_of(15 if width >= 200 else 12)
    write_text(draw, note or ("" if grid.cells else "no jobs"), (MARGIN, 6), (600, 18), font)
    for number, label in enumerate(grid.columns):
        x, y = layout.corner(0, number)
        write_text(draw, label, (x, y - layout.top + 6), (width, layout.top - 12), font, low=True)
    for row, cells in enumerate(grid.cells):
        x, y = layout.corner(row, 0)
        if grid.rows:
            write_text(draw, grid.rows[row], (MARGIN, y), (layout.left - 12, height), font)
        for column, entry in enumerate(cells):
            x, y = layout.corner(row, column)
            if entry is not None or grid.rows:
                sight = None if entry is None else sights[entry.name]
                _paste(sheet, draw, sight, (x, y), layout.cell)
            if entry is not None and not grid.rows:
                write_text(draw, entry.name, (x, y + height + 3), (width, layout.foot - 3), font)
    return sheet


def _paste(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    sight: Sight | None,
    at: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    """Put the picture of `sight` into the middle of the cell at `at`, or why there is none."""
    (x, y), (width, height) = at, cell
    if sight is None or not sight.frames:
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=GREY)
        why = "no job" if sight is None else WHY_UNSEEN[sight.why]
        inner = (width - 12, height - 12)
        write_text(draw, why, (x + 6, y + 6), inner, font_of(14), colour=ON_GREY)
        return
    picture = sight.frames[0]
    factor = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    corner = (x + (width - picture.width) // 2, y + (height - picture.height) // 2)
    sheet.paste(picture, corner, picture if picture.mode == "RGBA" else None)
