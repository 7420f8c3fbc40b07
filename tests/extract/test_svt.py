"""SVT, as its authors and as SCALE compute it; ``tests/data/golden/README.md`` says how the references came about."""

import json
import logging
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

from scale_video.extract.backbones import timesformer_divided
from scale_video.extract.backbones.checkpoint_file import WEIGHTS_VARIABLE, load_strictly
from scale_video.extract.backbones.pixels import PAPER
from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.svt import FILE_NAME, VARIANTS, Svt, load
from scale_video.extract.backbones.timesformer_divided import DividedTimeSformer

RECIPE = runpy.run_path(str(Path(__file__).with_name("golden_recipe.py")))
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
PREFIX = "backbone."
NUM_FRAMES = {"svt": 8, "svt-scale": 16}
SMALL = {"width": 128, "depth": 2, "mlp_width": 512}
TINY = {"width": 64, "depth": 1, "mlp_width": 96, "num_places": 4, "num_times": 4}


def golden(family: str, name: str) -> Any:
    with np.load(GOLDEN / f"{family.replace('-', '_')}.npz") as arrays:
        return arrays[name]


def published_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the published file."""
    lines = [line.split(" ") for line in golden("svt", "layout")]
    return {name: tuple(int(size) for size in shape.split(",")) for name, shape in lines}


def state_dict(*, faint: bool = False, **sizes: Any) -> dict[str, Tensor]:
    """All that the authors save of a network; of the head, which features don't depend on, only mere numbers."""
    state = {name: torch.tensor(0.0) for name in published_layout() if name.startswith("head.")}
    with torch.device("meta"):
        ours = DividedTimeSformer(**sizes).state_dict()
    shapes = {PREFIX + name: tuple(tensor.shape) for name, tensor in ours.items()}
    return state | {name: RECIPE["weight"](name, shape, faint=faint) for name, shape in shapes.items()}


def save(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    return str(path)


def request(path: Path | str, family: str = "svt", **changes: Any) -> BackboneRequest:
    return BackboneRequest(**{"family": family, "source": str(path), "name": family, **changes})


@pytest.fixture(scope="module")
def small_file(tmp_path_factory) -> str:
    return save(state_dict(**SMALL), tmp_path_factory.mktemp("weights") / FILE_NAME)


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory) -> str:
    return save(state_dict(**TINY), tmp_path_factory.mktemp("weights") / "tiny.pth")


def assert_near(features: Tensor, expected: Any, tolerance: float = 1e-4) -> None:
    assert features.dtype == torch.float32
    assert features.shape == expected.shape
    assert (features.cpu() - torch.from_numpy(expected)).abs().max() <= tolerance * expected.std()


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize("family", VARIANTS)
def test_features_equal_those_of_the_published_code(small_file, family, size):
    backbone = load_backbone(parse_backbone(f"{family}:{small_file}"))
    features = backbone.embed(RECIPE["clips"](2, num_frames=NUM_FRAMES[family], size=size))
    assert_near(features, golden(family, f"small_{size}"))


@pytest.mark.parametrize("family", VARIANTS)
def test_the_epsilon_of_the_norms(tmp_path, family):
    backbone = load(request(save(state_dict(faint=True, **SMALL), tmp_path / "faint.pth"), family), CPU)
    features = backbone.embed(RECIPE["clips"](2, num_frames=NUM_FRAMES[family], size=64))
    assert_near(features, golden(family, "faint_64"))


@pytest.mark.slow
def test_a_network_of_the_published_size():
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in state_dict().items() if PREFIX in name}
    for family, sizes in (("svt", (64, 224)), ("svt-scale", (64, 256))):
        variant = VARIANTS[family]
        with torch.device("meta"):
            network = DividedTimeSformer(norm_eps=variant.norm_eps, resizing=variant.resizing)
        load_strictly(network, weights, source=FILE_NAME)
        for size in sizes:
            clips = PAPER(RECIPE["clips"](1, num_frames=NUM_FRAMES[family], size=size))
            with torch.inference_mode():
                assert_near(network(clips), golden(family, f"full_{size}"))


