import numpy as np
import pytest

from scale_video.evaluate.bootstrap import bootstrap_interval, estimate
from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.linear import linear_probe
from scale_video.evaluate.low_shot import draw_share
from scale_video.evaluate.nonlinear import NonlinearConfig, nonlinear_probe
from scale_video.evaluate.options import ProbeOptions
from scale_video.evaluate.probe import ProbeOutcome, evaluate_representation
from scale_video.evaluate.result import PROTOCOLS
from scale_video.evaluate.retrieval import recalled, retrieve

SMALL = NonlinearConfig(learning_rates=(1e-2,), max_epochs=3, hidden_dim=16, output_dim=8)


def evaluate(
    train, test, *, protocol: str = "knn", num_classes: int = 3, seed: int = 0, **options: float
) -> ProbeOutcome:
    return evaluate_representation(
        *train,
        *test,
        protocol=protocol,
        num_classes=num_classes,
        seed=seed,
        options=ProbeOptions(**options),
        nonlinear=SMALL,
    )


def main_metric(outcome: ProbeOutcome) -> str:
    return next(iter(outcome.estimates))


@pytest.fixture
def train(make_videos):
    return make_videos(80, seed=0, spread=2.0)


@pytest.fixture
def test(make_videos):
    return make_videos(40, seed=1, spread=2.0)


def test_each_protocol_is_the_probe_of_its_name(train, test) -> None:
    expected = {
        "knn": knn_predict(train.vectors, train.labels, test.vectors, num_classes=3),
        "linear": linear_probe(*train, test.vectors, seed=7),
        "nonlinear": nonlinear_probe(*train, test.vectors, num_classes=3, seed=7, config=SMALL),
    }
    for protocol in ("knn", "linear", "nonlinear"):
        outcome = evaluate(train, test, protocol=protocol, seed=7)
        np.testing.assert_array_equal(outcome.predictions, expected[protocol].classes)
        assert outcome.hyperparameters == expected[protocol].hyperparameters
        correct = expected[protocol].classes == test.labels
        assert list(outcome.estimates) == ["top1"]  # of three classes, all are among the first five
        found = outcome.estimates["top1"]
        np.testing.assert_array_equal(outcome.scores["top1"], correct)
        assert found.value == correct.mean()
        assert (found.low, found.high) == bootstrap_interval(correct, test.groups)
        assert found.low < found.value < found.high
        assert (outcome.num_train, outcome.num_test, outcome.note) == (80, 40, "")
        assert outcome.seconds > 0


def test_retrieval_is_the_mean_over_queries(train, test) -> None:
    outcome = evaluate(train, test, protocol="retrieval")
    ranking = retrieve(train.vectors, train.labels, test.vectors, test.labels)
    assert list(outcome.estimates) == ["r@1", "r@5", "r@10", "r@20", "r@50", "map"]
    for depth in (1, 5, 10, 20, 50):
        hits = recalled(ranking, train.labels, test.labels, depth=depth)
        assert outcome.estimates[f"r@{depth}"].value == hits.mean()
    assert outcome.estimates["map"] == estimate(ranking.average_precision, test.groups)
    np.testing.assert_array_equal(outcome.predictions, train.labels[ranking.nearest[:, 0]])


@pytest.mark.parametrize("protocol", ["knn", "linear", "nonlinear"])
def test_top5_counts_the_label_among_the_first_five_classes(protocol: str, make_videos) -> None:
    train, test = (make_videos(160, seed=seed, num_classes=8, spread=3.0) for seed in (0, 1))
    outcome = evaluate(train, test, protocol=protocol, num_classes=8)
    top1, top5 = (outcome.estimates[metric].value for metric in ("top1", "top5"))
    assert top1 < top5 < 1
    assert (outcome.scores["top5"] >= outcome.scores["top1"]).all()
    assert top1 == (outcome.predictions == test.labels).mean()


