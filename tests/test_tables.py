"""Hostile settings: whatever stands in TOML, in --set or in a schedule is a value or one line."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from dreamreel.pipeline.app.batch import parse_duration
from dreamreel.pipeline.config.fields import Settings, all_fields
from dreamreel.pipeline.config.grammar import build, parse_assignment, to_toml
from dreamreel.pipeline.config.presets import load_preset, parse_preset
from dreamreel.pipeline.config.schedule import NOMINAL, parse
from dreamreel.pipeline.config.tables import DEEPEST, fault, read_toml, shown
from dreamreel.pipeline.config.values import (
    parse_colour,
    parse_fps,
    parse_number,
    parse_rate,
    parse_size,
    parse_span,
    parse_time,
)
from dreamreel.pipeline.errors import UserError, visible
from making import Run

Call = Callable[..., Run]
LONGEST_LINE = 2100  # characters of a message
SLOWEST = 2.0  # seconds
HUGE = "9" * 5000
HUGE_HEX = "0x" + "f" * 5000
NAMES = sorted(all_fields())
PIECES = [
    *("=", ".", ",", "[", "]", "[[", "]]", "{", "}", "\n", "#", '"', "'", '"""', "'''", "\\u0000"),
    *("\\", " ", "0", "1.5", "-1", "1e999", "nan", "inf", "true", "1979-05-27", "0x1f", HUGE),
    *("dream", "camera", "zoom", "layers", "octaves", "description", "inherits", "ease", "bpm"),
    *(
        "0:(1), 9:(2)",
        "per_frame(",
        "sin(",
        "t",
        "&",
        "~",
        "<<",
        "**",
        "50%",
        "4b",
        "beat",
        "\x1b[",
    ),
    *("a.b", "eyes", "./x.toml", "[" * 60, "a." * 60, "\0", "\ud800"),
    *("\u0661", "é"),
]
texts = st.text() | st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@contextmanager
def one_line() -> Iterator[None]:
    """Check that what runs inside gives a value or a UserError in one visible line, and soon."""
    begins = time.process_time()
    try:
        yield
    except UserError as error:
        line = str(error)
        assert line and "\n" not in line and visible(line) == line and len(line) < LONGEST_LINE
    assert time.process_time() - begins < SLOWEST


@tried(deadline=None)
@given(texts)
def test_any_text_is_a_preset_or_refused_in_one_line(text: str) -> None:
    with one_line():
        settings = parse_preset(text, Path("/nowhere/mine.toml")).settings()
        assert isinstance(settings, Settings) and to_toml(settings)


@tried(deadline=None)
@given(st.sampled_from(NAMES), texts)
def test_any_value_of_a_preset_is_taken_or_refused_in_one_line(name: str, text: str) -> None:
    with one_line():
        parse_preset(f"{name} = {text}", Path("/nowhere/mine.toml")).settings()


@tried(deadline=None)
@given(st.sampled_from(NAMES) | texts, texts)
def test_any_assignment_is_taken_or_refused_in_one_line(name: str, text: str) -> None:
    for assignment in (f"{name}={text}", name + text):
        with one_line():
            assert to_toml(build(("--set", parse_assignment(assignment))))


@tried(deadline=None)
@given(texts, st.sampled_from(["", "per_frame(", "0:("]))
def test_any_schedule_is_taken_or_refused_in_one_line(text: str, before: str) -> None:
    begins = time.process_time()
    for written in (before + text, {text: 1}, {"0": text}, {"0": 1, "ease": text}):
        try:
            value = parse(written).at(NOMINAL)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < LONGEST_LINE
        else:
            assert isinstance(value, float)
    assert time.process_time() - begins < SLOWEST


