import math

import pytest
import torch

from scale_video.aggregate.epoch_watch import EpochWatch
from scale_video.aggregate.info_nce import Contrast


def contrast(loss, accuracy, rows=100, candidates=10, spread=None):
    return Contrast(torch.tensor(loss), torch.tensor(accuracy), rows, candidates, spread and torch.tensor(spread))


def test_means_over_steps():
    watch = EpochWatch()
    watch.add({"set": contrast(1.0, 0.5)})
    watch.add({"set": contrast(3.0, 0.7)})
    assert watch.num_steps == 2
    assert watch.means() == {"set_loss": pytest.approx(2), "set_accuracy": pytest.approx(0.6)}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_step_is_remembered(bad):
    watch = EpochWatch()
    for loss in (1.0, bad, 1.0):
        watch.add({"set": contrast(loss, 0.5), "masked_clip": contrast(1.0, 0.5)})
    assert watch.diverged() == ["set"]


@pytest.mark.parametrize(("accuracy", "expected"), [(0.1, ["set"]), (0.12, ["set"]), (0.2, [])])
def test_chance_allows_for_noise(accuracy, expected):
    watch = EpochWatch()
    for _ in range(10):  # 1000 rows: the standard error of .1 is .0095
        watch.add({"set": contrast(2.3, accuracy)})
    assert watch.at_chance() == expected


def test_no_rows_and_no_rivals_are_no_error():
    watch = EpochWatch()
    watch.add({"masked_clip": contrast(0.0, 0.0, rows=0, candidates=0)})
    assert watch.means() == {"masked_clip_loss": 0, "masked_clip_accuracy": 0}
    watch = EpochWatch()
    watch.add({"set": contrast(0.0, 1.0, candidates=1)})
    assert watch.at_chance() == []


@pytest.mark.parametrize(("spreads", "expected"), [((0.2, 0.1), []), ((0.12, 0.06), ["set"])])
def test_collapse_is_judged_by_the_mean_spread(spreads, expected):
    watch = EpochWatch()
    for spread in spreads:
        watch.add({"set": contrast(1.0, 0.5, spread=spread), "masked_clip": contrast(1.0, 0.5)})
    assert watch.means()["set_spread"] == pytest.approx(sum(spreads) / 2)
    assert watch.collapsed() == expected


def test_sums_outlive_an_interruption(tmp_path):
    whole, begun = EpochWatch(share_before=0.5), EpochWatch(share_before=0.5)
    steps = [contrast(0.1 * step, 0.3, rows=step, spread=0.7) for step in range(1, 5)]
    for step in steps:
        whole.add({"set": step})
    for step in steps[:2]:
        begun.add({"set": step})
    torch.save(begun.to_plain(), tmp_path / "watch")
    resumed = EpochWatch.from_plain(torch.load(tmp_path / "watch", weights_only=True))
    for step in steps[2:]:
        resumed.add({"set": step})
    assert resumed.means() == whole.means()
    assert (resumed.share_before, resumed.num_steps) == (0.5, 4)
    assert resumed.at_chance() == whole.at_chance() == ["set"]  # of ten rows, three may be chance
    assert resumed.to_plain().keys() == whole.to_plain().keys()
