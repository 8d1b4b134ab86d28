"""Series of pictures, and animations, read as frames."""

import re
import shutil
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.animations import Animation, find_animation, gif_fault, read_animation
from dreamreel.pipeline.media.sequences import Series, find_series, read_series

random = np.random.default_rng(5)


def noise(channels: int = 3, depth: int = 8, size: tuple[int, int] = (6, 9)) -> np.ndarray:
    kind = np.uint16 if depth == 16 else np.uint8
    return random.integers(0, 2**depth, (*size, channels), dtype=kind)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def series(path: Path) -> Series:
    found = find_series(path)
    assert found is not None
    return found


def animation(path: Path) -> Animation:
    found = find_animation(path)
    assert found is not None
    return found


def names(path: Path) -> list[str]:
    return [file.name for file in series(path).files]


@given(numbers=st.sets(st.integers(0, 400), min_size=2, max_size=8), padded=st.booleans())
@settings(max_examples=25, deadline=None)
def test_numbered_pictures_are_in_order_and_gaps_are_known(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int], padded: bool
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    for number in numbers:
        write(folder / (f"img{number:03d}.png" if padded else f"img{number}.png"), noise())
    found = series(folder)
    shown = [int(file.stem[3:]) for file in found.files]
    assert shown == sorted(numbers)
    assert set(found.missing) == set(range(min(numbers), max(numbers) + 1)) - numbers
    assert found == series(folder / "img%d.png") == series(folder / "img*.png")


