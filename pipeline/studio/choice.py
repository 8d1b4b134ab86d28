"""What one page shows: a source, a moment of it, a look, and settings that differ from the look."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nicegui import run

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.config.fields import Mask, Settings
from dreamreel.pipeline.config.grammar import parse_assignment, value_text
from dreamreel.pipeline.config.presets import preset_names, with_paths_from
from dreamreel.pipeline.config.terms import parse_sum
from dreamreel.pipeline.config.values import SMALLEST_SIDE
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.checks import files_of, named_by
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.reading import number_at
from dreamreel.pipeline.media.stills import read_header
from dreamreel.pipeline.studio.folder import FILMS, Studio
from dreamreel.pipeline.studio.painting import first_painted, nearest_painted
from dreamreel.pipeline.studio.previewing import Previews
from dreamreel.pipeline.studio.renders import Renders

# Sections of settings that a kind of render does not have.
LACKING = {
    "zoom": ("video", "mask", "region", "flow"),
    "live": ("camera", "zoom", "mask", "region"),
    "video": ("camera", "zoom"),
    "image": ("camera", "zoom"),
}
MOVING_SECONDS, MOVING_WIDTH = 2.0, 256  # of a moving preview


@dataclass
class Chosen:
    """What a page shows: the `source`, the moment `at` of a film in seconds, the `look`, and the
    `sets` of settings that differ from it, as text. `zoom` has what only a zoom takes."""

    source: str | None = None
    at: float = 0.0
    look: str = "default"
    sets: dict[str, str] = field(default_factory=dict)
    zoom: dict[str, Any] = field(default_factory=dict)

    def given(self) -> Given:
        """The options that stand for it on the command line."""
        looks = [] if self.look == "default" else [self.look]
        return Given({}, preset=looks, set=[f"{name}={text}" for name, text in self.sets.items()])

    def settings(self) -> Settings:
        """Its settings. Raises UserError if they are not valid."""
        return self.given().settings()

    def of(self, kind: str) -> "Chosen":
        """The same without the settings that a render of that `kind` does not have: "image",
        "video", "zoom" or "live"."""
        sets = {name: text for name, text in self.sets.items()
                if name.partition(".")[0] not in LACKING[kind]}  # fmt: skip
        return replace(self, sets=sets)

    def words(self) -> list[str]:
        """The options, as words of the command line."""
        words = [] if self.look == "default" else ["--preset", self.look]
        for name, text in self.sets.items():
            words += ["--set", f"{name}={text}"]
        return words

    def but(self, sets: Mapping[str, str]) -> "Chosen":
        """The same with the settings `sets`, by their dotted names; an empty text unsets one."""
        merged = {**self.sets, **sets}
        return replace(self, sets={name: text for name, text in merged.items() if text})


class Session:
    """What one page has chosen, and what all its views need to show it.

    `watch` has a function called whenever the choice changes. `tell` gets a line for the user when
    something is refused.
    """

    def __init__(
        self, studio: Studio, previews: Previews, renders: Renders, tell: Callable[[str], None]
    ) -> None:
        self.studio, self.previews, self.renders, self.tell = studio, previews, renders, tell
        self.chosen = remembered(studio)
        try:
            self.settings()
        except UserError:  # it was written by somebody else
            self.chosen = replace(self.chosen, look="default", sets={})
        self.clip: Clip | None = None  # of the source, if that is a film
        self.size = WIDE  # height, width of the source, about
        self._watching: list[Callable[[], None]] = []
        self._jobs: dict[object, Job] = {}

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when the choice has changed."""
        self._watching.append(changed)

    @property
    def source(self) -> Path | None:
        """The path of the source; None if there is none, or if it is gone."""
        return self.studio.file("sources", self.chosen.source or "")

    @property
    def is_film(self) -> bool:
        """Whether the source is a film."""
        return self.clip is not None

    @property
    def seconds(self) -> float:
        """The length of the film; 0 of a picture."""
        return float((self.clip.frames or 1) / self.clip.rate) if self.clip else 0.0

    @property
    def frame(self) -> int:
        """The number of the film's frame at the moment; 0 of a picture."""
        return max(0, number_at(self.clip, self.chosen.at)[0]) if self.clip else 0

    def use(self, name: str | None, clip: Clip | None, size: tuple[int, int]) -> None:
        """Choose the source `name`, whose film is `clip`, of that `size` (height, width)."""
        if name != self.chosen.source:
            self.chosen.source, self.chosen.at = name, 0.0
            for setting in ("mask.file", "mask.carry", "region"):  # they were painted for another
                self.chosen.sets.pop(setting, None)
        self.clip, self.size = clip, size
        self.chosen.at = min(self.chosen.at, max(0.0, self.seconds - 0.05))
        self.change()

    def move(self, at: float) -> None:
        """Choose the moment `at` of the film, in seconds."""
        self.chosen.at = round(min(max(at, 0.0), self.seconds), 3)  # 0 for what is no number
        self.change()

    def look(self, name: str) -> None:
        """Choose the look `name` alone, but for masks. What is not valid is refused, and told."""
        kept = {key: text for key, text in self.chosen.sets.items() if key.startswith("mask.")}
        self.choose(replace(self.chosen, look=name, sets=kept))

    def set(self, sets: Mapping[str, str]) -> None:
        """Set settings, by their dotted names; an empty text unsets one. What is not valid is
        refused, and told. Relative paths are those of files in the studio's folder."""
        texts = {name: absolute(self.studio.root, name, text) for name, text in sets.items()}
        self.choose(self.chosen.but(texts))

    def choose(self, chosen: Chosen) -> None:
        """Choose `chosen`. What is not valid is refused, and told."""
        try:
            self.settings(chosen)
        except UserError as error:
            self.tell(str(error))
        else:
            self.chosen = chosen
        self.change()

    def settings(self, chosen: Chosen | None = None) -> Settings:
        """The settings of `chosen`, or of what is chosen. Raises UserError if they are not valid,
        or name a file that is not in the studio's folder."""
        found = (chosen or self.chosen.of("video")).settings()
        self.studio.check_inside(named_by(found))
        return found

    def change(self) -> None:
        """Keep what is chosen, forget stills that were asked for before, and tell all views."""
        chosen = self.chosen
        with suppress(OSError):  # a full disk: the page goes on, and says so when it must write
            self.studio.remember(
                {"source": chosen.source, "at": chosen.at, "look": chosen.look}
                | {"sets": chosen.sets, "zoom": chosen.zoom}
            )
        self.previews.drop(set())
        self._jobs = {}
        for changed in self._watching:
            changed()

    def still(self, key: object, settings: Callable[[], Settings], width: int) -> Job | None:
        """The job of the still of what is chosen, by `settings`, as large as a picture of 16:9 that
        is `width` pixels wide. `key` tells it from others until the choice changes. None if the
        source is gone."""
        height, across = self.size
        width = max(SMALLEST_SIDE, round(width * (across / height * WIDE[0] / WIDE[1]) ** 0.5))

        def made(source: Path) -> Job:
            found = settings()
            if self.clip is not None:
                found = nearest_painted(found, self.frame)
            sized = found.model_copy(update={"width": width}).following(dict(found.schedules))
            at = None if self.clip is None else self.chosen.at
            return Job(kind="still", source=NamedFile(path=source), output=NOWHERE, at=at,
                       settings=sized)  # fmt: skip

        return self.preview((key, width), made, ".png")

    def preview(self, key: object, make: Callable[[Path], Job], ending: str) -> Job | None:
        """The job that `make` makes of the source, whose output is a preview with that `ending`.
        `key` tells it from others until the choice changes. None if the source is gone."""
        if key not in self._jobs:
            source = self.source
            if source is None:
                return None
            self._jobs[key] = self.previews.named(make(source), ending)
        return self._jobs[key]

    def moving(self, kind: str, settings: Settings) -> Job | None:
        """The job of `kind` "video" or "preview" of two seconds of the film from the moment on.
        None if there is no film."""
        clip = self.clip
        if clip is None:
            return None
        first = self.frame
        stop = min(first + max(1, round(MOVING_SECONDS * clip.rate)), clip.frames or 1)
        first = first_painted(settings, first)  # a mask is followed from where it begins
        small = settings.model_copy(update={"width": MOVING_WIDTH})
        small = small.following(dict(settings.schedules))

        def made(source: Path) -> Job:
            return Job(
                kind="preview" if kind == "preview" else "video",
                source=NamedFile(path=source),
                output=NOWHERE.with_suffix(".mp4"),
                span=(first, max(first + 1, stop)),
                settings=small,
            )

        return self.preview(("moving", kind), made, ".mp4")

    async def render(self, job: Job) -> str | None:
        """Put `job` into the queue, and return its name; None if it is refused."""

        def added() -> str | UserError:
            try:
                files = [*files_of(job), *([job.source.path] if job.source else [])]
                self.studio.check_inside(files)
                with usable(self.studio.renders):
                    name = self.renders.add(job)
                    self.renders.advance()
            except UserError as error:
                return error
            return name

        found = await run.io_bound(added)
        if isinstance(found, UserError):
            self.tell(str(found))
            return None
        return found


