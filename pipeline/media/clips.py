"""Clips: probe a video, an animation, a still or a series of pictures as a source of frames."""

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
from dreamreel.pipeline.config.values import SLOWEST, snap_rate
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.media.animations import Animation, find_animation, gif_fault
from dreamreel.pipeline.media.converting import Decoded, PictureFormat
from dreamreel.pipeline.media.cropping import Crop, crop_of
from dreamreel.pipeline.media.decoding import decode, format_of
from dreamreel.pipeline.media.opencv import Doubt, decode_alone, doubt
from dreamreel.pipeline.media.packets import scan_packets
from dreamreel.pipeline.media.sequences import Series, find_series, find_still
from dreamreel.pipeline.memory import check_fits
from dreamreel.pipeline.opening import check_readable, misnamed, open_container, open_picture

SERIES_RATE = Fraction(25)  # frames a second of a series without another rate, as in ffmpeg


@dataclass(frozen=True)
class Raster:
    """The format of a sequence of frames, existing ones or planned ones."""

    height: int  # pixels
    width: int
    rate: Fraction  # frames a second
    frames: int | None  # their number, where it is known
    pixel_shape: Fraction = Fraction(1)  # width of a pixel over its height
    depth: int = 8  # bits a channel
    has_alpha: bool = False
    square: bool = False  # whether its pixels are made square

    def size_at(self, width: int | None) -> tuple[int, int]:
        """(height, width) of its frames resized to `width` pixels, if that is given, and with
        square pixels, if they are made so."""
        shape = self.pixel_shape if self.square else Fraction(1)
        return fitted_size(self.height, self.width, width, shape)

    @property
    def shown_shape(self) -> Fraction:
        """The width of a pixel over its height at that size."""
        return Fraction(1) if self.square else self.pixel_shape


@dataclass(frozen=True)
class Tracks:
    """The tracks beside the pictures of the file at `path`."""

    path: Path
    has_audio: bool
    offset: float = 0.0  # seconds from the file's beginning to its first picture
    subtitles: tuple[str, ...] = ()  # the codec of each
    covers: tuple[int, ...] = ()  # the number of each one's stream in the file
    attachments: int = 0  # files in it, such as fonts


@dataclass(frozen=True)
class Clip:
    """A source of frames, described from its container and its first frame.

    It is a film, unless it has a `series` or an `animation`. All times are in seconds.
    """

    path: Path
    height: int  # pixels, of an upright frame, cropped
    width: int
    rate: Fraction  # frames a second; the mean, where the rate varies
    frames: int | None  # those found in the file: a hint, since not all may be decodable
    pixel_shape: Fraction = Fraction(1)  # width of a pixel over its height
    has_audio: bool = False
    offset: float = 0.0  # from the file's beginning to its first picture
    times: tuple[Fraction, ...] = ()  # of each frame since the first, where the rate varies
    ends: Fraction | None = None  # when the last frame ends, where that is known
    subtitles: tuple[str, ...] = ()  # the codec of each
    covers: tuple[int, ...] = ()  # the number of each one's stream in the file
    attachments: int = 0  # files in it, such as fonts
    stream: int = 0  # the number of the pictures' stream in the file
    format: PictureFormat | None = None  # None where PyAV has no codec for it
    shown: tuple[Fraction, ...] = ()  # the time of each picture as the file states it
    picks: tuple[int, ...] = ()  # at a changed rate, the number of each frame in the source
    decoder: Decoder = "pyav"  # of a film
    origin: Fraction = Fraction(0)  # the time at which a film's stream begins
    stated: int | None = None  # frames that the file claims to have, where it has fewer
    square: bool = False  # whether its pixels are made square when its frames are resized
    exact_from: int | None = None  # the first frame that PyAV decodes in OpenCV's place, if known
    series: Series | None = None
    animation: Animation | None = None
    crop: Crop | None = None  # what is kept of its frames; None: all
    notices: tuple[str, ...] = ()  # lines for the user

    @property
    def depth(self) -> int:
        """Bits a channel."""
        if self.series is not None:
            return self.series.depth
        return self.format.depth if self.format is not None else 8

    @property
    def has_alpha(self) -> bool:
        """Whether its frames may be transparent."""
        pictures = self.series or self.animation or self.format
        return pictures is not None and pictures.has_alpha

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its frames."""
        return self.height, self.width

    @property
    def is_file(self) -> bool:
        """Whether it is a film, whose sound and subtitles can be kept."""
        return self.series is None and self.animation is None

    @property
    def raster(self) -> Raster:
        """The format of its frames."""
        return Raster(
            self.height,
            self.width,
            self.rate,
            self.frames,
            self.pixel_shape,
            self.depth,
            self.has_alpha,
            self.square,
        )

    @property
    def tracks(self) -> Tracks | None:
        """The tracks beside its pictures; None for a series or an animation."""
        if not self.is_file:
            return None
        return Tracks(
            self.path,
            self.has_audio,
            self.offset,
            self.subtitles,
            self.covers,
            self.attachments,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return (self.path,) if self.series is None else self.series.files

    def shown_at(self, number: int) -> Fraction:
        """When the frame `number` is shown, in seconds since the first. Numbers past the end
        continue at the usual gap."""
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

    `settings` choose a video's stream and decoder. With their `fps`, the rate becomes constant:
    frames are repeated or left out, and the clip keeps its duration; a series of pictures is shown
    at that rate. Their `crop` is that of the clip's frames. Raises UserError where there is no
    frame.
    """
    settings = settings or Source()
    return _cropped(_probed(path, settings), settings)


