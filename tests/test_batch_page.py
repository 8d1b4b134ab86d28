"""The page and the sheet of a batch: complete, safe, and fit for a phone."""

import io
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Sequence
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from PIL import Image

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.queue import Entry, Problem, queue_of
from dreamreel.pipeline.judging.batch_page import (
    SHEET_SIDE,
    THUMBS,
    WALK,
    _encoded,
    _frames_at,
    write_matrix,
    write_page,
)
from dreamreel.pipeline.media.clips import probe
from making import write_clip

HOSTILE = """<script>alert(1)</script> "a" & 'b' %41 #1 ?x.mp4"""
EMPTY = {"meta", "input", "img", "source", "br", "link", "hr"}  # elements without an end tag
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


class Page(HTMLParser):
    """The elements of a page, its visible text, and the tags that are not balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} comes twice"
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[str]:
        """The source of each row of the table."""
        return re.findall(r'<tr role="row" class=.*?</tr>', self.source, re.DOTALL)


def entry(folder: Path, output: str, index: int, **more: Any) -> Entry:
    """A job that is done and has made `output` in `folder`; `more` are fields of the entry, and
    its `kind` and `source`."""
    kind, source = more.pop("kind", "video"), more.pop("source", "clip.mp4")
    job = Job(
        kind=kind,
        source=NamedFile(path=folder / "in" / source),
        output=folder / output,
        settings=Settings(),
    )
    usual: dict[str, Any] = {
        "name": output.replace("/", "__"),
        "state": "done",
        "output": job.output.parent if "%0" in output else job.output,
        "done_frames": 12,
        "seconds": 2.5,
        "bytes": 123456,
    }
    return Entry(job=job, index=index, **(usual | more))


def plain(colour: Sequence[int], height: int = 90, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """Jobs of every kind of output and every state, in a folder with a space and a quote."""
    folder = tmp_path_factory.mktemp("batch") / "my 'dreams' & more"
    queue = queue_of(folder)
    queue.make(Path("jobs.toml"))
    film = [plain((10 * number, 80, 160)) for number in range(24)]
    write_clip(folder / "film.mp4", film)
    (folder / "film.mp4").rename(folder / HOSTILE.replace("/", "-"))
    record_path(folder / HOSTILE.replace("/", "-")).write_text("{}")
    (folder / "frames").mkdir()
    for number, frame in enumerate(film):
        cv2.imwrite(str(folder / "frames" / f"{number:05}.png"), frame)
    loop = [Image.fromarray(frame) for frame in film]
    loop[0].save(folder / "loop.webp", save_all=True, append_images=loop[1:], duration=40)
    cv2.imwrite(str(folder / "wide.png"), plain((0, 0, 255), 300, 900))
    (folder / "damaged.mp4").write_bytes(b"\0\0\0\x20ftypisom nothing more")
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    problem = Problem(fault="user", message='no layer "<img src=x onerror=alert(1)>" \x1b[31m')
    queue.note("failed <1>", "failed")
    made: list[tuple[str, dict[str, Any]]] = [
        (HOSTILE.replace("/", "-"), {"shown": {"preset": "eyes", "<i>": "a < b"}}),
        ("frames/%05d.png", {"shown": {"preset": "flow"}}),
        ("loop.webp", {"shown": {"preset": ""}}),
        ("wide.png", {"kind": "still", "done_frames": 1}),
        ("damaged.mp4", {}),
        ("damaged.png", {"kind": "still"}),
        ("gone.mp4", {}),
        ("failed.mp4", {"state": "failed", "name": "failed <1>", "error": problem, "tries": 3}),
        ("later.mp4", {"state": "waiting", "frames": 240, "size": (720, 1280)}),
        ("now.mp4", {"state": "running", "frames": 240}),
    ]
    return [entry(folder, name, at, **more) for at, (name, more) in enumerate(made, 1)]


@pytest.fixture(scope="module")
def page(batch: list[Entry]) -> Page:
    path = folder_of(batch) / "report.html"
    write_page(batch, path, HOSTILE)
    return Page(path)


def folder_of(batch: list[Entry]) -> Path:
    return batch[0].job.output.parent


def test_the_page_is_well_formed(page: Page) -> None:
    assert not page.unbalanced and not page.open
    assert page.all("html") == [{"lang": "en"}]
    assert any("width=device-width" in one.get("content", "") for one in page.all("meta"))
    assert page.source.startswith("<!DOCTYPE html>")
    assert all(one["alt"] for one in page.all("img"))
    widths = [row.count("<td ") for row in page.rows()]
    assert set(widths) == {len(page.all("th"))}


def test_the_page_needs_no_other_file(page: Page) -> None:
    assert not re.search(r"https?:|//\w+\.|@import|url\(", page.source)
    assert not page.all("link") and len(page.all("script")) == 1
    sources = [one["src"] for one in page.all("img")]
    assert all(one.startswith("data:image/webp;base64,") for one in sources)


def test_every_link_leads_to_a_file(page: Page, batch: list[Entry]) -> None:
    links = [one["href"] for one in page.all("a")]
    assert len(links) > 8
    for link in links:
        assert re.fullmatch(r"[\w.~/%-]+", link) and (folder_of(batch) / unquote(link)).exists()
    targets = {unquote(link) for link in links}
    name = HOSTILE.replace("/", "-")
    assert {name, f"{name}.json", "frames", "wide.png", ".batch/logs/failed <1>.log"} <= targets
    assert "gone.mp4" not in targets


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    text = "".join(page.text)
    assert HOSTILE in text and HOSTILE.replace("/", "-") in text and "a < b" in text
    assert '"<img src=x onerror=alert(1)>"' in text
    assert "\x1b" not in page.source and not page.all("i")
    assert not any(name.startswith("on") for _, one in page.elements for name in one)


def test_jobs_come_in_order_with_their_state(page: Page) -> None:
    rows = page.rows()
    states = ["done"] * 7 + ["failed", "waiting", "running"]
    assert [re.findall(r'class="(\w+)"', row)[0] for row in rows] == states
    for row, why in zip(
        rows[4:], ("can be read", "can be read", "is gone", "failed", "waiting", "running"),
        strict=True,
    ):  # fmt: skip
        assert "<img" not in row and re.search(rf'class="none">[^<]*{why}<', row)
    assert "tried 3 times" in rows[7] and "To correct in the job" in rows[7]
    assert "240 planned" in rows[8] and "1280\N{MULTIPLICATION SIGN}720" in rows[8]
    assert "900\N{MULTIPLICATION SIGN}300" in rows[3] and "4.8<" in rows[0]


def test_the_head_counts(page: Page) -> None:
    found = re.findall(r"<dt>([\w ]+)</dt><dd>([^<]+)</dd>", page.source)
    assert dict(found) == {
        **{"Done": "7", "Failed": "1", "Running": "1", "Waiting": "1"},
        **{"Frames": "73", "Time of work": "18 s", "Size": "864 kB"},
    }


def test_thumbnails_are_short_loops_spread_over_the_film(page: Page) -> None:
    pictures = [b64decode(one["src"].partition(",")[2]) for one in page.all("img")]
    assert len(pictures) == 4
    for data in pictures[:3]:
        with Image.open(io.BytesIO(data)) as loop:
            assert 8 <= loop.n_frames <= 12 and loop.width <= 320  # type: ignore[attr-defined]
            levels = []
            for number in range(loop.n_frames):  # type: ignore[attr-defined]
                loop.seek(number)
                levels.append(np.asarray(loop.convert("RGB")).reshape(-1, 3).mean(0))
        moving = np.array(levels)[:, np.ptp(levels, axis=0).argmax()]
        assert (np.diff(moving) > 5).all() and np.ptp(moving) > 180
    with Image.open(io.BytesIO(pictures[3])) as still:
        assert still.size == (320, 107)


def test_an_animation_whose_header_is_damaged_takes_no_time(tmp_path: Path) -> None:
    frames = [Image.fromarray(plain((9 * number, 80, 160))) for number in range(12)]
    path = tmp_path / "loop.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    data = bytearray(path.read_bytes())
    data[26] = 0xFF  # the highest byte of the canvas' width: 16 million pixels
    path.write_bytes(data)
    write_page([entry(tmp_path, "loop.webp", 1)], tmp_path / "report.html", "damaged")
    assert "no picture can be read" in (tmp_path / "report.html").read_text()


def test_a_page_without_jobs_says_so(tmp_path: Path) -> None:
    write_page([], tmp_path / "report.html", "none")
    found = Page(tmp_path / "report.html")
    assert "There are no jobs yet." in found.text and not found.unbalanced


@pytest.mark.parametrize("most", [140_000, 30_000, 8_000])
def test_a_thumbnail_keeps_to_its_bytes(most: int) -> None:
    random = np.random.default_rng(1)
    cells = random.integers(0, 256, (10, 45, 80, 3), np.uint8)  # detail that compresses badly
    frames = [Image.fromarray(cell).resize((320, 180)) for cell in cells]
    loop, still = _encoded(frames, most)
    assert len(loop) + len(still) <= most
    assert bool(still) == (most > 100_000)


@pytest.mark.parametrize("count", [600, 3000])
def test_frames_of_a_long_film_are_those_of_their_places(tmp_path: Path, count: int) -> None:
    frames = [plain((number * 240 // count,) * 3, 32, 48) for number in range(count)]
    clip = probe(write_clip(tmp_path / "long.mp4", frames, Fraction(30)))
    numbers = list(range(count // 20, count, count // 10))
    found = [frame.mean() / 240 * count for frame in _frames_at(clip, numbers)]
    assert len(found) == 10
    off = np.array(numbers) - found
    assert np.abs(off).max() < (20 if count == 600 else WALK + 40)
    assert THUMBS[0][0] == 10


def colours_at(path: Path, colours: Sequence[Sequence[int]]) -> list[tuple[float, float] | None]:
    """The centre (x, y) of each of `colours`, RGB, in the picture at `path`."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    found: list[tuple[float, float] | None] = []
    for colour in colours:
        y, x = np.nonzero((np.abs(pixels - np.array(colour)) < 12).all(-1))
        found.append((float(x.mean()), float(y.mean())) if len(x) > 500 else None)
    return found


