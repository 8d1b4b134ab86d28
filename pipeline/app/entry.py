"""The start and end of the command line's process: error lines and exit codes."""

import io
import signal
import sys
from typing import Any

import typer

from dreamreel.pipeline.errors import UserError


def run_app(app: typer.Typer) -> None:
    """Run the command in `sys.argv`, and end the process.

    A user's mistake becomes one line on standard error and exit code 2; Ctrl-C becomes exit code
    130, and a request to terminate 143. Our own mistakes keep their traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters it has not
    usage_error: Any = typer.BadParameter.__base__  # typer has no public name for it
    signal.signal(signal.SIGTERM, _end_like_an_interrupt)
    try:
        result = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except usage_error as error:
        _fail(_explained(" ".join(error.format_message().split())))
    except ImportError as error:
        if "libGL" not in str(error) and "libgthread" not in str(error):
            raise
        _fail(
            f"OpenCV cannot be loaded ({error}); install the library (Debian, Ubuntu: "
            "apt install libgl1 libglib2.0-0), or pip install opencv-python-headless instead"
        )
    except typer.Abort as error:
        if isinstance(error.__cause__, EOFError):  # ours: typer assumes a prompt that ended
            raise error.__cause__ from None
        result = 130
    except KeyboardInterrupt:
        result = 130
    sys.exit(result if isinstance(result, int) else 0)


def _explained(message: str) -> str:
    message = message.replace("Value error, ", "")  # typer's words for what our own parsers tell
    if "unexpected extra argument" in message:
        if "=" in message:
            return f"{message}; give each setting a --set of its own, and put its value in quotes"
        return f"{message}; put a name or value that has spaces in quotes"
    return message


def _end_like_an_interrupt(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _fail(message: str) -> None:
    print(f"dreamreel: {message}", file=sys.stderr)
    sys.exit(2)
