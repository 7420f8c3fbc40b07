"""Published figures, which tables show beside ours: read from ``published_figures.toml``, each with its source."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "published_figures.toml"


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """What others found with the same frozen weights."""

    dataset: str
    splits: tuple[str, ...]
    """That it is the mean over."""
    backbones: tuple[str, ...]
    """Names of features of these weights."""
    representation: str
    beside: tuple[str, ...]
    """Protocols of ours that come nearest to theirs."""
    metric: str
    value: float
    """In [0, 1]."""
    source: str
    how: str
    """Their protocol, in a line."""


def published_figures() -> tuple[PublishedFigure, ...]:
    """All that are known."""
    rows: list[dict[str, Any]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))["figure"]
    lists = ("splits", "backbones", "beside")
    return tuple(PublishedFigure(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in rows)
