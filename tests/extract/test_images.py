"""Networks of images over the frames of clips, tiny and random, against the library's own and slow pooling by NumPy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from scale_video.extract.backbones.frame_pooling import POOLINGS
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest

DIM, FRAMES = 24, 8
VIT = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = VIT | {"vocab_size": 20, "max_position_embeddings": 8}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
OPENAI = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)


def clip() -> Any:
    vision = VIT | {"image_size": 224, "patch_size": 32}
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=16))


def siglip() -> Any:
    vision = VIT | {"image_size": 256, "patch_size": 32}
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=vision))


def siglip2() -> Any:
    vision = VIT | {"num_patches": 16, "patch_size": 32}
    return transformers.Siglip2Model(transformers.Siglip2Config(text_config=TEXT, vision_config=vision))


def dinov2() -> Any:
    return transformers.Dinov2Model(transformers.Dinov2Config(**VIT, image_size=518, patch_size=14))


def dinov3() -> Any:
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**VIT, image_size=224, patch_size=32))


def vit(size: int = 224, pooler: bool = True) -> Any:
    config = transformers.ViTConfig(**VIT, image_size=size, patch_size=32)
    return transformers.ViTModel(config) if pooler else transformers.ViTForImageClassification(config)


def resnet() -> Any:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    return transformers.ResNetForImageClassification(config)


def naflex(model: Any, pixels: Tensor) -> Tensor:
    """A SigLIP 2 of any shape, image by image, patch by patch."""
    vectors = []
    for image in pixels:
        rows = [
            image[:, y : y + 32, x : x + 32].permute(1, 2, 0).flatten()
            for y in range(0, image.shape[1], 32)
            for x in range(0, image.shape[2], 32)
        ]
        vectors.append(
            model.vision_model(
                torch.stack(rows)[None],
                torch.ones(1, len(rows), dtype=torch.long),
                torch.tensor([[image.shape[1] // 32, image.shape[2] // 32]]),
            ).pooler_output
        )
    return torch.cat(vectors)


MODELS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Tensor], Any, int | None, str]] = {
    "clip": (
        clip,
        lambda model, pixels: model.vision_model(pixels, interpolate_pos_encoding=True).pooler_output,
        OPENAI,
        None,
        "pooler_output of CLIPVisionModel",
    ),
    "siglip": (
        siglip,
        lambda model, pixels: model.vision_model(pixels, interpolate_pos_encoding=True).pooler_output,
        HALF,
        None,
        "pooler_output of SiglipVisionModel",
    ),
    "siglip2": (siglip2, naflex, HALF, None, "pooler_output of Siglip2VisionModel"),
    "dinov2": (
        dinov2,
        lambda model, pixels: model(pixels).last_hidden_state[:, 0],
        IMAGENET,
        224,
        "pooler_output of Dinov2Model",
    ),
    "dinov3": (
        dinov3,
        lambda model, pixels: model(pixels).last_hidden_state[:, 0],
        IMAGENET,
        None,
        "pooler_output of DINOv3ViTModel",
    ),
    "vit": (
        vit,
        lambda model, pixels: model(pixels, interpolate_pos_encoding=True).pooler_output,
        HALF,
        None,
        "pooler_output of ViTModel",
    ),
    "vit-without-pooler": (
        lambda: vit(pooler=False),
        lambda model, pixels: model.vit(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0],
        HALF,
        None,
        "CLS token of the last_hidden_state of ViTModel",
    ),
    "vit-of-64-pixels": (
        lambda: vit(64),
        lambda model, pixels: model(pixels).pooler_output,
        HALF,
        64,
        "pooler_output of ViTModel",
    ),
    "resnet": (
        resnet,
        lambda model, pixels: model.resnet(pixels).last_hidden_state.mean((2, 3)),
        IMAGENET,
        None,
        "pooler_output of ResNetModel",
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    """Each model's folder, as ``save_pretrained`` writes it, and the model."""
    result = {}
    generator = torch.Generator().manual_seed(1)
    for name, (build, *_) in MODELS.items():
        model = build().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        folder = tmp_path_factory.mktemp("weights") / f"Tiny-{name}"
        model.save_pretrained(folder)
        if name.startswith("vit"):  # whose type says nothing of its pixels
            described = {"image_mean": HALF[0], "image_std": HALF[1]}
            (folder / "preprocessor_config.json").write_text(json.dumps(described))
        result[name] = (folder, model)
    return result


