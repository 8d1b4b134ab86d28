"""The ffmpeg command of imageio-ffmpeg: start it, wait for it, and report failures in its words."""

import subprocess
import tempfile
from pathlib import Path
from typing import IO

from dreamreel.pipeline.errors import UserError

Running = tuple["subprocess.Popen[bytes]", IO[bytes]]  # an ffmpeg, and the file of its errors

# Leaves the date and the version's name out of the output: the same input makes the same bytes.
BIT_EXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


def run_ffmpeg(options: list[str], folder: Path | None = None) -> str | None:
    """Run ffmpeg to its end, in `folder` if given. None if it succeeded, else the line that names
    the cause."""
    return failure_of(*start_ffmpeg(options, folder))


def start_ffmpeg(options: list[str], folder: Path | None = None) -> Running:
    """Start an ffmpeg with `options`, in `folder` if given; pass the result to `failure_of`. Files
    are overwritten. Raises UserError where there is no ffmpeg."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        cwd=folder,
        start_new_session=True,  # the terminal's Ctrl-C reaches us alone
    )
    return process, errors


def failure_of(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> str | None:
    """Wait for an ffmpeg to end. None if it succeeded, else the line that names the cause.

    If the wait is interrupted, ffmpeg is killed.
    """
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


def ffmpeg() -> str:
    """The path of the ffmpeg that imageio-ffmpeg provides. Raises UserError if it has none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UserError(f"there is no ffmpeg for this machine ({error})") from error


def _cause(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    # The first line names the cause; the others are its consequences. Encoders' banners come first.
    named = [line for line in lines if not line.startswith(("Svt[info]", "x265 [info]"))]
    return named[0] if named else "it failed without a message"
