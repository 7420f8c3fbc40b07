"""How the report's figures look: no ground of their own, so that they stand on a light page, a dark one, and on paper.

Bokeh takes the colours of titles, axes and grids from variables of the page's style sheet (``--bk-…``, see
``page.css``), and the page paints again when these change. What a glyph shows has one colour that reads on both
grounds; glyphs with text that must follow the page are named ``ink``.
"""

import re
from typing import Any, Final

from bokeh.models.annotations import Legend
from bokeh.models.css import InlineStyleSheet
from bokeh.plotting import figure

WIDTH: Final = 900
"""Pixels; a page is as wide, and on paper it is made to fit."""
COLOURS: Final = ("#3b86c6", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
"""After Okabe and Ito, those that are close to black or white replaced: told apart by most eyes, on either ground."""
MARKERS: Final = ("circle", "triangle", "square", "diamond", "inverted_triangle")
NUM_STYLES: Final = len(COLOURS) * len(MARKERS)
GAIN, LOSS = COLOURS[5], COLOURS[4]
INK: Final = "ink"
"""Name of glyph renderers whose text has the page's colour."""
_TOOLS: Final = "pan,wheel_zoom,box_zoom,reset,save"
_MAX_NAME: Final = 28


def new_figure(
    *, height: int | None, title: str = "", width: int | None = WIDTH, tools: str = _TOOLS, **options: Any
) -> figure:  # what bokeh's own function returns
    """An empty figure.

    Args:
        height: Pixels; None where an option gives that of the frame.
        title: Above it; plain text.
        width: Pixels; None likewise.
        tools: Of Bokeh; none is active that would take the wheel from the page.
        options: Of ``bokeh.plotting.figure``: ranges, labels of axes.
    """
    made = figure(
        width=width,
        height=height,
        title=plain(title),
        tools=tools,
        active_drag=None,
        active_scroll=None,
        background_fill_color=None,
        border_fill_color=None,
        **options,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    return made


def legend_beside(made: figure, *, hides: bool = True) -> None:
    """Put the legend to the right, without a ground.

    Args:
        made: The figure; its legend is made already.
        hides: Whether a click on a name hides what it stands for.
    """
    _move_legend(made, "right", hides=hides)


def legend_above(made: figure, *, num_columns: int = 5) -> None:
    """Put the legend above the frame, whose width stays as it is; a click on a name hides what it stands for."""
    legend: Any
    for legend in _move_legend(made, "above", hides=True):
        legend.orientation = "horizontal"
        legend.ncols = num_columns
        legend.location = "left"
        legend.padding = 0
        legend.spacing = 12


def _move_legend(made: figure, place: Any, *, hides: bool) -> list[Legend]:
    legends = [item for item in made.center if isinstance(item, Legend)]
    for legend in legends:
        legend.stylesheets = [InlineStyleSheet(css=".bk-label { color: var(--ink) !important; }")]
        legend.background_fill_color = None
        legend.border_line_color = None
        legend.label_text_font_size = "11px"
        legend.spacing = 0
        legend.click_policy = "hide" if hides else "none"
        made.add_layout(legend, place)
    return legends


def style_of(index: int) -> tuple[str, str]:
    """Colour and marker of a class; they come again after ``NUM_STYLES`` classes."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


def plain(text: str) -> str:
    r"""A text in which Bokeh finds no formula: it takes ``$$…$$``, ``\(…\)`` and ``\[…\]`` for TeX.

    The program that sets formulas is not on the page and would be asked from the network.
    """
    return re.sub(r"\$(?=\$)|\\(?=[(\[])", lambda mark: f"{mark[0]}\u200b", text)


def short(text: str) -> str:
    """A name that fits beside an axis."""
    text = plain(text)
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"
