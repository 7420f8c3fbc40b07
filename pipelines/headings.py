"""What protocols, metrics and options are called in tables and pictures, and how values are written there."""

from collections.abc import Mapping

from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.result import LOWER_IS_BETTER
from scale_video.evaluate.retrieval import RECALL_DEPTHS

PROTOCOL_TITLES = {"knn": "k-NN"}
METRIC_TITLES = {"top1": "top-1", "top5": "top-5", "map": "mAP", "lrap": "LRAP", "mse": "MSE"} | {
    f"r@{k}": f"R@{k}" for k in RECALL_DEPTHS
}
OPTION_TITLES = {
    "k": "k={:g}",
    "temperature": "T={:g}",
    "clips": "{:g} clips",
    "clip_seed": "draw {:g} of clips",
    "share_seed": "draw {:g} of labels",
    "selection_on_test": "chosen on test",
    "schedule_epochs": "schedule of {:g} epochs",
}
TABLE_ORDER = (
    *RAW_REPRESENTATIONS,
    "init",
    *(name for name in REPRESENTATIONS if name not in (*RAW_REPRESENTATIONS, "init")),
)
"""From what costs nothing to what is learned."""


def protocol_title(protocol: str) -> str:
    """``knn`` is k-NN; the others are called as they are."""
    return PROTOCOL_TITLES.get(protocol, protocol)


def origin_title(representation: str, pretrained_on: str) -> str:
    """``cls``, or of an aggregator from elsewhere ``cls, of kinetics400@1a2b3c4d``."""
    return f"{representation}, of {pretrained_on}" if pretrained_on else representation


def metric_title(metric: str, *, with_unit: bool = False) -> str:
    """``top1`` is top-1, and with its unit top-1 %."""
    return METRIC_TITLES.get(metric, metric) + (" %" if with_unit and metric not in LOWER_IS_BETTER else "")


def options_title(options: Mapping[str, float]) -> str:
    """Options of a probe that are not the defaults, in words.

    # {"k": 5, "train_share": 0.1, "share_seed": 2} -> "k=5, draw 2 of labels, 10 % of labels"
    """
    parts = []
    for name, value in options.items():
        if name == "train_share":
            parts.append(f"{100 * value:g} % of labels")
        elif name == "clips" and value == 1:
            parts.append("1 clip")
        else:
            parts.append(OPTION_TITLES.get(name, f"{name} {{:g}}").format(value))
    return ", ".join(parts)


def shown_difference(value: float, metric: str) -> str:
    """A difference of values with its sign: points of percent, or in the unit of what is no share."""
    return f"{100 * value:+.1f}" if metric not in LOWER_IS_BETTER else f"{value:+.4g}"


def is_part(option: str) -> bool:
    """Whether an option gives a probe less than there is, so that its rows are no figure of the whole."""
    return option in ("clips", "train_share") or is_draw(option)


def is_draw(option: str) -> bool:
    """Whether an option says which of several draws a row is of (``clip_seed``, ``share_seed``), and no more."""
    return option.endswith("_seed")


def shown(value: float, metric: str) -> str:
    """A value: percent with one decimal, or four digits of an error, which is no share."""
    return f"{100 * value:.1f}" if metric not in LOWER_IS_BETTER else f"{value:.4g}"
