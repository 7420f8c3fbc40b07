"""The epochs of a training, as ``metrics.csv`` of its run folder has them."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

from scale_video.aggregate.run_files import METRICS, METRICS_NAME


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """A value per epoch, all columns of one length."""

    epochs: tuple[int, ...] = ()
    """Counted from 1."""
    seconds: tuple[float, ...] = ()
    columns: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Those of ``METRICS`` that were measured; NaN in an epoch that lacks one."""


def read_metrics(folder: Path) -> RunMetrics:
    """Read a run folder's metrics; a row that a killed process left half-written is left out.

    Raises:
        OSError: the file is there, but cannot be read.
        ValueError: it is no table of metrics.
    """
    path = folder / METRICS_NAME
    if not path.exists():
        return RunMetrics()
    text = path.read_bytes().replace(b"\0", b"").decode(errors="replace")  # zeros: what a loss of power leaves
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    names = [name for name in METRICS if name in (reader.fieldnames or ())]
    rows = [row for row in reader if all(_is_number(row.get(name)) for name in ("epoch", "seconds"))]
    if not names:
        raise ValueError(f"'{path}' has no columns of metrics; `scale-video pretrain --restart` writes it anew")
    values = {name: tuple(float(row[name]) if _is_number(row[name]) else math.nan for row in rows) for name in names}
    return RunMetrics(
        epochs=tuple(int(float(row["epoch"])) for row in rows),
        seconds=tuple(float(row["seconds"]) for row in rows),
        columns={name: column for name, column in values.items() if not all(map(math.isnan, column))},
    )


def _is_number(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False
