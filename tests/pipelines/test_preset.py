from pathlib import Path

import pytest

from scale_video.extract.views import AreaCrop, GridView, RandomView
from scale_video.pipelines.preset import default_preset, load_preset, preset_names


def test_the_defaults_are_the_papers() -> None:
    preset = load_preset("honest", dataset="folder")
    assert preset.views == {"random": RandomView(), "grid": GridView()}
    assert (preset.pretrain.epochs, preset.pretrain.batch_size, preset.pretrain.learning_rate) == (200, 512, 3e-4)
    assert (preset.pretrain.masking, preset.pretrain_videos) == ("exact", "train")
    assert (preset.train_view, preset.test_view) == ("random", "grid")


def test_the_published_protocol() -> None:
    preset = load_preset("paper", dataset="ucf101")
    assert (preset.pretrain.masking, preset.pretrain_videos, preset.pretrain.epochs) == ("independent", "all", 1000)


def test_the_demo_has_its_own_clips() -> None:
    assert default_preset("demo-control") == "demo"
    view = load_preset("demo", dataset="demo").views["random"]
    assert isinstance(view, RandomView)
    assert (view.span_seconds, view.crop) == (0.5, AreaCrop())


def test_all_presets_resolve() -> None:
    assert preset_names() == ("demo", "honest", "paper")
    for name in preset_names():
        load_preset(name, dataset="ucf101")


def test_overrides_and_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('test_view = "random"\n[views.random]\nnum_clips = 4\n[pretrain]\nepochs = 7\n')
    overrides = ("pretrain.epochs=9", "views.random.crop.size=200", "pretrain.masking=independent")
    preset = load_preset(str(tmp_path / "mine.toml"), dataset="folder", overrides=overrides)
    assert preset.name == "mine"
    assert preset.pretrain.epochs == 9
    assert preset.pretrain.masking == "independent"
    assert preset.views["random"].num_clips == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.epoch=9", "unknown key 'epoch'"),
        ("pretrain.epochs=many", "epochs must be int, got 'many'"),
        ("pretrain.model.depht=3", "unknown key 'model.depht'"),
        ("colour=3", "unknown key 'colour'"),
        ("epochs", "an override must read key=value"),
        ("views.side.num_clips=3", "unknown view 'side'"),
        ("views.random.clips=3", "clips"),
        ("views.random.kind=grid", "a view is named after its kind"),
        ("pretrain_videos=test", "pretrain_videos must be 'train' or 'all'"),
        ("test_view=side", "uses the view 'side' but defines only: random, grid"),
    ],
)
def test_every_mistake_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_preset("honest", dataset="folder", overrides=(override,))


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("epochs: 3")
    with pytest.raises(ValueError, match="is not TOML"):
        load_preset(str(tmp_path / "bad.toml"), dataset="folder")
    with pytest.raises(ValueError, match="no preset 'best': neither a file nor one of demo, honest, paper"):
        load_preset("best", dataset="folder")
