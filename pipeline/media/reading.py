"""Reading: the frames of a clip in order, each with its number."""

import itertools
import math
import queue
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, fitted_size
from dreamreel.pipeline.media.animations import read_animation
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.converting import CHANGES, Decoded
from dreamreel.pipeline.media.cropping import cropped, scaled
from dreamreel.pipeline.media.decoding import decode
from dreamreel.pipeline.media.ffmpeg import run_ffmpeg
from dreamreel.pipeline.media.opencv import decode_alone, decode_with_opencv
from dreamreel.pipeline.media.sequences import read_series
from dreamreel.pipeline.opening import ffmpeg_input

# Number of the first frame that is reached by seeking. In a 640x360 film with keyframes 250 frames
# apart, x264's default, seeking takes as long as decoding from the start up to frame 400; at frame
# 1000, it takes 0.6 of that.
SEEK_FROM = 250
# Frames that a thread reads ahead, at most, and the bytes that they may take together: two frames
# of 3840x2160.
AHEAD, AHEAD_BYTES = 4, 50 << 20
Item = TypeVar("Item")


def damage(clip: Clip) -> str | None:
    """The first fault met when `clip` is decoded to its end, in words; None if there is none."""
    if not clip.is_file:
        lost = [clip.animation.fault] if clip.animation and clip.animation.fault else []
        for _ in read_frames(clip, on_lost=lost.append):
            pass
        return lost[0] if lost else None
    if clip.format is not None and clip.stated is not None and clip.shown:
        return f"it promises {clip.stated} frames and has {len(clip.shown)}"
    return run_ffmpeg(
        ["-xerror", "-err_detect", "explode", *ffmpeg_input(clip.path),
         "-map", f"0:{clip.stream}", "-f", "null", "-"]
    )  # fmt: skip


def read_frames(
    source: Clip | Path,
    start: int = 0,
    stop: int | None = None,
    on_lost: Callable[[str], None] = lambda line: None,
    on_exact: Callable[[int], None] = lambda number: None,
) -> Generator[Frame, None, None]:
    """Frames `start` to `stop` (excluded) of `source`, upright and cropped; fewer where it ends
    earlier.

    Each comes under its own number. The frame before a lost one stands in for it, or, if there is
    none, the frame after it, and `on_lost` gets a line about it. `on_exact` gets the number of the
    frame from which PyAV decodes in OpenCV's place, if there is such a frame.
    """
    clip = source if isinstance(source, Clip) else probe(source)
    if stop is not None and stop <= start:
        return
    with closing(_whole_frames(clip, start, stop, on_lost, on_exact)) as frames:
        yield from cropped(frames, clip.crop)


def _whole_frames(
    clip: Clip,
    start: int,
    stop: int | None,
    on_lost: Callable[[str], None],
    on_exact: Callable[[int], None],
) -> Generator[Frame, None, None]:
    if clip.picks:
        yield from _picked(clip, start, stop, on_lost, on_exact)
    elif clip.series is not None:
        yield from read_series(clip.series, start, stop, on_lost)
    elif clip.animation is not None:
        yield from read_animation(clip.animation, start, stop, on_lost)
    else:
        frames = _read_video(clip, start, on_lost, on_exact)
        yield from itertools.islice(frames, stop and stop - start)


def _picked(
    clip: Clip,
    start: int,
    stop: int | None,
    on_lost: Callable[[str], None],
    on_exact: Callable[[int], None],
) -> Iterator[Frame]:
    wanted = clip.picks[start:stop]
    if not wanted:
        return
    number = wanted[0]
    whole = replace(clip, picks=())
    with closing(_whole_frames(whole, number, wanted[-1] + 1, on_lost, on_exact)) as frames:
        frame = next(frames, None)
        for pick in wanted:
            while number < pick and frame is not None:
                frame, number = next(frames, None), number + 1
            if frame is None:
                return
            yield frame


def _read_video(
    clip: Clip, start: int, on_lost: Callable[[str], None], on_exact: Callable[[int], None]
) -> Iterator[Frame]:
    due, damaged, last = start, 0, None
    lost, told = 0, set[str]()
    by_opencv = clip.decoder == "opencv"
    for number, picture in _numbered(clip, start):
        if by_opencv and picture.is_exact and clip.exact_from is None:
            by_opencv = False
            on_exact(number)
        if number < due:
            continue
        damaged += picture.damaged
        for change in picture.changes:
            if change not in told:
                told.add(change)
                on_lost(f"{clip.path}: from frame {number} on, {CHANGES[change]}")
        frame = picture.frame()
        lost += number - due
        for _ in range(number - due):
            yield frame if last is None else last
        yield frame
        due, last = number + 1, frame
    if lost:
        on_lost(f"{clip.path}: {lost} frames could not be decoded; their neighbours stand in")
    if damaged:
        on_lost(f"{clip.path}: {damaged} frames are damaged; what could be decoded of them is used")


