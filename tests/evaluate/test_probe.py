from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scale_video.evaluate.bootstrap import bootstrap_interval, estimate
from scale_video.evaluate.clip_training import ClipTrainingConfig
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos
from scale_video.evaluate.holdout import hold_out_groups
from scale_video.evaluate.knn import knn_predict
from scale_video.evaluate.linear import linear_probe
from scale_video.evaluate.low_shot import draw_share
from scale_video.evaluate.nonlinear import NonlinearConfig, nonlinear_probe
from scale_video.evaluate.options import CLIP_PROTOCOLS, ProbeOptions
from scale_video.evaluate.per_clip import clip_probe
from scale_video.evaluate.probe import ProbeOutcome, evaluate_representation
from scale_video.evaluate.probe_checks import NO_NAMES, Names
from scale_video.evaluate.protocols import applies
from scale_video.evaluate.result import PROTOCOLS
from scale_video.evaluate.retrieval import recalled, retrieve
from scale_video.evaluate.targets import OneClass

SMALL = NonlinearConfig(learning_rates=(1e-2,), max_epochs=3, hidden_dim=16, output_dim=8)
SMALL_CLIPS = ClipTrainingConfig(
    max_epochs=4, warmup_fraction=0, learning_rate=3e-2, clips_per_set=3, hidden_dim=16, output_dim=8
)

NAMES = Names(split="3", target="label_gait", classes=("jump", "run", "walk"))


class Tokens(NamedTuple):
    cls: Tensor
    clips: Tensor


