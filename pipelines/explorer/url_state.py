"""What a page shows stands in its address: it can be shared and gone back to, and the server remembers nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode

_AS_STORED: Final = ("class_name", "label", "among")
"""Names that somebody gave: one may begin with a blank."""


@dataclass(frozen=True, slots=True)
class UrlState:
    """The query of an address, field by field; what has its default is left out of the address."""

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> Self:
        """Read a query; names that are not known are left alone, as the web is used to.

        Raises:
            ValueError: a number is none.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in arguments:
                continue
            text = arguments[field.name]
            if field.name not in _AS_STORED:
                text = text.strip()
            values[field.name] = _whole_number(field.name, text) if field.type in (int, "int") else text
        return cls(**values)

    def query(self, **changes: Any) -> str:
        """The query of an address with some fields changed: ``?search=run&page=2``; empty where all are default."""
        changed = replace(self, **changes)
        given = {name: value for name, value in asdict(changed).items() if value != self._default(name)}
        return f"?{urlencode(given)}" if given else ""

    def others(self, *names: str) -> dict[str, Any]:
        """Fields that are not the default, without the named ones: what a form must carry along."""
        return {
            name: value for name, value in asdict(self).items() if name not in names and value != self._default(name)
        }

    def _default(self, name: str) -> Any:
        return next(field.default for field in fields(self) if field.name == name)


def _whole_number(name: str, text: str) -> int:
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal() and len(text) < 12):
        raise ValueError(f"{name} must be a whole number, got {text[:40]!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class TableState(UrlState):
    """What of the table of videos is shown."""

    search: str = ""
    """Part of a path, in any case of letters."""
    class_name: str = ""
    split: str = ""
    """``1:train``: videos of that part of a split."""
    status: str = ""
    """Name of a status, or ``failed`` for every failure."""
    features: str = ""
    """``view/backbone`` whose statuses are shown; the first when empty."""
    label: str = ""
    """Column of labels whose classes are shown; the first when empty."""
    sort: str = "row"
    """Name of a column, with ``-`` before it for the largest first."""
    page: int = 1

    def carried(self) -> str:
        """What the address of a video says of the table that led there; ``features`` and ``label`` are its own."""
        return self.query(features="", label="").removeprefix("?")


@dataclass(frozen=True, slots=True)
class VideoState(UrlState):
    """What of a video is shown."""

    features: str = ""
    label: str = ""
    clip: int = -1
    """The clip that is looked at; none when negative."""
    of: str = "video"
    """Whose neighbours are shown: ``video`` or ``clip``."""
    by: str = ""
    """What is compared: ``x``, ``x+cls``, …; of clips ``x`` (raw) or ``h`` (refined)."""
    among: str = ""
    """Which videos: all when empty, ``same`` class, ``other`` classes, or ``class:NAME``."""
    top: int = 12
    everywhere: int = 0
    """1: every clip of the store is compared, not only those of the videos that are nearest."""
    table: str = ""
    """The query of the table that led here, as ``TableState.carried`` has it; whole when empty."""

    def came_from(self) -> TableState:
        """The table that led here; all videos where that cannot be read."""
        try:
            found = TableState.parse(dict(parse_qsl(self.table)))
        except ValueError:
            found = TableState()
        return replace(found, features=self.features, label=self.label)
