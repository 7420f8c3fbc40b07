"""Feeds pre-training with whole batches of clip sets, gathered from features wherever they live.

Collating samples one by one costs 3.5 to 5.7 times more than one gather a batch (measured); hence no ``DataLoader``.
Features stay float16 until they are on the training device.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor

from scale_video.aggregate.clip_sets import draw_masked_clips, draw_sets
from scale_video.aggregate.clip_source import ClipSource, LoadedClips, OpenClips, Share
from scale_video.aggregate.counter_random import Purpose, derived_seed, random_keys
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.read_ahead import ITEMS_AHEAD, read_ahead
from scale_video.aggregate.residency import Residence
from scale_video.store.clip_features import ClipFeatures

_PLACES: Final = {
    "device": "on the device",
    "memory": "in memory",
    "stream": "streamed from the store",
}

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
    """Batches of clip sets whose sequence depends on (seed, epoch) alone, and on the window where they are streamed.

    An epoch sees every usable video once, but for the last ones that don't fill a batch. Of several ranks, each is
    given an equal part of every batch; without a trainer there is one.

    Args:
        clips: The training videos.
        config: Batch, sets, masks and seed.
        second_view: Another view of the same videos, where the second set of each video comes from, if ``clips`` are
            features of one view; None: both sets come from ``clips``.
        num_ranks: Processes that train together.
        ranks_here: Those of them on this machine.

    Raises:
        ValueError: the sets need more clips than a view holds, fewer than two videos have that many, the videos or
            the features of two views do not go together, or these are to give more than a set each, or a batch cannot
            be shared out evenly.
    """

    def __init__(
        self,
        clips: ClipSource | ClipFeatures,
        config: PretrainConfig,
        *,
        second_view: ClipFeatures | None = None,
        num_ranks: int = 1,
        ranks_here: int = 1,
    ) -> None:
        super().__init__()
        source: ClipSource
        if isinstance(clips, ClipFeatures):
            source = LoadedClips(clips) if second_view is None else LoadedClips(clips, second_view)
        else:
            source = clips
        self.config = config
        self._source = source
        self._num_ranks = num_ranks
        self._ranks_here = ranks_here
        self._opened: OpenClips | None = None
        self._order_before: str | None = None
        num_views = len(source.valid)
        self._rows = torch.from_numpy(usable_videos(source.valid, config))
        self.training_video_ids = tuple(source.video_ids[row] for row in self._rows.tolist())
        self.batch_size = even_batch_size(config.batch_size, num_videos=self.num_videos, num_ranks=num_ranks)
        if self.batch_size < config.batch_size:
            _logger.warning("batch_size lowered from %d to the %d usable videos", config.batch_size, self.batch_size)
        if left_out := len(source.video_ids) - self.num_videos:
            needed = clips_needed(num_views, config)
            of_each = " in each view" if num_views > 1 else ""
            failed = int((~np.any([of_view.any(axis=1) for of_view in source.valid], axis=0)).sum())
            _logger.warning(
                "%d of %d videos left out: fewer than %d clips%s%s",
                left_out,
                len(source.video_ids),
                needed,
                of_each,
                f" ({failed} of them without any)" if failed else "",
            )

    @property
    def num_videos(self) -> int:
        """Videos with clips enough for their sets."""
        return len(self._rows)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches."""
        return self.num_videos // self.batch_size

    def setup(self, stage: str) -> None:
        """Have the features where they are to live; the first rank decides for all."""
        trainer = self.trainer
        assert trainer is not None
        device = trainer.strategy.root_device
        residence = self._source.residence(device, ranks_here=self._ranks_here)
        residence = trainer.strategy.broadcast(residence)
        if trainer.is_global_zero and residence.reason:
            _logger.info("features: %s (%s)", _PLACES[residence.kind], residence.reason)
        self._open(residence, device, share=Share(trainer.global_rank, trainer.world_size))

    def _open(self, residence: Residence, device: torch.device, *, share: Share) -> OpenClips:
        batches = self.batch_size // self._num_ranks * (ITEMS_AHEAD + 2)
        of_video = 2 * self.config.clips_per_set * self.config.sets_per_video * self._source.feature_dim
        opened = self._source.open(
            residence,
            device,
            share=share,
            reserved_bytes=batches * of_video,
            positions=self.config.model.positions,
        )
        self._opened = opened
        self._rows = self._rows.to(opened.valid[0].device)
        # On a CPU a thread of its own is no gain: a step leaves no core idle, and memory costs more in other threads.
        self._sent = residence.kind != "device" and device.type == "cuda"
        return opened

    @property
    def _clips(self) -> OpenClips:
        if self._opened is not None:
            return self._opened
        device = torch.device("cpu")
        return self._open(self._source.residence(device, ranks_here=1), device, share=Share())

    def state_dict(self) -> dict[str, str]:
        """What an epoch's order depends on besides seed and number."""
        return {"order": self._clips.order}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Compare it when the epoch goes on."""
        self._order_before = state["order"]

    def train_dataloader(self) -> "EpochBatches":
        """The batches of the trainer's current epoch."""
        return EpochBatches(self)

    def batches(self, epoch: int, *, first_step: int = 0) -> Iterator[ClipSetBatch]:
        """The batches of one epoch, counted from 0; the first of them may be left out without being made."""
        clips = self._clips
        if first_step and self._order_before not in (None, clips.order):
            _logger.warning(
                "this epoch began in another order of videos (%s, now %s): some of them come twice in it, others not",
                self._order_before,
                clips.order,
            )

        def make() -> Iterator[ClipSetBatch]:
            schedule = clips.schedule(self._rows, batch_size=self.batch_size, seed=self.config.seed, epoch=epoch)
            schedule = schedule[first_step:]
            # how many clips independent draws mask, the host has to know: on a GPU it would wait for that at every step
            for_masks = schedule.cpu() if self.config.masking == "independent" else schedule
            for rows, of_masks, places in zip(schedule, for_masks, clips.places(schedule), strict=True):
                batch = self._batch(rows, places, epoch, masked_clips=self._masked_clips(of_masks, epoch))
                yield ClipSetBatch(*(part.pin_memory() for part in batch)) if self._sent else batch

        yield from read_ahead(make) if self._sent else make()

    def _batch(self, rows: Tensor, places: Tensor, epoch: int, *, masked_clips: Tensor) -> ClipSetBatch:
        """The sets of some videos.

        Args:
            rows: Which videos, shape (N,).
            places: Where their features are among those that are at hand, shape (N,).
            epoch: Its number.
            masked_clips: Those of their clips, shape (M,).
        """
        config = self.config
        clips = self._sets(Purpose.CLIPS, epoch, rows)  # (N, S, K)
        # as an ablation, a second draw pairs each clip with the coordinates of another
        positions = self._sets(Purpose.POSITIONS, epoch, rows) if config.shuffle_positions else clips
        return ClipSetBatch(
            features=_gather(self._clips.features, places, clips),
            coordinates=_gather(self._clips.coordinates, rows, positions),
            masked_clips=masked_clips,
        )

    def _masked_clips(self, rows: Tensor, epoch: int) -> Tensor:
        """Which of the clips of some videos' sets are masked, shape (M,), on the device of the clips."""
        config = self.config
        keys = self._keys(Purpose.MASKS, epoch, rows, config.sets_per_video * config.clips_per_set)
        masked = draw_masked_clips(
            keys.view(-1, config.clips_per_set), masking=config.masking, fraction=config.mask_fraction
        )
        device = self._rows.device
        return masked if masked.device == device else masked.pin_memory().to(device, non_blocking=True)

    def _sets(self, purpose: Purpose, epoch: int, rows: Tensor) -> Tensor:
        """Clip indices of every video's sets, shape (N, S, K)."""
        valid = [of_view[rows] for of_view in self._clips.valid]
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


