"""Results files of run folders, read and chosen from: what tables and comparisons of runs start with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from scale_video.evaluate.result import METRICS, EvaluationRecord, read_results
from scale_video.pipelines.cells import Located
from scale_video.pipelines.console import note


def find_results(runs: Sequence[Path], *, root: Path = Path("runs")) -> list[Path]:
    """Results files of run folders.

    Args:
        runs: Folders that hold a ``results.json``, or such files; none: all of ``root``.
        root: Folder of all runs.

    Raises:
        FileNotFoundError: there is none; the message names the folder.
    """
    if not runs:
        found = sorted(root.glob("*/results.json"))
        if not found:
            raise FileNotFoundError(f"no {root}/*/results.json here; name run folders, or run `scale-video evaluate`")
        return found
    files = [run.expanduser() for run in runs]
    files = [path / "results.json" if path.is_dir() else path for path in files]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"no results at '{path}'; `scale-video evaluate` writes them")
    return list(dict.fromkeys(files))


def read_located(files: Iterable[Path]) -> list[Located]:
    """The rows of several files; of the same row in two files the newer one stays, which is said where they differ.

    Raises:
        ValueError: a file is damaged.
    """
    rows: dict[object, tuple[EvaluationRecord, Path]] = {}
    differing: Counter[tuple[Path, Path]] = Counter()
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        for record in read_results(path):
            kept, newer = rows.setdefault(record.key, (record, path))
            differing[path, newer] += kept.value != record.value
    for (older, newer), number in differing.items():
        if number:
            note(f"warning: {number} rows of {older} have other values in {newer}; that file is newer, and taken")
    return [Located(record, path.parent) for record, path in rows.values()]


def choose(located: Sequence[Located], *, what: str, names: Sequence[str], known: Sequence[str]) -> list[Located]:
    """The rows whose field ``what`` is one of ``names``; all where none is named, or ``all``.

    Raises:
        ValueError: a name that no row can have, or no row with one of them.
    """
    if not names or tuple(names) == ("all",):
        return list(located)
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is none of {', '.join(known)}")
    chosen = [one for one in located if getattr(one.record, what) in names]
    if located and not chosen:
        there = dict.fromkeys(getattr(one.record, what) for one in located)
        raise ValueError(f"no row has {what} {' or '.join(names)}; there is: {', '.join(there)}")
    return chosen


def main_metrics(located: Sequence[Located]) -> list[Located]:
    """The rows of the first metric, in the order of ``METRICS``, of each protocol and target."""
    metrics = tuple(METRICS)
    first: dict[tuple[str, str], str] = {}
    for one in located:
        key = (one.record.protocol, one.record.target)
        first[key] = min(first.get(key, one.record.metric), one.record.metric, key=metrics.index)
    return [one for one in located if first[one.record.protocol, one.record.target] == one.record.metric]
