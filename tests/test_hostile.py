"""A render deletes, overwrites and contacts nothing that is not its own: whatever stands in its
way, is named like an address or refers to others. Weights that are no numbers are refused."""

import json
import os
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dreamreel.pipeline.media import sequences
from dreamreel.pipeline.networks.catalog import BUNDLED_WEIGHTS, load_network
from dreamreel.pipeline.networks.dreamnet import DreamNet
from dreamreel.pipeline.networks.weights import read_weights
from making import Run, run_ffmpeg, start, write_clip
from rendering import render_video

Call = Callable[..., Run]
QUICK = ("--set", "dream.octaves=1", "--set", "dream.steps=1", "--set", "dream.terms=textures",
         "--quiet")  # fmt: skip
NO_LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> Path:
    """The working folder, with `s.mp4` (four frames), `p.png` and `song.m4a`."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "s.mp4", [scene[i : 48 + i, :64] for i in range(4)])
    Image.fromarray(scene[:48, :64]).save(tmp_path / "p.png")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(tmp_path / "song.m4a"))
    return tmp_path


def everything(folder: Path) -> dict[str, bytes | str | None]:
    """The contents of `folder`, by path: the bytes of a file, the target of a link, else None."""

    def held(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(folder)): held(path) for path in sorted(folder.rglob("*"))}


def assert_refused(run: Run, *words: str) -> None:
    assert run.code == 2, run
    assert run.out == "" and run.err.count("\n") == 1 and run.err.startswith("dreamreel: ")
    for word in words:
        assert word in run.err


# Things that stand where the work folder would be.


def a_folder(place: Path) -> None:
    place.mkdir()
    (place / "precious.txt").write_text("mine")


def an_empty_folder(place: Path) -> None:
    place.mkdir()


def a_folder_with_names_of_ours(place: Path) -> None:
    a_folder(place)
    for name in ("lock", "state.safetensors", "000000.raw", "000000.mp4", "whole.partial.mp4"):
        (place / name).write_text("mine")
    (place / "pictures.partial").mkdir()
    (place / "pictures.partial" / "1.png").write_text("mine")


def a_folder_with_a_job_of_somebody_elses(place: Path) -> None:
    a_folder(place)
    (place / "job.json").write_text('{"job": "mine", "threads": 3}')


def a_folder_with_a_link_to_a_job_of_ours(place: Path) -> None:
    a_folder(place)
    ours = place.with_name("ours.json")
    ours.write_text('{"dreamreel_job": 1, "job": {}, "threads": {"torch": 1, "encoder": 1}}')
    (place / "job.json").symlink_to(ours)


def a_link_to_a_folder(place: Path) -> None:
    a_folder(place.with_name("elsewhere"))
    place.symlink_to("elsewhere")


def a_link_to_nothing(place: Path) -> None:
    place.symlink_to("nowhere")


def a_file(place: Path) -> None:
    place.write_text("mine")


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


IN_THE_WAY = [a_folder, an_empty_folder, a_folder_with_names_of_ours,
              a_folder_with_a_job_of_somebody_elses, a_folder_with_a_link_to_a_job_of_ours,
              a_link_to_a_folder, a_link_to_nothing, a_file, a_pipe]  # fmt: skip


@NO_LINKS
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("put", IN_THE_WAY)
def test_anything_in_place_of_the_work_folder_is_kept(
    dreamreel: Call, here: Path, put: Callable[[Path], None], restart: bool
) -> None:
    put(here / "out.mp4.unfinished")
    before = everything(here)
    options = ("--restart",) if restart else ()
    run = dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK, *options)
    assert_refused(run, "out.mp4.unfinished", "-o")
    assert everything(here) == before


@NO_LINKS
@pytest.mark.parametrize("ending", [".json", ".state"])
@pytest.mark.parametrize("put", [a_folder, a_link_to_nothing, a_pipe])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_non_file_in_place_of_the_record_or_state_is_refused_at_once(
    dreamreel: Call, here: Path, ending: str, put: Callable[[Path], None], overwrite: bool
) -> None:
    put(here / f"out.mp4{ending}")
    before = everything(here)
    options = ("--overwrite",) if overwrite else ()
    run = dreamreel("zoom", "p.png", "-o", "out.mp4", "--seconds", 0.1, *QUICK, *options)
    assert_refused(run, f"out.mp4{ending}")
    assert everything(here) == before


@NO_LINKS
@pytest.mark.parametrize(
    "name", ["out.mp4.json.partial", "out.mp4.state.partial", ".out.mp4.partial", "out.mp4.partial"]
)
def test_links_with_names_of_temporary_files_are_not_written_through(
    dreamreel: Call, here: Path, name: str
) -> None:
    (here / "victim.txt").write_text("mine")
    (here / name).symlink_to("victim.txt")
    run = dreamreel("zoom", "p.png", "-o", "out.mp4", "--seconds", 0.1, *QUICK)
    assert run.code == 0, run.err
    assert (here / "victim.txt").read_text() == "mine"
    assert os.readlink(here / name) == "victim.txt"


@NO_LINKS
@pytest.mark.parametrize("command", ["video s.mp4 -o out.mp4", "image p.png -o out.png"])
def test_a_pipe_in_place_of_the_output_is_kept(dreamreel: Call, here: Path, command: str) -> None:
    out = here / command.split()[-1]
    os.mkfifo(out)
    assert_refused(dreamreel(*command.split(), *QUICK, "--overwrite"), "is a pipe")
    assert stat.S_ISFIFO(out.lstat().st_mode)


@NO_LINKS
@pytest.mark.parametrize("command", ["video s.mp4 -o out.mp4", "image p.png -o out.png"])
def test_overwrite_replaces_a_link_and_not_its_target(
    dreamreel: Call, here: Path, command: str
) -> None:
    (here / "victim").write_text("mine")
    out = here / command.split()[-1]
    out.symlink_to("victim")
    assert_refused(dreamreel(*command.split(), *QUICK), "exists; --overwrite")
    run = dreamreel(*command.split(), *QUICK, "--overwrite")
    assert run.code == 0, run.err
    assert (here / "victim").read_text() == "mine" and not out.is_symlink()


def stopped(here: Path) -> Path:
    """The work folder of a stopped render of s.mp4 into out.mp4."""
    from dreamreel.pipeline.config.grammar import build
    from dreamreel.pipeline.errors import Stopped
    from dreamreel.pipeline.jobs.report import Report

    quick = build(("test", {"dream": {"octaves": 1, "steps": 1, "terms": "textures"}}))
    with pytest.raises(Stopped):
        render_video(
            here / "s.mp4", here / "out.mp4", quick, report=Report(is_stopping=lambda: True)
        )
    return here / "out.mp4.unfinished"


@NO_LINKS
@pytest.mark.parametrize("restart", [False, True])
def test_foreign_files_in_a_work_folder_are_kept(
    dreamreel: Call, here: Path, restart: bool
) -> None:
    work = stopped(here)
    (here / "victim").mkdir()
    (here / "victim" / "precious.txt").write_text("mine")
    (work / "notes.txt").write_text("mine")
    (work / "x.raw").write_text("mine")
    (work / "pieces-0123456789abcdef").symlink_to(here / "victim")
    (work / "a.partial").mkdir()
    (work / "a.partial" / "mine.txt").write_text("mine")
    options = ("--restart",) if restart else ()
    run = dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK, *options)
    assert run.code == 0, run.err
    assert (here / "victim" / "precious.txt").read_text() == "mine"
    left = {str(path.relative_to(work)) for path in work.rglob("*")}
    assert left == {"notes.txt", "x.raw", "pieces-0123456789abcdef", "a.partial",
                    "a.partial/mine.txt"}  # fmt: skip


@NO_LINKS
@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_work_file_that_is_a_link_is_not_written_through(
    dreamreel: Call, here: Path, make: Callable[[Path, Path], None]
) -> None:
    work = stopped(here)
    raw = work / "000000.raw"
    shutil.copy(raw, here / "victim")
    raw.unlink()
    make(here / "victim", raw)
    before = (here / "victim").read_bytes()
    run = dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK)
    assert_refused(run, "has lost frames; --restart")
    assert (here / "victim").read_bytes() == before
    assert dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK, "--restart").code == 0
    assert (here / "victim").read_bytes() == before


def test_an_output_that_appears_during_the_render_is_not_replaced(
    dreamreel: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamreel.pipeline.jobs import assembly as jobs

    mux = jobs.mux

    def and_meanwhile(*given: object) -> object:
        (here / "out.mp4").write_text("mine")
        return mux(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "mux", and_meanwhile)
    run = dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK)
    assert_refused(run, "out.mp4 exists by now", "frames so far are kept")
    assert (here / "out.mp4").read_text() == "mine"
    monkeypatch.setattr(jobs, "mux", mux)
    assert dreamreel("video", "s.mp4", "-o", "out.mp4", *QUICK, "--overwrite").code == 0
    assert not (here / "out.mp4.unfinished").exists()


def test_pictures_replace_only_files_of_their_pattern_and_only_on_request(
    dreamreel: Call, here: Path
) -> None:
    (here / "o").mkdir()
    for name in ("0.png", "7.png", "notes.txt", "1.jpg"):
        (here / "o" / name).write_text("mine")
    assert_refused(
        dreamreel("video", "s.mp4", "-o", "o/%d.png", *QUICK), "2 of its files match %d.png"
    )
    run = dreamreel("video", "s.mp4", "-o", "o/%d.png", *QUICK, "--overwrite")
    assert run.code == 0, run.err
    assert {path.name for path in (here / "o").iterdir()} == {
        "0.png", "1.png", "2.png", "3.png", "notes.txt", "1.jpg"}  # fmt: skip
    assert (here / "o" / "1.jpg").read_text() == (here / "o" / "notes.txt").read_text() == "mine"
    (here / "o" / "5.png").mkdir()
    before = everything(here)
    run = dreamreel("video", "s.mp4", "-o", "o/%d.png", *QUICK, "--overwrite")
    assert_refused(run, "5.png is a folder")
    assert everything(here) == before


@NO_LINKS
def test_pictures_may_go_into_a_folder_through_a_link(dreamreel: Call, here: Path) -> None:
    (here / "real").mkdir()
    (here / "o").symlink_to("real")
    run = dreamreel("video", "s.mp4", "-o", "o/%d.png", *QUICK)
    assert run.code == 0, run.err
    assert (here / "o").is_symlink() and len(list((here / "real").iterdir())) == 4


# The output that a record names.


@pytest.mark.parametrize(
    "output",
    ["/tmp/x.mp4", "../x.mp4", "a/x.mp4", "a/../x.mp4", "..", ".", "", "/", "a/b/%d.png",
     "../%d.png", "/%d.png", "%d.png", "x\0.mp4"],
)  # fmt: skip
def test_a_record_with_an_output_elsewhere_is_refused(
    dreamreel: Call, here: Path, output: str
) -> None:
    assert dreamreel("video", "s.mp4", "-o", "o.mp4", *QUICK).code == 0
    (here / "in").mkdir()
    record = here / "in" / "o.mp4.json"
    told = json.loads((here / "o.mp4.json").read_text())
    record.write_text(json.dumps({**told, "job": {**told["job"], "output": output}}))
    before = everything(here)
    run = dreamreel("reproduce", record)
    assert_refused(run, "output", "-o")
    assert everything(here) == before
    assert dreamreel("reproduce", record, "-o", here / "again.mp4").code == 0


# Files that a command reads are not written.


def test_no_command_overwrites_a_file_that_it_reads(
    dreamreel: Call, here: Path, scene: np.ndarray
) -> None:
    shutil.copy("song.m4a", "song.mp4")
    shutil.copy("p.png", "q.mp4.json")
    shutil.copy(BUNDLED_WEIGHTS, "w.safetensors")
    for copy in ("w.mp4", "v.mp4.state", "u.png"):
        shutil.copy(BUNDLED_WEIGHTS, copy)
    os.link("w.safetensors", "hard.mp4")
    for name in ("t.toml", "t.mp4", "r.mp4.json"):
        Path(name).write_text("[dream]\nsteps = 1\n")
    Path("child.toml").write_text('inherits = "./t.toml"\n')
    os.link("t.toml", "hard-preset.mp4")
    (here / "x.mp4.unfinished").mkdir()
    shutil.copy("p.png", "x.mp4.unfinished/p.png")
    shutil.copytree("x.mp4.unfinished", "frames")
    assert dreamreel("zoom", "-o", "z.mp4", "--size", "64x48", "--seconds", 0.1, *QUICK).code == 0
    assert dreamreel("video", "s.mp4", "-o", "v.mp4", *QUICK).code == 0
    shutil.copy("v.mp4.json", "other.mp4.json")
    before = everything(here)
    for command in (
        "video s.mp4 -o s.mp4",
        "video s.mp4 --audio song.mp4 -o song.mp4",
        "video s.mp4 --preset t.toml -o t.toml.mp4 --audio t.toml.mp4",
        "video s.mp4 --preset ./r.mp4.json -o r.mp4",
        "video s.mp4 --preset t.toml -o hard-preset.mp4",
        "video s.mp4 --preset child.toml -o hard-preset.mp4",
        "video s.mp4 --weights w.mp4 -o w.mp4",
        "video s.mp4 --weights w.safetensors -o hard.mp4",
        "video s.mp4 --set flow.weights=w.mp4 -o w.mp4",
        "video s.mp4 --preview-flow -o s.mp4",
        "video s.mp4 --still 0 -o s.png --weights s.png",
        "video frames -o frames/%d.png",
        "video frames/*.png -o frames/p.png",
        "image p.png -o p.png",
        "image p.png --weights u.png -o u.png",
        "zoom p.png -o p.png",
        "zoom p.png --to p.png -o p.png",
        "zoom p.png --to q.mp4.json -o q.mp4",
        "zoom q.mp4.json -o q.mp4",
        "zoom p.png --audio song.mp4 -o song.mp4",
        "zoom --weights v.mp4.state -o v.mp4",
        "zoom x.mp4.unfinished/p.png -o x.mp4",
        "zoom --continue z.mp4 -o z.mp4",
        "zoom --continue z.mp4 -o z.mp4.mp4 --audio z.mp4.mp4",
        "reproduce other.mp4.json -o other.mp4",
        "reproduce v.mp4.json -o s.mp4",
        "measure s.mp4 v.mp4 --plot p.png --weights p.png",
        "measure z.mp4 --sheet z.png --plot z.png",
        "schedule pulse --audio p.png --plot p.png",
    ):
        run = dreamreel(*command.split(), "--overwrite")
        assert run.code == 2 and run.err.count("\n") == 1, (command, run)
        assert everything(here) == before, command


def test_a_lost_film_can_be_reproduced_in_its_place(dreamreel: Call, here: Path) -> None:
    assert dreamreel("video", "s.mp4", "-o", "o.mp4", *QUICK).code == 0
    film = (here / "o.mp4").read_bytes()
    (here / "o.mp4").unlink()
    run = dreamreel("reproduce", "o.mp4.json")
    assert run.code == 0, run.err
    assert (here / "o.mp4").read_bytes() == film


# Names that look like addresses, protocols, patterns or options.

NAMES = ("tcp:127.0.0.1:{port}", "http:127.0.0.1:{port}", "concat:s.mp4|s.mp4", "file:s.mp4",
         "subfile,,start,0,end,0,,:s.mp4", "cache:s.mp4", "async:s.mp4", "crypto:s.mp4",
         "pipe:0", "data:text", "imageio:chelsea.png", "lavfi:testsrc", "-dash.mp4", "100%d.mp4",
         "what?#.mp4", "a|b.mp4", "quote'd.mp4", "tee:a.mp4")  # fmt: skip


@pytest.fixture
def listening() -> Iterator[tuple[int, list[object]]]:
    """A listening port of this machine, and the addresses that have connected to it."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    one, who = server.accept()
                except TimeoutError:
                    continue
                came.append(who)
                one.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], came
        ended.set()
        thread.join()


