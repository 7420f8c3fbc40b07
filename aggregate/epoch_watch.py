"""Sums up the tasks of an epoch without waiting for the device at every step, and says when training goes wrong."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from scale_video.aggregate.info_nce import Contrast


class EpochWatch:
    """Means of loss and accuracy over the steps of one epoch."""

    def __init__(self) -> None:
        self.num_steps = 0
        self._sums: dict[str, Tensor] = {}
        self._num_rows: dict[str, int] = {}
        self._num_candidates: dict[str, int] = {}

    def add(self, contrasts: Mapping[str, Contrast]) -> None:
        """Count one step's tasks."""
        self.num_steps += 1
        for task, contrast in contrasts.items():
            values = torch.stack((contrast.loss.detach(), contrast.accuracy))
            self._sums[task] = self._sums[task] + values if task in self._sums else values
            self._num_rows[task] = self._num_rows.get(task, 0) + contrast.num_rows
            self._num_candidates[task] = contrast.num_candidates

    def means(self) -> dict[str, float]:
        """``<task>_loss`` and ``<task>_accuracy`` so far; waits for the device."""
        means = {}
        for task, sums in self._sums.items():
            means[f"{task}_loss"], means[f"{task}_accuracy"] = (sums / self.num_steps).tolist()
        return means

    def diverged(self) -> list[str]:
        """Tasks whose loss was not a finite number at some step; waits for the device."""
        return [task for task, sums in self._sums.items() if not math.isfinite(sums[0].item())]

    def at_chance(self) -> list[str]:
        """Tasks that do no better than guessing, three standard errors allowed; waits for the device."""
        means = self.means()
        contested = [task for task, num_candidates in self._num_candidates.items() if num_candidates > 1]
        return [task for task in contested if means[f"{task}_accuracy"] <= self._highest_by_chance(task)]

    def _highest_by_chance(self, task: str) -> float:
        chance = 1 / self._num_candidates[task]
        return chance + 3 * math.sqrt(chance * (1 - chance) / max(1, self._num_rows[task]))
