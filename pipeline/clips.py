"""What is dreamed: clips, whatever they come from, and their frames."""

import errno
import itertools
import math
import queue
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from dreamreel.pipeline.decoding import Decoded, Look, decode, look_of
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.ffmpeg import run_ffmpeg
from dreamreel.pipeline.images import Frame, fitted_size
from dreamreel.pipeline.opening import check_readable, ffmpeg_input, open_container
from dreamreel.pipeline.pictures import (
    Animation,
    Series,
    find_animation,
    find_series,
    find_still,
    gif_fault,
    read_animation,
    read_series,
)
from dreamreel.pipeline.settings import snap_rate

SERIES_RATE = Fraction(25)  # of pictures in files of their own, where no other is given
SEEK_FROM = 250  # the number of a frame from which seeking is worth it
LATE_AT_MOST = 1.0  # seconds, that all streams may end before the file says it does
TS_PACKETS = (188, 192, 204)  # bytes: as broadcast, on Blu-rays, with error correction
SLOWEST = Fraction(1, 3600)  # frames a second, below which what a file says is nonsense
Item = TypeVar("Item")


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
    look: Look | None = None
    shown: tuple[Fraction, ...] = ()  # when the file says each picture is shown, in seconds
    picks: tuple[int, ...] = ()  # the source's frame of each, where the rate was made another
    series: Series | None = None
    animation: Animation | None = None
    notices: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Bits of a colour."""
        if self.series is not None:
            return self.series.depth
        return self.look.depth if self.look is not None else 8

    @property
    def has_alpha(self) -> bool:
        """Whether its pictures may be transparent."""
        pictures = self.series or self.animation or self.look
        return pictures is not None and pictures.has_alpha

    @property
    def is_file(self) -> bool:
        """Whether it is a file whose sound and subtitles ffmpeg can take along."""
        return self.series is None and self.animation is None

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


def probe(path: Path, stream: int = 0, rate: Fraction | None = None) -> Clip:
    """What the source at `path` holds: a video, its picture `stream` of that number; an animation;
    a still; or a folder or pattern of pictures.

    `rate` makes the rate constant: frames are repeated or left out, and stay as long as they did;
    that of pictures in files of their own is simply that. Raises UserError where there is no
    frame.
    """
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
    clip = _of_video(path, stream) if animation is None else _of_animation(path, animation)
    return clip if rate is None or rate == clip.rate and not clip.times else at_rate(clip, rate)


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
        path, series.height, series.width, rate or SERIES_RATE, len(series.files), series=series,
        notices=tuple(notices),
    )  # fmt: skip


def _of_animation(path: Path, animation: Animation) -> Clip:
    times = list(itertools.accumulate(animation.durations, initial=Fraction(0)))
    ends = times.pop()
    nominal = len(times) / ends if ends else SERIES_RATE
    even = len(set(animation.durations)) == 1
    fault = animation.fault
    return Clip(
        path, animation.height, animation.width, snap_rate(nominal), len(times),
        times=() if even else tuple(times), ends=ends, animation=animation,
        notices=() if fault is None else (f"{path} is damaged: {fault}",),
    )  # fmt: skip


def _of_video(path: Path, number: int) -> Clip:
    import av

    try:
        with open_container(path) as container:
            moving, covers = _picture_streams(container)
            stream = _chosen(moving, covers, path, number)
            if stream.codec_context is None:
                raise UserError(f"{path} has pictures of a codec that nobody here knows")
            nominal = Fraction(stream.average_rate or stream.guessed_rate or 25)
            coded = (stream.codec_context.height, stream.codec_context.width)
            shape = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
            has_audio = bool(container.streams.audio)
            subtitles = tuple(
                one.codec_context.name if one.codec_context is not None else "unknown"
                for one in container.streams.subtitles
            )
            begins = float((stream.start_time or 0) * (stream.time_base or 0))
            offset = max(0.0, begins - (container.start_time or 0) / 1_000_000)
            guessed = container.format.name == "avi"  # which has no times, where B-frames need them
            told = stream.frames  # 0 where the container does not say
            is_gif = container.format.name == "gif"
            index, pictured = stream.index, tuple(cover.index for cover in covers)
        packets = _packets(path, index)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is no video that can be read ({_reason(error)})") from error
    fault = gif_fault(path.read_bytes()) if is_gif else packets.fault
    if is_gif and fault is None and packets.count > 1:  # or else it were an animation
        fault = "its first frame"
    look = look_of(path, index)
    first = next((picture.frame() for picture in decode(path, index, look)), None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded")
    height, width = first.shape[:2]
    if coded == (width, height) != (height, width):  # turned upright, and its pixels with it
        shape = 1 / shape
    times = [] if packets.untimed else packets.shown  # untimed as in .avi: the rate is all there is
    rate, irregular = mean_rate(times, snap_rate(nominal))
    if rate < SLOWEST:
        raise UserError(f"{path} is damaged: it says that a frame lasts {float(1 / rate):.0f} s")
    shown = len(packets.shown) if not packets.untimed else packets.count
    # A file cut off lacks what it tells of.
    missing = max(0, told - packets.count, math.floor(packets.lacking * rate))
    since = tuple(time - times[0] for time in times)
    ends = packets.ends - times[0] if irregular and packets.ends is not None else None
    return Clip(
        path, height, width, rate, shown + missing or None, shape, has_audio, offset,
        since if irregular else (), ends, subtitles, pictured, index, look,
        () if guessed else tuple(times),
        notices=tuple(_notices(path, look, number, len(moving), fault)),
    )  # fmt: skip


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
    path: Path, look: Look | None, number: int, streams: int, fault: str | None
) -> Iterator[str]:
    if fault is not None:
        yield f"{path} is damaged ({fault}): what can be read of it is"
    if streams > 1:
        yield (
            f"{path} has {streams} streams of pictures: {number} alone is kept; source.stream "
            f"takes another, from 0 to {streams - 1}"
        )
    if look is not None and look.interlaced:
        yield "the source is interlaced: deinterlaced"
    if look is not None and look.hdr is not None:
        yield f"the source is HDR ({look.hdr}): tone-mapped to BT.709"


@dataclass(frozen=True)
class _Packets:
    """What a file's stream of pictures holds, undecoded: when each is shown, in seconds, in order;
    how many there are, those included that are not shown; how many of them have no time; how
    many seconds before the end that it tells of the file ends; when the last one shown ends, where
    it tells that; and the first `fault` of the container."""

    shown: list[Fraction]
    count: int
    untimed: int
    lacking: Fraction
    ends: Fraction | None
    fault: str | None


def _packets(path: Path, index: int) -> _Packets:
    import av

    lasting: list[tuple[Fraction, Fraction]] = []
    count, untimed, cut, end = 0, 0, 0, Fraction(0)
    with _complaints() as complaints, open_container(path) as container:
        begins = Fraction(container.start_time or 0, 1_000_000)
        # Streams alone know what was told: the container's own length may be a guess from its size.
        told = Fraction(container.duration or 0, 1_000_000)
        kind = container.format.name
        tells = kind.startswith(("matroska", "mov"))
        tells_each = kind.startswith("mov")  # of others, the lengths are guesses
        try:
            for packet in container.demux():
                length = (packet.duration or 0) * packet.time_base
                cut += packet.is_corrupt
                if packet.pts is not None and packet.size:
                    end = max(end, packet.pts * packet.time_base + length)
                if packet.stream.index != index or not packet.size:
                    continue
                count += 1
                untimed += packet.pts is None
                if packet.pts is not None and not packet.is_discard:
                    lasting.append((packet.pts * packet.time_base, length))
        except av.FFmpegError:  # what comes before is there
            if not count:
                raise
    short = told - (end - begins) if tells and end else Fraction(0)
    lacking = short if short > LATE_AT_MOST else Fraction(0)
    shown, lengths = zip(*sorted(lasting), strict=True) if lasting else ((), ())
    ends = shown[-1] + lengths[-1] if tells_each and lasting and lengths[-1] else None
    faults = [said for _, name, said in complaints if name == kind]  # not what a codec says
    if kind == "mpegts" and all(path.stat().st_size % size for size in TS_PACKETS):
        faults.append("it was cut off")
    faults += [f"{cut} of its packets are not whole"] if cut else []
    fault = faults[0].strip().rstrip(".") if faults else None
    return _Packets(list(shown), count, untimed, lacking, ends, fault)


@contextmanager
def _complaints() -> Iterator[list[tuple[int, str, str]]]:
    """What ffmpeg's libraries say of faults within: how grave, of what, and the words."""
    from av import logging

    before = logging.get_level(), logging.get_skip_repeated()
    logging.set_level(logging.ERROR)
    logging.set_skip_repeated(False)  # what was said of another file too is said of this one
    try:
        with logging.Capture(local=False) as said:
            yield said
    finally:
        logging.set_level(before[0])
        logging.set_skip_repeated(before[1])


