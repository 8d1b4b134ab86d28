"""Tables read from TOML text, bounded in depth; values as messages show them."""

import re
import reprlib
import tomllib
from collections.abc import Mapping
from typing import Any

# Tables and lists within each other, and parts of a dotted key; settings and layers have up to 8.
# tomllib takes time as the square of the parts: 20,000 keys of 64 take 12 s, of 16 take 1 s.
DEEPEST = 16
# A key of more parts than that.
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_PART}(?:\.[ \t]*+{_PART}){{{DEEPEST},}}+[=\]]", re.M)
MOST_BITS = 1000  # of a whole number: it fits a float, and Python writes it
TOO_DEEP = f"it nests more than {DEEPEST} levels deep"
TOO_LONG = "it holds a whole number of hundreds of digits"
LONGEST_SHOWN = 60  # characters of a text, or digits of a number, in a message; a round number


def read_toml(text: str) -> dict[str, Any]:
    """The table in the TOML `text`. Raises ValueError, in one line, for text that is not TOML, or
    in which there is a `fault`."""
    if LONG_KEY.search(text):
        raise ValueError(TOO_DEEP)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError as error:
        if "int_max_str_digits" not in str(error):
            raise
        raise ValueError(TOO_LONG) from error
    if (reason := fault(table)) is not None:
        raise ValueError(reason)
    return table


def fault(value: Any) -> str | None:
    """Why `value`, of tables, lists and plain values, is not taken: it nests more than `DEEPEST`
    levels deep, or holds a whole number that is no float. None if it is taken."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if any(isinstance(one, int) and one.bit_length() > MOST_BITS for one in level):
            return TOO_LONG
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
        if not level:
            return None
    return TOO_DEEP


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = LONGEST_SHOWN
_short.maxlevel = 3


def shown(value: Any) -> str:
    """`value` as Python writes it, cut short in the middle where it is long; for messages."""
    return _short.repr(value)
