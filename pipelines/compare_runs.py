"""``scale-video compare``: are the rows of one run better than those of another, on the same test videos?

Rows go together where they agree in everything that identifies a row, but for what the two runs differ in as a whole: a
field of which they share no value, such as the label, the backbone, or the data that an aggregator is from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_video.evaluate.comparison import compare_paired
from scale_video.evaluate.representations import RAW_REPRESENTATIONS, REPRESENTATIONS
from scale_video.evaluate.result import METRICS, PROTOCOLS
from scale_video.pipelines.cells import Located
from scale_video.pipelines.comparison import in_order_of, outcomes_of
from scale_video.pipelines.result_files import choose, find_results, main_metrics, read_located

RUN_FIELDS = (
    "preset",
    "backbone",
    "pretrained_on",
    "dataset",
    "split",
    "plan_digest",
    "test_plan_digest",
    "weights_digest",
    "forward_digest",
    "training",
)
"""Fields of a row's key in which two runs may differ; of the last one, that is the key of ``init`` alone."""
ROW_FIELDS = ("target", "representation", "protocol", "metric", "seed")
"""Fields in which two rows must agree; their options too."""
_NAMED = ("preset", "backbone", "pretrained_on", "dataset")
OWN = "own"
"""Says in ``--of`` that aggregators are the experiment's own, whose ``pretrained_on`` is empty."""


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What a user wants to compare."""

    first: Path
    """Run folder or results file."""
    second: Path
    """Another one, or the same."""
    of: tuple[str, str] | None = None
    """The experiment (or backbone, origin of the aggregator or ``own``, data set) of the first and of the second."""
    protocols: tuple[str, ...] = ()
    representations: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """None: the first that a protocol has."""


@dataclass(frozen=True, slots=True)
class RowComparison:
    """How much better a row of the second run is than that of the first."""

    dataset: str
    split: str
    target: str
    representation: str
    protocol: str
    options: Mapping[str, float]
    metric: str
    seed: int | None
    first_value: float
    second_value: float
    difference: float
    """Second minus first."""
    ci_low: float
    """Ends of the 95 % bootstrap interval over test groups."""
    ci_high: float
    p: float
    num_test: int


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs, row by row."""

    first: str
    second: str
    """What the two are called."""
    differ_in: Mapping[str, tuple[str, str]]
    """Field to its values in both."""
    rows: tuple[RowComparison, ...]
    same: tuple[str, ...]
    """Raw representations whose scores are the same on both sides, and which are not compared."""
    num_unpaired: int
    """Rows of either side without one to compare with."""


def run_comparison(request: CompareRequest) -> RunComparison:
    """Find the rows that go together, and compare them.

    Raises:
        FileNotFoundError: no results.
        ValueError: nothing to compare, rows that are not told apart, or different test videos, labels or groups.
    """
    sides = [read_located(find_results([path])) for path in (request.first, request.second)]
    if request.of is not None:
        sides = _of(sides, request.of)
    sides = [_chosen(side, request) for side in sides]
    differing = _differing(sides)
    names = _names(request, differing)
    if not differing and request.first.resolve() == request.second.resolve():
        raise ValueError(f"these are the same rows; choose two of them by --of A,B: {_there(sides[0])}")
    keyed = [_keyed(side, differing, name=name) for side, name in zip(sides, names, strict=True)]
    pairs = [(one, keyed[1][key]) for key, one in keyed[0].items() if key in keyed[1]]
    if not pairs:
        raise ValueError(f"{names[0]!r} and {names[1]!r} have no rows that go together: {_there(sides[0] + sides[1])}")
    rows, same = [], []
    for one, other in pairs:
        row = _compare(one, other, names=names)
        if row is None:
            same.append(one.record.representation)
        else:
            rows.append(row)
    num_unpaired = sum(map(len, keyed)) - 2 * len(pairs)
    return RunComparison(*names, differing, tuple(rows), tuple(dict.fromkeys(same)), num_unpaired)


def _of(sides: Sequence[list[Located]], wanted: tuple[str, str]) -> list[list[Located]]:
    """The rows with these two values of one field, and those that have no part in it."""
    for field in _NAMED:
        values = ["" if (field, value) == ("pretrained_on", OWN) else value for value in wanted]
        if all(value in _values(side, field) for side, value in zip(sides, values, strict=True)):
            return [
                [one for one in side if not _has(one, field) or getattr(one.record, field) == value]
                for side, value in zip(sides, values, strict=True)
            ]
    raise ValueError(f"--of {','.join(wanted)}: no field has these two values; there is: {_there(sides[0] + sides[1])}")