def _probed(path: Path, settings: Source) -> Clip:
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


def _cropped(clip: Clip, settings: Source) -> Clip:
    """`clip`, with the crop that `settings` ask for."""
    crop = crop_of((clip.height, clip.width), settings, clip.pixel_shape)
    if crop is None:
        return clip
    height, width = crop.size
    # A size in pixels is meant for square ones.
    shape = clip.pixel_shape if (height, width) == (crop.height, crop.width) else Fraction(1)
    return replace(clip, crop=crop, height=height, width=width, pixel_shape=shape)


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
        check_fits(path, streams.size)
        packets = scan_packets(path, streams.index)
    except (av.FFmpegError, OSError, ValueError) as error:
        other = misnamed(path, "a film or picture", ("film", "sound"))
        raise UserError(
            other or f"{path} is no video that can be read ({_reason(error)})"
        ) from error
    fault = _gif_fault(path, packets.count) if streams.kind == "gif" else packets.fault
    form = format_of(path, streams.index)
    pictures = decode_alone(path) if form is None else decode(path, streams.index, form)
    first = next(pictures, None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded")
    # AVI stores no times; ffmpeg guesses wrong ones where there are B-frames.
    shown = () if packets.untimed or streams.kind == "avi" else tuple(packets.shown)
    found = None if asked == "pyav" else _doubted(path, form, first, streams, shown)
    decoder = _decoder(path, asked, found, form is not None)
    height, width = first.frame().shape[:2]
    shape = streams.pixel_shape if form is None else form.shape_of(form.kind)
    times = [] if packets.untimed else packets.shown
    rate, irregular = mean_rate(times, snap_rate(streams.rate))
    if rate < SLOWEST:  # damaged headers let a frame last for days
        raise UserError(f"{path} is damaged: it says that a frame lasts {float(1 / rate):.0f} s")
    # A file that was cut off lacks frames that it announces.
    missing = max(0, streams.stated - packets.count, math.floor(packets.lacking * rate))
    frames = len(packets.shown) if not packets.untimed else packets.count
    notices = [*_notices(path, form, number, streams, fault)]
    if found is not None and decoder == "opencv":
        assert form is not None
        form = replace(form, depth=8, has_alpha=False)
        notices.append(f"source.decoder = opencv, though {found.reason}")
    return Clip(
        path,
        height,
        width,
        rate,
        frames or None,
        shape,
        streams.has_audio,
        streams.offset,
        tuple(time - times[0] for time in times) if irregular else (),
        packets.ends - times[0] if irregular and packets.ends is not None else None,
        streams.subtitles,
        streams.covers,
        streams.attachments,
        streams.index,
        form,
        shown,
        decoder=decoder,
        origin=streams.origin,
        stated=frames + missing if missing else None,
        notices=tuple(notices),
    )


def _gif_fault(path: Path, frames: int) -> str | None:
    """Why the GIF at `path`, of so many `frames`, could not be read as an animation."""
    return gif_fault(path.read_bytes()) or ("its first frame" if frames > 1 else None)


@dataclass(frozen=True)
class _Streams:
    """The streams of a film, as its container describes them."""

    kind: str  # ffmpeg's name of the container
    index: int  # of the chosen picture stream; so are `rate` to `offset`
    moving: int  # how many picture streams there are, covers not counted
    rate: Fraction  # frames a second
    size: tuple[int, int]  # (height, width) as coded
    pixel_shape: Fraction  # width of a pixel over its height
    stated: int  # the stated number of frames; 0 if there is none
    origin: Fraction  # seconds at which the stream begins
    offset: float  # seconds from the file's beginning to that
    has_audio: bool
    subtitles: tuple[str, ...]  # the codec of each
    covers: tuple[int, ...]  # the stream number of each
    attachments: int


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
        sum(one.type == "attachment" for one in container.streams),
    )