@NO_LINKS
@pytest.mark.parametrize("name", NAMES)
def test_a_source_name_is_never_taken_for_an_address_or_an_option(
    dreamreel: Call, here: Path, listening: tuple[int, list[object]], name: str
) -> None:
    port, came = listening
    name = name.format(port=port)
    assert dreamreel("video", "s.mp4", "-o", "o.mp4", *QUICK).code == 0
    for kind in ("s.mp4", "p.png", "song.m4a"):
        Path("there").mkdir(exist_ok=True)
        shutil.copy(kind, here / "there" / name)
        given = f"there/{name}"
        os.chdir("there")
        try:
            for path in (name, given, f"./{name}"):
                place = here if path == given else here / "there"
                os.chdir(place)
                if kind == "s.mp4" and name.endswith(".png"):
                    continue
                run = {
                    "s.mp4": lambda path=path: dreamreel(
                        "video", "-o", here / "x.mp4", "--overwrite", *QUICK, "--", path
                    ),
                    "p.png": lambda path=path: dreamreel(
                        "image", "-o", here / "x.png", "--overwrite", *QUICK, "--", path
                    ),
                    "song.m4a": lambda path=path: dreamreel(
                        "video", here / "s.mp4", f"--audio={path}", "-o", here / "x.mp4",
                        "--overwrite", *QUICK, "--set", "dream.strength=0.5+loud",
                    ),
                }[kind]()  # fmt: skip
                assert run.code == 0, (path, run.err)
        finally:
            os.chdir(here)
    assert (here / "x.mp4.json").exists()
    assert not came


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "|" not in name and "{" not in name and "%" not in name]
)
def test_an_output_name_is_never_taken_for_an_address_or_an_option(
    dreamreel: Call, here: Path, name: str
) -> None:
    for suffix in (".mkv", ".gif"):
        out = f"{name}{suffix}"
        run = dreamreel("video", "s.mp4", *QUICK, f"--output={out}")
        assert run.code == 0, run.err
        assert (here / out).is_file()
    folder = f"f{name}"
    run = dreamreel("video", "s.mp4", *QUICK, f"--output={folder}/{name}%d.png")
    assert run.code == 0, run.err
    assert sorted(path.name for path in (here / folder).iterdir()) == [
        f"{name}{number}.png" for number in range(4)
    ]


