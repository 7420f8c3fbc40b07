import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import fsspec
import pytest

from scale_video.store import lock as lock_module
from scale_video.store.errors import StoreError, StoreLockedError, StoreLostError, StoreNotFoundError
from scale_video.store.location import StoreLocation
from scale_video.store.lock import StoreLock, check_lock, clear_left_over
from scale_video.store.lock_file import LockFile, LockOwner
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

RACERS = Path(__file__).with_name("lock_racers.py")
ELSEWHERE = replace(
    LockOwner.of_this_process("extract"), host="node7", process_table="another boot", acquired="2001-01-01T00:00:00"
)
"""A job on another machine, whose clock is wrong by decades."""


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "a/demo.zarr") if request.param == "local" else f"memory://{tmp_path}/demo.zarr"


def put(url: str | Path, content: bytes) -> None:
    location = StoreLocation.of(url)
    if location.is_local:
        Path(location.root).mkdir(parents=True, exist_ok=True)
    location.file_system.pipe_file(f"{location.root}/lock.json", content)


def age(path: Path, seconds: float) -> None:
    """Have a file's last change lie in the past."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_store_is_held_until_it_is_given_back(url: str) -> None:
    location = StoreLocation.of(url)
    with StoreLock.acquire(url, purpose="plan") as lock:
        lock.check()
        check_lock(location, lock.token)
        assert location.entries() == ("lock.json",)
        with pytest.raises(
            StoreLockedError,
            match=rf"store .*demo.zarr' is in use by `plan` of .* \(process {os.getpid()}\), since 20.*--break-lock$",
        ):
            StoreLock.acquire(url, purpose="extract")
        lock.check()
    assert not location.file_system.exists(location.root)
    with pytest.raises(StoreLostError, match="is gone"):
        check_lock(location, lock.token)
    lock.release()
    with StoreLock.acquire(url, purpose="plan") as again:
        assert again.token != lock.token


def test_a_lock_leaves_no_trace_in_a_store(small: ModuleType, tmp_path: Path) -> None:
    with StoreLock.acquire(tmp_path / "a.zarr", purpose="plan"):
        small.make_full_store(tmp_path / "a.zarr")
        assert FeatureStore.open(tmp_path / "a.zarr").views() == ("grid", "random")
        assert verify_store(tmp_path / "a.zarr").damaged == ()
    small.make_full_store(tmp_path / "b.zarr")
    assert small.files_of(tmp_path / "a.zarr") == small.files_of(tmp_path / "b.zarr")


def test_an_interrupted_creation_is_made_anew_under_the_lock(small: ModuleType, tmp_path: Path) -> None:
    with StoreLock.acquire(tmp_path, purpose="plan") as lock:
        with pytest.raises(StoreNotFoundError):
            FeatureStore.open(tmp_path)
        (tmp_path / "zarr.json").write_text(
            '{"zarr_format": 3, "node_type": "group", "attributes": '
            '{"format": "scale-video-features", "format_version": 1, "created": false}}'
        )
        (tmp_path / "videos").mkdir()
        small.make_empty_store(tmp_path)
        lock.check()


def test_what_killed_writers_left_is_cleared_away(full_store: Path) -> None:
    left = full_store / "random/motion3d/features/c.0.0.12.partial"
    left.write_text("")
    with StoreLock.acquire(full_store, purpose="extract"):
        assert not left.exists()
    left.write_text("")
    put(full_store, ELSEWHERE.to_bytes())
    with pytest.raises(StoreLockedError):
        StoreLock.acquire(full_store, purpose="extract")
    assert left.exists()  # it may be another job's


def test_a_killed_job_is_succeeded_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom scale_video.store.lock import StoreLock\n"
        "lock = StoreLock.acquire(sys.argv[1], purpose='extract')\nprint(lock.token, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        token = job.stdout.readline().strip()
        check_lock(StoreLocation.of(tmp_path), token)
        age(tmp_path / "lock.json", 3600)  # a suspended machine, say: its process is seen to be alive
        with pytest.raises(StoreLockedError, match=rf"in use by `extract` .*\(process {job.pid}\)"):
            StoreLock.acquire(tmp_path, purpose="extract")
        job.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOWAIT)  # dead, but not buried
        with StoreLock.acquire(tmp_path, purpose="extract") as lock:
            lock.check()
            with pytest.raises(StoreLostError, match="was taken by `extract`"):
                check_lock(StoreLocation.of(tmp_path), token)


def test_a_process_that_has_the_number_of_a_dead_one_does_not_hold_its_lock(tmp_path: Path) -> None:
    owner = LockOwner.of_this_process("extract")
    put(tmp_path, owner.to_bytes())
    with pytest.raises(StoreLockedError):
        StoreLock.acquire(tmp_path, purpose="extract")
    put(tmp_path, replace(owner, process_started="1").to_bytes())
    StoreLock.acquire(tmp_path, purpose="extract").release()


@pytest.mark.parametrize("shown", [FileNotFoundError, PermissionError])
def test_a_process_that_proc_hides_is_waited_for_like_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: type[OSError]
) -> None:
    """Mounted by ``hidepid``, as clusters do, ``/proc`` tells nothing of another user's job, which may be alive."""
    owner, asked = LockOwner.of_this_process("extract"), []
    stat, read_text, read_bytes = Path(f"/proc/{owner.pid}/stat"), Path.read_text, Path.read_bytes

    def hidden(read: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Path, **options: Any) -> Any:
            if path == stat:
                raise shown(path)
            return read(path, **options)

        return look

    def refuse(pid: int, signal_number: int) -> None:
        asked.append((pid, signal_number))
        raise PermissionError

    put(tmp_path, owner.to_bytes())
    monkeypatch.setattr(Path, "read_text", hidden(read_text))
    monkeypatch.setattr(Path, "read_bytes", hidden(read_bytes))
    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(StoreLockedError, match=r"in use by `extract` .*, last heard of \d s ago"):
        StoreLock.acquire(tmp_path, purpose="extract")
    assert set(asked) == {(owner.pid, 0)}
    age(tmp_path / "lock.json", 301)
    StoreLock.acquire(tmp_path, purpose="extract").release()


