"""Video files: rates, probing, reading, encoding, sound, times and damage."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.values import snap_rate
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media import reading
from dreamreel.pipeline.media.clips import frame_times, mean_rate, probe
from dreamreel.pipeline.media.encoding import (
    Encoding,
    count_frames,
    encode,
    even,
    padded_to,
    start_encoding,
)
from dreamreel.pipeline.media.ffmpeg import failure_of
from dreamreel.pipeline.media.mux import Part, mux, retime
from dreamreel.pipeline.media.reading import (
    damage,
    frames_between,
    prefetch,
    read_frames,
    resized,
    still_at,
)
from making import read_clip, run_ffmpeg, varying_clip, write_clip

BLACK = np.zeros((32, 48, 3), np.uint8)
USUAL = Encoding((32, 48), Fraction(25), 20, "veryfast")


@pytest.mark.parametrize(
    ("given_rate", "exact"),
    [
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(23.976).limit_denominator(1000), Fraction(24000, 1001)),
        (Fraction("29.97"), Fraction(30000, 1001)),
        (Fraction("59.94"), Fraction(60000, 1001)),
        (Fraction(25), Fraction(25)),
        (Fraction("24.0001"), Fraction(24)),
        (Fraction("12.5"), Fraction("12.5")),
        (Fraction(750000, 71393), Fraction(750000, 71393)),
    ],
)
def test_rounded_rates_become_the_exact_fractions(given_rate: Fraction, exact: Fraction) -> None:
    assert snap_rate(given_rate) == exact


@given(st.integers(1, 240))
def test_exact_rates_stay_as_they_are(number: int) -> None:
    assert snap_rate(Fraction(number)) == number
    assert snap_rate(Fraction(number * 1000, 1001)) == Fraction(number * 1000, 1001)


def test_probe_finds_size_rate_frames_and_sound(moving_clip: Path, odd_clip: Path) -> None:
    clip = probe(moving_clip)
    assert (clip.width, clip.height, clip.frames) == (160, 96, 12)
    assert clip.rate == Fraction(30000, 1001)
    assert clip.has_audio and clip.offset == 0
    odd = probe(odd_clip)
    assert (odd.width, odd.height, odd.rate, odd.has_audio) == (131, 77, 25, False)


def test_all_frames_are_read_in_order(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(12)]
    clip = write_clip(tmp_path / "grey.mp4", frames)
    found = [round(float(frame.mean()) / 20) for frame in read_frames(clip)]
    assert found == list(range(12))
    assert [round(float(f.mean()) / 20) for f in read_frames(clip, 3, 6)] == [3, 4, 5]
    assert [round(float(f.mean()) / 20) for f in read_frames(clip, 10, 99)] == [10, 11]
    assert list(read_frames(clip, 12)) == []


def test_colours_survive_encoding(tmp_path: Path) -> None:
    colours = [(0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (40, 120, 200)]
    frame = np.repeat(np.repeat(np.uint8([colours]), 120, 0), 40, 1)
    clip = write_clip(tmp_path / "bars.mp4", [frame] * 3)
    seen = read_clip(clip)[1]
    for bar, colour in enumerate(colours):
        inside = seen[20:100, 40 * bar + 8 : 40 * bar + 32].reshape(-1, 3)
        assert np.median(inside, 0) == pytest.approx(colour, abs=2)


def test_a_video_is_tagged_as_bt709(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "tagged.mp4", [np.zeros((32, 48, 3), np.uint8)] * 2)
    with av.open(str(clip)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1  # limited
        assert context.pix_fmt == "yuv420p"


@given(height=st.integers(1, 7), width=st.integers(1, 7))
def test_odd_frames_are_padded_with_their_last_row_and_column(height: int, width: int) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    padded = padded_to(frame, even(frame.shape[:2]))
    assert padded.shape[0] % 2 == padded.shape[1] % 2 == 0
    assert np.array_equal(padded[:height, :width], frame)
    assert np.array_equal(padded[-1], padded[height - 1])
    assert np.array_equal(padded[:, -1], padded[:, width - 1])


def test_resizing_keeps_the_aspect_ratio(scene: np.ndarray) -> None:
    (small,) = resized([scene], 100)
    assert small.shape == (60, 100, 3)
    assert next(resized([scene], None)) is scene


def test_a_failed_encoding_is_reported_in_the_words_of_ffmpeg(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ffmpeg could not write .*: .+"):
        encode([BLACK] * 50, tmp_path / "no" / "such.mp4", USUAL)


def test_a_killed_ffmpeg_is_reported(tmp_path: Path) -> None:
    raw = tmp_path / "endless.bgr"
    with raw.open("wb") as file:
        file.truncate(10**9)
    process, errors = start_encoding(raw, tmp_path / "a.mp4", USUAL, 1)
    process.kill()
    assert failure_of(process, errors) == "it was killed by signal 9"


def whole(path: Path) -> Part:
    clip = probe(path)
    return Part(path, clip.shown_at(clip.frames or 0))


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams[0]) if packet.size]


def test_sound_is_copied_bit_by_bit(moving_clip: Path, tmp_path: Path) -> None:
    notices: list[str] = []
    out = tmp_path / "out.mp4"
    mux([whole(moving_clip)], probe(moving_clip).tracks, out, None, notices.append)
    assert packets(out, "audio") == packets(moving_clip, "audio")
    assert np.array_equal(read_clip(out), read_clip(moving_clip))
    assert not notices


def test_sound_that_the_container_refuses_becomes_aac(tmp_path: Path, scene: np.ndarray) -> None:
    silent = write_clip(tmp_path / "silent.mp4", [scene[:96, :160]] * 10)
    source = tmp_path / "source.mkv"
    run_ffmpeg(
        "-i",
        str(silent),
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.3",
        "-c:v",
        "copy",
        "-c:a",
        "wmav2",
        str(source),
    )
    notices: list[str] = []
    mux([whole(silent)], probe(source).tracks, tmp_path / "out.mp4", None, notices.append)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert len(notices) == 1 and "AAC" in notices[0]


@pytest.fixture
def rich_clip(tmp_path: Path, scene: np.ndarray) -> Path:
    """20 frames with two sound tracks in two languages, subtitles, two chapters and a title."""
    silent = write_clip(tmp_path / "silent.mp4", [scene[:96, :160]] * 20, Fraction(20))
    (tmp_path / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,700\nWords\n")
    (tmp_path / "told.txt").write_text(
        ";FFMETADATA1\ntitle=Clouds\n"
        "[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=4\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/10\nSTART=4\nEND=10\ntitle=Two\n"
    )
    out = tmp_path / "rich.mkv"
    run_ffmpeg(
        *("-i", str(silent), "-i", str(tmp_path / "words.srt"), "-i", str(tmp_path / "told.txt")),
        *("-f", "lavfi", "-i", "sine=440:duration=1", "-f", "lavfi", "-i", "sine=880:duration=1"),
        *("-map", "0:v", "-map", "3:a", "-map", "4:a", "-map", "1:s", "-map_metadata", "2"),
        *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra"),
        *("-c:v", "copy", "-c:a", "aac", str(out)),
    )
    return out


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_subtitles_chapters_and_title_are_kept(
    rich_clip: Path, tmp_path: Path, suffix: str
) -> None:
    notices: list[str] = []
    out, told = tmp_path / f"out{suffix}", tmp_path / "out.txt"
    mux([whole(tmp_path / "silent.mp4")], probe(rich_clip).tracks, out, None, notices.append)
    with av.open(str(out)) as container:
        languages = [stream.language for stream in container.streams.audio]
        assert languages == ["eng", "fra"]
        assert len(container.streams.video) == 1
    # The text of the subtitles, whatever codec the container keeps them in.
    run_ffmpeg("-i", str(out), "-map", "0:s:0", str(tmp_path / "out.srt"))
    assert "Words" in (tmp_path / "out.srt").read_text()
    run_ffmpeg("-i", str(out), "-f", "ffmetadata", str(told))
    assert "title=Clouds" in told.read_text()
    assert told.read_text().count("[CHAPTER]") == 2 and "title=Two" in told.read_text()
    assert not notices


def test_chapters_are_cut_with_the_pictures(rich_clip: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "out.mkv", tmp_path / "out.txt"
    part = write_clip(tmp_path / "part.mp4", read_clip(rich_clip)[10:], Fraction(20))
    span = (Fraction(1, 2), Fraction(1))
    mux([whole(part)], probe(rich_clip).tracks, out, span, lambda line: None)
    run_ffmpeg("-i", str(out), "-f", "ffmetadata", str(told))
    assert told.read_text().count("[CHAPTER]") == 1 and "title=Two" in told.read_text()


def test_sound_is_cut_with_the_pictures(tmp_path: Path, scene: np.ndarray) -> None:
    source = write_clip(tmp_path / "long.mp4", [scene[:96, :160]] * 60, Fraction(30), sound=True)
    part = write_clip(tmp_path / "part.mp4", [scene[:96, :160]] * 15, Fraction(30))
    out = tmp_path / "out.mp4"
    mux([whole(part)], probe(source).tracks, out, (Fraction(1, 2), Fraction(1)), lambda line: None)
    with av.open(str(out)) as container:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(0.5, abs=0.05)


def test_frames_are_counted(moving_clip: Path) -> None:
    assert count_frames(moving_clip) == 12


def test_a_still_is_the_frame_shown_at_its_time(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(12)]
    clip = probe(write_clip(tmp_path / "grey.mp4", frames, Fraction(4)))
    for seconds, expected in ((0, 0), (0.24, 0), (0.25, 1), (2.8, 11)):
        number, frame = still_at(clip, seconds)
        assert (number, round(float(frame.mean()) / 20)) == (expected, expected)
    with pytest.raises(UserError, match="no frame at 3 s"):
        still_at(clip, 3)


def test_prefetching_changes_nothing_and_ends_its_thread() -> None:
    before = threading.active_count()
    assert list(prefetch(range(100), 3)) == list(range(100))
    assert threading.active_count() == before


def test_prefetching_runs_only_so_far_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = prefetch(items(), 3)
    next(ahead)
    threading.Event().wait(0.3)
    assert len(made) <= 6
    ahead.close()  # type: ignore[attr-defined]
    assert len(made) <= 6


def test_an_error_while_prefetching_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("here")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="here"):
        next(ahead)


def test_pixels_that_are_not_square_are_kept(tmp_path: Path, scene: np.ndarray) -> None:
    wide = Encoding((96, 160), Fraction(25), 20, "veryfast", Fraction(8, 9))
    encode([scene[:96, :160]], tmp_path / "a.mp4", wide)
    assert probe(tmp_path / "a.mp4").pixel_shape == Fraction(8, 9)


def test_a_file_name_may_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("-a b%d.mp4"), [scene[:96, :160]] * 2)
    assert probe(Path("-a b%d.mp4")).frames == 2


@given(st.lists(st.floats(-0.24, 0.24), min_size=3, max_size=40), st.integers(1, 60))
def test_a_rate_that_wavers_by_less_than_a_quarter_of_a_frame_is_constant(
    wavering: list[float], rate: int
) -> None:
    times = [(number + Fraction(off)) / rate for number, off in enumerate([0, *wavering, 0])]
    assert mean_rate(times, Fraction(rate)) == (rate, False)


def test_a_dropped_frame_makes_the_rate_variable() -> None:
    times = [Fraction(number, 25) for number in range(60) if number != 30]
    assert mean_rate(times, Fraction(25)) == (25, True)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_keep_their_times(tmp_path: Path, ending: str) -> None:
    source = varying_clip(tmp_path / "a.mp4")
    clip, even = probe(source), tmp_path / "even.mp4"
    write_clip(even, read_clip(source))
    times = [clip.shown_at(number) for number in range(35)]
    retime(even, tmp_path / "own.mp4", times)
    out = tmp_path / f"out.{ending}"
    mux([whole(tmp_path / "own.mp4")], None, out, None, lambda line: None)
    found = frame_times(out)
    assert [float(time - found[0]) for time in found] == pytest.approx(
        [float(time) for time in times[:-1]], abs=0.001
    )
    assert [round(float(frame.mean())) for frame in read_clip(out)] == pytest.approx(
        [6 * number for number in range(34)], abs=2
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> dict[str, bytes]:
    """The bytes of a clip of 60 sliding frames, as .mp4 with its index first and as .mkv."""
    folder = tmp_path_factory.mktemp("films")
    frames = [scene[:96, 2 * i : 160 + 2 * i] for i in range(60)]
    source = write_clip(folder / "a.mp4", frames, Fraction(25))
    for out in ("film.mp4", "film.mkv"):
        faststart = ("-c", "copy", "-movflags", "+faststart")
        run_ffmpeg("-i", str(source), *faststart, str(folder / out))
    return {ending: (folder / f"film.{ending}").read_bytes() for ending in ("mp4", "mkv")}


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_most_frames_of_a_damaged_film_are_read(
    films: dict[str, bytes], tmp_path: Path, ending: str
) -> None:
    found = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        data = np.frombuffer(films[ending], np.uint8).copy()
        data[random.integers(len(data) // 2, len(data), 12)] ^= 255
        path = tmp_path / f"{seed}.{ending}"
        path.write_bytes(data.tobytes())
        assert damage(probe(path)) is not None
        found.append(sum(1 for _ in read_frames(path)))
    # Sometimes the damage is in the structure of the container: then the frames after it are lost.
    assert np.median(found) >= 57 and max(found) == 60


def test_a_truncated_film_is_read_to_its_end_and_reported_as_damaged(
    films: dict[str, bytes], tmp_path: Path
) -> None:
    for share in (0.8, 0.9, 0.97):
        path = tmp_path / f"{share}.mp4"
        path.write_bytes(films["mp4"][: int(share * len(films["mp4"]))])
        assert probe(path).stated == 60
        assert 0 < sum(1 for _ in read_frames(path)) < 60
        assert damage(probe(path)) is not None
    path.write_bytes(films["mp4"])
    assert damage(probe(path)) is None


def test_a_span_in_seconds_becomes_a_span_of_frames(tmp_path: Path, moving_clip: Path) -> None:
    clip = probe(moving_clip)  # 12 frames at 30000/1001
    assert frames_between(clip, None, 0.1) == (0, 3)
    assert frames_between(clip, 0.033367, 0.2) == (1, 6)
    assert frames_between(clip, 0.04, None) == (2, None)
    for start, end in ((0.3, 0.2), (0.41, None), (0.101, 0.102)):
        with pytest.raises(UserError, match="has no frame from"):
            frames_between(clip, start, end)
    varying = probe(varying_clip(tmp_path / "a.mp4"))
    assert frames_between(varying, 0.5, 1.6) == (15, 32)


def test_a_retimed_film_lasts_until_the_end_of_its_last_frame(
    tmp_path: Path, scene: np.ndarray
) -> None:
    even = write_clip(tmp_path / "a.mp4", [scene[:96, 2 * i : 160 + 2 * i] for i in range(3)])
    retime(even, tmp_path / "own.mp4", [Fraction(number, 10) for number in range(4)])
    with av.open(str(tmp_path / "own.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(3, 10)


def test_frames_of_equal_times_are_shown_one_after_the_other(
    tmp_path: Path, scene: np.ndarray
) -> None:
    even = write_clip(tmp_path / "a.mp4", [scene[:96, 2 * i : 160 + 2 * i] for i in range(12)])
    times = [Fraction(number // 3, 10) for number in range(13)]
    retime(even, tmp_path / "own.mp4", times)
    found = frame_times(tmp_path / "own.mp4")
    assert len(set(found)) == 12
    assert [float(time) for time in found] == pytest.approx(
        [float(t) for t in times[:-1]], abs=0.01
    )


def test_a_file_without_times_has_a_rate(tmp_path: Path, scene: np.ndarray) -> None:
    source = write_clip(tmp_path / "a.mp4", [scene[:96, 2 * i : 160 + 2 * i] for i in range(20)])
    run_ffmpeg("-i", str(source), "-c:v", "mpeg4", "-bf", "2", str(tmp_path / "a.avi"))
    clip = probe(tmp_path / "a.avi")
    assert (clip.rate, clip.frames, clip.times) == (Fraction(30000, 1001), 20, ())


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_clip_of_variable_rate_knows_its_length_and_its_stills(
    tmp_path: Path, ending: str
) -> None:
    clip = probe(varying_clip(tmp_path / f"a.{ending}"))
    assert len(clip.times) == clip.frames == 34
    assert float(clip.shown_at(31)) == pytest.approx(1.5, abs=0.003)
    assert clip.shown_at(34) > clip.shown_at(33)
    # The last frame, at 2.5 s, is shown as long as most are.
    assert float(clip.frames / clip.rate) == pytest.approx(2.5 + 1 / 30, abs=0.02)
    for seconds, number in ((0.91, 27), (1.2, 30), (1.6, 31), (2.2, 32)):
        assert still_at(clip, seconds)[0] == number


def test_pixel_shape_is_rotated_with_the_picture(tmp_path: Path, scene: np.ndarray) -> None:
    wide = Encoding((96, 160), Fraction(25), 20, "veryfast", Fraction(2))
    encode([scene[:96, :160]], tmp_path / "a.mp4", wide)
    source, turned = str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")
    run_ffmpeg("-display_rotation", "90", "-i", source, "-c", "copy", turned)
    clip = probe(tmp_path / "b.mp4")
    assert (clip.width, clip.height, clip.pixel_shape) == (96, 160, Fraction(1, 2))


def test_unreadable_sound_is_left_out_with_a_notice(tmp_path: Path, scene: np.ndarray) -> None:
    source = write_clip(tmp_path / "a.mp4", [scene[:96, :160]] * 10, sound=True)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(source.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))
    notices: list[str] = []
    mux([whole(source)], probe(broken).tracks, tmp_path / "out.mp4", None, notices.append)
    assert count_frames(tmp_path / "out.mp4") == 10
    assert len(notices) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("open_gop", [False, True])
def test_seeking_gives_the_same_frames_as_reading_from_the_start(
    tmp_path: Path, scene: np.ndarray, suffix: str, open_gop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if open_gop and suffix == ".avi":
        pytest.skip("AVI has no open groups of pictures")
    raw = b"".join(scene[i : 96 + i, 2 * i : 160 + 2 * i].tobytes() for i in range(60))
    path = tmp_path / f"a{suffix}"
    params = "keyint=8:min-keyint=8:scenecut=0:bframes=3:open-gop=" + str(int(open_gop))
    codec = ["mpeg4", "-g", "8"] if suffix == ".avi" else ["libx264", "-x264-params", params]
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", "160x96", "-framerate", "25"),
        *("-i", "-", "-pix_fmt", "yuv420p", "-c:v", *codec, str(path)),
        stdin=raw,
    )
    clip = probe(path)
    arrived = list(read_frames(clip))
    assert len(arrived) == 60
    monkeypatch.setattr(reading, "SEEK_FROM", 1)
    for start in (1, 7, 8, 9, 30, 33, 58):
        sought = list(read_frames(clip, start))
        assert len(sought) == 60 - start
        assert all(np.array_equal(a, b) for a, b in zip(sought, arrived[start:], strict=True))