HOSTILE = {
    "lists 500 deep": "dream = " + "[" * 500 + "]" * 500,
    "lists 50,000 deep": "dream = " + "[" * 50_000 + "]" * 50_000,
    "lists 50 deep": "dream.terms = " + "[" * 50 + "]" * 50,
    "tables 500 deep": "dream.terms = " + "{a=" * 500 + "1" + "}" * 500,
    "tables 15 deep": "dream.terms = " + "{a=" * 12 + "1" + "}" * 12,
    "a key of 5,000 parts": "dream.terms." + ".".join("a" * 5000) + " = 1",
    "a header of 5,000 parts": "[" + " . ".join("a" * 5000) + "]\nx = 1",
    "a quoted key of 5,000 parts": ".".join(['"a"'] * 5000) + " = 1",
    "an inner key of 5,000 parts": "dream = { x = 1, " + ".".join("a" * 5000) + " = 1 }",
    "20,000 keys of 60 parts": "\n".join(f"k{i}{'.a' * 60} = 1" for i in range(20_000)),
    "a huge seed": f"seed = {HUGE}",
    **{
        f"a huge {name}": f"{name} = {HUGE_HEX}"
        for name in ("seed", "dream.octaves", "dream.mix", "network", "weights", "source.fps")
    },
    "a huge weight": f"dream.terms = {{ a = {HUGE_HEX} }}",
    "a huge key": f"[camera.zoom]\n0s = {HUGE_HEX}",
    "a huge tempo": f"[camera.zoom]\n0s = 1\nbpm = {HUGE_HEX}",
    "a huge description": f"description = {HUGE_HEX}",
    "a NUL in a path": 'weights = "a\\u0000b"',
    "a NUL in an inherited path": 'inherits = "./a\\u0000b"',
    "a NUL in an inherited name": 'inherits = "a\\u0000b"',
    "a NUL in a key": '"a\\u0000b" = 1',
    "a raw NUL": "a\0b = 1",
    "a key of 100,000 letters": "a" * 100_000 + " = 1",
    "a name of 100,000 letters": "inherits = '" + "a" * 100_000 + "'",
    "a path of 100,000 letters": "inherits = './" + "a" * 100_000 + "'",
    "an expression of 400,000 words": "camera.zoom = '" + "1+" * 200_000 + "1'",
    "400,000 brackets": "camera.zoom = '" + "(" * 400_000 + "'",
    "a mistake after 5,000 layers": "[dream.terms]\n"
    + "\n".join(f"l{i} = 1" for i in range(5000))
    + "\nz = 'sin('",
    "a date": "seed = 1979-05-27",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_preset_is_refused_in_one_line(kind: str) -> None:
    with one_line(), pytest.raises(UserError) as error:
        parse_preset(HOSTILE[kind], Path("/nowhere/mine.toml"))
    assert len(str(error.value)) < LONGEST_LINE
    if "parts" in kind or "00 deep" in kind:
        assert f"more than {DEEPEST} levels deep" in str(error.value)
    if "huge" in kind:
        assert "a whole number of hundreds of digits" in str(error.value)


@pytest.mark.parametrize(
    "value",
    ["[" * 500 + "]" * 500, "{a=" * 500, HUGE, HUGE_HEX, "\x1b[31m", "\u0661", "1_000", "x]\n[a"],
)
def test_a_hostile_assignment_is_refused_in_one_line(value: str) -> None:
    names = [*NAMES, "x", "a." * 5000 + "b", "dream.terms." + "a." * 5000 + "b", "", ".", "dream."]
    for name in names:
        with one_line():
            build(("--set", parse_assignment(f"{name}={value}")))


def test_a_mistake_among_many_keys_is_told_with_its_line() -> None:
    for place in (0, 1, 500, 998, 999):
        lines = [f"l{i} = 1" for i in range(1000)]
        lines[place] = "z = 'sin('"
        with pytest.raises(UserError, match=f"mine.toml, line {place + 2}: dream.terms.z = "):
            parse_preset("\n".join(["[dream.terms]", *lines]), Path("/nowhere/mine.toml"))


@pytest.mark.parametrize("kind", ["loop", "folder", "pipe", "device", "gone", "binary", "locked"])
def test_what_cannot_be_read_is_no_preset(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.toml"
    if kind == "loop":
        (tmp_path / "other.toml").symlink_to(path)
        path.symlink_to(tmp_path / "other.toml")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00" * 999)
    elif kind == "locked":
        path.write_text("seed = 1")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads everything")
    with one_line(), pytest.raises(UserError, match="mine.toml|/dev/zero"):
        load_preset(str(path))


def test_a_line_of_1500_presets_is_refused_at_once(tmp_path: Path) -> None:
    for i in range(1500):
        (tmp_path / f"p{i}.toml").write_text(f'inherits = "./p{i + 1}.toml"\n')
    with one_line(), pytest.raises(UserError, match="more than 50 presets inherit"):
        load_preset(str(tmp_path / "p0.toml"))


nested = st.recursive(
    st.integers(-(10**300), 10**300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


@tried(deadline=None)
@given(nested)
def test_what_is_shallow_is_shown_and_short(value: object) -> None:
    assert fault(value) is None and len(shown(value)) < 600


def test_depth_is_counted() -> None:
    for brackets in (1, DEEPEST - 1, DEEPEST, DEEPEST + 1, 2000):
        value: object = 1
        for _ in range(brackets):
            value = [value]
        assert (fault(value) is None) is (brackets <= DEEPEST)
    assert read_toml("a = 'a" + ".a" * 99 + " = 1'\n# " + "a." * 99 + "b = 1")["a"]


def duration(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except UserError as error:
        raise UserError(f"{option} {error}") from error


def test_numbers_are_written_in_ascii_digits(dreamreel: Call) -> None:
    digits = ["\u0661\u0662", "\uff11\uff12", "\u00b2", "\u0967:\u0968", "\u0661x\u0662"]
    wrong = [*digits, "rgb(\u0661, 2, 3)", "1.2.3", "1.2.3h", "1_0", "", "-", "1e", "0x10"]
    for text in wrong:
        for parse_one in (parse_fps, parse_size, parse_span, parse_time, parse_colour, duration):
            with pytest.raises(UserError, match="--it"):
                parse_one("--it", text)
        for parse_text in (parse_rate, parse_number, parse):
            if text:
                with pytest.raises(ValueError, match="."):
                    assert parse_text(text) and text == ""
    run = dreamreel("schedule", "--set", "camera.zoom=0:(1.2)", "--seconds", "\u0661")
    assert run.code == 2 and "is no number; 2.5 is" in run.err and run.err.count("\n") == 1


written = st.text() | st.from_regex(r"[#a-z(]*[0-9:x./,%s -]{0,12}\)?", fullmatch=True)


@tried(deadline=None)
@given(written)
def test_any_text_is_a_number_a_size_and_so_on_or_refused_in_one_line(text: str) -> None:
    for parse_one in (parse_fps, parse_size, parse_span, parse_time, parse_colour, duration):
        with one_line():
            parse_one("--it", text)


def test_numbers_as_people_write_them() -> None:
    assert parse_span("--it", "12:") == (12, None) and parse_span("--it", ":48") == (0, 48)
    assert parse_time("--it", "1:02.5") == 62.5 and parse_time("--it", "2.5s") == 2.5
    assert parse_time("--it", "1:00:00") == 3600 and parse_time("--it", ".5") == 0.5
    assert parse_size("--it", "640X360") == (360, 640)
    assert parse_rate("30000/1001") == Fraction(30000, 1001) and parse_rate(25) == 25
    assert parse_number("1e3") == 1000 and parse_number(2.5) == 2.5
