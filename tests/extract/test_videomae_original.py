"""Checkpoints as VideoMAE's authors publish them; ``tests/data/golden/README.md`` says what their code gave."""

import argparse
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.videomae import VideoMae, load_videomae
from scale_video.extract.backbones.videomae_original import read_original

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "videomae.npz"
TINY = {"width": 128, "depth": 3, "patch": 8}
TINY_OPTIONS = argparse.Namespace(input_size=32, num_frames=4, model="tiny")
BASE = {"width": 768, "depth": 12, "patch": 16}


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor that follows from its name: normal numbers, for norms around 1, for matrices so that sizes are kept."""
    values = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) > 1:
        values /= np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        values = key.endswith("weight") + np.float32(0.1) * values
    return torch.from_numpy(values.astype(np.float32))


def transformer(prefix: str, *, width: int, depth: int, mlp: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for block in (f"{prefix}blocks.{index}." for index in range(depth)):
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}{norm}.{kind}": (width,) for kind in ("weight", "bias")}
        shapes |= {f"{block}attn.q_bias": (width,), f"{block}attn.v_bias": (width,)}
        shapes |= {f"{block}attn.qkv.weight": (3 * width, width)}
        for layer, num_out, num_in in (("attn.proj", width, width), ("mlp.fc1", mlp, width), ("mlp.fc2", width, mlp)):
            shapes |= {f"{block}{layer}.weight": (num_out, num_in), f"{block}{layer}.bias": (num_out,)}
    return shapes


def state_dict(kind: str, *, width: int, depth: int, patch: int, mlp: int | None = None) -> dict[str, Tensor]:
    """All that pre-training or fine-tuning saves of a network."""
    prefix = {"pretrained": "encoder.", "finetuned": ""}[kind]
    shapes = transformer(prefix, width=width, depth=depth, mlp=mlp or 4 * width)
    shapes |= {
        f"{prefix}patch_embed.proj.weight": (width, 3, 2, patch, patch),
        f"{prefix}patch_embed.proj.bias": (width,),
    }
    norm = {"pretrained": "encoder.norm", "finetuned": "fc_norm"}[kind]
    shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    if kind == "pretrained":
        shapes |= transformer("decoder.", width=64, depth=1, mlp=256)
        shapes |= {"mask_token": (1, 1, 64), "encoder_to_decoder.weight": (64, width)}
        shapes |= {"decoder.head.weight": (6 * patch * patch, 64), "decoder.norm.weight": (64,)}
    else:
        shapes |= {"head.weight": (7, width), "head.bias": (7,)}
    return {key: fill(key, shape) for key, shape in shapes.items()}


def checkpoint(kind: str, **changes: Any) -> dict[str, Any]:
    """What the authors' code writes for a tiny network: by itself, or through DeepSpeed."""
    tensors = state_dict(kind, **TINY)
    holder = {"pretrained": "model", "finetuned": "module"}[kind]
    return {holder: tensors, "epoch": 1599, "optimizer": {"state": {0: torch.ones(2)}}, "args": TINY_OPTIONS, **changes}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    """A tiny checkpoint of each kind, under the name that its authors give to all."""
    paths = {kind: tmp_path_factory.mktemp(kind) / "checkpoint.pth" for kind in ("pretrained", "finetuned")}
    for kind, path in paths.items():
        torch.save(checkpoint(kind), path)
    return paths


def clips(num_clips: int, num_frames: int, size: int) -> Tensor:
    shape = (num_clips, num_frames, size, size, 3)
    return torch.from_numpy(np.random.RandomState(size).randint(0, 256, shape).astype(np.uint8))


def assert_equals_the_reference(backbone: VideoMae, name: str) -> None:
    with np.load(GOLDEN) as arrays:
        expected = arrays[name]
    size = int(name.rpartition("_")[2])
    features = backbone.embed(clips(len(expected), backbone.spec.num_frames, size)).numpy()
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() < 1e-4 * np.sqrt(np.square(expected).mean())


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("kind", ["pretrained", "finetuned"])
def test_features_equal_those_of_the_authors_code(published, kind, size):
    assert_equals_the_reference(load_videomae(str(published[kind])), f"{kind}_tiny_{size}")


def test_the_published_sizes_are_taken_where_a_file_says_nothing(tmp_path):
    torch.save({"module": state_dict("finetuned", width=384, depth=2, patch=16)}, tmp_path / "small.pth")
    backbone = load_videomae(str(tmp_path / "small.pth"))
    assert (backbone.spec.num_frames, backbone.spec.frame_size, backbone.spec.feature_dim) == (16, None, 384)
    assert_equals_the_reference(backbone, "finetuned_small2_256")


