"""Series: pictures in files of their own, one a frame, found by a folder or a pattern."""

import fnmatch
import itertools
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

import numpy as np

from dreamreel.pipeline.durable import flush_folder, take_name
from dreamreel.pipeline.errors import UserError, address_error, missing, usable
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.stills import (
    FORMATS,
    UNREADABLE,
    Header,
    decoded_still,
    read_header,
    reason_of,
)

# A series' number in the name of its pattern. ffmpeg cuts a number of more than 19 digits off.
NUMBER = re.compile(r"%(0[1-9]|01\d)?d")
# What is meant as a number, right or wrong: %5d, %i or %s, but not the rest of a word as in 50%off.
MEANT = re.compile(r"%[-+0-9]*(d|[isux](?![A-Za-z]))")
OnLost = Callable[[str], None]  # gets a line about each frame that is lost
# Numbers from the first to the last of a series that is checked for gaps. A wider range is of dates
# or clock times, whose gaps mean nothing. A round number: eleven hours at 25 frames a second.
SPAN_AT_MOST = 1_000_000


@dataclass(frozen=True)
class Series:
    """Pictures in files of their own, one a frame, in natural order: frame2 before frame10.

    `height` and `width` are those of an upright frame, in pixels. `depth` is 16 where any file has
    more than 8 bits a channel, else 8. `missing` are the numbers that a numbered series skips.
    """

    files: tuple[Path, ...]
    height: int
    width: int
    depth: int
    has_alpha: bool
    missing: tuple[int, ...] = ()


def find_series(path: Path) -> Series | None:
    """The pictures in the folder `path`, or those that match its name as a pattern: a number such
    as %d or %05d, or *, ? and [...]. None where `path` is neither; an existing file never is.

    Raises UserError where there are no pictures, where a folder holds more than one series, and
    where a picture cannot be read or differs from the first in size.
    """
    with usable(path):
        files = _files(path)
    if files is None:
        return None
    about = [read_header(file) for file in files]
    _check_one_size(files, about)
    height, width = about[0].size
    depth = max(header.depth for header in about)
    has_alpha = any(header.has_alpha for header in about)
    return Series(tuple(files), height, width, depth, has_alpha, _missing(files))


def find_still(path: Path) -> Series | None:
    """The picture at `path` as a series of one; None where `path` has no ending of a picture.
    Raises UserError where the picture cannot be read."""
    if path.suffix.lower() not in FORMATS:
        return None
    about = read_header(path)
    return Series((path,), *about.size, about.depth, about.has_alpha)


def read_series(
    series: Series, start: int = 0, stop: int | None = None, on_lost: OnLost | None = None
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of `series`: (H, W, 3 or 4), all of one depth.

    The frame before a file that can no longer be read stands in for it, or, if there is none, the
    first that can be read; `on_lost` gets a line about it. If none can be read, there is no frame.
    """
    count = len(series.files)
    stop = count if stop is None else min(stop, count)
    if stop <= start:
        return
    begin = start  # the same frame stands in, wherever reading starts
    while begin > 0 and _load(series, begin, None) is None:
        begin -= 1
    frames = (
        _load(series, number, on_lost if start <= number < stop else None)
        for number in range(begin, count)
    )
    yield from itertools.islice(with_stand_ins(frames), start - begin, stop - begin)


def _files(path: Path) -> list[Path] | None:
    """The pictures, at least one, in the folder `path` or of the pattern `path`; None where it is
    neither."""
    if path.is_dir():
        folder, names = path, _pictures_in(path)
        _check_one_series(folder, names)
    elif os.path.lexists(path) or (pattern := _pattern(path)) is None:
        return None
    else:
        folder = path.parent
        if not folder.is_dir():
            raise address_error(path) or missing(folder, "folder")
        names = [name for name in _pictures_in(folder) if pattern.fullmatch(name)]
    if not names:
        address = None if path == folder else address_error(path)
        raise address or UserError(_nothing_found(path, folder))
    return [folder / name for name in names]


def _pictures_in(folder: Path) -> list[str]:
    """The names of the pictures in `folder`, hidden ones left out, in natural order."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and Path(entry.name).suffix.lower() in FORMATS
            and entry.is_file()
        ]
    return sorted(names, key=natural)


