"""What a user may set about a probe, and which of it tells two rows of results apart."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

CLIP_PROTOCOLS = ("linear-per-clip", "nonlinear-per-clip", "fine-tuning")
"""Protocols that train on single clips; the others see one vector per video."""

WINDOW_PROTOCOLS = ("knn", "linear", "nonlinear")
"""Protocols that can predict windows of a video and average."""

DEFAULT_K = 20
DEFAULT_TEMPERATURE = 0.07
CLIP_EPOCHS = 60
"""Epochs that probes on clips train at most."""
DEFAULT_SCHEDULE_EPOCHS = 200

Selection = Literal["holdout", "test"]


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Options of the probes; the defaults are SCALE's (ICCV 2023)."""

    k: int = DEFAULT_K
    """Neighbours that vote in k-NN."""
    temperature: float = DEFAULT_TEMPERATURE
    """Of k-NN's votes."""
    train_share: float = 1.0
    """Share of the training labels that the probe sees, in (0, 1]: low-shot where it is below 1."""
    share_seed: int = 0
    """Which labels these are."""
    selection: Selection = "holdout"
    """What the probes on single clips choose epochs and averaging on; ``test`` as published."""
    schedule_epochs: int = DEFAULT_SCHEDULE_EPOCHS
    """Epochs over which their learning rate rises and falls, see ``clip_training.py``."""
    window_seconds: float = 0.0
    """Length of the windows that ``WINDOW_PROTOCOLS`` predict and average, see ``windows.py``; 0: whole videos."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: a number is out of its range.
        """
        if self.k < 1 or not self.temperature > 0:
            raise ValueError(
                f"k must be at least 1 and temperature positive, got k={self.k} and temperature={self.temperature}"
            )
        if not 0 < self.train_share <= 1 or self.share_seed < 0:
            raise ValueError(
                f"the share of training labels must be in (0, 1] and its seed not negative, got {self.train_share} "
                f"and {self.share_seed}"
            )
        if self.selection not in get_args(Selection):
            raise ValueError(f"selection must be 'holdout' or 'test', got {self.selection!r}")
        if self.schedule_epochs < CLIP_EPOCHS:
            raise ValueError(
                f"schedule_epochs must be at least {CLIP_EPOCHS}, the epochs that probes on clips "
                f"train, got {self.schedule_epochs}"
            )
        if not 0 <= self.window_seconds < math.inf:
            raise ValueError(f"window_seconds must be a length, or 0 for whole videos, got {self.window_seconds}")

    def departures(self, protocol: str) -> dict[str, float]:
        """Those options that a protocol heeds and that are not the defaults: what the key of a record carries.

        # k=5 under knn -> {"k": 5}; under linear -> {}; a share of .01 under either -> train_share and share_seed
        """
        named: dict[str, float] = {}
        if protocol == "knn":
            if self.k != DEFAULT_K:
                named["k"] = self.k
            if self.temperature != DEFAULT_TEMPERATURE:
                named["temperature"] = self.temperature
        if protocol in CLIP_PROTOCOLS:
            if self.selection == "test":
                named["selection_on_test"] = 1
            if self.schedule_epochs != DEFAULT_SCHEDULE_EPOCHS:
                named["schedule_epochs"] = self.schedule_epochs
        if protocol in WINDOW_PROTOCOLS and self.window_seconds:
            named["window_seconds"] = self.window_seconds
        if self.train_share < 1:
            named |= {"train_share": self.train_share, "share_seed": self.share_seed}
        return named


DEFAULT_OPTIONS = ProbeOptions()