def test_options_reach_the_protocol(train, test) -> None:
    expected = knn_predict(train.vectors, train.labels, test.vectors, num_classes=3, k=3, temperature=1.0)
    outcome = evaluate(train, test, k=3, temperature=1.0)
    np.testing.assert_array_equal(outcome.predictions, expected.classes)
    assert outcome.hyperparameters == {"k": 3, "temperature": 1.0}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_low_shot_is_the_probe_of_the_drawn_rows(protocol: str, train, test) -> None:
    rows = draw_share(train.labels, 0.25, seed=4)
    drawn = evaluate(type(train)(*(column[rows] for column in train)), test, protocol=protocol)
    outcome = evaluate(train, test, protocol=protocol, train_share=0.25, share_seed=4)
    assert outcome.estimates == drawn.estimates
    assert outcome.num_train == len(rows) < 25
    assert f"{len(rows)} of 80 training labels, drawn by seed 4" in outcome.note


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestNothingLeaks:
    def test_test_labels_change_no_prediction(self, protocol: str, train, test) -> None:
        shuffled = test._replace(labels=np.random.default_rng(0).permutation(test.labels))
        first, second = (evaluate(train, side, protocol=protocol) for side in (test, shuffled))
        np.testing.assert_array_equal(first.predictions, second.predictions)
        assert first.hyperparameters == second.hyperparameters
        assert first.estimates != second.estimates

    def test_test_videos_change_no_other_prediction(self, protocol: str, train, test) -> None:
        changed = test._replace(vectors=test.vectors.copy())
        changed.vectors[20:] += 1000
        first, second = (evaluate(train, side, protocol=protocol) for side in (test, changed))
        np.testing.assert_array_equal(first.predictions[:20], second.predictions[:20])


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestUnusualVideos:
    def test_unlabelled_videos_are_left_out(self, protocol: str, train, test) -> None:
        more_train, more_test = (
            side._replace(
                vectors=np.concatenate([side.vectors, np.full((3, 8), 50, dtype=np.float32)]),
                labels=np.concatenate([side.labels, [-1, -1, -1]]),
                groups=np.concatenate([side.groups, ["new", "new", "new"]]),
            )
            for side in (train, test)
        )
        plain = evaluate(train, test, protocol=protocol)
        outcome = evaluate(more_train, more_test, protocol=protocol)
        np.testing.assert_array_equal(outcome.predictions[:40], plain.predictions)
        assert outcome.predictions.shape == (43,)
        assert outcome.estimates == plain.estimates
        assert (outcome.num_train, outcome.num_test) == (80, 40)
        assert outcome.note == "without a label and left out: 3 training and 3 test videos"

    def test_class_absent_from_training(self, protocol: str, train, test) -> None:
        without = train.labels != 1
        outcome = evaluate(type(train)(*(column[without] for column in train)), test, protocol=protocol)
        assert not (outcome.predictions == 1).any()
        assert outcome.note == f"{(test.labels == 1).sum()} test videos are of 1 classes without a training video (1)"

    def test_class_with_a_single_training_video(self, protocol: str, train, test) -> None:
        kept = (train.labels != 2) | (np.cumsum(train.labels == 2) == 1)
        outcome = evaluate(type(train)(*(column[kept] for column in train)), test, protocol=protocol)
        assert outcome.num_train == kept.sum()
        assert outcome.note == ""

    def test_two_training_videos_and_one_test_video(self, protocol: str, train, test) -> None:
        rows = [int(np.flatnonzero(train.labels == label)[0]) for label in (0, 1)]
        outcome = evaluate(
            type(train)(*(column[rows] for column in train)),
            type(test)(*(column[:1] for column in test)),
            protocol=protocol,
        )
        assert (outcome.num_train, outcome.num_test) == (2, 1)
        found = outcome.estimates[main_metric(outcome)]
        assert (found.low, found.high) == (0.0, 1.0)
        assert "one test group only: no interval" in outcome.note


def test_many_absent_classes_are_counted_not_listed(train) -> None:
    labels = np.arange(80, dtype=np.int32) % 20
    outcome = evaluate(train, train._replace(labels=labels), num_classes=20)
    assert "68 test videos are of 17 classes without a training video (3, 4, 5, 6, 7, …)" in outcome.note


def test_half_precision_and_plain_lists_of_groups(train, test) -> None:
    half = [side._replace(vectors=side.vectors.astype(np.float16), groups=list(side.groups)) for side in (train, test)]
    whole = [side._replace(vectors=side.vectors.astype(np.float16).astype(np.float32)) for side in (train, test)]
    np.testing.assert_array_equal(evaluate(*half).predictions, evaluate(*whole).predictions)


class TestErrors:
    def test_unknown_protocol(self, train, test) -> None:
        with pytest.raises(ValueError, match="protocol 'svm' is none of knn, linear, nonlinear, retrieval"):
            evaluate(train, test, protocol="svm")

    @pytest.mark.parametrize(
        ("protocol", "spoken"),
        [
            ("knn", "k-NN"),
            ("linear", "the linear probe"),
            ("nonlinear", "the nonlinear probe"),
            ("retrieval", "retrieval"),
        ],
    )
    def test_no_labels(self, protocol: str, spoken: str, train, test) -> None:
        unlabelled = train._replace(labels=np.full(80, -1))
        with pytest.raises(ValueError, match=f"{spoken} needs labels; no training video has one: sort the videos"):
            evaluate(unlabelled, test, protocol=protocol)

    def test_one_training_video(self, train, test) -> None:
        labels = np.full(80, -1)
        labels[3] = 1
        with pytest.raises(ValueError, match="k-NN needs at least two labelled training videos, got 1"):
            evaluate(train._replace(labels=labels), test)

    def test_one_class(self, train, test) -> None:
        with pytest.raises(ValueError, match="k-NN needs at least two classes; all training videos have class 2"):
            evaluate(train._replace(labels=np.full(80, 2)), test)

    def test_no_test_video(self, train, test) -> None:
        nothing = type(test)(*(column[:0] for column in test))
        with pytest.raises(ValueError, match="k-NN needs at least one labelled test video, got none; check the split"):
            evaluate(train, nothing)
        with pytest.raises(ValueError, match="k-NN needs at least one labelled test video, got none; check the split"):
            evaluate(train, test._replace(labels=np.full(40, -1)))

    def test_features_that_are_not_finite(self, train, test) -> None:
        train.vectors[[4, 9], 0] = np.nan, np.inf
        with pytest.raises(
            ValueError, match=r"2 of 80 train videos have features that are not finite, the first is row 4;"
        ):
            evaluate(train, test)

    def test_other_dimensions(self, train, test) -> None:
        with pytest.raises(ValueError, match="training vectors have 8 dimensions, test vectors 5; use the same"):
            evaluate(train, test._replace(vectors=test.vectors[:, :5]))

    def test_columns_of_other_lengths(self, train, test) -> None:
        with pytest.raises(ValueError, match=r"test needs one vector, .* shape \(40, 8\), 39 labels and 40 groups"):
            evaluate(train, test._replace(labels=test.labels[:-1]))
        with pytest.raises(ValueError, match=r"train needs one vector, .* shape \(80,\)"):
            evaluate(train._replace(vectors=train.vectors[:, 0]), test)

    def test_labels_out_of_range(self, train, test) -> None:
        with pytest.raises(ValueError, match=r"train labels must lie in \[-1, 2\), got values from 0 to 2"):
            evaluate(train, test, num_classes=2)
