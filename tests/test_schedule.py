"""Schedules: one number for each frame, written as a line or a table, alone and in settings."""

import itertools
import json
import math
import pickle
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from PIL import Image

from dreamreel.pipeline.config.arithmetic import FUNCTIONS, noise
from dreamreel.pipeline.config.fields import FIXED, Settings, fields
from dreamreel.pipeline.config.grammar import build, parse_assignment, to_toml
from dreamreel.pipeline.config.presets import load_preset
from dreamreel.pipeline.config.schedule import EASES, MUSIC, Moment, parse, parse_ease
from dreamreel.pipeline.config.timeline import notices, settings_at, table
from dreamreel.pipeline.errors import UserError
from making import ROOT, Run

Call = Callable[..., Run]
SOUND = {name: 0.1 * number for number, name in enumerate(MUSIC)}
BEATS = (0.5, 1.0, 1.6)
WORDS = ["t", "s", "max_f", "pi", "sin(", "where(", "(", ")", ",", ":", "+", "-", "*", "**", "/"]
WORDS += ["<", "==", " if ", " else ", " and ", "not ", "0", "60", "1.5", ".", "1e3", "2s", "50%"]
numbers = st.floats(-1e6, 1e6)


def moment(frame: int, frames: int = 121, fps: Fraction = Fraction(30)) -> Moment:
    return Moment(frame, frames, fps, SOUND, BEATS)


def values(schedule: Any, *frames: int) -> list[float]:
    return [round(parse(schedule).at(moment(frame)), 9) for frame in frames]


def test_numbers_are_interpolated_and_expressions_last_until_the_next_key() -> None:
    """As in Deforum's get_inbetweens: an expression is evaluated at each frame up to the next key;
    the frames between a plain number and the next key are interpolated linearly."""
    assert values("0:(1), 60:(3)", 0, 15, 30, 60, 99) == [1, 1.5, 2, 3, 3]
    assert values("0:(t/10), 60:(3)", 0, 15, 59, 60) == [0, 1.5, 5.9, 3]
    assert values("0:(1/2), 60:(3)", 0, 59, 60) == [0.5, 0.5, 3]
    assert values("0:(2), 60:(t/10)", 0, 30, 60, 70) == [2, 4, 6, 7]
    assert values("30:(2), 60:(4)", 0, 29, 45) == [2, 2, 3]
    assert values("60:(4), 0:(2)", 30) == [3]
    assert values("0:(2), 60:(4), 60:(8)", 30, 60) == [5, 8]


def test_schedules_pasted_from_deforum_work() -> None:
    for text in (
        "0:(1.02), 60:(1.05+0.02*sin(2*pi*t/30))",
        '"0": (1.0025+0.002*sin(1.25*3.14*t/30))',
        "0: (0), 30:(-1.5),\n max_f-1: (where(t > 5, arctan2(t, 2), 0)),",
        "0:(-1*(0.05)*cos((100*3.141*t/120))**100 + 0.1), 50: 0.7",
        "0:((t>5)&(t<9)|(t==20))",
    ):
        assert math.isfinite(sum(values(text, 0, 7, 60, 120)))


@pytest.mark.parametrize(
    ("key", "frame"),
    [
        ("48", 48),
        ("2s", 60),
        ("0.5s", 15),
        ("50%", 60),
        ("0b", 15),
        ("1.5b", 39),
        ("4b", 84),
        ("0:01.5", 45),
        ("0:00:02", 60),
        ("max_f", 120),
        ("max_f-1", 119),
        ("round(n / 3)", 40),
    ],
)
def test_a_key_is_a_frame_a_time_a_percentage_or_a_beat(key: str, frame: int) -> None:
    for schedule in (f"0:(0), {key}:({frame})", {"0": 0, key: frame}):
        assert values(schedule, 3, frame, 120) == [pytest.approx(3), frame, frame]


