from typing import Any

import numpy as np
import pytest

from scale_video.extract.clip_request import ClipRequest
from scale_video.store.clip_plan import Coordinate


def row(**changes: float) -> dict[str, Any]:
    """Arguments of a request for one clip, with changed coordinates."""
    values = {"flip": 0.0, "top": 0.0, "left": 0.0, "bottom": 1.0, "right": 1.0, "start": 0.0, "end": 1.0} | changes
    return {"coordinates": np.array([[values[name.name.lower()] for name in Coordinate]], np.float32)}


WHOLE = row() | {"valid": np.ones(1, np.bool_), "num_frames": 2, "frame_size": 8}


def test_the_shape_is_that_of_the_pixels() -> None:
    request = ClipRequest(np.repeat(row()["coordinates"], 3, 0), np.ones(3, np.bool_), num_frames=2, frame_size=8)
    assert request.shape == (3, 2, 8, 8, 3)


def test_clips_that_are_not_planned_are_not_looked_at() -> None:
    coordinates = np.concatenate([row()["coordinates"], np.full((1, 7), np.nan, np.float32)])
    assert ClipRequest(coordinates, np.array([True, False]), num_frames=1, frame_size=1).shape == (2, 1, 1, 1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": np.ones(2, np.bool_)}, r"coordinates \(1, 7\) and valid \(2,\) must be \(K, 7\) and \(K,\)"),
        ({"coordinates": np.zeros((1, 6), np.float32)}, r"coordinates \(1, 6\) and valid"),
        ({"num_frames": 0}, r"num_frames \(0\) and frame_size \(8\) must be at least 1"),
        ({"frame_size": 0}, r"num_frames \(2\) and frame_size \(0\) must be at least 1"),
        ({"valid": np.zeros(1, np.bool_)}, "valid plans none of the clips; leave out videos"),
        (row(top=0.5, bottom=0.5), r"top \(0.5\) must be less than bottom \(0.5\)"),
        (row(left=np.nan), r"left \(nan\) must be less than right \(1\)"),
        (row(start=2.0), "start must not be after end"),
    ],
)
def test_what_cannot_be_decoded_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipRequest(**(WHOLE | changes))
