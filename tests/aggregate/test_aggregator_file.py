"""An export is read in a checkpoint's place; whatever else a file says ends in one line, without code and memory."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scale_video.aggregate.checkpoint import (
    RECORD,
    CheckpointError,
    TrainingRecord,
    load_aggregator,
    save_aggregator,
)
from scale_video.aggregate.initial_aggregator import initial_aggregator

MOST_MEBIBYTES = 64
"""What reading a lie may take, beyond what the file holds."""


@pytest.fixture
def loaded(tiny_config, tmp_path):
    record = TrainingRecord(
        config=tiny_config,
        feature_dim=6,
        training_video_ids=("a.mp4", "ü.mp4"),
        provenance={"view": "random", "recipe": {"view": {"kind": "random"}, "backbone": {"none": None}}},
        epochs_done=2,
    )
    weights = initial_aggregator(tiny_config, feature_dim=6, seed=3).state_dict()
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"aggregator.{k}": v for k, v in weights.items()}, RECORD: record.to_plain()}, path)
    return load_aggregator(path)


@pytest.fixture
def export(loaded, tmp_path):
    save_aggregator(tmp_path / "x.safetensors", loaded, also={"num_training_videos": 2})
    return tmp_path / "x.safetensors"


def rewrite(path, tensors=None, **changes):
    """The same export with other entries of its description, or other tensors."""
    description, before = described(path), load_file(path)
    description.update(changes)
    save_file(before if tensors is None else tensors, path, {"scale_video": json.dumps(description)})


def described(path):
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    return json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["scale_video"])


def with_header(path, header, *, length=None):
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)


def test_round_trip(export, loaded):
    again = load_aggregator(export, feature_dim=6)
    ours, theirs = again.model.state_dict(), loaded.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not again.model.training
    assert all(parameter.requires_grad for parameter in again.model.parameters())  # a probe may fine-tune it
    assert (again.config, again.epochs_done, again.provenance) == (loaded.config, 2, loaded.provenance)
    assert again.training_video_ids == ()
    assert again.training_videos.contains(("a.mp4", "b.mp4", "ü.mp4")).tolist() == [True, False, True]
    assert described(export)["num_training_videos"] == 2
    assert b"a.mp4" not in export.read_bytes()


def test_equal_exports_are_equal_files_and_leave_nothing_else(export, loaded, tmp_path):
    save_aggregator(tmp_path / "y.safetensors", load_aggregator(export), also={"num_training_videos": 2})
    assert (tmp_path / "y.safetensors").read_bytes() == export.read_bytes()
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".ckpt"}
    with pytest.raises(ValueError, match=r"an export ends in \.safetensors, got 'x\.bin'"):
        save_aggregator(tmp_path / "x.bin", loaded, also={})


def test_loading_draws_no_random_numbers(export):
    before = torch.random.get_rng_state()
    load_aggregator(export)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_dimension_and_no_file(export, tmp_path):
    with pytest.raises(CheckpointError, match="was trained on features of dimension 6, but these have 768"):
        load_aggregator(export, feature_dim=768)
    with pytest.raises(CheckpointError, match=r"no export at '.*none\.safetensors'; `scale-video export` makes one"):
        load_aggregator(tmp_path / "none.safetensors")


def peak_mebibytes():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def refused(path, match):
    """That loading fails in one line and takes next to no memory."""
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mebibytes()
    with pytest.raises(CheckpointError, match=match) as error:
        load_aggregator(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert peak_mebibytes() - before < MOST_MEBIBYTES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "claims 0 bytes"),
        (b"\xff" * 8, "claims 18446744073709551615 bytes, where 0 are possible"),
        (b"\x80PK torch.save", "claims .* bytes, where"),
        (struct.pack("<Q", 2**30) + b"{}", "claims 1073741824 bytes, where 2 are"),
        (struct.pack("<Q", 5) + b'{"\xff"}', "codec can't decode"),
        (struct.pack("<Q", 2) + b"[]", "its header has no 'scale_video'"),
        (struct.pack("<Q", 2) + b"{}", "its header has no 'scale_video'"),
    ],
)
def test_garbage(tmp_path, content, reason):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, rf"'.*x\.safetensors' is no export of scale-video \(.*{reason}.*\); name another file")


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("[" * 100_000, "its header is nested too deeply"),
        ("[1]", "'scale_video' in its header is no object"),
        ('{"a": ' + "9" * 10_000 + "}", "Exceeds the limit"),
        ("no JSON", "Expecting value"),
    ],
)
def test_a_hostile_description(tmp_path, description, reason):
    header = json.dumps({"__metadata__": {"scale_video": description}}).encode()
    with_header(tmp_path / "x.safetensors", header)
    refused(tmp_path / "x.safetensors", reason)


def test_a_header_that_is_longer_than_any_of_ours(tmp_path):
    with_header(tmp_path / "x.safetensors", b"{" + b" " * (1 << 22) + b"}")
    refused(tmp_path / "x.safetensors", r"claims 4194306 bytes, where 4194304 are possible")


@pytest.mark.parametrize("size", [10**6, 10**18, 10**60])
@pytest.mark.parametrize("name", ["width", "num_layers", "position_hidden_dim", "num_heads", "mlp_ratio"])
def test_a_model_that_claims_to_be_larger_than_its_weights(export, name, size):
    config = described(export)["config"]
    config["model"][name] = size
    if name == "width":
        config["model"]["num_heads"] = 1
    rewrite(export, config=config)
    refused(export, "are not those of the set transformer that it describes|what this release cannot read")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, "has format version 2, this release reads 1; update scale-video"),
        ({"feature_dim": 10**12}, "are not those of the set transformer"),
        ({"feature_dim": "6"}, "no count: '6'"),
        ({"feature_dim": True}, "no count: True"),
        ({"config": 3}, "what this release cannot read"),
        ({"config": {"strange": 1}}, "unknown key 'strange'"),
        ({"config": {"model": {"width": float("nan")}}}, "must be"),
        ({"provenance": 3}, "what this release cannot read"),
        ({"epochs_done": -1}, "no count: -1"),
    ],
)
def test_a_record_that_makes_no_sense(export, changes, reason):
    rewrite(export, **changes)
    refused(export, reason)


def test_weights_that_are_missing_superfluous_or_of_another_shape(export):
    whole = load_file(export)
    for changed in (
        {name: tensor for name, tensor in whole.items() if name != "norm.weight"},
        {**whole, "more": torch.zeros(1)},
        {**whole, "norm.weight": torch.zeros(3)},
        {"training_videos": whole["training_videos"]},
    ):
        rewrite(export, changed)
        refused(export, "are not those of the set transformer that it describes")
    for videos in (torch.zeros(2), torch.zeros(2, 2, dtype=torch.int64)):
        rewrite(export, {**whole, "training_videos": videos})
        refused(export, "does not say which videos it was trained on")


def test_tensors_that_reach_beyond_the_file(export):
    content = export.read_bytes()
    export.write_bytes(content[:-1000])
    refused(export, "its tensors are damaged")
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["norm.weight"] = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    with_header(export, json.dumps(header).encode())
    refused(export, "its tensors are damaged")


def test_only_the_recipe_makes_no_other_training(loaded):
    record = TrainingRecord(loaded.config, 6, ("a",), {"view": "random", "recipe": {"view": {"seed": 1}}})
    assert record.difference(replace(record, provenance={"view": "random"})) is None
    assert record.difference(replace(record, provenance={"view": "grid"})) == "provenance.view: 'random' != 'grid'"
