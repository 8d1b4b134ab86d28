"""Presets: where a name is looked up, what inherits what, and the commands on them."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dreamreel.cli import app
from dreamreel.pipeline.app.completion import complete_preset
from dreamreel.pipeline.app.presets import COMMANDS, write_preset
from dreamreel.pipeline.config.fields import (
    FIXED,
    Settings,
    all_fields,
    holds_numbers,
    is_number,
    is_whole,
    put,
    value_of,
)
from dreamreel.pipeline.config.grammar import build, flatten, parse_assignment
from dreamreel.pipeline.config.presets import (
    FOLDER,
    load_preset,
    merge_presets,
    names_in,
    notices,
    own_folder,
    parse_preset,
    preset_files,
    preset_names,
)
from dreamreel.pipeline.config.schema import preset_schema
from dreamreel.pipeline.errors import UserError
from making import ROOT, Run

Call = Callable[..., Run]
BUNDLED = names_in(FOLDER)
SCHEMA = Draft202012Validator(preset_schema())
NUMBERS = [name for name, field in all_fields().items() if is_number(field)]
CHANGING = [name for name in NUMBERS if not name.startswith(FIXED)]
LAYERS = st.dictionaries(
    st.sampled_from(["textures", "parts", "features.12", "ä_b"]), st.floats(-9, 9), min_size=1
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the user's own presets."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("DREAMREEL_PRESETS", str(folder))
    return folder


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """A folder of own presets that is not there yet; for tests of many examples."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder).resolve() / "a" / "presets"
        patch.setenv("DREAMREEL_PRESETS", str(path))
        yield path


