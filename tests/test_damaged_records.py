"""Changed records and job files: a line that says so, or a render; nothing else is written."""

import copy
import json
import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamreel.pipeline.app.farm import read_job
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.paths import JOB_BYTES
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.reproduce import reproduce
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.opening import read_json
from making import Run, write_clip
from rendering import flight, going_on, render_video, render_zoom

QUICK = build(("test", {"dream": {"octaves": 1, "steps": 1, "terms": "textures"}}))
STOP = Report(is_stopping=lambda: True)
DROPPED = object()  # stands for nothing, in place of a part

# Parts that somebody may put in place of another.
NUMBERS = st.integers(-2, 3) | st.sampled_from([10**9, 2**31, 2**40, 2**63, 10**19, 0.5, 1e308])
TEXTS = st.text(max_size=5) | st.sampled_from(
    ["", ".", "..", "/", "/dev/zero", "0", "-1", "30", "1e400", "1/0", "٣٠", "\0", "a\nb",
     "\x1b[31m", "~", "~nobody", "a" * 300, "a/" * 3000, "%99d.png", "o/%d.png",
     "0" * 64, "video", "zoom"]
)  # fmt: skip
PARTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def records(
    tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray
) -> dict[str, tuple[Path, Any]]:
    """For each kind of render, its folder and its record."""
    top = tmp_path_factory.mktemp("records")
    clip = write_clip(top / "s.mp4", [scene[i : 48 + i, :64] for i in range(3)])
    video = render_video(clip, top / "v.mp4", QUICK)
    zoom = render_zoom(None, top / "z.mp4", QUICK, flight(0.1, Fraction(20), (48, 64)))
    longer = render_zoom(None, top / "l.mp4", QUICK, going_on(zoom, 0.1))
    found = {"video": video, "zoom": zoom, "longer": longer}
    return {kind: (top, json.loads(Path(f"{at}.json").read_text())) for kind, at in found.items()}


