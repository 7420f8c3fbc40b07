import itertools
import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.evaluate.outcomes import read_outcomes, write_outcomes
from scale_video.evaluate.result import EvaluationRecord, read_results
from scale_video.pipelines.cli import main
from scale_video.pipelines.compare_runs import ROW_FIELDS, RUN_FIELDS, CompareRequest, run_comparison
from scale_video.pipelines.comparison import compare_records

write_row: Callable[..., EvaluationRecord] = runpy.run_path(str(Path(__file__).with_name("result_rows.py")))[
    "write_row"
]


@pytest.fixture
def two_labels(tmp_path: Path) -> Path:
    """Two experiments in one file; the raw features are the same under both."""
    for preset, accuracy in (("honest", 0.4), ("shuffled", 0.7)):
        write_row(tmp_path, preset=preset)
        for seed in range(2):
            draw = seed + (10 if preset == "honest" else 20)
            write_row(tmp_path, preset=preset, representation="cls", seed=seed, accuracy=accuracy, draw=draw)
    return tmp_path


def test_key_fields_are_those_of_a_row(tmp_path: Path) -> None:
    record = write_row(tmp_path, representation="cls")
    untrained = write_row(tmp_path, representation="init")
    for field in (*RUN_FIELDS, *ROW_FIELDS):
        other = {"representation": "h", "protocol": "linear", "metric": "top5", "seed": 5}.get(field, "other")
        of = untrained if field == "training" else record
        assert replace(of, **{field: other}).key != of.key, field
    assert len(RUN_FIELDS) + len(ROW_FIELDS) + len(("options",)) == 1 + len(record.probe_key)


def test_differences_are_those_of_a_slow_recomputation(two_labels: Path) -> None:
    found = run_comparison(CompareRequest(two_labels, two_labels, of=("honest", "shuffled")))
    assert (found.first, found.second) == ("honest", "shuffled")
    assert found.differ_in == {"preset": ("honest", "shuffled")}
    assert found.same == ("x",)
    assert [(row.representation, row.seed) for row in found.rows] == [("cls", 0), ("cls", 1)]
    scores = {}
    for path in (two_labels / "outcomes").iterdir():
        outcomes = read_outcomes(path)
        scores[float(outcomes.scores["top1"].mean()), path.name] = outcomes
    for row in found.rows:
        [first] = [one for (value, _), one in scores.items() if value == row.first_value]
        [second] = [one for (value, _), one in scores.items() if value == row.second_value]
        gains = {
            group: sum(
                second.scores["top1"][index] - first.scores["top1"][index]
                for index in range(40)
                if first.groups[index] == group
            )
            for group in np.unique(first.groups)
        }
        assert row.difference == pytest.approx(sum(gains.values()) / 40)
        assert row.ci_low <= row.difference <= row.ci_high
        moving = [gain for gain in gains.values() if gain]
        if len(moving) <= 13:
            swaps = [abs(np.dot(signs, moving)) for signs in itertools.product((1, -1), repeat=len(moving))]
            assert row.p == pytest.approx(np.mean([swap >= abs(sum(moving)) - 1e-9 for swap in swaps]))


def test_videos_are_matched_by_id(two_labels: Path) -> None:
    before = run_comparison(CompareRequest(two_labels, two_labels, of=("honest", "shuffled")))
    record = write_row(two_labels, preset="shuffled", representation="cls", seed=0, accuracy=0.7, draw=20)
    outcomes = read_outcomes(two_labels / record.outcomes)
    order = np.random.default_rng(0).permutation(40)
    write_outcomes(
        two_labels / record.outcomes,
        replace(
            outcomes,
            video_ids=outcomes.video_ids[order],
            groups=outcomes.groups[order],
            labels=outcomes.labels[order],
            scores={metric: values[order] for metric, values in outcomes.scores.items()},
            predictions=outcomes.predictions[order],
        ),
    )
    assert run_comparison(CompareRequest(two_labels, two_labels, of=("honest", "shuffled"))) == before


def test_two_folders(tmp_path: Path) -> None:
    for name, draw in (("a", 1), ("b", 2)):
        write_row(tmp_path / name, representation="cls", draw=draw)
        write_row(tmp_path / name, representation="x", draw=3)
    write_row(tmp_path / "b", representation="h")
    found = run_comparison(CompareRequest(tmp_path / "a", tmp_path / "b"))
    assert (found.first, found.second) == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert (found.differ_in, found.same, found.num_unpaired) == ({}, ("x",), 1)
    assert [row.representation for row in found.rows] == ["cls"]


