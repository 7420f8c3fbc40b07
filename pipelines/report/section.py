"""What a report consists of: sections of parts, parts of blocks. The page is rendered from these alone.

A section is declared as an ``Outline``: titles, and a function for each part, which makes blocks out of the sources.
What a part needs may be absent, damaged, or older than this release: ``fill`` is the one place where that becomes a
line on the page instead of the end of the report.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from bokeh.model import Model

from scale_video.store.errors import StoreError

if TYPE_CHECKING:
    from scale_video.pipelines.report.sources import ReportSources

_DAMAGE: Final = (OSError, ValueError, KeyError, StoreError)
"""What files raise that are not there, cut short, or written by another release. What else is raised is our mistake."""
_MAX_REASON: Final = 300
"""Characters of an error's message."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text; nothing in it is markup, here and in all that follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table of texts."""

    columns: tuple[str, ...]
    """Headings; all empty where the first column names the rows and there is nothing to say above."""
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 0
    """How many of the last columns are right-aligned."""
    caption: str = ""
    notes: tuple[str, ...] = ()
    """Below it, a line each."""
    folded: bool = False
    """Whether only the caption shows until a reader opens it; it is printed in full all the same."""


@dataclass(frozen=True, slots=True)
class FigureBlock:
    """A figure of Bokeh, or a layout of several."""

    figure: Model
    caption: str
    """What is to be seen, and how to read it."""
    description: str
    """For those who cannot see it: what it shows, in a sentence."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of a video side by side, as one picture."""

    image: str
    """A ``data:`` URI; empty where the video could not be had."""
    name: str
    """Of the video."""
    label: str
    """What stands below it."""
    hit: bool | None = None
    """Whether it is what was looked for; None where nothing was."""


@dataclass(frozen=True, slots=True)
class StripRow:
    """A query, and what was found for it in several ways."""

    query: Strip
    found: tuple[tuple[str, tuple[Strip, ...]], ...]
    """Title of each way, and the videos that it found, the nearest first."""


@dataclass(frozen=True, slots=True)
class StripGallery:
    """Queries with what was found for them."""

    rows: tuple[StripRow, ...]
    caption: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not there (yet)."""

    text: str
    command: str = ""
    """What makes it; empty where no command does."""


Block: TypeAlias = Paragraph | Commands | TableBlock | FigureBlock | StripGallery | Missing


class NotThereError(ValueError):
    """Raised by a part that has nothing to show; it becomes a ``Missing``."""

    def __init__(self, text: str, command: str = "") -> None:
        """Say what is missing, and which command makes it."""
        super().__init__(text)
        self.missing = Missing(text, command)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a section, before it is made."""

    title: str
    """Its heading."""
    blocks: "Callable[[ReportSources], Iterable[Block]]"


@dataclass(frozen=True, slots=True)
class Outline:
    """A section, before it is made."""

    title: str
    anchor: str
    """Its address on the page, ``[a-z-]+``."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class FilledPart:
    """A part with what it shows."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A section with what it shows."""

    title: str
    anchor: str
    parts: tuple[FilledPart, ...]


def fill(outline: Outline, sources: "ReportSources") -> Section:
    """Make a section; a part whose sources are absent or damaged shows why, after the blocks that it has made."""
    parts = []
    for part in outline.parts:
        blocks: list[Block] = []
        try:
            blocks.extend(part.blocks(sources))
        except NotThereError as error:
            blocks.append(error.missing)
        except _DAMAGE as error:
            _logger.warning("%s: left out, %s", part.title, error)
            blocks.append(Missing(f"This part could not be made: {_reason(error)}"))
        parts.append(FilledPart(part.title, tuple(blocks)))
    return Section(outline.title, outline.anchor, tuple(parts))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):  # whose message is a bare name
        text = f"{text} is missing from a file"
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 1]}…"
