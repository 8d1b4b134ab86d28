"""The studio in a real browser: what is dropped, looked at, rendered and kept."""

import asyncio
import base64
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import psutil
import pytest

from dreamreel.pipeline.config.grammar import build, differing, parse_assignment
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.studio.curves import Stage, curve_of
from dreamreel.pipeline.studio.folder import Studio, free_name, is_plain, safe_name
from dreamreel.pipeline.studio.live import Live
from dreamreel.pipeline.studio.painting import (
    HEAD,
    file_for,
    first_painted,
    frames_in,
    keep_painted,
    nearest_painted,
    painted_of,
)
from dreamreel.pipeline.studio.renders import Renders
from making import start, write_clip

pytest.importorskip("nicegui", reason="NiceGUI is not installed: pip install 'dreamreel[studio]'")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PATIENCE = 90_000  # milliseconds for a dream on a busy machine
QUICK = {"dream": {"octaves": 2, "steps": 2}}


async def parts(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def taken(studio: Studio, name: str, data: bytes, largest: int = 1 << 30) -> str:
    return asyncio.run(studio.take(name, parts(data), largest))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio.at(tmp_path / "studio")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, scene: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("photos") / "a photo.jpg"
    cv2.imwrite(str(path), scene)
    return path


def test_a_source_is_taken_under_a_name_of_its_own(studio: Studio, photo: Path) -> None:
    data = photo.read_bytes()
    assert taken(studio, "photo.jpg", data) == "photo.jpg"
    assert taken(studio, "photo.jpg", data) == "photo-2.jpg"
    assert (studio.sources / "photo-2.jpg").read_bytes() == data
    assert sorted(studio.listed()) == ["photo-2.jpg", "photo.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil.jpg", "/etc/evil.jpg", "..\\..\\evil.jpg", "C:\\evil.jpg", "a/b/../evil.jpg"),
        *("evil\x00.jpg", "evil\n.jpg", "\u202eevil.jpg", "..evil..jpg", "-rf.jpg", ".hidden.jpg"),
        *("a" * 300 + ".jpg", "con|nul?.jpg", "<script>.jpg", "%2e%2e%2fevil.jpg", " .jpg"),
    ],
)
def test_a_hostile_name_stays_in_the_folder(studio: Studio, photo: Path, name: str) -> None:
    found = taken(studio, name, photo.read_bytes())
    assert is_plain(found)
    (only,) = studio.sources.iterdir()
    assert only.name == found and only.suffix == ".jpg"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("page.jpg", b"<!doctype html><script>alert(1)</script>"), ("empty.png", b"")),
        *(("list.mp4", b"#EXTM3U\nhttp://evil.example/x.ts\n"), ("run.exe", b"MZ")),
        *(("zip.png", b"PK\x03\x04" + b"0" * 99), ("pickle.jpg", b"\x80\x04K\x01.")),
        ("drawing.jpg", b"<svg xmlns='x'/>"),
        *(("noending", b"\xff\xd8\xff"), ("net.safetensors", b"\xff\xd8\xff")),
    ],
)  # fmt: skip
def test_what_is_no_film_or_picture_is_refused(studio: Studio, name: str, data: bytes) -> None:
    with pytest.raises(UserError, match="is no film or picture"):
        taken(studio, name, data)
    assert list(studio.sources.iterdir()) == []


@pytest.mark.parametrize("name", ["видео.jpg", "写真.jpg", "𠮷野.jpg", "é" * 200 + ".jpg"])
def test_a_name_in_any_script_is_listed(studio: Studio, photo: Path, name: str) -> None:
    found = taken(studio, name, photo.read_bytes())
    assert studio.listed() == [found] and studio.file("sources", found) is not None
    assert found.startswith(name[:1])


def test_two_sources_of_one_name_at_once_get_two(studio: Studio, photo: Path) -> None:
    async def both() -> list[str]:
        data = photo.read_bytes()
        drops = [studio.take("photo.jpg", parts(data)) for _ in range(2)]
        return list(await asyncio.gather(*drops))

    assert sorted(asyncio.run(both())) == ["photo-2.jpg", "photo.jpg"]


def test_a_source_that_is_too_large_is_refused(studio: Studio, photo: Path) -> None:
    with pytest.raises(UserError, match="is larger than 0 MB"):
        taken(studio, "photo.jpg", photo.read_bytes(), largest=2000)
    assert list(studio.sources.iterdir()) == []


@pytest.mark.parametrize("name", ["../page.json", "/etc/passwd", "link.jpg", "folder.jpg", "", "."])
def test_no_file_outside_is_given(studio: Studio, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (studio.sources / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (studio.sources / "folder.jpg").mkdir()
    studio.remember({"look": "eyes"})
    assert studio.file("sources", name) is None
    assert studio.file("jobs", "x.json") is None and studio.file("../..", "secret.jpg") is None
    assert studio.listed() == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "~/secret", "sources/link", "."])