def natural(name: str) -> tuple[list[str | int], str]:
    """The sort key of `name` in natural order."""
    # Text and digits alternate, text first: two parts that are compared are of one type.
    parts = _parts(Path(name).stem.casefold())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def _parts(text: str) -> list[str]:
    """`text` split into alternating text and digits, text first and last."""
    return re.split(r"([0-9]+)", text)


def _check_one_series(folder: Path, names: list[str]) -> None:
    """Raise UserError unless the pictures `names` in `folder` are one series."""
    endings: dict[str, str] = {}
    for name in names:
        endings.setdefault(FORMATS[Path(name).suffix.lower()], Path(name).suffix)
    if len(endings) > 1:
        first, second = list(endings.values())[:2]
        raise UserError(
            f"{folder} holds {first} and {second} pictures; "
            f"name one kind with a pattern such as '{folder / ('*' + first)}'"
        )
    series = [_printf(*stem, digits) for stem, digits in _numbered(names) if len(digits) > 1]
    if len(series) > 1:
        raise UserError(
            f"{folder} holds the series {series[0]} and {series[1]}; name one with the pattern "
            f"{folder / series[0]}, or take all with '{folder / ('*' + Path(names[0]).suffix)}'"
        )


def _numbered(names: Iterable[str]) -> list[tuple[tuple[str, str], list[str]]]:
    """`names` sorted into series: the text before and after the last number that varies, and the
    digits of that number in each name. A name unlike all others is a series of its own."""
    alike: dict[tuple[str, ...], list[list[str]]] = {}
    for name in names:
        parts = _parts(Path(name).stem)
        parts[-1] += Path(name).suffix  # digits in an ending, as in .jp2, are text
        alike.setdefault(tuple(parts[::2]), []).append(parts)
    series: dict[tuple[str, str], list[str]] = {}
    for members in alike.values():
        columns = list(zip(*members, strict=True))
        varying = [at for at, column in enumerate(columns) if len(set(column)) > 1]
        for parts in members:
            last = varying[-1] if varying else len(parts)
            stem = "".join(parts[:last]), "".join(parts[last + 1 :])
            series.setdefault(stem, []).append(parts[last] if varying else "")
    return list(series.items())


def _printf(before: str, after: str, digits: list[str]) -> str:
    """The pattern that matches all files of a series."""
    shortest = min(len(number) for number in digits)
    padded = shortest > 1 and any(number.startswith("0") for number in digits)
    return f"{before}%0{shortest}d{after}" if padded else f"{before}%d{after}"


def numbers_of(series: Series) -> tuple[int, ...] | None:
    """The number in the name of each file of `series`; None where they are not one numbered
    series. A single file has the number 0."""
    files = [file.name for file in series.files]
    if len(files) == 1:
        return (0,)
    found = _numbered(files)
    return tuple(int(digits) for digits in found[0][1]) if len(found) == 1 else None


def _missing(files: list[Path]) -> tuple[int, ...]:
    """The numbers that `files` skip; none where they are not one numbered series."""
    series = _numbered(file.name for file in files)
    if len(series) != 1 or len(files) < 2:
        return ()
    numbers = {int(digits) for digits in series[0][1]}
    first, last = min(numbers), max(numbers)
    if last - first >= SPAN_AT_MOST:
        return ()
    return tuple(number for number in range(first, last) if number not in numbers)


def _pattern(path: Path) -> re.Pattern[str] | None:
    """The names that match `path`'s name, as an expression; None where that is no pattern."""
    name = path.name
    numbers = list(re.finditer(r"%(0?)([0-9]{0,2})d", name))
    if len(numbers) > 1:
        raise UserError(f"{path} has {len(numbers)} numbers; give one, such as frame_%04d.png")
    if numbers:
        zero, width = numbers[0].groups()
        digits = rf"[0-9]{{{width or 1},}}" if zero or not width else " *[0-9]+"
        before, after = name[: numbers[0].start()], name[numbers[0].end() :]
        return re.compile(re.escape(before) + digits + re.escape(after))
    if re.search(r"[*?]|\[.+\]", name):
        return re.compile(fnmatch.translate(name))
    return None


