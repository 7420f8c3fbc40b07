"""Video models of the transformers library, tiny and random, against the library's own forward passes."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import nameless_digest

DIM = 24
OLD = ("query", "key", "value")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ENCODER = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@dataclass(frozen=True)
class Family:
    """A family's tiny model, and what its features are to be."""

    name: str
    model: Callable[[], Any]
    expected: Callable[[Any, Tensor], Tensor]
    """From transformers' model and pixels of shape (B, T, 3, H, W)."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    num_frames: int
    size: int
    frame_size: int | None
    layer: str


def timesformer(size: int = 224) -> Any:
    config = transformers.TimesformerConfig(**ENCODER, image_size=size, patch_size=32, num_frames=4, num_labels=3)
    return transformers.TimesformerForVideoClassification(config)


def vivit(size: int = 224) -> Any:
    config = transformers.VivitConfig(**ENCODER, image_size=size, num_frames=4, tubelet_size=[2, 32, 32], num_labels=3)
    return transformers.VivitForVideoClassification(config)


def vjepa2(frames: int = 64) -> Any:
    config = {"crop_size": 32, "patch_size": 8, "frames_per_clip": frames, "mlp_ratio": 2.0, "pred_hidden_size": 12}
    config |= {"pred_num_hidden_layers": 1, "pred_num_attention_heads": 2} | ENCODER
    del config["intermediate_size"]
    return transformers.VJEPA2Model(transformers.VJEPA2Config(**config))


def videoprism_encoder() -> dict[str, Any]:
    layers = {"num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1}
    config = {"image_size": 36, "tubelet_size": [1, 18, 18], "num_frames": 4} | layers | ENCODER
    del config["num_hidden_layers"]
    return config


def videoprism() -> Any:
    return transformers.VideoPrismVisionModel(transformers.VideoPrismVisionConfig(**videoprism_encoder()))


def videoprism_clip() -> Any:
    text = transformers.VideoPrismTextConfig(**ENCODER, vocab_size=20)
    vision = transformers.VideoPrismVisionConfig(**videoprism_encoder())
    config = transformers.VideoPrismConfig(text_config=text, vision_config=vision)
    return transformers.VideoPrismClipModel(config)


FAMILIES = (
    Family(
        "timesformer",
        timesformer,
        lambda model, pixels: model.timesformer(pixels).last_hidden_state[:, 0],
        (0.45,) * 3,
        (0.225,) * 3,
        4,
        224,
        None,
        "CLS token after the encoder's norm",
    ),
    Family(
        "vivit",
        vivit,
        lambda model, pixels: model.vivit(pixels).last_hidden_state[:, 0],
        (0.5,) * 3,
        (0.5,) * 3,
        4,
        224,
        None,
        "CLS token after the encoder's norm",
    ),
    Family(
        "vjepa2",
        vjepa2,
        lambda model, pixels: model.get_vision_features(pixels).mean(1),
        *IMAGENET,
        16,
        32,
        32,
        "mean of the encoder's tokens after its norm",
    ),
    Family(
        "videoprism",
        videoprism,
        lambda model, pixels: model(pixels).last_hidden_state.mean(1),
        (0.0,) * 3,
        (1.0,) * 3,
        4,
        36,
        36,
        "mean of the encoder's tokens after its norm",
    ),
    Family(
        "videoprism-clip",
        videoprism_clip,
        lambda model, pixels: model.get_video_features(pixels).pooler_output[:, 0],
        (0.0,) * 3,
        (1.0,) * 3,
        4,
        36,
        36,
        "embedding of the video, as texts are compared with it",
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}


def randomised(model: Any) -> Any:
    """The model with random numbers in its norms and biases, too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    """Each family's folder, as ``save_pretrained`` writes it, and the model."""
    result = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp("weights") / f"Tiny-{family.name}"
        model = randomised(family.model())
        model.save_pretrained(folder)
        result[family.name] = (folder, model)
    return result


@pytest.fixture
def folder_of(saved, tmp_path) -> Callable[[str], Path]:
    """Copies of folders, to be damaged."""
    return lambda name: Path(shutil.copytree(saved[name][0], tmp_path / f"Tiny-{name}"))


def load(family: str, folder: Path, **settings: str) -> Backbone:
    return load_backbone(
        BackboneRequest(family=family.removesuffix("-clip"), source=str(folder), name="tiny", **settings)
    )


def random_clips(family: Family, size: int | None = None) -> Tensor:
    size = size or family.size
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (2, family.num_frames, size, size, 3), dtype=torch.uint8, generator=generator)


