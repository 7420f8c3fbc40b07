import numpy as np
import pytest

from scale_video.evaluate.low_shot import draw_share

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 5], [200, 50, 3]))


@pytest.mark.parametrize(
    ("share", "kept"), [(0.01, (2, 1, 1)), (0.1, (20, 5, 1)), (0.5, (100, 25, 2)), (1.0, (200, 50, 3))]
)
def test_every_class_keeps_its_share_and_at_least_one(share: float, kept: tuple[int, ...]) -> None:
    rows = draw_share(LABELS, share, seed=0)
    assert tuple(int((LABELS[rows] == label).sum()) for label in (0, 1, 5)) == kept
    assert (np.diff(rows) > 0).all()


def test_the_seed_decides_and_smaller_shares_are_parts_of_larger_ones() -> None:
    one, ten, other = (draw_share(LABELS, share, seed=seed) for share, seed in ((0.01, 0), (0.1, 0), (0.1, 1)))
    np.testing.assert_array_equal(ten, draw_share(LABELS, 0.1, seed=0))
    assert set(one) < set(ten)
    assert set(ten) != set(other)


def test_every_video_of_a_class_is_as_likely() -> None:
    labels = np.repeat([0, 1], 10)
    counts = np.zeros(20)
    for seed in range(600):
        counts[draw_share(labels, 0.2, seed=seed)] += 1
    np.testing.assert_allclose(counts, 120, atol=35)  # 3.5 sigma of binomial(600, .2)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_bad_share(share: float) -> None:
    with pytest.raises(ValueError, match=r"the share of training labels must be in \(0, 1\], got"):
        draw_share(LABELS, share, seed=0)
