"""Where test videos lie: a panel per representation, videos selected in all of them together, with frames on hover."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from bokeh.layouts import row
from bokeh.model import Model
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tools import HoverTool
from numpy.typing import NDArray

from scale_video.pipelines.report.figures import legend_beside, new_figure, plain, short, style_of

MAX_LEGEND: Final = 20
"""With more classes there is no legend."""
_SIDE: Final = 380
_TOOLS: Final = "pan,wheel_zoom,box_zoom,box_select,lasso_select,tap,reset,save"
_NO_IMAGE: Final = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""One pixel that is not seen, where a video has no strip."""
_TOOLTIP: Final = """
<div style="max-width: 400px; overflow-wrap: anywhere">
<img src="@strip" alt="" style="display: block; height: 64px">
<div><b>@class</b></div><div>@name</div>
</div>"""


def draw_map(
    maps: Sequence[tuple[str, NDArray[np.floating[Any]]]],
    *,
    names: Sequence[str],
    classes: Sequence[str],
    strips: Sequence[str],
) -> Model:
    """Draw the panels.

    Args:
        maps: Title and coordinates, shape (N, 2), of each representation.
        names: Of the N videos.
        classes: Names of their classes; empty where there is none.
        strips: Of their frames, ``data:`` URIs; empty where there is none.
    """
    present = sorted(set(classes))
    styles = [style_of(present.index(name)) for name in classes]
    source = ColumnDataSource(
        {
            "name": [plain(name) for name in names],
            "class": [short(name) or "no class" for name in classes],
            "strip": [strip or _NO_IMAGE for strip in strips],
            "colour": [colour for colour, _ in styles],
            "marker": [marker for _, marker in styles],
        }
        | {
            f"{axis}{index}": points[:, side]
            for index, (_, points) in enumerate(maps)
            for side, axis in enumerate("xy")
        }
    )
    with_legend = 1 < len(present) <= MAX_LEGEND
    size = float(np.clip(160 / len(names) ** 0.5, 4, 9))
    figures = []
    for index, (title, _) in enumerate(maps):
        legend: dict[str, Any] = {"legend_group": "class"} if with_legend and index == len(maps) - 1 else {}
        made = new_figure(width=None, height=None, frame_width=_SIDE, frame_height=_SIDE, title=title, tools=_TOOLS)
        points = made.scatter(
            f"x{index}", f"y{index}", source=source, size=size, marker="marker",
            fill_color="colour", fill_alpha=0.75, line_color=None, nonselection_fill_alpha=0.08, **legend,
        )  # fmt: skip
        made.add_tools(HoverTool(renderers=[points], tooltips=_TOOLTIP, limit=1, point_policy="follow_mouse"))
        made.axis.visible = False
        made.grid.visible = False
        if legend:
            legend_beside(made, hides=False)
        figures.append(made)
    return row(*figures)
