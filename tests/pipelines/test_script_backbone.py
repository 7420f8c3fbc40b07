"""A function of a user's own script as a backbone, on worker processes that know nothing of the script."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from scale_video.extract.backbones.callable_backbone import CallableBackbone
from scale_video.extract.backbones.families import register_backbone, unregister_backbone
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.pipelines.extraction import run_extract
from scale_video.pipelines.requests import ExtractionRequest
from scale_video.store.read import FeatureStore

SCRIPT = """
import sys
from pathlib import Path

from scale_video.extract.backbones.callable_backbone import CallableBackbone
from scale_video.extract.backbones.families import register_backbone
from scale_video.pipelines.extraction import run_extract
from scale_video.pipelines.requests import ExtractionRequest


def mean_colours(clips):  # uint8 (B, 4, S, S, 3) -> (B, 12)
    return clips.float().mean(dim=(2, 3)).flatten(1)


def load(request, placement):
    return CallableBackbone(mean_colours, request=request, placement=placement, num_frames=4, frame_size=16,
                            feature_dim=12, weights="mean colours, version 1", licence="CC0-1.0")


if __name__ == "__main__":
    register_backbone("colours", load)
    result = run_extract(ExtractionRequest(dataset="folder", data_root=Path(sys.argv[1]), store=sys.argv[2],
                                           preset="honest", views=("random",), backbones=("colours@mine",),
                                           num_workers=2, estimate=False))
    print(result.reports["random/mine"].counts)
    print([name for name in ("torch._dynamo", "pytorch_lightning", "sklearn") if name in sys.modules])
"""


def test_a_function_of_a_script(tmp_path: Path, make_video: Callable[..., None]) -> None:
    for seed in range(4):
        make_video(tmp_path / "videos" / f"{seed}.mp4", seed=seed)
    (tmp_path / "script.py").write_text(SCRIPT)
    store = tmp_path / "store.zarr"
    command = [sys.executable, tmp_path / "script.py", tmp_path / "videos", store]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    counts, slow_imports = ended.stdout.splitlines()
    assert counts == "{'ok': 4}"
    assert slow_imports == "[]"  # a job must not wait seconds for what it has no use for
    opened = FeatureStore.open(str(store))
    attributes = opened.backbone_attributes("random", "mine")
    assert (attributes["source"], attributes["licence"], attributes["num_frames"]) == ("colours", "CC0-1.0", 4)
    features = opened.read_features("random", "mine")
    assert features.valid.all()
    assert features.features.shape == (4, 16, 12)
    assert 0 <= features.features.min() < features.features.max() <= 255
    assert len(np.unique(features.features.reshape(-1, 12), axis=0)) > 32


def test_a_function_that_was_mended_is_the_one_that_runs(tmp_path: Path, make_video: Callable[..., None]) -> None:
    """As in a notebook, where cells run again in a process that lives on."""
    make_video(tmp_path / "videos" / "a.mp4", seed=1)
    means = []
    for gain in (0.1, 0.3):

        def load(request: BackboneRequest, placement: Placement, gain: float = gain) -> CallableBackbone:
            def function(clips: Tensor) -> Tensor:
                return gain * clips.float().mean(dim=(1, 2, 3))

            given = {"num_frames": 2, "frame_size": 16, "feature_dim": 3, "weights": "the same"}
            return CallableBackbone(function, request=request, placement=placement, **given)  # type: ignore[arg-type]

        register_backbone("colour", load)
        store = str(tmp_path / f"{gain}.zarr")
        request = ExtractionRequest(
            dataset="folder", data_root=tmp_path / "videos", store=store, preset="honest", views=("random",),
            backbones=("colour",), num_workers=1, processes=False, estimate=False,
        )  # fmt: skip
        run_extract(request)
        means.append(float(FeatureStore.open(store).read_features("random", "colour").features.mean()))
    unregister_backbone("colour")
    assert means[1] == pytest.approx(3 * means[0], rel=1e-2)
