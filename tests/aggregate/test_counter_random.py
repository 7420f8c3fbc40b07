import numpy as np
import pytest
import torch

from scale_video.aggregate.counter_random import NUM_KEYS, Purpose, derived_seed, random_keys


def slow_mix(state: int) -> int:
    """SplitMix64's finaliser with Python's own integers."""
    mask = 2**64 - 1
    state = (state + 1) * 0x9E3779B97F4A7C15 & mask
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
    return state ^ state >> 31


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_keys_equal_the_hash_by_hand(seed):
    rows = torch.tensor([0, 7, 239_999, 7])
    expected = [[slow_mix(slow_mix(row + seed) + place) >> 1 for place in range(5)] for row in rows.tolist()]
    assert random_keys(rows, 5, seed=seed).tolist() == expected


def test_keys_are_uniform_and_neighbours_are_unrelated():
    keys = random_keys(torch.arange(50_000), 4, seed=derived_seed(0, 0, Purpose.CLIPS)).double() / NUM_KEYS
    assert keys.min() >= 0
    assert keys.max() <= 1
    shares = torch.histc(keys, bins=100, min=0, max=1) / keys.numel()
    assert shares.numpy() == pytest.approx(0.01, abs=5 * np.sqrt(0.01 / keys.numel()))
    along_rows, along_places = (np.corrcoef(keys[:-1].ravel(), keys[1:].ravel()), np.corrcoef(keys.T.numpy()))
    for correlations in (along_rows, along_places):
        assert np.abs(correlations - np.eye(len(correlations))).max() < 5 / np.sqrt(50_000)


def test_every_bit_depends_on_every_bit():
    """Flip one bit of the row: each bit of the key changes in half of the cases."""
    rows = torch.arange(4096)
    keys = random_keys(rows, 1, seed=3).squeeze(1).numpy()
    for bit in range(0, 40, 3):
        flipped = random_keys(rows ^ (1 << bit), 1, seed=3).squeeze(1).numpy()
        changed = [np.mean((keys ^ flipped) >> place & 1) for place in range(63)]
        assert changed == pytest.approx([0.5] * 63, abs=5 * np.sqrt(0.25 / 4096))


def test_a_row_has_the_same_keys_whatever_comes_with_it():
    assert torch.equal(random_keys(torch.tensor([5, 9]), 3, seed=1)[1], random_keys(torch.tensor([9]), 3, seed=1)[0])
    assert torch.equal(random_keys(torch.tensor([9]), 3, seed=1), random_keys(torch.tensor([9]), 8, seed=1)[:, :3])


def test_seeds_of_unequal_entropy_differ():
    seeds = {derived_seed(seed, epoch, purpose) for seed in range(4) for epoch in range(4) for purpose in Purpose}
    assert len(seeds) == 4 * 4 * len(Purpose)


@pytest.mark.gpu
def test_a_gpu_draws_the_same():
    rows = torch.arange(1000)
    on_gpu = random_keys(rows.cuda(), 16, seed=2**64 - 5)
    assert torch.equal(on_gpu.cpu(), random_keys(rows, 16, seed=2**64 - 5))
