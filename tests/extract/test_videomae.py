import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from scale_video.extract.backbones.pixels import IMAGENET, PAPER
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.videomae import load_videomae, resize_positions

SIZE, FRAMES, DIM = 32, 4, 24
COMMIT = "0" * 40
MODELS = {
    "pretrained": (transformers.VideoMAEForPreTraining, False),
    "finetuned": (transformers.VideoMAEForVideoClassification, True),
    "encoder": (transformers.VideoMAEModel, False),
    "encoder-without-norm": (transformers.VideoMAEModel, True),
}


def tiny_model(kind: str, **changes: object) -> torch.nn.Module:
    """A VideoMAE with random weights, its norms and biases among them."""
    cls, mean_pooling = MODELS[kind]
    config = {"image_size": SIZE, "patch_size": 8, "num_frames": FRAMES, "hidden_size": DIM, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "intermediate_size": 32, "num_labels": 5, "use_mean_pooling": mean_pooling}
    config |= {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    model = cls(transformers.VideoMAEConfig(**(config | changes))).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, Path]:
    """One folder for each kind of model, as ``save_pretrained`` writes it."""
    folders = {kind: tmp_path_factory.mktemp("weights") / f"Tiny-{kind}" for kind in MODELS}
    for kind, folder in folders.items():
        tiny_model(kind).save_pretrained(folder)
    return folders


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the pre-trained model, to be damaged."""
    return Path(shutil.copytree(saved["pretrained"], tmp_path / "Tiny"))


def random_clips(num_clips: int = 3, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (num_clips, FRAMES, size, size, 3), dtype=torch.uint8, generator=generator)


def normalised(clips: Tensor) -> Tensor:
    """What transformers wants: float, shape (B, T, 3, H, W)."""
    pixels = (clips.numpy() / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.from_numpy(np.moveaxis(pixels, 4, 2).astype(np.float32))


def classifier_input(model: torch.nn.Module, clips: Tensor) -> Tensor:
    """What reaches the last layer of a fine-tuned model."""
    seen: list[Tensor] = []
    model.classifier.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(normalised(clips))
    return seen[0]


@pytest.mark.parametrize(
    ("kind", "expected", "layer"),
    [
        (
            "pretrained",
            lambda model, clips: model.videomae(normalised(clips)).last_hidden_state.mean(1),
            "mean of the encoder's tokens after its norm",
        ),
        ("finetuned", classifier_input, "fc_norm of the mean of the encoder's tokens"),
        (
            "encoder",
            lambda model, clips: model(normalised(clips)).last_hidden_state.mean(1),
            "mean of the encoder's tokens after its norm",
        ),
        (
            "encoder-without-norm",
            lambda model, clips: model(normalised(clips)).last_hidden_state.mean(1),
            "mean of the encoder's tokens",
        ),
    ],
)
def test_features_equal_those_of_transformers(saved, kind, expected, layer):
    backbone = load_videomae(str(saved[kind]))
    features = backbone.embed(random_clips())
    assert features.dtype == torch.float32
    assert features.shape == (3, DIM)
    with torch.no_grad():
        torch.testing.assert_close(features, expected(tiny_model(kind), random_clips()), atol=1e-5, rtol=1e-5)
    assert backbone.spec.layer == layer


def test_spec(saved):
    spec = load_videomae(str(saved["pretrained"])).spec
    assert spec.name == "tiny-pretrained"
    assert spec.source == "videomae:Tiny-pretrained"
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (FRAMES, SIZE, DIM)
    assert spec.precision == "float32"
    assert spec.licence == "unknown"
    assert spec.library_versions["transformers"] == transformers.__version__
    assert json.loads(json.dumps(spec.preprocessing))["mean"] == [0.485, 0.456, 0.406]
    assert load_videomae(str(saved["pretrained"]), name="other").spec.name == "other"


def test_the_digest_is_that_of_the_tensors_which_features_depend_on(saved, folder):
    digest = load_videomae(str(folder)).spec.weights_digest
    assert load_videomae(str(saved["pretrained"])).spec.weights_digest == digest
    tensors = load_file(folder / "model.safetensors")
    decoder = next(key for key in tensors if key.startswith("decoder."))
    save_file(tensors | {decoder: tensors[decoder] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_videomae(str(folder)).spec.weights_digest == digest
    norm = "videomae.layernorm.weight"
    save_file(tensors | {norm: tensors[norm] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_videomae(str(folder)).spec.weights_digest != digest
    assert len({load_videomae(str(saved[kind])).spec.weights_digest for kind in MODELS}) == len(MODELS)


@pytest.mark.parametrize("changes", [{"num_attention_heads": 4}, {"layer_norm_eps": 1e-3}, {"hidden_act": "relu"}])
def test_settings_that_no_tensor_holds_are_recorded(folder, changes):
    original = load_videomae(str(folder)).spec
    edit_config(folder, **changes)
    spec = load_videomae(str(folder)).spec
    assert spec.weights_digest == original.weights_digest
    assert spec.preprocessing != original.preprocessing


def older_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As transformers 4 called them, and the files on the hub still do."""
    renamed = {".attention.query.bias": ".attention.q_bias", ".attention.value.bias": ".attention.v_bias"}
    result = {}
    for key, tensor in tensors.items():
        for new, old in renamed.items():
            key = key.replace(new, old)
        result[key] = tensor
    return result


