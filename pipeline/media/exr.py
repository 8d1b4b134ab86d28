"""OpenEXR pictures, which hold linear light: read and write them."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.config.values import Size
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.decoding import decode

if TYPE_CHECKING:
    from av import VideoFrame


def exr_header(path: Path) -> tuple[Size, bool]:
    """The size (height, width) of the OpenEXR picture at `path`, and whether it has alpha. Raises
    ValueError where it is none."""
    import av

    with path.open("rb") as file:
        begins = file.read(1 << 20)
    decoder = av.CodecContext.create("exr", "r")
    decoder.skip_frame = "ALL"  # read the header alone
    try:
        decoder.decode(av.Packet(begins))
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error
    if not decoder.width or not decoder.pix_fmt:
        raise ValueError("it is no OpenEXR file with a picture in colour or grey")
    return (decoder.height, decoder.width), decoder.pix_fmt.startswith(("gbra", "ya"))


def exr_pixels(data: bytes) -> Frame:
    """The pixels in the `data` of an OpenEXR file, float32: (H, W, 1 to 4), grey or B, G, R, and
    alpha, if any. Raises ValueError or IndexError where they cannot be decoded.

    FFmpeg decodes them, because OpenCV's wheels do not since version 5.
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
    """Raise ValueError where an OpenEXR file was cut off: FFmpeg would paint the rest black.

    A table with the place of each chunk follows the header and ends where the first chunk begins
    ("OpenEXR File Layout"). Files of many parts, which have many tables, are not checked.
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


def _values(frame: "VideoFrame") -> Frame:
    """The floats of `frame`, (H, W, C) float32: grey or blue, green, red; and alpha, if any."""
    name = frame.format.name
    kind = np.dtype("<f2" if "f16" in name else "<f4")
    planes = [np.frombuffer(plane, kind).reshape(frame.height, -1) for plane in frame.planes]
    if name.startswith("ya"):  # grey and alpha alternate in one plane
        planes = [planes[0][:, ::2], planes[0][:, 1::2]]
    if name.startswith("gbr"):
        planes = [planes[at] for at in (1, 0, 2, 3)[: len(planes)]]
    return np.dstack([plane[:, : frame.width] for plane in planes]).astype(np.float32)


def displayed(light: Frame) -> Frame:
    """Linear `light` (H, W, 1 to 4), premultiplied by its alpha, as a frame: BGR or BGRA under the
    sRGB curve (IEC 61966-2-1), uint16, alpha not multiplied in. Brighter than white is white."""
    light = np.clip(np.nan_to_num(light, nan=0, posinf=1), 0, None)
    if light.shape[2] < 3:
        light = light[..., [0, 0, 0, 1][: light.shape[2] + 2]]
    if light.shape[2] == 4:
        light = unmultiplied(light)
    colour = np.clip(light[..., :3], 0, 1)
    curved = np.where(colour <= 0.0031308, 12.92 * colour, 1.055 * colour ** (1 / 2.4) - 0.055)
    return as_levels(np.concatenate([curved, light[..., 3:]], axis=2))


def unmultiplied(pixels: Frame) -> Frame:
    """`pixels` (H, W, 4), floats, with their colours divided by their alpha.

    A colour without alpha, as of fire and glow, stays as it is.
    """
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    straight = np.divide(colour, alpha, out=colour.copy(), where=alpha > 0)
    return np.concatenate([straight, alpha], axis=2)


def as_levels(pixels: Frame) -> Frame:
    """`pixels` in [0, 1] as uint16; values outside are clipped."""
    return np.round(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)


def write_light(video: Path, made: Path, pattern: str, first: int) -> None:
    """Write each frame of `video` to an OpenEXR file of half floats in the folder `made`, named by
    the printf `pattern` and numbered from `first`. It holds linear light, premultiplied by alpha,
    as compositors expect.

    ffmpeg's own filters convert frames with alpha wrongly.
    """
    import av

    for number, picture in enumerate(decode(video), first):
        light = _light(picture.frame())
        coder = av.CodecContext.create("exr", "w")
        coder.height, coder.width = light.shape[:2]
        coder.pix_fmt = "gbrpf32le" if light.shape[2] == 3 else "gbrapf32le"
        coder.time_base, coder.options = Fraction(1, 25), {"compression": "zip16", "format": "half"}
        frame = av.VideoFrame.from_ndarray(light, format=coder.pix_fmt)
        with (made / (pattern % number)).open("wb") as file:
            for packet in [*coder.encode(frame), *coder.encode(None)]:
                file.write(bytes(packet))


def _light(frame: Frame) -> NDArray[np.float32]:
    """`frame` (H, W, 3 or 4), BGR under the sRGB curve (IEC 61966-2-1), as linear RGB, float32,
    premultiplied by its alpha."""
    shown = frame.astype(np.float32) / np.iinfo(frame.dtype).max
    colour = shown[..., 2::-1]
    light = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    if frame.shape[2] == 4:
        light = np.concatenate([light * shown[..., 3:], shown[..., 3:]], 2)
    return np.ascontiguousarray(light, np.float32)
