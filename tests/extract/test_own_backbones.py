"""Backbones that are not ours: of another package, by its entry point, and of a script."""

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scale_video.extract.backbones import families as module
from scale_video.extract.backbones.callable_backbone import CallableBackbone
from scale_video.extract.backbones.catalogue import known_backbones
from scale_video.extract.backbones.families import families, register_backbone, registered
from scale_video.extract.backbones.on_workers import _Registration
from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest

PACKAGE = """
import torch
from scale_video.extract.backbones.callable_backbone import CallableBackbone

def load(request, placement):
    return CallableBackbone(
        lambda clips: clips.float().mean(dim=(1, 2, 3)), request=request, placement=placement,
        num_frames=2, feature_dim=3, weights="mean colour, version 1", licence="MIT",
    )
"""


@pytest.fixture
def no_families() -> Iterator[None]:
    """Forget what a test brings."""
    yield
    module._installed.cache_clear()
    module._REGISTERED.clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_families: None) -> Path:
    """An installed package with two entry points, one of which would replace ours."""
    (tmp_path / "their_models.py").write_text(PACKAGE)
    folder = tmp_path / "their_models-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
    points = "[scale_video.backbones]\nmean-colour = their_models:load\nvideomae = their_models:load\n"
    (folder / "entry_points.txt").write_text(points + "broken = their_models:nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    module._installed.cache_clear()
    return tmp_path


def test_a_family_of_another_package(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "scale_video"):
        request = parse_backbone("mean-colour@mine")
    assert "package their-models brings a backbone family 'videomae', of which there is one already" in caplog.text
    backbone = load_backbone(request)
    assert (backbone.spec.name, backbone.spec.source, backbone.spec.licence) == ("mine", "mean-colour", "MIT")
    features = backbone.embed(torch.full((2, 2, 4, 4, 3), 7, dtype=torch.uint8))
    torch.testing.assert_close(features, torch.full((2, 3), 7.0))
    assert families()["videomae"].package == ""
    assert "mean-colour" in [known.name for known in known_backbones()]
    sys.modules.pop("their_models", None)


def test_a_family_that_cannot_be_imported_is_named(package: Path) -> None:
    with pytest.raises(ValueError, match=r"backbone family 'broken' \(their_models:nothing\) cannot be imported"):
        load_backbone(parse_backbone("broken"))
    sys.modules.pop("their_models", None)


def load_sum(request: BackboneRequest, placement: Placement, dim: int = 3) -> CallableBackbone:
    def function(clips: Tensor) -> Tensor:
        return clips.float().sum(dim=(1, 2, 3))[:, :3]

    return CallableBackbone(
        function, request=request, placement=placement, num_frames=2, feature_dim=dim, frame_size=4, weights="sum"
    )


def test_a_function_is_registered_once_and_replaces_none_of_ours(no_families: None) -> None:
    register_backbone("sum", load_sum)
    assert load_backbone(parse_backbone("sum")).spec.name == "sum"
    register_backbone("sum", load_sum)  # a notebook's cell runs twice
    with pytest.raises(ValueError, match="there is a backbone family 'motion3d' already"):
        register_backbone("motion3d", load_sum)
    with pytest.raises(ValueError, match="backbone family"):
        register_backbone("My Net", load_sum)


def test_what_a_function_is_given_and_gives_is_checked() -> None:
    request = BackboneRequest("sum", None, "sum")
    backbone = load_sum(request, CPU)
    with pytest.raises(ValueError, match="sum takes uint8 clips of shape"):
        backbone.embed(torch.zeros(1, 3, 4, 4, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="sum takes square frames of 4 pixels"):
        backbone.embed(torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"'sum' gave \(1, 3\) for 1 clips, not \(1, 5\)"):
        load_sum(request, CPU, dim=5).embed(torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8))


def test_the_digest_follows_weights_or_text() -> None:
    request = BackboneRequest("f", None, "f")

    def digest(weights: "dict[str, Tensor] | str") -> str:
        return CallableBackbone(
            lambda clips: clips, request=request, placement=CPU, num_frames=1, feature_dim=1, weights=weights
        ).spec.weights_digest

    assert digest("1") == digest("1") != digest("2")
    assert digest({"a": torch.ones(2)}) == digest({"a": torch.ones(2)}) != digest({"a": torch.zeros(2)})


def test_a_network_in_training_mode_is_refused() -> None:
    network = torch.nn.BatchNorm1d(3)

    def function(clips: Tensor) -> Tensor:
        return network(clips.float().mean(dim=(1, 2, 3)))

    given = {"request": BackboneRequest("n", None, "n"), "placement": CPU, "num_frames": 1, "feature_dim": 3}
    clips = torch.randint(0, 256, (4, 1, 2, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network.train()
    with pytest.raises(ValueError, match=r"(?s)other features alone than in a batch; call eval|more than 1 value"):
        CallableBackbone(function, weights="n", **given).embed(clips)  # type: ignore[arg-type]
    network.eval()
    assert CallableBackbone(function, weights="n", **given).embed(clips).shape == (4, 3)  # type: ignore[arg-type]


def test_what_is_told_of_a_function_is_recorded() -> None:
    request = BackboneRequest("mine", "/weights/a.pt", "m", normalisation="paper")
    spec = CallableBackbone(
        lambda clips: clips, request=request, placement=CPU, num_frames=1, feature_dim=1, weights="1",
        preprocessing={"scale": 1 / 255}, library_versions={"numpy": "2"},
    ).spec  # fmt: skip
    assert spec.source == "mine:a.pt"
    assert spec.preprocessing == {"normalisation": "paper", "scale": 1 / 255}
    assert spec.library_versions["numpy"] == "2"


def test_a_loader_must_keep_the_name_that_was_asked_for(no_families: None) -> None:
    register_backbone("sum", lambda request, placement: load_sum(replace(request, name="other"), placement))
    with pytest.raises(ValueError, match="the loader of backbone family 'sum' calls it 'other' where 'mine' was asked"):
        load_backbone(parse_backbone("sum@mine"))


def test_workers_are_told_and_forget(no_families: None) -> None:
    register_backbone("sum", load_sum)
    plugin, other = _Registration({"new": load_sum, "sum": load_new}), _Registration({"new": load_new})
    assert plugin.name != other.name
    plugin.setup(None)
    assert registered() == {"sum": load_new, "new": load_sum}
    plugin.teardown(None)
    assert registered() == {"sum": load_sum}


def load_new(request: BackboneRequest, placement: Placement) -> CallableBackbone:
    return load_sum(request, placement)
