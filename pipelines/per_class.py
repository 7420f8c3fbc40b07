"""What the probes score on each class, with intervals: the rows behind an average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scale_video.evaluate.bootstrap import estimate_per_class
from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.probe_target import ProbeTarget


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The value of one record over the test videos of one class."""

    class_name: str
    representation: str
    protocol: str
    options: Mapping[str, float]
    metric: str
    target: str
    pretrained_on: str
    """What an aggregator from elsewhere was trained on."""
    seed: int | None
    value: float
    """In [0, 1]."""
    ci_low: float
    """Ends of the 95 % bootstrap interval over the test groups of the class; 0 and 1 where there is one group."""
    ci_high: float
    num_test: int
    """Labelled test videos of the class."""


def check_has_classes(target: ProbeTarget) -> None:
    """Check that each video is of one class.

    Raises:
        ValueError: it is not.
    """
    if target.kind != "class":
        what = "sets of classes" if target.kind == "classes" else "numbers"
        raise ValueError(f"--per-class needs videos of one class each, and {target.name!r} holds {what}; leave it out")


def scores_per_class(records: Sequence[EvaluationRecord], target: ProbeTarget, *, folder: Path) -> list[ClassScore]:
    """Split records up by class, in the order of the classes within each record.

    Args:
        records: With outcomes.
        target: What they predict.
        folder: That of ``results.json``.

    Raises:
        ValueError: outcomes that are damaged, or videos that are not of one class each.
    """
    check_has_classes(target)
    scores = []
    for record in records:
        outcomes = read_outcomes(folder / record.outcomes)
        found = estimate_per_class(outcomes.scores[record.metric], outcomes.groups, outcomes.labels)
        for label, (estimate, num_test) in found.items():
            scores.append(
                ClassScore(
                    class_name=target.class_names[label],
                    representation=record.representation,
                    protocol=record.protocol,
                    options=record.options,
                    metric=record.metric,
                    target=record.target,
                    pretrained_on=record.pretrained_on,
                    seed=record.seed,
                    value=estimate.value,
                    ci_low=estimate.low,
                    ci_high=estimate.high,
                    num_test=num_test,
                )
            )
    return scores
