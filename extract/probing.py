"""Looking at every video of a data set, in parallel, before anything is planned."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from distributed import Client, KilledWorker

from scale_video.extract.block_task import thread_decoders
from scale_video.extract.bounded_map import bounded_map
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.extract.worker_paths import check_data_root, video_path, worker_path
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

PROBES_PER_TASK = 32

Chunk = tuple[int, tuple[str, ...]]
"""Position of the first path, and paths."""


def probe_videos(
    client: Client,
    root: str,
    paths: Sequence[str],
    *,
    limits: DecodeLimits | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[VideoProbe, ...]:
    """Look at every file; one that crashes or hangs its decoder says so in its probe, and harms no other.

    Args:
        client: connected to workers that see the videos.
        root: the data root, as the client sees it.
        paths: relative to ``root``.
        limits: time and memory for one file, and processes per worker.
        progress: called with the number of files seen so far.

    Raises:
        ConnectionError: workers die again and again, or the scheduler is gone.
        StoreError: a worker finds no folder of videos.
    """
    limits = limits or DecodeLimits()
    starts = range(0, len(paths), PROBES_PER_TASK)
    chunks = ((start, tuple(paths[start : start + PROBES_PER_TASK])) for start in starts)
    probes: list[VideoProbe | None] = [None] * len(paths)
    seen = 0
    killed: list[Chunk] = []
    for first_time in (True, False):
        todo = chunks if first_time else iter(killed)
        with closing(bounded_map(client, partial(_probe_chunk, root, limits), todo)) as outcomes:
            for (start, chunk), outcome in outcomes:
                try:
                    probes[start : start + len(chunk)] = outcome.result()
                except KilledWorker:  # by whom is not known: decoders, which may crash, are processes of their own
                    if first_time:
                        killed.append((start, chunk))
                        continue
                    raise ConnectionError(
                        f"workers die again and again while they look at {chunk[0]!r} and its neighbours; "
                        "run the same command again"
                    ) from None
                seen += len(chunk)
                if progress is not None:
                    progress(seen)
    return tuple(probe for probe in probes if probe is not None)


def probe_table(
    client: Client,
    root: str,
    videos: VideoTable,
    *,
    limits: DecodeLimits | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[VideoProbe, ...]:
    """Look at the file of every row, once at a file that has several rows.

    A row that is a part of a file which ends before it is ``CORRUPT``, whatever else is in the file.

    Args:
        client: connected to workers that see the videos.
        root: the data root, as the client sees it.
        videos: N rows.
        limits: as in ``probe_videos``.
        progress: called with the number of files seen so far.

    Raises:
        ConnectionError: see ``probe_videos``.
        StoreError: see ``probe_videos``.
    """
    paths = tuple(dict.fromkeys(videos.paths))
    found = dict(zip(paths, probe_videos(client, root, paths, limits=limits, progress=progress), strict=True))
    begins = videos.parts.begin_seconds.tolist()
    return tuple(_of_part(found[path], begin) for path, begin in zip(videos.paths, begins, strict=True))


def _of_part(probe: VideoProbe, begin_seconds: float) -> VideoProbe:
    """The probe of a file as that of a row which begins there."""
    if probe.status != VideoStatus.OK or begin_seconds < probe.duration_seconds:
        return probe
    error = f"the part begins at {begin_seconds:.10g} s, but the file ends at {probe.duration_seconds:.2f} s"
    return replace(probe, status=VideoStatus.CORRUPT, error=error)


def _probe_chunk(root: str, limits: DecodeLimits, chunk: Chunk) -> list[VideoProbe]:
    here = worker_path(root)
    probes = list(thread_decoders(limits).probe(video_path(here, path) for path in chunk[1]))
    if any(probe.status == VideoStatus.MISSING for probe in probes):
        check_data_root(here)
    return probes