def _nothing_found(path: Path, folder: Path) -> str:
    files = sum(entry.is_file() for entry in folder.iterdir())
    holds = f"{files} file{'s' * (files != 1)}" if files else "nothing"
    if path == folder:
        other = f"{holds}, and no picture" if files else "no picture"
        return f"{path} holds {other}; .png, .jpg, .tif, .webp or .exr would work"
    pictures = _pictures_in(folder)
    such = f", such as the picture {pictures[0]}" if pictures else ", and no picture"
    return f"no picture is named like {path}; the folder holds {holds}{such}"


def _check_one_size(files: list[Path], about: list[Header]) -> None:
    for file, header in zip(files, about, strict=True):
        if header.size != about[0].size:
            raise UserError(
                f"{file} is {_by(header.size)}, but {files[0]} is {_by(about[0].size)}; "
                "the pictures of a series must be of one size"
            )


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def _load(series: Series, number: int, on_lost: OnLost | None) -> Frame | None:
    """Frame `number` of `series`; None, with a line to `on_lost`, where it cannot be read."""
    path = series.files[number]
    try:
        pixels = decoded_still(path)
        if pixels.shape[:2] != (series.height, series.width):
            raise ValueError(f"it is now {_by(pixels.shape)}")
    except UNREADABLE as error:
        if on_lost is not None:
            on_lost(f"{path} cannot be read ({reason_of(error)}); another frame stands in")
        return None
    return _fitted(pixels, series)


def with_stand_ins(frames: Iterable[Frame | None]) -> Iterator[Frame]:
    """`frames`, with the frame before in place of each None, or, if there is none, the first
    frame."""
    shown, early = None, 0
    for frame in frames:
        shown = shown if frame is None else frame
        if shown is None:
            early += 1
            continue
        yield from itertools.repeat(shown, early + 1)
        early = 0


def _fitted(pixels: Frame, series: Series) -> Frame:
    """`pixels` in the depth of `series` and with its channels."""
    if pixels.ndim == 2:
        pixels = np.dstack([pixels, pixels, pixels])
    if series.depth == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    if series.depth == 8 and pixels.dtype == np.uint16:  # the file has changed since it was probed
        pixels = (pixels // 257).astype(np.uint8)
    if series.has_alpha and pixels.shape[2] == 3:
        opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        pixels = np.dstack([pixels, opaque])
    return np.ascontiguousarray(pixels if series.has_alpha else pixels[..., :3])


def publish_series(made: Path, out: Path, replace: bool) -> None:
    """Move the pictures in the folder `made` to their names, which the pattern `out` gives.

    With `replace`, all existing files of that pattern are deleted first; others stay. Raises
    FileExistsError where the folder of `out` has files in it and `replace` is not set.
    """
    place = out.parent
    if not place.exists():
        made.rename(place)
        return
    if any(place.iterdir()):
        if not replace:
            raise FileExistsError(f"{place} has files in it")
        for old in series_files(out):
            old.unlink()
    for path in made.iterdir():
        take_name(path, place / path.name, replace)
    flush_folder(place)
    made.rmdir()


def is_series(path: Path) -> bool:
    """Whether the output `path` is a pattern for a series, right or wrong: it has a number, such as
    frames/%05d.png, and the ending of a picture. A film's name may hold any %."""
    is_picture = path.suffix.lower() in FORMATS.keys() - {".apng"}
    return is_picture and MEANT.search(path.name) is not None


def names_series(source: Path) -> bool:
    """Whether `source` is a folder or a pattern of pictures; an existing file never is."""
    if os.path.lexists(source):
        return source.is_dir()
    return has_magic(source.name) or MEANT.search(source.name) is not None


def place_of(path: Path) -> Path:
    """The file that is made for `path`, or the folder, where `path` is a pattern for a series."""
    return path.parent if is_series(path) else path


def printf_pattern(out: Path) -> str:
    """The name of the pattern `out` with each % doubled but that of its number, as printf takes
    it."""
    number = NUMBER.search(out.name)
    assert number is not None
    before, after = out.name[: number.start()], out.name[number.end() :]
    return f"{before.replace('%', '%%')}{number[0]}{after.replace('%', '%%')}"


def series_files(out: Path) -> list[Path]:
    """The existing files, links and folders whose names match the pattern `out`, sorted."""
    before, _, after = NUMBER.sub("\0", out.name).partition("\0")
    wanted = re.compile(re.escape(before) + r"\d+" + re.escape(after))
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in out.parent.iterdir() if wanted.fullmatch(path.name))
    return []
