"""Making a store's plan: look at every video, draw the clips of every view, create the hierarchy, report."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.block_task import VideoFailure
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.forecast import Forecast, forecast, predicted_block_size
from scale_video.extract.probing import probe_table
from scale_video.extract.views import View
from scale_video.store.create import create_store, default_block_size, make_room
from scale_video.store.location import StoreLocation
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What the look at the videos told, before any clip is decoded."""

    num_videos: int
    num_clips: Mapping[str, int]
    """Planned clips by view."""
    clips_per_video: Mapping[str, int]
    """Of the widest video, by view."""
    seconds_of_video: float
    """Of the readable videos together."""
    num_classes: Mapping[str, int]
    """By column of labels."""
    splits: Mapping[str, Mapping[str, int]]
    """Videos by split and part."""
    num_unreadable: Mapping[str, int]
    """Videos that will have no features, by status; ``no_video_stream`` has sound only."""
    unreadable: tuple[VideoFailure, ...]
    """Each of them, with the reason."""
    num_rotated: int
    num_variable_rate: int
    num_too_short: int
    """Shorter than a clip of some view: their last frame will repeat."""
    duplicates: tuple[tuple[str, str], ...]
    """The first file of some content (``VideoProbe.content_digest``), and each other that has the same, by path; of
    parts of files, those that are the same part."""
    leaking: tuple[tuple[str, str], ...]
    """Pairs of equal files of which one is for training and the other for testing in some split, by path; of parts of
    files, those that overlap."""
    num_unlabelled: Mapping[str, int]
    """Videos without a label or number, by column; empty when the data set has none at all."""
    block_size: int
    """Videos in a block."""
    default_block_size: int
    """What it would have been if a block could take any time."""
    forecast: Forecast | None
    """Predicted hours and bytes; None when no backbones were named, or none could be measured."""


