"""Expressions: arithmetic formulas read from text, such as `1.02 + 0.1*sin(s)`.

Syntax and precedence are Python's. Text can do arithmetic only, never run code.
"""

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import NoReturn

from dreamreel.pipeline.config.arithmetic import BINARY, COMPARISONS, FUNCTIONS, UNARY, Number

Names = Mapping[str, float]
Formula = Callable[[Names], Number]

CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "True": True, "False": False}
# The limits of one expression: its words, and brackets within brackets. Round numbers, above what
# people write; at these limits, reading and evaluating nest fewer than 300 of Python's 1,000 calls.
MOST_WORDS, DEEPEST = 300, 40
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WORD = re.compile(rf"\s*(?:({NUMBER}|[A-Za-z_]\w*|\*\*|//|<<|>>|[<>=!]=|\S)|$)", re.ASCII)
PLAIN = re.compile(rf"[+-]?{NUMBER}", re.ASCII)


def read(text: str, variables: tuple[str, ...], begins: int = 0) -> tuple[Formula, frozenset[str]]:
    """The formula in `text`, and the names of those `variables` that it uses.

    Raises ValueError, in one line, for a syntax error: the column, counted from 1 and shifted by
    `begins`, and what was expected there. The value of the formula is a bool, float or complex
    number that need not be finite; see `arithmetic`. The formula may raise ValueError.
    """
    reader = _Reader(text, variables, begins)
    return reader.whole(), frozenset(reader.names)


def constant(number: Number) -> Formula:
    """A formula whose value is always `number`."""
    return lambda names: number


def _choice(condition: Formula, value: Formula, other: Formula) -> Formula:
    # Only the chosen branch is evaluated: where(t > 0, 1/t, 0) is 0 at 0.
    return lambda names: value(names) if condition(names) else other(names)


def _and(one: Formula, other: Formula) -> Formula:
    return lambda names: bool(one(names) and other(names))


def _or(one: Formula, other: Formula) -> Formula:
    return lambda names: bool(one(names) or other(names))


def _worked(work: Callable[..., Number]) -> Callable[..., Formula]:
    """The function `work` of numbers, as a function from formulas to a formula."""
    return lambda *parts: lambda names: work(*(part(names) for part in parts))


def _compared(first: Formula, links: list[tuple[str, Formula]]) -> Formula:
    """A chain such as 0 < t <= 9: whether all of it holds. Each part is evaluated once."""

    def formula(names: Names) -> bool:
        left = first(names)
        for sign, part in links:
            right = part(names)
            if not COMPARISONS[sign](left, right):
                return False
            left = right
        return True

    return formula


COMPARED = 4  # precedence of comparisons
# The signs of each precedence, in Python's order, which is numexpr's too.
PRECEDENCE = {5: "|", 6: "^", 7: "&", 8: "<< >>", 9: "+ -", 10: "* / // %", 12: "**"}
# The precedence of each operator, and the function from its two operands to a formula.
OPERATORS: dict[str, tuple[int, Callable[..., Formula]]] = {
    "or": (1, _or),
    "and": (2, _and),
    **{
        sign: (firmness, _worked(BINARY[sign]))
        for firmness, signs in PRECEDENCE.items()
        for sign in signs.split()
    },
}
# The precedence of each prefix operator, and the function from its operand to a formula.
SIGNS: dict[str, tuple[int, Callable[..., Formula]]] = {
    sign: (COMPARED if sign == "not" else 11, _worked(work)) for sign, work in UNARY.items()
}
# Each function with the numbers of arguments that it takes.
CALLS: dict[str, tuple[range, Callable[..., Formula]]] = {
    "where": (range(3, 4), _choice),
    **{name: (counts, _worked(work)) for name, (counts, work) in FUNCTIONS.items()},
}
WORDS = ("and", "or", "not", "if", "else")
END = ""


class _Reader:
    """A recursive-descent parser of one expression.

    Written by hand, because Python's own parser does not say what it expected and where.
    """

    def __init__(self, text: str, variables: tuple[str, ...], begins: int) -> None:
        found = [one for one in islice(WORD.finditer(text), MOST_WORDS + 2) if one[1]]
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
        column = self._columns[self._next]
        raise ValueError(f"column {column}: expected {expected}, found {found}")

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
        if name in CALLS:
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
        if name not in CALLS:
            self._fail(_one_of("function", name, tuple(CALLS)))
        self._next += 2
        parts = [self._any()]
        while self._word == ",":
            self._take()
            parts.append(self._any())
        self._need(")", "an operator, ',' or ')'")
        counts, made = CALLS[name]
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
