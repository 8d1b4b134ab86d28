"""Pictures are read as sRGB, whatever their files say of colours; junk in metadata is ignored."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import profiles
import pytest
import torch
from PIL import Image, ImageCms
from profiles import ADOBE, P3, PROPHOTO, REC2020, SRGB, SRGB_CURVE, chunk, gamma, iccp, png

from dreamreel.pipeline.jobs.checks import check_picture
from dreamreel.pipeline.media.animations import find_animation, read_animation
from dreamreel.pipeline.media.sequences import find_series, find_still, read_series
from dreamreel.pipeline.media.stills import load_picture, read_pixels

CPU = torch.device("cpu")


def levels(count: int = 40) -> np.ndarray:
    """Colours of moderate saturation, (count, count, 3) in [0, 1]."""
    y, x = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count), indexing="ij")
    grey = 0.1 + 0.8 * y
    return np.stack([grey + 0.2 * (x - 0.5), grey, grey + 0.2 * (0.5 - x)], -1).clip(0, 1)


def eight(values: np.ndarray) -> np.ndarray:
    return np.round(values * 255).astype(np.uint8)


WIDE = eight(profiles.linear_in(P3, levels()) ** (1 / 2.2))
DISPLAY_P3 = profiles.rgb_profile(P3, gamma(2.2))


def off(pixels: np.ndarray, wanted: np.ndarray) -> float:
    """The mean error of RGB(A) `pixels` in levels of 255; `wanted` in [0, 1]."""
    top = np.iinfo(pixels.dtype).max
    return float(255 * np.abs(pixels[..., :3] / top - wanted).mean())


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_a_profile_brings_colours_to_srgb(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True},
               ".avif": {"quality": 100, "subsampling": "4:4:4"}}.get(ending, {})  # fmt: skip
    Image.fromarray(WIDE).save(path, icc_profile=DISPLAY_P3, **options)
    assert off(WIDE, levels()) > 2
    assert off(read_pixels(path), levels()) < 1
    image = load_picture(path, CPU).image[0].permute(1, 2, 0).numpy()
    assert 255 * np.abs(image - levels()).mean() < 1
    for found in (find_still(path), find_series(tmp_path)):
        assert found is not None
        (frame,) = read_series(found)
        assert off(frame[..., ::-1], levels()) < 1


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_the_profile_of_an_animation_is_that_of_each_frame(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    images = [Image.fromarray(WIDE), Image.fromarray(WIDE[::-1])]
    options = {"lossless": True} if kind == "webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], icc_profile=DISPLAY_P3, **options)
    found = find_animation(path)
    assert found is not None
    one, other = read_animation(found)
    assert off(one[..., ::-1], levels()) < 1 and off(other[..., ::-1], levels()[::-1]) < 1


def by_power(power: float) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    return gamma(power), lambda light: light ** (1 / power)


@pytest.mark.parametrize("primaries", [P3, ADOBE, PROPHOTO, REC2020])
@pytest.mark.parametrize(
    ("curve", "encode"),
    [
        by_power(1.0),
        by_power(1.8),
        (profiles.table(2.2), lambda light: light ** (1 / 2.2)),
        (SRGB_CURVE, profiles.encoded),
        (profiles.parametric(0, 2.2), lambda light: light ** (1 / 2.2)),
        (profiles.parametric(1, 2.0, 1.1, -0.1), lambda light: (light**0.5 + 0.1) / 1.1),
    ],
    ids=range(6),
)
def test_a_deep_picture_keeps_its_depth(
    primaries: tuple[tuple[float, ...], ...],
    curve: bytes,
    encode: Callable[[np.ndarray], np.ndarray],
    tmp_path: Path,
) -> None:
    wide = encode(profiles.linear_in(primaries, levels()))
    icc = profiles.rgb_profile(primaries, curve)
    path = profiles.write_deep(tmp_path / "a.png", wide, icc)
    pixels = read_pixels(path)
    assert pixels.dtype == np.uint16 and off(pixels, levels()) < 0.2
    assert len(np.unique(pixels[..., 0])) > 256
    tiff = profiles.tiff_with(tmp_path / "a.tif", np.round(wide * 65535), icc)
    assert np.abs(read_pixels(tiff).astype(int) - pixels).max() < 3
    image = load_picture(path, CPU).image[0].permute(1, 2, 0).numpy()
    assert 255 * np.abs(image - levels()).max() < 0.5


@pytest.mark.parametrize("deep", [False, True])
def test_a_profile_that_is_a_table_is_applied(deep: bool, tmp_path: Path) -> None:
    swapped = profiles.lut_profile(b"RGB ", 17, lambda nodes: nodes[:, ::-1])
    stored, path = levels()[..., ::-1], tmp_path / "a.png"
    if deep:
        profiles.write_deep(path, stored, swapped)
    else:
        Image.fromarray(eight(stored)).save(path, icc_profile=swapped)
    pixels = read_pixels(path)
    assert off(pixels, levels()) < 1 and off(pixels, stored) > 3
    assert not deep or len(np.unique(pixels[..., 0])) > 256


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_inks_are_shown_by_their_profile(ending: str, tmp_path: Path) -> None:
    def printed(inks: np.ndarray) -> np.ndarray:  # darker than the plain formula
        return ((1 - inks[:, :3]) * (1 - inks[:, 3:])) ** 2

    inks = np.zeros((24, 24, 4), np.uint8)
    inks[..., 0], inks[..., 1] = np.arange(24) * 8, np.arange(24)[:, None] * 8
    icc = profiles.lut_profile(b"CMYK", 9, printed)
    options = {"quality": 100} if ending == ".jpg" else {}
    path = tmp_path / f"a{ending}"
    Image.fromarray(inks, "CMYK").save(path, icc_profile=icc, **options)
    wanted = printed(inks.reshape(-1, 4) / 255).reshape(24, 24, 3)
    assert off(read_pixels(path), wanted) < 3
    Image.fromarray(inks, "CMYK").save(path, **options)
    assert off(read_pixels(path), wanted) > 10


@pytest.mark.parametrize("deep", [False, True])
def test_grey_is_shown_by_its_profile(deep: bool, tmp_path: Path) -> None:
    linear = np.linspace(0, 1, 64)[None].repeat(8, 0)
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    stored = np.round(linear * top).astype(kind)
    Image.fromarray(stored).save(tmp_path / "a.png", icc_profile=profiles.grey_profile(gamma(1.0)))
    wanted = profiles.encoded(stored / top)[..., None].repeat(3, -1)
    pixels = read_pixels(tmp_path / "a.png")
    assert pixels.dtype == kind and off(pixels, wanted) < 0.5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_alpha_is_kept_as_it_is(mode: str, tmp_path: Path) -> None:
    alpha = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    image = Image.fromarray(np.dstack([WIDE, alpha]))
    icc = profiles.grey_profile(gamma(1.0)) if mode == "LA" else DISPLAY_P3
    if mode == "P":
        image = image.quantize(200)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    options = {"transparency": tuple(WIDE[0, 0].tolist())} if mode == "RGB" else {}
    image.convert(mode).save(tmp_path / "a.png", icc_profile=icc, **options)
    pixels = read_pixels(tmp_path / "a.png")
    if mode == "RGB":
        assert np.array_equal(pixels[..., 3] == 0, (WIDE[0, 0] == WIDE).all(-1))
    else:
        assert np.array_equal(pixels[..., 3], alpha)
    assert off(pixels, WIDE / 255) > 1


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path) -> None:
    exact = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (exact, profiles.rgb_profile(SRGB, SRGB_CURVE)):
        Image.fromarray(WIDE).save(tmp_path / "a.png", icc_profile=icc)
        assert np.array_equal(read_pixels(tmp_path / "a.png")[..., :3], WIDE)


@pytest.mark.parametrize(
    "icc",
    [
        b"",
        b"junk",
        DISPLAY_P3[:200],
        DISPLAY_P3[:140] + b"\xff" * (len(DISPLAY_P3) - 140),
        bytes(1000),
        profiles.grey_profile(gamma(1.0)),
        profiles.rgb_profile(((0, 0, 0),) * 3, gamma(2.2)),
        profiles.lut_profile(b"CMYK", 3, lambda nodes: nodes[:, :3]),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("deep", [False, True])
def test_a_broken_profile_or_that_of_another_kind_is_ignored(
    icc: bytes, deep: bool, tmp_path: Path
) -> None:
    stored = WIDE.astype(np.uint16) * 257 if deep else WIDE
    (tmp_path / "a.png").write_bytes(png(stored, iccp(icc)))
    assert np.array_equal(read_pixels(tmp_path / "a.png")[..., :3], stored)


def gama(power: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / power)))


def chrm(*places: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * place) for place in places)))


P3_PLACES = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB_PLACES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("chunks", "encode", "primaries"),
    [
        ([gama(1.0)], lambda light: light, SRGB),
        ([gama(1.8), chrm(*P3_PLACES)], lambda light: light ** (1 / 1.8), P3),
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], profiles.encoded, P3),
        ([chunk(b"cICP", bytes([12, 8, 0, 1])), iccp(DISPLAY_P3)], lambda light: light, P3),
        ([gama(1.0), chrm(*P3_PLACES), chunk(b"sRGB", b"\0")], profiles.encoded, SRGB),
        ([gama(2.2), chrm(*SRGB_PLACES)], profiles.encoded, SRGB),
        ([gama(1.0), iccp(DISPLAY_P3)], lambda light: light ** (1 / 2.2), P3),
    ],
    ids=range(7),
)  # fmt: skip
def test_chunks_of_a_png_say_its_colours(
    chunks: list[bytes],
    encode: Callable[[np.ndarray], np.ndarray],
    primaries: tuple[tuple[float, ...], ...],
    deep: bool,
    tmp_path: Path,
) -> None:
    stored = encode(profiles.linear_in(primaries, levels()))
    pixels = np.round(stored * 65535).astype(np.uint16) if deep else eight(stored)
    (tmp_path / "a.png").write_bytes(png(pixels, *chunks))
    assert off(read_pixels(tmp_path / "a.png"), levels()) < (0.2 if deep else 1)


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(1e-3)], [chunk(b"gAMA", bytes(4))], [chunk(b"gAMA", b"\0")],
        [gama(1.0), chrm(*[0] * 8)], [chrm(*[0.3] * 8)], [chunk(b"cICP", bytes([200, 200, 0, 1]))],
        [chunk(b"cICP", bytes([9, 16, 3, 0]))], [chunk(b"cICP", b"")], [chunk(b"pHYs", b"1")],
        [chunk(b"sRGB", b"")], [chunk(b"tIME", b"1")], [chunk(b"sBIT", b"")],
    ],
    ids=range(12),
)  # fmt: skip
def test_chunks_that_say_nothing_sensible_are_ignored(chunks: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(WIDE, *chunks))
    assert np.array_equal(read_pixels(tmp_path / "a.png")[..., :3], WIDE)


def test_exif_says_adobe_rgb(tmp_path: Path) -> None:
    wide = eight(profiles.linear_in(ADOBE, levels()) ** (1 / 2.2))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.fromarray(wide).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    assert off(read_pixels(tmp_path / "a.jpg"), levels()) < 1 < off(wide, levels())


BOMB = zlib.compress(bytes(64 << 20), 9)
BAD_METADATA = {
    "a bomb of text": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "a bomb of international text": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + BOMB),
    "a bomb of a profile": chunk(b"iCCP", b"p\0\0" + BOMB),
    "many texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 70,
    "text that is not compressed": chunk(b"zTXt", b"Comment\0\0junk"),
    "text without an end": chunk(b"iTXt", b"\0\1"),
    "junk for EXIF": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff" + bytes(40)),
    "EXIF of loops": chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * 60),
    "a wrong checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"x",
}


@pytest.mark.parametrize("bad", BAD_METADATA.values(), ids=BAD_METADATA)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_bad_metadata_of_a_png_is_ignored(
    bad: bytes, late: bool, deep: bool, tmp_path: Path
) -> None:
    pixels, path = (WIDE.astype(np.uint16) * 257 if deep else WIDE), tmp_path / "a.png"
    path.write_bytes(png(pixels, late=bad) if late else png(pixels, bad))
    began = time.monotonic()
    check_picture(path)
    assert np.array_equal(read_pixels(path)[..., :3], pixels)
    (frame,) = read_series(find_series(tmp_path))  # type: ignore[arg-type]
    assert np.array_equal(frame[..., ::-1], pixels)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"junk", b"Exif\0\0junk", b"Exif\0\0II*\0" + b"\xff" * 60])
def test_junk_exif_is_ignored(kind: str, exif: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(WIDE).save(path, kind)
    plain = read_pixels(path)
    Image.fromarray(WIDE).save(path, kind, exif=exif)
    assert np.array_equal(read_pixels(path), plain)
    assert find_series(tmp_path) is not None


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"JFIF", b"JFIF\0", b"Adobe", b"Exif\0\0", b"MPF\0junkjunk", b"ICC_PROFILE\0",
     b"ICC_PROFILE\0\x09\x02junk", b"Photoshop 3.0\x00" + b"8BIM\x03\xed\0\0\0\0\0\2ab"],
    ids=range(10),
)  # fmt: skip
def test_junk_in_the_segments_of_a_jpeg_is_ignored(
    marker: int, data: bytes, tmp_path: Path
) -> None:
    written = io.BytesIO()
    Image.fromarray(WIDE).save(written, "JPEG")
    plain = written.getvalue()
    (tmp_path / "a.jpg").write_bytes(plain)
    wanted = read_pixels(tmp_path / "a.jpg")
    segment = struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data
    (tmp_path / "b.jpg").write_bytes(plain[:2] + segment + plain[2:])
    assert np.array_equal(read_pixels(tmp_path / "b.jpg"), wanted)


@pytest.mark.parametrize("transfer", [16, 18])
def test_an_hdr_still_is_shown_with_its_white_as_white(transfer: int, tmp_path: Path) -> None:
    # 203 nits in PQ, and in HLG on a display of 1000 nits (ITU-R BT.2408).
    white = {16: 0.5806, 18: 0.75}[transfer]
    pixels = np.round(np.full((8, 8, 3), white) * 65535).astype(np.uint16)
    pixels[4:] = 65535  # a highlight
    (tmp_path / "a.png").write_bytes(png(pixels, chunk(b"cICP", bytes([9, transfer, 0, 1]))))
    read = read_pixels(tmp_path / "a.png")[..., :3]
    assert read[:4].min() > 63000 and read[4:].min() == 65535


def test_a_picture_with_a_second_one_behind_it_reads_as_the_first(tmp_path: Path) -> None:
    base, gain = Image.fromarray(WIDE), Image.fromarray(WIDE[::2, ::2, 0])
    base.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[gain], quality=95)
    base.save(tmp_path / "b.jpg", quality=95)
    assert np.array_equal(read_pixels(tmp_path / "a.jpg"), read_pixels(tmp_path / "b.jpg"))
    found = find_still(tmp_path / "a.jpg")
    assert found is not None and len(list(read_series(found))) == 1
