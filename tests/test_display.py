"""Films are read as a player shows them: their display matrix, and what changes on the way."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

import footage
from dreamreel.pipeline.config.fields import Decoder, Source
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.reading import read_frames
from footage import displayed, partly_interlaced, two_sizes
from making import read_clip, run_ffmpeg
from rendering import render_video

ALL_EIGHT = [
    [*(["-display_rotation", degrees] if degrees else []), *flip]
    for degrees, flip in itertools.product(
        ("", "90", "180", "270"), ([], ["-display_hflip"])
    )
]  # fmt: skip
FRAMES = range(6)
FFV1 = ("-c:v", "ffv1", "-pix_fmt", "gbrp")
PLAIN = build(("test", {"dream": {"steps": 0, "octaves": 1}, "output": {"codec": "ffv1"}}))


def read(path: Path, decoder: Decoder = "auto", start: int = 0) -> tuple[list[Frame], list[str]]:
    """The frames of the film at `path` from `start` on, and the lines told."""
    told: list[str] = []
    clip = probe(path, Source(decoder=decoder))
    frames = list(read_frames(clip, start, on_lost=told.append))
    return frames, [*clip.notices, *told]


def close(one: Frame, other: Frame) -> bool:
    """Whether two frames look the same, up to rounding and chroma."""
    assert one.shape == other.shape
    return bool(np.abs(one.astype(int) - other).mean() < 2)


@pytest.mark.parametrize("options", ALL_EIGHT, ids=" ".join)
def test_all_display_matrices_are_shown_as_players_do(options: list[str], tmp_path: Path) -> None:
    path = displayed(tmp_path, options)
    wanted = read_clip(path)
    for decoder in ("opencv", "pyav"):
        frames, told = read(path, decoder)
        assert len(frames) == len(wanted) and not told
        assert all(map(close, frames, wanted))
    (later, *_), _ = read(path, start=4)
    assert close(later, wanted[4])


@pytest.mark.parametrize("degrees", ["0", "90"])
def test_pixels_that_are_not_square_are_turned_with_the_picture(
    degrees: str, tmp_path: Path
) -> None:
    path = displayed(tmp_path, ["-display_rotation", degrees], size=(96, 96), filters="setsar=4/3")
    assert probe(path).pixel_shape == (Fraction(3, 4) if degrees == "90" else Fraction(4, 3))


def test_a_mirrored_film_with_alpha_is_shown_as_its_opaque_twin(tmp_path: Path) -> None:
    stored = footage.film(
        tmp_path / "a.mkv", numbers=FRAMES, codec=footage.ALPHA_VP9, has_alpha=True, filters=""
    )
    run_ffmpeg("-display_hflip", "-i", str(stored), "-c", "copy", str(tmp_path / "b.mkv"))
    clip = probe(tmp_path / "b.mkv")
    assert clip.has_alpha
    for shown, before in zip(read_frames(clip), read_frames(probe(stored)), strict=True):
        assert np.array_equal(shown, before[:, ::-1])


def test_a_mirrored_film_is_written_upright_without_a_matrix(tmp_path: Path) -> None:
    path = displayed(tmp_path, ["-display_vflip"])
    out = render_video(path, tmp_path / "out.mkv", PLAIN)
    assert all(map(close, read_clip(out), read_clip(path)))
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).side_data.get(Type.DISPLAYMATRIX) is None


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    ("second", "bars"),
    [
        ("96x160", (0, 51)),  # 96 high, 58 wide
        ("80x24", (24, 0)),  # enlarged to 160x48
        ("80x48", (0, 0)),
    ],
)
def test_a_part_of_another_size_is_fitted_into_the_first(
    decoder: Decoder, second: str, bars: tuple[int, int], tmp_path: Path
) -> None:
    frames, told = read(two_sizes(tmp_path, "160x96", second), decoder)
    assert {frame.shape for frame in frames} == {(96, 160, 3)}
    assert frames[0].min() > 250
    top, left = bars
    light = frames[-1][..., 1] > 127
    assert np.array_equal(light[48], [left <= x < 160 - left for x in range(160)])
    assert np.array_equal(light[:, 80], [top <= y < 96 - top for y in range(96)])
    (line,) = told
    assert "from frame 10 on" in line and "size" in line


def test_bars_around_a_fitted_part_are_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    report = Report(on_notice=told.append)
    path = two_sizes(tmp_path, "160x96", "96x160")
    render_video(path, tmp_path / "out.mkv", PLAIN, report=report)
    assert [line for line in told if "bars" in line] == [line for line in told if "size" in line]
    assert len([line for line in told if "bars" in line]) == 1


def test_a_part_whose_pixels_have_another_shape_is_fitted_too(tmp_path: Path) -> None:
    path = two_sizes(tmp_path, "160x96", "160x96", "setsar=1", "setsar=2")
    frames, told = read(path)
    assert frames[-1][:, 80, 1].tolist().count(0) == 48 and len(told) == 1
    assert frames[9].min() > 250 and frames[10].min() == 0


def test_a_film_read_from_its_second_part_on_has_the_size_of_the_first(tmp_path: Path) -> None:
    path = two_sizes(tmp_path, "160x96", "96x160")
    whole, _ = read(path, "pyav")
    late, _ = read(path, "pyav", start=15)
    assert all(np.array_equal(one, other) for one, other in zip(late, whole[15:], strict=True))


def test_a_change_of_colours_on_the_way_changes_no_colour(tmp_path: Path) -> None:
    clips = [
        footage.tagged(tmp_path, matrix, full, tags=True)
        for matrix, full in (("bt709", False), ("bt601", True))
    ]
    for path in clips:
        run_ffmpeg("-i", str(path), "-c", "copy", str(path.with_suffix(".ts")))
    (tmp_path / "list").write_text("".join(f"file {path.stem}.ts\n" for path in clips))
    both = tmp_path / "both.ts"
    run_ffmpeg("-f", "concat", "-i", str(tmp_path / "list"), "-c", "copy", str(both))
    frames, _ = read(both)
    assert len(frames) == 16
    for frame in frames:
        off = footage.colours(frame[..., ::-1]) - footage.true_colours(3)
        assert np.abs(off).max() <= 4


def combing(frame: Frame) -> float:
    """How much the rows of one field differ from those of the other."""
    rows = frame[..., 1].astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def test_pictures_are_deinterlaced_one_by_one(tmp_path: Path) -> None:
    path = partly_interlaced(tmp_path)
    exact, plain = read(path, "pyav"), read_clip(path)
    assert len(exact[0]) == len(plain)
    for number, (one, other) in enumerate(zip(exact[0], plain, strict=True)):
        if number < 25:
            assert close(one, other)
        else:
            assert combing(one) < 0.9 * combing(other)
    (line,) = exact[1]
    assert "from frame 25 on" in line and "deinterlaced" in line
    frames, _ = read(path)
    for one, other in zip(frames[25:], exact[0][25:], strict=True):
        assert np.array_equal(one, other)


def test_progressive_pictures_after_interlaced_ones_are_untouched(tmp_path: Path) -> None:
    later = partly_interlaced(tmp_path)
    frames, told = read(partly_interlaced(tmp_path, "pip"), "pyav")
    whole, _ = read(later, "pyav")
    assert len(frames) == len(whole) + 25 and len(told) == 1
    assert all(map(np.array_equal, frames[-25:], whole[:25]))


def test_each_change_is_told_once_by_a_render(tmp_path: Path) -> None:
    told: list[str] = []
    path = two_sizes(tmp_path, "160x96", "96x160")
    out = render_video(path, tmp_path / "o.mkv", PLAIN, report=Report(on_notice=told.append))
    assert len(read_clip(out)) == 20
    assert sum("size" in line for line in told) == 1
