"""Clips: what a source of frames holds, whatever it comes from."""

import errno
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Decoder, Source
from dreamreel.pipeline.config.values import snap_rate
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.media.animations import Animation, find_animation, gif_fault
from dreamreel.pipeline.media.decoding import Decoded, PictureFormat, decode, format_of
from dreamreel.pipeline.media.opencv import Doubt, decode_alone, doubt
from dreamreel.pipeline.media.packets import scan_packets
from dreamreel.pipeline.media.sequences import Series, find_series, find_still
from dreamreel.pipeline.opening import check_readable, open_container, open_picture

SERIES_RATE = Fraction(25)  # of pictures in files of their own, where no other is given
SLOWEST = Fraction(1, 3600)  # frames a second, below which what a file says is nonsense


@dataclass(frozen=True)
class Raster:
    """Frames, whether they are there or to come: their size in pixels, their `rate`, how many
    `frames` there are, if anyone knows, the width of a pixel over its height, bits a colour, and
    whether they may be transparent."""

    height: int
    width: int
    rate: Fraction
    frames: int | None
    pixel_shape: Fraction = Fraction(1)
    depth: int = 8
    has_alpha: bool = False


@dataclass(frozen=True)
class Tracks:
    """What goes along with pictures from the file at `path`: its sound, if it `has_audio`, its
    `subtitles`, by their codecs, and its `covers`, by their streams' numbers. The file's own
    pictures begin `offset` seconds after it."""

    path: Path
    has_audio: bool
    offset: float = 0.0
    subtitles: tuple[str, ...] = ()
    covers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Clip:
    """What a source of frames holds, as far as its container and its first frame tell.

    `height` and `width` are those of an upright frame, `pixel_shape` its pixels' width over their
    height; `frames` counts what the container holds, a hint only, for not all may be decoded;
    `offset` is how much later than the file its pictures begin, in seconds; `times` when each
    frame is shown, in seconds since the first, where they come at a variable rate, of which `rate`
    is the mean, and `ends` when the last ends, where that is known. `stream` is the number of its
    pictures' stream in the file; `notices` are for the user.
    """

    path: Path
    height: int
    width: int
    rate: Fraction
    frames: int | None
    pixel_shape: Fraction = Fraction(1)
    has_audio: bool = False
    offset: float = 0.0
    times: tuple[Fraction, ...] = ()
    ends: Fraction | None = None
    subtitles: tuple[str, ...] = ()  # the codec of each
    covers: tuple[int, ...] = ()  # the number of each's stream in the file
    stream: int = 0
    format: PictureFormat | None = None
    shown: tuple[Fraction, ...] = ()  # when the file says each picture is shown, in seconds
    picks: tuple[int, ...] = ()  # the source's frame of each, where the rate was made another
    decoder: Decoder = "pyav"  # of a film
    origin: Fraction = Fraction(0)  # the time at which a film's stream begins, in seconds
    exact_from: int | None = None  # the first frame that PyAV decodes in OpenCV's place, if known
    series: Series | None = None
    animation: Animation | None = None
    notices: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Bits of a colour."""
        if self.series is not None:
            return self.series.depth
        return self.format.depth if self.format is not None else 8

    @property
    def has_alpha(self) -> bool:
        """Whether its pictures may be transparent."""
        pictures = self.series or self.animation or self.format
        return pictures is not None and pictures.has_alpha

    @property
    def is_file(self) -> bool:
        """Whether it is a file whose sound and subtitles ffmpeg can take along."""
        return self.series is None and self.animation is None

    @property
    def raster(self) -> Raster:
        """Its frames."""
        return Raster(
            self.height,
            self.width,
            self.rate,
            self.frames,
            self.pixel_shape,
            self.depth,
            self.has_alpha,
        )

    @property
    def tracks(self) -> Tracks | None:
        """What else is in its file; None where it is made of pictures alone."""
        if not self.is_file:
            return None
        return Tracks(self.path, self.has_audio, self.offset, self.subtitles, self.covers)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or files, that it is."""
        return (self.path,) if self.series is None else self.series.files

    def shown_at(self, number: int) -> Fraction:
        """When the frame `number` is shown, or would be after the last, in seconds."""
        if not self.times:
            return number / self.rate
        beyond = number - (len(self.times) - 1)
        if beyond <= 0:
            return self.times[number]
        if beyond == 1 and self.ends is not None:
            return self.ends
        return self.times[-1] + beyond * usual_gap(self.times)