def normalised(clips: Tensor, mean: Any, std: Any) -> Tensor:
    """What transformers wants, (B, T, 3, H, W), each frame by PIL and NumPy."""
    frames = [np.asarray(Image.fromarray(frame), dtype=np.float64) / 255 for frame in clips.flatten(0, 1).numpy()]
    pixels = (np.stack(frames) - np.array(mean)) / np.array(std)
    return torch.from_numpy(np.moveaxis(pixels, 3, 1).astype(np.float32)).unflatten(0, clips.shape[:2])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_features_equal_those_of_transformers(saved, family):
    folder, model = saved[family.name]
    backbone = load(family.name, folder)
    clips = random_clips(family)
    features = backbone.embed(clips)
    with torch.no_grad():
        expected = family.expected(model, normalised(clips, family.mean, family.std))
    assert expected.std() > 0.01
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    spec = backbone.spec
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (family.num_frames, family.frame_size, DIM)
    assert spec.layer == family.layer
    assert spec.source == f"{family.name.removesuffix('-clip')}:Tiny-{family.name}"
    assert spec.library_versions["transformers"] == transformers.__version__
    described = json.loads(json.dumps(dict(spec.preprocessing)))
    assert described["mean"] == list(family.mean)
    assert described["std"] == list(family.std)
    assert described["normalisation"] == "own"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_papers_normalisation(saved, family):
    folder, model = saved[family.name]
    clips = random_clips(family)
    with torch.no_grad():
        expected = family.expected(model, normalised(clips, 0.45, 0.225))
    backbone = load(family.name, folder, normalisation="paper")
    torch.testing.assert_close(backbone.embed(clips), expected, atol=1e-4, rtol=1e-4)
    assert backbone.spec.preprocessing["normalisation"] == "paper"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_bfloat16_is_near(saved, family):
    folder, _ = saved[family.name]
    clips = random_clips(family)
    exact, rough = load(family.name, folder), load(family.name, folder, precision="bfloat16")
    assert rough.spec.precision == "bfloat16"
    features = rough.embed(clips)
    assert features.dtype == torch.float32
    difference = (features - exact.embed(clips)).norm() / exact.embed(clips).norm()
    assert 0 < difference < 0.1


def resized(table: Tensor, *, side: int, mode: str) -> Tensor:
    """A table of places, (S * S, D), for another number of them, one channel after the other."""
    native = round(len(table) ** 0.5)
    maps = [
        torch.nn.functional.interpolate(channel.reshape(1, 1, native, native), size=(side, side), mode=mode)
        for channel in table.T
    ]
    return torch.stack([m.flatten() for m in maps], dim=1)


def test_timesformer_at_256_pixels(saved):
    """Equal to a model of that size, whose table was resized by a loop."""
    family = BY_NAME["timesformer"]
    folder, model = saved["timesformer"]
    larger = timesformer(256).eval()
    tensors = dict(model.state_dict())
    name = "timesformer.embeddings.position_embeddings"
    places = resized(tensors[name][0, 1:], side=8, mode="nearest")
    larger.load_state_dict(tensors | {name: torch.cat([tensors[name][:, :1], places[None]], dim=1)})
    clips = random_clips(family, 256)
    with torch.no_grad():
        expected = family.expected(larger, normalised(clips, family.mean, family.std))
    torch.testing.assert_close(load("timesformer", folder).embed(clips), expected, atol=1e-4, rtol=1e-4)


def test_vivit_at_256_pixels(saved):
    """Equal to a model of that size, whose table was resized by a loop, time by time."""
    family = BY_NAME["vivit"]
    folder, model = saved["vivit"]
    larger = vivit(256).eval()
    tensors = dict(model.state_dict())
    name = "vivit.embeddings.position_embeddings"
    times = tensors[name][0, 1:].reshape(2, 49, DIM)
    places = torch.cat([resized(table, side=8, mode="bicubic") for table in times])
    larger.load_state_dict(tensors | {name: torch.cat([tensors[name][:, :1], places[None]], dim=1)})
    clips = random_clips(family, 256)
    with torch.no_grad():
        expected = family.expected(larger, normalised(clips, family.mean, family.std))
    torch.testing.assert_close(load("vivit", folder).embed(clips), expected, atol=1e-4, rtol=1e-4)


def test_vjepa2_of_fewer_frames_takes_its_own_number(tmp_path):
    randomised(vjepa2(frames=8)).save_pretrained(tmp_path)
    assert load("vjepa2", tmp_path).spec.num_frames == 8


