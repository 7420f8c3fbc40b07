"""``scale-video plan`` and ``extract``: from a data set's name to committed features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from distributed import Client

from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.registry import BackboneRequest, load_backbone, parse_backbone
from scale_video.extract.block_task import ExtractionTask
from scale_video.extract.cluster import dask_client
from scale_video.extract.datasets.edit_script import VARIANTS
from scale_video.extract.datasets.registry import list_dataset
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.job import ExtractionReport, JobProgress, missing_blocks, run_extraction
from scale_video.extract.plan_store import PlanReport, plan_store
from scale_video.extract.views import View, view_parameters
from scale_video.pipelines.console import note, ticking
from scale_video.pipelines.preset import load_preset
from scale_video.pipelines.provenance import git_revision, versions
from scale_video.pipelines.rendering import render
from scale_video.store.create import add_backbone, add_view
from scale_video.store.digests import videos_digest
from scale_video.store.errors import PlanMismatchError, StoreNotFoundError
from scale_video.store.read import FeatureStore
from scale_video.store.video_table import VideoTable

BATCH_PIXELS = 8 * 16 * 224 * 224
MAX_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """What a user asks of stage 1."""

    dataset: str
    data_root: Path | None
    """Folder of the videos; may be absent when the store is complete."""
    store: str
    """Path or fsspec URL."""
    preset: str
    overrides: tuple[str, ...] = ()
    backbone: str = "motion3d"
    """``family[:source][@name]``."""
    views: tuple[str, ...] = ()
    """Names out of the preset's views; all of them when empty."""
    split_lists: Path | None = None
    num_workers: int = 1
    processes: bool = True
    scheduler: str | None = None
    block_size: int | None = None


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What stage 1 did."""

    store: str
    plan: PlanReport | None
    """None when the store was there already."""
    reports: dict[str, ExtractionReport]
    """By view."""
    backbone: str


def run_plan(request: ExtractionRequest) -> PlanReport:
    """Create the store without extracting anything.

    Raises:
        StoreError: the store exists already.
        ValueError: bad input, in one line.
    """
    videos = _list_videos(request)
    with dask_client(
        scheduler=request.scheduler, num_workers=request.num_workers, processes=request.processes
    ) as client:
        return _plan(client, request, videos)


def run_extract(request: ExtractionRequest) -> ExtractionResult:
    """Plan if there is no store yet, and extract what is missing.

    Raises:
        StoreError: the store holds another plan, other weights, or cannot be read.
        ValueError: bad input, in one line, before any video is touched.
    """
    backbone = parse_backbone(request.backbone)
    spec = load_backbone(backbone).spec
    views = _views(request)
    store = _open_if_planned(request)
    videos = _list_videos(request) if store is None or request.data_root is not None else None
    if store is not None:
        _check_same_plan(store, request, videos, views)
        _add_views(store, views)
        _add_backbone(store, spec, views)
        if not any(missing_blocks(store, view=view, backbone=spec.name) for view in views):
            reports = {view: _extract_view(None, request, backbone, view) for view in views}
            return ExtractionResult(store=request.store, plan=None, reports=reports, backbone=spec.name)
        if videos is None:
            raise ValueError("the store is not complete, and no folder of videos is given; name it by --data (DATA=)")
    with dask_client(
        scheduler=request.scheduler, num_workers=request.num_workers, processes=request.processes
    ) as client:
        plan = None
        if store is None:
            assert videos is not None
            plan = _plan(client, request, videos)
            _add_backbone(FeatureStore.open(request.store), spec, views)
        reports = {view: _extract_view(client, request, backbone, view) for view in views}
    return ExtractionResult(store=request.store, plan=plan, reports=reports, backbone=spec.name)


def _views(request: ExtractionRequest) -> dict[str, View]:
    preset = load_preset(request.preset, dataset=request.dataset, overrides=request.overrides)
    unknown = sorted(set(request.views) - set(preset.views))
    if unknown:
        raise ValueError(f"no view {unknown[0]!r} in preset {preset.name!r}; it has: {', '.join(preset.views)}")
    return {name: preset.views[name] for name in request.views or preset.views}


def _list_videos(request: ExtractionRequest) -> VideoTable:
    if request.data_root is None:
        raise ValueError(f"data set {request.dataset!r} needs the folder of its videos; name it by --data (DATA=)")
    if request.dataset in VARIANTS and not request.data_root.expanduser().exists():
        render(request.dataset, request.data_root.expanduser(), num_workers=request.num_workers)
    return list_dataset(request.dataset, request.data_root, split_lists=request.split_lists)


def _open_if_planned(request: ExtractionRequest) -> FeatureStore | None:
    try:
        return FeatureStore.open(request.store)
    except StoreNotFoundError:
        return None


def _plan(client: Client, request: ExtractionRequest, videos: VideoTable) -> PlanReport:
    views = _views(request)
    with ticking("looking at videos", videos.num_videos) as ticker:
        return plan_store(
            client,
            store_url=request.store,
            data_root=_absolute(request.data_root),
            videos=videos,
            views=list(views.values()),
            attributes={"dataset": request.dataset, "versions": versions(), "git_revision": git_revision()},
            block_size=request.block_size,
            progress=ticker.update,
        )


def _check_same_plan(
    store: FeatureStore, request: ExtractionRequest, videos: VideoTable | None, views: Mapping[str, View]
) -> None:
    """Refuse to mix plans: same data set, same videos, same parameters of every view."""
    way_out = "choose another place by --store (STORE=)"
    dataset = store.attributes["dataset"]
    if dataset != request.dataset:
        raise PlanMismatchError(
            f"store {request.store!r} holds data set {dataset!r}, not {request.dataset!r}; {way_out}"
        )
    if videos is not None and videos_digest(videos) != store.attributes["videos_digest"]:
        new, gone = set(videos.ids) - set(store.videos.ids), set(store.videos.ids) - set(videos.ids)
        raise PlanMismatchError(
            f"store {request.store!r} was planned for other videos, splits or labels: {len(new)} videos are new, "
            f"{len(gone)} are gone{f' (such as {min(new | gone)!r})' if new | gone else ''}; "
            f"a store does not grow, {way_out}"
        )
    for name in set(views) & set(store.views()):
        stored, wanted = store.plan_parameters(name), view_parameters(views[name])
        differing = sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key))
        if differing:
            raise PlanMismatchError(
                f"view {name!r} of store {request.store!r} was drawn with other values of {', '.join(differing)}; "
                f"{way_out}"
            )


def _add_views(store: FeatureStore, views: Mapping[str, View]) -> None:
    """Draw the views that the store lacks, from what the probe found when it was planned."""
    absent = [view for name, view in views.items() if name not in store.views()]
    if absent:
        probed = ProbedVideos.of(store.videos.ids, store.probes())
        for view in absent:
            add_view(store.location.url, draw_view(view, probed))


def _add_backbone(store: FeatureStore, spec: BackboneSpec, views: Mapping[str, View]) -> None:
    described = asdict(spec)
    for key in ("name", "feature_dim", "weights_digest"):
        del described[key]
    for name, view in views.items():
        size = spec.frame_size or view.nominal_size
        add_backbone(
            store.location.url,
            view=name,
            name=spec.name,
            feature_dim=spec.feature_dim,
            weights_digest=spec.weights_digest,
            attributes={**described, "frame_size": size, "batch_size": _batch_size(spec.num_frames, size)},
        )


def _batch_size(num_frames: int, frame_size: int) -> int:
    """Clips in a forward pass: 8 of 16 × 224 × 224, more of smaller ones."""
    return max(1, min(MAX_BATCH_SIZE, BATCH_PIXELS // (num_frames * frame_size**2)))


def _extract_view(
    client: Client | None, request: ExtractionRequest, backbone: BackboneRequest, view: str
) -> ExtractionReport:
    store = FeatureStore.open(request.store)
    task = ExtractionTask(
        store_url=store.location.url,
        data_root=_absolute(request.data_root),
        view=view,
        backbone=backbone,
        plan_digest=store.plan_digest(view),
    )
    missing = [store.block_rows(index) for index in missing_blocks(store, view=view, backbone=backbone.name)]
    if 0 < len(missing) < store.num_blocks:
        there = store.num_blocks - len(missing)
        note(f"{view}/{backbone.name}: {there} of {store.num_blocks} blocks are there already")
    started = perf_counter()
    with ticking(f"extracting {view}/{backbone.name}", sum(rows.stop - rows.start for rows in missing)) as ticker:

        def show(progress: JobProgress) -> None:
            rate = progress.num_clips / (perf_counter() - started)
            ticker.update(progress.num_videos, f"{rate:.0f} clips/s, {progress.num_failures} failures")

        return run_extraction(client, task, progress=show)


def _absolute(path: Path | None) -> str:
    return str(path.expanduser().absolute()) if path is not None else ""


def within_budget(reports: Sequence[ExtractionReport], budget: str) -> bool:
    """Whether the failures stay within ``--max-failures``.

    Args:
        reports: one per view.
        budget: a number of videos (``10``), or a part of them (``1%``).

    Raises:
        ValueError: ``budget`` is neither.
    """
    number = budget.removesuffix("%")
    try:
        limit = float(number)
    except ValueError:
        limit = -1
    if not limit >= 0:
        raise ValueError(f"--max-failures must be a number of videos or a percentage such as 1%, got {budget!r}")
    for report in reports:
        allowed = limit / 100 * report.num_videos if budget.endswith("%") else limit
        if len(report.failures) > allowed or report.lost_blocks:
            return False
    return True
