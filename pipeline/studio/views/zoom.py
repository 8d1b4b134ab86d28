"""The view of the endless zoom: its length and music, the curves of its settings, a preview of the
camera's path, and the render."""

import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from json import dumps
from pathlib import Path
from typing import Any

from nicegui import background_tasks, events, run, ui

from dreamreel.pipeline.app.arguments import RATE, SECONDS
from dreamreel.pipeline.app.jobs import ZoomOptions, zoom_job
from dreamreel.pipeline.config.fields import all_fields
from dreamreel.pipeline.config.grammar import value_text
from dreamreel.pipeline.config.schedule import EASES
from dreamreel.pipeline.config.timeline import Heard
from dreamreel.pipeline.config.values import check_frames, check_seconds, parse_fps
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import NOWHERE, Session
from dreamreel.pipeline.studio.curves import Curve, Stage, curve_of, drawn
from dreamreel.pipeline.studio.views.parts import FilmPlace

# The settings whose curves are offered first; any other that may be scheduled can be typed.
CURVES = (
    *("camera.zoom", "camera.rotation", "camera.pan_x", "camera.pan_y", "camera.tilt"),
    *("camera.yaw", "zoom.evolve", "dream.strength", "dream.step_size"),
)
PATH_WIDTH = 256  # pixels of the preview of the camera's path


@dataclass(frozen=True)
class Plan:
    """What only a zoom takes, as the page has it: its length and rate as text, the name of its
    music among the sources, and whether it loops or goes backwards."""

    seconds: float = SECONDS
    fps: str = RATE
    music: str | None = None
    loop: bool = False
    reverse: bool = False

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Plan":
        """The plan in `table`, as far as it is one."""
        music, fps = table.get("music"), table.get("fps", RATE)
        with suppress(UserError, TypeError, ValueError):
            found = cls(
                seconds=float(table.get("seconds", SECONDS)),
                fps=str(fps),
                music=music if isinstance(music, str) else None,
                loop=bool(table.get("loop")),
                reverse=bool(table.get("reverse")),
            )
            check_seconds("--seconds", found.seconds)
            check_frames(round(found.seconds * parse_fps("--fps", found.fps)))
            return found
        return cls()

    def words(self, music: Path | None) -> list[str]:
        """The options that stand for it on the command line."""
        words = ["--seconds", f"{self.seconds:g}"]
        words += ["--fps", self.fps] if self.fps != RATE else []
        words += ["--audio", str(music)] if music is not None else []
        words += ["--loop"] if self.loop else []
        return words + (["--reverse"] if self.reverse else [])

    def options(self, music: Path | None, motion_only: bool = False) -> ZoomOptions:
        """The same as options of `zoom`."""
        return ZoomOptions(
            seconds=self.seconds,
            fps=self.fps,
            size=None,
            colour=None,
            loop=self.loop,
            to=None,
            reverse=self.reverse,
            motion_only=motion_only,
            audio=music,
        )


@lru_cache(maxsize=4)
def heard_in(music: Path, stamp: int, rate: Fraction, frames: int) -> Heard:
    """The music in the file `music`, changed at the time `stamp`. Raises UserError if there is
    none."""
    from dreamreel.pipeline.media.sound import hear

    return hear(music, rate, frames)


