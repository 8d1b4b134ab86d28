"""The pictures of a video stream, decoded by OpenCV wherever that is faithful.

OpenCV gives the pixels, at less than half of the cost of an exact conversion. PyAV decodes the same
pictures beside it without converting them, because OpenCV tells neither a damaged picture from a
whole one nor its exact time. From the first picture on that OpenCV lacks, or that is damaged, PyAV
gives the pixels too.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dreamreel.pipeline.frames import Frame, upright
from dreamreel.pipeline.media.converting import (
    BT2020,
    UNTAGGED,
    Converter,
    Decoded,
    PictureFormat,
    deinterlaced,
    is_hd,
)
from dreamreel.pipeline.media.decoding import DAMAGED_AT_MOST, decoded_pictures
from dreamreel.pipeline.opening import OPENCV_OPTIONS, regular_file

MATRICES = (1, 5, 6, UNTAGGED)  # BT.709 and both of BT.601, as H.273 numbers them
BLOCK = 8  # pixels, the side of a block whose mean is compared; a round number, not measured
FLAT = 6  # levels of 255: the range of colours up to which a block is flat; chosen, not measured
# Levels of 255 by which a flat block may be off. Rounding alone makes up to 3.0, in a dozen films
# and test patterns; taking an untagged 1080p film for BT.601 makes 19.
OFF_AT_MOST = 3.0
SAME_TIME = 1e-4  # seconds; OpenCV gives times in floating-point milliseconds; chosen, not measured
# Seconds by which OpenCV seeks early, because it seeks by a frame number that it guesses from the
# rate. A round number, not measured; where it does not suffice, reading starts at the beginning.
SEEK_EARLIER = 1.0


@dataclass(frozen=True)
class Doubt:
    """The `reason` why OpenCV does not decode a file faithfully, or cannot decode it at all."""

    reason: str
    cannot: bool = False


def doubt(path: Path, form: PictureFormat, origin: Fraction, first: Decoded) -> Doubt | None:
    """Why OpenCV would not decode the file at `path` as PyAV does; None if it would.

    `form` is the format of its frames, `origin` the time at which their stream begins, in seconds,
    and `first` the first of its pictures.
    """
    exact, seen, kind = first.frame(), None, form.kind
    with closing(_Capture(path, origin, as_stored=True)) as capture:
        if first.time is not None:
            seen = capture.frame_at(first.time)
    if seen is None:
        return Doubt("OpenCV cannot decode its first picture", cannot=True)
    seen = upright(seen, kind.orientation)
    if seen.shape[:2] != exact.shape[:2]:
        return Doubt("OpenCV gives its pictures another size", cannot=True)
    known = {
        f"its pictures have {form.depth} bits": form.depth > 8,
        "its pictures have alpha": form.has_alpha,
        "its pictures are interlaced": form.interlaced,
        f"its pictures are HDR ({kind.hdr})": kind.hdr is not None,
        "its colours are BT.2020": kind.primaries == BT2020,
        "its colour matrix is rare": kind.matrix not in MATRICES,
        "OpenCV takes untagged HD for BT.601": kind.matrix == UNTAGGED
        and is_hd(kind.width, kind.height),
    }
    for reason, holds in known.items():
        if holds:
            return Doubt(reason)
    off = _off(seen, exact)
    if off > OFF_AT_MOST:
        return Doubt(f"OpenCV's colours are off by {off:.0f} of 255")
    return None


def decode_with_opencv(
    path: Path,
    stream: int,
    form: PictureFormat,
    origin: Fraction,
    since: Fraction | None = None,
    exact_from: Fraction | None = None,
) -> Iterator[Decoded]:
    """The pictures of the `stream` of the file at `path`, as `decoding.decode` gives them.

    The stream begins at the time `origin`. PyAV gives the pixels from the time `exact_from` on, if
    not before. All times are in seconds.
    """
    converter = Converter(form)
    with closing(_Capture(path, origin, as_stored=True)) as capture:
        frame: Frame | None = None
        is_exact = False
        for number, raw in enumerate(deinterlaced(decoded_pictures(path, stream, since))):
            time = raw.time
            if number == 0 and since is not None and time is not None:
                capture.seek(time)
            is_exact = (
                is_exact
                or time is None
                or bool(raw.picture.is_corrupt)
                or raw.kind != form.kind
                or (raw.interlaced and not form.interlaced)  # else OpenCV was asked for
                or (exact_from is not None and time >= exact_from)
                or (frame := capture.frame_at(time)) is None
            )
            if is_exact:
                yield converter.take(raw)
                continue
            assert frame is not None
            shown = np.ascontiguousarray(upright(frame, form.kind.orientation))
            yield Decoded(time, False, lambda frame=shown: frame, False)  # type: ignore[misc]


def decode_alone(path: Path) -> Iterator[Decoded]:
    """The pictures of the file at `path`, whose codec PyAV was built without."""
    with closing(_Capture(path)) as capture:
        while capture.is_open:
            frame = capture.frame()
            if frame is not None:
                yield Decoded(None, False, lambda frame=frame: frame, False)  # type: ignore[misc]
            capture.advance()


class _Capture:
    """OpenCV's decoder of a file, at one of its pictures, at first the first.

    `is_open` tells whether there is a picture. The stream begins at the time `origin`, from which
    OpenCV counts. Pictures are upright, or `as_stored`: OpenCV turns them, but mirrors none.
    """

    def __init__(self, path: Path, origin: Fraction = Fraction(0), as_stored: bool = False) -> None:
        self._path, self._origin, self._as_stored = path, float(origin), as_stored
        self._open()

    def close(self) -> None:
        self._capture.release()

    def frame(self) -> Frame | None:
        """The picture, (H, W, 3) BGR of 8 bits; None if there is none."""
        whole, frame = self._capture.retrieve() if self.is_open else (False, None)
        return np.asarray(frame) if whole else None

    def frame_at(self, time: Fraction) -> Frame | None:
        """The picture shown at `time`, if it is this one or a later one; None if there is none."""
        while self.is_open and self._time() < float(time) - SAME_TIME:
            self.advance(1)
        return self.frame() if self.is_open and self._time() <= float(time) + SAME_TIME else None

    def advance(self, tries: int = DAMAGED_AT_MOST) -> None:
        """Go to the next picture that can be decoded, within so many `tries`."""
        self.is_open = any(self._capture.grab() for _ in range(tries))

    def seek(self, time: Fraction) -> None:
        """Go to a picture shown at `time` or before it."""
        early = max(0.0, float(time) - SEEK_EARLIER - self._origin)
        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * early)
        self.advance(1)
        if not self.is_open or self._time() > float(time) + SAME_TIME:
            self.close()
            self._open()

    def _open(self) -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = OPENCV_OPTIONS
        # One thread decodes, as in PyAV: with several, damage is concealed differently each time.
        self._capture = cv2.VideoCapture(
            str(regular_file(self._path)), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]
        )
        if self._as_stored:
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self.advance()

    def _time(self) -> float:
        """When the picture is shown, in seconds."""
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000 + self._origin


def _off(seen: Frame, exact: Frame) -> float:
    """The error of `seen` in levels of 255: the largest of its flat blocks, or the mean of all its
    blocks, if that is larger."""
    blocks, others = _blocks(exact), _blocks(seen)
    flat = (blocks.max((1, 3)) - blocks.min((1, 3))).max(-1) <= FLAT
    off = np.abs(blocks.mean((1, 3)) - others.mean((1, 3))).max(-1)
    return float(max(off.mean() if off.size else 0.0, off[flat].max(initial=0)))


def _blocks(frame: Frame) -> Frame:
    """The whole blocks of `frame`: (rows, BLOCK, columns, BLOCK, channels)."""
    rows, columns = (side // BLOCK for side in frame.shape[:2])
    whole = frame[: rows * BLOCK, : columns * BLOCK]
    return whole.reshape(rows, BLOCK, columns, BLOCK, -1).astype(np.int16)
