"""``scale-video report``: its numbers against the files they come from, its neighbours against loops, and its page in
a browser."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from threadpoolctl import threadpool_limits

from scale_video.aggregate.checkpoint import load_aggregator
from scale_video.aggregate.embed import embed_videos
from scale_video.evaluate.comparison import compare_paired
from scale_video.evaluate.outcomes import Outcomes
from scale_video.pipelines.cli import main
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.pipelines.published import PublishedFigure
from scale_video.pipelines.report import draw, gains, sampled_vectors, section, sources
from scale_video.pipelines.report.build import OUTLINES
from scale_video.pipelines.report.did_it_help import DID_IT_HELP
from scale_video.pipelines.report.figures import plain
from scale_video.pipelines.report.section import Missing, NotThereError, Outline, Paragraph, Part, fill
from scale_video.pipelines.report.sources import ReportRequest, ReportSources
from scale_video.pipelines.report.what_it_learned import WHAT_IT_LEARNED
from scale_video.pipelines.report.what_was_run import WHAT_WAS_RUN
from scale_video.store.errors import StoreError
from scale_video.store.read import FeatureStore

if TYPE_CHECKING:
    from playwright.sync_api import Page

Cli = Callable[..., Result]
SCRIPT = "<script>alert(1)</script>.mp4"
"""As a path, it is a file in a folder."""
IMAGE = "<img src=x onerror=alert(2)>.mp4"
OPTIONS = ("--set", "train_view=random", "--set", "test_view=random")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The maps are tiny, and threads that wait for each other cost more than they bring."""
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Experiment:
    """Videos, their store, and the folder of all runs."""

    root: Path

    def report(self, *options: object, output: Path, store: Path | None = None, runs: Path | None = None) -> Result:
        """Call the command."""
        args = ("report", "--dataset", "folder", "--store", store or self.root / "folder.zarr", "--output", output,
                "--runs", runs or self.root / "runs", *OPTIONS, *options)  # fmt: skip
        result = CliRunner().invoke(main, [str(arg) for arg in args])
        assert result.exit_code == 0, result.output
        return result


@pytest.fixture(scope="module")
def experiment(
    tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., None], small_training: tuple[str, ...]
) -> Experiment:
    """Some short videos, two trainings, and probes with all clips and with fewer."""
    root = tmp_path_factory.mktemp("experiment")
    for seed in range(22):
        part = "train" if seed < 12 else "test"
        name = {12: SCRIPT, 13: IMAGE}.get(seed, f"{seed:02d}.mp4")
        make_video(root / "videos" / part / "ab"[seed % 2] / name, seed=seed, num_frames=50)
    common = ("--dataset", "folder", "--store", root / "folder.zarr", "--runs", root / "runs")
    trained = (*common, *OPTIONS, *small_training, "--seeds", 2)
    probed = (*trained, "--protocols", "knn,linear", "--representations", "x,x-bins2,x+cls")
    for command in (
        ("extract", *common, "--data", root / "videos", "--backbone", "motion3d", "--views", "random", "--clips", 16,
         "--workers", 1, "--threads", "--no-estimate", "--decoders", 1),
        ("pretrain", *trained),
        ("evaluate", *probed, "--no-pictures"),
        ("knn", *trained, "--representations", "x,x+cls", "--clips", "1,4"),
    ):  # fmt: skip
        result = CliRunner().invoke(main, [str(part) for part in command])
        assert result.exit_code == 0, result.output
    return Experiment(root)


