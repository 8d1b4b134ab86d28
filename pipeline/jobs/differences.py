"""How two renders differ, in words: why an unfinished one is not resumed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dreamreel.pipeline.config.fields import all_fields, setting_of

Identity = Mapping[str, Any]
VERSIONS = ("code", "dreamreel")
# What the parts of a job are called; settings have names of their own.
CALLED = {
    "kind": "the kind of render",
    "span": "the span of frames",
    "at": "--still",
    "flight.frames": "the number of frames",
    "flight.rate": "--fps",
    "flight.size": "the size",
    "flight.colour": "--colour",
    "flight.loop": "--loop",
    "flight.reverse": "--reverse",
    "flight.motion_only": "--motion-only",
}
# Parts of which it says nothing how they differ.
OTHER = {
    "source": "another source",
    "audio": "other music",
    "files": "other guides",
    "flight.to": "another photo to arrive at",
    "flight.earlier": "another zoom to continue",
    "weights_sha256": "other weights",
    "settings.mask.file": "another mask",
    "palette_sha256": "another palette",
    **dict.fromkeys(VERSIONS, "another version of Dreamreel"),
}


def differences(then: Identity, now: Identity) -> list[str]:
    """The differences between the identities of two renders, from `identity_of`, in words; a kind
    of difference comes once."""
    return list(dict.fromkeys(_told(*one) for one in _pairs(then, now)))


def differ_in_version_only(then: Identity, now: Identity) -> bool:
    """Whether two identities differ in nothing but the version of Dreamreel."""
    return {name for name, _, _ in _pairs(then, now)} <= {*VERSIONS}


def _pairs(then: Identity, now: Identity, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _pairs(before, after, f"{name}{key}.")
        elif before != after:
            yield f"{name}{key}", before, after


def _told(name: str, before: Any, after: Any) -> str:
    for part, words in OTHER.items():
        if name == part or name.startswith(f"{part}."):
            return f"it has {words}"
    setting = name.removeprefix("settings.")
    called = CALLED.get(name, setting)
    return f"{called} was {_text(setting, before)}, and you ask for {_text(setting, after)}"


def _text(name: str, value: Any) -> str:
    """`value` of the setting or part `name` as text: what a setting means by none, in words."""
    if name == "span" and isinstance(value, list) and len(value) == 2:
        first, stop = value
        return f"{first}:{'' if stop is None else stop}"
    if value is None:
        field = all_fields().get(setting_of(name))
        _, _, means = (field.description or "" if field else "").partition("none: ")
        return means.partition(";")[0] or "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else json.dumps(value)
