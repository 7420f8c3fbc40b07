import numpy as np
import pytest
import torch

from scale_video.aggregate.clip_sets import draw_masked_clips, draw_sets, num_masked
from scale_video.aggregate.counter_random import random_keys


def keys(num_rows, per_row, *, seed=0):
    return random_keys(torch.arange(num_rows), per_row, seed=seed)


def test_sets_are_disjoint_without_repeats_and_valid():
    valid = torch.rand(200, 12, generator=torch.Generator().manual_seed(0)) < 0.8
    valid[:, [1, 4, 6, 7, 9, 11]] = True
    sets = draw_sets([valid], [keys(200, 12)], sets_per_video=2, clips_per_set=3)
    assert sets.shape == (200, 2, 3)
    for video, drawn in enumerate(sets.flatten(1).tolist()):
        assert len(set(drawn)) == 6
        assert valid[video, drawn].all()


def test_every_valid_clip_is_equally_likely_in_either_set():
    draws = 20_000
    valid = torch.tensor([[True, True, False, True, True, True]]).expand(draws, -1)
    sets = draw_sets([valid], [keys(draws, 6)], sets_per_video=2, clips_per_set=2)
    expected, tolerance = draws * 2 / 5, 5 * np.sqrt(draws * 0.4 * 0.6)
    for side in range(2):
        counts = torch.bincount(sets[:, side].flatten(), minlength=6)
        assert counts[2] == 0
        assert ((counts[valid[0]] - expected).abs() < tolerance).all()


def test_pairs_of_clips_are_equally_likely():
    draws = 20_000
    sets = draw_sets([torch.ones(draws, 4, dtype=torch.bool)], [keys(draws, 4)], sets_per_video=2, clips_per_set=2)
    pairs = torch.bincount(sets[:, 0].sort(dim=1).values @ torch.tensor([4, 1]), minlength=16)
    counts = pairs[pairs > 0]
    assert len(counts) == 6
    assert ((counts - draws / 6).abs() < 5 * np.sqrt(draws * 5 / 36)).all()


@pytest.mark.parametrize(
    ("clips", "fraction", "expected"), [(8, 0.25, 2), (4, 0.25, 1), (3, 0.01, 1), (16, 0.25, 4), (8, 0.5, 4)]
)
def test_exact_masks(clips, fraction, expected):
    assert num_masked(clips, fraction) == expected
    masked = draw_masked_clips(keys(50, clips), masking="exact", fraction=fraction)
    assert masked.shape == (50 * expected,)
    assert len(masked.unique()) == len(masked)
    assert torch.bincount(masked // clips, minlength=50).tolist() == [expected] * 50


@pytest.mark.parametrize("masking", ["exact", "independent"])
def test_every_place_is_masked_equally_often(masking):
    sets = 8_000
    masked = draw_masked_clips(keys(sets, 8), masking=masking, fraction=0.25)
    counts = torch.bincount(masked % 8, minlength=8)
    assert ((counts - sets / 4).abs() < 5 * np.sqrt(sets * 3 / 16)).all()


def test_independent_masks_vary():
    masked = draw_masked_clips(keys(8_000, 8), masking="independent", fraction=0.25)
    per_set = torch.bincount(masked // 8, minlength=8_000)
    shares = torch.bincount(per_set, minlength=9) / 8_000
    assert shares[0] == pytest.approx(0.75**8, abs=0.02)
    assert shares[2] == pytest.approx(28 * 0.25**2 * 0.75**6, abs=0.03)
