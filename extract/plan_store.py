"""Making a store's plan: look at every video, draw the clips of every view, create the hierarchy, report."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Client

from scale_video.extract.block_task import VideoFailure
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.job import probe_videos
from scale_video.extract.views import View
from scale_video.store.create import create_store
from scale_video.store.video_probe import VideoStatus
from scale_video.store.video_table import VideoTable


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What the look at the videos told, before any clip is decoded."""

    num_videos: int
    num_clips: Mapping[str, int]
    """Planned clips by view."""
    seconds_of_video: float
    """Of the readable videos together."""
    unreadable: tuple[VideoFailure, ...]
    """Videos that will have no features, with the reason."""
    num_rotated: int
    num_variable_rate: int
    num_too_short: int
    """Shorter than a clip of some view: their last frame will repeat."""
    num_duplicates: int
    """Files whose content another file before them has, too."""
    leaking: tuple[tuple[str, str], ...]
    """Pairs of equal files of which one is for training and the other for testing, by path."""


def plan_store(
    client: Client,
    *,
    store_url: str,
    data_root: str,
    videos: VideoTable,
    views: Sequence[View],
    attributes: Mapping[str, Any],
    block_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PlanReport:
    """Probe, draw and create.

    Args:
        client: connected to workers that see the videos.
        store_url: where to create the store.
        data_root: folder that the paths are relative to.
        videos: N videos.
        views: parameters of each view.
        attributes: JSON values for the store's root.
        block_size: videos in a block; chosen by the store when None.
        progress: called with the number of videos seen so far.

    Raises:
        StoreError: something is in the way at ``store_url``.
        ValueError: not one of the videos can be read.
    """
    probes = probe_videos(client, data_root, videos.paths, progress=progress)
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
    create_store(store_url, videos=videos, probes=probes, plans=plans, block_size=block_size, attributes=attributes)
    readable = [probe for probe in probes if probe.status == VideoStatus.OK]
    longest_span = max(view.span_seconds for view in views)
    num_duplicates, leaking = _duplicates(videos, np.array([probe.content_digest for probe in probes], dtype=np.uint64))
    return PlanReport(
        num_videos=videos.num_videos,
        num_clips={plan.view: int(plan.valid.sum()) for plan in plans},
        seconds_of_video=sum(probe.duration_seconds for probe in readable),
        unreadable=unreadable,
        num_rotated=sum(probe.rotation_degrees != 0 for probe in readable),
        num_variable_rate=sum(probe.variable_frame_rate for probe in readable),
        num_too_short=sum(probe.duration_seconds < longest_span for probe in readable),
        num_duplicates=num_duplicates,
        leaking=leaking,
    )


def _duplicates(videos: VideoTable, digests: "np.typing.NDArray[np.uint64]") -> tuple[int, tuple[tuple[str, str], ...]]:
    """Number of superfluous copies, and the pairs of copies that lie on both sides of any split."""
    counts = Counter(digest for digest in digests.tolist() if digest)
    copied = np.flatnonzero([counts.get(digest, 0) > 1 for digest in digests.tolist()])
    leaking = set()
    for split in videos.splits:
        train_rows, test_rows = videos.in_split(split, "train"), videos.in_split(split, "test")
        trained = {digests[row]: row for row in np.intersect1d(copied, train_rows)}
        for row in np.intersect1d(copied, test_rows):
            if digests[row] in trained:
                leaking.add((videos.paths[trained[digests[row]]], videos.paths[row]))
    return sum(count - 1 for count in counts.values()), tuple(sorted(leaking))