def test_the_files_own_normalisation_counts(folder_of):
    folder = folder_of("timesformer")
    described = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7], "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    family = BY_NAME["timesformer"]
    spec = load("timesformer", folder).spec
    assert spec.preprocessing["mean"] == [0.1, 0.2, 0.3]
    assert spec.preprocessing["std"] == [0.5, 0.6, 0.7]
    (folder / "preprocessor_config.json").unlink()
    assert load("timesformer", folder).spec.preprocessing["mean"] == list(family.mean)
    (folder / "video_preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"^video_preprocessor_config.json of 'Tiny-timesformer' is damaged; get it"):
        load("timesformer", folder)


def test_the_digest_is_of_what_features_depend_on(folder_of):
    folder = folder_of("vjepa2")
    digest = load("vjepa2", folder).spec.weights_digest
    tensors = load_file(folder / "model.safetensors")

    def with_one_more_in(prefix: str) -> str:
        name = next(name for name in tensors if name.startswith(prefix))
        save_file(tensors | {name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
        return load("vjepa2", folder).spec.weights_digest

    assert with_one_more_in("predictor.") == digest
    assert with_one_more_in("encoder.layernorm.") != digest


def older_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As transformers 4 called those of a ViViT, and the files on the hub still do."""
    renamed = {
        "vivit.layers.": "vivit.encoder.layer.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
    }
    renamed |= {f".attention.{new}_proj.": f".attention.attention.{old}." for new, old in zip("qkv", OLD, strict=True)}
    renamed |= {".attention.o_proj.": ".attention.output.dense."}
    result = {}
    for key, tensor in tensors.items():
        for new, old in renamed.items():
            key = key.replace(new, old)
        result[key] = tensor
    return result


def test_weights_under_their_older_names_are_the_same(saved, folder_of):
    folder = folder_of("vivit")
    tensors = older_names(load_file(folder / "model.safetensors"))
    assert sum(".attention.attention.query." in key for key in tensors) == 4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    backbone, original = load("vivit", folder), load("vivit", saved["vivit"][0])
    assert backbone.spec.weights_digest == original.spec.weights_digest
    clips = random_clips(BY_NAME["vivit"])
    torch.testing.assert_close(backbone.embed(clips), original.embed(clips), atol=0, rtol=0)


def test_the_nameless_digest():
    first, renamed = torch.nn.Linear(3, 2), torch.nn.ModuleDict({"other": torch.nn.Linear(3, 2)})
    renamed["other"].load_state_dict(first.state_dict())
    assert nameless_digest(renamed) == nameless_digest(first)
    assert nameless_digest(first.half()) != nameless_digest(renamed)
    twice = torch.nn.ModuleList([renamed["other"], torch.nn.Linear(3, 2)])
    twice[1].load_state_dict(renamed["other"].state_dict())
    assert nameless_digest(twice) != nameless_digest(renamed)


def exchanged(tensors: dict[str, Tensor], one: str, other: str) -> dict[str, Tensor]:
    """The same tensors, of which those with a part in their names have changed places with those with another."""
    swap = {one: other, other: one}
    return {re.sub(f"{re.escape(one)}|{re.escape(other)}", lambda m: swap[m[0]], k): v for k, v in tensors.items()}


@pytest.mark.parametrize(
    ("family", "one", "other"),
    [
        ("vivit", ".layer.0.", ".layer.1."),
        ("vivit", ".layer.0.attention.attention.query.weight", ".layer.0.attention.attention.value.weight"),
        ("vivit", ".layer.0.layernorm_before.", ".layer.1.layernorm_before."),
        ("timesformer", ".layer.0.", ".layer.1."),
        ("timesformer", ".layer.0.attention.output.dense.weight", ".layer.0.temporal_attention.output.dense.weight"),
        ("vjepa2", "encoder.layer.0.", "encoder.layer.1."),
    ],
)
def test_tensors_that_changed_places_are_others(saved, folder_of, family, one, other):
    folder = folder_of(family)
    tensors = load_file(folder / "model.safetensors")
    moved = exchanged(tensors, one, other)
    assert moved.keys() == tensors.keys()
    assert any(not torch.equal(moved[key], tensors[key]) for key in tensors)
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    backbone, original = load(family, folder), load(family, saved[family][0])
    assert backbone.spec.weights_digest != original.spec.weights_digest
    clips = random_clips(BY_NAME[family])
    assert (backbone.embed(clips) - original.embed(clips)).abs().max() > 1e-4


def test_modules_that_a_release_moved_within_a_layer_are_the_same():
    """A ViT's MLP and norms: transformers 4 lists them in one order, 5 in the other, under other names."""
    parts = {"attention": torch.nn.Linear(4, 4), "mlp": torch.nn.Linear(4, 8), "norm": torch.nn.LayerNorm(4)}
    older = torch.nn.ModuleDict({"encoder": torch.nn.ModuleList([torch.nn.ModuleDict(parts)])})
    moved = {"attn": parts["attention"], "layernorm": parts["norm"], "fc": parts["mlp"]}
    newer = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.ModuleDict(moved)])})
    assert [tuple(t.shape) for t in older.state_dict().values()] != [
        tuple(t.shape) for t in newer.state_dict().values()
    ]
    assert nameless_digest(older) == nameless_digest(newer)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("timesformer", {"num_attention_heads": 4}),
        ("timesformer", {"layer_norm_eps": 1e-3}),
        ("timesformer", {"hidden_act": "relu"}),
        ("timesformer", {"attention_type": "joint_space_time"}),
        ("vivit", {"num_attention_heads": 4}),
        ("vjepa2", {"num_attention_heads": 4}),
        ("videoprism", {"attn_logit_softcapping": 2.0}),
    ],
)
def test_settings_that_no_tensor_holds_are_recorded(saved, folder_of, family, changes):
    folder = folder_of(family)
    original = load(family, folder).spec.preprocessing
    edit_config(folder, **changes)
    assert load(family, folder).spec.preprocessing != original
    shutil.copy(saved[family][0] / "config.json", folder)
    edit_config(folder, _name_or_path="/elsewhere", transformers_version="4.40.0", hidden_dropout_prob=0.3)
    assert load(family, folder).spec.preprocessing == original


