"""How an unfinished render differs from what is asked for, in the words of a user."""

from pathlib import Path

import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.jobs.differences import differ_in_version_only, differences
from dreamreel.pipeline.jobs.identity import identity_of
from dreamreel.pipeline.jobs.job import Flight, Job, NamedFile

DIGESTS = ("a" * 64, "b" * 64)


def job(settings: dict[str, object] | None = None, **more: object) -> Job:
    file = NamedFile(path=Path("a.mp4"), sha256=DIGESTS[0])
    known = {"kind": "video", "source": file, "output": Path("o.mp4"), **more}
    return Job(settings=build(("test", settings or {})), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (job(), job({"width": 240}), "width was the source's, and you ask for 240"),
        (job({"seed": 1}), job(), "seed was 1, and you ask for 0"),
        (job(span=(0, 4)), job(), "the span of frames was 0:4, and you ask for 0:"),
        (job(), job(audio=NamedFile(path=Path("b"), sha256=DIGESTS[1])), "it has other music"),
        (job(), job(source=NamedFile(path=Path("b"), sha256=DIGESTS[1])), "another source"),
        (
            job({"output": {"side_by_side": True}}),
            job(),
            "output.side_by_side was on, and you ask for off",
        ),
        (
            job(kind="zoom", flight=Flight(frames=30, rate=30)),
            job(kind="zoom", flight=Flight(frames=60, rate=30)),
            "the number of frames was 30, and you ask for 60",
        ),
    ],
)
def test_a_difference_is_told_in_words(one: Job, other: Job, words: str) -> None:
    found = differences(identity_of(one), identity_of(other))
    assert len(found) == 1 and words in found[0]
    assert not differ_in_version_only(identity_of(one), identity_of(other))


def test_two_versions_are_one_difference() -> None:
    now = identity_of(job())
    before = now | {"code": "x", "dreamreel": "0.0"}
    assert differences(before, now) == ["it has another version of Dreamreel"]
    assert differ_in_version_only(before, now)