@pytest.mark.slow
def test_a_whole_vit_base(tmp_path):
    torch.save({"model": state_dict("pretrained", **BASE)}, tmp_path / "base.pth")
    assert_equals_the_reference(load_videomae(str(tmp_path / "base.pth")), "pretrained_base_224")


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("pretrained", "mean of the encoder's tokens after its norm"),
        ("finetuned", "fc_norm of the mean of the encoder's tokens"),
    ],
)
def test_spec(published, kind, layer):
    spec = load_videomae(str(published[kind])).spec
    assert (spec.name, spec.source) == ("checkpoint", "videomae:checkpoint.pth")
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (4, 32, 128)
    assert spec.layer == layer
    assert spec.licence == "CC-BY-NC-4.0"
    assert spec.preprocessing["mean"] == [0.485, 0.456, 0.406]


def test_more_segments_are_more_frames(tmp_path):
    options = argparse.Namespace(input_size=32, num_frames=4, num_segments=2)
    torch.save(checkpoint("finetuned", args=options), tmp_path / "long.pth")
    assert load_videomae(str(tmp_path / "long.pth")).spec.num_frames == 8


def in_the_authors_names(model: torch.nn.Module, prefix: str) -> dict[str, Tensor]:
    """A model of transformers, as the authors' code would have saved its encoder."""
    names = {
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer.": "blocks.",
        "attention.attention.query.bias": "attn.q_bias",
        "attention.attention.value.bias": "attn.v_bias",
        "attention.attention.q_bias": "attn.q_bias",  # transformers 4
        "attention.attention.v_bias": "attn.v_bias",
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "layernorm": "norm",
    }
    tensors, result = model.state_dict(), {}
    for key in tensors:
        renamed = key.removeprefix("videomae.")
        for new, old in names.items():
            renamed = renamed.replace(new, old)
        if renamed.endswith("attention.query.weight"):
            rows = [tensors[key.replace("query", part)] for part in ("query", "key", "value")]
            result[prefix + renamed.replace("attention.attention.query", "attn.qkv")] = torch.cat(rows)
        elif not renamed.endswith(("attention.key.weight", "attention.value.weight")):
            result[prefix + renamed.replace("classifier", "head")] = tensors[key]
    return result


