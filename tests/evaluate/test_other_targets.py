"""Numbers and sets of classes: each probe against a recomputation, and the entry to all of them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score
from sklearn.preprocessing import StandardScaler

from scale_video.evaluate.holdout import hold_out_groups
from scale_video.evaluate.knn import knn_mean
from scale_video.evaluate.linear import INVERSE_PENALTIES
from scale_video.evaluate.multi_label import one_vs_rest_probe
from scale_video.evaluate.nonlinear import NonlinearConfig
from scale_video.evaluate.options import ProbeOptions
from scale_video.evaluate.probe import ProbeOutcome, evaluate_representation
from scale_video.evaluate.regression import PENALTIES, ridge_probe

SMALL = NonlinearConfig(learning_rates=(1e-2,), max_epochs=8, hidden_dim=16, output_dim=8)
PROTOCOLS = ("knn", "linear", "nonlinear")
KINDS = ("number", "classes")


def with_targets(videos, kind: str):
    """Targets that follow from the vectors, with noise; of sets, nobody has the last class."""
    noise = np.random.default_rng(len(videos.vectors)).normal(size=(len(videos.vectors), 3))
    if kind == "number":
        return videos._replace(labels=(100 + 5 * videos.vectors[:, 0] + noise[:, 0]).astype(np.float32))
    sets = (videos.vectors[:, :3] + 0.5 * noise > 0.4).astype(np.int8)
    return videos._replace(labels=np.pad(sets, ((0, 0), (0, 1))))


def evaluate(train, test, *, protocol: str, kind: str, **options) -> ProbeOutcome:
    return evaluate_representation(
        *train, *test, protocol=protocol, num_classes=4, seed=0, kind=kind, nonlinear=SMALL,
        options=ProbeOptions(**options),
    )  # fmt: skip


@pytest.fixture
def sides(make_videos):
    return lambda kind: [with_targets(make_videos(n, seed=n, spread=1.5), kind) for n in (120, 60)]


def test_neighbours_average_their_targets(make_videos) -> None:
    train, test = make_videos(30, seed=0), make_videos(5, seed=1)
    targets = np.random.default_rng(2).normal(size=(30, 2))
    found = knn_mean(train.vectors, targets, test.vectors, k=4, temperature=0.5)
    centre = train.vectors.mean(axis=0)
    for vector, mean in zip(test.vectors, found.values, strict=True):
        cosines = []
        for other in train.vectors:
            one, two = vector - centre, other - centre
            cosines.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
        nearest = np.argsort(cosines)[-4:]
        weights = np.exp(np.array(cosines)[nearest] / 0.5)
        np.testing.assert_allclose(mean, weights @ targets[nearest] / weights.sum(), rtol=1e-5)
    assert knn_mean(train.vectors, targets, test.vectors, k=99).note == (
        "k lowered from 99 to 30, the number of training videos"
    )


def test_ridge_is_scikit_learns_on_the_same_split(sides) -> None:
    train, test = sides("number")
    division = hold_out_groups(np.zeros(120, dtype=int), train.groups, seed=3)
    found = ridge_probe(train.vectors, train.labels, test.vectors, hold_out=division)

    def fitted(rows: np.ndarray, alpha: float):
        mean, scale = train.vectors[rows].mean(axis=0), train.vectors[rows].std(axis=0)
        model = Ridge(alpha=alpha).fit((train.vectors[rows] - mean) / scale, train.labels[rows])
        return lambda vectors: model.predict((vectors - mean) / scale)

    errors = [
        ((fitted(division.fit, alpha)(train.vectors[division.held]) - train.labels[division.held]) ** 2).mean()
        for alpha in PENALTIES
    ]
    alpha = PENALTIES[int(np.argmin(errors))]
    assert found.hyperparameters == {"alpha": alpha}
    np.testing.assert_allclose(found.values[:, 0], fitted(np.arange(120), alpha)(test.vectors), rtol=1e-4)


def test_each_class_against_the_rest_is_scikit_learns(sides) -> None:
    train, test = sides("classes")
    division = hold_out_groups(np.zeros(120, dtype=int), train.groups, seed=3)
    found = one_vs_rest_probe(train.vectors, train.labels, test.vectors, hold_out=division)

    def scores(rows: np.ndarray, vectors: np.ndarray, penalty: float) -> np.ndarray:
        scaler = StandardScaler().fit(train.vectors[rows])
        columns = []
        for labels in train.labels[rows, :3].T:
            model = LogisticRegression(C=penalty, max_iter=1000).fit(scaler.transform(train.vectors[rows]), labels)
            columns.append(model.decision_function(scaler.transform(vectors)))
        return np.stack(columns, axis=1)

    precisions = [
        average_precision_score(
            train.labels[division.held, :3],
            scores(division.fit, train.vectors[division.held], penalty),
            average="macro",
        )
        for penalty in INVERSE_PENALTIES
    ]
    chosen = INVERSE_PENALTIES[int(np.argmax(precisions))]
    assert found.hyperparameters == {"C": chosen}
    np.testing.assert_allclose(found.values[:, :3], scores(np.arange(120), test.vectors, chosen), rtol=1e-6)
    assert (found.values[:, 3] < found.values[:, :3].min()).all()


def test_classes_that_cannot_be_learnt_rank_below_and_above_all_others(sides) -> None:
    train, test = sides("classes")
    rare = (train.labels[:, :3] * (np.arange(120) % 4 == 0)[:, None]).astype(np.int8)  # learnt log-odds below 0
    targets = np.concatenate([rare, np.zeros((120, 1), dtype=np.int8), np.ones((120, 1), dtype=np.int8)], axis=1)
    division = hold_out_groups(np.zeros(120, dtype=int), train.groups, seed=3)
    found = one_vs_rest_probe(train.vectors, targets, test.vectors, hold_out=division).values
    learnt = found[:, :3]
    assert np.median(learnt) < 0
    assert np.isfinite(found).all()
    assert (found[:, 3] < learnt.min(axis=1)).all()
    assert (found[:, 4] > learnt.max(axis=1)).all()
    has = np.concatenate([test.labels[:, :3], np.zeros((60, 1)), np.ones((60, 1))], axis=1)
    filled_by_zero = np.concatenate([learnt, np.zeros((60, 2))], axis=1)
    precision, worse = (label_ranking_average_precision_score(has, scores) for scores in (found, filled_by_zero))
    assert precision > worse


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_are_predicted_better_than_by_their_mean(protocol: str, sides) -> None:
    train, test = sides("number")
    outcome = evaluate(train, test, protocol=protocol, kind="number")
    assert list(outcome.estimates) == ["mse"]
    found = outcome.estimates["mse"]
    assert found.value == pytest.approx(((outcome.predictions - test.labels) ** 2).mean(), rel=1e-6)
    assert found.low < found.value < found.high
    of_mean = ((test.labels.astype(np.float64) - train.labels.mean()) ** 2).mean()
    assert found.value < 0.8 * of_mean
    assert outcome.note == f"predicting the mean of the training targets has an MSE of {of_mean:.4g}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sets_of_classes_are_predicted_better_than_by_chance(protocol: str, sides) -> None:
    train, test = sides("classes")
    outcome = evaluate(train, test, protocol=protocol, kind="classes")
    assert list(outcome.estimates) == ["map", "lrap"]
    assert list(outcome.scores) == ["lrap"]
    precision = average_precision_score(test.labels[:, :3], outcome.predictions[:, :3], average="macro")
    assert outcome.estimates["map"].value == pytest.approx(precision)
    assert precision > test.labels[:, :3].mean() + 0.15


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestNothingLeaks:
    def test_test_targets_change_no_prediction(self, protocol: str, kind: str, sides) -> None:
        train, test = sides(kind)
        swapped = test._replace(labels=np.random.default_rng(0).permutation(test.labels))
        first, second = (evaluate(train, side, protocol=protocol, kind=kind) for side in (test, swapped))
        np.testing.assert_array_equal(first.predictions, second.predictions)
        assert first.estimates != second.estimates

    def test_videos_without_a_target_are_left_out(self, protocol: str, kind: str, sides) -> None:
        train, test = sides(kind)
        plain = evaluate(train, test, protocol=protocol, kind=kind)
        absent = np.full((4, *train.labels.shape[1:]), np.nan if kind == "number" else -1, dtype=train.labels.dtype)
        more = [
            side._replace(
                vectors=np.concatenate([side.vectors, np.full((4, 8), 9, dtype=np.float32)]),
                labels=np.concatenate([side.labels, absent]),
                groups=np.concatenate([side.groups, ["new"] * 4]),
            )
            for side in (train, test)
        ]
        outcome = evaluate(*more, protocol=protocol, kind=kind)
        np.testing.assert_array_equal(outcome.predictions[:60], plain.predictions)
        assert outcome.estimates == plain.estimates
        assert "without a label and left out: 4 training and 4 test videos" in outcome.note


@pytest.mark.parametrize("kind", KINDS)
def test_low_shot_draws_videos(kind: str, sides) -> None:
    train, test = sides(kind)
    assert evaluate(train, test, protocol="knn", kind=kind, train_share=0.25).num_train == 30


def test_a_class_that_only_test_videos_have_is_counted(sides) -> None:
    train, test = sides("classes")
    labels = test.labels.copy()
    labels[:2, 3] = 1
    outcome = evaluate(train, test._replace(labels=labels), protocol="linear", kind="classes")
    assert outcome.note == "2 test videos are of 1 classes without a training video (3)"


def test_a_single_test_group_bounds_the_error_by_the_largest(sides) -> None:
    train, test = sides("number")
    outcome = evaluate(train, test._replace(groups=np.zeros(60)), protocol="linear", kind="number")
    found = outcome.estimates["mse"]
    assert (found.low, found.high) == (0.0, outcome.scores["mse"].max())


class TestErrors:
    def test_retrieval_needs_a_class(self, sides) -> None:
        with pytest.raises(ValueError, match="retrieval searches for videos of one class"):
            evaluate(*sides("number"), protocol="retrieval", kind="number")

    def test_no_targets(self, sides) -> None:
        train, test = sides("number")
        with pytest.raises(ValueError, match="k-NN needs targets; no training video has one: name another --target"):
            evaluate(train._replace(labels=np.full(120, np.nan)), test, protocol="knn", kind="number")

    def test_targets_that_are_all_equal(self, sides) -> None:
        train, test = sides("number")
        with pytest.raises(ValueError, match=r"needs at least two values; all training videos have 3\.0"):
            evaluate(train._replace(labels=np.full(120, 3.0)), test, protocol="knn", kind="number")
        train, test = sides("classes")
        with pytest.raises(ValueError, match="needs at least two sets of classes; all training videos have the same"):
            evaluate(train._replace(labels=np.ones((120, 4), dtype=np.int8)), test, protocol="knn", kind="classes")

    def test_no_test_video_with_a_class(self, sides) -> None:
        train, test = sides("classes")
        with pytest.raises(ValueError, match="needs a test video that has a class; none of the 60 has any"):
            evaluate(train, test._replace(labels=np.zeros((60, 4), dtype=np.int8)), protocol="knn", kind="classes")

    def test_columns_are_the_classes(self, sides) -> None:
        train, test = sides("classes")
        with pytest.raises(ValueError, match=r"test labels must have one column per class \(4\), got 3"):
            evaluate(train, test._replace(labels=test.labels[:, :3]), protocol="knn", kind="classes")
        with pytest.raises(ValueError, match=r"train labels must lie in \[-1, 2\), got values from 0 to 2"):
            evaluate(train._replace(labels=train.labels * 2), test, protocol="knn", kind="classes")
