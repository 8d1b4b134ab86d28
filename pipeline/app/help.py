"""The layout of help: options in groups, and each command with its whole first sentence."""

import os
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dreamreel.pipeline.app.options import OF_SETTING, PANELS, describe
from dreamreel.pipeline.errors import UserError

OTHERS = "Other"
USAGE_ERROR: Any = typer.BadParameter.__base__  # typer has no public name for it


class GroupedCommand(TyperCommand):
    """A command whose help has a section for each of the `PANELS`, and which says what an unknown
    option may stand for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args`. Raises UserError, with a suggestion, for an unknown option."""
        try:
            return super().parse_args(ctx, args)
        except USAGE_ERROR as error:
            if not hasattr(error, "possibilities"):  # of unknown options alone
                raise
            # Imported here because it imports all settings, which help is to do without.
            from dreamreel.pipeline.app.suggestions import suggestion

            more = suggestion(error.option_name, _options(self, ctx), self._others(ctx))
            raise UserError(f"there is no option {error.option_name}{more}") from error

    def _others(self, ctx: Any) -> dict[str, list[str]]:
        """The options of the other commands of the same group, by the command's name."""
        group = ctx.parent.command
        commands = {name: group.get_command(ctx.parent, name) for name in group.list_commands(ctx)}
        return {name: _options(one, ctx) for name, one in commands.items() if one is not self}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options group by group."""
        arguments: list[tuple[str, str]] = []
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in (*PANELS, OTHERS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            names, text = record
            if text.startswith(OF_SETTING):
                setting, _, more = text[1:].partition(" ")
                text = f"{describe(setting)} {more}".strip()
            if parameter.param_type_name == "argument":
                arguments.append((names, text))
            else:
                panel = getattr(parameter, "rich_help_panel", None)
                groups[panel if panel in groups else OTHERS].append((names, text))
        for title, records in (("Arguments", arguments), *groups.items()):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _options(command: Any, ctx: Any) -> list[str]:
    """The names of all options and arguments that `command` takes."""
    return [name for one in command.get_params(ctx) for name in one.opts]


class WholeGroup(TyperGroup):
    """A group of commands that lists each with its first sentence, uncut, and which says what takes
    a file that is given in place of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` name first. Raises UserError where they name a file."""
        try:
            return super().resolve_command(ctx, args)
        except USAGE_ERROR as error:
            if not os.path.lexists(args[0]):
                raise
            # Imported here because it imports the readers of media, which help is to do without.
            from dreamreel.pipeline.jobs.kinds import TAKEN, kind_of_file

            kind = kind_of_file(Path(args[0]))
            told = f"a {kind}, not a command; {TAKEN[kind]}" if kind else "no command"
            raise UserError(f"{args[0]} is {told}") from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name of each command and the first sentence of its help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        records = [
            (
                name,
                " ".join((command.help or "").split("\n\n")[0].split()).split(". ")[0].rstrip("."),
            )
            for name, command in found
            if command is not None and not command.hidden
        ]
        if records:
            with formatter.section("Commands"):
                formatter.write_dl(records)