def put_preset(folder: Path, name: str, octaves: int | None = None, inherits: str = "") -> Path:
    """Write a preset called `name` into `folder`. Returns its path."""
    folder.mkdir(exist_ok=True)
    text = f'inherits = "{inherits}"\n' if inherits else ""
    text += f"[dream]\noctaves = {octaves}\n" if octaves else ""
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def octaves_of(name: str, beside: Path | None = None) -> int:
    return load_preset(name, beside).settings().dream.octaves


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the greatest value that the number `name` may have."""
    rules = all_fields()[name].metadata
    low = [getattr(rule, "ge", getattr(rule, "gt", None)) for rule in rules]
    high = [getattr(rule, "le", getattr(rule, "lt", None)) for rule in rules]
    (least,), (most,) = ([one for one in ends if one is not None] for ends in (low, high))
    return least, most


def numbers(name: str) -> st.SearchStrategy[Any]:
    """Values of the number `name` inside its bounds."""
    least, most = bounds_of(name)
    if is_whole(name):
        return st.integers(int(least), int(most))
    above = not any(hasattr(rule, "ge") for rule in all_fields()[name].metadata)
    return st.floats(least, most, exclude_min=above)


@st.composite
def assignments(draw: st.DrawFn) -> dict[str, str]:
    """Valid settings by name, each with its text for `--set`."""
    found = {}
    for name in draw(st.lists(st.sampled_from(NUMBERS), max_size=5, unique=True)):
        found[name] = repr(draw(numbers(name)))
    for name in draw(st.lists(st.sampled_from(CHANGING), max_size=2, unique=True)):
        least, most = map(repr, (draw(numbers(name)), draw(numbers(name))))
        line, table = f"0:({least}), 2s:({most})", f'{{ "0" = {least}, "50%" = {most} }}'
        found[name] = draw(st.sampled_from([line, table]))
    if draw(st.booleans()):
        weights = ", ".join(f'"{layer}" = {weight!r}' for layer, weight in draw(LAYERS).items())
        found["dream.terms"] = f"{{ {weights} }}"
    words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
    for name in draw(st.lists(st.sampled_from(["network", "device"]), max_size=2, unique=True)):
        found[name] = json.dumps(draw(words), ensure_ascii=False).replace("\x7f", "\\u007F")
    return found


def test_the_own_folder_is_where_the_system_keeps_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DREAMREEL_PRESETS", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert own_folder().parts[-2:] == ("dreamreel", "presets")
    if sys.platform == "linux":
        assert own_folder() == tmp_path / "dreamreel" / "presets"


def test_without_presets_of_ones_own_the_bundled_ones_are_all() -> None:
    assert preset_names() == BUNDLED


def test_a_name_means_the_preset_beside_then_ones_own_then_the_bundled_one(
    own: Path, tmp_path: Path
) -> None:
    bundled = octaves_of("eyes")
    put_preset(own, "eyes", 21)
    assert octaves_of("eyes") == 21
    beside = tmp_path / "batch"
    beside.mkdir()
    put_preset(beside / "presets", "eyes", 22)
    assert octaves_of("eyes", beside) == 22
    inner = put_preset(beside, "eyes", 23)
    assert octaves_of("eyes", beside) == 23
    assert preset_files(["eyes"], beside) == (inner,)
    assert build(*merge_presets(["eyes"], beside)).dream.octaves == 23
    assert octaves_of("eyes") == 21 and bundled not in (21, 22, 23)


def test_names_are_those_of_all_folders_once_each(own: Path, tmp_path: Path) -> None:
    put_preset(own, "mine")
    put_preset(own, "eyes")
    put_preset(own, ".hidden")
    put_preset(tmp_path / "presets", "theirs")
    assert preset_names() == sorted({*BUNDLED, "mine"})
    assert preset_names(tmp_path) == sorted({*BUNDLED, "mine", "theirs"})


@pytest.mark.parametrize("name", BUNDLED)
def test_ones_own_preset_may_inherit_the_bundled_one_of_its_name(own: Path, name: str) -> None:
    bundled = load_preset(name).settings()
    path = put_preset(own, name, 13, name)
    preset = load_preset(name)
    assert preset.files == (FOLDER / f"{name}.toml", path)
    mine = preset.settings()
    changed = {one for one in all_fields() if value_of(mine, one) != value_of(bundled, one)}
    assert changed == {"dream.octaves"}
    assert load_preset(str(path)).settings() == mine


def test_each_folder_may_build_on_the_next(own: Path, tmp_path: Path) -> None:
    files = [put_preset(own, "eyes", 9, "eyes")]
    files.insert(1, put_preset(tmp_path / "presets", "eyes", None, "eyes"))
    files.insert(2, put_preset(tmp_path, "eyes", None, "eyes"))
    assert preset_files(["eyes"], tmp_path) == (FOLDER / "eyes.toml", *files)
    assert octaves_of("eyes", tmp_path) == 9


def test_a_preset_does_not_depend_on_folders_before_its_own(own: Path, tmp_path: Path) -> None:
    put_preset(own, "base", 5)
    put_preset(own, "mine", None, "base")
    put_preset(tmp_path, "base", 7)
    assert octaves_of("mine", tmp_path) == 5


def test_a_folder_given_twice_is_searched_once(own: Path) -> None:
    put_preset(own, "eyes", 13, "eyes")
    assert octaves_of("eyes", own) == 13


def test_a_preset_that_is_a_link_is_read_from_where_it_leads(own: Path, tmp_path: Path) -> None:
    target = put_preset(tmp_path, "elsewhere", 13, "eyes")
    (own / "eyes.toml").symlink_to(target)
    assert load_preset("eyes").files == (FOLDER / "eyes.toml", target)
    (own / "circle.toml").symlink_to(own / "circle.toml")
    with pytest.raises(UserError, match="circle.toml"):
        load_preset("circle")


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_circle_is_one_line_that_names_its_files(own: Path, length: int) -> None:
    names = [f"p{i}" for i in range(length)]
    for name, after in zip(names, names[1:] + names[:1], strict=True):
        put_preset(own, name, None, f"./{after}.toml" if length == 1 else after)
    for name in names:
        with pytest.raises(UserError, match=f"line 1: {name}.toml inherits itself") as error:
            load_preset(name)
        assert all(f"{one}.toml" in str(error.value) for one in names)


def test_a_preset_that_only_it_has_the_name_of_cannot_inherit_it(own: Path) -> None:
    put_preset(own, "mine", None, "mine")
    with pytest.raises(UserError, match="line 1: 'mine' is the preset's own name"):
        load_preset("mine")


def test_a_line_of_presets_without_end_is_refused(own: Path) -> None:
    for i in range(60):
        put_preset(own, f"p{i}", None, f"p{i + 1}")
    with pytest.raises(UserError, match="more than 50 presets inherit"):
        load_preset("p0")


@pytest.mark.parametrize(("given_name", "told"), [("calmm", "'calm'"), ("creature", "'creatures'")])
def test_an_unknown_name_is_told_with_the_nearest(own: Path, given_name: str, told: str) -> None:
    put_preset(own, "calm")
    for raising in (load_preset, lambda name: parse_preset(f'inherits = "{name}"', own / "x.toml")):
        with pytest.raises(UserError, match=f"unknown preset '{given_name}'; did you mean {told}"):
            raising(given_name)


def test_a_preset_in_the_working_folder_is_found_last_and_told_of(
    dreamreel: Call, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    put_preset(here, "mine", 21, "base")
    put_preset(here, "base", 20)
    put_preset(here, "eyes", 22)
    assert octaves_of("mine") == 21 and octaves_of("eyes") != 22
    assert notices(["mine", "eyes", "./mine.toml"]) == ["preset 'mine' is mine.toml in this folder"]
    run = dreamreel("schedule", "mine", "--set", "dream.mix=0:(0), 9:(1)", "--seconds", 1)
    assert run.code == 0 and "note: preset 'mine' is mine.toml" in run.err
    assert dreamreel("presets", "mine").code == dreamreel("presets", "check", "mine").code == 0
    path = Path(dreamreel("presets", "new", "further", "--from", "mine").out.strip())
    monkeypatch.chdir(tmp_path)
    assert octaves_of("further") == 21 and path.parent == own
    put_preset(own, "mine", 23)
    monkeypatch.chdir(here)
    assert octaves_of("mine") == 23 and notices(["mine"]) == []


def test_a_folder_or_a_hidden_file_is_no_preset_of_the_working_folder(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").mkdir()
    put_preset(tmp_path, ".toml", 3)
    for name in ("mine", "", "x" * 300, "a\0b"):
        with pytest.raises(UserError, match="unknown preset"):
            load_preset(name)


def record_of(table: dict[str, Any], folder: Path) -> Path:
    """A record of a render with the settings in `table`, in `folder`."""
    path = folder / "OUT.mp4.json"
    settings = build(("test", table)).model_dump(mode="json", exclude_none=True)
    path.write_text(json.dumps({"record": 2, "job": {"kind": "video", "settings": settings}}))
    return path


def test_a_record_is_a_look_without_what_it_says_of_files_and_machines(
    own: Path, tmp_path: Path
) -> None:
    look = {"dream": {"octaves": 7}, "camera": {"zoom": "per_frame(0:(1.01))"}, "seed": 5}
    other = {"source": {"decoder": "pyav"}, "device": "cuda", "output": {"codec": "prores"}}
    path = record_of(look | other, tmp_path)
    assert load_preset(str(path)).settings() == build(("test", look))
    put_preset(own, "mine", 3, str(path))
    assert octaves_of("mine") == 3 and load_preset("mine").settings().seed == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "no record that can be read"),
        ("{", "no record that can be read"),
        ('{"a": ' + "9" * 10_000 + "}", "no record that can be read"),
        ("[]", "no record of a render"),
        ('{"job": 3}', "no record of a render"),
        ('{"job": {"settings": []}}', "no record of a render"),
        ('{"job": {"settings": {"dream": {"octavs": 3}}}}', "did you mean 'dream.octaves'"),
        ('{"job": {"settings": {"dream": {"octaves": 99}}}}', "dream.octaves = 99"),
    ],
)
def test_a_record_that_cannot_be_a_look_is_explained(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=f"x.json.*{words}") as error:
        load_preset(str(tmp_path / "x.json"))
    assert len(str(error.value)) < 500


def test_a_film_is_no_look_but_its_record_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_of({}, tmp_path)
    (tmp_path / "OUT.mp4").write_bytes(b"\xff\xfe" * 99)
    monkeypatch.chdir(tmp_path)
    for name in ("OUT.mp4", "./OUT.mp4"):
        with pytest.raises(UserError, match="OUT.mp4.json"):
            load_preset(name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("photo.jpg", b"\xff\xd8\xff\xe0 a JPEG", "photo.jpg is a JPEG picture, not a preset"),
        ("eyes.jpg", b"\xff\xd8\xff\xe0 a JPEG", "eyes.jpg is a JPEG picture, not a preset"),
        ("photo", b"\x89PNG\r\n\x1a\n", "photo is a PNG picture, not a preset"),
        ("page", b"<!doctype html><title>a</title>", "page is a web page, not a preset"),
        ("look.txt", b"dream.steps = 2", "its path, ./look.txt, gives the file"),
        ("unknown", b"\x01\x02\x03", "its path, ./unknown, gives the file"),
    ],
)
def test_a_file_that_is_given_as_a_name_is_told_for_what_it_is(
    dreamreel: Call, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    content: bytes, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "heir.toml").write_text(f"inherits = '{name}'")
    for command in (
        ("presets", name),
        ("presets", "show", name),
        ("presets", "diff", name, "eyes"),
        ("presets", "new", "mine", "--from", name),
        ("presets", "check", "heir.toml"),
        ("zoom", "-o", "a.mp4", "--preset", name),
    ):
        run = dreamreel(*command)
        assert run.code != 0 and words in run.err, run.err
        assert len(run.err.splitlines()) == 1


def test_a_batch_tells_of_a_picture_given_as_a_preset_where_it_is_given(
    dreamreel: Call, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    batch = tmp_path / "b.toml"
    batch.write_text("[[job]]\nkind = 'zoom'\npreset = 'photo.jpg'\n")
    run = dreamreel("batch", batch)
    assert "line 3: photo.jpg is a JPEG picture, not a preset" in run.err


def test_files_by_path_win_over_ones_own_presets(own: Path, tmp_path: Path) -> None:
    put_preset(own, "mine", 21)
    path = put_preset(tmp_path, "file", 22)
    assert build(*merge_presets([str(path), "mine"])).dream.octaves == 22


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("seed = 1\nnetwork =\n", 2, "not TOML"),
        ("seed = 1\nnetwork = ", 2, "not TOML"),
        ("\n\nseed = -1", 3, "seed = -1"),
        ("[dream]\nsteps = 3\noctavs = 3", 3, "octavs"),
        ("[dream]\nsteps = 3\n\n# octaves = 4\n'octaves' = 99", 5, "octaves = 99"),
        ("dream.steps = 3\ndream . octaves = 99", 2, "octaves = 99"),
        ("seed = 1\ndream = { steps = 3, octaves = 99 }", 2, "octaves = 99"),
        ("[dream]\n[dream.terms]\nparts = 1\ntextures = 'sin('", 4, "textures"),
        ("[camera.zoom]\n'0s' = 1\n'2s' = 200", 3, "camera.zoom"),
        ("[camera.zoom]\n'0s' = 1\n'2s' = 2\nease = 'slow'", 1, "unknown ease 'slow'"),
        ('description = """\n[a]\nx = 1\n"""\n[video]\ncarry = 3', 6, "video.carry"),
        (
            "description = '''\n\"'''\r\n[dream]\r\nterms = [\r\n'a',\r\n# ]\r\n]\r\nmix = 3",
            8,
            "mix",
        ),
        ("description = 'a'\ninherits = 'nothing'", 2, "unknown preset"),
        ("seed = 1\ninherits = 3", 2, "strings"),
        ("seed = 1\n[nothing]\na = 1", 2, "unknown setting 'nothing'"),
        ("seed = 1\nweights = '~nosuch/x.pth'", 2, "nosuch"),
        ("[output]\ncodec = 'x264'", 2, "'h264'"),
        ("[camera]\nzoom = 'fast'\npan_x = 0.1", 2, "camera.zoom"),
    ],
)
def test_a_mistake_is_told_with_the_line_of_its_key(
    dreamreel: Call, own: Path, text: str, line: int, words: str
) -> None:
    (own / "mine.toml").write_bytes(text.encode())
    for name in ("mine", own / "mine.toml"):
        run = dreamreel("presets", "check", name)
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith(f"dreamreel: {own / 'mine.toml'}") and run.err.count("\n") == 1
        assert f"line {line}" in run.err and words in run.err, run.err


@settings(deadline=None)
@given(name=st.sampled_from(NUMBERS), before=st.lists(st.sampled_from(
    ["", "# seed = [", "description = '''\n\"\"\"[x\n'''", "network = 'a#b['"]), unique=True
))  # fmt: skip
def test_the_line_of_a_number_out_of_bounds_is_found_wherever_it_stands(
    name: str, before: list[str]
) -> None:
    head, _, key = name.rpartition(".")
    top = "\n".join(before) + "\n" if before else ""
    _, most = bounds_of(name)
    for text in (f"[{head}]\n{key} = " if head else f"{key} = ", f"{name} = "):
        whole = top + text + str(int(most) + 1)
        with pytest.raises(UserError) as error:
            parse_preset(whole, Path("/x/mine.toml"))
        assert f"mine.toml, line {whole.count(chr(10)) + 1}: {name} = " in str(error.value)


def test_a_mistake_in_an_inherited_file_is_told_with_that_file(own: Path) -> None:
    (own / "base.toml").write_text("[dream]\nsteps = 3\noctaves = 99\n")
    put_preset(own, "mine", 3, "base")
    with pytest.raises(UserError, match="base.toml, line 3: dream.octaves = 99"):
        load_preset("mine")


@settings(deadline=None)  # each example waits for the disk
@given(sets=assignments(), base=st.none() | st.sampled_from(BUNDLED), renamed=st.booleans())
def test_a_new_preset_is_what_was_asked_for(
    sets: dict[str, str], base: str | None, renamed: bool
) -> None:
    name = "mine" if base is None or renamed else base
    texts = [f"{name}={text}" for name, text in sets.items()]
    inherited = merge_presets([base] if base else [])
    asked = build(*inherited, *(("--set", parse_assignment(text)) for text in texts))
    with fresh_folder() as folder:
        path = write_preset(name, base, texts, 'a "look" of mine: ä', False)
        assert path == folder / f"{name}.toml" and [*folder.iterdir()] == [path]
        preset = load_preset(name)
        assert preset.settings() == asked
        assert preset.settings().model_dump() == asked.model_dump()
        assert preset.description == 'a "look" of mine: ä'
        table = tomllib.loads(path.read_text("utf-8"))
        assert table.pop("inherits", None) == base
        SCHEMA.validate(table)
        own_table = parse_preset(path.read_text("utf-8"), path).tables[-1][1]
        assert {name for name, _ in flatten(own_table, "")} == set(sets)


def test_new_then_check_then_list(dreamreel: Call, own: Path) -> None:
    run = dreamreel("presets", "new", "calm", "--from", "eyes", "--set", "dream.octaves=6",
                    "--set", "video.carry=0.5", "--description", "slow eyes")  # fmt: skip
    assert (run.code, run.out, run.err) == (0, f"{own / 'calm.toml'}\n", "")
    for name in ("calm", own / "calm.toml"):
        run = dreamreel("presets", "check", name)
        assert run.code == 0
        assert run.out == f"{name}: ok\n  dream.octaves = 6\n  video.carry = 0.5\n"
    put_preset(own, "eyes", 3)
    put_preset(own, "broken", 99)
    lines = dreamreel("presets").out.splitlines()
    assert lines[0] == f"your own, in {own}:"
    assert [line.split()[0] for line in lines[1:4]] == ["broken", "calm", "eyes"]
    assert "octaves = 99" in lines[1] and lines[2].endswith("slow eyes")
    assert "in place of the bundled one" in lines[3]
    assert lines[4:6] == ["", "bundled:"]
    assert [line.split()[0] for line in lines[6:]] == BUNDLED
    assert "octaves = 6 " in dreamreel("presets", "calm").out


def test_the_list_names_the_folder_for_own_presets_before_there_is_one(
    dreamreel: Call, own: Path
) -> None:
    lines = dreamreel("presets").out.splitlines()
    assert lines[-1].startswith(f"your own: none in {own}; ") and lines[-2] == ""
    assert [line.split()[0] for line in lines[:-2]] == BUNDLED


def test_check_goes_on_after_a_mistake(
    dreamreel: Call, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_preset(own, "bad", 99)
    put_preset(own, "good")
    (own / "unusual").write_text("seed = 4")
    monkeypatch.chdir(own)
    run = dreamreel("presets", "check", "bad.toml", "good.toml", "nothing.toml", "unusual", "eyez")
    assert run.code == 2
    assert run.out == "good.toml: ok\nunusual: ok\n  seed = 4\n"
    assert [line[:10] for line in run.err.splitlines()] == ["dreamreel:"] * 3


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a/b", "a\\b", "../a", "mine.toml", "a b", "-a", "a.b", "a*", "n" * 41,
     "a\n", "\u202ea", *COMMANDS],
)  # fmt: skip
def test_a_name_that_cannot_be_one_is_refused(own: Path, name: str) -> None:
    with pytest.raises(UserError, match="preset"):
        write_preset(name, None, [], "", False)
    assert not [*own.iterdir()]


@pytest.mark.parametrize(
    ("given_options", "told"),
    [
        (["--set", "dream.octavs=3"], "--set: unknown setting 'dream.octavs'"),
        (["--set", "dream.octaves=99"], "--set: dream.octaves = 99"),
        (["--set", "dream.octaves"], "NAME=VALUE"),
        (["--set", "camera.zoom=0:(1"], "camera.zoom"),
        (["--set", "network=\udcff"], "not UTF-8"),
        (["--from", "creature"], "'creatures'"),
        (["--from", ""], "--from ''"),
        (["--from", "mine"], "no bundled preset of this name"),
        (["--from", "no.toml"], "there is no preset file"),
        (["--description", "a\x1bb"], "cannot be printed"),
        (["--description", "\udcff"], "cannot be printed"),
    ],
)
def test_an_invalid_preset_is_not_written(
    dreamreel: Call, own: Path, given_options: list[str], told: str
) -> None:
    run = dreamreel("presets", "new", "mine", *given_options)
    assert (run.code, run.out) == (2, "")
    assert told in run.err and run.err.count("\n") == 1
    assert not [*own.iterdir()]


def test_a_preset_is_replaced_only_if_asked_and_no_link_is_followed(
    dreamreel: Call, own: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious.toml").write_text("seed = 7\n")
    (own / "mine.toml").symlink_to(tmp_path / "precious.toml")
    run = dreamreel("presets", "new", "mine", "--set", "seed=1")
    assert run.code == 2 and "mine.toml exists; --overwrite replaces it" in run.err
    assert (own / "mine.toml").is_symlink()
    assert dreamreel("presets", "new", "mine", "--set", "seed=1", "--overwrite").code == 0
    assert not (own / "mine.toml").is_symlink() and load_preset("mine").settings().seed == 1
    assert (tmp_path / "precious.toml").read_text() == "seed = 7\n"
    assert [*own.iterdir()] == [own / "mine.toml"]


def test_an_own_folder_that_is_a_file_is_told(
    dreamreel: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("precious")
    monkeypatch.setenv("DREAMREEL_PRESETS", str(tmp_path / "file"))
    run = dreamreel("presets", "new", "mine")
    assert run.code == 2 and "is no folder" in run.err and run.err.count("\n") == 1


def test_paths_that_are_given_stay_what_they_were_where_they_were_given(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_preset(tmp_path, "base", 9)
    monkeypatch.chdir(tmp_path)
    write_preset("mine", "./base.toml", ["weights=nets/a.pth"], "", False)
    mine = load_preset("mine").settings()
    assert mine.weights == tmp_path / "nets" / "a.pth" and mine.dream.octaves == 9


@pytest.mark.parametrize("name", BUNDLED)
def test_a_preset_does_not_differ_from_itself(dreamreel: Call, own: Path, name: str) -> None:
    put_preset(own, "mine", None, name)
    assert dreamreel("presets", "diff", name, name).out == "no difference\n"
    assert dreamreel("presets", "diff", name, "mine").out == "no difference\n"


def test_diff_lists_the_settings_that_differ(dreamreel: Call, own: Path) -> None:
    sets = ["dream.octaves=9", "camera.zoom=1+t/9", "width=640"]
    write_preset("mine", "eyes", sets, "", False)
    rows = [re.split(r"\s{2,}", row) for row in dreamreel("presets", "diff", "eyes", "mine").out
            .splitlines()]  # fmt: skip
    eyes = load_preset("eyes").settings()
    assert rows == [
        ["setting", "eyes", "mine"],
        ["width", "none", "640"],
        ["dream.octaves", str(eyes.dream.octaves), "9"],
        ["camera.zoom", str(eyes.camera.zoom), '"1+t/9"'],
    ]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_schema_accepts_every_bundled_preset(name: str) -> None:
    SCHEMA.validate(tomllib.loads((FOLDER / f"{name}.toml").read_text()))


def test_the_schema_is_printed_and_is_one(dreamreel: Call) -> None:
    printed = json.loads(dreamreel("presets", "schema").out)
    Draft202012Validator.check_schema(printed)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert printed["properties"]["inherits"]["examples"] == preset_names()
    assert dreamreel("presets", "schema").err == ""


@pytest.mark.parametrize("name", all_fields())
def test_the_schema_tells_each_setting_as_its_field_does(name: str) -> None:
    told: Any = SCHEMA.schema
    for part in name.split("."):
        assert told["additionalProperties"] is False
        told = told["properties"][part]
    field = all_fields()[name]
    assert told["description"] == field.description
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    assert told.get("default") == default
    if default is not None:
        whole = {**told, "$defs": SCHEMA.schema["$defs"]}
        Draft202012Validator(whole).validate(default)


def accepted(table: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the schema, and whether the reader of presets, accepts `table`."""
    try:
        build(("test", table))
    except UserError:
        return SCHEMA.is_valid(table), False
    return SCHEMA.is_valid(table), True


