"""What the command line says of itself and of mistakes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scale_video.pipelines import extraction
from scale_video.pipelines.cli import main
from scale_video.pipelines.requests import ExtractionRequest

Cli = Callable[..., Result]
COMMANDS = ("plan", "extract", "pretrain", "knn", "linear", "nonlinear", "verify", "failures", "show", "info", "demo")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from scale_video.pipelines.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'av', 'zarr', 'dask', 'numpy', 'rich') if name in sys.modules])\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "nowhere.zarr"), "nowhere.zarr"),
        (("info", "nowhere.zarr"), "nowhere.zarr"),
        (("pretrain", "--dataset", "ucf101"), "features/ucf101.zarr"),
        (("knn", "--dataset", "ucf101"), "features/ucf101.zarr"),
        (("plan", "--dataset", "folder", "--data", "nowhere"), "nowhere"),
        (("extract", "--dataset", "demo", "--data", "."), "holds no rendered data set"),
        (("extract", "--dataset", "folder", "--data", ".", "--backbone", "svt"), "get kinetics400_vitb_ssl.pth from"),
        (
            ("extract", "--dataset", "folder", "--data", ".", "--backbone", "videomae:/no/model"),
            "videomae:/that/folder",
        ),
    ],
)
def test_a_mistake_is_one_line_without_a_traceback(run_cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    result = run_cli(*arguments, status=1)
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_backbones_are_listed_as_table_and_json(run_cli: Cli) -> None:
    listed = json.loads(run_cli("backbones", "--json").stdout)
    by_name = {backbone["name"]: backbone for backbone in listed}
    assert by_name["lite"] | {"here": True, "feature_dim": 1280, "place": "pip"} == by_name["lite"]
    assert not by_name["rho-byol"]["here"]
    table = run_cli("backbones").stdout
    assert all(name.split(":")[0] in table for name in by_name)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--debug", "verify", str(tmp_path / "nowhere.zarr")])
    assert type(result.exception).__name__ == "StoreNotFoundError"


def test_a_scheduler_that_does_not_answer(run_cli: Cli, demo_root: Path) -> None:
    result = run_cli("extract", "--data", demo_root, "--scheduler", "tcp://127.0.0.1:9", status=1)
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in result.stderr
    assert not Path("features/demo.zarr").exists()


REQUEST = ExtractionRequest(
    dataset="folder",
    data_root=Path("videos"),
    store="features/folder.zarr",
    preset="honest",
    backbones=("videomae:MCG-NJU/videomae-base",),
    journal=Path("runs/folder/extraction.jsonl"),
)


@pytest.mark.parametrize("command", ["plan", "extract"])
@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ((), {}),
        (
            ("--dataset", "demo"),
            {
                "dataset": "demo",
                "store": "features/demo.zarr",
                "preset": "demo",
                "backbones": ("motion3d-ssl",),
                "journal": Path("runs/demo/extraction.jsonl"),
            },
        ),
        (("--store", "old.zarr,new.zarr"), {"store": "old.zarr,new.zarr"}),
        (("--backbone", "motion3d, videomae:a/b@c"), {"backbones": ("motion3d", "videomae:a/b@c")}),
        (("--views", "random,grid"), {"views": ("random", "grid")}),
        (("--preset", "paper", "--set", "a=1", "--set", "b=2"), {"preset": "paper", "overrides": ("a=1", "b=2")}),
        (("--split-lists", "lists"), {"split_lists": Path("lists")}),
        (("--workers", "3", "--threads"), {"num_workers": 3, "processes": False}),
        (("--scheduler", "tcp://h:1"), {"scheduler": "tcp://h:1"}),
        (("--block-size", "5", "--no-estimate"), {"block_size": 5, "estimate": False}),
        (("--decoders", "4"), {"num_decoders": 4}),
        (("--video-timeout", "1.5"), {"video_timeout": 1.5}),
        (("--memory-limit", "0.5"), {"memory_limit_bytes": 1 << 29}),
        (("--device", "cuda", "--precision", "bfloat16"), {"device": "cuda", "precision": "bfloat16"}),
        (("--break-lock",), {"break_lock": True}),
        (("--runs", "/r"), {"journal": Path("/r/folder/extraction.jsonl")}),
    ],
)
def test_options_of_stage_1_reach_the_request(
    monkeypatch: pytest.MonkeyPatch, command: str, options: tuple[str, ...], changes: dict[str, object]
) -> None:
    assert _request(monkeypatch, command, *options) == replace(REQUEST, **changes)  # type: ignore[arg-type]


def test_retry_reaches_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    request = _request(monkeypatch, "extract", "--retry", "corrupt,timeout, crashed")
    assert request == replace(REQUEST, retry=("corrupt", "timeout", "crashed"))
    assert CliRunner().invoke(main, ["plan", "--retry", "corrupt"]).exit_code == 2  # nothing to plan again


class _SeenError(Exception):
    pass


def _request(monkeypatch: pytest.MonkeyPatch, command: str, *options: str) -> ExtractionRequest:
    """What a command makes of its options."""

    def see(request: ExtractionRequest) -> None:
        raise _SeenError(request)

    monkeypatch.setattr(extraction, f"run_{command}", see)
    arguments = ["--debug", command, "--dataset", "folder", "--data", "videos", *options]
    error = CliRunner().invoke(main, arguments).exception
    assert isinstance(error, _SeenError), error
    request: ExtractionRequest = error.args[0]
    return request
