"""Pre-training as a real process that is told to end, or killed, in the middle of an epoch; then it goes on."""

import csv
import multiprocessing
import multiprocessing.context
import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

RunCli = Callable[..., Result]
STEPS_PER_EPOCH = 7  # 28 videos, four a step
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(scope="module")
def server() -> Iterator[multiprocessing.context.ForkServerContext]:
    """Has imported everything already, so that its forks begin at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scale_video.pipelines.pretraining", "scale_video.pipelines.cli_pretrain"])
    with pytest.MonkeyPatch.context() as environment:
        for name in ONE_THREAD:
            environment.setenv(name, "1")
        yield context


@pytest.fixture(scope="module")
def command(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., str], small_training: tuple[str, ...]
) -> tuple[str, ...]:
    store = make_store(tmp_path_factory.mktemp("store") / "a.zarr")
    return ("pretrain", "--dataset", "folder", "--store", store, *small_training, "--epochs", "2", "--batch-size", "4")


@pytest.fixture
def start(
    server: multiprocessing.context.ForkServerContext, command: tuple[str, ...], tmp_path: Path
) -> Iterator[Callable[..., BaseProcess]]:
    """Begin a slow training in the folder ``runs`` and wait for one of its steps."""
    script = str(Path(__file__).with_name("training_process.py"))
    started: list[BaseProcess] = []

    def start(*options: str, seconds: float, wait_for_step: int) -> BaseProcess:
        steps = tmp_path / "steps"
        given: dict[str, Any] = {"steps": str(steps), "said": str(tmp_path / "said"), "seconds": seconds}
        given["arguments"] = [*command, "--runs", str(tmp_path / "runs"), *options]
        process = server.Process(target=runpy.run_path, args=(script, {"given": given}))
        process.start()
        started.append(process)
        deadline = time.monotonic() + 120
        while not (steps.exists() and len(steps.read_text().split()) > wait_for_step):
            assert process.is_alive(), (tmp_path / "said").read_text()
            assert time.monotonic() < deadline, "no step within two minutes"
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def finish(run_cli: RunCli, command: tuple[str, ...]) -> Iterator[Callable[[str], Path]]:
    """Run the command to its end, undisturbed; its checkpoint."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda runs: Path(run_cli(*command, "--runs", runs).stdout.strip())
    torch.set_num_threads(threads)


def read(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return content


def check_equal(path: Path, expected: Path) -> None:
    """To the last bit, but for seconds."""
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = read(path.with_name(name)), read(expected.with_name(name))
        assert ours["scale_video"] == theirs["scale_video"]
        assert all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items())
    tables = [list(csv.DictReader(p.with_name("metrics.csv").read_text().splitlines())) for p in (path, expected)]
    assert len(tables[0]) == 2
    assert [{**row, "seconds": ""} for row in tables[0]] == [{**row, "seconds": ""} for row in tables[1]]


def test_a_kill_in_the_middle_of_an_epoch_costs_a_step(
    start: Callable[..., BaseProcess], finish: Callable[[str], Path], tmp_path: Path
) -> None:
    process = start("--checkpoint-every", "0", seconds=0.1, wait_for_step=STEPS_PER_EPOCH + 2)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    last = next(tmp_path.glob("runs/**/last.ckpt"))
    saved, begun = read(last)["global_step"], len((tmp_path / "steps").read_text().split())
    assert STEPS_PER_EPOCH < saved < 2 * STEPS_PER_EPOCH
    assert begun - 2 <= saved <= begun
    check_equal(finish("runs"), finish("undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_saves(
    start: Callable[..., BaseProcess], finish: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    process = start(seconds=0.2, wait_for_step=2)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    *_, saved, interrupted = (tmp_path / "said").read_text().splitlines()
    steps = read(next(tmp_path.glob("runs/**/last.ckpt")))["global_step"]
    assert steps == len((tmp_path / "steps").read_text().split()) < STEPS_PER_EPOCH
    assert saved.endswith(f"seed0/last.ckpt: stopped after step {steps}")
    assert interrupted == f"interrupted by {number.name}; run the same command again to go on"
    check_equal(finish("runs"), finish("undisturbed"))


def test_a_second_signal_ends_at_once(
    start: Callable[..., BaseProcess], finish: Callable[[str], Path], tmp_path: Path
) -> None:
    process = start("--restart", seconds=100, wait_for_step=0)
    for _ in range(2):
        process.terminate()
        time.sleep(0.2)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1] == ("interrupted by SIGTERM; run the same command again, without --restart, to go on")
    assert "Traceback" not in said
    assert not list(tmp_path.glob("runs/**/*.ckpt*"))
    check_equal(finish("runs"), finish("undisturbed"))
