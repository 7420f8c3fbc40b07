"""Whether one representation is better than another: pairs of records, compared on the same test videos."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scale_video.evaluate.comparison import compare_paired
from scale_video.evaluate.outcomes import Outcomes, read_outcomes
from scale_video.evaluate.result import EvaluationRecord


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much more the second of two representations scores, under one protocol and metric."""

    first: str
    second: str
    protocol: str
    options: Mapping[str, float]
    metric: str
    target: str
    """Column of the store that was predicted."""
    pretrained_on: str
    """What an aggregator from elsewhere was trained on."""
    seed: int | None
    """Of the pre-training; None where both are raw."""
    difference: float
    """Second minus first."""
    ci_low: float
    """Ends of the 95 % bootstrap interval over test groups."""
    ci_high: float
    p: float
    """Of the two-sided test that they are equally good; see ``evaluate/comparison.py``."""
    num_test: int


def compare_records(
    records: Sequence[EvaluationRecord], pairs: Sequence[tuple[str, str]], *, folder: Path
) -> list[Comparison]:
    """Compare representations pair by pair, under every protocol, option and metric that both have.

    Of two learned representations those of the same seed and training are compared; a raw one is compared with each.

    Args:
        records: Of one data set and split.
        pairs: Names of representations.
        folder: That of ``results.json``, which the records' outcomes lie below.

    Raises:
        ValueError: nothing to compare, or outcomes that are damaged or of different videos.
    """
    compared = []
    for first, second in pairs:
        found = list(_pairs(records, first, second))
        if not found:
            there = ", ".join(dict.fromkeys(record.representation for record in records))
            raise ValueError(f"nothing to compare between {first!r} and {second!r}; there is: {there}")
        compared += [row for one, other in found if (row := _compare(one, other, folder=folder))]
    return compared


def outcomes_of(record: EvaluationRecord, folder: Path) -> Outcomes:
    """What a row scored on each test video.

    Raises:
        ValueError: the row keeps none, or they are damaged.
    """
    if not record.outcomes:
        raise ValueError(
            f"the row of {record.representation!r} keeps no outcomes of single videos; run the probe again"
        )
    return read_outcomes(folder / record.outcomes)


def in_order_of(first: Outcomes, second: Outcomes, *, names: tuple[str, str]) -> Outcomes:
    """The second outcomes with their videos in the order of the first ones, so that scores can be compared in pairs.

    Args:
        first: Of one probe.
        second: Of another one, of the same test videos.
        names: What the two are called in an error.

    Raises:
        ValueError: they are of different test videos, or of other labels or groups of these.
    """
    both = f"{names[0]!r} and {names[1]!r}"
    only = np.setxor1d(first.video_ids, second.video_ids)
    if only.size or len(first.video_ids) != len(second.video_ids):
        raise ValueError(
            f"{both} were tested on different videos ({len(first.video_ids)} and {len(second.video_ids)}; only one of "
            f"them on {str(only[0])!r}); run both again on the same split"
        )
    rows = np.empty(len(first.video_ids), dtype=np.int64)
    rows[np.argsort(first.video_ids, kind="stable")] = np.argsort(second.video_ids, kind="stable")
    for what in ("labels", "groups"):
        unequal = getattr(first, what) != getattr(second, what)[rows]
        differ = np.flatnonzero(unequal.reshape(len(rows), -1).any(axis=1))  # a label may be a row of classes
        if differ.size:
            raise ValueError(
                f"{both} were tested on different {what} of the same videos, {differ.size} of them, the first "
                f"{str(first.video_ids[differ[0]])!r}; run both again on the same data"
            )
    return replace(
        second,
        video_ids=first.video_ids,
        groups=first.groups,
        labels=first.labels,
        scores={metric: scores[rows] for metric, scores in second.scores.items()},
        predictions=second.predictions[rows],
    )


def _pairs(
    records: Sequence[EvaluationRecord], first: str, second: str
) -> Iterator[tuple[EvaluationRecord, EvaluationRecord]]:
    records = list({record.key: record for record in records}.values())
    for one in (record for record in records if record.representation == first):
        for other in (record for record in records if record.representation == second):
            same_probe = (one.protocol, one.options, one.metric) == (other.protocol, other.options, other.metric)
            same_seed = one.seed == other.seed or None in (one.seed, other.seed)
            untrained = None in (one.checkpoint, other.checkpoint)
            if same_probe and same_seed and (untrained or one.pretrained_on == other.pretrained_on):
                yield one, other


def _compare(one: EvaluationRecord, other: EvaluationRecord, *, folder: Path) -> Comparison | None:
    """The difference; None where the metric is no mean over videos, and so cannot be compared video by video."""
    first, second = (outcomes_of(record, folder) for record in (one, other))
    if one.metric not in first.scores:
        return None
    names = one.representation, other.representation
    second = in_order_of(first, second, names=names)
    difference = compare_paired(first.scores[one.metric], second.scores[one.metric], first.groups)
    return Comparison(
        first=one.representation,
        second=other.representation,
        protocol=one.protocol,
        options=one.options,
        metric=one.metric,
        target=one.target,
        pretrained_on=one.pretrained_on or other.pretrained_on,
        seed=other.seed if one.seed is None else one.seed,
        difference=difference.value,
        ci_low=difference.low,
        ci_high=difference.high,
        p=difference.p,
        num_test=len(first.labels),
    )
