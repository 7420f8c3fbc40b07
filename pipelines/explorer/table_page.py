"""The first page: the table of videos, filtered, sorted, a screenful at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.explorer.background import Task
from scale_video.pipelines.explorer.catalogue import FAILED, UNKNOWN, Catalogue, status_filter
from scale_video.pipelines.explorer.clip_times import clock
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.explorer.outcomes import Outcome, status_counts, status_name
from scale_video.pipelines.explorer.url_state import TableState, VideoState
from scale_video.store.video_probe import FAILURES

ROWS_PER_PAGE: Final = 50
COLUMNS: Final = (("row", "#"), ("path", "path"), ("class", "class"), ("split", "split"), ("status", "status"),
                  ("duration", "duration"))  # fmt: skip
"""What each is sorted by, and its heading."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A video in the table."""

    row: int
    name: str
    href: str
    classes: tuple[str, ...]
    split: str
    status: str
    failed: bool
    error: str
    duration: str


@dataclass(frozen=True, slots=True)
class TablePage:
    """What the template shows."""

    state: TableState
    features: str
    rows: tuple[TableRow, ...]
    num_found: int
    num_pages: int
    counts: Mapping[str, int]
    """Videos by status, of those that the other filters leave."""
    num_failed: int
    waiting: Task | None
    """What reads statuses, while it does."""
    problem: str
    """Why some could not be read."""


def table_page(
    catalogue: Catalogue, state: TableState, features: FeatureSet, outcome: Outcome, task: Task | None
) -> TablePage:
    """Find what is shown.

    Raises:
        ValueError: the state asks for a class, status, split, order or column that there is not.
    """
    label = catalogue.label_column(state.label)
    if catalogue.is_class_elsewhere(label, state.class_name):  # the column was changed while a class was chosen
        state = replace(state, class_name="")
    rows = catalogue.select(state, outcome.status)
    counts = status_counts(outcome.status[rows])
    num_failed = int(np.isin(outcome.status[rows], list(FAILURES)).sum())
    rows = with_status(rows, state, outcome)
    num_pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    first = (min(max(state.page, 1), num_pages) - 1) * ROWS_PER_PAGE
    shown = (
        _table_row(catalogue, row, state, features, outcome, label)
        for row in rows[first : first + ROWS_PER_PAGE].tolist()
    )
    return TablePage(
        state=state,
        features=features.name,
        rows=tuple(shown),
        num_found=len(rows),
        num_pages=num_pages,
        counts={**counts, **({FAILED: num_failed} if num_failed else {})},
        num_failed=num_failed,
        waiting=task if task is not None and not task.finished and (outcome.status == UNKNOWN).any() else None,
        problem=task.error if task is not None else "",
    )


def with_status(rows: NDArray[np.int64], state: TableState, outcome: Outcome) -> NDArray[np.int64]:
    """The rows that the filter of statuses leaves, in the same order.

    Raises:
        ValueError: there is no such status.
    """
    return rows[np.isin(outcome.status[rows], list(status_filter(state.status)))] if state.status else rows


def _table_row(
    catalogue: Catalogue, row: int, state: TableState, features: FeatureSet, outcome: Outcome, label: str | None
) -> TableRow:
    code = int(outcome.status[row])
    target = VideoState(features=state.features, label=state.label, table=state.carried())
    return TableRow(
        row=row,
        name=catalogue.names[row],
        href=f"/video/{row}{target.query()}",
        classes=catalogue.classes(row, label),
        split=catalogue.split_text(row),
        status=status_name(code),
        failed=code in FAILURES,
        error=outcome.errors.get(row, ""),
        duration=clock(float(catalogue.durations[row])),
    )
