"""Settings that do nothing in a render, though its user gave them: named in one line."""

import re
from collections.abc import Iterator

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.config.fields import Dream, Settings, Source, all_fields, value_of
from dreamreel.pipeline.jobs.job import Job, flight_of

# The settings and sections that do nothing, by the kind of render.
FILM_ALONE = ("video", "flow", "shots")
ZOOM_ALONE = ("zoom", "camera", "output.keep_state")
PICTURE = (*ZOOM_ALONE, "imagine", "flow", "shots", "output", "source.fps", "video.momentum")
# What a picture from noise takes of these sections is its terms and its size.
OF_SOURCE = tuple(f"source.{name}" for name in Source.model_fields if name != "crop")
OF_ASCENT = tuple(f"dream.{name}" for name in Dream.model_fields if name != "terms")
NOWHERE = {
    "video": (*ZOOM_ALONE, "imagine"),
    "preview": (
        *ZOOM_ALONE,
        "imagine",
        "dream",
        "video",
        "network",
        "weights",
        "precision",
        "seed",
    ),
    "zoom": (*FILM_ALONE, "imagine", "output.side_by_side", "output.subtitles"),
    "still": (*PICTURE, "video.frame_steps", "video.cadence"),
    "picture": (*PICTURE, "video", "source.stream", "source.decoder", "source.strict"),
    "noise": (*ZOOM_ALONE, *FILM_ALONE, "output", *OF_SOURCE, *OF_ASCENT),
}
CALLED = {
    "video": "a video",
    "preview": "a preview of the flow",
    "zoom": "a zoom",
    "still": "a still",
    "picture": "a picture",
    "noise": "a picture that begins with noise",
}
# A look for certain commands says so where its description begins.
MEANT_FOR = re.compile(r"((?:zoom|video|image)(?: or (?:zoom|video|image))*)(?: with --audio)?:")
COMMANDS = {  # where it is not called like the kind
    **dict.fromkeys(("preview", "still"), "video"),
    **dict.fromkeys(("picture", "noise"), "image"),
}


def unused_line(given: Given, job: Job) -> str | None:
    """A line that names what the user gave to no effect on `job`: settings, looks for another
    command, music that nothing hears. None if there is nothing."""
    kind: str = job.kind
    if kind == "still" and job.at is None:
        kind = "noise" if job.source is None else "picture"
    settings = job.settings
    names = [
        name
        for name in dict.fromkeys(given.own_names())
        if _does_nothing(name, kind, job) and _differs(name, settings)
    ]
    parts = []
    if names:
        does = "does" if len(names) == 1 else "do"
        parts.append(f"{', '.join(names)} {does} nothing in {CALLED[kind]}{_hint(names, kind)}")
    parts += _of_looks(given, kind)
    still = [name for name in settings.changes if name in given.own_names()]
    if still and kind in ("picture", "noise"):
        parts.append(f"{', '.join(still)}: a picture has no time, and shows the beginning")
    if job.audio is not None and job.kind in ("video", "still") and not settings.needs_music:
        parts.append(f"no setting hears {job.audio.path}; try --preset pulse")
    return "; ".join(parts) or None


def _does_nothing(name: str, kind: str, job: Job) -> bool:
    settings, flow = job.settings, job.settings.flow
    nowhere = [*NOWHERE[kind]]
    if not flow.method.startswith("raft"):
        nowhere.append("flow.weights")
    if flow.method == "none":
        nowhere += ["flow.height", "video.momentum", "video.frame_steps", "video.cadence"]
    if settings.source.crop is None:
        nowhere.append("source.crop_at")
    if kind == "zoom":
        flight = flight_of(job)
        nowhere += ["dream", "zoom"] if flight.motion_only else []
        nowhere += ["output.keep_state"] if flight.loop or flight.reverse else []
    return any(name == one or name.startswith(f"{one}.") for one in nowhere)


def _differs(name: str, settings: Settings) -> bool:
    """Whether the setting `name` has another value than it has by itself."""
    return name in settings.changes or value_of(settings, name) != all_fields()[name].default


def _hint(names: list[str], kind: str) -> str:
    """What would make one of the settings `names` do something, if that is a command or setting."""
    sections = {name.partition(".")[0] for name in names}
    if sections & {"camera", "zoom"}:
        return "; dreamreel zoom moves the camera"
    if "flow.weights" in names:
        return "; flow.method = raft takes weights"
    if kind == "noise" and "dream.steps" in names:
        return "; imagine.steps does"
    return "; --crop does" if "source.crop_at" in names else ""


def _of_looks(given: Given, kind: str) -> Iterator[str]:
    """A part of the line for each look that is meant for another command."""
    command = COMMANDS.get(kind, kind)
    for name, description in given.looks():
        meant = MEANT_FOR.match(description)
        if meant is not None and command not in meant[1].split(" or "):
            yield f"the preset {name} is for {meant[1]}, and only its dream shows in {CALLED[kind]}"
