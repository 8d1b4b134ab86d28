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
LONGEST_SHOWN = 60  # characters of a text, or digits of a number, in a message; a round number


def read_toml(text: str) -> dict[str, Any]:
    """The table in the TOML `text`. Raises ValueError, in one line, for text that is not TOML, or
    that nests more than `DEEPEST` levels."""
    too_deep = f"it nests more than {DEEPEST} levels deep"
    if LONG_KEY.search(text):
        raise ValueError(too_deep)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(too_deep) from None
    except ValueError as error:
        if "int_max_str_digits" not in str(error):
            raise
        raise ValueError("it holds a whole number of thousands of digits") from error
    if not is_shallow(table):
        raise ValueError(too_deep)
    return table


def is_shallow(value: Any) -> bool:
    """Whether the tables and lists in `value` nest at most `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
        if not level:
            return True
    return False


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """`x` in full, or its size, since Python refuses to write very long numbers."""
        if x.bit_length() <= 3 * LONGEST_SHOWN:
            return repr(x)
        return f"a whole number of about {round(x.bit_length() * 0.30103)} digits"


_short = _Short()
_short.maxstring = _short.maxother = LONGEST_SHOWN
_short.maxlevel = 3


def shown(value: Any) -> str:
    """`value` as Python writes it, cut short in the middle where it is long; for messages."""
    return _short.repr(value)