@settings(deadline=None)
@given(name=st.sampled_from(NUMBERS), data=st.data())
def test_the_schema_accepts_the_numbers_that_settings_accept(
    name: str, data: st.DataObject
) -> None:
    least, most = bounds_of(name)
    below, above = int(least) - 2, int(most) + 2
    near = st.sampled_from([least, most, below, above])
    # JSON Schema takes 4.0 for a whole number; TOML, and so a preset, does not.
    part = st.floats(max(below, -1e6), min(above, 1e6)).filter(lambda one: not one.is_integer())
    value = data.draw(near | st.integers(below, above) | part | st.booleans())
    table: dict[str, Any] = {}
    put(table, name, value)
    by_schema, by_reader = accepted(table)
    assert by_schema == by_reader


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("dream.octavs = 3", False),
        ("octaves = 3", False),
        ("nothing.a = 3", False),
        ("dream = 3", False),
        ("dream.normalise = 'median'", False),
        ("output.codec = 'x264'", False),
        ("output.codec = 'hevc'", True),
        ("output.audio = 1", False),
        ("seed = '1+t'", False),
        ("flow.height = { '0s' = 240 }", False),
        ("source.fps = 23.976", True),
        ("source.fps = '30000/1001'", True),
        ("source.fps = 'fast'", False),
        ("source.fps = 0.5", True),
        ("source.fps = '.5'", True),
        ("source.fps = 0.0001", False),
        ("source.fps = 1001", False),
        ("source.crop = '9:16'", True),
        ("source.crop = '1080x1920'", True),
        ("source.crop = 'tall'", False),
        ("source.bars = '0:20:0:20'", True),
        ("source.bars = '0:20'", False),
        ("dream.terms = 'parts'", True),
        ("dream.terms = ['parts', 'objects']", True),
        ("dream.terms = [1]", False),
        ("dream.terms = { parts = '0:(1), 50%:(0)', textures = { '0s' = 0, '2s' = 1 } }", True),
        ("dream.terms = { parts = true }", False),
        ("camera.zoom = '1.2 + 0.8*beat'", True),
        ("camera.zoom = { '0s' = 1.2, '8s' = 2.0, ease = 'in-out-cubic' }", True),
        ("camera.zoom = { '0b' = 1, '4b' = { value = '1+t', ease = 'hold' }, bpm = 120 }", True),
        ("camera.zoom = { '0s' = 1, ease = 'bezier(0.1, 0, 0.2, 1)' }", True),
        ("camera.zoom = { '0s' = 1, ease = 'slow' }", False),
        ("camera.zoom = { '0s' = 1, bpm = 0 }", False),
        ("camera.zoom = { '0s' = { ease = 'hold' } }", False),
        ("camera.zoom = { '0s' = true }", False),
        ("camera.zoom = {}", False),
        ("camera.zoom = ''", False),
        ("camera.zoom = [1, 2]", False),
    ],
)
def test_the_schema_means_what_the_reader_of_presets_does(text: str, valid: bool) -> None:
    assert accepted(tomllib.loads(text)) == (valid, valid)


