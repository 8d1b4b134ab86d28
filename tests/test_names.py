"""Every name that the file system allows works, or is refused in one line before the first frame. A
name is a pattern for pictures only where its user means one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamreel.pipeline.durable import partial_path
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import (
    folder_of,
    record_path,
    shots_path,
    state_path,
    usual_output,
)
from dreamreel.pipeline.media.exports import check_series_name
from dreamreel.pipeline.media.sequences import (
    find_series,
    is_series,
    names_series,
    printf_pattern,
    series_files,
)
from dreamreel.pipeline.networks.catalog import BUNDLED_WEIGHTS
from making import Run, run_ffmpeg, write_clip

Call = Callable[..., Run]
QUICK = ("--set", "dream.octaves=1", "--set", "dream.steps=1", "--set", "dream.terms=textures",
         "--width", "32", "--quiet")  # fmt: skip
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="these names are not allowed there")
FEW = ("take: one", "100%d done", "a\nb", "-dash", 'quote\'d "x"', "~nobody")
NAMES = (
    *FEW, *("50%off", "%s", "%05d", "\ttab", "--quiet", "  two  ", "emoji 😀", "e\u0301clair"),
    *("日" * 70, "x" * 240, "[br]*?", "a|b", "back\\slash", "#h", "$HOME;`id`", "a,b=c", "file:x"),
    "end.",
)  # fmt: skip
MARKED = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in NAMES]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> Path:
    """The working folder, with `s.mp4` (two frames), `p.png`, `song.m4a` and `w.safetensors`."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "s.mp4", [scene[i : 48 + i, :64] for i in range(2)])
    Image.fromarray(scene[:48, :64]).save(tmp_path / "p.png")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(tmp_path / "song.m4a"))
    shutil.copy(BUNDLED_WEIGHTS, tmp_path / "w.safetensors")
    return tmp_path


@POSIX
@pytest.mark.parametrize("name", MARKED)
def test_any_name_works_as_film_and_as_default_output(
    dreamreel: Call, here: Path, name: str
) -> None:
    shutil.copy("s.mp4", f"{name}.mp4")
    run = dreamreel("video", *QUICK, "--", f"{name}.mp4")
    assert run.code == 0, run.err
    made = here / f"{name}-dream.mp4"
    assert made.is_file()
    record = json.loads(record_path(made).read_text())
    assert record["job"]["source"]["path"] == str(here / f"{name}.mp4")
    again = dreamreel("reproduce", f"--output={here / 'again.mp4'}", "--quiet", "--",
                      record_path(made).name)  # fmt: skip
    assert again.code == 0, again.err
    assert (here / "again.mp4").read_bytes() == made.read_bytes()


@POSIX
@pytest.mark.parametrize("name", MARKED)
def test_any_name_works_for_every_other_file(dreamreel: Call, here: Path, name: str) -> None:
    name = name.encode()[:200].decode(errors="ignore")
    for kind in ("p.png", "song.m4a", "w.safetensors"):
        shutil.copy(kind, name + Path(kind).suffix)
    Path(f"{name}.toml").write_text("[dream]\nsteps = 1\n")
    for out in (f"o-{name}.png", f"{name}!.png"):
        run = dreamreel("image", *QUICK, f"--preset=./{name}.toml", f"--output={out}",
                        f"--weights={name}.safetensors", "--", f"{name}.png")  # fmt: skip
        assert run.code == 0, run.err
        assert (here / out).is_file()
    run = dreamreel("zoom", *QUICK, "--size", "32x32", "--seconds", 1.2, "--fps", 2.5,
                    f"--to={name}.png", f"--audio={name}.m4a", "--set", "camera.zoom=90",
                    "--set", "dream.strength=0.5+loud", f"--output=o{name}.mp4")  # fmt: skip
    assert run.code == 0, run.err
    assert (here / f"o{name}.mp4").is_file() and state_path(here / f"o{name}.mp4").is_file()


@POSIX
@pytest.mark.parametrize("name", ["a\nb", "x" * 240])
def test_any_name_works_in_a_folder_that_a_batch_dreams(
    dreamreel: Call, here: Path, name: str
) -> None:
    (here / "in").mkdir()
    shutil.copy("p.png", here / "in" / f"{name}.png")
    run = dreamreel("batch", "in", *QUICK[:-3], "--quiet")
    assert run.code == 0, run
    made = [one.name for one in (here / "in-dreams").glob("*.png")]
    assert len(made) == 1 and "\n" not in made[0]


