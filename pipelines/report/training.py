"""Section 4: losses, accuracies and spreads of every seed, the learning rate, and what the checks for collapse say."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scale_video.aggregate.checkpoint import load_collapse_counts, load_record
from scale_video.aggregate.collapse_warnings import CollapseWarnings
from scale_video.aggregate.epoch_watch import COLLAPSED
from scale_video.pipelines.paths import checkpoint_path
from scale_video.pipelines.report.draw_training import Panel, SeedLine, draw_panels
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
from scale_video.pipelines.report.stage_times import counted, when
from scale_video.pipelines.run_metrics import RunMetrics, read_metrics
from scale_video.pipelines.training_journal import read_training_journal
from scale_video.store.amounts import time_text

_TASKS: Final = {"masked_clip": "masked clips", "set": "sets"}
MAX_EPOCHS: Final = 1000
"""Of a longer training, at most so many are drawn."""
_MAX_CALLS: Final = 10
"""More of them are folded away."""


def _runs(sources: ReportSources) -> Iterator[Block]:
    """How far each seed came, what its last epoch came to, and the calls that it took."""
    columns = [f"{task}_{what}" for task in _TASKS for what in ("loss", "accuracy")]
    rows = []
    for seed, folder in _folders(sources).items():
        metrics = read_metrics(folder)
        last = (metrics.columns[name][-1] if name in metrics.columns else math.nan for name in columns)
        rows.append((f"seed {seed}", *_length(folder), time_text(sum(metrics.seconds)), *map(_number, last)))
    titles = (f"{what} of {name}" for name in _TASKS.values() for what in ("loss", "accuracy"))
    yield TableBlock(
        ("", "done", "epochs", "steps", "time", *titles),
        tuple(rows),
        numbers=3 + len(columns),
        notes=("losses and accuracies: means over the steps of the last epoch; time: of all epochs",),
    )
    calls = tuple(row for seed, folder in _folders(sources).items() for row in _calls(seed, folder))
    if calls:
        yield TableBlock(
            ("", "began", "took", "steps", "sets of clips", "on", "features in", "precision", "ended"),
            calls,
            caption="Each call of scale-video pretrain",
            folded=len(calls) > _MAX_CALLS,
        )


def _length(folder: Path) -> tuple[str, str, str]:
    """Whether a training is complete, its epochs and its steps."""
    path = checkpoint_path(folder)
    if not path.exists():
        return "no checkpoint", "–", "–"
    record = load_record(path)
    done = "complete" if record.is_complete else f"{record.share_done:.0%}"
    return done, f"{record.epochs_done:,}", f"{record.steps_done:,}" if record.steps_done else "–"  # not said of old


def _calls(seed: int, folder: Path) -> Iterator[tuple[str, ...]]:
    for call in read_training_journal(folder):
        began, ended = call.began, call.ended
        how = "no end is noted: at work, or killed"
        if ended is not None:
            how = f"{ended.how}: {ended.error}" if ended.error else ended.how
        yield (
            f"seed {seed}",
            when(began.time),
            time_text(ended.seconds) if ended else "–",
            f"{began.steps_before:,} + {ended.steps:,}" if ended else f"{began.steps_before:,} + …",
            f"{ended.sets:,}" if ended else "–",
            counted({began.device: began.num_devices}),
            began.residency,
            began.precision + (", compiled" if began.compile == "on" else ""),
            how,
        )


def _losses(sources: ReportSources) -> Iterator[Block]:
    metrics = _metrics(sources)
    for what, unit, how in (
        ("loss", "loss (nats)", "Lower is better, within one task and one number of candidates."),
        ("accuracy", "accuracy", "The share of masked clips, or sets, whose own counterpart is the nearest candidate."),
    ):
        panels = [
            Panel(f"{what} of {name}", unit, lines)
            for task, name in _TASKS.items()
            if (lines := _lines(metrics, f"{task}_{what}"))
        ]
        if panels:
            yield FigureBlock(
                draw_panels(panels),
                f"Mean {what} of each epoch, all seeds. {how}{_thinned(metrics)}",
                f"The {what} of both tasks by epoch, a line per seed; the last epoch is in the table above.",
            )


def _learning_rate(sources: ReportSources) -> Iterator[Block]:
    metrics = _metrics(sources)
    lines = _lines(metrics, "learning_rate")
    if not lines:
        raise NotThereError("metrics.csv has no learning rate.", sources.command("pretrain", "--restart"))
    yield FigureBlock(
        draw_panels([Panel("learning rate", "learning rate", lines)]),
        f"At the end of each epoch. Seeds share a schedule, so their lines lie over one another.{_thinned(metrics)}",
        "The learning rate by epoch: it rises, then falls along half a cosine.",
    )


def _spreads(sources: ReportSources) -> Iterator[Block]:
    metrics = _metrics(sources)
    panels = [
        Panel(f"spread of {name}", "spread", lines, level=COLLAPSED)
        for task, name in _TASKS.items()
        if (lines := _lines(metrics, f"{task}_spread"))
    ]
    if not panels:
        raise NotThereError(
            "The spread of embeddings was not measured yet when this was trained.",
            sources.command("pretrain", "--restart"),
        )
    yield FigureBlock(
        draw_panels(panels),
        f"How much the vectors that a task compares differ: 1 is healthy, and below the dashed line ({COLLAPSED:g}) "
        f"they have all but fallen into one.{_thinned(metrics)}",
        "The spread of embeddings of both tasks by epoch, a line per seed.",
    )


def _collapse(sources: ReportSources) -> Iterator[Block]:
    """What training would have warned of, from the counts in the checkpoints."""
    rows, warnings, silent = [], [], []
    for seed, folder in _folders(sources).items():
        path = checkpoint_path(folder)
        counts = load_collapse_counts(path) if path.exists() else None
        if counts is None:
            silent.append(str(seed))
            continue
        checks = CollapseWarnings(load_record(path).config)
        checks.load(counts)
        columns = read_metrics(folder).columns
        for task, name in _TASKS.items():
            if f"{task}_loss" not in columns:
                continue
            spreads = columns.get(f"{task}_spread", (math.nan,))
            lowest = min((spread for spread in spreads if not math.isnan(spread)), default=math.nan)
            warning = checks.warning(task, spread=spreads[-1])
            epochs = (str(counts[what].get(task, 0)) for what in ("at_chance", "collapsed"))
            verdict = "see below" if warning else "nothing to say"
            rows.append((f"seed {seed}, {name}", _number(lowest), _number(spreads[-1]), *epochs, verdict))
            warnings += [f"Seed {seed}: {warning}."] if warning else []
    if rows:
        yield TableBlock(
            ("", "lowest spread", "last spread", "epochs at chance", "epochs collapsed", "verdict"),
            tuple(rows),
            numbers=5,
            notes=("epochs in a row, up to the last one; after the warm-up",),
        )
    yield from map(Paragraph, warnings)
    if silent:
        yield Missing(f"No checkpoint says what the checks found for seeds {', '.join(silent)}.")


def _folders(sources: ReportSources) -> dict[int, Path]:
    folders = sources.run_folders()
    if not folders:
        raise NotThereError("Nothing was pre-trained yet.", sources.command("pretrain"))
    return folders


def _metrics(sources: ReportSources) -> dict[int, RunMetrics]:
    """Of each seed that has been through an epoch."""
    found = {seed: read_metrics(folder) for seed, folder in _folders(sources).items()}
    found = {seed: metrics for seed, metrics in found.items() if metrics.epochs}
    if not found:
        raise NotThereError("No training has been through an epoch yet.", sources.command("pretrain"))
    return found


def _lines(metrics: dict[int, RunMetrics], column: str) -> list[SeedLine]:
    lines = []
    for seed, one in metrics.items():
        if column in one.columns:
            step = _step(one.epochs)
            lines.append(SeedLine(f"seed {seed}", one.epochs[::-step][::-1], one.columns[column][::-step][::-1]))
    return lines


def _step(epochs: Sequence[int]) -> int:
    """Every which epoch is drawn, counted from the last one."""
    return math.ceil(len(epochs) / MAX_EPOCHS)


def _thinned(metrics: dict[int, RunMetrics]) -> str:
    step = max(_step(one.epochs) for one in metrics.values())
    return f" Of long trainings, one epoch in {step} is drawn." if step > 1 else ""


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


TRAINING: Final = Outline(
    "How training went",
    "training",
    (
        Part("Seeds", _runs),
        Part("Losses and accuracies", _losses),
        Part("Learning rate", _learning_rate),
        Part("Spread of embeddings", _spreads),
        Part("Collapse", _collapse),
    ),
)
