"""Footage whose frames and colours are known, in files of every kind, as cases for a render.

A frame shows bars of known colours, a moving block, and its own number in black and white.
"""

import itertools
import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.media.ffmpeg import ffmpeg

Pixels = NDArray[Any]

SIZE = (96, 160)  # height, width
HD = (720, 1280)
RATE = Fraction(25)
COUNT = 30  # frames
DIGITS = 10  # binary digits of a frame's number, the highest first
NO_BARS = ("source.bars=keep",)  # the number of frame 0 is a black strip, and no bar
BARS = (
    (255, 255, 255), (192, 192, 0), (0, 192, 192), (0, 192, 0),
    (192, 0, 192), (192, 0, 0), (0, 0, 192), (64, 128, 200),
)  # fmt: skip  # RGB
EXACTLY = "flags=accurate_rnd+full_chroma_int+full_chroma_inp"
TO_BT709 = (
    f"scale=in_range=pc:out_range=tv:out_color_matrix=bt709:{EXACTLY},setparams=range=tv:"
    "color_primaries=bt709:color_trc=bt709:colorspace=bt709"
)
ALPHAS = (255, 192, 128, 64, 255, 224, 160, 96)  # of the bars in footage with alpha


@dataclass(frozen=True)
class Case:
    """A source, the output that it is rendered to, and what is expected of the render.

    `make` writes the source into a folder and returns its path. `settings` are assignments for
    --set. Each of `told` is part of an expected notice, or of the error if the source is to be
    `refused`. `off`: how far a colour may be off, in 255ths; None: colours are not compared.
    """

    make: Callable[[Path], Path]
    out: str = "out.mp4"
    settings: tuple[str, ...] = NO_BARS
    told: tuple[str, ...] = ()
    refused: bool = False
    off: float | None = 2.0
    drawn: bool = True  # whether `draw` made the frames of the source
    alpha: bool = False  # whether the output has alpha
    timeless: bool = False  # whether the source stores no times: its frames follow at RATE
    chatty: bool = False  # whether other notices may come, too
    stream: int = 0
    numbers: tuple[int, ...] = ()  # of the output's frames; empty: those of the source


def run_ffmpeg(*options: str, stdin: bytes | None = None, folder: Path | None = None) -> bytes:
    """Run ffmpeg with `options`; what it writes to standard output. Raises CalledProcessError."""
    command = [ffmpeg(), "-v", "error", "-y", *options]
    ran = subprocess.run(command, input=stdin, check=True, capture_output=True, cwd=folder)
    return ran.stdout


