"""Coverage of clips in time and space, against a count of one clip after the other."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from scale_video.store.clip_coverage import SPACE_BINS, TIME_BINS, clip_coverage
from scale_video.store.read import FeatureStore


def counted(store: FeatureStore, view: str, rows: list[int]) -> tuple[int, np.ndarray, np.ndarray]:
    """Clips, centres and how many see each cell, one by one."""
    plan, parts, seconds = store.plan(view), store.parts(), store.column("duration_seconds")
    centres, seen, num_clips = np.zeros(TIME_BINS, int), np.zeros((SPACE_BINS, SPACE_BINS)), 0
    for row in rows:
        length = min(seconds[row], parts.end_seconds[row]) - parts.begin_seconds[row]
        for clip in np.flatnonzero(plan.valid[row]):
            _, top, left, bottom, right, start, end = map(float, plan.coordinates[row, clip])
            part_of_video = min(1.0, max(0.0, ((start + end) / 2 - parts.begin_seconds[row]) / length))
            centres[min(TIME_BINS - 1, int(part_of_video * TIME_BINS))] += 1
            for y in range(SPACE_BINS):
                for x in range(SPACE_BINS):
                    seen[y, x] += top <= (y + 0.5) / SPACE_BINS < bottom and left <= (x + 0.5) / SPACE_BINS < right
            num_clips += 1
    return num_clips, centres, seen


@pytest.mark.parametrize("name", ["full.zarr", "rich.zarr"])  # the second one's rows are parts of files
def test_all_clips_are_counted(templates: Path, name: str) -> None:
    store = FeatureStore.open(templates / name)
    found = clip_coverage([store], "random", max_videos=1000, seed=0)
    num_clips, centres, seen = counted(store, "random", list(range(7)))
    assert (found.num_videos, found.num_clips) == (7, num_clips)
    assert num_clips == 6 * 3 - 1
    np.testing.assert_array_equal(found.centres, centres)
    np.testing.assert_allclose(found.seen, seen / num_clips)
    assert 0 < found.seen.max() < 1


def test_of_many_videos_some_blocks_are_drawn(templates: Path, small: ModuleType) -> None:
    store = FeatureStore.open(templates / "full.zarr")  # blocks of 3, 3 and 1 videos
    drawn = {}
    for seed in range(12):
        found = clip_coverage([store], "grid", max_videos=small.BLOCK_SIZE, seed=seed)
        again = clip_coverage([store], "grid", max_videos=small.BLOCK_SIZE, seed=seed)
        np.testing.assert_array_equal(found.seen, again.seen)
        drawn[found.num_videos, found.num_clips] = found
    assert set(drawn) == {(3, 8), (3, 9), (1, 0)}  # each of the blocks, by some seed
    np.testing.assert_array_equal(drawn[3, 9].centres, counted(store, "grid", [3, 4, 5])[1])
    assert not drawn[1, 0].seen.any()  # the only video of that block is corrupt


def test_several_stores_are_one(templates: Path) -> None:
    stores = [FeatureStore.open(templates / name) for name in ("full.zarr", "empty.zarr")]
    one, other = (clip_coverage([store], "random", max_videos=100, seed=0) for store in stores)
    both = clip_coverage(stores, "random", max_videos=100, seed=0)
    assert (both.num_videos, both.num_clips) == (14, one.num_clips + other.num_clips)
    np.testing.assert_array_equal(both.centres, one.centres + other.centres)
    np.testing.assert_allclose(both.seen, (one.seen + other.seen) / 2)
