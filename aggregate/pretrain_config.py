"""Everything that decides what pre-training learns, with the paper's values as defaults."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, get_args

from scale_video.aggregate.clip_sets import Masking, num_masked
from scale_video.aggregate.execution import Compilation, Precision
from scale_video.aggregate.masked_clip_infonce import Negatives
from scale_video.aggregate.set_transformer import SetTransformerConfig

_CHOICES: Final = (
    ("masking", Masking), ("negatives", Negatives), ("precision", Precision), ("compile", Compilation),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """A run of pre-training: equal configurations, seeds and features give equal weights on one machine."""

    model: SetTransformerConfig = field(default_factory=SetTransformerConfig)
    seed: int = 0
    """Decides initial weights, order of videos, sets, masks and dropout."""
    epochs: int = 200
    """Length of the training, unless ``steps`` or ``minutes`` takes its place."""
    steps: int = 0
    """Length in steps, where it is not 0."""
    minutes: float = 0.0
    """Length in minutes of training, where it is not 0. The schedule follows the clock, so no two runs are equal."""
    batch_size: int = 512
    """Videos a step, N."""
    sets_per_video: int = 2
    """S; the set loss is the mean over all pairs of them."""
    clips_per_set: int = 8
    """K."""
    masking: Masking = "exact"
    """``exact`` masks the same number of clips in every set; ``independent`` (the paper) draws each clip by itself."""
    mask_fraction: float = 0.25
    """Part of a set's clips that is masked."""
    negatives: Negatives = "all"
    """Candidates of masked clip modelling: ``all`` clips of the batch, or the ``masked`` ones (cheaper, ours)."""
    temperature: float = 0.2
    """Divides the cosine similarities of both tasks."""
    set_temperature: float = 0.0
    """Takes its place in the set loss, where it is not 0."""
    masked_clip_weight: float = 0.5
    """Weight of masked clip modelling in the total loss; 0 leaves the task out."""
    set_weight: float = 0.5
    """Weight of the set loss; 0 leaves the task out."""
    prediction_hidden_dim: int = 4096
    """Hidden units of the 2-layer head on masked clip tokens."""
    target_hidden_dim: int = 2048
    """Hidden units of the 3-layer head on raw features."""
    set_hidden_dim: int = 4096
    """Hidden units of the 2-layer head on global tokens."""
    projection_dim: int = 128
    """Length of the vectors that are compared, P."""
    learning_rate: float = 3e-4
    """AdamW's, at the end of the warm-up; a cosine takes it to 0."""
    weight_decay: float = 1e-4
    """None on biases, on norms' weights and on the two learned tokens."""
    warmup_fraction: float = 0.05
    """Part of all steps in which the learning rate rises linearly."""
    feature_dropout: float = 0.0
    """Probability that a value of a clip's feature is zeroed where the transformer reads it; targets stay whole."""
    feature_noise: float = 0.0
    """Gaussian noise on what the transformer reads, in units of each feature's standard deviation over the batch."""
    precision: Precision = "auto"
    """``fp32``, or ``bf16`` for products of matrices (losses stay in float32); ``auto``: bf16 on a GPU."""
    compile: Compilation = "auto"
    """``on`` or ``off``: torch.compile; ``auto``: on a GPU where a compiler works."""
    shuffle_positions: bool = False
    """Ablation: hand each clip the coordinates of a random clip of its video, so that they tell nothing of order."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: one is out of its range; the message names it.
        """
        for name in (
            "epochs", "clips_per_set", "temperature", "learning_rate",
            "prediction_hidden_dim", "target_hidden_dim", "set_hidden_dim", "projection_dim",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in (
            "seed", "steps", "minutes", "set_temperature", "weight_decay", "masked_clip_weight", "set_weight",
            "feature_noise",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.masked_clip_weight == self.set_weight == 0:
            raise ValueError("masked_clip_weight and set_weight are both 0: nothing to learn; raise one of them")
        if self.steps and self.minutes:
            raise ValueError(f"steps ({self.steps}) and minutes ({self.minutes:g}) are both given; set one to 0")
        for name, least in (("batch_size", "videos are told apart"), ("sets_per_video", "sets are compared")):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2 ({least}), got {getattr(self, name)}")
        for name in ("warmup_fraction", "feature_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name, kind in _CHOICES:
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        self._check_masking()

    @property
    def length(self) -> str:
        """How long training goes on: ``200 epochs``, ``5000 steps`` or ``30 minutes``."""
        if self.minutes:
            return f"{self.minutes:g} minutes"
        return f"{self.steps} steps" if self.steps else f"{self.epochs} epochs"

    def _check_masking(self) -> None:
        if not 0 < self.mask_fraction < 1:
            raise ValueError(f"mask_fraction must be in (0, 1), got {self.mask_fraction}")
        if self.masking == "exact" and num_masked(self.clips_per_set, self.mask_fraction) >= self.clips_per_set:
            raise ValueError(
                f"mask_fraction ({self.mask_fraction}) masks all clips of a set of {self.clips_per_set}; "
                "lower it, or raise clips_per_set"
            )

    def to_mapping(self) -> dict[str, Any]:
        """The configuration as plain values; what ``from_mapping`` reads."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "PretrainConfig":
        """Make a configuration of plain values, such as a TOML table; absent keys keep their defaults.

        Raises:
            ValueError: an unknown key, a value of the wrong type, or one out of range.
        """
        values = dict(mapping)
        if "model" in values:
            model = values["model"]
            if not isinstance(model, Mapping):
                raise ValueError(f"model must be a table, got {model!r}")
            values["model"] = SetTransformerConfig(**_checked(SetTransformerConfig(), model, prefix="model."))
        return cls(**_checked(cls(), values, prefix=""))


def _checked(defaults: Any, values: Mapping[str, Any], *, prefix: str) -> dict[str, Any]:
    """The values, each known to be a field of the defaults' class and of the default's type."""
    known = {f.name: getattr(defaults, f.name) for f in fields(defaults)}
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown key '{prefix}{name}'; known are: {', '.join(known)}")
        expected = type(known[name])
        if expected is float and type(value) is int:  # 1 is a fine way to write 1.0
            value = float(value)
        if type(value) is not expected:
            raise ValueError(f"{prefix}{name} must be {expected.__name__}, got {value!r}")
        if expected is float and not math.isfinite(value):
            raise ValueError(f"{prefix}{name} must be finite, got {value}")
        checked[name] = value
    return checked
