"""A stream's memory, as the system counts it: the most that a process of its own ever had."""

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_video.aggregate.clip_source import Share
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.residency import Residence
from scale_video.aggregate.stored_clips import StoredClips
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


def status(entry: str) -> int:
    """An entry of this process's status, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{entry}:")]
    return int(line.split()[1]) * 1024


def growth(connection, url: str, config, kind: str) -> None:
    """Go through an epoch; send by how much the most memory exceeded that before the features were opened."""
    torch.set_num_threads(1)
    store = FeatureStore.open(url)

    def epoch(num_blocks: int) -> int:
        clips = StoredClips(store, ["random"], "tiny", np.arange(num_blocks * BLOCK))
        module = ClipSetDataModule(clips, config)
        module._open(Residence(kind, LIMIT), torch.device("cpu"), share=Share())
        return sum(batch.features.shape[0] for batch in module.batches(0))

    epoch(2)  # code that was never run takes memory as well
    Path("/proc/self/clear_refs").write_text("5")  # forgets what the most was
    before = status("VmRSS")
    seen = epoch(NUM_BLOCKS)
    connection.send((status("VmHWM") - before, seen))


@pytest.mark.parametrize("kind", ["stream", "memory"])
def test_memory_stays_within_the_limit(store, tiny_config, kind):
    context = multiprocessing.get_context("fork")  # starts with everything imported
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=growth, args=(sender, store.url, tiny_config, kind))
    child.start()
    sender.close()
    grown, seen = receiver.recv()
    child.join()
    assert seen == NUM_BLOCKS * BLOCK
    if kind == "stream":
        assert grown <= LIMIT + SLACK
        assert grown > LIMIT / 2  # it uses what it may
    else:
        assert grown > STORE_BYTES - SLACK  # so a stream that kept everything would be found out