def test_weights_under_their_older_names_are_the_same(saved, folder):
    tensors = older_names(load_file(folder / "model.safetensors"))
    assert (
        sum(key.endswith(("q_bias", "v_bias")) for key in tensors) == 6
    )  # 2 of the encoder's layers, 1 of the decoder's
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    backbone, original = load_videomae(str(folder)), load_videomae(str(saved["pretrained"]))
    assert backbone.spec.weights_digest == original.spec.weights_digest
    torch.testing.assert_close(backbone.embed(random_clips()), original.embed(random_clips()), atol=0, rtol=0)


def test_weights_of_torch_save_are_the_same(saved, folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    original = load_videomae(str(saved["pretrained"])).spec.weights_digest
    assert load_videomae(str(folder)).spec.weights_digest == original


def test_half_precision_weights_are_run_in_float32(folder):
    tensors = {key: tensor.half() for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_videomae(str(folder)).embed(random_clips()).dtype == torch.float32


def test_the_licence_is_read_from_the_model_card(folder):
    (folder / "README.md").write_text('---\ntags:\n- vision\nlicense: "cc-by-nc-4.0"\n---\n\nlicense: mit\n')
    assert load_videomae(str(folder)).spec.licence == "cc-by-nc-4.0"
    (folder / "README.md").write_text("---\nlicense: other\n---\n")
    assert load_videomae(str(folder)).spec.licence == "unknown"


def test_loading_says_nothing_and_leaves_the_logging_of_transformers_alone(saved, capfd):
    transformers.logging.set_verbosity_info()
    try:
        load_videomae(str(saved["pretrained"]))
        assert transformers.logging.get_verbosity() == transformers.logging.INFO
        assert transformers.logging.is_progress_bar_enabled()
    finally:
        transformers.logging.set_verbosity_warning()
    assert "decoder" not in capfd.readouterr().err


@pytest.mark.parametrize(("size", "patch", "frame_size"), [(224, 32, None), (224, 56, 224), (64, 32, 64)])
def test_a_model_of_the_papers_size_takes_the_nominal_sizes(tmp_path, size, patch, frame_size):
    tiny_model("encoder", image_size=size, patch_size=patch).save_pretrained(tmp_path)
    assert load_videomae(str(tmp_path)).spec.frame_size == frame_size


def test_frames_of_another_size(saved):
    """Equal to transformers' own forward pass, told of the new size and of positions resized by a loop."""
    model = tiny_model("encoder")
    table = model.embeddings.position_embeddings.reshape(2, 4, 4, DIM)
    maps = [
        torch.nn.functional.interpolate(
            table[time, None, :, :, channel, None].permute(3, 0, 1, 2), size=(6, 6), mode="bicubic"
        )
        for time in range(2)
        for channel in range(DIM)
    ]
    resized = torch.stack([m.flatten() for m in maps]).reshape(2, DIM, 36).permute(0, 2, 1).reshape(1, 72, DIM)
    model.embeddings.position_embeddings = resized
    model.embeddings.patch_embeddings.image_size = (48, 48)
    with torch.no_grad():
        expected = model(normalised(random_clips(size=48))).last_hidden_state.mean(1)
    features = load_videomae(str(saved["encoder"])).embed(random_clips(size=48))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_positions_resized_to_their_own_number_are_the_table():
    table = torch.randn(1, 2 * 3 * 3, 5, generator=torch.Generator().manual_seed(3))
    assert resize_positions(table, num_times=2, side=3) is table
    constant = torch.arange(2.0).repeat_interleave(9).reshape(1, 18, 1)  # what a time holds stays in that time
    torch.testing.assert_close(
        resize_positions(constant, num_times=2, side=4)[0, :, 0], torch.arange(2.0).repeat_interleave(16)
    )


@pytest.mark.parametrize(
    ("asked", "mean", "std"), [("own", IMAGENET.mean, IMAGENET.std), ("paper", PAPER.mean, PAPER.std)]
)
def test_the_network_sees_pictures_as_published(saved, asked, mean, std):
    """As the authors' transforms make them of pictures: numbers from 0 to 1, less a mean, over a deviation."""
    backbone = load_videomae(str(saved["encoder"]), normalisation=asked)
    seen: list[Tensor] = []
    projection = backbone._network.encoder.embeddings.patch_embeddings.projection
    projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone.embed(random_clips())
    for clip, tensor in zip(random_clips(), seen[0], strict=True):
        assert tensor.shape == (3, FRAMES, SIZE, SIZE)
        for index, frame in enumerate(clip):
            picture = Image.fromarray(frame.numpy(), "RGB")
            for channel, band in enumerate(picture.split()):
                expected = (np.asarray(band.convert("F"), np.float64) / 255 - mean[channel]) / std[channel]
                np.testing.assert_allclose(tensor[channel, index], expected, atol=1e-3)
    assert backbone.spec.preprocessing["normalisation"] == asked
    assert backbone.spec.preprocessing["mean"] == list(mean)


def test_a_normalisation_that_there_is_not(saved):
    with pytest.raises(ValueError, match="no normalisation 'imagenet'; there are: own, paper"):
        load_videomae(str(saved["encoder"]), normalisation="imagenet")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_gives_nearly_the_same_in_float32(saved, precision):
    exact = load_videomae(str(saved["finetuned"])).embed(random_clips())
    backbone = load_videomae(str(saved["finetuned"]), placement=Placement.of("cpu", precision))
    features = backbone.embed(random_clips())
    assert backbone.spec.precision == precision
    assert features.dtype == torch.float32
    error = (features - exact).abs().max() / exact.square().mean().sqrt()
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (random_clips().float(), "takes uint8 clips of shape .B, 4, H, W, 3., got torch.float32"),
        (random_clips()[:, :3], r"of shape \(B, 4, H, W, 3\), got torch.uint8 \(3, 3, 32, 32, 3\)"),
        (random_clips()[0], r"got torch.uint8 \(4, 32, 32, 3\)"),
        (random_clips()[:, :, :24], "takes square frames of a multiple of 8 pixels, got 24 x 32"),
        (random_clips(size=36), "a multiple of 8 pixels, got 36 x 36; choose such a nominal size"),
    ],
)
def test_clips_of_another_shape(saved, clips, message):
    with pytest.raises(ValueError, match=f"^tiny-encoder .*{message}"):
        load_videomae(str(saved["encoder"])).embed(clips)


