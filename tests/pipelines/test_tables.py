import csv
import io
import os
import re
import runpy
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.result import METRICS, PROTOCOLS, EvaluationRecord, read_results
from scale_video.pipelines import show
from scale_video.pipelines.cells import Located, make_cell
from scale_video.pipelines.cli import main
from scale_video.pipelines.comparison import Comparison, compare_records
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.per_class import scores_per_class
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.probe_target import ProbeTarget
from scale_video.pipelines.published import published_figures
from scale_video.pipelines.result_files import read_located
from scale_video.pipelines.table_formats import as_csv, as_latex, as_markdown
from scale_video.pipelines.tables import TableRequest, run_table

write_row: Callable[..., EvaluationRecord] = runpy.run_path(str(Path(__file__).with_name("result_rows.py")))[
    "write_row"
]


def table_of(folder: Path, **wanted: tuple[str, ...]) -> list[list[str]]:
    """The cells of the Markdown table, headings first."""
    lines = as_markdown(run_table(TableRequest((folder,), **wanted))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return [cells[0], *cells[2:]]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


class TestCells:
    def test_one_row_is_as_it_is_in_the_file(self, tmp_path: Path) -> None:
        record = write_row(tmp_path)
        headings, row = table_of(tmp_path)
        assert headings == ["backbone", "method", "ucf101, split 1, k-NN top-1 %"]
        interval = f"[{percent(record.ci_low)}, {percent(record.ci_high)}]"
        assert row == ["svt", "x", f"{percent(record.value)} {interval}"]

    def test_seeds_are_averaged_with_their_range_and_an_interval_of_the_mean(self, tmp_path: Path) -> None:
        records = [write_row(tmp_path, representation="cls", seed=seed, draw=seed) for seed in range(3)]
        cell = make_cell([Located(record, tmp_path) for record in records])
        values = [record.value for record in records]
        assert cell.value == pytest.approx(np.mean(values))
        assert (cell.low, cell.high, cell.spread_of) == (min(values), max(values), "3 seeds")
        found = [read_outcomes(tmp_path / record.outcomes) for record in records]
        means, groups = np.mean([one.scores["top1"] for one in found], axis=0), found[0].groups
        names = np.unique(groups)
        draws = np.random.default_rng(0).integers(len(names), size=(2000, len(names)))
        resampled = [np.concatenate([means[groups == names[index]] for index in drawn]).mean() for drawn in draws]
        assert (cell.ci_low, cell.ci_high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
        assert cell.text().endswith(f"({percent(min(values))} – {percent(max(values))})")
        assert make_cell([Located(record, None) for record in records]).ci_low is None

    def test_draws_of_clips_are_a_spread_and_numbers_of_clips_are_columns(self, tmp_path: Path) -> None:
        drawn = [
            write_row(tmp_path, draw=10 * clips + draw, options={"clips": clips, "clip_seed": draw})
            for clips in (1, 4)
            for draw in range(3)
        ]
        headings, row = table_of(tmp_path)
        assert headings[2:] == [f"ucf101, split 1, k-NN top-1 %, {clips}" for clips in ("1 clip", "4 clips")]
        for cell, rows in zip(row[2:], (drawn[:3], drawn[3:]), strict=True):
            values = [record.value for record in rows]
            assert cell.startswith(percent(float(np.mean(values))))
            assert cell.endswith(f"({percent(min(values))} – {percent(max(values))})")
        text = as_markdown(run_table(TableRequest((tmp_path,))))
        assert "- (lowest – highest) of 3 draws of clips, whose mean is given" in text
        write_row(tmp_path, representation="cls", seed=0, options={"clips": 1, "clip_seed": 0})
        write_row(tmp_path, representation="cls", seed=1, options={"clips": 1, "clip_seed": 1})
        assert "of 2 seeds × 2 draws of clips" in as_markdown(run_table(TableRequest((tmp_path,))))

    def test_official_splits_are_averaged_and_missing_ones_are_said(self, tmp_path: Path) -> None:
        records = [write_row(tmp_path, split=split, draw=int(split), prefix=split) for split in ("1", "2", "3")]
        mean = float(np.mean([record.value for record in records]))
        headings, row = table_of(tmp_path)
        assert headings[2] == "ucf101, k-NN top-1 %"
        assert row[2].startswith(percent(mean))
        assert "of 3 splits" in as_markdown(run_table(TableRequest((tmp_path,))))
        write_row(tmp_path, representation="cls", split="2")
        assert table_of(tmp_path)[2][2].endswith(", split 2")
        assert (
            table_of(tmp_path, splits=("1", "2"), representations=("x",))[0][2] == "ucf101, splits 1, 2, k-NN top-1 %"
        )
        one = table_of(tmp_path, splits=("3",))
        assert one[0][2] == "ucf101, split 3, k-NN top-1 %"
        assert one[1][2].startswith(percent(records[2].value))

    def test_a_range_is_of_what_was_tested_on_all_splits(self, tmp_path: Path) -> None:
        rows = [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
        records = [
            write_row(
                tmp_path, representation="cls", split=str(split), seed=seed, draw=3 * split + seed, prefix=str(split)
            )
            for split, seed in rows
        ]
        cell = make_cell([Located(record, tmp_path) for record in records])
        of = {(record.split, record.seed): record.value for record in records}
        of_seeds = [(of["1", seed] + of["2", seed]) / 2 for seed in (0, 1)]
        assert (cell.low, cell.high, cell.spread_of) == (min(of_seeds), max(of_seeds), "2 seeds")
        assert make_cell([Located(record, tmp_path) for record in records[1:4]]).spread_of == ""

    def test_splits_of_other_data_sets_are_not_averaged(self, tmp_path: Path) -> None:
        for split in ("1", "official_test"):
            write_row(tmp_path, dataset="kinetics400", split=split)
        headings, row = table_of(tmp_path)
        assert headings[2:] == ["kinetics400, k-NN top-1 %", "kinetics400, split official_test, k-NN top-1 %"]
        assert len(row) == 4

    def test_seen_rows_are_marked(self, tmp_path: Path) -> None:
        record = write_row(tmp_path, representation="cls", seen=True, preset="paper")
        _, row = table_of(tmp_path)
        assert row[:2] == ["svt", "cls (paper)"]
        assert row[2].startswith(rf"{percent(record.value)}\* [")
        assert r"- \* pre-trained on test videos of this split" in as_markdown(run_table(TableRequest((tmp_path,))))

    def test_raw_rows_of_two_experiments_are_one(self, tmp_path: Path) -> None:
        for preset in ("honest", "paper"):
            write_row(tmp_path, preset=preset)
            write_row(tmp_path, preset=preset, representation="x+cls", draw=1)
        assert [row[1] for row in table_of(tmp_path)[1:]] == ["x", "x+cls", "x+cls (paper)"]

    def test_rows_of_two_trainings_are_not_averaged(self, tmp_path: Path) -> None:
        records = [
            write_row(tmp_path, representation="cls", seed=seed, draw=seed, training="old" if seed == 1 else "new")
            for seed in range(3)
        ]
        mean = (records[0].value + records[2].value) / 2
        text = as_markdown(run_table(TableRequest((tmp_path,))))
        assert table_of(tmp_path)[1][2].startswith(f"{percent(mean)} [")
        assert "- cls of svt, split 1: without seed 1 of another training (old) than new" in text
        assert "of 2 seeds, whose mean is given" in text
        write_row(tmp_path, representation="cls", seed=1, draw=1)  # as old rows, which do not say
        assert table_of(tmp_path)[1][2].startswith(percent(float(np.mean([record.value for record in records]))))

    @pytest.mark.parametrize("newest", [0, 1])
    def test_of_two_trainings_with_as_many_seeds_the_newer_one_is_shown(self, tmp_path: Path, newest: int) -> None:
        records = [
            write_row(tmp_path, representation="cls", seed=seed, draw=seed, training=f"t{seed}") for seed in range(2)
        ]
        for seed, record in enumerate(records):
            os.utime(tmp_path / record.outcomes, ns=(0, 10**9 * (1 + (seed == newest))))
        cell = make_cell([Located(record, tmp_path) for record in records])
        assert cell.records == (records[newest],)
        assert (
            cell.note
            == f"cls of svt, split 1: without seed {1 - newest} of another training (t{1 - newest}) than t{newest}"
        )

    def test_splits_have_trainings_of_their_own(self, tmp_path: Path) -> None:
        records = [write_row(tmp_path, representation="cls", split=split, training=split) for split in ("1", "2", "3")]
        cell = make_cell([Located(record, tmp_path) for record in records])
        assert (cell.records, cell.note) == (tuple(records), "")

    def test_a_row_twice_is_no_mean(self, tmp_path: Path) -> None:
        records = [
            write_row(tmp_path, representation="cls", draw=draw, pretrained_on=origin)
            for draw, origin in enumerate("ab")
        ]
        with pytest.raises(ValueError, match="two rows of 'cls' in one mean are of split 1, seed 0 and the same draw"):
            make_cell([Located(record, None) for record in records])

    def test_of_a_row_in_two_files_the_newer_one_is_shown_and_that_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        records = [write_row(tmp_path / name, draw=draw) for draw, name in enumerate("ab")]
        write_row(tmp_path / "b", representation="cls")
        write_row(tmp_path / "a", representation="cls")  # the same in both
        files = [tmp_path / name / "results.json" for name in "ab"]
        for newer, older in ((0, 1), (1, 0)):
            os.utime(files[newer], (2, 2))
            os.utime(files[older], (1, 1))
            capsys.readouterr()
            found = {one.record.key: one for one in read_located(files)}
            assert len(found) == 4
            assert found[records[0].key].record == records[newer]
            assert found[records[0].key].folder == files[newer].parent
            said = "".join(capsys.readouterr().err.split())
            assert said == f"warning:1rowsof{files[older]}haveothervaluesin{files[newer]};thatfileisnewer,andtaken"

    def test_features_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        for digest in ("aaaaaaaaaa", "bbbbbbbbbb"):
            write_row(tmp_path, digests=("plan", "plan", digest))
        assert [row[1] for row in table_of(tmp_path)[1:]] == ["x (weights aaaaaaaa)", "x (weights bbbbbbbb)"]


class TestOnTheScreen:
    """What ``evaluate`` and its shorthands print."""

    def printed(self, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
        lines = capsys.readouterr().out.splitlines()
        return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]

    def test_two_checkpoints_of_one_seed_have_a_row_each(
        self, tmp_path: Path, make_store: Callable[..., str], request_for: Callable[..., Any], capsys: Any
    ) -> None:
        store = make_store(tmp_path / "a.zarr")
        checkpoints = []
        for name in ("true", "false"):
            request = request_for(store, f"pretrain.shuffle_positions={name}")
            checkpoints += run_pretraining(replace(request, runs=tmp_path / name))
        here = request_for(make_store(tmp_path / "b.zarr", seed=1))
        records = run_evaluation(
            here, protocols=("knn",), representations=("x", "init", "h", "cls"), checkpoints=checkpoints
        )
        folder = tmp_path / "runs/folder"
        capsys.readouterr()
        again = [
            record for record in records if record.representation == "init"
        ]  # as of checkpoints of one architecture
        show.records_table([*records, *again], title="folder", folder=folder)
        rows = {name: cell for name, cell, *_ in self.printed(capsys)}
        learned = [record for record in records if (record.representation, record.metric) == ("cls", "top1")]
        assert len({record.pretrained_on for record in learned}) == len(learned) == 2
        for record in learned:
            low, high = percent(record.ci_low), percent(record.ci_high)
            assert rows[f"cls, of {record.pretrained_on}"] == f"{percent(record.value)} [{low}, {high}]"
        compared = compare_records(records, [("h", "cls")], folder=folder)
        of = {(record.representation, record.pretrained_on, record.metric): record.value for record in records}
        for found in compared:
            first, second = (of[name, found.pretrained_on, found.metric] for name in ("h", "cls"))
            assert found.difference == pytest.approx(second - first)
        show.comparisons_table(compared)
        origins = [record.pretrained_on for record in learned]
        assert {row[0] for row in self.printed(capsys)} == {f"cls − h, of {origin}" for origin in origins}

    def test_classes_have_a_column_for_each_origin(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        records = [
            write_row(tmp_path, representation="cls", draw=draw, pretrained_on=f"{origin}@1", accuracy=0.3 + 0.5 * draw)
            for draw, origin in enumerate("ab")
        ]
        names = ("jump", "run", "swim", "walk")
        target = ProbeTarget("label", "class", np.arange(40), names)
        scores = scores_per_class(records, target, folder=tmp_path)
        show.classes_table(scores)
        for name, number, *cells in self.printed(capsys):
            of_class = [score for score in scores if score.class_name == name]
            assert [score.pretrained_on for score in of_class] == ["a@1", "b@1"]
            assert number == "10"
            assert [cell.split()[0] for cell in cells] == [percent(score.value) for score in of_class]

    def test_differences_of_errors_are_no_points_of_percent(self, capsys: pytest.CaptureFixture[str]) -> None:
        share = Comparison(
            first="x", second="cls", protocol="linear", options={}, metric="top1", target="label_action",
            pretrained_on="", seed=0, difference=0.1, ci_low=0.05, ci_high=0.2, p=0.01, num_test=9,
        )  # fmt: skip
        error = replace(share, metric="mse", target="target_age", difference=-3.5, ci_low=-4, ci_high=-3)
        show.comparisons_table([share])
        shown = capsys.readouterr().out
        assert "differences in points of percent" in shown
        assert "of label_action" in shown
        show.comparisons_table([error])
        shown = capsys.readouterr().out
        assert "differences of MSE, where less is better" in shown
        assert "percent" not in shown
        assert "-3.5 [-4, -3]" in shown
        assert "of target_age" in shown


class TestPublished:
    def test_a_figure_stands_beside_ours_with_its_source(self, tmp_path: Path) -> None:
        write_row(tmp_path, protocol="linear")
        headings, row = table_of(tmp_path)
        assert headings[3] == "ucf101, split 1, paper"
        assert row[3] == "90.8 (1), splits 1, 2, 3"
        text = as_markdown(run_table(TableRequest((tmp_path,))))
        assert "- paper (1): Papers with Code, 'Self-supervised Video Transformer'" in text

    def test_a_figure_is_of_all_splits_whatever_ours_is_of(self, tmp_path: Path) -> None:
        for split in ("1", "2", "3"):
            write_row(tmp_path, protocol="linear", split=split, prefix=split)
        headings, row = table_of(tmp_path)
        assert (headings[3], row[3]) == ("ucf101, paper", "90.8 (1)")
        write_row(tmp_path, protocol="linear", split="1", backbone="svt-scale")
        assert {row[0]: row[3] for row in table_of(tmp_path)[1:]} == {
            "svt": "90.8 (1)",
            "svt-scale": "90.8 (1), splits 1, 2, 3",
        }
        write_row(tmp_path, protocol="linear", dataset="kinetics400", backbone="rho-byol")
        rows = {(row[0], row[1]): row[3] for row in table_of(tmp_path)[1:]}
        assert re.fullmatch(r"71\.1 \(\d\)", rows["rho-byol", "x"])

    def test_what_only_others_measured(self, tmp_path: Path) -> None:
        write_row(tmp_path, protocol="linear", backbone="videomae-base")
        rows = {row[0]: row[2:] for row in table_of(tmp_path)[1:]}
        assert rows["svt"] == ["not measured", "90.8 (1), splits 1, 2, 3"]
        assert rows["videomae-base"][1] == ""

    def test_no_figure_beside_another_protocol_metric_or_data_set(self, tmp_path: Path) -> None:
        write_row(tmp_path, protocol="knn")
        write_row(tmp_path, protocol="linear", dataset="folder")
        write_row(tmp_path, protocol="linear", options={"train_share": 0.1, "share_seed": 0})
        table = run_table(TableRequest((tmp_path,)))
        assert table.published == {}

    def test_every_figure_is_whole(self) -> None:
        figures = published_figures()
        assert figures
        for figure in figures:
            assert set(figure.beside) & set(PROTOCOLS)
            assert figure.metric in METRICS
            assert 0 < figure.value < 1
            assert figure.source
            assert figure.how


class TestFormats:
    def test_markdown_is_aligned(self, tmp_path: Path) -> None:
        write_row(tmp_path, backbone="a|b_c_")
        write_row(tmp_path, backbone="videomae-large", protocol="linear")
        lines = [
            line for line in as_markdown(run_table(TableRequest((tmp_path,)))).splitlines() if line.startswith("|")
        ]
        assert len({len(line) for line in lines}) == 1
        assert r"a\|b_c\_" in lines[2]
        bars = [[index for index, character in enumerate(line) if line[index : index + 3] == " | "] for line in lines]
        assert all(found == bars[0] for found in bars)

    def test_latex_escapes_and_has_equal_rows(self, tmp_path: Path) -> None:
        note = r"50 % of a_b & c #1 {x} \d ~ ^ $"
        write_row(tmp_path, backbone="my_net", note=note)
        write_row(tmp_path, backbone="svt", protocol="linear", representation="cls", seen=True)
        text = as_latex(run_table(TableRequest((tmp_path,))))
        assert r"my\_net & x & " in text
        escaped = r"50 \% of a\_b \& c \#1 \{x\} \textbackslash{}d \textasciitilde{} \textasciicircum{} \$"
        assert escaped in text
        assert "$^*$" in text
        [columns] = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
        body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 3
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
        assert [text.count(rf"\{rule}") for rule in ("toprule", "bottomrule", "end{tabular}")] == [1, 1, 1]
        assert r"\multicolumn{" in text
        assert "\\cmidrule(lr){3-5}" in text  # k-NN, linear, and the paper's
        plain = re.sub(r"\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")

    def test_csv_has_every_row_and_field(self, tmp_path: Path) -> None:
        for seed in range(2):
            write_row(tmp_path, representation="cls", seed=seed, draw=seed, protocol="linear", note='a "note", two')
        write_row(tmp_path, protocol="knn")
        lines = list(csv.DictReader(io.StringIO(as_csv(run_table(TableRequest((tmp_path,)))))))
        ours = [line for line in lines if line["note"] != "not measured"]
        records = [record for record in read_results(tmp_path / "results.json") if record.metric == "top1"]
        assert len(ours) == len(records) == 3
        for record in records:
            [line] = [line for line in ours if line["outcomes"] == record.outcomes]
            assert set(line) == {*asdict(record), "paper", "paper_source"}
            assert (float(line["value"]), float(line["ci_low"])) == (record.value, record.ci_low)
            assert line["note"] == record.note
            assert line["seed"] == ("" if record.seed is None else str(record.seed))
        [theirs] = [line for line in lines if line["note"] == "not measured"]
        assert (theirs["backbone"], theirs["value"], theirs["paper"]) == ("svt", "", "0.908")


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        monkeypatch.chdir(tmp_path)
        return lambda *arguments: CliRunner().invoke(main, ["table", *arguments])

    def test_all_runs_below_the_folder(self, run: Callable[..., Result], tmp_path: Path) -> None:
        write_row(tmp_path / "runs/ucf101")
        write_row(tmp_path / "runs/hmdb51", dataset="hmdb51", protocol="linear")
        shown = run().stdout
        assert "ucf101, split 1, k-NN top-1 %" in shown
        assert "hmdb51, split 1, linear top-1 %" in shown
        assert run("runs/ucf101/results.json", "runs/hmdb51").stdout == shown
        run("--output", "table.md")
        assert Path("table.md").read_text() == shown

    def test_choices(self, run: Callable[..., Result], tmp_path: Path) -> None:
        write_row(tmp_path / "runs/ucf101")
        write_row(tmp_path / "runs/ucf101", protocol="linear", representation="x-bins2")
        shown = run("--protocols", "knn", "--metric", "top5", "--no-intervals").stdout
        assert "k-NN top-5 %" in shown
        assert "100.0 |" in shown
        assert "x-bins2" not in run().stdout
        assert "x-bins2" in run("--representations", "all").stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("nowhere",), "no results at 'nowhere'; `scale-video evaluate` writes them"),
            (("--protocols", "svm"), "protocol 'svm' is none of knn, linear"),
            (("--protocols", "linear"), "no row has protocol linear; there is: knn"),
            (("--metric", "f1"), "metric 'f1' is none of top1"),
            (("--split", "2"), "split '2' is none of 1"),
        ],
    )
    def test_mistakes(
        self, run: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        write_row(tmp_path / "runs/ucf101")
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr

    def test_no_runs(self, run: Callable[..., Result]) -> None:
        assert "no runs/*/results.json here; name run folders" in run().stderr


def test_old_outcomes_leave_the_interval_out(tmp_path: Path) -> None:
    records = [write_row(tmp_path, representation="cls", seed=seed) for seed in range(2)]
    (tmp_path / records[0].outcomes).write_bytes(b"old")
    cell = make_cell([Located(record, tmp_path) for record in records])
    assert (cell.ci_low, cell.ci_high) == (None, None)
    assert make_cell([Located(replace(record, outcomes=""), tmp_path) for record in records]).ci_low is None