def test_beats_need_music_or_a_tempo() -> None:
    assert values({"0b": 0, "4b": 60, "bpm": 120}, 30) == [30]
    assert values({"0b": 0, "1b": 15, "bpm": 120, "beat0": 0.5}, 15, 30) == [0, 15]
    with pytest.raises(ValueError, match="count beats, and there are none"):
        parse("0b:(0), 4b:(1)").at(Moment(0, 9, Fraction(30)))
    with pytest.raises(ValueError, match="'bass' needs music, and there is none"):
        parse("1+bass").at(Moment(0, 9, Fraction(30)))
    assert parse("1+bass").needs_music and not parse("1+t").needs_music


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("t + max_f + n", 6 + 120 + 121),
        ("s * fps", 6),
        ("bass + onset", 0.5),
        ("sin(pi/2) + log(e) + sqrt(4) + abs(-1)", 5),
        ("floor(1.5) + ceil(1.5) + round(1.6) + sign(-3)", 4),
        ("min(3, 1, 2) + max(3, 1) + clamp(9, 0, 5) + pow(2, 3)", 17),
        ("where(t > 9, 1/0, 2)", 2),
        ("1/0 if t > 9 else 3", 3),
        ("t > 9 and 1/0", 0),
        ("0 < t <= 6 < 7", 1),
        ("0 < t < 6", 0),
        ("not t == 6 or 2", 1),
        ("-2**2 + 2**-1 + 2**3**0", -1.5),
        ("7 // 2 + 7 % 4 + -7 // 2", 2),
    ],
)
def test_expressions_follow_the_usual_rules(text: str, value: float) -> None:
    assert parse(text).at(moment(6)) == pytest.approx(value)


@few(deadline=None)
@given(
    first=st.integers(-9, 9),
    rest=st.lists(
        st.tuples(
            st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", "<=", "=="]),
            st.sampled_from(["", "-", "not "]),
            st.integers(0, 9),
        ),
        max_size=6,
    ),
)
def test_operators_bind_as_in_python_and_compute_as_numpy(
    first: int, rest: list[tuple[str, str, int]]
) -> None:
    parts = [f"N({first})", *(f"{sign} {before}N({number})" for sign, before, number in rest)]
    try:
        with np.errstate(all="ignore"):
            expected = float(eval(" ".join(parts), {"N": np.float64}))
    except SyntaxError:  # 1 + not 2
        return
    check_value(re.sub(r"N\((-?\d+)\)", r"(\1.0)", " ".join(parts)), expected)


