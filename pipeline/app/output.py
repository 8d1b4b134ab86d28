"""Standard output that steers no terminal, whatever names and descriptions are printed."""

import sys
from typing import Any

from dreamreel.pipeline.errors import visible


class VisibleOutput:
    """A text stream that shows what is written to the terminal `stream` as `visible` text, so that
    no name and no file can steer it. Colours go to standard error, which rich writes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`. Returns its length."""
        self._stream.write(visible(text, kept="\n\t"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_output() -> None:
    """Make standard output a `VisibleOutput` if it is a terminal. Elsewhere it stays as it is, so
    that a path that is printed can be used."""
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout = VisibleOutput(sys.stdout)
