"""A store that goes away while a block is being written is not written to where it was."""

from pathlib import Path
from types import ModuleType

import pytest
import zarr

from scale_video.store.errors import StoreLostError
from scale_video.store.in_place_folder import InPlaceFolder
from scale_video.store.lock import StoreLock
from scale_video.store.read import FeatureStore
from scale_video.store.write import BlockWriter


@pytest.mark.parametrize("array", ["features", "valid", "status", "error"])
def test_it_goes_away_between_two_files_of_a_block(
    small: ModuleType, empty_store: Path, monkeypatch: pytest.MonkeyPatch, array: str
) -> None:
    away = empty_store.with_name("away.zarr")
    real_set = InPlaceFolder.set

    async def leave_after(self: InPlaceFolder, key: str, value: object) -> None:
        await real_set(self, key, value)  # type: ignore[arg-type]
        if f"/{array}/" in key and empty_store.exists():
            empty_store.rename(away)

    monkeypatch.setattr(InPlaceFolder, "set", leave_after)
    lock = StoreLock.acquire(empty_store, purpose="test")
    writer = BlockWriter(empty_store, view="random", backbone="motion3d", lock_token=lock.token)
    with pytest.raises(StoreLostError, match="unmounted, moved or deleted"):
        writer.write(small.make_block(0))
    assert not empty_store.exists()
    away.rename(empty_store)
    lock.release()
    assert not FeatureStore.open(empty_store).committed("random", "motion3d").any()
    assert not list(empty_store.rglob("*.partial"))


def test_it_is_not_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        zarr.open_group(InPlaceFolder(tmp_path / "none"), mode="r+")
    assert not any(tmp_path.iterdir())
