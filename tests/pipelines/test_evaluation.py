"""Which checkpoints are evaluated on which features, what the control is, and what a row of results says."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from scale_video.aggregate.checkpoint import CheckpointError, LoadedAggregator, load_aggregator
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.evaluate.nonlinear import NonlinearConfig, nonlinear_probe
from scale_video.evaluate.outcomes import read_outcomes, write_outcomes
from scale_video.evaluate.per_clip import clip_probe
from scale_video.evaluate.probe import evaluate_representation
from scale_video.evaluate.result import PROTOCOLS, EvaluationRecord, read_results
from scale_video.pipelines import evaluation, seed_runs
from scale_video.pipelines.cli import main
from scale_video.pipelines.comparison import compare_records
from scale_video.pipelines.evaluation import run_evaluation
from scale_video.pipelines.paths import ExperimentRequest, run_dir
from scale_video.pipelines.pretraining import run_pretraining
from scale_video.store.create import add_backbone
from scale_video.store.read import FeatureStore

MakeStore = Callable[..., str]
Requests = Callable[..., ExperimentRequest]


def by_name(records: Sequence[EvaluationRecord]) -> dict[str, EvaluationRecord]:
    return {record.representation: record for record in records}


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"seed": 1}, "plan_digest: '[0-9a-f]{32}' != '[0-9a-f]{32}'"),
        ({"weights_digest": "w1"}, "weights_digest: 'w0' != 'w1'"),
    ],
)
def test_a_checkpoint_of_other_features_is_refused_by_name(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, other: dict, key: str
) -> None:
    [checkpoint] = run_pretraining(request_for(make_store(tmp_path / "a.zarr")))
    store = make_store(tmp_path / "b.zarr", **other)
    message = rf"'{checkpoint}' was trained on other features than these \({key}\); run `scale-video pretrain` again"
    with pytest.raises(CheckpointError, match=message):
        run_evaluation(request_for(store), protocols=("knn",))
    assert not (tmp_path / "runs/folder/results.json").exists()


def test_a_checkpoint_of_another_view_is_refused(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    store = make_store(tmp_path / "a.zarr")
    run_pretraining(request_for(store))
    turned = request_for(store, "train_view=grid", "test_view=random")
    with pytest.raises(CheckpointError, match=r"\(view: 'random' != 'grid'\)"):
        run_evaluation(turned, protocols=("knn",))


def test_a_union_of_stores_has_features_of_its_own(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    one, other = (make_store(tmp_path / f"{name}.zarr", prefix=name) for name in "ab")
    run_pretraining(request_for(f"{one},{other}"))
    records = by_name(run_evaluation(request_for(f"{one},{other}"), protocols=("knn",)))
    assert (records["x+cls"].num_train, records["x+cls"].num_test) == (56, 24)
    for part in (one, f"{other},{one}"):
        with pytest.raises(CheckpointError, match=r"trained on other features than these \(plan_digest: "):
            run_evaluation(request_for(part), protocols=("knn",))


def test_views_of_different_weights_are_refused(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    store = make_store(tmp_path / "a.zarr", grid_weights_digest="w1")
    with pytest.raises(ValueError, match=r"other weights than those in view 'random' \(weights_digest: 'w1' != 'w0'\)"):
        run_evaluation(request_for(store), protocols=("knn",))
    one_view = request_for(store, "test_view=random")
    assert run_evaluation(one_view, protocols=("knn",))


@pytest.mark.parametrize("shuffled", [False, True])
def test_init_is_the_control_of_the_checkpoint_beside_it(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch, shuffled: bool
) -> None:
    store = make_store(tmp_path / "a.zarr")
    [checkpoint] = run_pretraining(request_for(store, f"pretrain.shuffle_positions={str(shuffled).lower()}"))
    seen = {}

    def spy(config, *, feature_dim, seed):
        seen["config"] = config
        return initial_aggregator(config, feature_dim=feature_dim, seed=seed)

    vectors = {}

    def probe(train, *arguments, **options):
        vectors.setdefault(len(vectors), train)
        return evaluate_representation(train, *arguments, **options)

    monkeypatch.setattr("scale_video.pipelines.candidates.initial_aggregator", spy)
    monkeypatch.setattr(evaluation, "evaluate_representation", probe)
    plain = request_for(store, sizes=())  # the preset's own sizes, not those that were trained
    names = [record.representation for record in run_evaluation(plain, protocols=("knn",))]
    assert seen["config"] == load_aggregator(checkpoint).config
    dims = {name: vectors[index].shape[1] for index, name in enumerate(names)}
    assert dims["init"] == dims["x+cls"] == 4 + 32


def test_without_a_checkpoint_init_follows_the_preset(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    records = run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))
    assert [record.representation for record in records] == ["x", "x-bins2", "x-bins4", "x-whitened", "init"]


def test_a_row_says_what_it_is_of_and_how_it_came_about(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "a.zarr", failed=(0, 3, 39))
    records = run_evaluation(request_for(store), protocols=("knn", "linear"))
    assert read_results(tmp_path / "runs/folder/results.json") == sorted(records, key=lambda r: r.protocol)
    opened = FeatureStore.open(store)
    for record in records:
        assert record.plan_digest == opened.plan_digest("random")
        assert record.test_plan_digest == opened.plan_digest("grid")
        assert record.weights_digest == "w0"
        assert record.hyperparameters.keys() == ({"k", "temperature"} if record.protocol == "knn" else {"C"})
        assert (record.num_train, record.num_test) == (26, 11)
        assert "without features and left out: 2 training and 1 test videos" in record.note


def test_rows_of_other_features_are_kept_apart(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    for seed in (0, 1, 1):
        url = tmp_path / f"{seed}.zarr"
        store = str(url) if url.exists() else make_store(url, seed=seed)
        run_evaluation(request_for(store), protocols=("knn",))
    assert len(read_results(tmp_path / "runs/folder/results.json")) == 2 * 5


OWN, PAPER = ({"random": name, "grid": name} for name in ("imagenet", "paper"))


def test_features_of_other_preprocessing_are_others(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    one, other = (
        request_for(make_store(tmp_path / f"{index}.zarr", colours=colours))
        for index, colours in enumerate((OWN, PAPER))
    )
    run_pretraining(one)
    run_evaluation(one, protocols=("knn",), representations=("x",))
    with pytest.raises(CheckpointError, match=r"is of another training \(provenance.forward_digest: "):
        run_pretraining(other)
    with pytest.raises(CheckpointError, match=r"trained on other features than these \(forward_digest: "):
        run_evaluation(other, protocols=("knn",))
    checkpoint = run_dir(one, backbone="tiny", seed=0)
    with pytest.raises(CheckpointError, match="reads features of other preprocessing, layer or frames than these"):
        run_evaluation(other, protocols=("knn",), checkpoints=[checkpoint])
    run_evaluation(other, protocols=("knn",), representations=("x",))
    rows = read_results(tmp_path / "runs/folder/results.json")
    assert len({row.forward_digest for row in rows}) == len(rows) == 2


def test_views_of_different_preprocessing_are_refused(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "a.zarr", colours={"random": "imagenet", "grid": "paper"})
    with pytest.raises(
        ValueError, match="come from other preprocessing, layer, frames or precision than those in view"
    ):
        run_evaluation(request_for(store), protocols=("knn",))


def test_a_preset_of_other_colours_than_the_features(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, colours, said in (("own", OWN, True), ("paper", PAPER, False), ("silent", {}, False)):
        store = make_store(tmp_path / f"{name}.zarr", colours=colours)
        run_evaluation(replace(request_for(store), preset="paper"), protocols=("knn",), representations=("x",))
        assert ("normalises colours as published" in capsys.readouterr().err) == said


def test_untrained_aggregators_of_other_sizes_have_rows_of_their_own(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    store = make_store(tmp_path / "a.zarr")
    for heads in (1, 2, 2):
        experiment = request_for(store, f"pretrain.model.num_heads={heads}")
        run_evaluation(experiment, protocols=("knn",), representations=("init",))
    assert len({row.training for row in read_results(tmp_path / "runs/folder/results.json")}) == 2


def test_rows_say_whether_trainings_are_equal_but_for_the_seed(
    tmp_path: Path, make_store: MakeStore, request_for: Requests
) -> None:
    experiment = replace(request_for(make_store(tmp_path / "a.zarr")), num_seeds=2)
    run_pretraining(experiment)
    run_pretraining(replace(request_for(experiment.store, "pretrain.epochs=1"), num_seeds=1), restart=True)
    rows = run_evaluation(experiment, protocols=("knn",), representations=("cls", "h"))
    assert len({row.training for row in rows}) == 2
    assert len({(row.training, row.seed) for row in rows}) == 2


def test_a_training_that_is_not_complete_is_said_in_its_rows(
    tmp_path: Path,
    make_store: MakeStore,
    request_for: Requests,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment = request_for(make_store(tmp_path / "a.zarr"))
    [last] = run_pretraining(experiment)

    def unfinished(path: Path) -> LoadedAggregator:
        return replace(load_aggregator(path), epochs_done=1, share_done=0.5)

    monkeypatch.setattr(seed_runs, "load_aggregator", unfinished)
    for row in run_evaluation(experiment, protocols=("knn",), representations=("x", "cls")):
        assert ("pre-trained for 50% of 2 epochs" in row.note) == (row.representation == "cls")
    assert f"{last}: pre-trained for 50% of 2 epochs; `scale-video pretrain` completes it\n" in capsys.readouterr().err
    best = last.with_name("best.ckpt")
    run_evaluation(experiment, protocols=("knn",), representations=("cls",), checkpoints=(best,))
    assert f"{best}: pre-trained for 50% of 2 epochs\n" in capsys.readouterr().err  # nothing goes on from that file


def test_test_videos_change_no_checkpoint(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    """Neither what they show, nor whether they are there."""
    weights = []
    for name, options in (("all", {}), ("without", {"num_videos": 28}), ("failed", {"failed": range(28, 40)})):
        experiment = replace(request_for(make_store(tmp_path / f"{name}.zarr", **options)), runs=tmp_path / name)
        [checkpoint] = run_pretraining(experiment)
        weights.append(load_aggregator(checkpoint).model.state_dict())
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in weights[0])


def test_a_damaged_results_file_is_refused_before_features_are_read(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "a.zarr")
    path = tmp_path / "runs/folder/results.json"
    path.parent.mkdir(parents=True)
    path.write_text("[{")
    monkeypatch.setattr(FeatureStore, "read_features", None)
    with pytest.raises(ValueError, match="is damaged, no JSON"):
        run_evaluation(request_for(store), protocols=("knn",))


def test_a_checkpoint_that_saw_test_videos_is_refused_before_features_are_read(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"), "pretrain_videos=all")
    run_pretraining(request)
    records = by_name(run_evaluation(request, protocols=("knn",), allow_seen=True))
    assert {name for name, record in records.items() if record.seen} == {"h", "cls", "x+cls", "x+h+cls"}
    monkeypatch.setattr(FeatureStore, "read_features", None)
    with pytest.raises(ValueError, match="was pre-trained on test videos of this split"):
        run_evaluation(request, protocols=("knn",))


def test_a_gpu_is_used_if_there_is_one(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def probe(*arguments, device, **options):
        raise Asked(device)

    monkeypatch.setattr(evaluation.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("scale_video.pipelines.evaluation_journal.device_name", lambda device: "a GPU")
    monkeypatch.setattr(evaluation, "evaluate_representation", probe)
    with pytest.raises(Asked, match="cuda"):
        run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))


def test_what_is_probed_is_kept_when_a_later_probe_fails(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("scale_video.pipelines.candidates.initial_aggregator", fail)
    with pytest.raises(MemoryError):
        run_evaluation(request_for(make_store(tmp_path / "a.zarr")), protocols=("knn",))
    kept = json.loads((tmp_path / "runs/folder/results.json").read_text())
    assert [row["representation"] for row in kept] == ["x", "x-bins2", "x-bins4", "x-whitened"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_store: MakeStore, small_training: tuple[str, ...]) -> Path:
    root = tmp_path_factory.mktemp("trained")
    arguments = ("--dataset", "folder", "--store", make_store(root / "a.zarr"), "--runs", str(root / "runs"))
    assert CliRunner().invoke(main, ["pretrain", *arguments, *small_training]).exit_code == 0
    return root


class TestEvaluateCommand:
    """``scale-video evaluate`` on a store with a checkpoint, and a perceptron of a size for tests."""

    @pytest.fixture
    def evaluate(
        self, trained: Path, tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Result]:
        def small(*arguments, config, **options):
            return nonlinear_probe(*arguments, config=NonlinearConfig(hidden_dim=8, output_dim=8), **options)

        def short(*arguments, config, **options):
            config = replace(config, max_epochs=2, hidden_dim=8, output_dim=8)
            return clip_probe(*arguments, config=config, **options)

        shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
        monkeypatch.setattr("scale_video.evaluate.protocols.nonlinear_probe", small)
        monkeypatch.setattr("scale_video.evaluate.protocols.clip_probe", short)

        def run(*arguments: object, status: int = 0, command: str = "evaluate") -> Result:
            quick = ("--no-pictures",) if command == "evaluate" else ()
            return run_cli(command, "--dataset", "folder", "--store", "a.zarr", *quick, *arguments, status=status)

        return run

    def test_pictures_lie_beside_the_results(self, evaluate: Callable[..., Result]) -> None:
        result = evaluate("--protocols", "knn", "--representations", "x,x+cls", "--pictures")
        names = [f"tiny-split1-{name}" for name in ("knn-confusion", "knn-gains", "map")]
        assert "6 pictures in runs/folder/pictures" in result.stderr
        assert sorted(path.name for path in Path("runs/folder/pictures").iterdir()) == sorted(
            f"{name}.{kind}" for name in names for kind in ("png", "svg")
        )

    def test_protocols_representations_and_their_table(self, evaluate: Callable[..., Result]) -> None:
        shown = evaluate("--protocols", "all", "--representations", "x,cls, x+h").stdout
        lines = [line for line in shown.splitlines() if line.startswith("│")]
        assert [line.split()[1] for line in lines] == ["x", "cls", "x+h"]
        [heading] = [line for line in shown.splitlines() if "representation" in line]
        for column in ("k-NN top-1", "linear top-1", "nonlinear top-1", "retrieval R@1", "retrieval mAP"):
            assert column in heading
        records = read_results(Path("runs/folder/results.json"))
        assert {(record.protocol, record.representation) for record in records} == {
            (protocol, name)
            for protocol in PROTOCOLS
            for name in ("x", "cls", "x+h")
            if (protocol, name) != ("fine-tuning", "x")  # there is nothing to tune
        }

    @pytest.mark.parametrize(
        ("protocol", "command", "options"),
        [
            *((name, name, ()) for name in ("knn", "linear", "nonlinear", "retrieval")),
            ("linear-per-clip", "linear", ("--per-clip",)),
            ("nonlinear-per-clip", "nonlinear", ("--per-clip",)),
            ("fine-tuning", "nonlinear", ("--unfreeze",)),
        ],
    )
    def test_shorthands_are_the_same(
        self, evaluate: Callable[..., Result], protocol: str, command: str, options: tuple[str, ...]
    ) -> None:
        short = json.loads(evaluate("--representations", "x,cls", "--json", *options, command=command).stdout)
        long = json.loads(evaluate("--protocols", protocol, "--representations", "x,cls", "--json").stdout)
        assert (long["comparisons"], long["per_class"]) == ([], [])
        for row, again in zip(short, long["records"], strict=True):
            assert row | {"seconds": 0} == again | {"seconds": 0}

    def test_rows_of_other_options_stay_beside_each_other(self, evaluate: Callable[..., Result]) -> None:
        for options in (
            (),
            ("--k", 3),
            ("--k", 3),
            ("--temperature", 1),
            ("--train-share", "1,0.5", "--share-seed", 2),
        ):
            shown = evaluate("--representations", "x", *options, command="knn").stdout
        assert "k-NN, 50 % of labels" in shown
        records = read_results(Path("runs/folder/results.json"))
        assert [dict(record.options) for record in records] == [
            {}, {"k": 3}, {"share_seed": 2, "train_share": 0.5}, {"temperature": 1},
        ]  # fmt: skip
        assert [record.num_train for record in records] == [28, 28, 14, 28]
        assert len({record.outcomes for record in records}) == 4

    def test_comparison_is_of_the_outcomes_kept(self, evaluate: Callable[..., Result]) -> None:
        arguments = (
            "--protocols",
            "knn,retrieval",
            "--representations",
            "x",
            "--compare",
            "x,x+cls",
            "--compare",
            "h,cls",
        )
        found = json.loads(evaluate(*arguments, "--json").stdout)
        assert [(row["second"], row["protocol"], row["metric"]) for row in found["comparisons"][:2]] == [
            ("x+cls", "knn", "top1"), ("x+cls", "retrieval", "r@1"),
        ]  # fmt: skip
        values = {(row["representation"], row["protocol"], row["metric"]): row["value"] for row in found["records"]}
        assert len(found["comparisons"]) == 2 * 7
        for row in found["comparisons"]:
            of = (row["protocol"], row["metric"])
            assert row["difference"] == pytest.approx(values[row["second"], *of] - values[row["first"], *of])
            assert row["ci_low"] <= row["difference"] <= row["ci_high"]
            assert 0 < row["p"] <= 1
            assert (row["seed"], row["num_test"]) == (0, 12)
        shown = evaluate(*arguments).stdout
        assert "x+cls − x" in shown
        assert "cls − h" in shown

    def test_scores_per_class(self, evaluate: Callable[..., Result]) -> None:
        arguments = ("--protocols", "knn", "--representations", "x,cls", "--per-class")
        found = json.loads(evaluate(*arguments, "--json").stdout)
        assert [(row["class_name"], row["representation"], row["num_test"]) for row in found["per_class"]] == [
            ("a", "x", 6), ("b", "x", 6), ("a", "cls", 6), ("b", "cls", 6),
        ]  # fmt: skip
        for record, pair in zip(found["records"], (found["per_class"][:2], found["per_class"][2:]), strict=True):
            assert record["value"] == pytest.approx(sum(row["value"] for row in pair) / 2)
        shown = evaluate(*arguments).stdout
        assert "k-NN top-1 % by class" in shown
        assert "cls, seed 0" in shown

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--protocols", "svm"), "protocol 'svm' is none of knn, linear, nonlinear, retrieval"),
            (("--protocols", ""), "name at least one protocol of knn, linear"),
            (("--representations", "x,y"), "representation 'y' is none of x, h, cls, x+h"),
            (("--compare", "x"), "--compare takes two representations, A,B, got 'x'"),
            (("--compare", "x,z"), "representation 'z' is none of x, h, cls"),
            (
                ("--train-share", "2"),
                "the share of training labels must be in (0, 1] and its seed not negative, got 2.0",
            ),
            (("--train-share", "few"), "--train-share 'few' is no number; say for example 1,0.1,0.01"),
            (
                ("--representations", "cls", "--label", "other"),
                "cls need a checkpoint; run `scale-video pretrain` first",
            ),
            (("--backbone", "none"), "has no features of 'none'; it has: tiny; `scale-video extract` makes them"),
        ],
    )
    def test_mistakes_are_one_line(
        self, evaluate: Callable[..., Result], arguments: tuple[str, ...], message: str
    ) -> None:
        result = evaluate(*arguments, status=1)
        assert message in result.stderr.splitlines()[-1]
        assert not Path("runs/folder/results.json").exists()

    def test_features_that_are_not_complete_are_counted(self, evaluate: Callable[..., Result]) -> None:
        for view in ("random", "grid"):
            add_backbone("a.zarr", view=view, name="later", feature_dim=4, weights_digest="w1", attributes={})
        result = evaluate("--representations", "x", "--backbone", "later", status=1)
        assert "28 of 28 videos of random/later in store" in result.stderr
        assert "are not extracted yet; run the same `scale-video extract` again" in result.stderr


def test_raw_representations_need_no_checkpoint_and_load_none(
    tmp_path: Path, make_store: MakeStore, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scale_video.pipelines.candidates.initial_aggregator", None)
    monkeypatch.setattr("scale_video.pipelines.seed_runs.load_aggregator", None)
    request = request_for(make_store(tmp_path / "a.zarr"))
    records = run_evaluation(request, protocols=("knn",), representations=("x-bins2", "x"))
    assert [record.representation for record in records] == ["x", "x-bins2"]


def test_rows_without_outcomes_cannot_be_compared(tmp_path: Path, make_store: MakeStore, request_for: Requests) -> None:
    request = request_for(make_store(tmp_path / "a.zarr"))
    records = run_evaluation(request, protocols=("knn",), representations=("x", "x-bins2"))
    folder = tmp_path / "runs/folder"
    with pytest.raises(ValueError, match="nothing to compare between 'x' and 'h'; there is: x, x-bins2"):
        compare_records(records, [("x", "h")], folder=folder)
    old = [replace(record, outcomes="") for record in records]
    with pytest.raises(ValueError, match="row of 'x' keeps no outcomes of single videos; run the probe again"):
        compare_records(old, [("x", "x-bins2")], folder=folder)
    outcomes = read_outcomes(folder / records[0].outcomes)
    write_outcomes(folder / records[0].outcomes, replace(outcomes, video_ids=outcomes.video_ids[::-1]))
    with pytest.raises(ValueError, match="'x' and 'x-bins2' were tested on different labels of the same videos, 12 of"):
        compare_records(records, [("x", "x-bins2")], folder=folder)
