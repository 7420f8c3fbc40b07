"""PySlowFast's ρBYOL; ``tests/data/golden/README.md`` says how the reference outputs came about."""

import json
import logging
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from scale_video.extract.backbones.checkpoint_file import WEIGHTS_VARIABLE, load_strictly
from scale_video.extract.backbones.pixels import PAPER
from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.rho_byol import FILE_NAME, RhoByol, load
from scale_video.extract.backbones.slow_r50 import SlowResNet

RECIPE = runpy.run_path(str(Path(__file__).with_name("golden_recipe.py")))
GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "rho_byol.npz"
PREFIX = "backbone_hist."


def expected_features(name: str) -> Tensor:
    with np.load(GOLDEN) as arrays:
        return torch.from_numpy(arrays[name])


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the model that PySlowFast saves."""
    with np.load(GOLDEN) as arrays:
        lines = [line.split(" ") for line in arrays["layout"]]
    return {name: tuple(int(size) for size in shape.split(",") if size) for name, shape in lines}


def model_state(**sizes: Any) -> dict[str, Tensor]:
    """All that PySlowFast saves of a network; what features don't depend on is there, but a mere number."""
    network = SlowResNet(**sizes).state_dict()
    state = {name: torch.tensor(0) for name in published_layout()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX + "s")}
    state[PREFIX + "ssl_128.0.weight"] = torch.tensor(0)  # the projection as SCALE's code knows it from the file
    for name, tensor in network.items():
        state[PREFIX + name] = RECIPE["weight"](PREFIX + name, tuple(tensor.shape))
        if name.endswith("running_var"):
            state[PREFIX + name.replace("running_var", "num_batches_tracked")] = torch.tensor(77)
    return state


def as_saved(state: dict[str, Tensor]) -> dict[str, Any]:
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": np.float64(0.6)}]}
    return {"epoch": 199, "model_state": state, "optimizer_state": optimizer, "cfg": "TASK: ssl\n"}


def save(state: dict[str, Tensor], path: Path) -> str:
    torch.save(as_saved(state), path)
    return str(path)


def request(path: Path | str | None, **changes: Any) -> BackboneRequest:
    return BackboneRequest(**{"family": "rho-byol", "source": path and str(path), "name": "rho-byol", **changes})


@pytest.fixture(scope="module")
def small_file(tmp_path_factory) -> str:
    return save(model_state(width=8), tmp_path_factory.mktemp("weights") / FILE_NAME)


@pytest.fixture
def tiny() -> dict[str, Tensor]:
    """Of the smallest network that has all parts."""
    return model_state(width=2, num_blocks=(1, 2, 1, 1))


def assert_near(features: Tensor, expected: Tensor) -> None:
    assert features.dtype == torch.float32
    assert features.shape == expected.shape
    assert (features - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("size", [224, 256])
def test_features_equal_those_of_pyslowfast(small_file, size):
    backbone = load_backbone(parse_backbone(f"rho-byol:{small_file}"))
    clips = RECIPE["clips"](2, num_frames=16, size=size)
    assert_near(backbone.embed(clips), expected_features(f"small_{size}"))


@pytest.mark.slow
def test_a_network_of_the_published_size():
    with torch.device("meta"):
        network = SlowResNet()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    load_strictly(network, {name: RECIPE["weight"](PREFIX + name, shape) for name, shape in shapes.items()}, source="")
    backbone = RhoByol(network, name="b", source="rho-byol:b", placement=CPU, normalisation=PAPER)
    for size in (64, 224, 256):
        assert_near(backbone.embed(RECIPE["clips"](1, num_frames=16, size=size)), expected_features(f"full_{size}"))
    assert backbone.spec.feature_dim == 2048


def test_the_published_layout_is_taken_to_the_last_tensor_of_the_backbone():
    layout = {name.removeprefix(PREFIX): shape for name, shape in published_layout().items() if PREFIX in name}
    layout = {name: torch.empty(shape, device="meta") for name, shape in layout.items()}
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in SlowResNet.fitting(layout).state_dict().items()}
    left = {name: tuple(tensor.shape) for name, tensor in layout.items() if name not in ours}
    assert ours == {name: tuple(layout[name].shape) for name in ours}
    assert len(ours) == 53 * 5  # convolutions, each with the four tensors of a batch norm
    assert {name.split(".")[-1] for name in left if not name.startswith("head.")} == {"num_batches_tracked"}


