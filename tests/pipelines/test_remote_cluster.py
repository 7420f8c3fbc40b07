"""A Dask cluster of separate processes, as on other machines: joined by its address, with its own paths, over TLS."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
from distributed.security import Security

from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs Linux's /proc")]

BLOCK_SIZE, NUM_BLOCKS = 2, 24  # of 48 videos
CLIENT_SEES = "/proc/self/cwd"
"""The client's name of its working folder, which means another folder to every process that works elsewhere."""
DASK = str(Path(sys.executable).with_name("dask"))
END_SECONDS = 60
"""In which a client whose scheduler died must have ended."""

Workers = Sequence[tuple[str, ...]]
"""Options of each ``dask worker``."""


class Site:
    """A folder that the client and the workers see under different names, and a cluster of processes."""

    def __init__(self, folder: Path, videos: Path) -> None:
        self.seen_by_client = folder / "client"
        self.seen_by_client.mkdir()
        (self.seen_by_client / "videos").symlink_to(videos)
        self.seen_by_workers = folder / "mounted"
        self.seen_by_workers.symlink_to(self.seen_by_client)
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.store = self.seen_by_client / "features" / "demo.zarr"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    @contextmanager
    def cluster(self, *workers: tuple[str, ...], mapped: bool = True) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        """A scheduler (its address and process) with workers, on loopback."""
        file = self.elsewhere / f"scheduler-{time.monotonic_ns()}.json"
        mapping = json.dumps({CLIENT_SEES: str(self.seen_by_workers)})
        paths = {"DASK_SCALE_VIDEO__PATHS": mapping} if mapped else {}
        common = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))
        with ExitStack() as stack:
            scheduler = self._start(stack, "scheduler", *common, "--port", "0")
            for options in workers:
                self._start(stack, "worker", *common, *options, environment=paths)
            deadline = time.monotonic() + 60
            while not file.exists() or not file.read_text():
                assert scheduler.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield json.loads(file.read_text())["address"], scheduler

    def _start(
        self, stack: ExitStack, *command: str, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [DASK, *command],
            cwd=self.elsewhere,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(process.wait, 60)
        stack.callback(_kill_group, process)
        return process

    def extract(self, *options: str) -> "subprocess.Popen[str]":
        """Begin ``scale-video extract`` in the client's folder."""
        command = [sys.executable, "-m", "scale_video.pipelines.cli", "extract", "--dataset", "demo"]
        command += ["--backbone", "motion3d"]
        command += ["--data", f"{CLIENT_SEES}/videos", "--store", f"{CLIENT_SEES}/features/demo.zarr"]
        return subprocess.Popen(
            [*command, "--block-size", str(BLOCK_SIZE), "--decoders", "1", "--no-estimate", *options],
            cwd=self.seen_by_client,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def num_committed(self) -> int:
        """Blocks that exist."""
        try:
            return int(FeatureStore.open(self.store).committed("random", "motion3d").sum())
        except StoreError:  # not created yet
            return 0


@pytest.fixture
def site(tmp_path: Path, demo_root: Path) -> Site:
    return Site(tmp_path, demo_root)


@pytest.fixture(scope="module")
def local_bytes(tmp_path_factory: pytest.TempPathFactory, demo_root: Path) -> dict[str, str]:
    site = Site(tmp_path_factory.mktemp("local"), demo_root)
    finish(site.extract("--workers", "1", "--threads"))
    assert verify_store(site.store).num_committed == NUM_BLOCKS
    return tree(site.store)


def tree(store: Path) -> dict[str, str]:
    """Digest of every file by its path; the git revision, which may change between two runs of a test, left out."""
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    root = json.loads(files["zarr.json"])
    root["attributes"].pop("git_revision", None)
    files["zarr.json"] = json.dumps(root).encode()
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def finish(client: "subprocess.Popen[str]", *, status: int = 0, seconds: float = 300) -> str:
    """Wait for a client's end; what it wrote to stderr."""
    try:
        _, errors = client.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        client.kill()
        pytest.fail(f"the client has not ended after {seconds} s: {client.communicate()[1]}")
    assert client.returncode == status, errors
    return errors


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param([("--nworkers", "2", "--nthreads", "1")], id="two workers with nannies"),
        pytest.param([("--no-nanny", "--nthreads", "2")], id="two threads, no nanny"),
    ],
)
def test_a_cluster_with_paths_of_its_own_gives_the_bytes_of_a_local_one(
    site: Site, local_bytes: dict[str, str], workers: Workers
) -> None:
    with site.cluster(*workers) as (address, _):
        finish(site.extract("--scheduler", address))
    assert tree(site.store) == local_bytes


