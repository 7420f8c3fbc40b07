"""Feeds pre-training with whole batches of clip sets, gathered from features in memory.

Collating samples one by one costs 3.5 to 5.7 times more than one gather a batch (measured); hence no ``DataLoader``.
Features stay float16 until they are on the training device. This is where arrays become tensors.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor

from scale_video.aggregate.clip_sets import draw_masked_clips, draw_sets
from scale_video.aggregate.counter_random import Purpose, derived_seed, random_keys
from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.store.clip_features import ClipFeatures

_logger = logging.getLogger(__name__)


class ClipSetBatch(NamedTuple):
    """One step's input: S sets of K clips of N videos."""

    features: Tensor
    """Shape (N, S, K, D), float16."""
    coordinates: Tensor
    """Normalised, shape (N, S, K, C), float32."""
    masked_clips: Tensor
    """Indices into the N * S * K clips, shape (M,), int64."""


class ClipSetDataModule(LightningDataModule):
    """Batches of clip sets whose sequence depends on (seed, epoch) alone.

    An epoch sees every usable video once, but for the last ones that don't fill a batch.

    Args:
        features: The training videos.
        config: Batch, sets, masks and seed.
        second_view: Another view of the same videos, where the second set of each video comes from; None: both sets
            come from ``features``.

    Raises:
        ValueError: the sets need more clips than a view holds, fewer than two videos have that many, or the videos or
            the features of two views do not go together.
    """

    def __init__(
        self, features: ClipFeatures, config: PretrainConfig, *, second_view: ClipFeatures | None = None
    ) -> None:
        super().__init__()
        views = [features]
        if second_view is not None:
            _check_same_videos(features, second_view)
            views.append(second_view)
        self.config = config
        self._rows = torch.from_numpy(usable_videos([view.valid for view in views], config))
        # from_numpy warns of arrays that can't be written, such as memory maps; each of shape (N, K, …)
        self._features = [torch.from_numpy(np.require(view.features, requirements=["C", "W"])) for view in views]
        self._valid = [torch.from_numpy(np.require(view.valid, requirements=["W"])) for view in views]
        self._coordinates = [
            torch.from_numpy(
                normalise_coordinates(view.coordinates, view.valid, flips=True, positions=config.model.positions)
            )
            for view in views
        ]
        self.training_video_ids = tuple(features.video_ids[row] for row in self._rows.tolist())
        self.batch_size = min(config.batch_size, self.num_videos)
        if self.batch_size < config.batch_size:
            _logger.warning("batch_size lowered from %d to the %d usable videos", config.batch_size, self.batch_size)
        if left_out := features.num_videos - self.num_videos:
            needed = clips_needed(len(views), config)
            of_each = " in each view" if len(views) > 1 else ""
            _logger.warning(
                "%d of %d videos left out: fewer than %d clips%s", left_out, features.num_videos, needed, of_each
            )

    @property
    def num_videos(self) -> int:
        """Videos with clips enough for their sets."""
        return len(self._rows)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches."""
        return self.num_videos // self.batch_size

    def train_dataloader(self) -> "EpochBatches":
        """The batches of the trainer's current epoch."""
        return EpochBatches(self)

    def batches(self, epoch: int, *, first_step: int = 0) -> Iterator[ClipSetBatch]:
        """The batches of one epoch, counted from 0; the first of them may be left out without being made."""
        order = self._rows[self._keys(Purpose.ORDER, epoch, self._rows).squeeze(1).argsort()]
        for step in range(first_step, self.steps_per_epoch):
            yield self._batch(order[step * self.batch_size :][: self.batch_size], epoch)

    def _batch(self, rows: Tensor, epoch: int) -> ClipSetBatch:
        config = self.config
        clips = self._sets(Purpose.CLIPS, epoch, rows)  # (N, S, K)
        # as an ablation, a second draw pairs each clip with the coordinates of another
        positions = self._sets(Purpose.POSITIONS, epoch, rows) if config.shuffle_positions else clips
        of_masks = self._keys(Purpose.MASKS, epoch, rows, config.sets_per_video * config.clips_per_set)
        masked_clips = draw_masked_clips(
            of_masks.view(-1, config.clips_per_set), masking=config.masking, fraction=config.mask_fraction
        )
        return ClipSetBatch(
            features=_gather(self._features, rows, clips),
            coordinates=_gather(self._coordinates, rows, positions),
            masked_clips=masked_clips,
        )

    def _sets(self, purpose: Purpose, epoch: int, rows: Tensor) -> Tensor:
        """Clip indices of every video's sets, shape (N, S, K)."""
        valid = [of_view[rows] for of_view in self._valid]
        keys = [self._keys(purpose, epoch, rows, v.shape[1], view=view) for view, v in enumerate(valid)]
        config = self.config
        return draw_sets(valid, keys, sets_per_video=config.sets_per_video, clips_per_set=config.clips_per_set)

    def _keys(self, purpose: Purpose, epoch: int, rows: Tensor, per_row: int = 1, *, view: int = 0) -> Tensor:
        return random_keys(rows, per_row, seed=derived_seed(self.config.seed, epoch, purpose, view))


