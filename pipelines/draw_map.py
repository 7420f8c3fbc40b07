"""Where the test videos lie: raw and aggregated vectors on two maps, coloured by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.picture_style import NUM_STYLES, new_figure, short, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LEGEND = 20
"""With more classes there is no legend."""


def draw_map(
    maps: Sequence[tuple[str, NDArray[np.floating[Any]]]],
    labels: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    *,
    title: str,
) -> "Figure":
    """Draw a panel per representation; the same videos and colours in each.

    Args:
        maps: Name and coordinates, shape (N, 2), of each representation.
        labels: Classes, shape (N,).
        class_names: Of the data set.
        title: Above all.
    """
    present = [int(label) for label in np.unique(labels)]
    with_legend = len(present) <= MAX_LEGEND
    if len(present) > NUM_STYLES:
        title += f"; {len(present)} classes share {NUM_STYLES} colours and shapes"
    figure = new_figure(5.2 * len(maps) + (2.4 if with_legend else 0), 5.8)
    figure.suptitle(title, fontsize=11)
    size = float(np.clip(12000 / max(1, len(labels)), 6, 30))
    for axes, (name, points) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
        for index, label in enumerate(present):
            colour, marker = style_of(index)
            of_class = points[labels == label]
            axes.scatter(
                of_class[:, 0], of_class[:, 1], s=size, c=colour, marker=marker, linewidths=0, alpha=0.75,
                label=short(class_names[label]),
            )  # fmt: skip
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("t-SNE, first axis (no unit)")
        axes.set_ylabel("second axis (no unit)")
        axes.set_aspect("equal", adjustable="datalim")
    if with_legend:
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", fontsize=8, frameon=False, markerscale=1.3)
    return figure
