"""What holds for backbones of every family, tiny and randomly initialised."""

import runpy
from pathlib import Path

import pytest
import torch

from scale_video.extract.backbones.families import families
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.registry import load_backbone, parse_backbone

TINY = runpy.run_path(str(Path(__file__).parents[1] / "pipelines" / "tiny_backbones.py"))
FAMILIES = sorted(name for name, family in families().items() if not family.package)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    written: dict[str, str] = TINY["write_all"](tmp_path_factory.mktemp("weights"))
    return written


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_stays_behind_when_it_moves_to_a_device(asked: dict[str, str], family: str) -> None:
    """No GPU is needed to see it: operations on tensors of the device ``meta`` and of another one are refused."""
    request = parse_backbone(asked[family])
    backbone = families()[family].load(request, Placement(torch.device("meta"), "float32"))
    spec = backbone.spec
    size = spec.frame_size or 32
    clips = torch.zeros(2, spec.num_frames, size, size, 3, dtype=torch.uint8, device="meta")
    features = backbone.embed(clips)
    assert (features.device.type, features.dtype) == ("meta", torch.float32)
    assert tuple(features.shape) == (2, spec.feature_dim)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_has_the_features_that_it_has_alone(asked: dict[str, str], family: str) -> None:
    backbone = load_backbone(parse_backbone(asked[family]))
    spec = backbone.spec
    size = spec.frame_size or 32
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (3, spec.num_frames, size, size, 3), dtype=torch.uint8, generator=generator)
    together = backbone.embed(clips)
    alone = torch.cat([backbone.embed(clip[None]) for clip in clips])
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-3 * float(together.abs().max()))
    assert not torch.allclose(together[0], together[1])
