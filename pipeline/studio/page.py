"""The page: a source, a moment, a look and its knobs; a still that settles; renders."""

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import events, run, ui

from dreamreel.pipeline.app.jobs import ZoomOptions, image_job, video_job, zoom_job
from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.presets import write_preset
from dreamreel.pipeline.config.fields import Settings, all_fields
from dreamreel.pipeline.config.grammar import parse_assignment
from dreamreel.pipeline.config.presets import load_preset, preset_names
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.encoding import CONTAINERS
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.folder import FILMS, Studio
from dreamreel.pipeline.studio.live import Live
from dreamreel.pipeline.studio.previewing import (
    IDLE,
    SETTLED,
    SMALL,
    THUMBNAIL,
    URGENT,
    Previews,
)
from dreamreel.pipeline.studio.renders import Render, Renders

POLL, POLL_RENDERS = 0.3, 1.0  # seconds between looks at stills, and at renders
# The knobs that matter most: a setting, its label, and the least, most and step of its slider.
KNOBS = (
    ("dream.strength", "Strength", 0.0, 3.0, 0.1),
    ("dream.octaves", "Octaves: sizes of things", 1, 8, 1),
    ("dream.steps", "Steps", 1, 40, 1),
    ("dream.mix", "Mix: share of the dream", 0.0, 1.0, 0.05),
    ("video.carry", "Carry: what flows on", 0.0, 0.99, 0.01),
)
ZOOM_SECONDS = 8.0
CAMERAS = 3  # that can be chosen by number
CSS = """
#live{width:100%}
.wall img{width:100%;aspect-ratio:16/9;object-fit:cover;display:block;background:#8884}
.wall .none{aspect-ratio:16/9;overflow:hidden;font-size:.7rem;line-height:1.1;padding:.3rem}
.wall button[aria-pressed=true]{outline:3px solid var(--q-primary)}
.wall button{border:0;padding:0;background:none;color:inherit;cursor:pointer;text-align:start}
.compare{position:relative;width:100%;background:#8882}
.compare img{width:100%;display:block}
.compare .over{position:absolute;inset:0;clip-path:inset(0 0 0 var(--at,50%))}
.compare input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:.001;
  cursor:ew-resize}
.compare input:focus-visible+.edge{outline:3px solid var(--q-primary)}
.compare .edge{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;background:#fff;
  pointer-events:none;box-shadow:0 0 3px #000}
"""
COMPARE = """
<div class="compare" id="compare">
  <img src="{source}" alt="{source_alt}">
  <img class="over" src="{dream}" alt="{dream_alt}">
  <input type="range" min="0" max="100" value="50" aria-label="{label}"
    oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
  <div class="edge"></div>
</div>
"""


@dataclass
class Chosen:
    """What the page shows: the `source`, the moment `at` of a film, the `look` and the `sets` of
    settings that differ from it."""

    source: str | None = None
    at: float = 0.0
    look: str = "default"
    sets: dict[str, str] = field(default_factory=dict)

    def given(self) -> Given:
        """The options that stand for it on the command line."""
        looks = [] if self.look == "default" else [self.look]
        return Given({}, preset=looks, set=[f"{name}={text}" for name, text in self.sets.items()])

    def words(self) -> list[str]:
        """These options, as words of the command line."""
        words = [] if self.look == "default" else ["--preset", self.look]
        for name, text in self.sets.items():
            words += ["--set", f"{name}={text}"]
        return words


@dataclass(frozen=True)
class Progressing:
    """Where the page tells how far a render is."""

    label: ui.label
    bar: ui.linear_progress

    def show(self, one: Render) -> None:
        """Tell how far `one` is."""
        self.label.set_text(_told_of(one))
        self.bar.set_value(one.done / one.total if one.total else 0.0)


def settings_of(chosen: Chosen | None, look: str = "default") -> Settings:
    """The settings of what is `chosen`; if that is None, those of a `look` alone."""
    return (Chosen(look=look) if chosen is None else chosen).given().settings()


def bare_settings() -> Settings:
    """Settings by which nothing is dreamed."""
    settings = Settings()
    nothing = settings.dream.model_copy(update={"steps": 0})
    return settings.model_copy(update={"dream": nothing})