def probe(path: Path, settings: Source | None = None) -> Clip:
    """The clip at `path`: a video, an animation, a still, or a folder or pattern of pictures.

    `settings` choose a video's stream and decoder. Their `fps` makes the rate constant: frames are
    repeated or left out, and the clip lasts as long as before; for pictures in files of their own
    it is the rate. Raises UserError where there is no frame.
    """
    settings = settings or Source()
    stream, rate = settings.stream, settings.fps
    with usable(path):
        series = find_series(path)
    if series is not None:
        _refuse_stream(path, stream)
        return _of_series(path, series, rate)
    check_readable(path)
    animation = find_animation(path)
    still = find_still(path) if animation is None else None
    if animation is not None or still is not None:
        _refuse_stream(path, stream)
    if still is not None:
        return _of_series(path, still, rate)
    if animation is not None:
        clip = _of_animation(path, animation)
    else:
        clip = _of_video(path, stream, settings.decoder)
    return clip if rate is None or (rate == clip.rate and not clip.times) else at_rate(clip, rate)


def _refuse_stream(path: Path, stream: int) -> None:
    if stream:
        raise UserError(f"{path} has no stream {stream} of pictures: it has one, 0")


def _of_series(path: Path, series: Series, rate: Fraction | None) -> Clip:
    notices = []
    if series.missing:
        some = ", ".join(map(str, series.missing[:5])) + (", …" if len(series.missing) > 5 else "")
        notices.append(f"{path} lacks {len(series.missing)} of its numbers ({some})")
    if rate is None and len(series.files) > 1:
        notices.append(
            f"{len(series.files)} pictures, {SERIES_RATE} a second; --fps R sets another"
        )
    return Clip(
        path,
        series.height,
        series.width,
        rate or SERIES_RATE,
        len(series.files),
        series=series,
        notices=tuple(notices),
    )


def _of_animation(path: Path, animation: Animation) -> Clip:
    times = list(itertools.accumulate(animation.durations, initial=Fraction(0)))
    ends = times.pop()
    nominal = len(times) / ends if ends else SERIES_RATE
    even = len(set(animation.durations)) == 1
    fault = animation.fault
    return Clip(
        path,
        animation.height,
        animation.width,
        snap_rate(nominal),
        len(times),
        times=() if even else tuple(times),
        ends=ends,
        animation=animation,
        notices=() if fault is None else (f"{path} is damaged: {fault}",),
    )


