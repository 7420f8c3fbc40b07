"""Says that a task of a training goes nowhere, and what to try."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.pretrain_config import PretrainConfig

_PATIENCE_EPOCHS: Final = 3
"""A healthy task may stay at chance for a while before it takes off."""

_logger = logging.getLogger(__name__)


class CollapseWarnings:
    """Counts, for each task, the epochs in a row that found it at chance, or its vectors collapsed.

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
        for task in sorted({*self._at_chance, *self._collapsed}):
            if _PATIENCE_EPOCHS in (self._at_chance[task], self._collapsed[task]):
                _logger.warning("%s", self.warning(task, spread=watch.means().get(f"{task}_spread", 1.0)))

    def warning(self, task: str, *, spread: float) -> str | None:
        """What is wrong with a task, and what to try; None where it went well, or not badly for long.

        Args:
            task: ``masked_clip`` or ``set``.
            spread: Of its vectors, in the last epoch.
        """
        num_epochs = max(self._at_chance[task], self._collapsed[task])
        if num_epochs < _PATIENCE_EPOCHS:
            return None
        config = self._config
        chance = " and does no better than chance" if self._at_chance[task] else ""
        if self._collapsed[task]:
            what = f"has collapsed to one vector (spread {spread:.3f}, where 1 is healthy){chance}"
            way_out = (
                f"learning_rate {config.learning_rate / 3:.2g} (now {config.learning_rate:g}) and warmup_fraction "
                f"{max(0.1, 2 * config.warmup_fraction):.2g} (now {config.warmup_fraction:g}); if it still does, the "
                "features themselves are alike: see what k-NN of `x` makes of them"
            )
        else:
            what = f"does no better than chance, though it has not collapsed (spread {spread:.3f})"
            way_out = (
                f"learning_rate {3 * config.learning_rate:.2g} (now {config.learning_rate:g}), or a longer training "
                f"(now {config.length})"
            )
        return (
            f"task '{task}' {what}, {num_epochs} epochs in a row after the warm-up; if this stays so, train anew with "
            f"{way_out}"
        )

    def to_plain(self) -> dict[str, Any]:
        """The counts, as plain values."""
        return {"at_chance": dict(self._at_chance), "collapsed": dict(self._collapsed)}

    def load(self, plain: Mapping[str, Any]) -> None:
        """Go on from counts of a training that was interrupted."""
        self._at_chance = Counter(plain["at_chance"])
        self._collapsed = Counter(plain["collapsed"])
