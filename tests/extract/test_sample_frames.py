import numpy as np
import pytest
from numpy.typing import NDArray

from scale_video.extract.sample_frames import PendingSamples, sample_times
from scale_video.extract.shown_frames import ShownFrame


def coordinates(*spans: tuple[float, float]) -> NDArray[np.float32]:
    return np.array([[0, 0, 0, 1, 1, start, end] for start, end in spans], np.float32)


def frame(seconds: float, *, trusted: bool = True) -> ShownFrame:
    return ShownFrame(picture=None, seconds=seconds, trusted=trusted, follows_gap=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(("num_frames", "expected"), [(4, [1.0, 1.5, 2.0, 2.5]), (2, [1.0, 2.5]), (1, [1.75])])
def test_samples_lie_evenly_and_include_both_ends(num_frames: int, expected: list[float]) -> None:
    np.testing.assert_array_equal(sample_times(coordinates((1.0, 2.5)), num_frames=num_frames), [expected])


def test_sample_times_are_float64() -> None:
    start = np.float32(3600.1)
    times = sample_times(coordinates((start, start + 2)), num_frames=16)
    assert times[0, 1] == np.float64(start) + (np.float64(np.float32(start + 2)) - np.float64(start)) / 15


def test_a_frame_answers_the_samples_before_the_next_frame() -> None:
    pending = PendingSamples(np.array([[0.0, 0.5, 0.9995], [0.2, 0.999, 2.0]]), planned=np.ones(2, np.bool_))
    assert pending.take(None, until=0.0, gap=False) == []
    # 0.9995 is within a millisecond of the frame at 1.0; 0.999 + 1 ms is less than 1.00001.
    assert pending.take(frame(0.0), until=1.00001, gap=False) == [0, 3, 1, 4]
    assert not pending.done
    assert pending.take(frame(1.00001), until=np.inf, gap=False) == [2, 5]
    assert pending.done
    assert not pending.lost.any()


def test_samples_of_clips_that_are_not_planned_are_left_out() -> None:
    pending = PendingSamples(np.array([[0.0], [np.nan], [0.5]]), planned=np.array([True, False, True]))
    assert pending.take(frame(0.0), until=np.inf, gap=False) == [0, 2]


def test_a_sample_before_the_first_frame_gets_it() -> None:
    pending = PendingSamples(np.array([[-1e-8]]), planned=np.ones(1, np.bool_))
    assert pending.take(None, until=0.0, gap=False) == []
    assert pending.take(frame(0.0), until=1.0, gap=False) == [0]


def test_clips_lose_by_frames_that_are_damaged_or_absent() -> None:
    pending = PendingSamples(np.array([[0.0], [0.5], [1.0]]), planned=np.ones(3, np.bool_))
    assert pending.take(frame(0.0), until=0.4, gap=False) == [0]
    assert pending.take(frame(0.4, trusted=False), until=0.9, gap=False) == []
    assert pending.lost.tolist() == [False, True, False]
    assert pending.take(None, until=np.inf, gap=False) == []
    assert pending.lost.tolist() == [False, True, True]


def test_before_a_gap_only_samples_at_the_frames_own_time_are_sure() -> None:
    pending = PendingSamples(np.array([[0.4], [0.401], [0.45]]), planned=np.ones(3, np.bool_))
    assert pending.take(frame(0.4), until=1.0, gap=True) == [0, 1]
    assert pending.lost.tolist() == [False, False, True]


def test_a_clip_that_has_lost_a_frame_is_not_served_any_more() -> None:
    pending = PendingSamples(np.array([[0.0, 1.0], [1.0, 1.0]]), planned=np.ones(2, np.bool_))
    pending.take(frame(0.0, trusted=False), until=0.5, gap=False)
    assert pending.take(frame(1.0), until=np.inf, gap=False) == [2, 3]
