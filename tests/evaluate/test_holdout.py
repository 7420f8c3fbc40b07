import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scale_video.evaluate.holdout import hold_out_groups, validation_part


@settings(max_examples=50)
@given(
    classes=st.lists(st.integers(0, 4), min_size=10, max_size=120),
    num_groups=st.integers(1, 40),
    seed=st.integers(0, 100),
)
def test_groups_stay_whole_and_no_class_vanishes(classes: list[int], num_groups: int, seed: int) -> None:
    labels = np.array(classes)
    groups = np.random.default_rng(seed).integers(num_groups, size=len(labels))
    division = hold_out_groups(labels, groups, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([division.fit, division.held])), np.arange(len(labels)))
    assert not set(groups[division.fit]) & set(groups[division.held])
    assert set(labels[division.fit]) == set(labels)
    assert len(set(groups[division.held])) <= len(set(groups)) // 10
    assert (division.held.size == 0) == bool(division.note)
    np.testing.assert_array_equal(np.arange(division.num_refit), np.arange(len(labels)))


def test_each_class_gives_its_tenth() -> None:
    labels = np.repeat(np.arange(5), 40)  # 20 groups of two videos a class
    groups = np.arange(200) // 2
    held = hold_out_groups(labels, groups, seed=0).held
    np.testing.assert_array_equal(np.bincount(labels[held]), [4, 4, 4, 4, 4])


def test_small_classes_share_a_tenth() -> None:
    labels = np.arange(60) // 3  # 20 classes of three videos, six of which are held out
    held = hold_out_groups(labels, np.arange(60), seed=0).held
    assert np.bincount(labels[held]).tolist().count(1) == 6


def test_group_of_several_classes_counts_for_its_main_one() -> None:
    labels = np.tile([0, 0, 1], 20)
    groups = np.repeat(np.arange(20), 3)
    division = hold_out_groups(labels, groups, seed=0)
    assert len(np.unique(groups[division.held])) == 2


def test_seed_decides() -> None:
    labels, groups = np.arange(100) % 2, np.arange(100)
    first, again, other = (hold_out_groups(labels, groups, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.held, again.held)
    assert set(first.held) != set(other.held)


def test_string_groups() -> None:
    labels = np.arange(40) % 2
    names = np.array([f"g{number:02}" for number in range(40)])
    np.testing.assert_array_equal(
        hold_out_groups(labels, names, seed=0).held, hold_out_groups(labels, np.arange(40), seed=0).held
    )


@pytest.mark.parametrize(
    ("labels", "groups", "note"),
    [
        (np.arange(30) % 2, np.arange(30) % 9, "no hold-out: 9 training groups, fewer than 10"),
        (np.arange(12), np.arange(12), "no hold-out: every training group is the only one of some class"),
    ],
)
def test_no_hold_out(labels: np.ndarray, groups: np.ndarray, note: str) -> None:
    division = hold_out_groups(labels, groups, seed=0)
    assert division.note == note
    assert len(division.fit) == len(labels)


def test_a_validation_part_is_never_fitted_on() -> None:
    division = validation_part(5, 3)
    assert (list(division.fit), list(division.held), division.num_refit) == ([0, 1, 2, 3, 4], [5, 6, 7], 5)
    assert division.note == ""
