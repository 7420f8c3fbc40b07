import numpy as np
import pytest
import torch

from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.normalise_coordinates import normalise_coordinates


@pytest.fixture
def model(tiny_config):
    return initial_aggregator(tiny_config, feature_dim=6, seed=0)


@pytest.mark.parametrize("flips", [True, False])
def test_equals_one_video_at_a_time_without_padding(model, make_features, flips):
    data = make_features(num_videos=5, fewer=(3, 1))
    result = embed_videos(model, data, flips=flips)
    coordinates = normalise_coordinates(data.coordinates, data.valid, flips=flips)
    model.eval()
    for n in range(5):
        valid = data.valid[n]
        features = data.features[n][valid].astype(np.float32)
        with torch.no_grad():
            tokens = model(torch.tensor(features)[None], torch.tensor(coordinates[n][valid])[None])
        np.testing.assert_allclose(result.x[n], features.astype(np.float64).mean(0), atol=1e-6)
        np.testing.assert_allclose(result.h[n], tokens.clips[0].mean(0), atol=1e-5)
        np.testing.assert_allclose(result.cls[n], tokens.cls[0], atol=1e-5)
    assert result.video_ids == data.video_ids
    assert {result.x.dtype, result.h.dtype, result.cls.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("seed", [None, 3])
def test_the_size_of_batches_does_not_matter(model, make_features, seed):
    data = make_features(num_videos=9, fewer=(2, 5))
    whole, parts = (
        embed_videos(model, data, flips=True, batch_videos=size, shuffle_positions_seed=seed) for size in (9, 2)
    )
    for name in ("x", "h", "cls"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-5)


def test_dropout_is_off_and_the_model_is_left_as_it_was(model, make_features):
    data = make_features()
    model.train()
    first, again = (embed_videos(model, data, flips=True) for _ in range(2))
    np.testing.assert_array_equal(first.cls, again.cls)
    assert model.training


def test_shuffled_positions_are_a_permutation_within_each_video(model, make_features):
    """A model that sees positions only, and adds them up, cannot tell them from the true ones; the real one can."""
    data = make_features(num_videos=6, fewer=(5, 3))
    plain, shuffled, again, other = (
        embed_videos(model, data, flips=True, shuffle_positions_seed=seed) for seed in (None, 1, 1, 2)
    )
    np.testing.assert_array_equal(shuffled.cls, again.cls)
    np.testing.assert_array_equal(shuffled.x, plain.x)
    assert (np.abs(shuffled.cls - plain.cls).max(axis=1) > 1e-4).all()
    assert not np.allclose(shuffled.cls, other.cls)
    with torch.no_grad():
        model.project.weight.zero_()
    plain, shuffled = (embed_videos(model, data, flips=True, shuffle_positions_seed=seed) for seed in (None, 1))
    np.testing.assert_allclose(shuffled.cls, plain.cls, atol=1e-5)
    np.testing.assert_allclose(shuffled.h, plain.h, atol=1e-5)


def test_another_dimension(model, make_features):
    with pytest.raises(ValueError, match="the model reads features of dimension 6, but these have 9; use a checkpoint"):
        embed_videos(model, make_features(dim=9), flips=True)


def test_a_video_without_clips(model, make_features):
    with pytest.raises(ValueError, match="2 videos have no valid clip, the first is 'video3'; leave them out"):
        embed_videos(model, make_features(num_videos=5, fewer=(0, 0)), flips=True)


@pytest.mark.parametrize("seed", [None, 3])
def test_refined_clips_are_those_whose_mean_is_h(model, make_features, seed):
    data = make_features(num_videos=9, fewer=(2, 5))
    clips = embed_clips(model, data, flips=True, batch_videos=4, shuffle_positions_seed=seed)
    videos = embed_videos(model, data, flips=True, shuffle_positions_seed=seed)
    assert clips.shape == (*data.valid.shape, videos.h.shape[1])
    means = [of_video[valid].mean(axis=0) for of_video, valid in zip(clips, data.valid, strict=True)]
    np.testing.assert_allclose(means, videos.h, atol=1e-5)
    assert not torch.is_inference_mode_enabled()