@dataclass
class Parsed(HTMLParser):
    """What stands on a page: by heading, the cells of its tables, its texts, and the names of its strips by row."""

    tables: dict[str, list[list[str]]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    strips: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.heading, self.inside = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "h3":
            self.heading = ""
        if tag == "tr":
            self.tables[self.heading].append([])
        if tag in ("th", "td"):
            self.tables[self.heading][-1].append("")
        if tag == "div" and given.get("class") in ("asked", "strips"):
            self.strips.append([])
        if tag == "img" and given.get("title"):
            assert (given["src"] or "").startswith("data:image/jpeg;base64,")
            self.strips[-1].append(given["title"] or "")
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "h3":
            self.heading += data
        elif self.inside in ("th", "td"):
            self.tables[self.heading][-1][-1] += data
        elif self.inside not in ("script", "style"):
            self.texts[self.heading] += data


def parse(path: Path) -> Parsed:
    parsed = Parsed()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def page_file(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all that is there."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    result = experiment.report("--data", experiment.root / "videos", "--queries", 4, output=path)
    # A part without its sources says so on stdout; one that ours cannot make would, too.
    absent = [line.split(": ")[1] for line in result.output.splitlines() if line.startswith("not there: ")]
    assert absent == ["Beside other experiments"]
    return path


@pytest.fixture(scope="module")
def parsed(page_file: Path) -> Parsed:
    return parse(page_file)


def rows_of(experiment: Experiment) -> list[dict[str, Any]]:
    return json.loads((experiment.root / "runs" / "folder" / "results.json").read_bytes())


def test_scores_are_those_of_the_results_file(experiment: Experiment, parsed: Parsed) -> None:
    rows = [row for row in rows_of(experiment) if row["metric"] == "top1" and not row["options"]]
    heading, *lines = parsed.tables["Scores"]
    assert heading == ["representation", "k-NN top-1 %", "linear top-1 %"]
    assert [line[0] for line in lines[:3]] == ["x", "x-bins2", "x+cls"]
    for name, *cells in lines[:3]:
        for protocol, cell in zip(("knn", "linear"), cells, strict=True):
            of_cell = [row for row in rows if (row["representation"], row["protocol"]) == (name, protocol)]
            values = [row["value"] for row in of_cell]
            assert len(values) == (2 if name == "x+cls" else 1)
            assert cell.startswith(f"{100 * sum(values) / len(values):.1f} [")
            if name == "x+cls":
                assert cell.endswith(f"({100 * min(values):.1f} – {100 * max(values):.1f})")
            else:
                assert cell.endswith(f"[{100 * of_cell[0]['ci_low']:.1f}, {100 * of_cell[0]['ci_high']:.1f}]")


def test_gains_are_paired_differences(experiment: Experiment, parsed: Parsed) -> None:
    folder = experiment.root / "runs" / "folder"
    scores = defaultdict(list)
    for row in rows_of(experiment):
        if row["metric"] == "top1" and row["protocol"] == "linear" and not row["options"]:
            with np.load(folder / row["outcomes"]) as outcomes:
                scores[row["representation"]].append(
                    dict(zip(outcomes["video_ids"], outcomes["score/top1"], strict=True))
                )
                groups = dict(zip(outcomes["video_ids"], outcomes["groups"], strict=True))
    (raw,) = scores["x"]
    for name, _, cell in parsed.tables["Gain over the raw features"][1:]:
        mean = {video: sum(one[video] for one in scores[name]) / len(scores[name]) for video in raw}
        gain = sum(mean[video] - raw[video] for video in raw) / len(raw)
        found = compare_paired(
            np.array([raw[video] for video in raw]),
            np.array([mean[video] for video in raw]),
            np.array([groups[video] for video in raw]),
        )
        assert cell == f"{100 * gain:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def test_gains_are_over_our_own_x_though_a_published_one_stands_above_it(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = "Gain over the raw features"
    expected = filled(DID_IT_HELP, experiment)[title]
    assert isinstance(expected[0], section.TableBlock)
    figure = PublishedFigure("folder", ("1",), ("a-backbone",), "x", ("linear",), "top1", 0.9, "A source", "how")
    monkeypatch.setattr(sources, "published_figures", lambda: (figure,))
    found = filled(DID_IT_HELP, experiment)
    assert found[title][0] == expected[0]
    assert isinstance(found["Scores"][0], section.TableBlock)
    assert found["Scores"][0].rows[0][:2] == ("a-backbone", "x")


def test_raw_features_that_several_experiments_probed_count_once_and_by_their_own(
    experiment: Experiment, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(experiment.root / "runs", runs)
    path = runs / "folder" / "results.json"
    rows = json.loads(path.read_bytes())
    others = [{**row, "preset": "another", "value": row["ci_low"]} for row in rows if row["representation"] == "x"]
    path.write_text(json.dumps([*others, *rows]))
    found, expected = filled(DID_IT_HELP, experiment, runs=runs), filled(DID_IT_HELP, experiment)
    for title in ("Scores", "Gain over the raw features"):
        assert found[title][0] == expected[title][0]
    for title in ("With fewer clips", "Gain by class", "What is mixed up"):
        assert not any(isinstance(block, Missing) for block in found[title]), found[title]


def test_an_interval_of_squared_errors_of_one_group_holds_every_difference(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.array(["a", "b"])
    errors = {"x": np.array([40.0, 20.0]), "cls": np.array([10.0, 5.0])}
    monkeypatch.setattr(
        gains,
        "outcomes_of",
        lambda record, folder: Outcomes(ids, np.array(["g", "g"]), ids, {"mse": errors[record.representation]}, ids),
    )
    cells = [SimpleNamespace(records=(SimpleNamespace(representation=name, metric="mse"),)) for name in ("x", "cls")]
    looked_at = ReportSources(ReportRequest(ExperimentRequest("folder", "a.zarr", "honest")))
    assert gains._difference(looked_at, *cells) == draw.Interval(-22.5, -40.0, 40.0)  # type: ignore[arg-type]


def test_more_protocols_than_colours_are_drawn() -> None:
    found = {f"k-NN top-1 %, k = {k}": {"cls": draw.Interval(1.0, 0.0, 2.0)} for k in range(9)}
    assert draw.draw_differences(found, unit="gain") is not None


def slow_neighbours(experiment: Experiment, query: str, by: str) -> list[str]:
    """The five nearest training videos of a test video; loops over videos."""
    store = FeatureStore.open(experiment.root / "folder.zarr")
    features = store.read_features("random", "motion3d")
    vectors = {
        video: clips[valid].astype(np.float64).mean(axis=0)
        for video, clips, valid in zip(features.video_ids, features.features, features.valid, strict=True)
    }
    if by == "x+cls":
        (checkpoint,) = experiment.root.glob("runs/**/seed0/last.ckpt")
        cls = embed_videos(load_aggregator(checkpoint).model, features, flips=True).cls
        vectors = {video: np.concatenate([vectors[video], row]) for video, row in zip(vectors, cls, strict=True)}
    training = [video for video in vectors if video.startswith("train/")]
    mean = sum(vectors[video] for video in training) / len(training)
    wanted = vectors[query] - mean
    scores = {}
    for video in training:
        other = vectors[video] - mean
        scores[video] = float(wanted @ other / np.sqrt((wanted @ wanted) * (other @ other)))
    return sorted(training, key=lambda video: -scores[video])[:5]


def test_neighbours_are_those_of_a_loop(experiment: Experiment, parsed: Parsed) -> None:
    asked, raw, learned = (parsed.strips[place::3] for place in range(3))
    assert len(asked) == 4
    for (query,), before, after in zip(asked, raw, learned, strict=True):
        assert query.startswith("test/")
        assert before == slow_neighbours(experiment, query, "x")
        assert after == slow_neighbours(experiment, query, "x+cls")


def test_hits_are_videos_of_the_class_of_the_query(parsed: Parsed) -> None:
    asked, raw, learned = (parsed.strips[place::3] for place in range(3))
    counts = [
        sum(
            video.split("/")[1] == query.split("/")[1]
            for (query,), found in zip(asked, side, strict=True)
            for video in found
        )
        for side in (raw, learned)
    ]
    text = parsed.texts["Nearest videos, before and after"]
    assert f"{counts[0]} of 20 by x (raw features), {counts[1]} of 20 by x+cls (SCALE, seed 0)." in text
    assert text.count("✓") == sum(counts)
    assert text.count("✗") == 40 - sum(counts)


def test_what_was_run_and_how_to_do_it_again(experiment: Experiment, parsed: Parsed) -> None:
    data = dict(parsed.tables["Data"])
    assert (data["data set"], data["videos"], data["split 1"]) == ("folder", "22", "12 train, 10 test")
    backbone = dict(parsed.tables["Backbone"])
    attributes = FeatureStore.open(experiment.root / "folder.zarr").backbone_attributes("random", "motion3d")
    assert backbone["digest of the weights"] == attributes["weights_digest"]
    assert backbone["licence of the weights"] == attributes["licence"] == "Apache-2.0"
    settings = dict(parsed.tables["Settings"][1:])
    assert (settings["seeds"], settings["epochs"], settings["model.width"]) == ("0, 1", "2", "32")
    versions = {row[0]: row[1:] for row in parsed.tables["Versions"]}
    assert versions[""] == ["store; pre-training, seed 0; pre-training, seed 1"]  # all by this revision
    assert versions["zarr"] == [FeatureStore.open(experiment.root / "folder.zarr").attributes["versions"]["zarr"]]
    stages = [row[0] for row in parsed.tables["Time and device"]]
    assert {"pre-training, seed 0", "pre-training, seed 1"} <= set(stages)
    commands = parsed.texts["Do it again"]
    assert f"scale-video extract --dataset folder --store {experiment.root / 'folder.zarr'} --data" in commands
    assert "--set train_view=random --set test_view=random --seeds 2" in commands


def filled(
    outline: Outline,
    experiment: Experiment,
    *,
    store: Path | None = None,
    runs: Path | None = None,
    **sizes: int,
) -> dict[str, tuple[section.Block, ...]]:
    """What a section shows, by the titles of its parts; no folder of videos is named."""
    request = ExperimentRequest(
        "folder",
        str(store or experiment.root / "folder.zarr"),
        "honest",
        overrides=OPTIONS[1::2],
        runs=runs or experiment.root / "runs",
    )
    return {part.title: part.blocks for part in fill(outline, ReportSources(ReportRequest(request, **sizes))).parts}


def test_large_sets_are_sampled_and_it_is_said(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_vectors, "MAX_SEARCHED", 11)
    found = filled(WHAT_IT_LEARNED, experiment, num_videos=9, num_queries=2)
    the_map, no_frames = found["Maps of the test videos"]
    assert isinstance(the_map, section.FigureBlock)
    assert the_map.caption.startswith("t-SNE of 9 of 10 test videos, drawn by seed 0")
    gallery, _, _ = found["Nearest videos, before and after"]
    assert isinstance(gallery, section.StripGallery)
    assert gallery.caption.startswith(
        "2 test videos, drawn by seed 0, and the 5 most similar of 11 of 12 training videos, drawn by seed 0"
    )
    assert not any(strip.image for row in gallery.rows for _, strips in row.found for strip in strips)
    assert isinstance(no_frames, Missing)
    assert "no usual place; name their folder by --data" in no_frames.text


class TestMissing:
    """Whatever is not there, or is damaged, leaves a line; the other parts are there all the same."""

    def check(self, blocks: tuple[section.Block, ...], *, reason: str = "", command: str = "") -> None:
        found = [block for block in blocks if isinstance(block, Missing)]
        assert any(reason in block.text and command in block.command for block in found), blocks

    def test_before_anything_there_is_a_page(self, experiment: Experiment, tmp_path: Path) -> None:
        store = tmp_path / "none.zarr"
        result = experiment.report(output=tmp_path / "report.html", store=store, runs=tmp_path)
        found = parse(tmp_path / "report.html")
        extract = f"scale-video extract --dataset folder --store {store}"
        for title in ("Data", "Clips", "Backbone", "Scores", "Gain by class", "Maps of the test videos"):
            assert "Not here:" in found.texts[title]
            assert extract in found.texts[title]
        assert f"({extract}" in result.output

    def test_before_pretraining_the_raw_features_are_shown(self, experiment: Experiment, tmp_path: Path) -> None:
        learned = filled(WHAT_IT_LEARNED, experiment, runs=tmp_path)
        for blocks in learned.values():
            self.check(blocks, reason="No aggregator was pre-trained", command="scale-video pretrain --dataset folder")
        assert any(isinstance(block, section.FigureBlock) for block in learned["Maps of the test videos"])
        gallery = learned["Nearest videos, before and after"][0]
        assert isinstance(gallery, section.StripGallery)
        assert [title for title, _ in gallery.rows[0].found] == ["x (raw features)"]
        self.check(filled(WHAT_WAS_RUN, experiment, runs=tmp_path)["Settings"], command="scale-video pretrain")
        for blocks in filled(DID_IT_HELP, experiment, runs=tmp_path).values():
            self.check(blocks, command="scale-video evaluate --dataset folder")

    def test_scores_need_no_store(self, experiment: Experiment, tmp_path: Path) -> None:
        found = filled(DID_IT_HELP, experiment, store=tmp_path / "none.zarr")
        here = {title for title, blocks in found.items() if not any(isinstance(block, Missing) for block in blocks)}
        assert here == found.keys() - {"Beside other experiments"}

    @pytest.mark.parametrize(
        ("pattern", "outline", "damaged"),
        [
            ("results.json", DID_IT_HELP, {"Scores": "results.json", "Gain by class": "results.json"}),
            (
                "outcomes/*.npz",
                DID_IT_HELP,
                {"Gain by class": ".npz is damaged", "What is mixed up": ".npz is damaged"},
            ),
            ("**/last.ckpt", WHAT_IT_LEARNED, {"Maps of the test videos": "last.ckpt"}),
            ("**/config.json", WHAT_WAS_RUN, {"Settings": "could not be made", "Versions": "could not be made"}),
        ],
    )
    def test_damage(
        self, experiment: Experiment, tmp_path: Path, pattern: str, outline: Outline, damaged: dict[str, str]
    ) -> None:
        runs = tmp_path / "runs"
        shutil.copytree(experiment.root / "runs", runs)
        for path in runs.glob(f"folder/{pattern}"):
            path.write_bytes(b"[1, 2")
        found = filled(outline, experiment, runs=runs)
        for title, reason in damaged.items():
            self.check(found[title], reason=reason)
        assert {"Data", "Scores", "Nearest videos, before and after"} & found.keys()

    def test_rows_of_other_features_are_left_out(self, experiment: Experiment, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        shutil.copytree(experiment.root / "runs", runs)
        path = runs / "folder" / "results.json"
        rows = json.loads(path.read_bytes())
        path.write_text(
            json.dumps([*rows, *({**row, "weights_digest": "old", "value": row["ci_low"]} for row in rows)])
        )
        scores = filled(DID_IT_HELP, experiment, runs=runs)["Scores"]
        assert scores[:1] == filled(DID_IT_HELP, experiment)["Scores"][:1]
        assert scores[-1] == Paragraph(f"Left out: {len(rows)} rows of results.json that are of other features.")


class TestFill:
    @pytest.mark.parametrize("error", [OSError("disk"), ValueError("value"), KeyError("weights"), StoreError("store")])
    def test_a_part_that_fails_keeps_what_it_made_and_the_others(self, error: Exception) -> None:
        def fails(sources: object) -> Iterator[section.Block]:
            yield Paragraph("made")
            raise error

        def absent(sources: object) -> Iterator[section.Block]:
            raise NotThereError("absent", "make it")

        parts = (Part("fails", fails), Part("absent", absent), Part("fine", lambda _: [Paragraph("fine")]))
        found = fill(Outline("title", "anchor", parts), None)  # type: ignore[arg-type]
        assert found.parts[0].blocks[0] == Paragraph("made")
        reason = found.parts[0].blocks[1]
        assert isinstance(reason, Missing)
        assert str(error).strip("'") in reason.text
        assert found.parts[1].blocks == (Missing("absent", "make it"),)
        assert found.parts[2].blocks == (Paragraph("fine"),)

    def test_our_own_mistakes_are_not_hidden(self) -> None:
        def wrong(sources: object) -> Iterator[section.Block]:
            raise TypeError("wrong")

        with pytest.raises(TypeError, match="wrong"):
            fill(Outline("title", "anchor", (Part("wrong", wrong),)), None)  # type: ignore[arg-type]


def test_confusion_cells_count_videos() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, (2, 200))
    names = [f"class {index}" for index in range(5)]
    drawn = draw.draw_confusions([draw.Predictions("x", labels, predictions)], names)
    sources = [
        one.data_source for one in drawn.select({"type": draw.DataRenderer}) if "predicted" in one.data_source.data
    ]
    data = sources[0].data
    assert len(data["x"]) == 25
    for x, y, shown in zip(data["x"], data["y"], data["shown"], strict=True):
        count = sum(label == y and guess == x for label, guess in zip(labels, predictions, strict=True))
        total = sum(label == y for label in labels)
        assert shown == f"{count} of {total} ({100 * count / total:.1f} %)"


def test_no_text_is_taken_for_a_formula() -> None:
    from bokeh.embed.util import contains_tex_string

    for text in ("$$x$$", "$$$ x $$$", r"\(x\)", r"\[x\]"):
        assert contains_tex_string(text)
        assert not contains_tex_string(plain(text))


FIGURES = "[...Bokeh.index.all_views()].filter((view) => view.model.type === 'Figure')"
DRAWN = f"""{FIGURES}.map((view) => {{
    const canvas = view.canvas_view.primary.canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const found = {{colours: new Set(new Uint32Array(pixels.buffer)).size, darkest: 255, lightest: 0}};
    for (let at = 0; at < pixels.length; at += 4) {{
        if (pixels[at + 3] > 100) {{  // the ground is transparent, and edges of letters nearly so
            const light = Math.max(pixels[at], pixels[at + 1], pixels[at + 2]);
            found.darkest = Math.min(found.darkest, light);
            found.lightest = Math.max(found.lightest, light);
        }}
    }}
    return found;
}})"""
"""How many colours each figure has, and its darkest and lightest one."""
PLACE = f"""(name) => {{
    const view = {FIGURES}.filter((view) => view.model.renderers[0].data_source.data.strip !== undefined).at(-1);
    const {{x_scale, y_scale}} = view.frame;
    const data = view.model.renderers[0].data_source.data;
    const at = data.name.indexOf(name);
    view.el.scrollIntoView({{block: "center"}});
    const box = view.el.getBoundingClientRect();
    return [box.x + x_scale.compute(data.x1[at]), box.y + y_scale.compute(data.y1[at])];
}}"""
"""Of a video on the last map, in pixels of the window."""


def test_the_page_in_a_browser(page: "Page", page_file: Path, experiment: Experiment) -> None:
    """Nothing is asked for and no error shown: the fixture ``page`` sees to that."""
    page.set_default_timeout(180_000)  # a machine may have other things to do
    page.on("dialog", lambda dialog: pytest.fail(f"a name of a file ran as a script: {dialog.message}"))
    page.emulate_media(color_scheme="light")
    page.goto(page_file.as_uri())
    page.wait_for_function("Bokeh.documents.length && Bokeh.documents.every((one) => one.is_idle)")

    # Headings, and a table of contents that leads to them.
    assert page.title() == "Report on folder"
    assert page.locator("main h2").count() == len(OUTLINES)
    links = page.eval_on_selector_all("nav a", "(all) => all.map((one) => one.getAttribute('href').slice(1))")
    assert page.evaluate("(names) => names.every((name) => document.getElementById(name))", links)

    # Figures are drawn, dark on light.
    page.wait_for_timeout(200)
    figures = page.evaluate(DRAWN)
    assert len(figures) >= 7
    assert min(figure["colours"] for figure in figures) > 20
    assert max(figure["darkest"] for figure in figures) < 60

    # A video of the map shows its frames and its name, which is no markup.
    place = page.evaluate(PLACE, f"test/a/{SCRIPT}")
    page.mouse.move(place[0] - 3, place[1])
    page.mouse.move(*place)
    shown = page.locator(".bk-tooltip-content, .bk-Tooltip").locator("img").first
    shown.wait_for(state="visible")
    assert shown.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [384, 64]
    assert page.get_by_text(SCRIPT).count() >= 1
    assert page.evaluate("document.querySelectorAll('main script, main img:not([src^=\"data:\"])').length") == 0

    # The page turns dark, and its figures with it.
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(200)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
    assert min(figure["lightest"] for figure in page.evaluate(DRAWN)) > 200


def test_the_page_is_whole_and_small(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert len(text.encode()) < 15e6
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "default-src 'none'" in text
    assert "<link" not in text
    assert "<script src" not in text
