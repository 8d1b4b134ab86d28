"""Safe opening of the files that a user names.

The libraries take some names for more than a file: `tcp:host:80` is a connection, `concat:a|b` a
list, `a%03d.png` a series, `imageio:cat.png` a download. Some files name further files, as
playlists do, or start a program, as PostScript does in Pillow. So each file passes through here on
its way to a library: as the absolute path of an existing regular file, with the file protocol
alone, and in a format from a fixed list, which is detected by content.
"""

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamreel.pipeline.contents import HEAD, Content, content_of
from dreamreel.pipeline.errors import UserError, missing, usable
from dreamreel.pipeline.metadata import harmless

if TYPE_CHECKING:
    from av.container import InputContainer

# The demuxers of ffmpeg that read one file and nothing else. Left out are hls, concat, dash, imf,
# sdp, rtsp, image2, vobsub, lavfi and the devices, which open further files or addresses.
DEMUXERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "live_flv", "asf"),
    *("asf_o", "ogg", "nut", "mxf", "gxf", "lxf", "wtv", "rm", "dv", "m4v", "h261", "h263", "h264"),
    *("hevc", "vvc", "evc", "av1", "obu", "ivf", "vc1", "vc1test", "dirac", "dnxhd", "cavsvideo"),
    *("mjpeg", "mjpeg_2000", "smjpeg", "yuv4mpegpipe", "gif", "apng", "swf", "nsv", "nuv", "flic"),
    *("bink", "smk", "roq", "thp", "ty", "pva", "ser", "cine", "mlv", "wav", "w64", "aiff", "au"),
    *("caf", "mp3", "aac", "loas", "ac3", "eac3", "ac4", "dts", "dtshd", "truehd", "mlp", "flac"),
    *("tta", "tak", "wv", "ape", "mpc", "mpc8", "amr", "amrnb", "amrwb", "shn", "voc", "xwma"),
    *("oma", "spdif", "dsf", "aa", "aax", "sox", "qcp", "gsm", "iamf", "lc3", "apac", "osq"),
)
FILE_ALONE = {"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS)}
# The same options, in the form in which OpenCV passes them to its own copy of ffmpeg.
OPENCV_OPTIONS = "|".join(f"{name};{value}" for name, value in FILE_ALONE.items())

# The formats of Pillow that hold a picture and nothing else. Left out are EPS, which starts
# Ghostscript, and those that Pillow leaves to other libraries.
PICTURES = (
    *("PNG", "JPEG", "MPO", "WEBP", "TIFF", "AVIF", "BMP", "DIB", "GIF", "TGA", "PPM"),
    *("JPEG2000", "QOI", "DDS", "PSD", "SGI", "PCX", "ICO", "PIXAR", "SUN", "XBM", "XPM"),
)

# The endings that browsers and download programs give a file until it is whole.
UNFINISHED = (".crdownload", ".part", ".partial", ".download", ".opdownload", ".aria2", ".!ut")
LONGEST_NUMBER = 20  # digits of a whole number in JSON: those of the largest of 64 bits


def regular_file(path: Path) -> Path:
    """The absolute path of the regular file `path`, which may be a link to one.

    Raises UserError if there is none, if it is a folder, a device, a pipe or a socket, and if this
    user has no permission to read it.
    """
    with usable(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing(path) from error
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder; give a file in it")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is a device, a pipe or a socket; give a regular file")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path} cannot be read: this user has no permission to")
        return path.absolute()


def check_readable(path: Path) -> None:
    """Raise UserError as `regular_file` does, and if the file is empty."""
    with usable(path):
        if regular_file(path).stat().st_size == 0:
            raise UserError(f"{path} is empty")


def check_no_folder(path: Path, usual: str) -> None:
    """Raise UserError if `path`, which is to be a file, is a folder; it tells of the file `usual`
    in there."""
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder; give a file in it, such as {path / usual}")


