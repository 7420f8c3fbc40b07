"""Which rows of results stand for an evaluation in its pictures, and what is drawn of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scale_video.evaluate.comparison import compare_per_class
from scale_video.evaluate.outcomes import Outcomes
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.cells import Located, make_cell
from scale_video.pipelines.comparison import in_order_of, outcomes_of
from scale_video.pipelines.draw_clips import ClipCurve
from scale_video.pipelines.draw_gains import ClassGain
from scale_video.pipelines.headings import TABLE_ORDER, is_part, origin_title

RAW: Final = "x"
AGGREGATED: Final = ("x+cls", "cls", "x+h+cls", "h", "x+h", "h+cls")
"""Beside the raw features stands the first of these that was probed, of its lowest seed."""
CLASS_METRIC: Final = "top1"
"""Of videos with one class each: what confusions, gains and curves are about."""


def two_sides(records: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """The row of the raw features and that of the aggregated ones; of one protocol, those that are there."""
    return [record for record in (_first(records, (RAW,)), _first(records, AGGREGATED)) if record is not None]


def class_gains(
    sides: tuple[EvaluationRecord, EvaluationRecord], class_names: Sequence[str], *, folder: Path
) -> list[ClassGain]:
    """How much better the second of two rows scores the test videos of each class.

    Args:
        sides: With outcomes.
        class_names: Of the data set.
        folder: That of ``results.json``.

    Raises:
        ValueError: outcomes that are damaged, or of other test videos.
    """
    first, second = both_outcomes(sides, folder=folder)
    found = compare_per_class(first.scores[CLASS_METRIC], second.scores[CLASS_METRIC], first.groups, first.labels)
    return [
        ClassGain(class_names[label], gain.value, gain.low, gain.high, number)
        for label, (gain, number) in found.items()
    ]


def both_outcomes(sides: tuple[EvaluationRecord, EvaluationRecord], *, folder: Path) -> tuple[Outcomes, Outcomes]:
    """The outcomes of two rows, test videos in the same order.

    Raises:
        ValueError: they are damaged, or of other test videos.
    """
    first, second = (outcomes_of(record, folder) for record in sides)
    return first, in_order_of(first, second, names=(row_name(sides[0]), row_name(sides[1])))


def clip_curves(records: Sequence[EvaluationRecord]) -> list[ClipCurve]:
    """A curve for each representation that was probed with fewer clips and with no other option, of one origin."""
    curves = []
    names = {record.representation: row_name(record) for record in records}
    for representation, name in sorted(names.items(), key=lambda item: TABLE_ORDER.index(item[0])):
        of_name = [record for record in records if record.representation == representation]
        drawn = [record for record in of_name if set(record.options) == {"clips", "clip_seed"}]
        whole = [record for record in of_name if not record.options]
        numbers = sorted({record.options["clips"] for record in drawn})
        if not numbers:
            continue
        cells = [
            make_cell([Located(record, None) for record in drawn if record.options["clips"] == number])
            for number in numbers
        ]
        curves.append(
            ClipCurve(
                name=name,
                num_clips=numbers,
                values=[cell.value for cell in cells],
                lows=[cell.low for cell in cells],
                highs=[cell.high for cell in cells],
                all_clips=make_cell([Located(record, None) for record in whole]).value if whole else None,
            )
        )
    return curves


def row_name(record: EvaluationRecord) -> str:
    """The representation, and where an aggregator from elsewhere was trained."""
    return origin_title(record.representation, record.pretrained_on)


def side_title(name: str, seed: int | None) -> str:
    """``x (raw features)``, ``x+cls (SCALE, seed 0)``."""
    return f"{name} (raw features)" if seed is None else f"{name} (SCALE, seed {seed})"


def _first(records: Sequence[EvaluationRecord], names: Sequence[str]) -> EvaluationRecord | None:
    """The first representation that is there with all clips and labels, of its lowest seed, with the fewest options."""
    whole = [record for record in records if not any(map(is_part, record.options))]
    for name in names:
        found = [record for record in whole if record.representation == name]
        if found:
            return min(found, key=lambda record: (record.seed or 0, len(record.options)))
    return None
