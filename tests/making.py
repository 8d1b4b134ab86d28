"""Clips written and read for tests, the command line as a process, and paths of the checkout."""

import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dreamreel.pipeline.media.encoding import Encoding, encode
from dreamreel.pipeline.media.ffmpeg import ffmpeg
from footage import run_ffmpeg as run_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Run:
    """The result of a command: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    rate: Fraction = Fraction(30000, 1001),
    sound: bool = False,
) -> Path:
    """Encode `frames`, BGR, at `path`; with `sound`, a tone of 440 Hz. Returns `path`."""
    silent = path.with_name(f"silent-{path.name}") if sound else path
    encode(frames, silent, Encoding(frames[0].shape[:2], rate, 12, "veryfast"))
    if sound:
        seconds = float(len(frames) / rate)
        run_ffmpeg(
            "-i",
            str(silent),
            "-f",
            "lavfi",
            "-i",
            f"sine=440:duration={seconds}",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            str(path),
        )
    return path


def read_clip(path: Path) -> list[np.ndarray]:
    """The frames at `path`, BGR, decoded by the ffmpeg command rather than by our own reader."""
    raw = subprocess.run(
        [
            *(ffmpeg(), "-v", "error", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"),
            *("-sws_flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"),
            *("-c:v", "bmp", "-f", "image2pipe", "-pix_fmt", "bgr24", "-"),
        ],
        capture_output=True,
        check=True,
    ).stdout
    frames = []
    while raw:
        size = int.from_bytes(raw[2:6], "little")
        frame = cv2.imdecode(np.frombuffer(raw[:size], np.uint8), cv2.IMREAD_COLOR)
        assert frame is not None
        frames.append(frame)
        raw = raw[size:]
    return frames


def start(*arguments: object, folder: Path | None = None) -> "subprocess.Popen[str]":
    """Start the command line as a process of its own in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "dreamreel.cli", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def varying_clip(path: Path) -> Path:
    """34 frames of 48x32, each 6 levels brighter: 30 in the first second, then 2 per second."""
    raw = b"".join(np.full((32, 48, 3), 6 * i, np.uint8).tobytes() for i in range(34))
    times = "if(lt(N,30),N/30,1+(N-30)/2)/TB"
    run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", "48x32", "-framerate", "30"),
        *("-i", "-", "-vf", f"settb=1/600,setpts='{times}'", "-fps_mode", "passthrough"),
        *("-enc_time_base", "1/600", "-c:v", "libx264", "-crf", "5", str(path)),
        stdin=raw,
    )
    return path
