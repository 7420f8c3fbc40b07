"""Forward batches: of one size, in plan order, features where their clips are; on a GPU the same as on the CPU."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distributed import Worker
from numpy.typing import NDArray
from torch import Tensor

from scale_video.extract import block_task
from scale_video.extract.backbones.motion3d import load_motion3d
from scale_video.extract.backbones.placement import CPU, Placement, choose
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.corner_resize import enlarge_corners
from scale_video.extract.forward_batches import ForwardBatches

SHAPE = (2, 4, 4, 3)


class Recorder:
    """A backbone that remembers its batches and gives the first pixel of each clip."""

    device = torch.device("cpu")
    spec = load_motion3d().spec

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def embed(self, clips: Tensor) -> Tensor:
        self.batches.append(clips.clone())
        return clips[:, 0, 0, 0, :1].float()


def clip(value: int) -> NDArray[np.uint8]:
    return np.full(SHAPE, value, np.uint8)


def make(backbone: Backbone) -> ForwardBatches:
    return ForwardBatches(backbone, batch_size=3, clip_shape=SHAPE, block_shape=(3, 2, 1))


def test_clips_fill_batches_in_order_and_what_is_missing_is_zero() -> None:
    backbone = Recorder()
    batches = make(backbone)
    values = {(0, 0): 11, (0, 1): None, (1, 0): 21, (1, 1): 22, (2, 0): None}
    for (video, index), value in values.items():
        batches.add(None if value is None else clip(value), video=video, clip=index)
    batches.finish()
    seen = [batch[:, 0, 0, 0, 0].tolist() for batch in backbone.batches]
    assert seen == [[11, 0, 21], [22, 0, 0]]
    assert all((batch == batch[:, :1, :1, :1, :1]).all() for batch in backbone.batches), "no rest of an earlier batch"
    assert batches.valid.tolist() == [[True, False], [True, True], [False, False]]
    assert batches.features[batches.valid][:, 0].tolist() == [11, 21, 22]
    assert np.isnan(batches.features[~batches.valid]).all()


def test_a_batch_of_nothing_needs_no_forward_pass() -> None:
    backbone = Recorder()
    batches = make(backbone)
    for index in range(3):
        batches.add(None, video=index, clip=0)
    batches.add(clip(5), video=0, clip=1)
    batches.finish()
    assert [batch[:, 0, 0, 0, 0].tolist() for batch in backbone.batches] == [[5, 0, 0]]


def test_frames_may_be_overwritten_once_they_are_added() -> None:
    batches = make(Recorder())
    buffer = clip(7)
    batches.add(buffer, video=0, clip=0)
    buffer[:] = 9
    batches.finish()
    assert batches.features[0, 0, 0] == 7


def test_a_clip_that_fills_a_corner_is_enlarged_alone() -> None:
    backbone = Recorder()
    batches = make(backbone)
    batches.add(clip(5), video=0, clip=0)
    corner = np.zeros(SHAPE, np.uint8)
    corner[:, :2, :1] = 9
    batches.add(corner, video=0, clip=1, size=(2, 1))
    batches.add(clip(6), video=1, clip=0)
    batches.add(corner, video=1, clip=1)
    batches.finish()
    assert [set(frames.unique().tolist()) for frames in backbone.batches[0]] == [{5}, {9}, {6}]
    assert torch.equal(backbone.batches[1][0], torch.from_numpy(corner)), "the size of a slot is not its next clip's"


@pytest.mark.parametrize("size", [(20, 31), (32, 7), (1, 1), (32, 32)])
def test_enlarging_on_the_device_is_within_one_level_of_what_decoders_give(size: tuple[int, int]) -> None:
    height, width = size
    frames = torch.zeros((2, 3, 32, 32, 3), dtype=torch.uint8)
    corner = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames[1, :, :height, :width] = corner
    enlarge_corners(frames, [(32, 32), size])
    expected = F.interpolate(corner.permute(0, 3, 1, 2), size=(32, 32), mode="bilinear", antialias=True)
    assert (frames[1].permute(0, 3, 1, 2).int() - expected.int()).abs().max() <= 1
    assert (frames[0] == 0).all()


def test_auto_means_a_gpu_with_half_precision_or_a_cpu_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto", "auto") == ("cpu", "float32")
    assert choose("cuda", "auto") == ("cuda", "float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto", "auto") == ("cuda", "float16")
    assert choose("cpu", "bfloat16") == ("cpu", "bfloat16")


def test_a_device_that_is_not_there_and_an_unknown_precision_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"torch sees none on .*; say --device cpu, or run workers"):
        Placement.of("cuda", "float32")
    with pytest.raises(ValueError, match="no precision 'float8'; there are: float32, float16, bfloat16"):
        Placement.of("cpu", "float8")


def test_half_precision_is_near_and_recorded() -> None:
    clips = torch.randint(0, 256, (4, 8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    full, half = load_motion3d(CPU), load_motion3d(Placement(torch.device("cpu"), "bfloat16"))
    assert half.spec.precision == "bfloat16"
    assert half.spec.weights_digest == full.spec.weights_digest
    one, other = full.embed(clips), half.embed(clips)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other).min() > 0.999


def test_numbered_workers_take_one_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in (0, 3, 5, "a name of a cluster's"):
        block_task._choose_gpu(cast("Worker", SimpleNamespace(name=name)))
    assert chosen == [0, 3, 1]


@pytest.mark.gpu
def test_a_gpu_gives_the_features_of_the_cpu() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 8, 32, 32, 3), dtype=np.uint8)
    features = []
    for placement in (CPU, Placement(torch.device("cuda"), "float32"), Placement(torch.device("cuda"), "float16")):
        batches = ForwardBatches(
            load_motion3d(placement), batch_size=3, clip_shape=(8, 32, 32, 3), block_shape=(10, 2, 128)
        )
        for index, pixels in enumerate(frames):
            batches.add(None if index == 4 else pixels, video=index // 2, clip=index % 2)
        batches.finish()
        assert batches.seconds > 0
        features.append(torch.from_numpy(batches.features[batches.valid].astype(np.float32)))
    assert torch.cosine_similarity(features[0], features[1]).min() > 0.9999
    assert torch.cosine_similarity(features[0], features[2]).min() > 0.999
