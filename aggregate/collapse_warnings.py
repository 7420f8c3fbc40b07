"""Says, once, that a training goes nowhere, and what to try."""

import logging
from collections import Counter
from typing import Any, Final

from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.pretrain_config import PretrainConfig

_PATIENCE_EPOCHS: Final = 3
"""A healthy task may stay at chance for a while before it takes off."""

_logger = logging.getLogger(__name__)


class CollapseWarnings:
    """Counts, for each task, the epochs in a row that found it at chance or its vectors collapsed.

    Args:
        config: Whose values are said to be changed.
    """

    def __init__(self, config: PretrainConfig) -> None:
        self._config = config
        self._at_chance = Counter[str]()
        self._collapsed = Counter[str]()

    def look_at(self, watch: EpochWatch) -> None:
        """Judge an epoch after the warm-up."""
        self._at_chance = Counter({task: self._at_chance[task] + 1 for task in watch.at_chance()})
        self._collapsed = Counter({task: self._collapsed[task] + 1 for task in watch.collapsed()})
        means = watch.means()
        for task in _after_patience(self._at_chance):
            _logger.warning(
                "task '%s' has done no better than chance for %d epochs after the warm-up; %s",
                task, _PATIENCE_EPOCHS, self._way_out(),
            )  # fmt: skip
        for task in _after_patience(self._collapsed):
            _logger.warning(
                "the vectors of task '%s' are all but one (spread %.3f, where 1 is healthy) for %d epochs after the "
                "warm-up; %s",
                task, means[f"{task}_spread"], _PATIENCE_EPOCHS, self._way_out(),
            )  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """The counts, as plain values."""
        return {"at_chance": dict(self._at_chance), "collapsed": dict(self._collapsed)}

    def load(self, plain: dict[str, Any]) -> None:
        """Go on from counts of a training that was interrupted."""
        self._at_chance = Counter(plain["at_chance"])
        self._collapsed = Counter(plain["collapsed"])

    def _way_out(self) -> str:
        config = self._config
        return (
            f"if this stays so, train anew with learning_rate {config.learning_rate / 3:.2g} (now "
            f"{config.learning_rate:g}) and warmup_fraction {max(0.1, 2 * config.warmup_fraction):.2g} (now "
            f"{config.warmup_fraction:g}); if that changes nothing, the features themselves may be alike: k-NN of `x` "
            "tells what they are worth"
        )


def _after_patience(num_epochs: Counter[str]) -> list[str]:
    return [task for task, number in num_epochs.items() if number == _PATIENCE_EPOCHS]
