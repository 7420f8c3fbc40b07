"""The journal of evaluations, ``evaluation.jsonl`` beside ``results.json``: when they ran, on what, for how long.

A row of results says how long its probe took; this is about the whole call, reading and embedding included.
"""

from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from scale_video.pipelines.device_name import device_name
from scale_video.pipelines.journal_file import JournalFile, how_it_ended, read_events, utc_now
from scale_video.pipelines.paths import ExperimentRequest, results_path

JOURNAL_NAME: Final = "evaluation.jsonl"


@dataclass(frozen=True, slots=True)
class EvaluationCall:
    """A call that probed."""

    time: str
    """When it began; UTC."""
    seconds: float
    device: str
    """What it is called."""
    dataset: str
    split: str
    experiment: str
    """Its name, as rows of results have it."""
    backbone: str
    protocols: tuple[str, ...]
    num_records: int
    """Rows of results that it wrote."""
    how: str
    """``complete``, ``interrupted`` or ``failed``."""
    error: str
    """One line; empty where nothing went wrong."""


@contextmanager
def noting_evaluation(
    request: ExperimentRequest,
    *,
    backbone: str,
    protocols: Sequence[str],
    device: str,
    records: Sized,
) -> Iterator[None]:
    """Note, at its end, what a call did.

    Args:
        request: What is evaluated.
        backbone: Name of the features.
        protocols: What is run.
        device: ``cuda`` or ``cpu``.
        records: Rows of results, which are filled meanwhile and counted at the end.
    """
    began, started = utc_now(), perf_counter()
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        how, reason = how_it_ended(error)
        call = EvaluationCall(
            time=began,
            seconds=round(perf_counter() - started, 3),
            device=device_name(device),
            dataset=request.dataset,
            split=request.split,
            experiment=request.experiment,
            backbone=backbone,
            protocols=tuple(protocols),
            num_records=len(records),
            how=how,
            error=reason,
        )
        JournalFile(results_path(request).with_name(JOURNAL_NAME)).append(call)


def read_evaluation_journal(folder: Path) -> tuple[EvaluationCall, ...]:
    """The calls whose rows are in the ``results.json`` of a folder; none where no journal is.

    Raises:
        OSError: it is there, but cannot be read.
    """
    return tuple(read_events(folder / JOURNAL_NAME, (EvaluationCall,)))
