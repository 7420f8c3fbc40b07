import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from scale_video.evaluate.outcomes import read_outcomes
from scale_video.evaluate.result import EvaluationRecord
from scale_video.pipelines import picture_style, pictures
from scale_video.pipelines.draw_clips import ClipCurve, draw_clips
from scale_video.pipelines.draw_confusion import Predictions, draw_confusion
from scale_video.pipelines.draw_gains import ClassGain, draw_gains
from scale_video.pipelines.draw_map import draw_map
from scale_video.pipelines.pictures import PictureBook

write_row: Callable[..., EvaluationRecord] = runpy.run_path(str(Path(__file__).with_name("result_rows.py")))[
    "write_row"
]
NAMES = ("jump", "run", "swim", "walk")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The maps are tiny, and threads that wait for each other cost more than they bring."""
    with threadpool_limits(1):
        yield


def texts(figure: Any) -> list[str]:
    """All that is written in a figure."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return [found.get_text() for found in figure.findobj(Text) if found.get_text()]


def candidate(
    name: str,
    *,
    num_videos: int = 30,
    seed: int | None = None,
    clips: dict[str, float] | None = None,
    pretrained_on: str = "",
) -> Any:
    rng = np.random.default_rng(3)
    labels = np.arange(num_videos) % 4
    labels[0] = -1
    tested = SimpleNamespace(labels=labels.astype(np.int32), clips=clips or {}, windows=None)
    vectors = rng.normal(size=(num_videos, 6))
    return SimpleNamespace(name=name, seed=seed, tested=tested, test=vectors, pretrained_on=pretrained_on)


class TestConfusion:
    def draw(self, num_classes: int, *, num_videos: int = 400) -> tuple[Any, Predictions]:
        rng = np.random.default_rng(0)
        labels = np.arange(num_videos) % num_classes
        predictions = np.where(rng.random(num_videos) < 0.6, labels, (labels + 1) % num_classes)
        predicted = Predictions("x (raw features)", labels, predictions)
        names = [f"class{index}" for index in range(num_classes)]
        return draw_confusion([predicted, predicted], names, title="the title"), predicted

    def test_cells_hold_percentages_of_the_true_class(self) -> None:
        figure, predicted = self.draw(5)
        image = figure.axes[0].get_images()[0].get_array()
        for row in range(5):
            of_class = predicted.predictions[predicted.labels == row]
            for column in range(5):
                assert image[row, column] == pytest.approx(100 * (of_class == column).mean())
        written = texts(figure)
        assert f"{image[0, 0]:.0f}" in written
        assert {"the title", "true class", "predicted class", "class4"} <= set(written)
        right = 100 * (predicted.labels == predicted.predictions).mean()
        assert f"x (raw features): {right:.1f} % right" in written

    @pytest.mark.parametrize("num_classes", [101, 400])
    def test_many_classes_are_numbered_and_the_worst_pairs_named(self, num_classes: int) -> None:
        figure, predicted = self.draw(num_classes, num_videos=8 * num_classes)
        written = texts(figure)
        [listed, _] = [text for text in written if text.startswith("most confused")]
        assert len(listed.splitlines()) == 9
        label, taken, count, total = map(
            int, re.findall(r"\(1\)  (\d+) class\d+ → (\d+) class\d+: (\d+) of (\d+)", listed)[0]
        )
        of_class = predicted.predictions[predicted.labels == label]
        assert (count, total) == ((of_class == taken).sum(), len(of_class))
        assert "number of the true class" in written
        assert f"class{num_classes - 1}" not in written
        assert len(figure.axes[0].lines) == 8  # a circle each
        assert figure.get_figwidth() < 20


