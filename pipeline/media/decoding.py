"""The pictures of a video stream, decoded by PyAV, as the frames that a player would show.

ffmpeg's filters convert them, with exact rounding.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.opening import open_container

# Failures to read a packet after which reading ends, so that it ends at all. A round number, not
# measured.
DAMAGED_AT_MOST = 100
SEEKABLE = ("mov", "matroska")  # containers with an index of keyframes
EXACT = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"  # flags of ffmpeg's scaler
UNTAGGED, BT2020 = 2, 9  # as H.273 numbers them
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics
HD = (1280, 576)  # pixels: untagged pictures this wide, or higher than this, are BT.709
FORMATS = {
    (False, False): "bgr24",
    (False, True): "bgra",
    (True, False): "bgr48le",
    (True, True): "bgra64le",
}  # of a frame, by (deeper than 8 bits, with alpha)


@dataclass(frozen=True)
class PictureFormat:
    """The format of a stream's pictures, taken from the first of them.

    `depth` is in bits; `hdr` is "PQ" or "HLG", or None for standard dynamic range. `size` is
    (height, width) as coded, `turns` the quarter turns to the left that make a picture upright.
    `matrix` and `primaries` are numbered as in H.273.
    """

    depth: int = 8
    has_alpha: bool = False
    interlaced: bool = False
    hdr: str | None = None
    size: tuple[int, int] = (0, 0)
    turns: int = 0
    matrix: int = UNTAGGED
    primaries: int = UNTAGGED


@dataclass(frozen=True)
class Decoded:
    """One picture of a stream.

    `time` is when it is shown, in seconds, or None where the file does not say. `frame` converts
    it; call it before the next picture is decoded, or not at all. `is_exact`: PyAV decoded it.
    """

    time: Fraction | None
    damaged: bool
    frame: Callable[[], Frame]
    is_exact: bool = True


def format_of(path: Path, stream: int) -> PictureFormat | None:
    """The format of the pictures in `stream` of the file at `path`; None if PyAV decodes none."""
    with closing(_pictures(path, stream)) as pictures:
        first = next(pictures, None)
        if first is None:
            return None
        interlaced = bool(first.interlaced_frame)
        for _ in range(4):  # the first one alone may be progressive
            interlaced |= bool(getattr(next(pictures, None), "interlaced_frame", False))
    parts = first.format.components
    return PictureFormat(
        max(part.bits for part in parts),
        any(part.is_alpha for part in parts) or first.format.name == "pal8",
        interlaced,
        HDR.get(int(first.color_trc)),
        (first.height, first.width),
        _turns(first),
        int(first.colorspace),
        int(first.color_primaries),
    )


def decode(
    path: Path, stream: int = 0, kind: PictureFormat | None = None, since: Fraction | None = None
) -> Iterator[Decoded]:
    """The pictures of the `stream` of the file at `path`, in the order in which they are shown.

    `kind` is their format; None: that of the first of them. Those shown before the time `since`,
    in seconds, may be missing. Pictures that cannot be decoded are left out.
    """
    kind = kind or format_of(path, stream)
    if kind is None:
        return
    converter = Converter(kind)
    for picture in decoded_pictures(path, stream, since):
        yield from converter.take(picture)
    yield from converter.rest()


def decoded_pictures(path: Path, number: int, since: Fraction | None) -> Iterator[Any]:
    """The pictures of stream `number` as PyAV's VideoFrame, unconverted; see `decode`."""
    if since is not None:
        with closing(_pictures(path, number, since)) as pictures:
            first = next(pictures, None)
            if first is not None and (time := time_of(first)) is not None and time <= since:
                yield first
                yield from pictures
                return
    yield from _pictures(path, number)


def time_of(picture: Any) -> Fraction | None:
    """When `picture`, PyAV's VideoFrame, is shown, in seconds; None where the file does not say."""
    return None if picture.pts is None else picture.pts * Fraction(picture.time_base)


def is_hd(width: int, height: int) -> bool:
    """Whether players take untagged pictures of that size, in pixels, for BT.709, not BT.601."""
    return width >= HD[0] or height > HD[1]


class Converter:
    """Converts PyAV's pictures to upright frames, by ffmpeg's filters.

    The filters are set up anew when the format of the pictures changes; the size of the frames
    stays that of the first.
    """

    def __init__(self, kind: PictureFormat) -> None:
        self._format = kind
        self._kind: tuple[Any, ...] = ()
        self._graph: Any = None
        self._size: tuple[int, int] | None = None
        self._turns = 0

    def take(self, picture: Any) -> Iterator[Decoded]:
        """The frames that are ready after `picture`, PyAV's VideoFrame."""
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
        self._turns = _turns(picture)
        damaged = bool(picture.is_corrupt)
        if not self._format.interlaced:  # one in, one out: convert only on demand
            yield Decoded(time_of(picture), damaged, lambda: self._pulled(picture))
            return
        self._graph.push(picture)
        yield from self._ready(damaged)

    def rest(self) -> Iterator[Decoded]:
        """The frames that the filters hold until the end."""
        if self._format.interlaced and self._graph is not None:
            self._graph.push(None)
            yield from self._ready(False)

    def _ready(self, damaged: bool) -> Iterator[Decoded]:
        import av

        while True:
            try:
                out = self._graph.pull()
            except (BlockingIOError, EOFError, av.FFmpegError):
                return
            frame = self._turned(out)
            yield Decoded(time_of(out), damaged, lambda frame=frame: frame)  # type: ignore[misc]

    def _pulled(self, picture: Any) -> Frame:
        self._graph.push(picture)
        return self._turned(self._graph.pull())

    def _turned(self, out: Any) -> Frame:
        return np.ascontiguousarray(np.rot90(out.to_ndarray(), self._turns))

    def _filters(self, picture: Any) -> Any:
        """The filter graph from pictures like `picture` to frames of the first one's size."""
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
                f"PyAV {av.__version__} cannot convert pictures of this format: {error}"
            ) from error
        return graph

    def _conversion(self, picture: Any) -> list[str]:
        assert self._size is not None
        width, height = self._size
        options = [f"{width}:{height}", f"flags={EXACT}", "out_range=pc"]
        if picture.colorspace == UNTAGGED:
            matrix = "bt709" if is_hd(picture.width, picture.height) else "bt601"
            options.append(f"in_color_matrix={matrix}")
        if self._format.hdr or picture.color_primaries == BT2020:
            options += ["out_transfer=bt709", "out_primaries=bt709", "intent=perceptual"]
        return options


def _turns(picture: Any) -> int:
    """How many quarter turns to the left make `picture` upright."""
    return round(getattr(picture, "rotation", 0) / 90) % 4


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
    """Seek to the third keyframe before the time `since`, or to the beginning.

    In an open GOP, pictures behind the keyframe at which decoding begins may refer to pictures
    before it. Behind the next keyframe, they are as in a run from the start.
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
    """The packets of `stream`, those that cannot be read left out, and an empty one at the end."""
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
    """The decoder of `stream`, with one thread: with several, damage is concealed differently from
    run to run."""
    import av

    own = stream.codec_context
    alpha = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1"
    if own.name in ("vp8", "vp9") and alpha:  # ffmpeg's own decoder drops alpha
        decoder = av.CodecContext.create(f"libvpx-{own.name}".removesuffix("-vp8"), "r")
        decoder.extradata = own.extradata
        decoder.thread_count = 1
        return decoder
    own.thread_count = 1
    return own
