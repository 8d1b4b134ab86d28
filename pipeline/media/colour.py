"""The colours of pictures: brought to sRGB, by what their files say of them.

That is an ICC profile, the chunks of a PNG, or the EXIF of a camera that is set to Adobe RGB. Where
a file says nothing, or nothing that can be understood, its colours are taken for sRGB.
"""

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.media.exif import says_adobe_rgb
from dreamreel.pipeline.metadata import chunk_data, chunks, inflated

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

Values = NDArray[Any]
Curve = Callable[[Values], Values]  # encoded values in [0, 1] -> linear light, 1 for white

LARGEST_PROFILE = 1 << 24  # bytes; those of printing presses have up to three million
SAME = 1  # level of 255: profiles that change no colour by more are those of sRGB, rounded
DARKEST_WHITE = 128  # level of 255; a profile whose white is darker is broken. Not measured
STEP = 5  # levels of 255 between the nodes of the grid by which a table is applied to 16 bits
AT_ONCE = 1 << 20  # pixels that are converted at a time, in floating point
PAPER_WHITE = 203  # nits of a white that is no highlight in HDR (ITU-R BT.2408)
D50 = (0.3457, 0.3585)
D65 = (0.3127, 0.3290)
PRIMARIES = {  # (x, y) of red, green and blue, as H.273 numbers them
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


@dataclass(frozen=True)
class Space:
    """Colours of three primaries, or grey: a curve for each channel, and the matrix (3, 3) from
    linear light to that of sRGB; None for grey."""

    curves: tuple[Curve, ...]
    matrix: Values | None


@dataclass(frozen=True)
class Colours:
    """What a picture's file says of its colours: an ICC profile, or a space. Neither: sRGB."""

    profile: bytes | None = None
    space: Space | None = None


def colours_of(file: "Image", path: Path) -> Colours:
    """What the picture at `path`, opened as `file`, says of its colours."""
    if file.format == "PNG":
        return _of_png(path)
    profile = file.info.get("icc_profile")
    if isinstance(profile, bytes) and 128 < len(profile) <= LARGEST_PROFILE:
        return Colours(profile)
    return Colours(space=_adobe_rgb() if says_adobe_rgb(file) else None)


def in_srgb(image: "Image", colours: Colours) -> "Image":
    """`image` of 8 bits, in any mode, as sRGB, in the mode RGB."""
    from PIL import Image

    if colours.profile is not None:
        kind = colours.profile[16:20]
        mode = _mode_for(kind, image.mode)
        transform = None if mode is None else _transform(colours.profile, mode)
        if transform is not None:
            return transform.apply(image if image.mode == mode else image.convert(mode))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if colours.space is None or image.mode == "CMYK":
        return rgb
    return Image.fromarray(_converted(np.asarray(rgb), colours.space))


def deep_in_srgb(pixels: Values, colours: Colours, mode: str) -> Values:
    """`pixels` (H, W, 3), RGB, uint16, of a picture that Pillow opens in that `mode`, as sRGB. A
    profile that is a table has the precision of 8 bits; between its levels, steps are kept."""
    if colours.profile is None:
        return pixels if colours.space is None else _converted(pixels, colours.space)
    meets = _mode_for(colours.profile[16:20], mode)
    transform = None if meets is None else _transform(colours.profile, meets)
    if transform is None:
        return pixels
    space = _space_in(colours.profile)
    if space is not None:
        return _converted(pixels, space)
    return pixels if meets == "L" else _through_grid(pixels, transform)


def _mode_for(kind: bytes, mode: str) -> str | None:
    """The mode in which an image of that `mode` meets a profile of colours of that `kind`; None
    where it is not for them."""
    is_grey = mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
    return {
        b"RGB ": None if mode in ("CMYK", "LAB") else "RGB",
        b"GRAY": "L" if is_grey else None,
        b"CMYK": "CMYK" if mode == "CMYK" else None,
    }.get(kind)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The transform of images in `mode` by `profile` to sRGB; None where the profile is broken, or
    is that of sRGB."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        made = ImageCms.buildTransform(source, srgb, mode, "RGB")
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    assert isinstance(made, ImageCms.ImageCmsTransform)
    white = (0, 0, 0, 0) if mode == "CMYK" else 255 if mode == "L" else (255, 255, 255)
    if np.asarray(made.apply(Image.new(mode, (1, 1), white))).mean() < DARKEST_WHITE:
        return None
    if mode == "CMYK":
        return made
    every = Image.fromarray(_grid(51))
    wanted = np.asarray(every.convert(mode).convert("RGB")).astype(int)
    off = np.abs(np.asarray(made.apply(every.convert(mode))) - wanted).max()
    return made if off > SAME else None


def _grid(step: int) -> Values:
    """All colours whose channels are multiples of `step` levels: (n * n, n, 3), uint8."""
    levels = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return np.ascontiguousarray(grid.reshape(-1, len(levels), 3))


def _through_grid(pixels: Values, transform: "ImageCmsTransform") -> Values:
    """`pixels`, uint16, by interpolation between the nodes of a grid that `transform` converts."""
    from PIL import Image

    nodes = np.asarray(transform.apply(Image.fromarray(_grid(STEP))), np.float32)
    count = 255 // STEP + 1
    nodes = nodes.reshape(count, count, count, 3) * 257

    def convert(part: Values) -> Values:
        place = part.astype(np.float32) / 65535 * (count - 1)
        low = np.minimum(place.astype(int), count - 2)
        share = place - low
        total = np.zeros(part.shape, np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(corner, share, 1 - share).prod(-1, keepdims=True)
            total += weight * nodes[tuple(np.moveaxis(low + corner, -1, 0))]
        return total

    return _in_parts(pixels, convert)


def _converted(pixels: Values, space: Space) -> Values:
    """`pixels` (H, W, 3), uint8 or uint16, from `space` to sRGB."""
    top = np.iinfo(pixels.dtype).max
    levels = np.arange(top + 1) / top
    curves = [curve(levels).astype(np.float32) for curve in space.curves]

    def convert(part: Values) -> Values:
        light = [curves[at % len(curves)][part[..., at]] for at in range(3)]
        linear = np.stack(light, -1)
        if space.matrix is not None:
            linear = linear @ space.matrix.T.astype(np.float32)
        return top * _encoded(np.clip(linear, 0, 1))

    return _in_parts(pixels, convert)


def _in_parts(pixels: Values, convert: Callable[[Values], Values]) -> Values:
    """`convert` of `pixels`, some rows at a time, rounded to the type of `pixels`."""
    out, rows = np.empty_like(pixels), max(1, AT_ONCE // max(1, pixels.shape[1]))
    for at in range(0, len(pixels), rows):
        out[at : at + rows] = np.round(convert(pixels[at : at + rows]))
    return out


def _encoded(linear: Values) -> Values:
    """`linear` light in [0, 1] by the curve of sRGB (IEC 61966-2-1)."""
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def _decoded(values: Values) -> Values:
    """Linear light of `values` that the curve of sRGB encodes."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _power(gamma: float) -> Curve:
    return lambda values: values**gamma


def _pq(values: Values) -> Values:
    """Linear light of `values` in PQ (SMPTE ST 2084), 1 for paper white."""
    m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
    root = values ** (1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light * 10_000 / PAPER_WHITE


def _hlg(values: Values) -> Values:
    """Linear light of `values` in HLG (ITU-R BT.2100) on a display of 1000 nits, 1 for paper
    white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return scene**1.2 * 1000 / PAPER_WHITE


CURVES: dict[int, Curve] = {  # by the number that H.273 gives the transfer characteristics
    **dict.fromkeys((1, 6, 13, 14, 15), _decoded),  # displays show BT.709 as they do sRGB
    **{4: _power(2.2), 5: _power(2.8), 8: _power(1), 16: _pq, 18: _hlg},
}


def _matrix(primaries: Any, white: tuple[float, float] = D65) -> Values:
    """The matrix from linear light of `primaries` to that of sRGB. Raises ValueError where they
    span no colours."""
    return np.linalg.inv(_to_pcs(PRIMARIES[1], D65)) @ _to_pcs(primaries, white)


def _to_pcs(primaries: Any, white: tuple[float, float]) -> Values:
    """The matrix from linear light of `primaries` to XYZ under D50, ICC's."""
    if min(white[1], *(y for _, y in primaries)) <= 0:
        raise ValueError("they span no colours")
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    target, end = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, D50))
    to_xyz = columns * np.linalg.solve(columns, target)
    adapt = np.diag((BRADFORD @ end) / (BRADFORD @ target))
    return np.asarray(np.linalg.inv(BRADFORD) @ adapt @ BRADFORD @ to_xyz)


def _adobe_rgb() -> Space:
    return Space((_power(563 / 256),), _matrix(ADOBE_RGB))


def _of_png(path: Path) -> Colours:
    """What the chunks of a PNG say: cICP first, then iCCP, sRGB, and gAMA with cHRM (PNG, third
    edition, 4.3)."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        for chunk in chunks(file):
            if chunk.name == b"IDAT":
                break
            if chunk.name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
                data = chunk_data(file, chunk) if chunk.size <= LARGEST_PROFILE else None
                found.setdefault(chunk.name, data or b"")
    with suppress(ValueError, KeyError, np.linalg.LinAlgError):
        if found.get(b"cICP"):
            primaries, transfer, matrix, full = struct.unpack("4B", found[b"cICP"][:4].ljust(4))
            if matrix == 0 and full == 1:
                return _colours(CURVES[transfer], _matrix(PRIMARIES[primaries]))
    profile = inflated(found.get(b"iCCP", b"").partition(b"\0")[2][1:], LARGEST_PROFILE)
    if profile is not None and len(profile) > 128:
        return Colours(profile)
    with suppress(ValueError, struct.error, np.linalg.LinAlgError):
        if b"sRGB" not in found and {b"gAMA", b"cHRM"} & set(found):
            return _by_gamma(found.get(b"gAMA"), found.get(b"cHRM"))
    return Colours()


def _by_gamma(gamma: bytes | None, places: bytes | None) -> Colours:
    """The colours of a PNG with the chunks gAMA and cHRM, or one of them."""
    curve: Curve = _decoded
    if gamma is not None:
        (stored,) = struct.unpack(">I", gamma)
        power = 100_000 / stored if stored else 0
        if not 0.2 <= power <= 5:
            raise ValueError("it is no gamma")
        # 1/2.2 is how files have always said sRGB; libpng, too, leaves 5 % alone.
        curve = _decoded if abs(power / 2.2 - 1) < 0.05 else _power(power)
    matrix = np.eye(3)
    if places is not None:
        xy = [value / 100_000 for value in struct.unpack(">8I", places)]
        white, *primaries = zip(xy[::2], xy[1::2], strict=True)
        matrix = _matrix(primaries, white)
    return _colours(curve, matrix)


def _colours(curve: Curve, matrix: Values) -> Colours:
    """The colours with `curve` and `matrix`; sRGB where they are those of it."""
    if not np.isfinite(matrix).all():
        raise ValueError("they span no colours")
    if curve is _decoded and np.abs(matrix - np.eye(3)).max() < 2e-3:
        return Colours()
    return Colours(space=Space((curve,), matrix))


def _space_in(profile: bytes) -> Space | None:
    """The space that a `profile` of curves and a matrix, or of one grey curve, describes (ICC.1,
    8.3 and 8.4); None where it is a table, or broken."""
    with suppress(ValueError, IndexError, struct.error, np.linalg.LinAlgError):
        tags = _tags(profile)
        if profile[16:20] == b"GRAY":
            return Space((_curve(tags[b"kTRC"]),), None) if b"A2B0" not in tags else None
        names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
        if b"A2B0" in tags or not all(name in tags for name in names):
            return None
        columns = [np.array(struct.unpack(">3i", tags[name][8:20])) / 65536 for name in names[:3]]
        matrix = np.linalg.inv(_to_pcs(PRIMARIES[1], D65)) @ np.stack(columns, -1)
        return Space(tuple(_curve(tags[name]) for name in names[3:]), matrix)
    return None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """The tags of an ICC `profile`, by their signatures."""
    (count,) = struct.unpack(">I", profile[128:132])
    tags = {}
    for number in range(min(count, 100)):
        name, at, size = struct.unpack(">4sII", profile[132 + 12 * number : 144 + 12 * number])
        tags[name] = profile[at : at + size]
    return tags


def _curve(tag: bytes) -> Curve:
    """The curve in a `tag` of an ICC profile (ICC.1, 10.6 and 10.18). Raises ValueError where it is
    not one."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack(">I", tag[8:12])
        table = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(float)
        if len(table) != count:
            raise ValueError("its curve is cut off")
        if count <= 1:
            return _power(table[0] / 256 if count else 1.0)
        places = np.linspace(0, 1, count)
        return lambda values: np.interp(values, places, table / 65535)
    if tag[:4] != b"para":
        raise ValueError("its curve is of no known type")
    (kind,) = struct.unpack(">H", tag[8:10])
    size = (1, 3, 4, 5, 7)[kind]
    g, *more = (value / 65536 for value in struct.unpack(f">{size}i", tag[12 : 12 + 4 * size]))
    return _parametric(g, more)


def _parametric(g: float, more: list[float]) -> Curve:
    """ICC's parametric curve with the exponent `g` and its other parameters a to f, as many as its
    type has."""
    a, b = more[:2] if more else (1.0, 0.0)
    c, d, e, f = 0.0, -b / a if a else 0.0, 0.0, 0.0
    if len(more) == 3:
        e = f = more[2]
    elif len(more) >= 4:
        c, d = more[2:4]
        e, f = more[4:6] if len(more) == 6 else (0.0, 0.0)
    if not more:
        d = 0.0
    return lambda values: np.where(
        values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f
    )