def check_value(text: str, expected: float) -> None:
    """Check that the expression `text` has the value `expected` in frame 6; if that is not finite,
    that it is refused."""
    if math.isfinite(expected):
        assert parse(text).at(moment(6)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    else:
        with pytest.raises(ValueError, match="frame 6: no (real|finite) value"):
            parse(text).at(moment(6))


@few(deadline=None)
@given(
    first=st.integers(0, 99),
    rest=st.lists(
        st.tuples(
            st.sampled_from(["&", "|", "^", "<<", ">>", "+", "-", "*", "//", "%", "<", "=="]),
            st.sampled_from(["", "~", "-"]),
            st.integers(1, 9),
        ),
        max_size=6,
    ),
)
def test_operators_on_bits_bind_and_compute_as_in_python(
    first: int, rest: list[tuple[str, str, int]]
) -> None:
    text = f"{first}" + "".join(f" {sign} {before}{number}" for sign, before, number in rest)
    try:
        expected = eval(text)
    except ValueError:  # a shift by less than 0 bits
        with pytest.raises(ValueError, match="shifts by 0 to 63 bits"):
            parse(text).at(moment(6))
        return
    if abs(expected) < 2**53:
        with suppress(ValueError):  # a number between was too large
            assert parse(text).at(moment(6)) == expected


SAME = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "min": "minimum",
        "max": "maximum", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh"}  # fmt: skip
OF_NUMPY = {name: getattr(np, SAME.get(name, name), None) for name in FUNCTIONS}
OWN = {"complex", "sum", "prod", "copy", "ones_like", "clamp", "noise"}  # tested elsewhere
NUMERIC = sorted(name for name, work in OF_NUMPY.items() if name not in OWN)
everywhere = st.sampled_from([0.0, -1.0, 1.0, 0.5, 2.5, 710.0, -710.0, 1e300]) | numbers


@pytest.mark.parametrize("name", NUMERIC)
@few(max_examples=25, deadline=None)
@given(x=everywhere, y=everywhere)
def test_functions_compute_as_in_numpy(name: str, x: float, y: float) -> None:
    counts, work = FUNCTIONS[name]
    numbers_ = (x, y) if 2 in counts else (x,)
    of_numpy = OF_NUMPY[name]
    assert of_numpy is not None
    with np.errstate(all="ignore"):
        expected = float(of_numpy(*map(np.float64, numbers_)))
    text = f"{name}({', '.join(f'({number!r})' for number in numbers_)})"
    check_value(text, expected)
    assert float(work(*numbers_)) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_complex_numbers_compute_as_in_numpy() -> None:
    z = 0.3 + 0.4j
    for name in ("sin", "cos", "tan", "arcsin", "arctan", "sinh", "cosh", "tanh", "exp", "expm1"):
        values_ = values(f"real({name}(complex(0.3, 0.4)))", 0)
        values_ += values(f"imag({name}(complex(0.3, 0.4)))", 0)
        expected = getattr(np, name)(z)
        assert values_ == [pytest.approx(expected.real), pytest.approx(expected.imag)]
    assert values("abs(complex(3, 4)) + real(conj(complex(1, 2)) * complex(1, 2))", 0) == [10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t & 1", [0, 1, 0, 1]),
        ("(t & 1) * 0.5 + 1", [1, 1.5, 1, 1.5]),
        ("t % 2 == 0", [1, 0, 1, 0]),
        ("(t - 2) % 3", [1, 2, 0, 1]),
        ("t ^ 3", [3, 2, 1, 0]),
        ("(1 << t) | 1", [1, 3, 5, 9]),
        ("t >> 1", [0, 0, 1, 1]),
        ("~t", [-1, -2, -3, -4]),
        ("~(t > 1)", [1, 1, 0, 0]),
        ("(t > 0) & (t < 3) | (t == 0) ^ (t == 3)", [1, 1, 1, 1]),
        ("(t > 1) + (t > 2)", [0, 0, 1, 2]),
        ("where(t < 1, 5, where((t < 2) | (t > 2), 6, 7))", [5, 6, 7, 6]),
        ("where(isfinite(1/t), 1/t, 9)", [9, 1, 0.5, 1 / 3]),
        ("1/(1 + exp(1000*(2 - t)))", [0, 0, 0.5, 1]),
        ("tanh(1/t)*0 + (True)", [1, 1, 1, 1]),
        ("where(isnan(min(0/t, 3)), 7, max(t, 2))", [7, 2, 2, 3]),
        ("sum(t) + prod(t) + copy(t) - 3*real(t) + imag(t) + ones_like(t)", [1, 1, 1, 1]),
    ],
)
def test_expressions_mean_what_they_mean_in_deforum(text: str, expected: list[float]) -> None:
    assert values(text, 0, 1, 2, 3) == pytest.approx(expected)


