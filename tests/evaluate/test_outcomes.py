import os
from pathlib import Path

import numpy as np
import pytest

from scale_video.evaluate.outcomes import Outcomes, read_outcomes, write_outcomes

IDS = np.array(["a/ü.mp4", "b/1.mp4"])
OUTCOMES = Outcomes(
    IDS,
    np.array(["a", "b"]),
    np.array([0, 1]),
    {"top1": np.array([0.0, 1.0]), "r@5": np.ones(2)},
    np.array([1, 1]),
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "outcomes" / "a.npz"
    write_outcomes(path, OUTCOMES)
    found = read_outcomes(path)
    assert found.scores.keys() == {"top1", "r@5"}
    for name in ("video_ids", "groups", "labels", "predictions"):
        np.testing.assert_array_equal(getattr(found, name), getattr(OUTCOMES, name))
    np.testing.assert_array_equal(found.scores["top1"], OUTCOMES.scores["top1"])
    assert [entry.name for entry in path.parent.iterdir()] == ["a.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "a.npz"
    write_outcomes(path, OUTCOMES)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_outcomes(path, OUTCOMES)
    assert (path.read_bytes(), len(list(tmp_path.iterdir()))) == (before, 1)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is damaged .*; run the probe again"):
        read_outcomes(path)


def test_a_file_without_its_columns_and_pickles_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, labels=np.zeros(2))
    with pytest.raises(ValueError, match="is damaged"):
        read_outcomes(path)
    np.savez(path, video_ids=np.array([{}, {}], dtype=object), groups=IDS, labels=np.zeros(2))
    with pytest.raises(ValueError, match="is damaged"):
        read_outcomes(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.npz"):
        read_outcomes(tmp_path / "a.npz")


def test_unequal_lengths() -> None:
    with pytest.raises(ValueError, match=r"one id, group, label, prediction and score per video, got \[2, 3\] of them"):
        Outcomes(IDS, IDS, np.zeros(2, dtype=np.int64), {"top1": np.zeros(3)}, np.zeros(2, dtype=np.int64))
