"""The forward passes of a block: clips in plan order, in batches of one size, features back to where they belong.

Features are byte-identical however the job runs. Convolutions and matrix products in batches of other sizes differ in
the last bit, so the batches follow from the plan alone: clips in plan order, a fixed batch size that the store records,
zeros in the place of clips that could not be had, and zeros at the end of the last batch.

On a GPU the next batch is collected and copied (from pinned memory, on a stream of its own) while the one before it is
computed; two are on the device at most, and nothing waits for their results before the block's end.
"""

from itertools import cycle
from threading import Lock
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.corner_resize import enlarge_corners

_ENQUEUEING = Lock()
"""Tasks of one worker share a device's stream; each pass is timed by what lies between two of its events."""
LARGEST_FEATURE = float(np.finfo(np.float16).max)

Place = tuple[int, int]
"""Row of the block, and clip."""


class ForwardBatches:
    """Collects clips in plan order, embeds them in batches of one size, and puts features where they belong."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int,
        clip_shape: tuple[int, int, int, int],
        block_shape: tuple[int, int, int],
    ) -> None:
        """Prepare an empty block.

        Args:
            backbone: the network.
            batch_size: clips in every forward pass.
            clip_shape: (T, S, S, 3).
            block_shape: (V, K, D).
        """
        self.features: NDArray[np.float16] = np.full(block_shape, np.nan, dtype=np.float16)
        """Shape (V, K, D); complete after ``finish``."""
        self.valid = np.zeros(block_shape[:2], dtype=np.bool_)
        """Shape (V, K); likewise."""
        self.overflows = np.zeros(block_shape[:2], dtype=np.bool_)
        """Shape (V, K): clips whose features float16 cannot hold; they are not valid. Likewise."""
        self.seconds = 0.0
        """In which forward passes ran: on the CPU this thread's time, on a GPU the device's; likewise."""
        self._backbone = backbone
        make = _CudaStaging if backbone.device.type == "cuda" else _Staging
        self._stagings = [make((batch_size, *clip_shape), backbone.device) for _ in range(make.num_needed)]
        self._turns = cycle(self._stagings)
        self._staging = next(self._turns)
        self._num_slots = batch_size
        self._places: list[Place | None] = []
        self._results: list[tuple[Tensor, list[int], list[Place]]] = []

    def add(
        self, frames: NDArray[np.uint8] | None, *, video: int, clip: int, size: tuple[int, int] | None = None
    ) -> None:
        """Take the next clip.

        Args:
            frames: shape (T, S, S, 3); None for one that could not be had: its slot stays empty.
            video: row of the block.
            clip: which one of it.
            size: height and width of the corner that its pixels fill, if they do not fill the frames.
        """
        if frames is None:
            self._places.append(None)
        else:
            slot = len(self._places)
            self._staging.pixels[slot] = frames
            if size is not None:
                self._staging.sizes[slot] = size
            self._places.append((video, clip))
        if len(self._places) == self._num_slots:
            self._forward()

    def finish(self) -> None:
        """Embed the rest, and wait for all results.

        Raises:
            ValueError: of several videos, float16 can hold no feature at all: it is the backbone's fault.
        """
        if self._places:
            self._forward()
        for vectors, slots, places in self._results:
            values, (videos, clips) = vectors.cpu().numpy()[slots], np.array(places).T
            fits = (np.abs(values) <= LARGEST_FEATURE).all(axis=1)  # false for NaN as well
            self.valid[videos[fits], clips[fits]] = True
            self.features[videos[fits], clips[fits]] = values[fits].astype(np.float16)
            self.overflows[videos[~fits], clips[~fits]] = True
        self._results.clear()
        if np.count_nonzero(self.overflows.any(axis=1)) > 1 and not self.valid.any():
            raise ValueError(
                f"backbone {self._backbone.spec.name!r} gives features that float16 cannot hold (at most "
                f"{LARGEST_FEATURE:g}), or NaN, for every clip of a block; try --precision float32"
            )
        self.seconds = sum(staging.busy_seconds() for staging in self._stagings)

    def _forward(self) -> None:
        slots = [slot for slot, place in enumerate(self._places) if place is not None]
        places = [place for place in self._places if place is not None]
        self._places.clear()
        if slots:  # a batch of nothing but failures needs no forward pass
            self._results.append((self._staging.embed(self._backbone), slots, places))
            self._staging = next(self._turns)
            self._staging.clear()


class _Staging:
    """Where a batch is collected, for a backbone on the CPU."""

    num_needed = 1

    def __init__(self, shape: tuple[int, int, int, int, int], device: torch.device) -> None:
        self.frames = torch.zeros(shape, dtype=torch.uint8)
        self.pixels: NDArray[np.uint8] = self.frames.numpy()
        self._whole = (shape[2], shape[3])
        self.sizes = [self._whole] * shape[0]
        self._seconds = 0.0

    def embed(self, backbone: Backbone) -> Tensor:
        started = perf_counter()
        enlarge_corners(self.frames, self.sizes)
        vectors = backbone.embed(self.frames)
        self._seconds += perf_counter() - started
        return vectors

    def clear(self) -> None:
        self.frames.zero_()
        self.sizes = [self._whole] * len(self.sizes)

    def busy_seconds(self) -> float:
        return self._seconds


class _CudaStaging(_Staging):
    """Pinned memory that is copied on a stream of its own; two of them take turns."""

    num_needed = 2

    def __init__(self, shape: tuple[int, int, int, int, int], device: torch.device) -> None:
        super().__init__(shape, device)
        self.frames = self.frames.pin_memory()
        self.pixels = self.frames.numpy()
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._passes: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def embed(self, backbone: Backbone) -> Tensor:
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copying):
            on_device = self.frames.to(self._device, non_blocking=True)
            self._copied.record(self._copying)
        on_device.record_stream(computing)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        with _ENQUEUEING:
            computing.wait_event(self._copied)
            begin.record(computing)
            enlarge_corners(on_device, self.sizes)
            vectors = backbone.embed(on_device)
            end.record(computing)
        self._passes.append((begin, end))
        return vectors

    def clear(self) -> None:
        if self._passes:  # else batches would pile up on the device; the other staging's is queued meanwhile
            self._passes[-1][1].synchronize()
        super().clear()

    def busy_seconds(self) -> float:
        for _, end in self._passes[-1:]:
            end.synchronize()
        return float(sum(begin.elapsed_time(end) for begin, end in self._passes)) / 1000