def draw(number: int, size: tuple[int, int] = SIZE, has_alpha: bool = False) -> Pixels:
    """The frame of that `number` at `size` (height, width): (H, W, 3 or 4), RGB or RGBA, uint8."""
    height, width = size
    frame = np.full((height, width, 4), 255, np.uint8)
    low, lowest = rows(height)
    for bar, (left, right) in enumerate(columns(width, len(BARS))):
        frame[:low, left:right] = (*BARS[bar], ALPHAS[bar])
    frame[low:lowest, :, :3] = 96
    at = width * (number % 32) // 40
    frame[low:lowest, at : at + width // 8, :3] = (220, 60, 40)
    for digit, (left, right) in enumerate(columns(width, DIGITS)):
        frame[lowest:, left:right, :3] = 255 * (number >> (DIGITS - 1 - digit) & 1)
    return np.ascontiguousarray(frame if has_alpha else frame[..., :3])


def rows(height: int) -> tuple[int, int]:
    """The rows at which the bars end and the number begins."""
    return height * 2 // 3, height * 5 // 6


def columns(width: int, count: int) -> list[tuple[int, int]]:
    """`width` divided into `count` columns: the (left, right) of each."""
    edges = [width * number // count for number in range(count + 1)]
    return list(itertools.pairwise(edges))


def number_of(frame: Pixels) -> int:
    """The number that is drawn in a `frame` (H, W, C), in binary."""
    height, width = frame.shape[:2]
    top = rows(height)[1]
    middle = (top + height) // 2
    number = 0
    for left, right in columns(width, DIGITS):
        at = (left + right) // 2
        number = 2 * number + int(frame[middle - 1 : middle + 2, at - 1 : at + 2, 1].mean() > 127)
    return number


def colours(frame: Pixels) -> Pixels:
    """The median colour inside each bar of a frame (H, W, C): (bars, C)."""
    low, _ = rows(frame.shape[0])
    inside = [
        frame[low // 4 : low * 3 // 4, left + (right - left) // 3 : right - (right - left) // 3]
        for left, right in columns(frame.shape[1], len(BARS))
    ]
    return np.stack([np.median(part.reshape(-1, part.shape[-1]), 0) for part in inside])


def true_colours(channels: int) -> Pixels:
    """The colours of the bars as drawn: (bars, channels)."""
    drawn = np.array([(*bar, alpha) for bar, alpha in zip(BARS, ALPHAS, strict=True)])
    return drawn[:, :channels]


def film(
    path: Path,
    *options: str,
    size: tuple[int, int] = SIZE,
    rate: Fraction = RATE,
    numbers: Iterable[int] = range(COUNT),
    has_alpha: bool = False,
    before: Sequence[str] = (),
    codec: Sequence[str] = ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv444p"),
    filters: str = TO_BT709,
) -> Path:
    """Encode the frames `numbers` at `path`; returns `path`.

    `before` are ffmpeg's options of the input of frames; `options` are further inputs and their
    options; `filters` is the filter chain of the frames, and `codec` follows it.
    """
    height, width = size
    ffmpeg_input = [
        *("-f", "rawvideo", "-pixel_format", "rgba" if has_alpha else "rgb24"),
        *("-video_size", f"{width}x{height}", "-framerate", str(rate), *before, "-i", "-"),
    ]
    raw = b"".join(draw(number, size, has_alpha).tobytes() for number in numbers)
    chain = ["-vf", filters] if filters else []
    run_ffmpeg(*ffmpeg_input, *options, *chain, *codec, str(path), stdin=raw)
    return path


def noise(seed: int, seconds: float = 1.2, late: float = 0) -> list[str]:
    """ffmpeg's options for an input of noise, so that any shift in time shows; `late`: seconds."""
    source = f"anoisesrc=d={seconds}:c=pink:seed={seed}:a=0.5:r=48000,lowpass=4000"
    return [*(("-itsoffset", str(late)) if late else ()), "-f", "lavfi", "-i", source]


def clip_in(folder: Path, name: str, **more: Any) -> Path:
    """A clip of that name in `folder`; `more` is for `film`."""
    return film(folder / name, *more.pop("options", ()), **more)


def clip(name: str, *options: str, **more: Any) -> Callable[[Path], Path]:
    """A function that makes a clip of that name in a folder; the rest is for `film`."""
    return partial(clip_in, name=name, options=options, **more)


SOUND = (*noise(1), "-c:a", "aac", "-b:a", "128k", "-shortest")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-crf", "1")
VP9 = ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "4", "-b:v", "0", "-deadline",
       "realtime", "-cpu-used", "8")  # fmt: skip
ALPHA_VP9 = ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "0",
             "-auto-alt-ref", "0", "-cpu-used", "8")  # fmt: skip
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct", "-bf", "2")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "1", "-bf", "2")
PRORES = ("-c:v", "prores_ks", "-profile:v", "3")
WEBP = ("-c:v", "libwebp_anim", "-lossless", "1")
PLAIN = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "4")


def two_tracks(folder: Path, name: str) -> Path:
    """A clip with two sound tracks, in English and French."""
    return film(
        folder / name, *noise(1), *noise(2), "-map", "0:v", "-map", "1:a", "-map", "2:a",
        "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-c:a", "aac",
    )  # fmt: skip


