import numpy as np
import pytest
import torch

from scale_video.aggregate.clip_sets import (
    derived_seed,
    draw_clip_sets,
    draw_masked_clips,
    epoch_generator,
    num_masked,
)


def test_sets_are_disjoint_without_repeats_and_valid():
    valid = torch.rand(200, 12, generator=epoch_generator(0, 0)) < 0.8
    valid[:, [1, 4, 6, 7, 9, 11]] = True
    sets = draw_clip_sets(valid, clips_per_set=3, generator=epoch_generator(1, 0))
    assert sets.shape == (200, 2, 3)
    for video, drawn in enumerate(sets.flatten(1).tolist()):
        assert len(set(drawn)) == 6
        assert valid[video, drawn].all()


def test_every_valid_clip_is_equally_likely_in_either_set():
    draws = 20_000
    valid = torch.tensor([[True, True, False, True, True, True]]).expand(draws, -1)
    sets = draw_clip_sets(valid, clips_per_set=2, generator=epoch_generator(2, 0))
    expected, tolerance = draws * 2 / 5, 5 * np.sqrt(draws * 0.4 * 0.6)
    for side in range(2):
        counts = torch.bincount(sets[:, side].flatten(), minlength=6)
        assert counts[2] == 0
        assert ((counts[valid[0]] - expected).abs() < tolerance).all()


def test_pairs_of_clips_are_equally_likely():
    draws = 20_000
    sets = draw_clip_sets(torch.ones(draws, 4, dtype=torch.bool), clips_per_set=2, generator=epoch_generator(3, 0))
    pairs = torch.bincount(sets[:, 0].sort(dim=1).values @ torch.tensor([4, 1]), minlength=16)
    counts = pairs[pairs > 0]
    assert len(counts) == 6
    assert ((counts - draws / 6).abs() < 5 * np.sqrt(draws * 5 / 36)).all()


def test_too_few_valid_clips():
    valid = torch.ones(3, 8, dtype=torch.bool)
    valid[1, 5:] = False
    with pytest.raises(ValueError, match=r"clips_per_set \(3\) x 2 sets needs 6 valid clips, but a video has 5; leave"):
        draw_clip_sets(valid, clips_per_set=3, generator=epoch_generator(0, 0))


@pytest.mark.parametrize(
    ("clips", "fraction", "expected"), [(8, 0.25, 2), (4, 0.25, 1), (3, 0.01, 1), (16, 0.25, 4), (8, 0.5, 4)]
)
def test_exact_masks(clips, fraction, expected):
    assert num_masked(clips, fraction) == expected
    masked = draw_masked_clips(50, clips, masking="exact", fraction=fraction, generator=epoch_generator(0, 0))
    assert masked.shape == (50 * expected,)
    assert len(masked.unique()) == len(masked)
    assert torch.bincount(masked // clips, minlength=50).tolist() == [expected] * 50


@pytest.mark.parametrize("masking", ["exact", "independent"])
def test_every_place_is_masked_equally_often(masking):
    sets = 8_000
    masked = draw_masked_clips(sets, 8, masking=masking, fraction=0.25, generator=epoch_generator(0, 0))
    counts = torch.bincount(masked % 8, minlength=8)
    assert ((counts - sets / 4).abs() < 5 * np.sqrt(sets * 3 / 16)).all()


def test_independent_masks_vary():
    masked = draw_masked_clips(8_000, 8, masking="independent", fraction=0.25, generator=epoch_generator(0, 0))
    per_set = torch.bincount(masked // 8, minlength=8_000)
    shares = torch.bincount(per_set, minlength=9) / 8_000
    assert shares[0] == pytest.approx(0.75**8, abs=0.02)
    assert shares[2] == pytest.approx(28 * 0.25**2 * 0.75**6, abs=0.03)


def test_draws_follow_from_seed_and_epoch():
    def draw(seed, epoch):
        return torch.rand(8, generator=epoch_generator(seed, epoch)).tolist()

    assert draw(3, 4) == draw(3, 4)
    assert len({tuple(draw(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert derived_seed(3, 4) != derived_seed(3, 4, 1)
