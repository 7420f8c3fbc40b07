"""A stream's memory, as the system counts it: the most that a process of its own ever had."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.read import FeatureStore

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

MIB = 2**20
NUM_BLOCKS, BLOCK, CLIPS, DIM = 40, 32, 8, 1024  # half a MiB a block
STORE_BYTES = NUM_BLOCKS * BLOCK * CLIPS * DIM * 2
LIMIT = 6 * MIB
SLACK = 3 * MIB
"""What is no feature: schedules, stacks of threads, and what allocators keep."""


@pytest.fixture(scope="module")
def store(write_store, tmp_path_factory) -> FeatureStore:
    """20 MiB of features."""
    shape = (NUM_BLOCKS * BLOCK, CLIPS)
    features = np.ones((*shape, DIM), np.float16)
    features[:, 0, 0] = np.arange(len(features))
    coordinates, valid = np.zeros((*shape, 7), np.float32), np.ones(shape, np.bool_)
    ids = tuple(f"{row}.mp4" for row in range(len(features)))
    return write_store(
        tmp_path_factory.mktemp("large") / "a.zarr", ClipFeatures(ids, features, coordinates, valid), block_size=BLOCK
    )


def test_memory_stays_within_the_limit(store, tiny_config):
    script = Path(__file__).with_name("stream_growth.py")
    sizes = [str(number) for number in (LIMIT, NUM_BLOCKS * BLOCK, 2 * BLOCK)]
    command = [sys.executable, str(script), store.url, json.dumps(tiny_config.to_mapping()), *sizes, "stream", "memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    streamed, resident = map(json.loads, done.stdout.splitlines())
    assert streamed[1] == resident[1] == NUM_BLOCKS * BLOCK
    assert streamed[0] <= LIMIT + SLACK
    assert streamed[0] > LIMIT / 2  # it uses what it may
    assert resident[0] > STORE_BYTES - SLACK  # so a stream that kept everything would be found out
