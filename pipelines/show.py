"""How results look on stdout: tables for people, JSON for programs."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import EvaluationRecord
from scale_video.extract.plan_store import PlanReport
from scale_video.pipelines.console import print_table
from scale_video.pipelines.demo import DemoResult
from scale_video.pipelines.evaluation import LEARNED
from scale_video.pipelines.extraction import ExtractionResult
from scale_video.pipelines.inspection import StoreInfo
from scale_video.store.verify import VerifyReport

MAX_LISTED = 20
"""Failures that a summary lists; the store has them all."""
TABLE_ORDER = (*RAW_REPRESENTATIONS, "init", *LEARNED)
"""From what costs nothing to what is learned."""
PROTOCOL_TITLES = {"knn": "k-NN", "linear": "linear", "nonlinear": "nonlinear"}


def as_json(result: Any) -> None:
    """Print a result dataclass (or a list of them) as JSON."""
    value = [asdict(item) for item in result] if not is_dataclass(result) else asdict(result)  # type: ignore[arg-type]
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def plan_report(report: PlanReport) -> None:
    """Print what the look at the videos told."""
    rows = [
        ("videos", str(report.num_videos)),
        ("hours of video", f"{report.seconds_of_video / 3600:.2f}"),
        *((f"clips in view {view}", str(count)) for view, count in report.num_clips.items()),
        ("unreadable", str(len(report.unreadable))),
        ("rotated", str(report.num_rotated)),
        ("variable frame rate", str(report.num_variable_rate)),
        ("shorter than a clip", str(report.num_too_short)),
        ("copies of another file", str(report.num_duplicates)),
        ("copies across training and test", str(len(report.leaking))),
    ]
    print_table("plan", ("", ""), rows, numbers=1)
    _list_failures("unreadable", [(f.path, f.status.name.lower(), f.error) for f in report.unreadable])
    _list_failures("same content in training and test", [(train, test, "") for train, test in report.leaking])


def extraction_result(result: ExtractionResult) -> None:
    """Print the plan, if one was made, and what became of the videos in each view."""
    if result.plan is not None:
        plan_report(result.plan)
    statuses = sorted({status for report in result.reports.values() for status in report.counts})
    rows = []
    for view, report in result.reports.items():
        rate = report.progress.num_clips / report.seconds if report.progress.num_clips else 0.0
        counts = [str(report.counts.get(status, 0)) for status in statuses]
        rows.append((f"{view}/{result.backbone}", *counts, f"{rate:.0f}", f"{report.seconds:.1f}"))
    columns = ("features", *statuses, "clips/s", "seconds")
    print_table(f"videos by status, {result.store}", columns, rows, numbers=len(columns) - 1)
    for view, report in result.reports.items():
        _list_failures(view, [(f.path, f.status.name.lower(), f.error) for f in report.failures])
        if report.lost_blocks:
            lost = ", ".join(map(str, report.lost_blocks))
            click.echo(f"blocks whose workers died again and again, not extracted: {lost}")


def records_table(records: Sequence[EvaluationRecord], *, title: str) -> None:
    """Print one row per representation: top-1 in percent, by protocol, with the interval or the seeds' range."""
    protocols = [name for name in PROTOCOL_TITLES if any(record.protocol == name for record in records)]
    cells: dict[tuple[str, str], list[EvaluationRecord]] = defaultdict(list)
    for record in records:
        cells[record.representation, record.protocol].append(record)
    names = [name for name in TABLE_ORDER if any(record.representation == name for record in records)]
    rows = [(name, *(_cell(cells[name, protocol]) for protocol in protocols)) for name in names]
    columns = ("representation", *(PROTOCOL_TITLES[name] for name in protocols))
    print_table(f"{title}: top-1 %", columns, rows, numbers=len(protocols))
    num_seeds = max(len(cell) for cell in cells.values())
    click.echo(
        "[95 % interval over test groups]"
        if num_seeds == 1
        else f"mean of {num_seeds} seeds (lowest – highest), or "
        "[95 % interval over test groups] where there is one value"
    )
    if any(record.seen for record in records):
        click.echo("* pre-trained on test videos of this split")
    for text in dict.fromkeys(record.note for record in records if record.note):
        click.echo(f"note: {text}")


def _cell(records: Sequence[EvaluationRecord]) -> str:
    if not records:
        return "–"
    values = [100 * record.value for record in records]
    mark = "*" if any(record.seen for record in records) else ""
    if len(records) == 1:
        return f"{values[0]:.1f}{mark} [{100 * records[0].ci_low:.1f}, {100 * records[0].ci_high:.1f}]"
    return f"{sum(values) / len(values):.1f}{mark} ({min(values):.1f} – {max(values):.1f})"


def demo_result(result: DemoResult) -> None:
    """Print a table per experiment, and where the numbers are."""
    experiments = list(dict.fromkeys((record.dataset, record.preset) for record in result.records))
    for dataset, preset in experiments:
        chosen = [record for record in result.records if (record.dataset, record.preset) == (dataset, preset)]
        records_table(chosen, title=dataset if preset == "demo" else f"{dataset}, {preset}")
    click.echo(f"{result.results} ({result.seconds:.0f} s)")


def verify_report(report: VerifyReport) -> None:
    """Print what is damaged, and how much was checked."""
    for line in report.damaged:
        click.echo(line)
    verdict = f"{len(report.damaged)} damaged" if report.damaged else "sound"
    click.echo(f"{report.num_committed} of {report.num_blocks} blocks committed, {verdict}")


def info_tables(info: StoreInfo) -> None:
    """Print what a store holds."""
    rows = [
        ("data set", str(info.attributes["dataset"])),
        ("videos", str(info.num_videos)),
        ("hours of video", f"{info.seconds_of_video / 3600:.2f}"),
        ("format version", str(info.attributes["format_version"])),
        ("videos in a block", str(info.attributes["block_size"])),
        *((f"classes of {name}", str(count)) for name, count in info.num_classes.items()),
        *(
            (f"split {split}", ", ".join(f"{count} {part}" for part, count in parts.items() if count))
            for split, parts in info.splits.items()
        ),
        *((f"view {name}", ", ".join(f"{k}={v}" for k, v in view.items())) for name, view in info.views.items()),
    ]
    print_table(info.url, ("", ""), rows)
    features = [
        (
            f"{f.view}/{f.backbone}",
            f"{info.num_videos} × {f.num_clips} × {f.feature_dim}",
            f"{f.num_committed}/{f.num_blocks}",
            ", ".join(f"{count} {status}" for status, count in f.statuses.items()),
            str(f.attributes["weights_digest"])[:12],
            str(f.attributes.get("licence", "unknown")),
        )
        for f in info.features
    ]
    columns = ("features", "videos × clips × dim", "blocks", "videos by status", "weights", "licence")
    print_table("features", columns, features)


def _list_failures(title: str, failures: Sequence[tuple[str, str, str]]) -> None:
    if not failures:
        return
    click.echo(f"{title}: {len(failures)}")
    for path, status, error in failures[:MAX_LISTED]:
        click.echo(f"  {status}  {path}" + (f"  {error}" if error else ""))
    if len(failures) > MAX_LISTED:
        click.echo(f"  … and {len(failures) - MAX_LISTED} more; the store has them all (arrays status and error)")