def places(table: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of `table` but single settings, which have tests of their own."""
    parts: Any = table.items() if isinstance(table, dict) else ()
    parts = enumerate(table) if isinstance(table, list) else parts
    if above and above[-1] == "settings":
        return [above]
    return [above, *(place for key, part in parts for place in places(part, (*above, key)))]


def put(table: Any, place: tuple[Any, ...], value: Any) -> None:
    """Put `value` in `table` at `place`, if that is still there."""
    for key in place[:-1]:
        table = table[key] if isinstance(table, dict) and key in table else None
    if isinstance(table, dict) and value is DROPPED:
        table.pop(place[-1], None)
    elif isinstance(table, dict):
        table[place[-1]] = value


def everything(folder: Path) -> dict[str, int]:
    """The sizes of all files in `folder` but the record that is tried and its result."""
    ours = ("tried.json", "new.mp4")
    files = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in ours]
    return {str(path): path.lstat().st_size for path in files if "new.mp4" not in str(path)}


def remade(path: Path) -> object:
    return reproduce(path, path.with_name("new.mp4"), report=STOP, overwrite=True, restart=True)


def farmed(path: Path) -> object:
    job = read_job(path).model_copy(update={"output": path.with_name("new.mp4"), "piece": None})
    return run(job, STOP, overwrite=True, restart=True)


@pytest.mark.parametrize("do", [remade, farmed])
@pytest.mark.parametrize("kind", ["video", "zoom", "longer"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_record_is_refused_in_a_line_or_rendered(
    do: Callable[[Path], object],
    kind: str,
    data: st.DataObject,
    records: dict[str, tuple[Path, Any]],
) -> None:
    folder, record = records[kind]
    before, table = everything(folder), copy.deepcopy(record)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(record)[1:]))
        put(table, place, data.draw(PARTS | st.just(DROPPED)))
    path = folder / "tried.json"
    path.write_text(json.dumps(table))
    try:
        do(path)
    except UserError as error:
        assert "\n" not in str(error)
    except Stopped:
        pass
    assert everything(folder) == before


TEXT = '{"record": 2, "job": {"kind": "video"}, "made": {}}'
ODD = {
    "brackets": "[" * 200_000,
    "tables": '{"a":' * 200_000 + "1" + "}" * 200_000,
    "a key twice": '{"record": 1, "record": 2}',
    "NaN": '{"record": NaN}',
    "infinity": '{"record": -Infinity}',
    "a long number": '{"record": 1' + "0" * 5000 + "}",
    "half a character": '{"record": 2, "job": "\\ud800"}',
    "NULs behind": TEXT + "\0" * 9,
    "NUL": '{"record": 2, "job": "\0"}',
    "a number": "3",
    "nothing": "",
    "many": "[" + "1," * 2_000_000 + "1]",
    "another format": '{"record": "\\u001b[31m"}',
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_json_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "o.mp4.json"
    path.write_text(ODD[kind])
    began = time.monotonic()
    for read in (read_record, read_job):
        with pytest.raises(UserError) as error:
            read(path)
        assert "o.mp4.json" in str(error.value) and len(str(error.value)) < 400
    assert time.monotonic() - began < 5


def test_a_mark_of_the_byte_order_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, -2.5e3, "\xc3\xa9"]}')
    assert read_json(path, JOB_BYTES) == {"a": [1, -2500.0, "é"]}


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
def test_only_regular_files_of_a_bounded_size_are_read_as_records(tmp_path: Path) -> None:
    huge, zero, pipe = (tmp_path / name for name in ("huge.json", "zero.json", "pipe.json"))
    with huge.open("wb") as file:
        file.write(b'{"record": 2, "job": ')
        file.truncate(1 << 40)
    zero.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path, why in ((huge, "larger than"), (zero, "is a device"), (pipe, "is a device, a pipe")):
        for read in (read_record, read_job):
            with pytest.raises(UserError, match=why):
                read(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"piece": {"first": 0, "stop": 1, "place": "/tmp/elsewhere"}}, "a piece"),
        ({"span": [2, 1]}, "does not come after"),
        ({"source": None}, "needs a source"),
        ({"kind": "zoom"}, "a zoom has a flight"),
        ({"threads": {"torch": 0, "encoder": 1}}, "threads.torch"),
    ],
)
def test_a_record_whose_parts_do_not_fit_is_refused(
    records: dict[str, tuple[Path, Any]], change: dict[str, Any], why: str
) -> None:
    folder, record = records["video"]
    path = folder / "tried.json"
    path.write_text(json.dumps({**record, "job": {**record["job"], **change}}))
    with pytest.raises(UserError, match=f"makes no sense: .*{why}"):
        read_record(path)


def test_a_long_name_gives_one_line(
    dreamreel: Callable[..., Run], records: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    record = copy.deepcopy(records["video"][1])
    for name in ("a/" * 3000, "a" * 5000, "x\0.mp4"):
        record["job"]["source"]["path"] = name
        (tmp_path / "o.json").write_text(json.dumps(record))
        run = dreamreel("reproduce", tmp_path / "o.json", "-o", tmp_path / "o.mp4")
        assert run.code == 2 and run.err.count("\n") == 1 and len(run.err) < 2500


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (("rate",), "2", "its rate is not that"),
        (("frames",), 2, "before the zoom that it continues"),
        (("earlier", "job", "flight", "frames"), 1, "has 2 frames, and 1 by its record"),
        (("earlier", "job", "flight", "size"), [32, 64], "around frames of|has its own size"),
        (("earlier", "job", "flight", "size"), DROPPED, "it is no finished zoom"),
        (("earlier", "job", "kind"), "still", "a zoom has a flight"),
    ],
)
def test_a_zoom_goes_on_only_from_the_film_of_its_record(
    records: dict[str, tuple[Path, Any]], place: tuple[str, ...], value: Any, why: str
) -> None:
    folder, record = records["longer"]
    table = copy.deepcopy(record)
    put(table, ("job", "flight", *place), value)
    path = folder / "tried.json"
    path.write_text(json.dumps(table))
    with pytest.raises(UserError, match=why):
        reproduce(path, folder / "new.mp4", report=STOP, restart=True)
