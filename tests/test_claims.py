"""What a header claims is not believed: frames are counted, and no claim takes memory or time."""

import resource
import struct
import time
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import footage
from damage import time_limit
from dreamreel.pipeline.app.figures import MOST_SHOWN
from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.config.values import MOST_FRAMES
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.animations import told_of_scan
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.reading import damage, read_frames
from making import Run

Call = Callable[..., Run]
QUICK = ("--set", "dream.steps=1", "--set", "dream.octaves=1", "--width", 64)
MOST = 2**31 - 1
FEW = range(6)


def claim(data: bytes, name: bytes, at: int, value: int) -> bytes:
    """`data`, with a number of 32 bits changed, `at` bytes behind the first `name`."""
    changed = bytearray(data)
    struct.pack_into(">I", changed, data.index(name) + at, value)
    return bytes(changed)


def test_frames_are_counted_where_a_table_claims_two_billion(
    dreamreel: Call, tmp_path: Path
) -> None:
    path = footage.film(tmp_path / "a.mp4", numbers=FEW, codec=footage.PLAIN)
    path.write_bytes(claim(path.read_bytes(), b"stts", 12, MOST))
    clip = probe(path)
    assert clip.frames == 6 and clip.stated is not None and clip.stated > 1e9
    assert "promises" in (damage(clip) or "")
    run = dreamreel("video", path, "-o", tmp_path / "o.mp4", *QUICK)
    assert run.code == 0 and "only 6 could be read" in " ".join(run.err.split())
    assert probe(path, Source(fps="50")).frames == 12


@pytest.mark.parametrize(
    ("name", "at"), [(b"stsz", 12), (b"stsc", 16), (b"mdhd", 20), (b"mvhd", 20), (b"stco", 8)]
)
def test_no_claim_of_a_table_takes_long(name: bytes, at: int, tmp_path: Path) -> None:
    path = footage.film(tmp_path / "a.mp4", numbers=FEW, codec=footage.PLAIN)
    path.write_bytes(claim(path.read_bytes(), name, at, MOST))
    began = time.monotonic()
    try:
        assert (probe(path).frames or 0) <= 6
    except UserError as error:
        assert "\n" not in str(error)
    assert time.monotonic() - began < 5


def test_an_apng_has_the_frames_that_it_has(tmp_path: Path) -> None:
    images = [Image.new("RGB", (32, 24), (40 * red, 9, 9)) for red in range(4)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    data = bytearray(claim((tmp_path / "a.png").read_bytes(), b"acTL", 4, MOST))
    at = data.index(b"acTL")
    struct.pack_into(">I", data, at + 12, zlib.crc32(data[at : at + 12]))
    (tmp_path / "a.png").write_bytes(data)
    assert probe(tmp_path / "a.png").frames == 4


@pytest.mark.parametrize(("count", "told"), [(3, False), (20_000, True)])
def test_many_frames_of_an_animation_are_told_before_they_are_read(
    count: int, told: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.gif"
    Image.new("P", (16, 16)).save(path)
    whole = path.read_bytes()
    at = whole.index(b",")
    path.write_bytes(whole[:at] + whole[at:-1] * count + b";")
    began = time.monotonic()
    line = told_of_scan(path)
    assert (line is not None) == told and time.monotonic() - began < 1
    assert not told or f"{count:,} frames" in str(line)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("zoom -o z.mp4", f"{MOST_FRAMES:,} is the most"),
        ("schedule --set dream.mix=t/90000", f"at most {MOST_SHOWN:,}: --seconds 200 works"),
    ],
    ids=["zoom", "schedule"],
)
def test_more_frames_than_memory_holds_are_refused_at_once(
    dreamreel: Call, command: str, why: str
) -> None:
    began = time.monotonic()
    run = dreamreel(*command.split(), "--seconds", 86400, "--fps", 1000)
    assert run.code == 2 and why in " ".join(run.err.split())
    assert time.monotonic() - began < 2


def test_many_frames_of_a_schedule_are_told(dreamreel: Call) -> None:
    run = dreamreel("schedule", "--set", "dream.mix=t/9000", "--seconds", 400, "--fps", 20)
    assert run.code == 0 and "note: the settings of 8,000 frames" in run.err


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    """A small file of each kind: its name and its bytes."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for kind in ("mp4", "mkv", "avi", "gif", "apng"):
        name, codec, filters = {
            "mp4": ("a.mp4", footage.PLAIN, footage.TO_BT709),
            "mkv": ("a.mkv", footage.PLAIN, footage.TO_BT709),
            "avi": ("a.avi", footage.MPEG4, footage.TO_BT709),
            "gif": ("a.gif", (), ""),
            "apng": ("a.png", ("-f", "apng"), ""),
        }[kind]
        path = footage.film(folder / name, codec=codec, filters=filters, numbers=FEW)
        made[kind] = (name, path.read_bytes())
    return made


NUMBERS = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, MOST, MOST + 1, 2 * MOST + 1])
EDITS = st.lists(st.tuples(st.floats(0, 1), st.booleans(), NUMBERS), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "gif", "apng"])
@given(edits=EDITS)
@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_header_of_any_numbers_is_read_or_refused(
    kind: str,
    edits: list[tuple[float, bool, int]],
    sources: dict[str, tuple[str, bytes]],
    tmp_path: Path,
) -> None:
    name, data = sources[kind]
    changed = bytearray(data)
    for share, at_end, number in edits:
        reach = min(len(data) - 4, 1024)
        at = int(share * reach)
        struct.pack_into(">I", changed, len(data) - 4 - at if at_end else at, number)
    (tmp_path / name).write_bytes(changed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with time_limit(20):
        try:
            clip = probe(tmp_path / name)
            assert (clip.frames or 0) <= len(data)
            for frame in islice(read_frames(clip), 8):
                assert frame.dtype in (np.uint8, np.uint16)
        except UserError as error:
            assert "\n" not in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kB
