"""Muxing: segments joined into the finished video, with its source's sound, subtitles, chapters and
titles."""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dreamreel.pipeline.errors import PassingError
from dreamreel.pipeline.media.clips import Tracks, usual_gap
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, run_ffmpeg
from dreamreel.pipeline.opening import ffmpeg_input, open_container

LAYOUTS = "aformat=channel_layouts=mono|stereo|5.1|7.1"
SOUND = {
    "copy": ["-c:a", "copy"],
    # Some files have six channels without a named layout: they are taken for 5.1.
    "aac": ["-c:a", "aac", "-af", LAYOUTS],
    "opus": ["-c:a", "libopus", "-b:a", "160k", "-af", LAYOUTS],
}
TRACKS = {"all": ["-map", "1:a"], "first": ["-map", "1:a:0"], "none": []}
NAMES = {"aac": "AAC", "opus": "Opus"}
TEXT = {"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"}  # codecs of subtitles in text
COVERS = {"png": ("png", "image/png"), "mjpeg": ("jpg", "image/jpeg")}  # by codec: ending, type
COVERLESS = (".mov", ".webm")  # in .mov, ffmpeg drops covers without an error
SUBTITLES = {".mkv": "copy", ".webm": "webvtt"}  # codec by ending; mov_text for any other
# Codecs of subtitles with styles and places, which another codec does not keep.
STYLED = {"ass", "ssa", "webvtt"}
ROUNDING = (".mkv", ".webm")  # containers that round times to milliseconds


@dataclass(frozen=True)
class Part:
    """A file that holds a part of the video's pictures, and their duration in seconds."""

    path: Path
    seconds: Fraction


@dataclass(frozen=True)
class Way:
    """One way to keep the rest of a source: its audio `tracks` ("all", "first" or "none"), their
    `sound` ("copy", or a codec to encode it with), its subtitles, covers and attachments."""

    tracks: str
    sound: str
    subtitles: bool
    covers: bool = False
    attachments: bool = False


def suffix_that_holds(subtitles: Sequence[str], suffix: str) -> str:
    """The ending of a container that holds `subtitles` of these codecs: `suffix`, or .mkv where
    some of them are pictures."""
    pictures = [kind for kind in subtitles if kind not in TEXT]
    return ".mkv" if pictures else suffix


def never_kept(source: Tracks, suffix: str) -> str | None:
    """A notice of what a film of that ending, other than .mkv, lacks of `source`; None where it
    lacks nothing."""
    if suffix.lower() == ".mkv":
        return None
    changed = {kind for kind in source.subtitles if _subtitle_codec(kind, suffix) != "copy"}
    lost = ["styles and places of subtitles"] if changed & STYLED else []
    lost += ["attachments"] if source.attachments else []
    if not lost:
        return None
    return f"{suffix} does not take the source's {', and '.join(lost)}: left out (.mkv keeps them)"


def mux(
    parts: Sequence[Part],
    source: Tracks | None,
    out: Path,
    span: tuple[Fraction, Fraction] | None,
    on_notice: Callable[[str], None],
) -> Way:
    """Write the video `out` from the pictures of `parts`, one after the other, and the sound,
    subtitles, chapters, attachments and metadata of `source`, if any. An MP4 has its index first,
    for streaming. `out` lies in a folder for pieces.

    All sound tracks are copied. They are encoded anew where the container does not take them as
    they are, and where only a `span` (begin, end) of the source, in seconds, was dreamed.
    `on_notice` gets a line about everything that the container does not take. Returns the way that
    worked; raises UserError where ffmpeg fails.
    """
    # ffmpeg runs beside `out`, where we chose all names: a user's may look like a URL to it.
    listed = out.with_name("parts.partial")
    listed.write_text(_list(parts, out.parent))
    inputs = ["-f", "concat", "-safe", "0", "-protocol_whitelist", "file", "-i", listed.name]
    ways = [Way("none", "copy", False)]
    if source is not None:
        inputs += [*_cut(source, span), *ffmpeg_input(source.path)]
        inputs += ["-map_metadata", "1", "-map_chapters", "1", "-metadata", "encoder="]
        ways = _ways(source, out.suffix.lower(), cut=span is not None)
    failure: str | None = None
    for way in ways:
        if way.covers and out.suffix.lower() in COVERLESS:
            continue
        others = [*_subtitles(way, source, out), *_attached(way, source, out)]
        failure = run_ffmpeg(
            [*inputs, "-map", "0:v", *TRACKS[way.tracks], *others, "-c:v", "copy",
             *SOUND[way.sound], *BIT_EXACT, "-movflags", "+faststart", str(out.absolute())],
            out.parent,
        )  # fmt: skip
        failure = failure or _lacking(out, way)
        if failure is None:
            for lost in _lost(way, ways[0]):
                on_notice(f"{out.suffix} does not take the source's {lost}")
            return way
        if "No space" in failure:
            break
    raise PassingError(f"ffmpeg could not write {out.parent}: {failure}")


