"""Windows against a place-by-place recomputation, and probes on them against scikit-learn's probabilities."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.knn import knn_scores
from scale_video.evaluate.options import ProbeOptions
from scale_video.evaluate.probe import evaluate_representation
from scale_video.evaluate.windows import Windows, cut_windows
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate

SECONDS = 60.0


def long_videos(num_videos: int = 6, num_clips: int = 40) -> ClipFeatures:
    """Videos of half a minute to three, whose clips' features say which clip they are; not in the order of time."""
    rng = np.random.default_rng(0)
    duration = np.linspace(30, 180, num_videos)
    start = rng.uniform(0, 1, (num_videos, num_clips)) * (duration[:, None] - 2.2)
    coordinates = np.zeros((num_videos, num_clips, 7), dtype=np.float32)
    coordinates[:, :, Coordinate.START], coordinates[:, :, Coordinate.END] = start, start + 64 / 30
    valid = rng.random((num_videos, num_clips)) < 0.7
    valid[:, :2] = True
    names = np.arange(num_videos * num_clips, dtype=np.float16).reshape(num_videos, num_clips, 1)
    return ClipFeatures(
        video_ids=tuple(f"v{row}" for row in range(num_videos)),
        features=np.where(valid[:, :, None], names, 0).astype(np.float16),
        coordinates=np.where(valid[:, :, None], coordinates, 0).astype(np.float32),
        valid=valid,
    )


def seen_at_each_place(features: ClipFeatures, video: int, *, stride: float) -> list[frozenset[int]]:
    """The clips that each place of the window sees, by walking from place to place."""
    there = np.flatnonzero(features.valid[video])
    start = {clip: float(features.coordinates[video, clip, Coordinate.START]) for clip in there}
    end = {clip: float(features.coordinates[video, clip, Coordinate.END]) for clip in there}
    first, last = min(start.values()), max(end.values())
    if last - first <= SECONDS:
        return [frozenset(features.features[video, there, 0].astype(int).tolist())]
    places, place = [], first
    while place < last - SECONDS:
        places.append(place)
        place = first + len(places) * stride
    return [
        seen
        for place in (*places, last - SECONDS)
        if (
            seen := frozenset(
                int(features.features[video, clip, 0])
                for clip in there
                if place <= (start[clip] + end[clip]) / 2 < place + SECONDS
            )
        )
    ]


@pytest.mark.parametrize("stride", [1.0, 60.0])
def test_each_place_of_the_window_is_counted(stride: float) -> None:
    features = long_videos()
    cut, windows = cut_windows(features, seconds=SECONDS, stride_seconds=stride)
    assert cut.num_videos == len(windows.video) == len(windows.places)
    for video in range(features.num_videos):
        expected = seen_at_each_place(features, video, stride=stride)
        rows = np.flatnonzero(windows.video == video)
        found = [frozenset(cut.features[row, cut.valid[row], 0].astype(int).tolist()) for row in rows]
        assert sum(windows.places[rows]) == len(expected)
        assert len(set(found)) == len(found)
        for seen, places in zip(found, windows.places[rows], strict=True):
            assert expected.count(seen) == places
        assert frozenset.union(*found) == set(features.features[video, features.valid[video], 0].astype(int).tolist())
        assert {cut.video_ids[row] for row in rows} == {f"v{video}"}
    assert (np.diff(cut.coordinates[:, :, Coordinate.START], axis=1)[cut.valid[:, 1:]] >= 0).all()
    assert not cut.features[~cut.valid].any()
    assert not cut.coordinates[~cut.valid].any()


def test_a_short_video_is_one_window() -> None:
    cut, windows = cut_windows(long_videos(), seconds=1000, stride_seconds=1)
    np.testing.assert_array_equal(windows.video, np.arange(6))
    np.testing.assert_array_equal(windows.places, 1)
    np.testing.assert_array_equal(cut.valid.sum(axis=1), long_videos().valid.sum(axis=1))


def test_a_clip_of_one_frame_at_the_end_is_seen() -> None:
    coordinates = np.zeros((1, 3, 7), np.float32)
    coordinates[0, :, [Coordinate.START, Coordinate.END]] = 0, 50, 100
    there = ClipFeatures(
        video_ids=("v",),
        features=np.arange(3, dtype=np.float16).reshape(1, 3, 1),
        coordinates=coordinates,
        valid=np.ones((1, 3), np.bool_),
    )
    cut, windows = cut_windows(there, seconds=SECONDS, stride_seconds=1)
    assert [cut.features[row, cut.valid[row], 0].tolist() for row in range(cut.num_videos)] == [[0, 1], [1], [1, 2]]
    assert windows.places.tolist() == [1, 39, 1]


def test_a_mean_counts_places() -> None:
    windows = Windows(np.array([0, 0, 1]), np.array([3, 1, 7]))
    np.testing.assert_allclose(windows.mean(np.array([[4.0], [0.0], [5.0]])), [[3.0], [5.0]])


