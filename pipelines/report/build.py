"""``scale-video report``: what was run, what it is worth, what it learned and how it went, on one page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Final

from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.console import ticking
from scale_video.pipelines.paths import write_whole
from scale_video.pipelines.preset import default_preset
from scale_video.pipelines.report.did_it_help import DID_IT_HELP
from scale_video.pipelines.report.extraction import EXTRACTION
from scale_video.pipelines.report.page import render_page
from scale_video.pipelines.report.section import Missing, Outline, Section, fill
from scale_video.pipelines.report.sources import ReportRequest, ReportSources
from scale_video.pipelines.report.training import TRAINING
from scale_video.pipelines.report.what_it_learned import WHAT_IT_LEARNED
from scale_video.pipelines.report.what_was_run import WHAT_WAS_RUN

OUTLINES: Final[tuple[Outline, ...]] = (WHAT_WAS_RUN, DID_IT_HELP, WHAT_IT_LEARNED, TRAINING, EXTRACTION)
"""In the order in which one asks."""


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What was written."""

    path: Path
    num_bytes: int
    missing: tuple[str, ...]
    """What the page says is not there, a line each."""
    seconds: float


def run_report(request: ReportRequest) -> ReportResult:
    """Make the report of an experiment from what is there of it.

    Raises:
        OSError: it cannot be written.
        ValueError: a preset that cannot be read.
    """
    started = perf_counter()
    sources = ReportSources(request)
    sections = []
    with ticking("report", len(OUTLINES)) as ticker:
        for number, outline in enumerate(OUTLINES, start=1):
            sections.append(fill(outline, sources))
            ticker.update(number, outline.title)
    path = request.output or sources.results_folder / _file_name(request)
    page = render_page(sections, title=_title(request), subtitle=_subtitle(request))
    write_whole(path, page)
    return ReportResult(path, path.stat().st_size, _missing(sections), perf_counter() - started)


def _file_name(request: ReportRequest) -> str:
    """``report.html``, with what is not the usual of a data set: ``report-paper-split2.html``."""
    experiment = request.experiment
    parts = ["report"]
    parts += [experiment.backbone] if experiment.backbone else []
    parts += [experiment.experiment] if experiment.experiment != default_preset(experiment.dataset) else []
    parts += [f"split{experiment.split}"] if experiment.split != "1" else []
    return re.sub(r"[^\w.+@-]", "_", "-".join(parts)) + ".html"


def _title(request: ReportRequest) -> str:
    experiment = request.experiment
    named = experiment.experiment if experiment.experiment != default_preset(experiment.dataset) else ""
    return ", ".join(part for part in (f"Report on {experiment.dataset}", named) if part)


def _subtitle(request: ReportRequest) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    revision = git_revision()
    code = f"scale-video {versions()['scale-video']}" + (f" at {revision[:12]}" if revision else "")
    return f"Split {request.experiment.split}, store {request.experiment.store}. Written {now} by {code}."


def _missing(sections: Sequence[Section]) -> tuple[str, ...]:
    """What is not there, once for all parts that lack the same."""
    titles: dict[Missing, list[str]] = {}
    for part in (part for section in sections for part in section.parts):
        for block in part.blocks:
            if isinstance(block, Missing):
                titles.setdefault(block, []).append(part.title)
    return tuple(
        f"{', '.join(of_block)}: {block.text}" + (f" ({block.command})" if block.command else "")
        for block, of_block in titles.items()
    )