def copy_pictures(film: Path, out: Path, rate: Fraction, frames: int) -> None:
    """Write `out`, a file for a `Part`, with the pictures of `film`, so many `frames`, at exactly
    that `rate`, which the film's container may have rounded. Raises UserError where ffmpeg fails.
    """
    exact = film
    if film.suffix.lower() in ROUNDING:
        exact = out.with_name(f"exact.{out.name}")
        retime(film, exact, [number / rate for number in range(frames + 1)])
    scale = ("-video_track_timescale", str(rate.numerator))
    given = (*ffmpeg_input(exact), "-map", "0:v:0", "-c", "copy")
    failure = run_ffmpeg([*given, *BIT_EXACT, *scale, str(out.absolute())])
    if failure is not None:
        raise PassingError(f"ffmpeg could not write {out.parent}: {failure}")


def _lacking(video: Path, way: Way) -> str | None:
    """The track of that `way` that `video` lacks, in words; None where it has them all. ffmpeg may
    succeed on damaged sound and write a file without it."""
    with open_container(video) as container:
        has_sound, has_words = bool(container.streams.audio), bool(container.streams.subtitles)
    if has_sound != (way.tracks != "none"):
        return "its sound cannot be read"
    return None if has_words == way.subtitles else "its subtitles cannot be read"


def retime(video: Path, out: Path, times: Sequence[Fraction]) -> None:
    """Write `out` with the pictures of `video`, without sound, at new `times` in seconds: one for
    each frame, in the order in which they are shown, and one at which the last frame ends."""
    import av

    with open_container(video) as container:
        shown = [packet.pts or 0 for packet in container.demux(video=0) if packet.size]
    number = {pts: rank for rank, pts in enumerate(sorted(shown))}
    # No frame may be decoded later than it is shown: decoding runs so many frames ahead.
    delay = max(place - number[pts] for place, pts in enumerate(shown))
    base = _time_base(times)
    ticks: list[int] = []
    for time in times:  # some sources give two frames one time: keep them apart
        ticks.append(max(round(time / base), ticks[-1] + 1 if ticks else 0))
    before = max(1, round(usual_gap(times) / base))  # ticks between the first frames' decoding
    with open_container(video) as container, av.open(str(out.absolute()), "w") as written:
        stream = written.add_stream_from_template(container.streams.video[0])
        stream.metadata.update(container.streams.video[0].metadata)  # such as that VP9 has alpha
        stream.time_base = base
        place = 0
        for packet in container.demux(video=0):
            if not packet.size:
                continue
            rank, early = number[packet.pts or 0], place - delay
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.duration = ticks[rank], ticks[rank + 1] - ticks[rank]
            packet.dts = early * before if early < 0 else ticks[early]
            written.mux(packet)
            place += 1


def _list(parts: Sequence[Part], folder: Path) -> str:
    """The list of `parts` that ffmpeg's concat demuxer, run in `folder`, reads. It states the
    duration of Matroska files, which round their own to milliseconds: the errors would add up."""
    lines = ["ffconcat version 1.0"]
    for part in parts:
        name = os.path.relpath(part.path, folder).replace("'", "'\\''")
        lines.append(f"file '{name}'")
        if part.path.suffix == ".mkv":
            lines.append(f"duration {float(part.seconds):.6f}")
    return "\n".join(lines) + "\n"


