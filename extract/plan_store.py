"""Making a store's plan: look at every video, draw the clips of every view, create the hierarchy, report."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from scale_video.extract.probing import probe_videos
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
    num_unreadable: Mapping[str, int]
    """Videos that will have no features, by status; ``no_video_stream`` has sound only."""
    unreadable: tuple[VideoFailure, ...]
    """Each of them, with the reason."""
    num_rotated: int
    num_variable_rate: int
    num_too_short: int
    """Shorter than a clip of some view: their last frame will repeat."""
    duplicates: tuple[tuple[str, str], ...]
    """The first file of some content (``VideoProbe.content_digest``), and each other that has the same, by path."""
    leaking: tuple[tuple[str, str], ...]
    """Pairs of equal files of which one is for training and the other for testing in some split, by path."""
    num_unlabelled: Mapping[str, int]
    """Videos without a label, by label column; empty when the data set has no labels at all."""
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
        progress: called with the number of videos seen so far.
        check: called before anything is created; raises what must end the plan, such as a disk that is gone.

    Raises:
        StoreError: something is in the way at ``store_url``.
        ValueError: not one of the videos can be read.
    """
    make_room(StoreLocation.of(store_url))  # not after hours of looking at videos
    probes = probe_videos(client, data_root, videos.paths, limits=limits, progress=progress)
    unreadable = tuple(
        VideoFailure(path, probe.status, probe.error)
        for path, probe in zip(videos.paths, probes, strict=True)
        if probe.status != VideoStatus.OK
    )
    if len(unreadable) == videos.num_videos:
        first = unreadable[0]
        raise ValueError(
            f"none of the {videos.num_videos} videos can be read; the first, {first.path!r}: {first.error}"
        )
    probed = ProbedVideos.of(videos.ids, probes)
    plans = [draw_view(view, probed) for view in views]
    predicted = None
    if backbones:
        try:
            predicted = forecast(
                client,
                data_root=data_root,
                paths=videos.paths,
                probes=probes,
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
    longest_span = max(view.span_seconds for view in views)
    duplicates, leaking = _duplicates(videos, probes)
    return PlanReport(
        num_videos=videos.num_videos,
        num_clips={plan.view: int(plan.valid.sum()) for plan in plans},
        clips_per_video={plan.view: plan.num_clips for plan in plans},
        seconds_of_video=sum(probe.duration_seconds for probe in readable),
        num_unreadable=dict(sorted(Counter(failure.status.name.lower() for failure in unreadable).items())),
        unreadable=unreadable,
        num_rotated=sum(probe.rotation_degrees != 0 for probe in readable),
        num_variable_rate=sum(probe.variable_frame_rate for probe in readable),
        num_too_short=sum(probe.duration_seconds < longest_span for probe in readable),
        duplicates=duplicates,
        leaking=leaking,
        num_unlabelled={name: int((label < 0).sum()) for name, label in sorted(videos.labels.items())},
        block_size=block_size,
        default_block_size=default_block_size(videos.num_videos),
        forecast=predicted,
    )


Pairs = tuple[tuple[str, str], ...]


def _duplicates(videos: VideoTable, probes: Sequence[VideoProbe]) -> tuple[Pairs, Pairs]:
    """Each copy with the first file of its content, and the copies that lie on both sides of any split."""
    digests = np.array([probe.content_digest for probe in probes], dtype=np.uint64)
    rows = np.flatnonzero(digests)  # 0: the file could not be read
    _, first, content = np.unique(digests[rows], return_index=True, return_inverse=True)
    original = rows[first[content]]
    copies = rows[original != rows]
    paths = videos.paths
    duplicates = tuple(
        (paths[a], paths[b]) for a, b in zip(original[original != rows].tolist(), copies.tolist(), strict=True)
    )
    leaking = set()
    for split in videos.splits:
        for train, test in _across(content, rows, videos.in_split(split, "train"), videos.in_split(split, "test")):
            leaking.add((paths[train], paths[test]))
    return duplicates, tuple(sorted(leaking))


def _across(
    content: NDArray[np.int64], rows: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Every test video whose content is that of a training video, with the first such, as rows."""
    trained = np.flatnonzero(np.isin(rows, train))
    tested = np.flatnonzero(np.isin(rows, test))
    known, first = np.unique(content[trained], return_index=True)
    leaking = tested[np.isin(content[tested], known)]
    original = trained[first[np.searchsorted(known, content[leaking])]]
    return list(zip(rows[original].tolist(), rows[leaking].tolist(), strict=True))
