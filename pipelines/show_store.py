"""How a look at a store is printed: what it holds, what is damaged, what failed, and the clip behind a row."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, TextIO

import click
from rich.table import Table
from rich.text import Text

from scale_video.pipelines.console import as_values, legible, line, note, print_table, stdout
from scale_video.pipelines.drift import DriftReport
from scale_video.pipelines.failures import PLAN, FailureListing, FailureRecord
from scale_video.pipelines.flat_settings import flat_settings
from scale_video.pipelines.inspection import StoreInfo
from scale_video.store.amounts import time_text
from scale_video.store.verify import VerifyReport
from scale_video.store.video_probe import VideoStatus

if TYPE_CHECKING:  # it pulls in torch, of which a listing has no need
    from scale_video.pipelines.clip_export import ShownClip

ROWS_IN_A_TABLE = 500
"""Of a long list on a terminal: a table is laid out whole, and a hundred thousand rows would take a minute."""
COLUMNS = ("features", "status", "path", "error")


def verify_report(report: VerifyReport) -> None:
    """Print what is damaged, and how much was checked."""
    for damage in report.damaged:
        line(damage)
    verdict = f"{len(report.damaged)} damaged" if report.damaged else "sound"
    click.echo(f"{report.num_committed} of {report.num_blocks} blocks committed, {verdict}")


def info_tables(info: StoreInfo) -> None:
    """Print what a store holds."""
    rows = [
        ("data set", str(info.attributes["dataset"])),
        ("videos", str(info.num_videos)),
        ("length of all videos", time_text(info.seconds_of_video)),
        ("format version", str(info.attributes["format_version"])),
        ("videos in a block", str(info.attributes["block_size"])),
        *classes_and_splits(info.num_classes, info.splits),
        *(
            (f"view {name}", ", ".join(f"{key} {value}" for key, value in flat_settings(view).items()))
            for name, view in info.views.items()
        ),
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


def classes_and_splits(
    num_classes: Mapping[str, int], splits: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, str]]:
    """Rows of a table: how many classes a column of labels has, and how many videos a part of a split."""
    for name, count in num_classes.items():
        yield f"classes of {name}", str(count)
    for split, parts in splits.items():
        yield f"split {split}", ", ".join(f"{count} {part}" for part, count in parts.items() if count)


def failures_table(listing: FailureListing) -> None:
    """Print all failures: folded to a terminal's width, or one line each where there is none; then a summary."""
    counts = Counter[tuple[bool, VideoStatus]]()
    records = _counted(listing, counts)
    console = stdout()
    if console.is_terminal:
        while batch := list(islice(records, ROWS_IN_A_TABLE)):
            table = Table(*COLUMNS[:2], pad_edge=False)
            for column in COLUMNS[2:]:
                table.add_column(column, overflow="fold", ratio=1)
            for record in batch:
                table.add_row(*(Text(legible(cell)) for cell in _cells(record)))
            console.print(table, soft_wrap=False)
    else:
        for record in records:
            features, status, path, error = _cells(record)
            line(f"{features}  {status:<15}  {path}  {error}".rstrip())
    for said in _summary(counts):
        line(said)


def failures_json(listing: FailureListing) -> None:
    """Print the failures as one JSON object, as they are read: ``store``, ``failures``, ``counts`` by status."""
    counts = Counter[tuple[bool, VideoStatus]]()
    click.echo(f'{{"store": {json.dumps(listing.store)}, "failures": [', nl=False)
    for number, record in enumerate(_counted(listing, counts)):
        click.echo((",\n" if number else "\n") + json.dumps(as_values(record), ensure_ascii=False), nl=False)
    click.echo(f'\n], "counts": {json.dumps(_by_status(counts))}}}')


def failures_csv(listing: FailureListing, file: TextIO) -> None:
    """Write the failures as CSV with a heading; the summary goes to stderr."""
    counts = Counter[tuple[bool, VideoStatus]]()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(record) for record in _counted(listing, counts))
    for said in _summary(counts):
        note(said)


def _counted(records: Iterable[FailureRecord], counts: Counter[tuple[bool, VideoStatus]]) -> Iterator[FailureRecord]:
    for record in records:
        counts[record.features == PLAN, record.status] += 1
        yield record