@pytest.mark.parametrize("content", [ELSEWHERE.to_bytes(), replace(ELSEWHERE, acquired="2999").to_bytes(), b"", b"[["])
def test_a_heartbeat_of_another_machine_is_waited_for_five_minutes(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, content)
    age(tmp_path / "lock.json", 290)
    with pytest.raises(StoreLockedError, match=r"is in use by .*, last heard of 29\d s ago; wait for it, or if you"):
        StoreLock.acquire(tmp_path, purpose="extract")
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]
    age(tmp_path / "lock.json", 301)
    with StoreLock.acquire(tmp_path, purpose="extract") as lock:
        lock.check()


def test_what_a_stranger_wrote_is_shown_safely(tmp_path: Path) -> None:
    put(tmp_path, replace(ELSEWHERE, user="\x1b[2J\n", host="h" * 1000).to_bytes())
    with pytest.raises(StoreLockedError, match=r"in use by `extract` of \?\[2J\? on h{100,200}, last"):
        StoreLock.acquire(tmp_path, purpose="extract")


def test_a_file_system_without_times_has_no_stale_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{tmp_path}/untimed.zarr"
    put(url, ELSEWHERE.to_bytes())

    def refuse(path: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr(fsspec.filesystem("memory"), "modified", refuse)
    with pytest.raises(StoreLockedError, match=r"since 2001-01-01T00:00:00; wait for it"):
        StoreLock.acquire(url, purpose="extract")
    StoreLock.acquire(url, purpose="extract", break_lock=True).release()


def test_a_lock_can_be_broken_and_its_owner_finds_out(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 3600)
    first = StoreLock.acquire(url, purpose="extract")
    with caplog.at_level(logging.WARNING):
        second = StoreLock.acquire(url, purpose="plan", break_lock=True)
    assert "took the lock" in caplog.text
    with pytest.raises(StoreLostError, match=r"was taken by `plan` of .*; nothing more is written here; run the same"):
        first.check()
    first.release()
    second.check()
    second.release()


def test_a_heartbeat_keeps_the_lock_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    with StoreLock.acquire(tmp_path, purpose="extract") as lock:
        content = (tmp_path / "lock.json").read_bytes()
        age(tmp_path / "lock.json", 1000)
        wait_until(lambda: time.time() - (tmp_path / "lock.json").stat().st_mtime < 100)
        assert (tmp_path / "lock.json").read_bytes() == content
        assert lock.lost is None


def test_a_heartbeat_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    url = f"memory://{tmp_path}/beating.zarr"
    with StoreLock.acquire(url, purpose="extract"):
        path = f"{tmp_path}/beating.zarr/lock.json"
        modified = fsspec.filesystem("memory").modified(path)
        wait_until(lambda: fsspec.filesystem("memory").modified(path) > modified)


def test_a_heartbeat_notices_the_loss_and_takes_nothing_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    lock = StoreLock.acquire(url, purpose="extract")
    put(url, ELSEWHERE.to_bytes())
    wait_until(lambda: lock.lost is not None)
    with pytest.raises(StoreLostError, match=r"was taken by `extract` of .* on node7"):
        lock.check()
    lock.release()
    assert LockFile(StoreLocation.of(url)).read() == ELSEWHERE.to_bytes()


def test_a_heartbeat_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    failures = [OSError("the network is down"), OSError("the network is down")]
    refresh = LockFile.refresh

    def fail_twice(file: LockFile, content: bytes) -> None:
        if failures:
            raise failures.pop()
        refresh(file, content)

    monkeypatch.setattr(LockFile, "refresh", fail_twice)
    with StoreLock.acquire(tmp_path, purpose="extract") as lock:
        age(tmp_path / "lock.json", 1000)
        wait_until(lambda: time.time() - (tmp_path / "lock.json").stat().st_mtime < 100)
        lock.check()
    assert caplog.text.count("cannot be refreshed: the network is down") == 2


def test_a_store_that_is_no_longer_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = StoreLock.acquire(tmp_path / "a.zarr", purpose="extract")
    (tmp_path / "a.zarr").rename(tmp_path / "away.zarr")
    with pytest.raises(StoreLostError, match=r"is gone: it was unmounted, moved or deleted, or the lock was"):
        lock.check()
    (tmp_path / "a.zarr").mkdir()  # the mount point
    lock.release()
    assert list((tmp_path / "a.zarr").iterdir()) == []
    assert "is gone" in caplog.text


def test_a_store_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreLock.acquire(tmp_path, purpose="extract") as lock, monkeypatch.context() as patch:

        def fail(file: LockFile) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(LockFile, "read", fail)
        with pytest.raises(StoreLostError, match=r"cannot be reached any more: .*Input/output error"):
            lock.check()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    really_open = Path.open

    def fail(path: Path, mode: str = "r", **options: Any) -> IO[Any]:
        if mode == "xb":
            raise OSError(code, os.strerror(code), str(path))
        return really_open(path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(
            StoreError, match=rf"^store .* cannot be locked: .*{os.strerror(code)}.*; it must be writable for this"
        ):
            StoreLock.acquire(tmp_path / "a.zarr", purpose="extract")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("mount") is None, reason="nothing to mount a small disk with")
def test_a_full_disk_leaves_no_empty_lock(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", tmp_path], check=False).returncode:
        pytest.skip("may not mount a file system")
    try:
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "filler").write_bytes(bytes(1 << 20))
        with pytest.raises(StoreError, match=r"cannot be locked: .*No space left"):
            StoreLock.acquire(tmp_path, purpose="extract")
        assert [path.name for path in tmp_path.iterdir()] == ["filler"]
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(StoreError, match=r"cannot be locked: .*Read-only"):
            StoreLock.acquire(tmp_path, purpose="extract")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("before", ["nothing", "a stale lock"])
def test_of_many_that_try_at_once_one_succeeds(tmp_path: Path, before: str) -> None:
    if before == "a stale lock":
        put(tmp_path, ELSEWHERE.to_bytes())
        age(tmp_path / "lock.json", 1000)
    done = subprocess.run(
        [sys.executable, RACERS, tmp_path, "12"], capture_output=True, text=True, timeout=60, check=False
    )
    tokens = done.stdout.split()
    assert len(tokens) == 1, done.stderr
    check_lock(StoreLocation.of(tmp_path), tokens[0])


def test_who_comes_while_a_lock_is_being_taken_over_withdraws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = ELSEWHERE.to_bytes()
    put(tmp_path, held)
    first, second = LockFile(StoreLocation.of(tmp_path)), LockFile(StoreLocation.of(tmp_path))
    replace_lock, seconds = first._replace, []

    def meanwhile(content: bytes) -> None:
        seconds.append(second.take_over(held, b"second", impatient=False, patience_seconds=300))
        replace_lock(content)

    monkeypatch.setattr(first, "_replace", meanwhile)
    assert first.take_over(held, b"first", impatient=False, patience_seconds=300)
    assert not second.take_over(held, b"second", impatient=False, patience_seconds=300)  # a look that came too late
    assert (seconds, first.read()) == ([False], b"first")


def test_who_dies_while_taking_a_lock_over_does_not_block_it_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, ELSEWHERE.to_bytes())
    age(tmp_path / "lock.json", 1000)

    def die(file: LockFile, content: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LockFile, "_replace", die)
        patch.setattr(LockFile, "_remove", lambda file, path: None)
        with pytest.raises(KeyboardInterrupt):
            StoreLock.acquire(tmp_path, purpose="extract")
    (claim,) = (path for path in tmp_path.glob("lock.*.partial") if path.stat().st_size > 0)
    with pytest.raises(StoreLockedError, match="is being taken over by another job at this moment"):
        StoreLock.acquire(tmp_path, purpose="extract")
    age(claim, 301)
    with StoreLock.acquire(tmp_path, purpose="extract") as lock:
        lock.check()
        assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]


