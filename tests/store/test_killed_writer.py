"""Really killed, at a chosen file: what is left of a creation is made anew, what is left of a block does not exist."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from scale_video.store.create import create_store
from scale_video.store.errors import StoreNotFoundError
from scale_video.store.location import StoreLocation
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store
from scale_video.store.write import BlockWriter

BEFORE_ANY, CLEARED = 0, 1
NUM_FILES_OF_A_REWRITE = 6
"""The mark cleared, four chunks, the mark."""


def kill_at(what: str, folder: Path, numbers: list[int]) -> list[int]:
    program = [sys.executable, str(Path(__file__).with_name("killed_writer.py")), what, str(folder)]
    done = subprocess.run([*program, *map(str, numbers)], capture_output=True, text=True, check=True, timeout=120)
    return [int(line) for line in done.stdout.split()]


def create(small: ModuleType, root: Path) -> None:
    plans = [small.make_plan(), small.make_plan("grid", seed=1)]
    create_store(
        root,
        videos=small.make_videos(),
        probes=small.make_probes(),
        plans=plans,
        block_size=small.BLOCK_SIZE,
        attributes={"dataset": "demo", "seed": 0},
    )


def test_a_killed_creation_is_made_anew(small: ModuleType, tmp_path: Path) -> None:
    create(small, tmp_path / "whole.zarr")
    wanted = small.files_of(tmp_path / "whole.zarr")
    # Each chunk and each zarr.json is one file; zarr.json of the root and the views are written again for `created`.
    numbers = [0, 1, 2, *range(3, len(wanted), 13), len(wanted)]
    assert kill_at("create", tmp_path, numbers) == [-signal.SIGKILL] * len(numbers)
    for number in numbers:
        root = tmp_path / f"{number}.zarr"
        with pytest.raises(StoreNotFoundError):
            FeatureStore.open(root)
        create(small, root)
        StoreLocation.of(root).remove_partial_files()
        assert small.files_of(root) == wanted


def test_a_killed_rewrite_leaves_no_block(small: ModuleType, full_store: Path, tmp_path: Path) -> None:
    numbers = list(range(NUM_FILES_OF_A_REWRITE + 1))
    for number in numbers:
        shutil.copytree(full_store, tmp_path / f"{number}.zarr")
    assert kill_at("rewrite", tmp_path, numbers) == [-signal.SIGKILL] * NUM_FILES_OF_A_REWRITE + [0]
    old, new = small.make_block(1), small.make_block(1, seed=1)
    for number in numbers:
        root = tmp_path / f"{number}.zarr"
        store = FeatureStore.open(root)
        exists = number in (BEFORE_ANY, NUM_FILES_OF_A_REWRITE)
        assert store.committed("random", "motion3d").tolist() == [True, exists, True]
        assert verify_store(root).damaged == ()
        if exists:
            found = store.read_block("random", "motion3d", 1)
            np.testing.assert_array_equal(found.features, (old if number == BEFORE_ANY else new).features)
        BlockWriter(root, view="random", backbone="motion3d").write(old)
        StoreLocation.of(root).remove_partial_files()
        assert small.files_of(root) == small.files_of(full_store)
