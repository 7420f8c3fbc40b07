"""What a job of stage 1 notes of itself in its journal, and how often.

The longer a job runs, the rarer its lines: a day makes 710, ten days 940.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Final

from distributed import Client

from scale_video.extract.block_task import ExtractionTask
from scale_video.extract.job import JobProgress, JobReport
from scale_video.extract.plan_store import PlanReport
from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.device_name import device_name
from scale_video.pipelines.extraction_journal import JobBegan, JobEnded, JobWent, Planned
from scale_video.pipelines.journal_file import JournalFile, how_it_ended, new_id, utc_now
from scale_video.store.read import FeatureStore

_LEAST_SECONDS: Final = 2.0
_SHARE_OF_TIME: Final = 0.01
"""Progress is noted when the job has grown older by this part, or by so many seconds, whichever is more."""


def note_plan(journal: Path | None, store: FeatureStore, report: PlanReport, *, seconds: float) -> None:
    """Note that a store was planned.

    Args:
        journal: The file; None: nowhere.
        store: The new store.
        report: Of its plan.
        seconds: How long it took.
    """
    planned = Planned(
        time=utc_now(seconds_ago=seconds),
        plan_digests=_plan_digests(store),
        seconds=round(seconds, 3),
        device=device_name("cpu"),
        num_videos=report.num_videos,
        unreadable=report.num_unreadable,
    )
    JournalFile(journal).append(planned)


class JobNotes:
    """Notes how a job goes."""

    def __init__(self, file: JournalFile, job: str) -> None:
        self._file = file
        self._job = job
        self._started = perf_counter()
        self._next = _LEAST_SECONDS

    def progress(self, progress: JobProgress) -> None:
        """Note how far the job is, if it is time to."""
        seconds = perf_counter() - self._started
        if seconds >= self._next:
            self._next = seconds + max(_LEAST_SECONDS, _SHARE_OF_TIME * seconds)
            self._went(progress, seconds)

    def finished(self, report: JobReport) -> None:
        """Note the end of a job that did all it could."""
        statuses = {name: target.counts for name, target in report.targets.items()}
        self._went(report.progress, report.seconds)
        self._ended("incomplete" if report.lost_blocks else "complete", seconds=report.seconds, statuses=statuses)

    def broken_off(self, error: BaseException) -> None:
        """Note the end of one that did not."""
        how, reason = how_it_ended(error)
        self._ended(how, seconds=perf_counter() - self._started, error=reason)

    def _went(self, progress: JobProgress, seconds: float) -> None:
        times = {
            f"{part}_seconds": round(getattr(progress, f"{part}_seconds"), 3)
            for part in ("wait", "decode", "resize", "forward", "write", "block")
        }
        went = JobWent(
            job=self._job,
            seconds=round(seconds, 3),
            num_videos=progress.num_videos,
            num_clips=progress.num_clips,
            failures=progress.failures,
            **times,
        )
        self._file.append(went)

    def _ended(
        self, how: str, *, seconds: float, error: str = "", statuses: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        ended = JobEnded(self._job, utc_now(), round(seconds, 3), how, error, statuses or {})
        self._file.append(ended)


@contextmanager
def noting_job(
    journal: Path | None,
    client: Client,
    task: ExtractionTask,
    store: FeatureStore,
    *,
    there: Mapping[str, int],
    num_videos: int,
) -> Iterator[JobNotes]:
    """Note that a job begins, and how it ends.

    Args:
        journal: The file; None: nowhere.
        client: Of the cluster that the job runs on.
        task: What it does.
        store: Where.
        there: Blocks that are there already, by ``<view>/<backbone>``.
        num_videos: Those of the blocks that are missing.
    """
    devices: Counter[str] = Counter()
    with suppress(Exception):  # a worker that dies just now: it is the job's to deal with that
        devices.update(client.run(device_name, task.targets[0].backbone.device).values())
    began = JobBegan(
        job=new_id(),
        time=utc_now(),
        plan_digests=_plan_digests(store),
        backbones=tuple(dict.fromkeys(target.backbone.name for target in task.targets)),
        versions=versions(),
        git_revision=git_revision(),
        devices=devices,
        num_threads=sum(client.nthreads().values()),
        num_decoders=task.limits.num_processes,
        num_blocks=store.num_blocks,
        there=there,
        num_videos=num_videos,
    )
    file = JournalFile(journal)
    file.append(began)
    notes = JobNotes(file, began.job)
    try:
        yield notes
    except BaseException as error:
        notes.broken_off(error)
        raise


def _plan_digests(store: FeatureStore) -> dict[str, str]:
    return {view: store.plan_digest(view) for view in store.views()}
