"""Which row a text means, in one store and in several that are read as one."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from scale_video.pipelines.find_video import find_in_stores
from scale_video.store.read import FeatureStore


def store(*ids: str) -> FeatureStore:
    fake: Any = SimpleNamespace(ids=ids, num_videos=len(ids), column=lambda name: [f"films/{video}" for video in ids])
    return cast("FeatureStore", fake)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.mp4", (0, 1)),
        ("films/d.mp4", (1, 0)),
        ("0", (0, 0)),
        ("1", (0, 1)),
        ("2", (1, 0)),  # rows are the union's
        ("3", (1, 2)),  # but a video that is called so comes first
        ("4", (1, 2)),
        ("5", None),
        ("-1", None),
        ("e.mp4", None),
    ],
)
def test_ids_and_paths_come_before_rows_of_the_union(text: str, expected: tuple[int, int] | None) -> None:
    stores = [store("a.mp4", "b.mp4"), store("d.mp4", "c.mp4", "3")]
    found = find_in_stores(stores, text)
    assert (None if found is None else (stores.index(found[0]), found[1])) == expected
