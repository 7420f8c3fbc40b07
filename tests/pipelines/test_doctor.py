"""What the diagnosis finds on a machine that is well, and what it says of each thing that is not."""

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import torch
from click.testing import Result

from scale_video.pipelines import doctor_hub, doctor_machine, doctor_packages, doctor_store, doctor_video
from scale_video.pipelines.doctor import DoctorRequest, run_doctor
from scale_video.pipelines.finding import Finding
from scale_video.store.lock_file import LockFile
from scale_video.store.write import BlockWriter

Cli = Callable[..., Result]
MakeStore = Callable[..., str]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked beyond this machine unless a test says so."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(doctor_hub.urllib.request, "urlopen", refuse)


def named(findings: list[Finding], name: str) -> Finding:
    [finding] = [finding for finding in findings if finding.name == name]
    return finding


class TestAll:
    def test_this_machine_is_healthy_and_json_says_what_the_table_says(self, run_cli: Cli) -> None:
        said = json.loads(run_cli("doctor", "--json").stdout)
        assert said["healthy"]
        topics = list(dict.fromkeys(finding["topic"] for finding in said["findings"]))
        assert topics == ["packages", "extras", "machine", "GPU", "video", "hub"]
        assert all(bool(finding["advice"]) == (finding["state"] != "ok") for finding in said["findings"])
        shown = run_cli("doctor").stdout
        assert all(finding["name"] in shown and finding["advice"] in shown for finding in said["findings"])
        assert shown.splitlines()[-1].endswith("nothing that is needed is broken")

    def test_what_is_broken_makes_the_status_1_and_the_rest_is_still_looked_at(
        self, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> list[Finding]:
            raise RuntimeError("a driver\nthat is ill [red]")

        for module, name in ((doctor_machine, "look_at_gpus"), (doctor_packages, "look_at_extras")):
            monkeypatch.setattr(module, name, fail)
        result = run_cli("doctor", status=1)
        assert result.stdout.count("RuntimeError: a driver that is ill [red]") == 2
        assert "6 frames encoded by libx264" in result.stdout
        assert result.stdout.splitlines()[-1].endswith("2 broken: something that is needed is broken")

    def test_writing_needs_a_place(self, run_cli: Cli) -> None:
        assert "--write needs --store" in run_cli("doctor", "--write", status=1).stderr

    def test_a_store_that_is_called_like_markup(self, run_cli: Cli) -> None:
        url = "[red]<script>alert(1)<|script>.zarr"
        assert url in run_cli("doctor", "--store", url, status=1).stdout


class TestPackages:
    def test_a_package_that_is_not_there_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor_packages, "version", _versions({"zarr": None, "av": "17.0.1"}))
        findings = doctor_packages.look_at_packages()
        zarr, pyav = named(findings, "zarr"), named(findings, "av")
        assert (zarr.state, zarr.found) == ("broken", "not installed")
        assert zarr.advice.startswith("pip install 'zarr>=3")
        assert (pyav.state, pyav.advice) == ("warning", "pip install 'av<19,>=18'")
        assert pyav.found.startswith("17.0.1, where ")

    def test_extras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        requires = [
            "numpy>=2.0",
            'pyarrow>=16; extra == "parquet"',
            'nowhere>=1; extra == "lite"',
            'numpy>=99; extra == "report"',
            'nowhere; sys_platform == "beos" and extra == "s3"',
            'nowhere>=2; extra == "videomae"',
        ]
        extras = ["videomae", "s3", "report", "parquet", "lite", "unheard-of"]
        fake = SimpleNamespace(requires=requires, metadata=SimpleNamespace(get_all=lambda name: extras))
        monkeypatch.setattr(doctor_packages, "distribution", lambda name: fake)
        findings = doctor_packages.look_at_extras()
        assert [finding.name for finding in findings] == ["lite", "report", "parquet", "s3", "unheard-of"]
        lite, report, parquet, s3, _ = findings
        assert (lite.state, lite.found) == ("missing", "not installed: nowhere")
        assert lite.advice.startswith("pip install 'scale-video[lite]', for ")
        assert report.state == "warning"
        assert "where >=99 is wanted" in report.found
        assert (parquet.state, s3.state) == ("ok", "ok")

    def test_a_checkout_that_was_changed_since_it_was_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = tmp_path / "setup.cfg"
        settings.touch()
        monkeypatch.setattr(doctor_packages, "SETTINGS", settings)
        monkeypatch.setattr(doctor_packages, "git_revision", lambda: "abc")
        installed = doctor_packages._installed_at()
        states = []
        for age in (-10, 10):
            os.utime(settings, (installed + age, installed + age))
            finding = named(doctor_packages.look_at_packages(), "scale-video")
            states.append(finding.state)
        assert states == ["ok", "warning"]
        assert "setup.cfg is newer than the installation" in finding.found


