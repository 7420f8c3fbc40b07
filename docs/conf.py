"""The site of the documentation: `make docs` writes it to build/docs. Nothing is fetched, so it is built anywhere."""

import os
import re
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

project = "scale-video"
author = "the authors of scale-video"
project_copyright = "Apache-2.0"
release = installed_version("scale-video")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["conf.py"]

myst_heading_anchors = 3  # as a forge makes them, so that datasets.md#table leads to the same place in both
highlight_language = "text"  # of the indented blocks: commands, and what they print
smartquotes = False  # --option has two hyphens
default_role = "code"  # of single backticks in docstrings and help

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

# Names of the modules that `api/` lists must be found; others are of other packages, or not for everybody.
_LISTED = [
    re.escape(module)
    for page in sorted(Path(__file__).parent.glob("api/*.md"))
    for module in re.findall(r"automodule:: (\S+)", page.read_text())
]
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", rf"(?!({'|'.join(_LISTED)})\.).*")]

html_theme = "furo"
html_title = f"scale-video {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

_REPOSITORY = Path(__file__).parents[1]
_PAGES = {
    "README.md": "docs/index.md",
    "CHANGELOG.md": "docs/changes.md",
    "store/FORMAT.md": "docs/format.md",
    "docs/decisions": "docs/decisions/README.md",
    "pipelines/presets": "docs/pretraining.md",
    **{folder: f"docs/api/{folder}.md" for folder in ("store", "extract", "aggregate", "evaluate", "pipelines")},
}
"""Where links lead that a forge answers with a file beside this folder, or with a folder; other files are downloads."""
_INCLUDED = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^)#\s]+)")


def setup(app: Sphinx) -> None:
    """Let pages and links of the repository be pages and links of the site."""
    app.connect("source-read", _read_page)
    app.connect("autodoc-process-docstring", _keep_whole, priority=400)  # before napoleon, at 500
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _as_written)


def _read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Put in what a page includes, and lead its links to other pages: all are written for the place of their file."""
    folder = (_REPOSITORY / "docs" / name).parent

    def include(found: re.Match[str]) -> str:
        file = folder / found[1]
        app.env.note_dependency(str(file))
        return _with_links(file.read_text(), written_in=file.parent, shown_in=folder)

    source[0] = _INCLUDED.sub(include, _with_links(source[0], written_in=folder, shown_in=folder))


def _with_links(text: str, *, written_in: Path, shown_in: Path) -> str:
    def lead(link: re.Match[str]) -> str:
        there = os.path.relpath(written_in / link[1], _REPOSITORY)
        return os.path.relpath(_REPOSITORY / _PAGES.get(there, there), shown_in)

    return _LINK.sub(lead, text)


def _keep_whole(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Let a field's line be text: napoleon would take what stands before a colon in its first line for a type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def _as_written(app: Sphinx, context: object, lines: list[str]) -> None:
    """Show the help of a command as a terminal does: a star is a star, and examples are lines of code."""
    shown: list[str] = []
    for line in lines:
        if line.startswith("| "):  # what click is told not to wrap
            shown += ["::", ""] if not shown or not shown[-1].startswith("    ") else []
            shown.append(f"    {line[2:]}")
        else:
            shown.append(line.replace("*", r"\*"))
    lines[:] = shown
