"""More than two sets of a video, a temperature of their own, and absolute positions: from batches to vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_video.aggregate.checkpoint import TrainingRecord, load_aggregator
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.aggregate.pretrain import pretrain


@pytest.fixture
def three_sets(tiny_config):
    return replace(tiny_config, sets_per_video=3, clips_per_set=3, set_temperature=0.5)


@pytest.fixture
def absolute(tiny_config):
    return replace(tiny_config, model=replace(tiny_config.model, positions="absolute"))


def test_three_sets_are_disjoint_and_each_has_its_masks(make_features, three_sets):
    data = make_features(num_videos=9, num_clips=11, fewer=(9, 10, 8))
    module = ClipSetDataModule(data, three_sets)
    assert module.training_video_ids == tuple(f"video{row}" for row in range(8))  # 8 clips are too few for three sets
    flat = torch.from_numpy(data.features).flatten(0, 1)
    for batch in module.batches(0):
        assert batch.features.shape == (4, 3, 3, 6)
        index = [(flat == clip).all(dim=1).nonzero().item() for clip in batch.features.flatten(0, 2)]
        rows, clips = (part.reshape(4, 9) for part in np.divmod(index, 11))
        assert (rows == rows[:, :1]).all()
        assert all(len(set(of_video)) == 9 for of_video in clips.tolist())
        assert data.valid[rows, clips].all()
        assert sorted((batch.masked_clips // 3).tolist()) == list(range(12))  # one of each set


def test_the_set_loss_of_a_step_is_the_mean_over_pairs(make_features, three_sets):
    module = SetPretraining(TrainingRecord(config=three_sets, feature_dim=6, training_video_ids=())).eval()
    batch = next(ClipSetDataModule(make_features(num_clips=9), three_sets).batches(0))
    with torch.no_grad():
        contrast = module.contrasts(batch)["set"]
        cls, _ = module.aggregator(
            batch.features.flatten(0, 1).float(), batch.coordinates.flatten(0, 1), masked_clips=batch.masked_clips
        )
        z = module.set_head(cls).view(4, 3, -1)
        losses = [
            -(z[:, other] @ z[video, one] / 0.5).log_softmax(0)[video]  # the temperature of this loss, not of the other
            for video in range(4)
            for one in range(3)
            for other in range(3)
            if one != other
        ]
    torch.testing.assert_close(contrast.loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


def test_two_views_give_one_set_each(make_features, three_sets):
    message = "2 views give one set each, but sets_per_video is 3; set it to 2, or name one view"
    with pytest.raises(ValueError, match=message):
        ClipSetDataModule(make_features(), three_sets, second_view=make_features(seed=1))
    with pytest.raises(ValueError, match=r"clips_per_set \(3\) x 3 sets needs 9 clips, but the view holds 8 per video"):
        ClipSetDataModule(make_features(num_clips=8), three_sets)


def test_absolute_positions_in_batches(make_features, absolute):
    data = make_features(num_videos=4)
    expected = normalise_coordinates(data.coordinates, data.valid, flips=True, positions="absolute")
    batch = next(ClipSetDataModule(data, absolute).batches(0))
    given = {tuple(row) for row in batch.coordinates.flatten(0, 2).tolist()}
    assert given == {tuple(row) for row in expected.reshape(-1, expected.shape[-1]).tolist()}  # all clips are drawn


def test_a_checkpoint_remembers_its_positions_and_embedding_heeds_them(make_features, absolute, tmp_path):
    data = make_features(fewer=(5,))
    path = pretrain(data, absolute, run_dir=tmp_path, provenance={}, progress=False, accelerator="cpu")
    model = load_aggregator(path).model
    assert model.positions == initial_aggregator(absolute, feature_dim=6, seed=0).positions == "absolute"
    coordinates = normalise_coordinates(data.coordinates, data.valid, flips=True, positions="absolute")
    with torch.no_grad():
        tokens = model(
            torch.from_numpy(data.features).float(), torch.from_numpy(coordinates), valid=torch.from_numpy(data.valid)
        )
    np.testing.assert_allclose(embed_videos(model, data, flips=True).cls, tokens.cls, atol=1e-5)
    there = data.valid
    np.testing.assert_allclose(embed_clips(model, data, flips=True)[there], tokens.clips.numpy()[there], atol=1e-5)
    later = replace(data, coordinates=data.coordinates + np.float32([0, 0, 0, 0, 0, 30, 30]))
    assert np.abs(embed_videos(model, later, flips=True).cls - tokens.cls.numpy()).max() > 1e-3
