"""What an experiment (pre-training and its evaluation) is about, and where its files go."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.preset import Preset, PretrainVideos, default_preset, load_preset
from scale_video.store.errors import MissingArrayError, PlanMismatchError
from scale_video.store.union import DatasetUnion, ReadableStore, open_stores


@dataclass(frozen=True, slots=True)
class ExperimentRequest:
    """What a user asks of stage 2 and of the probes."""

    dataset: str
    """Of pre-training, several may be named, separated by commas, in the order of their stores."""
    store: str
    """Path or fsspec URL; several, separated by commas, are read as one."""
    preset: str
    backbone: str | None = None
    """Name of the features; the only ones of the store when None."""
    split: str = "1"
    num_seeds: int = 1
    """Seeds 0 … num_seeds - 1."""
    overrides: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    """Of pre-training: one, or two that give a set of clips each; the preset's ``train_view`` when empty."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    label: str | None = None
    """Name of this experiment among others on the same data; the preset's when None."""
    videos: PretrainVideos | None = None
    """Which videos pre-training sees; what the preset says when None."""
    collected_in: str | None = None
    """Folder of ``runs`` whose ``results.json`` collects the records; the data set's when None."""

    @property
    def experiment(self) -> str:
        """The name under which results are recorded: ``honest``, ``honest-all-videos``, or the label."""
        name = self.label or Path(self.preset).stem
        usual = load_preset(self.preset, dataset=self.dataset, overrides=self.overrides).pretrain_videos
        return name if self.label or self.videos in (None, usual) else f"{name}-{self.videos}-videos"

    def load_preset(self) -> Preset:
        """The preset, resolved for the data set."""
        chosen = (f"pretrain_videos={self.videos}",) if self.videos else ()
        return load_preset(self.preset, dataset=self.dataset, overrides=(*self.overrides, *chosen))


def open_store(request: ExperimentRequest) -> ReadableStore:
    """Open the store of an experiment, or several stores of one data set as one.

    Raises:
        StoreError: it is not there, or holds another data set; or several do not go together.
        ValueError: the experiment is about several data sets.
    """
    if "," in request.dataset:
        raise ValueError(
            f"--dataset {request.dataset} names several data sets, which is for pre-training; evaluate each by itself: "
            f"--dataset {request.dataset.split(',')[0]} --checkpoint {request.runs / _folder_name(request.dataset)}/…"
        )
    store = open_stores(request.store)
    dataset = store.attributes["dataset"]
    if dataset != request.dataset:
        raise PlanMismatchError(
            f"store {request.store!r} holds data set {dataset!r}, not {request.dataset!r}; say --dataset {dataset}"
        )
    return store


def open_training_store(request: ExperimentRequest) -> ReadableStore:
    """As ``open_store``, of one data set or of several.

    Raises:
        StoreError: a store is not there, or holds another data set; or several do not go together.
    """
    if "," not in request.dataset:
        return open_store(request)
    store = open_stores(request.store, several_datasets=True)
    found = store.datasets if isinstance(store, DatasetUnion) else (str(store.attributes["dataset"]),)
    if found != tuple(request.dataset.split(",")):
        raise PlanMismatchError(
            f"the stores {request.store!r} hold {', '.join(found)}, not {request.dataset}; say --dataset "
            f"{','.join(found)}"
        )
    return store


def choose_backbone(store: ReadableStore, *, view: str, wanted: str | None) -> str:
    """The features to work on.

    Raises:
        MissingArrayError: the view has none, or several and none is named, or not the one named.
    """
    there = store.backbones(view)
    if (wanted is not None and wanted not in there) or not there:
        named = f"features of {wanted!r}" if wanted is not None else "features"
        raise MissingArrayError(
            f"view {view!r} of store {store.url!r} has no {named}; it has: {', '.join(there) or 'none'}; "
            "`scale-video extract` makes them"
        )
    if wanted is None and len(there) > 1:
        raise MissingArrayError(f"the store has features of {', '.join(there)}; choose one by --backbone (BACKBONE=)")
    return wanted or there[0]


def run_dir(request: ExperimentRequest, *, backbone: str, seed: int) -> Path:
    """Folder of one pre-training run: ``runs/<dataset>/<backbone>/split<n>/[<label>/]seed<s>``.

    Several data sets are ``<dataset>+<dataset>``. The runs of a data set's default preset need no label.
    """
    folder = request.runs / _folder_name(request.dataset) / backbone / f"split{request.split}"
    if request.experiment != default_preset(request.dataset):
        folder = folder / request.experiment
    return folder / f"seed{seed}"


def _folder_name(dataset: str) -> str:
    return dataset.replace(",", "+")


def checkpoint_path(folder: Path) -> Path:
    """The checkpoint in a run's folder."""
    return folder / "last.ckpt"


def results_path(request: ExperimentRequest) -> Path:
    """Where the records are collected."""
    return request.runs / (request.collected_in or request.dataset) / "results.json"


def extraction_journal(runs: Path, *, dataset: str) -> Path:
    """Where stage 1 notes how its jobs went, whichever store they were about."""
    return runs / dataset / "extraction.jsonl"


def write_resolved_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration beside the run, with versions and the revision of the code."""
    resolved = {**config, "versions": versions(), "git_revision": git_revision()}
    text = json.dumps(resolved, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path = folder / "config.json"
    if not path.exists() or path.read_bytes() != text.encode():
        write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place, then renamed; its folder is made if absent.

    Bytes of names that are no UTF-8 are written as question marks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
