"""Sections as one html file that needs nothing else: the figures' library, styles and pictures are in it.

A browser of ten years hence opens it as one of today does: it asks no server, and its own policy forbids it to.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bokeh.document import Document
from bokeh.embed import components
from bokeh.embed.bundle import bundle_for_objs_and_resources
from bokeh.model import Model
from bokeh.resources import INLINE
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scale_video.pipelines.code_version import versions
from scale_video.pipelines.report.section import FigureBlock, Section

_FOLDER: Final = Path(__file__).parent


def render_page(sections: Sequence[Section], *, title: str, subtitle: str) -> str:
    """The page.

    Args:
        sections: In order.
        title: Above them.
        subtitle: A line below the title.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    figures = list(_figures(sections))
    _put_together(figures)
    script, plots = components({figure.id: figure for figure in figures}, wrap_script=False) if figures else ("", {})
    # Only those parts of the library that a figure needs; the style sheets are within.
    library = bundle_for_objs_and_resources(figures, INLINE).js_raw if figures else []
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        plots={name: Markup(plot) for name, plot in plots.items()},  # Bokeh's own, of ids alone
        style=_own("page.css"),
        bokeh=Markup("\n".join(library)),
        # Bokeh escapes what it embeds.
        script=Markup(f"{_own('page.js') if figures else ''}\n{script}"),
        version=versions()["scale-video"],
    )


def _figures(sections: Iterable[Section]) -> Iterable[Model]:
    for section in sections:
        for part in section.parts:
            yield from (block.figure for block in part.blocks if isinstance(block, FigureBlock))


def _put_together(figures: Sequence[Model]) -> None:
    """Add figures to one document; by itself, Bokeh would look through all of it again for each of them."""
    document = Document()
    with document.models.freeze():
        for figure in figures:
            document.add_root(figure)


def _own(name: str) -> Markup:
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
