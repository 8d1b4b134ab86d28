"""Expressions: arithmetic formulas read from text, such as `1.02 + 0.1*sin(s)`.

Syntax and precedence are Python's. Text can do arithmetic only, never run code.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import NoReturn

Names = Mapping[str, float]
Formula = Callable[[Names], float]

CONSTANTS = {"pi": math.pi, "e": math.e}
# The limits of one expression: its words, and brackets within brackets. Round numbers, above what
# people write; at these limits, reading and evaluating nest fewer than 300 of Python's 1,000 calls.
MOST_WORDS, DEEPEST = 300, 40
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WORD = re.compile(rf"\s*(?:({NUMBER}|[A-Za-z_]\w*|\*\*|//|[<>=!]=|\S)|$)", re.ASCII)
PLAIN = re.compile(rf"[+-]?{NUMBER}", re.ASCII)


def read(text: str, variables: tuple[str, ...], begins: int = 0) -> tuple[Formula, frozenset[str]]:
    """The formula in `text`, and the names of those `variables` that it uses.

    Raises ValueError, in one line, for a syntax error: the column, counted from 1 and shifted by
    `begins`, and what was expected there. The formula itself may raise ZeroDivisionError,
    OverflowError and ValueError, as Python's arithmetic does.
    """
    reader = _Reader(text, variables, begins)
    return reader.whole(), frozenset(reader.names)


def constant(number: float) -> Formula:
    """A formula whose value is always `number`."""
    return lambda names: number


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


def _choice(condition: Formula, value: Formula, other: Formula) -> Formula:
    # Only the chosen branch is evaluated: where(t > 0, 1/t, 0) is 0 at 0.
    return lambda names: value(names) if condition(names) else other(names)


def _and(one: Formula, other: Formula) -> Formula:
    return lambda names: 1.0 if one(names) and other(names) else 0.0


def _or(one: Formula, other: Formula) -> Formula:
    return lambda names: 1.0 if one(names) or other(names) else 0.0


def _worked(work: Callable[..., float]) -> Callable[..., Formula]:
    """The function `work` of numbers, as a function from formulas to a formula."""

    def made(*parts: Formula) -> Formula:
        return lambda names: float(work(*(part(names) for part in parts)))

    return made


def _compared(first: Formula, links: list[tuple[str, Formula]]) -> Formula:
    """A chain such as 0 < t <= 9: 1 where all of it holds, else 0. Each part is evaluated once."""

    def formula(names: Names) -> float:
        left = first(names)
        for sign, part in links:
            right = part(names)
            if not COMPARISONS[sign](left, right):
                return 0.0
            left = right
        return 1.0

    return formula


def _sign(x: float) -> float:
    return float(x > 0) - float(x < 0)


def _clamp(x: float, low: float, high: float) -> float:
    return max(low, min(high, x))


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPARED = 4  # precedence of comparisons, in Python's order
# The precedence of each operator, and the function from its two operands to a formula.
OPERATORS: dict[str, tuple[int, Callable[..., Formula]]] = {
    "or": (1, _or),
    "and": (2, _and),
    "|": (5, _or),  # as in numexpr, and so in Deforum: (t > 5) | (t < 2)
    "&": (6, _and),
    "+": (7, _worked(operator.add)),
    "-": (7, _worked(operator.sub)),
    "*": (8, _worked(operator.mul)),
    "/": (8, _worked(operator.truediv)),
    "//": (8, _worked(operator.floordiv)),
    "%": (8, _worked(operator.mod)),
    "**": (10, _worked(math.pow)),
}
# The precedence of each prefix operator, and the function from its operand to a formula.
SIGNS: dict[str, tuple[int, Callable[..., Formula]]] = {
    "not": (COMPARED, _worked(operator.not_)),
    "~": (9, _worked(operator.not_)),
    "-": (9, _worked(operator.neg)),
    "+": (9, _worked(operator.pos)),
}
ONE, TWO, THREE, SOME = range(1, 2), range(2, 3), range(3, 4), range(2, 9)
# Each function with the numbers of arguments that it takes.
FUNCTIONS: dict[str, tuple[range, Callable[..., Formula]]] = {
    "sin": (ONE, _worked(math.sin)),
    "cos": (ONE, _worked(math.cos)),
    "tan": (ONE, _worked(math.tan)),
    "asin": (ONE, _worked(math.asin)),
    "acos": (ONE, _worked(math.acos)),
    "atan": (ONE, _worked(math.atan)),
    "atan2": (TWO, _worked(math.atan2)),
    "exp": (ONE, _worked(math.exp)),
    "log": (ONE, _worked(math.log)),
    "sqrt": (ONE, _worked(math.sqrt)),
    "pow": (TWO, _worked(math.pow)),
    "abs": (ONE, _worked(abs)),
    "sign": (ONE, _worked(_sign)),
    "floor": (ONE, _worked(math.floor)),
    "ceil": (ONE, _worked(math.ceil)),
    "round": (ONE, _worked(round)),
    "min": (SOME, _worked(min)),
    "max": (SOME, _worked(max)),
    "clamp": (THREE, _worked(_clamp)),
    "where": (THREE, _choice),
    "noise": (range(1, 3), _worked(noise)),
}
# The names that numexpr, and so Deforum, has for them.
FUNCTIONS |= {f"arc{name}": FUNCTIONS[f"a{name}"] for name in ("sin", "cos", "tan", "tan2")}
WORDS = ("and", "or", "not", "if", "else")
END = ""


class _Reader:
    """A recursive-descent parser of one expression.

    Written by hand, because Python's own parser does not say what it expected and where.
    """

    def __init__(self, text: str, variables: tuple[str, ...], begins: int) -> None:
        found = [one for one in WORD.finditer(text) if one[1]]
        self._words = [one[1] for one in found] + [END]
        self._columns = [begins + one.start(1) + 1 for one in found] + [begins + len(text) + 1]
        self._next, self._depth = 0, 0
        self._variables = variables
        self.names: set[str] = set()

    def whole(self) -> Formula:
        """The formula of the whole text."""
        if len(self._words) > MOST_WORDS:
            raise ValueError(f"an expression of more than {MOST_WORDS} words is too long")
        formula = self._any()
        if self._word != END:
            self._fail("an operator or the end")
        return formula

    @property
    def _word(self) -> str:
        return self._words[self._next]

    def _take(self) -> str:
        self._next += 1
        return self._words[self._next - 1]

    def _need(self, word: str, expected: str) -> None:
        if self._take() != word:
            self._next -= 1
            self._fail(expected)

    def _fail(self, expected: str) -> NoReturn:
        found = repr(self._word[:40]) if self._word != END else "the end"
        power = "; a power is **" if self._word == "^" else ""
        column = self._columns[self._next]
        raise ValueError(f"column {column}: expected {expected}, found {found}{power}")

    def _any(self) -> Formula:
        value = self._operation(1)
        if self._word != "if":
            return value
        self._take()
        condition = self._operation(1)
        self._need("else", "an operator or 'else'")
        return _choice(condition, value, self._deeper(self._any))

    def _operation(self, binds: int) -> Formula:
        """An operand, and all operators after it whose precedence is at least `binds`."""
        left = self._deeper(self._operand)
        while True:
            firmness, made = OPERATORS.get(self._word, (0, _or))
            if self._word in COMPARISONS and binds <= COMPARED:
                left = _compared(left, self._links())
            elif firmness >= binds:
                right_to_left = self._take() == "**"
                left = made(left, self._operation(firmness + (not right_to_left)))
            else:
                return left

    def _links(self) -> list[tuple[str, Formula]]:
        links = []
        while self._word in COMPARISONS:
            links.append((self._take(), self._operation(COMPARED + 1)))
        return links

    def _operand(self) -> Formula:
        word = self._word
        if word in SIGNS:
            firmness, made = SIGNS[self._take()]
            return made(self._operation(firmness))
        if word == "(":
            self._take()
            formula = self._any()
            self._need(")", "an operator or ')'")
            return formula
        if PLAIN.fullmatch(word):
            number = float(word)
            if math.isinf(number):
                self._fail("a smaller number")
            self._take()
            return constant(number)
        if word in WORDS or not word.isidentifier():
            self._fail("a number, a name or '('")
        return self._call() if self._words[self._next + 1] == "(" else self._name()

    def _name(self) -> Formula:
        name, known = self._word, (*self._variables, *CONSTANTS)
        if name in FUNCTIONS:
            self._next += 1
            self._fail(f"'(' after {name}")
        if name not in known:
            self._fail(_one_of("name", name, known))
        self._take()
        if name in CONSTANTS:
            return constant(CONSTANTS[name])
        self.names.add(name)
        return lambda names: names[name]

    def _call(self) -> Formula:
        column, name = self._columns[self._next], self._word
        if name not in FUNCTIONS:
            self._fail(_one_of("function", name, tuple(FUNCTIONS)))
        self._next += 2
        parts = [self._any()]
        while self._word == ",":
            self._take()
            parts.append(self._any())
        self._need(")", "an operator, ',' or ')'")
        counts, made = FUNCTIONS[name]
        if len(parts) not in counts:
            some = " to ".join(str(one) for one in sorted({counts[0], counts[-1]}))
            raise ValueError(f"column {column}: {name}(…) takes {some} numbers, not {len(parts)}")
        return made(*parts)

    def _deeper(self, reading: Callable[[], Formula]) -> Formula:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(
                f"column {self._columns[self._next]}: nested more than {DEEPEST} levels deep"
            )
        formula = reading()
        self._depth -= 1
        return formula


def _one_of(kind: str, given: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(given, known, 1)
    return f"the {kind} {near[0]}" if near else f"one of the {kind}s " + ", ".join(known)
