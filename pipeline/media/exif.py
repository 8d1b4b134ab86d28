"""What the EXIF of a picture says of its pixels. Junk in it says nothing."""

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
# The tags of the interoperability table and of the index in it (Exif 2.3, 4.6.3 and 4.6.7).
INTEROPERABILITY, INDEX = 0xA005, 1
# The errors that Pillow raises where EXIF is junk.
JUNK = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, RuntimeError, ArithmeticError),
    *(TypeError, AttributeError, struct.error),
)


def orientation_of(file: "Image") -> int:
    """The EXIF orientation of `file`, 1 to 8; 1 where its pixels are decoded upright."""
    from PIL import Image

    if file.format == "TIFF":  # every reader turns it as it decodes
        return 1
    late = _has_late_exif(file)
    with suppress(*JUNK):
        exif = file.getexif() if late else Image.Image.getexif(file)
        orientation = int(exif.get(ORIENTATION, 1))
        return orientation if 1 <= orientation <= 8 else 1
    return 1


def says_adobe_rgb(file: "Image") -> bool:
    """Whether the EXIF of `file` says that its colours are Adobe RGB: by R03 (DCF 2.0)."""
    with suppress(*JUNK):
        return str(file.getexif().get_ifd(INTEROPERABILITY).get(INDEX, "")).startswith("R03")
    return False


def _has_late_exif(file: Any) -> bool:
    """Whether a PNG seems to have its EXIF behind its pixels, where ExifTool writes it.

    Pillow would have to decode the pixels to find out, which is slow for a thousand files.
    """
    if file.format != "PNG" or file.is_animated or "exif" in file.info:
        return False
    with open(file.filename, "rb") as raw:
        raw.seek(-min(65536, os.path.getsize(file.filename)), os.SEEK_END)
        return b"eXIf" in raw.read()
