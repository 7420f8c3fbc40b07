"""What the commands show: tables and results on stdout, progress and notes on stderr, nothing that blinks in a log."""

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_LOG_LINES = 10
"""Where stderr is no terminal, progress is a line at each tenth of the work."""
_ANY_WIDTH = 1_000_000
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of a text, and lone surrogates."""


def stdout() -> Console:
    """For results."""
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """For progress, notes and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


class Ticker:
    """Progress of one long piece of work: a bar on a terminal, a few lines elsewhere."""

    def __init__(self, title: str, total: int, *, progress: Progress | None, console: Console) -> None:
        self._title = title
        self._total = total
        self._console = console
        self._progress = progress
        self._task = progress.add_task(title, total=total, detail="") if progress is not None else None
        self._next_line = 1

    def update(self, done: int, detail: str = "") -> None:
        """Say how much is done, with a word on it.

        Args:
            done: units of work, at most the total.
            detail: for example ``41.3 clips/s, 2 failures``.
        """
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, detail=detail)
        elif done * _LOG_LINES >= self._next_line * self._total:
            self._next_line = done * _LOG_LINES // max(self._total, 1) + 1
            self._console.print(Text(f"{self._title}: {done}/{self._total}" + (f", {detail}" if detail else "")))


@contextmanager
def ticking(title: str, total: int) -> Iterator[Ticker]:
    """Show progress while the block runs.

    Args:
        title: what is being done, in a word or three.
        total: units of work.
    """
    console = stderr()
    if not (console.is_interactive and console.file.isatty()):  # FORCE_COLOR makes a terminal of a file, for Rich
        yield Ticker(title, total, progress=None, console=console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Ticker(title, total, progress=progress, console=console)


def legible(text: str) -> str:
    r"""A text from anywhere, whose characters that a terminal would obey rather than show are written as escapes.

    >>> legible("a\x1b[2Jb\n.mp4"), legible("Zürich 東京.mp4")
    ('a\\x1b[2Jb\\n.mp4', 'Zürich 東京.mp4')
    """
    return _UNSEEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def line(text: str) -> None:
    """One line on stdout; nothing in it is markup."""
    click.echo(legible(text))


def note(message: str) -> None:
    """One line on stderr; nothing in it is markup."""
    _say(message, prefix="warning:", style="yellow")


def report_error(message: str) -> None:
    """``error: …`` on stderr: one line, whatever the message holds, and nothing in it is markup."""
    _say(f"error: {' '.join(message.split())}", prefix="error:", style="bold red")


def _say(message: str, *, prefix: str, style: str) -> None:
    text = Text(legible(message))
    if message.startswith(prefix):
        text.stylize(style, 0, len(prefix))
    stderr().print(text)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0, whole: int = 0
) -> None:
    """Print a table on stdout.

    Args:
        title: above it.
        columns: headings; where all are empty, there is no line for them.
        rows: cells, as plain text.
        numbers: how many of the last columns are right-aligned.
        whole: how many of the first columns are not folded, however narrow the terminal: what is to be copied.
    """
    table = Table(show_header=any(columns))
    for index, heading in enumerate(columns):
        right = index >= len(columns) - numbers
        table.add_column(
            Text(legible(heading)), justify="right" if right else "left", overflow="fold", no_wrap=index < whole
        )
    for row in rows:
        table.add_row(*(Text(legible(cell)) for cell in row))
    if title:  # a table would fold it to its own width
        stdout().print(Text(legible(title), style="italic"))
    print_whole(table)


def print_whole(table: Table) -> None:
    """Print a table on stdout: folded to a terminal's width, as wide as it is in a file or a pipe, which have none."""
    console = Console(highlight=False)
    if not console.file.isatty():
        unbounded = console.options.update(max_width=_ANY_WIDTH)
        console = Console(highlight=False, width=console.measure(table, options=unbounded).maximum)
    console.print(table)


def print_json(result: Any) -> None:
    """Print a result on stdout as JSON: see ``as_values``."""
    click.echo(json.dumps(as_values(result), indent=2, ensure_ascii=False))


def as_values(result: Any) -> Any:
    """A result as JSON values: dataclasses by field, codes by name in lower case, paths as text, NaN as null."""
    if is_dataclass(result) and not isinstance(result, type):
        return {field.name: as_values(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, Mapping):
        return {str(key): as_values(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [as_values(value) for value in result]
    if isinstance(result, Enum):
        return result.name.lower()
    if isinstance(result, Path):
        return str(result)
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result


class _Notes(logging.Handler):
    """Shows what the stages log as notes, on whatever stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        note(prefix + record.getMessage())


def show_logs() -> None:
    """Let the stages' logs reach the user; calling it again changes nothing."""
    logger = logging.getLogger("scale_video")
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())
        logger.setLevel(logging.INFO)
