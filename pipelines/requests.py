"""What a user asks of stage 1."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from scale_video.extract.clip_decoders import DEFAULT_MEMORY_BYTES, DEFAULT_TIMEOUT_SECONDS, DecodeLimits
from scale_video.extract.cluster import num_cores
from scale_video.pipelines.cli_options import DEMO_BACKBONE
from scale_video.pipelines.view_options import ViewOptions
from scale_video.store.union import store_urls
from scale_video.store.video_probe import VideoStatus, failures_named


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """Which videos, which features, and how they are to be computed."""

    dataset: str
    data_root: Path | None
    """Folder of the videos; may be absent when the store is complete."""
    store: str
    """Path or fsspec URL; ``old,new``: the videos that ``old`` lacks go into ``new``."""
    preset: str
    overrides: tuple[str, ...] = ()
    backbones: tuple[str, ...] = (DEMO_BACKBONE,)
    """Each ``family[:source][@name]``; all of them see the same decoded frames."""
    views: tuple[str, ...] = ()
    """Names out of the preset's views, or ``augmented``; all of the preset's when empty."""
    view_options: ViewOptions = field(default_factory=ViewOptions)
    """Clips, spans and sizes other than the preset's."""
    split_lists: Path | None = None
    table: Path | None = None
    """The user's own table of videos."""
    num_workers: int | None = None
    """Of the local cluster; None: one per core, or one per GPU."""
    processes: bool = True
    scheduler: str | None = None
    block_size: int | None = None
    estimate: bool = True
    """Whether planning measures a few videos, to predict hours and bytes and to choose the block size."""
    retry: tuple[str, ...] = ()
    """Statuses of videos that are to be tried again."""
    video_timeout: float = DEFAULT_TIMEOUT_SECONDS
    memory_limit_bytes: int = DEFAULT_MEMORY_BYTES
    num_decoders: int | None = None
    """Decoding processes of each worker thread; None: the cores that there are, shared evenly."""
    device: str = "auto"
    precision: str = "auto"
    break_lock: bool = False
    """Whether to take the lock of another job that is known to be gone."""
    journal: Path | None = None
    """File in which to note how planning and the job go; None: nowhere."""

    @property
    def target_store(self) -> str:
        """Where features are written: the last of the stores."""
        return store_urls(self.store)[-1]

    @property
    def earlier_stores(self) -> tuple[str, ...]:
        """Stores that hold videos which are not to be extracted again."""
        return store_urls(self.store)[:-1]

    @property
    def resolved_workers(self) -> int:
        """Processes for work that needs no GPU."""
        return self.num_workers or num_cores()

    def limits(self, *, num_threads: int) -> DecodeLimits:
        """How each of so many worker threads of this machine decodes.

        Raises:
            ValueError: a limit that is not positive.
        """
        decoders = self.num_decoders or max(1, math.ceil(num_cores() / num_threads))
        return DecodeLimits(decoders, timeout_seconds=self.video_timeout, memory_bytes=self.memory_limit_bytes)

    def retried(self) -> frozenset[VideoStatus]:
        """The statuses to try again.

        Raises:
            ValueError: one is no status of a failure.
        """
        return failures_named(self.retry, option="--retry")
