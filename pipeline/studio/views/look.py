"""The view of a look: a source, a moment, a wall of looks and the knobs; a still that settles."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import events, run, ui
from pydantic.fields import FieldInfo

from dreamreel.pipeline.app.jobs import image_job, video_job
from dreamreel.pipeline.app.presets import write_preset
from dreamreel.pipeline.config.fields import all_fields
from dreamreel.pipeline.config.grammar import parse_assignment
from dreamreel.pipeline.config.presets import load_preset, preset_names
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import (
    WIDE,
    Chosen,
    Session,
    as_sum,
    bare_settings,
    looked_at,
    without_masks,
)
from dreamreel.pipeline.studio.folder import FILMS
from dreamreel.pipeline.studio.previewing import SETTLED, SMALL, THUMBNAIL, URGENT
from dreamreel.pipeline.studio.views.parts import GRID, FilmPlace, Tile, address, press, tile

# The knobs that matter most: a setting, its label, and the least, most and step of its slider.
KNOBS = (
    ("dream.strength", texts.STRENGTH, 0.0, 3.0, 0.1),
    ("dream.octaves", texts.OCTAVES, 1, 8, 1),
    ("dream.octave_scale", texts.OCTAVE_SCALE, 1.1, 2.0, 0.05),
    ("dream.steps", texts.STEPS, 1, 40, 1),
    ("dream.mix", texts.MIX, 0.0, 1.0, 0.05),
    ("video.carry", texts.CARRY, 0.0, 0.99, 0.01),
)
SHOWN = (".jpg", ".jpeg", ".png")  # pictures that every browser shows, upright
LARGEST_SHOWN = 16 << 20  # bytes of one that is shown as it is; a round number
HIDDEN = ("output", "region")  # sections that are no looks, or are painted
COMPARE = """
<div class="compare" id="compare">
  <img src="{source}" alt="{source_alt}">
  <img class="over" src="{dream}" alt="{dream_alt}">
  <input type="range" min="0" max="100" value="50" aria-label="{label}"
    oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
  <div class="edge"></div>