def test_width_and_blocks_follow_from_the_tensors(tiny, tmp_path):
    spec = load(request(save(tiny, tmp_path / "tiny.pyth")), CPU).spec
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (16, None, 64)


def test_spec(small_file):
    spec = load_backbone(parse_backbone(f"rho-byol:{small_file}")).spec
    assert (spec.name, spec.source) == ("rho-byol", f"rho-byol:{FILE_NAME}")
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (16, None, 256)
    assert spec.layer == "mean over time and space of the last stage of the momentum encoder"
    assert (spec.licence, spec.precision) == ("Apache-2.0", "float32")
    assert spec.library_versions == {"torch": torch.__version__}
    assert json.loads(json.dumps(spec.preprocessing))["std"] == [0.225] * 3
    assert load_backbone(parse_backbone(f"rho-byol:{small_file}@other")).spec.name == "other"


def seen_by_the_network(backbone: Any, clips: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = backbone._network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone.embed(clips)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("normalisation", ["own", "paper"])
def test_pixels_equal_those_of_the_published_configuration(tiny, tmp_path, normalisation):
    backbone = load(request(save(tiny, tmp_path / "tiny.pyth"), normalisation=normalisation), CPU)
    clips = RECIPE["clips"](2, num_frames=16, size=32)
    pictures = [[Image.fromarray(frame) for frame in clip] for clip in clips.numpy()]
    rows = [[(np.asarray(picture) / 255 - 0.45) / 0.225 for picture in clip] for clip in pictures]
    expected = torch.from_numpy(np.array(rows).transpose(0, 4, 1, 2, 3)).float()
    assert (seen_by_the_network(backbone, clips) - expected).abs().max() < 1e-3
    assert backbone.spec.preprocessing["normalisation"] == normalisation


def test_a_normalisation_that_there_is_not(small_file):
    with pytest.raises(ValueError, match=r"^no normalisation 'imagenet'; there are: own, paper$"):
        load(request(small_file, normalisation="imagenet"), CPU)


def test_half_precision_gives_float32(tiny, tmp_path):
    path = save(tiny, tmp_path / "tiny.pyth")
    clips = RECIPE["clips"](2, num_frames=16, size=64)
    exact, half = (load(request(path), Placement.of("cpu", kind)) for kind in ("float32", "bfloat16"))
    features, expected = half.embed(clips), exact.embed(clips)
    assert features.dtype == torch.float32
    assert 0 < (features - expected).abs().max() < 0.05 * expected.std()
    assert half.spec.precision == "bfloat16"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_features_on_a_gpu(small_file, precision):
    backbone = load(request(small_file), Placement.of("cuda", precision))
    features = backbone.embed(RECIPE["clips"](2, num_frames=16, size=224).to(backbone.device)).cpu()
    expected = expected_features("small_224")
    assert features.dtype == torch.float32
    assert (features - expected).abs().max() <= (2e-3 if precision == "float32" else 0.05) * expected.std()


def digest(state: dict[str, Tensor], path: Path) -> str:
    return load(request(save(state, path)), CPU).spec.weights_digest


def test_the_digest_is_that_of_the_tensors_which_features_depend_on(tiny, tmp_path):
    original = digest(tiny, tmp_path / "a.pyth")
    other = {name: tensor + 1 if not name.startswith(PREFIX) else tensor for name, tensor in tiny.items()}
    assert digest(other, tmp_path / "b.pyth") == original
    uncounted = {name: tensor for name, tensor in tiny.items() if "num_batches_tracked" not in name}
    assert digest(uncounted, tmp_path / "c.pyth") == original
    for name in ("s1.pathway0_stem.conv.weight", "s5.pathway0_res0.branch2.c_bn.running_mean"):
        assert digest({**tiny, PREFIX + name: tiny[PREFIX + name] + 1}, tmp_path / "d.pyth") != original


def test_the_same_weights_in_safetensors(tiny, tmp_path):
    save_file(tiny, tmp_path / "tiny.safetensors")
    clips = RECIPE["clips"](1, num_frames=16, size=32)
    backbones = [
        load(request(path), CPU) for path in (save(tiny, tmp_path / "tiny.pyth"), tmp_path / "tiny.safetensors")
    ]
    assert backbones[0].spec.weights_digest == backbones[1].spec.weights_digest
    torch.testing.assert_close(backbones[0].embed(clips), backbones[1].embed(clips), atol=0, rtol=0)
    assert backbones[1].spec.source == "rho-byol:tiny.safetensors"


def test_what_is_not_used_is_named(tiny, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "scale_video"):
        load(request(save(tiny, tmp_path / "tiny.pyth")), CPU)
    (message,) = caplog.messages
    assert "of tiny.pyth, " in message
    for group in ("queue_x", "backbone.s1.* (", "backbone_hist.head.* (", "backbone_hist.ssl_128.*", "_tracked ("):
        assert group in message


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 16, 32, 32, 3), r"^b takes uint8 clips of shape \(B, 16, H, W, 3\), got torch.float32"),
        (torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8), r"^b takes .* got torch.uint8 \(1, 8, 32, 32, 3\)"),
        (torch.zeros(1, 16, 32, 64, 3, dtype=torch.uint8), "^b takes square frames .* got 32 x 64; choose such"),
    ],
)
def test_clips_of_another_shape(clips, message):
    network = SlowResNet(width=1, num_blocks=(1, 1, 1, 1))
    backbone: Backbone = RhoByol(network, name="b", source="rho-byol:b", placement=CPU, normalisation=PAPER)
    with pytest.raises(ValueError, match=message):
        backbone.embed(clips)


