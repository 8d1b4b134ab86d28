"""Files as independent readers see them: the ffmpeg command, Pillow, and PyAV's list of streams."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from dreamreel.pipeline.media.ffmpeg import ffmpeg
from footage import HD, RATE, Pixels, run_ffmpeg

ANIMATED = (".gif", ".webp", ".apng", ".png")
EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
SOUND_RATE = 16000  # samples per second in comparisons; enough for `noise`, cut off at 4 kHz


@dataclass(frozen=True)
class Seen:
    """The contents of a file as independent readers find them.

    `times`: when each frame is shown, and `ends`: when the last one ends, in seconds from the start
    of the file. `size`: (width, height) as a player shows it.
    """

    times: tuple[float, ...]
    ends: float
    size: tuple[float, float]
    tracks: tuple[str, ...] = ()  # the language of each
    subtitles: tuple[str, ...] = ()
    chapters: tuple[str, ...] = ()  # the title of each
    title: str = ""
    covers: int = 0

    @property
    def seconds(self) -> float:
        """The seconds from the first frame to the end of the last."""
        return self.ends - self.times[0] if self.times else 0.0

    @property
    def streams(self) -> str:
        """The number of sound tracks, subtitles, chapters and covers, in words."""
        counted = {"sound": len(self.tracks), "sub": len(self.subtitles),
                   "ch": len(self.chapters), "cover": self.covers}  # fmt: skip
        return ", ".join(f"{count} {name}" for name, count in counted.items() if count)


def seen(path: Path, stream: int = 0) -> Seen:
    """Read the file, folder or pattern at `path` by independent readers; of a file, its video
    `stream`."""
    if path.is_dir() or "%" in path.name:
        files = _files(path)
        width, height = _size(files[0])
        times = [number / float(RATE) for number in range(len(files) + 1)]
        return Seen(tuple(times[:-1]), times[-1], (width, height))
    if path.suffix in ANIMATED:
        return _animated(path)
    return _video(path, stream)


def _files(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    return sorted(file for file in folder.iterdir() if file.suffix != ".json")


def _size(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return context.width, context.height


def _animated(path: Path) -> Seen:
    with Image.open(path) as file:
        times = [0.0]
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            file.load()
            times.append(times[-1] + (file.info.get("duration") or 1000 / float(RATE)) / 1000)
        return Seen(tuple(times[:-1]), times[-1], file.size)


def _video(path: Path, stream: int) -> Seen:
    listed = run_ffmpeg(
        "-copyts", "-i", str(path), "-map", f"0:v:{stream}", "-fps_mode", "passthrough",
        "-enc_time_base:v", "demux", "-f", "framecrc", "-",
    ).decode()  # fmt: skip
    head = dict(line[1:].split(" 0: ") for line in listed.splitlines() if " 0: " in line)
    rows = [line.split(",") for line in listed.splitlines() if line[:1] == "0"]
    base = Fraction(head["tb"])
    times = [float(int(row[2]) * base) for row in rows]
    width, height = map(int, head["dimensions"].split("x"))
    lasts = float(int(rows[-1][3]) * base) if rows else 0
    shape = Fraction(head.get("sar", "1/1")) or Fraction(1)
    with av.open(str(path)) as container:
        streams = [one for one in container.streams]
        tracks, subtitles = (
            tuple((one.language or "und") for one in streams if one.type == kind)
            for kind in ("audio", "subtitle")
        )
        covers = sum(
            bool(one.disposition & av.stream.Disposition.attached_pic)
            for one in container.streams.video
        )
        chapters = tuple(one["metadata"].get("title", "") for one in container.chapters())
        title = container.metadata.get("title", "")
    return Seen(
        tuple(times), times[-1] + lasts, (float(width * shape), height), tracks, subtitles,
        chapters, title, covers,
    )  # fmt: skip


def pictures(path: Path, stream: int = 0, channels: int = 3) -> Iterator[Pixels]:
    """The frames at `path`, (H, W, channels) RGB or RGBA, as independent readers decode them."""
    if path.suffix in ANIMATED and "%" not in path.name:
        with Image.open(path) as file:
            for number in range(getattr(file, "n_frames", 1)):
                file.seek(number)
                yield np.asarray(file.convert("RGBA"))[..., :channels]
        return
    if path.is_dir() or "%" in path.name:
        for file in _files(path):
            yield from _light(file) if file.suffix == ".exr" else _decoded(file, 0, channels)
        return
    yield from _decoded(path, stream, channels)


def _decoded(path: Path, stream: int, channels: int) -> Iterator[Pixels]:
    with av.open(str(path)) as container:
        one = container.streams.video[stream]
        context, said = one.codec_context, {key.lower(): said for key, said in one.metadata.items()}
        alpha = context.name in ("vp8", "vp9") and said.get("alpha_mode") == "1"
        # Untagged HD is taken for BT.709 by players, but not by ffmpeg.
        untagged = context.colorspace == 2 and context.width >= HD[1]
    matrix = ":in_color_matrix=bt709" if untagged else ""
    decoder = ["-c:v", f"libvpx-{context.name}"] if alpha else []
    command = [
        *(ffmpeg(), "-v", "error", *decoder, "-i", str(path), "-map", f"0:v:{stream}"),
        *("-vf", f"scale=flags={EXACT}{matrix}", "-fps_mode", "passthrough"),
        *("-enc_time_base:v", "demux", "-f", "image2pipe"),
        *("-c:v", "pam", "-pix_fmt", "rgba" if channels == 4 else "rgb24", "-"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while (head := _head(process.stdout)) is not None:
            height, width, depth = head
            data = process.stdout.read(height * width * depth)
            yield np.frombuffer(data, np.uint8).reshape(height, width, depth)


def _light(path: Path) -> Iterator[Pixels]:
    """The one frame of linear light at `path`, converted by the sRGB curve (IEC 61966-2-1)."""
    width, height = _size(path)
    raw = run_ffmpeg("-i", str(path), "-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-")
    planes = np.clip(np.frombuffer(raw, np.float32).reshape(3, height, width), 0, 1)
    light = planes[[2, 0, 1]].transpose(1, 2, 0)
    yield 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _head(stream: Any) -> tuple[int, int, int] | None:
    """The (height, width, channels) in the next PAM header of `stream`; None at its end."""
    told = {}
    while (line := stream.readline().decode()) and not line.startswith("ENDHDR"):
        key, _, value = line.partition(" ")
        told[key] = value.strip()
    if not line:
        return None
    return int(told["HEIGHT"]), int(told["WIDTH"]), int(told["DEPTH"])


def heard(path: Path, track: int, since: float) -> Pixels:
    """The samples of a sound `track` from `since`, in seconds, on: mono float32 at SOUND_RATE."""
    filters = f"aresample={SOUND_RATE}:async=1:min_hard_comp=0.005:first_pts=0"
    raw = run_ffmpeg(
        "-copyts", "-i", str(path), "-map", f"0:a:{track}", "-ac", "1", "-af", filters,
        "-f", "f32le", "-",
    )  # fmt: skip
    return np.frombuffer(raw, np.float32)[round(since * SOUND_RATE) :]
