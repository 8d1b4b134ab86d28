"""Settings and presets: one grammar for flags, --set and files."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.fields import Settings, all_fields, fields, value_of
from dreamreel.pipeline.config.grammar import MEANT, build, parse_assignment, parse_value, to_toml
from dreamreel.pipeline.config.presets import load_preset, merge_presets, preset_names
from dreamreel.pipeline.errors import UserError


def test_later_tables_win() -> None:
    settings = build(
        ("one", {"dream": {"octaves": 2, "steps": 5}}), ("two", {"dream": {"steps": 7}})
    )
    assert (settings.dream.octaves, settings.dream.steps) == (2, 7)


def test_no_tables_are_the_defaults() -> None:
    assert build() == Settings()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ('"a b"', "a b"),
        ("a b", "a b"),
        ("inception_4c", "inception_4c"),
        ('{"features.12" = 1.0}', {"features.12": 1.0}),
        ("1\nseed = 2", "1\nseed = 2"),
    ],
)
def test_a_value_is_toml_or_else_a_string(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_a_schedule_may_compare_and_end_in_a_comma() -> None:
    for text in ("camera.zoom=where(t > 9, 2, t==3) + 1", "camera.zoom=0:(1.2), 9:(2),"):
        assert build(("--set", parse_assignment(text))).changes == {"camera.zoom"}
    path = "nets/a, b=c.pth"
    assert build(("--set", parse_assignment(f"weights={path}"))).weights == Path(path)


def test_names_that_other_programs_have_lead_to_settings() -> None:
    assert set(MEANT.values()) <= set(all_fields()) and not set(MEANT) & set(all_fields())


def test_layers_may_be_given_as_a_name_a_list_or_a_table() -> None:
    for text, layers in (
        ("dream.terms=parts", {"parts": 1.0}),
        ('dream.terms=["parts", "objects"]', {"parts": 1.0, "objects": 1.0}),
        ('dream.terms={"features.12" = 0.5}', {"features.12": 0.5}),
    ):
        assert build(("--set", parse_assignment(text))).dream.terms == layers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dream.octavs=5", ["dream.octavs", "did you mean 'dream.octaves'"]),
        ("octaves=5", ["did you mean 'dream.octaves'"]),
        ("dream=5", ["section"]),
        ("dream.octaves=0", ["dream.octaves", "0", "greater than or equal to 1"]),
        ("dream.octaves=five", ["dream.octaves", "'five'", "a whole number, such as 4"]),
        ("dream.octaves=true", ["dream.octaves", "whole number"]),
        ("dream.octaves=2.5", ["dream.octaves", "whole number"]),
        ("video.carry=nan", ["video.carry", "finite"]),
        ("dream.normalise=median", ["'mean' or 'std'"]),
        ('dream.terms={parts = "much"}', ["dream.terms", "parts", "'much'"]),
        ("dream.octaves", ["NAME=VALUE"]),
        ("dream.steps=many", ["dream.steps needs a whole number, such as 10, not 'many'"]),
        ("dream.steps=a lot", ["dream.steps needs a whole number, such as 10, not 'a lot'"]),
        ("dream.steps=20 steps", ["dream.steps needs a whole number", "'20 steps'"]),
        ("camera.zoom=1,5", ["camera.zoom needs a number, such as 1.35, not '1,5'"]),
        ("camera.zoom=t if loud", ["camera.zoom", "schedule: column 10: expected"]),
        ("dream.octaves=5, dream.steps=3", ["a --set of its own"]),
        ("dream.octaves=5,dream.steps=3", ["a --set of its own"]),
        ("dream.octaves=5 seed=3", ["a --set of its own"]),
        ("dream.terms=parts, dream.steps=3", ["a --set of its own"]),
        ("dream.octaves=5,", ["a --set of its own"]),
        ("dream.mask=x", ["did you mean 'mask.file'"]),
        ("dream.fog=x", ["'dream.fog'; dreamreel presets default lists all"]),
        ("camera.speed=2", ["did you mean 'camera.zoom'"]),
        ("video.steps=2", ["did you mean 'dream.steps'"]),
        ("dream.iterations=2", ["did you mean 'dream.steps'"]),
        ("translation_x=2", ["did you mean 'camera.pan_x'"]),
        ("output.codec=h265", ["output.codec = 'h265' is called 'hevc' here"]),
        ("output.codec=H.265", ["is called 'hevc' here"]),
        ("output.codec=HEVC", ["is called 'hevc' here"]),
        ("output.codec=libsvtav1", ["is called 'av1' here"]),
        ("output.codec=divx", ["'auto', 'h264', 'hevc'"]),
        ("output.codec=3", ["'auto', 'h264', 'hevc'"]),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build(("--set", parse_assignment(text)))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


LAYER_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True)
term_texts = st.one_of(
    LAYER_NAMES,
    st.builds("{}:{}".format, LAYER_NAMES, st.integers(0, 65_535)),
    st.builds("class:{}".format, st.text(min_size=1)),
    st.builds("guide:{}".format, st.text(min_size=1)),
)


@given(
    octaves=st.integers(1, 32),
    step_size=st.floats(0, 100),
    terms=st.dictionaries(term_texts, st.floats(-1e6, 1e6), max_size=4),
    weights=st.none() | st.text(min_size=1).filter(lambda text: "\0" not in text).map(Path),
)
def test_settings_survive_toml(
    octaves: int, step_size: float, terms: dict[str, float], weights: Path | None
) -> None:
    tables = {"dream": {"octaves": octaves, "step_size": step_size, "terms": terms}}
    settings = build(("test", tables), ("test", {"weights": weights} if weights else {}))
    text = to_toml(settings)
    assert build(("toml", tomllib.loads(text))) == settings


def test_every_setting_says_what_it_means() -> None:
    assert all(field.description for _, field in fields())


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().dream.octaves = 2  # type: ignore[misc]


def test_there_are_six_looks_and_each_loads() -> None:
    names = preset_names()
    assert len(set(names) - {"default"}) >= 6
    for name in names:
        preset = load_preset(name)
        assert preset.description
        assert isinstance(preset.settings(), Settings)


def test_looks_differ_in_more_than_their_layer() -> None:
    looks = [load_preset(name).settings() for name in preset_names() if name != "default"]
    plain = Settings()
    for look in looks:
        changed = {name for name, _ in fields() if value_of(look, name) != value_of(plain, name)}
        assert len(changed - {"dream.terms"}) >= 2


def test_a_file_wins_over_a_preset_whatever_the_order(tmp_path: Path) -> None:
    preset = next(name for name in preset_names() if load_preset(name).settings() != Settings())
    (tmp_path / "mine.toml").write_text("[dream]\noctaves = 7\nsteps = 3\n")
    for names in ([preset, str(tmp_path / "mine.toml")], [str(tmp_path / "mine.toml"), preset]):
        dream = build(*merge_presets(names), ("--set", {"dream": {"steps": 4}})).dream
        assert (dream.octaves, dream.steps) == (7, 4)


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('weights = "nets/mine.safetensors"\n')
    settings = load_preset(str(tmp_path / "mine.toml")).settings()
    assert settings.weights == tmp_path / "nets" / "mine.safetensors"


def test_a_preset_inherits(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[dream]\noctaves = 7\nsteps = 3\n")
    (tmp_path / "mine.toml").write_text('inherits = "./base.toml"\n[dream]\nsteps = 4\n')
    dream = load_preset(str(tmp_path / "mine.toml")).settings().dream
    assert (dream.octaves, dream.steps) == (7, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seed = ", "not TOML"),
        ('inherits = "./mine.toml"', "inherits itself"),
        ("[dream]\noctavs = 3", "did you mean 'dream.octaves'"),
        ("[dream]\noctaves = 99", "less than or equal to 32"),
        ('inherits = "nothing"', "unknown preset 'nothing'"),
        ("inherits = 3", "strings"),
    ],
)
def test_a_broken_preset_file_is_explained(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(UserError, match=words):
        load_preset(str(tmp_path / "mine.toml"))
