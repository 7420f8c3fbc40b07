import csv
import io
import re
import runpy
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.result import METRICS, PROTOCOLS, EvaluationRecord, read_results
from scale_video.pipelines.cells import Located, make_cell
from scale_video.pipelines.cli import main
from scale_video.pipelines.published import published_figures
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

    def test_features_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        for digest in ("aaaaaaaaaa", "bbbbbbbbbb"):
            write_row(tmp_path, digests=("plan", "plan", digest))
        assert [row[1] for row in table_of(tmp_path)[1:]] == ["x (weights aaaaaaaa)", "x (weights bbbbbbbb)"]


class TestPublished:
    def test_a_figure_stands_beside_ours_with_its_source(self, tmp_path: Path) -> None:
        write_row(tmp_path, protocol="linear")
        headings, row = table_of(tmp_path)
        assert headings[3] == "ucf101, split 1, paper"
        assert row[3] == "90.8 (1)"
        text = as_markdown(run_table(TableRequest((tmp_path,))))
        assert "- paper (1): Papers with Code, 'Self-supervised Video Transformer'" in text

    def test_what_only_others_measured(self, tmp_path: Path) -> None:
        write_row(tmp_path, protocol="linear", backbone="videomae-base")
        rows = {row[0]: row[2:] for row in table_of(tmp_path)[1:]}
        assert rows["svt"] == ["not measured", "90.8 (1)"]
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