def _numbered(clip: Clip, start: int) -> Iterator[tuple[int, Decoded]]:
    """The pictures of `clip`, each with its number; those before `start` may be missing."""
    number = -1
    for picture in _decoded(clip, start):
        number += 1
        if clip.shown and picture.time is not None:
            number = _nearest(clip.shown, picture.time, number)
        yield number, picture


def _decoded(clip: Clip, start: int) -> Iterator[Decoded]:
    """The pictures of `clip`, by its decoder; those before frame `start` may be missing."""
    if clip.format is None:
        return decode_alone(clip.path)
    since = clip.shown[start] if SEEK_FROM <= start < len(clip.shown) else None
    exact_from = clip.exact_from
    if clip.decoder == "pyav" or (exact_from is not None and exact_from <= start):
        return decode(clip.path, clip.stream, clip.format, since)
    exact_time = None if exact_from is None else clip.shown[exact_from]
    return decode_with_opencv(clip.path, clip.stream, clip.format, clip.origin, since, exact_time)


def _nearest(shown: Sequence[Fraction], time: Fraction, guess: int) -> int:
    """The number of the picture whose time in `shown` is nearest to `time`. Where several are shown
    then, it is `guess`, if that is one of them."""
    if guess < len(shown) and shown[guess] == time:
        return guess
    after = bisect_left(shown, time)
    if after == len(shown) or (after > 0 and time - shown[after - 1] < shown[after] - time):
        return after - 1
    return after


def resized(frames: Iterable[Frame], width: int | None) -> Iterator[Frame]:
    """`frames` resized to `width` pixels, in proportion; unchanged where it is None."""
    for frame in frames:
        yield scaled(frame, fitted_size(frame.shape[0], frame.shape[1], width))


def depth_for(size: tuple[int, int]) -> int:
    """How many frames of `size` (height, width) a thread reads ahead: fewer of large ones, so that
    they do not take much memory."""
    return min(max(1, AHEAD_BYTES // (3 * size[0] * size[1])), AHEAD)


def prefetch(items: Iterable[Item], depth: int = AHEAD) -> Generator[Item, None, None]:
    """`items`, made by a thread that runs at most `depth` of them ahead.

    An error in the thread is raised here. Closing the generator ends the thread.
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
        except BaseException as error:  # the reader raises it
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
    """The frames (first, one past the last) of `clip` shown from `start` until before `end`, in
    seconds. None: from the first, or to the last. Raises UserError where there are none."""
    first = 0 if start is None else _first_from(clip, start)
    stop = None if end is None else _first_from(clip, end)
    if (stop is not None and stop <= first) or (clip.frames is not None and first >= clip.frames):
        begins, ends = start or 0.0, "its end" if end is None else f"{end:g} s"
        after = end is not None and end <= begins
        told = "; give an end after the start" if after else _where_it_ends(clip)
        raise UserError(f"{clip.path} has no frame from {begins:g} s to {ends}{told}")
    return first, stop


def _first_from(clip: Clip, seconds: float) -> int:
    """The number of the first frame shown at `seconds` or later."""
    since = Fraction(seconds).limit_denominator(1_000_000)
    if clip.times and since <= clip.times[-1]:
        return bisect_left(clip.times, since)
    return math.ceil(since * clip.rate - Fraction(1, 1000))  # at 30 a second, 0.033333 is frame 1


def still_at(clip: Clip, seconds: float) -> tuple[int, Frame]:
    """The number of the frame of `clip` shown at `seconds`, and the frame. Raises UserError past
    the end."""
    number, past = number_at(clip, seconds)
    with closing(read_frames(clip, number)) as frames:
        frame = None if past else next(frames, None)
    if frame is None:
        raise UserError(f"{clip.path} has no frame at {seconds:g} s{_where_it_ends(clip)}")
    return number, frame


def number_at(clip: Clip, seconds: float) -> tuple[int, bool]:
    """The number of the frame of `clip` shown at `seconds`, and whether that is known to be past
    the end."""
    since = Fraction(seconds).limit_denominator(1_000_000)
    if clip.times:
        return bisect_right(clip.times, since) - 1, since >= clip.shown_at(len(clip.times))
    return math.floor(since * clip.rate), False


def _where_it_ends(clip: Clip) -> str:
    """What to add to the message of a time past the end of `clip`: the end, where it is known."""
    if clip.frames is None:
        return ""
    return f"; it ends at {float(clip.shown_at(clip.frames)):.3f}".rstrip("0").rstrip(".") + " s"