def test_the_frame_is_whole_at_a_key_between_frames() -> None:
    assert values("0:(0), 1.5:(t & 1)", 0, 1, 2, 3) == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0:(1.0), 60:()", "column 14: expected a number, a name or '(', found ')'"),
        ("", "column 1: expected a number, a name or '(', found the end"),
        ("2 *", "column 4: expected a number, a name or '(', found the end"),
        ("sin(1", "column 6: expected an operator, ',' or ')', found the end"),
        ("(1 2)", "column 4: expected an operator or ')', found '2'"),
        ("1)", "column 2: expected an operator or the end, found ')'"),
        ("1 if t", "column 7: expected an operator or 'else', found the end"),
        ("max_g", "column 1: expected the name max_f, found 'max_g'"),
        ("sine(t)", "column 1: expected the function sin, found 'sine'"),
        ("cos", "column 4: expected '(' after cos, found the end"),
        ("atan2(1)", "column 1: atan2(…) takes 2 numbers, not 1"),
        ("t.real", "column 2: expected an operator or the end, found '.'"),
        ("0:(1), 60 2", "column 12: expected ':' and a value, found the end"),
        ("0:(1), x:(2)", "column 8: expected a key such as 48, 2s"),
        ("9e999", "column 1: expected a smaller number, found '9e999'"),
        ("-" * 99 + "1", "column 41: nested more than 40 levels deep"),
        ("+".join("1" * 999), "an expression of more than 300 words"),
        ({}, "expected at least one key"),
        ({"0s": True}, "'0s': expected a number or an expression, found 'True'"),
        ({"0s": "1+"}, "'0s': column 3: expected a number, a name or '(', found the end"),
        ({"0": {"5s": 1}}, 'a key with a point is written in quotes, "0.5s"'),
        ({"0s": 1, "ease": "in-cube"}, "unknown ease 'in-cube'; did you mean 'in-cubic'?"),
        ({"0s": 1, "ease": ["hold"]}, "unknown ease"),
        ({"0s": 1, "bpm": 0}, "bpm is from 1 to 1000"),
        ({"0s": 1, "beat0": 1}, "belongs to a bpm"),
        (math.inf, "finite"),
        (None, "expected a number or an expression"),
    ],
)
def test_a_wrong_schedule_is_explained_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(given)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1/(t-6)", "no finite value: a division by zero, or a number too large"),
        ("1 % (t-6)", "no real value, as 0/0 .*"),
        ("10**10**10", "no finite value: .*"),
        ("sqrt(-t)", "no real value, as 0/0 and sqrt.*"),
        ("(-8)**(1/3)", "no real value.*"),
        ("1e300*1e300*t", "no finite value.*"),
        ("0:(1), 1/(n-121):(2)", "no finite value.*"),
        ("complex(1, t)", "a complex value; real.* makes a real one of it"),
        ("complex(1, t) < 5", "< takes no complex number"),
        ("s & 1", "& takes whole numbers, not 0.2; floor.* makes one"),
        ("1 << t * 99", "<< shifts by 0 to 63 bits, not by 594"),
    ],
)
def test_a_frame_without_a_value_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^frame 6: {reason}$"):
        parse(text).at(moment(6))


@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_any_text_is_a_schedule_or_refused_in_one_line(text: str) -> None:
    for given_ in (text, {text: 1}, {"0": text}, {"0": 1, "ease": text}):
        try:
            parse(given_).at(moment(6))
        except ValueError as error:
            assert len(str(error).splitlines()) == 1


def test_the_longest_expression_can_be_evaluated() -> None:
    for text in ("+".join("1" * 149), "**".join("1" * 149), "(" * 39 + "t" + ")" * 39):
        assert parse(text).at(moment(1)) == pytest.approx(149 if "+" in text else 1)


def test_nested_comparisons_are_evaluated_quickly() -> None:
    text = "t"
    for _ in range(35):
        text = f"0 < ({text}) < 9"
    assert parse(text).at(moment(6)) == 1


@given(st.dictionaries(st.integers(0, 200), numbers, min_size=1))
def test_linear_interpolation_has_no_jumps(keys: dict[int, float]) -> None:
    schedule = parse(", ".join(f"{key}:({value!r})" for key, value in keys.items()))
    found = [schedule.at(moment(frame)) for frame in range(210)]
    places = sorted(keys)
    steepest = max(
        (abs(keys[b] - keys[a]) / (b - a) for a, b in itertools.pairwise(places)),
        default=0,
    )
    for before, after in itertools.pairwise(found):
        assert abs(after - before) <= steepest + 1e-6
    assert all(found[place] == keys[place] for place in places)


@given(st.dictionaries(st.integers(0, 200), numbers, min_size=1), st.integers(0, 210))
def test_a_held_schedule_has_only_the_values_of_its_keys(
    keys: dict[int, float], frame: int
) -> None:
    table = {str(key): value for key, value in keys.items()}
    assert parse({**table, "ease": "hold"}).at(moment(frame)) in keys.values()


@pytest.mark.parametrize("name", EASES)
def test_an_ease_goes_from_0_to_1_without_jumps(name: str) -> None:
    ease = EASES[name]
    assert ease(0) == pytest.approx(0, abs=1e-12)
    assert ease(1) == pytest.approx(0 if name == "hold" else 1)
    steps = [ease((i + 1) / 99) - ease(i / 99) for i in range(99)]
    assert "back" in name or min(steps) >= 0
    assert max(steps) < 0.1