def _of_video(path: Path, number: int, asked: Decoder) -> Clip:
    import av

    try:
        with open_container(path) as container:
            streams = _streams(container, path, number)
        packets = scan_packets(path, streams.index)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is no video that can be read ({_reason(error)})") from error
    fault = gif_fault(path.read_bytes()) if streams.kind == "gif" else packets.fault
    if streams.kind == "gif" and fault is None and packets.count > 1:  # else it is an animation
        fault = "its first frame"
    form = format_of(path, streams.index)
    pictures = decode_alone(path) if form is None else decode(path, streams.index, form)
    first = next(pictures, None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded")
    # AVI has no times, and ffmpeg guesses them wrong where there are B-frames.
    shown = () if packets.untimed or streams.kind == "avi" else tuple(packets.shown)
    found = None if asked == "pyav" else _doubted(path, form, first, streams, shown)
    decoder = _decoder(path, asked, found, form is not None)
    height, width = first.frame().shape[:2]
    shape = streams.pixel_shape
    if streams.size == (width, height) != (height, width):  # turned upright, and its pixels with it
        shape = 1 / shape
    times = [] if packets.untimed else packets.shown
    rate, irregular = mean_rate(times, snap_rate(streams.rate))
    if rate < SLOWEST:
        raise UserError(f"{path} is damaged: it says that a frame lasts {float(1 / rate):.0f} s")
    # A file that was cut off lacks frames that it promises.
    missing = max(0, streams.told - packets.count, math.floor(packets.lacking * rate))
    frames = len(packets.shown) if not packets.untimed else packets.count
    notices = [*_notices(path, form, number, streams, fault)]
    if found is not None and decoder == "opencv":
        form = PictureFormat(size=streams.size)
        notices.append(f"source.decoder = opencv, though {found.reason}")
    return Clip(
        path,
        height,
        width,
        rate,
        frames + missing or None,
        shape,
        streams.has_audio,
        streams.offset,
        tuple(time - times[0] for time in times) if irregular else (),
        packets.ends - times[0] if irregular and packets.ends is not None else None,
        streams.subtitles,
        streams.covers,
        streams.index,
        form,
        shown,
        decoder=decoder,
        origin=streams.origin,
        notices=tuple(notices),
    )


@dataclass(frozen=True)
class _Streams:
    """What a film's container tells of its streams: its `kind` by its name in ffmpeg; of the chosen
    stream of pictures its `index`, the `rate`, the coded `size` (height, width), the pixels' shape,
    the number of frames `told`, 0 if none is, and when it begins, in seconds; and the others."""

    kind: str
    index: int
    moving: int
    rate: Fraction
    size: tuple[int, int]
    pixel_shape: Fraction
    told: int
    origin: Fraction
    offset: float
    has_audio: bool
    subtitles: tuple[str, ...]
    covers: tuple[int, ...]


def _streams(container: Any, path: Path, number: int) -> _Streams:
    moving, covers = _picture_streams(container)
    stream = _chosen(moving, covers, path, number)
    if stream.codec_context is None:
        raise UserError(f"{path} has pictures of an unknown codec")
    origin = (stream.start_time or 0) * Fraction(stream.time_base or 0)
    return _Streams(
        container.format.name,
        stream.index,
        len(moving),
        Fraction(stream.average_rate or stream.guessed_rate or 25),
        (stream.codec_context.height, stream.codec_context.width),
        Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
        stream.frames,
        origin,
        max(0.0, float(origin) - (container.start_time or 0) / 1_000_000),
        bool(container.streams.audio),
        tuple(
            one.codec_context.name if one.codec_context is not None else "unknown"
            for one in container.streams.subtitles
        ),
        tuple(cover.index for cover in covers),
    )


def _doubted(
    path: Path,
    form: PictureFormat | None,
    first: Decoded,
    streams: _Streams,
    shown: tuple[Fraction, ...],
) -> Doubt | None:
    """Why OpenCV is not to decode a film, if PyAV can."""
    if form is None:
        return None
    if streams.moving > 1:
        return Doubt("OpenCV chooses one of several streams of pictures by itself", cannot=True)
    if not shown:
        return Doubt("its file does not tell when each picture is shown", cannot=True)
    return doubt(path, form, streams.origin, first)


def _decoder(path: Path, asked: Decoder, doubted: Doubt | None, by_pyav: bool) -> Decoder:
    """The decoder of a film: "opencv" or "pyav". Raises UserError where the one `asked` for
    cannot decode it."""
    if asked == "auto":
        return "opencv" if doubted is None else "pyav"
    if asked == "pyav" and not by_pyav:
        raise UserError(f"source.decoder = pyav: PyAV knows no codec of {path}; opencv would work")
    if doubted is not None and doubted.cannot:
        raise UserError(f"source.decoder = opencv: {path}: {doubted.reason}; pyav would work")
    return asked


def _picture_streams(container: Any) -> tuple[list[Any], list[Any]]:
    """The streams of moving pictures, and those of covers."""
    from av.stream import Disposition

    covers = [one for one in container.streams.video if one.disposition & Disposition.attached_pic]
    return [one for one in container.streams.video if one not in covers], covers


def _chosen(moving: list[Any], covers: list[Any], path: Path, number: int) -> Any:
    """The moving pictures of that number. Raises UserError where there are none, or fewer."""
    if not moving:
        cover = "but the cover" if covers else "in it"
        raise UserError(f"{path} has no pictures {cover}")
    if number >= len(moving):
        raise UserError(
            f"{path} has no stream {number} of pictures: it has "
            + ("one, 0" if len(moving) == 1 else f"{len(moving)}, from 0 to {len(moving) - 1}")
        )
    return moving[number]


def _notices(
    path: Path, form: PictureFormat | None, number: int, streams: _Streams, fault: str | None
) -> Iterator[str]:
    if fault is not None:
        yield f"{path} is damaged ({fault}): what can be read of it is"
    if streams.moving > 1:
        yield (
            f"{path} has {streams.moving} streams of pictures: {number} alone is kept; "
            f"source.stream takes another, from 0 to {streams.moving - 1}"
        )
    if form is not None and form.interlaced:
        yield "the source is interlaced: deinterlaced"
    if form is not None and form.hdr is not None:
        yield f"the source is HDR ({form.hdr}): tone-mapped to BT.709"


def frame_times(path: Path) -> list[Fraction]:
    """When each picture of the file at `path` is shown, in seconds, in order; undecoded."""
    with open_container(path) as container:
        index = _chosen(*_picture_streams(container), path, 0).index
    return scan_packets(path, index).shown


def kind_of(path: Path) -> str | None:
    """What the file at `path` is, by its content: "picture", "film" or "sound"; None if nothing of
    these. Raises UserError where it is no file."""
    import av

    try:
        open_picture(path).close()
        return "picture"
    except (OSError, ValueError, SyntaxError):
        pass
    try:
        with open_container(path) as container:
            moving, _ = _picture_streams(container)
            return "film" if moving else "sound" if container.streams.audio else None
    except (av.FFmpegError, OSError, ValueError):
        return None


def at_rate(clip: Clip, rate: Fraction) -> Clip:
    """`clip` at a constant `rate`: each frame is the one that a player would show then."""
    frames = clip.frames or 0
    count = max(1, round(clip.shown_at(frames) * rate))
    times = [clip.shown_at(number) for number in range(frames)]
    due = (Fraction(number) / rate for number in range(count))
    picks = tuple(max(0, bisect_right(times, when) - 1) for when in due)
    return replace(clip, rate=rate, times=(), ends=None, frames=count, picks=picks)


def mean_rate(times: Sequence[Fraction], nominal: Fraction) -> tuple[Fraction, bool]:
    """The rate of pictures shown at `times`, and whether it varies: whether one of them is shown
    more than a quarter of a frame early or late.

    It is `nominal` where that leads from the first to the last within a frame; else their mean.
    """
    if len(times) < 3:
        return nominal, False
    span, rate = times[-1] - times[0], nominal
    if span > 0 and abs((len(times) - 1) / nominal - span) > 1 / nominal:
        # The last picture is shown for as long as the others typically are.
        rate = snap_rate(len(times) / (span + usual_gap(times)))
    due = (times[0] + number / rate for number in range(len(times)))
    varies = any(abs(time - when) > 1 / (4 * rate) for time, when in zip(times, due, strict=True))
    return rate, varies and span > 0


def usual_gap(times: Sequence[Fraction]) -> Fraction:
    """The median of what lies between one of `times` and the next."""
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    return gaps[len(gaps) // 2]


def _reason(error: BaseException) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:
        return "it is in no format of films that is read"
    words = getattr(error, "strerror", None) or str(error)
    return words.replace("\n", " ") or type(error).__name__