def test_the_published_layout_is_taken_to_the_last_tensor_of_the_backbone():
    layout = {name.removeprefix(PREFIX): shape for name, shape in published_layout().items() if PREFIX in name}
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in layout.items()}
        network = DividedTimeSformer.fitting(tensors, norm_eps=1e-6, resizing="nearest", source="")
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == layout
    assert {block.attn.num_heads for block in network.blocks} == {12}


@pytest.mark.parametrize(
    ("family", "num_frames", "positions", "layer"),
    [
        ("svt", 8, "nearest in space", "CLS token after the last norm (epsilon 1e-06)"),
        ("svt-scale", 16, "trilinear interpolation in time and space", "CLS token after the last norm (epsilon 1e-05)"),
    ],
)
def test_spec(small_file, family, num_frames, positions, layer):
    spec = load_backbone(parse_backbone(f"{family}:{small_file}")).spec
    assert (spec.name, spec.source) == (family, f"{family}:{FILE_NAME}")
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (num_frames, None, 128)
    assert (spec.layer, spec.preprocessing["positions"]) == (layer, positions)
    assert (spec.licence, spec.precision) == ("MIT", "float32")
    assert spec.library_versions == {"torch": torch.__version__}
    assert json.loads(json.dumps(spec.preprocessing))["mean"] == [0.45] * 3


@pytest.mark.parametrize(("family", "num_frames"), [("svt", 4), ("svt-scale", 16)])
def test_a_network_of_another_size_gets_frames_of_its_own(tiny_file, family, num_frames):
    backbone = load(request(tiny_file, family), CPU)
    assert (backbone.spec.num_frames, backbone.spec.frame_size, backbone.spec.feature_dim) == (num_frames, 32, 64)
    assert backbone.embed(RECIPE["clips"](3, num_frames=num_frames, size=32)).shape == (3, 64)


@pytest.mark.parametrize(("sizes", "num_heads"), [({"width": 24}, 1), ({"width": 192}, 3), ({"patch_size": 8}, 1)])
def test_all_sizes_follow_from_the_tensors(tmp_path, sizes, num_heads):
    expected = {**TINY, "depth": 2, **sizes}
    backbone = load(request(save(state_dict(**expected), tmp_path / "w.pth")), CPU)
    assert backbone.spec.feature_dim == expected["width"]
    assert backbone.spec.frame_size == 2 * sizes.get("patch_size", 16)
    assert [block.attn.num_heads for block in backbone._network.blocks] == [num_heads] * 2


@pytest.mark.parametrize("normalisation", ["own", "paper"])
def test_pixels_equal_those_of_the_published_configuration(tiny_file, normalisation):
    backbone = load(request(tiny_file, normalisation=normalisation), CPU)
    clips = RECIPE["clips"](2, num_frames=4, size=32)
    pictures = [[Image.fromarray(frame) for frame in clip] for clip in clips.numpy()]
    rows = [[(np.asarray(picture) / 255 - 0.45) / 0.225 for picture in clip] for clip in pictures]
    seen: list[Tensor] = []
    backbone._network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone.embed(clips)
    assert (seen[0] - torch.from_numpy(np.array(rows).transpose(0, 4, 1, 2, 3))).abs().max() < 1e-3
    assert backbone.spec.preprocessing["normalisation"] == normalisation


def test_positions_in_time_and_space_are_those_of_a_loop():
    """Of both tables, by the definition of linear interpolation between the middles of cells."""
    network = DividedTimeSformer(**{**TINY, "width": 3, "patch_size": 8}, norm_eps=1e-5, resizing="linear")
    for table in (network.pos_embed, network.time_embed):
        torch.nn.init.normal_(table, generator=torch.Generator().manual_seed(1))
    side = 6

    def between(table: Tensor, index: int, num_new: int) -> Tensor:
        where = min(max((index + 0.5) * len(table) / num_new - 0.5, 0), len(table) - 1)
        low = min(int(where), len(table) - 2)
        return table[low] * (low + 1 - where) + table[low + 1] * (where - low)

    with torch.no_grad():
        places, times = network._places(side, side)[0, 0], network._times(16)[0, :, 0]
        rows = network.pos_embed[0, 1:].reshape(2, 2, 3)
        for row in range(side):
            for column in range(side):
                expected = between(between(rows, row, side), column, side)
                torch.testing.assert_close(places[row * side + column], expected, atol=1e-6, rtol=0)
        for time in range(16):
            torch.testing.assert_close(times[time], between(network.time_embed[0], time, 16), atol=1e-6, rtol=0)


