import pytest
import torch

from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer, SetTransformerConfig


@pytest.fixture
def model(tiny_config):
    return initial_aggregator(tiny_config, feature_dim=6, seed=0).eval()


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 6, generator=generator), torch.rand(3, 5, 7, generator=generator)


def by_formula(model, features, coordinates):
    """The model of the paper, one set at a time, from its weights."""

    def linear(layer, x):
        return x @ layer.weight.T + layer.bias

    def norm(layer, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    def gelu(x):
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    first, _, second = model.embed_position
    outputs = []
    for set_features, set_coordinates in zip(features, coordinates, strict=True):
        positions = linear(second, linear(first, set_coordinates).clamp(min=0))
        x = torch.cat([model.cls_token[None], linear(model.project, set_features) + positions])
        for layer in model.layers:
            y = norm(layer.norm1, x)
            q, k, v = (y @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, dim=-1)
            width = x.shape[1] // layer.self_attn.num_heads
            heads = []
            for start in range(0, x.shape[1], width):
                channels = slice(start, start + width)
                attention = (q[:, channels] @ k[:, channels].T / width**0.5).softmax(-1)
                heads.append(attention @ v[:, channels])
            x = x + linear(layer.self_attn.out_proj, torch.cat(heads, dim=-1))
            x = x + linear(layer.linear2, gelu(linear(layer.linear1, norm(layer.norm2, x))))
        outputs.append(norm(model.norm, x))
    return torch.stack(outputs)


def test_equals_the_formulas(model, clips):
    torch.nn.init.normal_(model.cls_token)
    with torch.no_grad():
        tokens = model(*clips)
        expected = by_formula(model, *clips)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.clips, expected[:, 1:], atol=1e-5, rtol=1e-5)


def test_sizes_are_the_papers():
    model = SetTransformer(SetTransformerConfig(), feature_dim=768)
    assert model.project.weight.shape == (256, 768)
    assert [tuple(model.embed_position[i].weight.shape) for i in (0, 2)] == [(512, 7), (256, 512)]
    assert len(model.layers) == 2
    for layer in model.layers:
        assert layer.self_attn.num_heads == 8
        assert layer.linear1.weight.shape == (512, 256)
        assert [module.p for module in layer.modules() if isinstance(module, torch.nn.Dropout)] == [0.1] * 3
        assert layer.self_attn.dropout == 0.1
    assert not torch.equal(model.layers[0].linear1.weight, model.layers[1].linear1.weight)
    assert not model.cls_token.any()
    assert not model.mask_token.any()


def test_a_masked_clip_shows_its_position_but_not_its_features(model, clips):
    features, coordinates = clips
    masked = torch.tensor([1, 7])  # clip 1 of set 0, clip 2 of set 1
    other = features.clone()
    other[0, 1] += 5
    other[1, 2] -= 5
    moved = coordinates.clone()
    moved[0, 1] += 1
    with torch.no_grad():
        before = model(features, coordinates, masked_clips=masked)
        torch.testing.assert_close(model(other, coordinates, masked_clips=masked), before)
        assert not torch.allclose(model(features, moved, masked_clips=masked).clips[0], before.clips[0])
        assert not torch.allclose(model(features, coordinates).clips[0], before.clips[0])


def test_the_global_token_has_no_position(model, clips):
    with torch.no_grad():
        for layer in model.layers:  # cut attention: what is left at the global token is the token itself
            layer.self_attn.out_proj.weight.zero_()
            layer.self_attn.out_proj.bias.zero_()
        cls = model(*clips).cls
    torch.testing.assert_close(cls, cls[:1].expand(3, -1))


def test_order_of_clips_does_not_matter(model, clips):
    features, coordinates = clips
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        tokens = model(features, coordinates)
        permuted = model(features[:, order], coordinates[:, order])
    torch.testing.assert_close(permuted.cls, tokens.cls, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(permuted.clips, tokens.clips[:, order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("grad", [True, False])  # PyTorch takes another path without gradients
def test_padding_changes_nothing(model, clips, grad):
    features, coordinates = (torch.nn.functional.pad(x, (0, 0, 0, 2), value=9.0) for x in clips)
    valid = torch.ones(3, 7, dtype=torch.bool)
    valid[:, 5:] = False
    with torch.set_grad_enabled(grad):
        tokens = model(*clips)
        padded = model(features, coordinates, valid=valid)
    torch.testing.assert_close(padded.cls, tokens.cls, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(padded.clips[:, :5], tokens.clips, atol=1e-6, rtol=1e-5)


def test_the_initial_model_follows_from_the_seed_and_leaves_the_global_state(tiny_config):
    state = torch.get_rng_state()
    first, again = (initial_aggregator(tiny_config, feature_dim=6, seed=5).state_dict() for _ in range(2))
    other = initial_aggregator(tiny_config, feature_dim=6, seed=6).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["project.weight"], other["project.weight"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width must be positive, got 0"),
        ({"num_layers": -1}, "num_layers must be positive, got -1"),
        ({"width": 20}, r"num_heads \(8\) must divide width \(20\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_sizes(values, message):
    with pytest.raises(ValueError, match=message):
        SetTransformerConfig(**values)


def test_width_of_the_model_is_read_from_the_configuration(clips):
    config = PretrainConfig(model=SetTransformerConfig(width=64, num_layers=1))
    tokens = initial_aggregator(config, feature_dim=6, seed=0)(*clips)
    assert tokens.cls.shape == (3, 64)
    assert tokens.clips.shape == (3, 5, 64)