def test_who_dies_while_taking_a_lock_over_can_be_overruled(tmp_path: Path) -> None:
    put(tmp_path, ELSEWHERE.to_bytes())
    file = LockFile(StoreLocation.of(tmp_path))
    really_create, claims = file._create, []

    def remember(path: str, content: bytes) -> bool:
        claims.append(path)
        return really_create(path, content)

    file._create = remember  # type: ignore[method-assign]
    assert file.take_over(ELSEWHERE.to_bytes(), b"x", impatient=False, patience_seconds=300)
    put(tmp_path, ELSEWHERE.to_bytes())
    Path(claims[0]).write_bytes(b"")
    assert not file.take_over(ELSEWHERE.to_bytes(), b"y", impatient=False, patience_seconds=300)
    assert file.take_over(ELSEWHERE.to_bytes(), b"y", impatient=True, patience_seconds=300)
    assert not file.take_over(ELSEWHERE.to_bytes(), b"z", impatient=True, patience_seconds=300)
    assert file.read() == b"y"


def test_what_a_dead_job_left_is_cleared_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    store, lock = tmp_path / "demo.zarr", tmp_path / "demo.zarr" / "lock.json"
    clear_left_over(store)  # nothing there
    assert not store.exists()
    ours = LockOwner.of_this_process("extract")
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    put(store, replace(ours, pid=ended.pid).to_bytes())
    clear_left_over(store)
    assert not lock.exists()
    for holder in (ours, ELSEWHERE):
        put(store, holder.to_bytes())
        clear_left_over(store)
        assert lock.read_bytes() == holder.to_bytes()