def _cells(record: FailureRecord) -> tuple[str, str, str, str]:
    return record.features, record.status.name.lower(), record.path, record.error


def _by_status(counts: Counter[tuple[bool, VideoStatus]]) -> dict[str, int]:
    by_status = Counter[VideoStatus]()
    for (_, status), count in counts.items():
        by_status[status] += count
    return {status.name.lower(): by_status[status] for status in sorted(by_status)}


def _summary(counts: Counter[tuple[bool, VideoStatus]]) -> Iterator[str]:
    """How many of each status, and what can be done about them."""
    if not counts:
        yield "no failures"
        return
    yield ", ".join(f"{count} {status}" for status, count in _by_status(counts).items())
    if again := sorted({status for planning, status in counts if not planning}):
        names = ",".join(status.name.lower() for status in again)
        yield f"to try them again: scale-video extract … --retry {names}"
    if unplanned := sum(count for (planning, _), count in counts.items() if planning):
        yield (
            f"{unplanned} could not be read when the store was planned, and have no clips: "
            "mend the files and plan another store"
        )


def drift_report(report: DriftReport) -> None:
    """Print how far recomputed features are from the stored ones, and the worst of them."""
    rows = [
        (
            drift.features,
            str(drift.num_clips),
            str(drift.num_videos),
            f"{drift.median:.1e}" if drift.num_clips else "–",
            f"{drift.largest:.1e}" if drift.num_clips else "–",
            str(drift.num_missing),
            str(drift.num_undecodable),
        )
        for drift in report.targets
    ]
    columns = ("features", "clips", "videos", "median", "largest", "missing files", "no longer decoded")
    print_table("recomputed: cosine distance to what is stored", columns, rows, numbers=6)
    worst = [(drift.features, clip) for drift in report.targets for clip in drift.worst]
    if worst:
        print_table(
            "farthest from what is stored",
            ("features", "video", "changed since", "clip", "distance"),
            [
                (features, clip.path, "yes" if clip.file_changed else "no", str(clip.clip), f"{clip.distance:.1e}")
                for features, clip in worst
            ],
            numbers=2,
        )
    for problem in report.problems:
        line(problem)
    click.echo(f"recomputed features are {'sound' if report.sound else 'not sound'} (tolerance {report.tolerance:g})")


def shown_clip(clip: "ShownClip") -> None:
    """Print where a clip is, and what became of it."""
    rows = [
        ("video", clip.id),
        ("row", str(clip.row)),
        ("clip", f"{clip.clip} (of 0 to {clip.num_clips - 1})"),
        ("view", clip.view),
        ("box: top, left, bottom, right", ", ".join(f"{edge:.4f}" for edge in clip.box)),
        ("mirrored", "yes" if clip.flip else "no"),
        *(() if clip.augmentation is None else (("augmented", _augmentation(clip.augmentation)),)),
        ("seconds", f"{clip.start_seconds:.4f} – {clip.end_seconds:.4f}"),
        ("frames at seconds", ", ".join(f"{seconds:.4f}" for seconds in clip.frame_seconds)),
        ("frames", f"{len(clip.frame_seconds)} of {clip.frame_size} × {clip.frame_size} pixels, {clip.frames_of}"),
    ]
    if clip.backbone is not None:
        rows.append((f"feature of {clip.backbone}", clip.feature))
    print_table(clip.store, ("", ""), rows)
    line(f"{clip.output}: {clip.output_format}")


def _augmentation(parameters: Mapping[str, float]) -> str:
    """What is done to the pixels, in order: ``hue +0.10, brightness × 0.80, grey, blur 0.5 % of the side``."""
    jitter = [
        (
            parameters[f"{name}_step"],
            f"hue {parameters[name]:+.2f}" if name == "hue" else f"{name} × {parameters[name]:.2f}",
        )
        for name in ("brightness", "contrast", "saturation", "hue")
        if parameters[name] != (0 if name == "hue" else 1)
    ]
    changes = [text for _, text in sorted(jitter)]
    changes += ["grey"] if parameters["grey"] else []
    changes += [f"blur {100 * parameters['blur']:.2g} % of the side"] if parameters["blur"] else []
    return ", ".join(changes) or "no"
