"""What all pictures share: figures without pyplot's global state, colours that most eyes tell apart, their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Of Okabe and Ito, without the yellow that a white ground swallows."""
MARKERS = ("o", "^", "s")
NUM_STYLES = len(COLOURS) * len(MARKERS)
"""So many classes have a colour and marker of their own."""
FORMATS = ("png", "svg")
_MAX_NAME = 28


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure on white, that many inches wide and high.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "pictures need matplotlib; pip install 'scale-video[pictures]', or say --no-pictures"
        ) from error
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def pictures_available() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def style_of(index: int) -> tuple[str, str]:
    """Colour and marker of a class; they come again after ``NUM_STYLES`` classes."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


def short(name: str) -> str:
    """A name that fits beside a bar or a matrix."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def save(figure: "Figure", folder: Path, name: str) -> Sequence[Path]:
    """Write ``<name>.png`` and ``<name>.svg`` into a folder, each whole or not at all."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # it is laid out now; each file would do it again
    paths = []
    for kind in FORMATS:
        path = folder / f"{name}.{kind}"
        partial = path.with_name(f".{path.name}.partial")
        metadata = {"Date": None} if kind == "svg" else None
        try:
            with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):  # text of an svg can be searched
                figure.savefig(partial, format=kind, metadata=metadata)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        paths.append(path)
    return paths
