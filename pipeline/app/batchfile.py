"""Batch files: a TOML file, or a folder and a list of looks, becomes the jobs of a batch.

Every option of `video`, `zoom` and `image` is a key of a job, and a list of values means a job for
each of them.
"""

import hashlib
import itertools
import os
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from dreamreel.pipeline.app.arguments import RATE, SECONDS
from dreamreel.pipeline.app.jobs import (
    ZoomOptions,
    continued_zoom_job,
    image_job,
    still_of_video,
    video_job,
    zoom_job,
)
from dreamreel.pipeline.app.options import (
    CROP,
    DREAM,
    ENCODING,
    FILM,
    HARDWARE,
    NETWORK,
    READING,
    WIDTH,
    Flag,
    Given,
    check_apart,
    table_of,
)
from dreamreel.pipeline.app.unused import unused_line
from dreamreel.pipeline.config.fields import Settings, all_fields, entry_at, path_settings, put
from dreamreel.pipeline.config.grammar import flatten
from dreamreel.pipeline.config.presets import not_toml, statements, with_paths_from
from dreamreel.pipeline.config.tables import read_toml
from dreamreel.pipeline.errors import UserError, address_error, expanded, nearest, usable
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.kinds import check_kind
from dreamreel.pipeline.jobs.queue import Entry
from dreamreel.pipeline.media.animations import find_animation
from dreamreel.pipeline.media.clips import kind_of
from dreamreel.pipeline.media.encoding import CONTAINERS, usual_suffix
from dreamreel.pipeline.media.exports import ANIMATED, PICTURES
from dreamreel.pipeline.media.sequences import is_series, names_series, natural
from dreamreel.pipeline.opening import read_text

LARGEST = 1 << 24  # bytes of a batch file: far above any, against a huge file by mistake
MOST_JOBS = 100_000  # in a batch: a list too many makes millions; a round number
LONGEST_NAME = 120  # bytes of a job's name, which several files bear with endings of their own

KINDS = ("video", "zoom", "still")
TOP = ("output", "name", "defaults", "job")
OWN = ("source", "kind", "preset", "set", "name", "output")
# The keys that stand for no setting, by the kind of job that takes them.
SPECIAL = {
    "video": ("frames", "start", "end", "still", "preview-flow", "audio"),
    "zoom": (
        *("seconds", "fps", "size", "colour", "loop", "to", "reverse", "continue"),
        *("motion-only", "audio"),
    ),
    "still": (),
}
SWITCHES = ("loop", "reverse", "motion-only", "preview-flow")
FLAGS: dict[str, tuple[tuple[Flag, ...], ...]] = {
    "video": (READING, DREAM, NETWORK, WIDTH, CROP, ENCODING, FILM, HARDWARE),
    "zoom": (DREAM, NETWORK, WIDTH, ENCODING, HARDWARE),
    "still": (DREAM, NETWORK, WIDTH, CROP, HARDWARE),
}
SUFFIXES = (*CONTAINERS, *ANIMATED, *PICTURES, ".avi", ".ts", ".mpg", ".jpeg", ".tiff", ".bmp")


@dataclass(frozen=True)
class Value:
    """A value in a batch file, and where it stands, for messages."""

    value: Any
    where: str


Choice = tuple[str, Value]  # a key, or the dotted name of a setting after "set.", and its value


@dataclass(frozen=True)
class Row:
    """A job to be: its `source`, if any, its `kind`, and the choices of its keys."""

    source: Path | None
    kind: str
    where: str
    keys: Mapping[str, Value]

    @property
    def presets(self) -> list[str]:
        """The names of its presets."""
        found = self.keys["preset"].value if "preset" in self.keys else []
        return [found] if isinstance(found, str) else list(found)


@dataclass
class BatchFile:
    """What a batch file says: the `source`, which is that file or a folder; the `folder` that its
    paths are relative to, the `output` folder, the template of names, and the rows."""

    source: Path
    folder: Path
    output: Path
    name: str | None
    rows: list[Row]
    reads: tuple[Path, ...] = ()
    notices: list[str] = field(default_factory=list)


