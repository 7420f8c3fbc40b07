"""Pixels for pages: frames of a video, and clips exactly as a backbone saw them, by the decoders of the job itself."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.sample_frames import sample_times
from scale_video.pipelines.clip_export import DEFAULT_NUM_FRAMES
from scale_video.pipelines.clip_files import encode_png, write_clip
from scale_video.pipelines.explorer.data_files import DataFiles, NoPictureError
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.row_clips import row_order
from scale_video.store.clip_plan import Coordinate
from scale_video.store.union import ReadableStore, member_row

_MAX_CLIP_BYTES: Final = 1 << 28
"""Of pixels: a store may come from anybody, and decoders take the memory that it asks for."""
_GREY: Final = 128


class Pictures:
    """What decodes a store's videos for pages; for several threads."""

    def __init__(self, store: ReadableStore, files: DataFiles, limits: DecodeLimits) -> None:
        """Prepare; decoding processes start with the first picture.

        Args:
            store: Whose rows are shown.
            files: Theirs.
            limits: So many videos are decoded at a time, each in a process of its own.
        """
        self._store = store
        self._files = files
        self._decoders: SimpleQueue[ClipDecoders] = SimpleQueue()
        one = DecodeLimits(1, timeout_seconds=limits.timeout_seconds, memory_bytes=limits.memory_bytes)
        self._all = [ClipDecoders(one) for _ in range(limits.num_processes)]
        for decoders in self._all:
            self._decoders.put(decoders)

    def frames(self, row: int, seconds: NDArray[np.float64], *, size: int) -> bytes:
        """Whole frames side by side, each squeezed into a square, as png.

        Args:
            row: Of the video.
            seconds: When, from the first frame of the file; in any number of them.
            size: Pixels of the squares' sides.

        Raises:
            NoPictureError: they cannot be had.
        """
        coordinates = np.zeros((len(seconds), len(Coordinate)), np.float32)
        coordinates[:, [Coordinate.BOTTOM, Coordinate.RIGHT]] = 1
        coordinates[:, [Coordinate.START, Coordinate.END]] = seconds[:, None]
        request = ClipRequest(coordinates, np.ones(len(seconds), np.bool_), num_frames=1, frame_size=size)
        probe = self._store.probes(slice(row, row + 1))[0]
        frames, there = self._decode(VideoOrder(self._files.find(row), probe.duration_seconds, (request,)))
        frames[~there] = _GREY  # of a file that is shorter than it says
        return encode_png(np.concatenate(list(frames[:, 0]), axis=1))

    def strip(self, row: int, features: FeatureSet, clip: int) -> bytes:
        """The frames of a clip side by side, as png.

        Raises:
            NoPictureError: they cannot be had.
        """
        return encode_png(np.concatenate(list(self._clip(row, features, clip)[0]), axis=1))

    def film(self, row: int, features: FeatureSet, clip: int) -> bytes:
        """A clip at its own pace, as mp4.

        Raises:
            NoPictureError: it cannot be had.
        """
        frames, seconds = self._clip(row, features, clip)
        with tempfile.TemporaryDirectory(prefix="scale-video-") as folder:
            path = Path(folder) / "clip.mp4"
            write_clip(path, frames, seconds=seconds.tolist())
            return path.read_bytes()

    def close(self) -> None:
        """End the decoding processes."""
        for decoders in self._all:
            decoders.close()

    def _clip(self, row: int, features: FeatureSet, clip: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Frames of a clip, shape (T, S, S, 3), and their times."""
        self._files.find(row)
        store, own_row = member_row(self._store, row)
        if features.view is None or not 0 <= clip < store.num_clips(features.view):
            raise NoPictureError(f"there is no clip {clip}")
        if not np.asarray(store.plan_arrays(features.view)["valid"][own_row])[clip]:
            raise NoPictureError(f"clip {clip} is not planned")
        num_frames, size = self._frames(features)
        if not (num_frames > 0 < size and num_frames * size**2 * 3 <= _MAX_CLIP_BYTES):
            raise NoPictureError(f"{num_frames} frames of {size}² pixels are more than a page shows")
        assert self._files.root is not None
        order = row_order(
            store,
            own_row,
            view=features.view,
            clips=np.array([clip]),
            num_frames=num_frames,
            frame_size=size,
            root=self._files.root,
        )
        seconds = sample_times(order.requests[0].coordinates, num_frames=num_frames)[0]
        return self._decode(order)[0][0], seconds

    def _frames(self, features: FeatureSet) -> tuple[int, int]:
        """Frames and pixels of a clip as the backbone sees it; the view's own where there is none."""
        assert features.view is not None
        if features.backbone is None:
            return DEFAULT_NUM_FRAMES, int(self._store.plan_parameters(features.view)["nominal_size"])
        attributes = self._store.backbone_attributes(features.view, features.backbone)
        try:
            return int(attributes["num_frames"]), int(attributes["frame_size"])
        except (KeyError, TypeError, ValueError):
            raise NoPictureError(f"nothing says which frames {features.backbone} sees") from None

    def _decode(self, order: VideoOrder) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The frames of an order's clips, shape (K, T, S, S, 3), and which clips are there.

        Raises:
            NoPictureError: none is.
        """
        with self._lent() as decoders, closing(decoders.decode([order])) as decoded:
            (clips,) = next(decoded).clips
            if not clips.valid.any():
                raise NoPictureError(f"{clips.status.name.lower()}: {clips.error}")
            return clips.frames.copy(), clips.valid  # the decoders' memory is used again

    @contextmanager
    def _lent(self) -> Iterator[ClipDecoders]:
        decoders = self._decoders.get()
        try:
            yield decoders
        finally:
            self._decoders.put(decoders)
