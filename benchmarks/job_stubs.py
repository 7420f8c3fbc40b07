"""Stand-ins for decoding and for a backbone, by which the job's own cost is measured; workers import them by name."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import DecodedClips, DecodedVideo
from scale_video.store.video_probe import VideoStatus

FEATURE_DIM = 768
SPIN_SECONDS = 0.03
"""What ``spinning_decode`` and ``waiting_decode`` take for a video: some clips of a small one."""
UCF_SECONDS = 0.1
"""What 16 clips of a video like UCF101's take, by ``bench_decode.py``."""


class StubBackbone:
    """One frame of 8 × 8 pixels a clip in, its first value repeated out."""

    def __init__(self, name: str) -> None:
        self.device = torch.device("cpu")
        self.spec = BackboneSpec(
            name=name,
            source="stub",
            num_frames=1,
            frame_size=8,
            feature_dim=FEATURE_DIM,
            layer="none",
            preprocessing={},
            weights_digest="0" * 64,
            licence="Apache-2.0",
        )

    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips (B, 1, 8, 8, 3) into (B, D)."""
        return clips[:, 0, 0, 0, :1].float().expand(len(clips), FEATURE_DIM)


def load_stub(request: BackboneRequest) -> StubBackbone:
    """``load_backbone``'s stand-in."""
    return StubBackbone(request.name)


def stub_decode(
    path: Path,
    requests: Sequence[ClipRequest],
    *,
    duration_seconds: float,
    out: Sequence[NDArray[np.uint8]],
) -> DecodedVideo:
    """``decode_clips``' stand-in: clips of a grey that follows from the path, without a file."""
    grey = sum(path.name.encode()) % 251
    for frames in out:
        frames[...] = grey
    clips = tuple(
        DecodedClips(frames, request.valid.copy(), VideoStatus.OK)
        for request, frames in zip(requests, out, strict=True)
    )
    return DecodedVideo(clips=clips, decode_seconds=0.0, resize_seconds=0.0)


def spinning_decode(
    path: Path,
    requests: Sequence[ClipRequest],
    *,
    duration_seconds: float,
    out: Sequence[NDArray[np.uint8]],
    cpu_seconds: float = SPIN_SECONDS,
) -> DecodedVideo:
    """``stub_decode`` that keeps a core busy for ``cpu_seconds`` of CPU time, as a decoder would."""
    begun = time.thread_time()
    while time.thread_time() - begun < cpu_seconds:
        pass
    return stub_decode(path, requests, duration_seconds=duration_seconds, out=out)


def waiting_decode(
    path: Path,
    requests: Sequence[ClipRequest],
    *,
    duration_seconds: float,
    out: Sequence[NDArray[np.uint8]],
) -> DecodedVideo:
    """``stub_decode`` that takes ``SPIN_SECONDS`` and no core, so that other work on the machine does not matter."""
    time.sleep(SPIN_SECONDS)
    return stub_decode(path, requests, duration_seconds=duration_seconds, out=out)
