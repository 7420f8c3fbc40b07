"""From clip features to video vectors: mean of the raw features, mean of the refined clips, and the global token."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.aggregate.clip_sets import random_order
from scale_video.aggregate.counter_random import Purpose, derived_seed, random_keys
from scale_video.aggregate.normalise_coordinates import Positions, normalise_coordinates
from scale_video.aggregate.set_transformer import SetTokens, SetTransformer
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations


def embed_videos(
    model: SetTransformer,
    features: ClipFeatures,
    *,
    flips: bool,
    batch_videos: int = 256,
    shuffle_positions_seed: int | None = None,
) -> VideoRepresentations:
    """Read all valid clips of every video in one forward pass, nothing masked, without dropout.

    Args:
        model: Set transformer; used on the device where it is.
        features: N videos of a view.
        flips: Whether the view mirrors clips at random (``random`` does, ``grid`` does not).
        batch_videos: Videos per forward pass; it changes the result by less than 1e-5.
        shuffle_positions_seed: Ablation: hand each clip the coordinates of a random clip of its video.

    Returns:
        x, h and cls of the N videos.

    Raises:
        ValueError: the features have another length than the model's, or a video has no valid clip.
    """
    raw, refined, cls = [], [], []
    for clips, valid, tokens in _read_in_batches(
        model, features, flips=flips, batch_videos=batch_videos, shuffle_positions_seed=shuffle_positions_seed
    ):
        raw.append(_mean_of_valid(clips, valid))
        refined.append(_mean_of_valid(tokens.clips, valid))
        cls.append(tokens.cls)
    x, h, global_tokens = (torch.cat(parts).float().cpu().numpy() for parts in (raw, refined, cls))
    return VideoRepresentations(video_ids=features.video_ids, x=x, h=h, cls=global_tokens)


def embed_clips(
    model: SetTransformer,
    features: ClipFeatures,
    *,
    flips: bool,
    batch_videos: int = 256,
    shuffle_positions_seed: int | None = None,
) -> NDArray[np.float32]:
    """The refined clips of every video, read as ``embed_videos`` reads them.

    Args:
        model: As for ``embed_videos``, as are the others.
        features: N videos of K clips.
        flips: Whether the view mirrors clips at random.
        batch_videos: Videos per forward pass.
        shuffle_positions_seed: Ablation.

    Returns:
        Shape (N, K, E), float32; meaningless where a clip is not valid.

    Raises:
        ValueError: as ``embed_videos``.
    """
    batches = _read_in_batches(
        model, features, flips=flips, batch_videos=batch_videos, shuffle_positions_seed=shuffle_positions_seed
    )
    return np.concatenate([tokens.clips.float().cpu().numpy() for _, _, tokens in batches])


def model_coordinates(
    features: ClipFeatures, *, flips: bool, positions: Positions, shuffle_positions_seed: int | None = None
) -> NDArray[np.float32]:
    """Coordinates as a model of these ``positions`` reads them, shape (N, K, C); arguments as in ``embed_videos``."""
    coordinates = normalise_coordinates(features.coordinates, features.valid, flips=flips, positions=positions)
    if shuffle_positions_seed is None:
        return coordinates
    return _shuffled(coordinates, features.valid, seed=shuffle_positions_seed)


def _read_in_batches(
    model: SetTransformer,
    features: ClipFeatures,
    *,
    flips: bool,
    batch_videos: int,
    shuffle_positions_seed: int | None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, SetTokens]]:
    """Raw clips (B, K, D), which are valid (B, K), and what the model makes of them, batch by batch."""
    _check(model, features)
    coordinates = model_coordinates(
        features, flips=flips, positions=model.positions, shuffle_positions_seed=shuffle_positions_seed
    )
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        for start in range(0, features.num_videos, batch_videos):
            rows = slice(start, start + batch_videos)
            valid = torch.tensor(features.valid[rows], device=device)  # (B, K)
            clips = torch.tensor(features.features[rows], device=device).float()  # (B, K, D)
            with torch.inference_mode():  # left before the yield: the mode is the whole thread's
                tokens = model(clips, torch.tensor(coordinates[rows], device=device), valid=valid)
            yield clips, valid, tokens
    finally:
        model.train(was_training)


def _check(model: SetTransformer, features: ClipFeatures) -> None:
    if features.feature_dim != model.feature_dim:
        raise ValueError(
            f"the model reads features of dimension {model.feature_dim}, but these have {features.feature_dim}; "
            "use a checkpoint of the same backbone"
        )
    without = np.flatnonzero(~features.valid.any(axis=1))
    if len(without):
        raise ValueError(
            f"{len(without)} videos have no valid clip, the first is '{features.video_ids[without[0]]}'; leave them out"
        )


def _mean_of_valid(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over valid clips, (B, K, E) -> (B, E)."""
    mask = valid[:, :, None]
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)


def _shuffled(coordinates: NDArray[np.float32], valid: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
    """Permute the coordinates of each video's valid clips."""
    in_place = torch.from_numpy(np.argsort(~valid, axis=1, kind="stable"))  # valid clips first, in their order
    keys = random_keys(torch.arange(len(valid)), valid.shape[1], seed=derived_seed(seed, Purpose.POSITIONS))
    drawn = random_order(torch.tensor(valid), keys)  # valid clips first, in any order
    source = torch.empty_like(drawn).scatter_(1, in_place, drawn)
    return np.take_along_axis(coordinates, source.numpy()[:, :, None], axis=1)
