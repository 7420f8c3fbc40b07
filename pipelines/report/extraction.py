"""Section 5: what became of the videos, what failed and why, how fast it went, where time went, what clips cover."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from scale_video.pipelines.extraction_journal import JobRecord, JobWent
from scale_video.pipelines.failures import FailureListing, FailureRecord
from scale_video.pipelines.report.draw_extraction import SpeedLine, draw_coverage, draw_shares, draw_speed
from scale_video.pipelines.report.section import (
    Block,
    FigureBlock,
    Missing,
    NotThereError,
    Outline,
    Paragraph,
    Part,
    TableBlock,
)
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.report.stage_times import counted, extraction_record, journal_path, members, when
from scale_video.store.amounts import time_text
from scale_video.store.clip_coverage import clip_coverage
from scale_video.store.video_probe import FAILURES, VideoStatus

MAX_FAILURES: Final = 300
"""Videos that are listed."""
_MAX_REASONS: Final = 20
_MAX_VIDEOS: Final = 4096
"""Whose clips are looked at."""
_MAX_JOBS: Final = 6
"""Whose speed is drawn."""
_MAX_STEPS: Final = 60
"""Of a job's speed."""
_SEED: Final = 0


def _statuses(sources: ReportSources) -> Iterator[Block]:
    """A row per view and backbone."""
    store = sources.store
    counts: dict[str, Counter[int]] = {}
    for view in store.views():
        for backbone in store.backbones(view):
            of_features = counts.setdefault(f"{view}/{backbone}", Counter())
            for _, status, _ in store.outcomes(view, backbone):
                of_features.update(status.tolist())
    if not counts:
        raise NotThereError("The store has no features yet.", sources.command("extract"))
    codes = sorted({code for of_features in counts.values() for code in of_features})
    yield TableBlock(
        ("features", *(VideoStatus(code).name.lower() for code in codes)),
        tuple((name, *(f"{counts[name][code]:,}" for code in codes)) for name in counts),
        numbers=len(codes),
        caption="Videos by status",
        notes=tuple(f"{VideoStatus(code).name.lower()}: {_MEANINGS[VideoStatus(code)]}" for code in codes),
    )
    if any(of_features[VideoStatus.PENDING] for of_features in counts.values()):
        yield Missing("The extraction is not complete.", sources.command("extract"))


_MEANINGS: Final = {
    VideoStatus.PENDING: "not extracted yet",
    VideoStatus.OK: "all clips are there",
    VideoStatus.PADDED: "all clips are there; one reaches past the end of the video, whose last frame repeats",
    VideoStatus.PARTIAL: "the file holds less than it announces, and some clips are missing",
    VideoStatus.NO_VIDEO_STREAM: "the file holds sound only",
    VideoStatus.CORRUPT: "the file cannot be decoded",
    VideoStatus.MISSING: "there was no such file",
    VideoStatus.TIMEOUT: "decoding took longer than --video-timeout",
    VideoStatus.CRASHED: "decoding ended its process, or wanted more than --memory-limit",
    VideoStatus.NOT_PLANNED: "the view leaves the video out",
}


def _failures(sources: ReportSources) -> Iterator[Block]:
    """Reasons first, then videos; of many, the first ones."""
    store = sources.store
    reasons: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    listed: list[FailureRecord] = []
    for failure in FailureListing(store.url, members(store), FAILURES):
        reason = failure.features, failure.status.name.lower(), _without_numbers(failure.error)
        reasons[reason] += 1
        examples.setdefault(reason, failure.path)
        if len(listed) < MAX_FAILURES:
            listed.append(failure)
    if not reasons:
        yield Paragraph("Every video could be had in full.")
        return
    total = reasons.total()
    yield TableBlock(
        ("of", "status", "reason", "for example", "videos"),
        tuple((*reason, examples[reason], f"{count:,}") for reason, count in reasons.most_common(_MAX_REASONS)),
        numbers=1,
        caption="Reasons",
        notes=(f"the {_MAX_REASONS} most frequent of {len(reasons)}",) if len(reasons) > _MAX_REASONS else (),
    )
    which = f"the first {len(listed)} of {total:,}" if total > len(listed) else f"{total:,}"
    yield TableBlock(
        ("video", "of", "status", "reason"),
        tuple((one.path, one.features, one.status.name.lower(), one.error) for one in listed),
        caption=f"Videos that could not be had in full: {which}",
        notes=(f"all of them: scale-video failures {sources.experiment.store}",),
        folded=True,
    )


def _without_numbers(error: str) -> str:
    """What errors that differ in times or sizes have in common."""
    return re.sub(r"\d+(?:\.\d+)?", "…", error) or "no reason given"


