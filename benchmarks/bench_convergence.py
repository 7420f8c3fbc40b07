"""Whether the fast ways of computing a step of pre-training learn what the plain one does.

    make demo                                                   # once: its store is what is trained on
    python benchmarks/bench_convergence.py                      # three trainings of three seeds, a minute or more each
    python benchmarks/bench_convergence.py --ways fast dense --seeds 3 --json convergence.json

``sparse`` is what a CPU does by default: outputs of masked clips only, float32, not compiled. ``fast`` is what a GPU
does: bfloat16 and compiled. ``dense`` is what the formulas say (``dense_pretraining.py``): all outputs, float32, not
compiled. Each is trained as the demo is, with the same sets and masks; k-NN of x+cls on the test videos, in per cent.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from dense_pretraining import as_dense, dense_contrasts

from scale_video.aggregate import pretrain as pretraining
from scale_video.aggregate.checkpoint import TrainingRecord, load_aggregator
from scale_video.aggregate.data_module import ClipSetBatch
from scale_video.aggregate.embed import embed_videos
from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.evaluate.knn import knn_predict
from scale_video.pipelines.preset import load_preset
from scale_video.store.read import FeatureStore

WAYS: Final = {
    "sparse": {"precision": "fp32", "compile": "off"},
    "fast": {"precision": "bf16", "compile": "on"},
    "dense": {"precision": "fp32", "compile": "off"},
}


class DensePretraining(SetPretraining):
    """The same training with nothing left out."""

    def __init__(self, record: TrainingRecord) -> None:
        super().__init__(record)
        as_dense(self)

    def contrasts(self, batch: ClipSetBatch) -> dict[str, Contrast]:
        """Loss and accuracy of both tasks."""
        contrasts: dict[str, Contrast] = dense_contrasts(self, batch)
        return contrasts


def accuracy(store: FeatureStore, way: str, *, seed: int, overrides: list[str]) -> float:
    """Train, and classify the test videos."""
    values = [f"pretrain.{name}={value}" for name, value in (*WAYS[way].items(), ("seed", seed))]
    preset = load_preset("demo", dataset="demo", overrides=[*values, *overrides])
    [backbone] = store.backbones(preset.train_view)
    train, test = (
        store.read_features(preset.train_view, backbone, store.videos.in_split("1", part)) for part in ("train", "test")
    )
    kind = DensePretraining if way == "dense" else SetPretraining
    with mock.patch.object(pretraining, "SetPretraining", kind), tempfile.TemporaryDirectory() as folder:
        checkpoint = pretraining.pretrain(train, preset.pretrain, run_dir=Path(folder), provenance={}, progress=False)
        model = load_aggregator(checkpoint).model
    sides = [embed_videos(model, features, flips=True) for features in (train, test)]
    vectors = [np.concatenate((side.x, side.cls), axis=1) for side in sides]
    labels = [store.videos.labels["label"][store.videos.in_split("1", part)] for part in ("train", "test")]
    prediction = knn_predict(vectors[0], labels[0], vectors[1], num_classes=int(labels[0].max()) + 1)
    return 100 * float((prediction.classes == labels[1]).mean())


def main() -> None:
    """Train, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="features/demo.zarr", help="the demo's (features/demo.zarr)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each way (3)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="lay over the demo's preset")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    given = parser.parse_args()
    store = FeatureStore.open(given.store)
    records: list[dict[str, Any]] = []
    for way in given.ways:
        start = time.perf_counter()
        found = [accuracy(store, way, seed=seed, overrides=given.set) for seed in range(given.seeds)]
        minutes = (time.perf_counter() - start) / 60
        spread = f"({min(found):.1f} – {max(found):.1f})"
        print(f"{way:<8}{statistics.mean(found):6.1f} {spread}  {minutes:.1f} min", flush=True)
        records.append({"benchmark": "bench_convergence", "case": way, "top1": found, "minutes": minutes})
    if given.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        given.json.write_text(json.dumps([{**record, **machine} for record in records], indent=1) + "\n")


if __name__ == "__main__":
    main()
