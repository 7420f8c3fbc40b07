import numpy as np
import pytest

from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.store.clip_plan import Coordinate


def by_loops(coordinates, valid, flips):
    result = np.zeros(coordinates.shape)
    for n, clips in enumerate(coordinates.astype(np.float64)):
        kept = [clip for clip, is_valid in zip(clips, valid[n], strict=True) if is_valid]
        for k, clip in enumerate(clips):
            if not valid[n, k]:
                continue
            result[n, k, Coordinate.FLIP] = (1 if clip[Coordinate.FLIP] else -1) if flips else -1
            for low, high in (("TOP", "BOTTOM"), ("LEFT", "RIGHT"), ("START", "END")):
                smallest = min(c[Coordinate[low]] for c in kept)
                largest = max(c[Coordinate[high]] for c in kept)
                for edge in (low, high):
                    if largest > smallest:
                        result[n, k, Coordinate[edge]] = (clip[Coordinate[edge]] - smallest) / (largest - smallest)
    return result


@pytest.mark.parametrize("flips", [True, False])
def test_equals_loops(make_features, flips):
    data = make_features(num_videos=5, fewer=(3, 1, 0))
    normalised = normalise_coordinates(data.coordinates, data.valid, flips=flips)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, by_loops(data.coordinates, data.valid, flips), atol=1e-6)


def test_values_that_can_be_worked_out_by_hand():
    coordinates = np.zeros((1, 2, 7), np.float32)
    coordinates[0, :, Coordinate.START] = [10, 30]
    coordinates[0, :, Coordinate.END] = [20, 50]
    coordinates[0, :, Coordinate.FLIP] = [0, 1]
    normalised = normalise_coordinates(coordinates, np.ones((1, 2), bool), flips=True)[0]
    assert normalised[:, Coordinate.START].tolist() == [0, 0.5]
    assert normalised[:, Coordinate.END].tolist() == [0.25, 1]
    assert normalised[:, Coordinate.FLIP].tolist() == [-1, 1]
    assert not normalised[:, Coordinate.TOP : Coordinate.START].any()  # no extent


def test_what_an_invalid_clip_holds_changes_nothing(make_features):
    data = make_features(num_videos=3, fewer=(4, 4))
    dirty = data.coordinates.copy()
    dirty[~data.valid] = 1e6
    expected = normalise_coordinates(data.coordinates, data.valid, flips=True)
    np.testing.assert_array_equal(normalise_coordinates(dirty, data.valid, flips=True), expected)
    assert not expected[~data.valid].any()