def read_batch(path: Path) -> BatchFile:
    """The batch file `path`. Raises UserError, in a line that names the place, if there is anything
    wrong in it that can be told without opening the sources."""
    with usable(path):
        holds_text = os.path.isfile(path) and os.path.getsize(path) > 0
    if holds_text:
        check_kind(path, "batch file")
    try:
        text = read_text(path, LARGEST)
        table = read_toml(text)
    except ValueError as error:
        raise not_toml(path, "a batch file", error) from error
    lines = _Lines(path, text)
    for key in table:
        if key not in TOP:
            raise UserError(
                f"{lines.at(key)}: unknown key {key!r}{nearest(key, TOP) or _keys(TOP)}"
            )
    output, name = table.get("output", "renders"), table.get("name")
    for key in ("output", "name"):
        if not isinstance(table.get(key, ""), str):
            raise UserError(f"{lines.at(key)}: {key} must be a string")
    defaults, jobs = table.get("defaults", {}), table.get("job", [])
    if not isinstance(defaults, dict):
        raise UserError(f"{lines.at('defaults')}: defaults must be a table: [defaults]")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs) or not jobs:
        raise UserError(f"{path} has no jobs; each begins with a line [[job]]")
    folder = path.parent.absolute()
    found = BatchFile(path.absolute(), folder, folder / expanded(output), name, [], (path,))
    usual = _values(defaults, lines, ("defaults",))
    for number, job in enumerate(jobs):
        own = _values(job, lines, ("job", number))
        found.rows += _rows(own, usual, found, lines.at("job", number))
        if len(found.rows) > MOST_JOBS:
            raise UserError(f"{path} makes more than {MOST_JOBS} jobs; split it into several files")
    return found


def batch_of_folder(folder: Path, given: Given, output: Path | None) -> BatchFile:
    """The batch that dreams every film and picture in `folder` with each of the presets of `given`,
    and with its other settings, into the folder `output`, by default `folder`-dreams.

    Raises UserError if there is none.
    """
    with usable(folder):
        paths = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    place = (output or dreams_of(folder)).absolute()
    if place == folder.absolute():
        raise UserError(f"-o {output} is the folder of the sources; give another for the results")
    found = BatchFile(folder.absolute(), Path.cwd(), place, None, [], given.reads())
    keys: dict[str, Value] = {}
    for flag, value in given.flags.values():
        keys[flag.name[2:]] = Value(value, flag.name)
    for text in given.set:
        name, _, _ = text.partition("=")
        keys[f"set.{name.strip()}"] = Value(text, "--set")
    for path in paths:
        if path.is_dir() or not _is_media(path, found):
            continue
        kind = kind_of_source(path)
        fitting = {
            key: value
            for key, value in keys.items()
            if key.startswith("set.") or key in _flags(kind)
        }
        names: Sequence[str | None] = given.preset or [None]
        for preset in names:
            more = {} if preset is None else {"preset": Value(preset, "--preset")}
            found.rows.append(Row(path.absolute(), kind, str(path), {**fitting, **more}))
    if not found.rows:
        raise UserError(f"{folder} holds no film or picture to dream")
    return found


def dreams_of(folder: Path) -> Path:
    """The default output of a batch of `folder`. Raises UserError if that has no name."""
    name = folder.absolute().name
    if not name:
        raise UserError(f"{folder} has no name to call the results by; give their folder with -o")
    return folder.absolute().with_name(f"{name}-dreams")


def entries_of(batch: BatchFile) -> list[Entry]:
    """The jobs of `batch`, in order. Raises UserError if a setting or an option is not valid, or if
    two jobs have the same name."""
    made = [(row, *_job(row, batch)) for row in batch.rows]
    texts = [_texts(row, settings) for row, _, settings in made]
    varying = [key for key in dict.fromkeys(itertools.chain(*texts)) if _varies(key, texts)]
    entries: list[Entry] = []
    places: set[str] = set()
    for number, ((row, job, settings), text) in enumerate(zip(made, texts, strict=True), 1):
        template = row.keys["name"].value if "name" in row.keys else batch.name
        where = row.keys["name"].where if "name" in row.keys else row.where
        if template is None:
            more = [key for key in varying if key in text and key not in ("preset", "source")]
            usual = "-".join(["{stem}", "{preset}", *(f"{{{key}}}" for key in more)])
            name = _shortened(_named(usual, row, job, settings, number, len(made), where))
        else:
            name = _named(str(template), row, job, settings, number, len(made), where)
        output = _output(name, row, job, batch)
        if os.path.normcase(output) in places:
            missing = [key for key in varying if f"{{{key}}}" not in str(template)]
            tip = f"{{{missing[0] if missing else 'index'}}}"
            raise UserError(
                f"{where}: two jobs would write {output}; put {tip} into name, to tell them apart"
            )
        places.add(os.path.normcase(output))
        entries.append(
            Entry(
                name=_queued(output, batch),
                index=number,
                job=job.model_copy(update={"output": output}),
                shown={key: text.get(key, "") for key in varying},
            )
        )
    return entries


