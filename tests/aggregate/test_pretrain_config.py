import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from scale_video.aggregate.pretrain_config import PretrainConfig


def test_defaults_are_the_papers():
    config = PretrainConfig()
    assert (config.batch_size, config.epochs, config.clips_per_set) == (512, 200, 8)
    assert (config.learning_rate, config.weight_decay, config.warmup_fraction) == (3e-4, 1e-4, 0.05)
    assert (config.prediction_hidden_dim, config.target_hidden_dim, config.projection_dim) == (4096, 2048, 128)
    assert (config.temperature, config.mask_fraction, config.negatives) == (0.2, 0.25, "all")
    assert config.masked_clip_weight == config.set_weight == 0.5


def test_round_trip():
    config = PretrainConfig.from_mapping({"epochs": 7, "negatives": "masked", "model": {"width": 64, "num_heads": 2}})
    assert (config.epochs, config.negatives, config.model.width, config.model.num_layers) == (7, "masked", 64, 2)
    assert PretrainConfig.from_mapping(config.to_mapping()) == config


def test_a_toml_table_may_write_whole_numbers():
    table = tomllib.loads("temperature = 1\nset_weight = 1\n[model]\nmlp_ratio = 4")
    config = PretrainConfig.from_mapping(table)
    assert (config.temperature, config.model.mlp_ratio) == (1.0, 4.0)


@pytest.mark.parametrize(
    ("mapping", "length"),
    [({}, "200 epochs"), ({"steps": 10}, "10 steps"), ({"minutes": 1.5}, "1.5 minutes"), ({"epochs": 3}, "3 epochs")],
)
def test_length_in_words(mapping, length):
    assert PretrainConfig.from_mapping(mapping).length == length


def test_the_documentation_has_every_option_with_its_default():
    def options(config, prefix=""):
        for field in fields(config):
            value = getattr(config, field.name)
            if is_dataclass(value):
                yield from options(value, f"{prefix}{field.name}.")
            else:
                yield f"{prefix}{field.name}", value

    page = (Path(__file__).parents[2] / "docs/pretraining.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `"): tomllib.loads(f"value = {default.strip(' `')}")["value"] for name, default in rows}
    assert documented == dict(options(PretrainConfig()))
    assert len(rows) == len(documented)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; known are: model, seed, epochs,"),
        ({"model": {"widht": 3}}, r"unknown key 'model\.widht'; known are: width,"),
        ({"model": 3}, "model must be a table, got 3"),
        ({"epochs": "ten"}, "epochs must be int, got 'ten'"),
        ({"epochs": True}, "epochs must be int, got True"),
        ({"model": {"dropout": "no"}}, r"model\.dropout must be float, got 'no'"),
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"steps": -1}, "steps must not be negative, got -1"),
        ({"minutes": -1}, "minutes must not be negative, got -1.0"),
        ({"steps": 10, "minutes": 2}, r"steps \(10\) and minutes \(2\) are both given; set one to 0"),
        ({"sets_per_video": 1}, r"sets_per_video must be at least 2 \(sets are compared\), got 1"),
        ({"set_temperature": -0.1}, "set_temperature must not be negative, got -0.1"),
        ({"model": {"positions": "polar"}}, "positions must be one of relative, absolute, got 'polar'"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
        ({"set_weight": 0, "masked_clip_weight": 0}, "are both 0: nothing to learn; raise one"),
        ({"batch_size": 1}, r"batch_size must be at least 2 \(videos are told apart\), got 1"),
        ({"warmup_fraction": 1.0}, r"warmup_fraction must be in \[0, 1\), got 1.0"),
        ({"masking": "some"}, "masking must be one of exact, independent, got 'some'"),
        ({"negatives": "none"}, "negatives must be one of all, masked, got 'none'"),
        ({"precision": "fp16"}, "precision must be one of auto, fp32, bf16, got 'fp16'"),
        ({"compile": "yes"}, "compile must be one of auto, on, off, got 'yes'"),
        ({"compile": True}, "compile must be str, got True"),
        ({"feature_dropout": 1.0}, r"feature_dropout must be in \[0, 1\), got 1.0"),
        ({"feature_noise": -0.5}, "feature_noise must not be negative, got -0.5"),
        ({"mask_fraction": 0.0}, r"mask_fraction must be in \(0, 1\), got 0.0"),
        ({"mask_fraction": 0.9, "clips_per_set": 4}, r"mask_fraction \(0.9\) masks all clips of a set of 4; lower it"),
    ],
)
def test_bad_values(mapping, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig.from_mapping(mapping)
