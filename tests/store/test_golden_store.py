import runpy
from pathlib import Path
from types import ModuleType

import numpy as np
import zarr

from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

STORES = Path(__file__).parents[1] / "data/stores"
GOLDEN = STORES / "v1/golden.zarr"


def test_every_past_version_stays_readable() -> None:
    store = FeatureStore.open(GOLDEN)
    assert store.views() == ("grid", "random")
    assert store.backbones("random") == ("motion3d",)
    assert store.backbones("grid") == ()
    assert store.backbone_attributes("random", "motion3d")["layer"] == "pool"
    assert store.videos.ids[0] == "class/vidéo 0.mp4"
    assert store.videos.class_names == {"label": ("jump", "run"), "label_scene": ("indoors",)}
    assert store.probes()[0].content_digest == 2**64 - 1
    clips = store.read_features("random", "motion3d")
    assert clips.valid.tolist() == [[True, True], [True, False], [True, True], [True, False], [False, False]]
    np.testing.assert_array_equal(clips.features[0], [[0, 0.125, 0.25], [0.375, 0.5, 0.625]])
    np.testing.assert_array_equal(clips.coordinates[0, 1], np.arange(7, 14) / 128)
    assert store.outcome("random", "motion3d").status.tolist() == [1, 1, 2, 3, 5]
    assert store.outcome("random", "motion3d").error[3] == "1 of 2 clips cannot be decoded: Störung"


def test_every_past_version_still_verifies() -> None:
    report = verify_store(GOLDEN)
    assert (report.num_blocks, report.num_committed, report.damaged) == (3, 3, ())


def test_what_the_version_writes_does_not_change(small: ModuleType, tmp_path: Path) -> None:
    made = tmp_path / "golden.zarr"
    runpy.run_path(str(STORES / "make_v1.py"))["make_store"](made)
    golden, now = small.files_of(GOLDEN), small.files_of(made)
    assert golden.keys() == now.keys()
    chunks = [name for name in golden if not name.endswith("zarr.json")]
    assert len(chunks) > 40
    assert {name for name in chunks if golden[name] != now[name]} == set()
    for group in ("", "random", "random/motion3d", "videos"):
        assert dict(zarr.open_group(GOLDEN, path=group).attrs) == dict(zarr.open_group(made, path=group).attrs)
