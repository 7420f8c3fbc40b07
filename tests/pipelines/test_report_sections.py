"""How training and extraction went, as the report tells it: against the journals, metrics and stores behind it."""

import csv
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from bokeh.models.renderers import GlyphRenderer

from scale_video.aggregate.checkpoint import EPOCH
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.extraction_journal import JobBegan, JobEnded, JobRecord, JobWent, Planned
from scale_video.pipelines.journal_file import JournalFile
from scale_video.pipelines.paths import ExperimentRequest, extraction_journal, write_whole
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.report.extraction import EXTRACTION, speed_line
from scale_video.pipelines.report.page import render_page
from scale_video.pipelines.report.section import FigureBlock, FilledPart, Missing, Paragraph, Section, TableBlock, fill
from scale_video.pipelines.report.sources import ReportRequest, ReportSources
from scale_video.pipelines.report.stage_times import stage_times
from scale_video.pipelines.report.training import MAX_EPOCHS, TRAINING
from scale_video.pipelines.report.what_was_run import WHAT_WAS_RUN
from scale_video.pipelines.run_metrics import read_metrics
from scale_video.pipelines.training_journal import read_training_journal
from scale_video.store.create import create_store
from scale_video.store.read import FeatureStore
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

if TYPE_CHECKING:
    from playwright.sync_api import Page

MakeStore = Callable[..., str]
RequestFor = Callable[..., ExperimentRequest]

SCRIPT = "<script>alert(1)</script>"
"""Part of a video's name."""


def part_of(section: Section, title: str) -> FilledPart:
    (part,) = (part for part in section.parts if part.title == title)
    return part


def blocks_of(section: Section, title: str, kind: type) -> list[Any]:
    return [block for block in part_of(section, title).blocks if isinstance(block, kind)]


def columns_of(figure: FigureBlock) -> list[dict[str, list[Any]]]:
    """What the glyphs of a figure are drawn from."""
    renderers = [found for found in figure.figure.references() if isinstance(found, GlyphRenderer)]
    return [{name: list(column) for name, column in each.data_source.data.items()} for each in renderers]


def went(job: str, seconds: float, clips: int, **times: float) -> JobWent:
    parts = dict.fromkeys(("wait", "decode", "resize", "forward", "write", "block"), 0.0) | times
    return JobWent(
        job, seconds, clips // 16, clips, {"corrupt": 2}, **{f"{name}_seconds": parts[name] for name in parts}
    )


def note_jobs(request: ExperimentRequest) -> None:
    """A job that was killed, one that ended well, and one about another store."""
    digest = FeatureStore.open(request.store).plan_digest("random")
    file = JournalFile(extraction_journal(request.runs, dataset="folder"))
    file.append(Planned("2026-01-01T10:00:00Z", {"random": digest}, 30.0, "a CPU", 40, {"corrupt": 1}))
    for job, plan in (("killed", digest), ("well", digest), ("another", "0" * 32)):
        devices = {SCRIPT: 2}
        file.append(
            JobBegan(job, "2026-01-01T10:01:00Z", {"random": plan}, ("tiny",), {}, "", devices, 4, 3, 1, {}, 40)
        )
    for second in range(10, 101, 10):
        file.append(went("killed", second, 16 * second, wait=second, forward=2 * second, block=4 * second))
        file.append(went("another", second, 1_000_000))
    file.append(went("well", 60.0, 160, decode=30, resize=10, write=5, block=5))
    file.append(JobEnded("well", "2026-01-01T10:02:00Z", 60.0, "complete", "", {"random/tiny": {"ok": 38}}))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, make_store: MakeStore) -> str:
    """A store in which two videos failed in both views."""
    return make_store(tmp_path_factory.mktemp("report sections") / "a.zarr", failed=(3, 5), prefix=SCRIPT)


@pytest.fixture
def extracted(stored: str, request_for: RequestFor) -> ReportSources:
    """That store, with a journal; nothing was trained."""
    request = request_for(stored)
    note_jobs(request)
    return ReportSources(ReportRequest(request))


def test_statuses_and_failures_are_those_of_the_store(extracted: ReportSources) -> None:
    section = fill(EXTRACTION, extracted)
    (table,) = blocks_of(section, "Videos", TableBlock)
    assert (table.columns, set(table.rows)) == (
        ("features", "ok", "corrupt"), {("random/tiny", "38", "2"), ("grid/tiny", "38", "2")},
    )  # fmt: skip
    reasons, videos = blocks_of(section, "Failures", TableBlock)
    paths = [extracted.store.videos.paths[row] for row in (3, 5)]
    assert [row[1:] for row in reasons.rows] == [("corrupt", "no frames", paths[0], "2")] * 2
    assert [row[0] for row in videos.rows] == 2 * paths
    assert videos.caption == "Videos that could not be had in full: 4"


