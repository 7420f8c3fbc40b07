"""Figures of the scores: differences, curves over the number of clips, gains by class, and confusion matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from bokeh.layouts import row
from bokeh.model import Model
from bokeh.models.annotations import Span
from bokeh.models.ranges import Range1d
from bokeh.models.renderers import DataRenderer
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tickers import FixedTicker
from bokeh.models.tools import HoverTool
from numpy.typing import NDArray

from scale_video.evaluate.confusion import confusion_counts
from scale_video.pipelines.draw_clips import ClipCurve
from scale_video.pipelines.draw_gains import MAX_EACH, ClassGain
from scale_video.pipelines.report.figures import (
    COLOURS,
    GAIN,
    INK,
    LOSS,
    MARKERS,
    WIDTH,
    legend_beside,
    new_figure,
    plain,
    short,
)

MAX_NAMED_CLASSES: Final = 40
"""With more, the axes of a confusion matrix show numbers of classes."""
_MAX_WRITTEN_CLASSES: Final = 12
"""Up to so many classes, cells hold their count."""
_ROW: Final = 18
"""Pixels of a bar with its gap."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference in points of percent, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a probe of one representation predicted."""

    title: str
    labels: NDArray[np.integer[Any]]
    """Of the test videos, shape (N,)."""
    predictions: NDArray[np.integer[Any]]
    """Shape (N,)."""


def draw_differences(found: Mapping[str, Mapping[str, Interval]], *, unit: str) -> Model:
    """Draw a line per representation, and on it a mark with its interval for each protocol.

    Args:
        found: By protocol, then by representation.
        unit: Of the axis.
    """
    names = list(dict.fromkeys(name for of_protocol in found.values() for name in of_protocol))
    made = new_figure(height=90 + (11 * len(found) + 12) * len(names), x_axis_label=unit, y_axis_label="")
    made.y_range = Range1d(start=len(names) - 0.5, end=-0.5)
    _name_ticks(made.yaxis[0], names)
    made.ygrid.grid_line_color = None
    made.add_layout(Span(location=0, dimension="height", line_color=COLOURS[6], line_width=1))
    marks: list[DataRenderer] = []
    for index, (protocol, of_protocol) in enumerate(found.items()):
        offset = (index - (len(found) - 1) / 2) * 0.55 / max(1, len(found))
        source = ColumnDataSource(
            {
                "y": [names.index(name) + offset for name in of_protocol],
                "name": [plain(name) for name in of_protocol],
                "protocol": [protocol] * len(of_protocol),
                **_columns(list(of_protocol.values())),
            }
        )
        colour = COLOURS[index % len(COLOURS)]
        made.segment(x0="low", x1="high", y0="y", y1="y", source=source, line_color=colour, line_width=2)
        marks.append(
            made.scatter(
                x="value", y="y", source=source, size=8, color=colour, marker=MARKERS[index % len(MARKERS)],
                legend_label=protocol,
            )
        )  # fmt: skip
    made.add_tools(HoverTool(renderers=marks, tooltips=[("", "@name, @protocol"), ("difference", "@shown")]))
    legend_beside(made)
    return made


def draw_clip_curves(curves: Sequence[ClipCurve], *, unit: str) -> Model:
    """Draw a line per representation, with the range of its draws, and a dashed one for all clips.

    Args:
        curves: At least one.
        unit: Of the scores, such as ``top-1 (%)``.
    """
    made = new_figure(height=380, x_axis_label="clips of each test video", y_axis_label=unit, x_axis_type="log")
    ticks = sorted({number for curve in curves for number in curve.num_clips})
    made.xaxis.ticker = FixedTicker(ticks=ticks)
    made.xaxis.major_label_overrides = {number: f"{number:g}" for number in ticks}
    marks: list[DataRenderer] = []
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        values, lows, highs = ([100 * value for value in of] for of in (curve.values, curve.lows, curve.highs))
        source = ColumnDataSource(
            {
                "clips": list(curve.num_clips),
                "value": values,
                "low": lows,
                "high": highs,
                "name": [plain(curve.name)] * len(values),
                "shown": [
                    f"{value:.1f} ({low:.1f} – {high:.1f})"
                    for value, low, high in zip(values, lows, highs, strict=True)
                ],
            }
        )
        name = plain(curve.name)
        made.varea("clips", "low", "high", source=source, fill_color=colour, fill_alpha=0.15, legend_label=name)
        made.line("clips", "value", source=source, line_color=colour, line_width=2, legend_label=name)
        marks.append(
            made.scatter(
                "clips", "value", source=source, size=8, color=colour, marker=MARKERS[index % len(MARKERS)],
                legend_label=name,
            )
        )  # fmt: skip
        if curve.all_clips is not None:
            made.line(
                [min(ticks), max(ticks)], [100 * curve.all_clips] * 2, line_color=colour, line_dash="dashed",
                legend_label=name,
            )  # fmt: skip
    made.add_tools(HoverTool(renderers=marks, tooltips=[("", "@name"), ("clips", "@clips"), (unit, "@shown")]))
    legend_beside(made)
    return made


