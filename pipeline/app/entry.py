"""The start and end of the command line's process: streams, signals, error lines, exit codes."""

import os
import signal
import sys
from typing import Any

import typer

from dreamreel.pipeline.app.streams import lasting_streams, why_lost
from dreamreel.pipeline.app.terminal import print_error
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.memory import addresses_left

# Bytes of addresses (ulimit -v) with which no dream can begin: torch alone takes more.
FEW_ADDRESSES = 1 << 30
# Parts of the messages of errors that mean that memory ran out: of Python, torch, OpenCV, the C
# library and the loader of libraries.
NO_MEMORY = ("can't allocate memory", "out of memory", "Insufficient memory", "bad_alloc",
             "Cannot allocate memory", "failed to map segment", "start new thread")  # fmt: skip


def run_app(app: typer.Typer) -> None:
    """Run the command in `sys.argv`, and end the process.

    A user's mistake becomes one line on standard error and exit code 2; Ctrl-C becomes exit code
    130, a request to terminate 143, a hang-up 129. Where memory runs out, where this machine lacks
    a library, and where what the command printed is lost, the exit code is 1, after one line. Our
    own mistakes keep their traceback.
    """
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end_like_an_interrupt)
    with lasting_streams() as printed:
        code = _run(app)
        printed.flush()
        if (why := why_lost(printed)) is not None:
            print_error(f"standard output cannot be written ({why}); results are kept")
            code = code or 1
    sys.exit(code)


def _run(app: typer.Typer) -> int:
    """Run the command in `sys.argv`, and return its exit code."""
    usage_error: Any = typer.BadParameter.__base__  # typer has no public name for it
    if addresses_left() < FEW_ADDRESSES:
        # With several threads, OpenBLAS, which numpy loads, would crash before it tells anything.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        _check_working_folder()
        result = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        return _failed(str(error))
    except usage_error as error:
        return _failed(_explained(" ".join(error.format_message().split())))
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if (told := _told(error)) is None:
            raise
        return _failed(told, 1)
    except typer.Abort as error:
        if isinstance(error.__cause__, EOFError):  # ours: typer assumes a prompt that ended
            raise error.__cause__ from None
        return 130
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the working folder is gone ({error.strerror}); change to one that exists"
        ) from error


def _told(error: Exception) -> str | None:
    """The message for an `error` of a library that this machine causes; None for others."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(part in text for part in NO_MEMORY):
        return (
            f"there is not enough memory ({text or 'none is left'}); a smaller --width needs less"
        )
    if "initialize cpuinfo" in text:
        return f"torch cannot tell the processor ({text}); it reads /proc, which must be mounted"
    if isinstance(error, ImportError) and ("libGL" in text or "libgthread" in text):
        return (
            f"OpenCV cannot be loaded ({text}); install the library (Debian, Ubuntu: "
            "apt install libgl1 libglib2.0-0), or pip install opencv-python-headless instead"
        )
    return None


def _explained(message: str) -> str:
    message = message.replace("Value error, ", "")  # typer's words for what our own parsers tell
    if "unexpected extra argument" in message:
        if "=" in message:
            return f"{message}; give each setting a --set of its own, and put its value in quotes"
        return f"{message}; put a name or value that has spaces in quotes"
    return message


def _end_like_an_interrupt(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _failed(message: str, code: int = 2) -> int:
    print_error(message)
    return code
