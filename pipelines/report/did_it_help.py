"""Section 2: the scores, what is gained over the raw features, with how few clips, on which classes, what is mixed up.

All of it is read from ``results.json`` and the outcomes beside it; nothing is probed.
"""

from collections.abc import Iterator
from typing import Final

from scale_video.pipelines.cells import Located
from scale_video.pipelines.chosen_rows import CLASS_METRIC, clip_curves
from scale_video.pipelines.headings import is_part, metric_title, protocol_title
from scale_video.pipelines.preset import load_preset
from scale_video.pipelines.report.classes import gain_by_class, mixed_up
from scale_video.pipelines.report.draw import draw_clip_curves
from scale_video.pipelines.report.gains import gain_over_raw
from scale_video.pipelines.report.score_table import main_part, table_block
from scale_video.pipelines.report.section import (
    Block,
    FigureBlock,
    Missing,
    NotThereError,
    Outline,
    Paragraph,
    Part,
)
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.result_files import main_metrics
from scale_video.pipelines.tables import DEFAULT_REPRESENTATIONS, make_table


def _scores(sources: ReportSources) -> Iterator[Block]:
    table = sources.own_table
    yield table_block(main_part(table))
    if not any(one.record.checkpoint for one in sources.own_rows):
        yield Missing("No aggregator was evaluated.", f"{sources.command('pretrain')} && {sources.command('evaluate')}")
    yield table_block(table, caption="All metrics, and probes with fewer clips or labels", folded=True)
    if sources.num_of_other_features:
        yield Paragraph(f"Left out: {sources.num_of_other_features} rows of results.json that are of other features.")


def _others(sources: ReportSources) -> Iterator[Block]:
    """The same features under other experiments: a preset as published, a label, aggregators from elsewhere."""
    rows = [
        Located(record, sources.results_folder)
        for record in sources.records
        if record.representation in DEFAULT_REPRESENTATIONS and not any(map(is_part, record.options))
    ]
    if len({(one.record.preset, one.record.pretrained_on) for one in rows if one.record.checkpoint}) < 2:
        other = "paper" if sources.experiment.experiment != "paper" else "honest"
        text = "No other experiment was evaluated on these features"
        needed = load_preset(other, dataset=sources.experiment.dataset)
        if not {needed.train_view, needed.test_view} <= set(sources.store.views()):
            raise NotThereError(f"{text}; those of preset {other!r} take views that the store lacks.")
        raise NotThereError(
            f"{text}, such as the other preset.",
            f"{sources.command('pretrain', preset=other)} && "
            f"{sources.command('evaluate', '--allow-seen', preset=other)}",
        )
    yield table_block(make_table(main_metrics(rows)))


def _few_clips(sources: ReportSources) -> Iterator[Block]:
    there = False
    for protocol, records in sources.class_rows.items():
        if curves := clip_curves(records):
            there = True
            yield FigureBlock(
                draw_clip_curves(curves, unit=f"{metric_title(CLASS_METRIC)} (%)"),
                f"{protocol_title(protocol)} with so many random clips of each test video; bands: lowest to highest of "
                "seeds and draws; dashed: all clips.",
                f"Accuracy of {protocol_title(protocol)} against the number of clips of a test video.",
            )
    if not there:
        raise NotThereError(
            "Nothing was tested with fewer clips.",
            sources.command("evaluate", "--clips", "1,2,4,8", "--clip-draws", "3"),
        )


DID_IT_HELP: Final = Outline(
    "Did it help",
    "did-it-help",
    (
        Part("Scores", _scores),
        Part("Gain over the raw features", gain_over_raw),
        Part("Beside other experiments", _others),
        Part("With fewer clips", _few_clips),
        Part("Gain by class", gain_by_class),
        Part("What is mixed up", mixed_up),
    ),
)