def test_of_many_failures_some_are_listed(extracted: ReportSources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scale_video.pipelines.report.extraction.MAX_FAILURES", 3)
    monkeypatch.setattr("scale_video.pipelines.report.extraction._MAX_REASONS", 1)
    reasons, videos = blocks_of(fill(EXTRACTION, extracted), "Failures", TableBlock)
    assert len(videos.rows) == 3
    assert videos.caption == "Videos that could not be had in full: the first 3 of 4"
    assert f"scale-video failures {extracted.experiment.store}" in videos.notes[0]
    assert (len(reasons.rows), reasons.notes) == (1, ("the 1 most frequent of 2",))


def test_speed_and_shares_are_those_of_the_journal(extracted: ReportSources) -> None:
    section = fill(EXTRACTION, extracted)
    (jobs,) = blocks_of(section, "Speed", TableBlock)
    killed, well = jobs.rows  # the third one is about another store
    assert killed == ("2026-01-01 10:01:00 UTC", "1.7 min", f"2 × {SCRIPT}", "4", "3", "100 of 40", "1,600", "16.0",
                      "no end is noted: at work, or killed")  # fmt: skip
    assert well[5:] == ("10 of 40", "160", "2.7", "complete")
    (figure,) = blocks_of(section, "Speed", FigureBlock)
    steady, short = sorted(columns_of(figure), key=lambda columns: -len(columns["rate"]))
    assert set(steady["rate"]) == {16.0}
    assert short["time"] == [0, 60]
    assert short["rate"] == [160 / 60] * 2
    (shares,) = blocks_of(section, "Where the time went", TableBlock)
    assert [(whose, part, share) for whose, part, _, share in shares.rows] == [
        ("workers", "wait", f"{100 * 100 / 405:.1f} %"), ("workers", "forward", f"{100 * 200 / 405:.1f} %"),
        ("workers", "write", f"{100 * 5 / 405:.1f} %"), ("workers", "rest", f"{100 * 100 / 405:.1f} %"),
        ("decoders", "decode", "75.0 %"), ("decoders", "resize", "25.0 %"),
    ]  # fmt: skip
    (bars,) = blocks_of(section, "Where the time went", FigureBlock)
    for whose in (0, 1):
        ends = sorted((c["left"][0], c["right"][0]) for c in columns_of(bars) if c["y"] == [whose])
        assert ends[0][0] == 0
        assert ends[-1][1] == pytest.approx(100)
        assert all(right == pytest.approx(left) for (_, right), (left, _) in pairwise(ends))


def test_a_speed_is_the_mean_of_a_sixtieth_of_the_job_and_of_whole_blocks() -> None:
    began = JobBegan("j", "2026-01-01T00:00:00Z", {}, (), {}, "", {}, 1, 1, 1, {}, 1)
    notes = [(float(second), 1000 * (second // 50)) for second in range(1, 1201)]  # a block of 1000 clips every 50 s
    line = speed_line(JobRecord(began, tuple(went("j", *note) for note in notes)))
    assert len(line.ends) == 24
    assert line.rates == [20.0] * 24
    assert line.ends == [50.0 * (block + 1) for block in range(24)]
    slow = speed_line(JobRecord(began, tuple(went("j", float(second), second) for second in range(1, 601))))
    assert len(slow.ends) == 60
    clips = [rate * (end - start) for rate, (start, end) in zip(slow.rates, pairwise([0, *slow.ends]), strict=True)]
    assert sum(clips) == pytest.approx(600)
    stalled = speed_line(JobRecord(began, tuple(went("j", *note) for note in ((10.0, 100), (60.0, 100), (60.5, 100)))))
    assert (stalled.ends, stalled.rates) == ([10.0, 60.5], [10.0, 0.0])
    ended = speed_line(JobRecord(began, tuple(went("j", *note) for note in ((30.0, 60), (60.0, 120), (60.5, 120)))))
    assert (ended.ends, ended.rates) == ([30.0, 60.5], [2.0, 60 / 30.5])


def test_coverage_counts_all_planned_clips(extracted: ReportSources) -> None:
    figures = blocks_of(fill(EXTRACTION, extracted), "What clips cover", FigureBlock)
    assert [figure.caption for figure in figures] == [
        "View grid: 640 planned clips of 40 videos.", "View random: 640 planned clips of 40 videos.",
    ]  # fmt: skip
    (counts,) = (columns["count"] for columns in columns_of(figures[0]) if "count" in columns)
    assert sum(counts) == 640


def test_what_is_not_there_is_said(tmp_path: Path, stored: str, request_for: RequestFor) -> None:
    nothing = ReportSources(ReportRequest(request_for(str(tmp_path / "none.zarr"))))
    for outline in (EXTRACTION, TRAINING):
        for part in fill(outline, nothing).parts:
            (block,) = part.blocks
            assert isinstance(block, Missing)
            assert "scale-video extract" in block.command
    sources = ReportSources(ReportRequest(request_for(stored)))
    for title in ("Speed", "Where the time went"):
        (missing,) = blocks_of(fill(EXTRACTION, sources), title, Missing)
        assert "kept no journal" in missing.text
    for part in fill(TRAINING, sources).parts:
        (block,) = part.blocks
        assert "scale-video pretrain" in block.command
    assert list(stage_times(sources)) == []


def write_metrics(folder: Path, num_epochs: int, *columns: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "seconds", *columns])
        writer.writerows([epoch, 0.5, *[epoch / 4] * len(columns)] for epoch in range(1, num_epochs + 1))


def test_old_long_and_damaged_metrics(tmp_path: Path, stored: str, request_for: RequestFor) -> None:
    request = request_for(stored)
    runs = tmp_path / "runs" / "folder" / "tiny" / "split1"
    write_metrics(runs / "seed0", 2500, "loss", "set_loss")  # of a release that measured no spread
    with (runs / "seed0" / "metrics.csv").open("a") as file:
        file.write("2501,0.")  # the process was killed
    section = fill(TRAINING, ReportSources(ReportRequest(request)))
    (row,) = blocks_of(section, "Seeds", TableBlock)[0].rows
    assert row == ("seed 0", "no checkpoint", "–", "–", "21 min", "–", "–", "625.000", "–")
    (figure,) = blocks_of(section, "Losses and accuracies", FigureBlock)
    (line,) = columns_of(figure)
    assert len(line["epoch"]) <= MAX_EPOCHS
    assert line["epoch"][-1] == 2500
    assert [value / epoch for epoch, value in zip(line["epoch"], line["value"], strict=True)] == [0.25] * len(
        line["epoch"]
    )
    assert "one epoch in 3 is drawn" in figure.caption
    (missing,) = blocks_of(section, "Spread of embeddings", Missing)
    assert "not measured yet" in missing.text
    write_metrics(tmp_path / "dark", 3, "loss")
    with (tmp_path / "dark" / "metrics.csv").open("ab") as file:
        file.write(b"\0" * 200_000 + b"\n")  # power was lost
    assert read_metrics(tmp_path / "dark").epochs == (1, 2, 3)
    (runs / "seed0" / "metrics.csv").write_bytes(b"\xff\x00 not a table")
    for title in ("Seeds", "Losses and accuracies"):
        (missing,) = blocks_of(fill(TRAINING, ReportSources(ReportRequest(request))), title, Missing)
        assert re.search("could not be made: .*metrics.csv' has no columns of metrics", missing.text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_training: tuple[str, ...], stored: str) -> ReportSources:
    """Two seeds, and an evaluation, on that store."""
    request = ExperimentRequest(
        dataset="folder",
        store=stored,
        preset="honest",
        overrides=tuple(part for part in small_training if part != "--set"),
        runs=tmp_path_factory.mktemp("trained sections") / "runs",
        num_seeds=2,
    )
    run_pretraining(request)
    run_evaluation(request, protocols=("knn",))
    note_jobs(request)
    return ReportSources(ReportRequest(request))


def test_curves_are_those_of_the_metrics(trained: ReportSources) -> None:
    section = fill(TRAINING, trained)
    losses, accuracies = blocks_of(section, "Losses and accuracies", FigureBlock)
    (rate,) = blocks_of(section, "Learning rate", FigureBlock)
    (spreads,) = blocks_of(section, "Spread of embeddings", FigureBlock)
    wanted = {"loss": losses, "accuracy": accuracies, "spread": spreads}
    for seed, folder in trained.run_folders().items():
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2
        for what, figure in wanted.items():
            drawn = [c["value"] for c in columns_of(figure) if c["name"][0] == f"seed {seed}"]
            for task in ("masked_clip", "set"):
                assert [float(row[f"{task}_{what}"]) for row in rows] in drawn
        assert [float(row["learning_rate"]) for row in rows] in [c["value"] for c in columns_of(rate)]
        last = rows[-1]
        row = blocks_of(section, "Seeds", TableBlock)[0].rows[seed]
        assert row[:4] == (f"seed {seed}", "complete", "2", "6")
        assert row[5:] == tuple(
            f"{float(last[name]):.3f}"
            for name in ("masked_clip_loss", "masked_clip_accuracy", "set_loss", "set_accuracy")
        )


def test_collapse_is_told_by_the_counts_of_the_checkpoints(trained: ReportSources, tmp_path: Path) -> None:
    section = fill(TRAINING, trained)
    (table,) = blocks_of(section, "Collapse", TableBlock)
    assert [row[0] for row in table.rows] == [f"seed {s}, {task}" for s in (0, 1) for task in ("masked clips", "sets")]
    assert {row[-1] for row in table.rows} == {"nothing to say"}
    path = trained.run_folders()[1] / "last.ckpt"
    whole = path.read_bytes()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[EPOCH]["warnings"] = {"at_chance": {"set": 4}, "collapsed": {}}
    torch.save(checkpoint, path)
    section = fill(TRAINING, trained)
    (said,) = blocks_of(section, "Collapse", Paragraph)
    path.write_bytes(whole)
    assert re.match(r"Seed 1: task 'set' does no better than chance.*4 epochs in a row.*learning_rate", said.text)
    (table,) = blocks_of(section, "Collapse", TableBlock)
    assert table.rows[3][3:] == ("4", "0", "see below")


def test_time_and_device_of_each_stage(trained: ReportSources) -> None:
    planning, extraction, first, second, evaluation = stage_times(trained)
    assert (planning.stage, planning.began, planning.seconds) == ("planning", "2026-01-01T10:00:00Z", 30.0)
    assert (extraction.stage, extraction.seconds, extraction.device) == ("extraction", 160.0, f"2 × {SCRIPT}")
    assert extraction.note == "2 jobs, of 1 no end is noted"
    for seed, stage in enumerate((first, second)):
        (call,) = read_training_journal(trained.run_folders()[seed])
        assert call.ended is not None
        assert (stage.stage, stage.seconds, stage.device) == (
            f"pre-training, seed {seed}", call.ended.seconds, call.began.device,
        )  # fmt: skip
    noted = json.loads((trained.results_folder / "evaluation.jsonl").read_text())
    assert (evaluation.seconds, evaluation.began) == (noted["seconds"], noted["time"])


def test_parts_of_a_file_are_not_as_long_as_the_file(tmp_path: Path, request_for: RequestFor) -> None:
    videos = VideoTable(
        ids=("a.mp4#-4", "a.mp4#4-", "b.mp4#12-"), paths=("a.mp4", "a.mp4", "b.mp4"), groups=("a", "a", "b"),
        labels={}, class_names={}, splits={}, start_seconds=np.array([np.nan, 4, 12]),
        end_seconds=np.array([4, np.nan, np.nan]),
    )  # fmt: skip
    probe = VideoProbe(VideoStatus.OK, duration_seconds=90, frames_per_second=5, num_frames=450, height=4, width=4)
    probes = [probe, probe, replace(probe, duration_seconds=10)]
    create_store(tmp_path / "s.zarr", videos=videos, probes=probes, plans=[], attributes={"dataset": "folder"})
    section = fill(WHAT_WAS_RUN, ReportSources(ReportRequest(request_for(str(tmp_path / "s.zarr")))))
    assert dict(blocks_of(section, "Data", TableBlock)[0].rows)["length of all videos"] == "1.5 minutes"


def test_a_name_that_is_no_text_costs_no_page(tmp_path: Path) -> None:
    write_whole(tmp_path / "page.html", f"of {os.fsdecode(b'caf' + bytes([0xE9]))}.mp4")
    assert (tmp_path / "page.html").read_text() == "of caf?.mp4"


DRAWN = """canvases => canvases.filter(canvas => canvas.width && new Uint32Array(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer).some(pixel => pixel)).length"""


def test_the_page_is_drawn_and_names_are_harmless(trained: ReportSources, tmp_path: Path, page: "Page") -> None:
    sections = [fill(outline, trained) for outline in (TRAINING, EXTRACTION)]
    text = render_page(sections, title="x", subtitle="y")
    assert SCRIPT not in text
    (tmp_path / "page.html").write_text(text)
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("Bokeh.documents.length && Bokeh.documents[0].is_idle", timeout=60_000)
    num_figures = sum(isinstance(block, FigureBlock) for s in sections for part in s.parts for block in part.blocks)
    assert num_figures == 4 + 2 + 2
    assert page.locator("figure.figure canvas").evaluate_all(DRAWN) >= 13  # rows of two are two figures
    page.get_by_text("Videos that could not be had in full").click()
    assert page.get_by_text(f"{SCRIPT}03.mp4").first.is_visible()
    assert alerts == []
