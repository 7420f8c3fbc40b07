"""What each class gains by aggregation: bars of the difference to the raw features, sorted, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scale_video.pipelines.picture_style import COLOURS, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_EACH = 25
"""Of more than twice as many classes, those that gain most and those that gain least are drawn."""


@dataclass(frozen=True, slots=True)
class ClassGain:
    """How much better a class's test videos are scored."""

    class_name: str
    value: float
    """Difference of scores, in [-1, 1]."""
    ci_low: float
    """Ends of the 95 % interval over the class's test groups; -1 and 1 where there is one group."""
    ci_high: float
    num_test: int


def draw_gains(gains: Sequence[ClassGain], *, title: str, unit: str) -> "Figure":
    """Draw a bar per class, the largest gain on top.

    Args:
        gains: At least one.
        title: Above all.
        unit: Of the axis, such as ``gain in top-1 (points of percent)``.
    """
    ordered = sorted(gains, key=lambda gain: (-gain.value, gain.class_name))
    shown = ordered
    if len(ordered) > 2 * MAX_EACH:
        shown = [*ordered[:MAX_EACH], *ordered[-MAX_EACH:]]
        title += f"\nthe {MAX_EACH} classes that gain most and the {MAX_EACH} that gain least, of {len(ordered)}"
    figure = new_figure(8, 1.6 + 0.2 * len(shown))
    axes = figure.subplots()
    places = range(len(shown))
    values = [100 * gain.value for gain in shown]
    errors = [
        [100 * (gain.value - gain.ci_low) for gain in shown],
        [100 * (gain.ci_high - gain.value) for gain in shown],
    ]
    colours = [COLOURS[4] if gain.value >= 0 else COLOURS[5] for gain in shown]
    axes.barh(places, values, color=colours, height=0.75)
    axes.errorbar(values, places, xerr=errors, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
    axes.axvline(0, color="black", linewidth=0.8)
    if len(shown) < len(ordered):
        axes.axhline(MAX_EACH - 0.5, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [f"{short(gain.class_name)} ({gain.num_test})" for gain in shown], fontsize=7)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_ylabel("class (test videos)")
    axes.set_xlabel(f"{unit}; lines: 95 % interval over test groups")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=10)
    return figure
