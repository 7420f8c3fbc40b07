from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest


def nan_of_other_bits(features: Any) -> Any:
    features = features.copy()
    features.view(np.uint16)[np.isnan(features)] = 0xFE00
    return features


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("features", lambda f: f.astype(np.float32), r"features must be float16 \(videos, clips, dim\), got float32"),
        ("features", lambda f: f[0], "features must be float16"),
        ("valid", lambda v: v[:, :2], r"valid must be bool \(3, 3\), got bool \(3, 2\)"),
        ("valid", lambda v: v.astype(np.uint8), "valid must be bool"),
        ("status", lambda s: s[:2], "status and error must have 3 entries"),
        ("error", lambda e: e[:2], "status and error must have 3 entries"),
        ("status", lambda s: s * 0, "no video of it is pending"),
        ("status", lambda s: s * 0 + 10, "status has the unknown code 10"),
        ("status", lambda s: s * 0 + 5, "a video whose status says that it has no features has a valid clip"),
        ("valid", lambda v: v | True, "a valid clip has a feature that is not finite; float16 holds at most 65504"),
        ("features", lambda f: f * np.float16(np.inf), "a valid clip has a feature that is not finite"),
        ("features", lambda f: np.nan_to_num(f), r"a clip that is not valid must be NaN \(bits 0x7E00\) throughout"),
        ("features", nan_of_other_bits, r"a clip that is not valid must be NaN \(bits 0x7E00\) throughout"),
        ("error", lambda e: ("two\nlines", *e[1:]), r"error must be one line, got 'two\\nlines'"),
        ("error", lambda e: ("\udcff", *e[1:]), "error .* is no valid Unicode"),
    ],
)
def test_what_is_no_block_is_refused(small: ModuleType, name: str, change: Any, message: str) -> None:
    block = small.make_block(1)
    with pytest.raises(ValueError, match=message):
        replace(block, **{name: change(getattr(block, name))})