def test_more_sequences_than_a_gpu_takes_at_once(tiny_file, monkeypatch):
    backbone = load(request(tiny_file), CPU)
    clips = RECIPE["clips"](3, num_frames=4, size=32)
    at_once = backbone.embed(clips)
    monkeypatch.setattr(timesformer_divided, "_MOST_SEQUENCES", 5)  # of 12 along time, 12 across frames
    torch.testing.assert_close(backbone.embed(clips), at_once, atol=1e-6, rtol=1e-6)


def test_half_precision_gives_float32(tiny_file):
    clips = RECIPE["clips"](2, num_frames=4, size=32)
    exact, half = (load(request(tiny_file), Placement.of("cpu", kind)) for kind in ("float32", "bfloat16"))
    features, expected = half.embed(clips), exact.embed(clips)
    assert features.dtype == torch.float32
    assert 0 < (features - expected).abs().max() < 0.05 * expected.std()
    assert half.spec.precision == "bfloat16"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", VARIANTS)
def test_features_on_a_gpu(small_file, family, precision):
    backbone = load(request(small_file, family), Placement.of("cuda", precision))
    clips = RECIPE["clips"](2, num_frames=NUM_FRAMES[family], size=224).to(backbone.device)
    tolerance = {"float32": 2e-3, "float16": 0.05, "bfloat16": 0.2}[precision]
    assert_near(backbone.embed(clips), golden(family, "small_224"), tolerance)


@pytest.mark.gpu
def test_many_clips_on_a_gpu(small_file):
    backbone = load(request(small_file), Placement.of("cuda", "float16"))
    clips = RECIPE["clips"](1, num_frames=8, size=256).to(backbone.device).expand(280, -1, -1, -1, -1)  # 71,680 lines
    features = backbone.embed(clips)
    assert (features - features[:1]).abs().max() < 0.01 * features.std()


def test_one_digest_for_both_families_and_files(tiny_file, tmp_path):
    state = torch.load(tiny_file)
    save_file(state, tmp_path / "tiny.safetensors")
    torch.save({"teacher": state, "student": {}, "epoch": 20}, tmp_path / "checkpoint.pth")
    backbones = [
        load(request(path), CPU) for path in (tiny_file, tmp_path / "tiny.safetensors", tmp_path / "checkpoint.pth")
    ]
    scale = load(request(tiny_file, "svt-scale"), CPU)
    assert len({backbone.spec.weights_digest for backbone in (*backbones, scale)}) == 1
    clips = RECIPE["clips"](1, num_frames=4, size=32)
    for backbone in backbones[1:]:
        torch.testing.assert_close(backbone.embed(clips), backbones[0].embed(clips), atol=0, rtol=0)


def test_the_digest_is_that_of_the_tensors_which_features_depend_on(tiny_file, tmp_path):
    def digest(**changes: Tensor) -> str:
        return load(request(save(state | changes, tmp_path / "w.pth")), CPU).spec.weights_digest

    state = torch.load(tiny_file)
    assert digest(**{"head.last_layer.weight_g": torch.ones(2)}) == digest()
    names = [f"{PREFIX}{name}" for name in ("time_embed", "blocks.0.temporal_fc.weight", "norm.bias")]
    assert len({digest(), *(digest(**{name: state[name] + 1}) for name in names)}) == 1 + len(names)


