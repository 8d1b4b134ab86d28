"""One clear line for a mistake that the user can mend."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: says what was given and what would work, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?` from the known names closest to `word`, or nothing."""
    by_lowercase = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lowercase, n=3, cutoff=0.6)
    if not close:
        close = [name for name in by_lowercase if word and word.lower() in name][:3]
    if not close:
        return ""
    return "; did you mean " + " or ".join(repr(by_lowercase[name]) for name in close) + "?"


def expanded(name: str | Path) -> Path:
    """The path `name` with its `~` replaced. Raises UserError where there is no such home."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name}: {error}") from error


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raise UserError where the system refuses even to look at `path`, or nobody could name it."""
    try:
        str(path).encode()  # OpenCV and PyAV take names as UTF-8
        yield
    except UnicodeEncodeError as error:
        raise UserError(f"the name {str(path)!r} is not UTF-8; rename the file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error.strerror})") from error


class Stopped(Exception):
    """A render was asked to stop, and has saved its work. Its text says how to go on."""
