"""A module imports only from the floors below its own."""

import ast
import re
from pathlib import Path

from dreamreel import pipeline
from making import ROOT


def floors() -> dict[str, int]:
    found = {}
    for line in (pipeline.__doc__ or "").splitlines():
        if floor := re.match(r"(\d) (.+)", line):
            for name in floor[2].partition(", and")[0].split(", "):
                found[name] = int(floor[1])
    return found


def imports(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.rpartition(".")[2] for name in modules if name.startswith("dreamreel.pipeline.")}


def test_every_module_has_its_floor() -> None:
    modules = {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__"}
    assert modules == floors().keys()


def test_modules_import_from_below() -> None:
    floor = floors()
    wrong = {
        (path.stem, name)
        for path in (ROOT / "pipeline").glob("[a-z]*.py")
        for name in imports(path)
        if floor[name] >= floor[path.stem]
    }
    assert not wrong
