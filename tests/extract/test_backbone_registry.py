from pathlib import Path

import pytest

from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest


@pytest.mark.parametrize(
    ("text", "family", "source", "name"),
    [
        ("motion3d", "motion3d", None, "motion3d"),
        (" motion3d\n", "motion3d", None, "motion3d"),
        ("videomae:MCG-NJU/videomae-base", "videomae", "MCG-NJU/videomae-base", "videomae-base"),
        ("videomae:MCG-NJU/VideoMAE-Base@VMAE.b", "videomae", "MCG-NJU/VideoMAE-Base", "vmae.b"),
        ("videomae:tiny", "videomae", "tiny", "tiny"),
        ("videomae:/data/me@lab/Tiny", "videomae", "/data/me@lab/Tiny", "tiny"),
        ("videomae:/data/me@lab/Tiny/@t", "videomae", "/data/me@lab/Tiny/", "t"),
        ("videomae:C:/data/tiny", "videomae", "C:/data/tiny", "tiny"),
    ],
)
def test_requests(text, family, source, name):
    assert parse_backbone(text) == BackboneRequest(family=family, source=source, name=name)


def test_a_local_folder_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "My-Weights").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = BackboneRequest(family="videomae", source=str(tmp_path.resolve() / "My-Weights"), name="my-weights")
    assert parse_backbone("videomae:./My-Weights") == expected
    assert parse_backbone("videomae:~/My-Weights/") == expected
    monkeypatch.chdir(tmp_path / "My-Weights")
    assert parse_backbone("videomae:.") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("svd", r"no backbone family 'svd' \(in 'svd'\); there are: motion3d, motion3d-ssl, videomae"),
        ("VideoMAE:a/b", "no backbone family 'VideoMAE' .*; did you mean 'videomae'?"),
        ("", "no backbone family ''"),
        ("motion3d:weights", "motion3d ships its weights and its name, got 'motion3d:weights'; say 'motion3d'"),
        ("motion3d@m", "motion3d ships its weights and its name, got 'motion3d@m'; say 'motion3d'"),
        ("videomae", "'videomae' does not say which weights; .* for example videomae:MCG-NJU/videomae-base"),
        ("videomae:@name", "'videomae:@name' does not say which weights"),
        ("videomae:/a b", r"backbone 'a b' must consist of .*; give another name with videomae:/a b@NAME"),
        ("videomae:a/b@", "backbone '' must consist of"),
        ("videomae:a/b@..", r"backbone '\.\.' must consist of"),
        ("videomae:a/b@é", "backbone 'é' must consist of"),
        *((f"videomae:a/b@{name}", f"cannot be called '{name}'") for name in ("valid", "video", "zarr.json")),
    ],
)
def test_bad_requests(text, message):
    with pytest.raises(ValueError, match=message):
        parse_backbone(text)


def test_loading_a_videomae_under_a_given_name(tmp_path):
    import transformers

    size = {"image_size": 16, "patch_size": 8, "num_frames": 2, "hidden_size": 8, "num_hidden_layers": 1}
    config = transformers.VideoMAEConfig(**size, num_attention_heads=1, intermediate_size=8)
    transformers.VideoMAEModel(config).save_pretrained(tmp_path / "Tiny")
    backbone = load_backbone(parse_backbone(f"videomae:{tmp_path}/Tiny@t.1"))
    assert backbone.spec.name == "t.1"
    assert backbone.spec.source == "videomae:Tiny"
    assert str(tmp_path) not in repr(backbone.spec)


def test_weights_are_looked_for_when_they_are_loaded():
    request = parse_backbone("videomae:/no/such/folder")
    assert Path(request.source or "").name == request.name == "folder"
    with pytest.raises(ValueError, match="no such folder: '/no/such/folder'"):
        load_backbone(request)