def test_every_number_that_may_change_takes_a_schedule_in_the_schema() -> None:
    for name, field in all_fields().items():
        least = bounds_of(name)[0] if is_number(field) else 1
        for value in (f"{least}+0*t", {"0s": least, "2s": least}):
            table: dict[str, Any] = {}
            put(table, name, {"parts": value} if holds_numbers(field) else value)
            if is_number(field) or holds_numbers(field):
                assert SCHEMA.is_valid(table) == (not name.startswith(FIXED))


def test_commands_are_those_that_there_are_and_no_bundled_preset_has_their_name() -> None:
    group = typer.main.get_command(app).commands["presets"]  # type: ignore[attr-defined]
    assert set(group.commands) == set(COMMANDS)
    assert not set(COMMANDS) & set(BUNDLED)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("eyez", "no preset or command 'eyez'; did you mean 'eyes'"),
        ("chek a.toml b.toml", "did you mean 'check'"),
        ("shema", "did you mean 'schema'"),
        ("kalm", "did you mean 'calm'"),
        ("zzzz", "`dreamreel presets` lists them"),
        ("no.toml", "there is no preset file"),
        ("--all", "--all"),
        ("diff eyes", "B"),
        ("diff eyes eyez", "'eyes'"),
        ("check", "FILE"),
        ("new", "NAME"),
        ("show", "NAME"),
        ("eyes meadow", "meadow"),
    ],
)
def test_a_mistyped_word_is_told_with_the_nearest(
    dreamreel: Call, own: Path, words: str, told: str
) -> None:
    put_preset(own, "calm")
    run = dreamreel("presets", *words.split())
    assert (run.code, run.out) == (2, "")
    assert told in run.err and run.err.count("\n") == 1, run.err