def cached_on_hub(folder: Path, cache: Path, name: str) -> None:
    """Put a folder where the hub's client keeps what it downloaded."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)


@pytest.fixture
def offline_hub(tmp_path, monkeypatch) -> Path:
    """The hub's client, with an empty cache and no network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_name_of_the_hub_is_found_in_its_cache_without_a_network(saved, offline_hub):
    cached_on_hub(saved["finetuned"], offline_hub, "owner/Tiny-VideoMAE")
    backbone = load_videomae("owner/Tiny-VideoMAE")
    assert backbone.spec.source == "videomae:owner/Tiny-VideoMAE"
    assert backbone.spec.name == "tiny-videomae"
    assert backbone.spec.weights_digest == load_videomae(str(saved["finetuned"])).spec.weights_digest


def test_a_name_that_is_neither_cached_nor_reachable(offline_hub):
    message = r"^'owner/tiny' is no folder here, and cannot be fetched from the hub \(\w+\); get config.*/that/folder$"
    with pytest.raises(ValueError, match=message):
        load_videomae("owner/tiny")


def test_a_cached_name_without_weights(folder, offline_hub):
    (folder / "model.safetensors").unlink()
    cached_on_hub(folder, offline_hub, "owner/tiny")
    with pytest.raises(ValueError, match=r"'owner/tiny' .* cannot be fetched from the hub \(.*\); get config.json"):
        load_videomae("owner/tiny")