def _speed(sources: ReportSources) -> Iterator[Block]:
    jobs = _jobs(sources)
    yield TableBlock(
        ("began", "took", "workers", "at a time", "decoders", "videos", "clips", "clips/s", "ended"),
        tuple(_job_row(job) for job in jobs),
        caption="Jobs",
        notes=(
            "at a time: blocks; decoders: processes for each of these; videos: those that were done, of those that "
            "were missing",
        ),
    )
    fast = [job for job in jobs if job.went and job.went[-1].num_clips]
    if not fast:
        yield Paragraph("No job has finished a block, so there is no speed to show.")
        return
    of_all = f" The last {_MAX_JOBS} of {len(fast)} jobs." if len(fast) > _MAX_JOBS else ""
    yield FigureBlock(
        draw_speed([speed_line(job) for job in fast[-_MAX_JOBS:]]),
        f"Clips of finished blocks; a step is as wide as the time that it is the mean of.{of_all}",
        "Clips a second over the time of each job; its mean is in the table above.",
    )


def _job_row(job: JobRecord) -> tuple[str, ...]:
    began, ended = job.began, job.ended
    last = job.went[-1] if job.went else None
    how = "no end is noted: at work, or killed"
    if ended is not None:
        how = f"{ended.how}: {ended.error}" if ended.error else ended.how
    return (
        when(began.time),
        time_text(job.seconds),
        counted(began.devices) or "unknown",
        str(began.num_threads),
        str(began.num_decoders),
        f"{last.num_videos if last else 0:,} of {began.num_videos:,}",
        f"{last.num_clips:,}" if last else "–",
        f"{last.num_clips / last.seconds:.1f}" if last and last.seconds else "–",
        how,
    )


def speed_line(job: JobRecord) -> SpeedLine:
    """Speeds between notes that lie a sixtieth of the job apart or more, and between which a block was finished.

    What is left at the end makes a step of its own where it is as long, be it without a block; else it is a part of the
    last one.
    """
    least = job.seconds / _MAX_STEPS
    notes: list[tuple[float, int]] = [(0.0, 0)]
    for went in job.went:
        if went.seconds - notes[-1][0] >= least and went.num_clips > notes[-1][1]:
            notes.append((went.seconds, went.num_clips))
    last = job.went[-1].seconds, job.went[-1].num_clips
    if len(notes) > 1 and last[0] - notes[-1][0] < least:
        notes.pop()
    if last[0] > notes[-1][0]:
        notes.append(last)
    rates = [(clips - before) / (end - begin) for (begin, before), (end, clips) in pairwise(notes)]
    return SpeedLine(when(job.began.time), [seconds for seconds, _ in notes[1:]], rates)


def _times(sources: ReportSources) -> Iterator[Block]:
    went = [job.went[-1] for job in _jobs(sources) if job.went]
    if not sum(one.block_seconds for one in went):
        yield Paragraph("No job has finished a block, so there is no time to share out.")
        return
    bars = time_shares(went)
    rows = [
        (whose, part, time_text(seconds), f"{100 * seconds / (sum(parts.values()) or 1):.1f} %")
        for whose, parts in bars.items()
        for part, seconds in parts.items()
    ]
    yield TableBlock(("of the", "", "time", "share"), tuple(rows), numbers=2)
    yield FigureBlock(
        draw_shares(bars),
        "Workers: waiting for decoded clips, forward passes, writing. Where they wait a lot, more decoders help; where "
        "they hardly do, the forward pass is the limit. Decoders run beside them: decoding, and cropping with "
        "resizing. Sums over finished blocks of all jobs.",
        "How the time of workers and of decoders splits up; the numbers are in the table above.",
    )


def time_shares(went: Sequence[JobWent]) -> dict[str, dict[str, float]]:
    """Seconds of all jobs together, by whose they are and what they went into."""

    def total(part: str) -> float:
        return sum(float(getattr(one, f"{part}_seconds")) for one in went)

    workers = {"wait": total("wait"), "forward": total("forward"), "write": total("write")}
    workers["rest"] = max(0.0, total("block") - sum(workers.values()))
    return {"workers": workers, "decoders": {"decode": total("decode"), "resize": total("resize")}}


def _coverage(sources: ReportSources) -> Iterator[Block]:
    store = sources.store
    for view in store.views():
        coverage = clip_coverage(members(store), view, max_videos=_MAX_VIDEOS, seed=_SEED)
        if not coverage.num_clips:
            yield Paragraph(f"View {view}: no clips are planned for any video.")
            continue
        some = coverage.num_videos < store.num_videos
        of = f" of {store.num_videos:,} videos, in blocks that were drawn by seed {_SEED}" if some else " videos"
        yield FigureBlock(
            draw_coverage(coverage),
            f"View {view}: {coverage.num_clips:,} planned clips of {coverage.num_videos:,}{of}.",
            f"When in their videos and where in their frames the clips of view {view} lie: "
            f"{coverage.seen.max():.0%} of them hold the place that most do, {coverage.seen.min():.0%} the one that "
            "fewest do.",
        )


def _jobs(sources: ReportSources) -> tuple[JobRecord, ...]:
    jobs = extraction_record(sources).jobs
    if not jobs:
        raise NotThereError(
            f"No job is noted in {journal_path(sources)}: the features were extracted by a release that kept no "
            "journal, or elsewhere."
        )
    return jobs


EXTRACTION: Final = Outline(
    "How extraction went",
    "extraction",
    (
        Part("Videos", _statuses),
        Part("Failures", _failures),
        Part("Speed", _speed),
        Part("Where the time went", _times),
        Part("What clips cover", _coverage),
    ),
)
