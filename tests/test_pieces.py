"""Videos in pieces: shots share nothing, so that pieces joined are the whole, byte for byte."""

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.checks import Checked, check
from dreamreel.pipeline.jobs.job import Job, NamedFile, Shots, Threads
from dreamreel.pipeline.jobs.paths import Target, folder_of
from dreamreel.pipeline.jobs.pieces import finished_piece, pieces_of
from dreamreel.pipeline.jobs.report import QUIET, Progress, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.jobs.shots import find_shots, join_pieces
from dreamreel.pipeline.media.clips import probe
from making import write_clip

QUICK = {
    "dream": {"octaves": 2, "steps": 2, "terms": "textures"},
    "output": {"save_seconds": 0.0},
    "shots": {"min_seconds": 0.2},
}
# Where shots begin: the second has a flash just before its end.
CUTS = (14, 24)


@pytest.fixture(scope="module")
def cut_clip(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    """Three shots of 14, 10 and 8 frames, with sound; there is a flash before the last cut."""
    first = [scene[20:116, 3 * i : 3 * i + 160] for i in range(14)]
    second = [np.flip(scene[100:196, 2 * i : 2 * i + 160], 0) for i in range(10)]
    second[6] = np.full_like(second[6], 250)
    third = [255 - scene[60 + i : 156 + i, 100:260] for i in range(8)]
    folder = tmp_path_factory.mktemp("cuts")
    return write_clip(folder / "cuts.mp4", [*first, *second, *third], Fraction(25), sound=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job_of(source: Path, out: Path, *more: dict[str, object], **changes: object) -> Job:
    settings = build(("test", QUICK), *(("test", one) for one in more))
    about = {"threads": Threads(torch=1, encoder=1), **changes}
    named = NamedFile(path=source)
    return Job(kind="video", source=named, output=out, settings=settings, **about)  # type: ignore[arg-type]


def ready(job: Job) -> Checked:
    return check(job, Target(job.output), QUIET)


def in_pieces(job: Job, order: random.Random, **how: int) -> Path:
    """The video of `job`, rendered in pieces in a random order, and joined."""
    shots = find_shots(ready(job), QUIET)
    pieces = pieces_of(shots, job.output.parent, **how)
    for piece in order.sample(pieces, len(pieces)):
        run(job.model_copy(update={"piece": piece}))
    return join_pieces(ready(job), shots, pieces, QUIET)


@pytest.mark.parametrize(
    ("more", "changes"),
    [
        ({}, {}),
        ({"output": {"codec": "ffv1"}}, {"span": (3, 29)}),
        ({"dream": {"strength": "0.4 + 0.02 * t"}}, {}),
        ({"video": {"cadence": 3}}, {"span": (10, None)}),
        ({"source": {"decoder": "pyav"}, "flow": {"method": "farneback"}}, {}),
    ],
    ids=["plain", "span", "schedule", "cadence", "other flow"],
)
def test_pieces_joined_are_the_whole_byte_for_byte(
    cut_clip: Path, tmp_path: Path, more: dict[str, object], changes: dict[str, object]
) -> None:
    whole = run(job_of(cut_clip, tmp_path / "whole.mkv", more, **changes))
    job = job_of(cut_clip, tmp_path / "joined.mkv", more, **changes)
    joined = in_pieces(job, random.Random(7), least=2)
    assert joined.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_shots_are_those_that_a_render_finds(cut_clip: Path, tmp_path: Path) -> None:
    shots = find_shots(ready(job_of(cut_clip, tmp_path / "a.mp4")), QUIET)
    assert (shots.first, shots.cuts, shots.stop) == (0, CUTS, 32)


def test_a_piece_that_is_stopped_goes_on_to_the_same_bytes(cut_clip: Path, tmp_path: Path) -> None:
    whole = run(job_of(cut_clip, tmp_path / "whole.mp4"))
    job = job_of(cut_clip, tmp_path / "joined.mp4")
    shots = find_shots(ready(job), QUIET)
    pieces = pieces_of(shots, tmp_path, least=2)
    assert len(pieces) == 3
    for piece in pieces:
        stops = iter([False, False, True])
        with pytest.raises(Stopped):
            run(
                job.model_copy(update={"piece": piece}),
                Report(is_stopping=lambda stops=stops: next(stops)),  # type: ignore[misc]
            )
        assert finished_piece(piece) is None
        run(job.model_copy(update={"piece": piece}))
        assert finished_piece(piece) is not None
    assert join_pieces(ready(job), shots, pieces, QUIET).read_bytes() == whole.read_bytes()


def test_a_finished_piece_is_not_rendered_again(cut_clip: Path, tmp_path: Path) -> None:
    job = job_of(cut_clip, tmp_path / "a.mp4")
    piece = pieces_of(find_shots(ready(job), QUIET), tmp_path, least=2)[1]
    job = job.model_copy(update={"piece": piece})
    run(job)
    seen: list[Progress] = []
    run(job, Report(on_progress=seen.append))
    assert seen == []


def test_pieces_that_lack_one_are_not_joined(cut_clip: Path, tmp_path: Path) -> None:
    job = job_of(cut_clip, tmp_path / "a.mp4")
    shots = find_shots(ready(job), QUIET)
    pieces = pieces_of(shots, tmp_path, least=2)
    run(job.model_copy(update={"piece": pieces[0]}))
    with pytest.raises(UserError, match="2 of 3 pieces"):
        join_pieces(ready(job), shots, pieces, QUIET)
    assert finished_piece(pieces[0]) is not None  # nothing is lost


def test_pieces_within_a_shot_are_near_the_whole(cut_clip: Path, tmp_path: Path) -> None:
    from dreamreel.pipeline.media.reading import read_frames

    lossless = {"output": {"codec": "ffv1"}}
    whole = run(job_of(cut_clip, tmp_path / "whole.mkv", lossless))
    near = in_pieces(
        job_of(cut_clip, tmp_path / "near.mkv", lossless), random.Random(1), least=3, preroll=4
    )
    alone = in_pieces(
        job_of(cut_clip, tmp_path / "alone.mkv", lossless), random.Random(1), least=3, preroll=0
    )
    frames = [list(read_frames(probe(path))) for path in (whole, near, alone)]
    assert len(frames[0]) == len(frames[1]) == len(frames[2]) == 32

    def off(other: list[np.ndarray]) -> float:
        pairs = zip(frames[0], other, strict=True)
        return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))

    assert 0 < off(frames[1]) < off(frames[2])


@given(
    edges=st.sets(st.integers(1, 3000), min_size=1, max_size=30),
    least=st.integers(1, 300),
    preroll=st.none() | st.integers(0, 50),
)
def test_pieces_cover_each_frame_once(edges: set[int], least: int, preroll: int | None) -> None:
    *cuts, stop = sorted(edges)
    pieces = pieces_of(Shots(first=0, stop=stop, cuts=tuple(cuts)), Path("x"), least, preroll)
    assert [n for piece in pieces for n in range(piece.first, piece.stop)] == list(range(stop))
    for piece in pieces:
        assert piece.after_cut == (piece.first in cuts)
        assert preroll is not None or piece.first in {0, *cuts}
    assert all(piece.stop - piece.first >= least for piece in pieces[:-1])
    for known in range(1, len(cuts) + 1):
        so_far = Shots(first=0, stop=cuts[known - 1], cuts=tuple(cuts[: known - 1]), is_whole=False)
        some = pieces_of(so_far, Path("x"), least, preroll)
        assert some == pieces[: len(some)]
    assert len({folder_of(piece.place) for piece in pieces}) == len(pieces)