def test_no_setting_names_a_file_outside(studio: Studio, tmp_path: Path, name: str) -> None:
    (studio.sources / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is not in the studio's folder"):
        studio.check_inside([studio.sources / "fine.jpg", Path(name)])
    studio.check_inside([studio.sources / "fine.jpg", Path("masks/fine.png")])


def test_no_mask_is_painted_outside(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (studio.masks / "photo.jpg").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not in the studio's folder"):
        keep_painted(studio, "photo.jpg", 0, np.zeros((9, 16), np.uint8), (90, 160))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "data:text/html,<b>", HEAD, HEAD + "!!", HEAD + "AAAA" * 20),
        HEAD + base64.b64encode(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1]).decode(),
        HEAD + base64.b64encode(
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\x86\xa0\0\1\x86\xa0\x08\6\0\0\0" + b"\0" * 40
        ).decode(),
    ],
)  # fmt: skip
def test_what_is_no_painted_mask_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="the painted mask is no PNG"):
        painted_of(text)


def test_nothing_is_dreamed_before_the_first_painted_frame(studio: Studio) -> None:
    mask = np.full((9, 16), 255, np.uint8)
    folder = keep_painted(studio, "film.mp4", 12, mask, (90, 160))
    assert frames_in(folder) == [0, 12]
    first, painted = (cv2.imread(str(file_for(folder, one)), 0) for one in (0, 12))
    assert first.shape == painted.shape == (90, 160) and first.max() == 0 and painted.min() == 255
    table = {"mask": {"file": str(folder), "carry": True}}
    for frame, wanted in ((0, 0), (11, 0), (12, 12), (40, 12)):
        found = nearest_painted(build(("test", table)), frame).mask
        assert found.file == file_for(folder, wanted) and not found.carry