@pytest.mark.parametrize(
    ("cls", "mean_pooling", "prefix", "holder"),
    [
        (transformers.VideoMAEModel, False, "encoder.", "model"),
        (transformers.VideoMAEForVideoClassification, True, "", "module"),
    ],
)
def test_the_same_weights_of_transformers_are_the_same(tmp_path, cls, mean_pooling, prefix, holder):
    config = {"image_size": 32, "patch_size": 8, "num_frames": 4, "hidden_size": 128, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "intermediate_size": 96, "num_labels": 5, "use_mean_pooling": mean_pooling}
    model = cls(transformers.VideoMAEConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(fill(name, tuple(parameter.shape)))
    model.save_pretrained(tmp_path / "folder")
    tensors = in_the_authors_names(model, prefix)
    torch.save({holder: tensors, "args": TINY_OPTIONS}, tmp_path / "file.pth")
    ours, theirs = load_videomae(str(tmp_path / "file.pth")), load_videomae(str(tmp_path / "folder"))
    assert ours.spec.weights_digest == theirs.spec.weights_digest
    assert ours.spec.layer == theirs.spec.layer
    # Not to the last bit: transformers adds other numbers to the variances of its norms.
    torch.testing.assert_close(ours.embed(clips(2, 4, 32)), theirs.embed(clips(2, 4, 32)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("mean_pooling", "epsilon", "agree"), [(False, 1e-6, True), (False, 1e-12, False), (True, 1e-6, False)]
)
def test_settings_agree_with_those_of_transformers_where_they_are_the_same(tmp_path, mean_pooling, epsilon, agree):
    """What transformers cannot be told is the number in its ``fc_norm``, 1e-5."""
    config = {"image_size": 32, "patch_size": 8, "num_frames": 4, "hidden_size": 128, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 96, "use_mean_pooling": mean_pooling}
    cls = transformers.VideoMAEForVideoClassification if mean_pooling else transformers.VideoMAEModel
    model = cls(transformers.VideoMAEConfig(**config, layer_norm_eps=epsilon))
    model.save_pretrained(tmp_path / "folder")
    tensors = in_the_authors_names(model, "" if mean_pooling else "encoder.")
    torch.save({"model": tensors, "args": TINY_OPTIONS}, tmp_path / "file.pth")
    ours, theirs = (load_videomae(str(tmp_path / name)).spec for name in ("file.pth", "folder"))
    assert ours.weights_digest == theirs.weights_digest
    assert (ours.preprocessing == theirs.preprocessing) == agree


def test_the_same_weights_in_safetensors_are_the_same(tmp_path):
    # Nothing but tensors is in such a file: it is of the published sizes, here with few and large patches.
    tensors = state_dict("pretrained", width=32, depth=1, patch=112)
    torch.save({"model": tensors}, tmp_path / "file.pth")
    save_file(tensors, tmp_path / "file.safetensors")
    one, other = (load_videomae(str(tmp_path / f"file{suffix}")) for suffix in (".pth", ".safetensors"))
    assert one.spec.weights_digest == other.spec.weights_digest
    torch.testing.assert_close(one.embed(clips(1, 16, 224)), other.embed(clips(1, 16, 224)), atol=0, rtol=0)


@pytest.mark.parametrize(("width", "num_heads"), [(32, 1), (128, 2), (192, 3), (1280, 16)])
def test_the_number_of_heads_follows_from_the_width(tmp_path, width, num_heads):
    tensors = state_dict("pretrained", width=width, depth=1, patch=16, mlp=8)
    torch.save({"model": tensors, "args": TINY_OPTIONS}, tmp_path / "file.pth")
    encoder, mean_norm = read_original(tmp_path / "file.pth")
    assert encoder.config.num_attention_heads == num_heads
    assert mean_norm is None


def test_half_precision_weights_are_run_in_float32(tmp_path):
    tensors = {key: tensor.half() for key, tensor in state_dict("finetuned", **TINY).items()}
    torch.save(checkpoint("finetuned", module=tensors), tmp_path / "half.pth")
    backbone = load_videomae(str(tmp_path / "half.pth"))
    with np.load(GOLDEN) as arrays:
        expected = torch.from_numpy(arrays["finetuned_tiny_32"])
    torch.testing.assert_close(backbone.embed(clips(3, 4, 32)), expected, atol=1e-2, rtol=1e-2)


def test_what_is_left_out_is_named(published, caplog):
    with caplog.at_level(logging.INFO, logger="scale_video"):
        load_videomae(str(published["pretrained"]))
        load_videomae(str(published["finetuned"]))
    pretrained, finetuned = (record.getMessage() for record in caplog.records)
    assert "of checkpoint.pth" in pretrained
    assert all(name in pretrained for name in ("decoder.blocks.* (13)", "mask_token", "encoder_to_decoder.weight"))
    assert finetuned == "of checkpoint.pth, 2 tensors are not used, and not needed: head.bias, head.weight"


def test_a_file_is_found_by_its_name_in_the_folder_of_weights(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = parse_backbone(f"videomae:{published['pretrained']}@vmae")
    recorded = load_backbone(request).spec
    assert recorded.name == "vmae"
    monkeypatch.setenv("SCALE_VIDEO_WEIGHTS", str(published["pretrained"].parent))
    again = load_backbone(parse_backbone(recorded.source)).spec
    assert (again.name, again.source, again.weights_digest) == ("checkpoint", recorded.source, recorded.weights_digest)


def test_no_such_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALE_VIDEO_WEIGHTS", str(tmp_path / "weights"))
    message = r"^no file '/no/such/vit-l.pth'; get vit-l.pth from https://github.com/MCG-NJU/VideoMAE/.* into .*weights"
    with pytest.raises(ValueError, match=message) as error:
        load_videomae("/no/such/vit-l.pth")
    assert "\n" not in str(error.value)


def without(key: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name != key}


def with_tensor(key: str, *shape: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: tensors | {key: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("encoder.blocks.1.mlp.fc2.bias"),
            "'file.pth' lack 1 of 49 tensors, the first: videomae.*layer.1.output",
        ),
        (
            without("encoder.blocks.0.attn.v_bias"),
            "lack 1 of 49 tensors, .*layer.0.attention.attention.(value.|v_)bias",
        ),
        (without("encoder.norm.weight"), "lack 1 of 49 tensors, the first: videomae.layernorm.weight"),
        (
            with_tensor("encoder.blocks.2.norm2.bias", 64),
            r"layer.2.layernorm_after.bias of the weights 'file.pth' has the shape \(64,\), expected \(128,\); choose",
        ),
        (
            with_tensor("encoder.blocks.0.attn.qkv.weight", 128, 128),
            r"query.weight .* has the shape \(43, 128\), expected",
        ),
        (
            with_tensor("encoder.blocks.0.gamma_1", 128),
            "^'file.pth' holds blocks.0.gamma_1, which is in none of the pub",
        ),
        (with_tensor("encoder.pos_embed", 1, 32, 128), "^'file.pth' holds pos_embed, which is in none"),
        (
            without("encoder.patch_embed.proj.weight"),
            "no checkpoint of VideoMAE .patch_embed.proj.weight is not in it.; get",
        ),
        (
            with_tensor("encoder.patch_embed.proj.weight", 128, 3, 8, 8),
            r"has the shape \(128, 3, 8, 8\)\); get one from",
        ),
        (
            with_tensor("encoder.patch_embed.proj.weight", 200, 3, 2, 8, 8),
            "tokens of 200 numbers, which are no 3 heads",
        ),
        (
            lambda _: {"videomae.layernorm.weight": torch.ones(8)},
            "no checkpoint of VideoMAE .*, or give the folder that transformers saved a model to$",
        ),
        (lambda _: {}, "^'file.pth' holds no weights .looked for model, module.; choose another file"),
    ],
)
def test_weights_of_something_else(tmp_path, change, message):
    tensors = change(state_dict("pretrained", **TINY))
    torch.save({"model": tensors, "args": TINY_OPTIONS}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=message) as error:
        load_videomae(str(tmp_path / "file.pth"))
    assert "\n" not in str(error.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"model": {"a": Path("/")}}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"^cannot read the weights '.*file.pth' .*; get them again$"):
        load_videomae(str(tmp_path / "file.pth"))