def test_a_bezier_ease_equals_that_of_css() -> None:
    assert parse_ease("bezier(0.25, 0.1, 0.25, 1)")(0.5) == pytest.approx(0.8024, abs=1e-4)
    assert parse_ease("bezier(0.42,0,0.58,1)")(0.5) == pytest.approx(0.5)
    assert parse_ease("bezier(0, 0, 1, 1)")(0.3) == pytest.approx(0.3)
    for wrong in ("bezier(2, 0, 0, 1)", "bezier(0, 0, 1)", "bezier(a, b, c, d)", "bezier"):
        with pytest.raises(ValueError, match="unknown ease"):
            parse_ease(wrong)


def test_each_key_may_have_its_own_ease() -> None:
    table = {"0": 0, "10": {"value": 10, "ease": "hold"}, "20": 20, "30": 0, "ease": "in-quad"}
    assert values(table, 5, 10, 19, 20, 25) == [2.5, 10, 10, 20, 15]
    assert values({"0": {"value": "t", "ease": "linear"}, "10": 0}, 5) == [2.5]


@given(numbers, st.integers(0, 99))
def test_noise_is_smooth_and_always_the_same(x: float, seed: int) -> None:
    assert -1 <= noise(x, seed) <= 1
    assert abs(noise(x + 1e-3, seed) - noise(x, seed)) < 5e-3
    assert noise(2.5) == pytest.approx(-0.5256286, abs=1e-6)


def test_noise_is_balanced_about_zero() -> None:
    found = [noise(0.37 * i, 3) for i in range(4000)]
    assert abs(sum(found) / len(found)) < 0.05
    assert min(found) < -0.9 and max(found) > 0.9


keys_ = st.integers(0, 99).map(str) | st.integers(0, 9).map("{}s".format)
written = st.one_of(
    st.sampled_from(["1.02+0.1*sin(s)", "0:(1), 60:(t*2)", "'0': (1)\n, 50%:(2)"]),
    st.dictionaries(
        keys_,
        numbers
        | st.integers(-9, 9)
        | st.just("t/2")
        | st.fixed_dictionaries({"value": numbers, "ease": st.sampled_from(list(EASES))}),
        min_size=1,
    ),
)


@given(written)
def test_a_schedule_survives_being_written_and_parsed(given_: Any) -> None:
    schedule = parse(given_)
    assert parse(schedule.plain()) == schedule == pickle.loads(pickle.dumps(schedule))
    assert hash(parse(schedule.plain())) == hash(schedule)


@given(written)
def test_scheduled_settings_survive_toml_and_json(given_: Any) -> None:
    layers = {"parts": given_, "features.12": "0:(1), 2s:(0)", "other": 2.0}
    try:
        settings = build(("test", {"camera": {"pan_x": {"0s": 0, "2s": "0.1*sin(s)"}}}),
                         ("test", {"dream": {"terms": layers}}))  # fmt: skip
    except UserError:
        return
    assert build(("toml", tomllib.loads(to_toml(settings)))) == settings != Settings()
    told = json.loads(json.dumps(settings.model_dump(mode="json", exclude_none=True)))
    assert build(("json", told)) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.changes == {"camera.pan_x", "dream.terms"}


def scheduled(**dream: Any) -> Settings:
    return build(("test", {"dream": dream}))


def test_scheduled_settings_have_the_values_of_their_moment() -> None:
    settings = build(
        ("--set", parse_assignment("dream.strength=0:(0.5), 2s:(1.5)")),
        ("--set", parse_assignment('camera.zoom={"0s" = 1.2, "2s" = 2.0, ease = "smooth"}')),
        ("--set", parse_assignment("seed=7")),
    )
    assert settings.changes == {"dream.strength", "camera.zoom"}
    assert (settings.dream.strength, settings.camera.zoom) == (0.5, 1.2)
    now = settings_at(settings, moment(30))
    assert (now.dream.strength, now.camera.zoom, now.seed) == (1.0, pytest.approx(1.6), 7)
    assert not now.changes and settings_at(now, moment(60)) is now
    assert now == build(("test", {"dream": {"strength": 1.0}, "seed": 7, "camera": {
        "zoom": now.camera.zoom}}))  # fmt: skip
    assert settings.dream.strength == 0.5 and settings.changes