class Aggregator(nn.Module):
    """A stand-in: a linear layer on each clip, and the mean of what comes out."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.project = nn.Linear(8, 6)

    def forward(self, features: Tensor, coordinates: Tensor, *, valid: Tensor) -> Tokens:
        clips = self.project(features)
        kept = clips * valid[:, :, None]
        return Tokens(kept.sum(dim=1) / valid.sum(dim=1, keepdim=True), clips)


def as_clips(vectors: np.ndarray) -> ClipVideos:
    """Five clips around each vector, the same ones for the same vector; of some videos four."""
    around = np.random.default_rng(7).normal(size=(5, vectors.shape[1]))
    valid = np.ones((len(vectors), 5), dtype=bool)
    valid[:, 4] = vectors[:, 0] > 0
    features = (vectors[:, None] + around).astype(np.float32)
    return ClipVideos(features, np.zeros((len(vectors), 5, 7), dtype=np.float32), valid)


def encoder_for(protocol: str) -> ClipEncoder:
    return ClipEncoder(("x", "cls"), Aggregator()) if protocol == "fine-tuning" else ClipEncoder(("x",), None)


def evaluate(
    train,
    test,
    *,
    protocol: str = "knn",
    num_classes: int = 3,
    seed: int = 0,
    kind="class",
    validation=None,
    names: Names = NO_NAMES,
    **options,
) -> ProbeOutcome:
    on_clips = protocol in CLIP_PROTOCOLS
    sides = [as_clips(side.vectors) if on_clips else side.vectors for side in (train, test)]
    if validation is not None:
        validation = (as_clips(validation.vectors) if on_clips else validation.vectors, validation.labels)
    return evaluate_representation(
        sides[0],
        *train[1:],
        sides[1],
        *test[1:],
        protocol=protocol,
        num_classes=num_classes,
        seed=seed,
        kind=kind,
        validation=validation,
        encoder=encoder_for(protocol),
        options=ProbeOptions(**options),
        nonlinear=SMALL,
        clip_training=SMALL_CLIPS,
        names=names,
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
    inputs = (train.vectors, train.labels, test.vectors)
    hold_out = hold_out_groups(train.labels, train.groups, seed=7)
    task = OneClass(3)
    expected = {
        "knn": knn_predict(*inputs, num_classes=3),
        "linear": linear_probe(*inputs, hold_out=hold_out),
        "nonlinear": nonlinear_probe(*inputs, task=task, hold_out=hold_out, seed=7, config=SMALL).ranked(),
    }
    for protocol, head in (
        ("linear-per-clip", "linear"),
        ("nonlinear-per-clip", "perceptron"),
        ("fine-tuning", "linear"),
    ):
        expected[protocol] = clip_probe(
            as_clips(train.vectors),
            train.labels,
            as_clips(test.vectors),
            task=task,
            encoder=encoder_for(protocol),
            hold_out=hold_out,
            seed=7,
            config=replace(SMALL_CLIPS, head=head, unfreeze=protocol == "fine-tuning"),
        ).ranked()
    for protocol in expected:
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


@pytest.mark.parametrize("protocol", ["knn", "linear", "nonlinear", "linear-per-clip"])
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


@pytest.mark.parametrize("protocol", CLIP_PROTOCOLS)
def test_as_published_test_labels_do_choose_and_the_note_says_so(protocol: str, train, test) -> None:
    swapped = test._replace(labels=(test.labels + 1) % 3)
    first, second = (evaluate(train, side, protocol=protocol, selection="test") for side in (test, swapped))
    assert "epochs and averaging were chosen on test, as published" in first.note
    assert (first.predictions != second.predictions).any()
    honest = evaluate(train, test, protocol=protocol)
    assert honest.estimates["top1"].value <= first.estimates["top1"].value
    assert "on test" not in honest.note


@pytest.mark.parametrize("protocol", ["linear", "nonlinear", *CLIP_PROTOCOLS])
def test_a_validation_part_chooses_instead_of_a_hold_out(protocol: str, train, test, make_videos) -> None:
    validation = make_videos(30, seed=2, spread=2.0)
    validation.labels[:3] = -1
    outcome = evaluate(train, test, protocol=protocol, validation=validation)
    assert outcome.num_train == 80
    few = train._replace(groups=np.zeros(80))  # too few groups for a hold-out, which is not asked for
    again = evaluate(few, test, protocol=protocol, validation=validation)
    np.testing.assert_array_equal(again.predictions, outcome.predictions)
    assert outcome.note == again.note == "chosen on 27 validation videos"
    unlabelled = validation._replace(labels=np.full(30, -1))
    plain = evaluate(train, test, protocol=protocol)
    on_hold_out = evaluate(train, test, protocol=protocol, validation=unlabelled)
    assert on_hold_out.hyperparameters == plain.hyperparameters
    assert on_hold_out.note == "none of 30 validation videos has a label, so nothing is chosen on them"


@pytest.mark.parametrize("protocol", ["knn", "retrieval"])
def test_what_chooses_nothing_needs_no_validation_part(protocol: str, train, test) -> None:
    outcome = evaluate(train, test, protocol=protocol, validation=test)
    assert outcome.estimates == evaluate(train, test, protocol=protocol).estimates
    assert outcome.note == ""


def test_which_protocol_applies_to_what() -> None:
    assert not applies("retrieval", "x", "number")
    assert all(applies(protocol, "x") == (protocol != "fine-tuning") for protocol in PROTOCOLS)
    for protocol in CLIP_PROTOCOLS:
        assert all(applies(protocol, name, "classes") for name in ("init", "cls", "x+cls"))
        assert not any(applies(protocol, name) for name in ("x-bins2", "x-bins4", "x-whitened"))


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
        assert (outcome.predictions == 1).mean() < 0.05  # where a layer is trained, nothing forbids it
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


def test_classes_are_called_by_their_names(train, test) -> None:
    without = train.labels != 1
    outcome = evaluate(type(train)(*(column[without] for column in train)), test, names=NAMES)
    assert outcome.note.endswith("test videos are of 1 classes without a training video ('run')")


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
        with pytest.raises(
            ValueError, match="protocol 'svm' is none of knn, linear, nonlinear, retrieval, linear-per-clip"
        ):
            evaluate(train, test, protocol="svm")

    @pytest.mark.parametrize(
        ("protocol", "spoken"),
        [
            ("knn", "k-NN"),
            ("linear", "the linear probe"),
            ("nonlinear", "the nonlinear probe"),
            ("retrieval", "retrieval"),
            ("linear-per-clip", "the linear probe on clips"),
            ("nonlinear-per-clip", "the nonlinear probe on clips"),
            ("fine-tuning", "fine-tuning"),
        ],
    )
    def test_no_labels(self, protocol: str, spoken: str, train, test) -> None:
        unlabelled = train._replace(labels=np.full(80, -1))
        with pytest.raises(
            ValueError, match=f"{spoken} needs labels; no training video has one: name another --target or"
        ):
            evaluate(unlabelled, test, protocol=protocol)

    def test_clips_and_vectors_are_not_mixed_up(self, train, test) -> None:
        clips = as_clips(train.vectors)
        for protocol, inputs, message in (
            ("linear", clips, "the linear probe needs one vector per video, on both sides"),
            ("retrieval", clips, "retrieval compares one vector per video, got clips"),
            ("fine-tuning", train.vectors, "fine-tuning needs the clips of each video, on both sides"),
            ("fine-tuning", clips, "fine-tuning needs an encoder of clips, got none"),
        ):
            with pytest.raises(ValueError, match=message):
                evaluate_representation(
                    inputs, *train[1:], inputs, *train[1:], protocol=protocol, num_classes=3, seed=0
                )

    def test_one_training_video(self, train, test) -> None:
        labels = np.full(80, -1)
        labels[3] = 1
        with pytest.raises(
            ValueError, match="needs at least two labelled training videos, got 1; name another --target or --split"
        ):
            evaluate(train._replace(labels=labels), test)

    def test_one_class(self, train, test) -> None:
        same = train._replace(labels=np.full(80, 2))
        with pytest.raises(ValueError, match="k-NN needs at least two classes; all training videos have class 2; name"):
            evaluate(same, test)
        message = "all training videos of split '3' have class 'walk' in column 'label_gait'; name another --target or"
        with pytest.raises(ValueError, match=message):
            evaluate(same, test, names=NAMES)

    def test_no_test_video(self, train, test) -> None:
        nothing = type(test)(*(column[:0] for column in test))
        with pytest.raises(ValueError, match="needs at least one labelled test video; none has a label: name another"):
            evaluate(train, nothing)
        message = "none of split '3' has a label in column 'label_gait': name another --target or --split"
        with pytest.raises(ValueError, match=message):
            evaluate(train, test._replace(labels=np.full(40, -1)), names=NAMES)

    def test_features_that_are_not_finite(self, train, test) -> None:
        train.vectors[[4, 9], 0] = np.nan, np.inf
        message = r"2 of 80 train videos have features that are not finite, the first is {}; find damage by"
        with pytest.raises(ValueError, match=message.format("row 4")):
            evaluate(train, test)
        names = Names(videos={"train": [f"{row}.mp4" for row in range(80)]})
        with pytest.raises(ValueError, match=message.format(r"'4\.mp4'")):
            evaluate(train, test, names=names)

    def test_a_share_that_leaves_too_few(self, train, test) -> None:
        numbers = [side._replace(labels=side.vectors[:, 0]) for side in (train, test)]
        message = r"differ in what is predicted; --train-share 0\.01 keeps 1 of 80: give a larger --train-share"
        with pytest.raises(ValueError, match=message):
            evaluate(*numbers, kind="number", train_share=0.01)
        rare = np.zeros(80)
        rare[:2] = 1
        with pytest.raises(ValueError, match=r"keeps 4, which are all alike, of 80: give a larger"):
            evaluate(train._replace(labels=rare), numbers[1], kind="number", train_share=0.05)
        assert evaluate(*numbers, kind="number", train_share=0.05).num_train == 4

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
