"""The coded pictures of a video stream, as frames that look as a player shows them.

ffmpeg's libraries decode them, by PyAV, and convert them with exact rounding. OpenCV's conversion
is off by up to 3 levels of 255, takes untagged HD for BT.601, and knows neither depth nor alpha:
it decodes only what PyAV was built without.
"""

import math
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.opening import OPENCV_OPTIONS, open_container, regular_file

DAMAGED_AT_MOST = 100  # packets in a row that cannot be read, before that is the end
SEEKABLE = ("mov", "matroska")  # the containers that know where their whole pictures are
EXACT = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
UNTAGGED, BT2020 = 2, 9  # as H.273 numbers them
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics
HD = (1280, 576)  # width from which, height above which, untagged pictures are BT.709
FORMATS = {
    (False, False): "bgr24",
    (False, True): "bgra",
    (True, False): "bgr48le",
    (True, True): "bgra64le",
}  # of a frame: whether deeper than 8 bits, whether with alpha


@dataclass(frozen=True)
class PictureFormat:
    """What a stream's pictures are, as its first tells: their `depth` in bits, whether they have
    alpha and are interlaced, and their dynamic range where it is high, "PQ" or "HLG"."""

    depth: int = 8
    has_alpha: bool = False
    interlaced: bool = False
    hdr: str | None = None


@dataclass(frozen=True)
class Decoded:
    """One picture: when it is shown, in seconds, where the file says so; whether it is damaged;
    and what makes a frame of it, which nobody need call."""

    time: Fraction | None
    damaged: bool
    frame: Callable[[], Frame]


def format_of(path: Path, stream: int) -> PictureFormat | None:
    """What the pictures of the `stream` of the file at `path` are; None where PyAV decodes none."""
    with closing(_pictures(path, stream)) as pictures:
        first = next(pictures, None)
        if first is None:
            return None
        interlaced = bool(first.interlaced_frame)
        for _ in range(4):  # the first may be the only one that is not
            interlaced |= bool(getattr(next(pictures, None), "interlaced_frame", False))
    parts = first.format.components
    return PictureFormat(
        max(part.bits for part in parts),
        any(part.is_alpha for part in parts) or first.format.name == "pal8",
        interlaced,
        HDR.get(int(first.color_trc)),
    )


def decode(
    path: Path, stream: int, kind: PictureFormat | None, since: Fraction | None = None
) -> Iterator[Decoded]:
    """The pictures of the `stream` of the file at `path`, which are of that `kind`, as long as
    they last; past damaged ones there often are others.

    Those shown before the time `since`, in seconds, may be left out.
    """
    if kind is None:
        yield from _decode_with_opencv(path)
        return
    upright = _Upright(kind)
    for picture in _pictures_since(path, stream, since):
        for shown, time in upright.take(picture):
            yield Decoded(time, bool(picture.is_corrupt), shown)
    for shown, time in upright.rest():
        yield Decoded(time, False, shown)


class _Upright:
    """ffmpeg's filters, set up anew where the pictures change on the way."""

    def __init__(self, kind: PictureFormat) -> None:
        self._format = kind
        self._kind: tuple[Any, ...] = ()
        self._graph: Any = None
        self._size: tuple[int, int] | None = None
        self._turns = 0

    def take(self, picture: Any) -> Iterator[tuple[Callable[[], Frame], Fraction | None]]:
        """What comes out for `picture`: frames to be made, and their times."""
        kind = (
            picture.width,
            picture.height,
            picture.format.name,
            picture.colorspace,
            picture.color_range,
            picture.color_trc,
            picture.color_primaries,
        )
        if kind != self._kind:
            self._kind, self._graph = kind, self._filters(picture)
        self._turns = round(getattr(picture, "rotation", 0) / 90) % 4
        if not self._format.interlaced:  # one in, one out: not converted unless it is wanted
            yield (lambda: self._pulled(picture)), _time(picture)
            return
        self._graph.push(picture)
        yield from self._ready()

    def rest(self) -> Iterator[tuple[Callable[[], Frame], Fraction | None]]:
        """What the filters have kept back."""
        if self._format.interlaced and self._graph is not None:
            self._graph.push(None)
            yield from self._ready()

    def _ready(self) -> Iterator[tuple[Callable[[], Frame], Fraction | None]]:
        import av

        while True:
            try:
                out = self._graph.pull()
            except (BlockingIOError, EOFError, av.FFmpegError):
                return
            frame = self._turned(out)
            yield (lambda frame=frame: frame), _time(out)  # type: ignore[misc]

    def _pulled(self, picture: Any) -> Frame:
        self._graph.push(picture)
        return self._turned(self._graph.pull())

    def _turned(self, out: Any) -> Frame:
        return np.ascontiguousarray(np.rot90(out.to_ndarray(), self._turns))

    def _filters(self, picture: Any) -> Any:
        """From pictures like `picture` to frames of the first one's size."""
        import av

        self._size = self._size or (picture.width, picture.height)
        steps = ["bwdif=mode=send_frame:deint=interlaced"] if self._format.interlaced else []
        steps += [f"scale={':'.join(self._conversion(picture))}"]
        steps += [f"format={FORMATS[self._format.depth > 8, self._format.has_alpha]}", "buffersink"]
        graph = av.filter.Graph()
        last = graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base,
        )
        try:
            for step in steps:
                name, _, options = step.partition("=")
                this = graph.add(name, options) if options else graph.add(name)
                last.link_to(this)
                last = this
            graph.configure()
        except (av.FFmpegError, ValueError) as error:
            raise UserError(
                f"PyAV {av.__version__} cannot convert such pictures: {error}"
            ) from error
        return graph

    def _conversion(self, picture: Any) -> list[str]:
        assert self._size is not None
        width, height = self._size
        options = [f"{width}:{height}", f"flags={EXACT}", "out_range=pc"]
        if picture.colorspace == UNTAGGED:
            hd = picture.width >= HD[0] or picture.height > HD[1]
            options.append(f"in_color_matrix={'bt709' if hd else 'bt601'}")
        if self._format.hdr or picture.color_primaries == BT2020:
            options += ["out_transfer=bt709", "out_primaries=bt709", "intent=perceptual"]
        return options


