"""A loaded backbone against what a store records."""

from dataclasses import asdict, replace

import pytest

from scale_video.extract.backbones.identity import differences
from scale_video.extract.backbones.motion3d import load_motion3d


def test_each_difference_is_named() -> None:
    spec = load_motion3d().spec
    recorded = asdict(spec)
    assert differences(spec, recorded) == []
    others = {
        "weights_digest": "0" * 64,
        "layer": "another",
        "preprocessing": {**spec.preprocessing, "normalisation": "paper"},
        "num_frames": 4,
        "feature_dim": 4,
    }
    for name, value in others.items():
        assert differences(replace(spec, **{name: value}), recorded) == [name]


@pytest.mark.parametrize("name", ["source", "licence", "precision", "library_versions"])
def test_what_changes_no_feature_beyond_its_last_bits_may_differ(name: str) -> None:
    spec = load_motion3d().spec
    other = {} if name == "library_versions" else "other"
    assert differences(replace(spec, **{name: other}), asdict(spec)) == []