@pytest.fixture
def folder_of(saved, tmp_path) -> Callable[[str], Path]:
    """Copies of folders, to be damaged."""
    return lambda name: Path(shutil.copytree(saved[name][0], tmp_path / f"Tiny-{name}"))


def load(folder: Path, family: str = "image", **settings: str) -> Backbone:
    return load_backbone(BackboneRequest(family=family, source=str(folder), name="tiny", **settings))


def random_clips(size: int, num_clips: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (num_clips, FRAMES, size, size, 3), dtype=torch.uint8, generator=generator)


def frame_vectors(expected: Any, model: Any, clips: Tensor, statistics: Any) -> np.ndarray:
    """The frames' vectors by the library alone, (B, T, D)."""
    pixels = (clips.numpy() / 255.0 - np.array(statistics[0])) / np.array(statistics[1])
    pixels = np.moveaxis(pixels, 4, 2).astype(np.float32)
    with torch.no_grad():
        return np.stack([expected(model, torch.from_numpy(clip)).numpy() for clip in pixels])


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize("name", MODELS)
def test_features_equal_those_of_transformers(saved, name, size):
    _, expected, statistics, own_size, layer = MODELS[name]
    folder, model = saved[name]
    backbone = load(folder)
    assert backbone.spec.frame_size == own_size
    clips = random_clips(own_size or size)
    vectors = frame_vectors(expected, model, clips, statistics)
    assert vectors.std(axis=1).max() > 1e-3
    torch.testing.assert_close(backbone.embed(clips), torch.from_numpy(vectors.mean(1)), atol=1e-4, rtol=1e-4)
    assert backbone.spec.num_frames == FRAMES
    assert backbone.spec.feature_dim == vectors.shape[2]
    assert backbone.spec.layer == f"{layer}; mean over the frames"
    assert backbone.spec.source == f"image:Tiny-{name}"
    assert json.loads(json.dumps(dict(backbone.spec.preprocessing)))["mean"] == statistics[0]


def test_moments(saved):
    _, expected, statistics, _, _ = MODELS["dinov3"]
    folder, model = saved["dinov3"]
    clips = random_clips(224, num_clips=3)
    backbone = load(folder, "image-moments")
    vectors = frame_vectors(expected, model, clips, statistics)
    slow = []
    for clip_vectors in vectors:
        differences = [np.abs(clip_vectors[t + 1] - clip_vectors[t]) for t in range(FRAMES - 1)]
        centred = clip_vectors - clip_vectors.mean(0)
        slow.append([clip_vectors.mean(0), np.sqrt((centred**2).mean(0)), np.mean(differences, axis=0)])
    features = backbone.embed(clips)
    torch.testing.assert_close(features, torch.from_numpy(np.array(slow)).flatten(1), atol=1e-4, rtol=1e-4)
    assert backbone.spec.feature_dim == 3 * DIM == features.shape[1]
    assert backbone.spec.source == "image-moments:Tiny-dinov3"
    assert backbone.spec.layer.endswith(
        "; mean, standard deviation and mean absolute difference of successive ones, over the frames"
    )


def test_frames_that_stand_still_have_no_moments():
    frames = torch.tensor([[[1.0, -2.0]] * 4, [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]])  # (B=2, T=4, D=2)
    expected = [[1, -2, 0, 0, 0, 0], [1, 0, 1, 0, 2, 0]]
    assert POOLINGS["-moments"].pool(frames).tolist() == expected


