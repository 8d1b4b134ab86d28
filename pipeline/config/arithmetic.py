"""What the operators and functions of expressions compute, with numexpr's meaning.

Deforum evaluates its schedules with numexpr, so that one of its expressions means the same here.
Arithmetic is that of IEEE 754: 1/0 is infinite and sqrt(-1) no number, and neither is an error
until it is the value of a schedule. It is done with Python's `math`, which gives the same bits on
every machine of one kind, as numpy's vector code does not. numexpr's `contains` is left out, since
it works on text.
"""

import cmath
import math
import operator
from collections.abc import Callable
from typing import Any

Number = Any  # bool, float or complex; an int only where truth values were added or multiplied
Work = Callable[..., Number]

WORD_BITS = 64  # numexpr's whole numbers have as many bits


def noise(x: float, seed: float = 0.0) -> float:
    """A smooth random curve over `x`, from -1 to 1: random values at the whole numbers, eased in
    between. Each `seed` gives another curve."""
    left = math.floor(x)
    share = x - left
    smooth = share**3 * (share * (share * 6 - 15) + 10)  # Perlin's fade (Improving Noise, 2002)
    begin, end = _random(left, seed), _random(left + 1, seed)
    return begin + (end - begin) * smooth


def _random(number: int, seed: float) -> float:
    """A number from -1 to 1, hashed in integers: the same on every machine, as floats need not
    be."""
    bits = (number * 0x9E3779B1 + math.floor(seed) * 0x85EBCA6B + 1) & 0xFFFFFFFF
    for factor in (0x7FEB352D, 0x846CA68B):  # lowbias32 (Wellons, 2018)
        bits = ((bits ^ bits >> 16) * factor) & 0xFFFFFFFF
    return (bits ^ bits >> 16) / 0x7FFFFFFF - 1


def _safe(
    name: str,
    work: Work,
    on_complex: Work | None = None,
    too_large: Work = lambda *numbers: math.inf,
    outside: Work = lambda *numbers: math.nan,
) -> Work:
    """`work`, called `name` in messages, with answers where Python raises: `on_complex` works on
    complex numbers, `too_large` is the answer on overflow, and `outside` the one where there is no
    real result. Raises ValueError for complex numbers without `on_complex`."""

    def safe(*numbers: Number) -> Number:
        try:
            return work(*numbers)
        except OverflowError:
            return too_large(*numbers)
        except (ValueError, ZeroDivisionError):
            return outside(*numbers)
        except TypeError:  # from complex numbers alone: there are no others but real ones
            if on_complex is None:
                raise ValueError(f"{name} takes no complex number") from None
        try:
            return on_complex(*numbers)
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    return safe


def _signed(x: Number, *others: Number) -> float:
    """Infinity with the sign of `x`."""
    return math.copysign(math.inf, x)


def _pole(at: float, value: float) -> Work:
    """The answer `value` at the argument `at`, and none elsewhere."""
    return lambda x: value if x == at else math.nan


def _divided(x: Number, y: Number) -> float:
    """x/0 by the rules of IEEE 754."""
    if isinstance(x + y, complex) or x == 0 or math.isnan(x):
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1, y)


def _large_power(x: float, y: float) -> float:
    return -math.inf if x < 0 and math.fmod(y, 2) else math.inf


def _no_power(x: float, y: float) -> float:
    """0 to a negative power is infinite; a negative number to a broken power is no real one."""
    if x != 0:
        return math.nan
    return math.copysign(math.inf, x) if abs(math.fmod(y, 2)) == 1 else math.inf


def _to_whole(work: Callable[[float], float]) -> Work:
    """`work`, which rounds, as a function that leaves what is not finite."""
    return lambda x: float(work(x)) if math.isfinite(x) else x


def _sign(x: float) -> float:
    return x if math.isnan(x) else float(x > 0) - float(x < 0)


def _least(*numbers: float) -> float:
    return math.nan if any(map(math.isnan, numbers)) else min(numbers)


def _most(*numbers: float) -> float:
    return math.nan if any(map(math.isnan, numbers)) else max(numbers)


def _clamp(x: float, low: float, high: float) -> float:
    return _most(low, _least(high, x))


def _bits(sign: str, work: Callable[[int, int], int]) -> Work:
    """The operator `sign` on the bits of two whole numbers; of two truth values, a truth value."""

    def on_bits(one: Number, other: Number) -> Number:
        if isinstance(one, bool) and isinstance(other, bool):
            return work(one, other)
        return float(work(_whole(sign, one), _whole(sign, other)))

    return on_bits


def _shift(sign: str, work: Callable[[int, int], int]) -> Work:
    def shifted(one: Number, by: Number) -> float:
        bits = _whole(sign, by)
        if not 0 <= bits < WORD_BITS:
            raise ValueError(f"{sign} shifts by 0 to {WORD_BITS - 1} bits, not by {bits}")
        return float(work(_whole(sign, one), bits))

    return shifted


def _inverted(x: Number) -> Number:
    """Of a truth value, the other one; of a whole number, the one with all bits inverted."""
    return not x if isinstance(x, bool) else float(~_whole("~", x))


def _whole(sign: str, x: Number) -> int:
    real = not isinstance(x, complex) and math.isfinite(x)
    if real and x == math.floor(x) and abs(x) < 2 ** (WORD_BITS - 1):
        return int(x)
    raise ValueError(f"{sign} takes whole numbers, not {x:.6g}; floor(…) makes one")


