"""``scale-video pretrain``: one training per seed, on the videos that the preset allows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer

from scale_video.aggregate.checkpoint import FEATURES_DIGEST, RECIPE
from scale_video.aggregate.devices import NumDevices, is_first_rank
from scale_video.aggregate.pretrain import pretrain
from scale_video.aggregate.residency import Residency
from scale_video.aggregate.stored_clips import StoredClips
from scale_video.pipelines.console import note
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.paths import (
    ExperimentRequest,
    choose_backbone,
    open_training_store,
    run_dir,
    write_resolved_config,
)
from scale_video.pipelines.preset import PretrainVideos
from scale_video.pipelines.provenance import features_digest, training_identity, warn_of_normalisation
from scale_video.pipelines.training_notes import TrainingJournal
from scale_video.pipelines.training_summary import how_it_went
from scale_video.store.union import DatasetUnion, ReadableStore, dataset_of
from scale_video.store.video_table import VideoTable


@dataclass(frozen=True, slots=True)
class TrainingResources:
    """What a training runs on."""

    residency: Residency = "auto"
    """Where features live meanwhile."""
    memory_limit_bytes: int | None = None
    """What features may take of this machine's memory; None: a part of what is available."""
    devices: NumDevices = 1
    """Of each node."""
    nodes: int = 1


def run_pretraining(
    request: ExperimentRequest,
    *,
    resources: TrainingResources = TrainingResources(),
    restart: bool = False,
    tensorboard: bool = False,
    checkpoint_every_seconds: float = 60,
    break_lock: bool = False,
) -> list[Path]:
    """Train every seed that is not complete; resume where one was interrupted.

    Args:
        request: data sets, split, features, seeds.
        resources: memory, devices and nodes.
        restart: delete the checkpoints of these seeds and train anew.
        tensorboard: write TensorBoard logs beside ``metrics.csv``.
        checkpoint_every_seconds: what a crash may cost.
        break_lock: take the run folders from another training that is known to be gone.

    Returns:
        The checkpoints, by seed.

    Raises:
        StoreError: the store, view or features are not there, or not complete.
        ValueError: no such split, too few videos or clips, a run folder with another configuration, or views that do
            not go together.
    """
    preset = request.load_preset()
    views = _views(request, train_view=preset.train_view)
    store = open_training_store(request)
    backbone = choose_backbone(store, view=views[0], wanted=request.backbone)
    identity = training_identity(store, views=views, backbone=backbone)
    warn_of_normalisation(preset, store.backbone_attributes(views[0], backbone))
    rows = pretraining_rows(store, split=request.split, which=preset.pretrain_videos)
    clips = StoredClips(
        store,
        views,
        backbone,
        rows,
        residency=resources.residency,
        memory_limit_bytes=resources.memory_limit_bytes,
    )
    provenance = {
        "dataset": request.dataset,
        "split": request.split,
        "preset": preset.name,
        "pretrain_videos": preset.pretrain_videos,
        **identity,
        FEATURES_DIGEST: features_digest(store, view=views[0], backbone=backbone),
        RECIPE: FeatureRecipe.of_store(store, view=views[0], backbone=backbone).to_plain(),
    }
    checkpoints = []
    for seed in range(request.num_seeds):
        folder = run_dir(request, backbone=backbone, seed=seed)
        config = replace(preset.pretrain, seed=seed)
        _say(f"pre-training on {len(rows)} videos of {'+'.join(views)}/{backbone}, seed {seed}: {folder}")
        checkpoint = pretrain(
            clips,
            config,
            run_dir=folder,
            provenance=provenance,
            resume=not restart,
            tensorboard=tensorboard,
            checkpoint_every_seconds=checkpoint_every_seconds,
            devices=resources.devices,
            nodes=resources.nodes,
            break_lock=break_lock,
            callbacks=[
                _ResolvedConfig(folder, {"pretrain": config.to_mapping(), **provenance}),
                TrainingJournal(folder, clips),
            ],
        )
        _say(how_it_went(checkpoint))
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


def pretraining_rows(store: ReadableStore, *, split: str, which: PretrainVideos) -> NDArray[np.int64]:
    """Rows to pre-train on: those of the training part, or all of them where that is asked for or there is no split.

    Of several data sets, the training part of each.

    Raises:
        ValueError: a data set has splits, but none of this name.
    """
    if not isinstance(store, DatasetUnion):
        return _rows_of(store.videos, split=split, which=which)
    starts = np.cumsum([0, *(part.num_videos for part in store.stores)])
    rows = []
    for part, start in zip(store.stores, starts, strict=False):
        try:
            rows.append(start + _rows_of(part.videos, split=split, which=which))
        except ValueError as error:
            raise ValueError(f"{dataset_of(part)}: {error}") from error
    return np.concatenate(rows)


def _rows_of(videos: VideoTable, *, split: str, which: PretrainVideos) -> NDArray[np.int64]:
    if which == "all" or not videos.splits:
        return np.arange(videos.num_videos)
    return videos.in_split(split, "train")


def _say(text: str) -> None:
    """A note, once, however many processes train."""
    if is_first_rank():
        note(text)


class _ResolvedConfig(Callback):
    """Writes ``config.json`` when training begins: not before, when the run may yet be refused for another's folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder
        self._config = config

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, if it is not there as it is."""
        if trainer.is_global_zero:
            write_resolved_config(self._folder, self._config)
