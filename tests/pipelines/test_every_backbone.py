"""The demo's pipeline with each family of backbones: extract in one pass, pre-train two steps, k-NN."""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from scale_video.extract.backbones.families import families
from scale_video.pipelines.cli import main
from scale_video.store.read import FeatureStore

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_backbones.py")))
TWO_STEPS = ("pretrain.epochs=1", "pretrain.batch_size=18", "pretrain.model.width=32", "pretrain.set_hidden_dim=16")
FAMILIES = sorted(name for name, family in families().items() if not family.package)


@dataclass(frozen=True)
class Extracted:
    """A store with features of every family."""

    store: FeatureStore
    asked: dict[str, str]
    experiment: tuple[str, ...]


def run(*args: object) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def extracted(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    folder = tmp_path_factory.mktemp("every")
    asked = TINY["write_all"](folder)
    store = folder / "store.zarr"
    run(
        *(
            "extract",
            "--dataset",
            "demo",
            "--data",
            demo_root,
            "--store",
            store,
            "--backbone",
            ",".join(asked.values()),
            "--runs",
            folder / "runs",
        ),
        *("--set", "views.random.num_clips=4", "--workers", 1, "--threads", "--no-estimate", "--block-size", 48),
    )
    overrides = [
        part
        for override in (*TWO_STEPS, "pretrain.clips_per_set=2", "pretrain.mask_fraction=0.5")
        for part in ("--set", override)
    ]
    overrides += ["--set", "views.random.num_clips=4"]
    where = ("--dataset", "demo", "--store", str(store), "--runs", str(folder / "runs"), *overrides)
    return Extracted(FeatureStore.open(str(store)), asked, where)


def test_none_is_left_out(extracted: Extracted) -> None:
    assert sorted(extracted.asked) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_extract_pretrain_knn(extracted: Extracted, family: str) -> None:
    features = extracted.store.read_features("random", family)
    assert features.valid.all()
    flat = features.features.reshape(-1, features.features.shape[-1]).astype(np.float32)
    assert np.isfinite(flat).all()
    assert np.unique(flat, axis=0).shape[0] > 0.9 * len(flat), "clips have features of their own"
    run("pretrain", *extracted.experiment, "--backbone", family)
    records = json.loads(run("knn", *extracted.experiment, "--backbone", family, "--json"))
    assert {"x", "x+cls"} <= {record["representation"] for record in records}
