"""Checkpoints of pre-training: what they hold besides Lightning's own entries, and how a trained aggregator is read.

A checkpoint consists of tensors and plain values only, so ``torch.load(path, weights_only=True)`` opens it, and reading
one from elsewhere cannot run code. It says what the weights are good for: on which features of which videos they were
trained. An export (``aggregator_file.py``) says the same of the aggregator alone, and is read in a checkpoint's place.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from scale_video.aggregate.aggregator_file import SUFFIX, read_aggregator_file, write_aggregator_file
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer
from scale_video.aggregate.training_videos import TrainingVideos

RECORD: Final = "scale_video"
"""Key of the record in a checkpoint."""
EPOCH: Final = "scale_video_epoch"
"""Key of what a checkpoint says of the epoch in which it was saved."""
_AGGREGATOR: Final = "aggregator."
"""Prefix of the set transformer's weights in ``state_dict``: its name in the Lightning module."""
_FORMAT_VERSION: Final = 1
RECIPE: Final = "recipe"
"""Entry of the provenance that tells how such features are made of other videos. It repeats in full what the digests
beside it vouch for, so it makes no training another one."""
FEATURES_DIGEST: Final = "features_digest"
"""Entry of the provenance that vouches for every byte of the features. Videos that failed may be extracted again while
a training is stopped, so it makes no training another one."""
TRAINING_VIDEOS: Final = "training_videos"
"""Tensor of an export, beside the weights: the digests of ``TrainingVideos``."""
_PLAIN: Final = (str, int, float, bool)
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
    """Whole ones."""
    steps_done: int = 0
    share_done: float = 0.0
    """Part of the whole training, in [0, 1]."""

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
            "steps_done": self.steps_done,
            "share_done": self.share_done,
        }

    @property
    def is_complete(self) -> bool:
        """Whether training has reached its end."""
        return self.share_done >= 1

    def difference(self, other: "TrainingRecord") -> str | None:
        """The first thing in which another training differs, but for its progress: ``learning_rate: 0.1 != 0.2``."""
        ours, theirs = (
            _flat(replace(record, epochs_done=0, steps_done=0, share_done=0.0).to_plain()) for record in (self, other)
        )
        for name in sorted(ours.keys() | theirs.keys()):
            mine, its = ours.get(name), theirs.get(name)
            told = name == f"provenance.{FEATURES_DIGEST}" or name.startswith(f"provenance.{RECIPE}.")
            if mine != its and not told:
                return f"{name}: {_contrast(mine, its)}"
        return None


@dataclass(frozen=True, slots=True)
class LoadedAggregator:
    """A trained set transformer and what is known of its training."""

    model: SetTransformer
    """In evaluation mode, on the CPU."""
    config: PretrainConfig
    training_video_ids: tuple[str, ...]
    """Empty in an export, which has digests only."""
    training_videos: TrainingVideos
    provenance: Mapping[str, Any]
    epochs_done: int
    share_done: float

    @property
    def is_complete(self) -> bool:
        """Whether training has reached its end."""
        return self.share_done >= 1


def load_aggregator(path: Path, *, feature_dim: int | None = None) -> LoadedAggregator:
    """Read a trained set transformer.

    Args:
        path: A checkpoint of pre-training, or an export (``.safetensors``).
        feature_dim: Length of the features it will be used on, where known.

    Raises:
        CheckpointError: there is no such file, it is none of ours, another release wrote it, or it was trained on
            features of another length.
    """
    record, weights, training_videos = _read_export(path) if path.suffix == SUFFIX else _read_checkpoint(path)
    if feature_dim is not None and feature_dim != record.feature_dim:
        raise CheckpointError(
            f"checkpoint '{path}' was trained on features of dimension {record.feature_dim}, but these have "
            f"{feature_dim}; pass a checkpoint of the same backbone, or pre-train on these features"
        )
    return LoadedAggregator(
        model=_with_weights(record, weights, path).eval(),
        config=record.config,
        training_video_ids=record.training_video_ids,
        training_videos=training_videos,
        provenance=record.provenance,
        epochs_done=record.epochs_done,
        share_done=record.share_done,
    )


