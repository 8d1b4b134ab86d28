"""The view of the renders: those that run and wait, and a gallery of the finished ones."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from nicegui import run, ui

from dreamreel.pipeline.config.grammar import differing
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import Session
from dreamreel.pipeline.studio.latest import latest_frame
from dreamreel.pipeline.studio.renders import Render
from dreamreel.pipeline.studio.views.parts import address, film

Use = Callable[[str | None], Awaitable[None]]  # shows a source by its name


@dataclass(frozen=True)
class Progressing:
    """Where the page tells how far a render is, and shows its latest frame."""

    label: ui.label
    bar: ui.linear_progress
    picture: ui.html


class RendersView:
    """The view, built into the element that is open when it is made. `use` shows a source."""

    def __init__(self, session: Session, use: Use) -> None:
        self._session, self._use = session, use
        self._listed: object = None
        self._progress: dict[str, Progressing] = {}
        self._queue = ui.column().classes("w-full")

    async def show(self) -> None:
        """Show the renders anew where one has come, gone or changed its state; else how far they
        are, so that a film that is being watched plays on."""
        found = await run.io_bound(self._session.renders.all) or []
        listed = [(one.name, one.state, one.error) for one in found]
        if listed != self._listed:
            self._listed = listed
            self._progress = {}
            self._queue.clear()
            with self._queue:
                if not found:
                    ui.label(texts.NO_RENDERS)
                for one in found:
                    self._show_render(one)
        for one in found:
            if one.name in self._progress:
                await self._tell(one)

    async def _tell(self, one: Render) -> None:
        """Tell how far `one` is, and show its latest frame."""
        place = self._progress[one.name]
        place.label.set_text(_told_of(one))
        place.bar.set_value(one.done / one.total if one.total else 0.0)
        if one.state == "running":
            made = await run.io_bound(latest_frame, self._session.studio, one)
            if made is not None:
                about = texts.LATEST.format(name=one.output)
                source = f"{address('stills', made.name)}?{made.stat().st_mtime_ns}"
                place.picture.set_content(f'<img alt="{escape(about)}" src="{source}">')

    def _show_render(self, one: Render) -> None:
        with ui.card().classes("w-full").mark(f"render-{one.name}"):
            with ui.row().classes("w-full items-center justify-between"):
                ui.label(one.output).props('role="heading" aria-level="2"')
                label = ui.label().mark(f"state-{one.name}")
            bar = ui.linear_progress(0, show_value=False)
            bar.props["aria-label"] = one.output
            bar.set_visibility(one.state == "running")
            picture = ui.html("", sanitize=False).classes("max-w-md").mark(f"latest-{one.name}")
            self._progress[one.name] = Progressing(label, bar, picture)
            label.set_text(_told_of(one))
            if one.error:
                ui.label(one.error).classes("text-negative")
            with ui.row().classes("items-center"):
                self._build_actions(one)
            if one.state == "done" and (self._session.studio.renders / one.output).exists():
                film("renders", one.output)
            self._build_settings(one)

    def _build_settings(self, one: Render) -> None:
        """The settings of the render, as text."""
        changed = differing(one.job.settings)
        with ui.expansion(texts.SETTINGS_OF.format(count=len(changed))).props("dense"):
            for name, text in changed.items():
                ui.label(f"{name} = {text}").classes("font-mono text-sm break-all")

    def _build_actions(self, one: Render) -> None:
        renders = self._session.renders

        def button(text: str, does: Callable[[str], Any], key: str) -> None:
            async def clicked() -> None:
                try:
                    await run.io_bound(does, one.name)
                except UserError as error:
                    self._session.tell(str(error))
                await self.show()

            made = ui.button(text, on_click=clicked).props("flat dense").mark(f"{key}-{one.name}")
            made.props["aria-label"] = f"{text}: {one.output}"

        if one.state in ("running", "waiting"):
            button(texts.STOP, renders.stop, "stop")
        if one.state == "waiting":
            button(texts.FIRST, renders.first, "first")
        if one.state == "stopped":
            button(texts.GO_ON, renders.go_on, "go-on")
        if one.state == "failed":
            button(texts.RETRY, renders.go_on, "retry")
        if one.state != "running":
            button(texts.FORGET, renders.forget, "forget")

        async def again() -> None:
            await self._use_again(one)

        used = ui.button(texts.USE_AGAIN, on_click=again).props("flat dense")
        used.mark(f"again-{one.name}")
        if one.state == "done":
            link = ui.link(texts.DOWNLOAD, address("renders", one.output) + "?download")
            link.props["aria-label"] = f"{texts.DOWNLOAD}: {one.output}"
            link.mark(f"download-{one.name}")

    async def _use_again(self, one: Render) -> None:
        """Choose the source and the settings of `one`."""
        source = one.job.source
        name = None if source is None else Path(source.path).name
        if name in self._session.studio.listed():
            await self._use(name)
        else:
            self._session.tell(texts.SOURCE_GONE.format(name=name))
        chosen = self._session.chosen
        # Masks among them, which were painted on this source.
        self._session.choose(replace(chosen, look="default", sets=differing(one.job.settings)))
        ui.notify(texts.USED_AGAIN.format(name=one.output))


def _told_of(one: Render) -> str:
    words = texts.STATES[one.state]
    if one.total and one.state == "stopped":
        words = texts.STOPPED_AT.format(words=words, done=one.done, total=one.total)
    elif one.total and one.state == "running":
        words = texts.OF_TOTAL.format(words=words, done=one.done, total=one.total)
        if one.left is not None:
            minutes, seconds = divmod(round(one.left), 60)
            about = {"rate": one.rate, "minutes": minutes, "seconds": seconds}
            words = texts.LEFT.format(words=words, **about)
    return words
