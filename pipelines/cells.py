"""A cell of a table: the rows of results that measure one thing, as a mean with its spread and its interval."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_video.evaluate.outcomes import Outcomes, read_outcomes
from scale_video.evaluate.result import METRICS, PROTOCOLS, EvaluationRecord
from scale_video.evaluate.spread import interval_of_mean, spread
from scale_video.pipelines.headings import is_draw, metric_title, options_title, protocol_title, shown

_DRAWS = {"clip_seed": "draws of clips", "share_seed": "draws of labels"}


@dataclass(frozen=True, slots=True)
class Located:
    """A row of results, and the folder of its file, which its outcomes lie below."""

    record: EvaluationRecord
    folder: Path | None
    """None: outcomes are not looked for."""


@dataclass(frozen=True, slots=True)
class Column:
    """What is measured: rows that differ in it are not averaged."""

    protocol: str
    metric: str
    target: str
    options: tuple[tuple[str, float], ...]

    @property
    def order(self) -> tuple[object, ...]:
        """Protocols and metrics in their usual order; without options first."""
        return PROTOCOLS.index(self.protocol), self.target, self.options, tuple(METRICS).index(self.metric)

    def title(self, *, with_metric: bool) -> str:
        """Such as ``k-NN top-1 %, 10 % of labels``."""
        parts = [protocol_title(self.protocol), options_title(dict(self.options))]
        if with_metric:
            parts[0] += f" {metric_title(self.metric, with_unit=True)}"
        if self.target != "label":
            parts.append(f"of {self.target}")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Cell:
    """The mean over replicates of each split, then over splits."""

    records: tuple[EvaluationRecord, ...]
    value: float
    ci_low: float | None
    """Ends of the 95 % interval over test groups; None where the outcomes of several rows are not there."""
    ci_high: float | None
    low: float
    """Lowest and highest of what ``spread_of`` names; the value itself where there is nothing."""
    high: float
    spread_of: str
    """``3 seeds``, ``3 seeds × 3 draws of clips``, ``3 splits``; empty for a single row."""
    note: str = ""
    """Which rows are not in the mean, because their aggregators were trained in another way."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in it."""
        return tuple(sorted({record.split for record in self.records}))

    @property
    def seen(self) -> bool:
        """Whether an aggregator in it was pre-trained on test videos."""
        return any(record.seen for record in self.records)

    def text(self, *, intervals: bool = True) -> str:
        """``97.8* [96.9, 98.6] (97.1 – 98.3)``: value, mark of ``seen``, interval, lowest – highest."""
        metric = self.records[0].metric
        parts = [shown(self.value, metric) + ("*" if self.seen else "")]
        if intervals and self.ci_low is not None and self.ci_high is not None:
            parts.append(f"[{shown(self.ci_low, metric)}, {shown(self.ci_high, metric)}]")
        if self.spread_of:
            parts.append(f"({shown(self.low, metric)} – {shown(self.high, metric)})")
        return " ".join(parts)


def column_of(record: EvaluationRecord) -> Column:
    """The column that a row belongs to: all of its options but which draw it is."""
    options = tuple(sorted((name, value) for name, value in record.options.items() if not is_draw(name)))
    return Column(record.protocol, record.metric, record.target, options)


def make_cell(located: Sequence[Located]) -> Cell:
    """Summarise rows that differ in nothing but split, seed and draw.

    Where the aggregators of a split were not all trained in the same way, those of the training that most seeds share
    are averaged (of the newest one where that is undecided), and the note names the others.

    Raises:
        ValueError: two rows are of the same split, seed and draw.
    """
    located, note = _of_one_training(located)
    records = tuple(one.record for one in located)
    values: dict[tuple[str, Hashable], float] = {}
    for record in records:
        where = (record.split, _replicate(record))
        if where in values:
            raise ValueError(
                f"two rows of {record.representation!r} in one mean are of split {record.split}, seed {record.seed} "
                "and the same draw; they differ in more, and must be told apart"
            )
        values[where] = record.value
    found = spread(values)
    low, high = (records[0].ci_low, records[0].ci_high) if len(records) == 1 else _interval(located)
    ranged = [record for record in records if {_replicate(record), record.split} & set(found.ranged)]
    return Cell(records, found.value, low, high, found.low, found.high, _spread_of(ranged), note)


