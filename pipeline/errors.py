"""Errors that end in one clear line instead of a traceback."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

# Errors of a disk or network that may pass by themselves.
PASSING = {
    getattr(errno, name, None)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EAGAIN", "EMFILE", "ENFILE", "ENOSPC")
}


class UserError(Exception):
    """A mistake that the user can correct. Its message says, in one line, what was given, what is
    wrong and what would work."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class PassingError(UserError):
    """A failure that may pass by itself, such as a full disk: the same command may work later."""


class OtherRenderError(UserError):
    """An unfinished render has the place of another one. `only_version`: they differ in nothing but
    the version of Dreamreel."""

    def __init__(self, message: str, only_version: bool) -> None:
        super().__init__(message)
        self.only_version = only_version


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?` with up to three of the `known` names that are closest to
    `word`; an empty string if none is close."""
    by_lowercase = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lowercase, n=3, cutoff=0.6)
    if not close:
        close = [name for name in by_lowercase if word and word.lower() in name][:3]
    if not close:
        return ""
    return "; did you mean " + " or ".join(repr(by_lowercase[name]) for name in close) + "?"


def expanded(name: str | Path) -> Path:
    """The path `name` with `~` replaced by the home folder. Raises UserError if there is none."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name}: {error}") from error


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn an OSError inside the `with` into a UserError that names `path`. Raise UserError as well
    if `path` is not UTF-8 or holds a NUL character."""
    if "\0" in str(path):
        raise UserError(f"{str(path)!r:.60} is no name of a file: it holds a NUL character")
    try:
        str(path).encode()  # OpenCV and PyAV take names as UTF-8
        yield
    except UnicodeEncodeError as error:
        raise UserError(f"the name {str(path)!r} is not UTF-8; rename the file") from error
    except OSError as error:
        kind = PassingError if error.errno in PASSING else UserError
        raise kind(f"{path} cannot be used ({error.strerror})") from error


class Stopped(Exception):
    """A render stopped because it was asked to, with its work saved. Its message says how to go
    on."""
