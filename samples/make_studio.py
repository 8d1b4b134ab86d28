"""Make the pictures of the studio: a browser without a window uses it, and what it shows is kept.

    python samples/make_studio.py /usr/bin/chromium

It needs the extras `studio` and `test`, and takes some four minutes on two cores.
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
OUT = HERE / "studio"
SCHEDULE = '{ "0" = 1.2, "4b" = { value = 1.9, ease = "in-out-cubic" }, "9b" = 1.1, "13b" = 1.6 }'
MOUNTAIN = ((330, 330), (400, 290), (460, 330), (520, 300), (600, 340), (560, 370), (450, 360),
            (380, 360), (480, 320))  # fmt: skip
QUALITY = 82  # of a JPEG


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        port = free_port()
        command = [sys.executable, "-m", "dreamreel.cli", "studio", folder, "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            time.sleep(15)  # the network is loaded meanwhile
            page.goto(f"http://127.0.0.1:{port}/")
            show_all(page)
        finally:
            browser.close()
            server.terminate()
            server.wait()


def show_all(page: Any) -> None:
    """Use each view in turn, and keep what it shows."""
    page.set_input_files("input[type=file]", str(HERE / "beat.m4a"))
    page.get_by_text("beat.m4a is here").wait_for()
    drop(page, "lake.jpg")
    open_tab(page, "Zoom")
    schedule = page.get_by_label("Its schedule, as on the command line")
    page.get_by_label("Music").click()
    page.get_by_role("option", name="beat.m4a").click()
    page.locator("#curve .beat").nth(13).wait_for(state="attached")
    schedule.fill(SCHEDULE)
    schedule.press("Tab")
    page.get_by_role("button", name="See the camera's path").click()
    page.wait_for_selector("video")
    keep(page, "zoom", wait=2)
    open_tab(page, "Explore")
    page.get_by_role("button", name="Channels").click()
    keep(page, "explore", wait=30)
    open_tab(page, "Look")
    drop(page, "clouds.mp4")
    page.get_by_text("is here").first.wait_for(state="hidden")
    keep(page, "look", wait=25, height=1250)
    open_tab(page, "Live")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("frames a second").wait_for()
    keep(page, "live", wait=6)
    page.get_by_role("button", name="End").click()
    open_tab(page, "Masks")
    page.wait_for_function("!!document.getElementById('paint')?.onpointerdown")
    paint(page)
    page.get_by_role("button", name="Keep the mask").click()
    page.get_by_text("Masks are kept").wait_for()
    page.get_by_role("button", name="See it carried along").click()
    page.wait_for_selector("video")
    keep(page, "masks", wait=1.5, height=1250)
    open_tab(page, "Look")
    for look in ("default", "garden"):
        page.locator("button", has_text=look).click()
        page.get_by_role("button", name="Render", exact=True).click()
        page.get_by_text(f"clouds-{look}.mp4 is in the queue").wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    keep(page, "phone", wait=12)
    page.set_viewport_size({"width": 1280, "height": 900})
    open_tab(page, "Renders")
    page.locator("img[alt^='The latest frame']").wait_for()
    keep(page, "renders", wait=14, height=700)
    for stop in page.get_by_role("button", name="Stop").all()[::-1]:
        stop.click()
    time.sleep(5)  # it saves its work


def drop(page: Any, name: str) -> None:
    """Drop the sample `name`, and wait for its still."""
    page.set_input_files("input[type=file]", str(HERE / name))
    page.get_by_text(f"{name} is here").wait_for()
    page.get_by_text("settled", exact=True).wait_for()


def open_tab(page: Any, name: str) -> None:
    """Open a view."""
    page.get_by_role("tab", name=name).click()


def paint(page: Any) -> None:
    """Paint on a mountain."""
    box = page.locator("#paint").bounding_box()
    (left, top), *others = MOUNTAIN
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=6)
    page.mouse.up()


def keep(page: Any, name: str, wait: float, height: int | None = None) -> None:
    """Keep what the page shows after `wait` seconds, at that `height` of the window in pixels."""
    before = page.viewport_size
    if height is not None:
        page.set_viewport_size({"width": before["width"], "height": height})
    time.sleep(wait)
    shown = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(OUT / f"{name}.jpg"), shown, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    page.set_viewport_size(before)


def free_port() -> int:
    """A port that nothing uses."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


if __name__ == "__main__":
    main()