class TestMachine:
    def test_few_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 2048))
        finding = named(doctor_machine.look_at_machine(), "open files")
        assert (finding.state, finding.found) == ("warning", "at most 256 a process (may be raised to 2048)")
        assert finding.advice.startswith("ulimit -n 2048")

    def test_a_full_disk_and_little_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = SimpleNamespace(free=200_000_000, total=10**12)
        monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda folder: usage)
        monkeypatch.setattr("scale_video.aggregate.residency.available_memory", lambda: 1 << 30)
        findings = doctor_machine.look_at_machine()
        assert named(findings, "disk here").state == "warning"
        assert named(findings, "disk here").found.startswith("200 MB free of 1 TB, /")
        assert named(findings, "memory").found.startswith("1 GiB available of ")
        assert named(findings, "memory").state == "warning"

    @pytest.mark.parametrize(("num_gpus", "state"), [(0, "ok"), (1, "ok"), (2, "warning")])
    def test_shared_memory_matters_to_several_gpus(
        self, monkeypatch: pytest.MonkeyPatch, num_gpus: int, state: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=1, total=64 << 20))
        finding = doctor_machine._shared_memory()
        assert (finding.state, finding.found) == (state, "64 MiB in /dev/shm")

    def test_a_gpu_that_torch_does_not_see(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=name ] && echo "NVIDIA H100 80GB HBM3"\n')
        program.chmod(0o755)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", None)
        monkeypatch.setenv("PATH", str(tmp_path))
        [finding] = doctor_machine.look_at_gpus()
        assert finding.state == "warning"
        assert finding.found == "NVIDIA H100 80GB HBM3 is there, but torch is built without CUDA"
        monkeypatch.setenv("PATH", "")
        [finding] = doctor_machine.look_at_gpus()
        assert (finding.state, finding.found) == ("missing", "none")

    def test_a_gpu_that_does_not_compute_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*shape: int, **options: Any) -> None:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch, "ones", fail)
        driver, gpu = doctor_machine.look_at_gpus()
        assert driver.name == "driver"
        assert (gpu.name, gpu.state) == ("cuda:0", "broken")
        assert "no kernel image" in gpu.found

    @pytest.mark.gpu
    def test_a_gpu_that_computes(self) -> None:
        driver, gpu, *_ = doctor_machine.look_at_gpus()
        assert {driver.state, gpu.state} == {"ok"}
        assert torch.cuda.get_device_name(0) in gpu.found


class TestVideo:
    def test_every_codec_goes_through_its_encoder_and_decoder(self) -> None:
        findings = doctor_video.look_at_video()
        assert [finding.name for finding in findings] == ["FFmpeg", "h264", "mpeg4", "hevc", "vp9", "av1"]
        assert {finding.state for finding in findings} == {"ok"}
        assert "libavcodec" in findings[0].found

    def test_encoders_keep_quiet(self) -> None:
        # In a process of its own: SVT-AV1 looks once in a process at how much it is to say.
        look = "from scale_video.pipelines.doctor_video import look_at_video; look_at_video()"
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("", "")

    def test_no_decoder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"h264", "av1", "libx265"})
        findings = doctor_video.look_at_video()
        assert [(named(findings, codec).state, named(findings, codec).found) for codec in ("h264", "av1", "hevc")] == [
            ("broken", "no decoder"),
            ("warning", "no decoder"),
            ("ok", "decoder is there; not tried, for want of libx265"),
        ]

    @pytest.mark.parametrize("wrong", [[20.0] * 6, [20.0, 60.0], [60.0, 20.0, 100.0, 140.0, 180.0, 220.0]])
    def test_frames_that_come_out_wrong(self, monkeypatch: pytest.MonkeyPatch, wrong: list[float]) -> None:
        monkeypatch.setattr(doctor_video, "decode", lambda content: ("h264", wrong))
        monkeypatch.setattr(doctor_video, "CODECS", {"h264": ("libx264", "broken")})
        finding = named(doctor_video.look_at_video(), "h264")
        assert finding.state == "broken"
        assert "frames of brightness 20, 60, 100, 140, 180, 220 came out as " in finding.found


