"""The pages: their commands, links, looks and settings are those that there are."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from make_results import settings_table

from dreamreel.cli import app
from dreamreel.pipeline.config.grammar import build, parse_assignment
from dreamreel.pipeline.config.presets import FOLDER, load_preset, names_in
from making import ROOT

PAGES = (
    *("README.md", "presets/README.md", "samples/README.md", "samples/cluster/README.md"),
    *("samples/files.md", "pipeline/README.md", ".github/CONTRIBUTING.md"),
)


def commands() -> list[str]:
    """Every `dreamreel` command in a block of shell on the pages."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.S):
            lines = (line.split("  #")[0] for line in block.splitlines())
            found += [line for line in lines if line.startswith("dreamreel ")]
    return found


@pytest.mark.parametrize("line", commands())
def test_a_command_on_a_page_is_one(line: str) -> None:
    name, *rest = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, rest)
    named = context.params.get("option_preset") or ()
    preset = [one for one in named if one in names_in(FOLDER)]
    tables = [table for one in preset for table in load_preset(one).tables]
    sets = context.params.get("option_set") or ()
    build(*tables, *((text, parse_assignment(text)) for text in sets))


def test_what_a_user_may_want_is_given_by_options_that_there_are() -> None:
    rows = re.findall(r"^\| (?!I want)([^|]+) \| (.+) \|$",
                      (ROOT / "README.md").read_text().split("## I want")[1].split("\n## ")[0],
                      re.M)  # fmt: skip
    assert len(rows) > 10
    known = {
        option
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    for _, told in rows:
        for given in re.findall(r"`([^`]+)`", told):
            words = shlex.split(given)
            flags = [word for word in words if word.startswith("-")]
            assert set(flags) <= known, given
            for flag, value in pairwise(words):
                if flag == "--set":
                    build((value, parse_assignment(value)))
                elif flag == "--preset":
                    assert value in names_in(FOLDER)


@pytest.mark.parametrize("page", PAGES)
def test_a_link_on_a_page_leads_to_a_file(page: str) -> None:
    path = ROOT / page
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_page_of_looks_tells_every_preset_and_every_setting() -> None:
    page = (ROOT / "presets" / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", page, re.M))
    assert rows == {name: load_preset(name).description for name in names_in(FOLDER)}
    assert settings_table() in page


def test_every_picture_in_samples_is_on_a_page() -> None:
    text = "".join((ROOT / page).read_text() for page in PAGES)
    shown = [*Path(ROOT / "samples").glob("*.webp"), *Path(ROOT / "samples").glob("*.gif")]
    assert shown and all(path.name in text for path in shown)