@pytest.mark.parametrize("source", ["/no/such/weights", "~/no such weights", "./weights", "a/b/c"])
def test_no_such_folder(source):
    with pytest.raises(ValueError, match=f"^no such folder: '{source}', and no name on the hub either"):
        load_videomae(source)


def test_transformers_is_not_installed(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r"needs the transformers library .*; pip install 'scale-video\[transformers\]'$"
    with pytest.raises(ValueError, match=message):
        load_videomae(str(saved["encoder"]))


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["videomae.layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Path("/")}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "^'.*Tiny' holds no config.json; give the folder"),
        (lambda folder: (folder / "config.json").write_text("{"), "^config.json of '.*Tiny' is damaged"),
        (lambda folder: (folder / "config.json").write_text("[]"), "^config.json of '.*Tiny' is damaged"),
        (lambda folder: edit_config(folder, model_type="vit"), "'.*Tiny' is a model of type 'vit', not 'videomae'"),
        (lambda folder: edit_config(folder, num_channels=1), "'.*Tiny' takes 1 channels; choose a VideoMAE for RGB"),
        (lambda folder: edit_config(folder, image_size=[32, 64]), r"'.*Tiny' has the image_size \[32, 64\]; choose"),
        (lambda folder: edit_config(folder, patch_size=[8, 4]), r"'.*Tiny' has the patch_size \[8, 4\]; choose"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "holds neither model.*safetensors nor pytorch_model.*bin",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"12"),
            "^cannot read the weights of '.*Tiny' .*; get them",
        ),
        (
            drop_tensor,
            "the weights of '.*Tiny' lack 1 of the tensors that features depend on, the first: layernorm.weight; get",
        ),
        (pickle_instead, "^cannot read the weights of '.*Tiny' .*; get them again$"),
    ],
)
def test_weights_that_cannot_be_used(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        load_videomae(str(folder))
    assert "\n" not in str(error.value)


def test_the_paper_interpolates_all_axes_linearly(saved):
    table = torch.randn(1, 2 * 3 * 3, 5, generator=torch.Generator().manual_seed(3))
    volume = table.reshape(1, 2, 3, 3, 5).permute(0, 4, 1, 2, 3)
    expected = torch.nn.functional.interpolate(volume, size=(2, 4, 4), mode="trilinear")  # SCALE's published code
    resized = resize_positions(table, num_times=2, side=4, mode="bilinear")
    torch.testing.assert_close(resized, expected.reshape(1, 5, 32).permute(0, 2, 1))
    own, paper = (load_videomae(str(saved["encoder"]), normalisation=asked).spec for asked in ("own", "paper"))
    assert own.preprocessing["positions"] == "bicubic interpolation in space"
    assert paper.preprocessing["positions"] == "bilinear interpolation in space"
