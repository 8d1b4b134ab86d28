"""A file that cannot be read is called what it is, and an address is no file. Whatever bytes are
given as a picture, a film or a sound, they are read or refused in one line."""

import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamreel.pipeline.contents import content_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.checks import check_picture
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.sound import check_sound
from dreamreel.pipeline.media.stills import load_picture, read_header, read_pixels
from dreamreel.pipeline.memory import check_fits, free_memory
from footage import heif
from making import Run, run_ffmpeg, write_clip

Call = Callable[..., Run]
QUICK = ("--set", "dream.octaves=1", "--set", "dream.steps=1", "--quiet")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> Path:
    """The working folder, with `s.mp4` (two frames) and `p.png`."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "s.mp4", [scene[i : 48 + i, :64] for i in range(2)])
    Image.fromarray(scene[:48, :64]).save(tmp_path / "p.png")
    return tmp_path


PAGE = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"
FILES = {
    "a web page": PAGE,
    "a web page after space": b"\n\n  <!-- served -->\n<HTML lang='en'>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "a git-annex pointer": b"/annex/objects/SHA256E-s9--00.mp4\n",
    "an error message in XML": b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    "an XML file": b'<?xml version="1.0"?>\n<project/>',
    "a message in JSON": b'{"status": 404, "error": "no such file"}',
    "JSON": b'[{"a": 1}]',
    "a ZIP archive": b"PK\x03\x04" + bytes(26) + b"film.mp4",
    "a gzip archive": zlib.compress(b"x" * 99, wbits=31),
    "a RAR archive": b"Rar!\x1a\x07\x01\x00" + bytes(99),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(99),
    "a torrent": b"d8:announce35:udp://tracker.example.org:80/announce",
    "a PDF": b"%PDF-1.7\n%\xe2\xe3",
    "an SVG drawing": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "a HEIC photo": heif(b"heic", b"mif1"),
    "a JPEG XL picture": b"\xff\x0a" + bytes(99),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(99),
    "a file that begins with zeros": bytes(5000),
    "a text": "Größe: 3\n".encode(),
}


@pytest.mark.parametrize("words", FILES)
@pytest.mark.parametrize("ending", [".mp4", ".jpg", ".png", ".gif", ".wav", ""])
def test_a_file_of_another_kind_is_called_what_it_is(
    tmp_path: Path, words: str, ending: str
) -> None:
    path = tmp_path / f"given{ending}"
    path.write_bytes(FILES[words])
    for read in (probe, check_picture, check_sound):
        with pytest.raises(UserError) as error:
            read(path)
        assert f"{path} is {words.removesuffix(' after space')}, " in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        "video {} -o o.mp4", "image {}", "zoom {} -o o.mp4", "zoom p.png --to {} -o o.mp4",
        "video s.mp4 --audio {} -o o.mp4", "image p.png -o o.png --weights {}",
        "image p.png -o o.png --preset ./{}", "reproduce {}", "batch {}", "measure {} s.mp4",
        "job {}", "shots {}", "video s.mp4 -o o.mp4 --set flow.method=raft --set flow.weights={}",
    ],
)  # fmt: skip
def test_every_command_says_that_it_was_given_a_web_page(
    dreamreel: Call, here: Path, command: str
) -> None:
    (here / "page.toml").write_bytes(PAGE)
    run = dreamreel(*command.format("page.toml").split())
    assert run.code == 2 and run.err.count("\n") == 1, run
    assert "page.toml is a web page, not " in run.err
    assert {path.name for path in here.iterdir()} == {"s.mp4", "p.png", "page.toml"}


@pytest.mark.parametrize("command", ["image", "video", "zoom"])
@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.heic", "IMG_1.jpg"])
@pytest.mark.parametrize("brands", [(b"heic", b"mif1"), (b"mif1", b"heic"), (b"hevc", b"msf1")])
def test_a_heic_photo_is_refused_with_what_to_do(
    dreamreel: Call, here: Path, command: str, name: str, brands: tuple[bytes, ...]
) -> None:
    (here / name).write_bytes(heif(*brands))
    run = dreamreel(command, name)
    assert run.code == 2
    assert run.err == (
        f"dreamreel: {name} is a HEIC photo, which is not supported; save it as PNG or JPEG\n"
    )


def test_an_avif_photo_is_read(here: Path) -> None:
    features = pytest.importorskip("PIL.features")
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.open(here / "p.png").save(here / "p.avif")
    head = (here / "p.avif").read_bytes()[:64]
    assert content_of(head) == content_of(heif(b"mif1", b"miaf", b"avif"))
    assert read_pixels(here / "p.avif").shape == (48, 64, 4)


@pytest.mark.parametrize("ending", [".crdownload", ".part", ".PART", ".opdownload"])
def test_a_download_that_is_not_finished_is_called_so(here: Path, ending: str) -> None:
    path = here / f"film.mp4{ending}"
    path.write_bytes((here / "s.mp4").read_bytes()[:64])
    for read in (probe, check_picture, check_sound):
        with pytest.raises(UserError, match="a download that is not finished"):
            read(path)
    path.write_bytes((here / "s.mp4").read_bytes())  # it was, after all
    assert probe(path).frames == 2


ADDRESSES = ("https://example.org/a/b.mp4", "http://example.org/b.png?size=3", "ftp://a.b/c.mp4",
             "rtsp://a.b/c", "s3://bucket/c.mp4", "data:image/png;base64,iVBORw0KGgo",
             "data:image/png;base64," + "A" * 5000, "magnet:?xt=urn:btih:00")  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address[:12])
@pytest.mark.parametrize(
    "command",
    ["video {}", "image {}", "zoom {}", "zoom --to {}", "zoom --continue {}", "shots {}",
     "video s.mp4 --audio {}", "image p.png --weights {} -o o.png", "measure {}", "reproduce {}",
     "image p.png --preset {}.toml -o o.png", "batch {}.toml", "batch jobs.toml"],
)  # fmt: skip
def test_an_address_is_called_one_and_kept_whole(
    dreamreel: Call, here: Path, command: str, address: str
) -> None:
    if "preset" in command and "/" not in address:
        pytest.skip("a name of a preset has no slash")
    (here / "jobs.toml").write_text(f'[[job]]\nsource = "{address}"\n')
    run = dreamreel(*command.format(address).split())
    assert run.code == 2 and run.err.count("\n") == 1, run
    assert address[:60] in run.err and "is an address, not a file; only files" in run.err


@pytest.mark.parametrize("out", ["s3://bucket/o.png", "https://example.org/o.png"])
def test_an_address_as_output_is_called_one(dreamreel: Call, here: Path, out: str) -> None:
    run = dreamreel("image", "p.png", "-o", out)
    assert run.code == 2 and f"{out} is an address, not a file" in run.err


def test_the_path_in_an_address_of_a_file_is_named(dreamreel: Call, here: Path) -> None:
    run = dreamreel("image", "file:///home/me/my%20cat.png")
    assert run.code == 2 and "give the path alone: /home/me/my cat.png" in run.err


def test_a_file_named_like_an_address_is_read(dreamreel: Call, here: Path) -> None:
    for name in ("take: one.png", "data:p.png", "https:/example.org/p.png"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "p.png", here / name)
        run = dreamreel("image", name, "-o", "o.png", "--overwrite", *QUICK)
        assert run.code == 0, run.err


# Pictures whose header claims more than fits.

SIDE = 60_000


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff() -> bytes:
    tags = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, SIDE), (279, 4, 100)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(200)


HUGE = {
    "h.png": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(999)))
    + chunk(b"IEND", b""),
    "h.gif": b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0x80, 0, 0) + bytes(6)
    + b"," + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02\x4c\x01\x00;",
    "h.bmp": b"BM" + struct.pack("<IHHI", 999, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(900),
    "h.ppm": b"P6 60000 60000 255\n" + bytes(900),
    "h.tif": tiff(),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("read", [read_pixels, read_header])
def test_a_picture_that_does_not_fit_is_refused_with_its_size(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    if free_memory() > SIDE**2 * 16:
        pytest.skip("this machine has the memory")
    if read is read_header and name in ("h.gif", "h.ppm"):
        pytest.skip("no picture of a series has this format")
    (tmp_path / name).write_bytes(HUGE[name])
    with pytest.raises(UserError, match=f"{name} is 60000x60000 pixels.* GiB are free"):
        read(tmp_path / name)


def test_what_fits_is_not_refused() -> None:
    check_fits("a picture", (1000, 1000))
    with pytest.raises(UserError, match="a frame is 3x2 pixels.*a smaller --width"):
        check_fits("a frame", (2, 3), 1e18, "a smaller --width would work")


def test_memory_that_runs_out_gives_one_line(
    dreamreel: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamreel.pipeline.jobs import still

    def exhausted(*given: object) -> None:
        np.empty(1 << 60, np.uint8)

    monkeypatch.setattr(still, "check_finite", exhausted)
    run = dreamreel("image", "p.png", "-o", "o.png", *QUICK)
    assert run.code == 2 and run.err.count("\n") == 1
    assert "memory ran out for o.png; a smaller --width would work" in run.err


# Any bytes.

HEADS = (
    b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"GIF89a", b"BM",
    b"RIFF\0\1\0\0WEBPVP8 ", b"RIFF\0\1\0\0WEBPVP8X", b"RIFF\0\1\0\0WAVEfmt ",
    b"RIFF\0\1\0\0AVI LIST", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftypisom", b"OggS", b"fLaC",
    b"ID3\x04", b"FLV\x01", b"\x76\x2f\x31\x01\2\0\0\0", b"P6 9 9 255\n", b"8BPS\0\1", b"qoif",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\1\0\1\0", b"DDS ", heif(b"avif"), b"G" + bytes(187),
    b"II*\0\x08\0\0\0",
)  # fmt: skip
ENDINGS = (".png", ".jpg", ".exr", ".tif", ".mp4", ".mkv", ".wav", ".gif", "")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=120, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=200), ending=st.sampled_from(ENDINGS))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: bytes, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(head + rest or b"x")
    cpu = torch.device("cpu")
    for read in (check_picture, read_header, partial(load_picture, device=cpu), probe, check_sound):
        try:
            read(path)
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)


def test_a_film_without_sound_is_no_music(here: Path) -> None:
    with pytest.raises(UserError, match="s.mp4 has no sound"):
        check_sound(here / "s.mp4")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(here / "song.m4a"))
    check_sound(here / "song.m4a")