class TestGains:
    def gains(self, number: int) -> Sequence[ClassGain]:
        values = np.random.default_rng(0).uniform(-0.5, 0.5, size=number)
        return [ClassGain(f"c{index}", value, value - 0.1, value + 0.2, 7) for index, value in enumerate(values)]

    def test_a_bar_per_class_largest_on_top(self) -> None:
        gains = self.gains(12)
        figure = draw_gains(gains, title="gain", unit="gain in top-1 (points of percent)")
        [axes] = figure.axes
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == pytest.approx(sorted((100 * gain.value for gain in gains), reverse=True))
        [segments] = [line.get_segments() for line in axes.collections]
        best = max(gains, key=lambda gain: gain.value)
        np.testing.assert_allclose(np.asarray(segments)[0, :, 0], [100 * best.ci_low, 100 * best.ci_high])
        assert axes.get_yticklabels()[0].get_text() == f"{best.class_name} (7)"
        assert axes.get_ylim()[0] > axes.get_ylim()[1]

    def test_of_many_the_ends(self) -> None:
        gains = self.gains(101)
        figure = draw_gains(gains, title="gain", unit="points")
        [axes] = figure.axes
        values = sorted((100 * gain.value for gain in gains), reverse=True)
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(values[:25] + values[-25:])
        assert "the 25 classes that gain most and the 25 that gain least, of 101" in axes.get_title()


def test_clip_curves() -> None:
    curve = ClipCurve("x+cls", [1, 4, 16], [0.3, 0.5, 0.6], [0.2, 0.4, 0.6], [0.4, 0.6, 0.6], all_clips=0.7)
    figure = draw_clips([curve], title="k-NN", unit="top-1 (%)")
    [axes] = figure.axes
    line, dashed = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 30], [4, 50], [16, 60]])
    assert list(dashed.get_ydata()) == [70, 70]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((20, 60))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "16"]


@pytest.mark.parametrize(("num_classes", "has_legend"), [(20, True), (21, False), (50, False)])
def test_map_has_all_points_and_a_legend_up_to_20_classes(num_classes: int, has_legend: bool) -> None:
    points, labels = np.random.default_rng(0).normal(size=(100, 2)), np.arange(100) % num_classes
    names = [f"c{index}" for index in range(num_classes)]
    figure = draw_map([("x", points), ("x+cls", points[::-1])], labels, names, title="map")
    for axes, expected in zip(figure.axes, (points, points[::-1]), strict=True):
        drawn = np.concatenate([collection.get_offsets() for collection in axes.collections])
        np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    styles = {
        (tuple(one.get_facecolors()[0]), one.get_paths()[0].vertices.tobytes()) for one in figure.axes[0].collections
    }
    assert len(styles) == min(num_classes, picture_style.NUM_STYLES)
    assert bool(figure.legends) == has_legend
    if has_legend:
        assert {text.get_text() for text in figure.legends[0].get_texts()} == set(names)
    assert any("50 classes share 21 colours" in text for text in texts(figure)) == (num_classes == 50)


