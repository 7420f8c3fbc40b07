"""The ablations on a small rendering: which trainings they make, and that their tables say what was measured."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from scale_video.evaluate.result import read_results
from scale_video.pipelines import ablations
from scale_video.pipelines.demo import DemoRequest
from scale_video.pipelines.preset import load_preset

DEFAULT = load_preset("demo", dataset="demo").pretrain


@pytest.mark.parametrize(
    "variation", ablations.VARIATIONS, ids=lambda variation: f"{variation.question} {variation.name}"
)
def test_every_variation_is_a_training_of_its_own(variation: ablations.Variation) -> None:
    config = load_preset("demo", dataset="demo", overrides=variation.overrides).pretrain
    assert config != DEFAULT
    other = [load_preset("demo", dataset="demo", overrides=v.overrides).pretrain for v in ablations.VARIATIONS]
    assert other.count(config) == 1


@pytest.mark.slow
def test_the_whole_run(tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    few = [v for v in ablations.VARIATIONS if v.question in ("clips per set", "positions") and "," not in v.name]
    assert [v.name for v in few] == ["1 (pairs of clips)", "shuffled"]
    monkeypatch.setattr(ablations, "VARIATIONS", tuple(few))
    monkeypatch.setattr(ablations, "CLIPS_AT_TEST", (2, 16))
    cheap = tuple(probe for probe in ablations.PRACTICE_PROBES if probe != ("x", "nonlinear-per-clip"))
    monkeypatch.setattr(ablations, "PRACTICE_PROBES", cheap)
    command = ("ablations", "--videos", 24, 24, "--seeds", 1, "--set", "pretrain.epochs=1", "--workers", 1)
    printed = run_cli(*command).output
    folder = tmp_path / "runs/ablations"
    found = json.loads((folder / "ablations.json").read_text())
    page = (folder / "ablations.md").read_text()

    rows = {
        (r.dataset, r.preset, r.representation, r.protocol, r.pretrained_on != "", *r.options.values()): r.value
        for r in read_results(folder / "results.json")
        if r.metric == "top1" and "selection_on_test" not in r.options
    }
    for name, label in (("shuffled", "ablation-positions-shuffled"), ("both losses, sets of 8, 2 masked", "demo")):
        cells = [
            rows["demo", label, representation, protocol, False]
            for protocol, representation in (("knn", "h"), ("knn", "cls"), ("knn", "x+cls"), ("linear", "x+cls"))
        ]
        assert f"{name} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |" in page
        assert re.search(name + r"\W+" + r"\W+".join(f"{100 * cell:.1f}" for cell in cells), printed)
    two = [rows["demo", "demo", "x", "knn", False, 2, draw] for draw in range(3)]
    mean = 100 * sum(two) / 3
    assert re.search(rf"\| 2 \| {mean:.1f} \({100 * min(two):.1f} – {100 * max(two):.1f}\) \|", page)
    transferred = 100 * rows["demo-hard", "demo", "cls", "knn", True]
    assert f"| trained on demo | cls | {transferred:.1f} |" in page
    kept = [
        r
        for r in read_results(folder / "results.json")
        if (r.dataset, r.metric, r.protocol) == ("demo", "top1", "fine-tuning")
    ]
    by_practice = [(r.preset, r.pretrain_videos, r.seen, dict(r.options)) for r in kept]
    chosen_on_test = {"selection_on_test": 1}
    assert sorted(by_practice, key=repr) == sorted(
        [
            ("demo", "train", False, {}),
            ("ablation-masks-drawn-clip-by-clip", "train", False, {}),
            ("demo-all-videos", "all", True, {}),
            ("demo", "train", False, chosen_on_test),
            ("ablation-all-three-as-published", "all", True, chosen_on_test),
        ],
        key=repr,
    )
    claims = {(c["claim"], c["representation"]): c["estimate"]["value"] for c in found["claims"]}
    assert claims.keys() == {(claim, name) for claim, names in (("clips", ("x", "init h", "h")),
                             ("sets", ("x", "init h", "init cls", "h", "cls"))) for name in names}  # fmt: skip
    assert f"| found first | {100 * claims['sets', 'x']:.1f} |" in page.replace("the video's other set of clips ", "")
    assert found["extraction_seconds"] > 0
    assert not (folder / "extraction.zarr").exists()

    assert (
        len(list(tmp_path.glob("runs/demo*/**/last.ckpt"))) == 7
    )  # default, two variations, three practices, demo-hard
    kept = ablations._extraction_seconds(DemoRequest(root=tmp_path), folder / "extraction.json")
    assert kept == found["extraction_seconds"]  # measured once