def _time_base(times: Sequence[Fraction]) -> Fraction:
    """A time base in which all `times` are whole numbers; 1/90000 where it would be finer than a
    microsecond or coarser than a millisecond."""
    whole = math.lcm(*(time.denominator for time in times))
    return Fraction(1, whole if 1000 <= whole <= 1_000_000 else 90_000)


def _ways(source: Tracks, suffix: str, cut: bool) -> list[Way]:
    """The ways to keep the rest of `source`, the best first."""
    anew = "opus" if suffix == ".webm" else "aac"
    sounds = [("all", "copy"), ("all", anew), ("first", "copy"), ("first", anew)]
    if cut:
        sounds = [sound for sound in sounds if sound[1] != "copy"]
    sounds = [*(sounds if source.has_audio else []), ("none", "copy")]
    subtitles = [True, False] if source.subtitles else [False]
    covers = [True, False] if source.covers else [False]
    attached = [True, False] if source.attachments and suffix == ".mkv" else [False]
    every = itertools.product(sounds, subtitles, covers, attached)
    return [Way(*sound, *more) for sound, *more in every]


def _cut(source: Tracks, span: tuple[Fraction, Fraction] | None) -> list[str]:
    """The ffmpeg options by which `source` begins where its pictures do, or is cut to the `span`
    (begin, end), in seconds."""
    offset = Fraction(source.offset).limit_denominator(1_000_000)
    if span is not None:
        begin, end = span
        return ["-ss", f"{float(begin + offset):.6f}", "-t", f"{float(end - begin):.6f}"]
    return ["-itsoffset", f"{-float(offset):.6f}"] if offset else []


def _subtitles(way: Way, source: Tracks | None, out: Path) -> list[str]:
    if source is None or not way.subtitles:
        return []
    options = ["-map", "1:s"]
    for number, codec in enumerate(source.subtitles):
        options += [f"-c:s:{number}", _subtitle_codec(codec, out.suffix)]
    return options


def _subtitle_codec(codec: str, suffix: str) -> str:
    """The codec in which a film of that ending holds subtitles that are in `codec`: "copy" where it
    takes them."""
    usual = SUBTITLES.get(suffix.lower(), "mov_text")
    if usual == "copy" and codec == "mov_text":  # the one that .mkv does not hold
        return "srt"
    return "copy" if usual == codec else usual


def _attached(way: Way, source: Tracks | None, out: Path) -> list[str]:
    """The ffmpeg options that keep the attachments, such as fonts, and the covers. In Matroska, a
    cover is an attached file."""
    if source is None:
        return []
    options = ["-map", "1:t"] if way.attachments else []
    if not way.covers:
        return options
    if out.suffix.lower() != ".mkv":
        return [option for number in source.covers for option in ("-map", f"1:{number}")]
    for at, number in enumerate(source.covers):
        with open_container(source.path) as container:
            stream = container.streams[number]
            suffix, kind = COVERS.get(stream.codec_context.name, ("png", "image/png"))
            cover = out.with_name(f"cover{number}.partial.{suffix}")
            cover.write_bytes(bytes(next(container.demux(stream))))
        this = f"s:t:{at + (source.attachments if way.attachments else 0)}"
        options += ["-attach", cover.name, f"-metadata:{this}", f"mimetype={kind}"]
        options += [f"-metadata:{this}", f"filename=cover.{suffix}"]
    return options


def _lost(way: Way, best: Way) -> Iterator[str]:
    if (way.tracks, way.sound) != (best.tracks, best.sound):
        instead = {
            "all": f"made {NAMES.get(way.sound, '')}",
            "first": "only its first track is kept",
            "none": "left out",
        }
        yield f"sound as it is: {instead[way.tracks]}"
    if way.subtitles != best.subtitles:
        yield "subtitles: left out (.mkv keeps any)"
    if way.covers != best.covers:
        yield "cover: left out"
    if way.attachments != best.attachments:
        yield "attachments: left out"
