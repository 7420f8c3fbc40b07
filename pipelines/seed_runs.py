"""The trained aggregators that an evaluation looks at: the experiment's own seeds, or checkpoints from elsewhere."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scale_video.aggregate.checkpoint import FEATURES_DIGEST, RECIPE, CheckpointError, LoadedAggregator, load_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.run_files import CHECKPOINT_NAME
from scale_video.pipelines.candidates import LEARNED, SeedRun
from scale_video.pipelines.console import note
from scale_video.pipelines.paths import ExperimentRequest, checkpoint_path, run_dir
from scale_video.pipelines.preset import Preset
from scale_video.pipelines.provenance import check_transfer, feature_identity, trained_views, training_identity
from scale_video.store.union import ReadableStore, id_in_union


def own_runs(request: ExperimentRequest, store: ReadableStore, preset: Preset, *, backbone: str) -> Iterator[SeedRun]:
    """What there is of each of the experiment's seeds.

    Raises:
        CheckpointError: a checkpoint was trained on other features than those at hand, or cannot be read.
    """
    for seed in range(request.num_seeds):
        path = checkpoint_path(run_dir(request, backbone=backbone, seed=seed))
        if not path.exists():
            note(f"no checkpoint of seed {seed} at {path}; `scale-video pretrain` adds {', '.join(LEARNED)}")
            config = replace(preset.pretrain, seed=seed)
            yield SeedRun(
                seed=seed,
                config=config,
                model=None,
                checkpoint=None,
                seen=False,
                architecture=_architecture_digest(config),
            )
            continue
        loaded = load_aggregator(path)
        for key, value in _expected(loaded, store, preset, backbone=backbone).items():
            if key in ("forward_digest", "frame_size") and key not in loaded.provenance:
                continue  # an old checkpoint, which does not say
            if loaded.provenance.get(key) != value:
                raise CheckpointError(
                    f"checkpoint '{path}' was trained on other features than these ({key}: "
                    f"{loaded.provenance.get(key)!r} != {value!r}); run `scale-video pretrain` again: with --restart "
                    "in its place, or with another --label beside it; or name it by --checkpoint, for a transfer"
                )
        yield _seed_run(loaded, path, request, store)


def _expected(loaded: LoadedAggregator, store: ReadableStore, preset: Preset, *, backbone: str) -> dict[str, str]:
    """The provenance of an aggregator that was trained on the features at hand, on as many views as this one was.

    One of them must be the view of the training videos; of another one, the clips must still be those of the store.
    """
    views = trained_views(loaded.provenance)
    if preset.train_view not in views:
        return feature_identity(store, view=preset.train_view, backbone=backbone)
    return training_identity(store, views=views, backbone=backbone)


def runs_from_elsewhere(
    paths: Sequence[Path], request: ExperimentRequest, store: ReadableStore, preset: Preset, *, backbone: str
) -> Iterator[SeedRun]:
    """Aggregators that were trained on another store, to be evaluated on this one's features.

    Args:
        paths: Checkpoints, or folders of them (``…/seed0/last.ckpt``).
        request: The evaluation.
        store: Whose features they will read.
        preset: That of the evaluation.
        backbone: Name of the features.

    Raises:
        CheckpointError: there is none, it was trained on features of other weights, or two have the same seed and
            training.
    """
    ours = feature_identity(store, view=preset.train_view, backbone=backbone)
    found: dict[tuple[str, int], Path] = {}
    for path in _checkpoints(paths):
        loaded = load_aggregator(path)
        check_transfer(path, loaded.provenance, ours)
        run = replace(_seed_run(loaded, path, request, store), pretrained_on=_described(loaded))
        if (run.pretrained_on, run.seed) in found:
            raise CheckpointError(f"'{path}' and '{found[run.pretrained_on, run.seed]}' are of one training and seed")
        found[run.pretrained_on, run.seed] = path
        yield run


def _checkpoints(paths: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, and those of the folders that are."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob("last.ckpt")) or sorted(path.glob("seed*/last.ckpt"))
        if not inside:
            raise CheckpointError(
                f"no checkpoint in '{path}': neither last.ckpt nor seed0/last.ckpt, seed1/last.ckpt …"
            )
        yield from inside


def _described(loaded: LoadedAggregator) -> str:
    """What a checkpoint was trained on, and by what settings but for the seed: ``kinetics400@1a2b3c4d``."""
    return f"{loaded.provenance.get('dataset', 'unknown')}@{_training_digest(loaded)}"


def _training_digest(loaded: LoadedAggregator) -> str:
    """Of all that decides what was learned, but for the seed."""
    training = {
        "provenance": {key: value for key, value in loaded.provenance.items() if key not in (RECIPE, FEATURES_DIGEST)},
        "config": replace(loaded.config, seed=0).to_mapping(),
        "videos": len(loaded.training_videos),
    }
    return _digest(training)


def _architecture_digest(config: PretrainConfig) -> str:
    """Of all that decides what an untrained aggregator computes, but for the seed."""
    return _digest({"model": config.to_mapping()["model"], "shuffle_positions": config.shuffle_positions})


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=4).hexdigest()


def _seed_run(loaded: LoadedAggregator, path: Path, request: ExperimentRequest, store: ReadableStore) -> SeedRun:
    unfinished = ""
    if not loaded.is_complete:
        unfinished = f"pre-trained for {loaded.share_done:.0%} of {loaded.config.length}"
        way_out = "; `scale-video pretrain` completes it" if path.name == CHECKPOINT_NAME else ""
        note(f"warning: {path}: {unfinished}{way_out}")
    # Ids are paths: two data sets may use the same ones for different videos.
    datasets = str(loaded.provenance.get("dataset")).split(",")
    same_dataset = request.dataset in datasets
    ids = store.ids if len(datasets) == 1 else [id_in_union(each, dataset=request.dataset) for each in store.ids]
    trained_on = loaded.training_videos
    test, train = (
        trained_on.contains(ids[row] for row in store.videos.in_split(request.split, part))
        for part in ("test", "train")
    )
    only_train = train.sum() == len(trained_on)
    derived = "" if not same_dataset else "train" if only_train else "all"  # for checkpoints that do not say
    return SeedRun(
        seed=loaded.config.seed,
        config=loaded.config,
        model=loaded.model,
        checkpoint=path,
        seen=same_dataset and bool(test.any()),
        pretrain_videos=str(loaded.provenance.get("pretrain_videos", derived)),
        training=_training_digest(loaded),
        architecture=_architecture_digest(loaded.config),
        note=unfinished,
    )
