"""The list of backbones agrees with the families, and knows what is on this machine."""

import importlib
import json
from pathlib import Path

import pytest

from scale_video.extract.backbones.catalogue import KNOWN, is_here
from scale_video.extract.backbones.families import families
from scale_video.extract.backbones.registry import load_backbone, parse_backbone

ROW = {backbone.name: backbone for backbone in KNOWN}


def test_every_row_can_be_asked_for_and_every_family_of_ours_but_one_has_a_row() -> None:
    assert {parse_backbone(name).family for name in ROW} == {parse_backbone(row.name).family for row in KNOWN}
    without = {name for name, family in families().items() if not family.package} - {n.partition(":")[0] for n in ROW}
    assert without == {"videoprism", "image-moments"}  # whose weights need another release; a variant of image


@pytest.mark.parametrize("name", [row.name for row in KNOWN if row.place in ("shipped", "pip")])
def test_rows_of_what_is_here_say_what_the_backbone_says(name: str) -> None:
    row, spec = ROW[name], load_backbone(parse_backbone(name)).spec
    assert is_here(row)
    assert (row.feature_dim, row.licence) == (spec.feature_dim, spec.licence)
    assert row.clip.startswith(f"{spec.num_frames} × {spec.frame_size or '224 or 256'}")


@pytest.mark.parametrize(("name", "module"), [("rho-byol", "rho_byol"), ("svt", "svt"), ("svt-scale", "svt")])
def test_files_are_looked_for_by_the_name_that_their_family_uses(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name = importlib.import_module(f"scale_video.extract.backbones.{module}").FILE_NAME
    monkeypatch.setenv("SCALE_VIDEO_WEIGHTS", str(tmp_path))
    assert ROW[name].origin == file_name
    assert not is_here(ROW[name])
    (tmp_path / file_name).touch()
    assert is_here(ROW[name])


def test_what_the_cache_of_the_hub_holds_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download as hub

    row = ROW["videomae:MCG-NJU/videomae-base"]
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not is_here(row)
    model = tmp_path / "models--MCG-NJU--videomae-base"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "snapshots" / "abc" / "config.json").write_text("{}")
    assert not is_here(row)
    (model / "snapshots" / "abc" / "pytorch_model.bin").touch()
    assert is_here(row)
    (model / "snapshots" / "abc" / "pytorch_model.bin").unlink()
    shards = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    index = {"weight_map": dict(zip("abc", [*shards, shards[0]], strict=True))}
    (model / "snapshots" / "abc" / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "snapshots" / "abc" / shards[0]).touch()
    assert not is_here(row)
    (model / "snapshots" / "abc" / shards[1]).touch()
    assert is_here(row)