# Files that refer to others.

PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
    "HLS after a mark": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n",
    "M3U": "#EXTM3U\n{film}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{film}'\n",
    "ffconcat of addresses": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "SDP": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
           "m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "MPD": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
           "<BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
    "MPD without a head": '<!-- x --><MPD type="static"><BaseURL>{film}</BaseURL></MPD>',
    "PLS": "[playlist]\nFile1={film}\n",
    "ASX": '<ASX version="3.0"><entry><ref href="{film}"/></entry></ASX>',
    "RTSP text": "rtsptextRTSP://127.0.0.1:{port}/x\n",
    "an address": "http://127.0.0.1:{port}/a.mp4\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("ending", [".mp4", ".m3u8", ".txt"])
def test_a_playlist_is_refused(
    dreamreel: Call, here: Path, listening: tuple[int, list[object]], kind: str, ending: str
) -> None:
    port, came = listening
    path = here / f"list{ending}"
    path.write_text(PLAYLISTS[kind].format(film=here / "s.mp4", port=port))
    before = everything(here)
    run = dreamreel("video", path, "-o", "o.mp4", *QUICK)
    assert_refused(run, f"list{ending} is a", "other files or addresses")
    run = dreamreel(
        "video", "s.mp4", "--audio", path, "-o", "o.mp4", *QUICK, "--set", "dream.strength=loud"
    )
    assert_refused(run, "other files or addresses")
    assert_refused(dreamreel("measure", "s.mp4", path), "other files or addresses")
    assert everything(here) == before and not came