def grid_of(
    folder: Path, pairs: Sequence[tuple[str, str]]
) -> tuple[list[Entry], list[tuple[int, int, int]]]:
    """A job for each pair of a source and a look, and the colour, RGB, of its picture."""
    entries, colours = [], []
    for number, (source, look) in enumerate(pairs):
        colour = (250 - 40 * (number % 6), 40 + 90 * (number // 6), 20 + 40 * (number % 6))
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), plain(colour[::-1]))
        shown = {"preset": look, "source": source}
        entries.append(entry(folder, name, number + 1, kind="still", source=source, shown=shown))
        colours.append(colour)
    return entries, colours


def test_rows_of_the_matrix_are_sources_and_columns_are_looks(tmp_path: Path) -> None:
    pairs = [(source, look) for look in ("eyes", "flow", "bold") for source in ("a.png", "b.png")]
    entries, colours = grid_of(tmp_path, pairs)
    (tmp_path / "5.png").unlink()
    write_matrix(entries, tmp_path / "matrix.jpg")
    *found, gone = colours_at(tmp_path / "matrix.jpg", colours)
    assert gone is None and all(found)
    places = {pair: place for pair, place in zip(pairs[:5], found, strict=True) if place}
    for (source, look), (x, y) in places.items():
        assert abs(x - places["a.png", look][0]) < 2
        assert abs(y - places[source, "eyes"][1]) < 2
    across = [places["a.png", look][0] for look in ("eyes", "flow", "bold")]
    assert across == sorted(across) and places["a.png", "eyes"][1] < places["b.png", "eyes"][1]
    grey = colours_at(tmp_path / "matrix.jpg", [(117, 115, 113)])[0]
    assert grey is not None
    assert np.allclose(grey, (places["a.png", "bold"][0], places["b.png", "eyes"][1]), atol=8)


