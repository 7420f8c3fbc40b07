import re

import pytest
import torch

from scale_video.aggregate.collapse_warnings import CollapseWarnings
from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.pretrain_config import PretrainConfig


def epoch(accuracy, spread):
    watch = EpochWatch()
    watch.add({"set": Contrast(torch.tensor(2.3), torch.tensor(accuracy), 1000, 10, torch.tensor(spread))})
    return watch


COLLAPSED = (
    r"task 'set' has collapsed to one vector \(spread 0\.050, where 1 is healthy\){}, 3 epochs in a row after the "
    r"warm-up; if this stays so, train anew with learning_rate 0\.0001 \(now 0\.0003\) and warmup_fraction 0\.1 "
    r"\(now 0\.05\); if it still does, the features themselves are alike: see what k-NN of `x` makes of them"
)


@pytest.mark.parametrize(
    ("accuracy", "spread", "message"),
    [
        (0.1, 0.05, COLLAPSED.format(" and does no better than chance")),
        (0.5, 0.05, COLLAPSED.format("")),
        (
            0.1,
            0.7,
            r"task 'set' does no better than chance, though it has not collapsed \(spread 0\.700\), 3 epochs in a row "
            r"after the warm-up; if this stays so, train anew with learning_rate 0\.0009 \(now 0\.0003\), or a longer "
            r"training \(now 200 epochs\)",
        ),
    ],
)
def test_three_epochs_in_a_row_are_said_once(caplog, accuracy, spread, message):
    warnings = CollapseWarnings(PretrainConfig())
    for _ in range(2):
        warnings.look_at(epoch(accuracy, spread))
    assert not caplog.messages
    warnings.look_at(epoch(accuracy, spread))
    warnings.look_at(epoch(accuracy, spread))
    [said] = caplog.messages
    assert re.fullmatch(message, said)


def test_a_healthy_epoch_in_between_begins_the_count_anew(caplog):
    warnings = CollapseWarnings(PretrainConfig())
    for accuracy in (0.1, 0.1, 0.5, 0.1, 0.1):
        warnings.look_at(epoch(accuracy, 0.8))
    assert not caplog.messages


def test_counts_outlive_an_interruption(caplog):
    before, after = (CollapseWarnings(PretrainConfig(minutes=5.0)) for _ in range(2))
    for _ in range(2):
        before.look_at(epoch(0.1, 0.8))
    after.load(before.to_plain())
    after.look_at(epoch(0.1, 0.8))
    assert caplog.messages[0].endswith("or a longer training (now 5 minutes)")
