"""The view of masks: a region is painted on a frame, is seen carried along the clip, and tells what
is dreamed inside and outside."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
from nicegui import events, run, ui

from dreamreel.pipeline.config.grammar import value_text
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import Session, as_sum, bare_settings
from dreamreel.pipeline.studio.painting import (
    HEAD,
    file_for,
    folder_for,
    forget_painted,
    frames_in,
    keep_painted,
    painted_of,
)
from dreamreel.pipeline.studio.previewing import SETTLED, URGENT
from dreamreel.pipeline.studio.views.parts import FilmPlace, image

PENS = (5, 160, 40)  # the least, the most and the usual width of the pen, of a picture of 640
OWN = ("mask.file", "mask.carry", "mask.invert", "region")  # settings that this view makes


class MasksView:
    """The view, built into the element that is open when it is made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: Path | None = None
        self._is_filling = False
        self._needs = ui.label(texts.MASKS_NEED)
        with ui.column().classes("w-full") as self._body:
            ui.label(texts.PAINT_HELP)
            self._build_pen()
            self._picture = ui.html("", sanitize=False).classes("w-full").mark("paint")
            self._told = ui.label("").props('role="status"').mark("masks-state")
            with ui.row():
                ui.button(texts.KEEP_MASK, on_click=lambda: ui.run_javascript("studioKeep()")).mark(
                    "keep-mask"
                )
                ui.button(texts.FORGET_MASKS, on_click=self._forget).props("outline").mark(
                    "forget-masks"
                )
                self._follow = ui.button(texts.FOLLOW_MASK, on_click=self._ask_film)
                self._follow.props("outline").mark("follow-mask")
            self._build_sides()
            self._film = FilmPlace(session, "w-full max-w-4xl")
        ui.on("painted", self._painted)
        session.watch(self._changed)

    def show(self) -> None:
        """Show the frame to paint on, and the film of the mask, once they are there."""
        plain = self._session.still("bare", bare_settings, SETTLED)
        if plain is not None and plain.output != self._shown:
            self._session.previews.ask(plain, URGENT)
            if plain.output.exists():
                self._shown = plain.output
                self._show_frame(plain)
        self._film.show()

    def _build_pen(self) -> None:
        least, most, usual = PENS
        with ui.row().classes("w-full items-center"):
            ui.label(texts.PEN)
            size = ui.slider(min=least, max=most, value=usual).classes("w-48")
            size.props(f'aria-label="{texts.PEN}"')
            erases = ui.switch(texts.ERASE).mark("erase")
            ui.button(texts.CLEAR, on_click=lambda: _run("studioClear(false)")).props("flat")
            ui.button(texts.FILL, on_click=lambda: _run("studioClear(true)")).props("flat").mark(
                "fill"
            )
        for one in (size, erases):
            one.on_value_change(
                lambda: _run(f"studioPen({float(size.value)}, {json.dumps(bool(erases.value))})")
            )

    def _build_sides(self) -> None:
        sides = list(texts.SIDES)
        with ui.row().classes("w-full items-end"):
            self._side = ui.select(texts.SIDES, value=sides[0], label=texts.DREAMED)
            self._side.classes("w-64").mark("side")
            self._inside = ui.input(texts.INSIDE).classes("w-48").mark("inside")
            self._outside = ui.input(texts.OUTSIDE).classes("w-48").mark("outside")
            self._feather = ui.number(texts.FEATHER, value=0.02, min=0, max=0.5, step=0.01)
        for one in (self._inside, self._outside):
            one.bind_visibility_from(self._side, "value", lambda side: side == "both")
            one.on("change", self._use)
        self._side.on_value_change(self._use)
        self._feather.on("change", self._use)

    @property
    def _folder(self) -> Path:
        return folder_for(self._session.studio, self._session.chosen.source or "")

    def _show_frame(self, plain: Job) -> None:
        """Show the frame of `plain`, with the mask that was painted on it, if there is one."""
        canvas = (
            f'<canvas id="paint" tabindex="0" role="img" aria-label="{texts.PAINT_ON}"></canvas>'
        )
        self._picture.set_content(f'<div class="paint">{image(plain)}{canvas}</div>')
        height, width = _size_of(plain.output)
        data = _as_ink(file_for(self._folder, self._session.frame), (height, width))
        ui.timer(
            0.1, lambda: _run(f"studioPaint({width}, {height}, {json.dumps(data)})"), once=True
        )

    def _changed(self) -> None:
        session = self._session
        has_source = session.source is not None
        self._needs.set_visibility(not has_source)
        self._body.set_visibility(has_source)
        self._follow.set_visibility(session.is_film)
        self._film.clear()
        self._fill()
        self._tell()

    def _fill(self) -> None:
        """Show what is chosen of the masks."""
        settings = self._session.settings()
        masks = [region.mask for region in settings.region] or [settings.mask]
        if masks[0].file is None:
            return
        side = "both" if settings.region else "outside" if settings.mask.invert else "inside"
        terms = [as_sum(region.terms) if region.terms else "" for region in settings.region[:2]]
        self._is_filling = True
        self._side.set_value(side)
        self._feather.set_value(masks[0].feather)
        for field, text in zip((self._inside, self._outside), terms, strict=False):
            field.set_value(text)
        self._is_filling = False

    def _tell(self) -> None:
        """Tell which frames have a mask."""
        frames = frames_in(self._folder) if self._session.source is not None else []
        clip = self._session.clip
        if not frames:
            self._told.set_text(texts.NO_MASK)
        elif clip is None:
            self._told.set_text(texts.HAS_MASK)
        else:
            times = ", ".join(f"{float(frame / clip.rate):.2f} s" for frame in frames)
            self._told.set_text(texts.HAS_MASKS.format(times=times))

    async def _painted(self, event: events.GenericEventArguments) -> None:
        """Keep the mask that the page has sent."""
        session, told = self._session, event.args
        source = session.source
        if source is None or not isinstance(told, dict):
            return
        try:
            mask = painted_of(str(told.get("data", "")))
            size = session.clip.size if session.clip else _size_of(source)
            about = session.studio, source.name, session.frame, mask, size
            await run.io_bound(keep_painted, *about)
        except UserError as error:
            session.tell(str(error))
            return
        ui.notify(texts.MASK_KEPT)
        self._use()

    def _use(self) -> None:
        """Have the painted masks among what is chosen."""
        session, folder = self._session, self._folder
        if self._is_filling or session.source is None or not frames_in(folder):
            return
        file = folder if session.is_film else file_for(folder, 0)
        session.set(
            _settings_of(
                str(self._side.value),
                file,
                carried=session.is_film,
                terms=(str(self._inside.value or ""), str(self._outside.value or "")),
                feather=float(self._feather.value or 0),
            )
        )

    def _forget(self) -> None:
        source = self._session.source
        if source is not None:
            forget_painted(self._session.studio, source.name)
            self._session.set(dict.fromkeys((*OWN, "mask.feather"), ""))
            self._shown = None  # the canvas is made anew

    def _ask_film(self) -> None:
        self._film.want(self._session.moving("preview", self._session.settings()))