WIDE = (9, 16)  # the shape of a picture whose own is not known
TERMS = "dream.terms"
NOWHERE = Path("none.png")  # stands for the output of a preview until that is named


def absolute(folder: Path, name: str, text: str) -> str:
    """The `text` of the setting `name` with the paths that are relative to `folder` made absolute;
    as it is where it is no such setting, which is refused later."""
    if not text or (name == TERMS and "guide:" not in text):
        return text
    with suppress(UserError, ValueError):
        before = parse_assignment(f"{name}={text}")
        after = with_paths_from(folder, before, name)
        if after != before:
            value: Any = after
            for part in name.split("."):
                value = value[part]
            if name == TERMS and isinstance(value, dict):
                return as_sum(value)
            return value_text(value)
    return text


def as_sum(terms: Mapping[str, float]) -> str:
    """The sum of `terms`, each with its weight, as text."""
    text = " + ".join(
        term if weight == 1 else f"{weight:g}*{term}" for term, weight in terms.items()
    )
    with suppress(ValueError):
        if parse_sum(text) == dict(terms):
            return text
    return value_text(dict(terms))  # a file's name may have a comma in it


def bare_settings() -> Settings:
    """Settings by which nothing is dreamed."""
    settings = Settings()
    nothing = settings.dream.model_copy(update={"steps": 0})
    return settings.model_copy(update={"dream": nothing})


