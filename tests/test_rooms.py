"""Rooms of the package: imports go one way and form no cycle, and every package is installed."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from making import ROOT

# Each imports only from those before it, and from the modules of `pipeline` itself.
ROOMS = (
    *("config", "media", "networks", "motion", "dreaming", "zooming", "jobs", "judging"),
    *("exploring", "training", "live", "app", "studio"),
)
PIPELINE = "dreamreel.pipeline"


def modules() -> dict[str, Path]:
    """The full name of each module of the pipeline, with its file."""
    paths = (ROOT / "pipeline").rglob("*.py")
    names = {".".join(("dreamreel", *path.relative_to(ROOT).with_suffix("").parts)): path
             for path in paths}  # fmt: skip
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def imports(name: str, path: Path) -> Iterator[str]:
    """The modules of this package that a module imports, in any form, anywhere in it."""
    known = modules()
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PIPELINE))
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            whole = ".".join([*above, *([node.module] if node.module else [])])
            source = whole if node.level else node.module or ""
            if source.startswith(PIPELINE) or source == "dreamreel":
                for alias in node.names:
                    full = f"{source}.{alias.name}"
                    yield full if full in known or full == PIPELINE else source


def rank(name: str) -> int:
    """The place of a module's room among ROOMS, from 1; 0 for the modules of `pipeline` itself."""
    room = name.removeprefix(PIPELINE).lstrip(".").split(".")
    return ROOMS.index(room[0]) + 1 if room[0] in ROOMS else 0


def test_every_room_is_known() -> None:
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("name", [name for name in modules() if name != PIPELINE])
def test_a_module_imports_only_from_its_own_room_or_earlier_ones(name: str) -> None:
    found = set(imports(name, modules()[name]))
    assert not [other for other in found if rank(other) > rank(name) or other == "dreamreel.cli"]


def test_there_is_no_import_cycle() -> None:
    graph = {name: set(imports(name, path)) - {name} for name, path in modules().items()
             if path.stem != "__init__"}  # fmt: skip
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_imports_of_every_form_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import dreamreel.pipeline.jobs.run\nfrom dreamreel.pipeline import tensors\n"
        "from dreamreel import pipeline\n\ndef late():\n    from ..jobs import paths\n"
        "    from .fields import Settings\n    from dreamreel.pipeline.media.clips import Clip\n"
    )
    assert set(imports("dreamreel.pipeline.config.m", path)) == {
        "dreamreel.pipeline.jobs.run", "dreamreel.pipeline.tensors", "dreamreel.pipeline",
        "dreamreel.pipeline.jobs.paths", "dreamreel.pipeline.config.fields",
        "dreamreel.pipeline.media.clips",
    }  # fmt: skip


def test_every_package_is_installed() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name for name, path in modules().items() if path.stem == "__init__"}
    assert set(told["packages"]) == packages | {"dreamreel"}
    for pattern in told["package-data"]["dreamreel"]:
        assert list(ROOT.glob(pattern)), pattern
