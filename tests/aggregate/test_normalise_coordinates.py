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


@pytest.mark.parametrize("flips", [True, False])
def test_absolute_positions_are_those_of_the_store(make_features, flips):
    data = make_features(num_videos=5, fewer=(3, 1, 0))
    normalised = normalise_coordinates(data.coordinates, data.valid, flips=flips, positions="absolute")
    assert normalised.dtype == np.float32
    for n, k in np.ndindex(data.valid.shape):
        stored = dict(zip(Coordinate, data.coordinates[n, k].tolist(), strict=True))
        if flips:
            stored[Coordinate.FLIP] = 1 if stored[Coordinate.FLIP] else -1
        else:
            stored[Coordinate.FLIP] = -1
        for edge in (Coordinate.START, Coordinate.END):
            stored[edge] /= 10  # tens of seconds
        expected = [stored[c] if data.valid[n, k] else 0 for c in Coordinate]
        np.testing.assert_allclose(normalised[n, k], expected, rtol=1e-6)


def test_absolute_positions_tell_a_later_clip_from_an_earlier_one(make_features):
    data = make_features(num_videos=2)
    later = data.coordinates.copy()
    later[:, :, [Coordinate.START, Coordinate.END]] += 30
    relative, absolute = (
        [normalise_coordinates(c, data.valid, flips=True, positions=positions) for c in (data.coordinates, later)]
        for positions in ("relative", "absolute")
    )
    np.testing.assert_allclose(*relative, atol=1e-5)
    np.testing.assert_allclose(absolute[1] - absolute[0], (later - data.coordinates) / 10, atol=1e-5)


def test_what_an_invalid_clip_holds_changes_nothing(make_features):
    data = make_features(num_videos=3, fewer=(4, 4))
    dirty = data.coordinates.copy()
    dirty[~data.valid] = 1e6
    expected = normalise_coordinates(data.coordinates, data.valid, flips=True)
    np.testing.assert_array_equal(normalise_coordinates(dirty, data.valid, flips=True), expected)
    assert not expected[~data.valid].any()
