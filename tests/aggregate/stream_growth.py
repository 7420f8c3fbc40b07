"""Goes through epochs of a store's clips, each in a process of its own; prints how much memory it took, and the videos.

    python stream_growth.py STORE CONFIG LIMIT NUM_VIDEOS FEW KIND [KIND ...]

The processes are forked off this one, which has imported everything and done nothing else: one that has worked leaves
them freed memory to fill, which then does not show as growth.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

from scale_video.aggregate.clip_source import Share
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.residency import Residence
from scale_video.aggregate.stored_clips import StoredClips
from scale_video.store.read import FeatureStore


def status(entry: str) -> int:
    """An entry of this process's status, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{entry}:")]
    return int(line.split()[1]) * 1024


def measure(url: str, config: PretrainConfig, kind: str, *, limit: int, num_videos: int, few: int) -> None:
    """Print by how much the most memory exceeded that before the features were opened, and the videos seen."""
    torch.set_num_threads(1)
    store = FeatureStore.open(url)

    def epoch(videos: int) -> int:
        clips = StoredClips(store, ["random"], "tiny", np.arange(videos))
        module = ClipSetDataModule(clips, config)
        module._open(Residence(kind, limit), torch.device("cpu"), share=Share())
        return sum(batch.features.shape[0] for batch in module.batches(0))

    epoch(few)  # code that was never run takes memory as well
    Path("/proc/self/clear_refs").write_text("5")  # forgets what the most was
    before = status("VmRSS")
    seen = epoch(num_videos)
    print(json.dumps((status("VmHWM") - before, seen)), flush=True)


if __name__ == "__main__":
    url, config = sys.argv[1], PretrainConfig.from_mapping(json.loads(sys.argv[2]))
    limit, num_videos, few = map(int, sys.argv[3:6])
    for kind in sys.argv[6:]:
        if os.fork() == 0:
            measure(url, config, kind, limit=limit, num_videos=num_videos, few=few)
            sys.exit()
        assert os.wait()[1] == 0, kind
