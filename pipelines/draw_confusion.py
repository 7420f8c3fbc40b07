"""Which class is taken for which: two confusion matrices side by side, with the pairs that are mixed up most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.confusion import ConfusedPair, confusion_counts, confusion_shares, most_confused
from scale_video.pipelines.picture_style import COLOURS, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMED_CLASSES = 40
"""With more, axes show class numbers, and the list below names what matters."""
MAX_WRITTEN_CLASSES = 12
"""Up to so many classes, cells hold their percentage."""
NUM_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a probe of one representation predicted."""

    title: str
    labels: NDArray[np.integer[Any]]
    """Of the test videos, shape (N,)."""
    predictions: NDArray[np.integer[Any]]
    """Shape (N,)."""


def draw_confusion(sides: Sequence[Predictions], class_names: Sequence[str], *, title: str) -> "Figure":
    """Draw a matrix per side, rows the true classes, shaded by the share of the class's videos.

    Args:
        sides: Of the same test videos; the raw features first.
        class_names: Of the data set.
        title: Above all.
    """
    num_classes = len(class_names)
    named = num_classes <= MAX_NAMED_CLASSES
    side = min(7.0, max(3.2, 0.24 * num_classes if named else 7.0))
    margin = 0.1 * min(28, max(map(len, class_names))) if named else 0.6
    figure = new_figure(len(sides) * (side + margin) + 0.9, side + margin + 2.2)
    figure.suptitle(title)
    all_axes = figure.subplots(2, len(sides), height_ratios=(side + margin, 1.5), squeeze=False)
    for column, predicted in enumerate(sides):
        counts = confusion_counts(predicted.labels, predicted.predictions, num_classes=num_classes)
        pairs = most_confused(counts, at_most=NUM_PAIRS)
        image = _draw_matrix(all_axes[0, column], counts, class_names, pairs)
        right = counts.trace() / counts.sum()
        all_axes[0, column].set_title(f"{predicted.title}: {100 * right:.1f} % right", fontsize=10)
        _list_pairs(all_axes[1, column], pairs, class_names)
    bar = figure.colorbar(image, ax=all_axes[0, :].tolist(), fraction=0.03, pad=0.02, shrink=0.8)
    bar.set_label("share of the true class's test videos (%)")
    return figure


def _draw_matrix(
    axes: "Axes", counts: NDArray[np.int64], class_names: Sequence[str], pairs: Sequence[ConfusedPair]
) -> Any:
    shares = 100 * confusion_shares(counts)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    named = len(class_names) <= MAX_NAMED_CLASSES
    axes.set_xlabel("predicted class" if named else "number of the predicted class")
    axes.set_ylabel("true class" if named else "number of the true class")
    if named:
        names = [short(name) for name in class_names]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    if len(class_names) <= MAX_WRITTEN_CLASSES:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 55 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        return image
    for number, pair in enumerate(pairs, start=1):
        axes.plot(pair.predicted, pair.label, "o", mfc="none", mec=COLOURS[1], ms=7)
        axes.annotate(
            str(number),
            (pair.predicted, pair.label),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS[1],
        )
    return image


def _list_pairs(axes: "Axes", pairs: Sequence[ConfusedPair], class_names: Sequence[str]) -> None:
    axes.set_axis_off()
    numbered = len(class_names) > MAX_NAMED_CLASSES
    names = [f"{index} {short(name)}" if numbered else short(name) for index, name in enumerate(class_names)]
    lines = [
        f"({number})  {names[pair.label]} → {names[pair.predicted]}: {pair.num_videos} of {pair.num_of_class}"
        for number, pair in enumerate(pairs, start=1)
    ]
    text = "\n".join(["most confused, true → predicted, test videos:", *(lines or ["none"])])
    axes.text(0, 1, text, va="top", ha="left", fontsize=7.5, transform=axes.transAxes)
