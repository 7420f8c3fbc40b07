"""When each stage ran, for how long and on what, as the journals of the stages have it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scale_video.pipelines.evaluation_journal import read_evaluation_journal
from scale_video.pipelines.extraction_journal import ExtractionRecord, read_extraction_journal
from scale_video.pipelines.paths import extraction_journal
from scale_video.pipelines.report.section import NotThereError
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.run_metrics import read_metrics
from scale_video.pipelines.training_journal import read_training_journal
from scale_video.store.amounts import time_text
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, StoreUnion


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage."""

    stage: str
    began: str
    """UTC, as ``2026-03-01T12:00:00Z``; empty where nobody noted it."""
    seconds: float
    device: str
    """Empty where nobody noted it."""
    note: str = ""


def stage_times(sources: ReportSources) -> Iterator[StageTime]:
    """The stages of which something is known, in their order.

    Raises:
        OSError: a journal cannot be read.
    """
    try:
        record = extraction_record(sources)
    except NotThereError:  # the store may be elsewhere, and the run folders here
        record = ExtractionRecord()
    for planned in record.planned:
        yield StageTime("planning", planned.time, planned.seconds, planned.device)
    if record.jobs:
        yield _extraction(record)
    for seed, folder in sources.run_folders().items():
        yield from _training(folder, f"pre-training, seed {seed}")
    yield from _evaluation(sources)


def extraction_record(sources: ReportSources) -> ExtractionRecord:
    """What the journal of stage 1 says of the store.

    Raises:
        NotThereError: there is no store.
        OSError: the journal cannot be read.
    """
    digests = [store.plan_digest(view) for store in members(sources.store) for view in store.views()]
    return read_extraction_journal(journal_path(sources), plan_digests=digests)


def journal_path(sources: ReportSources) -> Path:
    """Of stage 1."""
    return extraction_journal(sources.experiment.runs, dataset=sources.experiment.dataset)


def members(store: ReadableStore) -> tuple[FeatureStore, ...]:
    """A store by itself, or those of a union."""
    return store.stores if isinstance(store, StoreUnion) else (store,)


def counted(devices: Mapping[str, int]) -> str:
    """``2 × AMD EPYC 7763``."""
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in devices.items())


def _extraction(record: ExtractionRecord) -> StageTime:
    jobs = record.jobs
    endless = sum(job.ended is None for job in jobs)
    parts = [f"{len(jobs)} jobs"] if len(jobs) > 1 else []
    parts += [f"of {endless} no end is noted"] if endless else []
    devices = dict.fromkeys(counted(job.began.devices) for job in jobs if job.began.devices)
    return StageTime(
        "extraction", jobs[0].began.time, sum(job.seconds for job in jobs), "; ".join(devices), ", ".join(parts)
    )


def _training(folder: Path, stage: str) -> Iterator[StageTime]:
    """By its journal; of a call that was killed in between, and of earlier releases, by the times of the epochs."""
    calls = read_training_journal(folder)
    ended = [call.ended for call in calls if call.ended is not None]
    seconds = sum(end.seconds for end in ended)
    if not calls or len(ended) < len(calls):
        seconds = sum(read_metrics(folder).seconds)
    if not seconds:
        return
    devices = dict.fromkeys(counted({call.began.device: call.began.num_devices}) for call in calls)
    note = f"{len(calls)} calls" if len(calls) > 1 else ""
    yield StageTime(stage, calls[0].began.time if calls else "", seconds, "; ".join(devices), note)


def _evaluation(sources: ReportSources) -> Iterator[StageTime]:
    experiment = sources.experiment
    wanted = (experiment.dataset, experiment.split, experiment.experiment)
    calls = [
        call
        for call in read_evaluation_journal(sources.results_folder)
        if (call.dataset, call.split, call.experiment) == wanted and call.backbone == sources.backbone
    ]
    if calls:
        yield StageTime(
            "evaluation",
            calls[0].time,
            sum(call.seconds for call in calls),
            "; ".join(dict.fromkeys(call.device for call in calls)),
            f"{len(calls)} calls" if len(calls) > 1 else "",
        )


def as_rows(times: Sequence[StageTime]) -> list[tuple[str, ...]]:
    """Cells for a table: stage, when it began, how long it took, device, note."""
    return [(one.stage, when(one.began), time_text(one.seconds), one.device or "unknown", one.note) for one in times]


def when(time: str) -> str:
    """``2026-03-01 12:00:00 UTC`` of what a journal says."""
    return time.replace("T", " ").replace("Z", " UTC") or "unknown"
