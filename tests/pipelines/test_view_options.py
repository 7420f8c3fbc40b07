"""Views by options of the command, with the pixels of real files behind them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.aggregate.checkpoint import load_record
from scale_video.extract.augmentation import AugmentationRanges
from scale_video.extract.augmented_pixels import augment_clip
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import decode_clips
from scale_video.extract.sample_frames import sample_times
from scale_video.extract.views import AreaCrop, AugmentedView, GridView, RandomView, view_parameters
from scale_video.pipelines.cli import main
from scale_video.pipelines.clip_files import write_clip
from scale_video.pipelines.preset import load_preset
from scale_video.pipelines.view_options import ViewOptions
from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

Cli = Callable[..., Result]
FRAMES = {"talk/a.mp4": 30, "talk/b.mp4": 75, "walk/c.mp4": 125, "walk/d.mp4": 250}
"""1.2 to 10 seconds."""
EXTRACT = ("extract", "--dataset", "folder", "--backbone", "motion3d", "--block-size", "1", "--no-estimate")
VIEWS = ("--views", "random,augmented,grid", "--frames", "8", "--stride", "2", "--rate", "25", "--grid-size", "64",
         "--clips-per-minute", "60", "--max-clips", "7", "--set", "views.random.nominal_size=32")  # fmt: skip


@pytest.fixture(scope="module")
def videos(make_video: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("footage")
    for seed, (name, num_frames) in enumerate(FRAMES.items()):
        make_video(root / name, seed=seed, num_frames=num_frames)
    return root


def extract(videos: Path, store: Path, *options: str) -> None:
    result = CliRunner().invoke(main, [*EXTRACT, *VIEWS, "--data", str(videos), "--store", str(store), *options])
    assert result.exit_code == 0, result.output


def files_of(store: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    metadata = json.loads(files.pop("zarr.json"))  # somebody may commit while tests run
    metadata["attributes"].pop("git_revision")
    return {**files, "zarr.json": json.dumps(metadata).encode()}


@pytest.fixture(scope="module")
def extracted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("extracted") / "folder.zarr"
    extract(videos, store, "--workers", "1", "--threads")
    return store


def test_all_that_was_asked_for_is_in_the_views_attributes(extracted: Path) -> None:
    store = FeatureStore.open(extracted)
    span = 8 * 2 / 25
    wanted = [
        RandomView(num_clips=7, span_seconds=span, nominal_size=32, clips_per_minute=60.0),
        AugmentedView(
            num_clips=7,
            span_seconds=span,
            nominal_size=32,
            clips_per_minute=60.0,
            augmentation=AugmentationRanges(min_blur_sigma=0.1 * (32 / 224), max_blur_sigma=2 * (32 / 224)),
        ),
        GridView(num_times=2, span_seconds=span, short_side=64, nominal_size=64, clips_per_minute=60.0),
    ]
    assert {view.kind: view_parameters(view) for view in wanted} == {
        view: store.plan_parameters(view) for view in store.views()
    }


def test_clips_follow_the_duration_all_the_way_to_the_features(extracted: Path) -> None:
    """One a second, halves up, at most 7; the grid in threes, at most two."""
    store = FeatureStore.open(extracted)
    for view, counts in {"random": [1, 3, 5, 7], "augmented": [1, 3, 5, 7], "grid": [3, 3, 6, 6]}.items():
        assert store.read_features(view, "motion3d").valid.sum(axis=1).tolist() == counts
    assert verify_store(extracted).damaged == ()


def test_the_same_bytes_with_two_workers_of_a_job_that_was_interrupted(
    videos: Path, extracted: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(extracted, tmp_path / "folder.zarr")
    for view, blocks in {"random": (1,), "augmented": (0, 2, 3), "grid": ()}.items():
        for block in blocks:
            (store / view / f"motion3d/commit/c.{block}").unlink()
            (store / view / f"motion3d/features/c.{block}.0.0").write_bytes(b"")
    extract(videos, store, "--workers", "2", "--threads")
    assert files_of(store) == files_of(extracted)


def test_a_clip_is_shown_as_the_backbone_saw_it(run_cli: Cli, videos: Path, extracted: Path) -> None:
    """The picture of an augmented clip is that of its crop, changed afterwards by the row of the plan."""
    store = FeatureStore.open(extracted)
    plan, attributes = store.plan("augmented"), store.backbone_attributes("augmented", "motion3d")
    assert plan.augmentation is not None
    coordinates = plan.coordinates[3, 4:5]
    request = ClipRequest(coordinates, np.ones(1, np.bool_), attributes["num_frames"], attributes["frame_size"])
    (crop,) = decode_clips(videos / store.videos.paths[3], [request], duration_seconds=10).clips
    frames = crop.frames[0].copy()
    augment_clip(frames, plan.augmentation[3, 4])
    assert (frames != crop.frames[0]).any()
    seconds = sample_times(coordinates, num_frames=len(frames))[0].tolist()
    write_clip(Path("expected.png"), frames, seconds=seconds)
    with av.open("expected.png") as expected:
        wanted = next(expected.decode(video=0)).to_ndarray(format="rgb24")
    options = ("--data", videos, "--video", 3, "--clip", 4, "--view", "augmented", "--output", "clip.png")
    printed = " ".join(run_cli("show", extracted, *options).stdout.split())
    with av.open("clip.png") as picture:
        np.testing.assert_array_equal(next(picture.decode(video=0)).to_ndarray(format="rgb24"), wanted)
    drawn = dict(zip(AUGMENTATION_NAMES, plan.augmentation[3, 4].tolist(), strict=True))
    assert drawn["hue"] != 0
    assert all(f"{name} × {drawn[name]:.2f}" in printed for name in ("brightness", "contrast", "saturation"))
    assert f"hue {drawn['hue']:+.2f}" in printed


def test_features_are_recomputed_from_the_augmented_pixels(run_cli: Cli, videos: Path, extracted: Path) -> None:
    result = run_cli("verify", extracted, "--recompute", 6, "--data", videos, "--json")
    drifts = json.loads(result.stdout)["recomputed"]["targets"]
    assert [drift["features"] for drift in drifts] == ["augmented/motion3d", "grid/motion3d", "random/motion3d"]
    assert all(drift["num_clips"] == 6 and drift["largest"] < 1e-5 for drift in drifts)


def test_a_view_with_other_options_is_refused(run_cli: Cli, videos: Path, extracted: Path) -> None:
    given = [*EXTRACT, "--data", videos, "--store", extracted, "--views", "augmented", "--clips", 5]
    message = run_cli(*given, status=1).stderr
    assert "view 'augmented' of store" in message
    assert "clips_per_minute, nominal_size, num_clips, span_seconds" in message.replace("augmentation, ", "")


def test_augmented_follows_random_where_a_preset_does_not_say() -> None:
    preset = load_preset("honest", dataset="ssv2")
    view = preset.view("augmented")
    assert isinstance(view, AugmentedView)
    assert (view.span_seconds, view.flip_probability, view.num_clips) == (32 / 30, 0.0, 16)
    assert (view.crop, view.augmentation) == (AreaCrop(0.2, 0.766), AugmentationRanges())
    assert "augmented" not in preset.views
    said = load_preset("honest", dataset="ssv2", overrides=("views.augmented.augmentation.hue=0.1",))
    assert said.views["augmented"] == AugmentedView(
        span_seconds=32 / 30, flip_probability=0.0, augmentation=AugmentationRanges(hue=0.1)
    )
    with pytest.raises(ValueError, match="no view 'side' in preset 'honest'; it has: random, grid, augmented"):
        preset.view("side")


def test_options_change_what_a_view_has_of_them() -> None:
    span = ViewOptions(num_frames=32).span_seconds
    assert span == 32 * 4 / 30
    assert ViewOptions(rate=25.0).span_seconds == 64 / 25
    assert ViewOptions(num_clips=32, num_frames=32).apply(RandomView()) == RandomView(num_clips=32, span_seconds=span)
    assert ViewOptions(num_clips=32, num_frames=32).apply(GridView()) == GridView(span_seconds=span)
    assert ViewOptions(grid_size=224).apply(GridView()) == GridView(short_side=224, nominal_size=224)
    assert ViewOptions(grid_size=224).apply(RandomView()) == RandomView()
    assert ViewOptions().apply(AugmentedView()) == AugmentedView()


def test_options_that_do_not_go_together() -> None:
    for options in ({"clips_per_minute": 3.0}, {"max_clips": 3}):
        with pytest.raises(ValueError, match="--clips-per-minute and --max-clips go together"):
            ViewOptions(**options)
    with pytest.raises(ValueError, match="--clips asks for as many of every video"):
        ViewOptions(clips_per_minute=3.0, max_clips=3, num_clips=3)


def test_videos_with_fewer_clips_than_sets_need_are_left_out_and_counted(
    run_cli: Cli, videos: Path, extracted: Path, small_training: tuple[str, ...]
) -> None:
    """Of 1, 3, 5 and 7 clips: two sets of 3 are in one video alone; a set of 3 from each view is in three."""
    given = ("pretrain", "--dataset", "folder", "--store", extracted, *small_training, "--videos", "all")
    sets_of_3 = ("--set", "pretrain.clips_per_set=3")
    refused = run_cli(*given, *sets_of_3, status=1).stderr
    assert "needs at least 2 with 6 valid clips each, got 1 of 4" in refused
    assert "or extract more clips of each" in refused
    both = run_cli(*given, *sets_of_3, "--views", "random,augmented")
    assert "1 of 4 videos left out: fewer than 3 clips in each view" in both.stderr
    record = load_record(Path(both.stdout.strip()))
    assert set(record.training_video_ids) == set(FRAMES) - {"talk/a.mp4"}
    assert record.provenance["second_view"] == "augmented"
