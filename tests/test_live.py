"""Live: the newest picture is dreamed as it comes, and seen on a page or in a file."""

import http.client
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.live.dreaming import Shown, check_live, dream_live
from dreamreel.pipeline.live.showing import Page, jpeg
from dreamreel.pipeline.live.source import Newest, Seen
from dreamreel.pipeline.networks.network import Network
from making import start

FAST = build(("test", {"dream": {"octaves": 2, "steps": 2}}))


def playing(frames: list[Frame], each: float) -> Callable[[Callable[[Frame], bool]], None]:
    """What plays `frames` in a loop, each for so many seconds."""

    def play(take: Callable[[Frame], bool]) -> None:
        while all(take(frame) and time.sleep(each) is None for frame in frames):
            pass

    return play


def views(scene: np.ndarray, steps: list[int]) -> list[Frame]:
    """Views of `scene`, each further right by its step, in pixels."""
    places = np.cumsum(steps)
    return [np.ascontiguousarray(scene[40:136, at : at + 160]) for at in places]


def test_the_newest_frame_wins_and_nothing_queues_up() -> None:
    frames = [np.full((4, 4, 3), number, np.uint8) for number in range(200)]
    newest = Newest(playing(frames, 0.005))
    seen = newest.frames()
    first, delays = next(seen), []
    for _ in range(4):
        time.sleep(0.1)  # a slow dream
        one = next(seen)
        delays.append(time.monotonic() - one.at)
    newest.close()
    assert int(one.frame[0, 0, 0]) > int(first.frame[0, 0, 0]) + 20  # four of some eighty
    assert max(delays) < 0.09  # a queue would make them grow to 0.3


def test_an_error_of_the_source_is_told_where_frames_are_asked_for() -> None:
    def play(take: Callable[[Frame], bool]) -> None:
        raise UserError("the camera is gone")

    newest = Newest(play)
    with pytest.raises(UserError, match="the camera is gone"):
        next(newest.frames())
    newest.close()


def test_a_clip_is_dreamed_with_its_motion(scene: np.ndarray, dreamnet: Network) -> None:
    frames = views(scene, [0, 3, 3, 3])
    shown = list(dream_live((Seen(frame, time.monotonic()) for frame in frames), dreamnet, FAST))
    assert len(shown) == 4
    for one, frame in zip(shown, frames, strict=True):
        assert one.frame.shape == frame.shape and one.delay > 0 and one.share == 1
        assert np.abs(one.frame.astype(int) - frame).mean() > 1  # it is dreamed
    # The dream goes along: it is nearer to the moved one before than to that in its place.
    here = shown[3].frame[:, :-3].astype(int)
    before = shown[2].frame.astype(int)
    moved, in_place = np.abs(here - before[:, 3:]).mean(), np.abs(here - before[:, :-3]).mean()
    assert moved < 0.7 * in_place


