"""Frames from pictures: folders and patterns of them, and animated ones.

A frame here has its source's depth and alpha: (H, W, 3) BGR or (H, W, 4) BGRA, its alpha not
multiplied in; uint8, or uint16 of the full range, 0 to 65535.
"""

import fnmatch
import itertools
import os
import re
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.images import JPEG, read_pixels
from dreamreel.pipeline.opening import check_readable, open_picture, why_no_picture

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Pixels = NDArray[Any]
OnLost = Callable[[str], None]

FORMATS = {  # by their endings, the pictures that a folder can hold; Pillow's names
    **dict.fromkeys(JPEG, "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{".webp": "WEBP", ".bmp": "BMP", ".avif": "AVIF", ".tga": "TGA", ".exr": "EXR"},
}
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
SPAN_AT_MOST = 1_000_000  # of numbers: what spans more is dates or clocks, and has no gaps
# What Pillow, OpenCV and NumPy raise over files that are damaged, and we over those that are gone.
UNREADABLE = (
    *(UserError, OSError, ValueError, SyntaxError, EOFError, LookupError, RuntimeError),
    *(ArithmeticError, struct.error, cv2.error),
)
NO_FRAMES = (b"VP8X", b"ANIM", b"ICCP", b"EXIF", b"XMP ")  # of WebP's chunks
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Series:
    """Pictures in files of their own, one a frame, in natural order: frame2 before frame10.

    `height` and `width` are those of an upright frame; `depth` is 16 where any file has more than
    8 bits, else 8; `missing` are the numbers that a numbered series skips.
    """

    files: tuple[Path, ...]
    height: int
    width: int
    depth: int
    has_alpha: bool
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Animation:
    """A picture that moves: how long each of its frames is shown, in seconds, and how often all of
    them are, as far as the file says; 0: for ever; and the `fault` by which some of its frames
    cannot be found, if any. Its frames are uint8."""

    path: Path
    height: int
    width: int
    has_alpha: bool
    durations: tuple[Fraction, ...]
    loops: int
    fault: str | None = None


def find_series(path: Path) -> Series | None:
    """The pictures in the folder `path`, or those that its name's pattern means: a number such as
    %d or %05d, or *, ? and [...]. None where `path` is neither; an existing file never is.

    Raises UserError where there are none, where a folder holds more than one series, and where
    one of the pictures cannot be read or differs from the first in size.
    """
    with usable(path):
        files = _files(path)
    if files is None:
        return None
    about = [_header(file) for file in files]
    _check_one_size(files, about)
    height, width = about[0].size
    depth = max(header.depth for header in about)
    has_alpha = any(header.has_alpha for header in about)
    return Series(tuple(files), height, width, depth, has_alpha, _missing(files))


def find_still(path: Path) -> Series | None:
    """The one picture at `path`, as a series of one; None where it does not end as one does.
    Raises UserError where it cannot be read."""
    if path.suffix.lower() not in FORMATS:
        return None
    about = _header(path)
    return Series((path,), *about.size, about.depth, about.has_alpha)


def read_series(
    series: Series, start: int = 0, stop: int | None = None, on_lost: OnLost | None = None
) -> Generator[Pixels, None, None]:
    """Frames `start` to `stop` (excluded) of `series`, all of one depth and number of channels.

    For a file that can no longer be read, the frame before stands in, or the first that can be
    read; `on_lost` is told in a line. Where none can be read, there is no frame.
    """
    count = len(series.files)
    stop = count if stop is None else min(stop, count)
    if stop <= start:
        return
    begin = start  # wherever reading starts, the same frame stands in
    while begin > 0 and _load(series, begin, None) is None:
        begin -= 1
    frames = (
        _load(series, number, on_lost if start <= number < stop else None)
        for number in range(begin, count)
    )
    yield from itertools.islice(_with_stand_ins(frames), start - begin, stop - begin)


def find_animation(path: Path) -> Animation | None:
    """The animation at `path`: a GIF, WebP, PNG or AVIF file. None where it is none of these, or
    a still. All of its frames are decoded, one at a time; those cut off at its end do not count.
    """
    try:
        with _open(path, ANIMATED) as file:
            if not getattr(file, "is_animated", False):
                return None
            loops = file.info.get("loop", 0 if file.format == "AVIF" else 1)
            (width, height), shown, count, has_alpha = file.size, [], 0, False
            for seconds, frame in _played(file):
                shown.append(seconds)
                if frame is not None:
                    count, height, width = len(shown), frame.height, frame.width
                    has_alpha = has_alpha or bool((np.asarray(frame)[..., 3] < 255).any())
            fault = _fault(file, max(count, len(shown)), count)
            if _orientation(file) >= 5:
                height, width = width, height
    except UNREADABLE:
        return None  # whoever is asked next for what this is has words for what is wrong
    if not count:
        return None
    return Animation(path, height, width, has_alpha, tuple(shown[:count]), loops, fault)


def gif_fault(data: bytes) -> str | None:
    """Where the blocks of a GIF file's `data` break off; None where they lead to its end."""

    def after(table: int, at: int) -> int:
        """Past the colour table whose flags those are, if any, that begins `at`."""
        return at + (3 << (table & 7) + 1 if table & 0x80 else 0)

    whole = data + bytes(11)  # for what is cut off to have flags
    at, frames = after(whole[10], 13), 0
    while at < len(data) and data[at] in (0x21, 0x2C):  # an extension, an image
        frames += data[at] == 0x2C
        at = after(whole[at + 9], at + 10) + 1 if data[at] == 0x2C else at + 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    # An image comes after the end of an extension.
    if data[at : at + 1] != b";" or b"\0," in data[at:]:
        return f"it breaks off after {frames} frames"
    return None


def read_animation(
    animation: Animation, start: int = 0, stop: int | None = None, on_lost: OnLost | None = None
) -> Generator[Pixels, None, None]:
    """Frames `start` to `stop` (excluded) of `animation`, as they look when shown.

    What a damaged frame shows, and what `on_lost` is told, is as for `read_series`.
    """
    count = len(animation.durations)
    stop = count if stop is None else min(stop, count)

    def told() -> Iterator[Pixels | None]:
        shown = itertools.chain(_frames(animation), itertools.repeat(None))
        for number, frame in enumerate(itertools.islice(shown, count)):
            if frame is None and on_lost is not None and start <= number < stop:
                on_lost(f"frame {number} of {animation.path} cannot be read; another stands in")
            yield frame

    if start < stop:
        yield from itertools.islice(_with_stand_ins(told()), start, stop)


@dataclass(frozen=True)
class _Header:
    """What a picture's file says before its pixels: its `size` is (height, width), upright."""

    size: tuple[int, int]
    depth: int
    has_alpha: bool


def _files(path: Path) -> list[Path] | None:
    """The pictures, at least one, that `path` names as a folder or a pattern; None where it is
    neither."""
    if path.is_dir():
        folder, names = path, _pictures_in(path)
        _check_one_series(folder, names)
    elif path.exists() or (pattern := _pattern(path)) is None:
        return None
    else:
        folder = path.parent
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        names = [name for name in _pictures_in(folder) if pattern.fullmatch(name)]
    if not names:
        raise UserError(_nothing_found(path, folder))
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
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[str | int], str]:
    """What to sort `name` by, for numbers in it to count as such."""
    # Text and digits take turns, text first: what is compared is always of one type.
    parts = _parts(Path(name).stem.casefold())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def _parts(text: str) -> list[str]:
    """`text` cut into text and digits by turns, text first and last."""
    return re.split(r"([0-9]+)", text)


