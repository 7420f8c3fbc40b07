import pytest

from scale_video.evaluate.options import ProbeOptions


@pytest.mark.parametrize(
    ("options", "protocol", "named"),
    [
        ({}, "knn", {}),
        ({"k": 20, "temperature": 0.07, "share_seed": 3}, "knn", {}),
        ({"k": 5}, "knn", {"k": 5}),
        ({"k": 5}, "linear", {}),
        ({"temperature": 0.1, "train_share": 0.1}, "knn", {"temperature": 0.1, "train_share": 0.1, "share_seed": 0}),
        ({"train_share": 0.01, "share_seed": 2}, "linear", {"train_share": 0.01, "share_seed": 2}),
        ({"selection": "test", "schedule_epochs": 1000}, "linear", {}),
        ({"selection": "test"}, "fine-tuning", {"selection_on_test": 1}),
        ({"schedule_epochs": 1000}, "linear-per-clip", {"schedule_epochs": 1000}),
    ],
)
def test_a_row_is_told_apart_by_what_it_heeds(options: dict, protocol: str, named: dict) -> None:
    assert ProbeOptions(**options).departures(protocol) == named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1 and temperature positive, got k=0"),
        ({"temperature": 0.0}, "temperature positive, got k=20 and temperature=0.0"),
        ({"train_share": 0.0}, r"must be in \(0, 1\] and its seed not negative, got 0.0 and 0"),
        ({"train_share": 1.1}, "got 1.1 and 0"),
        ({"share_seed": -1}, "got 1.0 and -1"),
        ({"selection": "train"}, "selection must be 'holdout' or 'test', got 'train'"),
        ({"schedule_epochs": 59}, "schedule_epochs must be at least 60, the epochs that probes on clips train, got 59"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeOptions(**options)
