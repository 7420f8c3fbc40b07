"""An export is probed, embedded with and refused as its checkpoint is; its card can be followed without us."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load, save

from scale_video.aggregate.checkpoint import CheckpointError, load_aggregator
from scale_video.aggregate.embed import embed_clips, embed_videos
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.export import run_export
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.pipelines.provenance import features_digest
from scale_video.store.read import FeatureStore

MakeStore = Callable[..., str]
Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_store: MakeStore, small_training: tuple[str, ...]
) -> tuple[ExperimentRequest, Path]:
    """An experiment on random features, and its checkpoint."""
    root = tmp_path_factory.mktemp("export")
    store = make_store(root / "a.zarr")
    request = ExperimentRequest(
        dataset="folder", store=store, preset="honest", overrides=small_training[1::2], runs=root / "runs"
    )
    (checkpoint,) = run_pretraining(request)
    return request, checkpoint


def test_an_export_is_probed_as_its_checkpoint(trained: tuple[ExperimentRequest, Path], tmp_path: Path) -> None:
    request, checkpoint = trained
    result = run_export(checkpoint.parent, tmp_path / "out" / "x.safetensors")
    assert (result.num_training_videos, result.complete, result.has_recipe) == (28, True, True)
    records = [
        run_evaluation(request, protocols=("knn",), representations=("cls", "x+h+cls"), checkpoints=[path])
        for path in (checkpoint, result.output)
    ]
    for ours, theirs in zip(*records, strict=True):
        assert ours == replace(theirs, checkpoint=ours.checkpoint, seconds=ours.seconds)
        assert ours.pretrain_videos == "train"


def test_seen_test_videos_are_refused_by_their_digests(trained: tuple[ExperimentRequest, Path], tmp_path: Path) -> None:
    on_all = replace(trained[0], videos="all")
    (checkpoint,) = run_pretraining(on_all)
    export = run_export(checkpoint).output
    with pytest.raises(ValueError, match="was pre-trained on test videos of this split"):
        run_evaluation(trained[0], protocols=("knn",), representations=("cls",), checkpoints=[export])
    (record,) = run_evaluation(
        trained[0], protocols=("knn",), representations=("cls",), checkpoints=[export], allow_seen=True
    )
    assert (record.seen, record.pretrain_videos) == (True, "all")
    assert b"a/00.mp4" not in export.read_bytes()


def test_the_header_and_the_card_say_where_it_comes_from(trained: tuple[ExperimentRequest, Path]) -> None:
    request, checkpoint = trained
    result = run_export(checkpoint)
    assert result.output == checkpoint.with_name("aggregator.safetensors")
    header = _header(result.output)
    store = FeatureStore.open(request.store)
    assert header["provenance"]["plan_digest"] == store.plan_digest("random")
    assert header["provenance"]["recipe"]["view"] == dict(store.plan_parameters("random"))
    assert header["provenance"]["recipe"]["backbone"]["weights_digest"] == "w0"
    assert header["config"] == load_aggregator(checkpoint).config.to_mapping()
    assert {
        "training_video_ids": [],
        "num_training_videos": 28,
        "backbone_licence": "unknown",
    }.items() <= header.items()
    page = result.card.read_text()
    features = features_digest(store, view="random", backbone=store.backbones("random")[0])
    for text in (
        store.plan_digest("random"),
        features,
        "w0",
        "| videos | 28 |",
        "folder",
        "1, train",
        result.aggregator_digest,
    ):
        assert text in page
    assert str(checkpoint.parent) not in page
    assert str(checkpoint.parent).encode() not in result.output.read_bytes()


@pytest.mark.parametrize(("view", "positions"), [("random", "relative"), ("grid", "absolute")])
def test_the_cards_program_computes_the_same_without_us(
    trained: tuple[ExperimentRequest, Path], view: str, positions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, _ = trained
    options = f"train_view={view}", f"pretrain.model.positions={positions}"
    (checkpoint,) = run_pretraining(replace(request, overrides=(*request.overrides, *options), label=view))
    result = run_export(checkpoint)
    (program,) = re.findall(r"```python\n(.*?)```", result.card.read_text(), flags=re.DOTALL)
    assert "scale_video." not in program  # nothing of ours is imported
    monkeypatch.chdir(checkpoint.parent)
    theirs: dict[str, Any] = {}
    exec(program, theirs)  # the page promises that this works
    features = FeatureStore.open(request.store).read_features(view, "tiny", np.arange(5))
    model = load_aggregator(checkpoint).model
    ours = embed_videos(model, features, flips=view == "random")
    clips = embed_clips(model, features, flips=view == "random")
    with torch.inference_mode():
        for row in range(5):
            tokens = theirs["model"](
                torch.from_numpy(features.features[row]).float(), torch.from_numpy(features.coordinates[row])
            ).numpy()
            np.testing.assert_allclose(tokens[0], ours.cls[row], atol=1e-5)
            np.testing.assert_allclose(tokens[1:], clips[row], atol=1e-5)


def test_what_cannot_be_exported(trained: tuple[ExperimentRequest, Path], tmp_path: Path) -> None:
    _, checkpoint = trained
    shutil.copytree(checkpoint.parent, tmp_path / "runs" / "seed0")
    shutil.copytree(checkpoint.parent, tmp_path / "runs" / "seed1")
    with pytest.raises(CheckpointError, match=r"has those of 2 seeds; name one, such as '.*seed0/last\.ckpt'"):
        run_export(tmp_path / "runs")
    with pytest.raises(CheckpointError, match=r"and the folder .* has none"):
        run_export(tmp_path)
    with pytest.raises(ValueError, match=r"--output must end in \.safetensors, got 'x\.bin'"):
        run_export(checkpoint, tmp_path / "x.bin")
    export = run_export(checkpoint).output
    run_export(checkpoint)  # again, in its own place
    with pytest.raises(ValueError, match="is what is to be exported"):
        run_export(export, export)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(save({"weight": torch.zeros(3)}))  # somebody's backbone
    with pytest.raises(ValueError, match=r"model\.safetensors' is there, and no export; choose another place"):
        run_export(checkpoint, weights)
    assert load(weights.read_bytes())["weight"].shape == (3,)
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(ValueError, match=r"the card would replace '.*README\.md', which is none"):
        run_export(checkpoint, tmp_path / "README.safetensors")
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    assert not (tmp_path / "README.safetensors").exists()


@pytest.mark.parametrize(("probability", "flips"), [(0.5, True), (0.0, False), ("often", False), (None, False)])
def test_a_recipe_of_anybody_says_whether_clips_are_mirrored(probability: object, flips: bool) -> None:
    assert FeatureRecipe("random", {"flip_probability": probability}, "tiny", {}).flips is flips


def test_the_command(trained: tuple[ExperimentRequest, Path], run_cli: Cli) -> None:
    _, checkpoint = trained
    said = json.loads(run_cli("export", checkpoint.parent, "--output", "x.safetensors", "--json").stdout)
    assert (said["output"], said["card"]) == ("x.safetensors", "x.md")
    content = torch.load(checkpoint, weights_only=True)
    content["scale_video"]["share_done"] = 0.5
    del content["scale_video"]["provenance"]["recipe"]  # as earlier releases wrote it
    torch.save(content, "old.ckpt")
    result = run_cli("export", "old.ckpt")
    assert "warning: the training had not reached its end" in result.stderr
    assert "files can be embedded with --store only" in result.stderr
    assert "name a store by `--store` to embed files" in Path("aggregator.md").read_text()
    assert "no checkpoint at 'nothing'" in run_cli("export", "nothing", status=1).stderr


def _header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    described: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["scale_video"])
    return described
