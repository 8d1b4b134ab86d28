"""Terms as text: what is understood, what is refused, and how."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.config.presets import with_paths_from
from dreamreel.pipeline.config.terms import (
    Channels,
    TermText,
    files_in,
    parse_sum,
    parse_term,
    with_file,
)
from dreamreel.pipeline.errors import UserError


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("parts", TermText("l2", layer="parts")),
        ("features.3.0-x", TermText("l2", layer="features.3.0-x")),
        ("mean:parts", TermText("mean", layer="parts")),
        ("cnn_vis:parts:2", TermText("cnn_vis", layer="parts", channels=Channels((2,)))),
        ("a:3+7+20-22", TermText("l2", layer="a", channels=Channels((3, 7, 20, 21, 22)))),
        ("a:weakest(8)", TermText("l2", layer="a", channels=Channels((), "weakest", 8))),
        ("a:1@0.5:0.25", TermText("l2", "", "a", Channels((1,)), (0.5, 0.25))),
        ("class:sea lion", TermText("class", "sea lion")),
        ("class:42", TermText("class", "42")),
        ("guide:a b+c.jpg", TermText("guide", "a b+c.jpg")),
        ("guide:a@b.jpg@parts", TermText("guide", "a@b.jpg", "parts")),
        ("guide:me@home.jpg", TermText("guide", "me@home.jpg")),
        ("tv", TermText("tv")),
    ],
)
def test_each_form_is_understood(text: str, term: TermText) -> None:
    assert parse_term(text) == term


@pytest.mark.parametrize(
    ("text", "column", "word"),
    [
        ("", 1, "layer"),
        ("13", 1, "layer"),
        ("a b", 2, "end"),
        ("a:", 3, "channels"),
        ("a:1+", 5, "channels"),
        ("a:7-3", 3, "channels"),
        ("a:strongest(0)", 3, "count"),
        ("a:1@2:0", 5, "place"),
        ("a@1:1", 2, "channels"),
        ("class:", 7, "class"),
        ("guide:", 7, "file"),
        ("mean:", 6, "layer"),
        ("mean:3", 6, "layer"),
    ],
)
def test_a_malformed_term_tells_the_column_and_what_was_expected(
    text: str, column: int, word: str
) -> None:
    with pytest.raises(ValueError, match=f"column {column} of") as caught:
        parse_term(text)
    assert word in str(caught.value).partition("expected")[2]


@given(st.text(max_size=30))
def test_any_text_is_a_term_or_refused_with_a_line(text: str) -> None:
    try:
        parse_term(text)
    except ValueError as error:
        assert "\n" not in str(error) and "expected" in str(error)


def test_a_sum_has_weights_signs_and_commas() -> None:
    assert parse_sum("0.7*parts - 0.3*textures + tv") == {"parts": 0.7, "textures": -0.3, "tv": 1}
    assert parse_sum("parts,objects") == {"parts": 1.0, "objects": 1.0}
    assert parse_sum(["0.5*class:crane, bird", "-2*parts"]) == {"class:crane, bird": 0.5,
                                                                "parts": -2.0}  # fmt: skip
    assert parse_sum("-parts") == {"parts": -1.0}
    assert parse_sum(["parts", "0.5*parts"]) == {"parts": 1.5}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(:[0-9]{1,3})?", fullmatch=True),
        st.floats(-9, 9).filter(lambda weight: round(weight, 3) != 0),
        min_size=1,
        max_size=5,
    )
)
def test_a_sum_written_out_is_the_table_that_it_came_from(weights: dict[str, float]) -> None:
    table = {name: round(weight, 3) for name, weight in weights.items()}
    text = " + ".join(f"{weight}*{name}" for name, weight in table.items())
    assert parse_sum(text) == pytest.approx(table)


def test_one_grammar_serves_the_command_line_tables_and_schedules() -> None:
    by_text = build(("--set", parse_assignment("dream.terms=parts - 0.5*class:sea lion")))
    by_list = build(("--set", parse_assignment('dream.terms=["parts", "-0.5*class:sea lion"]')))
    by_table = build(("x", {"dream": {"terms": {"parts": 1.0, "class:sea lion": -0.5}}}))
    assert by_text == by_list == by_table
    moving = build(("x", {"dream": {"terms": {"class:castle": "0:(0), 2s:(1)"}}}))
    assert list(moving.schedules) == ["dream.terms.class:castle"]


def test_a_malformed_term_in_settings_is_one_line() -> None:
    with pytest.raises(UserError, match="malformed at column 2") as caught:
        build(("--set", parse_assignment("dream.terms=a*b")))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"dream\.terms"):
        build(("mine.toml", {"dream": {"layers": ["parts"]}}))


def test_a_guide_in_a_preset_lies_beside_the_preset(tmp_path: Path) -> None:
    for given_ in ("guide:a.jpg@parts", ["guide:a.jpg@parts"], {"guide:a.jpg@parts": 1.0}):
        table = with_paths_from(tmp_path, {"dream": {"terms": given_}}, "mine.toml")
        assert files_in(table["dream"]["terms"]) == [tmp_path.resolve() / "a.jpg"]
        assert build(("mine.toml", table)).dream.terms.keys() == {
            f"guide:{tmp_path.resolve()}/a.jpg@parts"
        }
    assert with_file("parts", lambda path: Path("/x")) == "parts"