def test_backbones_of_one_file(tmp_path: Path) -> None:
    for backbone, draw in (("svt", 1), ("rho-byol", 2)):
        write_row(tmp_path, backbone=backbone, draw=draw, digests=("plan", "plan", f"weights of {backbone}"))
    found = run_comparison(CompareRequest(tmp_path, tmp_path, of=("rho-byol", "svt")))
    assert found.differ_in == {
        "backbone": ("rho-byol", "svt"),
        "weights_digest": ("weights of rho-byol", "weights of svt"),
    }
    [row] = found.rows
    assert row.representation == "x"


class TestOrigins:
    """Aggregators of the experiment's own beside such from elsewhere, in one results file."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_row(tmp_path)
        for draw, origin in enumerate(("", "k400@aa", "demo@bb"), start=1):
            for seed in range(2):
                write_row(tmp_path, representation="cls", seed=seed, draw=10 * draw + seed, pretrained_on=origin)
        return tmp_path

    @pytest.mark.parametrize("swapped", [False, True])
    def test_own_against_elsewhere(self, folder: Path, swapped: bool) -> None:
        records = [record for record in read_results(folder / "results.json") if record.metric == "top1"]
        of = {(record.pretrained_on, record.seed): record.value for record in records if record.seed is not None}
        wanted = ("k400@aa", "own") if swapped else ("own", "k400@aa")
        result = CliRunner().invoke(main, ["compare", str(folder), "--of", ",".join(wanted), "--json"])
        found = json.loads(result.stdout)
        assert (found["same"], found["num_unpaired"]) == (["x"], 0)
        first, second = ("" if name == "own" else name for name in wanted)
        assert found["differ_in"] == {"pretrained_on": [first, second]}
        assert [row["seed"] for row in found["rows"]] == [0, 1]
        for row in found["rows"]:
            assert row["difference"] == pytest.approx(of[second, row["seed"]] - of[first, row["seed"]])

    def test_raw_rows_of_both_runs_do_not_hide_that_origins_differ(self, tmp_path: Path) -> None:
        for name, draw, origin in (("a", 1, ""), ("b", 2, "k400@aa")):
            write_row(tmp_path / name)
            write_row(tmp_path / name, representation="cls", draw=draw, pretrained_on=origin)
        found = run_comparison(CompareRequest(tmp_path / "a", tmp_path / "b"))
        assert found.differ_in == {"pretrained_on": ("", "k400@aa")}
        assert ([row.representation for row in found.rows], found.num_unpaired) == (["cls"], 0)

    def test_they_must_be_chosen(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("other")
        write_row(other, representation="cls", pretrained_on="third@cc")
        with pytest.raises(ValueError, match=r"\(pretrained_on own and demo@bb\); choose by --of A,B"):
            run_comparison(CompareRequest(folder, other))
        with pytest.raises(ValueError, match=r"there is: .*pretrained_on own, demo@bb, k400@aa"):
            run_comparison(CompareRequest(folder, folder, of=("own", "none")))

    def test_representations_of_one_origin_are_compared(self, tmp_path: Path) -> None:
        records = [write_row(tmp_path), write_row(tmp_path, representation="init", draw=1)]
        for draw, origin in enumerate(("k400@aa", "demo@bb")):
            for name in ("h", "cls"):
                draw += 10
                records.append(write_row(tmp_path, representation=name, draw=draw, pretrained_on=origin))
        of = {(record.representation, record.pretrained_on): record.value for record in records}
        found = compare_records(records, [("h", "cls"), ("x", "cls"), ("init", "cls")], folder=tmp_path)
        assert [(row.first, row.pretrained_on) for row in found] == [
            (first, origin) for first in ("h", "x", "init") for origin in ("k400@aa", "demo@bb")
        ]
        for row in found:
            first = of[row.first, row.pretrained_on if row.first == "h" else ""]
            assert row.difference == pytest.approx(of["cls", row.pretrained_on] - first)


def test_untrained_aggregators_of_two_architectures_are_compared(tmp_path: Path) -> None:
    for name, draw in (("a", 1), ("b", 2)):
        write_row(tmp_path / name, representation="init", draw=draw, training=f"{name} sizes")
        write_row(tmp_path / name, representation="cls", draw=draw + 5, training=f"{name} settings")
    found = run_comparison(CompareRequest(tmp_path / "a", tmp_path / "b"))
    assert found.differ_in == {"training": ("a sizes", "b sizes")}
    assert ([row.representation for row in found.rows], found.num_unpaired) == (["cls", "init"], 0)


class TestRefusals:
    def test_other_test_videos(self, tmp_path: Path) -> None:
        write_row(tmp_path, preset="a", representation="cls")
        write_row(tmp_path, preset="b", representation="cls", num_videos=38)
        with pytest.raises(ValueError, match="'a' and 'b' were tested on different videos"):
            run_comparison(CompareRequest(tmp_path, tmp_path, of=("a", "b")))

    @pytest.mark.parametrize("what", ["labels", "groups"])
    def test_other_labels_or_groups(self, tmp_path: Path, what: str) -> None:
        write_row(tmp_path, preset="a", representation="cls")
        record = write_row(tmp_path, preset="b", representation="cls")
        outcomes = read_outcomes(tmp_path / record.outcomes)
        changed = getattr(outcomes, what).copy()
        changed[3] = changed[0]
        write_outcomes(tmp_path / record.outcomes, replace(outcomes, **{what: changed}))
        with pytest.raises(
            ValueError, match=f"on different {what} of the same videos, 1 of them, the first 'video003'"
        ):
            run_comparison(CompareRequest(tmp_path, tmp_path, of=("a", "b")))

    def test_rows_that_are_not_told_apart(self, two_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("other")
        write_row(other, preset="third", representation="cls")
        with pytest.raises(ValueError, match=r"several rows .*\(preset honest and shuffled\); choose by --of A,B"):
            run_comparison(CompareRequest(two_labels, other))

    def test_the_same_rows(self, two_labels: Path) -> None:
        with pytest.raises(ValueError, match="same rows; choose two of them by --of A,B: preset honest, shuffled"):
            run_comparison(CompareRequest(two_labels, two_labels))

    def test_nothing_with_these_values(self, two_labels: Path) -> None:
        with pytest.raises(
            ValueError, match="--of honest,none: no field has these two values; there is: preset honest"
        ):
            run_comparison(CompareRequest(two_labels, two_labels, of=("honest", "none")))

    def test_no_pairs(self, tmp_path: Path) -> None:
        write_row(tmp_path, preset="a", representation="cls")
        write_row(tmp_path, preset="b", representation="h")
        with pytest.raises(ValueError, match="'a' and 'b' have no rows that go together"):
            run_comparison(CompareRequest(tmp_path, tmp_path, of=("a", "b")))


def test_what_is_no_mean_over_videos_is_left_out(tmp_path: Path) -> None:
    for preset, draw in (("a", 1), ("b", 2)):
        record = write_row(tmp_path, preset=preset, representation="cls", draw=draw)
        outcomes = read_outcomes(tmp_path / record.outcomes)
        write_outcomes(tmp_path / record.outcomes, replace(outcomes, scores={"top5": outcomes.scores["top5"]}))
    [row] = run_comparison(CompareRequest(tmp_path, tmp_path, of=("a", "b"))).rows
    assert row.metric == "top5"
    with pytest.raises(ValueError, match="top1 is no mean over videos, and cannot be compared"):
        run_comparison(CompareRequest(tmp_path, tmp_path, of=("a", "b"), metrics=("top1",)))


class TestCommand:
    @pytest.fixture
    def run(self, two_labels: Path) -> Callable[..., Result]:
        return lambda *arguments: CliRunner().invoke(main, ["compare", str(two_labels), *arguments])

    def test_table_and_json_are_the_same(self, run: Callable[..., Result]) -> None:
        shown = run("--of", "honest,shuffled").stdout
        assert "  preset: honest | shuffled" in shown
        assert "the same on both sides: x" in shown
        found = json.loads(run("--of", "honest,shuffled", "--json").stdout)
        for row in found["rows"]:
            assert f"{100 * row['difference']:+.1f} [{100 * row['ci_low']:+.1f}, {100 * row['ci_high']:+.1f}]" in shown
            assert f"{row['p']:.4f}" in shown

    def test_of_takes_two(self, run: Callable[..., Result]) -> None:
        assert "--of takes two names, A,B, got 'honest'" in run("--of", "honest").stderr
