"""Where pre-training takes clips from: what is known of the videos at once, and their features once training begins.

A source knows ids, valid clips and coordinates, which are small. Where its features live is decided when training
begins, on the device that there is then; from there on ``OpenClips`` answers, whichever way they live.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.aggregate.counter_random import Purpose, derived_seed, random_keys
from scale_video.aggregate.normalise_coordinates import Positions, normalise_coordinates
from scale_video.aggregate.residency import Residence, decided_residence
from scale_video.store.clip_features import ClipFeatures


class Share(NamedTuple):
    """Which part of every batch is a process's own; processes are called ranks."""

    rank: int = 0
    num_ranks: int = 1


class OpenClips(Protocol):
    """Clips of N videos of one or two views, ready to be gathered; all tensors are on one device."""

    order: str
    """What the order of an epoch's videos depends on, besides seed and epoch."""
    features: Sequence[Tensor]
    """Of each view, shape (places, K, D), float16."""
    coordinates: Sequence[Tensor]
    """Of each view, normalised, shape (N, K, C), float32."""
    valid: Sequence[Tensor]
    """Of each view, shape (N, K), bool."""

    def schedule(self, rows: Tensor, *, batch_size: int, seed: int, epoch: int) -> Tensor:
        """Which videos are seen at each step of an epoch.

        Args:
            rows: Videos that can be used, ascending, shape (U,).
            batch_size: Videos of a step, of all ranks together.
            seed: Of the training.
            epoch: Its number.

        Returns:
            Rows of this rank, shape (steps, videos); over all steps and ranks each at most once.
        """

    def places(self, schedule: Tensor) -> Iterator[Tensor]:
        """For each step of a schedule, or of the rest of one, where in ``features`` its videos lie, shape (videos,).

        They lie there until the next step is asked for.
        """


class ClipSource(Protocol):
    """Clips of N videos whose features may not be in memory yet."""

    video_ids: tuple[str, ...]
    """N ids."""
    valid: Sequence[NDArray[np.bool_]]
    """Of each view, shape (N, K)."""
    feature_dim: int
    """Length of a feature, D."""

    def residence(self, device: torch.device, *, ranks_here: int) -> Residence:
        """Where the features are to live.

        Args:
            device: Where training happens.
            ranks_here: Processes on this machine that train together; each has features of its own.
        """

    def open(
        self,
        residence: Residence,
        device: torch.device,
        *,
        share: Share,
        reserved_bytes: int,
        positions: Positions = "relative",
    ) -> OpenClips:
        """Have the features where they are to live; called again with the same, it gives the same.

        Args:
            residence: As ``residence`` decided.
            device: Where training happens.
            share: Which part of every batch is this process's own.
            reserved_bytes: What batches take of the memory for streamed features.
            positions: How coordinates are normalised.
        """


class ResidentClips:
    """Features that are all on one device: a GPU, or the CPU, whose memory is main memory.

    Args:
        features: Of each view, shape (N, K, D), float16.
        coordinates: Of each view, normalised, shape (N, K, C), float32.
        valid: Of each view, shape (N, K), bool.
        share: Which part of every batch is this process's own.
    """

    def __init__(
        self, features: Sequence[Tensor], coordinates: Sequence[Tensor], valid: Sequence[Tensor], *, share: Share
    ) -> None:
        self.order = "all videos at random"
        self.features, self.coordinates, self.valid = features, coordinates, valid
        self._share = share

    def schedule(self, rows: Tensor, *, batch_size: int, seed: int, epoch: int) -> Tensor:
        """All videos in random order, each batch shared out among the ranks in equal parts."""
        order = rows[row_keys(rows, seed=seed, epoch=epoch).argsort()]
        num_steps = len(rows) // batch_size
        rank, num_ranks = self._share
        return order[: num_steps * batch_size].view(num_steps, num_ranks, -1)[:, rank]

    def places(self, schedule: Tensor) -> Iterator[Tensor]:
        """The rows themselves."""
        yield from schedule


class LoadedClips:
    """Features that the caller has in memory.

    Args:
        views: One or two views of the same videos.

    Raises:
        ValueError: the videos or the features of two views do not go together.
    """

    def __init__(self, *views: ClipFeatures) -> None:
        for other in views[1:]:
            _check_same_videos(views[0], other)
        self._views = views
        self.video_ids = views[0].video_ids
        self.valid: Sequence[NDArray[np.bool_]] = [view.valid for view in views]
        self.feature_dim = views[0].feature_dim
        self._opened: tuple[object, ResidentClips] | None = None

    def residence(self, device: torch.device, *, ranks_here: int) -> Residence:
        """On a GPU, if they fit well; else in memory, where they are."""
        num_bytes = sum(view.features.nbytes for view in self._views)
        on_device = decided_residence("auto", num_bytes=num_bytes, device=device, ranks_here=ranks_here)
        return on_device if on_device.kind == "device" else Residence("memory", on_device.memory_bytes)

    def open(
        self,
        residence: Residence,
        device: torch.device,
        *,
        share: Share,
        reserved_bytes: int,
        positions: Positions = "relative",
    ) -> OpenClips:
        """Put them on the device, or leave them where they are."""
        where = device if residence.kind == "device" else torch.device("cpu")
        key = where, share, positions
        if self._opened is None or self._opened[0] != key:
            # from_numpy warns of arrays that can't be written, such as memory maps
            features = [torch.from_numpy(np.require(view.features, requirements=["C", "W"])) for view in self._views]
            valid = [torch.from_numpy(np.require(view.valid, requirements=["W"])) for view in self._views]
            coordinates = [
                torch.from_numpy(normalise_coordinates(view.coordinates, view.valid, flips=True, positions=positions))
                for view in self._views
            ]
            parts = ([tensor.to(where) for tensor in tensors] for tensors in (features, coordinates, valid))
            self._opened = key, ResidentClips(*parts, share=share)
        return self._opened[1]


def row_keys(rows: Tensor, *, seed: int, epoch: int) -> Tensor:
    """What an epoch orders videos by, shape (N,), int64."""
    return random_keys(rows, 1, seed=derived_seed(seed, epoch, Purpose.ORDER, 0)).squeeze(1)


def _check_same_videos(one: ClipFeatures, other: ClipFeatures) -> None:
    if one.video_ids != other.video_ids:
        raise ValueError("the two views must hold the same videos in the same order")
    if one.feature_dim != other.feature_dim:
        raise ValueError(
            f"the two views must hold features of one length, got {one.feature_dim} and {other.feature_dim}"
        )
