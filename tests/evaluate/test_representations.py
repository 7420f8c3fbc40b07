import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from scale_video.evaluate import representations
from scale_video.evaluate.representations import (
    RAW_REPRESENTATIONS,
    REPRESENTATIONS,
    VARIANCE_FLOOR,
    Whitening,
    concatenate,
    time_bins,
)
from scale_video.store.clip_features import ClipFeatures, VideoRepresentations
from scale_video.store.clip_plan import Coordinate


def make_clips(seed: int, *, num_videos: int = 5, num_clips: int = 6, dim: int = 3) -> ClipFeatures:
    """Videos of 1 to ``num_clips`` valid clips at random places, in random order."""
    rng = np.random.default_rng(seed)
    valid = np.arange(num_clips) < rng.integers(1, num_clips + 1, size=num_videos)[:, None]
    coordinates = np.zeros((num_videos, num_clips, len(Coordinate)), dtype=np.float32)
    coordinates[:, :, Coordinate.START] = rng.uniform(3, 20, size=valid.shape)
    coordinates[:, :, Coordinate.END] = coordinates[:, :, Coordinate.START] + rng.uniform(0.5, 3, size=valid.shape)
    features = rng.normal(size=(num_videos, num_clips, dim)).astype(np.float16)
    coordinates[~valid] = 0
    features[~valid] = 0
    return ClipFeatures(tuple(f"v{i}" for i in range(num_videos)), features, coordinates, valid)


def slow_time_bins(clips: ClipFeatures, num_bins: int) -> np.ndarray:
    rows = []
    for video in range(clips.num_videos):
        spans = [
            (float(c[Coordinate.START]), float(c[Coordinate.END]), f.astype(np.float64))
            for c, f, v in zip(clips.coordinates[video], clips.features[video], clips.valid[video], strict=True)
            if v
        ]
        first, last = min(s[0] for s in spans), max(s[1] for s in spans)
        mean = sum(f for _, _, f in spans) / len(spans)
        for number in range(num_bins):
            inside = []
            for start, end, feature in spans:
                share = ((start + end) / 2 - first) / (last - first) if last > first else 0.0
                if min(int(share * num_bins), num_bins - 1) == number:
                    inside.append(feature)
            rows.append(sum(inside) / len(inside) if inside else mean)
    return np.array(rows).reshape(clips.num_videos, -1)


def test_raw_representations_are_a_part_of_all() -> None:
    assert set(RAW_REPRESENTATIONS) < set(REPRESENTATIONS)


class TestConcatenate:
    parts = VideoRepresentations(
        ("a", "b"),
        x=np.array([[1, 2], [3, 4]], dtype=np.float32),
        h=np.array([[5], [6]], dtype=np.float32),
        cls=np.array([[7], [8]], dtype=np.float32),
    )

    def test_parts_stand_unscaled_in_the_order_of_the_name(self) -> None:
        np.testing.assert_array_equal(concatenate(self.parts, "x+h+cls"), [[1, 2, 5, 7], [3, 4, 6, 8]])
        np.testing.assert_array_equal(concatenate(self.parts, "cls"), [[7], [8]])
        assert concatenate(self.parts, "x+cls").dtype == np.float32

    def test_unknown_part(self) -> None:
        with pytest.raises(ValueError, match=r"representation 'x\+y' has the part 'y'; only x, h and cls"):
            concatenate(self.parts, "x+y")