def _of_one_training(located: Sequence[Located]) -> tuple[list[Located], str]:
    """The rows that can be averaged, and which of the others there are."""
    kept: list[Located] = []
    notes = []
    for split in dict.fromkeys(one.record.split for one in located):
        of_split = [one for one in located if one.record.split == split]
        known = {one.record.training for one in of_split} - {""}  # old rows do not say
        chosen = max(known, key=lambda training: _weight(training, of_split), default="")
        others = [one.record for one in of_split if one.record.training not in ("", chosen)]
        if others:
            seeds = [str(seed) for seed in sorted({record.seed or 0 for record in others})]
            what = "architecture" if others[0].representation == "init" else "training"
            notes.append(
                f"{others[0].representation} of {others[0].backbone}, split {split}: without seed"
                f"{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} of another {what} "
                f"({', '.join(sorted(known - {chosen}))}) than {chosen}"
            )
        kept += [one for one in of_split if one.record.training in ("", chosen)]
    return kept, "; ".join(notes)


def _weight(training: str, located: Sequence[Located]) -> tuple[object, ...]:
    """The more seeds the better, then the newer."""
    of_training = [one for one in located if one.record.training == training]
    return len({one.record.seed for one in of_training}), max(map(_written, of_training)), training


def _written(one: Located) -> int:
    """When the row was measured, by the file of its outcomes; 0 where that is not there."""
    path = None if one.folder is None or not one.record.outcomes else one.folder / one.record.outcomes
    return path.stat().st_mtime_ns if path is not None and path.exists() else 0


def _replicate(record: EvaluationRecord) -> Hashable:
    return record.seed, tuple(sorted((name, value) for name, value in record.options.items() if is_draw(name)))


def _spread_of(records: Sequence[EvaluationRecord]) -> str:
    """What the range is over: everything that was repeated, or else the splits."""
    counts = {"seeds": len({record.seed for record in records})}
    for name in sorted({name for record in records for name in record.options if is_draw(name)}):
        counts[_DRAWS.get(name, name)] = len({record.options.get(name) for record in records})
    repeated = [f"{count} {what}" for what, count in counts.items() if count > 1]
    num_splits = len({record.split for record in records})
    return " × ".join(repeated) or (f"{num_splits} splits" if num_splits > 1 else "")


def _interval(located: Sequence[Located]) -> tuple[float | None, float | None]:
    """Of the mean, by the scores of each test video; none where these are not kept."""
    by_split: dict[str, list[Outcomes]] = {}
    metric = located[0].record.metric
    for one in located:
        outcomes = _outcomes_if_there(one)
        if outcomes is None or metric not in outcomes.scores:
            return None, None
        by_split.setdefault(one.record.split, []).append(outcomes)
    for first, *others in by_split.values():
        if any(not np.array_equal(first.video_ids, other.video_ids) for other in others):
            return None, None
    scores = [np.mean([outcomes.scores[metric] for outcomes in found], axis=0) for found in by_split.values()]
    low, high = interval_of_mean(scores, [found[0].groups for found in by_split.values()])
    return (low, high) if np.isfinite((low, high)).all() else (None, None)


def _outcomes_if_there(one: Located) -> Outcomes | None:
    if one.folder is None or not one.record.outcomes:
        return None
    try:
        return read_outcomes(one.folder / one.record.outcomes)
    except (FileNotFoundError, ValueError):  # a results file was copied alone, or is older than today's outcomes
        return None


def spread_notes(cells: Iterable[Cell], *, intervals: bool = True) -> list[str]:
    """What brackets and marks mean in a table of these cells, and what is not in its means, a line each."""
    cells = list(cells)
    spreads = list(dict.fromkeys(cell.spread_of for cell in cells if cell.spread_of))
    lines = []
    if intervals and any(cell.ci_low is not None for cell in cells):
        lines.append("[95 % interval over test videos, by groups that belong together where the data set has them]")
    lines += [f"(lowest – highest) of {what}, whose mean is given" for what in spreads]
    if any(cell.seen for cell in cells):
        lines.append("* pre-trained on test videos of this split")
    return lines + list(dict.fromkeys(cell.note for cell in cells if cell.note))