def test_painted_masks_are_found_by_their_own_names(studio: Studio, tmp_path: Path) -> None:
    for name in ("0003.png", "0050.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((9, 16), np.uint8))
    settings = build(("test", {"mask": {"file": str(tmp_path), "carry": True}}))
    for frame, name, first in ((0, "0003.png", 0), (46, "0003.png", 0), (90, "0050.png", 47)):
        assert nearest_painted(settings, frame).mask.file == tmp_path / name
        assert first_painted(settings, frame) == first
    assert first_painted(build(("test", {})), 90) == 90


def test_live_dreams_that_are_started_at_once_leave_one(studio: Studio, moving_clip: Path) -> None:
    live = Live(studio)
    before = set(psutil.Process().children(recursive=True))
    threads = [threading.Thread(target=live.start, args=(str(moving_clip), [])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live.stop()
    left = set(psutil.Process().children(recursive=True)) - before
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []


def test_names_are_freed_and_made_safe(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("nowhere")  # a link that leads nowhere is there too
    assert free_name(tmp_path, "a.mp4") == "a-2.mp4"
    assert safe_name("Été à la mer (1).MP4") == "Été à la mer (1).mp4"


def job_of(source: Path, output: str) -> Job:
    settings = build(("test", QUICK))
    return Job(kind="video", source=NamedFile(path=source), output=Path(output), settings=settings)


def settled(renders: Renders, name: str, *states: str) -> str:
    """The state of a render once it is one of `states`."""
    ends = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < ends:
        renders.advance()
        found = renders.of(name)
        if found is not None and found.state in states:
            return found.state
        time.sleep(0.1)
    raise AssertionError(f"{name} is {renders.of(name)}")


def test_renders_run_one_after_the_other_and_their_names_differ(
    studio: Studio, moving_clip: Path
) -> None:
    renders = Renders(studio)
    names = [renders.add(job_of(moving_clip, "dream.mp4")) for _ in range(3)]
    assert len(set(names)) == 3
    renders.first(names[2])
    assert [one.name for one in renders.all()] == [names[2], names[0], names[1]]
    renders.advance()
    renders.advance()
    assert [one.state for one in renders.all()].count("running") == 1
    for name in names:
        settled(renders, name, "done")
    films = [(studio.renders / name).read_bytes() for name in names]
    assert films[0] == films[1] == films[2]


def test_a_render_is_stopped_and_goes_on_to_the_same_bytes(
    studio: Studio, tmp_path: Path, scene: np.ndarray
) -> None:
    frames = [scene[20:116, 3 * i : 3 * i + 160] for i in range(60)]
    clip, renders = write_clip(tmp_path / "long.mp4", frames), Renders(studio)
    whole, name = (renders.add(job_of(clip, one)) for one in ("whole.mp4", "stopped.mp4"))
    settled(renders, whole, "done")
    settled(renders, name, "running")
    while (found := renders.of(name)) is not None and found.state == "running" and not found.done:
        time.sleep(0.05)
    renders.stop(name)
    assert settled(renders, name, "stopped", "done") == "stopped"
    renders.go_on(name)
    settled(renders, name, "done")
    assert (studio.renders / name).read_bytes() == (studio.renders / whole).read_bytes()


def test_the_command_line_sees_the_renders_and_goes_on_with_them(
    studio: Studio, tmp_path: Path, scene: np.ndarray, dreamreel: Any
) -> None:
    frames = [scene[20:116, 3 * i : 3 * i + 160] for i in range(60)]
    clip, renders = write_clip(tmp_path / "long.mp4", frames), Renders(studio)
    names = [renders.add(job_of(clip, "dream.mp4")) for _ in range(3)]
    renders.stop(names[2])
    settled(renders, names[0], "running")
    while renders.of(names[0]).done == 0:  # type: ignore[union-attr]
        time.sleep(0.05)
    told = dreamreel("batch", studio.renders, "--status").out
    assert [line.split()[:2] for line in told.splitlines()[1:4]] == [
        [names[0], "running"], [names[1], "waiting"], [names[2], "waiting"],
    ]  # fmt: skip
    assert "under way" in told and "not under way" not in told
    assert dreamreel("batch", studio.renders, "--pause").code == 0
    ends = time.monotonic() + PATIENCE / 1000
    while (state := renders.of(names[0]).state) == "running" and time.monotonic() < ends:  # type: ignore[union-attr]
        time.sleep(0.05)
    assert state == "stopped"
    renders.advance()
    assert renders.of(names[0]).state == "stopped"  # type: ignore[union-attr]
    assert dreamreel("batch", studio.renders).code == 0
    assert [renders.of(name).state for name in names] == ["done", "done", "stopped"]  # type: ignore[union-attr]
    assert renders.of(names[0]).done == 60  # type: ignore[union-attr]


def test_a_render_that_fails_says_why(studio: Studio, tmp_path: Path, moving_clip: Path) -> None:
    broken, renders = tmp_path / "broken.mp4", Renders(studio)
    broken.write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 200)
    with pytest.raises(UserError, match="broken.mp4"):
        renders.add(job_of(broken, "dream.mp4"))
    assert renders.all() == []
    shutil.copy(moving_clip, tmp_path / "gone.mp4")
    name = renders.add(job_of(tmp_path / "gone.mp4", "dream.mp4"))
    (tmp_path / "gone.mp4").unlink()
    assert settled(renders, name, "failed")
    found = renders.of(name)
    assert found is not None and "gone.mp4" in found.error
    renders.advance()  # and it is not tried again by itself
    assert renders.of(name) == found
    renders.forget(name)
    assert renders.all() == []


class Server:
    """A studio that is served by a process of its own."""

    def __init__(self, folder: Path, *options: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self._options = folder, options
        self.start()

    def start(self) -> None:
        # NiceGUI takes a process that knows of pytest for its own tests.
        with patch.dict(os.environ):
            os.environ.pop("PYTEST_CURRENT_TEST", None)
            self.process = start("studio", self.folder, "--port", self.port, *self._options)
        ends = time.monotonic() + PATIENCE / 1000
        while self.status("/") not in (200, 401):
            assert self.process.poll() is None and time.monotonic() < ends, self.process.stderr
            time.sleep(0.2)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={**headers})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served") / "studio")
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A page that may fetch from the server alone."""
    (server.folder / ".studio" / "page.json").unlink(missing_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.asked = []
    page.faults = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(server.address)
    yield page
    assert page.faults == []
    own = re.compile(rf"(http|ws)://127\.0\.0\.1:{server.port}/|data:|blob:")
    assert [url for url in page.asked if not own.match(url)] == []
    context.close()


def drop(page: Any, path: Path) -> None:
    page.set_input_files("input[type=file]", str(path))
    page.get_by_text(" is here").first.wait_for()
    page.get_by_role("status").get_by_text("settled", exact=True).wait_for()


@needs_browser
def test_a_picture_is_dropped_settles_and_is_rendered_as_on_the_command_line(
    page: Any, server: Server, photo: Path, tmp_path: Path
) -> None:
    drop(page, photo)
    assert page.locator("#compare img").count() == 2
    page.locator("button", has_text="eyes").click()
    page.get_by_text("--preset eyes").wait_for()
    page.get_by_role("status").get_by_text("settled", exact=True).wait_for()
    command = page.locator("code").inner_text().strip()
    words = shlex.split(command)
    assert words[:2] == ["dreamreel", "image"] and "eyes" in words
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_role("tab", name="Renders").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download").first.click()
    made = Path(downloading.value.path()).read_bytes()
    out = tmp_path / "again.png"
    subprocess.run([sys.executable, "-m", "dreamreel.cli", *words[1:], "-o", str(out)], check=True)
    assert out.read_bytes() == made


@needs_browser
def test_what_was_chosen_is_there_after_a_reload_and_in_a_second_page(
    page: Any, server: Server, photo: Path
) -> None:
    drop(page, photo)
    page.locator("button", has_text="garden").click()
    page.get_by_text("--preset garden").wait_for()
    page.reload()
    page.get_by_text("--preset garden").wait_for()
    other = page.context.new_page()
    other.goto(server.address)
    other.get_by_text("--preset garden").wait_for()


@needs_browser
def test_a_damaged_source_is_refused_on_the_page(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 500)
    page.set_input_files("input[type=file]", str(path))
    page.locator(".q-notification", has_text="damaged.mp4").wait_for()


@needs_browser
def test_a_clip_is_dreamed_live_on_the_page(page: Any, moving_clip: Path) -> None:
    drop(page, moving_clip)
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("frames a second").wait_for()
    shown = "document.getElementById('live')?.naturalWidth > 0"
    page.wait_for_function(shown)
    page.get_by_role("button", name="End").click()
    page.get_by_text("frames a second").wait_for(state="hidden")
    assert page.locator("#live").count() == 0
    page.get_by_label("What is dreamed as it plays").click()
    page.get_by_text("camera 2").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("there is no camera 2").wait_for()


@needs_browser
def test_it_fits_a_phone_and_is_used_by_the_keyboard(
    browser: Any, server: Server, photo: Path
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.address)
    drop(page, photo)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("button", has_text="fever").focus()
    page.keyboard.press("Enter")
    page.get_by_text("--preset fever").wait_for()
    page.get_by_label("Source on the left, dream on the right").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#compare").get_attribute("style") == "--at: 51%;"
    context.close()


def test_other_names_and_other_pages_are_refused(server: Server) -> None:
    assert server.status("/") == 200
    assert server.status("/", Host="evil.example") == 403
    assert server.status("/", Host=f"evil.example:{server.port}") == 403
    other = {"Origin": "http://evil.example", "Connection": "Upgrade", "Upgrade": "websocket",
             "Sec-WebSocket-Key": "A" * 22 + "==", "Sec-WebSocket-Version": "13"}  # fmt: skip
    assert server.status("/_nicegui_ws/socket.io/?transport=websocket&EIO=4", **other) == 403
    assert server.status("/_nicegui_ws/socket.io/", "POST", Origin="http://evil.example") == 403


@pytest.mark.parametrize(
    "path",
    [
        *("/file/sources/..%2f..%2fetc%2fpasswd", "/file/sources/%2e%2e/page.json"),
        *("/file/jobs/x.json", "/file/.studio/page.json", "/file/sources//etc/passwd"),
        *("/file/renders/..", "/file/sources/x%00.jpg", "/file/../../../etc/passwd"),
    ],
)
def test_no_path_leads_out_of_the_folder(server: Server, path: str) -> None:
    assert server.status(path) == 404


def test_pages_cannot_be_framed(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/")
    headers = connection.getresponse().headers
    connection.close()
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_password_is_asked_for_and_kept_hashed_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    server = Server(tmp_path / "studio", "--password-file", secret)
    try:
        assert server.status("/") == 401
        assert server.status("/file/sources/x.jpg") == 401
        for password, status in (("wrong", 401), ("open sesame", 303)):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            body = f"password={password.replace(' ', '+')}"
            connection.request("POST", "/enter", body, kind)
            answer = connection.getresponse()
            assert answer.status == status
        cookie = answer.getheader("Set-Cookie") or ""
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert server.status("/", Cookie=cookie.partition(";")[0]) == 200
    finally:
        server.close()
    for path in (tmp_path / "studio").rglob("*"):
        assert not path.is_file() or b"open sesame" not in path.read_bytes()


def test_a_server_that_is_killed_loses_no_render(tmp_path: Path, scene: np.ndarray) -> None:
    frames = [scene[20:116, 3 * i : 3 * i + 160] for i in range(60)]
    clip = write_clip(tmp_path / "long.mp4", frames)
    server = Server(tmp_path / "studio")
    renders = Renders(Studio.at(tmp_path / "studio"))
    try:
        names = [renders.add(job_of(clip, "dream.mp4")) for _ in range(2)]
        ends = time.monotonic() + PATIENCE / 1000
        while renders.of(names[0]).state != "running" and time.monotonic() < ends:  # type: ignore[union-attr]
            time.sleep(0.05)
        server.kill()
        assert renders.of(names[0]).state in ("running", "done")  # type: ignore[union-attr]
        server.start()
        while renders.of(names[1]).state != "done" and time.monotonic() < ends:  # type: ignore[union-attr]
            time.sleep(0.2)
        films = [(tmp_path / "studio" / "renders" / name).read_bytes() for name in names]
        assert films[0] == films[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--port", "0"), "--port 0 is not between 1 and 65535"),
        (("--host", "0.0.0.0"), "give --password-file"),
        (("--host", "300.1.1.1"), "cannot be used"),
    ],
)
def test_a_mistake_gets_one_line(
    dreamreel: Any, tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    found = dreamreel("studio", tmp_path / "studio", *options)
    assert found.code == 2 and line in found.err and found.err.count("\n") == 1


def test_the_state_of_the_page_survives_what_is_no_state(studio: Studio) -> None:
    assert studio.remembered() == {}
    (studio.root / ".studio" / "page.json").write_text(json.dumps([1, 2]))
    assert studio.remembered() == {}


def test_stills_that_are_many_are_forgotten_the_oldest_first(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        for ending in (".png", ".png.json"):
            path = studio.stills / f"{number:024x}{ending}"
            path.write_text("{}")
            os.utime(path, (number, number))
    monkeypatch.setattr("dreamreel.pipeline.studio.folder.MOST_STILLS", 2)
    (studio.stills / "mine.png").write_text("no still of ours")
    Studio.at(studio.root)
    kept = sorted(path.name for path in studio.stills.iterdir())
    assert kept[:-1] == [f"{n:024x}{ending}" for n in (4, 5) for ending in (".png", ".png.json")]
    assert kept[-1] == "mine.png"


def settled_page(page: Any) -> None:
    page.get_by_role("status").get_by_text("settled", exact=True).wait_for()


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.get_by_role("tabpanel").filter(visible=True).first.wait_for()


def told(page: Any, text: str) -> None:
    """Wait until the command line that the page tells holds `text`."""
    page.locator("code", has_text=text).first.wait_for()


def chosen(server: Server, **wanted: str | None) -> None:
    """Wait until the page has chosen the settings `wanted`, with __ for a point; None: unset."""
    state, sets = server.folder / ".studio" / "page.json", None
    ends = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < ends:
        if state.exists():
            sets = json.loads(state.read_text())["sets"]
            if all(sets.get(key.replace("__", ".")) == one for key, one in wanted.items()):
                return
        time.sleep(0.1)
    raise AssertionError(f"{sets} is chosen")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clicks a second, for eight seconds."""
    rate = 8000
    sound = np.zeros(8 * rate)
    for beat in range(16):
        sound[beat * rate // 2 :][:400] = np.exp(-np.arange(400) / 60) * 0.9
    path = tmp_path_factory.mktemp("music") / "clicks.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32000).astype("<i2").tobytes())
    return path


@needs_browser
def test_a_layer_a_channel_and_a_class_are_chosen_by_picture(
    page: Any, server: Server, photo: Path
) -> None:
    drop(page, photo)
    open_tab(page, "Explore")
    shown = "[...document.querySelectorAll('.wall img')].some(i => i.naturalWidth > 1)"
    page.wait_for_function(shown)
    page.locator("button:visible", has_text="creatures").click()
    chosen(server, dream__terms="creatures")
    page.get_by_role("button", name="Channels").click()
    page.get_by_role("button", name="More").click()
    page.get_by_text("20 to 39 of").wait_for()
    page.wait_for_function(shown)
    page.locator("button:visible", has_text="parts:25").click()
    chosen(server, dream__terms="parts:25")
    page.get_by_role("button", name="Classes").click()
    page.get_by_label("Search classes").fill("starfish")
    page.get_by_role("switch", name="Add to what is climbed").click()
    page.locator("button:visible", has_text="starfish").click()
    chosen(server, dream__terms="parts:25 + class:327")
    open_tab(page, "Look")
    settled_page(page)


@needs_browser
def test_a_sweep_is_laid_out_and_clicked_in(page: Any, server: Server, photo: Path) -> None:
    drop(page, photo)
    open_tab(page, "Explore")
    page.get_by_role("button", name="Sweep").click()
    page.get_by_label("Values, with commas").first.fill("1, 3")
    page.get_by_label("Values, with commas").last.fill("0.7")
    page.get_by_role("button", name="Lay out").click()
    told(page, "--over dream.octaves=1,3 --over dream.strength=0.7")
    page.locator("button:visible", has_text="octaves = 3, strength = 0.7").click()
    chosen(server, dream__octaves="3", dream__strength="0.7")
    page.get_by_label("Values, with commas").last.fill("a, b")
    page.get_by_role("button", name="Lay out").click()
    page.locator(".q-notification", has_text="dream.strength").wait_for()


@needs_browser
def test_keys_of_a_zoom_are_added_dragged_eased_and_removed(
    page: Any, server: Server, photo: Path, music: Path, tmp_path: Path
) -> None:
    page.set_input_files("input[type=file]", str(music))
    page.get_by_text("clicks.wav is here").wait_for()
    drop(page, photo)
    open_tab(page, "Zoom")
    page.get_by_label("Seconds", exact=True).fill("2")
    page.get_by_label("Seconds", exact=True).press("Tab")
    told(page, "--seconds 2")
    page.get_by_label("Music").click()
    page.get_by_role("option", name="clicks.wav").click()
    page.locator("#curve .beat").nth(3).wait_for(state="attached")
    schedule = page.get_by_label("Its schedule, as on the command line")
    page.get_by_role("button", name="Add a key").click()
    page.wait_for_function("document.querySelectorAll('#curve circle').length == 2")
    assert schedule.input_value() == "0:(1.35), 2b:(1.35)"  # the middle, which is a beat
    page.wait_for_timeout(500)  # it may be drawn once more
    box = page.locator("#curve circle").nth(1).bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] - 40, steps=4)
    page.mouse.up()
    told(page, "camera.zoom=0:(1.35), 1.1")
    before = schedule.input_value()
    page.get_by_label("Ease to the next").click()
    page.get_by_role("option", name="hold", exact=True).click()
    told(page, '"ease" = "hold"')
    page.locator("#curve circle").nth(0).focus()
    page.keyboard.press("ArrowUp")
    eased = schedule.input_value()
    page.wait_for_function(f"document.querySelector('code').innerText != {json.dumps(eased)}")
    page.wait_for_timeout(500)
    told(page, '"0" = 1.3')
    raised = re.search(r'"0" = ([\d.]+)', schedule.input_value())
    assert raised is not None and float(raised[1]) > 1.35
    page.get_by_role("button", name="See the camera's path").click()
    page.wait_for_selector("video", state="attached")
    page.get_by_role("button", name="Remove the key").click()
    page.wait_for_function("document.querySelectorAll('#curve circle').length == 1")
    # What stands in the box is what the command line takes.
    schedule.fill(before)
    schedule.press("Tab")
    page.wait_for_function("document.querySelectorAll('#curve circle').length == 2")
    words = shlex.split(page.locator("code:visible").inner_text().strip())
    assert f"camera.zoom={before}" in words and "--audio" in words
    quick = ("--set", "width=96", "--set", "dream.octaves=1", "--seconds", "0.2")
    out = tmp_path / "zoom.mp4"
    run = (sys.executable, "-m", "dreamreel.cli", *words[1:], *quick, "-o", str(out))
    subprocess.run(run, check=True, capture_output=True)
    assert out.exists()


@needs_browser
def test_a_mask_is_painted_carried_and_dreamed_in(
    page: Any, server: Server, moving_clip: Path, tmp_path: Path
) -> None:
    drop(page, moving_clip)
    open_tab(page, "Masks")
    page.wait_for_function("!!document.getElementById('paint')?.onpointerdown")
    box = page.locator("#paint").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Keep the mask").click()
    page.get_by_text("Masks are kept for 0.00 s.").wait_for()
    (mask,) = (server.folder / "masks").glob("*/000001.png")
    painted = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    height, width = painted.shape
    assert painted[height // 2, width * 3 // 10] > 250 and painted[:, width // 2 :].max() < 5
    chosen(server, mask__carry="true")
    page.get_by_role("button", name="See it carried along").click()
    page.wait_for_selector("video", state="attached")
    page.get_by_label("What is dreamed").click()
    page.get_by_role("option", name="inside and outside").click()
    page.get_by_label("Climbed outside").fill("textures")
    page.get_by_label("Climbed outside").press("Tab")
    ends, regions = time.monotonic() + PATIENCE / 1000, ()
    while len(regions) < 2 or not regions[1].terms:
        assert time.monotonic() < ends, regions
        state = json.loads((server.folder / ".studio" / "page.json").read_text())
        text = state["sets"].get("region", "[]")
        regions = build(("test", parse_assignment(f"region={text}"))).region
    assert regions[1].terms == {"textures": 1.0} and regions[0].terms == {}
    assert [one.mask.invert for one in regions] == [False, True]
    assert all(one.mask.carry and one.mask.file == mask.parent for one in regions)
    page.get_by_label("What is dreamed").click()
    page.get_by_role("option", name="outside alone").click()
    chosen(server, mask__invert="true", region=None)
    open_tab(page, "Look")
    words = shlex.split(page.locator("code").first.inner_text().strip())
    open_tab(page, "Masks")
    out = tmp_path / "masked.mp4"
    quick = ("--set", "dream.octaves=1", "--frames", "0:2")
    run = (sys.executable, "-m", "dreamreel.cli", *words[1:], *quick, "-o", str(out))
    subprocess.run(run, check=True, capture_output=True)
    assert out.exists()
    page.get_by_role("button", name="Forget all masks").click()
    page.get_by_text("No mask: all is dreamed.").wait_for()
    assert not mask.exists()
    chosen(server, mask__file=None, mask__invert=None)


@needs_browser
def test_a_film_moves_is_stopped_goes_on_after_a_reload_and_is_used_again(
    page: Any, server: Server, tmp_path: Path, scene: np.ndarray
) -> None:
    frames = [scene[20:116, 3 * i : 3 * i + 160] for i in range(60)]
    drop(page, write_clip(tmp_path / "a long one.mp4", frames))
    page.get_by_role("button", name="See two seconds move").click()
    page.wait_for_selector("video", state="attached")
    page.locator("button", has_text="meadow").click()
    told(page, "--preset meadow")
    page.get_by_role("button", name="Render", exact=True).click()
    open_tab(page, "Renders")
    page.locator("img[alt='The latest frame of a long one-meadow.mp4']").wait_for()
    page.get_by_role("button", name="Stop: a long one-meadow.mp4").click()
    page.reload()
    open_tab(page, "Renders")
    other = page.context.new_page()
    other.goto(server.address)
    open_tab(other, "Renders")
    for one in (page, other):
        one.get_by_role("button", name="Continue: a long one-meadow.mp4").wait_for()
    other.get_by_role("button", name="Continue: a long one-meadow.mp4").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download: a long one-meadow.mp4").click()
    made = Path(downloading.value.path()).read_bytes()
    whole = tmp_path / "whole.mp4"
    source = server.folder / "sources" / "a long one.mp4"
    run = (
        sys.executable,
        "-m",
        "dreamreel.cli",
        "video",
        source,
        "--preset",
        "meadow",
        "-o",
        whole,
    )
    subprocess.run(run, check=True, capture_output=True)
    assert whole.read_bytes() == made
    page.get_by_role("tab", name="Look").click()
    page.locator("button", has_text="default").click()
    page.get_by_role("tab", name="Renders").click()
    page.get_by_role("button", name="Use these again").first.click()
    page.get_by_text("are chosen").wait_for()
    open_tab(page, "Look")
    words = shlex.split(page.locator("code").first.inner_text().strip())
    again = tmp_path / "again.mp4"
    run = (sys.executable, "-m", "dreamreel.cli", *words[1:], "-o", again)
    subprocess.run(run, check=True, capture_output=True)
    assert again.read_bytes() == made


HOSTILE = {
    "page.jpg": b"<!doctype html><script>alert(1)</script>",
    "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "empty.png": b"",
    "list.mp4": b"#EXTM3U\nhttp://evil.example/x.ts\n",
    "concat.mkv": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "stream.mov": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n",
    "program.exe": b"MZ" + b"\0" * 90,
    "script.sh": b"#!/bin/sh\nrm -rf ~\n",
    "zip.png": b"PK\x03\x04" + b"0" * 99,
    "pickle.jpg": b"\x80\x04K\x01.",
    "weights.pt": b"PK\x03\x04" + b"0" * 99,
    "net.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
    "bomb.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\x86\xa0\0\1\x86\xa0\x08\2\0\0\0" + b"\0" * 40,
    "cut.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 30,
    "cut.mp4": b"\0\0\0\x18ftypisom" + b"\0" * 500,
    "cut.wav": b"RIFF\xff\xff\xff\x7fWAVEfmt " + b"\0" * 30,
    "noending": b"\xff\xd8\xff",
    "..%2f..%2fpage.json": b"{}",
    "text.gif": b"GIF89a" + b"\xff" * 8,
    "a" * 200 + ".html": b"<html></html>",
}


@needs_browser
def test_no_file_outside_is_read_by_a_setting_or_a_preset(
    page: Any, server: Server, photo: Path, tmp_path: Path
) -> None:
    drop(page, photo)
    secret = tmp_path / "secret.jpg"
    shutil.copy(photo, secret)
    climbed = page.get_by_label("What is climbed")
    climbed.fill(f"guide:{secret}")
    climbed.press("Tab")
    page.locator(".q-notification", has_text="is not in the studio's folder").wait_for()
    assert climbed.input_value() == ""
    climbed.fill("guide:sources/a photo.jpg")
    climbed.press("Tab")
    guide = server.folder.resolve() / "sources" / "a photo.jpg"
    chosen(server, dream__terms=f"guide:{guide}")  # which works from any folder
    settled_page(page)
    page.get_by_role("button", name="Render", exact=True).click()
    open_tab(page, "Renders")
    page.get_by_role("link", name="Download").first.wait_for()
    # Whoever wrote the page's state, it names no such file either.
    page.goto("about:blank")
    state = server.folder / ".studio" / "page.json"
    about = json.loads(state.read_text()) | {"sets": {"mask.file": json.dumps(str(secret))}}
    state.write_text(json.dumps(about))
    page.goto(server.address)
    settled_page(page)
    assert "secret" not in page.locator("code").first.inner_text()


@needs_browser
def test_an_odd_preset_of_the_users_own_breaks_no_page(
    browser: Any, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "presets"
    own.mkdir()
    monkeypatch.setenv("DREAMREEL_PRESETS", str(own))
    (own / "wrong.toml").write_text("[dream]\nno_such = 1\n")
    (own / "twolines.toml").write_text('description = """two\nlines \'\\\\ "q" """\n')
    server = Server(tmp_path / "studio")
    try:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(server.address)
        drop(page, photo)
        page.locator("button", has_text="wrong").click()
        page.locator(".q-notification", has_text="no_such").wait_for()
        page.locator("button", has_text="twolines").click()
        told(page, "--preset twolines")
        assert "'" in page.locator("button", has_text="twolines").get_attribute("title")
    finally:
        server.close()


@needs_browser
def test_it_ends_while_a_live_dream_is_watched(
    browser: Any, tmp_path: Path, moving_clip: Path
) -> None:
    server = Server(tmp_path / "studio")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.address)
    drop(page, moving_clip)
    open_tab(page, "Live")
    page.get_by_role("button", name="Start").click()
    page.wait_for_function("document.getElementById('live')?.naturalWidth > 0")
    server.process.terminate()
    server.process.communicate(timeout=30)
    page.close()


@needs_browser
def test_twenty_hostile_files_are_refused_on_the_page(page: Any, server: Server) -> None:
    assert len(HOSTILE) == 20
    before = sorted((server.folder / "sources").iterdir())
    for name, data in HOSTILE.items():
        payload = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
        page.set_input_files("input[type=file]", payload)
        page.locator(".q-notification.bg-negative").first.wait_for()
        assert page.locator(".q-notification", has_text="is here").count() == 0, name
        page.locator(".q-notification button").first.click()
        page.locator(".q-notification.bg-negative").first.wait_for(state="detached")
    after = sorted((server.folder / "sources").iterdir())
    assert after == before


CONTRAST = """() => {
  const channel = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const parts = text => { const n = text.match(/[\\d.]+/g).map(Number);
                          return n.length < 4 ? [...n, 1] : n };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = one => {
    if (!one) return [255, 255, 255];
    const own = parts(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(one.parentElement));
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement, words = texts.currentNode.data.trim();
    if (!words || !one.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (one.closest('i, script, style, [aria-hidden=true], .disabled, pre')) continue;
    const style = getComputedStyle(one), ground = behind(one);
    let share = 1;
    for (let at = one; at; at = at.parentElement) share *= +getComputedStyle(at).opacity;
    const ink = parts(style.color); ink[3] *= share;
    const [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + .05) / (b + .05) < (large ? 3 : 4.5))
      found.push(`${words.slice(0, 40)}: ${((a + .05) / (b + .05)).toFixed(2)}`);
  }
  return found;
}"""
NAMELESS = re.compile(
    r"- (button|textbox|combobox|slider|switch|tab|link|spinbutton|img)( \[[^\]]*\])*:?( [^\"]*)?$"
)


@needs_browser
@pytest.mark.parametrize("is_dark", [False, True])
def test_texts_stand_out_and_all_that_can_be_used_has_a_name(
    page: Any, photo: Path, is_dark: bool
) -> None:
    drop(page, photo)
    if is_dark:
        page.get_by_role("switch", name="Dark").click()
        page.wait_for_function("document.body.classList.contains('body--dark')")
    page.get_by_text("is here").first.wait_for(state="hidden")
    for name in ("Look", "Explore", "Zoom", "Masks", "Live", "Renders"):
        open_tab(page, name)
        page.wait_for_timeout(800)  # for colours that fade in
        assert page.evaluate(CONTRAST) == [], name
        lines = page.locator("body").aria_snapshot().splitlines()
        assert [line for line in lines if NAMELESS.search(line)] == [], name


@needs_browser
def test_all_is_reached_by_the_keyboard(page: Any, photo: Path) -> None:
    drop(page, photo)
    page.get_by_role("tab", name="Look").focus()
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        name = """(document.activeElement.closest('[aria-label]')?.getAttribute('aria-label')
                   || document.activeElement.innerText || '').trim().split('\\n')[0]"""
        seen.add(page.evaluate(name).upper())
    for wanted in ("RENDER", "STRENGTH", "EYES", "SAVE AS PRESET", "FULL SCREEN", "ALL SETTINGS"):
        assert any(wanted in name for name in seen), (wanted, seen)
    page.get_by_role("tab", name="Look").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("What each layer of the network sees").wait_for()


def test_a_live_dream_ends_with_a_server_that_is_killed(tmp_path: Path, moving_clip: Path) -> None:
    command = [sys.executable, "-m", "dreamreel.pipeline.studio.living", moving_clip, "--port", "0"]
    process = subprocess.Popen(
        [str(word) for word in (*command, "--json-progress")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    for line in process.stdout:
        if '"progress"' in line:
            break
    process.stdin.close()
    assert process.wait(PATIENCE / 1000) in (0, 130)
    process.stdout.close()


STAGE = Stage(240, Fraction(30))


@pytest.mark.parametrize(
    "text",
    [
        *("1.35", "0:(1.2), 2s:(2), 50%:(1+0.1*sin(t))", "1 + 0.2*sin(2*pi*s)"),
        '{ "0s" = 1.2, "4s" = { value = 2, ease = "hold" }, ease = "in-out-cubic" }',
        *("per_frame(0:(1.02), 60:(1.05))", '{ "0b" = 1.1, "4b" = 1.4, bpm = 120 }'),
    ],
)
def test_the_text_of_a_curve_means_the_same(text: str) -> None:
    curve = curve_of("camera.zoom", text, STAGE)
    again = curve_of("camera.zoom", curve.text, STAGE)
    assert again.points == curve.points and again.text == curve.text
    built = build(("test", parse_assignment(f"camera.zoom={curve.text}")))
    assert build(("test", parse_assignment(f"camera.zoom={text}"))).camera == built.camera


def test_a_key_of_a_curve_is_moved_added_eased_and_removed() -> None:
    curve = curve_of("camera.zoom", "0:(1.2), 2s:(2)", STAGE)
    moved = curve.moved(1, STAGE, 4.0, 1.5)
    assert moved.text == "0:(1.2), 4s:(1.5)"
    assert moved.added(STAGE, 6.004, 1.1).text == "0:(1.2), 4s:(1.5), 6s:(1.1)"
    assert moved.removed(0, STAGE).text == "4s:(1.5)"
    small = curve_of("dream.step_size", "0:(0.0125), 2s:(3)", STAGE)
    assert small.moved(0, STAGE, 1.0, 0.0125).text == "1s:(0.0125), 2s:(3)"
    assert moved.removed(0, STAGE).removed(0, STAGE).text == "4s:(1.5)"  # the last one stays
    held = moved.eased(0, STAGE, "hold")
    at = dict(held.points)
    assert at[3.9] == 1.2 and at[4.0] == 1.5
    assert held.eased(0, STAGE, "").text == moved.text
    beyond = curve.moved(1, STAGE, 99.0, 1e9)  # within the film, and the setting's bounds
    assert beyond.keys[-1].value == "100" and beyond.keys[-1].place == "8s"


def test_an_expression_keeps_its_text_wherever_its_key_is_moved() -> None:
    curve = curve_of("camera.zoom", "0:(1.2), 2s:(1+0.1*sin(t))", STAGE)
    assert curve.moved(1, STAGE, 3.0, 7.0).text == "0:(1.2), 3s:(1+0.1*sin(t))"


@pytest.mark.parametrize(
    ("text", "line"),
    [("0:(1.2), 2s(2)", "camera.zoom"), ("0b:(1), 4b:(2)", "beats"), ("1 + bass", "needs music")],
)
def test_what_is_no_schedule_is_no_curve(text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        curve_of("camera.zoom", text, STAGE)


def test_settings_that_differ_are_told_as_texts_that_set_them() -> None:
    table = {
        "region": [{"terms": "parts", "mask": {"file": "/a b.png"}}],
        "dream": {"terms": "parts + 0.5*textures", "strength": "0:(1), 2s:(2)"},
        "width": 300,
    }
    settings = build(("test", table))
    told = differing(settings)
    assert set(told) == {"region", "dream.terms", "dream.strength", "width"}
    again = build(*(("test", parse_assignment(f"{name}={text}")) for name, text in told.items()))
    assert again == settings and again.schedules == settings.schedules