def even_batch_size(batch_size: int, *, num_videos: int, num_ranks: int) -> int:
    """Videos of a step, the same number for each rank; fewer than asked for where there are too few.

    Raises:
        ValueError: the ranks cannot have equal parts, or there are fewer videos than ranks.
    """
    if batch_size % num_ranks:
        way_out = -(-batch_size // num_ranks) * num_ranks
        raise ValueError(
            f"batch_size ({batch_size}) cannot be shared out evenly among {num_ranks} devices; set it to {way_out} "
            f"(--set pretrain.batch_size={way_out}), or train on another number of devices"
        )
    if num_videos < num_ranks:
        raise ValueError(f"{num_videos} usable videos are too few for {num_ranks} devices; train on fewer devices")
    return min(batch_size, num_videos // num_ranks * num_ranks)


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


def _gather(values: Sequence[Tensor], rows: Tensor, clips: Tensor) -> Tensor:
    """Entries (rows[n], clips[n, s, k]) of the (N, K, …) tensor that set s comes from, in one go for each tensor."""
    if len(values) > 1:
        parts = [_gather([of_view], rows, clips[:, [s]]) for s, of_view in enumerate(values)]
        return torch.cat(parts, dim=1)
    [of_view] = values
    flat = rows.view(-1, 1, 1) * of_view.shape[1] + clips  # (N, S, K)
    return of_view.flatten(0, 1).index_select(0, flat.flatten()).view(*flat.shape, -1)
