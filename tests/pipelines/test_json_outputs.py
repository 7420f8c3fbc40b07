"""``--json``: every command that prints a result has it, and stdout is then one JSON value and nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scale_video.extract.job import JobProgress, TargetReport, VideoFailure
from scale_video.pipelines.cli import main
from scale_video.pipelines.demo import DemoResult
from scale_video.pipelines.extraction import ExtractionResult
from scale_video.pipelines.table_values import TableValue
from scale_video.pipelines.training_summary import summarise
from scale_video.store.video_probe import VideoStatus

Cli = Callable[..., Result]
MakeStore = Callable[..., str]

WITHOUT = {
    "completion": "prints a script for a shell",
    "explore": "serves pages until it is ended; prints their address",
}
"""Commands without ``--json``, and why."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, make_store: MakeStore) -> str:
    """Random features of 40 videos, two of which failed."""
    return make_store(tmp_path_factory.mktemp("json") / "a.zarr", failed=(3, 35))


def test_every_command_has_it() -> None:
    without = {name for name, command in main.commands.items() if not any("--json" in p.opts for p in command.params)}
    assert without <= set(WITHOUT), "a new command prints its result as JSON too, or has a reason here"


@pytest.mark.parametrize("command", ["info", "verify", "failures"])
def test_of_a_store(run_cli: Cli, store: str, command: str) -> None:
    result = run_cli(command, store, "--json")
    said = json.loads(result.stdout)
    expected = {
        "info": lambda: said["num_videos"] == 40 and said["features"][0]["statuses"] == {"corrupt": 2, "ok": 38},
        "verify": lambda: said == {"num_blocks": 2, "num_committed": 2, "damaged": [], "recomputed": None},
        "failures": lambda: said["counts"] == {"corrupt": 4} and len(said["failures"]) == 4,
    }
    assert expected[command]()


def test_of_a_training_its_evaluation_and_their_table(
    run_cli: Cli, make_store: MakeStore, small_training: tuple[str, ...], tmp_path: Path
) -> None:
    experiment = ("--dataset", "folder", "--store", make_store(tmp_path / "a.zarr"), *small_training)
    [trained] = json.loads(run_cli("pretrain", *experiment, "--json").stdout)
    checkpoint = Path(trained["checkpoint"])
    assert trained["last_epoch"] == summarise(checkpoint).last_epoch
    assert (trained["seed"], trained["epochs"], trained["steps"], trained["complete"]) == (0, 2, 6, True)
    assert trained["seconds"] > 0

    records = json.loads(run_cli("knn", *experiment, "--representations", "x,x+cls", "--json").stdout)
    evaluated = json.loads(
        run_cli("evaluate", *experiment, "--protocols", "retrieval", "--representations", "x", "--json").stdout
    )
    assert {record["protocol"] for record in evaluated["records"]} == {"retrieval"}
    assert (evaluated["comparisons"], evaluated["per_class"]) == ([], [])

    cells = json.loads(run_cli("table", "--protocols", "knn", "--metric", "top1", "--json").stdout)
    assert all(set(cell) == set(TableValue.__slots__) for cell in cells)
    of_records = {record["representation"]: record for record in records if record["metric"] == "top1"}
    assert {cell["representation"] for cell in cells} == set(of_records) == {"x", "x+cls"}
    for cell in cells:
        record = of_records[cell["representation"]]
        assert [cell[name] for name in ("value", "ci_low", "ci_high")] == [
            record[name] for name in ("value", "ci_low", "ci_high")
        ]
        assert (cell["splits"], cell["num_rows"], cell["paper"]) == (["1"], 1, None)


@pytest.mark.parametrize(
    ("results", "way_on"),
    [
        ("runs/demo/results.json", "make report DATASET=demo"),
        (
            "/a b/runs/demo/results.json",
            "scale-video report --dataset demo "
            "--store '/a b/features/demo.zarr' --data '/a b/data/demo' --runs '/a b/runs'",
        ),
    ],
)
def test_of_the_demo_and_the_way_to_its_pictures(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, results: str, way_on: str
) -> None:
    found = DemoResult(records=(), results=Path(results), seconds=float("nan"))
    monkeypatch.setattr("scale_video.pipelines.demo.run_demo", lambda request: found)
    assert json.loads(run_cli("demo", "--json").stdout) == {"records": [], "results": results, "seconds": None}
    found = replace(found, seconds=95.0)
    monkeypatch.setattr("scale_video.pipelines.demo.run_demo", lambda request: found)
    shown = run_cli("demo")
    assert shown.stdout == f"{results} (95 s)\n"
    assert shown.stderr == f"pictures of it, on one page: {way_on}\n"


@pytest.mark.parametrize(("allowed", "status"), [("50%", 0), ("1", 0), ("0", 1)])
def test_of_an_extraction_whose_failures_are_too_many(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, allowed: str, status: int
) -> None:
    failure = VideoFailure(path="ü <b>.mp4", status=VideoStatus.CORRUPT, error="no frames")
    report = TargetReport(num_videos=4, counts={"ok": 3, "corrupt": 1}, failures=(failure,))
    found = ExtractionResult("a.zarr", None, {"random/tiny": report}, (), JobProgress(num_videos=4), seconds=1.5)
    monkeypatch.setattr("scale_video.pipelines.extraction.run_extract", lambda request: found)
    result = run_cli("extract", "--dataset", "folder", "--max-failures", allowed, "--json", status=status)
    said = json.loads(result.stdout)
    [told] = said["reports"]["random/tiny"]["failures"]
    assert (told["path"], told["status"], said["seconds"]) == ("ü <b>.mp4", "corrupt", 1.5)
    expected = (
        f"more videos failed than --max-failures {allowed} allows; what was had is kept and can be used, "
        "`scale-video failures a.zarr` lists the rest"
    )
    assert result.stderr == (f"error: {expected}\n" if status else "")


def test_the_value_is_alone_on_stdout_also_where_progress_and_notes_are_shown(store: str) -> None:
    script = "from scale_video.pipelines.cli import main; main()"
    command = [sys.executable, "-c", script, "verify", store, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["damaged"] == []
    assert "verifying blocks: 2/2" in result.stderr


def test_a_failed_check_still_prints_its_value(run_cli: Cli, make_store: MakeStore, tmp_path: Path) -> None:
    url = Path(make_store(tmp_path / "damaged.zarr"))
    chunk = next((url / "random/tiny/features").glob("c.*"))
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    result = run_cli("verify", url, "--json", status=1)
    assert len(json.loads(result.stdout)["damaged"]) == 1


def test_a_mistake_leaves_stdout_empty(run_cli: Cli) -> None:
    result = run_cli("info", "nowhere.zarr", "--json", status=1)
    assert result.stdout == ""
    assert re.fullmatch(r"error: there is no feature store at .*\n", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table", "--json", "--output", "t.md"), "--json prints on stdout, --output writes one of --format"),
        (("failures", "x.zarr", "--json", "--csv", "-"), "--json and --csv are two forms of one list"),
    ],
)
def test_two_forms_at_once_are_refused(run_cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    assert message in run_cli(*arguments, status=2).stderr


def test_numbers_that_json_cannot_say_are_null() -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(name)

    listed = CliRunner().invoke(main, ["table", "--json", "nowhere.json"])
    assert listed.exit_code == 1
    from scale_video.pipelines.console import as_values

    text = json.dumps(as_values({"nan": float("nan"), "rows": [(float("inf"), 1.5)]}))
    assert json.loads(text, parse_constant=refuse) == {"nan": None, "rows": [[None, 1.5]]}
