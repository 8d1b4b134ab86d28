"""Batch files: lists of values become jobs, and a mistake is one line that names its place."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamreel.pipeline.app.batchfile import entries_of, read_batch
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.queue import Entry
from making import ROOT, Run

Call = Callable[..., Run]


@pytest.fixture
def folder(tmp_path: Path, moving_clip: Path) -> Path:
    """A folder with clips a.mp4, b2.mp4 and b10.mp4, a picture sky.jpg, and a text."""
    for name in ("a.mp4", "b2.mp4", "b10.mp4"):
        shutil.copy(moving_clip, tmp_path / name)
    shutil.copy(ROOT / "samples" / "clouds.jpg", tmp_path / "sky.jpg")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def jobs(folder: Path, text: str) -> list[Entry]:
    """The jobs of a batch file with that text."""
    (folder / "jobs.toml").write_text(text)
    return entries_of(read_batch(folder / "jobs.toml"))


def test_lists_mean_every_combination_and_sources_are_in_natural_order(folder: Path) -> None:
    entries = jobs(
        folder,
        """
        name = "{stem}-{preset}-{octaves}"
        [defaults]
        width = 64
        [[job]]
        source = ["b*.mp4", "a.mp4"]
        preset = ["eyes", "garden"]
        set = { "dream.octaves" = [4, 6] }
        """,
    )
    wanted = itertools.product(("b2", "b10", "a"), ("eyes", "garden"), (4, 6))
    assert [entry.name for entry in entries] == [f"{a}-{b}-{c}.mp4" for a, b, c in wanted]
    assert {entry.job.settings.width for entry in entries} == {64}
    assert [entry.job.settings.dream.octaves for entry in entries] == [4, 6] * 6
    assert entries[0].shown == {"source": "b2.mp4", "preset": "eyes", "octaves": "4"}
    assert entries[0].job.output == folder / "renders" / "b2-eyes-4.mp4"


def test_the_kind_is_what_the_source_is(folder: Path) -> None:
    entries = jobs(
        folder,
        """
        [[job]]
        source = ["a.mp4", "sky.jpg"]
        [[job]]
        kind = "zoom"
        source = "sky.jpg"
        seconds = 2
        fps = 25
        name = "z{index}"
        [[job]]
        colour = "teal"
        seconds = 1
        name = "noise.webm"
        [[job]]
        source = "a.mp4"
        still = 0.2
        name = "{stem}-frame"
        """,
    )
    kinds = [(entry.job.kind, entry.name) for entry in entries]
    assert kinds == [
        ("video", "a-default.mp4"),
        ("still", "sky-default.jpg"),
        ("zoom", "z3.mp4"),
        ("zoom", "noise.webm"),
        ("still", "a-frame.png"),
    ]
    assert entries[2].job.flight is not None and entries[2].job.flight.frames == 50


def test_values_are_those_of_flags(folder: Path) -> None:
    (entry,) = jobs(
        folder,
        """
        [[job]]
        source = "a.mp4"
        preset = [["eyes", "draft"]]
        strength = "0.4+0.1*t"
        layers = "features.3, features.5"
        no-audio = true
        side_by_side = false
        frames = "2:7"
        crf = 30
        """,
    )
    settings = entry.job.settings
    assert entry.job.span == (2, 7) and settings.output.crf == 30
    assert settings.output.audio is False and settings.output.side_by_side is False
    assert list(settings.dream.terms or {}) == ["features.3", "features.5"]
    assert list(settings.schedules) == ["dream.strength"]


def test_presets_and_files_beside_the_batch_file_are_found(folder: Path) -> None:
    (folder / "mine.toml").write_text('inherits = "eyes"\n[dream]\noctaves = 7\n')
    (entry,) = jobs(folder, '[[job]]\nsource = "a.mp4"\npreset = "mine"\n')
    assert entry.job.settings.dream.octaves == 7
    assert entry.name == "a-mine.mp4"


def test_defaults_reach_only_jobs_that_take_them(folder: Path) -> None:
    entries = jobs(
        folder,
        '[defaults]\nseconds = 3\n[[job]]\nsource = "a.mp4"\n[[job]]\nkind = "zoom"\nname = "z"\n',
    )
    assert entries[1].job.flight is not None and entries[1].job.flight.frames == 90


WRONG = {
    "[[job]\n": "not TOML",
    "": "has no jobs",
    "[defaults]\nwidth = 4\n": "has no jobs",
    'jobs = 3\n[[job]]\nsource = "a.mp4"': "line 1: unknown key 'jobs'; did you mean 'job'?",
    '[[job]]\nsource = "a.mp4"\nsede = 3': "line 3: unknown key 'sede'; did you mean 'seed'?",
    '[[job]]\nsource = "a.mp4"\noctave_scale = 2': (
        'line 3: unknown key \'octave_scale\'; a setting goes into set = { "dream.octave_scale"'
    ),
    '[[job]]\nsource = "a.mp4"\npreset = "eys"': "line 3: unknown preset 'eys'; did you mean",
    '[[job]]\nsource = "a.mp4"\nnetwork = "vgg61"': "vgg16",
    '[[job]]\nsource = "c*.mp4"': "line 2: source 'c*.mp4' matches no film or picture",
    '[[job]]\nsource = "c.mp4"': "line 2: source 'c.mp4' does not exist",
    '[[job]]\nsource = []': "line 2: source is an empty list",
    '[[job]]\nsource = 4': "line 2: source must be a path",
    '[[job]]\nsource = "a.mp4"\nset = { "dream.octavs" = 4 }': "unknown setting 'dream.octavs'",
    '[[job]]\nsource = "a.mp4"\nset = { "dream.octaves" = 400 }': "dream.octaves = 400 should",
    '[[job]]\nsource = "a.mp4"\nset = 4': "line 3: set must be a table",
    '[[job]]\nsource = "a.mp4"\nset = { "dream.octaves" = [] }': "dream.octaves is an empty",
    '[[job]]\nsource = "a.mp4"\noctaves = "many"': "line 3: dream.octaves needs a whole number",
    '[[job]]\nsource = "a.mp4"\nseconds = 3': "line 3: seconds is for a zoom, and",
    '[[job]]\nsource = "sky.jpg"\ncodec = "av1"': "line 3: codec is for a video or zoom, and",
    '[[job]]\nkind = "film"\nsource = "a.mp4"': "line 2: kind = 'film' is none",
    '[[job]]\nkind = "video"\nseconds = 1': "a video needs a source",
    'name = "{stm}"\n[[job]]\nsource = "a.mp4"': "no token {stm}; did you mean 'stem'",
    'name = "{stem"\n[[job]]\nsource = "a.mp4"': "name = '{stem'",
    'name = "../{stem}"\n[[job]]\nsource = "a.mp4"': "leads out of",
    'name = "{stem}"\n[[job]]\nsource = "a.mp4"\nseed = [1, 2]': "put {seed} into name",
    '[[job]]\nsource = "a.mp4"\nframes = "9:2"': "line 3: frames",
    '[[job]]\nsource = "a.mp4"\nstart = 1\nframes = "1:2"': "line 4: frames counts frames",
    '[[job]]\nkind = "zoom"\nseconds = "long"': "line 3: seconds = 'long' is no number",
    '[[job]]\nkind = "zoom"\nseconds = -1': "line 3: seconds -1 is no length",
    '[[job]]\nkind = "zoom"\nloop = 1': "line 3: loop = 1: give true or false",
    '[[job]]\nsource = "a.mp4"\nno-audio = "yes"': "line 3: no-audio must be true or false",
    '[[job]]\nsource = "a.mp4"\nweights = "none.pth"\nnetwork = "vgg16"': "none.pth",
    '[[job]]\nsource = "a.mp4"\nlayers = "nothing"': "nothing",
    '[[job]]\nkind = "zoom"\nloop = true\npreset = "retreat"': "but must move in",
    '[[job]]\nsource = "a.mp4"\nstrength = "2 * t"': "dream.strength at frame 6 = 12 should be",
    '[[job]]\nsource = "a.mp4"\ncodec = "vp9"\nname = "{stem}.mov"': ".mov does not hold vp9",
    '[[job]]\nsource = "a.mp4"\nseed = [1,2,3]\nset = {"dream.octaves" = "eels" }': "line 4",
    '[[job]]\nsource = "a.mp4"\ncontinue = "a.mp4"': "line 3: continue is for a zoom",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_one_line_and_nothing_is_begun(
    dreamreel: Call, folder: Path, text: str
) -> None:
    (folder / "jobs.toml").write_text(text)
    before = sorted(folder.rglob("*"))
    run = dreamreel("batch", folder / "jobs.toml")
    assert run.code == 2 and run.out == ""
    assert run.err.count("\n") == 1 and WRONG[text] in run.err, run.err
    assert sorted(folder.rglob("*")) == before


def test_an_output_that_is_there_is_not_replaced(dreamreel: Call, folder: Path) -> None:
    (folder / "renders").mkdir()
    (folder / "renders" / "a-default.mp4").write_text("mine")
    (folder / "jobs.toml").write_text('[[job]]\nsource = "a.mp4"\n')
    run = dreamreel("batch", folder / "jobs.toml")
    assert run.code == 2 and "exists; --overwrite replaces it" in run.err
    assert (folder / "renders" / "a-default.mp4").read_text() == "mine"


def test_a_folder_of_someone_elses_is_no_queue(dreamreel: Call, folder: Path) -> None:
    (folder / "renders" / ".batch").mkdir(parents=True)
    (folder / "jobs.toml").write_text('[[job]]\nsource = "a.mp4"\n')
    run = dreamreel("batch", folder / "jobs.toml")
    assert run.code == 2 and "is no folder of a batch" in run.err
    assert not list((folder / "renders" / ".batch").iterdir())


def test_a_folder_is_dreamed_with_each_preset(dreamreel: Call, folder: Path) -> None:
    run = dreamreel("batch", folder, "--preset", "eyes", "--preset", "garden", "--dry-run")
    assert run.code == 0
    names = [line.split()[0] for line in run.out.splitlines()[1:-1]]
    stems = itertools.product(("a", "b2", "b10", "sky"), ("eyes", "garden"))
    assert names == [f"{a}-{b}{'.jpg' if a == 'sky' else '.mp4'}" for a, b in stems]
    assert not folder.with_name(folder.name + "-dreams").exists()


scalars = st.one_of(
    st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=6)
)
keys = st.sampled_from(
    ["source", "kind", "preset", "set", "name", "seed", "frames", "seconds", "width", "loop",
     "to", "layers", "still", "fps", "output", "codec", "x"]
)  # fmt: skip


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(job=st.dictionaries(keys, scalars | st.lists(scalars, max_size=3), max_size=4))
def test_whatever_stands_in_a_job_is_understood_or_one_line(
    folder: Path, job: dict[str, object]
) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in job.items()]
    text = "[[job]]\n" + "\n".join(lines).replace("Infinity", "inf")
    try:
        entries = jobs(folder, text)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert all(entry.job.output.is_absolute() for entry in entries)
    assert len({entry.job.output for entry in entries}) == len(entries)
