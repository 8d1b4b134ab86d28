"""The pictures of a video stream, decoded by PyAV, as the frames that a player would show."""

import math
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.media.converting import (
    Converter,
    Decoded,
    PictureFormat,
    Raw,
    deinterlaced,
    orientation_of,
)
from dreamreel.pipeline.opening import open_container

# Failures to read a packet after which reading ends, so that it ends at all. A round number, not
# measured.
DAMAGED_AT_MOST = 100
SEEKABLE = ("mov", "matroska")  # containers with an index of keyframes


def format_of(path: Path, stream: int) -> PictureFormat | None:
    """The format of the pictures in `stream` of the file at `path`; None if PyAV decodes none."""
    with closing(_pictures(path, stream)) as pictures:
        first = next(pictures, None)
        if first is None:
            return None
        interlaced = first.interlaced
        for raw, _ in zip(
            pictures, range(4), strict=False
        ):  # the first one alone may be progressive
            interlaced |= raw.interlaced
    pixels = first.picture.format
    with open_container(path) as container:
        pictured: Any = container.streams[stream]
        shape = Fraction(pictured.sample_aspect_ratio or 1) or Fraction(1)
    return PictureFormat(
        first.kind,
        max(part.bits for part in pixels.components),
        any(part.is_alpha for part in pixels.components) or pixels.name == "pal8",
        interlaced,
        shape,
    )


def decode(
    path: Path, stream: int = 0, form: PictureFormat | None = None, since: Fraction | None = None
) -> Iterator[Decoded]:
    """The pictures of the `stream` of the file at `path`, in the order in which they are shown.

    `form` is the format of the frames; None: that of the first picture. Those shown before the time
    `since`, in seconds, may be missing. Pictures that cannot be decoded are left out.
    """
    form = form or format_of(path, stream)
    if form is None:
        return
    converter = Converter(form)
    for raw in deinterlaced(decoded_pictures(path, stream, since)):
        yield converter.take(raw)


def shown_times(path: Path) -> list[Fraction | None]:
    """The time of each picture of the film at `path`, in seconds, in the order in which they are
    shown; all are decoded, on all cores. Only for films that are whole: damaged ones may differ
    from run to run."""
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 0
        return [
            None if picture.pts is None else picture.pts * (picture.time_base or Fraction(1))
            for picture in container.decode(stream)
        ]


def decoded_pictures(path: Path, number: int, since: Fraction | None) -> Iterator[Raw]:
    """The pictures of stream `number`, unconverted; see `decode`."""
    if since is not None:
        with closing(_pictures(path, number, since)) as pictures:
            first = next(pictures, None)
            if first is not None and first.time is not None and first.time <= since:
                yield first
                yield from pictures
                return
    yield from _pictures(path, number)


def _pictures(path: Path, number: int, since: Fraction | None = None) -> Generator[Raw, None, None]:
    """The decoded pictures of stream `number`, in the order in which they are shown."""
    import av

    try:
        with open_container(path) as container:
            stream = container.streams[number]
            if since is not None:
                _seek(container, stream, since)
            decoder = _decoder(stream)
            usual = 1 if decoder is stream.codec_context else _orientation(path, number)
            shapes = _Shapes(decoder)
            for packet in _packets(container, stream):
                try:
                    pictures = decoder.decode(packet if packet.size else None)
                except (av.FFmpegError, ValueError):
                    continue
                shapes.see(packet)
                for picture in pictures:
                    picture.time_base = picture.time_base or stream.time_base
                    yield Raw.of(picture, shapes.of(picture), usual)
    except (av.FFmpegError, OSError, ValueError):
        return


def _orientation(path: Path, number: int) -> int:
    """The orientation of the first picture that the usual decoder of stream `number` gives."""
    with open_container(path) as container:
        first = next(container.decode(container.streams[number]), None)
        return 1 if first is None else orientation_of(first)


class _Shapes:
    """The shapes of a stream's pixels, as its `decoder` states them. It states a new one with the
    packet that has it, before the pictures of earlier packets are all out."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._since: list[tuple[int | None, Fraction | None]] = []

    def see(self, packet: Any) -> None:
        """Take note of the shape after `packet` is decoded."""
        shape = self._decoder.sample_aspect_ratio or None
        if not self._since or (shape is not None and shape != self._since[-1][1]):
            self._since.append((packet.pts, shape))

    def of(self, picture: Any) -> Fraction | None:
        """The shape of the pixels of `picture`; None where the codec does not state it."""
        while (
            len(self._since) > 1
            and picture.pts is not None
            and (self._since[1][0] is None or picture.pts >= self._since[1][0])
        ):
            del self._since[0]
        return self._since[0][1]


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
