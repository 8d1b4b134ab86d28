"""Values held against the bounds of their settings."""

from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dreamreel.pipeline.config.fields import all_fields, holds_numbers, is_whole, setting_of
from dreamreel.pipeline.config.schedule import Moment, Schedule
from dreamreel.pipeline.errors import UserError


def scheduled_value(name: str, schedule: Schedule, moment: Moment) -> int | float:
    """The value at `moment` of the setting `name`, which follows `schedule`. Raises UserError where
    there is none, or one that the setting cannot have."""
    try:
        value = schedule.at(moment)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    return checked(name, value, f"frame {moment.frame}")


def checked(name: str, value: float, where: str) -> int | float:
    """`value` as the setting `name` takes it. Raises UserError, which names `where` the value
    stands, where it is out of bounds."""
    number = round(value) if is_whole(name) else value
    try:
        return _checker(setting_of(name)).validate_python(number)
    except ValidationError as error:
        raise UserError(f"{name} at {where} = {number:.6g} {reason_of(error, name)}") from error


def reason_of(error: ValidationError, name: str) -> str:
    """Why the setting `name` refuses a value, and the setting's meaning."""
    reason = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value error, ")
    field = all_fields().get(setting_of(name))
    return f"{reason} ({field.description})" if field and field.description else reason


@cache
def _checker(setting: str) -> TypeAdapter[Any]:
    field = all_fields()[setting]
    kind: Any = float if holds_numbers(field) else field.annotation
    for rule in () if holds_numbers(field) else field.metadata:
        kind = Annotated[kind, rule]
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))
