"""Section 1: data, clips, backbone, settings, time, and the commands that do it again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from scale_video.pipelines.flat_settings import flat_settings
from scale_video.pipelines.report.section import (
    Block,
    Commands,
    Missing,
    NotThereError,
    Outline,
    Paragraph,
    Part,
    TableBlock,
)
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.report.stage_times import StageTime, as_rows, stage_times
from scale_video.store.video_table import SPLIT_CODES

CONFIG_NAME: Final = "config.json"


def _data(sources: ReportSources) -> Iterator[Block]:
    store = sources.store
    videos = store.videos
    seconds = float(np.nansum(np.maximum(videos.parts.durations(store.column("duration_seconds")), 0)))
    rows = [
        ("data set", sources.experiment.dataset),
        ("store", sources.experiment.store),
        ("videos", f"{store.num_videos:,}"),
        ("length of all videos", _hours(seconds)),
        *((f"classes of {name}", f"{len(names):,}") for name, names in videos.class_names.items()),
        *(
            (
                f"split {split}",
                ", ".join(f"{n:,} {part}" for part in SPLIT_CODES if (n := len(videos.in_split(split, part)))),
            )
            for split in sorted(videos.splits)
        ),
        ("format version", str(store.attributes.get("format_version", "unknown"))),
        ("planned by revision", str(store.attributes.get("git_revision") or "unknown")),
    ]
    yield _facts(rows)


def _clips(sources: ReportSources) -> Iterator[Block]:
    """The plan of both sides, a column each where they differ."""
    store, preset = sources.store, sources.preset
    views = dict.fromkeys((preset.train_view, preset.test_view))
    plans = {view: flat_settings(store.plan_parameters(view)) for view in views if view in store.views()}
    for view in views:
        if view not in plans:
            yield Missing(f"The store has no view {view!r}.", sources.command("extract"))
    if not plans:
        return
    names = dict.fromkeys(name for plan in plans.values() for name in plan)
    digests = {view: store.plan_digest(view) for view in plans}
    titles = {preset.train_view: "training", preset.test_view: "test"}
    if len(views) == 1:
        titles = dict.fromkeys(views, "training and test")
    yield TableBlock(
        ("", *(f"view {view} ({titles[view]})" for view in plans)),
        (
            ("plan digest", *(digests[view] for view in plans)),
            ("clips of a video, at most", *(str(store.num_clips(view)) for view in plans)),
            *((name, *(plan.get(name, "–") for plan in plans.values())) for name in names),
        ),
    )


def _backbone(sources: ReportSources) -> Iterator[Block]:
    attributes = dict(sources.store.backbone_attributes(sources.preset.train_view, sources.backbone))
    first = {
        "name": sources.backbone,
        "source": attributes.pop("source", "unknown"),
        "licence of the weights": attributes.pop("licence", "unknown"),
        "digest of the weights": attributes.pop("weights_digest", "unknown"),
    }
    attributes.pop("created", None)
    yield _facts([(name, str(value)) for name, value in first.items()] + list(flat_settings(attributes).items()))


def _settings(sources: ReportSources) -> Iterator[Block]:
    """As a run wrote them down; before there is one, as the preset has them."""
    configs = {seed: _read_config(folder) for seed, folder in sources.run_folders().items()}
    configs = {seed: config for seed, config in configs.items() if config}
    if not configs:
        yield Missing("Nothing was pre-trained yet; these settings are the preset's.", sources.command("pretrain"))
        rows = [("preset", sources.preset.name), *flat_settings(sources.preset.pretrain.to_mapping()).items()]
        yield TableBlock(("pre-training", "value"), tuple(rows), caption="All settings", folded=True)
        return
    first = configs[min(configs)]
    about = {
        "seeds": ", ".join(map(str, configs)),
        "preset": first.get("preset"),
        "videos": first.get("pretrain_videos"),
    }
    about |= {"views": ", ".join(str(first[key]) for key in ("view", "second_view") if key in first)}
    settings = {name: value for name, value in flat_settings(first.get("pretrain", {})).items() if name != "seed"}
    yield Paragraph("; ".join(f"{name} {value}" for name, value in about.items()) + ".")
    of_training = tuple((name, str(value)) for name, value in (about | settings).items())
    yield TableBlock(("pre-training", "value"), of_training, caption="All settings", folded=True)
    for seed, config in configs.items():
        ours = {name: value for name, value in flat_settings(config.get("pretrain", {})).items() if name != "seed"}
        if differing := sorted(name for name in ours | settings if ours.get(name) != settings.get(name)):
            yield Missing(f"Seed {seed} was trained with other settings than the first: {', '.join(differing)}.")


def _versions(sources: ReportSources) -> Iterator[Block]:
    """Of what planned the store and of what trained, a column for all stages that had the same."""
    stages: list[tuple[str, dict[str, Any]]] = []
    try:
        stages.append(("store", _versions_in(sources.store.attributes)))
    except NotThereError as error:
        yield error.missing
    for seed, folder in sources.run_folders().items():
        if config := _read_config(folder):
            stages.append((f"pre-training, seed {seed}", _versions_in(config)))
    columns: list[tuple[list[str], dict[str, Any]]] = []
    for stage, versions in stages:
        same = next((titles for titles, found in columns if found == versions), None)
        if same is not None:
            same.append(stage)
        else:
            columns.append(([stage], versions))
    names = dict.fromkeys(name for _, versions in columns for name in versions)
    rows = tuple((name, *(str(versions.get(name, "–")) for _, versions in columns)) for name in names)
    headings = ("", *("; ".join(titles) for titles, _ in columns))
    yield TableBlock(headings, rows, caption="Versions of packages and of the code", folded=True)


def _versions_in(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values.get("versions", {}), "git revision": values.get("git_revision") or "unknown"}


def _time(sources: ReportSources) -> Iterator[Block]:
    times = list(stage_times(sources))
    if not any(one.stage == "evaluation" for one in times):  # by a release that kept no journal
        with suppress(NotThereError):
            probes = {record.probe_key: record.seconds for record in sources.records}
            times.append(StageTime(f"evaluation, {len(probes)} probes", "", sum(probes.values()), ""))
    if not times:
        raise NotThereError("No stage wrote down how long it took.", sources.command("pretrain"))
    yield TableBlock(("stage", "began", "took", "on", ""), tuple(as_rows(times)))


def _commands(sources: ReportSources) -> Iterator[Block]:
    yield Commands(
        (
            sources.command("extract"),
            sources.command("pretrain", "--seeds", str(max(1, len(sources.run_folders())))),
            sources.command("evaluate", "--seeds", str(max(1, len(sources.run_folders())))),
            sources.command("report"),
        )
    )


def _read_config(folder: Path) -> dict[str, Any]:
    """What a run wrote beside its checkpoint; empty where there is nothing."""
    path = folder / CONFIG_NAME
    if not path.exists():
        return {}
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no table; pre-train again")
    return found


def _facts(rows: "list[tuple[str, str]]") -> TableBlock:
    return TableBlock(("", ""), tuple(rows))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


WHAT_WAS_RUN: Final = Outline(
    "What was run",
    "what-was-run",
    (
        Part("Data", _data),
        Part("Clips", _clips),
        Part("Backbone", _backbone),
        Part("Settings", _settings),
        Part("Versions", _versions),
        Part("Time and device", _time),
        Part("Do it again", _commands),
    ),
)