def _ordered(sign: str, work: Callable[[Any, Any], bool]) -> Work:
    return _safe(sign, work)


COMPARISONS: dict[str, Work] = {
    "<": _ordered("<", operator.lt),
    "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt),
    ">=": _ordered(">=", operator.ge),
    "==": operator.eq,
    "!=": operator.ne,
}
BINARY: dict[str, Work] = {
    "|": _bits("|", operator.or_),
    "^": _bits("^", operator.xor),
    "&": _bits("&", operator.and_),
    "<<": _shift("<<", operator.lshift),
    ">>": _shift(">>", operator.rshift),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _safe("/", operator.truediv, outside=_divided),
    "//": _safe("//", operator.floordiv, outside=_divided),
    "%": _safe("%", operator.mod),
    "**": _safe("**", math.pow, pow, _large_power, _no_power),
}
UNARY: dict[str, Work] = {
    "not": operator.not_,
    "~": _inverted,
    "-": operator.neg,
    "+": operator.pos,
}
_SAME: Work = operator.pos  # what a sum or a copy of one number is
ONE, TWO, THREE, SOME = range(1, 2), range(2, 3), range(3, 4), range(1, 9)
# Each function with the numbers of arguments that it takes.
FUNCTIONS: dict[str, tuple[range, Work]] = {
    "sin": (ONE, _safe("sin", math.sin, cmath.sin)),
    "cos": (ONE, _safe("cos", math.cos, cmath.cos)),
    "tan": (ONE, _safe("tan", math.tan, cmath.tan)),
    "asin": (ONE, _safe("asin", math.asin, cmath.asin)),
    "acos": (ONE, _safe("acos", math.acos, cmath.acos)),
    "atan": (ONE, _safe("atan", math.atan, cmath.atan)),
    "atan2": (TWO, _safe("atan2", math.atan2)),
    "sinh": (ONE, _safe("sinh", math.sinh, cmath.sinh, _signed)),
    "cosh": (ONE, _safe("cosh", math.cosh, cmath.cosh)),
    "tanh": (ONE, _safe("tanh", math.tanh, cmath.tanh)),
    "asinh": (ONE, _safe("asinh", math.asinh, cmath.asinh)),
    "acosh": (ONE, _safe("acosh", math.acosh, cmath.acosh)),
    "atanh": (
        ONE,
        _safe(
            "atanh",
            math.atanh,
            cmath.atanh,
            outside=lambda x: _signed(x) if abs(x) == 1 else math.nan,
        ),
    ),
    "exp": (ONE, _safe("exp", math.exp, cmath.exp)),
    "expm1": (ONE, _safe("expm1", math.expm1, lambda z: cmath.exp(z) - 1)),
    "log": (ONE, _safe("log", math.log, cmath.log, outside=_pole(0, -math.inf))),
    "log2": (ONE, _safe("log2", math.log2, outside=_pole(0, -math.inf))),
    "log10": (ONE, _safe("log10", math.log10, cmath.log10, outside=_pole(0, -math.inf))),
    "log1p": (
        ONE,
        _safe("log1p", math.log1p, lambda z: cmath.log(1 + z), outside=_pole(-1, -math.inf)),
    ),
    "sqrt": (ONE, _safe("sqrt", math.sqrt, cmath.sqrt)),
    "pow": (TWO, BINARY["**"]),
    "hypot": (TWO, _safe("hypot", math.hypot)),
    "fmod": (TWO, _safe("fmod", math.fmod)),
    "abs": (ONE, _safe("abs", abs)),
    "sign": (ONE, _safe("sign", _sign)),
    "signbit": (ONE, _safe("signbit", lambda x: math.copysign(1, x) < 0)),
    "copysign": (TWO, _safe("copysign", math.copysign)),
    "nextafter": (TWO, _safe("nextafter", math.nextafter)),
    "floor": (ONE, _safe("floor", _to_whole(math.floor))),
    "ceil": (ONE, _safe("ceil", _to_whole(math.ceil))),
    "trunc": (ONE, _safe("trunc", _to_whole(math.trunc))),
    "round": (ONE, _safe("round", _to_whole(round))),
    "rint": (ONE, _safe("rint", _to_whole(round))),
    "isnan": (ONE, _safe("isnan", math.isnan, cmath.isnan)),
    "isinf": (ONE, _safe("isinf", math.isinf, cmath.isinf)),
    "isfinite": (ONE, _safe("isfinite", math.isfinite, cmath.isfinite)),
    "complex": (TWO, _safe("complex", lambda x, y: complex(float(x), float(y)))),
    "real": (ONE, lambda z: float(z.real)),
    "imag": (ONE, lambda z: float(z.imag)),
    "conj": (ONE, lambda z: z.conjugate()),
    "min": (SOME, _safe("min", _least)),
    "max": (SOME, _safe("max", _most)),
    "minimum": (TWO, _safe("minimum", _least)),
    "maximum": (TWO, _safe("maximum", _most)),
    "sum": (ONE, _SAME),
    "prod": (ONE, _SAME),
    "copy": (ONE, _SAME),
    "ones_like": (ONE, lambda x: 1.0),
    "clamp": (THREE, _safe("clamp", _clamp)),
    "noise": (range(1, 3), _safe("noise", noise, too_large=lambda *numbers: math.nan)),
}
# The names that numexpr has for them.
FUNCTIONS |= {
    f"arc{name}": FUNCTIONS[f"a{name}"]
    for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")
}
