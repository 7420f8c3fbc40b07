import numpy as np
from sklearn.metrics import confusion_matrix

from scale_video.evaluate.confusion import ConfusedPair, confusion_counts, confusion_shares, most_confused


def test_counts_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(7, size=200), rng.integers(7, size=200)
    found = confusion_counts(labels, predictions, num_classes=9)  # two classes that occur nowhere
    np.testing.assert_array_equal(found, confusion_matrix(labels, predictions, labels=range(9)))
    shares = confusion_shares(found)
    np.testing.assert_allclose(shares[:7, :7], confusion_matrix(labels, predictions, normalize="true"), rtol=1e-12)
    assert np.isnan(shares[7:]).all()


def test_pairs_by_share_of_the_true_class() -> None:
    counts = np.array([[8, 2, 0], [1, 1, 2], [0, 4, 16]])
    assert most_confused(counts, at_most=3) == [
        ConfusedPair(label=1, predicted=2, num_videos=2, num_of_class=4),
        ConfusedPair(label=1, predicted=0, num_videos=1, num_of_class=4),
        ConfusedPair(label=2, predicted=1, num_videos=4, num_of_class=20),  # as often as 0 for 1, of more videos
    ]
    assert most_confused(np.eye(3, dtype=np.int64), at_most=3) == []