@POSIX
def test_a_name_that_is_not_utf_8_is_refused_and_left_out_of_a_batch(
    dreamreel: Call, here: Path
) -> None:
    odd = "a\udcffb.png"
    (here / "in").mkdir()
    for place in (here / odd, here / "in" / odd, here / "in" / "fine.png"):
        shutil.copy("p.png", place)
    for command in (("image", odd), ("image", "p.png", "-o", f"o-{odd}"), ("zoom", "--to", odd)):
        run = dreamreel(*command, *QUICK)
        assert run.code == 2 and run.err.count("\n") == 1 and "is not UTF-8" in run.err
    run = dreamreel("batch", "in", "--dry-run")
    assert run.code == 0 and "fine" in run.out and "\udcff" not in run.out


LETTERS = st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",))
ANY_NAME = st.text(LETTERS, min_size=1, max_size=60).filter(lambda name: len(name.encode()) < 240)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 32x32 in a folder of its own."""
    path = tmp_path_factory.mktemp("named") / "p.png"
    Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 50).save(path)
    return path


@POSIX
@settings(max_examples=12, deadline=None)
@example("\x1b[31m\r\x7f").via("escape sequences")
@example("\u2028\x85\ufeff").via("line ends of Unicode")
@example("a%03d").via("a pattern elsewhere")
@given(name=ANY_NAME)
def test_any_name_works_for_a_still(photo: Path, name: str) -> None:
    from dreamreel.pipeline.config.grammar import build
    from dreamreel.pipeline.jobs.job import NamedFile
    from dreamreel.pipeline.jobs.record import read_record
    from dreamreel.pipeline.jobs.run import run

    with tempfile.TemporaryDirectory(dir=photo.parent) as folder:
        source, out = Path(folder, f"{name}.png"), Path(folder, f"out {name}.png")
        shutil.copy(photo, source)
        dream = {"octaves": 1, "steps": 1, "terms": "textures"}
        job = Job(kind="still", source=NamedFile(path=source), output=out,
                  settings=build(("test", {"dream": dream})))  # fmt: skip
        assert run(job) == out
        record = record_path(out)
        assert {*os.listdir(folder)} == {source.name, out.name, record.name}
        assert read_record(record).job.output == out


# Long names.


@given(
    name=st.text(LETTERS, min_size=1, max_size=255), ending=st.sampled_from([".mp4", ".webm", ""])
)
def test_names_of_ours_are_no_longer_than_a_file_system_allows(name: str, ending: str) -> None:
    place = Path("folder", f"{name.encode()[:250].decode(errors='ignore') or 'x'}{ending}")
    for beside in (folder_of(place), state_path(place), shots_path(place), partial_path(place)):
        assert len(beside.name.encode()) <= 255 and beside.parent == place.parent


def test_names_of_ours_differ_where_the_names_do() -> None:
    places = [Path("x" * 245 + str(number) + ".mp4") for number in range(20)]
    for beside in (folder_of, state_path, shots_path):
        assert len({beside(place) for place in places}) == 20


@POSIX
@pytest.mark.parametrize("length", [246, 247, 251, 252])
def test_a_name_too_long_for_its_record_is_refused_at_once(
    dreamreel: Call, here: Path, length: int
) -> None:
    before = {*os.listdir()}
    run = dreamreel("video", "s.mp4", "-o", "y" * length + ".mp4", *QUICK)
    if length == 246:  # and ".mp4.json" makes 255
        assert run.code == 0, run.err
        return
    assert run.code == 2 and run.err.count("\n") == 1 and len(run.err) < 300
    assert "too long" in run.err and {*os.listdir()} == before


@POSIX
def test_pictures_whose_names_are_too_long_are_refused_at_once(dreamreel: Call, here: Path) -> None:
    run = dreamreel("video", "s.mp4", "-o", "f/" + "y" * 248 + "%d.png", *QUICK)
    assert run.code == 2 and "too long a name for its pictures" in run.err
    assert not (here / "f").exists() and not list(here.glob("*.unfinished"))


# Patterns.


@pytest.mark.parametrize(
    ("out", "means"),
    [("f/%d.png", True), ("f/%05d.tif", True), ("f/a%d_b.exr", True), ("f/%5d.png", True),
     ("f/%s.png", True), ("f/%i.jpg", True), ("f/%99d.png", True), ("f/%d%d.png", True),
     ("f/%d.mp4", False), ("100%d done.mkv", False), ("%05d.gif", False), ("f/50%off.png", False),
     ("f/100%.png", False), ("f/100%sure.png", False), ("f/%20d/x.png", False)],
)  # fmt: skip
def test_a_pattern_has_a_number_and_the_ending_of_a_picture(out: str, means: bool) -> None:
    assert is_series(Path(out)) == means


@pytest.mark.parametrize(
    "name", ["%99d", "%d%d", "%s", "%5d", "%i", "%x", "%-5d", "%+d", "%020d", "%d_%s", "%00d"]
)
@pytest.mark.parametrize("ending", [".png", ".exr", ".JPG"])
def test_a_wrong_pattern_is_refused_with_a_right_one(
    dreamreel: Call, here: Path, name: str, ending: str
) -> None:
    run = dreamreel("video", "s.mp4", "-o", f"f/{name}{ending}", *QUICK)
    assert run.code == 2 and run.err.count("\n") == 1
    assert f"{name}{ending} must have one number" in run.err and "frames/%05d.png" in run.err


@given(before=st.text("a% .", max_size=5), digits=st.sampled_from(["", "01", "05", "019"]),
       after=st.text("a% .", max_size=5), number=st.integers(0, 10**7))  # fmt: skip
def test_a_pattern_that_is_not_refused_names_what_it_says(
    before: str, digits: str, after: str, number: int
) -> None:
    out = Path("f", f"{before}%{digits}d{after}.png")
    try:
        check_series_name(out)
    except UserError:
        assert "%%" in out.name
        return
    name = f"{before}{number:{digits}}{after}.png"
    assert printf_pattern(out) % number == name


@POSIX
@pytest.mark.parametrize("out", ["f/100% %02d.png", "f/%d of 100%.jpg", "f/%05d 50%off.exr"])
def test_pictures_may_have_a_per_cent_sign_in_their_names(
    dreamreel: Call, here: Path, out: str
) -> None:
    run = dreamreel("video", "s.mp4", "-o", out, *QUICK)
    assert run.code == 0, run.err
    wanted = [printf_pattern(Path(out)) % number for number in (0, 1)]
    assert [path.name for path in series_files(Path(out))] == wanted == sorted(os.listdir("f"))


@pytest.mark.parametrize("name", ["100%d.png", "a[1].png", "what?.png", "*.png"])
def test_an_existing_picture_is_no_pattern_anywhere(dreamreel: Call, here: Path, name: str) -> None:
    (here / "in").mkdir()
    shutil.copy("p.png", here / "in" / name)
    path = here / "in" / name
    assert find_series(path) is None and not names_series(path)
    assert usual_output(path, "dream", "auto").parent == here / "in"
    assert dreamreel("image", path, *QUICK).out == f"{here / 'in' / name[:-4]}-dream.png\n"
    assert dreamreel("image", path, "--output", "50%d.png", *QUICK).code == 0
    assert (here / "50%d.png").is_file()
    run = dreamreel("video", "s.mp4", "--still", 0, "-o", "in/%05d.png", *QUICK)
    assert run.code == 0 and (here / "in" / "%05d.png").is_file()
    (here / "jobs.toml").write_text(f'[[job]]\nsource = "in/{name}"\n')
    run = dreamreel("batch", "jobs.toml", "--dry-run")
    assert run.code == 0 and "still" in run.out, run


# Where names are printed and folders are not listed.


@POSIX
@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}]
)
def test_names_in_unicode_work_in_any_locale(here: Path, locale: dict[str, str]) -> None:
    shutil.copy("p.png", "日é😀.png")
    done = subprocess.run(
        [sys.executable, "-m", "dreamreel.cli", "image", "日é😀.png", "-o", "ö日.png", *QUICK],
        env={**os.environ, **locale}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (here / "ö日.png").is_file()
    shown = "ö日.png" if "PYTHONIOENCODING" not in locale else "\\xf6\\u65e5.png"
    assert done.stdout.decode() == f"{shown}\n"


@pytest.fixture
def unlisted() -> Iterator[Path]:
    """A folder that may be written to but not listed."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = Path(above, "unlisted")
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o300)
        yield folder
        folder.chmod(0o700)


