from dataclasses import replace

import pytest
import torch

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.feature_augmentation import augment_features
from scale_video.aggregate.lightning_module import SetPretraining


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_noise_has_the_stated_spread():
    scales = torch.tensor([0.1, 1.0, 5.0, 0.0])
    features = torch.randn(200, 100, 4) * scales + 3
    noise = augment_features(features, noise=0.5, dropout=0) - features
    spread = features.flatten(0, 1).std(dim=0)
    torch.testing.assert_close(noise.flatten(0, 1).std(dim=0), 0.5 * spread, rtol=0.03, atol=1e-6)
    assert (noise.flatten(0, 1).mean(dim=0).abs() <= 0.03 * spread).all()
    assert torch.corrcoef(noise[..., :3].flatten(0, 1).T).fill_diagonal_(0).abs().max() < 0.03


def test_dropout_zeroes_the_stated_share_and_rescales_the_rest():
    features = torch.rand(50, 20, 30) + 1
    disturbed = augment_features(features, noise=0, dropout=0.2)
    zero = disturbed == 0
    assert zero.float().mean().item() == pytest.approx(0.2, abs=0.01)
    torch.testing.assert_close(disturbed[~zero], features[~zero] / 0.8)


def test_nothing_is_drawn_when_both_are_off():
    features, state = torch.rand(3, 4), torch.get_rng_state()
    assert augment_features(features, noise=0, dropout=0) is features
    assert torch.equal(torch.get_rng_state(), state)


def test_one_clip_has_no_spread_and_stays():
    features = torch.rand(1, 4)
    assert torch.equal(augment_features(features, noise=1.0, dropout=0), features)


@pytest.mark.parametrize("option", [{"feature_noise": 0.5}, {"feature_dropout": 0.5}])
def test_only_what_the_transformer_reads_is_disturbed_and_only_in_training(make_features, tiny_config, option):
    config = replace(tiny_config, **option, model=replace(tiny_config.model, dropout=0))
    module = SetPretraining(TrainingRecord(config=config, feature_dim=6, training_video_ids=()))
    batch = next(ClipSetDataModule(make_features(), config).batches(0))
    features = batch.features.float()
    read, targets = [], []
    module.aggregator.project.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    module.masked_clip_task.target.register_forward_pre_hook(lambda _, inputs: targets.append(inputs[0]))
    torch.manual_seed(5)
    module.contrasts(batch)
    torch.manual_seed(5)
    noise, dropout = option.get("feature_noise", 0), option.get("feature_dropout", 0)
    assert torch.equal(read[0], augment_features(features.flatten(0, 1), noise=noise, dropout=dropout))
    assert not torch.equal(read[0], features.flatten(0, 1))
    module.eval().contrasts(batch)
    assert torch.equal(read[1], features.flatten(0, 1))
    assert all(torch.equal(seen, features.flatten(0, 2)) for seen in targets)