def _check_one_series(folder: Path, names: list[str]) -> None:
    """Raise UserError where the pictures `names` of `folder` would not make one clip."""
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
    """`names` sorted into series: what stands before and after the last number that varies, and
    all of these numbers' digits. A name that is like no other is alone in its own."""
    alike: dict[tuple[str, ...], list[list[str]]] = {}
    for name in names:
        parts = _parts(Path(name).stem)
        parts[-1] += Path(name).suffix  # whose digits, as in .jp2, count nothing
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
    """The pattern that means all of a series' files."""
    shortest = min(len(number) for number in digits)
    padded = shortest > 1 and any(number.startswith("0") for number in digits)
    return f"{before}%0{shortest}d{after}" if padded else f"{before}%d{after}"


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
    """What the names look like that `path`'s own means, where it is a pattern."""
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
        return f"{path} holds {holds}, and no picture; .png, .jpg, .tif, .webp or .exr would work"
    pictures = _pictures_in(folder)
    such = f", such as the picture {pictures[0]}" if pictures else ", and no picture"
    return f"no picture is named like {path}; the folder holds {holds}{such}"


def _header(path: Path) -> _Header:
    """What the picture at `path` is, undecoded. Raises UserError where it is none."""
    check_readable(path)
    try:
        if path.suffix.lower() == ".exr":
            return _exr_header(path)
        with _open(path, FORMATS.values()) as file:
            deep = _is_deep(file) or file.mode.startswith(("I", "F"))
            width, height = file.size
            size = (width, height) if _orientation(file) >= 5 else (height, width)
            has_alpha = file.mode.endswith(("A", "a")) or "transparency" in file.info
            return _Header(size, 16 if deep else 8, has_alpha)
    except UNREADABLE as error:
        raise UserError(
            f"{path} is no picture that can be read ({_reason(error, path)})"
        ) from error


