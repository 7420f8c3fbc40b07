"""Which clips a draw keeps."""

import numpy as np
import pytest

from scale_video.evaluate.clip_draw import ClipDraw, draw_clips
from scale_video.store.clip_features import ClipFeatures


def clips_of(num_videos: int, num_clips: int = 6) -> ClipFeatures:
    """Features and coordinates that name video and clip."""
    names = 100 * (np.arange(num_videos)[:, None] % 600) + np.arange(num_clips)  # (N, K); float16 ends at 65 504
    valid = np.ones((num_videos, num_clips), dtype=np.bool_)
    valid[0, 2:] = False  # a video of two clips
    return ClipFeatures(
        video_ids=tuple(f"v{video}" for video in range(num_videos)),
        features=np.repeat(names[:, :, None], 2, axis=2).astype(np.float16),
        coordinates=np.repeat(names[:, :, None], 7, axis=2).astype(np.float32),
        valid=valid,
    )


def kept(features: ClipFeatures, video: int) -> list[int]:
    """The clips that a draw left of a video."""
    names = features.coordinates[video, features.valid[video], 0]
    np.testing.assert_array_equal(features.features[video, features.valid[video], 0], names.astype(np.float16))
    return [int(name) % 100 for name in names]


@pytest.mark.parametrize("num_clips", [1, 3, 6, 9])
def test_each_video_keeps_so_many_of_its_valid_clips(num_clips: int) -> None:
    drawn = draw_clips(clips_of(5), ClipDraw(num_clips))
    assert drawn.features.shape == (5, min(num_clips, 6), 2)
    assert sorted(kept(drawn, 0)) == sorted(set(kept(drawn, 0))) == sorted({0, 1} & set(kept(drawn, 0)))
    assert len(kept(drawn, 0)) == min(num_clips, 2)
    for video in range(1, 5):
        assert len(set(kept(drawn, video))) == min(num_clips, 6)


def test_fewer_are_a_part_of_more() -> None:
    features = clips_of(20)
    for video in range(20):
        rows = [kept(draw_clips(features, ClipDraw(num, seed=3)), video) for num in (1, 2, 4)]
        assert rows[0] == rows[1][:1]
        assert rows[1] == rows[2][: len(rows[1])]


def test_a_draw_follows_from_seed_and_id_alone() -> None:
    features = clips_of(30)
    some = draw_clips(features.take(np.array([7, 3])), ClipDraw(2, seed=1))
    everything = draw_clips(features, ClipDraw(2, seed=1))
    assert [kept(some, 0), kept(some, 1)] == [kept(everything, 7), kept(everything, 3)]
    other = draw_clips(features, ClipDraw(2, seed=2))
    assert any(kept(everything, video) != kept(other, video) for video in range(1, 30))


def test_every_clip_is_drawn_equally_often() -> None:
    drawn = draw_clips(clips_of(3001), ClipDraw(2))
    counts = np.bincount([clip for video in range(1, 3001) for clip in kept(drawn, video)], minlength=6)
    assert counts.sum() == 6000
    assert (abs(counts - 1000) < 130).all()  # more than four standard deviations


@pytest.mark.parametrize("arguments", [(0,), (-1,), (2, -1)])
def test_bad_draws(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one clip and a seed from 0 on"):
        ClipDraw(*arguments)
