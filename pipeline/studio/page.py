"""The page: a tab for each view, and what brings them up to date."""

import inspect
from collections.abc import Callable
from json import dumps

from nicegui import ui

from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import Session
from dreamreel.pipeline.studio.folder import Studio
from dreamreel.pipeline.studio.live import Live
from dreamreel.pipeline.studio.previewing import Previews
from dreamreel.pipeline.studio.renders import Renders
from dreamreel.pipeline.studio.views.explore import ExploreView
from dreamreel.pipeline.studio.views.live import LiveView
from dreamreel.pipeline.studio.views.look import LookView
from dreamreel.pipeline.studio.views.masks import MasksView
from dreamreel.pipeline.studio.views.renders import RendersView
from dreamreel.pipeline.studio.views.scripts import CSS, SCRIPT
from dreamreel.pipeline.studio.views.zoom import ZoomView

POLL, POLL_RENDERS = 0.1, 1.0  # seconds between looks at stills, and at renders
MOST_TOLD = 10_000  # milliseconds for which a mistake is told


class Page:
    """One page, as one browser shows it."""

    def __init__(self, studio: Studio, previews: Previews, renders: Renders, live: Live) -> None:
        self._session = session = Session(studio, previews, renders, refuse)
        ui.add_css(CSS)
        words = dumps({"copy": texts.COPY})
        ui.add_body_html(f"<script>window.studioTexts = {words};{SCRIPT}</script>")
        ui.page_title(texts.TITLE)
        with ui.header().classes("items-center bg-slate-800 text-white"):
            ui.label(texts.TITLE).classes("text-lg").props('role="heading" aria-level="1"')
            with ui.tabs() as self._tabs:
                tabs = {name: ui.tab(name) for name in texts.TABS}
            ui.space()
            dark = ui.dark_mode(None)
            ui.switch(texts.DARK, on_change=lambda e: dark.set_value(e.value)).props(
                'color="white" keep-color'
            )
        panels = ui.tab_panels(self._tabs, value=texts.LOOK, keep_alive=True, animated=False)
        with panels.classes("w-full"):
            with ui.tab_panel(tabs[texts.LOOK]):
                look = LookView(session)
            with ui.tab_panel(tabs[texts.EXPLORE]):
                explore = ExploreView(session)
            with ui.tab_panel(tabs[texts.ZOOM]):
                zoom = ZoomView(session)
            with ui.tab_panel(tabs[texts.MASKS]):
                masks = MasksView(session)
            with ui.tab_panel(tabs[texts.LIVE]):
                lively = LiveView(session, live)
            with ui.tab_panel(tabs[texts.RENDERS]):
                queue = RendersView(session, look.use)
        # Stills of the view that is left are not waited for.
        self._tabs.on_value_change(lambda: previews.drop(set()))
        self._polled: dict[str, Callable[[], object]] = {
            texts.LOOK: look.show,
            texts.EXPLORE: explore.show,
            texts.ZOOM: zoom.show,
            texts.MASKS: masks.show,
        }
        ui.timer(0.0, lambda: look.use(session.chosen.source), once=True)
        ui.timer(POLL, self._show)
        ui.timer(POLL_RENDERS, queue.show)
        ui.timer(POLL_RENDERS, lively.show)

    async def _show(self) -> None:
        """Bring the view that is open up to date."""
        shown = self._polled.get(str(self._tabs.value), lambda: None)()
        if inspect.isawaitable(shown):
            await shown


def refuse(line: str) -> None:
    """Tell the user why something is refused."""
    ui.notify(line, type="negative", timeout=MOST_TOLD, close_button=True)
