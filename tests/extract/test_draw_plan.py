import json

import numpy as np
import pytest

from scale_video.extract import draw_plan
from scale_video.extract.draw_plan import ProbedVideos, draw_grid, draw_random, draw_view
from scale_video.extract.views import (
    SSV2_GRID,
    SSV2_RANDOM,
    AreaCrop,
    GridView,
    RandomView,
    ShortSideCrop,
    view_from_parameters,
)
from scale_video.store.clip_plan import ClipPlan, Coordinate
from scale_video.store.video_probe import VideoProbe, VideoStatus

SPAN = 64 / 30
PINNED = [
    [0.0, 0.028959151, 0.134876087, 0.764813244, 0.686766684, 6.624551773, 8.717885017],
    [1.0, 0.017074347, 0.199706212, 0.732178807, 0.736034572, 3.989804029, 6.083137512],
]


def probed(**columns) -> ProbedVideos:
    """Videos of 10 s, 25 frames a second, 320 x 240, except for the given columns."""
    num_videos = len(next(iter(columns.values())))
    defaults = {
        "begin_seconds": 0.0,
        "duration_seconds": 10.0,
        "frames_per_second": 25.0,
        "height": 240.0,
        "width": 320.0,
    }
    return ProbedVideos(
        ids=tuple(columns.pop("ids", [f"video {row}.mp4" for row in range(num_videos)])),
        status=np.array(columns.pop("status", [VideoStatus.OK] * num_videos), dtype=np.uint8),
        **{
            name: np.array(columns.get(name, [value] * num_videos), dtype=np.float64)
            for name, value in defaults.items()
        },
    )


def column(plan: ClipPlan, coordinate: Coordinate) -> np.ndarray:
    return plan.coordinates[:, :, coordinate].astype(np.float64)


def box_pixels(plan: ClipPlan, videos: ProbedVideos) -> tuple[np.ndarray, np.ndarray]:
    height = (column(plan, Coordinate.BOTTOM) - column(plan, Coordinate.TOP)) * videos.height[:, None]
    width = (column(plan, Coordinate.RIGHT) - column(plan, Coordinate.LEFT)) * videos.width[:, None]
    return height, width