def test_settings_without_schedules_are_the_same_at_every_moment() -> None:
    settings = Settings()
    assert settings_at(settings, moment(5)) is settings and not settings.schedules


def test_scheduled_whole_numbers_stay_whole() -> None:
    settings = scheduled(octaves={"0s": 2, "2s": 6}, steps="t * 1.5")
    octaves = [settings_at(settings, moment(frame)).dream.octaves for frame in (0, 7, 8, 30, 60)]
    assert octaves == [2, 2, 3, 4, 6]
    steps = settings_at(settings, moment(5)).dream.steps
    assert steps == 8 and isinstance(steps, int)


def test_layer_weights_may_be_scheduled() -> None:
    settings = scheduled(terms={"parts": "0:(1), 60:(0)", "x.1": {"0s": 0, "2s": 1}, "y": 3})
    assert settings.dream.terms == {"parts": 1.0, "x.1": 0.0, "y": 3.0}
    assert settings_at(settings, moment(45)).dream.terms == {"parts": 0.25, "x.1": 0.75, "y": 3.0}
    assert set(settings.schedules) == {"dream.terms.parts", "dream.terms.x.1"}


def test_the_later_of_a_number_and_a_schedule_wins() -> None:
    number, schedule = {"dream": {"mix": 0.5}}, {"dream": {"mix": {"0s": 0, "1s": 1}}}
    line = {"dream": {"mix": "0:(1), 9:(0)"}}
    assert not build(("a", schedule), ("b", number)).changes
    assert build(("a", number), ("b", schedule)).changes == {"dream.mix"}
    assert build(("a", schedule), ("b", line)) == build(("b", line))


def test_presets_have_and_inherit_schedules(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[camera.zoom]\n"0s" = 1.2\n"8s" = 2.0\n')
    (tmp_path / "mine.toml").write_text(
        'inherits = "./base.toml"\n[dream]\nstrength = "1+0.5*sin(s)"\n'
    )
    settings = load_preset(str(tmp_path / "mine.toml")).settings()
    assert settings.changes == {"camera.zoom", "dream.strength"}
    assert settings_at(settings, moment(120)).camera.zoom == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dream.strength=0:(1), 2s:(15)", "dream.strength at 2s = 15 should be less than .* 10"),
        ('dream.octaves={"0s"=2,"3s"=99}', "dream.octaves at 3s = 99 should be less than .* 32"),
        ('dream.terms={parts="1/t"}', "dream.terms.parts: frame 0: no finite value"),
        ("camera.zoom=t/10", "camera.zoom at frame 0 = 0 should be greater than .* 1 "),
        (
            "camera.zoom=0:(1.2),5:(sin(3 4))",
            "neither a number, such as 1.35, nor a schedule: column 18: expected",
        ),
        ("seed=0:(1), 9:(2)", "seed cannot change over time"),
        ('width={"0s"=64}', "width cannot change over time"),
        ('network={"0s"=1}', "network cannot change over time"),
        ('output.audio={"0s"=1}', "output.audio cannot change over time"),
        ('dream.normalise={"0s"=1}', "'mean' or 'std'"),
    ],
)
def test_a_schedule_that_a_setting_cannot_have_is_explained(text: str, words: str) -> None:
    with pytest.raises(UserError, match=f"^--set: .*{words}"):
        build(("--set", parse_assignment(text)))


def test_a_value_out_of_range_is_refused_with_setting_frame_and_bounds() -> None:
    settings = scheduled(strength="t")
    with pytest.raises(UserError, match=r"dream.strength at frame 20 = 20 should be .* 10 \(fact"):
        settings_at(settings, moment(20))
    overshooting = scheduled(mix={"0s": 0, "2s": 1, "ease": "out-back"})
    with pytest.raises(UserError, match="dream.mix at frame 50 = 1.0.* less than or equal to 1"):
        settings_at(overshooting, moment(50))


DEFORUM = "0:(1.0025+0.002*sin(1.25*3.14*t/30))"


