"""Checks of values against the type and bounds of their settings."""

import math
from fractions import Fraction
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dreamreel.pipeline.config.fields import GROWTH, all_fields, holds_numbers, is_whole, setting_of
from dreamreel.pipeline.config.schedule import Moment, Schedule
from dreamreel.pipeline.errors import UserError

PLAINER = {  # pydantic's words for what a value should be, and ours
    "should be a valid integer": "should be a whole number",
    "should be a valid number": "should be a number",
    "should be a valid boolean": "should be true or false",
    "should be a valid string": "should be text",
}


def scheduled_value(name: str, schedule: Schedule, moment: Moment) -> int | float:
    """The value that `schedule` gives the setting `name` at `moment`; of one per frame, the motion
    in a second. Raises UserError where the schedule has no value there, or one that the setting
    refuses."""
    try:
        value = schedule.at(moment)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    where = f"frame {moment.frame}"
    if schedule.per_frame:
        where += f" ({value:.6g} a frame, at {float(moment.fps):.6g} frames a second)"
        value = _per_second(name, value, moment.fps)
    return checked(name, value, where)


def _per_second(name: str, value: float, fps: Fraction) -> float:
    """The motion in a second of the setting `name` whose motion from frame to frame is `value`."""
    if name != GROWTH:
        return value * float(fps)
    try:
        return math.pow(max(value, 0.0), fps)
    except OverflowError:
        return math.inf


def checked(name: str, value: float, where: str) -> int | float:
    """`value` in the type of the setting `name`: rounded where that is a whole number.

    Raises UserError where it is out of bounds; the message says `where` the value stands.
    """
    number = round(value) if is_whole(name) else value
    try:
        return _checker(setting_of(name)).validate_python(number)
    except ValidationError as error:
        raise UserError(f"{name} at {where} = {number:.6g} {reason_of(error, name)}") from error


def reason_of(error: ValidationError, name: str) -> str:
    """Why the setting `name` refuses a value, followed by what the setting means."""
    reason = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value error, ")
    reason = PLAINER.get(reason, reason)
    field = all_fields().get(setting_of(name))
    return f"{reason} ({field.description})" if field and field.description else reason


@cache
def _checker(setting: str) -> TypeAdapter[Any]:
    field = all_fields()[setting]
    kind: Any = float if holds_numbers(field) else field.annotation
    for rule in () if holds_numbers(field) else field.metadata:
        kind = Annotated[kind, rule]
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))
