import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zarr

from scale_video.store.errors import DamagedBlockError, StoreNotFoundError
from scale_video.store.location import StoreLocation
from scale_video.store.verify import verify_store

BLOCK_CHUNKS = {"features": "c.1.0.0", "valid": "c.1.0", "status": "c.1", "error": "c.1"}


def found(root: Path) -> str:
    """The only line that verification writes."""
    damaged = verify_store(root).damaged
    assert len(damaged) == 1, damaged
    return damaged[0]


def change(root: Path, path: str, index: Any, value: Any) -> None:
    """Change a value as a program would that knows Zarr but not the format: checksums are right."""
    group, name = path.rsplit("/", 1)
    zarr.open_group(root, path=group, mode="r+", use_consolidated=False)[name][index] = value


def test_a_sound_store(full_store: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = verify_store(full_store, progress=lambda done, total: steps.append((done, total)))
    assert (report.num_blocks, report.num_committed, report.damaged) == (3, 3, ())
    assert steps == [(1, 3), (2, 3), (3, 3)]
    report.raise_if_damaged()


def test_uncommitted_blocks_are_no_damage(small: ModuleType, empty_store: Path) -> None:
    report = verify_store(empty_store)
    assert (report.num_blocks, report.num_committed, report.damaged) == (3, 0, ())


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        verify_store(tmp_path)


def test_a_flipped_byte_in_any_chunk_of_any_array_is_found(small: ModuleType, full_store: Path, tmp_path: Path) -> None:
    """Every chunk file of the store, one at a time."""
    chunks = [path for path in sorted(full_store.rglob("c.*")) if path.is_file()]
    assert len({chunk.parent for chunk in chunks}) > 30
    for chunk in chunks:
        content = chunk.read_bytes()
        small.flip_byte(chunk, place=len(content) // 2)
        array = chunk.parent
        line = found(full_store)
        if array.parent.name == "motion3d" and array.name != "video":
            assert line.startswith(
                f"block {chunk.name.split('.')[1]} of random/motion3d: array '{array.name}' cannot be"
            )
        else:
            assert array.name in line or (
                array.name in ("coordinates", "planned", "valid") and "the plan of view" in line
            )
            assert array.parent.name in line
        chunk.write_bytes(content)
    assert verify_store(full_store).damaged == ()


@pytest.mark.parametrize(("array", "chunk"), BLOCK_CHUNKS.items())
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_marked_block_without_bytes_is_found(full_store: Path, array: str, chunk: str, how: str) -> None:
    path = full_store / "random/motion3d" / array / chunk
    path.unlink()
    if how == "empty":
        path.touch()
    assert found(full_store).startswith(f"block 1 of random/motion3d: array '{array}' has no bytes, but a mark; delete")
    assert verify_store(full_store).num_committed == 2


@pytest.mark.parametrize(("array", "chunk"), BLOCK_CHUNKS.items())
def test_swapped_chunks_are_found(full_store: Path, array: str, chunk: str) -> None:
    one = full_store / "random/motion3d" / array / chunk
    other = one.with_name(chunk.replace("1", "0", 1))
    one.rename(one.with_name("swap"))
    other.rename(one)
    one.with_name("swap").rename(other)
    lines = verify_store(full_store).damaged
    assert [line.split(":")[0] for line in lines] == ["block 0 of random/motion3d", "block 1 of random/motion3d"]


def test_whole_blocks_that_changed_places_are_found(full_store: Path) -> None:
    for path in list((full_store / "random/motion3d").glob("*/c.0*")):
        if path.parent.name == "video":
            continue
        other = path.with_name(path.name.replace("c.0", "c.1", 1))
        path.rename(path.with_name("swap"))
        other.rename(path)
        path.with_name("swap").rename(other)
    lines = verify_store(full_store).damaged
    assert len(lines) == 2
    assert "block 0 of random/motion3d: features, valid, status or error are not those that were committed" in lines[0]


@pytest.mark.parametrize(
    ("path", "index", "value", "fault"),
    [
        ("features", (4, 0, 0), 1.5, "features, valid, status or error are not those that were committed"),
        (
            "features",
            (4, 0, 0),
            float("nan"),
            "its arrays contradict each other: a valid clip has a feature that is not",
        ),
        ("valid", (4, 0), False, "its arrays contradict each other: a clip that is not valid must be NaN"),
        ("status", 4, 1, "features, valid, status or error are not those that were committed"),
        ("status", 4, 77, "its arrays contradict each other: status has the unknown code 77"),
        ("error", 4, "another", "features, valid, status or error are not those that were committed"),
        ("commit", 1, 12345, "features, valid, status or error are not those that were committed"),
    ],
)
def test_values_with_right_checksums_are_found(full_store: Path, path: str, index: Any, value: Any, fault: str) -> None:
    change(full_store, f"random/motion3d/{path}", index, value)
    assert found(full_store).startswith(f"block 1 of random/motion3d: {fault}")


@pytest.mark.parametrize(
    ("path", "index", "value", "fault"),
    [
        ("videos/label", 0, 1, "the table of videos is not the one that was planned"),
        ("videos/split_1", 0, 3, "the table of videos is not the one that was planned"),
        ("videos/group", 0, "other", "the table of videos is not the one that was planned"),
        ("videos/height", 0, 241, "the table of videos does not hold what the probe found"),
        ("videos/content_digest", 0, 1, "the table of videos does not hold what the probe found"),
        ("videos/video", 0, "other", "array 'videos/video' does not hold the names that the format demands"),
        ("random/coordinates", (0, 0, 5), 0.25, "the plan of view 'random' is not the one that was drawn"),
        ("random/valid", (5, 2), False, "the plan of view 'random' in store .* cannot be read, .* must have NaN"),
        ("random/planned", 6, True, "the plan of view 'random' is not the one that was drawn"),
        ("grid/video", 0, "other", "array 'grid/video' does not hold the names that the format demands"),
        ("grid/coordinate", 0, "left", "array 'grid/coordinate' does not hold the names that the format demands"),
        ("random/motion3d/video", 0, "other", "array 'random/motion3d/video' does not hold the names"),
    ],
)
def test_changed_tables_and_plans_are_found(full_store: Path, path: str, index: Any, value: Any, fault: str) -> None:
    change(full_store, path, index, value)
    assert re.match(fault, found(full_store))


@pytest.mark.parametrize(
    ("group", "name", "value", "fault"),
    [
        ("random", "parameters", {"seed": 1}, "the plan of view 'random' is not the one that was drawn"),
        ("videos", "class_names", {"label": ["run", "Läufe"]}, "the table of videos is not the one that was planned"),
    ],
)
def test_changed_attributes_are_found(full_store: Path, group: str, name: str, value: Any, fault: str) -> None:
    zarr.open_group(full_store, path=group, mode="r+", use_consolidated=False).attrs[name] = value
    assert found(full_store).startswith(fault)


def test_what_is_damaged_does_not_hide_the_rest(small: ModuleType, full_store: Path) -> None:
    shutil.copytree(full_store / "random/motion3d", full_store / "random/other")
    (full_store / "random/motion3d/status/zarr.json").unlink()
    small.flip_byte(full_store / "videos/id/c.0")
    small.flip_byte(full_store / "random/other/features/c.2.0.0")
    small.flip_byte(full_store / "random/other/error/c.2")
    report = verify_store(full_store)
    assert report.num_committed == 3
    beginnings = [
        "chunk 0 of array 'videos/id'",
        "array 'status' is missing",
        "block 2 of random/other",
        "block 2 of random/other",
    ]
    assert len(report.damaged) == len(beginnings)
    for line, beginning in zip(report.damaged, beginnings, strict=True):
        assert line.startswith(beginning)
    assert "array 'features' cannot be read" in report.damaged[2]
    assert "array 'error' cannot be read" in report.damaged[3]


def test_a_report_raises_its_first_line(small: ModuleType, full_store: Path) -> None:
    small.flip_byte(full_store / "random/motion3d/status/c.1")
    with pytest.raises(
        DamagedBlockError, match=r"^block 1 of random/motion3d: array 'status' cannot be read: .* again"
    ):
        verify_store(full_store).raise_if_damaged()
    small.flip_byte(full_store / "random/motion3d/features/c.1.0.0")
    with pytest.raises(DamagedBlockError, match=r"^block 1 of .*'features' cannot be read.* \(and 1 more\)$"):
        verify_store(full_store).raise_if_damaged()


@pytest.mark.parametrize("url", ["{tmp_path}/a.zarr", "memory://{tmp_path}/a.zarr"])
def test_any_file_system(small: ModuleType, tmp_path: Path, url: str) -> None:
    location = StoreLocation.of(url.format(tmp_path=tmp_path))
    small.make_full_store(location.url)
    path = f"{location.root}/random/motion3d/valid/c.1.0"
    location.file_system.pipe(path, location.file_system.cat(path)[:-1] + b"?")
    (line,) = verify_store(location.url).damaged
    assert line.startswith("block 1 of random/motion3d: array 'valid' cannot be read: ")
