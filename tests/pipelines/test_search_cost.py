"""What a search reads of a store: as often for many videos that it found as for few, and never more than some."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scale_video.pipelines import search
from scale_video.pipelines.search import SearchRequest, run_search
from scale_video.store.read import FeatureStore

ROW_BYTES = 16 * 4 * 2
"""Of 16 clips of 4 dimensions."""


@pytest.fixture
def stores(tmp_path: Path, make_store: Callable[..., str]) -> str:
    """Two as one, with features of 78 videos."""
    return f"{make_store(tmp_path / 'a.zarr', failed=(7,))},{make_store(tmp_path / 'b.zarr', prefix='b', failed=(0,))}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of features were asked for at a time."""
    numbers: list[int] = []
    read = FeatureStore.read_features

    def counted(store: FeatureStore, view: str, backbone: str, rows: Any = None, **given: Any) -> Any:
        numbers.append(store.num_videos if rows is None else len(rows))
        return read(store, view, backbone, rows, **given)

    monkeypatch.setattr(FeatureStore, "read_features", counted)
    return numbers


def test_many_are_found_with_as_few_reads_as_few(stores: str, asked: list[int]) -> None:
    few = run_search(SearchRequest(stores, "3", top=2))
    num_reads = len(asked)
    many = run_search(SearchRequest(stores, "3", top=100))
    assert len(asked) == 2 * num_reads
    assert (len(few.hits), len(many.hits), many.num_searched) == (2, 77, 78)
    assert few.hits == many.hits[:2]


def test_what_is_read_at_a_time_is_bounded(stores: str, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.split(",")[0]
    expected = run_search(SearchRequest(store, "3", top=100)).hits
    monkeypatch.setattr(search, "RUN_BYTES", 5 * ROW_BYTES)
    asked.clear()
    found = run_search(SearchRequest(store, "3", top=100)).hits
    assert [(hit.id, hit.path, hit.score, hit.matched.clip) for hit in found] == [
        (hit.id, hit.path, hit.score, hit.matched.clip) for hit in expected
    ]
    assert asked[-8:] == [5] * 7 + [3]