@few(max_examples=50, deadline=None)
@given(st.integers(0, 299), st.sampled_from([Fraction(12), Fraction(24000, 1001), Fraction(60)]))
def test_a_zoom_per_frame_grows_as_much_in_a_second_as_its_frames(
    frame: int, fps: Fraction
) -> None:
    now = Moment(frame, 300, fps)
    settings = camera(zoom=f"per_frame({DEFORUM})")
    zoom = settings_at(settings, now).camera.zoom
    assert zoom ** float(1 / fps) == pytest.approx(parse(DEFORUM).at(now))


def camera(**settings: Any) -> Settings:
    return build(("test", {"camera": settings}))


def test_motion_per_frame_adds_up_in_a_second() -> None:
    for name in ("rotation", "pan_x", "pan_y", "tilt", "yaw"):
        settings = camera(**{name: "per_frame(0:(0.01), 60:(0.03))"})
        assert getattr(settings_at(settings, moment(30)).camera, name) == pytest.approx(0.02 * 30)
        assert getattr(settings.camera, name) == 0
    table = {"0": 1.01, "60": {"value": 1.03, "ease": "hold"}, "per_frame": True}
    assert settings_at(camera(zoom=table), moment(60)).camera.zoom == pytest.approx(1.03**30)
    assert camera(zoom={"0": 1.1, "per_frame": False}).schedules["camera.zoom"].per_frame is False


def test_motion_per_frame_is_written_and_read_as_it_was_given() -> None:
    for given_ in (
        f"per_frame({DEFORUM})",
        " per_frame ( t/99 + 1 ) ",
        {"0": 1, "per_frame": True},
    ):
        settings = camera(zoom=given_)
        assert settings.schedules["camera.zoom"].plain() == given_
        assert build(("toml", tomllib.loads(to_toml(settings)))) == settings
        told = json.loads(json.dumps(settings.model_dump(mode="json", exclude_none=True)))
        copy = pickle.loads(pickle.dumps(build(("json", told))))
        assert copy == settings and copy.schedules["camera.zoom"].per_frame


@pytest.mark.parametrize(
    ("name", "given_", "words"),
    [
        (
            "camera.zoom",
            "per_frame(0:(1.2))",
            r"frame 6 \(1.2 a frame, at 30 frames a second\) = 237",
        ),
        ("camera.zoom", "per_frame(-1)", "= 0 should be greater"),
        ("camera.zoom", "per_frame(10.0**(t*9))", "= inf should be a finite number"),
        ("camera.zoom", "per_frame(1.02) * 2", "goes around all keys"),
        ("camera.zoom", "0:(per_frame(1.02))", "goes around all keys"),
        ("camera.zoom", "per_frame(0:(sin))", "column 17: expected '.' after sin"),
        ("camera.zoom", {"0": 1, "per_frame": 1}, "per_frame is true or false"),
        ("dream.mix", "per_frame(0:(1))", "is motion of the camera, which dream.mix is not"),
        ("camera.pivot_x", "per_frame(0:(1))", "is motion of the camera"),
    ],
)
def test_a_wrong_motion_per_frame_is_explained(name: str, given_: Any, words: str) -> None:
    head, _, key = name.partition(".")
    with pytest.raises(UserError, match=words):
        settings_at(build(("test", {head: {key: given_}})), moment(6))


def told_of(zoom: Any, frames: int = 300) -> list[str]:
    """The notices about a zoom of so many frames."""
    settings = camera(zoom=zoom)
    return [*notices(settings, lambda frame: settings_at(settings, moment(frame)), frames)]


def test_a_zoom_that_hardly_moves_is_told_with_how_to_give_it_per_frame() -> None:
    (line,) = told_of(DEFORUM)
    assert f"--set 'camera.zoom=per_frame({DEFORUM})'" in line
    assert told_of({"0": 1.0, "5s": 1.01}) and told_of("0:(1.04)", 1)
    for moving in (1.01, 2, "0:(1.2)", "0:(1), 5s:(2)", f"per_frame({DEFORUM})"):
        assert not told_of(moving)


def test_every_setting_listed_as_fixed_exists() -> None:
    known = dict(fields())
    assert all(name in known or any(one.startswith(f"{name}.") for one in known) for name in FIXED)