def assert_inside_frame(plan: ClipPlan) -> None:
    for low, high in ((Coordinate.TOP, Coordinate.BOTTOM), (Coordinate.LEFT, Coordinate.RIGHT)):
        assert (column(plan, low) >= 0).all()
        assert (column(plan, high) <= 1).all()
        assert (column(plan, low) < column(plan, high)).all()


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Kolmogorov-Smirnov distance to U(low, high) below its 99.9 % quantile."""
    scaled = np.sort((values.ravel() - low) / (high - low))
    assert scaled[0] >= -1e-6
    assert scaled[-1] <= 1 + 1e-6
    distance = np.abs(scaled - (np.arange(scaled.size) + 0.5) / scaled.size).max()
    assert distance < 1.95 / np.sqrt(scaled.size)


def test_random_starts_are_uniform_over_the_slack_and_ends_include_the_last_sample():
    videos = probed(duration_seconds=[10.0] * 300)
    plan = draw_random(RandomView(), videos)
    start, end = column(plan, Coordinate.START), column(plan, Coordinate.END)
    assert_uniform(start, 0, 10 - SPAN)
    np.testing.assert_allclose(end - start, SPAN - 1 / 25, atol=2e-6)
    flips = column(plan, Coordinate.FLIP)
    assert set(np.unique(flips)) == {0.0, 1.0}
    assert 0.45 < flips.mean() < 0.55


@pytest.mark.parametrize(("height", "width"), [(240.0, 320.0), (1920.0, 1080.0), (64.0, 64.0)])
def test_short_side_crop_is_a_square_of_224_out_of_256_to_320(height, width):
    videos = probed(height=[height] * 300, width=[width] * 300)
    plan = draw_random(RandomView(), videos)
    assert_inside_frame(plan)
    box_height, box_width = box_pixels(plan, videos)
    np.testing.assert_allclose(box_height, box_width, rtol=1e-4)
    assert_uniform(224 / (box_height / min(height, width)), 256, 320)
    top, left = column(plan, Coordinate.TOP), column(plan, Coordinate.LEFT)
    assert_uniform(top / (1 - box_height / height), 0, 1)
    assert_uniform(left / (1 - box_width / width), 0, 1)


@pytest.mark.parametrize(("height", "width"), [(240.0, 320.0), (1920.0, 1080.0), (64.0, 64.0), (100.0, 1000.0)])
def test_area_crop_draws_areas_and_aspects_that_fit(height, width):
    crop = AreaCrop(min_area=0.05, max_area=1.0)
    videos = probed(height=[height] * 300, width=[width] * 300)
    plan = draw_random(RandomView(crop=crop), videos)
    assert_inside_frame(plan)
    box_height, box_width = box_pixels(plan, videos)
    aspect = box_width / box_height
    assert aspect.min() >= 3 / 4 - 1e-4
    assert aspect.max() <= 4 / 3 + 1e-4
    assert aspect.max() / aspect.min() > 1.3
    # The largest box of an allowed aspect that fits into the frame.
    largest = max(min(height, width / r) * min(width, height * r) for r in np.linspace(3 / 4, 4 / 3, 10001))
    assert_uniform(box_height * box_width, 0.05 * height * width, largest)


def test_area_crop_of_a_frame_too_long_for_any_such_area_is_the_largest_box():
    videos = probed(height=[100.0], width=[1000.0])
    height, width = box_pixels(draw_random(RandomView(crop=AreaCrop(min_area=0.35)), videos), videos)
    np.testing.assert_allclose(height, 100, rtol=1e-5)
    np.testing.assert_allclose(width, 400 / 3, rtol=1e-4)


def test_a_draw_depends_on_seed_and_id_alone():
    videos = probed(ids=["a.mp4", "b.mp4", "c.mp4"])
    plan = draw_random(RandomView(), videos)
    reordered = draw_random(RandomView(), probed(ids=["c.mp4", "x.mp4", "a.mp4"]))
    np.testing.assert_array_equal(plan.coordinates[[2, 0]], reordered.coordinates[[0, 2]])
    fewer_clips = draw_random(RandomView(num_clips=5), videos)
    np.testing.assert_array_equal(plan.coordinates[:, :5], fewer_clips.coordinates)
    other_seed = draw_random(RandomView(seed=1), videos)
    assert not np.isclose(plan.coordinates[..., Coordinate.START], other_seed.coordinates[..., Coordinate.START]).any()
    assert not np.isclose(plan.coordinates[0, :, Coordinate.START], plan.coordinates[1, :, Coordinate.START]).any()


def test_the_draw_of_a_video_is_pinned_across_releases_and_machines():
    plan = draw_random(RandomView(num_clips=2), probed(ids=["Kochen/Käse.mp4"]))
    np.testing.assert_array_equal(plan.coordinates[0], np.float32(PINNED))


@pytest.mark.parametrize("view", [RandomView(), GridView()])
def test_a_video_shorter_than_a_clip_starts_at_0_and_keeps_its_end(view):
    plan = draw_view(view, probed(duration_seconds=[0.5], frames_per_second=[10.0]))
    np.testing.assert_array_equal(column(plan, Coordinate.START), 0)
    np.testing.assert_array_equal(column(plan, Coordinate.END), np.float32(SPAN - 0.1))
    assert plan.valid.all()


@pytest.mark.parametrize("view", [RandomView(), GridView()])
def test_a_frame_longer_than_a_clip_gives_clips_of_one_time(view):
    plan = draw_view(view, probed(duration_seconds=[60.0], frames_per_second=[0.1]))
    np.testing.assert_array_equal(column(plan, Coordinate.END), column(plan, Coordinate.START))
    assert column(plan, Coordinate.START).max() > 0


@pytest.mark.parametrize("view", [RandomView(), GridView()])
def test_a_video_that_could_not_be_probed_is_planned_without_clips(view):
    broken = {"duration_seconds": 0.0, "frames_per_second": 0.0, "height": 0.0, "width": 0.0}
    videos = probed(status=[1, VideoStatus.CORRUPT, 1], **{k: [10.0, v, 10.0] for k, v in broken.items()})
    plan = draw_view(view, videos)
    assert plan.planned.all()
    assert plan.valid[[0, 2]].all()
    assert not plan.valid[1].any()
    assert np.isnan(plan.coordinates[1]).all()


@pytest.mark.parametrize("view", [RandomView(), GridView(), RandomView(crop=AreaCrop())])
def test_videos_are_drawn_some_at_a_time_as_if_all_were_drawn_together(view, monkeypatch):
    status = [VideoStatus.OK, VideoStatus.CORRUPT, VideoStatus.OK, VideoStatus.OK, VideoStatus.OK]
    videos = probed(duration_seconds=[9.0, np.nan, 5.0, 1.0, 7.0], status=status, width=[320.0, 0, 64, 640, 320])
    together = draw_view(view, videos)
    monkeypatch.setattr(draw_plan, "ROWS_AT_A_TIME", 2)
    apart = draw_view(view, videos)
    np.testing.assert_array_equal(apart.coordinates, together.coordinates)
    np.testing.assert_array_equal(apart.valid, together.valid)
    assert apart.parameters == together.parameters


def test_nothing_is_drawn_when_no_video_is_readable():
    plan = draw_random(RandomView(), probed(status=[VideoStatus.MISSING, VideoStatus.CORRUPT]))
    assert not plan.valid.any()
    assert plan.coordinates.shape == (2, 16, 7)


@pytest.mark.parametrize(("height", "width"), [(240.0, 320.0), (320.0, 240.0), (100.0, 100.0)])
def test_the_grid_equals_the_published_arithmetic_in_frames_and_pixels(height, width):
    """Recomputed clip by clip: starts i (n - F) / 5 in native frames; 256 crops out of a short side of 256."""
    num_frames, rate = 250, 25.0
    plan = draw_grid(GridView(), probed(height=[height], width=[width], frames_per_second=[rate]))
    assert plan.view == "grid"
    scale = 256 / min(height, width)
    scaled_height, scaled_width = height * scale, width * scale
    clip_frames = 64 / 30 * rate
    expected = []
    for i in range(5):
        first = i * (num_frames - clip_frames) / 5
        for j in range(3):
            top = (scaled_height - 256) / 2 if width >= height else j * (scaled_height - 256) / 2
            left = j * (scaled_width - 256) / 2 if width >= height else (scaled_width - 256) / 2
            box = [top / scaled_height, left / scaled_width, (top + 256) / scaled_height, (left + 256) / scaled_width]
            expected.append([0, *box, first / rate, (first + clip_frames - 1) / rate])
    np.testing.assert_allclose(plan.coordinates[0], expected, atol=1e-6)


def test_a_grid_of_224_out_of_256_is_centred_across():
    videos = probed(height=[256.0], width=[512.0])
    plan = draw_grid(GridView(nominal_size=224), videos)
    np.testing.assert_allclose(plan.coordinates[0, 0, 1:5], [16 / 256, 0, 240 / 256, 224 / 512])
    one_place = draw_grid(GridView(num_times=1, num_places=1), videos)
    np.testing.assert_allclose(one_place.coordinates[0, 0, 1:5], [0, 0.25, 1, 0.75])


def test_the_views_of_something_something():
    plan = draw_random(SSV2_RANDOM, probed(duration_seconds=[4.0] * 20, frames_per_second=[12.0] * 20))
    assert not column(plan, Coordinate.FLIP).any()
    span = column(plan, Coordinate.END) - column(plan, Coordinate.START)
    np.testing.assert_allclose(span, 32 / 30 - 1 / 12, atol=1e-6)
    assert draw_grid(SSV2_GRID, probed(duration_seconds=[4.0])).coordinates.shape == (1, 6, 7)


@pytest.mark.parametrize(
    "view",
    [RandomView(), RandomView(seed=7, crop=AreaCrop(min_area=0.2, max_area=0.766)), GridView(), SSV2_RANDOM, SSV2_GRID],
)
def test_parameters_survive_json_and_tell_views_apart(view):
    plan = draw_view(view, probed(duration_seconds=[4.0]))
    restored = view_from_parameters(json.loads(json.dumps(plan.parameters)))
    assert restored == view
    assert restored != RandomView(num_clips=3)


def test_probes_are_gathered():
    good = VideoProbe(VideoStatus.OK, duration_seconds=3.0, frames_per_second=30.0, height=90, width=160)
    bad = VideoProbe(VideoStatus.MISSING, error="no such file")
    videos = ProbedVideos.of(["a.mp4", "b.mp4"], [good, bad])
    assert videos.ids == ("a.mp4", "b.mp4")
    assert videos.width.tolist() == [160.0, 0.0]
    assert draw_random(RandomView(), videos).valid.any(axis=1).tolist() == [True, False]


def test_probes_must_be_as_many_as_ids():
    with pytest.raises(ValueError, match=r"status must be one value for each of 1 videos, got \(0,\)"):
        ProbedVideos.of(["a.mp4"], [])


def test_a_readable_video_needs_positive_values():
    with pytest.raises(ValueError, match=r"height of readable video 'video 1.mp4' must be above 0, got 0.0"):
        probed(height=[9.0, 0.0])
    with pytest.raises(ValueError, match=r"duration_seconds of readable video 'video 0.mp4' must be above 0, got nan"):
        probed(duration_seconds=[np.nan])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShortSideCrop(min=200), "needs 0 < size <= min <= max, got ShortSideCrop"),
        (lambda: AreaCrop(min_area=0.0), "needs 0 < min_area <= max_area <= 1 .* got AreaCrop"),
        (lambda: AreaCrop(min_aspect=2.0), "0 < min_aspect <= max_aspect, got AreaCrop"),
        (lambda: RandomView(num_clips=0), "num_clips must be at least 1, got 0"),
        (lambda: RandomView(nominal_size=0), "nominal_size must be at least 1, got 0"),
        (lambda: RandomView(span_seconds=0.0), "span_seconds must be above 0 and finite, got 0.0"),
        (lambda: GridView(span_seconds=float("inf")), "span_seconds must be above 0 and finite, got inf"),
        (lambda: RandomView(flip_probability=1.5), r"flip_probability must be in \[0, 1\], got 1.5"),
        (lambda: GridView(num_places=0), "num_places must be at least 1, got 0"),
        (lambda: GridView(nominal_size=300), r"nominal_size \(300\) does not fit into a short side of 256 pixels"),
        (
            lambda: view_from_parameters({"kind": "spiral"}),
            "unknown kind of view 'spiral'; .* knows: random, augmented, grid",
        ),
        (lambda: view_from_parameters({}), "unknown kind of view None"),
        (lambda: view_from_parameters({"kind": "grid", "num_times": 5}), "a 'grid' view must be .* differing: nominal"),
        (
            lambda: view_from_parameters(dict(draw_view(RandomView(), probed(ids=["a"])).parameters) | {"crop": {}}),
            "unknown kind of crop None; this release knows: short_side, area",
        ),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
