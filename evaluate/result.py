"""One row of results, and the file that collects them.

``results.json`` is a list of records with the fields of ``EvaluationRecord``. It is replaced as a whole and atomically;
running a probe again replaces its own rows and keeps all others, those of a probe that runs beside it too.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from scale_video.evaluate.options import CLIP_PROTOCOLS
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.retrieval import RECALL_DEPTHS

PROTOCOLS = ("knn", "linear", "nonlinear", "retrieval", *CLIP_PROTOCOLS)
METRICS = ("top1", "top5", *(f"r@{depth}" for depth in RECALL_DEPTHS), "map", "lrap", "mse")
LOWER_IS_BETTER = ("mse",)
"""Metrics that are errors; they are not negative, and may be above 1."""

_logger = logging.getLogger(__name__)

ProbeKey = tuple[str | int | tuple[tuple[str, float], ...] | None, ...]
RecordKey = tuple[str, ProbeKey]


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What one probe found out about one representation of one split."""

    dataset: str
    split: str
    preset: str
    """Name of the experiment: its ``--label``, or else the preset that it followed (``honest``, ``paper``, …)."""
    backbone: str
    """Name of the backbone's group in the store."""
    plan_digest: str
    """Of the view that the training videos' clips are from: which clips of which videos."""
    test_plan_digest: str
    """Of the view that the test videos' clips are from; the same where it is one view."""
    weights_digest: str
    """Of the backbone's weights."""
    representation: str
    """One of ``REPRESENTATIONS``."""
    protocol: str
    """One of ``PROTOCOLS``."""
    metric: str
    """One of ``METRICS``. ``top1`` and ``top5`` are the shares of test videos whose class is the predicted one or among
    the first five, ``r@k`` of those with a training video of their class among the k nearest. ``map`` is the mean
    average precision: over queries for retrieval, over classes where a video may have several; ``lrap`` is then the
    label ranking average precision. ``mse`` is the mean squared error of a number."""
    value: float
    ci_low: float
    """Ends of the bootstrap interval over test groups, see ``bootstrap.py``."""
    ci_high: float
    num_train: int
    """Labelled videos that the probe was fitted on, its hold-out included; for retrieval, those it searched."""
    num_test: int
    """Labelled videos that it was tested on."""
    seed: int | None
    """Of the pre-training, or of the untrained weights of ``init``; None for the raw representations."""
    checkpoint: str | None
    """Where the aggregator came from; None for the raw representations and ``init``."""
    hyperparameters: Mapping[str, float]
    """What the probe ran with, chosen or given: ``C``, ``epochs``, ``k``, …"""
    seconds: float
    """Wall-clock time of the probe, hold-out included, without loading or computing features."""
    seen: bool = False
    """The aggregator was pre-trained on test videos (``--allow-seen``): not comparable with rows where it was not."""
    note: str = ""
    """What a reader must know, in one line."""
    options: Mapping[str, float] = field(default_factory=dict)
    """Options of the probe that are not the defaults, see ``ProbeOptions.departures``; a part of the key."""
    outcomes: str = ""
    """File with the score of each test video, relative to the folder of the results; empty in old rows."""
    target: str = "label"
    """Column of the store that was predicted."""
    pretrained_on: str = ""
    """What an aggregator from elsewhere was trained on, ``<data set>@<digest of features and settings>``; empty for
    the experiment's own, and for the raw representations and ``init``."""
    pretrain_videos: str = ""
    """Which videos of its store the aggregator was trained on: ``train``, or ``all`` as published; empty for the raw
    representations and ``init``, and in old rows."""
    forward_digest: str = ""
    """Of what the features depend on besides pixels and weights: preprocessing, layer, frames, precision; a part of the
    key, and empty in old rows."""
    training: str = ""
    """Digest of the settings, features and number of videos of the pre-training, whatever its seed: rows are of one
    training if it is equal. Of ``init`` it is the architecture's, and a part of the key. Empty in old rows."""

    def __post_init__(self) -> None:
        """Check names and ranges, and that seed and checkpoint fit the representation.

        Raises:
            ValueError: any of these does not hold.
        """
        for name, known in (("representation", REPRESENTATIONS), ("protocol", PROTOCOLS), ("metric", METRICS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")
        most = sys.float_info.max if self.metric in LOWER_IS_BETTER else 1
        if not (0 <= self.value <= most and 0 <= self.ci_low <= self.ci_high <= most):
            what = "not be negative, and have" if self.metric in LOWER_IS_BETTER else "be a fraction with"
            raise ValueError(f"{self.metric} must {what} an interval, got {self.value} ({self.ci_low}, {self.ci_high})")
        has_seed = self.representation not in RAW_REPRESENTATIONS
        has_checkpoint = has_seed and self.representation != "init"
        for name, needed in (("seed", has_seed), ("checkpoint", has_checkpoint)):
            if (getattr(self, name) is not None) != needed:
                must = "must have" if needed else "cannot have"
                raise ValueError(f"representation {self.representation!r} {must} a {name}, got {getattr(self, name)!r}")

    @property
    def probe_key(self) -> ProbeKey:
        """What identifies the probe, whose rows differ in the metric alone."""
        return (
            self.dataset,
            self.split,
            self.preset,
            self.backbone,
            self.plan_digest,
            self.test_plan_digest,
            self.weights_digest,
            self.representation,
            self.protocol,
            self.seed,
            tuple(sorted(self.options.items())),
            self.target,
            self.pretrained_on,
            self.forward_digest,
            self.training if self.representation == "init" else "",
        )

    @property
    def key(self) -> RecordKey:
        """What identifies a row: one with the same key replaces it."""
        return self.metric, self.probe_key

    @property
    def outcomes_name(self) -> str:
        """Name of the file with its outcomes: the same for all metrics of one probe."""
        return f"{hashlib.blake2b(json.dumps(self.probe_key).encode(), digest_size=16).hexdigest()}.npz"


def merge_records(old: Iterable[EvaluationRecord], new: Iterable[EvaluationRecord]) -> list[EvaluationRecord]:
    """Join two lists; where both hold the same key, the new row stays. Sorted as ``write_results`` writes them.

    Rows from before there were digests of the way in which features were computed make way for those that have them.
    """
    added = {record.key: record for record in new}
    outdated = {replace(record, forward_digest="", training="").key for record in added.values()}
    return _sorted(({record.key: record for record in old if record.key not in outdated} | added).values())


def add_records(path: Path, records: Iterable[EvaluationRecord]) -> None:
    """Merge records into a results file; probes that do so at the same time lose none of each other's.

    They take turns by a lock on ``.<name>.lock`` beside the file, which the system gives back when a process ends,
    however it ends.

    Args:
        path: The file; it and its folder are made where they are missing.
        records: New rows.

    Raises:
        ValueError: the file is damaged; see ``read_results``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")):
        write_results(path, merge_records(read_results(path) if path.exists() else [], records))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            _logger.warning("%s: this file system has no locks; let one probe at a time write here", path.parent)
        yield


def write_results(path: Path, records: Iterable[EvaluationRecord]) -> None:
    """Replace a results file, atomically: a reader finds the old list or the new one, also after a crash.

    Args:
        path: The file; its folder is made where it is missing.
        records: All rows the file shall hold, in any order; they are written sorted by data set, split, preset,
            backbone, digests, protocol, representation (in the order of ``REPRESENTATIONS``), options, seed and metric.
    """
    text = json.dumps([asdict(record) for record in _sorted(records)], indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # gone already, unless something failed


def read_results(path: Path) -> list[EvaluationRecord]:
    """Read the rows of a results file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no list of records; the message names the row.
    """
    way_out = "move it away and run the probes again"
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"results file {path} is damaged, no JSON ({error}); {way_out}") from error
    if not isinstance(rows, list):
        raise ValueError(f"results file {path} is damaged, it holds no list of records; {way_out}")
    records = []
    for index, row in enumerate(rows):
        try:
            records.append(EvaluationRecord(**row))
        except (TypeError, ValueError) as error:  # no object, missing or unknown fields, or values out of range
            raise ValueError(f"results file {path} is damaged, record {index}: {error}; {way_out}") from error
    return records


def _sorted(records: Iterable[EvaluationRecord]) -> list[EvaluationRecord]:
    return sorted(
        records,
        key=lambda record: (
            record.dataset,
            record.split,
            record.preset,
            record.backbone,
            record.plan_digest,
            record.test_plan_digest,
            record.weights_digest,
            record.forward_digest,
            record.target,
            record.pretrained_on,
            PROTOCOLS.index(record.protocol),
            REPRESENTATIONS.index(record.representation),
            sorted(record.options.items()),
            -1 if record.seed is None else record.seed,
            METRICS.index(record.metric),
            record.training,
        ),
    )
