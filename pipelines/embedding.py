"""``scale-video embed``: video-level vectors by a trained aggregator, of a store's features or straight from files."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.aggregate.checkpoint import CheckpointError, LoadedAggregator, load_aggregator
from scale_video.aggregate.embed import embed_videos
from scale_video.extract.backbones.placement import choose
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits
from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.embedding_files import EmbeddedVideos, check_output, write_embeddings
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.file_features import FileOutcome, name_files, read_files
from scale_video.pipelines.paths import choose_backbone
from scale_video.pipelines.provenance import (
    aggregator_digest,
    check_transfer,
    feature_identity,
    features_digest,
)
from scale_video.pipelines.recorded_backbone import check_recorded, load_recorded
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.errors import IncompleteStoreError
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, open_stores

RUN_BYTES: Final = 1 << 26
"""Of features that are in memory together, unless a single block has more."""
DEFAULT_OUTPUT: Final = Path("embeddings.zarr")
DEFAULT_VIEW: Final = "random"
"""Where neither a user nor a checkpoint names one."""


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What is to be embedded, and by what."""

    checkpoint: Path
    store: str | None
    """Whose features are read; of files: whose recipe is followed, where the checkpoint does not say one."""
    files: tuple[Path, ...] = ()
    output: Path = DEFAULT_OUTPUT
    view: str | None = None
    """The checkpoint's when None."""
    backbone: str | None = None
    """Name of the store's features; of files ``family:source``, where its own source does not lead to the weights."""
    data_root: Path | None = None
    """Of files: the folder that their ids are relative to."""
    device: str = "auto"
    limits: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What was written."""

    output: Path
    num_videos: int
    num_left_out: int
    """Videos without features."""
    feature_dim: int
    channel_dim: int
    seconds: float
    failures: tuple[FileOutcome, ...] = ()
    """Files that could not be had in full; those that are ``partial`` have vectors."""


@dataclass(frozen=True, slots=True)
class Features:
    """Which features of a store are read, and whether their view mirrors clips."""

    store: ReadableStore
    view: str
    backbone: str
    flips: bool

    @classmethod
    def choose(
        cls,
        store: ReadableStore,
        loaded: LoadedAggregator | None,
        *,
        path: Path | None,
        view: str | None,
        backbone: str | None,
    ) -> "Features":
        """Those that are named, or else those that an aggregator was trained on.

        Raises:
            CheckpointError: the aggregator reads other features.
            StoreError: there is no such view or backbone, or features are missing.
        """
        trained: Mapping[str, Any] = loaded.provenance if loaded is not None else {}
        view = view or str(trained.get("view", DEFAULT_VIEW))
        if backbone is None and trained.get("backbone") in store.backbones(view):
            backbone = str(trained["backbone"])
        name = choose_backbone(store, view=view, wanted=backbone)
        if loaded is not None and path is not None:
            check_transfer(path, trained, feature_identity(store, view=view, backbone=name))
        there = store.committed(view, name)
        if not there.all():
            raise IncompleteStoreError(
                f"{(~there).sum()} of {len(there)} blocks of {view}/{name} in store {store.url!r} are not extracted "
                "yet; run the same `scale-video extract` again to complete them"
            )
        return cls(store, view, name, flips=store.plan_parameters(view).get("flip_probability", 0) > 0)

    def runs(self) -> Iterator[tuple[NDArray[np.int64], ClipFeatures]]:
        """Rows of videos that have features, and these features, in runs of whole blocks that bound the memory."""
        store = self.store
        row_bytes = store.num_clips(self.view) * store.feature_dim(self.view, self.backbone) * 2
        first = 0
        for one in (store,) if isinstance(store, FeatureStore) else store.stores:
            step = max(1, RUN_BYTES // (row_bytes * one.block_size)) * one.block_size
            for start in range(0, one.num_videos, step):
                rows = np.arange(first + start, first + min(start + step, one.num_videos))
                features = store.read_features(self.view, self.backbone, rows)
                there = np.flatnonzero(features.valid.any(axis=1))
                yield rows[there], features if len(there) == len(rows) else features.take(there)
            first += one.num_videos

    def describe(self) -> dict[str, Any]:
        """What tells these features from others."""
        identity = feature_identity(self.store, view=self.view, backbone=self.backbone)
        digest = features_digest(self.store, view=self.view, backbone=self.backbone)
        return {"dataset": self.store.attributes.get("dataset"), **identity, "features_digest": digest}


def load_for_use(path: Path) -> LoadedAggregator:
    """A trained aggregator, for whoever wants vectors of it.

    Raises:
        CheckpointError: it cannot be read, or was trained for an ablation that must not be taken for the real thing.
    """
    loaded = load_aggregator(path)
    if loaded.config.shuffle_positions:
        raise CheckpointError(
            f"checkpoint '{path}' was trained with shuffled positions, an ablation; `scale-video evaluate` reads it"
        )
    if not loaded.is_complete:
        note(f"warning: {path}: pre-trained for {loaded.share_done:.0%} of {loaded.config.length}")
    return loaded


def run_embed(request: EmbedRequest) -> EmbedResult:
    """Embed a store's videos, or files, into a Zarr group or a Parquet file.

    Raises:
        StoreError: the store, view or features are not there, or not complete.
        ValueError: a checkpoint of other features, an output that is in the way, or nothing to write.
    """
    output = check_output(request.output)
    loaded = load_for_use(request.checkpoint)
    loaded.model.to(choose(request.device, "auto")[0])
    return _of_files(request, loaded, output) if request.files else _of_store(request, loaded, output)


def _of_store(request: EmbedRequest, loaded: LoadedAggregator, output: Path) -> EmbedResult:
    started = time.perf_counter()
    assert request.store is not None
    store = open_stores(request.store, several_datasets=True)
    chosen = Features.choose(store, loaded, path=request.checkpoint, view=request.view, backbone=request.backbone)
    described = chosen.describe()

    def batches() -> Iterator[EmbeddedVideos]:
        with ticking("embedding videos", store.num_videos) as ticker:
            for rows, features in chosen.runs():
                if len(rows):
                    paths = store.column("path", slice(int(rows[0]), int(rows[-1]) + 1))[rows - rows[0]]
                    yield _embedded(loaded, features, paths.tolist(), flips=chosen.flips)
                    ticker.update(int(rows[-1]) + 1)

    def describe(num_rows: int) -> dict[str, Any]:
        if num_rows == 0:
            raise ValueError(f"no video of store {store.url!r} has features of {chosen.backbone!r}: nothing is written")
        if chosen.describe() != described:
            raise IncompleteStoreError(
                f"features {chosen.view}/{chosen.backbone} in store {store.url!r} were extracted anew while they were "
                "embedded, so nothing is written; embed again when that job has ended"
            )
        return _attributes(loaded, described, num_left_out=store.num_videos - num_rows)

    return _write(output, batches(), describe, loaded, num_videos=store.num_videos, started=started)


def _of_files(request: EmbedRequest, loaded: LoadedAggregator, output: Path) -> EmbedResult:
    started = time.perf_counter()
    recipe = _recipe(request, loaded)
    recipe.drawn_view()
    files = name_files(request.files, data_root=request.data_root)
    backbone = load_recorded(
        recipe.backbone,
        recipe.attributes,
        device=request.device,
        given=parse_backbone(request.backbone) if request.backbone else None,
    )
    check_recorded(backbone, recipe.backbone, recipe.attributes, where=f"checkpoint '{request.checkpoint}'")
    failures: list[FileOutcome] = []

    def batches() -> Iterator[EmbeddedVideos]:
        with closing(ClipDecoders(request.limits)) as decoders, ticking("embedding files", len(files)) as ticker:
            num_done = 0
            for read in read_files(files, recipe, backbone, decoders):
                for outcome in read.outcomes:
                    if outcome.status.is_failure:
                        note(f"{outcome.path}: {outcome.status.name.lower()}, {outcome.error}")
                        failures.append(outcome)
                there = np.flatnonzero(read.features.valid.any(axis=1))
                num_done += len(read.outcomes)
                ticker.update(num_done)
                if len(there):
                    paths = [read.outcomes[row].path for row in there]
                    yield _embedded(loaded, read.features.take(there), paths, flips=recipe.flips)

    described = {
        "view": recipe.view,
        "backbone": recipe.backbone,
        **{key: loaded.provenance[key] for key in ("weights_digest", "forward_digest") if key in loaded.provenance},
    }

    def describe(num_rows: int) -> dict[str, Any]:
        if num_rows == 0:
            raise ValueError(f"none of {len(files)} files could be embedded, so nothing is written")
        return _attributes(loaded, described, num_left_out=len(files) - num_rows)

    return _write(output, batches(), describe, loaded, num_videos=len(files), started=started, failures=failures)


def _recipe(request: EmbedRequest, loaded: LoadedAggregator) -> FeatureRecipe:
    """How features are made of files that the aggregator can read.

    Raises:
        CheckpointError: neither the checkpoint nor a store says so; or the store's features are others.
        ValueError: another view is asked for.
    """
    if request.store is None:
        recipe = FeatureRecipe.of_provenance(loaded.provenance)
        if recipe is None:
            raise CheckpointError(
                f"checkpoint '{request.checkpoint}' is of an earlier release and does not say how its features are "
                "made; name the store that it was trained on by --store, or pre-train anew"
            )
        if request.view not in (None, recipe.view):
            raise ValueError(
                f"the checkpoint reads clips of view {recipe.view!r}; --view {request.view} is another one"
            )
        return recipe
    chosen = Features.choose(
        open_stores(request.store, several_datasets=True),
        loaded,
        path=request.checkpoint,
        view=request.view,
        backbone=None,
    )
    return FeatureRecipe.of_store(chosen.store, view=chosen.view, backbone=chosen.backbone)


def _embedded(loaded: LoadedAggregator, features: ClipFeatures, paths: Sequence[str], *, flips: bool) -> EmbeddedVideos:
    return EmbeddedVideos(
        vectors=embed_videos(loaded.model, features, flips=flips),
        paths=tuple(paths),
        num_clips=features.valid.sum(axis=1).astype(np.int32),
    )


def _attributes(loaded: LoadedAggregator, described: Mapping[str, Any], *, num_left_out: int) -> dict[str, Any]:
    """Of the output. Nothing that differs between equal runs: no times, hosts or absolute paths."""
    trained = ("dataset", "split", "preset", "pretrain_videos", "view", "plan_digest")
    return {
        **described,
        "aggregator_digest": aggregator_digest(loaded),
        "trained_on": {key: loaded.provenance[key] for key in trained if key in loaded.provenance},
        "seed": loaded.config.seed,
        "epochs_done": loaded.epochs_done,
        "num_left_out": num_left_out,
        "versions": versions(),
        "git_revision": git_revision(),
    }


def _write(
    output: Path,
    batches: Iterator[EmbeddedVideos],
    describe: Any,
    loaded: LoadedAggregator,
    *,
    num_videos: int,
    started: float,
    failures: Sequence[FileOutcome] = (),
) -> EmbedResult:
    dims = loaded.model.feature_dim, loaded.config.model.width
    num_rows = write_embeddings(output, batches, describe=describe, feature_dim=dims[0], channel_dim=dims[1])
    return EmbedResult(
        output=output,
        num_videos=num_rows,
        num_left_out=num_videos - num_rows,
        feature_dim=dims[0],
        channel_dim=dims[1],
        seconds=time.perf_counter() - started,
        failures=tuple(failures),
    )
