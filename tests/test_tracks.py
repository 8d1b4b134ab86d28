"""What a film has beside its pictures and its sound: attachments, and subtitles with styles."""

from pathlib import Path

import av
import pytest

import footage
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.report import Report
from footage import with_extras
from making import run_ffmpeg
from rendering import render_video

# The number of the first frame is a black strip at the bottom, which is no bar.
PLAIN = build(("test", {"dream": {"steps": 0, "octaves": 1}, "source": {"bars": "keep"}}))


def attachments(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(one.data) for one in container.streams if one.type == "attachment"]  # type: ignore[attr-defined]


def subtitles(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [one.codec_context.name for one in container.streams.subtitles]


def rendered(source: Path, name: str, span: tuple[int, int | None] = (0, None)) -> tuple[Path, str]:
    """The film of `source` with that name, and the notices."""
    told: list[str] = []
    out = source.with_name(name)
    return render_video(source, out, PLAIN, span, Report(on_notice=told.append)), "\n".join(told)


@pytest.mark.parametrize("words", [None, "ass", "srt"])
@pytest.mark.parametrize("span", [(0, None), (2, 6)])
def test_attachments_come_along_into_matroska(
    words: str | None, span: tuple[int, int | None], tmp_path: Path
) -> None:
    out, told = rendered(with_extras(tmp_path, words=words), "out.mkv", span)
    assert attachments(out) == [b"attached"] and not told
    assert len(subtitles(out)) == (words is not None)


def test_an_attachment_and_a_cover_come_along_together(tmp_path: Path) -> None:
    source = with_extras(tmp_path)
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", str(tmp_path / "c.png"))
    run_ffmpeg(
        *("-i", "source.mkv", "-map", "0", "-c", "copy", "-attach", "c.png"),
        *("-metadata:s:t:1", "mimetype=image/png", "-metadata:s:t:1", "filename=cover.png"),
        "both.mkv", folder=tmp_path,
    )  # fmt: skip
    out, _ = rendered(source.with_name("both.mkv"), "out.mkv")
    assert attachments(out) == [b"attached"]
    with av.open(str(out)) as container:
        assert len(container.streams.video) == 2


def test_what_another_container_does_not_keep_is_told_in_one_line(tmp_path: Path) -> None:
    source = with_extras(tmp_path, words="ass")
    for name in ("out.mp4", "out.webm"):
        out, told = rendered(source, name)
        assert len(subtitles(out)) == 1
        assert "styles and places of subtitles, and attachments: left out" in told
        assert ".mkv keeps" in told and told.count("\n") == 0


@pytest.mark.parametrize("words", ["srt", None])
def test_where_nothing_is_lost_nothing_is_told(words: str | None, tmp_path: Path) -> None:
    source = with_extras(tmp_path, words=words, attached=False)
    assert rendered(source, "out.mp4")[1] == ""
    assert rendered(source, "out.mkv")[1] == ""


@pytest.mark.parametrize(("codec", "ending"), [("mov_text", ".mp4"), ("webvtt", ".webm")])
def test_subtitles_that_a_container_takes_are_copied(
    codec: str, ending: str, tmp_path: Path
) -> None:
    (tmp_path / "words.vtt").write_text(
        "WEBVTT\n\n00:00.100 --> 00:00.300 line:10% align:left\nwords\n"
    )
    film = footage.film(
        tmp_path / f"plain{ending}", numbers=range(8),
        codec=footage.PLAIN if ending == ".mp4" else footage.VP9,
    )  # fmt: skip
    source = tmp_path / f"source{ending}"
    run_ffmpeg(
        *("-i", str(film), "-i", str(tmp_path / "words.vtt"), "-map", "0:v", "-map", "1:s"),
        *("-c:v", "copy", "-c:s", "copy" if ending == ".webm" else codec, str(source)),
    )
    out, told = rendered(source, f"out{ending}")
    assert not told

    def packets(path: Path) -> list[tuple[bytes, int | None]]:
        with av.open(str(path)) as container:
            return [
                (bytes(packet), packet.pts)
                for packet in container.demux(subtitles=0)
                if packet.size
            ]

    assert packets(out) == packets(source)
