"""Where a worker finds what the client names, and what it refuses to look for."""

from pathlib import Path

import dask
import pytest

from scale_video.extract import block_task
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.block_task import ExtractionTask
from scale_video.extract.worker_paths import CONFIG_KEY, check_data_root, video_path, worker_path
from scale_video.store.errors import StoreError


def test_without_a_mapping_nothing_changes() -> None:
    assert worker_path("/data/videos") == "/data/videos"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/k400/a", "/mnt/nas/k400/a"),
        ("/data", "/mnt/nas"),
        ("/data/ssd/x", "/scratch/x"),  # the longest folder counts
        ("/database/x", "/database/x"),  # a folder, not a prefix of letters
        ("s3://data/x", "s3://data/x"),
    ],
)
def test_the_longest_configured_folder_is_replaced(path: str, expected: str) -> None:
    with dask.config.set({CONFIG_KEY: {"/data": "/mnt/nas", "/data/ssd": "/scratch"}}):
        assert worker_path(path) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [("/data/weights/vmae", "/mnt/nas/weights/vmae"), ("MCG-NJU/videomae-base", "MCG-NJU/videomae-base"), (None, None)],
)
def test_a_folder_of_weights_is_looked_for_where_the_worker_sees_it(source: str | None, expected: str | None) -> None:
    seen = []
    request = BackboneRequest("videomae", source, "vmae")
    with dask.config.set({CONFIG_KEY: {"/data": "/mnt/nas"}}):
        task = ExtractionTask("x.zarr", "/data", (), load=seen.append, lock_token="token")  # type: ignore[arg-type]
        block_task._load_once(task, request)
        block_task._load_once(task, request)  # once is enough
    block_task.forget_backbones("token")
    assert [one.source for one in seen] == [expected]


def test_it_can_be_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCALE_VIDEO__PATHS", '{"/data": "/mnt/nas"}')
    dask.config.refresh()
    assert worker_path("/data/x") == "/mnt/nas/x"
    monkeypatch.delenv("DASK_SCALE_VIDEO__PATHS")
    dask.config.refresh()


@pytest.mark.parametrize("value", ["/data=/mnt", {"/data": 3}])
def test_a_mapping_that_is_none_is_refused(value: object) -> None:
    with dask.config.set({CONFIG_KEY: value}), pytest.raises(ValueError, match="must map folders to folders"):
        worker_path("/data")


def test_a_folder_that_is_gone_is_told_from_a_video_that_is(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path}' is empty on worker .* mount it there"):
        check_data_root(str(tmp_path))
    with pytest.raises(StoreError, match="cannot be read: No such file or directory on worker"):
        check_data_root(str(tmp_path / "gone"))
    (tmp_path / "other.mp4").touch()
    check_data_root(str(tmp_path))


def test_a_video_lies_beneath_the_root() -> None:
    assert video_path("/data", "a/b.mp4") == Path("/data/a/b.mp4")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.mp4", "a/../../x.mp4"])
def test_a_path_that_leads_out_of_the_root_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must be relative, and lie beneath the data root"):
        video_path("/data", path)