def read_text(path: Path, most: int) -> str:
    """The text of the file `path`, which is UTF-8 of at most `most` bytes.

    Raises UserError as `regular_file` does, and if the file is longer or cannot be read. Raises
    ValueError if it is not UTF-8.
    """
    with usable(path), regular_file(path).open("rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise UserError(f"{path} is larger than {most >> 20} MiB, the most that is read")
    return text.decode()


def read_json(path: Path, most: int) -> Any:
    """The content of the JSON file `path`, which has at most `most` bytes.

    Raises UserError as `read_text` does, and ValueError if it is not JSON, or is JSON that readers
    understand differently: a key stands twice, text is no Unicode, or a number is no number or has
    more than `LONGEST_NUMBER` digits.
    """
    text = read_text(path, most).removeprefix("\ufeff")  # a mark that some editors put there
    try:
        found = json.loads(
            text, object_pairs_hook=_table, parse_int=_whole, parse_constant=_no_number
        )
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds text that is no Unicode") from error
    return found


def open_container(path: Path) -> "InputContainer":
    """The film or sound in the file `path`, opened with PyAV, which can open no other file.

    Raises UserError if it is not a regular file, or is a playlist; av.FFmpegError if ffmpeg cannot
    read it.
    """
    import av

    refuse_others(path)
    return av.open(str(regular_file(path)), options=dict(FILE_ALONE))


def ffmpeg_input(path: Path) -> list[str]:
    """The options with which the ffmpeg command reads the film or sound in the file `path`, and no
    other file. Raises UserError as `open_container` does."""
    refuse_others(path)
    options = [part for name, value in FILE_ALONE.items() for part in (f"-{name}", value)]
    return [*options, "-i", str(regular_file(path))]


def refuse_others(path: Path) -> None:
    """Raise UserError if the content of the file `path`, whatever its ending, is a playlist or a
    photo of which ffmpeg would read a part."""
    content = content_in(path)
    if content is not None and content.kind == "playlist":
        raise UserError(
            f"{path} is {content.words}, which names other files or addresses; give the film itself"
        )
    if content is not None and content.kind == "photo":
        raise UserError(f"{path} is {content.words}, which is not supported; {content.advice}")


def content_in(path: Path) -> Content | None:
    """What the file `path` holds, by its first bytes; None if that is not known. Raises UserError
    as `regular_file` does."""
    with usable(path), regular_file(path).open("rb") as file:
        return content_of(file.read(HEAD))


def misnamed(path: Path, wanted: str, kinds: tuple[str, ...]) -> str | None:
    """Why the file `path`, which could not be read, is not what was `wanted`, such as "a film", in
    a line. None if its content is not known or of one of the `kinds`."""
    if path.suffix.lower() in UNFINISHED:
        return f"{path} is a download that is not finished, by its ending {path.suffix}"
    content = content_in(path)
    if content is None or content.kind in kinds:
        return None
    if content.kind == "photo" and "picture" in kinds:
        return f"{path} is {content.words}, which is not supported; {content.advice}"
    advice = f"; {content.advice}" if content.advice and content.kind != "photo" else ""
    return f"{path} is {content.words}, not {wanted}{advice}"


def open_picture(path: Path, formats: tuple[str, ...] = PICTURES) -> Any:
    """The picture in the file `path`, opened with Pillow but not decoded, in one of `formats`.

    Raises UserError if it is not a regular file, and what Pillow raises if it is not a picture in
    one of these formats.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the user chose the picture: it is no decompression bomb
    Image.init()
    known = [kind for kind in formats if kind in Image.OPEN and kind in PICTURES]
    found = regular_file(path)
    file = Image.open(harmless(found), formats=known)
    # Pillow 13 maps an uncompressed TIFF that has a name, and then turns it wrongly.
    file.filename = "" if file.format == "TIFF" else str(found)
    return file


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name!r:.60} stands in it twice")
    return table


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number in it has {len(digits)} digits")
    return int(digits)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
