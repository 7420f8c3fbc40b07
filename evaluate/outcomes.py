"""What a probe scored on each test video: what intervals per class and paired comparisons are computed from.

A file a probe and representation, beside ``results.json``: the average alone cannot be compared in pairs later on.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Scores of the labelled test videos under one probe of one representation."""

    video_ids: NDArray[np.str_]
    """Shape (N,)."""
    groups: NDArray[np.str_]
    """Shape (N,)."""
    labels: NDArray[Any]
    """Classes, shape (N,); or numbers to predict, (N,); or which of C classes each video has, (N, C)."""
    scores: Mapping[str, NDArray[np.float64]]
    """Metric to the score of each video, in [0, 1] but for errors, shape (N,); a record's value is their mean. A metric
    that is no mean over videos has none."""
    predictions: NDArray[Any]
    """Predicted classes or numbers, shape (N,); for retrieval the classes of the nearest training videos; a score for
    each of C classes, (N, C), where a video may have several."""

    def __post_init__(self) -> None:
        """Check lengths.

        Raises:
            ValueError: they differ.
        """
        lengths = set(map(len, (self.video_ids, self.groups, self.labels, self.predictions, *self.scores.values())))
        if len(lengths) != 1:
            raise ValueError(
                f"outcomes need one id, group, label, prediction and score per video, got {sorted(lengths)} of them"
            )


def write_outcomes(path: Path, outcomes: Outcomes) -> None:
    """Write a file whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    columns: dict[str, Any] = {f"score/{metric}": values for metric, values in outcomes.scores.items()}
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                video_ids=outcomes.video_ids,
                groups=outcomes.groups,
                labels=outcomes.labels,
                predictions=outcomes.predictions,
                **columns,
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # gone already, unless something failed


def read_outcomes(path: Path) -> Outcomes:
    """Read a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; the message names it and the way out.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            scores = {name.removeprefix("score/"): file[name] for name in file.files if name.startswith("score/")}
            return Outcomes(file["video_ids"], file["groups"], file["labels"], scores, file["predictions"])
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"outcomes file {path} is damaged ({error}); run the probe again") from error
