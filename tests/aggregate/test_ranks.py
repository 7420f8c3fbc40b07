"""Two processes that train together, against one that sees the whole batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only

from scale_video.aggregate.checkpoint import load_record
from scale_video.aggregate.data_module import ClipSetDataModule, even_batch_size
from scale_video.aggregate.devices import is_first_of_all
from scale_video.aggregate.pretrain import pretrain

PROGRAM = Path(__file__).with_name("two_ranks.py")
CASES = ("exact-all", "exact-masked", "independent-all", "independent-masked", "rarely-masked", "sets-alone")
UNEVEN = 53
"""Videos of a store with blocks of 8: the two ranks have 26 each, and other numbers of blocks."""


@pytest.fixture(scope="module")
def program(module_at) -> ModuleType:
    return module_at("aggregate/two_ranks.py")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory, write_store, make_features) -> Path:
    """What two processes leave behind."""
    folder = tmp_path_factory.mktemp("two")
    write_store(folder / "store.zarr", make_features(num_videos=UNEVEN, fewer=(3, 0, 8)), block_size=8)
    done = run_two(folder)
    assert done.returncode == 0, done.stderr
    return folder


def run_two(folder: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE")}
    command = [sys.executable, str(PROGRAM), str(folder), "2", *options]
    return subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True, check=False)


def of_ranks(folder, entry):
    return [json.loads((folder / f"rank{rank}.json").read_text())[entry] for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_are_those_of_one_device(program, of_two, tmp_path, case):
    config = program.CASES[case]
    alone = program.train(tmp_path / case, program.random_features(), config, devices=1)
    expected = json.loads((tmp_path / case / "rank0.json").read_text())["losses"]
    losses = np.mean(of_ranks(of_two / case, "losses"), axis=0)
    assert len(expected) == 6
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    ours, theirs = (torch.load(path, weights_only=True)["state_dict"] for path in (of_two / case / "last.ckpt", alone))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        apart = (ours[name] - theirs[name]).abs()
        if name.endswith("in_proj_bias"):
            # A bias of all keys changes no attention. Its gradient is rounding, which Adam scales up to a step.
            apart = torch.cat([apart[:16], apart[32:]])
        assert apart.max() < 1e-5, name
    metrics = [(folder / case / "metrics.csv").read_text().splitlines() for folder in (of_two, tmp_path)]
    assert len(metrics[0]) == len(metrics[1]) == 3
    for mine, its in zip(metrics[0][1:], metrics[1][1:], strict=True):
        columns = metrics[0][0].split(",")
        together, single = (dict(zip(columns, line.split(","), strict=True)) for line in (mine, its))
        for column in (name for name in columns if name.endswith(("loss", "accuracy", "rate")) and single[name]):
            assert float(together[column]) == pytest.approx(float(single[column]), abs=1e-5), column


def test_weights_have_moved(program, of_two, tmp_path):
    """Or the comparison above would compare nothing."""
    path = of_two / "exact-all" / "last.ckpt"
    losses = np.mean(of_ranks(of_two / "exact-all", "losses"), axis=0)
    assert abs(losses[-1] - losses[0]) > 0.01
    unequal = np.abs(np.subtract(*of_ranks(of_two / "exact-all", "losses")))
    assert unequal.min() > 1e-4  # each rank has rows of its own
    assert load_record(path).is_complete


def test_ranks_of_a_stream_take_equally_many_steps(of_two, make_features):
    data = make_features(num_videos=UNEVEN, fewer=(3, 0, 8))
    row_of = {tuple(clip): row for row, clips in enumerate(data.features.tolist()) for clip in clips}
    losses, seen = of_ranks(of_two / "stream", "losses"), of_ranks(of_two / "stream", "seen")
    assert [len(of_rank) for of_rank in losses] == [16, 16]  # 51 usable videos: 8 batches of 6, twice
    for epoch in (0, 1):
        rows = [{row_of[tuple(clip)] for clip in clips[epoch * 24 :][:24]} for clips in seen]
        assert [len(of_rank) for of_rank in rows] == [24, 24]
        assert rows[0].isdisjoint(rows[1])


def test_when_one_rank_fails_all_end_and_say_why(tmp_path):
    done = run_two(tmp_path, "1")
    assert done.returncode == 1
    assert "OSError: the disk of this rank is gone" in done.stderr
    assert not (tmp_path / "failed" / "lock.json").exists()  # the same command may be given at once


def test_one_process_writes(of_two):
    assert {file.name for file in (of_two / "exact-all").iterdir()} == {
        "last.ckpt", "best.ckpt", "metrics.csv", "rank0.json", "rank1.json",
    }  # fmt: skip


@pytest.mark.parametrize(("batch_size", "num_ranks", "way_out"), [(511, 2, 512), (4, 3, 6), (2, 8, 8)])
def test_a_batch_that_cannot_be_shared_out(make_features, tiny_config, tmp_path, batch_size, num_ranks, way_out):
    message = (
        rf"batch_size \({batch_size}\) cannot be shared out evenly among {num_ranks} devices; set it to {way_out} "
    )
    with pytest.raises(ValueError, match=message):
        even_batch_size(batch_size, num_videos=1000, num_ranks=num_ranks)


def test_too_few_videos_for_a_batch_of_many_ranks(make_features, tiny_config):
    assert even_batch_size(512, num_videos=103, num_ranks=4) == 100
    with pytest.raises(ValueError, match="3 usable videos are too few for 4 devices; train on fewer devices"):
        ClipSetDataModule(make_features(num_videos=3), tiny_config, num_ranks=4)


def test_what_is_refused_costs_no_checkpoint(make_features, tiny_config, tmp_path, monkeypatch):
    """Though it was to be trained anew."""
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    given = {"run_dir": tmp_path, "provenance": {}, "accelerator": "cpu", "resume": False}
    checkpoint = pretrain(make_features(), replace(tiny_config, epochs=1), **given)
    with pytest.raises(ValueError, match=r"minutes \(5\) needs one device, for the clocks of 2 differ; give epochs or"):
        pretrain(make_features(), replace(tiny_config, minutes=5.0), devices=2, **given)
    with pytest.raises(ValueError, match="2 nodes have to be told of each other"):
        pretrain(make_features(), tiny_config, nodes=2, **given)
    assert load_record(checkpoint).is_complete
    assert checkpoint.with_name("best.ckpt").exists()


def test_nodes_have_to_be_told_of_each_other(make_features, tiny_config, tmp_path, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match="2 nodes have to be told of each other: run under SLURM"):
        pretrain(make_features(), tiny_config, run_dir=tmp_path, provenance={}, accelerator="cpu", nodes=2)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),
        ({"GROUP_RANK": "2", "NODE_RANK": "0"}, False),
    ],
)
def test_the_first_process_of_the_first_node_holds_the_run_folder(monkeypatch, environment, first):
    for name in ("NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_of_all() is first
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert not is_first_of_all()