class EpochBatches:
    """What Lightning iterates over once an epoch; epoch and step are looked up when the first batch is asked for.

    So an epoch that was interrupted goes on with its next batch. What Lightning keeps of a loader's state does not do:
    it is not given back where the number of steps is asked for before training, as for a schedule (2.6).

    Args:
        data: Where batches come from; it must be attached to a trainer.
    """

    def __init__(self, data: ClipSetDataModule) -> None:
        self._data = data

    def __len__(self) -> int:
        return self._data.steps_per_epoch

    def __iter__(self) -> Iterator[ClipSetBatch]:
        trainer = self._data.trainer
        assert trainer is not None
        yield from self._data.batches(trainer.current_epoch, first_step=trainer.fit_loop.batch_idx + 1)

    def state_dict(self) -> dict[str, int]:
        """Nothing; Lightning takes a loader that has these two methods for one that can go on in an epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Nothing to load."""


def clips_needed(num_views: int, config: PretrainConfig) -> int:
    """Clips that a video must have in each of one or two views."""
    return config.sets_per_video // num_views * config.clips_per_set


def usable_videos(valid: Sequence[NDArray[np.bool_]], config: PretrainConfig) -> NDArray[np.int64]:
    """Rows of the videos that have clips enough for their sets, ascending.

    Args:
        valid: One array for each view, shape (N, K); with two of them, each gives one set.
        config: Says how many sets a video has, and how many clips a set.

    Raises:
        ValueError: the sets need more clips than a view holds, fewer than two videos have that many, or two views are
            to give more than a set each.
    """
    if len(valid) > 1 and config.sets_per_video != len(valid):
        raise ValueError(
            f"{len(valid)} views give one set each, but sets_per_video is {config.sets_per_video}; set it to "
            f"{len(valid)}, or name one view"
        )
    clips_per_set = config.clips_per_set
    num_sets = config.sets_per_video // len(valid)
    needed = clips_needed(len(valid), config)
    num_clips = min(of_view.shape[1] for of_view in valid)
    if num_clips < needed:
        raise ValueError(
            f"clips_per_set ({clips_per_set}) x {num_sets} set{'s' if num_sets > 1 else ''} needs {needed} clips, but "
            f"the view holds {num_clips} per video; lower clips_per_set to <= {num_clips // num_sets} "
            f"or extract with --clips >= {needed}"
        )
    rows = np.flatnonzero(np.all([of_view.sum(axis=1) >= needed for of_view in valid], axis=0))
    if len(rows) < 2:
        raise ValueError(
            f"pre-training tells videos apart and needs at least 2 with {needed} valid clips each, got {len(rows)} "
            f"of {len(valid[0])}; add videos or lower clips_per_set ({clips_per_set}), or extract more clips of each"
        )
    return rows


def _check_same_videos(one: ClipFeatures, other: ClipFeatures) -> None:
    if one.video_ids != other.video_ids:
        raise ValueError("the two views must hold the same videos in the same order")
    if one.feature_dim != other.feature_dim:
        raise ValueError(
            f"the two views must hold features of one length, got {one.feature_dim} and {other.feature_dim}"
        )


def _gather(values: Sequence[Tensor], rows: Tensor, clips: Tensor) -> Tensor:
    """Entries (rows[n], clips[n, s, k]) of the (N, K, …) tensor that set s comes from, in one go for each tensor."""
    if len(values) > 1:
        parts = [_gather([of_view], rows, clips[:, [s]]) for s, of_view in enumerate(values)]
        return torch.cat(parts, dim=1)
    [of_view] = values
    flat = rows.view(-1, 1, 1) * of_view.shape[1] + clips  # (N, S, K)
    return of_view.flatten(0, 1).index_select(0, flat.flatten()).view(*flat.shape, -1)