def kind_of_source(path: Path) -> str:
    """What a source is dreamed as where a batch does not say: "video", or "still" of a picture."""
    suffix = path.suffix.lower()
    if names_series(path):
        return "video"
    with suppress(UserError):
        kind = kind_of(path)
        if kind == "picture":
            return "video" if find_animation(path) is not None else "still"
        if kind is not None:
            return "video"
    return "still" if suffix in PICTURES or suffix in (".jpeg", ".tiff", ".bmp") else "video"


class _Lines:
    """Where the keys of the batch file `path` stand."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines: dict[tuple[str | int, ...], int] = {}
        section: tuple[str | int, ...] = ()
        job = -1
        for line, statement in statements(text):
            inner = tomllib.loads(statement)
            head = statement.lstrip().startswith("[")
            if head and "job" in inner:
                job += isinstance(inner["job"], list)
                inner = inner["job"][0] if isinstance(inner["job"], list) else inner["job"]
                section = ("job", job)
                self._lines.setdefault(section, line)
            elif head:
                section = ()
            for path_ in _leaves(inner):
                full = (*section, *path_)
                for length in range(len(section) + 1, len(full) + 1):
                    self._lines.setdefault(full[:length], line)
                if head:
                    section = full

    def at(self, *keys: str | int) -> str:
        """The file, with the line at which the `keys` stand, if that can be told."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return f"{self._path}, line {self._lines[keys[:length]]}"
        return str(self._path)


