"""One request on its way from samples to pixels, and what is to be said of it in the end."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.augmented_pixels import augment_clip
from scale_video.extract.clip_pixels import ClipPainter
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.sample_frames import TOLERANCE_SECONDS, PendingSamples, sample_times, within_part
from scale_video.extract.video_file import VideoFileError
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoStatus


@dataclass(frozen=True, slots=True)
class DecodedClips:
    """The pixels of the planned clips of one request."""

    frames: NDArray[np.uint8]
    """RGB, shape (K, T, S, S, 3); 0 where ``valid`` is false."""
    valid: NDArray[np.bool_]
    """Shape (K,): clips all of whose frames were had; a subset of the planned ones."""
    status: VideoStatus
    """``OK``, ``PADDED``, ``PARTIAL``; ``NO_VIDEO_STREAM``, ``CORRUPT``, ``MISSING`` without a valid clip."""
    error: str = ""
    """Why the video could not be had in full, in one line without a path; empty where it could."""
    sizes: NDArray[np.int32] | None = None
    """Shape (K, 2): height and width of the corner that each clip fills, where the request does not want it enlarged;
    what lies beside it means nothing."""


class ClipFilling:
    """The samples of one request, as frames answer them."""

    def __init__(self, request: ClipRequest, frames: NDArray[np.uint8], *, duration_seconds: float) -> None:
        """Prepare.

        Args:
            request: What is wanted.
            frames: Where the pixels go, of the request's shape.
            duration_seconds: The file's ``VideoProbe.duration_seconds``.
        """
        self.painter = ClipPainter(request, frames)
        self.concluded = False
        """Whether it is known what becomes of every clip; nothing further is needed."""
        self._request = request
        self._frames = frames
        self._duration_seconds = duration_seconds
        self._shown_until = min(duration_seconds, request.until_seconds)
        self._augment_seconds = 0.0
        self._error: VideoFileError | None = None
        self._cause = ""
        self.restart()

    def restart(self) -> None:
        """Forget what has been answered."""
        request = self._request
        times = sample_times(request.coordinates, num_frames=request.num_frames)
        times = within_part(times, begin_seconds=request.begin_seconds, until_seconds=request.until_seconds)
        self.pending = PendingSamples(times, planned=request.valid)

    def conclude(self, *, problem: str = "", read_seconds: float = 0.0) -> None:
        """Note how the file looks at the moment when the last sample has been answered.

        Args:
            problem: The first damage met so far, empty when there is none.
            read_seconds: Time of the last picture read so far.
        """
        self._cause = problem or f"it ends at {read_seconds:.2f} of {self._duration_seconds:.2f} s"
        self.painter.finish()
        self.concluded = True

    def fail(self, error: VideoFileError) -> None:
        """Nothing can be had for this request after all."""
        self._error = error
        self.concluded = True

    def ends_early(self, *, read_seconds: float, seconds_per_frame: float) -> bool:
        """Whether a file, read to its end, is shorter than planned.

        Args:
            read_seconds: Time of its last picture.
            seconds_per_frame: Average interval between its pictures.
        """
        # By the probe, the last frame starts one interval before the end.
        return read_seconds + 1.5 * seconds_per_frame < self._duration_seconds

    def outcome(self, num_bytes_cut_off: int) -> DecodedClips:
        """The clips, when all samples have been answered.

        Args:
            num_bytes_cut_off: By how much the file is shorter than its header says.
        """
        if self._error is not None:
            return self.refuse(self._error)
        planned, lost = self._request.valid, self.pending.lost
        had = planned & ~lost
        self._frames[~had] = 0  # clips that are not planned, or were lost half-way
        self._augment(had)
        status, why = VideoStatus.OK, ""
        if lost.any():
            status = VideoStatus.PARTIAL if had.any() else VideoStatus.CORRUPT
            why = f"{np.count_nonzero(lost)} of {np.count_nonzero(planned)} clips cannot be decoded: {self._cause}"
        elif num_bytes_cut_off:
            status, why = VideoStatus.PARTIAL, f"is {num_bytes_cut_off} bytes shorter than its header says"
        elif self._request.coordinates[planned, Coordinate.END].max() > self._shown_until - TOLERANCE_SECONDS:
            status = VideoStatus.PADDED
        return DecodedClips(self._frames, had, status, why, None if self._request.enlarge else self.painter.sizes)

    @property
    def resize_seconds(self) -> float:
        """Spent on cropping and resizing, and on changing colours and sharpness."""
        return self.painter.seconds + self._augment_seconds

    def _augment(self, had: NDArray[np.bool_]) -> None:
        if self._request.augmentation is None:
            return
        begun = perf_counter()
        for clip in np.flatnonzero(had).tolist():
            augment_clip(self._frames[clip], self._request.augmentation[clip])
        self._augment_seconds = perf_counter() - begun

    def refuse(self, error: VideoFileError) -> DecodedClips:
        """No clips."""
        self._frames[...] = 0
        return DecodedClips(self._frames, np.zeros_like(self._request.valid), error.status, str(error))
