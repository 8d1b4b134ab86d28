"""Video files: what they hold, their frames, and the encoder that writes a new one."""

import itertools
import math
import os
import queue
import subprocess
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TypeVar

import cv2
import numpy as np

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.images import Frame, fitted_size

DAMAGED_AT_MOST = 100  # frames in a row that cannot be decoded, before that is the end
CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")
# ffmpeg 7 tags without converting where it is given flags alone; this is right on every version.
TO_BT709 = (
    "scale=flags=accurate_rnd:in_range=pc:out_range=tv:out_color_matrix=bt709,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
BIT_EXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
SOUND = {
    "copy": ["-c:a", "copy"],
    # Six channels of no named layout, as some files have, are taken for 5.1.
    "aac": ["-c:a", "aac", "-af", "aformat=channel_layouts=mono|stereo|5.1|7.1"],
}
TRACKS = {"all": ["-map", "1:a"], "first": ["-map", "1:a:0"], "none": []}
TOLD = {"all": "made AAC", "first": "only its first track is kept", "none": "left out"}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Clip:
    """What a video file holds, as far as its container and its first frame tell.

    `height` and `width` are those of an upright frame, `pixel_shape` its pixels' width over their
    height; `frames` counts what the container holds, a hint only, for not all may be decoded;
    `offset` is how much later than the file its pictures begin, in seconds; `times` when each
    frame is shown, in seconds since the first, where they come at a variable rate, of which `rate`
    is the mean.
    """

    path: Path
    height: int
    width: int
    rate: Fraction
    frames: int | None
    pixel_shape: Fraction
    has_audio: bool
    offset: float
    times: tuple[Fraction, ...] = ()
    has_subtitles: bool = False

    def shown_at(self, number: int) -> Fraction:
        """When the frame `number` is shown, or would be after the last, in seconds."""
        if not self.times:
            return number / self.rate
        beyond = number - (len(self.times) - 1)
        if beyond <= 0:
            return self.times[number]
        return self.times[-1] + beyond * _usual_gap(self.times)


def probe(path: Path) -> Clip:
    """What the video at `path` holds. Raises UserError where it is no video with a frame in it."""
    import av

    check_readable(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no pictures in it")
            stream = container.streams.video[0]
            nominal = Fraction(stream.average_rate or stream.guessed_rate or 25)
            coded = (stream.codec_context.height, stream.codec_context.width)
            shape = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
            has_audio = bool(container.streams.audio)
            has_subtitles = bool(container.streams.subtitles)
            begins = float((stream.start_time or 0) * (stream.time_base or 0))
            offset = max(0.0, begins - (container.start_time or 0) / 1_000_000)
            told = stream.frames  # 0 where the container does not say
        times, packets, untimed = _shown(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is no video that can be read ({_reason(error)})") from error
    first = next(read_frames(path), None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded")
    height, width = first.shape[:2]
    if coded == (width, height) != (height, width):  # turned upright, and its pixels with it
        shape = 1 / shape
    if untimed:  # as in .avi: then the rate is all there is
        times = []
    rate, irregular = mean_rate(times, snap_rate(nominal))
    shown = packets if untimed else len(times)
    frames = shown + max(0, told - packets) or None  # a file cut off lacks what it tells of
    return Clip(
        path, height, width, rate, frames, shape, has_audio, offset,
        tuple(time - times[0] for time in times) if irregular else (), has_subtitles,
    )  # fmt: skip


def frame_times(path: Path) -> list[Fraction]:
    """When each picture of the file at `path` is shown, in seconds, in order; undecoded."""
    return _shown(path)[0]


def _shown(path: Path) -> tuple[list[Fraction], int, int]:
    """When each picture is shown; how many there are, those included that are not shown; and how
    many of them have no time."""
    import av

    times, count, untimed = [], 0, 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            count += packet.size > 0
            untimed += packet.size > 0 and packet.pts is None
            if packet.pts is not None and packet.size and not packet.is_discard:
                times.append(packet.pts * packet.time_base)
    return sorted(times), count, untimed


def damage(path: Path) -> str | None:
    """The first fault that decoding the video at `path` to its end meets, or None."""
    return run_ffmpeg(
        ["-xerror", "-err_detect", "explode", "-i", str(path.absolute()), "-map", "0:v:0",
         "-f", "null", "-"]
    )  # fmt: skip


def mean_rate(times: list[Fraction], nominal: Fraction) -> tuple[Fraction, bool]:
    """The rate of pictures shown at `times`, and whether it varies: whether one of them is shown
    more than a quarter of a frame early or late.

    It is `nominal` where that leads from the first to the last within a frame; else their mean.
    """
    if len(times) < 3:
        return nominal, False
    span, rate = times[-1] - times[0], nominal
    if span > 0 and abs((len(times) - 1) / nominal - span) > 1 / nominal:
        # The last picture is shown for as long as the others typically are.
        rate = snap_rate(len(times) / (span + _usual_gap(times)))
    due = (times[0] + number / rate for number in range(len(times)))
    varies = any(abs(time - when) > 1 / (4 * rate) for time, when in zip(times, due, strict=True))
    return rate, varies and span > 0


def _usual_gap(times: Sequence[Fraction]) -> Fraction:
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    return gaps[len(gaps) // 2]


def check_readable(path: Path) -> None:
    """Raise UserError unless `path` is a file with something in it."""
    with usable(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder; give a file in it")
        if not path.exists():
            raise UserError(f"there is no file {path}")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path} may not be read by this user")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty")


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raise UserError where the system refuses even to look at `path`, or nobody could name it."""
    try:
        str(path).encode()  # OpenCV and PyAV take names as UTF-8
        yield
    except UnicodeEncodeError as error:
        raise UserError(f"the name {str(path)!r} is not UTF-8; rename the file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error.strerror})") from error


def snap_rate(rate: Fraction) -> Fraction:
    """`rate` as the whole number or the n/1001 that it stands for, if it is within 0.02 %."""
    for exact in (Fraction(round(rate)), Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)):
        if exact > 0 and abs(rate - exact) < exact / 5000:
            return exact
    return rate.limit_denominator(100_000)


def read_frames(
    path: Path, start: int = 0, stop: int | None = None
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of the video at `path`, upright, as long as they last.

    OpenCV decodes them; PyAV where OpenCV was built without the codec, as for AV1.
    """
    if stop is not None and stop <= start:
        return
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        decodes = _grab(capture)
        if decodes:
            for _ in range(start):  # grabbing alone: what is skipped is not converted
                if not _grab(capture):
                    return
            count = None if stop is None else stop - start
            yield from itertools.islice(_rest_of(capture), count)
    finally:
        capture.release()
    if not decodes:
        yield from itertools.islice(_read_with_pyav(path), start, stop)


def _grab(capture: cv2.VideoCapture) -> bool:
    """Whether there is another frame: past one that is damaged, there often is."""
    return any(capture.grab() for _ in range(DAMAGED_AT_MOST))


def _rest_of(capture: cv2.VideoCapture) -> Iterator[Frame]:
    """The frames from the one last grabbed on."""
    while True:
        whole, frame = capture.retrieve()
        if whole:
            yield frame
        if not _grab(capture):
            return


def _read_with_pyav(path: Path) -> Iterator[Frame]:
    import av

    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                try:
                    decoded = packet.decode()
                except (av.FFmpegError, ValueError):
                    continue  # as above: past a damaged frame there often is another
                for frame in decoded:
                    turns = round(getattr(frame, "rotation", 0) / 90) % 4
                    yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns))
    except (av.FFmpegError, OSError, ValueError):
        return


def resized(frames: Iterable[Frame], width: int | None) -> Iterator[Frame]:
    """`frames` at `width`, their shape kept; as they come where it is None."""
    for frame in frames:
        height, now = frame.shape[:2]
        size = fitted_size(height, now, width)
        if size != (height, now):
            way = cv2.INTER_AREA if size[1] < now else cv2.INTER_CUBIC
            frame = np.asarray(cv2.resize(frame, size[::-1], interpolation=way), np.uint8)
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


@dataclass(frozen=True)
class Encoding:
    """How frames of `size` (height, width) become H.264: `rate` a second, at constant quality
    `crf`, with x264's preset `speed`; `pixel_shape` is a pixel's width over its height."""

    size: tuple[int, int]
    rate: Fraction
    crf: int
    speed: str
    pixel_shape: Fraction = Fraction(1)


def start_encoding(
    raw: Path, out: Path, encoding: Encoding, threads: int
) -> tuple["subprocess.Popen[bytes]", IO[bytes]]:
    """An ffmpeg of our own that turns the frames in `raw`, BGR, one after the other and of even
    size, into the file `out` without sound; and what it will have said, for `failure_of`."""
    height, width = even(encoding.size)
    rate, shape = encoding.rate, encoding.pixel_shape
    return _start_ffmpeg(
        [
            *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{width}x{height}"),
            *("-framerate", f"{rate.numerator}/{rate.denominator}", "-i", str(raw.absolute())),
            *("-vf", f"{TO_BT709},setsar={shape.numerator}/{shape.denominator}"),
            *("-c:v", "libx264", "-preset", encoding.speed, "-crf", str(encoding.crf)),
            *("-pix_fmt", "yuv420p", "-threads", str(threads), *BIT_EXACT),
            *("-video_track_timescale", str(rate.numerator), str(out.absolute())),
        ]
    )


def encode(frames: Iterable[Frame], out: Path, encoding: Encoding, threads: int = 0) -> None:
    """Write `frames` into the file `out`, without sound."""
    with tempfile.NamedTemporaryFile(suffix=".bgr") as raw:
        for frame in frames:
            raw.write(padded_to_even(frame).tobytes())
        raw.flush()
        failure = failure_of(*start_encoding(Path(raw.name), out, encoding, threads))
    if failure is not None:
        raise UserError(f"ffmpeg could not write {out}: {failure}")


def mux(
    segments: list[Path],
    source: Clip | None,
    out: Path,
    span: tuple[Fraction, Fraction] | None,
    on_notice: Callable[[str], None],
) -> None:
    """Write `out`: the pictures of `segments`, one after the other, and the sound of `source`, if
    any, ready for streaming.

    The sound is copied, every track of it; so are subtitles, chapters and what the file says of
    itself. Where only a span (begin, end) of the source, in seconds, was dreamed, the sound is cut
    there and encoded anew, and so it is where the container does not take it as it is; what it
    does not take at all is left out, with a notice.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.writelines(f"file {_quoted(path)}\n" for path in segments)
        listed.flush()
        inputs = ["-f", "concat", "-safe", "0", "-i", listed.name]
        ways = [Way("none", "copy", False)]
        if source is not None:
            inputs += [*_cut(source, span), "-i", str(source.path.absolute())]
            inputs += ["-map_metadata", "1", "-map_chapters", "1", "-metadata", "encoder="]
            ways = _ways(source, cut=span is not None)
        failure: str | None = None
        for way in ways:
            failure = run_ffmpeg(
                [*inputs, "-map", "0:v", *TRACKS[way.tracks], *_subtitles(way, out), "-c:v", "copy",
                 *SOUND[way.sound], *BIT_EXACT, "-movflags", "+faststart", str(out.absolute())]
            )  # fmt: skip
            if failure is None:
                for lost in _lost(way, ways[0]):
                    on_notice(f"{out.suffix} does not take the source's {lost}")
                return
            if "No space" in failure:
                break
    raise UserError(f"ffmpeg could not write {out.parent}: {failure}")


def retime(video: Path, out: Path, times: Sequence[Fraction]) -> None:
    """Write `out`, the pictures of `video` without sound: its frames, in the order in which they
    are shown, at `times` in seconds, and one time more, at which the last of them ends."""
    import av

    with av.open(str(video)) as container:
        shown = [packet.pts for packet in container.demux(video=0) if packet.size]
    number = {pts: rank for rank, pts in enumerate(sorted(shown))}
    # A frame is decoded no later than it is shown: so many frames before that.
    delay = max(place - number[pts] for place, pts in enumerate(shown))
    base = _time_base(times)
    ticks: list[int] = []
    for time in times:  # no two frames may be shown at once, as some sources have it
        ticks.append(max(round(time / base), ticks[-1] + 1 if ticks else 0))
    before = max(1, round(_usual_gap(times) / base))  # between the decoding of the very first
    with av.open(str(video)) as container, av.open(str(out), "w") as written:
        stream = written.add_stream_from_template(container.streams.video[0])
        stream.time_base = base
        place = 0
        for packet in container.demux(video=0):
            if not packet.size:
                continue
            rank, early = number[packet.pts], place - delay
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.duration = ticks[rank], ticks[rank + 1] - ticks[rank]
            packet.dts = early * before if early < 0 else ticks[early]
            written.mux(packet)
            place += 1


def _time_base(times: Sequence[Fraction]) -> Fraction:
    """One in which all `times` are whole, or, where there is none so fine, a fine one."""
    whole = math.lcm(*(time.denominator for time in times))
    return Fraction(1, whole if 1000 <= whole <= 1_000_000 else 90_000)


@dataclass(frozen=True)
class Way:
    """Which of a source's audio `tracks` go along ("all", "first" or "none"), how ("copy" or
    "aac"), and whether its subtitles do."""

    tracks: str
    sound: str
    subtitles: bool


def _ways(source: Clip, cut: bool) -> list[Way]:
    """How the rest of `source` may go along, the best first."""
    sounds = [("all", "copy"), ("all", "aac"), ("first", "copy"), ("first", "aac")]
    if cut:
        sounds = [sound for sound in sounds if sound[1] == "aac"]
    sounds = [*(sounds if source.has_audio else []), ("none", "copy")]
    subtitles = [True, False] if source.has_subtitles else [False]
    return [Way(*sound, written) for sound in sounds for written in subtitles]


def _cut(source: Clip, span: tuple[Fraction, Fraction] | None) -> list[str]:
    """What has ffmpeg begin with `source` where its pictures do, or where the `span` does."""
    offset = Fraction(source.offset).limit_denominator(1_000_000)
    if span is not None:
        begin, end = span
        return ["-ss", f"{float(begin + offset):.6f}", "-t", f"{float(end - begin):.6f}"]
    return ["-itsoffset", f"{-float(offset):.6f}"] if offset else []


def _subtitles(way: Way, out: Path) -> list[str]:
    kind = "copy" if out.suffix.lower() == ".mkv" else "mov_text"
    return ["-map", "1:s", "-c:s", kind] if way.subtitles else []


def _lost(way: Way, best: Way) -> Iterator[str]:
    if (way.tracks, way.sound) != (best.tracks, best.sound):
        yield f"sound as it is: {TOLD[way.tracks]}"
    if way.subtitles != best.subtitles:
        yield "subtitles: left out (.mkv keeps any)"


def run_ffmpeg(options: list[str]) -> str | None:
    """Run ffmpeg to its end. None where it succeeded, else the line that names the cause."""
    return failure_of(*_start_ffmpeg(options))


def _start_ffmpeg(options: list[str]) -> tuple["subprocess.Popen[bytes]", IO[bytes]]:
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,  # the terminal's Ctrl-C is ours to answer
    )
    return process, errors


def failure_of(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> str | None:
    """Wait for an ffmpeg to end. None where it succeeded, else the line that names the cause."""
    with errors:
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code == 0:
            return None
        return f"it was killed by signal {-code}" if code < 0 else _cause(errors)


def count_frames(path: Path) -> int:
    """How many pictures the file at `path` holds, counted packet by packet."""
    import av

    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def ffmpeg() -> str:
    """The ffmpeg that imageio-ffmpeg brings. Raises UserError where it brings none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UserError(f"there is no ffmpeg for this machine ({error})") from error


def even(size: tuple[int, int]) -> tuple[int, int]:
    """`size` with odd sides one longer, as 4:2:0 demands."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def padded_to_even(frame: Frame) -> Frame:
    """`frame` with its last row or column repeated where it is odd; never scaled."""
    height, width = even(frame.shape[:2])
    if (height, width) == frame.shape[:2]:
        return frame
    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
    return np.pad(frame, missing, mode="edge")


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
    times = frame_times(clip.path)
    since = Fraction(seconds).limit_denominator(1_000_000)
    number = bisect_right([time - times[0] for time in times], since) - 1
    if times and since >= times[-1] - times[0] + 1 / clip.rate:
        number = len(times)
    with closing(read_frames(clip.path, number)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise UserError(f"{clip.path} has no frame at {seconds:g} s")
    return number, frame


def _quoted(path: Path) -> str:
    """`path` as ffmpeg's lists of files have it."""
    return "'" + str(path.absolute()).replace("'", "'\\''") + "'"


def _cause(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    # The first line names the cause; the ones after it say what broke in turn.
    return lines[0] if lines else "it ended without a word"


def _reason(error: BaseException) -> str:
    return str(error).replace("\n", " ") or type(error).__name__
