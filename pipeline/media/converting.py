"""Decoded pictures converted to frames as a player shows them: deinterlaced, RGB, upright, of one
size. ffmpeg's filters do it, with exact rounding."""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, upright

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
# EXIF's orientations without a quarter turn, by the steps (down, across) that they read pixels in.
FLIPS = {(1, 1): 1, (1, -1): 2, (-1, -1): 3, (-1, 1): 4}


class Kind(NamedTuple):
    """All that the conversion of a picture depends on. Numbers are those of H.273."""

    height: int  # pixels, as coded
    width: int
    pixel_format: str  # ffmpeg's name
    matrix: int
    full_range: int
    transfer: int
    primaries: int
    pixel_shape: Fraction | None  # width of a pixel over its height, as the codec states it
    orientation: int  # EXIF's, 1 to 8

    @property
    def hdr(self) -> str | None:
        """ "PQ" or "HLG"; None for standard dynamic range."""
        return HDR.get(self.transfer)


@dataclass(frozen=True)
class PictureFormat:
    """The format of a stream's frames, which is that of its first picture, of this `kind`.

    `depth` is in bits. `interlaced`: one of the first few pictures is. `pixel_shape` is the width
    of a pixel over its height, as coded, by the container.
    """

    kind: Kind
    depth: int = 8
    has_alpha: bool = False
    interlaced: bool = False
    pixel_shape: Fraction = Fraction(1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of an upright frame."""
        height, width = self.kind.height, self.kind.width
        return (width, height) if self.kind.orientation >= 5 else (height, width)

    def shape_of(self, kind: Kind) -> Fraction:
        """The width of an upright pixel of `kind` over its height."""
        first, now = self.kind.pixel_shape, kind.pixel_shape
        # Where the codec states another shape than at first, the container's changes alike.
        shape = self.pixel_shape * (now / first if now and first else 1)
        return 1 / shape if kind.orientation >= 5 else shape

    def fitted(self, kind: Kind) -> tuple[int, int]:
        """The upright size (height, width) at which a picture of `kind` fits into a frame; it keeps
        its aspect ratio."""
        height, width = (
            (kind.width, kind.height) if kind.orientation >= 5 else (kind.height, kind.width)
        )
        across = width * self.shape_of(kind) / self.shape_of(self.kind)
        scale = min(Fraction(self.size[0], height), self.size[1] / across)
        return max(1, round(height * scale)), max(1, round(across * scale))


@dataclass(frozen=True)
class Raw:
    """A decoded picture, PyAV's VideoFrame, before its conversion.

    `pixel_shape` is as its codec states it, `orientation` EXIF's. `interlaced`: it was, or is.
    """

    picture: Any
    pixel_shape: Fraction | None = None
    orientation: int = 1
    interlaced: bool = False

    @classmethod
    def of(cls, picture: Any, pixel_shape: Fraction | None = None, usual: int = 1) -> "Raw":
        """`picture` with what it says of itself; its orientation is the `usual` one if it says
        none."""
        orientation = orientation_of(picture, usual)
        return cls(picture, pixel_shape, orientation, bool(picture.interlaced_frame))

    @property
    def time(self) -> Fraction | None:
        """When it is shown, in seconds; None where the file does not say."""
        if self.picture.pts is None:
            return None
        return Fraction(self.picture.pts * Fraction(self.picture.time_base))

    @property
    def kind(self) -> Kind:
        """All that its conversion depends on."""
        one = self.picture
        return Kind(
            *(one.height, one.width, one.format.name),
            *(int(one.colorspace), int(one.color_range)),
            *(int(one.color_trc), int(one.color_primaries)),
            *(self.pixel_shape, self.orientation),
        )


@dataclass(frozen=True)
class Decoded:
    """One picture of a stream.

    `time` is when it is shown, in seconds, or None where the file does not say. `frame` converts
    it; call it before the next picture is decoded, or not at all. `is_exact`: PyAV decoded it.
    `changes` are the ways, keys of `CHANGES`, in which it differs from the stream's first picture.
    """

    time: Fraction | None
    damaged: bool
    frame: Callable[[], Frame]
    is_exact: bool = True
    changes: tuple[str, ...] = ()


FITTED = (
    "its pictures change their size or shape: they are fitted into the first frame's, with bars"
)
CHANGES = {
    "size": FITTED,
    "interlaced": "it becomes interlaced: deinterlaced where it is",
    "hdr": "it becomes HDR: tone-mapped to BT.709",
}


class Converter:
    """Converts pictures to upright frames of one `PictureFormat`, by ffmpeg's filters. They are set
    up anew when the kind of the pictures changes."""

    def __init__(self, form: PictureFormat) -> None:
        self._format = form
        self._kind: Kind | None = None
        self._graph: Any = None
        self._fitted = form.size

    def take(self, raw: Raw) -> Decoded:
        """`raw`, with its conversion on demand."""
        return Decoded(
            raw.time,
            bool(raw.picture.is_corrupt),
            lambda: self._converted(raw),
            changes=self._changes(raw),
        )

    def _changes(self, raw: Raw) -> tuple[str, ...]:
        kind, form = raw.kind, self._format
        if kind == form.kind and not raw.interlaced:
            return ()
        shape = form.fitted(kind) != form.size or _size(kind) != _size(form.kind)
        found = {
            "size": shape,
            "interlaced": raw.interlaced and not form.interlaced,
            "hdr": kind.hdr is not None and form.kind.hdr is None,
        }
        return tuple(name for name, holds in found.items() if holds)

    def _converted(self, raw: Raw) -> Frame:
        kind = raw.kind
        if kind != self._kind:
            self._kind, self._fitted = kind, self._format.fitted(kind)
            self._graph = graph_of(raw.picture, self._filters(kind))
        self._graph.push(raw.picture)
        frame = upright(self._graph.pull().to_ndarray(), kind.orientation)
        (height, width), (whole, wide) = self._fitted, self._format.size
        if (height, width) != (whole, wide):
            top, left = (whole - height) // 2, (wide - width) // 2
            bars = ((top, whole - height - top), (left, wide - width - left), (0, 0))
            frame = np.pad(frame, bars)
        return np.ascontiguousarray(frame)

    def _filters(self, kind: Kind) -> list[str]:
        """The filters from pictures of `kind` to pixels of the frame's format."""
        height, width = self._fitted[::-1] if kind.orientation >= 5 else self._fitted
        options = [f"{width}:{height}", f"flags={EXACT}", "out_range=pc"]
        if kind.matrix == UNTAGGED:
            matrix = "bt709" if is_hd(kind.width, kind.height) else "bt601"
            options.append(f"in_color_matrix={matrix}")
        if kind.hdr is not None or kind.primaries == BT2020:
            options += ["out_transfer=bt709", "out_primaries=bt709", "intent=perceptual"]
        pixels = FORMATS[self._format.depth > 8, self._format.has_alpha]
        return [f"scale={':'.join(options)}", f"format={pixels}"]


def deinterlaced(pictures: Iterable[Raw]) -> Iterator[Raw]:
    """`pictures`, those deinterlaced that are interlaced; the others are untouched.

    From the first interlaced one on, each comes when the next is there: both neighbours are needed.
    """
    filters: _Deinterlacer | None = None
    before: Raw | None = None
    for raw in pictures:
        if filters is not None and filters.kind != raw.kind:
            yield from filters.rest()
            filters = before = None
        if filters is None and raw.interlaced:
            filters = _Deinterlacer(raw)
            if before is not None and before.kind == raw.kind:
                for _ in (*filters.take(before), *filters.take(raw)):
                    pass  # the one before is through already
                continue
        before = raw
        yield from [raw] if filters is None else filters.take(raw)
    if filters is not None:
        yield from filters.rest()


class _Deinterlacer:
    """ffmpeg's filter for pictures of one `kind`. It gives each picture when it has the next."""

    def __init__(self, first: Raw) -> None:
        self.kind = first.kind
        self._graph = graph_of(first.picture, ["bwdif=mode=send_frame:deint=interlaced"])
        self._held: list[Raw] = []

    def take(self, raw: Raw) -> Iterator[Raw]:
        """The picture, if any, that is ready after `raw`."""
        self._held.append(raw)
        self._graph.push(raw.picture)
        yield from self._ready()

    def rest(self) -> Iterator[Raw]:
        """The picture that is held until the end."""
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Raw]:
        import av

        while self._held:
            try:
                out = self._graph.pull()
            except (BlockingIOError, EOFError, av.FFmpegError):
                return
            raw = self._held.pop(0)
            # Its own time is exact; the filter doubles the time base.
            out.pts, out.time_base = raw.picture.pts, raw.picture.time_base
            yield replace(raw, picture=out if raw.interlaced else raw.picture)


def graph_of(picture: Any, filters: list[str]) -> Any:
    """PyAV's graph of `filters`, each as `name=options`, for pictures like `picture`. Raises
    UserError where it cannot be made."""
    import av

    graph = av.filter.Graph()
    last = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base,
    )
    try:
        for step in [*filters, "buffersink"]:
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


def is_hd(width: int, height: int) -> bool:
    """Whether untagged pictures of this size are taken for BT.709, as players do."""
    return width >= HD[0] or height > HD[1]


def orientation_of(picture: Any, usual: int = 1) -> int:
    """The EXIF orientation, 1 to 8, that the display matrix of `picture`, PyAV's VideoFrame, comes
    nearest to; the `usual` one where it has none.

    The matrix takes the place (p, q) to (a p + c q, b p + d q), in libavutil's words.
    """
    from av.sidedata.sidedata import Type

    matrix = picture.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None or len(data := bytes(matrix)) < 36:
        return usual
    a, b, _, c, d, *_ = struct.unpack("=9i", data[:36])
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    return FLIPS[-1 if down < 0 else 1, -1 if across < 0 else 1] + 4 * turned


def _size(kind: Kind) -> tuple[int, int]:
    return kind.height, kind.width