def test_weights_of_torch_save_are_the_same(folder_of):
    folder = folder_of("vivit")
    digest = load("vivit", folder).spec.weights_digest
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load("vivit", folder).spec.weights_digest == digest


def test_the_licence_is_read_from_the_model_card(folder_of):
    folder = folder_of("timesformer")
    assert load("timesformer", folder).spec.licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert load("timesformer", folder).spec.licence == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("timesformer", (1, 3, 224, 224, 3), r"takes uint8 clips of shape \(B, 4, H, W, 3\)"),
        ("timesformer", (1, 4, 240, 240, 3), "a multiple of 32 pixels, got 240 x 240"),
        ("vivit", (1, 4, 224, 256, 3), "a multiple of 32 pixels, got 224 x 256"),
        ("vjepa2", (1, 16, 48, 48, 3), "square frames of 32 pixels, got 48 x 48"),
        ("videoprism", (1, 4, 54, 54, 3), "square frames of 36 pixels, got 54 x 54"),
    ],
)
def test_clips_of_another_shape(saved, name, shape, message):
    with pytest.raises(ValueError, match=f"^tiny .*{message}"):
        load(name, saved[name][0]).embed(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("family", "lacks"),
    [
        ("timesformer", "layernorm.weight"),
        ("vivit", "layernorm.weight"),
        ("vjepa2", "encoder.layernorm.weight"),
        ("videoprism", "layernorm2.weight"),
    ],
)
def test_a_tensor_that_is_missing_is_named(folder_of, family, lacks):
    folder = folder_of(family)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.removeprefix(f"{family}.") == lacks))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=f"lack 1 of the tensors that features depend on, the first: {lacks}; get them"
    ):
        load(family, folder)


@pytest.mark.parametrize("family", ["timesformer", "vivit", "vjepa2", "videoprism"])
def test_another_type_is_named(folder_of, family):
    other = "vivit" if family != "vivit" else "timesformer"
    with pytest.raises(ValueError, match=f"^'.*' is a model of type '{other}', not '{family}.*'; choose one for the "):
        load(family, folder_of(other))


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json; give the folder"),
        (lambda folder: (folder / "config.json").write_text("[]"), "^config.json of '.*' is damaged; get it again"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds neither model.*safetensors nor pytorch_model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12"), "^cannot read the weights of '.*' .*; get"),
        (lambda folder: edit_config(folder, hidden_size=48), "^cannot read the weights of '.*' .*; get them again$"),
    ],
)
def test_folders_that_cannot_be_used(folder_of, damage, message):
    folder = folder_of("timesformer")
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        load("timesformer", folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "cls", "since"),
    [("vjepa2", "VJEPA2Model", "4.53"), ("videoprism", "VideoPrismVisionModel", "5.13")],
)
def test_a_release_of_transformers_that_is_too_old(saved, monkeypatch, family, cls, since):
    missing = {"__getattr__": lambda self, name: getattr(transformers, name)}
    older = type("Older", (), missing | {cls: None, "__version__": "4.50.0"})()
    monkeypatch.setitem(sys.modules, "transformers", older)
    message = (
        f"backbone {family} needs transformers {since} or later, found 4.50.0; pip install 'transformers>={since}'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(family, saved[family][0])


def test_transformers_is_not_installed(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ValueError, match=r"needs the transformers library .*; pip install 'scale-video\[transformers\]'$"
    ):
        load("vivit", saved["vivit"][0])
