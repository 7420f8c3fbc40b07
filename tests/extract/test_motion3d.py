from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from scale_video.extract.backbones.motion3d import (
    NAMES,
    Motion3d,
    load,
    load_motion3d,
    standardise_clips,
    to_grey,
    weights_path,
)
from scale_video.extract.backbones.placement import CPU
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.train_motion3d import MOTIONS, TrainingParameters, main, motion_reels, train_motion3d
from scale_video.extract.backbones.weights_digest import weights_digest

SHIPPED_DIGESTS = {
    "motion3d": "f3dd1c2eb9ead4291cc4797931d91d3b1fa885308bf6cb24eb283e872bc7acae",
    "motion3d-ssl": "ed5576aa9871527fe8fd3db6598f6c6c7c6ae4dab015e10168552b8e443462e8",
}


@pytest.fixture(scope="module", params=NAMES)
def backbone(request: pytest.FixtureRequest) -> Motion3d:
    return load(BackboneRequest(family=request.param, source=None, name=request.param), CPU)


@pytest.fixture(scope="module")
def motions() -> tuple[Tensor, Tensor]:
    """256 clips of single motions with their labels, of draws and textures that training did not see."""
    reels = list(motion_reels(256, clips_per_shot=1, seed=1, bank="unseen"))
    return torch.cat([clips for clips, _ in reels]).flatten(0, 1), torch.cat([labels for _, labels in reels])


def test_single_motions_are_told_apart(backbone: Motion3d, motions: tuple[Tensor, Tensor]) -> None:
    features, labels = backbone.embed(motions[0]), motions[1]
    known, new = slice(0, 128), slice(128, 256)
    centres = torch.stack([features[known][labels[known] == motion].mean(dim=0) for motion in range(len(MOTIONS))])
    accuracy = (torch.cdist(features[new], centres).argmin(dim=1) == labels[new]).float().mean()
    assert accuracy > {"motion3d": 0.8, "motion3d-ssl": 0.7}[backbone.spec.name]  # chance is 1/8


def test_features_are_standardised(backbone: Motion3d, motions: tuple[Tensor, Tensor]) -> None:
    features = backbone.embed(motions[0])
    assert features.mean().abs() < 0.1
    assert 0.8 < features.square().mean() < 1.2


def test_spec_and_output_agree(backbone: Motion3d, motions: tuple[Tensor, Tensor]) -> None:
    spec = backbone.spec
    assert spec.name == spec.source
    assert (spec.num_frames, spec.frame_size, spec.feature_dim) == (8, 32, 128)
    features = backbone.embed(motions[0][:3])
    assert features.shape == (3, 128)
    assert features.dtype == torch.float32
    assert not features.requires_grad


def test_a_clip_has_one_feature_in_any_batch(backbone: Motion3d, motions: tuple[Tensor, Tensor]) -> None:
    clips = motions[0][:9]
    alone = torch.cat([backbone.embed(clip[None]) for clip in clips])
    torch.testing.assert_close(backbone.embed(clips), alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(backbone.embed(clips.flip(0)).flip(0), alone, rtol=0, atol=1e-5)


def test_the_shipped_weights_are_those_of_the_results(backbone: Motion3d) -> None:
    """New weights make new results: change the digest together with the figures in the documentation."""
    path = weights_path(backbone.spec.name)
    assert path.stat().st_size < 2_000_000
    assert backbone.spec.weights_digest == weights_digest(load_file(path)) == SHIPPED_DIGESTS[backbone.spec.name]


def test_the_one_with_labels_is_meant_where_none_is_named(motions: tuple[Tensor, Tensor]) -> None:
    assert load_motion3d().spec.name == "motion3d"
    with_labels, without = (load_motion3d(name=name).embed(motions[0][:4]) for name in NAMES)
    assert (with_labels - without).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 8, 32, 32, 3), torch.float32), ((2, 16, 32, 32, 3), torch.uint8), ((8, 32, 32, 3), torch.uint8)],
)
def test_other_clips_are_refused(backbone: Motion3d, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"clips must be uint8 of shape \(B, 8, 32, 32, 3\), got torch.*; resize them"):
        backbone.embed(torch.zeros(shape, dtype=dtype))


def test_grey_is_that_of_television() -> None:
    assert to_grey(torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)).tolist() == pytest.approx(
        [76.245, 149.685, 29.07]
    )


def test_standardising_removes_brightness_and_contrast() -> None:
    clips = torch.rand(2, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 100
    clips[1] = clips[0] * 2 + 30
    first, second = standardise_clips(clips)
    torch.testing.assert_close(first, second)
    assert first.mean().item() == pytest.approx(0, abs=1e-5)
    assert first.square().mean().item() == pytest.approx(1, abs=1e-5)
    assert not standardise_clips(torch.full((1, 8, 4, 4), 7.0)).any()


def test_training_runs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "weights.safetensors"
    arguments = ["train_motion3d", "--output", str(output), "--num-shots", "64", "--num-epochs", "1", "--seed", "5"]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    again, accuracy = train_motion3d(TrainingParameters(num_shots=64, num_epochs=1, seed=5))
    assert 0 <= accuracy <= 1
    assert weights_digest(load_file(output)) == weights_digest(again.state_dict())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_shots": 63}, r"num_shots \(63\) must be at least batch_size \(64\)"),
        ({"num_epochs": 0}, r"num_epochs \(0\) must be 1 or more"),
    ],
)
def test_training_without_a_step_is_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingParameters(**sizes)


def test_reels_show_every_motion_in_random_order() -> None:
    reels = list(motion_reels(20, clips_per_shot=2, seed=0, bank="unseen"))
    assert [tuple(clips.shape) for clips, _ in reels] == [(n, 2, 8, 32, 32, 3) for n in (8, 8, 4)]
    orders = [labels.tolist() for _, labels in reels]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(MOTIONS)))
    assert orders[0] != orders[1]