class TestStore:
    @pytest.fixture
    def url(self, tmp_path: Path, make_store: MakeStore) -> str:
        return make_store(tmp_path / "a.zarr")

    def test_reading(self, run_cli: Cli, url: str) -> None:
        before = _files(Path(url).parent)
        findings = doctor_store.look_at_store(url, write=False)
        assert [(finding.name, finding.state) for finding in findings] == [
            (url, "ok"), ("grid/tiny", "ok"), ("random/tiny", "ok")
        ]  # fmt: skip
        assert "1 of 1 blocks; read one (5.12 kB)" in findings[1].found
        assert _files(Path(url).parent) == before
        run_cli("doctor", "--store", url)

    def test_a_damaged_block(self, run_cli: Cli, url: str) -> None:
        chunk = Path(url) / "random/tiny/features/c.0.0.0"
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
        said = json.loads(run_cli("doctor", "--store", url, "--json", status=1).stdout)
        [finding] = [finding for finding in said["findings"] if finding["name"] == "random/tiny"]
        assert (finding["state"], said["healthy"]) == ("broken", False)

    def test_blocks_that_are_not_there_yet(self, url: str) -> None:
        (Path(url) / "random/tiny/commit/c.0").unlink()
        finding = named(doctor_store.look_at_store(url, write=False), "random/tiny")
        assert (finding.state, finding.found) == ("missing", "none of 1 blocks")

    def test_no_store_is_broken_unless_one_is_to_be_made(self, tmp_path: Path) -> None:
        url = str(tmp_path / "new.zarr")
        [finding] = doctor_store.look_at_store(url, write=False)
        assert (finding.state, finding.found) == ("broken", "no store")
        findings = doctor_store.look_at_store(url, write=True)
        assert [finding.state for finding in findings] == ["missing", "ok", "ok", "ok"]
        assert not list(tmp_path.iterdir())

    def test_writing_beside_a_store_leaves_all_as_it_was(self, url: str) -> None:
        before = _files(Path(url).parent)
        findings = doctor_store.look_at_store(f"{url},{url[:-6]}b.zarr", write=True)
        assert [finding.name for finding in findings[-3:]] == ["lock", "times", "writing"]
        assert "written, flushed to disk, verified and deleted" in findings[-1].found
        assert _files(Path(url).parent) == before

    def test_a_place_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        finding = named(doctor_store.look_at_store(str(tmp_path / "file" / "a.zarr"), write=True), "writing")
        assert finding.state == "broken"
        assert "cannot be locked" in finding.found

    def test_a_disk_that_is_full_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(writer: BlockWriter, block: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(BlockWriter, "write", fail)
        finding = named(doctor_store.look_at_store(str(tmp_path / "a.zarr"), write=True), "writing")
        assert finding.state == "broken"
        assert "No space left" in finding.found
        assert not list(tmp_path.iterdir())

    def test_a_file_system_without_exclusive_creation(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def overwrite(lock: LockFile, path: str, content: bytes) -> bool:
            Path(path).write_bytes(content)
            return True

        monkeypatch.setattr(LockFile, "_create", overwrite)
        finding = named(doctor_store.look_at_store(str(tmp_path / "a.zarr"), write=True), "writing")
        assert finding.state == "broken"
        assert "two jobs got the lock at once" in finding.found

    def test_no_times_of_modification(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LockFile, "age_seconds", lambda lock: None)
        finding = named(doctor_store.look_at_store(str(tmp_path / "a.zarr"), write=True), "times")
        assert finding.state == "warning"
        assert "--break-lock" in finding.advice

    def test_an_object_store(self, s3_bucket: str) -> None:
        import s3fs

        findings = doctor_store.look_at_store(f"{s3_bucket}/a.zarr", write=True)
        assert [(finding.name, finding.state) for finding in findings[1:]] == [
            ("lock", "ok"), ("times", "ok"), ("writing", "ok")
        ]  # fmt: skip
        assert not s3fs.S3FileSystem(skip_instance_cache=True).find(s3_bucket)


class TestHub:
    @pytest.fixture
    def endpoint(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
        """A hub on loopback that answers with a status."""
        monkeypatch.undo()
        status = [200]

        class Answer(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(status[0])
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        yield lambda number: status.__setitem__(0, number)
        server.shutdown()
        thread.join()
        server.server_close()

    def test_it_is_asked_only_on_request(self, endpoint: Callable[[int], None]) -> None:
        assert named(doctor_hub.look_at_hub(network=False), "network").found.startswith("not tried")
        asked = named(doctor_hub.look_at_hub(network=True), "network")
        assert (asked.state, asked.found.endswith("answers (200)")) == ("ok", True)
        endpoint(503)
        asked = named(doctor_hub.look_at_hub(network=True), "network")
        assert (asked.state, asked.found.endswith("answers 503")) == ("warning", True)

    def test_who_answers_does_not_speak_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        with socket.create_server(("127.0.0.1", 0)) as peer:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{peer.getsockname()[1]}")

            def greet() -> None:
                with peer.accept()[0] as connection:
                    connection.recv(4096)
                    connection.sendall(b"220 mail.example.org ESMTP\r\n")

            thread = threading.Thread(target=greet)
            thread.start()
            finding = named(doctor_hub.look_at_hub(network=True), "network")
            thread.join()
        assert finding.state == "warning"
        assert "is not reached: 220 mail.example.org" in finding.found

    def test_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert named(doctor_hub.look_at_hub(network=True), "network").found == "not used: HF_HUB_OFFLINE is set"

    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        finding = named(doctor_hub.look_at_hub(network=True), "network")
        assert finding.state == "warning"
        assert "is not reached" in finding.found


def test_a_request_that_names_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    diagnosis = run_doctor(DoctorRequest(store=str(tmp_path / "a.zarr"), write=True, network=True))
    assert diagnosis.healthy
    assert {finding.topic for finding in diagnosis.findings} >= {"store", "hub"}


def _versions(changed: dict[str, str | None]) -> Callable[[str], str]:
    """``importlib.metadata.version`` with other versions; None: not installed."""
    real = doctor_packages.version

    def version(name: str) -> str:
        found = changed.get(name, "")
        if found is None:
            raise PackageNotFoundError(name)
        return found or real(name)

    return version


def _files(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*") if path.is_file()}
