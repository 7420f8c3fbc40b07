"""Guarded processes: who crashes, hangs or hungers is found out exactly, and the others never suffer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from scale_video.extract.guarded_map import GuardedMap
from scale_video.extract.guarded_process import (
    CallInterruptedError,
    CallTimedOutError,
    GuardedProcess,
    OutOfMemoryError,
    ProcessDiedError,
)

GIBIBYTE = 1 << 30


@pytest.fixture
def two() -> Iterator[GuardedMap]:
    guarded = GuardedMap(2, prefetch=4, memory_bytes=GIBIBYTE)
    yield guarded
    guarded.close()


def test_results_come_in_order_and_a_process_lives_on(harmful: ModuleType) -> None:
    process = GuardedProcess(memory_bytes=None)
    assert process.call(harmful.double, 4, timeout_seconds=60) == 8
    first = process.call(os.getpid, timeout_seconds=60)
    assert process.call(os.getpid, timeout_seconds=60) == first != os.getpid()
    with pytest.raises(ValueError, match="no 3"):
        process.call(harmful.refuse, 3, timeout_seconds=60)
    assert process.call(os.getpid, timeout_seconds=60) == first
    process.close()
    assert not psutil.pid_exists(first)


def test_what_a_library_prints_is_no_answer(harmful: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    process = GuardedProcess(memory_bytes=None)
    assert process.call(harmful.print_and_double, 2, timeout_seconds=60) == 4
    process.close()
    assert capfd.readouterr().out == ""


def test_each_harm_is_named(harmful: ModuleType) -> None:
    process = GuardedProcess(memory_bytes=GIBIBYTE)
    with pytest.raises(ProcessDiedError, match=r"ended its process \(SIGSEGV\)"):
        process.call(harmful.segfault_if_odd, 1, timeout_seconds=60)
    with pytest.raises(CallTimedOutError, match=r"took more than 1\.5 s"):
        process.call(harmful.hang_if_odd, 1, timeout_seconds=1.5)
    assert process.call(harmful.allocate, GIBIBYTE // 2, timeout_seconds=60) == GIBIBYTE // 2
    with pytest.raises(OutOfMemoryError, match="more memory than the 1 GiB it may have"):
        process.call(harmful.allocate, 2 * GIBIBYTE, timeout_seconds=60)
    assert process.call(harmful.double, 1, timeout_seconds=60) == 2
    process.close()


def test_culprits_are_found_and_neighbours_are_not_blamed(harmful: ModuleType, two: GuardedMap) -> None:
    outcomes = list(two.map(harmful.segfault_if_odd, range(9), timeout_seconds=60))
    culprits = [isinstance(outcome, ProcessDiedError) for outcome in outcomes]
    assert culprits == [number % 2 == 1 for number in range(9)]
    assert outcomes[::2] == [0, 2, 4, 6, 8]


def test_a_hang_ends_and_the_rest_goes_on(harmful: ModuleType, two: GuardedMap) -> None:
    list(two.map(harmful.double, range(2), timeout_seconds=60))  # both have started
    outcomes = list(two.map(harmful.hang_if_odd, [0, 1, 2], timeout_seconds=1))
    assert outcomes[0] == 0
    assert isinstance(outcomes[1], CallTimedOutError)
    assert outcomes[2] == 2


def test_one_that_was_killed_from_outside_gets_its_second_chance(
    harmful: ModuleType, two: GuardedMap, tmp_path: Path
) -> None:
    jobs = [str(tmp_path / name) for name in "abc"]
    assert list(two.map(harmful.killed_the_first_time, jobs, timeout_seconds=60)) == ["a", "b", "c"]


def test_one_that_is_killed_again_and_again_from_outside_is_not_blamed(
    harmful: ModuleType, two: GuardedMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scale_video.extract.guarded_map.KILLED_PAUSE_SECONDS", 0.01)
    assert list(two.map(harmful.killed_three_times, [str(tmp_path / "a")], timeout_seconds=60)) == ["a"]


def test_the_second_try_is_alone(harmful: ModuleType, two: GuardedMap, tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [(str(log), name, 0.3 if name != "bad" else 0.0, name == "bad") for name in ("bad", "a", "b", "c", "d")]
    outcomes = list(two.map(harmful.log_times, jobs, timeout_seconds=60))
    assert isinstance(outcomes[0], ProcessDiedError)
    assert outcomes[1:] == ["a", "b", "c", "d"]
    lines = log.read_text().split("\n")
    second = len(lines) - 1 - lines[::-1].index("begin bad")
    before = lines[:second]
    begun = {line.removeprefix("begin ") for line in before if line.startswith("begin ")} - {"bad"}
    ended = {line.removeprefix("end ") for line in before if line.startswith("end ")}
    assert begun == ended, "somebody was at work when the second try began"
    assert lines[second + 1].startswith("begin "), lines


def test_an_error_of_the_function_ends_the_map_and_leaves_it_usable(harmful: ModuleType, two: GuardedMap) -> None:
    with pytest.raises(ValueError, match="no 0"):
        list(two.map(harmful.refuse, range(5), timeout_seconds=60))
    assert list(two.map(harmful.double, range(3), timeout_seconds=60)) == [0, 2, 4]


def test_a_caller_that_stops_early_does_not_wait_for_a_hang(harmful: ModuleType, two: GuardedMap) -> None:
    list(two.map(harmful.double, range(2), timeout_seconds=60))
    started = time.monotonic()
    results = two.map(harmful.hang_if_odd, [0, 1, 1], timeout_seconds=600)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30
    assert list(two.map(harmful.double, [5], timeout_seconds=60)) == [10]


def test_jobs_are_taken_no_further_ahead_than_the_window(harmful: ModuleType, two: GuardedMap) -> None:
    taken = []

    def jobs() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    results = two.map(harmful.double, jobs(), timeout_seconds=60)
    for number in range(20):
        assert next(results) == 2 * number
        assert len(taken) <= number + 4


@pytest.mark.slow
def test_children_end_with_their_parent_even_when_they_hang(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from scale_video.extract.guarded_process import GuardedProcess\n"
        "process = GuardedProcess(memory_bytes=None)\n"
        "print(process.call(os.getpid, timeout_seconds=60), flush=True)\n"
        "process.call(time.sleep, 3600, timeout_seconds=3600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=30)


def test_a_process_that_cannot_start_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ChildProcessError, match="cannot be started"):
        GuardedProcess(memory_bytes=None).call(os.getpid, timeout_seconds=5)


def test_a_process_that_is_killed_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process = GuardedProcess(memory_bytes=None)
    launch, num_launched = GuardedProcess._launch, 0

    def launch_and_kill_the_first(self: GuardedProcess) -> object:
        nonlocal num_launched
        num_launched += 1
        connection = launch(self)
        if num_launched == 1:
            assert self._process is not None
            self._process.kill()
        return connection

    monkeypatch.setattr(GuardedProcess, "_launch", launch_and_kill_the_first)
    assert process.call(os.getpid, timeout_seconds=60) != os.getpid()
    assert num_launched == 2
    process.close()


def test_a_process_that_is_interrupted_while_it_starts_takes_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    process = GuardedProcess(memory_bytes=None)
    launch = GuardedProcess._launch

    def launch_and_interrupt(self: GuardedProcess) -> object:
        connection = launch(self)
        self.interrupt()
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(GuardedProcess, "_launch", launch_and_interrupt)
        with pytest.raises(CallInterruptedError):
            process.call(time.sleep, 3600, timeout_seconds=3600)
    with pytest.raises(CallInterruptedError):
        process.call(os.getpid, timeout_seconds=60)
    process.resume()
    assert process.call(os.getpid, timeout_seconds=60) != os.getpid()
    process.close()


def test_signals_that_are_meant_for_the_whole_job_do_not_reach_a_call(harmful: ModuleType) -> None:
    process = GuardedProcess(memory_bytes=None)
    child = psutil.Process(process.call(os.getpid, timeout_seconds=60))
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
        assert process.call(harmful.double, number, timeout_seconds=60) == 2 * number
    assert process.call(os.getpid, timeout_seconds=60) == child.pid
    process.close()