def _check_one_size(files: list[Path], about: list[_Header]) -> None:
    for file, header in zip(files, about, strict=True):
        if header.size != about[0].size:
            raise UserError(
                f"{file} is {_by(header.size)}, but {files[0]} is {_by(about[0].size)}; "
                "the pictures of a series must be of one size"
            )


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def _open(path: Path, formats: Iterable[str]) -> "ImageFile":
    """The picture at `path`, its pixels not yet decoded, where it is in one of `formats`."""
    file: ImageFile = open_picture(path, tuple(formats))
    return file


def _orientation(file: "Image") -> int:
    """How the pixels of `file` are to be turned, as EXIF counts it; 1 where they are upright."""
    from PIL import Image

    if file.format == "TIFF":  # turned by every reader as it decodes
        return 1
    exif = file.getexif() if _has_late_exif(file) else Image.Image.getexif(file)
    orientation = exif.get(EXIF_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _has_late_exif(file: Any) -> bool:
    """Whether a PNG seems to have its EXIF behind its pixels, where ExifTool puts it.

    Pillow's own way to find out is to decode them, which takes a while for a thousand files.
    """
    if file.format != "PNG" or file.is_animated or "exif" in file.info:
        return False
    with open(file.filename, "rb") as raw:
        raw.seek(-min(65536, os.path.getsize(file.filename)), os.SEEK_END)
        return b"eXIf" in raw.read()


def _is_deep(file: Any) -> bool:
    """Whether `file` has 16 bits a channel, of which Pillow would keep 8 where it has colours."""
    raw_mode = str(file.tile[0][3]) if file.tile else ""
    known = file.mode.startswith("I") or file.mode in ("LA", "RGB", "RGBA", "RGBX")
    # A BMP's 16 bits are those of a pixel.
    return known and re.search(r";16[BLN]?\b", raw_mode) is not None and file.format != "BMP"


def _exr_header(path: Path) -> _Header:
    import av

    with path.open("rb") as file:
        begins = file.read(1 << 20)
    decoder = av.CodecContext.create("exr", "r")
    decoder.skip_frame = "ALL"  # reads the header, and leaves the pixels
    try:
        decoder.decode(av.Packet(begins))
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error
    if not decoder.width or not decoder.pix_fmt:
        raise ValueError("it is no OpenEXR file with pictures of colour or grey")
    return _Header((decoder.height, decoder.width), 16, decoder.pix_fmt.startswith(("gbra", "ya")))


def _reason(error: Exception, path: Path) -> str:
    """What went wrong with the picture at `path`, without its name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split())
    return why_no_picture(path) if words.startswith("cannot identify") or not words else words


def _load(series: Series, number: int, on_lost: OnLost | None) -> Pixels | None:
    """The frame `number` of `series`; None, with a word to `on_lost`, where it cannot be read."""
    path = series.files[number]
    try:
        pixels = _decoded(path)
        if pixels.shape[:2] != (series.height, series.width):
            raise ValueError(f"it is now {_by(pixels.shape)}")
    except UNREADABLE as error:
        if on_lost is not None:
            on_lost(f"{path} cannot be read ({_reason(error, path)}); another frame stands in")
        return None
    return _fitted(pixels, series)


def _with_stand_ins(frames: Iterable[Pixels | None]) -> Iterator[Pixels]:
    """`frames`, and where there is none the one before, or the first there is."""
    shown, early = None, 0
    for frame in frames:
        shown = shown if frame is None else frame
        if shown is None:
            early += 1
            continue
        yield from itertools.repeat(shown, early + 1)
        early = 0


def _decoded(path: Path) -> Pixels:
    """The pixels at `path`, upright: grey (H, W), BGR or BGRA, uint8 or uint16."""
    if path.suffix.lower() == ".exr":
        return _displayed(_exr_pixels(path.read_bytes()))
    with _open(path, FORMATS.values()) as file:
        if _is_deep(file):
            multiplied = "RGBa" in str(file.tile[0][3])
            pixels = _upright(_deep_pixels(path), _orientation(file))
            return _levels(_unmultiplied(pixels / np.float32(65535))) if multiplied else pixels
    return read_pixels(path)[..., [2, 1, 0, 3]]


def _deep_pixels(path: Path) -> Pixels:
    """The pixels at `path` as they are stored, uint16: of colours, Pillow would keep 8 bits."""
    with _open(path, FORMATS.values()) as file:
        file.verify()  # of a PNG, its checksums; libpng has a word on these for the terminal
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    return pixels


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` turned as `orientation`, 1 to 8, asks for (Exif 2.3, 4.6.4 A)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = ((1, 1), (1, -1), (-1, -1), (-1, 1))[(orientation - 1) % 4]
    return pixels[::down, ::across]


def _exr_pixels(data: bytes) -> Pixels:
    """The values in an OpenEXR file, float32: (H, W, 1 to 4), in B, G, R and alpha's order.

    FFmpeg decodes them: OpenCV's wheels have lost the format with version 5.
    """
    import av

    _check_exr_is_whole(data)
    decoder = av.CodecContext.create("exr", "r")
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error
    if not frames:
        raise ValueError("its pixels cannot be decoded")
    return _values(frames[0])


def _check_exr_is_whole(data: bytes) -> None:
    """Raise ValueError where an OpenEXR file was cut off: FFmpeg paints black what is missing.

    Its table of where each chunk is comes after the header and ends where the first chunk begins
    ("OpenEXR File Layout"). Of files of many parts, which have many tables, nothing is known.
    """
    if data[5] & 0x10:
        return
    at = 8
    while data[at]:  # an attribute: its name, its type, its size and its value
        at = data.index(0, data.index(0, at) + 1) + 1
        at += 4 + int.from_bytes(data[at : at + 4], "little")
    at += 1
    first = len(data)
    while at < first:
        chunk = int.from_bytes(data[at : at + 8], "little")
        if not at < chunk < len(data):
            raise ValueError("its end is missing")
        at, first = at + 8, min(first, chunk)


def _values(frame: "VideoFrame") -> Pixels:
    """The floats of `frame` (H, W, C), float32: blue, green, red, or grey; and alpha, if any."""
    name = frame.format.name
    kind = np.dtype("<f2" if "f16" in name else "<f4")
    planes = [np.frombuffer(plane, kind).reshape(frame.height, -1) for plane in frame.planes]
    if name.startswith("ya"):  # grey and alpha by turns, in one plane
        planes = [planes[0][:, ::2], planes[0][:, 1::2]]
    if name.startswith("gbr"):
        planes = [planes[at] for at in (1, 0, 2, 3)[: len(planes)]]
    return np.dstack([plane[:, : frame.width] for plane in planes]).astype(np.float32)


def _displayed(light: Pixels) -> Pixels:
    """Linear `light` (H, W, C), alpha multiplied in, as BGR or BGRA under the sRGB curve
    (IEC 61966-2-1), uint16; what is brighter than white is white."""
    light = np.clip(np.nan_to_num(light, nan=0, posinf=1), 0, None)
    if light.shape[2] < 3:
        light = light[..., [0, 0, 0, 1][: light.shape[2] + 2]]
    if light.shape[2] == 4:
        light = _unmultiplied(light)
    colour = np.clip(light[..., :3], 0, 1)
    curved = np.where(colour <= 0.0031308, 12.92 * colour, 1.055 * colour ** (1 / 2.4) - 0.055)
    return _levels(np.concatenate([curved, light[..., 3:]], axis=2))


def _unmultiplied(pixels: Pixels) -> Pixels:
    """`pixels` (H, W, 4) of floats, whose colours have been multiplied by their alpha, undone.

    What has colour and no alpha, as fire and glow may, keeps it.
    """
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    straight = np.divide(colour, alpha, out=colour.copy(), where=alpha > 0)
    return np.concatenate([straight, alpha], axis=2)


def _levels(pixels: Pixels) -> Pixels:
    """`pixels` in [0, 1] as uint16."""
    return np.round(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)


def _fitted(pixels: Pixels, series: Series) -> Pixels:
    """`pixels` in the depth of `series` and with its channels."""
    if pixels.ndim == 2:
        pixels = np.dstack([pixels, pixels, pixels])
    if series.depth == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    if series.depth == 8 and pixels.dtype == np.uint16:  # the file is another by now
        pixels = (pixels // 257).astype(np.uint8)
    if series.has_alpha and pixels.shape[2] == 3:
        opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        pixels = np.dstack([pixels, opaque])
    return np.ascontiguousarray(pixels if series.has_alpha else pixels[..., :3])


def _played(file: Any) -> Iterator[tuple[Fraction, "Image | None"]]:
    """The frames of an animation, RGBA, as they look when shown, and for how long each is, in
    seconds. None for one that is damaged, which Pillow reads past only in PNG files."""
    size: tuple[int, int] | None = None
    # A PNG's still for those who know no animation is none of its frames.
    for number in itertools.count(1 if getattr(file, "default_image", False) else 0):
        try:
            file.seek(number)
        except UNREADABLE:
            return
        try:
            frame = _rgba(file, size)
            size = frame.size
        except UNREADABLE:
            frame = None
        yield _seconds(file.info.get("duration", 0)), frame
        if frame is None and file.format != "PNG":
            return


def _fault(file: Any, frames: int, whole: int) -> str | None:
    """Why the animation `file`, read to its end, may have more than the `frames` that were found,
    of which the `whole` ones count; None where it has no more."""
    data = Path(file.filename).read_bytes()
    if file.format == "PNG":
        frames = max(frames, file.n_frames - bool(getattr(file, "default_image", False)))
    if file.format == "WEBP":  # its decoder passes over chunks whose names it does not know
        frames = max(frames, sum(name not in NO_FRAMES for name in _chunks(data)))
    if frames > whole:
        return f"of its {frames} frames, {whole} can be read"
    return gif_fault(data) if file.format == "GIF" else None


def _chunks(data: bytes) -> Iterator[bytes]:
    """The names of the chunks of a WebP file."""
    at = 12
    while at + 8 <= len(data):
        yield data[at : at + 4]
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


def _rgba(file: "ImageFile", canvas: tuple[int, int] | None) -> "Image":
    """The frame at which `file` is, RGBA, on the `canvas` (width, height) of the first."""
    from PIL import Image

    # What goes beyond the canvas makes it grow in Pillow, and in no browser. One damaged byte may
    # put a frame so far out that no memory would do.
    canvas = canvas or file.size
    if file.width * file.height > 4 * canvas[0] * canvas[1]:
        raise ValueError("a frame of it lies far beyond its canvas")
    file.load()
    if file.mode.startswith("I;16"):  # which Pillow would not scale but clip
        grey = (np.asarray(file) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGBA")
    frame = file.convert("RGBA")
    return frame if frame.size == canvas else frame.crop((0, 0, *canvas))


def _seconds(milliseconds: float) -> Fraction:
    """How long a frame of that duration is shown.

    All major browsers treat delays under 20 ms, which in a GIF are 0 and 10 ms, as 100 ms.
    """
    if milliseconds <= 10:
        return Fraction(1, 10)
    # A PNG's durations are fractions of 16-bit numbers, which this finds again exactly.
    return Fraction(milliseconds / 1000).limit_denominator(65535)


def _frames(animation: Animation) -> Iterator[Pixels | None]:
    """The frames of `animation`, None for each that is damaged; they end where the file does."""
    try:
        with _open(animation.path, ANIMATED) as file:
            orientation = _orientation(file)
            for _, frame in _played(file):
                if frame is None:
                    yield None
                    continue
                pixels = _upright(np.asarray(frame), orientation)
                same = pixels.shape[:2] == (animation.height, animation.width)
                order = [2, 1, 0, 3] if animation.has_alpha else [2, 1, 0]
                yield np.ascontiguousarray(pixels[..., order]) if same else None
    except UNREADABLE:
        return
