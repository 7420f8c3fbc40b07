from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest

from scale_video.extract.augmentation import AugmentationRanges, draw_augmentation
from scale_video.extract.draw_plan import ProbedVideos, draw_random, draw_view
from scale_video.extract.views import AreaCrop, AugmentedView, RandomView, view_from_parameters, view_parameters
from scale_video.store.augmentation import Augmentation
from scale_video.store.video_probe import VideoProbe, VideoStatus

JITTER = [Augmentation.BRIGHTNESS, Augmentation.CONTRAST, Augmentation.SATURATION]
STEPS = slice(Augmentation.BRIGHTNESS_STEP, Augmentation.HUE_STEP + 1)
PINNED_CLIPS = [
    [0.0, 0.0729935169, 0.287144005, 0.829812169, 0.985844731, 4.04066563, 6.13399887],
    [0.0, 0.0526378267, 0.0859920382, 0.958286881, 0.646139801, 7.34658623, 9.43991947],
]
PINNED_CHANGES = [
    [0.778545737, 0.777685881, 1.54872763, 0.0181909949, 3.0, 1.0, 2.0, 0.0, 0.0, 0.00295925885],
    [0.409368992, 1.16622329, 0.412772208, 0.093941845, 1.0, 0.0, 2.0, 3.0, 0.0, 0.000507604447],
]


def probed(num_videos: int, *, status: VideoStatus = VideoStatus.OK) -> ProbedVideos:
    probe = VideoProbe(status, duration_seconds=10.0, frames_per_second=25.0, num_frames=250, height=240, width=320)
    return ProbedVideos.of([f"video {row}.mp4" for row in range(num_videos)], [probe] * num_videos)


def test_the_defaults_are_drawn_uniformly_and_as_often_as_they_say():
    view = AugmentedView()
    assert view.crop == AreaCrop(min_area=0.2, max_area=0.766, min_aspect=3 / 4, max_aspect=4 / 3)
    assert view.flip_probability == 0.5
    plan = draw_view(view, probed(600))
    assert plan.view == "augmented"
    assert plan.augmentation is not None
    drawn = plan.augmentation.reshape(-1, 10).astype(np.float64)
    jittered = drawn[:, Augmentation.HUE] != 0
    assert abs(jittered.mean() - 0.8) < 0.02
    for column in JITTER:
        assert kstest(drawn[jittered, column], "uniform", (0.4, 1.2)).pvalue > 1e-3
        assert (drawn[~jittered, column] == 1).all()
    assert kstest(drawn[jittered, Augmentation.HUE], "uniform", (-0.15, 0.3)).pvalue > 1e-3
    orders = Counter(map(tuple, drawn[:, STEPS].tolist()))
    assert len(orders) == 24
    assert max(orders.values()) < 1.35 * len(drawn) / 24
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3)}
    assert abs(drawn[:, Augmentation.GREY].mean() - 0.2) < 0.02
    sigmas = drawn[:, Augmentation.BLUR] * 224
    assert abs((sigmas > 0).mean() - 0.5) < 0.02
    assert kstest(sigmas[sigmas > 0], "uniform", (0.1, 1.9)).pvalue > 1e-3
    chosen = drawn[:, [Augmentation.BRIGHTNESS, Augmentation.CONTRAST, Augmentation.HUE, Augmentation.BLUR]]
    independent = np.corrcoef(chosen[jittered & (sigmas > 0)].T) - np.eye(4)
    assert np.abs(independent).max() < 0.05


def test_parameters_follow_from_the_draws_one_by_one():
    ranges = AugmentationRanges(brightness=0.5, hue=0.2, min_blur_sigma=1.0, max_blur_sigma=3.0)
    draws = np.array([[[0.1, 0.75, 0.5, 0.25, 0.0, 0.999, 0.3, 0.4, 0.5], [0.9] * 9]])
    jittered, not_jittered = draw_augmentation(ranges, draws, nominal_size=100)[0].tolist()
    assert jittered == pytest.approx([1.25, 1.0, 0.7, -0.2, 3, 2, 1, 0, 0, 0.02])
    assert not_jittered == pytest.approx([1, 1, 1, 0, 3, 1, 2, 0, 0, 0])


def test_clips_are_drawn_by_seed_view_and_id():
    videos = probed(3)
    plan, again = draw_view(AugmentedView(), videos), draw_view(AugmentedView(), videos)
    assert plan.augmentation is not None
    assert plan.augmentation.tobytes() == again.augmentation.tobytes()
    fewer = draw_view(AugmentedView(num_clips=5), videos)
    np.testing.assert_array_equal(fewer.augmentation, plan.augmentation[:, :5])
    np.testing.assert_array_equal(fewer.coordinates, plan.coordinates[:, :5])
    other = draw_view(AugmentedView(seed=1), videos)
    assert not np.isclose(other.coordinates[..., 5], plan.coordinates[..., 5]).any()
    plain = draw_random(RandomView(crop=AreaCrop(min_area=0.2, max_area=0.766)), videos)
    assert plain.augmentation is None
    assert not np.isclose(plain.coordinates[..., 5], plan.coordinates[..., 5]).any()


def test_the_draw_of_a_video_is_pinned_across_releases_and_machines():
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10.0, frames_per_second=25.0, height=240, width=320)
    plan = draw_view(AugmentedView(num_clips=2), ProbedVideos.of(["Kochen/Käse.mp4"], [probe]))
    assert plan.augmentation is not None
    np.testing.assert_array_equal(plan.coordinates[0], np.float32(PINNED_CLIPS))
    np.testing.assert_array_equal(plan.augmentation[0], np.float32(PINNED_CHANGES))


def test_a_video_that_could_not_be_probed_has_none():
    plan = draw_view(AugmentedView(), probed(2, status=VideoStatus.CORRUPT))
    assert plan.augmentation is not None
    assert np.isnan(plan.augmentation).all()


def test_parameters_survive_the_store_and_a_later_parameter_is_left_out():
    view = AugmentedView(num_clips=3, augmentation=AugmentationRanges(hue=0.1))
    parameters = view_parameters(view)
    assert "clips_per_minute" not in parameters
    assert view_from_parameters(parameters) == view
    assert type(view_from_parameters(view_parameters(RandomView()))) is RandomView


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AugmentationRanges(hue=0.6), r"hue must be in \[0, 0.5\], got 0.6"),
        (lambda: AugmentationRanges(contrast=-0.1), r"contrast must be in \[0, 1\], got -0.1"),
        (lambda: AugmentationRanges(grey_probability=float("nan")), r"grey_probability must be in \[0, 1\], got nan"),
        (lambda: AugmentationRanges(min_blur_sigma=3.0), "0 < min_blur_sigma <= max_blur_sigma, got 3.0 and 2.0"),
        (lambda: AugmentedView(nominal_size=1), r"max_blur_sigma \(2.0\) must not be larger than the frame"),
        (lambda: AugmentedView(num_clips=0), "num_clips must be at least 1, got 0"),
        (
            lambda: view_from_parameters(view_parameters(AugmentedView()) | {"augmentation": {"hue": 0.1}}),
            "augmentation must be a table of jitter_probability, brightness",
        ),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
