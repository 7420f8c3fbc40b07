"""``scale-video pretrain``: one training per seed, on the videos that the preset allows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer

from scale_video.aggregate.checkpoint import RECIPE
from scale_video.aggregate.pretrain import pretrain
from scale_video.pipelines.console import note
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.paths import ExperimentRequest, choose_backbone, open_store, run_dir, write_resolved_config
from scale_video.pipelines.preset import PretrainVideos
from scale_video.pipelines.provenance import training_identity, warn_of_normalisation
from scale_video.pipelines.training_summary import how_it_went
from scale_video.store.video_table import VideoTable


def run_pretraining(
    request: ExperimentRequest,
    *,
    restart: bool = False,
    tensorboard: bool = False,
    checkpoint_every_seconds: float = 60,
) -> list[Path]:
    """Train every seed that is not complete; resume where one was interrupted.

    Args:
        request: data set, split, features, seeds.
        restart: delete the checkpoints of these seeds and train anew.
        tensorboard: write TensorBoard logs beside ``metrics.csv``.
        checkpoint_every_seconds: what a crash may cost.

    Returns:
        The checkpoints, by seed.

    Raises:
        StoreError: the store, view or features are not there, or not complete.
        ValueError: no such split, too few videos or clips, a run folder with another configuration, or views that do
            not go together.
    """
    preset = request.load_preset()
    views = _views(request, train_view=preset.train_view)
    store = open_store(request)
    backbone = choose_backbone(store, view=views[0], wanted=request.backbone)
    identity = training_identity(store, views=views, backbone=backbone)
    warn_of_normalisation(preset, store.backbone_attributes(views[0], backbone))
    rows = pretraining_rows(store.videos, split=request.split, which=preset.pretrain_videos)
    features, *second_view = (store.read_features(view, backbone, rows) for view in views)
    provenance = {
        "dataset": request.dataset,
        "split": request.split,
        "preset": preset.name,
        "pretrain_videos": preset.pretrain_videos,
        **identity,
        RECIPE: FeatureRecipe.of_store(store, view=views[0], backbone=backbone).to_plain(),
    }
    checkpoints = []
    for seed in range(request.num_seeds):
        folder = run_dir(request, backbone=backbone, seed=seed)
        config = replace(preset.pretrain, seed=seed)
        note(f"pre-training on {len(rows)} videos of {'+'.join(views)}/{backbone}, seed {seed}: {folder}")
        checkpoint = pretrain(
            features,
            config,
            second_view=second_view[0] if second_view else None,
            run_dir=folder,
            provenance=provenance,
            resume=not restart,
            tensorboard=tensorboard,
            checkpoint_every_seconds=checkpoint_every_seconds,
            callbacks=[_ResolvedConfig(folder, {"pretrain": config.to_mapping(), **provenance})],
        )
        note(how_it_went(checkpoint))
        checkpoints.append(checkpoint)
    return checkpoints


def _views(request: ExperimentRequest, *, train_view: str) -> tuple[str, ...]:
    """The view whose clips make both sets of a video, or the two that make one set each.

    Raises:
        ValueError: more than two, one of them twice, or none that the probes train on.
    """
    views = request.views or (train_view,)
    if len(views) > 2 or len(set(views)) < len(views):
        raise ValueError(f"--views names one view, or two that give a set of clips each, got {','.join(views)}")
    if train_view not in views:
        raise ValueError(
            f"the probes read view {train_view!r}, which pre-training would not see; name it among --views (VIEWS=), "
            f"or say --set train_view={views[0]}, then for the probes too"
        )
    return views


def pretraining_rows(videos: VideoTable, *, split: str, which: PretrainVideos) -> NDArray[np.int64]:
    """Rows to pre-train on: those of the training part, or all of them where that is asked for or there is no split."""
    if which == "all" or not videos.splits:
        return np.arange(videos.num_videos)
    return videos.in_split(split, "train")


class _ResolvedConfig(Callback):
    """Writes ``config.json`` when training begins: not before, when the run may yet be refused for another's folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder
        self._config = config

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, if it is not there as it is."""
        write_resolved_config(self._folder, self._config)
