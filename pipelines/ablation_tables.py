"""The tables of the ablations: for a terminal, and as Markdown for a page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines.ablations import HARD, PRACTICE_PROBES, AblationsResult

_CLAIMS = {
    "clips": "k-NN top-1 of single clips",
    "sets": "the video's other set of clips found first",
}
_COLUMNS = (("knn", "h"), ("knn", "cls"), ("knn", "x+cls"), ("linear", "x+cls"))


@dataclass(frozen=True, slots=True)
class Section:
    """A table; its title says how to read it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int = 1
    """The others hold numbers."""

    def as_markdown(self) -> str:
        """The table in Markdown."""
        aligned = ["---"] * self.num_text_columns + ["---:"] * (len(self.headings) - self.num_text_columns)
        lines = [self.headings, aligned, *self.rows]
        return f"**{self.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sections(result: AblationsResult) -> list[Section]:
    """All tables, in the order in which one asks."""
    return [
        _variations(result),
        _clips_at_test(result),
        _practices(result),
        _claims(result),
        _transfer(result),
        _cost(result),
    ]


def _variations(result: AblationsResult) -> Section:
    of_default = result.variations[0].records
    raw = [_mean(_values(of_default, "x", protocol)) for protocol in ("knn", "linear")]
    rows = [
        (
            found.variation.question,
            found.variation.name,
            *(_mean(_values(found.records, representation, protocol)) for protocol, representation in _COLUMNS),
        )
        for found in result.variations
    ]
    headings = (f"{representation} {_spoken(protocol)}" for protocol, representation in _COLUMNS)
    return Section(
        f"top-1 %: mean of the seeds (lowest – highest); raw x: k-NN {raw[0]}, linear {raw[1]}",
        ("what", "variation", *headings),
        tuple(rows),
        num_text_columns=2,
    )


def _clips_at_test(result: AblationsResult) -> Section:
    names = tuple(dict.fromkeys(record.representation for record in result.clips_at_test))
    numbers = sorted({record.options["clips"] for record in result.clips_at_test})
    rows = [
        (
            f"{number:g}",
            *(
                _mean([r.value for r in _top1(result.clips_at_test, name) if r.options["clips"] == number])
                for name in names
            ),
        )
        for number in numbers
    ]
    return Section("k-NN top-1 % by clips of a test video: mean over seeds and draws (lowest – highest)",
                   ("clips", *names), tuple(rows))  # fmt: skip


def _practices(result: AblationsResult) -> Section:
    rows = [
        (name, *(_mean(_values(records, representation, protocol)) for representation, protocol in PRACTICE_PROBES))
        for name, records in result.practices.items()
    ]
    headings = (f"{representation} {_spoken(protocol)}" for representation, protocol in PRACTICE_PROBES)
    return Section("what each practice is worth, top-1 %: mean of the seeds (lowest – highest)",
                   ("practice", *headings), tuple(rows))  # fmt: skip


def _claims(result: AblationsResult) -> Section:
    def values(claim: str, name: str) -> list[float]:
        return [f.estimate.value for f in result.claims if (f.claim, f.representation) == (claim, name)]

    names = tuple(dict.fromkeys(finding.representation for finding in result.claims))
    rows = [(spoken, *(_mean(values(claim, name)) for name in names)) for claim, spoken in _CLAIMS.items()]
    return Section("%: mean of the seeds (lowest – highest); init: before training", ("claim", *names), tuple(rows))


def _transfer(result: AblationsResult) -> Section:
    kinds = {
        "raw": [r for r in result.transfer if r.representation == "x"],
        "trained on demo": [r for r in result.transfer if r.pretrained_on],
        f"trained on {HARD}": [r for r in result.transfer if r.representation != "x" and not r.pretrained_on],
    }
    rows = [
        (kind, name, *(_mean(_values(records, name, protocol)) for protocol in ("knn", "linear")))
        for kind, records in kinds.items()
        for name in dict.fromkeys(record.representation for record in records)
    ]
    return Section(f"top-1 % on {HARD}: mean of the seeds (lowest – highest)",
                   ("aggregator", "representation", "k-NN", "linear"), tuple(rows), num_text_columns=2)  # fmt: skip


def _cost(result: AblationsResult) -> Section:
    default = result.variations[0]
    raw, learned = (_values(default.records, name, "knn") for name in ("x", "x+cls"))
    gain = 100 * (sum(learned) / len(learned) - raw[0])
    training = sum(default.training_seconds) / len(default.training_seconds)
    both = training + result.extraction_seconds
    rows = (
        ("pre-training alone", f"{training:.0f}", f"{gain:.1f}", f"{gain / training * 3600:.0f}"),
        ("with extraction", f"{both:.0f}", f"{gain:.1f}", f"{gain / both * 3600:.0f}"),
    )
    return Section("what a gain costs: k-NN top-1, x+cls over x", ("work", "seconds", "points", "points an hour"), rows)


def _top1(records: Iterable[EvaluationRecord], name: str) -> list[EvaluationRecord]:
    return [record for record in records if record.metric == "top1" and record.representation == name]


def _values(records: Iterable[EvaluationRecord], name: str, protocol: str) -> list[float]:
    return [record.value for record in _top1(records, name) if record.protocol == protocol]


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, low, high = (100 * value for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ({low:.1f} – {high:.1f})"


def _spoken(protocol: str) -> str:
    return {"knn": "k-NN", "linear-per-clip": "linear per clip", "nonlinear-per-clip": "nonlinear per clip"}.get(
        protocol, protocol
    )
