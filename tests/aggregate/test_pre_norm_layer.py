import pytest
import torch
from torch import nn

from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pre_norm_layer import PreNormLayer


@pytest.fixture(autouse=True)
def _forked():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def layer():
    return PreNormLayer(16, num_heads=2, hidden_dim=24, dropout=0.3)


@pytest.fixture
def tokens():
    return torch.randn(6, 5, 16, requires_grad=True)


def seeded(function):
    torch.manual_seed(3)
    return function()


@pytest.mark.parametrize("training", [True, False])
def test_it_is_pytorchs_layer_with_the_same_dropout(layer, tokens, training):
    peer = nn.TransformerEncoderLayer(16, 2, 24, 0.3, activation="gelu", batch_first=True, norm_first=True)
    peer.load_state_dict(layer.state_dict())
    outputs, expected = (seeded(lambda m=m: m.train(training)(tokens)) for m in (layer, peer))
    torch.testing.assert_close(outputs, expected)
    by_outputs = torch.randn(6, 5, 16)
    got = torch.autograd.grad(outputs, [tokens, *layer.parameters()], by_outputs)
    for ours, its in zip(got, torch.autograd.grad(expected, [tokens, *peer.parameters()], by_outputs), strict=True):
        torch.testing.assert_close(ours, its, rtol=1e-4, atol=1e-5)


def test_both_start_from_the_same_weights(layer):
    torch.manual_seed(0)
    peer = nn.TransformerEncoderLayer(16, 2, 24, 0.3, activation="gelu", batch_first=True, norm_first=True)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), peer.parameters(), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_reading_some_tokens_gives_theirs_with_the_same_dropout_and_gradient(layer, tokens, training):
    layer.train(training)
    rows = torch.tensor([0, 29, 7, 8, 15])
    expected = seeded(lambda: layer(tokens)).flatten(0, 1)[rows]
    outputs = seeded(lambda: layer.read(tokens, rows))
    torch.testing.assert_close(outputs, expected)
    by_outputs = torch.randn(5, 16)
    got = torch.autograd.grad(outputs, [tokens, *layer.parameters()], by_outputs)
    for ours, its in zip(got, torch.autograd.grad(expected, [tokens, *layer.parameters()], by_outputs), strict=True):
        torch.testing.assert_close(ours, its, rtol=1e-4, atol=1e-5)


def test_padding_is_not_attended_to_in_training_either(layer, tokens):
    padding = torch.zeros(6, 5, dtype=torch.bool)
    padding[:, 3:] = True
    changed = tokens.detach().clone()
    changed[:, 3:] = 7
    outputs = [seeded(lambda t=t: layer(t, src_key_padding_mask=padding))[:, :3] for t in (tokens, changed)]
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masked", [[1, 7, 8, 14], []])
def test_a_model_that_refines_masked_clips_only(tiny_config, training, masked):
    model = initial_aggregator(tiny_config, feature_dim=6, seed=0).train(training)
    features, coordinates, masked_clips = torch.randn(4, 4, 6), torch.rand(4, 4, 7), torch.tensor(masked).long()
    expected = seeded(lambda: model(features, coordinates, masked_clips=masked_clips))
    tokens = seeded(lambda: model(features, coordinates, masked_clips=masked_clips, only_masked=True))
    torch.testing.assert_close(tokens.cls, expected.cls)
    assert tokens.clips.shape == expected.clips.shape
    torch.testing.assert_close(tokens.clips.flatten(0, 1)[masked_clips], expected.clips.flatten(0, 1)[masked_clips])


def test_only_masked_needs_masked_clips(tiny_config):
    model = initial_aggregator(tiny_config, feature_dim=6, seed=0)
    with pytest.raises(ValueError, match="only_masked needs masked_clips, and sets without padding"):
        model(torch.randn(4, 4, 6), torch.rand(4, 4, 7), only_masked=True)