def with_subtitles(folder: Path, name: str, codec: str) -> Path:
    """A clip with sound and German subtitles in `codec`."""
    (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,700\nWords\n")
    return film(
        folder / name, "-i", str(folder / "words.srt"), *noise(1), "-map", "0:v", "-map", "2:a",
        "-map", "1:s", "-c:s", codec, "-metadata:s:s:0", "language=deu", "-c:a", "aac",
    )  # fmt: skip


def with_painted_subtitles(folder: Path, name: str) -> Path:
    """A clip with subtitles that are pictures, as on DVDs."""
    (folder / "words.sup").write_bytes(_presentation_graphics())
    return film(
        folder / name, "-i", str(folder / "words.sup"), *noise(1), "-map", "0:v", "-map", "2:a",
        "-map", "1:s", "-c:s", "dvd_subtitle", "-c:a", "aac",
    )  # fmt: skip


def _presentation_graphics() -> bytes:
    """A white box shown from 0.1 to 0.7 s, in Blu-ray's format of subtitles (Presentation Graphics,
    which ffmpeg reads and cannot write)."""
    width, height = 32, 8
    row = bytes([0, 0x80 | width, 1, 0, 0])
    palette = bytes([0, 0, 1, 235, 128, 128, 255])
    picture = struct.pack(">HH", width, height) + row * height
    whole = struct.pack(">HBB", 0, 0, 0xC0) + (len(picture)).to_bytes(3, "big") + picture
    window = struct.pack(">BBHHHH", 1, 0, 8, 8, width, height)

    def shown(seconds: float, objects: bytes, state: int) -> bytes:
        head = struct.pack(">HHBHBBB", *SIZE[::-1], 0x10, int(seconds * 10), state, 0, 0)
        count = bytes([1 if objects else 0])
        parts = [(0x16, head + count + objects), (0x17, window)]
        parts += [(0x14, palette), (0x15, whole)] if objects else []
        parts.append((0x80, b""))
        ticks = int(seconds * 90000)
        return b"".join(
            b"PG" + struct.pack(">IIBH", ticks, 0, kind, len(data)) + data for kind, data in parts
        )

    return shown(0.1, struct.pack(">HBBHH", 0, 0, 0, 8, 8), 0x80) + shown(0.7, b"", 0)


def chapters(folder: Path, name: str) -> Path:
    """A clip with sound, a title, an artist and two chapters."""
    (folder / "told.txt").write_text(
        ";FFMETADATA1\ntitle=Bars\nartist=Nobody\n"
        "[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=4\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/10\nSTART=4\nEND=12\ntitle=Two\n"
    )
    return film(
        folder / name, *noise(1), "-i", str(folder / "told.txt"), "-map", "0:v", "-map", "1:a",
        "-map_metadata", "2", "-c:a", "aac",
    )  # fmt: skip


def turned(folder: Path, degrees: int) -> Path:
    """A clip stored rotated, which its display rotation of `degrees` shows upright."""
    back = {90: "transpose=clock,", 180: "hflip,vflip,", 270: "transpose=cclock,"}[degrees]
    film(folder / "lying.mp4", *SOUND, filters=back + TO_BT709)
    out = folder / f"turned{degrees}.mp4"
    run_ffmpeg(
        "-display_rotation", str(degrees), "-i", str(folder / "lying.mp4"), "-c", "copy", str(out)
    )
    return out


def varying(folder: Path, name: str) -> Path:
    """A clip of variable rate: 15 frames at 30 per second, then 7 per second."""
    times = "if(lt(N,15),N/30,0.5+(N-15)/7)/TB"
    return film(
        folder / name, *noise(1, 2.6), "-map", "0:v", "-map", "1:a", "-c:a", "aac",
        "-fps_mode", "passthrough", "-enc_time_base:v", "1/600",
        filters=f"{TO_BT709},settb=1/600,setpts='{times}'",
    )  # fmt: skip


def tagged(folder: Path, matrix: str, full: bool, tags: bool, size: tuple[int, int] = SIZE) -> Path:
    """A clip in the colour `matrix`, of full or limited range, with or without tags that say so."""
    kind = {"bt601": "smpte170m", "bt709": "bt709"}[matrix]
    said = f"{kind}:color_trc={kind}:colorspace={kind}" if tags else (
        "unknown:color_trc=unknown:colorspace=unknown"
    )  # fmt: skip
    span = "pc" if full else "tv"
    return film(
        folder / f"{matrix}-{span}-{tags}-{size[0]}.mp4", size=size, numbers=range(8),
        filters=f"scale=in_range=pc:out_range={span}:out_color_matrix={matrix}:"
        f"{EXACTLY},format=yuv444p,setparams=range={span}:"
        f"color_primaries={said}",
    )  # fmt: skip


def hdr(folder: Path, curve: str) -> Path:
    """An HDR clip with the transfer `curve` and white at 203 nits (ITU-R BT.2408)."""
    told = {"smpte2084": "transfer=16", "arib-std-b67": "transfer=18"}[curve]
    return film(
        folder / f"{curve}.mp4",
        filters=f"format=gbrp16le,zscale=tin=iec61966-2-1:pin=bt709:min=gbr:rin=full:t={curve}:"
        "p=bt2020:m=bt2020nc:r=limited:npl=203,format=yuv420p10le",
        codec=("-c:v", "libx265", "-crf", "4", "-tag:v", "hvc1", "-x265-params",
               f"log-level=error:colorprim=9:colormatrix=9:{told}"),
    )  # fmt: skip


def interlaced(folder: Path, name: str, *codec: str) -> Path:
    """An interlaced clip of 50 fields per second, whose two fields of a frame are alike."""
    numbers = [number // 2 for number in range(2 * COUNT)]
    return film(
        folder / name, *noise(1), "-c:a", "mp2", "-shortest", numbers=numbers, rate=2 * RATE,
        filters=f"{TO_BT709},interlace=scan=tff:lowpass=off,setfield=tff,format=yuv420p",
        codec=codec,
    )  # fmt: skip


def with_cover(folder: Path, name: str) -> Path:
    """A clip with an attached cover picture."""
    cv2.imwrite(str(folder / "cover.png"), draw(1000, (64, 64)))
    if name.endswith(".mkv"):
        options = ["-attach", str(folder / "cover.png"), "-metadata:s:t", "mimetype=image/png",
                   "-metadata:s:t", "filename=cover.png"]  # fmt: skip
        return film(folder / name, *noise(1), "-c:a", "aac", "-shortest", *options)
    plain = film(folder / f"plain-{name}", *SOUND)
    run_ffmpeg(
        "-i", str(plain), "-i", str(folder / "cover.png"), "-map", "0", "-map", "1", "-c", "copy",
        "-c:v:1", "png", "-disposition:v:1", "attached_pic", str(folder / name),
    )  # fmt: skip
    return folder / name


def two_films(folder: Path, name: str) -> Path:
    """A clip with two video streams; the second has the frames from number 100 on."""
    first = film(folder / f"first-{name}", *SOUND)
    second = film(folder / f"second-{name}", numbers=range(100, 100 + COUNT))
    run_ffmpeg(
        "-i", str(first), "-i", str(second), "-map", "0", "-map", "1", "-c", "copy",
        str(folder / name),
    )  # fmt: skip
    return folder / name


def live(folder: Path, name: str) -> Path:
    """A clip without a stored length, as a live stream has none."""
    made = film(folder / f"whole-{name}", *noise(1), "-c:a", "libopus", "-shortest", codec=VP9)
    piped = run_ffmpeg("-i", str(made), "-c", "copy", "-f", "webm", "-live", "1", "-")
    (folder / name).write_bytes(piped)
    return folder / name


def header_only(folder: Path, name: str) -> Path:
    """A file that ends right after its header."""
    fragments = ("-movflags", "frag_keyframe+empty_moov")
    whole = film(folder / f"whole-{name}", *(fragments if name.endswith(".mp4") else ()))
    data = whole.read_bytes()
    mark = b"moof" if name.endswith(".mp4") else b"\x1f\x43\xb6\x75"
    end = data.index(mark) - (4 if name.endswith(".mp4") else 0)
    (folder / name).write_bytes(data[:end])
    return folder / name


def trimmed(folder: Path, name: str) -> Path:
    """A clip cut by stream copy, without re-encoding: an edit list hides the frames between the key
    frame and the cut, at frame 35."""
    whole = film(
        folder / f"whole-{name}", *noise(1, 3), "-c:a", "aac", "-shortest", numbers=range(70),
        codec=(*X264, "-g", "25", "-bf", "2"),
    )  # fmt: skip
    run_ffmpeg("-ss", "1.4", "-i", str(whole), "-c", "copy", str(folder / name))
    return folder / name


def animation(folder: Path, name: str, codec: Sequence[str] = ()) -> Path:
    """20 frames at 20 per second, in a file whose ending names the format."""
    return film(folder / name, codec=codec, filters="", numbers=range(20), rate=Fraction(20))


def stills(
    folder: Path,
    name: str,
    kind: str = "rgb24",
    numbers: Sequence[int] = range(COUNT),
    has_alpha: bool = False,
) -> Path:
    """A folder of PNGs; `kind` rgb48 has 16 bits."""
    place = folder / name
    place.mkdir()
    for number in numbers:
        frame = draw(number, has_alpha=has_alpha)
        if kind == "rgb48":
            frame = frame.astype(np.uint16) * 257
        order = [2, 1, 0, 3][: frame.shape[2]]
        cv2.imwrite(str(place / f"{number:04}.png"), frame[..., order])
    return place


def displayed(folder: Path, options: Sequence[str], **more: Any) -> Path:
    """A clip whose display matrix is as the `options` of ffmpeg say."""
    stored = film(folder / "stored.mp4", numbers=range(6), **more)
    run_ffmpeg(*options, "-i", str(stored), "-c", "copy", str(folder / "shown.mp4"))
    return folder / "shown.mp4"


def two_sizes(folder: Path, first: str, second: str, *filters: str) -> Path:
    """A film of two parts of ten frames, each of its own size (WxH)."""
    data = b""
    for number, size in enumerate((first, second)):
        part = folder / f"{number}.h264"
        chain = filters[number] if filters else "null"
        run_ffmpeg(
            *("-f", "lavfi", "-i", f"color=white:s={size}:d=0.4", "-bf", "0", "-vf", chain),
            *("-pix_fmt", "yuv420p", str(part)),
        )
        data += part.read_bytes()
    (folder / "both.h264").write_bytes(data)
    both = folder / "both.mkv"
    run_ffmpeg("-framerate", "25", "-i", str(folder / "both.h264"), "-c", "copy", str(both))
    return both


def partly_interlaced(folder: Path, parts: str = "pi") -> Path:
    """A film of such `parts` in turn: p, 25 progressive frames, and i, 12 interlaced ones."""
    kinds = {
        "p.ts": ("testsrc2=s=160x96:r=25:d=1", "null", ""),
        "i.ts": ("testsrc2=s=160x96:r=50:d=0.5", "interlace", "+ilme+ildct"),
    }
    for name, (source, chain, flags) in kinds.items():
        run_ffmpeg(
            *("-f", "lavfi", "-i", source, "-vf", chain, "-c:v", "mpeg2video", "-q:v", "2"),
            *(("-flags", flags) if flags else ()), str(folder / name),
        )  # fmt: skip
    (folder / "list").write_text("".join(f"file {part}.ts\n" for part in parts))
    out = folder / f"{parts}.mkv"
    run_ffmpeg("-f", "concat", "-i", str(folder / "list"), "-c", "copy", str(out))
    return out


STYLED = (
    "[Script Info]\nScriptType: v4.00+\nPlayResX: 160\nPlayResY: 96\n\n[V4+ Styles]\n"
    "Format: Name, Fontname, Fontsize, PrimaryColour, Alignment\nStyle: Big,Serif,20,&H0000FFFF,8\n"
    "\n[Events]\nFormat: Start, End, Style, Text\n"
    "Dialogue: 0:00:00.00,0:00:00.40,Big,{\\pos(80,10)}words\n"
)


def with_extras(folder: Path, *, attached: bool = True, words: str | None = None) -> Path:
    """An .mkv of 8 frames, with an attached note and subtitles in the codec `words`, if any."""
    (folder / "note.txt").write_text("attached")
    (folder / "words.ass").write_text(STYLED)
    options = ["-i", "words.ass", "-map", "0:v", "-map", "1:s", "-c:s", words] if words else []
    if attached:
        options += ["-attach", "note.txt", "-metadata:s:t", "mimetype=text/plain"]
    plain = film(folder / "plain.mkv", numbers=range(8), codec=PLAIN)
    run_ffmpeg("-i", plain.name, *options, "-c:v", "copy", "source.mkv", folder=folder)
    return folder / "source.mkv"


def wheel(folder: Path, shape: str) -> Path:
    """A film of 160x96 stored pixels of that shape, in which a disc looks round."""
    path, wide = folder / "wheel.mp4", float(Fraction(shape))
    y, x = np.mgrid[:96, :160]
    disc = np.hypot((x - 79.5) * wide, y - 47.5) < 30
    raw = np.repeat(disc[..., None] * np.uint8(255), 3, -1).tobytes() * 4
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "160x96", "-i", "-"),
        *("-vf", f"setsar={shape}", "-c:v", "libx264", "-crf", "2", "-pix_fmt", "yuv444p"),
        str(path), stdin=raw,
    )  # fmt: skip
    return path


