"""Stills: picture files, read and written."""

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, UserError
from dreamreel.pipeline.frames import Frame, upright
from dreamreel.pipeline.media.colour import Colours, colours_of, deep_in_srgb, in_srgb
from dreamreel.pipeline.media.exif import orientation_of
from dreamreel.pipeline.media.exr import as_levels, displayed, exr_header, exr_pixels, unmultiplied
from dreamreel.pipeline.memory import check_fits
from dreamreel.pipeline.metadata import without_metadata
from dreamreel.pipeline.opening import (
    check_no_folder,
    check_readable,
    misnamed,
    open_picture,
    regular_file,
)

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
KEEPS_ALPHA = {".png", ".apng", ".webp", ".tif", ".tiff", ".avif", ".tga", ".jp2", ".gif"}
FORMATS = {  # Pillow's name of the format, by the endings of pictures that a series can hold
    **dict.fromkeys(JPEG, "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{".webp": "WEBP", ".bmp": "BMP", ".avif": "AVIF", ".tga": "TGA", ".exr": "EXR"},
}
# How formats that lose something are written: a photo comes back at half the loss, or less, of the
# usual qualities (75 to 95). WebP has no full chroma.
FINE: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
# The errors that Pillow, OpenCV and NumPy raise for damaged files, and we for missing ones.
UNREADABLE = (
    *(UserError, OSError, ValueError, SyntaxError, EOFError, LookupError, RuntimeError),
    *(ArithmeticError, struct.error, cv2.error),
)
NOT_KNOWN = "its format is not known; PNG, JPEG, WebP, TIFF and AVIF are supported"


@dataclass(frozen=True)
class Picture:
    """A still: its image (1, 3, H, W), and its alpha (H, W) in [0, 1], or None if all is opaque."""

    image: "torch.Tensor"
    alpha: "torch.Tensor | None" = None


def load_picture(path: Path, device: "torch.device") -> Picture:
    """The still at `path` with its alpha, on `device`, upright by its EXIF orientation and in sRGB.

    For an animation, the first frame. Raises UserError where the file is no picture.
    """
    import torch

    try:
        pixels = read_pixels(path)
    except UserError:
        raise
    except UNREADABLE as error:
        raise no_picture(path, error) from error
    levels = 65535 if pixels.dtype == np.uint16 else 255
    tensor = torch.from_numpy(pixels.astype(np.float32) / levels).to(device)
    image = tensor[:, :, :3].permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    alpha = tensor[:, :, 3] if bool((tensor[:, :, 3] < 1).any()) else None
    return Picture(image, alpha)


def read_pixels(path: Path) -> Frame:
    """The pixels at `path`, upright and in sRGB, as RGBA (H, W, 4): uint8, or uint16 where the file
    has more than 8 bits a channel. For an animation, the first frame.

    Raises UserError where `path` is no regular file; an error of `UNREADABLE` where it is no
    picture in one of the formats of `opening`.
    """
    if path.suffix.lower() == ".exr":
        return _to_rgba(displayed(exr_pixels(regular_file(path).read_bytes())))
    with open_picture(path) as file:
        check_fits(path, file.size[::-1])
        stored = _raw_mode(file) if _is_deep(file) else None  # known until it is decoded
        mode = file.mode
        colours, orientation = colours_of(file, path), orientation_of(file)
        if stored is not None:
            pixels = _to_rgba(_deep_pixels(path, "RGBa" in stored))
        elif file.mode.startswith(("I", "F")):
            pixels = _grey_to_rgba(np.asarray(file))
        else:
            return np.ascontiguousarray(upright(rgba_in_srgb(file, colours), orientation))
    pixels[..., :3] = deep_in_srgb(pixels[..., :3], colours, mode)
    return np.ascontiguousarray(upright(pixels, orientation))


def rgba_in_srgb(image: "Image", colours: Colours) -> Frame:
    """`image` of 8 bits, in any mode and in `colours`, as RGBA (H, W, 4), uint8, in sRGB."""
    image.load()
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode[:-1] + "A")
    rgb = np.asarray(in_srgb(image, colours))
    if image.mode.endswith("A") or "transparency" in image.info:
        return np.dstack([rgb, np.asarray(image.convert("RGBA"))[..., 3]])
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def _to_rgba(pixels: Frame) -> Frame:
    """`pixels`, grey or BGR(A), as RGBA (H, W, 4)."""
    if pixels.ndim == 2:
        pixels = np.dstack([pixels, pixels, pixels])
    if pixels.shape[2] == 3:
        opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        pixels = np.dstack([pixels, opaque])
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3]])


def _grey_to_rgba(grey: NDArray[Any]) -> NDArray[Any]:
    """Grey (H, W), floats in [0, 1] or integers of 8 or 16 bits, as RGBA (H, W, 4), uint16."""
    top = 1.0 if grey.dtype.kind == "f" else (255.0 if grey.max() <= 255 else 65535.0)
    if grey.dtype == np.uint16:
        top = 65535.0
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= top):
        raise ValueError(f"its values run from {grey.min():g} to {grey.max():g}, not to {top:g}")
    levels = np.round(grey / top * 65535).astype(np.uint16)
    return np.dstack([levels, levels, levels, np.full_like(levels, 65535)])


