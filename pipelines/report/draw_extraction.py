"""Figures of an extraction: its speed, where its time went, and what its clips cover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from bokeh.layouts import row
from bokeh.model import Model
from bokeh.models.annotations import ColorBar
from bokeh.models.mappers import LinearColorMapper
from bokeh.models.ranges import Range1d
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tickers import FixedTicker
from bokeh.models.tools import HoverTool
from bokeh.palettes import Viridis256

from scale_video.pipelines.report.figures import COLOURS, WIDTH, legend_above, new_figure, plain
from scale_video.store.clip_coverage import TIME_BINS, ClipCoverage

_HEIGHT: Final = 320
_UNITS: Final = (("seconds", 1), ("minutes", 60), ("hours", 3600))
_MOST: Final = 180
"""Of a unit on an axis; of more, the next larger one is taken."""


@dataclass(frozen=True, slots=True)
class SpeedLine:
    """How fast a job was."""

    name: str
    ends: Sequence[float]
    """Of intervals, in seconds since the job began; each begins where the one before ends, the first at 0."""
    rates: Sequence[float]
    """Clips a second in each."""


def draw_speed(lines: Sequence[SpeedLine]) -> Any:
    """Draw a stair per job, each step as wide as the time that it is the mean of."""
    longest = max(line.ends[-1] for line in lines)
    unit, seconds = next(each for each in _UNITS if longest <= each[1] * _MOST or each is _UNITS[-1])
    made: Any = new_figure(height=_HEIGHT, x_axis_label=f"{unit} since the job began", y_axis_label="clips a second")
    made.y_range.start = 0
    for index, line in enumerate(lines):
        name = plain(line.name)
        times = np.repeat([0.0, *line.ends], 2)[1:-1] / seconds
        rates = np.repeat(line.rates, 2)
        source = ColumnDataSource({"time": times, "rate": rates, "name": [name] * len(rates)})
        colour = COLOURS[index % len(COLOURS)]
        drawn = made.line("time", "rate", source=source, color=colour, line_width=2, legend_label=name)
        tips = [("", "@name"), (unit, "@time{0.0}"), ("clips a second", "@rate{0.0}")]
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    legend_above(made, num_columns=3)
    return made


def draw_shares(bars: Mapping[str, Mapping[str, float]]) -> Any:
    """Draw a bar per kind of process, split up into what its time went into.

    Args:
        bars: By whose time it is, then by what it went into, in seconds. A bar without any seconds stays empty.
    """
    made: Any = new_figure(height=80 + 50 * len(bars), x_axis_label="share of the time (%)")
    made.x_range, made.y_range = Range1d(start=0, end=100), Range1d(start=len(bars) - 0.5, end=-0.5)
    made.yaxis[0].ticker = FixedTicker(ticks=list(range(len(bars))))
    made.yaxis[0].major_label_overrides = {place: plain(name) for place, name in enumerate(bars)}
    made.ygrid.grid_line_color = None
    parts = [(place, name, part) for place, (name, parts) in enumerate(bars.items()) for part in parts]
    for index, (place, name, part) in enumerate(parts):
        seconds, total = bars[name][part], sum(bars[name].values())
        left = sum(bars[name][earlier] for _, other, earlier in parts[:index] if other == name)
        shares = [100 * value / total if total else 0.0 for value in (left, left + seconds)]
        columns = {"y": place, "left": shares[0], "right": shares[1], "part": part, "seconds": seconds}
        source = ColumnDataSource({key: [value] for key, value in columns.items()})
        bar = made.hbar(
            y="y", left="left", right="right", height=0.7, source=source, color=COLOURS[index % len(COLOURS)],
            legend_label=part,
        )  # fmt: skip
        made.add_tools(HoverTool(renderers=[bar], tooltips=[("", "@part"), ("seconds", "@seconds{0,0.0}")]))
    legend_above(made, num_columns=len(parts))
    return made


def draw_coverage(coverage: ClipCoverage) -> Model:
    """Draw when in their videos, and where in their frames, clips lie."""
    return row(_draw_time(coverage), _draw_space(coverage))


def _draw_time(coverage: ClipCoverage) -> Any:
    made: Any = new_figure(
        width=WIDTH // 2,
        height=_HEIGHT,
        title="when",
        x_axis_label="middle of the clip, from the video's beginning (0) to its end (1)",
        y_axis_label="share of the clips (%)",
        x_range=Range1d(start=0, end=1),
    )
    edges = np.linspace(0, 1, TIME_BINS + 1)
    source = ColumnDataSource(
        {
            "left": edges[:-1],
            "right": edges[1:],
            "share": 100 * coverage.centres / max(1, coverage.num_clips),
            "count": coverage.centres,
        }
    )
    bars = made.quad(
        left="left", right="right", bottom=0, top="share", source=source, fill_color=COLOURS[0], line_color=None,
        fill_alpha=0.85,
    )  # fmt: skip
    tips = [("of the video", "@left{0.00} – @right{0.00}"), ("clips", "@count (@share{0.0} %)")]
    made.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    made.y_range.start = 0
    return made


def _draw_space(coverage: ClipCoverage) -> Any:
    made: Any = new_figure(
        width=WIDTH // 2,
        height=_HEIGHT,
        title="where (% of the clips)",
        x_axis_label="from left (0) to right (1) of the upright frame",
        y_axis_label="from top to bottom",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=1, end=0),
    )
    made.grid.grid_line_color = None
    shares = 100 * coverage.seen
    colours = LinearColorMapper(palette=Viridis256, low=0, high=max(1.0, float(shares.max())))
    drawn = made.image([shares.astype(np.float32)], x=0, y=0, dw=1, dh=1, color_mapper=colours)
    tips = [("from the left, the top", "$x{0.00}, $y{0.00}"), ("in the box of", "@image{0.0} % of the clips")]
    made.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    bar = ColorBar(color_mapper=colours, width=10, padding=4, background_fill_color=None)
    bar.major_label_text_color = COLOURS[6]  # it finds no variables of the page
    made.add_layout(bar, "right")
    return made