class ZoomView:
    """The view, built into the element that is open when it is made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._name, self._picked = CURVES[0], 0
        self._stage = Stage(1, Fraction(30))
        self._curve: Curve | None = None
        self._is_filling = False
        self._pictures = ui.label(texts.ZOOM_NEEDS)
        with ui.column().classes("w-full") as self._body:
            self._build_plan()
            self._build_curve()
            with ui.row():
                ui.button(texts.SHOW_PATH, on_click=self._show_path).mark("path")
                ui.button(texts.RENDER_ZOOM, on_click=self._render).props("outline").mark(
                    "render-zoom"
                )
            self._film = FilmPlace(session, "w-full max-w-2xl")
            ui.label(texts.COMMAND).classes("text-sm")
            self._command = ui.code("", language="bash").classes("w-full").mark("zoom-command")
        ui.on("curve", self._dragged)
        session.watch(self._changed)

    def show(self) -> None:
        """Show the preview of the path, if it was asked for and is there."""
        self._film.show()

    def _build_plan(self) -> None:
        with ui.row().classes("w-full items-end"):
            self._seconds = ui.number(texts.SECONDS, value=SECONDS, min=0.1, step=0.5)
            self._seconds.mark("zoom-seconds")
            self._fps = ui.input(texts.FPS, value=RATE).classes("w-24")
            self._music = ui.select({"": texts.NO_MUSIC}, value="", label=texts.MUSIC)
            self._music.classes("w-64").mark("music")
            self._loop = ui.switch(texts.LOOP)
            self._reverse = ui.switch(texts.REVERSE)
        for one in (self._seconds, self._fps):
            one.on("change", self._planned)
        for other in (self._music, self._loop, self._reverse):
            other.on_value_change(self._planned)

    def _build_curve(self) -> None:
        names = [*CURVES, *(name for name in all_fields() if name not in CURVES and _may(name))]
        with ui.row().classes("w-full items-end"):
            setting = ui.select(names, value=self._name, label=texts.CURVE_OF, with_input=True)
            setting.classes("w-64").mark("curve-of")
            setting.on_value_change(lambda e: self._turn(str(e.value)))
            self._text = ui.input(texts.SCHEDULE).classes("grow").mark("schedule")
            self._text.on("change", lambda: self._typed(str(self._text.value or "")))
        self._about = ui.label("").classes("text-sm opacity-80")
        ui.html('<svg id="curve" role="group"></svg>', sanitize=False).classes("w-full curve")
        with ui.row().classes("items-end"):
            self._at = ui.number(texts.KEY_AT, step=0.1, min=0).classes("w-28").mark("key-at")
            self._value = ui.number(texts.KEY_VALUE, step=0.05).classes("w-28").mark("key-value")
            eases = {"": texts.USUAL_EASE, **{one: one for one in EASES}}
            self._ease = ui.select(eases, value="", label=texts.EASE).classes("w-48").mark("ease")
            ui.button(texts.ADD_KEY, on_click=self._add).props("flat").mark("add-key")
            ui.button(texts.REMOVE_KEY, on_click=self._remove).props("flat").mark("remove-key")
        ui.label(texts.CURVE_HELP).classes("text-sm opacity-80")
        for one in (self._at, self._value):
            one.on("change", self._numbered)
        self._ease.on_value_change(self._eased)

    @property
    def _plan(self) -> Plan:
        return Plan.of(self._session.chosen.zoom)

    def _music_file(self) -> Path | None:
        return self._session.studio.file("sources", self._plan.music or "")

    def _changed(self) -> None:
        session, plan = self._session, self._plan
        is_picture = session.source is not None and not session.is_film
        self._pictures.set_visibility(not is_picture)
        self._body.set_visibility(is_picture)
        self._film.clear()
        if not is_picture:
            return
        self._is_filling = True
        listed = session.studio.musical()
        music = plan.music if plan.music in listed else ""
        self._music.set_options({"": texts.NO_MUSIC, **{one: one for one in listed}}, value=music)
        self._seconds.set_value(plan.seconds)
        self._fps.set_value(plan.fps)
        self._loop.set_value(plan.loop)
        self._reverse.set_value(plan.reverse)
        self._is_filling = False
        words = ["dreamreel", "zoom", str(session.source), *plan.words(self._music_file())]
        self._command.set_content(shlex.join([*words, *session.chosen.of("zoom").words()]))
        background_tasks.create(self._draw())

    async def _draw(self) -> None:
        """Draw the curve of the setting that is looked at."""
        plan, music = self._plan, self._music_file()
        rate = parse_fps("--fps", plan.fps)
        frames, heard = max(1, round(plan.seconds * rate)), None
        if music is not None:
            about = music, music.stat().st_mtime_ns, rate, frames
            try:
                heard = await run.io_bound(heard_in, *about)
            except UserError as error:
                with self._body:
                    self._session.tell(str(error))
        with self._body:
            self._take_stage(Stage(frames, rate, heard))

    def _take_stage(self, stage: Stage) -> None:
        """Draw the curve over `stage`."""
        self._stage = stage
        self._about.set_text(all_fields()[self._name].description or "")
        value = self._value_now()
        try:
            self._curve = curve_of(self._name, value, self._stage)
        except UserError as error:
            self._curve = None  # whatever is done to keys is done to this setting alone
            self._session.tell(str(error))
            self._text.set_value(value_text(value) if isinstance(value, dict) else str(value))
            ui.run_javascript("studioCurve(null)")
            return
        self._show_curve()

    def _value_now(self) -> Any:
        """The schedule of the setting, or the number that it is."""
        settings = self._session.settings(self._session.chosen)
        if self._name in self._session.chosen.sets:
            return self._session.chosen.sets[self._name]
        if self._name in settings.schedules:
            return settings.schedules[self._name].plain()
        found: Any = settings
        for part in self._name.split("."):
            found = getattr(found, part)
        return found

    def _show_curve(self) -> None:
        curve = self._curve
        if curve is None:
            return
        self._picked = min(self._picked, len(curve.keys) - 1)
        key = curve.keys[self._picked]
        self._is_filling = True
        self._text.set_value(curve.text)
        self._at.set_value(round(key.seconds, 3))
        self._value.set_value(round(key.height, 4))
        self._ease.set_value(key.ease if key.ease in EASES else "")
        self._is_filling = False
        about = texts.KEY_OF.format(name=self._name)
        table = drawn(curve, self._stage, self._picked, about)
        ui.run_javascript(f"studioCurve({_json(table)})")

    def _turn(self, name: str) -> None:
        self._name, self._picked = name, 0
        self._session.change()

    def _typed(self, text: str) -> None:
        self._session.set({self._name: text})

    def _take(self, curve: Curve) -> None:
        """Have `curve` as the schedule of its setting: the text is what counts."""
        self._session.set({curve.name: curve.text})

    def _change(self, change: Callable[[], Curve], seconds: float | None = None) -> None:
        """Take the curve that `change` makes, and pick the key at that time. Where there cannot be
        one, it is told, and the curve stays."""
        try:
            curve = change()
        except UserError as error:
            self._session.tell(str(error))
            self._show_curve()
            return
        if seconds is not None:
            away = [abs(key.seconds - seconds) for key in curve.keys]
            self._picked = away.index(min(away))
        self._take(curve)

    def _dragged(self, event: events.GenericEventArguments) -> None:
        """A key was picked, moved, added or removed on the page."""
        told, curve = event.args, self._curve
        if curve is None or not isinstance(told, dict):
            return
        index = told.get("index")
        numbers = [told.get(name) for name in ("t", "v")]
        if told.get("do") in ("move", "add") and not all(_is_finite(one) for one in numbers):
            return
        if isinstance(index, int) and 0 <= index < len(curve.keys):
            self._picked = index
            if told["do"] == "pick":
                self._show_curve()
            elif told["do"] == "move":
                at, value = float(told["t"]), float(told["v"])
                self._change(lambda: curve.moved(index, self._stage, at, value), at)
            elif told["do"] == "remove":
                self._change(lambda: curve.removed(index, self._stage))
        elif told.get("do") == "add":
            at, value = float(told["t"]), float(told["v"])
            self._change(lambda: curve.added(self._stage, at, value), at)

    def _numbered(self) -> None:
        at, value, curve = self._at.value, self._value.value, self._curve
        if curve is None or self._is_filling or at is None or value is None:
            return
        self._change(lambda: curve.moved(self._picked, self._stage, at, value), at)

    def _eased(self) -> None:
        curve, ease = self._curve, str(self._ease.value or "")
        if curve is not None and not self._is_filling:
            self._change(lambda: curve.eased(self._picked, self._stage, ease))

    def _add(self) -> None:
        """Add a key in the middle of the longest gap."""
        curve = self._curve
        if curve is None:
            return
        times = [*(key.seconds for key in curve.keys), self._stage.seconds]
        gaps = [(after - before, before) for before, after in pairwise(times)]
        length, begins = max(gaps)
        middle = begins + length / 2
        value = min(curve.points, key=lambda point: abs(point[0] - middle))[1]
        self._change(lambda: curve.added(self._stage, middle, value), middle)

    def _remove(self) -> None:
        curve = self._curve
        if curve is not None:
            self._change(lambda: curve.removed(self._picked, self._stage))

    def _planned(self) -> None:
        if self._is_filling:
            return
        seconds, fps = self._seconds.value, str(self._fps.value or "")
        try:
            check_seconds("--seconds", float(seconds or 0))
            check_frames(round(float(seconds) * parse_fps("--fps", fps)))
        except UserError as error:
            self._session.tell(str(error))
        else:
            self._session.chosen.zoom = {
                "seconds": float(seconds),
                "fps": fps,
                "music": self._music.value or None,
                "loop": bool(self._loop.value),
                "reverse": bool(self._reverse.value),
            }
        self._session.change()

    def _show_path(self) -> None:
        plan, music = self._plan, self._music_file()
        chosen = self._session.chosen.of("zoom")
        small = {"width": str(PATH_WIDTH), "output.keep_state": "false"}
        given = chosen.but(small).given()

        def made(source: Path) -> Job:
            job = zoom_job(source, plan.options(music, motion_only=True), given)
            return job.model_copy(update={"output": NOWHERE.with_suffix(".mp4")})

        try:
            self._film.want(self._session.preview("path", made, ".mp4"))
        except UserError as error:
            self._session.tell(str(error))

    async def _render(self) -> None:
        source = self._session.source
        if source is None:
            return
        output = Path(f"{source.stem}-zoom-{self._session.chosen.look}.mp4")
        given = replace(self._session.chosen.of("zoom").given(), output=output)
        try:
            job = zoom_job(source, self._plan.options(self._music_file()), given)
        except UserError as error:
            self._session.tell(str(error))
            return
        name = await self._session.render(job)
        if name is not None:
            ui.notify(texts.ADDED.format(name=name))


def _may(name: str) -> bool:
    """Whether the setting `name` is a number, which may change over time."""
    kind = all_fields()[name].annotation
    return kind is float and name.split(".")[0] not in ("output", "region", "source")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9


def _json(table: Any) -> str:
    return dumps(table).replace("</", "<\\/")