def without_masks(settings: Settings) -> Settings:
    """`settings` that dream everywhere."""
    found = settings.model_copy(update={"region": (), "mask": Mask()})
    return found.following(dict(settings.schedules))


def looked_at(path: Path) -> tuple[Clip | None, tuple[int, int]]:
    """The clip in the file `path`, if it is a film that can be decoded, and its height and width,
    or those of the picture in it."""
    try:
        if path.suffix.lower() in FILMS:
            clip = probe(path)
            is_still = clip.series is not None or clip.frames == 1  # as many a .webp is
            return None if is_still else clip, clip.size
        return None, read_header(path).size
    except (UserError, OSError, ValueError, SyntaxError):
        return None, WIDE


def remembered(studio: Studio) -> Chosen:
    """What the page showed last, as far as it is valid."""
    table: dict[str, Any] = studio.remembered()
    chosen = Chosen()
    if isinstance(table.get("source"), str):
        chosen.source = table["source"]
    if isinstance(table.get("at"), int | float):
        chosen.at = max(0.0, float(table["at"]))
    if table.get("look") in preset_names():
        chosen.look = table["look"]
    if isinstance(table.get("sets"), dict):
        chosen.sets = {str(key): str(text) for key, text in table["sets"].items()}
    if isinstance(table.get("zoom"), dict):
        chosen.zoom = table["zoom"]
    with suppress(UserError):
        chosen.settings()
        return chosen
    return Chosen(chosen.source, chosen.at)