def _leaves(table: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(table, dict) or not table:
        if above:
            yield above
        return
    for key, value in table.items():
        yield from _leaves(value, (*above, key))


def _values(
    table: Mapping[str, Any], lines: _Lines, place: tuple[str | int, ...]
) -> dict[str, Value]:
    """The keys in `table`, which stands at `place`, with `set.` before names of settings."""
    found: dict[str, Value] = {}
    known = _all_keys()
    for key, value in table.items():
        where = lines.at(*place, key)
        name = key.replace("_", "-")
        name = {"color": "colour", "presets": "preset", "sources": "source"}.get(name, name)
        if name not in known:
            hint = _hint_at_setting(key) or nearest(name, known) or _keys(known)
            raise UserError(f"{where}: unknown key {key!r}{hint}")
        if name != "set":
            found[name] = Value(value, where)
            continue
        if not isinstance(value, dict):
            raise UserError(f'{where}: set must be a table, such as {{ "dream.octaves" = [4, 6] }}')
        for setting, one in flatten(_undotted(value, where), where):
            found[f"set.{setting}"] = Value(one, lines.at(*place, key, setting))
    return found


def _undotted(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`table` nested by the dots in its names."""
    nested: dict[str, Any] = {}
    for name, value in table.items():
        inner = entry_at(nested, name) if "." in name else nested.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            value = {**inner, **value}
        try:
            put(nested, name, value)
        except (TypeError, AttributeError) as error:
            raise UserError(f"{where}: {name!r} is given twice") from error
    return nested


def _rows(
    own: Mapping[str, Value], usual: Mapping[str, Value], batch: BatchFile, where: str
) -> Iterator[Row]:
    """The rows of a job with the keys `own`, and `usual` where it has none."""
    keys = {**usual, **own}
    for source in _sources(keys.pop("source", None), batch):
        kind = _kind(keys.get("kind"), source)
        fitting = _fitting(keys, own, kind, source)
        lists = [
            [(key, Value(one, value.where)) for one in _choices(key, value)]
            for key, value in fitting.items()
        ]
        count = 1
        for choices in lists:
            count *= len(choices)
        if count > MOST_JOBS:
            raise UserError(f"{where}: its lists make {count} jobs; at most {MOST_JOBS} are taken")
        for chosen in itertools.product(*lists):
            yield Row(source, kind, where, dict(chosen))


def _sources(given: Value | None, batch: BatchFile) -> list[Path | None]:
    if given is None:
        return [None]
    patterns = given.value if isinstance(given.value, list) else [given.value]
    found: list[Path | None] = []
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise UserError(f"{given.where}: source must be a path or pattern, or a list of these")
        path = batch.folder / expanded(pattern)
        if os.path.lexists(path) or is_series(path):
            found.append(path)
            continue
        matches = sorted(glob(str(path), recursive=True), key=natural) if has_magic(pattern) else []
        media = [Path(match) for match in matches if _is_media(Path(match), batch)]
        if not media:
            if (address := address_error(path)) is not None:
                raise UserError(f"{given.where}: {address}")
            what = "matches no film or picture" if has_magic(pattern) else "does not exist"
            raise UserError(f"{given.where}: source {pattern!r} {what} in {batch.folder}")
        found += media
    if not found:
        raise UserError(
            f"{given.where}: source is an empty list; leave it out for a zoom or a still of noise"
        )
    return list(dict.fromkeys(found))


def _is_media(path: Path, batch: BatchFile) -> bool:
    """Whether the file `path`, which nobody named, is meant to be dreamed."""
    if path.name.startswith(".") or path.name.endswith((".unfinished", ".state", ".json")):
        return False
    try:
        str(path).encode()
    except UnicodeEncodeError:
        batch.notices.append(f"{str(path)!r} has a name that is not UTF-8: left out")
        return False
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return True
    with suppress(UserError):
        if kind_of(path) in ("film", "picture"):
            return True
    batch.notices.append(f"{path} is no film or picture: left out")
    return False


def _kind(given: Value | None, source: Path | None) -> str:
    if given is None:
        return "zoom" if source is None else kind_of_source(source)
    kind = given.value if isinstance(given.value, str) else ""
    kind = {"image": "still", "picture": "still"}.get(kind, kind)
    if kind not in KINDS:
        raise UserError(f"{given.where}: kind = {given.value!r} is none; video, zoom, still are")
    if source is None and kind not in ("zoom", "still"):
        raise UserError(f"{given.where}: a {kind} needs a source")
    return str(kind)


def _fitting(
    keys: Mapping[str, Value], own: Mapping[str, Value], kind: str, source: Path | None
) -> dict[str, Value]:
    """The `keys` that a job of that `kind` takes. Raises UserError for one that the job has as its
    `own` and does not take; defaults are meant for the kinds that take them."""
    taken = {*SPECIAL[kind], *_flags(kind), "preset", "name", "output"}
    found = {}
    for key, value in keys.items():
        if key in taken or key.startswith("set."):
            found[key] = value
        elif key in own and key != "kind":
            kinds = [one for one in KINDS if key in SPECIAL[one] or key in _flags(one)]
            what = f"{source} is a {kind}" if source else f"this is a {kind}"
            raise UserError(f"{value.where}: {key} is for a {' or '.join(kinds)}, and {what}")
    return found


def _choices(key: str, value: Value) -> list[Any]:
    """The values that the key takes in turn."""
    if not isinstance(value.value, list):
        return [value.value]
    if not value.value:
        raise UserError(f"{value.where}: {key.removeprefix('set.')} is an empty list; give a value")
    return list(value.value)


def _job(row: Row, batch: BatchFile) -> tuple[Job, Settings]:
    """The job of `row`, without its name, and its settings."""
    given = _given(row, batch)
    try:
        job = _job_of(row, given, batch)
    except UserError as error:
        raise _placed(error, row) from error
    if (line := unused_line(given, job)) is not None and line not in batch.notices:
        batch.notices.append(line)
    return job, job.settings


def _placed(error: UserError, row: Row) -> UserError:
    """`error` with the place of its cause, if it names none."""
    places = {value.where for value in row.keys.values()} | {row.where}
    if any(str(error).startswith(place) for place in places):
        return error
    for key, value in row.keys.items():
        names = [f"--{key} ", f"unknown preset '{value.value}'", f"{value.value} is "]
        if any(str(error).startswith(name.strip()) for name in names):
            return UserError(f"{value.where}: {str(error).removeprefix('--')}")
    return UserError(f"{row.where}: {error}")


def _given(row: Row, batch: BatchFile) -> Given:
    """The options of `row` as the command line would have them."""
    presets = row.keys.get("preset", Value([], row.where))
    names = [presets.value] if isinstance(presets.value, str) else presets.value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{presets.where}: preset must be a name, or a list of names")
    flags, tables, sets = _flags(row.kind), [], []
    for key, value in row.keys.items():
        if key.startswith("set.") and value.where == "--set":
            sets.append(value.value)
        elif key.startswith("set."):
            table: dict[str, Any] = {}
            put(table, key.removeprefix("set."), value.value)
            tables.append((value.where, with_paths_from(batch.folder, table, value.where)))
    check_apart(flags[key] for key in row.keys if key in flags)
    for key, value in row.keys.items():
        if key in flags and not (row.kind == "zoom" and key == "fps"):
            tables += _flag_table(flags[key], value, batch)
    return Given({}, preset=names, set=sets, tables=tables, beside=batch.folder)


def _flag_table(flag: Flag, value: Value, batch: BatchFile) -> list[tuple[str, dict[str, Any]]]:
    """The table, with its place, in which `flag` has that value; none for a switch that is off."""
    if flag.value is not None:
        if not isinstance(value.value, bool):
            raise UserError(f"{value.where}: {flag.name[2:]} must be true or false")
        return [(value.where, table_of(flag, value.value))] if value.value else []
    given = value.value
    names_file = flag.setting in path_settings() or flag.kind == "guide"
    if names_file and isinstance(given, str):
        given = str(batch.folder / expanded(given))
    return [(value.where, table_of(flag, given))]


def _job_of(row: Row, given: Given, batch: BatchFile) -> Job:
    place = batch.output / "unnamed.mp4"  # `entries_of` gives it its name
    if row.kind == "zoom":
        options = ZoomOptions(
            seconds=_number(row, "seconds", SECONDS),
            fps=_text(row, "fps") or RATE,
            size=_text(row, "size"),
            colour=_text(row, "colour"),
            loop=_switch(row, "loop"),
            to=_path(row, "to", batch),
            reverse=_switch(row, "reverse"),
            motion_only=_switch(row, "motion-only"),
            audio=_path(row, "audio", batch),
        )
        given = replace(given, output=place)
        if (film := _path(row, "continue", batch)) is not None:
            return continued_zoom_job(film, options, given)
        return zoom_job(row.source, options, given)
    settings = given.settings()
    if row.kind == "still":
        return image_job(row.source, place, settings)
    assert row.source is not None
    if (still := _text(row, "still")) is not None:
        return still_of_video(row.source, place, settings, still, _path(row, "audio", batch))
    span = (_text(row, "frames"), _text(row, "start"), _text(row, "end"))
    preview = _switch(row, "preview-flow")
    return video_job(row.source, place, settings, span, _path(row, "audio", batch), preview)


def _text(row: Row, key: str) -> str | None:
    if key not in row.keys:
        return None
    value = row.keys[key].value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{row.keys[key].where}: {key} = {value!r} is neither text nor a number")
    return str(value)


def _number(row: Row, key: str, usual: float) -> float:
    value = row.keys[key].value if key in row.keys else usual
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{row.keys[key].where}: {key} = {value!r} is no number; 10 would be one")
    return float(value)


def _switch(row: Row, key: str) -> bool:
    value = row.keys[key].value if key in row.keys else False
    if not isinstance(value, bool):
        raise UserError(f"{row.keys[key].where}: {key} = {value!r}: give true or false")
    return value


def _path(row: Row, key: str, batch: BatchFile) -> Path | None:
    text = _text(row, key)
    return None if text is None else batch.folder / expanded(text)


def _texts(row: Row, settings: Settings) -> dict[str, str]:
    """The keys of `row` by which jobs can be told apart, as text; settings by their last word, or
    whole where two have the same."""
    found = {"source": row.source.name} if row.source else {}
    found["preset"] = _preset_text(row)
    lasts = [_last(key) for key in row.keys]
    for key, value in row.keys.items():
        if key in ("preset", "name", "output"):
            continue
        last = _last(key)
        name = last if lasts.count(last) == 1 else key.removeprefix("set.")
        if key.startswith("set.") and isinstance(value.value, str) and value.where == "--set":
            found[name] = value.value.partition("=")[2]
        else:
            found[name] = _as_text(value.value)
    return found


def _last(key: str) -> str:
    return key.removeprefix("set.").rpartition(".")[2]


def _preset_text(row: Row) -> str:
    return "+".join(Path(name).stem for name in row.presets) or "default"


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "+".join(map(str, value))
    if isinstance(value, list):
        return "+".join(_as_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return value.stem
    return str(value).lower() if isinstance(value, bool) else str(value)


def _varies(key: str, texts: Sequence[Mapping[str, str]]) -> bool:
    return len({text[key] for text in texts if key in text}) > 1


def _named(
    template: str, row: Row, job: Job, settings: Settings, number: int, count: int, where: str
) -> str:
    """The name that `template` gives the job."""
    texts = {
        "stem": _stem(row.source) if row.source else "zoom" if row.kind == "zoom" else "noise",
        "preset": _preset_text(row),
        "kind": row.kind,
        "seed": str(settings.seed),
        "index": str(number).zfill(len(str(count))),
        **_texts(row, settings),
    }
    parts = []
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"{where}: name = {template!r}: {error}") from error
    for text, token, _, _ in pieces:
        parts.append(text)
        if token is not None:
            parts.append(_plain(_token(token, texts, settings, where)))
    return "".join(parts)


def _shortened(name: str) -> str:
    """`name`, or if it is too long a part of it with its digest."""
    data = name.encode(errors="surrogateescape")
    if len(data) <= LONGEST_NAME - len(".jpeg"):
        return name
    return f"{name[:24]}-{hashlib.sha256(data).hexdigest()[:8]}"


def _token(token: str, texts: Mapping[str, str], settings: Settings, where: str) -> str:
    if token in texts:
        return texts[token]
    known = {_last(name): name for name in all_fields()} | {name: name for name in all_fields()}
    if token not in known:
        tokens = [*texts, *known]
        raise UserError(
            f"{where}: name has no token {{{token}}}{nearest(token, tokens)}; {{stem}}, "
            "{preset}, {kind}, {seed}, {index} and any setting by its last word are"
        )
    return _as_text(entry_at(settings.model_dump(), known[token]))


def _stem(source: Path) -> str:
    if not source.is_dir() and names_series(source):
        return source.parent.name
    return source.stem or source.name


def _output(name: str, row: Row, job: Job, batch: BatchFile) -> Path:
    """The path of the result called `name`, with a suffix that fits."""
    folder = batch.output
    if "output" in row.keys:
        text = row.keys["output"].value
        if not isinstance(text, str):
            raise UserError(f"{row.keys['output'].where}: output must be a folder")
        folder = batch.folder / expanded(text)
    suffix = Path(name).suffix.lower()
    film = job.kind != "still"
    fits = (*CONTAINERS, *ANIMATED) if film else (*PICTURES, ".jpeg", ".tiff", ".webp")
    if suffix not in fits and not (film and is_series(Path(name))):
        usual = ".png" if job.at is not None or row.source is None else row.source.suffix
        name += usual_suffix(job.settings.output.codec) if film else usual
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(
            f"{row.where}: the name {name[:40]!r}... has more than {LONGEST_NAME} bytes"
        )
    path = folder / name
    if path.name in ("", ".", "..") or ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError(f"{row.where}: the name {name!r} leads out of {folder}")
    return path


def _queued(output: Path, batch: BatchFile) -> str:
    """The name in the queue of the job that makes `output`, as that of files."""
    inside = output.is_relative_to(batch.output)
    name = output.relative_to(batch.output).as_posix() if inside else output.as_posix()
    return name.replace("/", "__").lstrip(".")


def _plain(text: str) -> str:
    """`text` with nothing that is special in a file's name."""
    plain = "".join(one if one.isalnum() or one in "._+-=,@%" else "-" for one in text)
    return plain.strip(".-") or "none"


def _flags(kind: str) -> dict[str, Flag]:
    return {flag.name[2:]: flag for group in FLAGS[kind] for flag in group}


def _all_keys() -> list[str]:
    keys = [*OWN, *(key for kind in KINDS for key in (*SPECIAL[kind], *_flags(kind)))]
    return list(dict.fromkeys(keys))


def _keys(keys: Sequence[str]) -> str:
    return f"; there are {', '.join(keys)}"


def _hint_at_setting(key: str) -> str:
    """A hint for the name of a setting that stands outside of set; empty for any other key."""
    word = key.replace("-", "_")
    named = [name for name in all_fields() if word in (name, _last(name))]
    return f'; a setting goes into set = {{ "{named[0]}" = ... }}' if named else ""
