"""How stage 1 looks on stdout: the pre-flight report, what became of the videos, and where the time went."""

from collections.abc import Iterator, Mapping, Sequence

from scale_video.extract.block_task import VideoFailure
from scale_video.extract.forecast import BLOCK_SECONDS, Forecast, predicted_block_size
from scale_video.extract.job import JobProgress
from scale_video.extract.plan_store import PlanReport
from scale_video.pipelines.console import line, print_table
from scale_video.pipelines.extraction import ExtractionResult
from scale_video.pipelines.show_store import classes_and_splits
from scale_video.store.amounts import rate_text, size_text, time_text

MAX_LISTED = 20
"""Videos that a summary lists; ``scale-video failures`` and ``--json`` have them all."""


def plan_report(report: PlanReport) -> None:
    """Print what the look at the videos told, and what the extraction will amount to."""
    audio_only = report.num_unreadable.get("no_video_stream", 0)
    rows = [
        ("videos", str(report.num_videos)),
        ("length of all videos", time_text(report.seconds_of_video)),
        *classes_and_splits(report.num_classes, report.splits),
        *(
            (f"clips in view {view}", f"{count} ({_per_video(report, view)} a video)")
            for view, count in report.num_clips.items()
        ),
        ("unreadable", _with_parts(len(report.unreadable), report.num_unreadable)),
        ("of these sound only", str(audio_only)),
        ("rotated", str(report.num_rotated)),
        ("variable frame rate", str(report.num_variable_rate)),
        ("shorter than a clip", str(report.num_too_short)),
        ("copies of another file", str(len(report.duplicates))),
        ("copies across training and test", str(len(report.leaking))),
        *((f"without a {name}", str(count)) for name, count in report.num_unlabelled.items()),
        *([] if report.num_unlabelled else [("labels", "none")]),
        ("videos in a block", str(report.block_size)),
        *(_forecast(report.forecast) if report.forecast is not None else ()),
    ]
    print_table("plan", ("", ""), rows, numbers=1)
    _list_videos("unreadable", [(f.path, f.status.name.lower(), f.error) for f in report.unreadable])
    _list_videos("the same content twice", [(copy, "copy", f"of {first}") for first, copy in report.duplicates])
    _list_videos(
        "same content in training and test", [(train, "train", f"= test {test}") for train, test in report.leaking]
    )
    if report.forecast is not None:
        for advice in _advice(report, report.forecast):
            line(advice)


def _per_video(report: PlanReport, view: str) -> str:
    """``16``; ``1.8, at most 16`` where videos have different numbers of clips."""
    most, num_readable = report.clips_per_video[view], report.num_videos - len(report.unreadable)
    if report.num_clips[view] == most * num_readable:
        return str(most)
    return f"{report.num_clips[view] / num_readable:.1f}, at most {most}"


def _with_parts(total: int, parts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count} {name}" for name, count in parts.items())
    return f"{total} ({listed})" if len(parts) > 1 else listed or "0"


def _forecast(forecast: Forecast) -> Iterator[tuple[str, str]]:
    for target in forecast.targets:
        yield f"predicted size of {target.features}", size_text(target.num_bytes)
    if len(forecast.targets) > 1:
        yield "predicted size together", size_text(forecast.num_bytes)
    if forecast.hours > 0:
        blocks = "1 block" if forecast.num_tasks == 1 else f"{forecast.num_tasks} blocks"
        yield f"predicted time, {blocks} at a time", time_text(3600 * forecast.hours)
        yield "of one core, decoding", time_text(3600 * forecast.decode_hours)
        yield "of one worker, forward pass", time_text(3600 * forecast.forward_hours)


def _advice(report: PlanReport, forecast: Forecast) -> Iterator[str]:
    if not forecast.hours > 0:
        yield "no time is predicted: none of the sampled videos could be decoded"
        return
    yield f"the predicted time is an estimate, from {forecast.num_sampled} of the videos"
    if report.block_size < report.default_block_size:
        minutes = report.default_block_size * forecast.seconds_per_video / 60
        yield (
            f"blocks are of {report.block_size} videos: {report.default_block_size} would take a worker "
            f"{minutes:.0f} minutes, which are lost with it"
        )
    elif (minutes := report.block_size * forecast.seconds_per_video / 60) > BLOCK_SECONDS / 60:
        size = predicted_block_size(report.num_videos, seconds_per_video=forecast.seconds_per_video)
        yield (
            f"a block takes a worker about {minutes:.0f} minutes, which are lost with it: "
            f"--block-size {size} would be safer, in a store planned anew"
        )


def extraction_result(result: ExtractionResult, *, profile: bool = False) -> None:
    """Print the plan, if one was made, and what became of the videos in each view.

    Args:
        result: of ``run_extract``.
        profile: whether to show where the time went.
    """
    if result.plan is not None:
        plan_report(result.plan)
    if not result.reports:  # other stores hold all of the videos, as was said
        return
    statuses = sorted({status for report in result.reports.values() for status in report.counts})
    rows = [
        (name, *(str(report.counts.get(status, 0)) for status in statuses)) for name, report in result.reports.items()
    ]
    columns = ("features", *statuses)
    print_table(f"videos by status, {result.store}", columns, rows, numbers=len(statuses))
    if result.progress.num_clips:
        rate = result.progress.num_clips / result.seconds
        line(f"{result.progress.num_clips} features in {time_text(result.seconds)}, {rate_text(rate)} clips/s")
    if profile:
        _profile(result.progress)
    alike: dict[tuple[VideoFailure, ...], list[str]] = {}  # a file that cannot be read has no clip in any view
    for name, report in result.reports.items():
        alike.setdefault(tuple(report.failures), []).append(name)
    for failures, names in alike.items():
        _list_videos(", ".join(names), [(f.path, f.status.name.lower(), f.error) for f in failures])
    if result.lost_blocks:
        lost = ", ".join(map(str, result.lost_blocks))
        line(f"blocks whose workers died again and again, not extracted: {lost}")


def _profile(progress: JobProgress) -> None:
    """Print shares of the workers' time, and of the time of their decoding processes, which run beside them."""
    if not progress.block_seconds:
        line("nothing was extracted: there is no time to share out")
        return
    parts = {"wait": progress.wait_seconds, "forward": progress.forward_seconds, "write": progress.write_seconds}
    rest = progress.block_seconds - sum(parts.values())
    decoding = {"decode": progress.decode_seconds, "resize": progress.resize_seconds}
    rows = [
        *_shares("workers", {**parts, "rest": max(0.0, rest)}, total=progress.block_seconds),
        *_shares("decoders", decoding, total=sum(decoding.values())),
    ]
    print_table("where the time went", ("of the", "", "seconds", "share"), rows, numbers=2)


def _shares(whose: str, seconds: dict[str, float], *, total: float) -> list[tuple[str, str, str, str]]:
    return [(whose, name, f"{value:.1f}", f"{value / total:.1%}" if total else "–") for name, value in seconds.items()]


def _list_videos(title: str, videos: Sequence[tuple[str, str, str]]) -> None:
    if not videos:
        return
    line(f"{title}: {len(videos)}")
    for path, status, error in videos[:MAX_LISTED]:
        line(f"  {status}  {path}" + (f"  {error}" if error else ""))
    if len(videos) > MAX_LISTED:
        line(f"  … and {len(videos) - MAX_LISTED} more; `scale-video failures` lists them all")