@given(
    stems=st.lists(
        st.lists(
            st.sampled_from(["a", "B", "-", "_", "7", "10", "010", "é"]), min_size=1, max_size=40
        ).map("".join),
        min_size=2,
        max_size=9,
        unique=True,
    )
)
@settings(deadline=None)
def test_natural_order_compares_numbers_as_numbers(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    first = write(folder / f"{stems[0]}.png", noise())
    for stem in stems[1:]:
        shutil.copy(first, folder / f"{stem}.png")
    found = series(folder / "*.png")
    assert sorted(file.stem for file in found.files) == sorted(stems)
    for one, other in pairwise(file.stem.casefold() for file in found.files):
        words_and_numbers = (re.split(r"([0-9]+)", stem) for stem in (one, other))
        for left, right in zip(*words_and_numbers, strict=False):  # the first difference decides
            if left.isdigit() and int(left) != int(right):
                assert int(left) < int(right)
                break
            if not left.isdigit() and left != right:
                assert left < right
                break


def test_pictures_without_numbers_are_a_series_without_gaps(tmp_path: Path) -> None:
    for name in ("beach.png", "dog.png", "Cat 9.png", "cat 10.png"):
        write(tmp_path / name, noise())
    assert names(tmp_path) == ["beach.png", "Cat 9.png", "cat 10.png", "dog.png"]
    assert series(tmp_path).missing == ()


def test_the_last_number_that_varies_counts_the_frames(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        write(tmp_path / f"take2_{number:02d}_v7.png", noise())
    assert series(tmp_path).missing == (3,)


def test_dates_and_clocks_have_no_gaps(tmp_path: Path) -> None:
    for number in (20240101120000, 20250101120000):
        write(tmp_path / f"{number}.png", noise())
    assert series(tmp_path).missing == ()


def test_files_that_are_no_pictures_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a1.png", noise())
    write(tmp_path / ".a2.png", noise())
    (tmp_path / "Thumbs.db").write_text("thumbs")
    (tmp_path / "a3.png").mkdir()
    assert names(tmp_path) == names(tmp_path / "*") == ["a1.png"]


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("f%d.png", ["f1.png", "f12.png", "f0012.png"]),
        ("f%02d.png", ["f12.png", "f0012.png"]),
        ("f%04d.png", ["f0012.png"]),
        ("f%3d.png", ["f  1.png", "f1.png", "f12.png", "f0012.png"]),
        ("f?.png", ["f1.png", "f[.png"]),
        ("f[0-9].png", ["f1.png"]),
    ],
)
def test_a_pattern_matches_exactly_its_files(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    for name in ("f1.png", "f12.png", "f0012.png", "f  1.png", "f[.png", "xf1.png", "f1.png.tif"):
        write(tmp_path / name, noise())
    assert sorted(names(tmp_path / pattern)) == sorted(found)


@pytest.mark.parametrize("name", ["100%d.png", "a*.png", "a[1].png", "plain.png"])
def test_an_existing_file_is_no_pattern(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, noise())
    assert find_series(tmp_path / name) is None
    assert find_series(tmp_path / "absent.png") is None


def test_a_folder_may_be_named_like_a_pattern(tmp_path: Path) -> None:
    write(tmp_path / "take[1] 50%d*" / "Größe 火 1.png", noise())
    assert len(names(tmp_path / "take[1] 50%d*")) == 1
    assert len(names(tmp_path / "take[1] 50%d*" / "Größe*.png")) == 1
    assert len(list(read_series(series(tmp_path / "take[1] 50%d*" / "Größe 火 %d.png")))) == 1


def folder_of_two_kinds(folder: Path) -> Path:
    write(folder / "a1.png", noise())
    write(folder / "a2.tif", noise())
    return folder


def folder_of_two_series(folder: Path) -> Path:
    for name in ("depth_0001", "depth_0002", "img_0001", "img_0002"):
        write(folder / f"{name}.png", noise())
    return folder


def folder_of_two_sizes(folder: Path) -> Path:
    write(folder / "a1.png", noise())
    write(folder / "a2.png", noise(size=(6, 8)))
    return folder


def folder_with_an_empty_file(folder: Path) -> Path:
    write(folder / "a1.png", noise())
    (folder / "a2.png").touch()
    return folder


def folder_with_a_text(folder: Path) -> Path:
    for ending in (".png", ".exr"):
        (folder / f"text{ending}").write_text("no picture at all")
    return folder / "*.png"


def folder_with_a_text_for_light(folder: Path) -> Path:
    return folder_with_a_text(folder).with_name("*.exr")


def folder_without_pictures(folder: Path) -> Path:
    (folder / "notes.txt").touch()
    return folder


@pytest.mark.parametrize(
    "make, words",
    [
        (folder_of_two_kinds, r"\.png and \.tif pictures.*\*\.png'"),
        (folder_of_two_series, r"depth_%04d.png and img_%04d.png; .*/depth_%04d.png.*/\*.png'"),
        (folder_of_two_sizes, r"a2.png is 8x6, but .*a1.png is 9x6"),
        (folder_with_an_empty_file, r"a2.png is empty"),
        (folder_with_a_text, "text.png is a text, not a picture"),
        (folder_with_a_text_for_light, r"text.exr is a text, not a picture"),
        (folder_without_pictures, r"holds 1 file, and no picture; .png"),
        (lambda folder: folder, r"holds no picture; .png"),
        (lambda folder: folder_of_two_kinds(folder) / "b%d.png", r"2 files, such as .* a1.png"),
        (lambda folder: folder / "%d_%d.png", "has 2 numbers"),
        (lambda folder: folder / "absent" / "%d.png", "there is no folder"),
        (lambda folder: folder / ("*" * 300 + ".png"), "File name too long"),
        (lambda folder: write(folder / "a\udcff.png", noise()).parent, "is not UTF-8"),
    ],
)
def test_an_unusable_series_gives_one_line(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(UserError, match=words) as told:
        find_series(make(tmp_path))
    assert "\n" not in str(told.value)


def test_a_folder_that_may_not_be_read_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:  # as the system does, though not to root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    for path in (tmp_path, tmp_path / "*.png"):
        with pytest.raises(UserError, match=r"cannot be used \(Permission denied\)"):
            find_series(path)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_lossless_pictures_are_read_exactly(
    tmp_path: Path, ending: str, channels: int, depth: int
) -> None:
    written = [noise(channels, depth) for _ in range(3)]
    for number, pixels in enumerate(written):
        write(tmp_path / f"a{number}{ending}", pixels)
    found = series(tmp_path)
    assert (found.height, found.width, found.depth) == (6, 9, depth)
    assert found.has_alpha == (channels == 4)
    for pixels, frame in zip(written, read_series(found), strict=True):
        assert frame.dtype == pixels.dtype and frame.flags["C_CONTIGUOUS"]
        assert np.array_equal(frame, pixels if channels > 1 else pixels.repeat(3, axis=2))


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".bmp", ".tga", ".avif"])
def test_other_picture_formats_are_read(tmp_path: Path, scene: np.ndarray, ending: str) -> None:
    if ending == ".avif" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    Image.fromarray(scene[..., ::-1]).save(tmp_path / f"a{ending}", quality=98)
    (frame,) = read_series(series(tmp_path))
    assert frame.dtype == np.uint8
    assert np.abs(frame.astype(float) - scene).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA"])
