"""Clips that follow the duration: counted by hand, and the same clips as without."""

import numpy as np
import pytest

from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.views import AugmentedView, GridView, RandomView, view_from_parameters, view_parameters
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoProbe, VideoStatus


def videos_of(*durations: float) -> ProbedVideos:
    """25 frames a second; a duration of 0 stands for a file that cannot be read."""
    probes = [
        VideoProbe(VideoStatus.OK, duration_seconds=seconds, frames_per_second=25.0, height=25, width=25)
        if seconds
        else VideoProbe(VideoStatus.CORRUPT, error="is empty")
        for seconds in durations
    ]
    return ProbedVideos.of([f"video {row}.mp4" for row in range(len(durations))], probes)


@pytest.mark.parametrize("make", [RandomView, AugmentedView])
def test_random_clips_by_duration(make):
    """6 a minute: one in ten seconds, halves rounded up, at least one and at most eight; none of what is unreadable."""
    videos = videos_of(1.0, 10.0, 14.9, 15.0, 60.0, 79.0, 3600.0, 0.0)
    plan = draw_view(make(num_clips=8, clips_per_minute=6.0), videos)
    assert plan.valid.sum(axis=1).tolist() == [1, 1, 1, 2, 6, 8, 8, 0]
    assert plan.num_clips == 8
    assert plan.parameters["clips_per_minute"] == 6
    without = draw_view(make(num_clips=8), videos)
    np.testing.assert_array_equal(plan.coordinates[plan.valid], without.coordinates[plan.valid])
    if plan.augmentation is not None:
        np.testing.assert_array_equal(plan.augmentation[plan.valid], without.augmentation[plan.valid])
        assert np.isnan(plan.augmentation[~plan.valid]).all()


def test_a_grid_has_whole_times_by_duration():
    """12 clips a minute in 3 places are 4 times a minute: 1, 2 of 25 s, 4 of a minute, at most 5."""
    durations = (2.0, 25.0, 60.0, 600.0)
    plan = draw_view(GridView(clips_per_minute=12.0), videos_of(*durations))
    assert plan.valid.sum(axis=1).tolist() == [3, 6, 12, 15]
    for row, duration in enumerate(durations):
        num_times = plan.valid[row].sum() // 3
        start = plan.coordinates[row, plan.valid[row], Coordinate.START].reshape(num_times, 3)
        expected = [time * max(duration - 64 / 30, 0) / num_times for time in range(num_times)]
        np.testing.assert_allclose(start, np.repeat(expected, 3).reshape(-1, 3), rtol=1e-6)
    full = draw_view(GridView(), videos_of(600.0))
    np.testing.assert_array_equal(plan.coordinates[3], full.coordinates[0])


@pytest.mark.parametrize("view", [RandomView(clips_per_minute=1.5), GridView(clips_per_minute=0.1)])
def test_it_is_a_parameter_of_the_view(view):
    assert view_from_parameters(view_parameters(view)) == view
    assert "clips_per_minute" not in view_parameters(type(view)())


def test_a_rate_below_zero():
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"clips_per_minute must be 0 \(off\) or above, and finite, got"):
            RandomView(clips_per_minute=rate)