def _chosen(side: list[Located], request: CompareRequest) -> list[Located]:
    for what, names, known in (
        ("protocol", request.protocols, PROTOCOLS),
        ("representation", request.representations, REPRESENTATIONS),
        ("metric", request.metrics, METRICS),
    ):
        side = choose(side, what=what, names=names, known=tuple(known))
    comparable = [one for one in side if one.record.metric in _scored(one)]
    if side and not comparable:
        metrics = ", ".join(dict.fromkeys(one.record.metric for one in side))
        raise ValueError(
            f"{metrics} is no mean over videos, and cannot be compared video by video; say another --metric"
        )
    return comparable if request.metrics else main_metrics(comparable)


def _has(one: Located, field: str) -> bool:
    """Whether a field says anything of a row: an origin, of learned rows alone; an architecture, of ``init``."""
    if field == "pretrained_on":
        return one.record.checkpoint is not None
    return field != "training" or one.record.representation == "init"


def _values(side: Sequence[Located], field: str) -> set[str]:
    return {getattr(one.record, field) for one in side if _has(one, field)}


def _differing(sides: Sequence[list[Located]]) -> dict[str, tuple[str, str]]:
    """Fields of which the two share no value."""
    found = {}
    for field in RUN_FIELDS:
        first, second = (_values(side, field) for side in sides)
        if first and second and first.isdisjoint(second):
            found[field] = (", ".join(sorted(first)), ", ".join(sorted(second)))
    return found


def _names(request: CompareRequest, differing: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """By what they differ in, or else by their places."""
    told = [differing[field] for field in _NAMED if field in differing]
    if not told:
        return str(request.first), str(request.second)
    first, second = (", ".join(value or "its own data" for value in values) for values in zip(*told, strict=True))
    return first, second


def _keyed(
    side: Sequence[Located], differing: Mapping[str, tuple[str, str]], *, name: str
) -> dict[tuple[object, ...], Located]:
    """Rows by all that two rows must agree in.

    Raises:
        ValueError: two rows of one side agree in it.
    """
    found: dict[tuple[object, ...], Located] = {}
    for one in side:
        key = _key(one, [field for field in RUN_FIELDS if field not in differing])
        if key in found:
            other = found[key].record
            fields = [field for field in RUN_FIELDS if _has(one, field)]
            both = {field: (getattr(other, field), getattr(one.record, field)) for field in fields}
            values = ", ".join(
                f"{field} {' and '.join(value or OWN for value in of_both)}"
                for field, of_both in both.items()
                if of_both[0] != of_both[1]
            )
            raise ValueError(f"{name!r} has several rows that could be compared ({values}); choose by --of A,B")
        found[key] = one
    return found


def _key(one: Located, fields: Sequence[str]) -> tuple[object, ...]:
    agreeing = [getattr(one.record, field) if _has(one, field) else "" for field in (*fields, *ROW_FIELDS)]
    return (*agreeing, tuple(sorted(one.record.options.items())))


def _scored(one: Located) -> Collection[str]:
    """Metrics of which the row keeps a score for each test video."""
    return outcomes_of(one.record, one.folder or Path()).scores.keys()


def _compare(one: Located, other: Located, *, names: tuple[str, str]) -> RowComparison | None:
    """The difference; None where a raw representation has the same scores on both sides."""
    record = one.record
    first, second = (outcomes_of(located.record, located.folder or Path()) for located in (one, other))
    second = in_order_of(first, second, names=names)
    scores = first.scores[record.metric], second.scores[record.metric]
    if record.representation in RAW_REPRESENTATIONS and np.array_equal(*scores):
        return None
    found = compare_paired(*scores, first.groups)
    return RowComparison(
        dataset=record.dataset,
        split=record.split,
        target=record.target,
        representation=record.representation,
        protocol=record.protocol,
        options=record.options,
        metric=record.metric,
        seed=record.seed,
        first_value=record.value,
        second_value=other.record.value,
        difference=found.value,
        ci_low=found.low,
        ci_high=found.high,
        p=found.p,
        num_test=len(first.labels),
    )


def _there(located: Sequence[Located]) -> str:
    """What can be chosen from, by field."""
    values = {field: sorted(_values(located, field)) for field in _NAMED}
    return "; ".join(
        f"{field} {', '.join(value or OWN for value in found)}" for field, found in values.items() if any(found)
    )
