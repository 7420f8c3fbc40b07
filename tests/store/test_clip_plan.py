from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scale_video.store.clip_plan import COORDINATE_NAMES


def test_size_and_names(small: ModuleType) -> None:
    plan = small.make_plan()
    assert (plan.num_videos, plan.num_clips) == (7, 3)
    assert COORDINATE_NAMES == ("flip", "top", "left", "bottom", "right", "start", "end")


def test_names_of_views_are_checked(small: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"view '\.\./random' must consist of"):
        small.make_plan("../random")
    with pytest.raises(ValueError, match="view cannot be called 'videos', the format uses this name"):
        small.make_plan("videos")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"coordinates": np.zeros((7, 3, 6), np.float32)},
            r"coordinates must be \(videos, clips, 7\), got \(7, 3, 6\)",
        ),
        ({"coordinates": np.zeros((7, 3, 7))}, "coordinates must be float32, got float64"),
        (
            {"coordinates": np.zeros((7, 0, 7), np.float32)},
            "view 'random' must plan at least one clip per video, got 0",
        ),
        ({"coordinates": np.zeros((7, 4, 7), np.float32)}, r"valid must be bool \(7, 4\), got bool \(7, 3\)"),
        ({"planned": np.ones(6, np.bool_)}, r"planned must be bool \(7,\), got \(6,\)"),
        ({"planned": np.zeros(7, np.bool_)}, r"leaves out \(planned is false\) has a valid clip"),
        ({"coordinates": np.full((7, 3, 7), np.inf, np.float32)}, "a planned clip has a coordinate that is not finite"),
        ({"coordinates": np.zeros((7, 3, 7), np.float32)}, "a clip that is not planned must have NaN for coordinates"),
        ({"parameters": {"seed": float("nan")}}, "parameters must be JSON values"),
    ],
)
def test_what_is_no_plan_is_refused(small: ModuleType, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small.make_plan(), **changes)


def test_planned_clips_come_first(small: ModuleType) -> None:
    plan = small.make_plan()
    with pytest.raises(ValueError, match="valid clips must come first in a row"):
        replace(plan, valid=plan.valid[:, ::-1], coordinates=plan.coordinates[:, ::-1])
