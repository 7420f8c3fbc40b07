"""The journal of stage 1, ``runs/<dataset>/extraction.jsonl``: when jobs ran, on what, how fast, and how they ended.

A store must not depend on when or where it was made, and may lie where nothing can be appended to; so this is beside
the results. Jobs on several stores may write to one file: each line names its job, and each job the plans that it was
about. ``job_notes.py`` writes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scale_video.pipelines.journal_file import read_events


@dataclass(frozen=True, slots=True)
class Planned:
    """A store was planned."""

    time: str
    """When that began; UTC."""
    plan_digests: Mapping[str, str]
    """By view: which plan, and so which store, wherever that lies."""
    seconds: float
    device: str
    """What the machine's processor is called."""
    num_videos: int
    unreadable: Mapping[str, int]
    """Videos by the name of their status."""


@dataclass(frozen=True, slots=True)
class JobBegan:
    """A job begins to extract what is missing."""

    job: str
    """Tells its lines from those of others."""
    time: str
    """UTC."""
    plan_digests: Mapping[str, str]
    backbones: tuple[str, ...]
    versions: Mapping[str, str]
    git_revision: str
    devices: Mapping[str, int]
    """Workers by the name of what backbones run on there."""
    num_threads: int
    """Blocks at a time, of all workers together."""
    num_decoders: int
    """Decoding processes of each thread."""
    num_blocks: int
    """Of the store."""
    there: Mapping[str, int]
    """Blocks that were there already, by ``<view>/<backbone>``."""
    num_videos: int
    """Those of the blocks that are missing."""


@dataclass(frozen=True, slots=True)
class JobWent:
    """How far a job is. Times but the first are summed over workers, as in ``JobProgress``."""

    job: str
    seconds: float
    """Since it began."""
    num_videos: int
    num_clips: int
    failures: Mapping[str, int]
    """Videos by the name of their status."""
    wait_seconds: float
    decode_seconds: float
    resize_seconds: float
    forward_seconds: float
    write_seconds: float
    block_seconds: float


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job ends, in whatever way leaves time to say so."""

    job: str
    time: str
    """UTC."""
    seconds: float
    how: str
    """``complete``, ``incomplete`` where blocks were lost, ``interrupted`` or ``failed``."""
    error: str
    """One line; empty where nothing went wrong."""
    statuses: Mapping[str, Mapping[str, int]]
    """Videos by status, for each ``<view>/<backbone>``; empty where the job did not reach its end."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """All that is known of a job."""

    began: JobBegan
    went: tuple[JobWent, ...] = ()
    """As time goes by."""
    ended: JobEnded | None = None
    """None while it is at work, and when it was killed."""

    @property
    def seconds(self) -> float:
        """How long it ran, as far as that is known."""
        return self.ended.seconds if self.ended else self.went[-1].seconds if self.went else 0.0


@dataclass(frozen=True, slots=True)
class ExtractionRecord:
    """What a journal says of the stores that one is interested in."""

    planned: tuple[Planned, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    """In the order in which they began."""


def read_extraction_journal(path: Path, *, plan_digests: Sequence[str]) -> ExtractionRecord:
    """What a journal says of some plans; nothing where there is no journal.

    Args:
        path: Of the journal.
        plan_digests: Of the views of the stores.

    Raises:
        OSError: it is there, but cannot be read.
    """
    wanted = set(plan_digests)
    planned: list[Planned] = []
    jobs: dict[str, JobRecord] = {}
    for event in read_events(path, (Planned, JobBegan, JobWent, JobEnded)):
        match event:
            case Planned() if wanted & set(event.plan_digests.values()):
                planned.append(event)
            case JobBegan() if wanted & set(event.plan_digests.values()):
                jobs[event.job] = JobRecord(event)
            case JobWent() if event.job in jobs:
                jobs[event.job] = replace(jobs[event.job], went=(*jobs[event.job].went, event))
            case JobEnded() if event.job in jobs:
                jobs[event.job] = replace(jobs[event.job], ended=event)
    return ExtractionRecord(tuple(planned), tuple(jobs.values()))
