"""A part of a video's clips, drawn at random: what a representation is worth when it sees fewer of them."""

import hashlib
from dataclasses import dataclass

import numpy as np

from scale_video.store.clip_features import ClipFeatures


@dataclass(frozen=True, slots=True)
class ClipDraw:
    """So many clips of every video, chosen by a seed."""

    num_clips: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: no clips, or a negative seed.
        """
        if self.num_clips < 1 or self.seed < 0:
            raise ValueError(f"a draw needs at least one clip and a seed from 0 on, got {self}")

    @property
    def options(self) -> dict[str, float]:
        """What the key of a record carries of it."""
        return {"clips": self.num_clips, "clip_seed": self.seed}


def draw_clips(features: ClipFeatures, draw: ClipDraw) -> ClipFeatures:
    """Keep some of the valid clips of each video, and all of a video that has no more than asked for.

    Which ones follows from the seed and the video's id alone, not from the other videos; under the same seed, fewer
    clips are a part of more.

    Args:
        features: N videos of K clips.
        draw: How many, and by which seed.

    Returns:
        N videos of ``min(draw.num_clips, K)`` clips, in random order.
    """
    num_kept = min(draw.num_clips, features.valid.shape[1])
    keys = np.stack([_keys(video_id, num=features.valid.shape[1], seed=draw.seed) for video_id in features.video_ids])
    keys[~features.valid] = np.iinfo(np.uint64).max  # clips that are not valid come last
    kept = np.argsort(keys, axis=1, kind="stable")[:, :num_kept]  # (N, num_kept)
    return ClipFeatures(
        video_ids=features.video_ids,
        features=np.take_along_axis(features.features, kept[:, :, None], axis=1),
        coordinates=np.take_along_axis(features.coordinates, kept[:, :, None], axis=1),
        valid=np.take_along_axis(features.valid, kept, axis=1),
    )


def _keys(video_id: str, *, num: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """One random number for each clip; those of a longer row begin with those of a shorter one."""
    digest = hashlib.shake_256(f"{seed}\0clips\0{video_id}".encode()).digest(8 * num)
    return np.frombuffer(digest, dtype="<u8") >> np.uint64(1)  # so that the largest value stays free