def _doubted(
    path: Path,
    form: PictureFormat | None,
    first: Decoded,
    streams: _Streams,
    shown: tuple[Fraction, ...],
) -> Doubt | None:
    """Why OpenCV should not decode a film; None if it may, or if PyAV cannot."""
    if form is None:
        return None
    if streams.moving > 1:
        return Doubt("OpenCV itself chooses one of several streams of pictures", cannot=True)
    if not shown:
        return Doubt("its file does not say when each picture is shown", cannot=True)
    return doubt(path, form, streams.origin, first)


def _decoder(path: Path, asked: Decoder, doubted: Doubt | None, by_pyav: bool) -> Decoder:
    """The decoder of a film: "opencv" or "pyav". Raises UserError where the decoder `asked` for
    cannot decode it."""
    if asked == "auto":
        return "opencv" if doubted is None else "pyav"
    if asked == "pyav" and not by_pyav:
        raise UserError(f"source.decoder = pyav: PyAV has no codec for {path}; opencv would work")
    if doubted is not None and doubted.cannot:
        raise UserError(f"source.decoder = opencv: {path}: {doubted.reason}; pyav would work")
    return asked


def _picture_streams(container: Any) -> tuple[list[Any], list[Any]]:
    """The streams of `container`: those of moving pictures, and those of covers."""
    from av.stream import Disposition

    covers = [one for one in container.streams.video if one.disposition & Disposition.attached_pic]
    return [one for one in container.streams.video if one not in covers], covers


def _chosen(moving: list[Any], covers: list[Any], path: Path, number: int) -> Any:
    """The stream of moving pictures with that number. Raises UserError where there is none."""
    if not moving:
        cover = "but a cover" if covers else "in it"
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
        yield f"{path} is damaged ({fault}): all that can be read is used"
    if streams.moving > 1:
        yield (
            f"{path} has {streams.moving} streams of pictures: {number} alone is kept; "
            f"source.stream takes another, from 0 to {streams.moving - 1}"
        )
    if form is not None and form.interlaced:
        yield "the source is interlaced: deinterlaced"
    if form is not None and form.kind.hdr is not None:
        yield f"the source is HDR ({form.kind.hdr}): tone-mapped to BT.709"


def frame_times(path: Path) -> list[Fraction]:
    """When each picture of the film at `path` is shown, in seconds, sorted; nothing is decoded."""
    with open_container(path) as container:
        index = _chosen(*_picture_streams(container), path, 0).index
    return scan_packets(path, index).shown


def kind_of(path: Path) -> str | None:
    """The kind of the file at `path`, by its content: "picture", "film" or "sound"; None if it is
    none of these. Raises UserError where it is no file."""
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


def guiding_clip(path: Path) -> Clip | None:
    """The clip at `path`, which guides a dream frame by frame; None for a single picture. Raises
    UserError for a file that is neither."""
    is_file = not path.is_dir() and find_series(path) is None
    if is_file and kind_of(path) == "sound":
        raise UserError(f"the guide {path} is sound; a picture or a film can guide")
    clip = probe(path)
    return None if is_file and clip.frames == 1 else clip


def at_rate(clip: Clip, rate: Fraction) -> Clip:
    """`clip` at a constant `rate`: each frame is the one that a player would show at its time."""
    frames = clip.frames or 0
    count = max(1, round(clip.shown_at(frames) * rate))
    times = [clip.shown_at(number) for number in range(frames)]
    due = (Fraction(number) / rate for number in range(count))
    picks = tuple(max(0, bisect_right(times, when) - 1) for when in due)
    stated = None if clip.stated is None else round(clip.shown_at(clip.stated) * rate)
    return replace(clip, rate=rate, times=(), ends=None, frames=count, picks=picks, stated=stated)


def mean_rate(times: Sequence[Fraction], nominal: Fraction) -> tuple[Fraction, bool]:
    """The rate of pictures shown at `times`, in seconds, and whether it varies.

    The rate is `nominal` where that predicts the last time within a frame, else the mean. It varies
    where a picture is shown more than a quarter of a frame early or late.
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
    """The median gap between one of `times` and the next."""
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    return gaps[len(gaps) // 2]


def _reason(error: BaseException) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:
        return "its format is not known"
    words = getattr(error, "strerror", None) or str(error)
    return words.replace("\n", " ") or type(error).__name__
