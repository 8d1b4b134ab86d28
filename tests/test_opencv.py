"""OpenCV decodes where it is faithful; PyAV decodes elsewhere, and takes over on the way."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

import footage
from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.opencv import OFF_AT_MOST
from dreamreel.pipeline.media.reading import read_frames
from rendering import render_video

Make = Callable[[Path], Path]
HD = (720, 1280)
HD = (720, 1280)
PLAIN = footage.clip("a.mp4", codec=(*footage.PLAIN, "-g", "10"))
LOSSLESS = build(
    ("test", {"dream": {"octaves": 2, "steps": 2}, "output": {"codec": "ffv1", "save_seconds": 0}})
)


def frames_of(path: Path, decoder: str) -> list[Frame]:
    return list(read_frames(probe(path, Source(decoder=decoder))))


def harmed(path: Path, number: int) -> Path:
    """`path`, with the packet of that number changed in its middle."""
    with av.open(str(path)) as container:
        packet = [one for one in container.demux(video=0) if one.size][number]
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    middle = place + size // 2
    data[middle : middle + 40] = bytes(255 - byte for byte in data[middle : middle + 40])
    path.write_bytes(data)
    return path


def switch_of(clip: Clip, start: int = 0) -> tuple[list[Frame], int | None]:
    """The frames of `clip`, and the number from which PyAV decodes them."""
    numbers: list[int] = []
    frames = list(read_frames(clip, start, on_exact=numbers.append))
    assert len(numbers) <= 1
    return frames, numbers[0] if numbers else None


@pytest.mark.parametrize(
    "make",
    {
        "tagged BT.709": PLAIN,
        "tagged BT.601": partial(footage.tagged, matrix="bt601", full=False, tags=True),
        "full range": partial(footage.tagged, matrix="bt709", full=True, tags=True),
        "untagged": partial(footage.tagged, matrix="bt601", full=False, tags=False),
        "tagged HD": partial(footage.tagged, matrix="bt709", full=False, tags=True, size=HD),
        "upright by 90": partial(footage.turned, degrees=90),
        "upright by 180": partial(footage.turned, degrees=180),
        "a cover beside it": partial(footage.with_cover, name="a.mp4"),
        "hidden by an edit list": partial(footage.trimmed, name="a.mp4"),
        "a variable rate": partial(footage.varying, name="a.mkv"),
        "WebM": footage.clip("a.webm", codec=footage.VP9),
        "a transport stream": footage.clip("a.ts", codec=footage.PLAIN),
        "begins late": footage.clip(
            "a.mkv", *footage.noise(1), "-c:a", "aac", before=("-itsoffset", "0.4")
        ),
    }.values(),
)
def test_opencv_decodes_the_frames_that_pyav_decodes(make: Make, tmp_path: Path) -> None:
    clip = probe(make(tmp_path))
    assert clip.decoder == "opencv" and not clip.notices
    frames, switch = switch_of(clip)
    exact = frames_of(clip.path, "pyav")
    assert len(frames) == len(exact) and switch is None
    for one, other in zip(frames, exact, strict=True):
        assert np.abs(footage.colours(one) - footage.colours(other)).max() <= OFF_AT_MOST
        assert footage.number_of(one[..., ::-1]) == footage.number_of(other[..., ::-1])


def _interlaced(folder: Path) -> Path:
    return footage.interlaced(folder, "a.ts", *footage.MPEG2)


UNFAITHFUL: dict[str, tuple[Make, str]] = {
    "deep": (footage.clip("a.mp4", codec=("-c:v", "libx264", "-pix_fmt", "yuv420p10le")), "10 bit"),
    "alpha": (
        footage.clip("a.webm", codec=footage.ALPHA_VP9, has_alpha=True, filters=""),
        "alpha",
    ),
    "interlaced": (_interlaced, "interlaced"),
    "HDR": (partial(footage.hdr, curve="smpte2084"), "10 bits"),
    "HD without tags": (
        partial(footage.tagged, matrix="bt709", full=False, tags=False, size=HD),
        "untagged HD",
    ),
}


@pytest.mark.parametrize(("make", "reason"), UNFAITHFUL.values(), ids=UNFAITHFUL)
def test_pyav_decodes_what_opencv_does_not_show_as_it_is(
    make: Make, reason: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    assert probe(path).decoder == "pyav"
    asked = probe(path, Source(decoder="opencv"))
    assert asked.decoder == "opencv" and not asked.has_alpha and asked.depth == 8
    (told,) = (line for line in asked.notices if "source.decoder = opencv, though" in line)
    assert reason in told
    assert len(list(read_frames(asked))) == probe(path).frames


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (partial(footage.two_films, name="a.mkv"), "one of several streams"),
        (footage.clip("a.avi", codec=footage.MPEG4), "when each picture is shown"),
    ],
)
def test_opencv_is_refused_where_it_cannot_know_the_pictures(
    make: Make, reason: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    assert probe(path).decoder == "pyav"
    with pytest.raises(UserError, match=f"source.decoder = opencv: .*{reason}.*pyav would work"):
        probe(path, Source(decoder="opencv"))


@pytest.mark.parametrize("start", [0, 7, 249, 250, 287, 301, 390])
def test_frames_are_the_same_wherever_reading_begins(
    start: int, long_clip: tuple[Clip, list[Frame]]
) -> None:
    clip, whole = long_clip
    frames = list(read_frames(clip, start, start + 8))
    assert len(frames) == 8
    assert all(np.array_equal(a, b) for a, b in zip(frames, whole[start:], strict=False))


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, list[Frame]]:
    """400 frames, read in order; some of a group of pictures lean on the group before."""
    codec = (*footage.PLAIN, "-g", "40", "-x264-params", "open-gop=1:bframes=3")
    folder = tmp_path_factory.mktemp("long")
    clip = probe(footage.film(folder / "a.mkv", numbers=range(400), codec=codec))
    assert clip.decoder == "opencv"
    return clip, list(read_frames(clip))


def test_pyav_goes_on_from_the_first_damaged_picture(tmp_path: Path) -> None:
    path = harmed(PLAIN(tmp_path), 14)
    clip = probe(path)
    assert clip.decoder == "opencv"
    frames, switch = switch_of(clip)
    exact = frames_of(path, "pyav")
    assert switch is not None and 10 <= switch <= 14 and len(frames) == len(exact)
    assert all(np.array_equal(a, b) for a, b in zip(frames[switch:], exact[switch:], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(frames[:switch], exact, strict=False))


def test_the_frame_of_the_switch_may_be_given(tmp_path: Path) -> None:
    clip, exact = probe(PLAIN(tmp_path)), frames_of(tmp_path / "a.mp4", "pyav")
    by_opencv = list(read_frames(clip))
    given = replace(clip, exact_from=9)
    frames = list(read_frames(given))
    assert all(np.array_equal(a, b) for a, b in zip(frames[:9], by_opencv, strict=False))
    assert all(np.array_equal(a, b) for a, b in zip(frames[9:], exact[9:], strict=True))
    late = list(read_frames(given, 12))
    assert all(np.array_equal(a, b) for a, b in zip(late, exact[12:], strict=True))


@pytest.mark.parametrize("stop", [6, 20])
def test_a_render_that_goes_on_keeps_the_switch(stop: int, tmp_path: Path) -> None:
    source = harmed(PLAIN(tmp_path), 14)
    render_video(source, tmp_path / "whole.mkv", LOSSLESS)
    made = read_record(record_path(tmp_path / "whole.mkv"))
    assert made.job.settings.source.decoder == "opencv"
    assert made.made.exact_from is not None and 10 <= made.made.exact_from <= 14
    seen: list[Progress] = []
    report = Report(on_progress=seen.append, is_stopping=lambda: len(seen) == stop)
    with pytest.raises(Stopped):
        render_video(source, tmp_path / "part.mkv", LOSSLESS, report=report)
    render_video(source, tmp_path / "part.mkv", LOSSLESS)
    assert (tmp_path / "part.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    again = read_record(record_path(tmp_path / "part.mkv"))
    assert again.made.exact_from == made.made.exact_from


def test_another_decoder_is_another_render(tmp_path: Path) -> None:
    source, out = PLAIN(tmp_path), tmp_path / "o.mkv"
    stops = Report(is_stopping=lambda: True)
    with pytest.raises(Stopped):
        render_video(source, out, LOSSLESS, report=stops)
    exactly = build(("test", LOSSLESS.model_dump(exclude_none=True)),
                    ("more", {"source": {"decoder": "pyav"}}))  # fmt: skip
    with pytest.raises(UserError, match=r"source\.decoder was opencv, and you ask for pyav"):
        render_video(source, out, exactly)


def test_a_constant_rate_picks_from_the_same_frames(tmp_path: Path) -> None:
    path = footage.varying(tmp_path, "a.mkv")
    picked = probe(path, Source(fps=Fraction(10)))
    assert picked.decoder == "opencv"
    frames = list(read_frames(probe(path)))
    for frame, number in zip(read_frames(picked), picked.picks, strict=True):
        assert np.array_equal(frame, frames[number])
