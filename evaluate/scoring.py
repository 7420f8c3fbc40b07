"""From what a probe predicts of the labelled test videos to metrics with intervals, by the kind of target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.bootstrap import Estimate, estimate
from scale_video.evaluate.full_ranking import Ranking
from scale_video.evaluate.label_precision import label_ranking_precisions, mean_average_precision
from scale_video.evaluate.prediction import NUM_RANKED, Outputs, Prediction
from scale_video.evaluate.retrieval import RECALL_DEPTHS, recalled


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the labelled test videos."""

    estimates: Mapping[str, Estimate]
    """Metric to its value, with the interval over test groups."""
    by_video: Mapping[str, NDArray[np.float64]]
    """Metric to one score per video, whose mean the estimate is."""


def score_classes(
    prediction: Prediction,
    labels: NDArray[np.integer[Any]],
    groups: NDArray[Any],
    *,
    num_classes: int,
    labelled: NDArray[np.bool_],
) -> Scores:
    """``top1``, and ``top5`` where there are more than five classes; of five, all are among the first five.

    Args:
        prediction: Of the N_test test videos.
        labels: Their classes, shape (N_test,).
        groups: Their groups.
        num_classes: Of the data set.
        labelled: Which of them count, shape (N_test,).
    """
    tops = (1, NUM_RANKED) if num_classes > NUM_RANKED else (1,)
    return _means({f"top{top}": prediction.hits(labels, top=top)[labelled] for top in tops}, groups[labelled])


def score_ranking(
    ranking: Ranking,
    train_labels: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    groups: NDArray[Any],
    *,
    labelled: NDArray[np.bool_],
) -> Scores:
    """``r@k`` and ``map`` of retrieval; arguments as in ``score_classes``."""
    hits = {f"r@{depth}": recalled(ranking, train_labels, labels, depth=depth) for depth in RECALL_DEPTHS}
    by_video = {**hits, "map": ranking.average_precision}
    return _means({metric: values[labelled] for metric, values in by_video.items()}, groups[labelled])


def score_sets(
    outputs: Outputs, targets: NDArray[np.integer[Any]], groups: NDArray[Any], *, labelled: NDArray[np.bool_]
) -> Scores:
    """``map`` over classes, which no mean over videos gives, and ``lrap``; arguments as in ``score_classes``."""
    values, relevant, of_groups = outputs.values[labelled], targets[labelled] == 1, groups[labelled]
    ranked = _means({"lrap": label_ranking_precisions(values, relevant)}, of_groups)
    return Scores({"map": mean_average_precision(values, relevant, of_groups), **ranked.estimates}, ranked.by_video)


def score_numbers(
    outputs: Outputs, targets: NDArray[np.floating[Any]], groups: NDArray[Any], *, labelled: NDArray[np.bool_]
) -> Scores:
    """``mse``, in the square of the target's unit; arguments as in ``score_classes``."""
    errors = (outputs.values[labelled, 0].astype(np.float64) - targets[labelled]) ** 2
    return Scores({"mse": estimate(errors, groups[labelled], bounded=False)}, {"mse": errors})


def _means(by_video: Mapping[str, NDArray[Any]], groups: NDArray[Any]) -> Scores:
    scores = {metric: values.astype(np.float64) for metric, values in by_video.items()}
    return Scores({metric: estimate(values, groups) for metric, values in scores.items()}, scores)
