"""The view of the live dream."""

import time
from pathlib import Path

from nicegui import run, ui

from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import Session
from dreamreel.pipeline.studio.folder import FILMS
from dreamreel.pipeline.studio.live import Live

CAMERAS = 3  # that can be chosen by number


class LiveView:
    """The view, built into the element that is open when it is made."""

    def __init__(self, session: Session, live: Live) -> None:
        self._session, self._live, self._watched = session, live, False
        with ui.row().classes("w-full items-end"):
            self._seen = ui.select([], label=texts.WATCHED).classes("w-64").mark("watched")
            self._when_still = ui.switch(texts.WHEN_STILL)
            ui.button(texts.START, on_click=self._start).mark("start-live")
            ui.button(texts.END, on_click=lambda: run.io_bound(live.stop)).props("outline").mark(
                "end-live"
            )
        self._state = ui.label("").props('role="status"').mark("live-state")
        self._picture = ui.html("", sanitize=False).classes("w-full max-w-4xl")

    def show(self) -> None:
        """Show how the live dream fares."""
        cameras = [texts.CAMERA.format(number=number) for number in range(CAMERAS)]
        listed = self._session.studio.listed()
        films = [one for one in listed if Path(one).suffix.lower() in FILMS]
        if self._seen.options != [*films, *cameras]:
            self._seen.set_options([*films, *cameras], value=[*films, *cameras][0])
        live = self._live
        told = live.error
        if live.is_on:
            told = texts.RATE.format(rate=live.rate) if live.is_seen else texts.BEGINS
        self._state.set_text(told)
        if live.is_seen != self._watched:
            self._watched = live.is_seen
            stamp = time.time_ns()  # a stream that has ended is not asked for again by itself
            picture = f'<img id="live" alt="{texts.LIVE_ALT}" src="/live/stream?{stamp}">'
            self._picture.set_content(picture if self._watched else "")

    async def _start(self) -> None:
        words = self._session.chosen.of("live").words()
        words += ["--when-still"] if self._when_still.value else []
        chosen = str(self._seen.value or "")
        path = self._session.studio.file("sources", chosen)
        source = str(path) if path is not None else chosen.rpartition(" ")[2] or "0"
        await run.io_bound(self._live.start, source, words)
