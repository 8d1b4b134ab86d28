"""Sources and results of all formats: codecs, animations, series of pictures."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.fields import Settings, Source
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.frames import to_8_bits
from dreamreel.pipeline.jobs import segments
from dreamreel.pipeline.jobs.paths import folder_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.animations import find_animation
from dreamreel.pipeline.media.clips import Clip, at_rate, probe
from dreamreel.pipeline.media.encoding import CODECS, Encoding, encode, encoding_for
from dreamreel.pipeline.media.mux import suffix_that_holds
from dreamreel.pipeline.media.reading import damage, read_frames
from dreamreel.pipeline.media.sequences import series_files
from making import read_clip, run_ffmpeg, write_clip
from rendering import flight, render_video, render_zoom

# Settings that change no picture: the result is to equal the source.
PLAIN = {
    "dream": {"octaves": 1, "steps": 0, "terms": "textures"},
    "video": {"frame_steps": 0},
    "flow": {"method": "none"},
    "output": {"save_seconds": 3600.0},
}
LOSSLESS = {"output": {"codec": "ffv1"}}
BARS = [(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 200, 0), (200, 0, 200), (0, 0, 255)]


def plain(*more: dict[str, dict[str, object]]) -> Settings:
    return build(("plain", PLAIN), *(("test", table) for table in more))


def render(
    source: Path,
    out: Path,
    *more: dict[str, dict[str, object]],
    span: tuple[int, int | None] = (0, None),
) -> list[str]:
    """Render `source` into `out` with settings that change no picture; the notices."""
    told: list[str] = []
    render_video(source, out, plain(*more), span, Report(on_notice=told.append))
    return told


@pytest.fixture(scope="session")
def clear_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """12 frames of 96x64 in 16 bits, opaque at the left, transparent at the right."""
    path = tmp_path_factory.mktemp("clips") / "clear.mkv"
    alpha = np.tile(np.linspace(65535, 0, 96).astype(np.uint16), (64, 1))
    frames = [
        np.dstack([scene[:64, 2 * i : 2 * i + 96].astype(np.uint16) * 257 + i, alpha])
        for i in range(12)
    ]
    encode(frames, path, Encoding((64, 96), Fraction(25), codec="ffv1", pixel_format="gbrap16le"))
    return path


@pytest.fixture(scope="session")
def deep_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 96x64 in 16 bits, each a ramp with more shades than 8 bits have."""
    path = tmp_path_factory.mktemp("clips") / "deep.mkv"
    ramp = np.linspace(20000, 24000, 96).astype(np.uint16)
    frames = [np.repeat(np.tile(ramp + 40 * i, (64, 1))[..., None], 3, 2) for i in range(12)]
    encode(frames, path, Encoding((64, 96), Fraction(25), codec="ffv1", pixel_format="gbrp16le"))
    return path


def codec_of(path: Path) -> tuple[str, str]:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return context.name, context.pix_fmt


@pytest.mark.parametrize(
    ("name", "codec", "found"),
    [
        ("o.mp4", "auto", ("h264", "yuv420p")),
        ("o.webm", "auto", ("vp9", "yuv420p")),
        ("o.mov", "hevc", ("hevc", "yuv420p")),
        ("o.mp4", "av1", ("libdav1d", "yuv420p")),
        ("o.mkv", "vp9", ("vp9", "yuv420p")),
        ("o.mov", "prores", ("prores", "yuv422p10le")),
        ("o.mkv", "ffv1", ("ffv1", "bgr0")),
    ],
)
def test_every_codec_keeps_pictures_rate_and_sound(
    moving_clip: Path, tmp_path: Path, name: str, codec: str, found: tuple[str, str]
) -> None:
    out = tmp_path / name
    assert all(
        "made Opus" in line for line in render(moving_clip, out, {"output": {"codec": codec}})
    )
    assert codec_of(out) == found
    clip = probe(out)
    assert (clip.rate, clip.frames, clip.has_audio) == (Fraction(30000, 1001), 12, True)
    pairs = zip(read_clip(moving_clip), read_clip(out), strict=True)
    # OpenCV repeats the source's samples of colour, where other decoders interpolate them.
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 4


