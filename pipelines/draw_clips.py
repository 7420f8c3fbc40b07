"""How much is known from how few clips: accuracy against the number of clips of a test video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scale_video.pipelines.picture_style import new_figure, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class ClipCurve:
    """The scores of one representation, mean over seeds and draws of clips."""

    name: str
    num_clips: Sequence[float]
    values: Sequence[float]
    """In [0, 1], one for each number of clips, as are the next two."""
    lows: Sequence[float]
    """Lowest over seeds and draws."""
    highs: Sequence[float]
    all_clips: float | None
    """With all clips of a video; None where that was not measured."""


def draw_clips(curves: Sequence[ClipCurve], *, title: str, unit: str) -> "Figure":
    """Draw a line per representation, with the range of its draws, and a dashed one for all clips.

    Args:
        curves: At least one.
        title: Above all.
        unit: Of the scores, such as ``top-1 (%)``.
    """
    figure = new_figure(7, 4.8)
    axes = figure.subplots()
    for index, curve in enumerate(curves):
        colour, marker = style_of(index)
        values, lows, highs = ([100 * value for value in of] for of in (curve.values, curve.lows, curve.highs))
        axes.fill_between(curve.num_clips, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.num_clips, values, color=colour, marker=marker, label=curve.name)
        if curve.all_clips is not None:
            axes.axhline(100 * curve.all_clips, color=colour, linestyle="--", linewidth=0.9)
    ticks = sorted({number for curve in curves for number in curve.num_clips})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{number:g}" for number in ticks])
    axes.minorticks_off()
    axes.set_xlabel("clips of each test video (drawn at random)")
    axes.set_ylabel(unit)
    axes.grid(color="#dddddd")
    axes.set_title(f"{title}\nbands: lowest to highest of seeds and draws; dashed: all clips", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
