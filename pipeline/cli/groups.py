"""A group of commands: its help in sections, its unknown names, its end by Ctrl-C."""

from __future__ import annotations

import signal
from typing import Any

import typer
from typer.core import TyperGroup

from pipeline.cli.interrupted import after_interrupt
from pipeline.cli.panels import ORDER
from pipeline.cli.usage import unknown_command
from pipeline.errors import Stopped

_OTHER = "Commands"
_WHOLE = 1000


class CommandGroup(TyperGroup):
    """Commands in sections; no arguments print the help, an unknown name gets a suggestion."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per panel, each command with the whole first sentence of its help."""
        sections: dict[str, list[tuple[str, str]]] = {panel: [] for panel in (*ORDER, _OTHER)}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                rows = sections.get(panel if isinstance(panel, str) else _OTHER)
                (sections[_OTHER] if rows is None else rows).append(
                    (name, command.get_short_help_str(_WHOLE))
                )
        for panel, rows in sections.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False  # None would be read with pydantic, which takes 0.1 s to import
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help for no arguments, which is an answer and no error."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and rest; raises UsageError with the nearest name."""
        if args and not ctx.resilient_parsing and not args[0].startswith("-"):
            name = args[0]
            if name not in self.commands:
                raise unknown_command(ctx, name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises Stopped, which says how to continue, after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            words = [*ctx.command_path.split()[1:], ctx.invoked_subcommand]
            raise Stopped(after_interrupt(words), signal.SIGINT) from None