def test_nothing_is_lost_in_a_lossless_codec(
    clear_clip: Path, deep_clip: Path, tmp_path: Path
) -> None:
    for source in (clear_clip, deep_clip):
        out = tmp_path / source.name
        assert render(source, out, LOSSLESS) == []
        for before, after in zip(read_frames(source), read_frames(out), strict=True):
            assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "codec", "has_alpha", "depth"),
    [
        ("o.webm", "vp9", True, 8),
        ("o.mov", "prores", True, 12),  # the depth at which ffmpeg decodes ProRes 4444
        ("o.mp4", "h264", False, 8),
        ("o.mp4", "hevc", False, 10),
        ("o.webp", "auto", True, 8),
        ("o.gif", "auto", True, 8),
        ("o.apng", "auto", True, 8),
        ("o/%03d.png", "auto", True, 16),
        ("o/%03d.tif", "auto", True, 16),
        ("o/%03d.exr", "auto", True, 16),
        ("o/%03d.jpg", "auto", False, 8),
    ],
)
def test_depth_and_alpha_are_kept_or_their_loss_gives_a_notice(
    clear_clip: Path, tmp_path: Path, name: str, codec: str, has_alpha: bool, depth: int
) -> None:
    told = render(clear_clip, tmp_path / name, {"output": {"codec": codec}})
    clip = probe((tmp_path / name).parent if "%" in name else tmp_path / name)
    assert (clip.has_alpha, clip.depth, clip.frames) == (has_alpha, depth, 12)
    assert any("keeps no transparency" in line for line in told) == (not has_alpha)
    assert any("keeps 8 bits of the source's 16" in line for line in told) == (depth == 8)
    seen = next(read_frames(clip))
    if has_alpha:
        there = to_8_bits(next(read_frames(clear_clip)))[..., 3].astype(int)
        error = np.abs(to_8_bits(seen)[..., 3] - there)
        assert error.mean() < (70 if name.endswith("gif") else 4)  # a GIF has one bit of alpha
        assert set(np.unique(seen[..., 3])) <= {0, 255} or not name.endswith("gif")


def test_shades_beyond_8_bits_survive(deep_clip: Path, tmp_path: Path) -> None:
    shades = {}
    for name, codec in (("o.mp4", "hevc"), ("a.mp4", "h264"), ("o/%d.png", "auto")):
        render(deep_clip, tmp_path / name, {"output": {"codec": codec}})
        seen = read_frames((tmp_path / name).parent if "%" in name else tmp_path / name)
        shades[codec] = len(np.unique(next(seen)[32]))
    assert shades["h264"] < 25 < 50 < shades["hevc"] < shades["auto"] == 96


MADE = {
    "hevc": ("o.mp4", {"codec": "hevc"}),
    "av1": ("o.mkv", {"codec": "av1"}),
    "vp9": ("o.webm", {"codec": "vp9"}),
    "prores": ("o.mov", {"codec": "prores"}),
    "ffv1": ("o.mkv", {"codec": "ffv1"}),
    "gif": ("o.gif", {}),
    "webp": ("o.webp", {}),
    "apng": ("o.apng", {}),
    "png": ("o/%03d.png", {}),
    "exr": ("o/%03d.exr", {}),
    "side by side": ("o.mp4", {"side_by_side": True}),
}


def content(path: Path) -> list[bytes]:
    place = path.parent if "%" in path.name else path
    return [one.read_bytes() for one in (sorted(place.iterdir()) if place.is_dir() else [place])]