def test_what_is_not_used_is_named(tiny_file, caplog):
    with caplog.at_level(logging.INFO, "scale_video"):
        load(request(tiny_file), CPU)
    assert caplog.messages == [
        "of tiny.pth, 8 tensors are not used, and not needed: head.mlp.* (6), head.last_layer.* (2)",
    ]


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 4, 32, 32, 3), r"^svt takes uint8 clips of shape \(B, 4, H, W, 3\), got torch.float32"),
        (torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8), r"^svt takes .* got torch.uint8 \(1, 8, 32, 32, 3\)"),
        (torch.zeros(1, 4, 40, 40, 3, dtype=torch.uint8), "^svt takes .* a multiple of 16 pixels, got 40 x 40; choose"),
        (torch.zeros(1, 4, 32, 64, 3, dtype=torch.uint8), "^svt takes square frames .* got 32 x 64; choose such"),
    ],
)
def test_clips_of_another_shape(tiny_file, clips, message):
    with pytest.raises(ValueError, match=message):
        load(request(tiny_file), CPU).embed(clips)


def replacing(**changes: Tensor | None) -> Callable[[dict[str, Tensor]], object]:
    """A change of tensors of the backbone, whose names are given with __ for a point; None leaves one out."""
    renamed = {PREFIX + name.replace("__", "."): tensor for name, tensor in changes.items()}
    return lambda state: {key: tensor for key, tensor in (state | renamed).items() if tensor is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            replacing(norm__bias=None),
            "^the weights 'w.pth' lack 1 of 27 tensors, the first: backbone.norm.bias; choose the file",
        ),
        (
            replacing(pos_embed=None),
            "^the weights 'w.pth' have no pos_embed, expected 3 dimensions; choose the file that belongs",
        ),
        (
            replacing(blocks__0__temporal_fc__bias=torch.zeros(3)),
            r"^backbone.blocks.0.temporal_fc.bias of .*'w.pth' has the shape \(3,\), expected \(64,\); choose",
        ),
        (replacing(pos_embed=torch.zeros(1, 6, 64)), "^the weights 'w.pth' are for 5 places a frame and tokens of 64,"),
        (
            replacing(patch_embed__proj__weight=torch.zeros(200, 3, 16, 16)),
            "^the weights 'w.pth' are for 4 places a frame and tokens of 200, expected .* multiple of 64; choose",
        ),
        (
            replacing(time_embed=torch.zeros(64)),
            r"^the weights 'w.pth' have the shape \(64,\) of time_embed, expected 3 dimensions; choose",
        ),
        (
            replacing(patch_embed__proj__bias=torch.zeros(1, 64)),
            r"^backbone.patch_embed.proj.bias of the weights 'w.pth' has the shape \(1, 64\), expected \(64,\); choose",
        ),
        (
            lambda state: {"model_state": {"backbone_hist.s1.pathway0_stem.conv.weight": torch.zeros(1)}},
            "^'w.pth' holds no weights .looked for teacher.; choose another file$",
        ),
        (
            lambda state: {"cls_token": torch.zeros(1), "norm.bias": torch.zeros(1)},
            r"^the weights 'w.pth' hold no tensors backbone\.\*, the first there is cls_token; choose the file",
        ),
        (lambda state: [1, 2], "^'w.pth' holds no weights"),
        (
            lambda state: state | {"path": Path("/")},
            r"^cannot read .*w.pth' \(it names code, .*: pathlib\S*\); get them",
        ),
    ],
)
def test_weights_of_something_else(tiny_file, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content(torch.load(tiny_file)), "w.pth")
    with pytest.raises(ValueError, match=message) as error:
        load(request("w.pth"), CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", VARIANTS)
def test_a_file_that_is_not_there(tmp_path, monkeypatch, family):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    url = f"https://github.com/kahnchana/svt/releases/download/v1.0/{FILE_NAME}"
    message = (
        f"the weights '{FILE_NAME}' are not on this machine; get {FILE_NAME} from {url} and put it into {tmp_path},"
    )
    with pytest.raises(ValueError) as error:
        load_backbone(parse_backbone(family))
    assert str(error.value) == f"{message} or give its path: FAMILY:PATH"


def test_a_backbone_is_made_of_any_network():
    network = DividedTimeSformer(**TINY)
    backbone = Svt(network, VARIANTS["svt"], name="n", source="svt:n", placement=CPU, normalisation=PAPER)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training
    assert backbone.spec.name == "n"
