"""The view that explores: layers, channels and classes by picture, and sweeps of two settings.

Whatever is pressed becomes a part of what is chosen.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from nicegui import run, ui

from dreamreel.pipeline.app.classes import class_names
from dreamreel.pipeline.config.fields import all_fields
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.axes import Axis, check_axes, combinations, parse_axis
from dreamreel.pipeline.exploring.layers import layer_rows, usual_stops
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.networks.classes import search_classes
from dreamreel.pipeline.networks.dreamnet_layers import FAVOURITE, Row
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.choice import NOWHERE, TERMS, Chosen, Session, as_sum
from dreamreel.pipeline.studio.previewing import THUMBNAIL
from dreamreel.pipeline.studio.views.parts import GRID, Tile, press, tile

CHANNELS = 20  # on a page
CHANNEL_WIDTH, CHANNEL_STEPS = 96, 24  # of the picture of a channel: about a second on two cores
MOST_CLASSES = 40  # that are listed
MOST_CELLS = 36  # of a sweep on the page; `dreamreel sweep` makes more
SWEPT = (("dream.octaves", "2, 4, 6"), ("dream.strength", "0.5, 1, 2"))  # at first


@dataclass(frozen=True)
class Known:
    """What is known of a network: its layers, those that tell it, and the names of its classes."""

    rows: tuple[Row, ...]
    stops: tuple[str, ...]
    classes: tuple[str, ...]


def known_of(network: str) -> Known:
    """What is known of the `network`. Raises UserError if there is none of that name."""
    try:
        classes = class_names(network) or ()
    except UserError:  # without classes, or without weights
        classes = ()
    return Known(tuple(layer_rows(network)), usual_stops(network), classes)


class ExploreView:
    """The view, built into the element that is open when it is made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: Known | None = None
        self._network = ""
        self._tiles: list[Tile] = []
        self._terms: dict[str, Tile] = {}
        self._page = 0
        with ui.row().classes("w-full items-center"):
            kinds = list(texts.EXPLORED)
            self._kind = ui.toggle(kinds, value=kinds[0], on_change=lambda: self._build())
            self._kind.mark("explored")
            self._adds = ui.switch(texts.ADDS).mark("adds")
        self._now = ui.label("").classes("font-mono break-all").props('role="status"')
        self._body = ui.column().classes("w-full")
        session.watch(self._changed)

    async def show(self) -> None:
        """Bring all tiles up to date."""
        network = self._session.settings().network
        if network != self._network:
            self._network, self._known = network, None
            try:
                self._known = await run.io_bound(known_of, network)
            except UserError as error:
                self._session.tell(str(error))
            self._build()
        for one in self._tiles:
            one.show(self._session)

    def _changed(self) -> None:
        terms = self._session.chosen.sets.get("dream.terms", "")
        self._now.set_text(texts.NOW.format(terms=terms or texts.OF_LOOK))
        for term, one in self._terms.items():
            press(one, term == terms)

    def _build(self) -> None:
        self._tiles, self._terms = [], {}
        self._body.clear()
        if self._known is None:
            return
        kinds = list(texts.EXPLORED)
        builds = (self._build_layers, self._build_channels, self._build_classes, self._build_sweep)
        with self._body:
            dict(zip(kinds, builds, strict=True))[str(self._kind.value)](self._known)
        self._changed()

    def _build_layers(self, known: Known) -> None:
        ui.label(texts.LAYERS_HELP)
        sought = ui.input(texts.SEARCH_LAYERS).props("clearable").classes("w-64")
        grid = ui.element("div").classes(GRID)

        def fill() -> None:
            wanted = str(sought.value or "").lower()
            names: Sequence[str] = known.stops
            if wanted:
                names = [row.name for row in known.rows if wanted in row.name.lower()]
            self._fill(grid, [(name, name) for name in names[:MOST_CLASSES]])

        sought.on_value_change(fill)
        fill()

    def _build_channels(self, known: Known) -> None:
        ui.label(texts.CHANNELS_HELP)
        rows = {row.name: row for row in known.rows if row.receptive is not None}
        stops = [name for name in known.stops if name in rows] or list(rows)
        first = FAVOURITE if FAVOURITE in rows else stops[len(stops) // 2]
        with ui.row().classes("items-center"):
            layer = ui.select(list(rows), value=first, label=texts.LAYER, with_input=True)
            layer.classes("w-64").mark("layer")
            back = ui.button(texts.BACK).props("flat")
            place = ui.label()
            on = ui.button(texts.ON).props("flat").mark("more-channels")
        grid = ui.element("div").classes(GRID)
        self._page = 0

        def fill(by: int = 0) -> None:
            row = rows[str(layer.value)]
            last = (row.channels - 1) // CHANNELS
            self._page = min(max(0, self._page + by), last)
            numbers = range(self._page * CHANNELS, min(row.channels, (self._page + 1) * CHANNELS))
            place.set_text(
                texts.CHANNELS_OF.format(first=numbers[0], last=numbers[-1], count=row.channels)
            )
            terms = [(f"{row.name}:{number}", f"{row.name}:{number}") for number in numbers]
            self._fill(grid, terms, self._imagined)

        def turned() -> None:
            self._page = 0
            fill()

        layer.on_value_change(turned)
        back.on_click(lambda: fill(-1))
        on.on_click(lambda: fill(1))
        fill()

    def _build_classes(self, known: Known) -> None:
        if not known.classes:
            ui.label(texts.NO_CLASSES.format(network=self._network))
            return
        ui.label(texts.CLASSES_HELP.format(count=len(known.classes)))
        sought = ui.input(texts.SEARCH_CLASSES).props("clearable").classes("w-64").mark("class")
        grid = ui.element("div").classes(GRID)

        def fill() -> None:
            wanted = str(sought.value or "").strip()
            numbers = search_classes(known.classes, wanted) if wanted else []
            terms = [(f"class:{number}", known.classes[number].split(",")[0]) for number in numbers]
            self._fill(grid, terms[:MOST_CLASSES])

        sought.on_value_change(fill)
        fill()

    def _build_sweep(self, known: Known) -> None:
        ui.label(texts.SWEEP_HELP)
        names = [name for name in all_fields() if name.split(".")[0] not in ("output", "region")]
        axes: list[tuple[ui.select, ui.input]] = []
        for name, values in SWEPT:
            with ui.row().classes("items-end"):
                which = ui.select(names, value=name, label=texts.SETTING, with_input=True)
                told = ui.input(texts.VALUES, value=values).mark(f"values-{len(axes)}")
                axes.append((which.classes("w-64"), told))
        command = ui.code("", language="bash").classes("w-full")
        grid = ui.column().classes("w-full overflow-auto")

        def lay_out() -> None:
            try:
                found = [parse_axis(f"{which.value}={told.value}") for which, told in axes]
                self._lay_out(found, grid)
            except UserError as error:
                self._session.tell(str(error))
                return
            source = self._session.source
            over = [word for axis in found for word in ("--over", _as_over(axis))]
            words = ["dreamreel", "sweep", str(source or "noise"), *over]
            if self._session.is_film:
                words += ["--still", f"{self._session.chosen.at:g}"]
            command.set_content(shlex.join([*words, *self._session.chosen.of("image").words()]))

        ui.button(texts.LAY_OUT, on_click=lay_out).mark("lay-out")
        lay_out()

    def _lay_out(self, axes: Sequence[Axis], grid: ui.column) -> None:
        """Lay out the sweep over the two `axes`, the first across, the second down. Raises
        UserError if a value is not valid or there are too many."""
        check_axes(axes)
        across, down = axes
        if across.name == down.name:
            raise UserError(texts.SAME_AXIS.format(name=down.name))
        if len(across.values) * len(down.values) > MOST_CELLS:
            raise UserError(texts.TOO_MANY.format(most=MOST_CELLS))
        for pair in combinations(axes):
            self._session.settings(_swept(self._session.chosen, axes, pair))
        self._tiles = []
        grid.clear()
        columns = f"grid-template-columns: repeat({len(across.values)}, minmax(7rem, 1fr))"
        with grid, ui.element("div").classes("wall grid gap-2 w-full").style(columns):
            for row in down.values:
                for column in across.values:
                    self._tiles.append(self._cell(axes, (column, row)))

    def _cell(self, axes: Sequence[Axis], values: tuple[str, str]) -> Tile:
        sets = {axis.name: value for axis, value in zip(axes, values, strict=True)}

        def job() -> Job | None:
            swept = self._session.chosen.but(sets)
            key = ("sweep", *sets.items())
            return self._session.still(key, lambda: self._session.settings(swept), THUMBNAIL)

        label = ", ".join(axis.label(sets[axis.name]) for axis in axes)
        return tile(label, f"cell-{'-'.join(values)}", job, partial(self._session.set, sets))

    def _fill(
        self,
        grid: ui.element,
        terms: Sequence[tuple[str, str]],
        picture: Callable[[str], Job | None] | None = None,
    ) -> None:
        """Fill `grid` with a tile for each of `terms`, a term and what it is called. `picture`
        gives the job of its picture; without, that is the source as the term amplifies it."""
        grid.clear()
        self._tiles, self._terms = [], {}
        with grid:
            for term, label in terms:
                made = tile(
                    label, f"term-{term}", partial(picture or self._dreamed, term),
                    partial(self._choose, term), term,
                )  # fmt: skip
                self._tiles.append(made)
                self._terms[term] = made
        self._changed()

    def _choose(self, term: str) -> None:
        before = self._session.settings().dream.terms
        both = as_sum({**before, term: 1.0}) if before and self._adds.value else term
        self._session.set({TERMS: both})

    def _dreamed(self, term: str) -> Job | None:
        chosen = self._session.chosen.but({"dream.terms": term})
        return self._session.still(
            ("term", term), lambda: self._session.settings(chosen), THUMBNAIL
        )

    def _imagined(self, term: str) -> Job:
        """The job of what `term` looks for, imagined from noise."""
        chosen = self._session.settings()
        bare = Chosen(sets={"dream.terms": term, "imagine.steps": str(CHANNEL_STEPS)}).settings()
        settings = bare.model_copy(
            update={
                "network": chosen.network,
                "weights": chosen.weights,
                "width": CHANNEL_WIDTH,
            }
        )
        job = Job(kind="still", output=NOWHERE, settings=settings)
        return self._session.previews.named(job, ".png")


def _swept(chosen: Chosen, axes: Sequence[Axis], values: Sequence[str]) -> Chosen:
    return chosen.but({axis.name: value for axis, value in zip(axes, values, strict=True)})


def _as_over(axis: Axis) -> str:
    return f"{axis.name}={','.join(axis.values)}"