class RunsCode:
    """Unpickled without care, it makes a folder."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, ("made-by-a-pickle",)


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: as_saved({key: tensor for key, tensor in state.items() if key != PREFIX + name})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            without("s4.pathway0_res0.branch2.a.weight"),
            "'w.pyth' lack 1 of 100 tensors, the first: backbone_hist.s4.pathway0_res0.branch2.a.weight; choose",
        ),
        (
            without("s1.pathway0_stem.conv.weight"),
            "'w.pyth' lack .*, the first: backbone_hist.s1.pathway0_stem.conv.weight; choose the file",
        ),
        (
            lambda state: as_saved({**state, PREFIX + "s2.pathway0_res0.branch1_bn.bias": torch.zeros(3)}),
            r"^backbone_hist.s2.pathway0_res0.branch1_bn.bias of .* has the shape \(3,\), expected \(8,\); choose",
        ),
        (
            lambda state: {"backbone.cls_token": torch.zeros(1), "head.mlp.0.bias": torch.zeros(1)},
            r"'w.pyth' hold no tensors backbone_hist.\*, the first there is backbone.cls_token; choose the file",
        ),
        (lambda state: {"model_state": {}, "epoch": 1}, "'w.pyth' holds no weights .looked for model_state.; choose"),
        (
            lambda state: {"model_state": state, "hook": RunsCode()},
            r"cannot read .*w.pyth' \(it names code, which is never run: \w+.mkdir\); get them again",
        ),
    ],
    ids=["no weight", "no stem", "another shape", "another network", "nothing", "code"],
)
def test_weights_of_something_else(tiny, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content(tiny), "w.pyth")
    with pytest.raises(ValueError, match=message) as error:
        load(request("w.pyth"), CPU)
    assert "\n" not in str(error.value)
    assert not Path("made-by-a-pickle").exists()


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    url = f"https://dl.fbaipublicfiles.com/pyslowfast/videomoco_models/{FILE_NAME}"
    message = (
        f"the weights '{FILE_NAME}' are not on this machine; get {FILE_NAME} from {url} and put it into {tmp_path},"
    )
    with pytest.raises(ValueError) as error:
        load_backbone(parse_backbone("rho-byol"))
    assert str(error.value) == f"{message} or give its path: FAMILY:PATH"


def test_a_file_that_is_where_it_belongs(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    save(tiny, tmp_path / FILE_NAME)
    assert load_backbone(parse_backbone("rho-byol")).spec.source == f"rho-byol:{FILE_NAME}"