def test_a_dream_comes_when_the_picture_stands_still_and_goes_when_it_moves(
    scene: np.ndarray, dreamnet: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(np.arange(0, 1000, 0.25))
    clock = lambda: float(next(now))  # noqa: E731
    monkeypatch.setattr("dreamreel.pipeline.live.dreaming.time.monotonic", clock)
    frames = views(scene, [0, 5, 5, *[0] * 20, 5, 5, 5])
    seen: Iterator[Seen] = (Seen(frame, 0.0) for frame in frames)
    shown: list[Shown] = list(dream_live(seen, dreamnet, FAST, when_still=True))
    shares = [one.share for one in shown]
    assert shares[:4] == [0] * 4 and shares[22] == 1 and shares[-1] == 0
    assert shares[3:23] == sorted(shares[3:23])  # it comes little by little
    for one, frame in zip(shown, frames, strict=True):
        assert np.array_equal(one.frame, frame) == (one.share == 0)


@pytest.mark.parametrize(
    "table", [{"dream": {"strength": "0:(0), 5:(1)"}}, {"mask": {"key": "motion:moving"}}]
)
def test_what_needs_an_end_or_a_mask_is_refused(table: dict[str, object]) -> None:
    settings: Settings = build(("test", table))
    with pytest.raises(UserError, match=r"an end|no masks"):
        check_live(settings)


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page(0)
    yield page
    page.close()


def got(page: Page, path: str, host: str | None = None) -> http.client.HTTPResponse:
    """The answer of `page` to a request of `path`."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def test_a_page_shows_the_newest_frame_to_every_viewer(page: Page, scene: np.ndarray) -> None:
    assert got(page, "/frame.jpg").status == 404  # nothing yet
    page.show(scene)
    assert got(page, "/frame.jpg").read() == jpeg(scene)
    viewers = [got(page, "/stream") for _ in range(2)]
    frame = scene[::-1].copy()
    page.show(frame)
    for viewer in viewers:
        kind = viewer.getheader("Content-Type")
        assert kind is not None and kind.startswith("multipart/x-mixed-replace")
        head = b"".join(iter(viewer.readline, b"\r\n"))
        length = int(head.rpartition(b"Content-Length: ")[2])
        assert viewer.read(length) in (jpeg(scene), jpeg(frame))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_answers_to_no_other_name(page: Page, scene: np.ndarray, host: str) -> None:
    page.show(scene)
    for path in ("/", "/frame.jpg", "/stream"):
        assert got(page, path, host).status == 403


def test_a_page_cannot_be_framed_and_fetches_nothing(page: Page) -> None:
    answer = got(page, "/")
    text = answer.read().decode()
    assert answer.getheader("X-Frame-Options") == "DENY"
    assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
    assert "http" not in text and "//" not in text


@pytest.mark.parametrize("path", ["/../etc/passwd", "//etc/passwd", "/%2e%2e/", "/stream/x"])
def test_a_page_has_no_other_place(page: Page, path: str) -> None:
    assert got(page, path).status == 404


@pytest.mark.parametrize("name", ["out.mp4", "out.mjpg"])
def test_a_file_holds_what_was_dreamed_until_ctrl_c(
    tmp_path: Path, moving_clip: Path, name: str
) -> None:
    options = ("--octaves", 2, "--steps", 2, "--device", "cpu", "--json-progress", "--width", 160)
    process = start("live", moving_clip, "-o", name, *options, folder=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("done", 0) >= 3:
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    told = json.loads(rest.strip().splitlines()[-1])
    assert told["event"] == "done" and told["frames"] >= 3 and told["rate"] > 0
    assert os.listdir(tmp_path) == [name]
    with av.open(str(tmp_path / name)) as film:
        pictures = [picture.to_ndarray(format="bgr24") for picture in film.decode(video=0)]
    assert len(pictures) >= 3 and pictures[0].shape == (96, 160, 3)


def test_a_stream_goes_to_standard_output(tmp_path: Path, moving_clip: Path) -> None:
    process = start("live", moving_clip, "-o", "-", "--seconds", 2, "--octaves", 2, "--steps", 1,
                    "--device", "cpu", folder=tmp_path)  # fmt: skip
    assert process.stdout is not None
    whole = process.stdout.buffer.read()  # type: ignore[attr-defined]
    assert process.wait(timeout=60) == 0
    with av.open(io.BytesIO(whole), format="mjpeg") as film:
        assert sum(1 for _ in film.decode(video=0)) >= 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("97",), "there is no camera 97"),
        (("missing.mp4",), "there is no file missing.mp4"),
        (("notes.txt",), "notes.txt"),
        (("clip.mp4", "-o", "dream.txt"), "must end in .mjpg"),
        (("clip.mp4", "-o", "no/dream.mp4"), "there is no folder no"),
        (("clip.mp4", "-o", "notes.mp4"), "exists; --overwrite"),
        (("clip.mp4", "--seconds", "0"), "must be more than 0"),
        (("clip.mp4", "--port", "70000"), "not between 0 and 65535"),
        (("clip.mp4", "--json-progress", "-o", "-"), "both write to standard output"),
        (("clip.mp4", "--set", "mask.key=motion:still"), "a live dream has no masks"),
    ],
)
def test_a_mistake_gets_one_line(
    dreamreel: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    moving_clip: Path, options: tuple[str, ...], line: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(moving_clip.read_bytes())
    (tmp_path / "notes.txt").write_text("no film")
    (tmp_path / "notes.mp4").write_text("no film")
    found: object = dreamreel("live", *options)
    assert found.code == 2 and line in found.err  # type: ignore[attr-defined]
    assert found.err.count("\n") == 1  # type: ignore[attr-defined]


def test_what_is_shown_as_a_picture_is_the_frame(scene: np.ndarray) -> None:
    decoded = cv2.imdecode(np.frombuffer(jpeg(scene), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and np.abs(decoded.astype(int) - scene).mean() < 4
