"""What reaches the terminal cannot steer it: names, descriptions, notices and errors."""

import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from dreamreel.pipeline.config.grammar import build, to_toml
from dreamreel.pipeline.errors import UserError, visible
from making import Run

Call = Callable[..., Run]
STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\x7f\r\b"


def on_terminal(*arguments: str, folder: Path) -> str:
    """What the command line with these `arguments` writes to a terminal, in `folder`."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamreel.cli", *arguments],
        cwd=folder,
        env=os.environ | {"DREAMREEL_PRESETS": str(folder), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 65536):
            found += part
    except OSError:  # the terminal has no more writers
        pass
    finally:
        process.wait()
        os.close(ours)
    return found.decode()


def is_calm(text: str) -> bool:
    return visible(text, kept="\n\r\t") == text


@tried(deadline=None)
@given(st.text())
def test_visible_text_steers_nothing_and_loses_nothing(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert all(one in shown for one in text if one.isalnum())
    assert visible(text, kept=text) == text


def test_letters_of_every_script_stay() -> None:
    for text in ("Größe", "夢 の 映画", "سينما", "सपना", "👩‍🎨", "a\u00a0b"):
        assert visible(text) == text
    assert visible("a\x1b[31m\n\x9b\u202e\udc80") == "a\\x1b[31m\\n\\x9b\\u202e\\udc80"


def test_an_error_is_one_visible_line() -> None:
    assert str(UserError(f"a{STEERING}\nb")) == visible("a" + STEERING.replace("\r", " ") + " b")


def test_descriptions_names_and_errors_reach_the_terminal_escaped(tmp_path: Path) -> None:
    escaped = "".join(f"\\u{ord(one):04X}" for one in STEERING)
    (tmp_path / "calm.toml").write_text(f'description = "a {escaped} b"\nnetwork = "{escaped}"\n')
    (tmp_path / "wrong.toml").write_text(f'"{escaped}" = 1\n')
    (tmp_path / "not.toml").write_text("\x1b[31m = \x07")
    os.rename(tmp_path / "not.toml", tmp_path / "x\x1b[31m.toml")
    for arguments in (
        ("presets",),
        ("presets", "calm"),
        ("presets", "check", "calm", "wrong", "x\x1b[31m", "./calm.toml"),
        ("presets", "diff", "calm", "eyes"),
        ("image", "a.png", "--preset", "x\x1b[31m"),
        ("schedule", "--set", "dream.steps=0:(1), \x1b[31m:(2)"),
    ):
        found = on_terminal(*arguments, folder=tmp_path)
        assert found and is_calm(found), (arguments, found)
        assert "Traceback" not in found


def test_a_path_that_is_printed_into_a_pipe_stays_as_it_is(
    dreamreel: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a\u202eb"
    monkeypatch.setenv("DREAMREEL_PRESETS", str(folder))
    assert dreamreel("presets", "new", "mine").out == f"{folder}/mine.toml\n"


def test_settings_as_toml_are_visible_and_mean_the_same() -> None:
    settings = build(
        ("test", {"network": STEERING, "dream": {"terms": {f"class:{STEERING}": 1.0}}})
    )
    text = to_toml(settings)
    assert is_calm(text) and build(("toml", tomllib.loads(text))) == settings