@pytest.mark.parametrize("kind", MADE)
def test_a_resumed_render_gives_the_same_bytes_in_every_format(
    clear_clip: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SHORTEST", 5)
    monkeypatch.setattr(segments, "LONGEST", 5)
    name, output = MADE[kind]
    whole, parts = tmp_path / "whole" / name, tmp_path / "parts" / name
    for out in (whole, parts):
        out.parents[1 if "%" in name else 0].mkdir()
    render(clear_clip, whole, {"output": output})
    stops = 0
    while not (parts.parent if "%" in name else parts).exists():
        asked = iter([False] * 6)
        report = Report(is_stopping=lambda asked=asked: next(asked, True))
        try:
            render_video(clear_clip, parts, plain({"output": output}), report=report)
        except Stopped:
            stops += 1
    assert stops == 1
    assert content(parts) == content(whole)
    assert not folder_of(parts.parent if "%" in name else parts).exists()


def test_an_animation_keeps_its_frames_and_their_times(moving_clip: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "a.apng", tmp_path / "b.apng"
    render(moving_clip, first)
    animation = find_animation(first)
    assert animation is not None and animation.loops == 0
    assert set(animation.durations) == {Fraction(1001, 30000)}
    render(first, again)
    for one, other in zip(read_frames(first), read_frames(again), strict=True):
        assert np.array_equal(one, other)


def test_pictures_are_numbered_like_the_frames_of_their_source(
    moving_clip: Path, tmp_path: Path
) -> None:
    render(moving_clip, tmp_path / "o" / "f_%04d.png", span=(3, 7))
    assert [path.name for path in sorted((tmp_path / "o").iterdir())] == [
        f"f_{number:04}.png" for number in range(3, 7)
    ]
    told = render(tmp_path / "o", tmp_path / "o.mkv", LOSSLESS, {"source": {"fps": "24"}})
    assert told == []
    clip = probe(tmp_path / "o.mkv")
    assert (clip.rate, clip.frames) == (24, 4)


def test_pictures_in_the_output_folder_are_replaced_only_on_request(
    moving_clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "o"
    folder.mkdir()
    for name in ("0.png", "77.png", "notes.txt"):
        (folder / name).write_text("mine")
    with pytest.raises(UserError, match="2 of its files match %d.png"):
        render(moving_clip, folder / "%d.png", span=(0, 2))
    out = folder / "%d.png"
    render_video(moving_clip, out, plain(), (0, 2), overwrite=True)
    assert sorted(path.name for path in series_files(out)) == ["0.png", "1.png"]
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="is the source itself"):
        render_video(folder / "%d.png", out, plain(), overwrite=True)


@pytest.mark.parametrize(
    ("name", "output", "words"),
    [
        ("o.mp4", {"codec": "ffv1"}, ".mp4 does not hold ffv1: .mkv would"),
        ("o.webm", {"codec": "h264"}, ".webm would hold av1 or vp9"),
        ("o.gif", {"codec": "h264"}, ".gif has none"),
        ("o.mp4", {"pixel_format": "yuv420p12"}, "did you mean 'yuv420p'"),
        ("o/%d.jpg", {"pixel_format": "rgb48"}, ".jpg takes rgb24"),
        ("o.mp4", {"crf": 60}, "at most 51"),
        ("o.xyz", {}, "ends in .xyz"),
        ("o/%d_%d.png", {}, "one number"),
        ("o/%d.xyz", {}, "ends in .xyz"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    moving_clip: Path, tmp_path: Path, name: str, output: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError) as refused:
        render(moving_clip, tmp_path / name, {"output": output})
    assert words in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", CODECS)
def test_every_offered_pixel_format_can_be_encoded(
    tmp_path: Path, scene: np.ndarray, codec: str
) -> None:
    for pixel_format in CODECS[codec].formats:
        output = build(("test", {"output": {"codec": codec, "pixel_format": pixel_format}})).output
        suffix = CODECS[codec].containers[0]
        encoding = encoding_for(output, suffix, (65, 97), Fraction(25))
        out = tmp_path / f"{pixel_format}{encoding.segment_suffix}"
        encode([scene[:65, :97]] * 2, out, encoding)
        exact = read_frames(probe(out, Source(decoder="pyav")))
        frame = to_8_bits(next(exact))[:65, :97, :3]
        assert np.abs(frame.astype(int) - scene[:65, :97]).mean() < 4, pixel_format


def test_side_by_side_shows_the_source_beside_its_dream(moving_clip: Path, tmp_path: Path) -> None:
    render(moving_clip, tmp_path / "o.mkv", LOSSLESS, {"output": {"side_by_side": True}})
    for before, both in zip(read_frames(moving_clip), read_frames(tmp_path / "o.mkv"), strict=True):
        assert np.array_equal(both, np.hstack([before, before]))


def test_a_zoom_can_become_a_gif_or_pictures(tmp_path: Path) -> None:
    for name in ("o.gif", "o/%02d.png"):
        place = render_zoom(None, tmp_path / name, plain(), flight(0.2, Fraction(25), (64, 96)))
        assert probe(place).frames == 5


def test_a_new_rate_keeps_length_and_sound(moving_clip: Path, tmp_path: Path) -> None:
    before = probe(moving_clip)
    for fps in (12, 30, 60):
        out = tmp_path / f"{fps}.mp4"
        render(moving_clip, out, {"source": {"fps": str(fps)}})
        after = probe(out)
        assert (after.rate, after.has_audio) == (fps, True)
        assert abs(Fraction(after.frames or 0, fps) - 12 / before.rate) <= Fraction(1, 2 * fps)


def test_at_a_new_rate_each_frame_is_the_one_a_player_shows(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 20 * number, np.uint8) for number in range(10)]
    source = write_clip(tmp_path / "a.mp4", frames, Fraction(10))
    clip = probe(source, Source(fps=Fraction(25)))
    seen = [frame.mean() / 20 for frame in read_frames(clip)]
    shown = [int(number / 25 * 10) for number in range(25)]
    assert np.round(seen).astype(int).tolist() == shown
    late = [frame.mean() / 20 for frame in read_frames(clip, 7, 11)]
    assert np.round(late).astype(int).tolist() == shown[7:11]


@given(
    gaps=st.lists(st.integers(1, 400), min_size=2, max_size=40),
    rate=st.sampled_from([Fraction(5), Fraction(24000, 1001), Fraction(25), Fraction(120)]),
)
def test_a_new_rate_keeps_the_length_and_shows_the_latest_frame(
    gaps: list[int], rate: Fraction
) -> None:
    times = [Fraction(time, 600) for time in itertools.accumulate(gaps, initial=0)]
    ends = times.pop()
    clip = Clip(Path("a.mp4"), 2, 2, len(times) / ends, len(times), times=tuple(times), ends=ends)
    new = at_rate(clip, rate)
    assert new.frames == len(new.picks) == max(1, round(ends * rate))
    assert abs(new.shown_at(new.frames) - ends) <= max(1 / (2 * rate), 1 / rate - ends)
    for number, pick in enumerate(new.picks):
        due = number / rate
        assert times[pick] <= due
        assert pick == len(times) - 1 or due < times[pick + 1]


def comb(frame: np.ndarray) -> float:
    """How much more lines differ from their neighbours than from the lines after those: large where
    two fields of a moving picture are interlaced."""
    grey = frame.astype(float).mean(2)
    near = np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean()
    return float(near / (np.abs(grey[:-2] - grey[2:]).mean() + 1))


def test_interlaced_video_is_deinterlaced_with_a_notice(tmp_path: Path, scene: np.ndarray) -> None:
    fields = [scene[:96, 8 * i : 8 * i + 160] for i in range(16)]
    frames = []
    for top, bottom in zip(fields[::2], fields[1::2], strict=True):
        frames.append(top.copy())
        frames[-1][1::2] = bottom[1::2]
    raw = b"".join(frame.tobytes() for frame in frames)
    source = tmp_path / "a.mkv"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", "160x96", "-framerate", "25"),
        *("-i", "-", "-vf", "setfield=tff", "-c:v", "libx264", "-crf", "5", "-pix_fmt", "yuv444p"),
        *("-flags", "+ilme+ildct", str(source)),
        stdin=raw,
    )
    told = render(source, tmp_path / "o.mkv", LOSSLESS)
    assert told == ["the source is interlaced: deinterlaced"]
    clean = list(read_frames(tmp_path / "o.mkv"))
    assert len(clean) == 8
    combed = read_clip(source)
    assert comb(clean[4]) < 0.8 * comb(combed[4])


def test_a_cover_is_not_taken_for_the_video_and_a_stream_can_be_chosen(tmp_path: Path) -> None:
    dark, light = (
        write_clip(tmp_path / f"{name}.mp4", [np.full((32, 48, 3), level, np.uint8)] * 5)
        for name, level in (("dark", 40), ("light", 200))
    )
    cover = tmp_path / "cover.png"
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", str(cover))
    both = tmp_path / "both.mkv"
    run_ffmpeg("-i", str(dark), "-i", str(light), "-map", "0", "-map", "1", "-c", "copy", str(both))
    covered = tmp_path / "covered.mp4"
    run_ffmpeg(
        *("-i", str(cover), "-i", str(light), "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", str(covered)),
    )
    assert probe(covered).frames == 5
    assert next(read_frames(covered)).mean() == pytest.approx(200, abs=3)
    for stream, level in ((0, 40), (1, 200)):
        render(both, tmp_path / f"{stream}.mkv", LOSSLESS, {"source": {"stream": stream}})
        seen = next(read_frames(tmp_path / f"{stream}.mkv"))
        assert seen.mean() == pytest.approx(level, abs=3)
    with pytest.raises(UserError, match="no stream 2 of pictures: it has 2, from 0 to 1"):
        probe(both, Source(stream=2))
    with pytest.raises(UserError, match="it has one, 0"):
        probe(cover, Source(stream=1))


@pytest.mark.parametrize("matrix", ["bt709", "bt601"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_are_kept_whatever_the_tags_of_the_source(
    tmp_path: Path, matrix: str, levels: str, tagged: bool
) -> None:
    if not tagged and levels == "pc":
        pytest.skip("without a tag, full range cannot be known")
    height, width = (720, 1280) if matrix == "bt709" and not tagged else (96, 192)
    bars = np.repeat(np.array([BARS], np.uint8), width // 6, 1)
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : bars.shape[1]] = bars
    space = {"bt709": "bt709", "bt601": "smpte170m"}[matrix]
    tags = f"colorspace={space}:range={levels}" if tagged else "colorspace=unknown:range=unknown"
    source = tmp_path / "a.mp4"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{width}x{height}"),
        *("-framerate", "25", "-i", "-", "-vf"),
        f"scale=in_range=pc:out_range={levels}:out_color_matrix={matrix}:flags=accurate_rnd,"
        f"format=yuv420p,setparams={tags}",
        *("-c:v", "libx264", "-crf", "1", str(source)),
        stdin=frame.tobytes() * 2,
    )
    render(source, tmp_path / "o.mp4", {"output": {"crf": 1}})
    (seen, _) = read_clip(tmp_path / "o.mp4")
    side = width // 6
    for number, colour in enumerate(BARS):
        bar = seen[height // 4 : -height // 4, number * side + 8 : (number + 1) * side - 8]
        assert np.abs(np.median(bar, (0, 1)) - colour).max() <= 2


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_tone_mapped_with_a_notice(tmp_path: Path, transfer: str, name: str) -> None:
    source = tmp_path / "a.mp4"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:s=96x64:d=0.2,format=yuv420p10le"),
        *("-vf", f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"),
        *("-c:v", "libx265", "-x265-params", "log-level=none", str(source)),
    )
    told = render(source, tmp_path / "o.mp4", {"output": {"codec": "hevc"}})
    assert told == [f"the source is HDR ({name}): tone-mapped to BT.709"]
    with av.open(str(tmp_path / "o.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_trc, context.color_primaries, context.colorspace) == (1, 1, 1)
    assert 10 < to_8_bits(next(read_frames(tmp_path / "o.mp4"))).mean() < 245


def test_repeated_frames_are_all_kept(tmp_path: Path, scene: np.ndarray) -> None:
    frames = [scene[:96, 4 * (i // 2) : 4 * (i // 2) + 160] for i in range(12)]
    source = write_clip(tmp_path / "a.mp4", frames)
    render_video(source, tmp_path / "o.mp4", build(("test", {"dream": PLAIN["dream"]})))
    assert len(read_clip(tmp_path / "o.mp4")) == 12


def test_picture_subtitles_turn_an_mp4_into_an_mkv(tmp_path: Path, moving_clip: Path) -> None:
    source = tmp_path / "a.mkv"
    words = tmp_path / "a.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,300\nHello\n")
    run_ffmpeg(
        *("-i", str(moving_clip), "-i", str(words), "-map", "0", "-map", "1", "-c", "copy"),
        *("-c:s", "srt", str(source)),
    )
    assert set(probe(source).subtitles) <= {"subrip", "srt"}
    assert suffix_that_holds(["dvd_subtitle"], ".mp4") == ".mkv"
    assert suffix_that_holds(probe(source).subtitles, ".mp4") == ".mp4"


def test_a_truncated_mkv_reports_how_many_frames_it_lacks(
    tmp_path: Path, scene: np.ndarray
) -> None:
    source, part = tmp_path / "a.mkv", tmp_path / "part.mkv"
    write_clip(source, [scene[:96, i : 160 + i] for i in range(75)], Fraction(25))
    part.write_bytes(source.read_bytes()[: source.stat().st_size * 3 // 4])
    clip = probe(part)
    assert clip.stated is not None and 70 <= clip.stated <= 76
    assert "promises" in (damage(clip) or "")
    assert damage(probe(source)) is None
    told = render(part, tmp_path / "o.mp4")
    assert any("promises" in line for line in told)


def test_a_still_is_a_video_of_one_frame(tmp_path: Path, scene: np.ndarray) -> None:
    photo = tmp_path / "photo.png"
    assert cv2.imwrite(str(photo), scene[:64, :96])
    render(photo, tmp_path / "o.mkv", LOSSLESS)
    (frame,) = read_frames(tmp_path / "o.mkv")
    assert np.array_equal(frame, scene[:64, :96])