def _settings_of(
    side: str, file: Path, carried: bool, terms: tuple[str, str], feather: float
) -> dict[str, str]:
    """The settings, as text, by which the mask in `file` tells what is dreamed: on one `side` of it
    or, with "both", by the `terms` inside and outside. `carried` masks follow the flow."""
    path, carry = value_text(str(file)), value_text(carried)
    if side != "both":
        return {
            "mask.file": path,
            "mask.carry": carry if carried else "",
            "mask.invert": "true" if side == "outside" else "",
            "mask.feather": f"{feather:g}" if feather else "",
            "region": "",
        }
    masks = [
        f"mask = {{ file = {path}, carry = {carry}, feather = {feather:g}, invert = {invert} }}"
        for invert in ("false", "true")
    ]
    parts = [
        f"{{ terms = {value_text(term)}, {mask} }}" if term else f"{{ {mask} }}"
        for term, mask in zip(terms, masks, strict=True)
    ]
    region = f"[{', '.join(parts)}]"
    return {"region": region} | dict.fromkeys((*OWN[:3], "mask.feather"), "")


def _as_ink(file: Path, size: tuple[int, int]) -> str | None:
    """The mask in `file` as what the page paints, a data URL of `size` (height, width); None if
    there is none."""
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.is_file() else None
    if mask is None:
        return None
    ink = np.zeros((*size, 4), np.uint8)
    ink[..., :3] = (255, 0, 255)
    ink[..., 3] = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA)
    return HEAD + base64.b64encode(cv2.imencode(".png", ink)[1].tobytes()).decode()


def _size_of(path: Path) -> tuple[int, int]:
    from dreamreel.pipeline.media.stills import read_header

    return read_header(path).size


def _run(script: str) -> None:
    ui.run_javascript(script)
