"""What a look at a video file tells before it is decoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from scale_video.store.names import check_text


class VideoStatus(IntEnum):
    """What became of a video under one backbone; the codes are part of the format."""

    PENDING = 0
    OK = 1
    PADDED = 2
    """All clips are there; one reaches past the end of the video, whose last frame repeats."""
    PARTIAL = 3
    """The file holds less than it announces; clips that could not be had are not valid."""
    NO_VIDEO_STREAM = 4
    CORRUPT = 5
    MISSING = 6
    TIMEOUT = 7
    CRASHED = 8
    NOT_PLANNED = 9
    """The view leaves this video out."""

    @property
    def has_features(self) -> bool:
        """Whether some clips of such a video are valid."""
        return self in (VideoStatus.OK, VideoStatus.PADDED, VideoStatus.PARTIAL)

    @property
    def is_failure(self) -> bool:
        """Whether the video could not be had in full; these count against ``--max-failures``."""
        return self in FAILURES


FAILURES = frozenset(
    {
        VideoStatus.PARTIAL,
        VideoStatus.NO_VIDEO_STREAM,
        VideoStatus.CORRUPT,
        VideoStatus.MISSING,
        VideoStatus.TIMEOUT,
        VideoStatus.CRASHED,
    }
)


def failures_named(names: Sequence[str], *, option: str) -> frozenset[VideoStatus]:
    """The statuses of failures that a user names.

    Args:
        names: such as ``corrupt``.
        option: where they were named, for the message.

    Raises:
        ValueError: one is no status of a failure.
    """
    by_name = {status.name.lower(): status for status in sorted(FAILURES)}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"{option} takes statuses of failures ({', '.join(by_name)}), got {unknown[0]!r}")
    return frozenset(by_name[name] for name in names)


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """One file's header, corrected by a scan of its packets where the header lies or is silent."""

    status: VideoStatus
    """``OK``, or why there is nothing to plan: ``NO_VIDEO_STREAM``, ``CORRUPT``, ``MISSING``."""
    error: str = ""
    """One line without absolute paths; empty when ``status`` is ``OK``."""
    duration_seconds: float = 0.0
    """Number of frames over their rate: the last frame is shown to its end."""
    frames_per_second: float = 0.0
    """Average rate, (frames - 1) / (last - first presentation time); a single frame has the header's rate, else 1."""
    num_frames: int = 0
    height: int = 0
    """Pixels of the upright frame, after rotation."""
    width: int = 0
    rotation_degrees: int = 0
    """Clockwise turn that makes a decoded frame upright: 0, 90, 180 or 270."""
    variable_frame_rate: bool = False
    content_digest: int = 0
    """blake2b-8 of the file's size and of its first and last MiB: equal for copies of one file."""

    def __post_init__(self) -> None:
        """Check that a readable video has frames, a rate and a size.

        Raises:
            ValueError: an OK probe without them, a rotation that is no multiple of 90, or an error without UTF-8.
        """
        if self.rotation_degrees not in (0, 90, 180, 270):
            raise ValueError(f"rotation_degrees must be 0, 90, 180 or 270, got {self.rotation_degrees}")
        if self.status == VideoStatus.OK and not (
            0 < self.duration_seconds < math.inf
            and 0 < self.frames_per_second < math.inf
            and self.height > 0
            and self.width > 0
        ):
            raise ValueError(f"a readable video needs a finite duration, a rate and a size, got {self}")
        check_text(self.error, what="error")