def test_jobs_that_form_no_grid_are_cells_in_order(tmp_path: Path) -> None:
    entries, colours = grid_of(tmp_path, [("a.png", "eyes"), ("b.png", "flow"), ("c.png", "bold")])
    write_matrix(entries, tmp_path / "matrix.jpg")
    first, second, third = colours_at(tmp_path / "matrix.jpg", colours)
    assert first and second and third
    assert abs(first[1] - second[1]) < 2 < third[1] - first[1]
    assert abs(first[0] - third[0]) < 2 < second[0] - first[0]


def test_a_matrix_shows_the_middle_of_a_film(tmp_path: Path) -> None:
    frames = [plain((0, 0, 250) if 8 <= number < 12 else (250, 0, 0)) for number in range(20)]
    write_clip(tmp_path / "film.mp4", frames)
    write_matrix([entry(tmp_path, "film.mp4", 1)], tmp_path / "matrix.jpg")
    red, blue = colours_at(tmp_path / "matrix.jpg", [(250, 0, 0), (0, 0, 250)])
    assert red is not None and blue is None


def test_a_matrix_of_any_states_and_kinds_is_written(batch: list[Entry], tmp_path: Path) -> None:
    for number, entries in enumerate((batch, batch[-1:], [])):
        write_matrix(entries, tmp_path / f"{number}.jpg")
        with Image.open(tmp_path / f"{number}.jpg") as sheet:
            assert sheet.format == "JPEG" and min(sheet.size) > 100