def save_aggregator(path: Path, loaded: LoadedAggregator, *, also: Mapping[str, Any]) -> None:
    """Write a trained set transformer as an export, which ``load_aggregator`` reads in a checkpoint's place.

    Args:
        path: Ends in ``.safetensors``; replaced if it is there.
        loaded: What to write. Of the training videos, digests are written.
        also: Further entries of the description, JSON values.

    Raises:
        OSError: it cannot be written.
        ValueError: the path ends otherwise.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"an export ends in {SUFFIX}, got {path.name!r}")
    record = TrainingRecord(
        config=loaded.config,
        feature_dim=loaded.model.feature_dim,
        training_video_ids=(),
        provenance=loaded.provenance,
        epochs_done=loaded.epochs_done,
        share_done=loaded.share_done,
    )
    tensors = dict(loaded.model.state_dict()) | {TRAINING_VIDEOS: torch.from_numpy(loaded.training_videos.digests)}
    write_aggregator_file(path, tensors, {**record.to_plain(), **also})


def aggregator_checkpoint(aggregator: SetTransformer, record: TrainingRecord) -> dict[str, Any]:
    """Entries of a checkpoint that holds the aggregator as it is now, and nothing that training could go on with."""
    weights = {f"{_AGGREGATOR}{name}": value.detach().clone() for name, value in aggregator.state_dict().items()}
    return {"state_dict": weights, RECORD: record.to_plain()}


def load_record(path: Path) -> TrainingRecord:
    """Read what a checkpoint says of its training.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint of ours, or another release wrote it.
    """
    return _record(_read(path)[RECORD], path)


def load_collapse_counts(path: Path) -> Mapping[str, Mapping[str, int]] | None:
    """What ``CollapseWarnings`` had counted when a checkpoint was saved; None where the checkpoint does not say.

    Raises:
        CheckpointError: there is no such file, or it is no checkpoint of ours.
    """
    of_epoch = _read(path).get(EPOCH)
    return of_epoch.get("warnings") if isinstance(of_epoch, dict) else None


def _read_checkpoint(path: Path) -> tuple[TrainingRecord, dict[str, Tensor], TrainingVideos]:
    """The record, the aggregator's weights, and the training videos."""
    checkpoint = _read(path)
    record = _record(checkpoint[RECORD], path)
    weights = checkpoint["state_dict"].items()
    of_aggregator = {k.removeprefix(_AGGREGATOR): v for k, v in weights if k.startswith(_AGGREGATOR)}
    return record, of_aggregator, TrainingVideos.of(record.training_video_ids)


def _read_export(path: Path) -> tuple[TrainingRecord, dict[str, Tensor], TrainingVideos]:
    """As ``_read_checkpoint``."""
    if not path.is_file():
        raise CheckpointError(f"no export at '{path}'; `scale-video export` makes one, or name another file")
    try:
        plain, tensors = read_aggregator_file(path)
    except ValueError as error:
        raise CheckpointError(f"'{path}' is no export of scale-video ({error}); name another file") from error
    digests = tensors.pop(TRAINING_VIDEOS, torch.zeros(0))
    if digests.dtype != torch.int64 or digests.ndim != 1:
        raise CheckpointError(f"export '{path}' does not say which videos it was trained on; export it anew")
    return _record(plain, path), tensors, TrainingVideos(np.unique(digests.numpy()))


def _with_weights(record: TrainingRecord, weights: Mapping[str, Tensor], path: Path) -> SetTransformer:
    """The set transformer that a record describes. What the record claims takes no memory until weights bear it out."""
    wrong = f"the weights in '{path}' are not those of the set transformer that it describes"
    if record.config.model.num_layers > len(weights):
        raise CheckpointError(f"{wrong} ({record.config.model.num_layers} layers); name another file")
    try:
        with torch.device("meta"):
            model = SetTransformer(record.config.model, feature_dim=record.feature_dim)
        # Copies: the last bit of a product may depend on how its operands lie in memory, and files differ in that.
        copies = {name: tensor.to(torch.float32, copy=True) for name, tensor in weights.items()}
        model.load_state_dict(copies, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{wrong} ({reason[:300]}); name another file") from error
    if unusable := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"weights in '{path}' are not finite ({unusable[0]}), so every vector would be none; train anew, or name "
            "another file"
        )
    return model


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


def _record(plain: Any, path: Path) -> TrainingRecord:
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if version != _FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {str(version)[:40]}, this release reads {_FORMAT_VERSION}; "
            "update scale-video"
        )
    try:
        config = PretrainConfig.from_mapping(_BEFORE_OPTIONS | plain["config"])
        return TrainingRecord(
            config=config,
            feature_dim=_count(plain["feature_dim"]),
            training_video_ids=tuple(plain["training_video_ids"]),
            provenance=dict(plain["provenance"]),
            epochs_done=_count(plain["epochs_done"]),
            # 0.1.0 counted nothing but epochs
            steps_done=_count(plain.get("steps_done", 0)),
            share_done=float(plain.get("share_done", plain["epochs_done"] / config.epochs)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' says of its training what this release cannot read ({str(error)[:300]}); "
            "update scale-video, or name another file"
        ) from error


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"no count: {value!r}")
    return value


def _check_plain(value: object, name: str) -> None:
    """Raise unless a value consists of what ``weights_only`` loading accepts."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, name)
    elif value is not None and type(value) not in _PLAIN:  # a subclass, such as numpy.float64, would need unpickling
        raise ValueError(f"{name} must be str, int, float, bool, None, list or dict, got {type(value).__name__}")


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
