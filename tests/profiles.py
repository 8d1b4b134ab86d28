"""ICC profiles, PNG chunks and EXIF for tests, made from numbers."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
# XYZ of red, green and blue under D50.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79768, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
REC2020 = ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02997), (0.12505, 0.04561, 0.79686))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71688, 0.09708), (0.14307, 0.06061, 0.71410))


def s15(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def xyz(triple: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + s15(*triple)


def gamma(power: float) -> bytes:
    """A curve that is a power."""
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(power * 256))


def table(power: float, count: int = 1024) -> bytes:
    """The same as a table."""
    values = np.round(np.linspace(0, 1, count) ** power * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", count) + values.tobytes()


def parametric(kind: int, *numbers: float) -> bytes:
    """A parametric curve of that type, with its numbers g, a, b, …"""
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + s15(*numbers)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(tags: dict[bytes, bytes], kind: bytes = b"RGB ", pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile with these tags and those that every one has."""
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(D50), **tags}
    contents, data, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        contents += tag + struct.pack(">II", at + len(data), len(value))
        data += value
    role = b"prtr" if kind == b"CMYK" else b"mntr"
    head = struct.pack(">I", 128 + len(contents) + len(data)) + b"lcms\x02\x10\0\0" + role
    head += kind + pcs + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acspAPPL" + b"\0" * 28
    return (head + s15(*D50)).ljust(128, b"\0") + contents + data


def rgb_profile(primaries: tuple[tuple[float, ...], ...], *curves: bytes) -> bytes:
    """A profile of a matrix and curves: one for each channel, or one for all."""
    curves = curves if len(curves) == 3 else curves * 3
    places = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=True))
    return profile(places | dict(zip((b"rTRC", b"gTRC", b"bTRC"), curves, strict=True)))


def grey_profile(curve: bytes) -> bytes:
    return profile({b"kTRC": curve}, b"GRAY")


def lut_profile(kind: bytes, points: int, shown: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """A profile that is a table: `shown` takes values in [0, 1], (n, channels), to sRGB ones."""
    channels = 4 if kind == b"CMYK" else 3
    nodes = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * channels, indexing="ij"), -1)
    rgb = np.round(255 * shown(nodes.reshape(-1, channels))).astype(np.uint8)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    lab8 = np.asarray(ImageCms.applyTransform(Image.fromarray(rgb[None]), to_lab))[0].astype(float)
    lab8[:, 1:] = (lab8[:, 1:] + 128) % 256  # Pillow keeps them signed
    lab16 = np.concatenate([lab8[:, :1] * 256, lab8[:, 1:] * 256], 1).clip(0, 65535)
    line = np.array([0, 65535], ">u2")
    head = b"mft2\0\0\0\0" + bytes([channels, 3, points, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    head += struct.pack(">HH", 2, 2)
    whole = head + np.tile(line, channels).tobytes() + lab16.astype(">u2").tobytes()
    return profile({b"A2B0": whole + np.tile(line, 3).tobytes()}, kind, b"Lab ")


def encoded(linear: np.ndarray) -> np.ndarray:
    """Light in [0, 1] by sRGB's curve."""
    low = 12.92 * linear
    return np.where(linear <= 0.0031308, low, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def decoded(values: np.ndarray) -> np.ndarray:
    """The light of values in [0, 1] that sRGB's curve encodes."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_in(primaries: tuple[tuple[float, ...], ...], srgb: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1], (..., 3), as linear light of other primaries."""
    matrix = np.linalg.inv(np.array(primaries).T) @ np.array(SRGB).T
    return (decoded(srgb) @ matrix.T).clip(0, 1)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *chunks: bytes, late: bytes = b"") -> bytes:
    """A PNG of RGB(A) `pixels`, 8 or 16 bits, with `chunks` before its pixels and `late` behind."""
    order = [2, 1, 0, 3][: pixels.shape[2]]
    data = cv2.imencode(".png", pixels[..., order])[1].tobytes()
    return data[:33] + b"".join(chunks) + data[33:-12] + late + data[-12:]


def iccp(data: bytes) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(data))


def write_deep(path: Path, values: np.ndarray, icc: bytes) -> Path:
    """A PNG of 16 bits with a profile; `values` in [0, 1]."""
    path.write_bytes(png(np.round(values * 65535).astype(np.uint16), iccp(icc)))
    return path


def tiff_with(path: Path, pixels: np.ndarray, icc: bytes) -> Path:
    """A TIFF of RGB `pixels`, 16 bits, with a profile."""
    height, width = pixels.shape[:2]
    tags = [(256, 3, width), (257, 3, height), (258, 3, None), (259, 3, 1), (262, 3, 2)]
    tags += [(273, 4, None), (277, 3, 3), (278, 3, height), (279, 4, pixels.nbytes), (284, 3, 1)]
    tags += [(34675, 7, None)]
    at = 8 + 2 + 12 * len(tags) + 4
    places = {258: (3, at), 273: (1, at + 6 + len(icc)), 34675: (len(icc), at + 6)}
    out = io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)))
    out.seek(0, io.SEEK_END)
    for tag, kind, value in tags:
        count, stored = places.get(tag, (1, value))
        out.write(struct.pack("<HHII", tag, kind, count, stored))
    out.write(struct.pack("<I3H", 0, 16, 16, 16) + icc + pixels.astype("<u2").tobytes())
    path.write_bytes(out.getvalue())
    return path
