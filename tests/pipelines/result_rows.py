"""Rows of results with outcomes, as probes leave them in a run folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from scale_video.evaluate.bootstrap import estimate
from scale_video.evaluate.outcomes import Outcomes, write_outcomes
from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import EvaluationRecord, add_records

NUM_CLASSES = 4


def write_row(
    folder: Path,
    *,
    accuracy: float = 0.5,
    draw: int = 0,
    representation: str = "x",
    seed: int | None = None,
    num_videos: int = 40,
    prefix: str = "",
    dataset: str = "ucf101",
    split: str = "1",
    protocol: str = "knn",
    preset: str = "honest",
    backbone: str = "svt",
    options: Mapping[str, float] | None = None,
    seen: bool = False,
    note: str = "",
    digests: tuple[str, str, str] = ("plan", "plan", "weights"),
    pretrained_on: str = "",
    training: str = "",
    target: str = "label",
) -> EvaluationRecord:
    """Add the rows of one probe, with top-1 and top-5; the one of top-1 comes back."""
    rng = np.random.default_rng(draw)
    right = rng.random(num_videos) < accuracy
    labels = np.arange(num_videos) % NUM_CLASSES
    wrong = (labels + rng.integers(1, NUM_CLASSES, size=num_videos)) % NUM_CLASSES
    groups = np.array([f"{prefix}film{index // 2}" for index in range(num_videos)])
    scores = {"top1": right.astype(float), "top5": np.ones(num_videos)}
    records = []
    if representation not in RAW_REPRESENTATIONS:
        seed = seed or 0
    for metric, values in scores.items():
        found = estimate(values, groups)
        records.append(
            EvaluationRecord(
                dataset=dataset,
                split=split,
                preset=preset,
                backbone=backbone,
                plan_digest=digests[0],
                test_plan_digest=digests[1],
                weights_digest=digests[2],
                representation=representation,
                protocol=protocol,
                metric=metric,
                value=found.value,
                ci_low=found.low,
                ci_high=found.high,
                num_train=100,
                num_test=num_videos,
                seed=seed,
                checkpoint=None if seed is None or representation == "init" else f"seed{seed}/last.ckpt",
                hyperparameters={"k": 20},
                seconds=0.1,
                seen=seen,
                note=note,
                options=dict(options or {}),
                pretrained_on=pretrained_on,
                training=training,
                target=target,
            )
        )
    name = f"outcomes/{records[0].outcomes_name}"
    ids = np.array([f"{prefix}video{index:03d}" for index in range(num_videos)])
    write_outcomes(folder / name, Outcomes(ids, groups, labels, scores, np.where(right, labels, wrong)))
    records = [replace(record, outcomes=name) for record in records]
    add_records(folder / "results.json", records)
    return records[0]