class TestTimeBins:
    @settings(max_examples=50)
    @given(seed=st.integers(0, 10_000), num_bins=st.integers(1, 5))
    def test_equals_a_loop(self, seed: int, num_bins: int) -> None:
        clips = make_clips(seed)
        np.testing.assert_allclose(time_bins(clips, num_bins), slow_time_bins(clips, num_bins), atol=1e-5)

    def test_equals_itself_in_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clips = make_clips(0)
        whole = time_bins(clips, 2)
        monkeypatch.setattr(representations, "_BINNING_CHUNK_VALUES", 2 * 6 * 3)  # two videos at a time
        np.testing.assert_array_equal(time_bins(clips, 2), whole)

    def test_a_worked_example(self) -> None:
        # Clips [10, 12], [12, 14], [18, 20] on the axis 10 … 20: middles at .1, .3 and .9.
        coordinates = np.zeros((1, 4, len(Coordinate)), dtype=np.float32)
        coordinates[0, :, Coordinate.START] = [10, 12, 18, 0]
        coordinates[0, :, Coordinate.END] = [12, 14, 20, 0]
        valid = np.array([[True, True, True, False]])
        features = np.array([[[1], [3], [8], [0]]], dtype=np.float16)
        clips = ClipFeatures(("v",), features, coordinates, valid)
        np.testing.assert_array_equal(time_bins(clips, 1), [[4]])
        np.testing.assert_array_equal(time_bins(clips, 2), [[2, 8]])
        np.testing.assert_array_equal(time_bins(clips, 4), [[1, 3, 4, 8]])  # the third bin is empty: the video's mean

    def test_a_single_instant_fills_every_bin(self) -> None:
        clips = ClipFeatures(
            ("v",), np.array([[[5]]], dtype=np.float16), np.zeros((1, 1, 7), dtype=np.float32), np.array([[True]])
        )
        np.testing.assert_array_equal(time_bins(clips, 4), [[5, 5, 5, 5]])

    def test_order_of_clips_does_not_matter(self) -> None:
        clips = make_clips(1)
        backwards = ClipFeatures(
            clips.video_ids, clips.features[:, ::-1], clips.coordinates[:, ::-1], clips.valid[:, ::-1]
        )
        np.testing.assert_allclose(time_bins(backwards, 4), time_bins(clips, 4), atol=1e-6)

    def test_video_without_clips(self) -> None:
        clips = make_clips(2)
        clips.valid[3] = False
        with pytest.raises(ValueError, match="1 of 5 videos have no valid clip, the first is 'v3'"):
            time_bins(clips, 2)

    def test_no_bins(self) -> None:
        with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
            time_bins(make_clips(3), 0)


class TestWhitening:
    @pytest.mark.parametrize(("num_videos", "dim"), [(60, 5), (12, 30)])
    def test_equals_scikit_learns_up_to_signs(self, num_videos: int, dim: int) -> None:
        rng = np.random.default_rng(0)
        train = (rng.normal(size=(num_videos, dim)) @ rng.normal(size=(dim, dim)) + 3).astype(np.float32)
        test = rng.normal(size=(7, dim)).astype(np.float32)
        ours = Whitening.fit(train).apply(test)
        theirs = PCA(whiten=True, svd_solver="full").fit(train.astype(np.float64)).transform(test)
        rank = min(num_videos - 1, dim)
        assert ours.shape == (7, rank)
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs[:, :rank]), rtol=1e-4, atol=1e-5)

    def test_training_videos_become_uncorrelated_with_variance_one(self) -> None:
        rng = np.random.default_rng(1)
        train = (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
        whitened = Whitening.fit(train).apply(train)
        np.testing.assert_allclose(np.cov(whitened.T), np.eye(6), atol=1e-3)
        np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-5)

    def test_components_below_the_floor_are_dropped(self) -> None:
        rng = np.random.default_rng(2)
        deviations = np.sqrt([1, 100 * VARIANCE_FLOOR, VARIANCE_FLOOR / 100])
        train = (rng.normal(size=(500, 3)) * deviations).astype(np.float32)
        assert Whitening.fit(train).apply(train).shape == (500, 2)

    def test_fewer_training_videos_than_dimensions(self) -> None:
        train = np.random.default_rng(3).normal(size=(4, 50)).astype(np.float32)
        whitened = Whitening.fit(train).apply(train)
        assert whitened.shape == (4, 3)
        np.testing.assert_allclose((whitened**2).sum(axis=1), 9 / 4, rtol=1e-4)  # all equally far out, as documented

    def test_equal_training_videos(self) -> None:
        with pytest.raises(ValueError, match="whitening needs training videos that differ; all 4 have the same"):
            Whitening.fit(np.ones((4, 2), dtype=np.float32))

    def test_other_dimension(self) -> None:
        whitening = Whitening.fit(np.eye(3, dtype=np.float32))
        with pytest.raises(ValueError, match="vectors have 4 dimensions, the whitening was fitted on 3"):
            whitening.apply(np.eye(4, dtype=np.float32))
