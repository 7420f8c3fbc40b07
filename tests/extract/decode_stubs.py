"""Stand-ins for decoding and for a backbone; processes import this file by its name (see ``stubs`` in test_job)."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, DecodedVideo
from scale_video.store.video_probe import VideoStatus


def grey(name: str, clip: int) -> int:
    """The value of every pixel of a clip."""
    return (sum(name.encode()) + 7 * clip) % 251


def decode(path: Path, requests: Sequence[ClipRequest], *, duration_seconds: float, out: Any) -> DecodedVideo:
    for frames in out:
        for clip in range(len(frames)):
            frames[clip] = grey(path.name, clip)
    clips = [DecodedClips(f, r.valid.copy(), VideoStatus.OK) for r, f in zip(requests, out, strict=True)]
    return DecodedVideo(clips=tuple(clips), decode_seconds=0.25, resize_seconds=0.125)


def decode_slowly(path: Path, requests: Sequence[ClipRequest], **given: Any) -> DecodedVideo:
    time.sleep(0.6)
    return decode(path, requests, **given)


def decode_or_harm(path: Path, requests: Sequence[ClipRequest], **given: Any) -> DecodedVideo:
    decoded = decode(path, requests, **given)
    if path.name == "bad_crash.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "bad_hang.mp4":
        time.sleep(3600)
    if path.name == "bad_eat.mp4":
        np.ones(3 << 30, np.uint8)
    return decoded


class Stub:
    """The first pixel of a clip, four times."""

    def __init__(self, name: str, *, digest: str = "0" * 64, gain: float = 1.0) -> None:
        self.device = torch.device("cpu")
        self._gain = gain
        self.spec = BackboneSpec(
            name=name,
            source="stub",
            num_frames=2,
            frame_size=8,
            feature_dim=4,
            layer="none",
            preprocessing={},
            weights_digest=digest,
            licence="Apache-2.0",
        )

    def embed(self, clips: Tensor) -> Tensor:
        return self._gain * clips[:, 0, 0, 0, :1].float().expand(len(clips), 4)


def load(request: BackboneRequest) -> Stub:
    return Stub(request.name)


def load_other(request: BackboneRequest) -> Stub:
    return Stub(request.name, digest="1" * 64)


def load_with_gain(request: BackboneRequest, *, gain: float) -> Stub:
    return Stub(request.name, gain=gain)


def load_loud(request: BackboneRequest) -> Stub:
    return Stub(request.name, gain=1e6)


def load_deadly(request: BackboneRequest) -> Stub:
    """Kill the worker itself."""
    from distributed import get_worker  # here, since decoding processes import this file as well

    get_worker()  # never the process of the tests
    os.kill(os.getpid(), signal.SIGKILL)
    return load(request)