class Page:
    """One page, as one browser shows it."""

    def __init__(self, studio: Studio, previews: Previews, renders: Renders, live: Live) -> None:
        self._studio, self._previews, self._renders = studio, previews, renders
        self._live, self._watched = live, False
        self._chosen = _remembered(studio)
        self._clip: Clip | None = None
        self._wall: dict[str, ui.html] = {}
        self._buttons: dict[str, ui.element] = {}
        self._shown: tuple[object, ...] = ()
        self._stills: dict[str, Job] = {}
        self._listed: object = None
        self._progress: dict[str, Progressing] = {}
        self._build()
        self._use(self._chosen.source)
        ui.timer(POLL, self._show_still)
        ui.timer(POLL_RENDERS, self._show_renders)
        ui.timer(POLL_RENDERS, self._show_live)

    def _build(self) -> None:
        ui.add_css(CSS)
        with ui.header().classes("items-center"):
            ui.label(texts.TITLE).classes("text-lg")
            with ui.tabs() as tabs:
                look, live = ui.tab(texts.LOOK), ui.tab(texts.LIVE)
                renders = ui.tab(texts.RENDERS)
            ui.space()
            dark = ui.dark_mode(None)
            ui.switch(texts.DARK, on_change=lambda e: dark.set_value(e.value)).props(
                'color="white" keep-color'
            )
        with ui.tab_panels(tabs, value=look).classes("w-full"):
            with (
                ui.tab_panel(look),
                ui.element("div").classes("grid grid-cols-1 lg:grid-cols-[1fr_22rem] gap-4 w-full"),
            ):
                with ui.column().classes("w-full min-w-0"):
                    self._build_picture()
                with ui.column().classes("w-full min-w-0"):
                    self._build_knobs()
            with ui.tab_panel(live):
                self._build_live()
            with ui.tab_panel(renders):
                self._queue = ui.column().classes("w-full")

    def _build_picture(self) -> None:
        with ui.row().classes("w-full items-end"):
            ui.upload(
                label=texts.DROP, auto_upload=True, max_files=1, on_upload=self._dropped
            ).props('accept="video/*,image/*" flat bordered').classes("grow").mark("drop")
            self._sources = (
                ui.select([], label=texts.SOURCES, on_change=lambda e: self._use(e.value))
                .classes("w-64")
                .mark("source")
            )
        with ui.row().classes("w-full items-center no-wrap") as self._moments:
            ui.label(texts.MOMENT)
            self._moment = (
                ui.slider(min=0, max=1, step=0.04, value=0, on_change=lambda e: self._move(e.value))
                .props(f'label aria-label="{texts.MOMENT}"')
                .classes("grow")
            )
        self._picture = ui.html("", sanitize=False).classes("w-full").mark("picture")
        self._state = ui.label("").props('role="status"').mark("state")
        with ui.row():
            ui.button(texts.RENDER, on_click=self._render).mark("render")
            self._zoom = ui.button(texts.RENDER_ZOOM, on_click=self._render_zoom).props("outline")
            ui.button(
                texts.FULL_SCREEN,
                on_click=lambda: ui.run_javascript(
                    "document.getElementById('compare')?.requestFullscreen()"
                ),
            ).props("flat")
        ui.label(texts.COMMAND).classes("text-sm")
        with ui.row().classes("w-full items-center no-wrap"):
            self._command = ui.code("", language="bash").classes("grow").mark("command")
        ui.label(texts.LOOKS).classes("text-lg")
        self._looks = ui.element("div").classes(
            "wall grid grid-cols-2 sm:grid-cols-3 md:grid-cols-5 gap-2 w-full"
        )
        with self._looks:
            for name in preset_names():
                self._build_look(name)

    def _build_live(self) -> None:
        with ui.row().classes("w-full items-end"):
            self._seen_live = ui.select([], label=texts.WATCHED).classes("w-64").mark("watched")
            self._when_still = ui.switch(texts.WHEN_STILL)
            ui.button(texts.START, on_click=self._start_live).mark("start-live")
            ui.button(texts.END, on_click=lambda: run.io_bound(self._live.stop)).props(
                "outline"
            ).mark("end-live")
        self._live_state = ui.label("").props('role="status"').mark("live-state")
        self._live_picture = ui.html("", sanitize=False).classes("w-full max-w-4xl")

    async def _start_live(self) -> None:
        words = self._chosen.words()
        words += ["--when-still"] if self._when_still.value else []
        chosen = str(self._seen_live.value or "")
        path = self._studio.file("sources", chosen)
        source = str(path) if path is not None else chosen.rpartition(" ")[2] or "0"
        await run.io_bound(self._live.start, source, words)

    def _show_live(self) -> None:
        cameras = [texts.CAMERA.format(number=number) for number in range(CAMERAS)]
        films = [one for one in self._studio.listed() if Path(one).suffix.lower() in FILMS]
        if self._seen_live.options != [*films, *cameras]:
            self._seen_live.set_options([*films, *cameras], value=[*films, *cameras][0])
        live = self._live
        told = live.error
        if live.is_on:
            told = texts.RATE.format(rate=live.rate) if live.is_seen else texts.BEGINS
        self._live_state.set_text(told)
        if live.is_seen != self._watched:
            self._watched = live.is_seen
            stamp = time.time_ns()  # a stream that has ended is not asked for again by itself
            picture = f'<img id="live" alt="{texts.LIVE_ALT}" src="/live/stream?{stamp}">'
            self._live_picture.set_content(picture if self._watched else "")

    def _build_look(self, name: str) -> None:
        about = load_preset(name).description
        with (
            ui.element("button")
            .props(f'title="{escape(about)}"')
            .on("click", lambda name=name: self._choose_look(name))
            .mark(f"look-{name}") as button
        ):
            self._wall[name] = ui.html(f'<img alt="" src="{EMPTY}">', sanitize=False)
            ui.label(name)
        self._buttons[name] = button

    def _build_knobs(self) -> None:
        ui.label(texts.KNOBS).classes("text-lg")
        self._sliders: dict[str, ui.slider] = {}
        for name, label, least, most, step in KNOBS:
            with ui.row().classes("w-full justify-between"):
                ui.label(label)
                value = ui.label()
            slider = ui.slider(min=least, max=most, step=step, value=least).props(
                f'aria-label="{label}"'
            )
            slider.on("change", lambda e, name=name: self._set(name, _number(e.args)))
            value.bind_text_from(slider, "value", lambda number: f"{number:g}")
            self._sliders[name] = slider
        with ui.expansion(texts.ALL_SETTINGS).classes("w-full"):
            search = ui.input(texts.SEARCH).classes("w-full").mark("search")
            self._all = ui.column().classes("w-full max-h-96 overflow-auto no-wrap")
            with self._all:
                for name, about in all_fields().items():
                    if name.split(".")[0] in ("output", "region"):
                        continue
                    self._build_setting(name, about.description or "", search)
        own = ui.input(texts.NAME_OF_LOOK).classes("w-full")
        ui.button(texts.SAVE_AS, on_click=lambda: self._save(own.value or "")).props("flat")

    def _build_setting(self, name: str, about: str, search: ui.input) -> None:
        row = ui.input(name, placeholder=texts.UNSET).classes("w-full")
        row.props(f'hint="{escape(about)}" bottom-slots')
        row.on("change", lambda: self._set(name, str(row.value or "")))
        row.bind_visibility_from(search, "value", lambda text: (text or "").lower() in name)

    async def _dropped(self, event: events.UploadEventArguments) -> None:
        try:
            name = await self._studio.take(event.file.name, event.file.iterate())
            await run.io_bound(probe_or_refuse, self._studio.sources / name)
        except UserError as error:
            ui.notify(str(error), type="negative", timeout=10_000, close_button=True)
            return
        finally:
            event.sender.reset()  # type: ignore[attr-defined]
        ui.notify(texts.TAKEN.format(name=name))
        self._use(name)

    def _use(self, name: str | None) -> None:
        """Show the source `name`, or the newest one."""
        listed = self._studio.listed()
        name = name if name in listed else (listed[0] if listed else None)
        self._sources.set_options(listed, value=name)
        if name != self._chosen.source:
            self._chosen.source, self._chosen.at = name, 0.0
        self._clip = None
        if name is not None and Path(name).suffix.lower() in FILMS:
            with suppress(UserError):
                self._clip = probe(self._studio.sources / name)
        self._moments.set_visibility(self._clip is not None)
        self._zoom.set_visibility(self._clip is None and name is not None)
        if self._clip is not None:
            length = float((self._clip.frames or 1) / self._clip.rate)
            self._moment.props(f"max={max(0.0, length - 0.05):.2f}")
            self._moment.value = min(self._chosen.at, length)
        self._changed()

    def _move(self, at: float) -> None:
        self._chosen.at = round(float(at), 3)
        self._changed()

    def _choose_look(self, name: str) -> None:
        self._chosen.look, self._chosen.sets = name, {}
        self._changed()

    def _set(self, name: str, text: str) -> None:
        before = dict(self._chosen.sets)
        self._chosen.sets.pop(name, None)
        if text != "":
            self._chosen.sets[name] = text
        try:
            settings_of(self._chosen)
        except UserError as error:
            self._chosen.sets = before
            ui.notify(str(error), type="negative", close_button=True)
        self._changed()

    def _save(self, name: str) -> None:
        try:
            sets = [f"{key}={text}" for key, text in self._chosen.sets.items()]
            for text in sets:
                parse_assignment(text)
            path = write_preset(name, self._chosen.look, sets, "", False)
        except UserError as error:
            ui.notify(str(error), type="negative", close_button=True)
            return
        ui.notify(texts.SAVED.format(path=path))

    def _changed(self) -> None:
        """What is chosen has changed: show it, and forget stills that were asked for before."""
        chosen = self._chosen
        self._studio.remember(
            {"source": chosen.source, "at": chosen.at, "look": chosen.look, "sets": chosen.sets}
        )
        self._previews.drop(set())
        self._stills, self._shown = {}, ()
        table = settings_of(chosen).model_dump()
        for name, slider in self._sliders.items():
            section, key = name.split(".")
            slider.set_value(table[section][key])
        for name, button in self._buttons.items():
            button.props(f"aria-pressed={'true' if name == chosen.look else 'false'}")
        self._command.set_content(self._told())
        self._show_still()

    def _told(self) -> str:
        """The command line that makes the same."""
        if self._chosen.source is None:
            return "dreamreel video"
        kind = "image" if self._clip is None else "video"
        words = ["dreamreel", kind, str(self._studio.sources / self._chosen.source)]
        return shlex.join([*words, *self._chosen.words()])

    def _still(self, name: str, make: Callable[[], Settings], width: int) -> Job | None:
        """The job of the still called `name` of what is chosen; None if its source is gone."""
        if name not in self._stills:
            source = self._studio.file("sources", self._chosen.source or "")
            if source is None:
                return None
            at = None if self._clip is None else self._chosen.at
            self._stills[name] = self._previews.still_of(source, at, make(), width)
        return self._stills[name]

    def _show_still(self) -> None:
        """Show the source and the best still that there is; ask for what is missing."""

        def chosen() -> Settings:
            return settings_of(self._chosen)

        plain = self._still("", bare_settings, SETTLED)
        small, settled = self._still("small", chosen, SMALL), self._still("all", chosen, SETTLED)
        if plain is None or small is None or settled is None:
            self._picture.set_content("")
            self._state.set_text(texts.NO_SOURCE)
            return
        error = self._previews.ask(plain, URGENT)
        if not settled.output.exists():
            error = error or self._previews.ask(small, URGENT) or self._previews.ask(settled)
        made = [one.output for one in (settled, small, plain) if one.output.exists()]
        shown = (made[0].name, plain.output.name) if made and plain.output.exists() else ()
        if shown and shown != self._shown:
            self._picture.set_content(
                COMPARE.format(
                    source=address("stills", shown[1]),
                    dream=address("stills", shown[0]),
                    source_alt=texts.SOURCE_ALT,
                    dream_alt=texts.DREAM_ALT,
                    label=texts.COMPARE,
                )
            )
            self._shown = shown
        is_settled = settled.output.exists()
        self._state.set_text(error or (texts.SETTLED if is_settled else texts.SETTLING))
        if is_settled:
            self._show_wall()

    def _show_wall(self) -> None:
        for name, picture in self._wall.items():
            with suppress(UserError):  # a look that cannot be read any more
                small = self._still(f"look {name}", partial(settings_of, None, name), THUMBNAIL)
                if small is None:
                    return
                error = self._previews.ask(small, IDLE)
                text = picture.content
                if small.output.exists():
                    text = f'<img alt="" src="{address("stills", small.output.name)}">'
                elif error is not None:  # such as a network whose weights are not here
                    text = f'<div class="none">{escape(error)}</div>'
                if picture.content != text:
                    picture.set_content(text)

    def _render(self) -> None:
        name = self._chosen.source
        if name is None:
            return
        path, given = self._studio.sources / name, self._chosen.given()
        stem = Path(name).stem
        try:
            if self._clip is None:
                output = Path(f"{stem}-{self._chosen.look}.png")
                self._add(image_job(path, output, given.settings()))
            else:
                output = Path(f"{stem}-{self._chosen.look}.mp4")
                spans = (None, None, None)
                self._add(video_job(path, output, given.settings(), spans, None, False))
        except UserError as error:
            ui.notify(str(error), type="negative", close_button=True)

    def _render_zoom(self) -> None:
        name = self._chosen.source
        if name is None:
            return
        output = Path(f"{Path(name).stem}-zoom-{self._chosen.look}.mp4")
        options = ZoomOptions(ZOOM_SECONDS, "30", None, None, False, None, False, False, None)
        given = replace(self._chosen.given(), output=output)
        try:
            self._add(zoom_job(self._studio.sources / name, options, given))
        except UserError as error:
            ui.notify(str(error), type="negative", close_button=True)

    def _add(self, job: Job) -> None:
        name = self._renders.add(job)
        self._renders.advance()
        ui.notify(texts.ADDED.format(name=name))

    def _show_renders(self) -> None:
        """Show the renders anew where one has come, gone or changed its state; else how far they
        are, so that a film that is being watched plays on."""
        found = self._renders.all()
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
            self._progress[one.name].show(one)

    def _show_render(self, one: Render) -> None:
        with ui.card().classes("w-full").mark(f"render-{one.name}"):
            with ui.row().classes("w-full items-center justify-between"):
                ui.label(one.output)
                label = ui.label().mark(f"state-{one.name}")
            bar = ui.linear_progress(0, show_value=False)
            bar.props(f'aria-label="{escape(one.output)}"')
            bar.set_visibility(one.state == "running")
            self._progress[one.name] = Progressing(label, bar)
            if one.error:
                ui.label(one.error).classes("text-negative")
            with ui.row():
                self._build_actions(one)
            if one.state == "done":
                _result(one.output)

    def _build_actions(self, one: Render) -> None:
        def button(text: str, does: Callable[[str], Any], key: str) -> None:
            async def clicked() -> None:
                await run.io_bound(does, one.name)
                self._show_renders()

            ui.button(text, on_click=clicked).props("flat dense").mark(f"{key}-{one.name}")

        if one.state in ("running", "waiting"):
            button(texts.STOP, self._renders.stop, "stop")
        if one.state == "waiting":
            button(texts.FIRST, self._renders.first, "first")
        if one.state in ("stopped", "failed"):
            button(texts.GO_ON, self._renders.go_on, "go-on")
        if one.state != "running":
            button(texts.FORGET, self._renders.forget, "forget")
        if one.state == "done":
            ui.link(texts.DOWNLOAD, address("renders", one.output) + "?download").mark(
                f"download-{one.name}"
            )


EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def probe_or_refuse(path: Path) -> None:
    """Raise UserError, and remove the source `path`, if it cannot be decoded."""
    try:
        if path.suffix.lower() in FILMS:
            probe(path)
        else:
            from dreamreel.pipeline.media.stills import decoded_still

            decoded_still(path)
    except UserError:
        path.unlink(missing_ok=True)
        raise


def address(kind: str, name: str) -> str:
    """Where the page finds the file `name` of a `kind`."""
    return f"/file/{kind}/{quote(name)}"


def _remembered(studio: Studio) -> Chosen:
    table = studio.remembered()
    chosen = Chosen()
    if isinstance(table.get("source"), str):
        chosen.source = table["source"]
    if isinstance(table.get("at"), int | float):
        chosen.at = float(table["at"])
    if table.get("look") in preset_names():
        chosen.look = table["look"]
    if isinstance(table.get("sets"), dict):
        chosen.sets = {str(key): str(text) for key, text in table["sets"].items()}
    with suppress(UserError):
        settings_of(chosen)
        return chosen
    return Chosen(chosen.source, chosen.at)


def _result(name: str) -> None:
    if Path(name).suffix.lower() in CONTAINERS:
        ui.video(address("renders", name), controls=True, loop=True).classes("w-full max-w-2xl")
    else:
        ui.html(f'<img src="{address("renders", name)}" alt="{escape(name)}">',
                sanitize=False).classes("max-w-2xl")  # fmt: skip


def _told_of(one: Render) -> str:
    words = texts.STATES[one.state]
    if one.state == "running" and one.total:
        words += f", {one.done} of {one.total}"
        if one.left is not None:
            minutes, seconds = divmod(round(one.left), 60)
            words += f", {one.rate:.1f} a second, {minutes}:{seconds:02} left"
    elif one.total and one.state == "stopped":
        words += f" at {one.done} of {one.total}"
    return words


def _number(value: Any) -> str:
    found = value[0] if isinstance(value, list) else value
    return f"{float(found):g}"