def test_every_pixel_mode_becomes_colour(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(noise(4)).convert("LA" if mode == "LA" else "RGBA")
    picture = picture.convert("L").convert(mode) if mode in ("1", "L", "P") else picture
    picture = picture.quantize(256) if mode == "PA" else picture
    picture.save(tmp_path / "a.png")
    found = series(tmp_path)
    assert found.has_alpha == (mode in ("LA", "PA", "RGBA"))
    (frame,) = read_series(found)
    expected = np.asarray(picture.convert("RGBA"))[..., [2, 1, 0, 3]]
    assert np.array_equal(frame, expected if found.has_alpha else expected[..., :3])


def test_premultiplied_alpha_of_a_tiff_is_divided_out(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), (10000, 20000, 30000, 32768), np.uint16)
    tags = [(256, 5), (257, 4), (258, 158), (259, 1), (262, 2), (273, 166), (277, 4), (278, 4)]
    tags += [(279, pixels.nbytes), (284, 1), (338, 1)]  # 338: associated alpha (TIFF 6.0, 18)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        header += struct.pack("<HHII", tag, 3, 4 if tag == 258 else 1, value)
    header += bytes(158 - len(header)) + struct.pack("<4H", 16, 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(header + pixels.tobytes())
    found = series(tmp_path)
    assert found.depth == 16 and found.has_alpha
    (frame,) = read_series(found)
    assert np.abs(frame[0, 0].astype(int) - [60000, 40000, 20000, 32768]).max() <= 1


def test_all_frames_of_a_series_have_one_depth_and_number_of_channels(tmp_path: Path) -> None:
    write(tmp_path / "a1.png", opaque := noise())
    write(tmp_path / "a2.png", deep := noise(4, 16))
    write(tmp_path / "a3.png", grey := noise(1))
    found = series(tmp_path)
    assert found.depth == 16 and found.has_alpha
    first, second, third = read_series(found)
    assert np.array_equal(first[..., :3], opaque.astype(np.uint16) * 257)
    assert np.array_equal(second, deep)
    assert np.array_equal(third[..., :3], grey.repeat(3, axis=2).astype(np.uint16) * 257)
    assert first.shape == second.shape == third.shape and (first[..., 3] == 65535).all()


TURNS = {
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.flipud(np.rot90(stored)),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.fliplr(np.rot90(stored)),
    8: np.rot90,
}


def png_with_exif(pixels: np.ndarray, orientation: int, late: bool) -> bytes:
    """A PNG with EXIF before its pixels or, if `late`, after them, as ExifTool writes it."""
    data = cv2.imencode(".png", pixels)[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes()[6:]  # without JPEG's "Exif\0\0"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = len(data) - 12 if late else 33
    return data[:at] + chunk + data[at:]


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("late", [False, True])
def test_exif_turns_frames_upright(
    tmp_path: Path, orientation: int, depth: int, late: bool
) -> None:
    stored = noise(3, depth)
    (tmp_path / "a.png").write_bytes(png_with_exif(stored, orientation, late))
    found = series(tmp_path)
    upright = TURNS[orientation](stored)
    assert (found.height, found.width) == upright.shape[:2]
    (frame,) = read_series(found)
    assert np.array_equal(frame, upright)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_exif_turns_tiffs_upright_once(tmp_path: Path, orientation: int, depth: int) -> None:
    stored = noise(1, depth)[..., 0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.tif", exif=exif)
    found = series(tmp_path)
    (frame,) = read_series(found)
    upright = TURNS[orientation](stored)
    assert (found.height, found.width) == upright.shape
    assert np.array_equal(frame[..., 1], upright)


def exr(values: np.ndarray, **options: str) -> bytes:
    """An OpenEXR file of `values`: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, float32."""
    coder = av.CodecContext.create("exr", "w")
    coder.height, coder.width = values.shape[:2]
    coder.pix_fmt = {2: "grayf32le", 3: "gbrpf32le", 4: "gbrapf32le"}[
        2 if values.ndim == 2 else values.shape[2]
    ]
    coder.time_base, coder.options = Fraction(1, 25), options
    frame = av.VideoFrame.from_ndarray(values.astype(np.float32), format=coder.pix_fmt)
    return b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize("compression", ["none", "zip16"])
def test_linear_light_is_converted_by_the_srgb_curve(
    tmp_path: Path, kind: str, compression: str
) -> None:
    light = np.float32([-1, 0, 0.001, 0.2140, 0.5, 1, 7, np.inf, np.nan])
    shown = np.array([0, 0, 0.01292, 0.5, 0.7354, 1, 1, 1, 0])
    rgb = np.zeros((5, 9, 3), np.float32)
    rgb[..., 0] = light  # red alone
    (tmp_path / "a.exr").write_bytes(exr(rgb, format=kind, compression=compression))
    found = series(tmp_path)
    assert (found.height, found.width, found.depth, found.has_alpha) == (5, 9, 16, False)
    (frame,) = read_series(found)
    assert frame.dtype == np.uint16 and not frame[..., :2].any()
    assert np.allclose(frame[2, :, 2] / 65535, shown, atol=2e-4)


def test_premultiplied_alpha_of_an_exr_is_divided_out(tmp_path: Path) -> None:
    # 0.2140 is shown as a middle grey. The second place glows: it has light and no alpha.
    rgba = np.float32([[[0.5, 0.25, 0, 0.5], [0.2140, 0, 0, 0]]])
    (tmp_path / "a1.exr").write_bytes(exr(np.tile(rgba, (3, 1, 1))))
    found = series(tmp_path)
    assert found.has_alpha
    (frame,) = read_series(found)
    assert np.allclose(frame[1] / 65535, [[0, 0.7354, 1, 0.5], [0, 0, 0.5, 0]], atol=1e-3)


def test_a_grey_exr_is_read_and_a_truncated_one_replaced(tmp_path: Path) -> None:
    for number in (1, 2):
        data = exr(np.full((40, 30), 0.2140), compression="none")
        (tmp_path / f"a{number}.exr").write_bytes(data if number == 1 else data[: len(data) // 2])
    told: list[str] = []
    first, second = read_series(series(tmp_path), on_lost=told.append)
    assert np.allclose(first / 65535, 0.5, atol=1e-3)
    assert np.array_equal(first, second)  # FFmpeg would paint what is missing black
    assert len(told) == 1 and "a2.exr" in told[0] and "its end is missing" in told[0]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow warns of damaged EXIF
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_frame_before_replaces_one_that_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str, depth: int
) -> None:
    if depth == 16 and ending in (".jpg", ".webp"):
        pytest.skip("8 bits only")
    files = [write(tmp_path / f"a{n}{ending}", noise(3, depth, (32, 48))) for n in range(6)]
    found = series(tmp_path)
    whole = list(read_series(found))
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[: files[2].stat().st_size * 2 // 3])
    files[3].write_bytes(b"")
    told: list[str] = []
    frames = list(read_series(found, on_lost=told.append))
    stand_ins = [whole[at] for at in (1, 1, 1, 1, 4, 5)]
    assert all(map(np.array_equal, frames, stand_ins)) and len(frames) == 6
    assert [line.partition(" cannot be read (")[0] for line in told] == [
        str(files[at]) for at in (0, 2, 3)
    ]
    for start in range(6):  # the same replacement, wherever reading starts
        some = list(read_series(found, start, start + 2))
        assert all(map(np.array_equal, some, stand_ins[start : start + 2]))
        assert len(some) == len(stand_ins[start : start + 2])
    assert capfd.readouterr().err == ""  # decoders write nothing to the terminal


def test_where_no_picture_can_be_read_there_is_no_frame(tmp_path: Path) -> None:
    files = [write(tmp_path / f"a{n}.png", noise()) for n in range(2)]
    found = series(tmp_path)
    for file in files:
        file.unlink()
    told: list[str] = []
    assert list(read_series(found, on_lost=told.append)) == []
    assert len(told) == 2


def test_a_picture_that_changed_its_size_counts_as_lost(tmp_path: Path) -> None:
    files = [write(tmp_path / f"a{n}.png", noise()) for n in range(2)]
    found = series(tmp_path)
    write(files[1], noise(size=(7, 7)))
    told: list[str] = []
    first, second = read_series(found, on_lost=told.append)
    assert np.array_equal(first, second) and "now 7x7" in told[0]


LOSSLESS = {"gif": {}, "webp": {"lossless": True, "exact": True}, "png": {}}
DURATIONS = (40, 0, 10, 120, 70, 20)


def pictures(mode: str, count: int = 6) -> list[Image.Image]:
    """`count` pictures of few colours, which GIF keeps exactly; in RGBA, partly transparent."""
    made = []
    for number in range(count):
        pixels = random.integers(0, 4, (24, 32, 4), dtype=np.uint8) * 85
        pixels[..., 3] = 255
        pixels[number:12, :, 3] = 0 if mode == "RGBA" else 255
        pixels[pixels[..., 3] == 0] = 0
        made.append(Image.fromarray(pixels).convert(mode))
    return made


def save(path: Path, made: list[Image.Image], **options: object) -> Path:
    made[0].save(
        path, save_all=True, append_images=made[1:], **LOSSLESS.get(path.suffix[1:], {}), **options
    )
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("disposal", [0, 2])
def test_animations_are_read_as_written(
    tmp_path: Path, kind: str, mode: str, disposal: int
) -> None:
    made = pictures(mode)
    options = {"gif": {"disposal": disposal}, "png": {"disposal": disposal // 2}}.get(kind, {})
    if kind == "gif" and mode == "RGBA":
        options["disposal"] = 2  # else the frame before would show through
    path = save(tmp_path / f"a.{kind}", made, duration=DURATIONS, loop=3, **options)
    found = animation(path)
    assert (found.height, found.width, found.loops) == (24, 32, 3)
    assert found.has_alpha == (mode == "RGBA")
    # Like browsers, the reader shows a frame of 10 ms or less for a tenth of a second.
    assert found.durations == tuple(Fraction(ms if ms > 10 else 100, 1000) for ms in DURATIONS)
    for pixels, frame in zip(made, read_animation(found), strict=True):
        order = [2, 1, 0, 3] if found.has_alpha else [2, 1, 0]
        expected = np.asarray(pixels)[..., order]
        if found.has_alpha:
            assert np.array_equal(frame[..., 3], expected[..., 3])
            frame, expected = frame[frame[..., 3] > 0], expected[expected[..., 3] > 0]
        assert frame.dtype == np.uint8 and np.array_equal(frame, expected)
    some = list(read_animation(found, 2, 5))
    assert all(map(np.array_equal, some, list(read_animation(found))[2:5])) and len(some) == 3


def test_durations_of_an_apng_are_exact_fractions(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", pictures("RGB", 3), duration=1000 * 1001 / 30000)
    data = path.read_bytes()
    at, changed = 0, 0
    while (at := data.find(b"fcTL", at) + 4) > 3:  # the delay comes 20 bytes later
        body = data[at - 4 : at + 20] + struct.pack(">HH", 1001, 30000) + data[at + 24 : at + 26]
        data = data[: at - 4] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 30 :]
        changed += 1
    path.write_bytes(data)
    assert animation(path).durations == (Fraction(1001, 30000),) * 3 and changed == 3


def test_the_default_image_of_an_apng_is_no_frame(tmp_path: Path) -> None:
    made = pictures("RGB", 4)
    found = animation(save(tmp_path / "a.png", made, duration=50, default_image=True))
    assert len(found.durations) == 3
    for pixels, frame in zip(made[1:], read_animation(found), strict=True):
        assert np.array_equal(frame, np.asarray(pixels)[..., ::-1])


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_animated_avifs_are_read(tmp_path: Path, scene: np.ndarray) -> None:
    made = [Image.fromarray(scene[:64, 4 * n : 4 * n + 96, ::-1]) for n in range(3)]
    found = animation(save(tmp_path / "a.avif", made, duration=[40, 80, 40]))
    assert found.durations == (Fraction(1, 25), Fraction(2, 25), Fraction(1, 25))
    for pixels, frame in zip(made, read_animation(found), strict=True):
        assert np.abs(frame[..., ::-1].astype(float) - np.asarray(pixels)).mean() < 8


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_the_complete_frames_of_a_truncated_animation_are_read(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / f"a.{kind}", made := pictures("RGB"), duration=50)
    data = path.read_bytes()
    for part in (0.9, 0.6, 0.4):
        path.write_bytes(data[: int(part * len(data))])
        found = animation(path)
        frames = list(read_animation(found))
        assert 0 < len(frames) == len(found.durations) < 6
        for pixels, frame in zip(made, frames, strict=False):
            assert np.array_equal(frame, np.asarray(pixels)[..., ::-1])


@pytest.mark.parametrize("beyond, frames", [(1, 6), (255, 3)])
def test_gif_frames_beyond_the_canvas_are_cropped_and_far_ones_not_read(
    tmp_path: Path, beyond: int, frames: int
) -> None:
    path = save(tmp_path / "a.gif", pictures("RGB"), duration=50)
    data = bytearray(path.read_bytes())
    fourth = [at for at in range(len(data)) if data[at : at + 3] == b"\x21\xf9\x04"][3] + 8
    data[fourth + 1 : fourth + 3] = struct.pack("<H", 20 * beyond)  # its left edge
    path.write_bytes(data)
    found = animation(path)
    assert (found.height, found.width, len(found.durations)) == (24, 32, frames)
    assert {frame.shape for frame in read_animation(found)} == {(24, 32, 3)}


@pytest.mark.parametrize("lost", [0, 2])
def test_a_damaged_apng_frame_is_replaced_by_a_neighbour(tmp_path: Path, lost: int) -> None:
    path = save(tmp_path / "a.png", made := pictures("RGB"), duration=[40, 50, 60, 70, 80, 90])
    data = path.read_bytes()
    at = [at for at in range(len(data)) if data[at : at + 4] == b"fcTL"][lost] + 60
    path.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    found = animation(path)
    assert len(found.durations) == 6
    told: list[str] = []
    frames = list(read_animation(found, on_lost=told.append))
    expected = [n if n != lost else (lost or 2) - 1 for n in range(6)]
    for number, frame in zip(expected, frames, strict=True):
        assert np.array_equal(frame, np.asarray(made[number])[..., ::-1])
    assert len(told) == 1 and f"frame {lost} of {path}" in told[0]
    assert np.array_equal(next(read_animation(found, lost, lost + 1)), frames[lost])


def test_an_animation_that_vanishes_has_no_frames(tmp_path: Path) -> None:
    found = animation(save(tmp_path / "a.gif", pictures("RGB"), duration=50))
    found.path.unlink()
    told: list[str] = []
    assert list(read_animation(found, on_lost=told.append)) == [] and len(told) == 6


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg", "a.tif"])
def test_a_still_is_no_animation(tmp_path: Path, name: str) -> None:
    pictures("RGB")[0].save(tmp_path / name)
    assert find_animation(tmp_path / name) is None


def test_a_file_that_is_no_picture_is_no_animation(tmp_path: Path) -> None:
    (tmp_path / "text.gif").write_text("no picture at all")
    (tmp_path / "empty.gif").touch()
    for path in (*tmp_path.iterdir(), tmp_path, tmp_path / "absent.gif"):
        assert find_animation(path) is None
    save(tmp_path / "pages.tif", pictures("RGB"))  # pages have no times
    assert find_animation(tmp_path / "pages.tif") is None


def test_a_gif_that_ends_between_its_blocks_is_faulty(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(noise(size=(20, 30))) for _ in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    data = path.read_bytes()
    assert gif_fault(data) is None
    assert gif_fault(data[:-1] + b"\x21\xfe\x02hi\0;") is None  # a comment block before the end
    assert gif_fault(data[:-1]) == "it breaks off after 4 frames"
    for end in range(len(data) - 1):
        assert gif_fault(data[:end]) is not None


def test_a_canvas_larger_than_any_picture_is_not_decoded(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), (20 * i, 0, 0)) for i in range(3)]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    data[25] = 0xFF  # the middle byte of the width of the canvas
    assert find_animation(path) is not None
    path.write_bytes(data)
    assert find_animation(path) is None
