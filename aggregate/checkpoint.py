"""Checkpoints of pre-training: what they hold besides Lightning's own entries, and how a trained aggregator is read.

A checkpoint consists of tensors and plain values only, so ``torch.load(path, weights_only=True)`` opens it, and reading
one from elsewhere cannot run code. It says what the weights are good for: on which features of which videos they were
trained.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer

RECORD: Final = "scale_video"
"""Key of the record in a checkpoint."""
_AGGREGATOR: Final = "aggregator."
"""Prefix of the set transformer's weights in ``state_dict``: its name in the Lightning module."""
_FORMAT_VERSION: Final = 1
_BEFORE_OPTIONS: Final = {"precision": "fp32", "compile": "off"}
"""How releases trained that had no such options, and so did not record them."""


class CheckpointError(ValueError):
    """A checkpoint is absent, unreadable or does not fit; the message is one line that a user can act on."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a checkpoint says of its training."""

    config: PretrainConfig
    feature_dim: int
    """Length of a backbone feature, D."""
    training_video_ids: tuple[str, ...]
    """The videos that the weights have seen, or will have by the end of an epoch."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What identifies the features (store, backbone, digests of weights and plan): plain values."""
    epochs_done: int = 0

    def __post_init__(self) -> None:
        """Check that the provenance is plain.

        Raises:
            ValueError: it holds something that a checkpoint must not hold.
        """
        _check_plain(dict(self.provenance), "provenance")

    def to_plain(self) -> dict[str, Any]:
        """The record as it lies in a checkpoint."""
        return {
            "format_version": _FORMAT_VERSION,
            "config": self.config.to_mapping(),
            "feature_dim": self.feature_dim,
            "training_video_ids": list(self.training_video_ids),
            "provenance": dict(self.provenance),
            "epochs_done": self.epochs_done,
        }

    @property
    def is_complete(self) -> bool:
        """Whether training has reached its last epoch."""
        return self.epochs_done >= self.config.epochs

    def difference(self, other: "TrainingRecord") -> str | None:
        """The first thing in which another training differs, but for its progress: ``learning_rate: 0.1 != 0.2``."""
        ours, theirs = (_flat(replace(record, epochs_done=0).to_plain()) for record in (self, other))
        for name in sorted(ours.keys() | theirs.keys()):
            mine, its = ours.get(name), theirs.get(name)
            if mine != its:
                return f"{name}: {_contrast(mine, its)}"
        return None


@dataclass(frozen=True, slots=True)
class LoadedAggregator:
    """A trained set transformer and what is known of its training."""

    model: SetTransformer
    """In evaluation mode, on the CPU."""
    config: PretrainConfig
    training_video_ids: tuple[str, ...]
    provenance: Mapping[str, Any]
    epochs_done: int


def load_aggregator(path: Path, *, feature_dim: int | None = None) -> LoadedAggregator:
    """Read a trained set transformer.

    Args:
        path: A checkpoint of pre-training.
        feature_dim: Length of the features it will be used on, where known.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint of ours, another release wrote it, or it was trained
            on features of another length.
    """
    checkpoint = _read(path)
    record = _record(checkpoint, path)
    if feature_dim is not None and feature_dim != record.feature_dim:
        raise CheckpointError(
            f"checkpoint '{path}' was trained on features of dimension {record.feature_dim}, but these have "
            f"{feature_dim}; pass a checkpoint of the same backbone, or pre-train on these features"
        )
    model = SetTransformer(record.config.model, feature_dim=record.feature_dim)
    weights = checkpoint["state_dict"].items()
    model.load_state_dict({k.removeprefix(_AGGREGATOR): v for k, v in weights if k.startswith(_AGGREGATOR)})
    return LoadedAggregator(
        model=model.eval(),
        config=record.config,
        training_video_ids=record.training_video_ids,
        provenance=record.provenance,
        epochs_done=record.epochs_done,
    )


def load_record(path: Path) -> TrainingRecord:
    """Read what a checkpoint says of its training.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint of ours, or another release wrote it.
    """
    return _record(_read(path), path)


def _read(path: Path) -> dict[str, Any]:
    """All entries of a checkpoint; tensors are mapped, not read."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at '{path}'; run pre-training first, or name another file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(
            f"'{path}' cannot be read as a checkpoint ({type(error).__name__}); delete it to train anew, "
            "or name another file"
        ) from error
    if not isinstance(checkpoint, dict) or RECORD not in checkpoint:
        raise CheckpointError(f"'{path}' is no checkpoint of scale-video (it lacks '{RECORD}'); name another file")
    return checkpoint


def _record(checkpoint: Mapping[str, Any], path: Path) -> TrainingRecord:
    plain = checkpoint[RECORD]
    if plain["format_version"] != _FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {plain['format_version']}, this release reads {_FORMAT_VERSION}; "
            "update scale-video"
        )
    return TrainingRecord(
        config=PretrainConfig.from_mapping(_BEFORE_OPTIONS | plain["config"]),
        feature_dim=plain["feature_dim"],
        training_video_ids=tuple(plain["training_video_ids"]),
        provenance=plain["provenance"],
        epochs_done=plain["epochs_done"],
    )


def _check_plain(value: object, name: str) -> None:
    """Raise unless a value consists of what ``weights_only`` loading accepts."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, name)
    elif type(value) not in (str, int, float, bool):  # a subclass, such as numpy.float64, would need unpickling
        raise ValueError(f"{name} must be str, int, float, bool, list or dict, got {type(value).__name__}")


def _contrast(mine: object, its: object) -> str:
    """Two unequal values; of lists, which may be long, only how much they differ."""
    if not (isinstance(mine, list) and isinstance(its, list)):
        return f"{mine!r} != {its!r}"
    if unshared := len(set(map(repr, mine)) ^ set(map(repr, its))):
        return f"{unshared} of {len(mine)} and {len(its)} entries differ"
    return "the order differs"


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"width": 8}} -> {"model.width": 8}``."""
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
