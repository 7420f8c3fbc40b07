import math
from typing import Any

import pytest

from scale_video.store.video_probe import VideoProbe, VideoStatus

GOOD: dict[str, Any] = {"duration_seconds": 4.0, "frames_per_second": 25.0, "height": 2, "width": 2}


def test_a_video_that_cannot_be_read_needs_no_numbers() -> None:
    probe = VideoProbe(VideoStatus.MISSING, error="no such file")
    assert probe.status.is_failure
    assert not probe.status.has_features


NUMBERS = [(name, value) for name in GOOD for value in (0, -1)]
NUMBERS += [(name, value) for name in ("duration_seconds", "frames_per_second") for value in (math.nan, math.inf)]


@pytest.mark.parametrize(("name", "value"), NUMBERS)
def test_a_readable_video_needs_finite_numbers(name: str, value: float) -> None:
    VideoProbe(VideoStatus.OK, **GOOD)
    with pytest.raises(ValueError, match="a readable video needs a finite duration, a rate and a size, got VideoProbe"):
        VideoProbe(VideoStatus.OK, **{**GOOD, name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation_degrees": 45}, "rotation_degrees must be 0, 90, 180 or 270, got 45"),
        ({"error": "\udcff"}, "error .* is no valid Unicode"),
    ],
)
def test_what_is_no_probe_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoProbe(VideoStatus.OK, **{**GOOD, **changes})