@pytest.mark.skipif(sys.platform == "win32", reason="a program of this kind runs on POSIX")
@pytest.mark.parametrize("name", ["pic.png", "pic.eps", "pic.jpg", "pic"])
def test_reading_a_picture_starts_no_program(
    here: Path, dreamreel: Call, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from PIL import EpsImagePlugin

    bin_ = here / "bin"
    bin_.mkdir()
    ghostscript = bin_ / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {here}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Path(name).write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n%%EOF\n"
    )
    (here / "folder").mkdir()
    shutil.copy(name, "folder/1.png")
    for command in ("image {} -o o.png", "zoom {} -o o.mp4", "zoom p.png --to {} -o o.mp4",
                    "video {} -o o.mp4", "video folder -o o.mp4"):  # fmt: skip
        assert_refused(dreamreel(*command.format(name).split(), *QUICK))
    assert "PostScript" in dreamreel("image", name, "-o", "o.png").err
    assert not (here / "started").exists()


@NO_LINKS
@pytest.mark.parametrize("command", [
    "video pipe -o o.mp4", "image pipe -o o.png", "zoom pipe -o o.mp4", "zoom --to pipe -o o.mp4",
    "video s.mp4 --audio pipe -o o.mp4 --set dream.strength=loud", "reproduce pipe -o o.mp4",
    "video s.mp4 -o o.mp4 --preset ./pipe", "video s.mp4 -o o.mp4 --weights pipe",
    "zoom --continue pipe -o o.mp4", "measure pipe", "image /dev/zero -o o.png",
    "reproduce /dev/zero -o o.mp4", "video s.mp4 -o o.mp4 --weights /dev/zero",
    "reproduce zero.json -o o.mp4",
])  # fmt: skip
def test_only_regular_files_are_read(here: Path, command: str) -> None:
    os.mkfifo("pipe")
    os.symlink("/dev/zero", "zero.json")
    process = start(*command.split())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == "" and err.count("\n") == 1, err


