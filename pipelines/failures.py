"""``scale-video failures``: every video that could not be had in full, read from the store a run of rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scale_video.store.read import FeatureStore
from scale_video.store.union import store_urls
from scale_video.store.video_probe import FAILURES, VideoStatus, failures_named

PLAN: Final = "plan"
"""In the place of a view and backbone: the video could not be read when the store was planned, and has no clips."""

_ROWS_AT_A_TIME: Final = 4096
"""A chunk of the table of videos."""


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """One video that could not be had in full."""

    features: str
    """``<view>/<backbone>``, or ``plan``."""
    status: VideoStatus
    path: str
    """Relative to the data root; with ``#start-end`` for a part of a file."""
    error: str
    """Why, in one line."""


@dataclass(frozen=True, slots=True)
class FailureListing:
    """The failures of a store, or of several. Each iteration reads them anew, so that none is kept in memory."""

    store: str
    """As named: ``a.zarr``, or ``a.zarr,b.zarr``."""
    opened: tuple[FeatureStore, ...]
    statuses: frozenset[VideoStatus]
    """Those that are listed."""

    def __iter__(self) -> Iterator[FailureRecord]:
        """First what could not be planned, then by view and backbone; in the order of rows."""
        for store in self.opened:
            yield from _planning_failures(store, self.statuses)
            for view in store.views():
                for backbone in store.backbones(view):
                    yield from _extraction_failures(store, view, backbone, self.statuses)


def list_failures(url: str, *, statuses: Sequence[str] = ()) -> FailureListing:
    """Open what is to be listed.

    Args:
        url: path or URL of a store, or several, separated by commas.
        statuses: names of the statuses to list; all failures when empty.

    Raises:
        StoreError: a store cannot be read.
        ValueError: a name is no status of a failure.
    """
    return FailureListing(
        store=url,
        opened=tuple(FeatureStore.open(part) for part in store_urls(url)),
        statuses=failures_named(statuses, option="--status") or FAILURES,
    )


def _planning_failures(store: FeatureStore, statuses: frozenset[VideoStatus]) -> Iterator[FailureRecord]:
    wanted = list(statuses)
    for start in range(0, store.num_videos, _ROWS_AT_A_TIME):
        rows = slice(start, min(start + _ROWS_AT_A_TIME, store.num_videos))
        status = store.column("probe_status", rows)
        failed = np.flatnonzero(np.isin(status, wanted)).tolist()
        if failed:
            names, errors = store.file_names(rows), store.column("probe_error", rows)
            for place in failed:
                yield FailureRecord(PLAN, VideoStatus(status[place]), names[place], str(errors[place]))


def _extraction_failures(
    store: FeatureStore, view: str, backbone: str, statuses: frozenset[VideoStatus]
) -> Iterator[FailureRecord]:
    wanted = list(statuses)
    for rows, status, errors in store.outcomes(view, backbone):
        failed = np.flatnonzero(np.isin(status, wanted))
        if len(failed):
            # What could not be planned has that for its status, too, and is listed once.
            readable = store.column("probe_status", rows)[failed] == VideoStatus.OK
            names = store.file_names(rows)
            for place in failed[readable].tolist():
                yield FailureRecord(f"{view}/{backbone}", VideoStatus(status[place]), names[place], errors[place])