def test_help_tells_the_commands_and_not_the_hidden_one(dreamreel: Call) -> None:
    told = dreamreel("presets", "--help").out
    assert "[NAME | COMMAND [ARGS]...]" in told
    assert all(re.search(rf"^  {name} ", told, re.M) for name in set(COMMANDS) - {"show"})
    assert not re.search(r"^  show ", told, re.M)


def completed(line: str) -> list[str]:
    """What the shell offers for the last word of `line`."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    program = "from dreamreel.cli import app; app(prog_name='dreamreel')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | words | {"_DREAMREEL_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_and_presets(own: Path) -> None:
    put_preset(own, "nebula")
    assert set(completed("dreamreel presets ")) == {*COMMANDS, *BUNDLED, "nebula"} - {"show"}
    assert completed("dreamreel presets ne") == ["new", "nebula"]
    assert completed("dreamreel presets diff ne") == ["nebula"]
    assert completed("dreamreel presets new mine --from ne") == ["nebula"]
    assert completed("dreamreel presets nebula x") == []


def test_completion_stays_silent_where_no_own_folder_can_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DREAMREEL_PRESETS", "~nosuchuser/presets")
    assert complete_preset("e") == []
    with pytest.raises(UserError, match="nosuchuser"):
        load_preset("eyes")


def test_the_commands_on_the_page_of_presets_work(
    dreamreel: Call, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "presets" / "README.md").read_text()
    section = page.split("## Presets of your own")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("dreamreel presets ")]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line.split("  #")[0].split(" > ")[0])
        assert dreamreel(*words[1:]).code == 0, line
    example = re.findall(r"```toml\n(.*?)```", section, re.S)
    assert len(example) == 1
    SCHEMA.validate(tomllib.loads(example[0]))
    assert parse_preset(example[0], own / "mine.toml").settings() != Settings()