def frame_times(path: Path) -> list[Fraction]:
    """When each picture of the file at `path` is shown, in seconds, in order; undecoded."""
    with open_container(path) as container:
        index = _chosen(*_picture_streams(container), path, 0).index
    return _packets(path, index).shown


def at_rate(clip: Clip, rate: Fraction) -> Clip:
    """`clip` at a constant `rate`: each frame is the one that a player would show then."""
    frames = clip.frames or 0
    count = max(1, round(clip.shown_at(frames) * rate))
    times = [clip.shown_at(number) for number in range(frames)]
    due = (Fraction(number) / rate for number in range(count))
    picks = tuple(max(0, bisect_right(times, when) - 1) for when in due)
    return replace(clip, rate=rate, times=(), ends=None, frames=count, picks=picks)


def damage(clip: Clip) -> str | None:
    """The first fault that decoding `clip` to its end meets, or None."""
    if not clip.is_file:
        lost = [clip.animation.fault] if clip.animation and clip.animation.fault else []
        for _ in read_frames(clip, on_lost=lost.append):
            pass
        return lost[0] if lost else None
    if clip.look is not None and clip.frames is not None and clip.frames > len(clip.shown) > 0:
        return f"it promises {clip.frames} frames and has {len(clip.shown)}"
    return run_ffmpeg(
        ["-xerror", "-err_detect", "explode", *ffmpeg_input(clip.path),
         "-map", f"0:{clip.stream}", "-f", "null", "-"]
    )  # fmt: skip


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