</div>
"""
FULL_SCREEN = "document.getElementById('compare')?.requestFullscreen()"


class LookView:
    """The view, built into the element that is open when it is made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wall: dict[str, Tile] = {}
        self._sliders: dict[str, ui.slider] = {}
        self._shown: tuple[object, ...] = ()
        with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-[1fr_22rem] gap-4 w-full"):
            with ui.column().classes("w-full min-w-0"):
                self._build_source()
                self._build_picture()
                self._build_wall()
            with ui.column().classes("w-full min-w-0"):
                self._build_knobs()
        session.watch(self._changed)

    async def use(self, name: str | None) -> None:
        """Show the source `name`, or the newest one if there is none of that name."""
        listed = self._session.studio.listed()
        name = name if name in listed else (listed[0] if listed else None)
        self._sources.set_options(listed, value=name)
        path = None if name is None else self._session.studio.sources / name
        found = None if path is None else await run.io_bound(looked_at, path)
        if self._sources.value != name:  # another was chosen meanwhile
            return
        self._session.use(name, *(found or (None, WIDE)))

    def show(self) -> None:
        """Show the source and the best still that there is; ask for what is missing."""
        try:
            self._show()
        except UserError as error:  # a preset that was changed or deleted since, say
            self._state.set_text(str(error))

    def _show(self) -> None:
        session = self._session
        plain = session.still("bare", bare_settings, SETTLED)
        small = session.still("all", session.settings, SMALL)
        settled = session.still("all", session.settings, SETTLED)
        if plain is None or small is None or settled is None:
            self._picture.set_content("")
            self._state.set_text(texts.NO_SOURCE)
            return
        source = session.source
        before = address("stills", plain.output.name) if plain.output.exists() else None
        if source is not None and _can_be_shown(source):
            before, error = address("sources", source.name), None
        else:
            error = session.previews.ask(plain, URGENT)
        if not settled.output.exists():
            error = error or session.previews.ask(small, URGENT) or session.previews.ask(settled)
        made = [address("stills", one.output.name) for one in (settled, small)
                if one.output.exists()]  # fmt: skip
        after = made[0] if made else before
        if before is not None and (before, after) != self._shown:
            self._picture.set_content(
                COMPARE.format(
                    source=before,
                    dream=after,
                    source_alt=texts.SOURCE_ALT,
                    dream_alt=texts.DREAM_ALT,
                    label=texts.COMPARE,
                )
            )
            self._shown = before, after
        is_settled = settled.output.exists()
        self._state.set_text(error or (texts.SETTLED if is_settled else texts.SETTLING))
        self._film.show()
        if is_settled or error is not None:
            for one in self._wall.values():
                one.show(session)

    def _build_source(self) -> None:
        with ui.row().classes("w-full items-end"):
            ui.upload(
                label=texts.DROP,
                auto_upload=True,
                max_files=1,
                on_upload=self._dropped,
                on_rejected=lambda: self._session.tell(texts.REJECTED),
            ).props('accept="video/*,image/*,audio/*" flat bordered').classes("grow").mark("drop")
            self._sources = (
                ui.select([], label=texts.SOURCES, on_change=lambda e: self._selected(e.value))
                .classes("w-64")
                .mark("source")
            )
        with ui.row().classes("w-full items-center no-wrap") as self._moments:
            ui.label(texts.MOMENT)
            self._moment = (
                ui.slider(min=0, max=1, step=0.04, value=0)
                .props(f'label aria-label="{texts.MOMENT}"')
                .classes("grow")
                .mark("moment")
            )
            self._moment.on("change", lambda e: self._session.move(float(e.args)))

    def _build_picture(self) -> None:
        self._picture = ui.html("", sanitize=False).classes("w-full").mark("picture")
        self._state = ui.label("").props('role="status"').mark("state")
        self._film = FilmPlace(self._session, "w-full")
        with ui.row():
            ui.button(texts.RENDER, on_click=self._render).mark("render")
            self._move = ui.button(texts.MOVE, on_click=self._ask_moving).props("outline")
            self._move.mark("move")
            ui.button(texts.FULL_SCREEN, on_click=lambda: ui.run_javascript(FULL_SCREEN)).props(
                "flat"
            )
        ui.label(texts.COMMAND).classes("text-sm")
        with ui.row().classes("w-full items-center no-wrap"):
            self._command = ui.code("", language="bash").classes("grow min-w-0").mark("command")

    def _build_wall(self) -> None:
        ui.label(texts.LOOKS).classes("text-lg").props('role="heading" aria-level="2"')
        with ui.element("div").classes(GRID):
            for name in preset_names():
                self._wall[name] = tile(
                    name,
                    f"look-{name}",
                    partial(self._look, name),
                    partial(self._session.look, name),
                    _about(name),
                )

    def _look(self, name: str) -> Job | None:
        look = Chosen(look=name)
        return self._session.still(
            f"look {name}", lambda: without_masks(self._session.settings(look)), THUMBNAIL
        )

    def _build_knobs(self) -> None:
        ui.label(texts.KNOBS).classes("text-lg").props('role="heading" aria-level="2"')
        for name, label, least, most, step in KNOBS:
            with ui.row().classes("w-full justify-between"):
                ui.label(label)
                value = ui.label()
            slider = ui.slider(min=least, max=most, step=step, value=least).props(
                f'aria-label="{label}"'
            )
            slider.on("change", lambda e, name=name: self._session.set({name: _number(e.args)}))
            value.bind_text_from(slider, "value", lambda number: f"{number:g}")
            self._sliders[name] = slider
        self._terms = ui.input(texts.TERMS).classes("w-full").mark("terms")
        self._terms.props["hint"] = texts.TERMS_HINT
        self._terms.on(
            "change", lambda: self._session.set({"dream.terms": str(self._terms.value or "")})
        )
        with ui.expansion(texts.ALL_SETTINGS).classes("w-full") as everything:
            self._build_settings()
        everything.mark("all-settings")
        own = ui.input(texts.NAME_OF_LOOK).classes("w-full")
        ui.button(texts.SAVE_AS, on_click=lambda: self._save(own.value or "")).props("flat")

    def _build_settings(self) -> None:
        """Every setting, in the fold of its section, with its help; a search opens the folds."""
        search = ui.input(texts.SEARCH).props("clearable").classes("w-full").mark("search")
        sections: dict[str, list[tuple[str, FieldInfo]]] = {}
        for name, about in all_fields().items():
            section = name.rpartition(".")[0] or texts.GENERAL
            if section.split(".")[0] not in HIDDEN and name not in HIDDEN:
                sections.setdefault(section, []).append((name, about))
        folds: list[tuple[ui.expansion, list[tuple[ui.input, str]]]] = []
        for section, fields in sections.items():
            with ui.expansion(section).classes("w-full").props("dense") as fold:
                rows = [(self._build_setting(name, about), f"{name} {about.description}".lower())
                        for name, about in fields]  # fmt: skip
            folds.append((fold, rows))

        def sought() -> None:
            wanted = (search.value or "").lower()
            for fold, rows in folds:
                hits = [wanted in text for _, text in rows]
                for (row, _), hit in zip(rows, hits, strict=True):
                    row.set_visibility(hit)
                fold.set_visibility(any(hits))
                fold.set_value(bool(wanted) and any(hits))

        search.on_value_change(sought)

    def _build_setting(self, name: str, about: FieldInfo) -> ui.input:
        usual = f"{texts.UNSET}: {_default(about)}"
        row = ui.input(name, placeholder=usual).classes("w-full").mark(f"setting-{name}")
        row.props("bottom-slots stack-label")
        row.props["hint"] = about.description or ""
        row.on("change", lambda: self._session.set({name: str(row.value or "")}))
        return row

    async def _dropped(self, event: events.UploadEventArguments) -> None:
        studio = self._session.studio
        try:
            with usable(studio.sources):  # a full disk, say
                name = await studio.take(event.file.name, event.file.iterate())
            await run.io_bound(probe_or_refuse, studio.sources / name)
        except UserError as error:
            self._session.tell(str(error))
            return
        finally:
            event.sender.reset()  # type: ignore[attr-defined]
        ui.notify(texts.TAKEN.format(name=name))
        if name in studio.listed():
            await self.use(name)

    async def _selected(self, name: str | None) -> None:
        if name is not None and name != self._session.chosen.source:
            await self.use(name)

    def _changed(self) -> None:
        chosen, session = self._session.chosen, self._session
        self._shown = ()
        self._film.clear()
        self._moments.set_visibility(session.is_film)
        self._move.set_visibility(session.is_film)
        if session.is_film:
            self._moment.props(f"max={max(0.0, session.seconds - 0.05):.2f}")
            self._moment.set_value(chosen.at)
        table = session.settings().model_dump()
        for name, slider in self._sliders.items():
            section, key = name.split(".")
            value = table[section][key]
            if isinstance(value, int | float):
                slider.set_value(value)
        self._terms.set_value(as_sum(table["dream"]["terms"]) if table["dream"]["terms"] else "")
        for name, one in self._wall.items():
            press(one, name == chosen.look)
        self._command.set_content(self._told())
        self.show()

    def _told(self) -> str:
        """The command line that makes the same."""
        source = self._session.source
        if source is None:
            return "dreamreel video"
        kind = "video" if self._session.is_film else "image"
        return shlex.join(["dreamreel", kind, str(source), *self._session.chosen.of(kind).words()])

    async def _render(self) -> None:
        source, chosen = self._session.source, self._session.chosen
        if source is None:
            return
        stem = f"{source.stem}-{chosen.look}"
        settings, spans = self._session.settings(), (None, None, None)
        if self._session.is_film:
            job = video_job(source, Path(f"{stem}.mp4"), settings, spans, None, False)
        else:
            job = image_job(source, Path(f"{stem}.png"), settings)
        name = await self._session.render(job)
        if name is not None:
            ui.notify(texts.ADDED.format(name=name))

    def _ask_moving(self) -> None:
        self._film.want(self._session.moving("video", self._session.settings()))

    def _save(self, name: str) -> None:
        chosen = self._session.chosen
        try:
            sets = [f"{key}={text}" for key, text in chosen.sets.items()]
            for text in sets:
                parse_assignment(text)
            path = write_preset(name, chosen.look, sets, "", False)
        except UserError as error:
            self._session.tell(str(error))
            return
        ui.notify(texts.SAVED.format(path=path))