# Weights that are no finite numbers.


def weights(spoil: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    state = dict(read_weights(BUNDLED_WEIGHTS))
    return state | {"fire2a.squeeze.weight": spoil(state["fire2a.squeeze.weight"].float())}


def with_one(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[7] = value
        return tensor

    return spoil


SPOILT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda tensor: torch.full_like(tensor, torch.nan),
    "one NaN": with_one(torch.nan),
    "one infinite": with_one(torch.inf),
    "bool": lambda tensor: tensor > 0,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "meta": lambda tensor: tensor.to("meta"),
    "sparse": lambda tensor: tensor.to_sparse(),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", SPOILT)
def test_weights_that_are_not_finite_numbers_are_refused(
    dreamreel: Call, here: Path, kind: str
) -> None:
    torch.save(weights(SPOILT[kind]), "w.pth")
    run = dreamreel("image", "p.png", "-o", "o.png", "--weights", "w.pth", *QUICK)
    assert_refused(run, "w.pth: 'fire2a.squeeze.weight'")
    assert not (here / "o.png").exists()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("command", ["image p.png -o o.png", "video s.mp4 -o o.mp4",
                                     "zoom p.png -o o.mp4 --seconds 0.2"])  # fmt: skip
@pytest.mark.parametrize("times", [1e12, 1e30])
def test_a_dream_that_overflows_is_refused_and_not_written(
    dreamreel: Call, here: Path, command: str, precision: str, times: float
) -> None:
    state = {
        name: (tensor.float() * times) for name, tensor in read_weights(BUNDLED_WEIGHTS).items()
    }
    save_file(state, "w.safetensors")
    before = everything(here)
    run = dreamreel(
        *command.split(), "--weights", "w.safetensors", *QUICK, "--precision", precision
    )
    assert_refused(run, "became NaN or infinite")
    assert everything(here) == before


def test_weights_of_half_precision_load(here: Path) -> None:
    state = {name: tensor.half() for name, tensor in read_weights(BUNDLED_WEIGHTS).items()}
    torch.save({"model": state, "step": torch.tensor(3), "mask": torch.tensor([True])}, "w.pth")
    assert load_network("dreamnet", Path("w.pth"), "cpu").name == "dreamnet"
    assert isinstance(DreamNet().stem.weight, torch.Tensor)


def test_publishing_pictures_replaces_no_file_that_appeared_meanwhile(
    tmp_path: Path,
) -> None:
    made, out = tmp_path / "made", tmp_path / "o"
    for folder in (made, out):
        folder.mkdir()
        (folder / "1.png").write_text(folder.name)
    with pytest.raises(FileExistsError):
        sequences.publish_series(made, out / "%d.png", replace=False)
    assert (out / "1.png").read_text() == "o"


@NO_LINKS
def test_results_obey_the_umask(dreamreel: Call, here: Path) -> None:
    before = os.umask(0o027)
    try:
        for command in ("video s.mp4 -o o.mp4", "image p.png -o o.png"):
            assert dreamreel(*command.split(), *QUICK).code == 0
    finally:
        os.umask(before)
    for name in ("o.mp4", "o.mp4.json", "o.png"):
        assert stat.S_IMODE((here / name).stat().st_mode) == 0o640