def save_picture(path: Path, picture: Picture, replace: bool) -> None:
    """Write `picture` to `path` in the format of its ending, whole or not at all.

    Raises UserError where that fails, or where `path` exists and `replace` is not set.
    """
    import imageio.v3 as imageio

    pixels = picture.image[0].mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    if picture.alpha is not None and path.suffix.lower() in KEEPS_ALPHA:
        alpha = picture.alpha.mul(255).round().byte().cpu().numpy()
        pixels = np.dstack([pixels, alpha])
    options = FINE.get(FORMATS.get(path.suffix.lower(), ""), {})
    data = io.BytesIO()
    try:
        imageio.imwrite(
            data,
            np.ascontiguousarray(pixels),
            plugin="pillow",
            extension=path.suffix.lower(),
            **options,
        )
        write_new(path, data.getvalue(), replace)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:  # it may be too large
        kind = PassingError if isinstance(error, OSError) else UserError
        raise kind(f"{path} could not be written ({error})") from error


def write_new(path: Path, data: bytes, replace: bool) -> None:
    """Write `data` to the file `path`, whole or not at all. Its folder is made if it is missing.

    Raises UserError where `path` exists and `replace` is not set, OSError where writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, lambda file: file.write(data), replace)
    except FileExistsError as error:
        raise UserError(f"{path} exists by now; --overwrite replaces it") from error


def check_picture_name(path: Path) -> None:
    """Raise UserError unless `path` has the ending of a format that can be written."""
    if not can_be_written(path):
        check_no_folder(path, "dream.jpg")
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(f"{path} {given}; .png, .jpg, .webp, .tif or .avif would work")


def can_be_written(path: Path) -> bool:
    """Whether `path` has the ending of a format of pictures that can be written."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    return path.suffix.lower() in JPEG | KEEPS_ALPHA | {".bmp", ".ppm"} and kind in Image.SAVE


@dataclass(frozen=True)
class Header:
    """The format of a picture, known before its pixels are decoded."""

    size: tuple[int, int]  # (height, width), upright
    depth: int  # bits a channel, 8 or 16
    has_alpha: bool


def read_header(path: Path) -> Header:
    """The header of the picture at `path`; no pixels are decoded. Raises UserError where the file
    is no picture."""
    check_readable(path)
    try:
        if path.suffix.lower() == ".exr":
            size, has_alpha = exr_header(path)
            check_fits(path, size)
            return Header(size, 16, has_alpha)
        with open_picture(path, tuple(FORMATS.values())) as file:
            deep = _is_deep(file) or file.mode.startswith(("I", "F"))
            width, height = file.size
            check_fits(path, (height, width))
            size = (width, height) if orientation_of(file) >= 5 else (height, width)
            has_alpha = file.mode.endswith(("A", "a")) or "transparency" in file.info
            return Header(size, 16 if deep else 8, has_alpha)
    except UserError:
        raise
    except UNREADABLE as error:
        raise no_picture(path, error) from error


def _is_deep(file: Any) -> bool:
    """Whether `file` has 16 bits a channel, of which Pillow keeps 8 if it has colours."""
    known = file.mode.startswith("I") or file.mode in ("LA", "RGB", "RGBA", "RGBX")
    # In a BMP, 16 bits are those of a whole pixel.
    return known and re.search(r";16[BLN]?\b", _raw_mode(file)) is not None and file.format != "BMP"


def _raw_mode(file: Any) -> str:
    """How the pixels of `file` are stored, in Pillow's words."""
    return str(file.tile[0][3]) if file.tile else ""


def reason_of(error: Exception) -> str:
    """Why a picture that gave `error` cannot be read, in words without its name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split())
    return NOT_KNOWN if words.startswith("cannot identify") or not words else words


def no_picture(path: Path, error: Exception | None = None) -> UserError:
    """The error that the file `path` is no picture: what it is instead, if that can be told, or the
    `error` that it gave."""
    other = misnamed(path, "a picture", ("picture",))
    why = NOT_KNOWN if error is None else reason_of(error)
    return UserError(other or f"{path} is no picture that can be read ({why})")


def decoded_still(path: Path) -> Frame:
    """The pixels at `path`, upright and in sRGB: (H, W, 4), BGRA, uint8 or uint16. Raises as
    `read_pixels` does."""
    return read_pixels(path)[..., [2, 1, 0, 3]]


def _deep_pixels(path: Path, multiplied: bool) -> Frame:
    """The pixels at `path` as stored, uint16, by OpenCV: Pillow would keep 8 bits of colours.
    Colours that are `multiplied` by alpha are divided by it."""
    with open_picture(path) as file:
        file.verify()  # a PNG's checksums: libpng would complain of them on the terminal
    data = np.frombuffer(without_metadata(path), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    return as_levels(unmultiplied(pixels / np.float32(65535))) if multiplied else pixels