def _time(picture: Any) -> Fraction | None:
    return None if picture.pts is None else picture.pts * Fraction(picture.time_base)


def _pictures_since(path: Path, number: int, since: Fraction | None) -> Iterator[Any]:
    """The decoded pictures of stream `number`, from some way before the time `since` on."""
    if since is not None:
        with closing(_pictures(path, number, since)) as pictures:
            first = next(pictures, None)
            if first is not None and (time := _time(first)) is not None and time <= since:
                yield first
                yield from pictures
                return
    yield from _pictures(path, number)


def _pictures(path: Path, number: int, since: Fraction | None = None) -> Generator[Any, None, None]:
    """The decoded pictures of stream `number`, in the order in which they are shown."""
    import av

    try:
        with open_container(path) as container:
            stream = container.streams[number]
            if since is not None:
                _seek(container, stream, since)
            decoder = _decoder(stream)
            for packet in _packets(container, stream):
                try:
                    pictures = decoder.decode(packet if packet.size else None)
                except (av.FFmpegError, ValueError):
                    continue
                for picture in pictures:
                    picture.time_base = picture.time_base or stream.time_base
                    yield picture
    except (av.FFmpegError, OSError, ValueError):
        return


def _seek(container: Any, stream: Any, since: Fraction) -> None:
    """Go to the whole picture before the one that the time `since` follows: behind the first of
    these, pictures may lean on what came before it; behind the second, they are as they ever are.
    """
    if not container.format.name.startswith(SEEKABLE):
        return
    at = math.floor(since / stream.time_base)
    for _ in range(2):
        container.seek(at, stream=stream)
        at = next((packet.pts for packet in container.demux(stream) if packet.pts is not None), 0)
        at -= 1
    container.seek(at, stream=stream)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of `stream`, past what cannot be read, and an empty one at the end."""
    import av

    for _ in range(DAMAGED_AT_MOST):
        try:
            for packet in container.demux(stream):
                yield packet
                if not packet.size:
                    return
            return
        except (av.FFmpegError, OSError, ValueError):
            continue


def _decoder(stream: Any) -> Any:
    """One thread decodes: several conceal what is damaged now so, now otherwise."""
    import av

    own = stream.codec_context
    alpha = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1"
    if own.name in ("vp8", "vp9") and alpha:  # ffmpeg's own decoder drops it
        decoder = av.CodecContext.create(f"libvpx-{own.name}".removesuffix("-vp8"), "r")
        decoder.extradata = own.extradata
        decoder.thread_count = 1
        return decoder
    own.thread_count = 1
    return own


def _decode_with_opencv(path: Path) -> Iterator[Decoded]:
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = OPENCV_OPTIONS
    capture = cv2.VideoCapture(str(regular_file(path)), cv2.CAP_FFMPEG)
    try:
        while any(capture.grab() for _ in range(DAMAGED_AT_MOST)):
            whole, frame = capture.retrieve()
            if whole:
                yield Decoded(None, False, lambda frame=frame: frame)  # type: ignore[misc]
    finally:
        capture.release()
