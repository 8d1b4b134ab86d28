"""Standard streams that end nothing: what they cannot show is lost, and the work goes on."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Stream:
    """The text stream `stream`. Once it cannot be written, all that is written to it goes nowhere,
    and `lost` is the error that it had then."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write `text`, if that is possible; the number of its characters comes back."""
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still held back, if that is possible."""
        with self._losing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            # What the stream holds back is written, nowhere, when Python ends; child processes
            # that inherit it shall be able to write, too.
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def lasting_streams() -> Iterator[Stream]:
    """Standard output and standard error as a `Stream` each, inside the `with`. The former comes
    back."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # A name of a file is printed byte by byte, and if the encoding cannot: escaped.
            unicode = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    streams = sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)
    try:
        yield streams[0]
    finally:
        for one in streams:
            one.flush()
        sys.stdout, sys.stderr = before


def why_lost(stream: Stream) -> str | None:
    """Why `stream` could not be written, in words; None if it could, or if its reader had read
    enough (as `head` has)."""
    if stream.lost is None or stream.lost.errno == errno.EPIPE:
        return None
    return stream.lost.strerror or str(stream.lost)


def _open_closed() -> None:
    """Open the standard streams that were closed when the process began, with nothing behind them:
    the next files that are opened would get their numbers, and what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  it is open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