class TestBook:
    def test_files_of_an_evaluation(self, tmp_path: Path) -> None:
        records = [
            write_row(tmp_path, accuracy=0.4),
            *(write_row(tmp_path, representation="x+cls", seed=seed, draw=seed + 1, accuracy=0.8) for seed in range(2)),
        ]
        for clips in (1, 4):
            for draw in range(2):
                options = {"clips": clips, "clip_seed": draw}
                write_row(tmp_path, draw=clips + draw, accuracy=0.3, options=options)
        book = PictureBook.if_wanted(True)
        assert book is not None
        for one in (
            candidate("x", clips={"clips": 1}),
            candidate("x"),
            candidate("init", seed=0),
            candidate("x+cls", seed=0),
        ):
            book.keep(one)
        paths = book.draw(records, NAMES, folder=tmp_path)
        stems = [f"svt-split1-{name}" for name in ("knn-confusion", "knn-gains", "knn-clips", "map")]
        assert [path.name for path in paths] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]
        assert {path.name for path in (tmp_path / "pictures").iterdir()} == {path.name for path in paths}
        for path in paths:
            if path.suffix == ".png":
                with Image.open(path) as image:
                    assert min(image.size) > 300
                    assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
        svg = {path.stem: path.read_text() for path in paths if path.suffix == ".svg"}
        assert "ucf101, split 1, svt: k-NN" in svg["svt-split1-knn-confusion"]
        assert "x+cls (SCALE, seed 0)" in svg["svt-split1-knn-gains"]
        assert "t-SNE of 29 test videos" in svg["svt-split1-map"]  # one has no label

    def test_each_origin_of_aggregators_has_pictures_of_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        curves: dict[str, float] = {}

        def draw(drawn: Sequence[ClipCurve], **_: object) -> Any:
            curves.update({curve.name: curve.values[0] for curve in drawn})
            return picture_style.new_figure(1, 1)

        monkeypatch.setattr(pictures, "draw_clips", draw)
        monkeypatch.setattr(pictures, "embedding_map", lambda vectors: vectors[:, :2])
        book, records, clips = PictureBook(), [write_row(tmp_path, accuracy=0.2)], {"clips": 1, "clip_seed": 0}
        expected = {}
        book.keep(candidate("x"))
        for index, origin in enumerate(("k400@aa", "demo@bb")):
            of_origin: dict[str, Any] = {"representation": "cls", "seed": 0, "pretrained_on": origin}
            records.append(write_row(tmp_path, draw=index + 1, accuracy=0.4 + 0.4 * index, **of_origin))
            drawn = write_row(tmp_path, draw=index + 5, accuracy=0.3 + 0.4 * index, options=clips, **of_origin)
            expected[f"cls, of {origin}"] = drawn.value
            book.keep(candidate("cls", seed=0, pretrained_on=origin))
        paths = book.draw(records, NAMES, folder=tmp_path)
        assert curves == expected
        svg = {path.stem: path.read_text() for path in paths if path.suffix == ".svg"}
        kinds = ("knn-confusion", "knn-gains", "knn-clips", "map")
        assert list(svg) == [f"svt-split1-from-{origin}-{kind}" for origin in ("k400@aa", "demo@bb") for kind in kinds]
        for record in records[1:]:
            right = f"cls, of {record.pretrained_on} (SCALE, seed 0): {100 * record.value:.1f} % right"
            assert [stem for stem, text in svg.items() if right in text] == [
                f"svt-split1-from-{record.pretrained_on}-knn-confusion"
            ]

    def test_gains_are_those_of_the_outcomes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        records = [write_row(tmp_path, accuracy=0.4), write_row(tmp_path, representation="cls", draw=1, accuracy=0.8)]
        seen: list[ClassGain] = []
        monkeypatch.setattr(
            pictures, "draw_gains", lambda gains, **_: seen.extend(gains) or picture_style.new_figure(1, 1)
        )
        PictureBook().draw(records, NAMES, folder=tmp_path)
        first, second = (read_outcomes(tmp_path / record.outcomes) for record in records)
        for label, gain in enumerate(seen):
            rows = [row for row in range(40) if first.labels[row] == label]
            difference = sum(second.scores["top1"][row] - first.scores["top1"][row] for row in rows) / len(rows)
            assert (gain.class_name, gain.num_test) == (NAMES[label], len(rows))
            assert gain.value == pytest.approx(difference)
            assert gain.ci_low <= gain.value <= gain.ci_high

    def test_names_tell_experiments_apart(self, tmp_path: Path) -> None:
        record = write_row(tmp_path, preset="my label", backbone="a/b", split="2")
        paths = PictureBook().draw([record], NAMES, folder=tmp_path)
        assert [path.name for path in paths] == [f"a_b-split2-my_label-knn-confusion.{kind}" for kind in ("png", "svg")]

    def test_the_same_bytes_again(self, tmp_path: Path) -> None:
        record = write_row(tmp_path)
        before = [path.read_bytes() for path in PictureBook().draw([record], NAMES, folder=tmp_path)]
        assert before == [path.read_bytes() for path in PictureBook().draw([record], NAMES, folder=tmp_path)]

    def test_what_has_no_classes_has_no_pictures(self, tmp_path: Path) -> None:
        assert PictureBook().draw([write_row(tmp_path)], (), folder=tmp_path) == []

    def test_without_matplotlib(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(pictures, "pictures_available", lambda: False)
        assert PictureBook.if_wanted(None) is None
        assert "no pictures: they need matplotlib (pip install 'scale-video[pictures]')" in capsys.readouterr().err
        assert PictureBook.if_wanted(False) is None
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ValueError, match="or say --no-pictures"):
            PictureBook.if_wanted(True)
