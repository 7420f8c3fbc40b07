"""Figures of trainings: a value per epoch, the seeds over one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bokeh.layouts import row
from bokeh.model import Model
from bokeh.models.annotations import Span
from bokeh.models.ranges import DataRange1d
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tools import HoverTool

from scale_video.pipelines.report.figures import COLOURS, MARKERS, WIDTH, legend_above, new_figure, plain

_MANY_EPOCHS: Final = 60
"""Beyond, lines have no marks."""


@dataclass(frozen=True, slots=True)
class SeedLine:
    """How a value went in one training."""

    name: str
    epochs: Sequence[int]
    values: Sequence[float]
    """NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One value in all trainings."""

    title: str
    unit: str
    lines: Sequence[SeedLine]
    """At least one."""
    level: float | None = None
    """Where a dashed line is drawn."""


def draw_panels(panels: Sequence[Panel]) -> Model:
    """Draw panels side by side, on one scale of epochs.

    Args:
        panels: One or two.
    """
    epochs = DataRange1d()
    return row(*(_draw(panel, epochs) for panel in panels))


def _draw(panel: Panel, epochs: DataRange1d) -> Any:
    made = new_figure(
        width=WIDTH // 2, height=300, title=panel.title, x_axis_label="epoch", y_axis_label=panel.unit, x_range=epochs
    )
    for index, line in enumerate(panel.lines):
        colour = COLOURS[index % len(COLOURS)]
        columns = {"epoch": line.epochs, "value": line.values, "name": [plain(line.name)] * len(line.epochs)}
        source = ColumnDataSource({name: list(values) for name, values in columns.items()})
        name = plain(line.name)
        drawn: Any = made.line("epoch", "value", source=source, color=colour, line_width=1.5, legend_label=name)
        if len(line.epochs) <= _MANY_EPOCHS:
            marker = MARKERS[index % len(MARKERS)]
            drawn = made.scatter(
                "epoch", "value", source=source, color=colour, size=4, marker=marker, legend_label=name
            )
        tips = [("", "@name"), ("epoch", "@epoch"), (panel.unit, "@value{0.0000}")]
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    if panel.level is not None:
        made.add_layout(Span(location=panel.level, dimension="width", line_color=COLOURS[6], line_dash="dashed"))
    legend_above(made)
    return made
