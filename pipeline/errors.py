"""Errors that end in one clear line instead of a traceback; text that is safe to show."""

import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

# Errors of a disk or network that may pass by themselves.
PASSING = {
    getattr(errno, name, None)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EAGAIN", "EMFILE", "ENFILE", "ENOSPC")
}

# An address in place of a path, in which `Path` has made one slash of two. A scheme of one letter
# is a drive of Windows.
ADDRESS = re.compile(r"(?:^|/)(?:([A-Za-z][A-Za-z0-9+.-]+):/|(data|magnet|blob):)(.*)", re.DOTALL)
LONGEST_SHOWN = 100  # letters of a long name in a message; a round number


LONGEST = 2000  # characters of a line that is shown; a round number, above any that we write
# Categories and directions of characters that steer a terminal or reorder a line, rather than show
# something: control characters, halves of a pair, line ends, and marks of direction.
STEERING = ("Cc", "Cs", "Zl", "Zp")
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
MARKS = "\u061c\u200e\u200f"  # of direction, which have that of a letter


def visible(text: str, kept: str = "") -> str:
    """`text` with every character that steers a terminal, but those in `kept`, written as its
    escape in Python, such as \\x1b."""
    if text.isprintable():
        return text
    return "".join(one if one in kept or not _steers(one) else _escape(one) for one in text)


def _steers(one: str) -> bool:
    if one in MARKS or unicodedata.category(one) in STEERING:
        return True
    return unicodedata.bidirectional(one) in TURNING


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def shortened(text: str) -> str:
    """`text` without the middle of more than `LONGEST` characters, as of a name of 100,000."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class UserError(Exception):
    """A mistake that the user can correct. Its message says, in one visible line, what was given,
    what is wrong and what would work."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(visible(" ".join(message.split()))))


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
    """The path `name` with `~` replaced by the home folder. Raises UserError if there is none. A
    file's name such as ~me.png stays as it is if no user has this name."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        if os.path.lexists(name) and Path(name).parts[0] != "~":
            return Path(name)
        raise UserError(f"{name}: {error}") from error


def missing(path: Path, what: str = "file") -> UserError:
    """The error that there is no `what`, such as "file", at `path`, or that this is an address."""
    return address_error(path) or UserError(f"there is no {what} {path}")


def address_error(path: Path) -> UserError | None:
    """The error that `path`, which does not exist, is an address such as https://example.org; None
    if it does not look like one."""
    found = ADDRESS.search(path.as_posix())
    if found is None:
        return None
    scheme, short, rest = found.groups()
    if scheme is not None and Path(path.as_posix()[: found.end(1) + 1]).is_dir():
        return None
    if scheme == "file":
        return UserError(f"file:///{rest} is an address; give the path alone: /{unquote(rest)}")
    address = f"{short}:{rest}" if scheme is None else f"{scheme}://{rest}"
    shown = address if len(address) <= LONGEST_SHOWN else f"{address[:LONGEST_SHOWN]}..."
    return UserError(f"{shown} is an address, not a file; only files are read and written")


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
        encoding = sys.getfilesystemencoding()
        if encoding != "utf-8":
            raise UserError(
                f"the name {str(path)!r} is not {encoding}, the encoding of names here; set the "
                "environment variable PYTHONUTF8=1"
            ) from error
        raise UserError(f"the name {str(path)!r} is not UTF-8; rename the file") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and (other := address_error(path)) is not None:
            raise other from error
        kind = PassingError if error.errno in PASSING else UserError
        name, why = str(path), error.strerror
        if error.errno == errno.ENAMETOOLONG:
            name, why = f"{name[:LONGEST_SHOWN]}...", f"{why}; a shorter one is needed"
        raise kind(f"{name} cannot be used ({why})") from error


class Stopped(Exception):
    """A render stopped because it was asked to, with its work saved. Its message says how to go
    on."""
