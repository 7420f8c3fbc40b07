"""What became of every video under every backbone, read in the background, a run of blocks at a time."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.explorer.background import Background, Report, Task
from scale_video.pipelines.explorer.catalogue import UNKNOWN
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.store.union import ReadableStore
from scale_video.store.video_probe import VideoStatus

_STALE_SECONDS: Final = 30.0
"""After which statuses of a job that may still be running are read again, and those that could not be read."""


@dataclass(slots=True)
class Outcome:
    """Statuses and reasons of all videos, as far as they have been read."""

    status: NDArray[np.uint8]
    """Shape (N,), codes of ``VideoStatus``; ``UNKNOWN`` where not read yet."""
    errors: dict[int, str] = field(default_factory=dict)
    """By row, where there is a reason."""
    read_at: float = 0.0

    @property
    def may_change(self) -> bool:
        """Whether a job has something left to do."""
        return bool((self.status == VideoStatus.PENDING).any())


class Outcomes:
    """Those of each feature set of a store."""

    def __init__(self, store: ReadableStore, background: Background) -> None:
        """Read what the plan says; the rest is read when it is asked for.

        Raises:
            StoreError: it cannot be read.
        """
        self._store = store
        self._background = background
        planned = Outcome(store.column("probe_status").astype(np.uint8))
        failed = np.flatnonzero(planned.status != VideoStatus.OK)
        if len(failed):
            planned.errors.update(zip(failed.tolist(), store.column("probe_error")[failed].tolist(), strict=True))
        self._planned = planned
        self._of: dict[FeatureSet, tuple[Outcome, Task]] = {}
        self._lock = threading.Lock()

    def get(self, features: FeatureSet) -> tuple[Outcome, Task | None]:
        """What is known, and the task that is to know more; None where nothing is extracted that it could read."""
        if features.view is None or features.backbone is None:
            return self._planned, None
        with self._lock:
            if features in self._of:
                known, task = self._of[features]
                unsure = task.finished and (known.may_change or task.error)
                if not (unsure and time.monotonic() - known.read_at > _STALE_SECONDS):
                    return known, task
            else:
                known = Outcome(np.full(self._store.num_videos, UNKNOWN, np.uint8))
            task = self._begin(known, features.view, features.backbone)
            self._of[features] = known, task
            return known, task

    def _begin(self, known: Outcome, view: str, backbone: str) -> Task:
        def read(report: Report) -> None:
            try:
                for rows, status, errors in self._store.outcomes(view, backbone):
                    known.status[rows] = status
                    others = {row: text for row, text in known.errors.items() if not rows.start <= row < rows.stop}
                    known.errors = others | {rows.start + place: text for place, text in enumerate(errors) if text}
                    report(rows.stop)
            finally:
                known.read_at = time.monotonic()

        return self._background.begin(f"reading statuses of {view}/{backbone}", self._store.num_videos, read)


def status_counts(status: NDArray[np.uint8]) -> Mapping[str, int]:
    """How many videos have each status, by its name; those that are not known yet are left out."""
    codes, counts = np.unique(status[status != UNKNOWN], return_counts=True)
    return {VideoStatus(code).name.lower(): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}


def status_name(code: int) -> str:
    """In lower case; ``…`` for what is not known yet."""
    return "…" if code == UNKNOWN else VideoStatus(code).name.lower()
