"""A program that trains on one device or on several, as often as it is told; it is also a module with what it runs.

    python two_ranks.py FOLDER DEVICES [FAILS]

writes ``FOLDER/<case>/last.ckpt`` and, by rank, the losses of all steps. ``FOLDER/store.zarr`` is streamed.
With a rank that FAILS, which it does in the third step, there is one training, ``FOLDER/failed``.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Callback

from scale_video.aggregate.pretrain import pretrain
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformerConfig
from scale_video.aggregate.stored_clips import StoredClips
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.read import FeatureStore

CONFIG = PretrainConfig(
    model=SetTransformerConfig(width=16, num_heads=2, position_hidden_dim=8, dropout=0.0),
    epochs=2,
    batch_size=6,
    clips_per_set=4,
    mask_fraction=0.4,
    prediction_hidden_dim=8,
    target_hidden_dim=8,
    set_hidden_dim=8,
    projection_dim=4,
    learning_rate=1e-2,
)
CASES = {
    "exact-all": CONFIG,
    "exact-masked": replace(CONFIG, negatives="masked"),
    "independent-all": replace(CONFIG, masking="independent"),
    "independent-masked": replace(CONFIG, masking="independent", negatives="masked"),
    # here and there a rank has no masked clip at all
    "rarely-masked": replace(CONFIG, masking="independent", negatives="masked", mask_fraction=0.03),
    "sets-alone": replace(CONFIG, masked_clip_weight=0.0),
}


def random_features() -> ClipFeatures:
    """Of 20 videos; three steps an epoch."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 9, 6)).astype(np.float16)
    coordinates = rng.random((20, 9, 7), dtype=np.float32)
    return ClipFeatures(tuple(f"video{i}" for i in range(20)), features, coordinates, np.ones((20, 9), np.bool_))


class Losses(Callback):
    """Writes down each step's loss, and the features that it saw."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._losses: list[float] = []
        self._seen: list[list[float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._losses.append(outputs["loss"].item())
        self._seen += batch.features[:, 0, 0].tolist()  # a clip of each video

    def on_train_end(self, trainer, pl_module):
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"losses": self._losses, "seen": self._seen})
        (self._folder / f"rank{trainer.global_rank}.json").write_text(text)


class Failure(Callback):
    """An error of one rank alone."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.global_rank, trainer.global_step) == (self._rank, 2):
            raise OSError("the disk of this rank is gone")


def train(folder: Path, clips, config: PretrainConfig, *, devices: int, fails: int | None = None) -> Path:
    """One training."""
    callbacks = [Losses(folder), *([] if fails is None else [Failure(fails)])]
    return pretrain(
        clips, config, run_dir=folder, provenance={}, accelerator="cpu", devices=devices, callbacks=callbacks,
        progress=False,
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    folder, devices = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        train(folder / "failed", random_features(), CONFIG, devices=devices, fails=int(sys.argv[3]))
        return
    for name, config in CASES.items():
        train(folder / name, random_features(), config, devices=devices)
    store = FeatureStore.open(folder / "store.zarr")
    stream = StoredClips(store, ["random"], "tiny", np.arange(store.num_videos), residency="stream")
    train(folder / "stream", stream, CONFIG, devices=devices)


if __name__ == "__main__":
    main()