def test_workers_that_see_no_such_folder_are_named_before_anything_is_planned(site: Site) -> None:
    with site.cluster(("--no-nanny", "--nthreads", "1"), mapped=False) as (address, _):
        errors = finish(site.extract("--scheduler", address), status=1)
    assert f"the folder of videos '{CLIENT_SEES}/videos' cannot be read: No such file" in one_error(errors)
    assert not site.store.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs workers without a GPU")
def test_a_client_needs_no_gpu_but_its_workers_do(site: Site) -> None:
    with site.cluster(("--no-nanny", "--nthreads", "1")) as (address, _):
        errors = finish(site.extract("--scheduler", address, "--device", "cuda"), status=1)
    assert "but torch sees none on" in one_error(errors)
    assert FeatureStore.open(site.store).backbones("random") == ("motion3d",)  # the client went on to the workers


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_scheduler_that_dies_ends_the_client_and_another_one_goes_on(
    site: Site, local_bytes: dict[str, str], how: signal.Signals
) -> None:
    worker = ("--no-nanny", "--nthreads", "1")
    with site.cluster(worker) as (address, scheduler):
        client = site.extract("--scheduler", address)
        wait_until(lambda: site.num_committed() > 0, client)
        scheduler.send_signal(how)
        errors = finish(client, status=1, seconds=END_SECONDS)
    assert f"the Dask scheduler at {address} is gone" in one_error(errors)
    assert 0 < site.num_committed() < NUM_BLOCKS, "the job was to be interrupted"
    with site.cluster(worker) as (address, _):
        finish(site.extract("--scheduler", address))
    assert tree(site.store) == local_bytes


def test_tls_admits_those_with_a_certificate_and_nobody_else(site: Site, local_bytes: dict[str, str]) -> None:
    security = Security.temporary()
    names = {}
    for option, content in {"CA_FILE": security.tls_ca_file, "KEY": security.tls_client_key}.items():
        names[option] = site.elsewhere / f"{option.lower()}.pem"
        names[option].write_text(content)
    certificate = site.elsewhere / "certificate.pem"
    certificate.write_text(security.tls_client_cert)
    prefix = "DASK_DISTRIBUTED__COMM__"
    tls = {f"{prefix}REQUIRE_ENCRYPTION": "True", f"{prefix}DEFAULT_SCHEME": "tls"}
    tls[f"{prefix}TLS__CA_FILE"] = str(names["CA_FILE"])
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        tls[f"{prefix}TLS__{role}__CERT"] = str(certificate)
        tls[f"{prefix}TLS__{role}__KEY"] = str(names["KEY"])
    bare = dict(site.environment)
    site.environment |= tls
    with site.cluster(("--no-nanny", "--nthreads", "1")) as (address, _):
        assert address.startswith("tls://")
        site.environment = bare
        strangers = (address, address.replace("tls://", "tcp://"))
        clients = [site.extract("--scheduler", stranger) for stranger in strangers]  # each waits for ten seconds
        for stranger, client in zip(strangers, clients, strict=True):
            errors = finish(client, status=1, seconds=END_SECONDS)
            assert f"no Dask scheduler answers at '{stranger}'" in one_error(errors)
        assert not site.store.exists()
        site.environment = bare | tls
        finish(site.extract("--scheduler", address))
    assert tree(site.store) == local_bytes


def one_error(errors: str) -> str:
    """The one line on stderr that tells what is wrong."""
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert errors.rstrip().endswith(lines[0]), errors
    return lines[0]


def wait_until(condition: Callable[[], bool], client: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert client.poll() is None, client.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
