"""SCALE's own probes, which read single clips: linear, the perceptron of raw clips, and fine-tuning.

Source: SCALE (ICCV 2023), published evaluation code: a linear layer on [x_i, CLS] of every clip, the aggregator frozen
or trained along; the baseline gets the perceptron of ``nonlinear.py`` on x_i instead. Trained on sets of 8 clips,
tested on all clips of a video, whose logits or probabilities are averaged.

What is chosen is the number of epochs and which of the two is averaged. Published: both on test, as the best of 60
epochs (``look_at``). Here by default: on a hold-out, and then training starts anew on all training videos. One
departure in both: published is a third candidate, the share of single clips that are right, which is no prediction for
a video.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.clip_training import ClipTrainingConfig, Predictions, Predictor, train_on_clips
from scale_video.evaluate.clip_videos import ClipEncoder, ClipVideos
from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.news import News
from scale_video.evaluate.prediction import Outputs
from scale_video.evaluate.targets import Task


def clip_probe(
    train: ClipVideos,
    train_targets: NDArray[Any],
    test: ClipVideos,
    *,
    task: Task,
    encoder: ClipEncoder,
    hold_out: HoldOut,
    seed: int,
    config: ClipTrainingConfig,
    device: str = "cpu",
    look_at: tuple[NDArray[np.int64], NDArray[Any]] | None = None,
) -> Outputs:
    """Choose epochs and pooling, train, and predict the test videos.

    The highest score wins, of equal ones the fewest epochs, then the average of logits.

    Args:
        train: N training videos.
        train_targets: Their targets, none absent.
        test: Test videos.
        task: What is predicted.
        encoder: What the clips' vectors are made by; it stays as it is.
        hold_out: Which of the training videos is chosen on.
        seed: Seeds everything that is random.
        config: How it is trained.
        device: Torch device that trains.
        look_at: Rows of test videos and their targets: to choose on them, as published, instead of on the hold-out.

    Returns:
        Predictions; the hyper-parameters ``epochs`` and, where there is a choice, ``average_probabilities`` (0 or 1); a
        note where there was no hold-out, or test was looked at.
    """
    training = partial(
        train_on_clips, train, train_targets, task=task, encoder=encoder, config=config, seed=seed, device=device
    )
    whole = np.arange(hold_out.num_refit)
    choice = _Choice(task, epochs=config.max_epochs)
    news = News("fine-tuning" if config.unfreeze else "probe on clips")
    judged = test if look_at else train.take(hold_out.held)
    rows, wanted = look_at or (slice(None), train_targets[hold_out.held])

    def judge(epoch: int, predict: Predictor) -> None:
        news(f"choosing the number of epochs: {epoch} of {config.max_epochs}")
        choice.consider(epoch, predict(judged), rows, wanted)

    def follow(epoch: int, predict: Predictor) -> None:
        news(f"epoch {epoch} of {choice.epochs}")

    if look_at:
        training(whole, num_epochs=config.max_epochs, after_epoch=judge)
        return choice.outputs("epochs and averaging were chosen on test, as published")
    if hold_out.held.size:
        training(hold_out.fit, num_epochs=config.max_epochs, after_epoch=judge)
    predict = training(whole, num_epochs=choice.epochs, after_epoch=follow)
    choice.predictions = predict(test)[choice.pooling]
    return choice.outputs(hold_out.note)


class _Choice:
    """The best epoch and pooling so far, and what they predicted."""

    def __init__(self, task: Task, *, epochs: int) -> None:
        self.epochs = epochs
        self.pooling = task.poolings[0]
        self.predictions: NDArray[np.float32] = np.empty((0, task.num_outputs), dtype=np.float32)
        self._task = task
        self._best = -np.inf

    def consider(
        self, epoch: int, predictions: Predictions, rows: NDArray[np.int64] | slice, targets: NDArray[Any]
    ) -> None:
        """Take an epoch's predictions if they are better on some rows than all before."""
        for pooling, values in predictions.items():
            score = self._task.score(values[rows], targets)
            if not score <= self._best:  # also takes what is no number, so that it is seen
                self.epochs, self.pooling, self.predictions, self._best = epoch, pooling, values, score

    def outputs(self, note: str) -> Outputs:
        hyperparameters: dict[str, float] = {"epochs": self.epochs}
        if len(self._task.poolings) > 1:
            hyperparameters["average_probabilities"] = float(self.pooling == "probabilities")
        return Outputs(self.predictions, hyperparameters, note)