def draw_class_gains(gains: Sequence[ClassGain], *, unit: str) -> Model:
    """Draw a bar per class, the largest gain on top; of many classes those at either end.

    Args:
        gains: At least one.
        unit: Of the axis, such as ``gain in top-1 (points of percent)``.
    """
    ordered = sorted(gains, key=lambda gain: (-gain.value, gain.class_name))
    shown = ordered if len(ordered) <= 2 * MAX_EACH else [*ordered[:MAX_EACH], *ordered[-MAX_EACH:]]
    made = new_figure(height=90 + _ROW * len(shown), x_axis_label=unit)
    made.y_range = Range1d(start=len(shown) - 0.4, end=-0.6)
    _name_ticks(made.yaxis[0], [f"{short(gain.class_name)} ({gain.num_test})" for gain in shown])
    made.ygrid.grid_line_color = None
    intervals = [Interval(100 * gain.value, 100 * gain.ci_low, 100 * gain.ci_high) for gain in shown]
    source = ColumnDataSource(
        {
            "y": list(range(len(shown))),
            "name": [plain(gain.class_name) for gain in shown],
            "videos": [gain.num_test for gain in shown],
            "colour": [GAIN if gain.value >= 0 else LOSS for gain in shown],
            **_columns(intervals),
        }
    )
    bars = made.hbar(y="y", right="value", height=0.7, source=source, color="colour")
    made.segment(x0="low", x1="high", y0="y", y1="y", source=source, line_color=COLOURS[6], line_width=1.5)
    made.add_layout(Span(location=0, dimension="height", line_color=COLOURS[6], line_width=1))
    made.add_tools(HoverTool(renderers=[bars], tooltips=[("", "@name"), ("gain", "@shown"), ("videos", "@videos")]))
    return made


def draw_confusions(sides: Sequence[Predictions], class_names: Sequence[str]) -> Model:
    """Draw a matrix per side, rows the true classes; what is shown and where is the same on all of them.

    Args:
        sides: Of the same test videos; the raw features first.
        class_names: Of the data set.
    """
    num_classes = len(class_names)
    across = Range1d(start=-0.5, end=num_classes - 0.5)
    down = Range1d(start=num_classes - 0.5, end=-0.5)
    figures = []
    for side in sides:
        counts = confusion_counts(side.labels, side.predictions, num_classes=num_classes)
        right = counts.trace() / counts.sum()
        made = new_figure(
            width=WIDTH // 2,
            height=WIDTH // 2 + 20,
            title=f"{side.title}: {100 * right:.1f} % right",
            x_range=across,
            y_range=down,
            x_axis_label="predicted class",
            y_axis_label="true class",
        )
        made.grid.grid_line_color = None
        if num_classes <= MAX_NAMED_CLASSES:
            names = [short(name) for name in class_names]
            for axis in (made.xaxis[0], made.yaxis[0]):
                _name_ticks(axis, names)
                axis.major_label_text_font_size = "9px"
            made.xaxis.major_label_orientation = "vertical"
        _draw_cells(made, counts, class_names)
        figures.append(made)
    return row(*figures)


def _draw_cells(made: Any, counts: NDArray[np.int64], class_names: Sequence[str]) -> None:
    """A square per pair of classes, the darker the more of the true class; of many classes only those with a video."""
    every = len(class_names) <= MAX_NAMED_CLASSES
    cells = np.argwhere(np.ones_like(counts, np.bool_) if every else counts > 0)
    totals = counts.sum(axis=1)
    found = [(int(counts[i, j]), int(totals[i])) for i, j in cells]
    shares = [count / total if total else 0.0 for count, total in found]
    source = ColumnDataSource(
        {
            "x": cells[:, 1].tolist(),
            "y": cells[:, 0].tolist(),
            "true": [plain(class_names[i]) for i in cells[:, 0]],
            "predicted": [plain(class_names[j]) for j in cells[:, 1]],
            "shown": [f"{count} of {total} ({100 * s:.1f} %)" for (count, total), s in zip(found, shares, strict=True)],
            "count": [str(count) if count else "" for count, _ in found],
            "alpha": [0.1 + 0.7 * share if share else 0.0 for share in shares],
            "colour": [COLOURS[0] if i == j else COLOURS[1] for i, j in cells],
        }
    )
    squares = made.rect(
        "x", "y", 0.96, 0.96, source=source, fill_color="colour", fill_alpha="alpha", line_color=None
    )  # fmt: skip
    if len(class_names) <= _MAX_WRITTEN_CLASSES:
        made.text(
            "x", "y", text="count", source=source, name=INK, text_align="center", text_baseline="middle",
            text_font_size="10px", text_color=COLOURS[6],
        )  # fmt: skip
    made.add_tools(
        HoverTool(
            renderers=[squares], tooltips=[("true", "@true"), ("predicted", "@predicted"), ("test videos", "@shown")]
        )
    )


def _columns(intervals: Sequence[Interval]) -> dict[str, list[Any]]:
    return {
        "value": [one.value for one in intervals],
        "low": [one.low for one in intervals],
        "high": [one.high for one in intervals],
        "shown": [f"{one.value:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" for one in intervals],
    }


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    """Name the places 0, 1, …."""
    axis.ticker = FixedTicker(ticks=list(range(len(names))))
    axis.major_label_overrides = {place: plain(name) for place, name in enumerate(names)}