@pytest.mark.parametrize("sources", [1, 25, 500])
def test_a_matrix_of_many_jobs_is_bounded(tmp_path: Path, sources: int) -> None:
    entries = [
        entry(tmp_path, f"{number}.mp4", number + 1, state="waiting", source=f"{number % sources}",
              shown={"preset": f"{'long ' * 40}{number // sources}"})
        for number in range(500)
    ]  # fmt: skip
    write_matrix(entries, tmp_path / "matrix.jpg")
    with Image.open(tmp_path / "matrix.jpg") as sheet:
        assert 1500 < max(sheet.size) <= SHEET_SIDE


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium to look at the page with")
LOOK = """<!DOCTYPE html><body style="margin:0">
<iframe src="{name}" style="border:0;width:{width}px;height:800px"></iframe><pre></pre><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const broken = [...page.images].filter(one => !one.naturalWidth).length;
  const column = () => [...page.querySelectorAll(".about")].map(one => one.textContent[0]).join("");
  const before = column();
  const head = [...page.querySelectorAll("th button")].find(one => one.textContent == "preset");
  head.click(); const rising = column();
  head.click();
  page.querySelector("#only-done").checked = true;
  const seen = [...page.querySelectorAll("tbody tr")].filter(one => one.offsetHeight).length;
  document.querySelector("pre").textContent =
    [page.documentElement.scrollWidth, broken, before, rising, column(), seen].join(" ");
}});
</script></body>"""


@needs_browser
@pytest.mark.parametrize("width", [390, 800, 1280])
def test_a_browser_shows_the_page_without_sideways_scrolling(
    page: Page, batch: list[Entry], tmp_path: Path, width: int
) -> None:
    # Chromium makes no window narrower than about 500 pixels, but frames in it.
    frame = folder_of(batch) / f"look-{width}.html"
    frame.write_text(LOOK.format(name="report.html", width=width))
    run = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--hide-scrollbars", "--allow-file-access-from-files", f"--user-data-dir={tmp_path}"),
            *("--virtual-time-budget=5000", "--window-size=1400,900", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"<pre>(\d+) (\d+) (\S+) (\S+) (\S+) (\d+)</pre>", run.stdout)
    assert found is not None, run.stderr[-2000:]
    widest, broken, before, rising, falling, seen = found.groups()
    assert int(widest) == width and int(broken) == 0
    assert before == "1234567891" and rising[:2] == "12" and falling[:2] == "21"
    assert int(seen) == 7
