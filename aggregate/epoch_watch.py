"""Sums up the tasks of an epoch without waiting for the device at every step, and says when training goes wrong."""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.ranks import mean_of_ranks

_WATCHED: Final = ("loss", "accuracy", "spread")
"""The last one may be absent."""
COLLAPSED: Final = 0.1
"""Vectors that spread less, where 1 is healthy, have all but fallen into one."""


class EpochWatch:
    """Means of loss, accuracy and spread over the steps of one epoch.

    Args:
        share_before: Part of the whole training that was done when the epoch began.
    """

    def __init__(self, share_before: float = 0.0) -> None:
        self.share_before = share_before
        self.num_steps = 0
        self._sums: dict[str, Tensor] = {}
        self._num_rows: dict[str, int] = {}
        self._num_candidates: dict[str, int] = {}

    def add(self, contrasts: Mapping[str, Contrast]) -> None:
        """Count one step's tasks."""
        self.num_steps += 1
        for task, contrast in contrasts.items():
            watched = (contrast.loss.detach(), contrast.accuracy, contrast.spread)
            values = torch.stack([value for value in watched if value is not None])
            self._sums[task] = self._sums[task].to(values.device) + values if task in self._sums else values
            self._num_rows[task] = self._num_rows.get(task, 0) + contrast.num_rows
            self._num_candidates[task] = contrast.num_candidates

    def means(self) -> dict[str, float]:
        """``<task>_loss``, ``<task>_accuracy`` and ``<task>_spread`` so far; waits for the device."""
        means: dict[str, float] = {}
        for task, sums in self._sums.items():
            values = (mean_of_ranks(sums) / self.num_steps).tolist()
            means |= {f"{task}_{name}": value for name, value in zip(_WATCHED, values, strict=False)}
        return means

    def diverged(self) -> list[str]:
        """Tasks whose loss was not a finite number at some step; waits for the device."""
        return [task for task, sums in self._sums.items() if not math.isfinite(mean_of_ranks(sums)[0].item())]

    def at_chance(self) -> list[str]:
        """Tasks that do no better than guessing, three standard errors allowed; waits for the device."""
        means = self.means()
        contested = [task for task, num_candidates in self._num_candidates.items() if num_candidates > 1]
        return [task for task in contested if means[f"{task}_accuracy"] <= self._highest_by_chance(task)]

    def collapsed(self) -> list[str]:
        """Tasks whose vectors hardly differ; waits for the device."""
        means = self.means()
        return [task for task in self._sums if means.get(f"{task}_spread", 1.0) < COLLAPSED]

    def to_plain(self) -> dict[str, Any]:
        """The sums so far, as tensors and plain values; of several ranks their mean, which each may go on with."""
        sums = {task: mean_of_ranks(sums) for task, sums in self._sums.items()}
        return {**vars(self), "_sums": sums}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "EpochWatch":
        """Go on with sums of an epoch that was interrupted."""
        watch = cls()
        vars(watch).update(plain)
        return watch

    def _highest_by_chance(self, task: str) -> float:
        chance = 1 / self._num_candidates[task]
        return chance + 3 * math.sqrt(chance * (1 - chance) / max(1, self._num_rows[task]))