def test_every_number_of_the_dream_and_the_camera_may_be_scheduled() -> None:
    for name, field in fields():
        if name.startswith(("dream.", "camera.")) and isinstance(field.default, int | float):
            settings = build(("--set", parse_assignment(f"{name}=0:({field.default})")))
            assert settings.changes == {name}


def test_a_table_of_values_is_printed(dreamreel: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[camera.zoom]\n"0s" = 1.2\n"2s" = 2.0\n')
    run = dreamreel("schedule", tmp_path / "mine.toml", "--set", "dream.strength=0:(1), 45:(2.5)",
                    "--seconds", 3)  # fmt: skip
    *rows, told = [line.split() for line in run.out.splitlines()]
    assert rows[0] == ["frame", "seconds", "dream.strength", "camera.zoom"]
    assert [row[0] for row in rows[1:]] == ["0", "30", "45", "60"]
    assert rows[2] == ["30", "1.00", "2..2.467", "1.6..1.787"]
    assert rows[4] == ["60", "2.00", "2.5", "2"]
    assert "--plot" in told


@few(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=31, max_size=99))
def test_a_row_has_the_least_and_the_most_until_the_next(values_: list[float]) -> None:
    text = f"where(t < {len(values_)}, 1, 0)"
    found = {"camera.pan_x": values_}
    _, *rows = table(found, camera(pan_x=text), Fraction(30))
    shown_ = [cell.split("..") for _, _, cell in rows]
    for row, first in zip(shown_, range(0, len(values_), 30), strict=True):
        part = values_[first : first + 30]
        assert float(row[0]) == pytest.approx(min(part), rel=1e-3)
        assert float(row[-1]) == pytest.approx(max(part), rel=1e-3)


def test_a_beat_is_seen_in_every_second(dreamreel: Call, tmp_path: Path) -> None:
    run = dreamreel("schedule", "--set", "dream.strength=1+beat", "--audio",
                    ROOT / "samples" / "beat.m4a", "--seconds", 1)  # fmt: skip
    cell = run.out.splitlines()[1].split()[-1]
    least, most = map(float, cell.split(".."))
    assert least < 1.1 and most == 2 and run.err == ""


def test_a_schedule_too_long_to_show_is_refused_at_once(dreamreel: Call) -> None:
    run = dreamreel("schedule", "--set", "camera.zoom=0:(1.2), 9:(2)", "--seconds", 86400,
                    "--fps", 1000)  # fmt: skip
    assert run.code == 2 and "86,400,000 frames" in run.err and "--seconds 200 works" in run.err


def test_a_zoom_of_deforums_is_told_of_where_it_is_shown(dreamreel: Call) -> None:
    run = dreamreel("schedule", "--set", f"camera.zoom={DEFORUM}", "--seconds", 1)
    assert "per_frame(0:(1.0025" in run.err and run.err.count("\n") == 1
    run = dreamreel("schedule", "--set", f"camera.zoom=per_frame({DEFORUM})", "--seconds", 1)
    assert run.err == "" and "1.0" in run.out


def test_curves_are_drawn(dreamreel: Call, tmp_path: Path) -> None:
    out = tmp_path / "curves.png"
    run = dreamreel("schedule", "--set", "dream.strength=1+0.5*sin(s)", "--plot", out)
    assert run.out == f"{out}\n", run.err
    with Image.open(out) as image:
        assert image.width > 500
    run = dreamreel("schedule", "--set", "dream.strength=1+0.5*sin(s)", "--plot", out)
    assert run.code == 2 and "--overwrite" in run.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["eyes"], "nothing changes over time"),
        (["--set", "dream.strength=t"], "dream.strength at frame 11 = 11 should be"),
        (["--set", "dream.strength=1+bass"], "'bass' needs music, and there is none"),
        (["--set", "dream.strength=bass", "--audio", "no.mp3"], "there is no file no.mp3"),
        (["--set", "dream.strength=s", "--seconds", "0"], "is no length"),
    ],
)
def test_a_schedule_that_cannot_be_shown_is_explained(
    dreamreel: Call, options: list[str], words: str
) -> None:
    run = dreamreel("schedule", *options)
    assert run.code == 2 and words in run.err and run.err.count("\n") == 1
