"""What several views show: stills that come, and films."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from nicegui import ui

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.media.encoding import CONTAINERS
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import Session
from dreamreel.pipeline.studio.previewing import IDLE, USUAL

EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
GRID = "wall grid grid-cols-2 sm:grid-cols-3 md:grid-cols-5 gap-2 w-full"


def address(kind: str, name: str) -> str:
    """Where the page finds the file `name` of a `kind`."""
    return f"/file/{kind}/{quote(name)}"


def image(job: Job, about: str = "") -> str:
    """The HTML of the picture that `job` has made."""
    return f'<img alt="{escape(about)}" src="{address("stills", job.output.name)}">'


def film(kind: str, name: str, classes: str = "w-full max-w-2xl") -> None:
    """Show the finished result `name` of a `kind`, a film or a picture."""
    if Path(name).suffix.lower() in CONTAINERS:
        plays = kind == "stills"  # a preview, without sound
        made = ui.video(address(kind, name), controls=True, loop=True, muted=plays, autoplay=plays)
        made.classes(classes).props("playsinline")
        made.props["aria-label"] = name
    else:
        text = f'<img src="{address(kind, name)}" alt="{escape(name)}">'
        ui.html(text, sanitize=False).classes(classes)


class FilmPlace:
    """A place for a preview that moves: it shows that it is being made, then the film, or why there
    is none."""

    def __init__(self, session: Session, classes: str) -> None:
        self._session = session
        self._job: Job | None = None
        self._place = ui.column().classes(classes)

    def clear(self) -> None:
        """Show nothing, and want nothing."""
        self._job = None
        self._place.clear()

    def want(self, job: Job | None) -> None:
        """Show the film that `job` makes, once it is there."""
        self._job = job
        self._place.clear()
        if job is not None:
            with self._place:
                ui.spinner().props["aria-label"] = texts.SETTLING
            self.show()

    def show(self) -> None:
        """Bring the place up to date."""
        job = self._job
        if job is None:
            return
        error = self._session.previews.ask(job, USUAL)
        if error is None and not job.output.exists():
            return
        self.clear()
        with self._place:
            if error is not None:
                ui.label(error).classes("text-negative")
            else:
                film("stills", job.output.name, "w-full")


@dataclass
class Tile:
    """A button with a picture that comes when it is made: `make` gives its job, None if there is
    none, and raises UserError if there cannot be one."""

    make: Callable[[], Job | None]
    button: ui.element
    picture: ui.html

    def show(self, session: Session) -> None:
        """Show the picture if it is there, or why it cannot be; else ask for it."""
        try:
            job = self.make()
            error = None if job is None else session.previews.ask(job, IDLE)
        except UserError as mistake:
            job, error = None, str(mistake)
        text = self.picture.content
        if error is not None:  # such as a network whose weights are not here
            brief = error.partition(" (")[0]
            text = f'<div class="none" title="{escape(error)}">{escape(brief)}</div>'
        elif job is not None and job.output.exists():
            text = image(job)
        if text != self.picture.content:
            self.picture.set_content(text)


def tile(
    label: str,
    mark: str,
    make: Callable[[], Job | None],
    chosen: Callable[[], None],
    about: str = "",
) -> Tile:
    """A tile with the `label`, that calls `chosen` when it is pressed."""
    with ui.element("button").on("click", chosen).mark(mark) as button:
        button.props('type="button"')
        button.props["title"] = about
        picture = ui.html(f'<img alt="" src="{EMPTY}">', sanitize=False)
        ui.label(label).classes("break-all")
    return Tile(make, button, picture)


def press(tile: Tile, is_pressed: bool) -> None:
    """Show whether `tile` is the one that is chosen."""
    tile.button.props(f"aria-pressed={'true' if is_pressed else 'false'}")