def plan_store(
    client: Client,
    *,
    store_url: str,
    data_root: str,
    videos: VideoTable,
    views: Sequence[View],
    attributes: Mapping[str, Any],
    backbones: Sequence[BackboneRequest] = (),
    block_size: int | None = None,
    limits: DecodeLimits | None = None,
    progress: Callable[[int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> PlanReport:
    """Probe, draw, predict and create.

    Args:
        client: connected to workers that see the videos.
        store_url: where to create the store.
        data_root: folder that the paths are relative to.
        videos: N videos.
        views: parameters of each view.
        attributes: JSON values for the store's root.
        backbones: what will be extracted; hours and bytes are predicted for these, in a matter of seconds.
        block_size: videos in a block; chosen when None, so that a block takes about ten predicted minutes at most.
        limits: time and memory for a look at one file, and processes per worker.
        progress: called with the number of files seen so far.
        check: called before anything is created; raises what must end the plan, such as a disk that is gone.

    Raises:
        StoreError: something is in the way at ``store_url``.
        ValueError: not one of the videos can be read.
    """
    make_room(StoreLocation.of(store_url))  # not after hours of looking at videos
    probes = probe_table(client, data_root, videos, limits=limits, progress=progress)
    parts = videos.parts
    unreadable = tuple(
        VideoFailure(videos.paths[row] + parts.suffix(row), probe.status, probe.error)
        for row, probe in enumerate(probes)
        if probe.status != VideoStatus.OK
    )
    if len(unreadable) == videos.num_videos:
        first = unreadable[0]
        raise ValueError(
            f"none of the {videos.num_videos} videos can be read; the first, {first.path!r}: {first.error}"
        )
    probed = ProbedVideos.of(videos.ids, probes, parts)
    plans = [draw_view(view, probed) for view in views]
    predicted = None
    if backbones:
        try:
            predicted = forecast(
                client,
                data_root=data_root,
                paths=videos.paths,
                probes=probes,
                parts=parts,
                views=views,
                plans=plans,
                backbones=backbones,
                limits=limits or DecodeLimits(),
            )
        except Exception as error:  # whatever it is, it must not cost the hours of looking at videos
            logger.warning("time and size cannot be predicted: %s", error or type(error).__name__)
    if block_size is None:
        seconds = float("nan") if predicted is None else predicted.seconds_per_video
        block_size = predicted_block_size(videos.num_videos, seconds_per_video=seconds)
    if check is not None:
        check()
    create_store(store_url, videos=videos, probes=probes, plans=plans, block_size=block_size, attributes=attributes)
    readable = [probe for probe in probes if probe.status == VideoStatus.OK]
    seconds = probed.duration_seconds[probed.status == VideoStatus.OK]
    longest_span = max(view.span_seconds for view in views)
    duplicates, leaking = _duplicates(videos, probes)
    return PlanReport(
        num_videos=videos.num_videos,
        num_clips={plan.view: int(plan.valid.sum()) for plan in plans},
        clips_per_video={plan.view: plan.num_clips for plan in plans},
        seconds_of_video=float(seconds.sum()),
        num_classes={name: len(names) for name, names in videos.class_names.items()},
        splits=videos.sizes_of_splits(),
        num_unreadable=dict(sorted(Counter(failure.status.name.lower() for failure in unreadable).items())),
        unreadable=unreadable,
        num_rotated=sum(probe.rotation_degrees != 0 for probe in readable),
        num_variable_rate=sum(probe.variable_frame_rate for probe in readable),
        num_too_short=int((seconds < longest_span).sum()),
        duplicates=duplicates,
        leaking=leaking,
        num_unlabelled=_num_unlabelled(videos),
        block_size=block_size,
        default_block_size=default_block_size(videos.num_videos),
        forecast=predicted,
    )


def _num_unlabelled(videos: VideoTable) -> dict[str, int]:
    absent: dict[str, NDArray[np.bool_]] = {name: label < 0 for name, label in videos.labels.items()}
    absent |= {name: np.all(labels < 0, axis=1) for name, labels in videos.label_sets.items()}
    absent |= {name: np.isnan(target) for name, target in videos.targets.items()}
    return {name: int(rows.sum()) for name, rows in sorted(absent.items())}


Pairs = tuple[tuple[str, str], ...]


def _duplicates(videos: VideoTable, probes: Sequence[VideoProbe]) -> tuple[Pairs, Pairs]:
    """Each copy with the first file of its content, and the copies that lie on both sides of any split."""
    digests = np.array([probe.content_digest for probe in probes], dtype=np.uint64)
    rows = np.flatnonzero(digests)  # 0: the file could not be read
    _, content = np.unique(digests[rows], return_inverse=True)
    parts = videos.parts
    begin, end = parts.begin_seconds[rows], parts.end_seconds[rows]
    what = content
    if parts.any:
        what = np.unique(np.stack([content, begin, end]), axis=1, return_inverse=True)[1].reshape(-1)
    _, first, which = np.unique(what, return_index=True, return_inverse=True)
    original = rows[first[which]]
    is_copy = original != rows

    def pair(one: int, other: int) -> tuple[str, str]:
        return videos.paths[one] + parts.suffix(one), videos.paths[other] + parts.suffix(other)

    duplicates = tuple(map(pair, original[is_copy].tolist(), rows[is_copy].tolist()))
    leaking = set()
    for split in videos.splits:
        train, test = (np.isin(rows, videos.in_split(split, part)) for part in ("train", "test"))
        for one, other in _across(content, train, test, begin=begin, end=end):
            leaking.add(pair(int(rows[one]), int(rows[other])))
    return duplicates, tuple(sorted(leaking))


def _across(
    content: NDArray[np.int64],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    *,
    begin: NDArray[np.float64],
    end: NDArray[np.float64],
) -> Iterator[tuple[int, int]]:
    """Every test video which shows something that a training video shows, with the first such, as places."""
    shared = np.intersect1d(content[train], content[test])
    order = np.argsort(content, kind="stable")  # keeps the order of rows within a content
    lows, highs = (np.searchsorted(content, shared, side=side, sorter=order) for side in ("left", "right"))
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        places = order[low:high]
        trained, tested = places[train[places]].tolist(), places[test[places]].tolist()
        # Copies have equal bounds: each pair of bounds is compared once, for its first training video.
        of_bounds: dict[tuple[float, float], int] = {}
        for place in trained:
            of_bounds.setdefault((begin[place], end[place]), place)
        found: dict[tuple[float, float], int | None] = {}
        for place in tested:
            bounds = begin[place], end[place]
            if bounds not in found:
                found[bounds] = next((p for (b, e), p in of_bounds.items() if b < bounds[1] and bounds[0] < e), None)
            if (original := found[bounds]) is not None:
                yield original, place
