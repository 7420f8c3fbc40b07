"""Journals of the stages: what they say of real jobs, and what damage, a full disk and long jobs do to them."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import Result
from pytorch_lightning import Trainer

from scale_video.aggregate.checkpoint import load_record
from scale_video.extract.job import JobProgress
from scale_video.pipelines import extraction, job_notes
from scale_video.pipelines.device_name import device_name
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.evaluation_journal import read_evaluation_journal
from scale_video.pipelines.extraction_journal import JobBegan, JobEnded, JobWent, read_extraction_journal
from scale_video.pipelines.job_notes import JobNotes
from scale_video.pipelines.journal_file import JournalFile, read_events
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.training_journal import read_training_journal
from scale_video.pipelines.training_notes import TrainingJournal
from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore

Cli = Callable[..., Result]
MakeVideo = Callable[..., None]
MakeStore = Callable[..., str]
RequestFor = Callable[..., ExperimentRequest]


@dataclass(frozen=True, slots=True)
class Measured:
    """An event."""

    name: str
    seconds: float


# --- the file ---------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.jsonl"
    events = [Measured("ü\ud800\n", 1.5), Measured("b", 2)]
    for event in events:
        JournalFile(path).append(event)
    assert list(read_events(path, [Measured])) == events
    assert len(path.read_text().splitlines()) == 2
    assert list(read_events(tmp_path / "none.jsonl", [Measured])) == []
    JournalFile(None).append(events[0])


@pytest.mark.parametrize(
    "damage",
    [b'{"event": "Measured", "na', b"\xff\xfe\n", b"[1, 2]\n", b'{"event": "Measured", "name": "no seconds"}\n',
     b'{"event": "Measured", "name": 7, "seconds": 1}\n', b'{"event": "OfAnotherRelease", "name": "x"}\n', b"\n\n",
     b"[" * 100_000 + b"\n"],
)  # fmt: skip
def test_a_damaged_line_costs_no_other(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.jsonl"
    JournalFile(path).append(Measured("before", 1.0))
    with path.open("ab") as file:
        file.write(damage)
    assert [event.name for event in read_events(path, [Measured])] == ["before"]
    JournalFile(path).append(Measured("after", 2.0))
    assert [event.name for event in read_events(path, [Measured])] == ["before", "after"]


def test_fields_of_a_later_release_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"event": "Measured", "name": "x", "seconds": 1, "mood": "good"}\n')
    assert list(read_events(tmp_path / "a.jsonl", [Measured])) == [Measured("x", 1)]


def test_writers_at_the_same_time_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    def write(name: str) -> None:
        file = JournalFile(path)
        for number in range(50):
            file.append(Measured(name * 500, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = list(read_events(path, [Measured]))
    assert sorted((event.name[0], event.seconds) for event in read) == [(n, i) for n in "abcd" for i in range(50)]


def test_a_full_disk_is_said_once_and_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    file = JournalFile(Path("/dev/full"))  # every write to it fails as on a full disk
    for _ in range(3):
        file.append(Measured("x", 1.0))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "warning: the journal cannot be written, the job goes on without it" in line
    assert "No space left on device" in line


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("a file")
    JournalFile(tmp_path / "runs" / "demo" / "a.jsonl").append(Measured("x", 1.0))
    assert "the journal cannot be written" in capsys.readouterr().err


# --- stage 1 ----------------------------------------------------------------------------------------------------------


def test_a_job_of_ten_days_makes_a_thousand_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(job_notes, "perf_counter", lambda: now)
    path = tmp_path / "a.jsonl"
    notes = JobNotes(JournalFile(path), "job")
    counts = {}
    for day in (1, 10):
        while now < day * 86400:
            notes.progress(JobProgress(num_clips=int(now)))
            now += 60
        counts[day] = len(path.read_text().splitlines())
    assert counts[1] < 720
    assert counts[10] < 960
    seconds = [event.seconds for event in read_events(path, [JobWent])]
    assert all(later - earlier <= 0.01 * earlier + 60 for earlier, later in pairwise(seconds))


def test_extraction_is_noted_from_plan_to_end(
    run_cli: Cli, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        make_video(tmp_path / "videos" / f"{seed}.mp4", seed=seed, num_frames=60)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no film")
    command = ("extract", "--dataset", "folder", "--data", tmp_path / "videos", "--backbone", "motion3d",
               "--views", "random", "--clips", 2, "--block-size", 2, "--workers", 1, "--threads", "--no-estimate",
               "--decoders", 1, "--max-failures", 1)  # fmt: skip

    def fail(*args: object, **given: object) -> None:
        raise StoreError("the store cannot be written:\nthe disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "run_extraction", fail)
        run_cli(*command, status=1)
    run_cli(*command)
    path = Path("runs/folder/extraction.jsonl")
    written = path.read_bytes()
    run_cli(*command)
    assert path.read_bytes() == written  # nothing was to be done

    store = FeatureStore.open("features/folder.zarr")
    record = read_extraction_journal(path, plan_digests=[store.plan_digest("random")])
    (planned,) = record.planned
    assert (planned.num_videos, planned.unreadable, planned.device) == (5, {"corrupt": 1}, device_name("cpu"))
    failed, complete = record.jobs
    assert failed.ended is not None
    assert (failed.ended.how, failed.ended.error) == ("failed", "the store cannot be written: the disk is full")
    assert (failed.ended.statuses, failed.went) == ({}, ())
    assert complete.ended is not None
    assert complete.ended.how == "complete"
    assert complete.ended.statuses == {"random/motion3d": {"ok": 4, "corrupt": 1}}
    began, went = complete.began, complete.went[-1]
    assert (began.devices, began.num_threads, began.num_decoders) == ({device_name("cpu"): 1}, 1, 1)
    assert (began.num_blocks, began.there, began.num_videos) == (3, {"random/motion3d": 0}, 5)
    assert began.plan_digests == {"random": store.plan_digest("random")}
    assert began.git_revision == store.attributes["git_revision"]
    assert planned.time <= failed.began.time <= complete.began.time <= complete.ended.time
    assert (went.num_videos, went.num_clips, went.failures) == (5, 8, {"corrupt": 1})
    assert went.seconds == complete.seconds > 0
    assert 0 < went.wait_seconds + went.forward_seconds + went.write_seconds <= went.block_seconds + 0.01
    assert str(tmp_path) not in written.decode()
    assert read_extraction_journal(path, plan_digests=["another"]).jobs == ()


def test_a_job_that_is_interrupted_and_one_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    interrupted = JobNotes(JournalFile(path), "interrupted")
    interrupted.broken_off(KeyboardInterrupt())
    (ended,) = read_events(path, [JobEnded])
    assert (ended.how, ended.error, ended.statuses) == ("interrupted", "", {})
    began = JobBegan("killed", "2026-01-01T00:00:00Z", {"random": "d"}, ("x",), {}, "", {}, 1, 1, 1, {}, 5)
    JournalFile(path).append(began)
    JobNotes(JournalFile(path), "killed")._went(JobProgress(num_videos=3), 12.0)
    (job,) = read_extraction_journal(path, plan_digests=["d"]).jobs  # the other one's beginning is not there
    assert (job.ended, job.seconds, job.went[0].num_videos) == (None, 12.0, 3)


# --- stage 2 and the probes -------------------------------------------------------------------------------------------


def test_trainings_and_evaluations_are_noted(tmp_path: Path, make_store: MakeStore, request_for: RequestFor) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"))
    (checkpoint,) = run_pretraining(request)
    run_pretraining(request)  # complete already
    (call,) = read_training_journal(checkpoint.parent)
    began, ended = call.began, call.ended
    assert ended is not None
    assert (began.device, began.num_devices, began.residency) == (device_name("cpu"), 1, "memory")
    assert (began.precision, began.compile, began.steps_before) == ("fp32", "off", 0)
    assert (ended.how, ended.error) == ("complete", "")
    assert ended.steps == load_record(checkpoint).steps_done == 2 * (28 // 8)
    assert ended.sets == ended.steps * 8 * 2
    assert began.time <= ended.time
    assert ended.seconds > 0

    records = run_evaluation(request, protocols=("knn",))
    with pytest.raises(ZeroDivisionError):
        run_evaluation(request, protocols=("knn",), watch=lambda candidate: 1 // 0)  # type: ignore[arg-type]
    done, failed = read_evaluation_journal(tmp_path / "runs" / "folder")
    assert (done.how, done.num_records, done.protocols) == ("complete", len(records), ["knn"])
    assert (done.dataset, done.split, done.experiment, done.backbone) == ("folder", "1", "honest", "tiny")
    assert (done.device, done.seconds > sum(record.seconds for record in records) / 2) == (device_name("cpu"), True)
    assert (failed.how, failed.error, failed.num_records) == ("failed", "integer division or modulo by zero", 0)


def test_an_interrupted_training_goes_on_in_a_call_of_its_own(
    tmp_path: Path, make_store: MakeStore, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"))

    def stop(self: TrainingJournal, trainer: Trainer, *args: object) -> None:
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # what would end the program
    with monkeypatch.context() as patch:
        patch.setattr(TrainingJournal, "on_train_batch_end", stop)
        with pytest.raises(SystemExit):
            run_pretraining(request)
    signal.signal(signal.SIGTERM, before)
    (checkpoint,) = run_pretraining(request)
    first, second = read_training_journal(checkpoint.parent)
    assert first.ended is not None
    assert second.ended is not None
    assert (first.ended.how, first.ended.steps) == ("interrupted", 2)
    assert (second.began.steps_before, second.ended.how, second.ended.steps) == (2, "complete", 4)
    run_pretraining(request, restart=True)
    (anew,) = read_training_journal(checkpoint.parent)
    assert (anew.began.steps_before, anew.ended and anew.ended.steps) == (0, 6)