def box(name: bytes, data: bytes) -> bytes:
    """A box of an ISO file (ISO/IEC 14496-12)."""
    return struct.pack(">I", 8 + len(data)) + name + data


def heif(*brands: bytes) -> bytes:
    """The beginning of a photo in HEIF: its brand, a version, and the brands that it follows."""
    return box(b"ftyp", brands[0] + bytes(4) + b"".join(brands)) + box(b"meta", bytes(64))


CASES: dict[str, Case] = {
    "two tracks of sound, .mp4": Case(partial(two_tracks, name="a.mp4")),
    "two tracks of sound, .mkv": Case(partial(two_tracks, name="a.mkv"), "out.mkv"),
    "sound that begins late": Case(clip(
        "a.mp4", *noise(1, 0.9, 0.3), "-map", "0:v", "-map", "1:a", "-c:a", "aac")),
    "sound that begins late, .mkv": Case(clip(
        "a.mkv", *noise(1, 0.9, 0.3), "-map", "0:v", "-map", "1:a", "-c:a", "libopus"), "out.mkv"),
    "sound that begins early": Case(clip(
        "a.mp4", *noise(1, 1.5), "-map", "0:v", "-map", "1:a", "-c:a", "aac",
        before=("-itsoffset", "0.3"))),
    "sound that begins early, .mkv": Case(clip(
        "a.mkv", *noise(1, 1.5), "-map", "0:v", "-map", "1:a", "-c:a", "libopus",
        before=("-itsoffset", "0.3")), "out.mkv"),
    "subtitles, .mkv": Case(partial(with_subtitles, name="a.mkv", codec="srt"), "out.mkv"),
    "subtitles, .mkv to .mp4": Case(partial(with_subtitles, name="a.mkv", codec="srt")),
    "subtitles, .mp4": Case(partial(with_subtitles, name="a.mp4", codec="mov_text")),
    "subtitles, .mp4 to .mkv": Case(
        partial(with_subtitles, name="a.mp4", codec="mov_text"), "out.mkv"),
    "subtitles that are pictures": Case(
        partial(with_painted_subtitles, name="a.mkv"), told=("becomes .mkv",)),
    "chapters and a title, .mp4": Case(partial(chapters, name="a.mp4")),
    "chapters and a title, .mkv": Case(partial(chapters, name="a.mkv"), "out.mkv"),
    "turned by 90°": Case(partial(turned, degrees=90)),
    "turned by 180°": Case(partial(turned, degrees=180)),
    "turned by 270°": Case(partial(turned, degrees=270)),
    "pixels of 8:9": Case(clip("a.mp4", *SOUND, "-aspect", "40:27")),
    "pixels of 4:3, .mkv": Case(clip("a.mkv", *SOUND, "-aspect", "20:9"), "out.mkv"),
    "161x97, VP9 4:2:0": Case(clip("a.webm", size=(97, 161), codec=VP9)),
    "161x97, H.264 4:4:4": Case(clip("a.mp4", size=(97, 161))),
    "24000/1001 a second": Case(clip("a.mp4", *SOUND, rate=Fraction(24000, 1001))),
    "30000/1001 a second, .mkv": Case(clip("a.mkv", *SOUND, rate=Fraction(30000, 1001)), "out.mkv"),
    "60000/1001 a second": Case(clip("a.mp4", *SOUND, rate=Fraction(60000, 1001))),
    "60 a second": Case(clip("a.mp4", *SOUND, rate=Fraction(60))),
    "a variable rate, .mp4": Case(partial(varying, name="a.mp4")),
    "a variable rate, .mkv": Case(partial(varying, name="a.mkv"), "out.mkv"),
    "10 bits, H.264": Case(clip(
        "a.mp4", codec=("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p10le")),
        told=("keeps 8 bits",)),
    "10 bits, HEVC": Case(clip(
        "a.mp4", codec=("-c:v", "libx265", "-crf", "1", "-pix_fmt", "yuv420p10le", "-x265-params",
                        "log-level=error")),
        settings=(*NO_BARS, "output.codec=hevc", "output.pixel_format=yuv444p10le")),
    "10 bits, ProRes": Case(clip("a.mov", codec=PRORES), "out.mov",
        (*NO_BARS, "output.codec=prores", "output.pixel_format=auto")),
    "alpha, VP9": Case(clip(
        "a.webm", has_alpha=True, codec=ALPHA_VP9),
        "out.mkv", (*NO_BARS, "output.codec=ffv1", "output.pixel_format=auto"), alpha=True),
    "alpha, VP9 to VP9": Case(clip(
        "a.webm", has_alpha=True, codec=ALPHA_VP9),
        "out.webm", (*NO_BARS, "output.crf=4", "output.pixel_format=auto"), alpha=True),
    "alpha, ProRes 4444": Case(clip(
        "a.mov", has_alpha=True, codec=("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt",
                                        "yuva444p10le")),
        "out.mov", (*NO_BARS, "output.codec=prores", "output.pixel_format=auto"), alpha=True),
    "alpha, PNG in .mov": Case(clip(
        "a.mov", has_alpha=True, filters="", codec=("-c:v", "png", "-pix_fmt", "rgba")),
        "out.mkv", (*NO_BARS, "output.codec=ffv1", "output.pixel_format=auto"), alpha=True),
    "alpha to .mp4": Case(clip(
        "a.mov", has_alpha=True, filters="", codec=("-c:v", "png", "-pix_fmt", "rgba")),
        told=("keeps no transparency",)),
    "HDR, PQ": Case(partial(hdr, curve="smpte2084"), off=110,
        told=("tone-mapped", "keeps 8 bits")),
    "HDR, HLG": Case(partial(hdr, curve="arib-std-b67"), off=110,
        told=("tone-mapped", "keeps 8 bits")),
    **{
        f"{matrix.upper()}, {'full' if full else 'limited'}, {'tagged' if tags else 'untagged'}, "
        f"{size[1]}x{size[0]}": Case(
            partial(tagged, matrix=matrix, full=full, tags=tags, size=size))
        for matrix, size, tags in (
            ("bt601", SIZE, True), ("bt709", SIZE, True), ("bt601", SIZE, False),
            ("bt601", HD, True), ("bt709", HD, True), ("bt709", HD, False))
        for full in (False, True)
    },
    "interlaced, .mpg": Case(
        lambda folder: interlaced(folder, "a.mpg", *MPEG2), told=("deinterlaced",)),
    "interlaced, .ts": Case(
        lambda folder: interlaced(folder, "a.ts", *MPEG2), told=("deinterlaced",)),
    "interlaced, H.264": Case(
        lambda folder: interlaced(folder, "a.mp4", *PLAIN, "-x264-params", "tff=1"),
        told=("deinterlaced",)),
    "each picture twice": Case(clip(
        "a.mp4", *SOUND, numbers=[number // 2 for number in range(COUNT)])),
    "a cover, .mp4": Case(partial(with_cover, name="a.mp4")),
    "a cover, .mkv": Case(partial(with_cover, name="a.mkv"), "out.mkv"),
    "two streams of pictures, the first": Case(
        partial(two_films, name="a.mp4"), told=("streams of pictures",)),
    "two streams of pictures, the second": Case(
        partial(two_films, name="a.mp4"), settings=(*NO_BARS, "source.stream=1"), stream=1,
        told=("streams of pictures",),
        numbers=tuple(range(100, 100 + COUNT))),
    "no length, live .webm": Case(partial(live, name="a.webm")),
    "a header alone, .mkv": Case(partial(header_only, name="a.mkv"), refused=True),
    "a header alone, .mp4": Case(partial(header_only, name="a.mp4"), refused=True),
    ".avi, MPEG-4": Case(clip(
        "a.avi", *noise(1), "-c:a", "libmp3lame", "-shortest",
        codec=MPEG4,
        filters="scale=in_range=pc:out_range=tv:out_color_matrix=bt601,format=yuv420p"),
        timeless=True),
    ".avi, H.264 with B-frames": Case(clip(
        "a.avi", *noise(1), "-c:a", "libmp3lame", "-shortest", codec=(*X264, "-bf", "3")),
        timeless=True),
    ".avi, Xvid": Case(clip(
        "a.avi", *noise(1), "-c:a", "libmp3lame", "-shortest",
        codec=("-c:v", "libxvid", "-bf", "2", "-q:v", "1", "-pix_fmt", "yuv420p")),
        timeless=True, off=None, told=("could be read",)),
    ".mp4 in fragments": Case(clip(
        "a.mp4", *SOUND, "-movflags", "frag_keyframe+empty_moov+default_base_moof")),
    ".flv": Case(clip("a.flv", *SOUND, codec=PLAIN)),
    ".wmv": Case(
        clip("a.wmv", *noise(1), "-c:a", "wmav2", "-shortest", codec=("-c:v", "wmv2", "-q:v", "2")),
        told=("made AAC",), off=None),
    ".ogv": Case(
        clip("a.ogv", *noise(1), "-c:a", "libvorbis", "-shortest", codec=("-c:v", "libtheora")),
        off=None),
    ".webm, VP8 with hidden frames": Case(clip(
        "a.webm", codec=("-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "1", "-lag-in-frames",
                         "20", "-pix_fmt", "yuv420p")), off=None),
    ".ts, which begins late": Case(clip("a.ts", *SOUND, codec=(*PLAIN, "-bf", "2"))),
    "cut, with an edit list": Case(partial(trimmed, name="a.mp4"), numbers=tuple(range(35, 70))),
    "B-frames": Case(clip("a.mp4", *SOUND, codec=(*X264, "-bf", "8", "-b_strategy", "0"))),
    "open groups of pictures": Case(clip(
        "a.mkv", *SOUND, codec=(*X264, "-g", "8", "-bf", "3", "-x264-params", "open-gop=1"))),
    "GIF": Case(partial(
        animation, name="a.gif", codec=(
            "-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none")),
        off=4),
    "APNG": Case(partial(animation, name="a.png", codec=("-f", "apng"))),
    "animated WebP": Case(partial(animation, name="a.webp", codec=WEBP)),
    "a folder of PNGs": Case(partial(stills, name="in"), told=("25 a second",)),
    "a folder with a gap": Case(
        partial(stills, name="in", numbers=[*range(10), *range(13, COUNT)]),
        told=("lacks 3 of its numbers", "25 a second"), numbers=(*range(10), *range(13, COUNT))),
    "PNGs of 16 bits": Case(
        partial(stills, name="in", kind="rgb48"), "out.mkv",
        (*NO_BARS, "output.codec=ffv1", "output.pixel_format=auto"), ("25 a second",)),
    "PNGs with alpha": Case(
        partial(stills, name="in", has_alpha=True), "out.mkv",
        (*NO_BARS, "output.codec=ffv1", "output.pixel_format=auto"), ("25 a second",), alpha=True),
    "a single still": Case(
        lambda folder: stills(folder, "in", numbers=[5]) / "0005.png", told=("is one picture",)),
    **{
        f"to {out}{', ' + codec if codec else ''}{', ' + kind if kind != 'auto' else ''}": Case(
            clip("in.mp4", *SOUND), out,
            (*NO_BARS, f"output.codec={codec or 'auto'}", f"output.pixel_format={kind}"),
            told=("made Opus",) if out == "out.webm" else (), off=off,
        )
        for out, codec, kind, off in (
            ("out.mp4", "", "yuv444p", 2), ("out.mp4", "", "yuv420p", 2),
            ("out.mov", "", "yuv444p", 2), ("out.mkv", "", "yuv444p", 2),
            ("out.webm", "", "yuv444p", 2), ("out.webm", "", "yuv420p", 2),
            ("out.mp4", "hevc", "yuv444p", 2), ("out.mp4", "hevc", "yuv420p10le", 2),
            ("out.mp4", "av1", "auto", 2), ("out.mov", "prores", "auto", 2),
            ("out.mkv", "ffv1", "auto", 1), ("out.mkv", "vp9", "yuv444p", 2),
            ("out.gif", "", "auto", 8), ("out.webp", "", "auto", 6), ("out.apng", "", "auto", 1),
            ("frames/%05d.png", "", "auto", 2), ("frames/%05d.png", "", "rgb48", 2),
            ("frames/%05d.exr", "", "auto", 2), ("frames/%05d.jpg", "", "auto", 4),
        )
    },
}  # fmt: skip
