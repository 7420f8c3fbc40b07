from pathlib import Path

import pytest

from scale_video.extract.views import AreaCrop, GridView, RandomView
from scale_video.pipelines.preset import default_preset, load_preset, preset_names


def test_the_defaults_are_the_papers() -> None:
    preset = load_preset("honest", dataset="folder")
    assert preset.views == {"random": RandomView(), "grid": GridView()}
    assert (preset.pretrain.epochs, preset.pretrain.batch_size, preset.pretrain.learning_rate) == (200, 512, 3e-4)
    assert (preset.pretrain.masking, preset.pretrain_videos) == ("exact", "train")
    assert preset.pretrain.negatives == "masked"
    assert (preset.train_view, preset.test_view) == ("random", "grid")


def test_the_published_protocol() -> None:
    preset = load_preset("paper", dataset="ucf101")
    assert (preset.pretrain.masking, preset.pretrain_videos, preset.pretrain.epochs) == ("independent", "all", 1000)
    assert preset.pretrain.negatives == "all"


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
        ("views.random.num_clips=abc", "views.random: num_clips must be int, got 'abc'"),
        ("views.random.num_clips=16.5", "views.random: num_clips must be int, got 16.5"),
        ("views.random.num_clips=true", "views.random: num_clips must be int, got True"),
        ("views.random.num_clips.x=3", "views.random: num_clips must be int, got {'x': 3}"),
        ("views.random.span_seconds='2'", "views.random: span_seconds must be float, got '2'"),
        ("views.random.span_seconds=nan", "views.random: span_seconds must be above 0 and finite"),
        ("views.random.seed=x", "views.random: seed must be int, got 'x'"),
        ("views.random.crop=3", "views.random.crop must be a table, got 3"),
        ("views.random.crop.size=big", "views.random: size must be int, got 'big'"),
        ("views.random.crop.kind=3", "views.random: unknown kind of crop 3"),
        ("views.grid.crop.size=3", "views.grid: the parameters of a 'grid' view .* differing: crop"),
        ("views.random=3", "views.random must be a table, got 3"),
        ("views=3", "views must be a table, got 3"),
        ("pretrain=3", "pretrain must be a table, got 3"),
        ("pretrain.model=3", "model must be a table, got 3"),
        ("pretrain.learning_rate=nan", "learning_rate must be finite, got nan"),
        ("train_view=['random']", r"uses the view \['random'\] but"),
        ("pretrain_videos=test", "pretrain_videos must be 'train' or 'all'"),
        ("test_view=side", "uses the view 'side' but defines only: random, grid"),
    ],
)
def test_every_mistake_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_preset("honest", dataset="folder", overrides=(override,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = 3", "datasets must be a table, got 3"),
        ("[datasets]\nfolder = 3", "datasets.folder must be a table"),
    ],
)
def test_a_mistake_in_the_tables_of_data_sets_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_preset(str(tmp_path / "mine.toml"), dataset="folder")


def test_a_whole_number_may_stand_for_a_fraction() -> None:
    view = load_preset("honest", dataset="folder", overrides=("views.random.span_seconds=2",)).views["random"]
    assert view == RandomView(span_seconds=2.0)
    assert type(view.span_seconds) is float


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("epochs: 3")
    with pytest.raises(ValueError, match="is not TOML"):
        load_preset(str(tmp_path / "bad.toml"), dataset="folder")
    with pytest.raises(ValueError, match="no preset 'best': neither a file nor one of demo, honest, paper"):
        load_preset("best", dataset="folder")


def test_what_probes_on_clips_choose_on() -> None:
    for name, dataset, expected in (
        ("honest", "ucf101", ("holdout", 200)),
        ("paper", "folder", ("test", 200)),
        ("paper", "ucf101", ("test", 1000)),
    ):
        probes = load_preset(name, dataset=dataset).probes
        assert (probes.selection, probes.schedule_epochs) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.k=3", "evaluate has the unknown key 'k'; known are: selection, schedule_epochs"),
        ("evaluate.selection=train", "selection must be 'holdout' or 'test', got 'train'"),
        ("evaluate.schedule_epochs=1.5", r"evaluate.schedule_epochs must be a whole number, got 1\.5"),
        ("evaluate.schedule_epochs=20", "schedule_epochs must be at least 60"),
        ("evaluate=3", "evaluate must be a table, got 3"),
    ],
)
def test_bad_choices_of_probes_on_clips(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_preset("honest", dataset="folder", overrides=[override])
