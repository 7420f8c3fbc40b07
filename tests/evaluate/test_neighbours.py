import numpy as np
import pytest
import torch
from torch import Tensor

from scale_video.evaluate import neighbours
from scale_video.evaluate.neighbours import largest_columns, nearest_rows


def slow_nearest(products: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda column: (-row[column], column))[:k] for row in products]


def whole_numbers(*shape: int, seed: int, low: int = -3, high: int = 4) -> Tensor:
    """Whose products are exact, and often equal."""
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, size=shape).astype(np.float32))


@pytest.mark.parametrize("k", [1, 3, 20, 61])
@pytest.mark.parametrize("block", [2**24, 64, 1])  # similarities: all at once, a few columns, k columns
def test_equals_sorting_in_blocks_of_any_size(k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK_SIMILARITIES", block)
    monkeypatch.setattr(neighbours, "_BLOCK_QUERIES", 4)
    monkeypatch.setattr(neighbours, "_PRODUCT_COLUMNS", 17)
    for seed in range(5):
        train, test = whole_numbers(61, 3, seed=seed), whole_numbers(9, 3, seed=seed + 100)
        values, rows = nearest_rows(train, test, k)
        products = (test @ train.T).numpy()
        assert rows.tolist() == slow_nearest(products, k)
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(products, rows.numpy(), axis=1))


@pytest.mark.parametrize("num_columns", [63, 640, 1000, 1024])
@pytest.mark.parametrize("spread", [3, 10_000])  # with ties in every row, and with almost none
def test_two_steps_find_what_one_does(num_columns: int, spread: int) -> None:
    values = whole_numbers(30, num_columns, seed=num_columns, low=-spread, high=spread)
    for k in (1, 3, 50):
        assert largest_columns(values, k).tolist() == [sorted(row) for row in slow_nearest(values.numpy(), k)]


def test_the_two_steps_are_taken_where_there_are_many_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    topk = Tensor.topk

    def spy(values: Tensor, *arguments, **options):
        widths.append(values.shape[1])
        return topk(values, *arguments, **options)

    monkeypatch.setattr(Tensor, "topk", spy)
    largest_columns(torch.rand(2, 6400 + 7), 4)
    assert widths == [100, 5 * 64 + 7]
