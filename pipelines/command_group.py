"""The group that all commands are in: listed under headings, and ended alike, whatever happens to them.

What a status means: docs/command-line.md.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

USAGE = 2
"""Status of options or commands that there are not; of all other mistakes it is 1."""
READER_GONE = 141
"""Status where the reader of a pipe has had enough (``| head``): 128 + SIGPIPE, as of other programs."""


class CommandGroup(click.Group):
    """A group that ends a user's mistake with one line on stderr, and shows a traceback by ``--debug``."""

    def __init__(self, *, sections: Mapping[str, Sequence[click.Command]], **settings: Any) -> None:
        """Add the commands.

        Args:
            sections: Commands by the heading that they are listed under.
            **settings: Of ``click.Group``.
        """
        super().__init__(**settings)
        self.sections = sections
        for command in (command for commands in sections.values() for command in commands):
            self.add_command(command)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the program with a status."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:  # click's name for Ctrl-C, of which commands that have something to save tell more
            click.echo("interrupted by SIGINT", err=True)
            status = 128 + signal.SIGINT
        except click.ClickException as error:
            from scale_video.pipelines.console import report_error

            report_error(_one_line(error))
            status = error.exit_code
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from scale_video.pipelines.console import show_logs

        show_logs()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # or the interpreter would complain when it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(READER_GONE)
        except Exception as error:
            if ctx.params.get("debug") or not _is_for_the_user(error):
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings, all summaries in one column."""
        widest = max(map(len, self.commands))
        limit = formatter.width - widest - 6
        for heading, commands in self.sections.items():
            rows = [((command.name or "").ljust(widest), command.get_short_help_str(limit)) for command in commands]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _is_for_the_user(error: Exception) -> bool:
    """Whether an error's message is meant to be read without a traceback."""
    from scale_video.store.errors import StoreError

    return isinstance(error, (ValueError, OSError, MemoryError, StoreError))


def _one_line(error: click.ClickException) -> str:
    """What is wrong; of options and commands with where they are listed."""
    message = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = f"{message.rstrip('.')}; see `{error.ctx.command_path} --help`"
    return message
