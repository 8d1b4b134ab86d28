"""Damaged states: a render that cannot go on says so in one line, and shows no wrong frame."""

import copy
import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.durable import UNREADABLE, load_tree, save_tree
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.paths import STATE, folder_of, state_path
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.zoom import earlier_zoom
from dreamreel.pipeline.states import decode
from making import write_clip
from rendering import flight, going_on, render_video, render_zoom

QUICK = build(("test", {"dream": {"octaves": 1, "steps": 1, "terms": "textures"}}))
LARGEST = 1 << 26
Render = Callable[[Path], Path]


def stopping_after(frames: int) -> Report:
    asked = iter([False] * (frames - 1))
    return Report(is_stopping=lambda: next(asked, True))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "s.mp4", [scene[i : 48 + i, :64] for i in range(4)])


@pytest.fixture(scope="module")
def renders(clip: Path) -> dict[str, Render]:
    """For each kind, the function that renders it to a path."""
    return {
        "video": lambda out: render_video(clip, out, QUICK),
        "preview": lambda out: render_video(clip, out, QUICK, kind="preview"),
        "zoom": lambda out: render_zoom(None, out, QUICK, flight(0.2, Fraction(20), (48, 64))),
    }


@pytest.fixture(scope="module")
def stopped(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each kind, a folder with its render `out.mp4`, stopped after two frames."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("video", "preview", "zoom")}
    stop = {kind: stopping_after(2) for kind in folders}
    with pytest.raises(Stopped):
        render_video(clip, folders["video"] / "out.mp4", QUICK, report=stop["video"])
    with pytest.raises(Stopped):
        out = folders["preview"] / "out.mp4"
        render_video(clip, out, QUICK, kind="preview", report=stop["preview"])
    with pytest.raises(Stopped):
        journey = flight(0.2, Fraction(20), (48, 64))
        render_zoom(None, folders["zoom"] / "out.mp4", QUICK, journey, stop["zoom"])
    return folders


@pytest.fixture(scope="module")
def zoomed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished zoom of four frames."""
    folder = tmp_path_factory.mktemp("zoomed")
    return render_zoom(None, folder / "z.mp4", QUICK, flight(0.2, Fraction(20), (48, 64)))


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = {
        "numbers": [1, -0.1, 2**62, True, None, "é\n", {}, []],
        "picture": torch.rand(1, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "array": np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::-1],
        "inside": {
            "flags": np.array([True, False]),
            "one": torch.tensor(2.5),
            "none": torch.ones(0),
        },
    }
    save_tree(tmp_path / "t", tree)
    found = load_tree(tmp_path / "t", LARGEST)
    assert found["numbers"] == tree["numbers"] and found.keys() == tree.keys()
    assert torch.equal(found["picture"], tree["picture"])
    assert np.array_equal(found["array"].numpy(), tree["array"])
    assert found["inside"]["flags"].dtype == torch.bool and found["inside"]["one"] == 2.5
    assert found["inside"]["none"].shape == (0,)


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of `tree`."""
    parts: Any = tree.items() if isinstance(tree, dict) else ()
    parts = enumerate(tree) if isinstance(tree, list) else parts
    return [above, *(place for key, part in parts for place in places(part, (*above, key)))]


def changed(tree: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """`tree` with `change` made to its part at `place`."""
    tree = copy.deepcopy(tree)
    if not place:
        return change(tree)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = change(inner[place[-1]])
    return tree


# What a sound state may hold, too.
MAY_BE_ANYTHING = ("added", "short", "targets", "contrasts", "lively")


def spoilt(value: Any) -> list[Any]:
    """Values that are wrong where `value` is right."""
    if isinstance(value, torch.Tensor):
        numbers = [value.to(torch.int64), value[None], value.new_zeros(0)]
        numbers += [value[..., :-1]] if value.ndim else []
        return numbers + ([value.double(), value * torch.nan] if value.is_floating_point() else [])
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return [7.5, [], "wrong"]
    if isinstance(value, int | float):
        return [None, "1", -(10**9), float("nan"), float("inf"), []]
    return [None, 3, [3], {"x": 1}]


def wrongs(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Each place in `tree` with a value that is wrong there."""
    found = []
    for number, place in enumerate(places(tree)):
        part = tree
        for key in place:
            part = part[key]
        wrong = spoilt(part)
        if not ((place and place[-1] in MAY_BE_ANYTHING) or "climbed" in place):
            found.append((place, wrong[number % len(wrong)]))
    return found


def assert_refused(render: Render, out: Path, *words: str) -> None:
    before = {path: path.stat().st_size for path in out.parent.rglob("*")}
    with pytest.raises(UserError) as error:
        render(out)
    assert all(word in str(error.value) for word in words), error.value
    left = {path: path.stat().st_size for path in out.parent.rglob("*")}
    assert left.keys() >= before.keys() and not out.exists()


@pytest.mark.parametrize("kind", ["video", "preview", "zoom"])
def test_whatever_is_wrong_in_a_state_is_told(
    kind: str, stopped: dict[str, Path], renders: dict[str, Render], tmp_path: Path
) -> None:
    shutil.copytree(stopped[kind], tmp_path / "r")
    out = tmp_path / "r" / "out.mp4"
    state = folder_of(out) / STATE
    tree = load_tree(state, LARGEST)
    for place, wrong in wrongs(tree):
        save_tree(state, changed(tree, place, lambda _, wrong=wrong: wrong))
        assert_refused(renders[kind], out, "--restart begins anew")


MENDABLE = {
    "empty": lambda data: b"",
    "short": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "text": lambda data: b"{}",
    "a pickle": lambda data: b"\x80\x02K\x01.",
    "a huge header": lambda data: (1 << 62).to_bytes(8, "little") + data[8:],
    "longer": lambda data: data + bytes(9),
}


@pytest.mark.parametrize("damage", MENDABLE)
def test_a_damaged_state_gives_one_line(
    damage: str, stopped: dict[str, Path], renders: dict[str, Render], tmp_path: Path
) -> None:
    shutil.copytree(stopped["video"], tmp_path / "r")
    out = tmp_path / "r" / "out.mp4"
    state = folder_of(out) / STATE
    state.write_bytes(MENDABLE[damage](state.read_bytes()))
    assert_refused(renders["video"], out, "--restart begins anew")


def test_a_state_that_claims_more_than_it_may_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "t").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="more than"):
        load_tree(tmp_path / "t", LARGEST)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_byte_never_goes_unnoticed(data: st.DataObject, zoomed: Path) -> None:
    whole = state_path(zoomed).read_bytes()
    place = data.draw(st.integers(0, min(3000, len(whole) - 1)) | st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    path = zoomed.with_name("changed")
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        found = load_tree(path, LARGEST)
    except UNREADABLE:
        return
    before = load_tree(state_path(zoomed), LARGEST)  # a blank in the header, or the like
    assert str(found) == str(before)


STRAY: dict[str, Callable[[Path], object]] = {
    "a state that is a pipe": lambda work: (work / STATE).unlink() or os.mkfifo(work / STATE),
    "a state that is a device": lambda work: (
        (work / STATE).unlink() or (work / STATE).symlink_to("/dev/zero")
    ),
    "a state that is a folder": lambda work: (work / STATE).unlink() or (work / STATE).mkdir(),
    "lost frames": lambda work: (work / "000000.raw").unlink(),
    "a segment that is no film": lambda work: (work / "000000.mp4").write_text("x"),
    "a segment that is a pipe": lambda work: os.mkfifo(work / "000000.mp4"),
}


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("stray", STRAY)
def test_stray_files_in_a_work_folder_give_one_line(
    stray: str, stopped: dict[str, Path], renders: dict[str, Render], tmp_path: Path
) -> None:
    shutil.copytree(stopped["video"], tmp_path / "r")
    out = tmp_path / "r" / "out.mp4"
    STRAY[stray](folder_of(out))
    with pytest.raises(UserError, match="--restart begins anew|no regular file|not a regular file"):
        renders["video"](out)
    assert not out.exists()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "3", '{"job": 3}', '{"dreamreel_job": 2, "job": {}}', "[" * 10**5,
     '{"dreamreel_job": 2, "job": {}, "threads": 3}', '{"dreamreel_job": 2, "job": {"a": NaN}}',
     '{"dreamreel_job": 2, "job": {}, "threads": {"torch": 0, "encoder": -1}}',
     '{"dreamreel_job": 2, "job": {}, "threads": {"torch": 1, "encoder": 1}}'],
)  # fmt: skip
def test_a_job_file_that_makes_no_sense_gives_one_line(
    text: str, stopped: dict[str, Path], renders: dict[str, Render], tmp_path: Path
) -> None:
    shutil.copytree(stopped["video"], tmp_path / "r")
    out = tmp_path / "r" / "out.mp4"
    (folder_of(out) / "job.json").write_text(text)
    assert_refused(renders["video"], out, f"{folder_of(out)}" if "threads" not in text else "--")


def test_whatever_is_wrong_in_the_state_of_a_zoom_is_told_by_continue(
    zoomed: Path, tmp_path: Path
) -> None:
    for suffix in ("", ".json", ".state"):
        shutil.copy(f"{zoomed}{suffix}", tmp_path / f"z.mp4{suffix}")
    film = tmp_path / "z.mp4"
    path = state_path(film)
    tree = load_tree(path, LARGEST)
    for place, wrong in wrongs(tree):
        save_tree(path, changed(tree, place, lambda _, wrong=wrong: wrong))
        with pytest.raises(UserError, match="is damaged|no state of a zoom|of another film"):
            render_zoom(None, tmp_path / "longer.mp4", QUICK, going_on(film, 0.1))
        assert not (tmp_path / "longer.mp4").exists(), place


def test_a_zoom_that_goes_on_with_another_network_says_so(zoomed: Path, tmp_path: Path) -> None:
    for suffix in ("", ".json", ".state"):
        shutil.copy(f"{zoomed}{suffix}", tmp_path / f"z.mp4{suffix}")
    film, told = tmp_path / "z.mp4", list[str]()
    tree = load_tree(state_path(film), LARGEST)
    save_tree(state_path(film), {**tree, "weights": "0" * 64})
    report = Report(on_notice=told.append)
    render_zoom(None, tmp_path / "longer.mp4", QUICK, going_on(film, 0.1), report)
    assert any("another network" in line for line in told)


def test_zooms_continue_one_another_only_so_often(zoomed: Path, tmp_path: Path) -> None:
    for suffix in ("", ".json", ".state"):
        shutil.copy(f"{zoomed}{suffix}", tmp_path / f"z.mp4{suffix}")
    record = tmp_path / "z.mp4.json"
    told = json.loads(record.read_text())
    film = {"path": str(zoomed), "sha256": "0" * 64}
    for number in range(50):
        earlier = {"film": film, "job": told["job"]}
        flown = {**told["job"]["flight"], "frames": 5 + number, "earlier": earlier}
        told["job"] = {**told["job"], "flight": flown}
    record.write_text(json.dumps(told))
    with pytest.raises(UserError, match="continues 50 zooms already"):
        earlier_zoom(tmp_path / "z.mp4")


def test_a_named_type_is_read_as_what_it_names() -> None:
    number = TypeVar("number", bound=np.generic)
    named = TypeAliasType("named", np.ndarray[Any, np.dtype[number]], type_params=(number,))
    found = decode(named[np.float32], torch.ones(2, 3))
    assert isinstance(found, np.ndarray) and found.shape == (2, 3)