def read_frames(
    source: Clip | Path,
    start: int = 0,
    stop: int | None = None,
    on_lost: Callable[[str], None] = lambda line: None,
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of `source`, upright, as long as they last.

    Each comes under its own number: where one is lost, the one before stands in for it, or, of the
    first, the one after, and `on_lost` is told.
    """
    clip = source if isinstance(source, Clip) else probe(source)
    if stop is not None and stop <= start:
        return
    if clip.picks:
        yield from _picked(clip, start, stop, on_lost)
    elif clip.series is not None:
        yield from read_series(clip.series, start, stop, on_lost)
    elif clip.animation is not None:
        yield from read_animation(clip.animation, start, stop, on_lost)
    else:
        yield from itertools.islice(_read_video(clip, start, on_lost), stop and stop - start)


def _picked(
    clip: Clip, start: int, stop: int | None, on_lost: Callable[[str], None]
) -> Iterator[Frame]:
    wanted = clip.picks[start:stop]
    if not wanted:
        return
    number = wanted[0]
    with closing(read_frames(replace(clip, picks=()), number, wanted[-1] + 1, on_lost)) as frames:
        frame = next(frames, None)
        for pick in wanted:
            while number < pick and frame is not None:
                frame, number = next(frames, None), number + 1
            if frame is None:
                return
            yield frame


def _read_video(clip: Clip, start: int, on_lost: Callable[[str], None]) -> Iterator[Frame]:
    due, damaged, last = start, 0, None
    lost = 0
    since = clip.shown[start] if SEEK_FROM <= start < len(clip.shown) else None
    for number, picture in _numbered(clip, since):
        if number < due:
            continue
        damaged += picture.damaged
        frame = picture.frame()
        lost += number - due
        for _ in range(number - due):
            yield frame if last is None else last
        yield frame
        due, last = number + 1, frame
    if lost:
        on_lost(f"{clip.path}: {lost} frames could not be decoded; those beside them stand in")
    if damaged:
        on_lost(f"{clip.path}: {damaged} frames are damaged, and shown as far as they can be")


def _numbered(clip: Clip, since: Fraction | None) -> Iterator[tuple[int, Decoded]]:
    """The pictures of `clip`, or those from the time `since` on, each with its number."""
    number = -1
    for picture in decode(clip.path, clip.stream, clip.look, since):
        number += 1
        if clip.shown and picture.time is not None:
            number = _nearest(clip.shown, picture.time, number)
        yield number, picture


def _nearest(shown: Sequence[Fraction], time: Fraction, guess: int) -> int:
    """The number of the picture shown at `time`; of several at once, `guess` if it is one."""
    if guess < len(shown) and shown[guess] == time:
        return guess
    after = bisect_left(shown, time)
    if after == len(shown) or (after > 0 and time - shown[after - 1] < shown[after] - time):
        return after - 1
    return after


def resized(frames: Iterable[Frame], width: int | None) -> Iterator[Frame]:
    """`frames` at `width`, their shape kept; as they come where it is None."""
    for frame in frames:
        height, now = frame.shape[:2]
        size = fitted_size(height, now, width)
        if size != (height, now):
            way = cv2.INTER_AREA if size[1] < now else cv2.INTER_CUBIC
            frame = np.asarray(cv2.resize(frame, size[::-1], interpolation=way), frame.dtype)
        yield frame


def prefetch(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """`items`, made by a thread that runs at most `depth` ahead.

    An error of the thread's comes out here; closing this ends the thread.
    """
    ahead: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(depth)
    stopping = threading.Event()

    def put(kind: str, value: Item | BaseException | None) -> bool:
        while not stopping.is_set():
            try:
                ahead.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put("item", item):
                    break
            put("end", None)
        except BaseException as error:  # it belongs to whoever reads
            put("error", error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    worker = threading.Thread(target=work, name="prefetch", daemon=True)
    worker.start()
    try:
        while True:
            kind, value = ahead.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        stopping.set()
        worker.join()


def frames_between(clip: Clip, start: float | None, end: float | None) -> tuple[int, int | None]:
    """The frames (first, one past the last) shown from `start` up to, but without, `end`, in
    seconds; from the first, or to the last, where None. Raises UserError where there are none."""
    first = 0 if start is None else _first_from(clip, start)
    stop = None if end is None else _first_from(clip, end)
    if (stop is not None and stop <= first) or (clip.frames is not None and first >= clip.frames):
        begins, ends = start or 0.0, "its end" if end is None else f"{end:g} s"
        raise UserError(f"{clip.path} has no frame from {begins:g} s to {ends}")
    return first, stop


def _first_from(clip: Clip, seconds: float) -> int:
    """The number of the first frame shown at `seconds` or later."""
    since = Fraction(seconds).limit_denominator(1_000_000)
    if clip.times and since <= clip.times[-1]:
        return bisect_left(clip.times, since)
    return math.ceil(since * clip.rate - Fraction(1, 1000))  # 0.033333 s is the second at 30


def still_at(clip: Clip, seconds: float) -> tuple[int, Frame]:
    """The frame shown at `seconds`, and its number. Raises UserError past the end."""
    since = Fraction(seconds).limit_denominator(1_000_000)
    if clip.times:
        number = bisect_right(clip.times, since) - 1
        past = since >= clip.shown_at(len(clip.times))
    else:
        number, past = math.floor(since * clip.rate), False
    with closing(read_frames(clip, number)) as frames:
        frame = None if past else next(frames, None)
    if frame is None:
        raise UserError(f"{clip.path} has no frame at {seconds:g} s")
    return number, frame


def _reason(error: BaseException) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:
        return "it is in no format of films that is read"
    words = getattr(error, "strerror", None) or str(error)
    return words.replace("\n", " ") or type(error).__name__