NOBODY = 65534


@POSIX
def test_a_file_is_published_into_a_folder_that_cannot_be_listed(unlisted: Path) -> None:
    code = "import os, sys; from pathlib import Path; from dreamreel.pipeline import durable; "
    code += f"os.geteuid() or os.seteuid({NOBODY}); out = Path(sys.argv[1], 'o'); "
    code += "durable.write_whole(out, lambda file: file.write(b'whole'), False)"
    done = subprocess.run([sys.executable, "-c", code, unlisted], capture_output=True)
    assert done.returncode == 0, done.stderr
    unlisted.chmod(0o700)
    assert os.listdir(unlisted) == ["o"] and (unlisted / "o").read_bytes() == b"whole"


@POSIX
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("victim"), Path.mkdir])
def test_a_lock_is_taken_on_a_file_alone(
    dreamreel: Call, here: Path, put: Callable[[Path], None]
) -> None:
    from dreamreel.pipeline.jobs.paths import work_folder

    (here / "victim").write_text("mine")
    with work_folder(here / "o.mp4", {"job": {}}) as work:
        pass
    (work.path / "lock").unlink()
    put(work.path / "lock")
    with (
        pytest.raises(UserError, match="but a lock must go there"),
        work_folder(here / "o.mp4", {}),
    ):
        pass
    assert (here / "victim").read_text() == "mine"
