"""What the command line says of itself and of mistakes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scale_video.pipelines.cli import main

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
    ],
)
def test_a_mistake_is_one_line_without_a_traceback(run_cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    result = run_cli(*arguments, status=1)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--debug", "verify", str(tmp_path / "nowhere.zarr")])
    assert type(result.exception).__name__ == "StoreNotFoundError"


def test_a_scheduler_that_does_not_answer(run_cli: Cli, demo_root: Path) -> None:
    result = run_cli("extract", "--data", demo_root, "--scheduler", "tcp://127.0.0.1:9", status=1)
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in result.stderr
    assert not Path("features/demo.zarr").exists()