def test_the_windows_of_some_videos() -> None:
    rows, videos = Windows(np.array([0, 0, 1, 2, 2]), np.ones(5, dtype=np.int64)).of(np.array([2, 0]))
    assert rows.tolist() == [3, 4, 0, 1]
    assert videos.tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize(("seconds", "stride"), [(0, 1), (60, 0), (60, 61)])
def test_windows_have_a_length_and_leave_no_gaps(seconds: float, stride: float) -> None:
    with pytest.raises(ValueError, match="a window needs a positive length, and a positive stride not above it"):
        cut_windows(long_videos(), seconds=seconds, stride_seconds=stride)


def windowed(num_videos: int, *, seed: int, num_classes: int = 3) -> tuple[np.ndarray, Windows, np.ndarray]:
    """Vectors of windows that tell a little of their video's class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_videos) % num_classes)
    video = np.repeat(np.arange(num_videos), rng.integers(1, 5, num_videos))
    vectors = rng.normal(size=(len(video), 8)) + 0.8 * np.eye(8)[labels[video]]
    return vectors.astype(np.float32), Windows(video, rng.integers(1, 9, len(video))), labels


def mean_by_place(values: np.ndarray, windows: Windows, num_videos: int) -> np.ndarray:
    """The mean over all places, each written out."""
    return np.stack(
        [
            np.mean([row for row, of, n in zip(values, windows.video, windows.places, strict=True) if of == video
                     for _ in range(n)], axis=0)
            for video in range(num_videos)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_probabilities_are_averaged_over_windows(protocol: str, num_classes: int) -> None:
    train, of_train, labels = windowed(8, seed=0, num_classes=num_classes)  # so few that nothing is held out
    test, of_test, test_labels = windowed(30, seed=1, num_classes=num_classes)
    outcome = evaluate_representation(
        train, labels, np.arange(8), test, test_labels, np.arange(30),
        protocol=protocol, num_classes=num_classes, seed=0, windows=(of_train, of_test),
    )  # fmt: skip
    of_windows = labels[of_train.video]
    if protocol == "knn":
        probabilities = knn_scores(train, of_windows, test, num_classes=num_classes)
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, of_windows)
        probabilities = model.predict_proba(test)
    averaged = mean_by_place(probabilities, of_test, 30)
    np.testing.assert_array_equal(outcome.predictions, averaged.argmax(axis=1))
    assert outcome.estimates["top1"].value == pytest.approx((averaged.argmax(axis=1) == test_labels).mean())
    assert (outcome.num_train, outcome.num_test) == (8, 30)
    assert f"mean over windows: {len(train)} of training videos, {len(test)} of test videos" in outcome.note
    whole = probabilities[np.flatnonzero(np.diff(of_test.video, prepend=-1))].argmax(axis=1)
    assert (outcome.predictions != whole).any()  # the first window alone would say something else


@pytest.mark.parametrize("kind", ["number", "classes"])
@pytest.mark.parametrize("protocol", ["knn", "linear", "nonlinear"])
def test_other_targets_are_averaged_over_windows(protocol: str, kind: str) -> None:
    train, of_train, labels = windowed(40, seed=0)
    test, of_test, test_labels = windowed(20, seed=1)
    targets, test_targets = (
        (side.astype(np.float64) if kind == "number" else np.eye(3, dtype=np.int64)[side])
        for side in (labels, test_labels)
    )
    common = {"protocol": protocol, "num_classes": 3, "seed": 0, "kind": kind}
    outcome = evaluate_representation(
        train, targets, np.arange(40), test, test_targets, np.arange(20), windows=(of_train, of_test), **common
    )
    each = evaluate_representation(
        train, targets[of_train.video], of_train.video, test, test_targets[of_test.video], of_test.video, **common
    )
    values = each.predictions.astype(np.float64).reshape(len(test), -1)
    if kind == "classes" and protocol != "knn":
        values = 1 / (1 + np.exp(-values))
    averaged = mean_by_place(values, of_test, 20).reshape(outcome.predictions.shape)
    np.testing.assert_allclose(outcome.predictions, averaged, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("protocol", ["retrieval", "linear-per-clip", "fine-tuning"])
def test_other_protocols_look_at_whole_videos(protocol: str) -> None:
    train, of_train, labels = windowed(9, seed=0)
    with pytest.raises(ValueError, match="looks at whole videos, got windows"):
        evaluate_representation(
            train, labels, np.arange(9), train, labels, np.arange(9),
            protocol=protocol, num_classes=3, seed=0, windows=(of_train, of_train),
        )  # fmt: skip


def test_a_share_of_the_labels_is_one_of_videos() -> None:
    train, of_train, labels = windowed(60, seed=0)
    outcome = evaluate_representation(
        train, labels, np.arange(60), train, labels, np.arange(60),
        protocol="knn", num_classes=3, seed=0, windows=(of_train, of_train), options=ProbeOptions(train_share=0.1),
    )  # fmt: skip
    assert outcome.num_train == 6