def probe_or_refuse(path: Path) -> Clip | None:
    """The clip in the file `path`, if it is a film. Raises UserError, and removes the file, if it
    cannot be decoded."""
    from dreamreel.pipeline.media.sound import check_sound
    from dreamreel.pipeline.media.stills import decoded_still
    from dreamreel.pipeline.studio.folder import SOUNDS

    try:
        if path.suffix.lower() in FILMS:
            return probe(path)
        if path.suffix.lower() in SOUNDS:
            check_sound(path)
        else:
            decoded_still(path)
    except UserError:
        path.unlink(missing_ok=True)
        raise
    return None


def _about(preset: str) -> str:
    """What the `preset` says of itself, or why it cannot be read: it may be the user's own."""
    try:
        return load_preset(preset).description
    except UserError as error:
        return str(error)


def _can_be_shown(source: Path) -> bool:
    """Whether a browser shows the file `source` as it is, quickly."""
    return source.suffix.lower() in SHOWN and source.stat().st_size <= LARGEST_SHOWN


def _default(about: FieldInfo) -> str:
    value = about.get_default(call_default_factory=True)
    if value in (None, {}, ()):
        return texts.NONE
    return json.dumps(value) if isinstance(value, bool | int | float | str) else str(value)


def _number(value: Any) -> str:
    found = value[0] if isinstance(value, list) else value
    return f"{float(found):g}"