def test_the_papers_normalisation_and_bfloat16(saved):
    _, expected, _, _, _ = MODELS["clip"]
    folder, model = saved["clip"]
    clips = random_clips(224)
    vectors = frame_vectors(expected, model, clips, ([0.45] * 3, [0.225] * 3)).mean(1)
    backbone = load(folder, normalisation="paper")
    torch.testing.assert_close(backbone.embed(clips), torch.from_numpy(vectors), atol=1e-4, rtol=1e-4)
    rough = load(folder, normalisation="paper", precision="bfloat16").embed(clips)
    assert rough.dtype == torch.float32
    assert 0 < np.linalg.norm(rough.numpy() - vectors) / np.linalg.norm(vectors) < 0.1


@pytest.mark.parametrize(
    ("described", "mean", "std"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]),
        ({"image_mean": 0.1, "image_std": 0.5, "rescale_factor": 1 / 255}, [0.1] * 3, [0.5] * 3),
        ({"do_normalize": False, "rescale_factor": 1 / 127.5, "offset": True}, [0.5] * 3, [0.5] * 3),
        ({"image_mean": [1.0] * 3, "image_std": [2.0] * 3, "rescale_factor": 1 / 127.5}, [0.5] * 3, [1.0] * 3),
        ({"image_mean": [51.0] * 3, "image_std": [102.0] * 3, "do_rescale": False}, [0.2] * 3, [0.4] * 3),
        ({"image_processor": {"image_mean": [0.3] * 3, "image_std": [0.2] * 3}}, [0.3] * 3, [0.2] * 3),
    ],
)
def test_the_normalisation_is_that_of_the_folder(folder_of, described, mean, std):
    folder = folder_of("vit")
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    preprocessing = load(folder).spec.preprocessing
    np.testing.assert_allclose(preprocessing["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(preprocessing["std"], std, rtol=1e-12)


@pytest.mark.parametrize(
    ("described", "size"),
    [
        ({"crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 56}}, 28),
        ({"crop_size": 42, "size": 56}, 42),
        ({"size": {"height": 56, "width": 56}}, 56),
        ({"crop_size": 42, "do_center_crop": False, "size": {"shortest_edge": 70}}, 70),
        ({}, 224),
    ],
)
def test_a_model_whose_patches_do_not_divide_the_views_takes_its_own_size(folder_of, described, size):
    folder = folder_of("dinov2")
    statistics = {"image_mean": IMAGENET[0], "image_std": IMAGENET[1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics | described))
    assert load(folder).spec.frame_size == size


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{", "^preprocessor_config.json of 'Tiny-vit' is damaged; get it again$"),
        (
            '{"image_mean": 0.5}',
            "^the normalisation of '.*Tiny-vit' cannot be read: it has an image_mean and no image_std$",
        ),
        ('{"do_normalize": false, "rescale_factor": -1}', "^the normalisation of .* cannot be read: .* not positive$"),
        ('{"image_mean": [0.5, 0.5], "image_std": 1}', "^the normalisation of '.*Tiny-vit' cannot be read: "),
        ('{"image_mean": 0.5, "image_std": 0}', "^the normalisation of '.*Tiny-vit' cannot be read: .* not positive$"),
    ],
)
def test_a_normalisation_that_cannot_be_read(folder_of, written, message):
    folder = folder_of("vit")
    (folder / "preprocessor_config.json").write_text(written)
    with pytest.raises(ValueError, match=message):
        load(folder)


def data2vec() -> Any:
    return transformers.Data2VecVisionModel(transformers.Data2VecVisionConfig(**VIT, image_size=224, patch_size=32))


@pytest.mark.parametrize(("build", "model_type"), [(data2vec, "data2vec-vision"), (vit, "vit")])
def test_a_model_whose_type_does_not_tell_its_colours(tmp_path, build, model_type):
    build().save_pretrained(tmp_path)
    message = f"holds no preprocessor_config.json, and models of type '{model_type}' are not all .*; get that file as"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    assert load(tmp_path, normalisation="paper").spec.preprocessing["mean"] == [0.45] * 3


def test_colours_by_type_are_said_aloud(saved, caplog):
    load(saved["vit"][0])
    load(saved["dinov3"][0], normalisation="paper")
    assert not caplog.records
    load(saved["dinov3"][0])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "holds no preprocessor_config.json" in record.getMessage()
    assert "of type 'dinov3_vit' (mean (0.485, 0.456, 0.406)" in record.getMessage()


def test_the_digest_is_of_the_vision_tower(folder_of):
    folder = folder_of("clip")
    tensors = load_file(folder / "model.safetensors")
    digest = load(folder).spec.weights_digest

    def with_one_more_in(name: str) -> str:
        save_file(tensors | {name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
        return load(folder).spec.weights_digest

    assert with_one_more_in("text_model.final_layer_norm.weight") == digest
    assert with_one_more_in("vision_model.post_layernorm.weight") != digest


def test_the_settings_that_count_are_those_of_the_vision_tower(folder_of):
    folder = folder_of("clip")
    config = json.loads((folder / "config.json").read_text())
    original = load(folder).spec.preprocessing

    def with_heads_in(half: str) -> object:
        changed = config | {half: config[half] | {"num_attention_heads": 4}}
        (folder / "config.json").write_text(json.dumps(changed))
        return load(folder).spec.preprocessing

    assert with_heads_in("text_config") == original
    assert with_heads_in("vision_config") != original


def test_the_digest_is_the_same_at_every_load_where_a_pooler_is_missing(saved):
    folder, _ = saved["vit-without-pooler"]
    assert load(folder).spec.weights_digest == load(folder).spec.weights_digest


def test_models_that_take_no_images(tmp_path, saved):
    config = transformers.BertConfig(**VIT, vocab_size=20)
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"bert' \(BertModel\) takes no images; choose a model that does$"):
        load(tmp_path / "bert")
    video = {"image_size": 32, "patch_size": 16, "num_frames": 4, "tubelet_size": 2}
    transformers.VideoMAEModel(transformers.VideoMAEConfig(**VIT, **video)).save_pretrained(tmp_path / "video")
    with pytest.raises(
        ValueError, match=r"\(VideoMAEModel\) does not take images of 32 pixels \(.*\); choose a model of"
    ):
        load(tmp_path / "video")


def test_a_tensor_that_is_missing_is_named(folder_of):
    folder = folder_of("siglip")
    tensors = load_file(folder / "model.safetensors")
    del tensors["vision_model.head.probe"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lack 1 of the tensors that features depend on, the first: .*head.probe; get"
    ):
        load(folder)


def test_a_type_that_the_library_does_not_know(folder_of):
    folder = folder_of("vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "no-such-type"}))
    with pytest.raises(ValueError, match=r"^cannot read config.json of '.*' \(.*no-such-type.*\)$") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model_type", ["own", "vit"])
def test_code_in_a_folder_is_not_run(folder_of, tmp_path, model_type):
    folder = folder_of("vit")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    config["auto_map"] = {"AutoConfig": "code.Own", "AutoModel": "code.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    if model_type == "vit":  # the library's own does
        assert load(folder).spec.layer.startswith("pooler_output of ViTModel")
    else:
        with pytest.raises(ValueError, match=r"cannot read config.json"):
            load(folder)
    assert not (tmp_path / "ran").exists()


def test_clips_of_another_size(saved):
    with pytest.raises(ValueError, match=r"^tiny takes square frames of 64 pixels, got 224 x 224"):
        load(saved["vit-of-64-pixels"][0]).embed(random_clips(224))
    with pytest.raises(ValueError, match=r"^tiny takes square frames of a multiple of 32 pixels, got 240 x 240"):
        load(saved["clip"][0]).embed(random_clips(240))
