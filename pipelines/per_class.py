"""What the probes score on each class, with intervals: the rows behind an average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scale_video.evaluate.bootstrap import estimate_per_class
from scale_video.evaluate.label_precision import precision_per_class
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
    """Ends of the 95 % bootstrap interval over the test groups of the class, or over all where videos have sets of
    classes; 0 and 1 where there is one group."""
    ci_high: float
    num_test: int
    """Labelled test videos of the class."""


def check_has_classes(target: ProbeTarget) -> None:
    """Check that videos have classes, one each or sets of them.

    Raises:
        ValueError: they have numbers.
    """
    if target.kind not in ("class", "classes"):
        raise ValueError(f"--per-class needs videos with classes, and {target.name!r} holds numbers; leave it out")


def scores_per_class(records: Sequence[EvaluationRecord], target: ProbeTarget, *, folder: Path) -> list[ClassScore]:
    """Split records up by class, in the order of the classes within each record.

    Of videos that are of one class each, a class has the mean score of its videos. Of videos with sets of classes it
    has its average precision over the ranking of all videos; their mean is ``map``. Other metrics are left out.

    Args:
        records: With outcomes.
        target: What they predict.
        folder: That of ``results.json``.

    Raises:
        ValueError: outcomes that are damaged, or videos without classes.
    """
    check_has_classes(target)
    scores = []
    for record in records:
        outcomes = read_outcomes(folder / record.outcomes)
        if target.kind == "class":
            found = estimate_per_class(outcomes.scores[record.metric], outcomes.groups, outcomes.labels)
        elif record.metric == "map":
            found = precision_per_class(outcomes.predictions, outcomes.labels == 1, outcomes.groups)
        else:
            continue
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
