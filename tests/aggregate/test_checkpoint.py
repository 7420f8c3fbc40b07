import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_video.aggregate.checkpoint import CheckpointError, TrainingRecord, load_aggregator, load_record
from scale_video.aggregate.lightning_module import SetPretraining


@pytest.fixture
def record(tiny_config):
    return TrainingRecord(
        config=tiny_config,
        feature_dim=6,
        training_video_ids=("a/b.mp4", "ü.mp4"),
        provenance={"store": "x.zarr", "backbone": {"name": "tiny", "weights_digest": "ab"}},
        epochs_done=2,
    )


@pytest.fixture
def checkpoint(record, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": SetPretraining(record).state_dict(), "scale_video": record.to_plain()}, path)
    return path


def test_round_trip(checkpoint, record):
    assert load_record(checkpoint) == record
    loaded = load_aggregator(checkpoint, feature_dim=6)
    weights, expected = loaded.model.state_dict(), SetPretraining(record).aggregator.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert not loaded.model.training
    assert (loaded.config, loaded.epochs_done) == (record.config, 2)
    assert loaded.training_video_ids == record.training_video_ids
    assert loaded.provenance == record.provenance


def test_another_dimension(checkpoint):
    message = "was trained on features of dimension 6, but these have 768; pass a checkpoint of the same backbone, or"
    with pytest.raises(CheckpointError, match=message):
        load_aggregator(checkpoint, feature_dim=768)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at '.*none.ckpt'; run pre-training first"):
        load_aggregator(tmp_path / "none.ckpt")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 not quite a zip", "half"])
def test_garbage(checkpoint, damage):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    with pytest.raises(CheckpointError, match=r"'.*last\.ckpt' cannot be read as a checkpoint .*; delete it") as error:
        load_aggregator(checkpoint)
    assert "\n" not in str(error.value)


class _Payload:
    executed = False

    def __reduce__(self):
        return (setattr, (_Payload, "executed", True))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_does_not_run(tmp_path, save):
    path = tmp_path / "evil.ckpt"
    save({"scale_video": _Payload()}, path)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_aggregator(path)
    assert not _Payload.executed


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_somebody_elses_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"'.*other\.ckpt' is no checkpoint of scale-video"):
        load_record(tmp_path / "other.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(checkpoint, value):
    """Vectors would be NaN, and so would all scores."""
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["aggregator.norm.weight"][1] = value
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=r"are not finite \(norm\.weight\)"):
        load_aggregator(checkpoint)


def test_a_later_format(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["scale_video"]["format_version"] = 2
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match="has format version 2, this release reads 1; update scale-video"):
        load_record(checkpoint)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"mean": np.float64(1)}, "provenance.mean must be str, int, float, bool, None, list or dict, got float64"),
        ({"a": {"b": [None, (1,)]}}, "provenance.a.b must be .*, got tuple"),
    ],
)
def test_provenance_must_be_plain(tiny_config, value, message):
    with pytest.raises(ValueError, match=message):
        TrainingRecord(config=tiny_config, feature_dim=6, training_video_ids=(), provenance=value)


def test_differences_are_named(record):
    assert record.difference(replace(record, epochs_done=0)) is None
    model = replace(record.config.model, dropout=0.2)
    for changed, message in [
        (replace(record, config=replace(record.config, learning_rate=0.1)), "config.learning_rate: 0.001 != 0.1"),
        (replace(record, config=replace(record.config, model=model)), "config.model.dropout: 0.1 != 0.2"),
        (replace(record, feature_dim=7), "feature_dim: 6 != 7"),
        (replace(record, provenance={"store": "x.zarr"}), "provenance.backbone.name: 'tiny' != None"),
        (replace(record, training_video_ids=("a/b.mp4",)), "training_video_ids: 1 of 2 and 1 entries differ"),
        (replace(record, training_video_ids=("ü.mp4", "a/b.mp4")), "training_video_ids: the order differs"),
    ]:
        assert record.difference(changed) == message
