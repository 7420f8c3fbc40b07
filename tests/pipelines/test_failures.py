"""``scale-video failures``: all that could not be had, once each, as table, JSON and CSV."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import Result
from rich.cells import cell_len
from rich.console import Console

from scale_video.pipelines import show_store
from scale_video.pipelines.failures import PLAN, FailureRecord, list_failures
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

Cli = Callable[..., Result]
PARTIAL = ("random/motion3d", "partial", "klasse ß/4 视频.mp4", "1 of 3 clips cannot be decoded: ünerwartet")
UNPLANNED = ("plan", "corrupt", "klasse ß/6 视频.mp4", "holds no stream that can be shown")


@pytest.fixture(scope="module")
def small(module_at: Callable[[str], ModuleType]) -> ModuleType:
    """The store tests' module of small stores."""
    return module_at("store/small_store.py")


@pytest.fixture
def full_store(small: ModuleType, tmp_path: Path) -> Path:
    small.make_full_store(tmp_path / "full.zarr")
    return tmp_path / "full.zarr"


def rows(listing: Result) -> list[tuple[str, ...]]:
    return [tuple(row) for row in csv.reader(io.StringIO(listing.stdout))][1:]


def test_table_names_each_once_and_says_what_can_be_done(run_cli: Cli, full_store: Path) -> None:
    lines = run_cli("failures", full_store).stdout.splitlines()
    assert len(lines) == 5
    for line, record in zip(lines, (UNPLANNED, PARTIAL), strict=False):
        assert all(cell in line for cell in record)
    assert lines[2] == "1 partial, 1 corrupt"
    assert lines[3] == "to try them again: scale-video extract … --retry partial"
    assert lines[4].startswith("1 could not be read when the store was planned, and have no clips")


def test_json(run_cli: Cli, full_store: Path) -> None:
    printed = json.loads(run_cli("failures", full_store, "--json").stdout)
    assert printed["store"] == str(full_store)
    assert [tuple(failure.values()) for failure in printed["failures"]] == [UNPLANNED, PARTIAL]
    assert list(printed["failures"][0]) == ["features", "status", "path", "error"]
    assert printed["counts"] == {"partial": 1, "corrupt": 1}


def test_csv_to_stdout_and_to_a_file(run_cli: Cli, full_store: Path) -> None:
    printed = run_cli("failures", full_store, "--csv", "-")
    assert rows(printed) == [UNPLANNED, PARTIAL]
    assert "1 partial, 1 corrupt" in printed.stderr
    run_cli("failures", full_store, "--csv", "failed.csv")
    assert Path("failed.csv").read_text(encoding="utf-8") == printed.stdout


def test_only_some_statuses(run_cli: Cli, full_store: Path) -> None:
    assert rows(run_cli("failures", full_store, "--csv", "-", "--status", "partial, timeout")) == [PARTIAL]
    assert run_cli("failures", full_store, "--status", "crashed").stdout == "no failures\n"
    refused = run_cli("failures", full_store, "--status", "partial,broken", status=1)
    assert "--status takes statuses of failures (partial, no_video_stream, corrupt, " in refused.stderr
    assert "got 'broken'" in refused.stderr


def test_before_anything_is_extracted_there_is_what_the_probe_found(
    run_cli: Cli, small: ModuleType, tmp_path: Path
) -> None:
    small.make_empty_store(tmp_path / "empty.zarr")
    printed = json.loads(run_cli("failures", tmp_path / "empty.zarr", "--json").stdout)
    assert [tuple(failure.values()) for failure in printed["failures"]] == [UNPLANNED]


def test_several_stores(run_cli: Cli, small: ModuleType, full_store: Path, tmp_path: Path) -> None:
    small.make_empty_store(tmp_path / "empty.zarr")
    both = f"{full_store},{tmp_path / 'empty.zarr'}"
    assert rows(run_cli("failures", both, "--csv", "-")) == [UNPLANNED, PARTIAL, UNPLANNED]


def test_no_such_store(run_cli: Cli, full_store: Path) -> None:
    assert "nowhere.zarr" in run_cli("failures", f"{full_store},nowhere.zarr", status=1).stderr


def test_many_rows_in_several_runs(tmp_path: Path, small: ModuleType) -> None:
    """Failures keep their own path and reason across blocks, runs and chunks of the table of videos."""
    num_videos, block_size = 9000, 500
    ids = tuple(f"{row}.mp4" for row in range(num_videos))
    good = small.make_probes()[0]
    failing = set(range(7, num_videos, 701))
    unplanned = set(range(9, num_videos, 3001))
    probes = [VideoProbe(VideoStatus.MISSING, f"gone {row}") if row in unplanned else good for row in range(num_videos)]
    plan = small.make_plan()
    valid = np.ones((num_videos, 1), np.bool_)
    valid[sorted(unplanned)] = False
    coordinates = np.where(valid[:, :, None], plan.coordinates[0, 0], np.nan).astype(np.float32)
    planned = type(plan)(plan.view, plan.parameters, coordinates, valid, np.ones(num_videos, np.bool_))
    url = tmp_path / "many.zarr"
    create_store(
        url,
        videos=VideoTable(ids=ids, paths=ids, groups=ids),
        probes=probes,
        plans=[planned],
        block_size=block_size,
        attributes={"dataset": "folder"},
    )
    add_backbone(url, view="random", name="m", feature_dim=1, weights_digest="ab", attributes={})
    writer = BlockWriter(url, view="random", backbone="m")
    for index in range(num_videos // block_size):
        of_block = range(index * block_size, (index + 1) * block_size)
        lost = np.array([row in failing or row in unplanned for row in of_block])
        writer.write(
            FeatureBlock(
                index=index,
                features=np.where(lost, np.nan, 1).astype(np.float16)[:, None, None],
                valid=~lost[:, None],
                status=np.array(
                    [
                        VideoStatus.TIMEOUT if row in failing else VideoStatus.MISSING if row in unplanned else 1
                        for row in of_block
                    ],
                    np.uint8,
                ),
                error=tuple(
                    f"slow {row}" if row in failing else f"gone {row}" if row in unplanned else "" for row in of_block
                ),
            )
        )
    expected = [FailureRecord(PLAN, VideoStatus.MISSING, f"{row}.mp4", f"gone {row}") for row in sorted(unplanned)]
    expected += [FailureRecord("random/m", VideoStatus.TIMEOUT, f"{row}.mp4", f"slow {row}") for row in sorted(failing)]
    listing = list_failures(str(url))
    assert list(listing) == expected
    assert list(listing) == expected  # read anew each time


def test_on_a_terminal_long_reasons_are_folded_beside_their_path(
    full_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr(show_store, "stdout", lambda: console)
    show_store.failures_table(list_failures(str(full_store)))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert {cell_len(line) for line in table} == {60}
    cells = [line.split("│")[1:5] for line in table]
    reasons = " ".join(cell[3].strip() for cell in cells)
    assert reasons == f"{UNPLANNED[3]} {PARTIAL[3]}"  # whole, and nothing else, however folded


def test_listing_needs_no_torch(full_store: Path) -> None:
    script = (
        "import sys\n"
        "from scale_video.pipelines.cli import main\n"
        f"try: main(['failures', {str(full_store)!r}])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'av', 'distributed') if name in sys.modules])\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "[]"


def test_a_reader_that_has_had_enough(full_store: Path) -> None:
    command = [sys.executable, "-m", "scale_video.pipelines.cli", "failures", str(full_store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
