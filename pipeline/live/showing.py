"""Where a live dream is seen: a page of this machine, a stream of JPEG pictures, or a film."""

import hmac
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Protocol

import cv2
import numpy as np

from dreamreel.pipeline.durable import partial_path, publish
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.encoding import CONTAINERS, TO_BT709, padded_to
from dreamreel.pipeline.media.ffmpeg import BIT_EXACT, failure_of, ffmpeg

QUALITY = 90  # of JPEG
STREAMS = (".mjpg", ".mjpeg")
PAUSE = 2.0  # seconds for which a viewer waits for a frame before it looks whether all has ended
BOUNDARY = "frame"
MULTIPART = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Dreamreel, live</title>
<style>body{margin:0;background:#111}img{width:100vw;height:100vh;object-fit:contain}</style>
<img src="/stream" alt="The live dream"></html>
"""


class Screen(Protocol):
    """Where frames (H, W, 3), BGR, 8 bits, are shown as they come."""

    def show(self, frame: Frame) -> None:
        """Show `frame`."""


@contextmanager
def file_screen(path: Path, rate: Fraction, replace: bool) -> Iterator[Screen]:
    """A screen that writes to the file `path`: a stream of JPEG pictures, or a film that runs as
    fast as the frames came, at `rate` frames a second. It gets its name when it is complete.

    Raises UserError if it cannot be written.
    """
    check_file(path, replace)
    partial = partial_path(path).with_suffix(path.suffix)
    with usable(path):
        try:
            kind = _stream_file if path.suffix.lower() in STREAMS else _film
            with kind(partial, rate) as screen:
                yield screen
            if partial.exists():
                publish(partial, path, replace)
        finally:
            partial.unlink(missing_ok=True)


def check_file(path: Path, replace: bool) -> None:
    """Raise UserError if the file `path` is of no kind that a live dream is written to, or if it
    exists and nothing may `replace` it."""
    suffix = path.suffix.lower()
    if suffix not in (*STREAMS, *CONTAINERS):
        raise UserError(
            f"{path} must end in {', '.join((*STREAMS, *CONTAINERS))}; - writes a stream of JPEG "
            "pictures to standard output"
        )
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file in it")
    if path.exists() and not replace:
        raise UserError(f"{path} exists; --overwrite replaces it")


@contextmanager
def _stream_file(path: Path, rate: Fraction) -> Iterator[Screen]:
    with path.open("xb") as file:
        yield Stream(file)


class Stream:
    """A screen that writes JPEG pictures, one after the other, to `file`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def show(self, frame: Frame) -> None:
        """See `Screen`."""
        self._file.write(jpeg(frame))
        self._file.flush()


@contextmanager
def _film(path: Path, rate: Fraction) -> Iterator[Screen]:
    film = Film(path, rate)
    try:
        yield film
    except BaseException:
        film.close()
        raise
    if (failure := film.close()) is not None:
        raise UserError(f"ffmpeg could not write the film: {failure}")


class Film:
    """A screen that encodes frames into the film `path`: each is shown until the next has come."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._path, self._rate = path, rate
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._began = 0.0
        self._written = 0
        self._last: Frame | None = None

    def show(self, frame: Frame) -> None:
        """See `Screen`."""
        frame = padded_to(frame, (frame.shape[0] + frame.shape[0] % 2,
                                  frame.shape[1] + frame.shape[1] % 2))  # fmt: skip
        now = time.monotonic()
        if self._process is None:
            self._process, self._began = self._started(frame), now
        self._catch_up(now)
        self._last = frame

    def close(self) -> str | None:
        """End the film. Returns why it failed, or None."""
        if self._process is None:
            self._errors.close()
            return None
        self._catch_up(time.monotonic() + 1 / float(self._rate))  # the last frame is shown too
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        return failure_of(self._process, self._errors)

    def _catch_up(self, now: float) -> None:
        """Write the last frame as often as it was shown until `now`."""
        due = int((now - self._began) * float(self._rate))
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it ended is told at the end
            while self._last is not None and self._written < due:
                self._process.stdin.write(self._last.tobytes())
                self._written += 1

    def _started(self, frame: Frame) -> "subprocess.Popen[bytes]":
        height, width = frame.shape[:2]
        options = [
            *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{width}x{height}"),
            *("-framerate", f"{self._rate.numerator}/{self._rate.denominator}", "-i", "pipe:0"),
            *("-vf", TO_BT709, "-pix_fmt", "yuv420p", *BIT_EXACT, str(self._path.absolute())),
        ]
        return subprocess.Popen(
            [ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # the terminal's Ctrl-C reaches us alone
        )


class Page:
    """A screen that is a page of this machine, for any number of viewers. Each is sent the newest
    frame whenever it has taken the one before."""

    def __init__(self, port: int) -> None:
        self.changed = threading.Condition()
        self.newest: bytes | None = None
        self.number = 0
        self.is_over = False
        handler = type("Handler", (_Viewer,), {"page": self})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise UserError(
                f"--port {port} cannot be used ({error.strerror}); give another, or 0 for any"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port at which it is."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"

    def show(self, frame: Frame) -> None:
        """See `Screen`."""
        data = jpeg(frame)
        with self.changed:
            self.newest, self.number = data, self.number + 1
            self.changed.notify_all()

    def close(self) -> None:
        """Take the page away."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Viewer(BaseHTTPRequestHandler):
    page: Page
    server_version, sys_version = "dreamreel", ""

    def do_GET(self) -> None:
        # A page of another origin may have a name that leads here: it is not to see the camera.
        names = [f"{name}:{self.page.port}" for name in ("127.0.0.1", "localhost")]
        host = self.headers.get("Host", "")
        if not any(hmac.compare_digest(host.encode(), name.encode()) for name in names):
            self.send_error(403, "This page is for this machine alone")
        elif self.path == "/":
            self._answer("text/html; charset=utf-8", PAGE)
        elif self.path == "/frame.jpg" and self.page.newest is not None:
            self._answer("image/jpeg", self.page.newest)
        elif self.path == "/stream":
            with suppress(OSError):  # the viewer has gone
                self._stream()
        else:
            self.send_error(404, "There is /, /stream and /frame.jpg")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _answer(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self._headers(kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _headers(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", POLICY)

    def _stream(self) -> None:
        self.send_response(200)
        self._headers(MULTIPART)
        self.end_headers()
        told, page = 0, self.page
        while True:
            with page.changed:
                if page.number == told and not page.is_over:
                    page.changed.wait(PAUSE)
                if page.is_over:
                    return
                fresh, told = page.number != told, page.number
                data = page.newest
            if data is None or not fresh:
                continue
            kind, length = "Content-Type: image/jpeg", f"Content-Length: {len(data)}"
            head = f"--{BOUNDARY}\r\n{kind}\r\n{length}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n")


def jpeg(frame: Frame) -> bytes:
    """`frame` (H, W, 3), BGR, 8 bits, as a JPEG picture."""
    made, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert made
    return np.asarray(data).tobytes()
