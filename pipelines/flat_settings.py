"""Nested settings on one level, as tables show them."""

from collections.abc import Mapping
from typing import Any


def flat_settings(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Nested settings as texts by dotted names.

    >>> flat_settings({"num_clips": 16, "crop": {"kind": "area", "range": [0.35, 1.0]}})
    {'num_clips': '16', 'crop.kind': 'area', 'crop.range': '0.35, 1.0'}
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flat_settings(value, prefix=f"{name}.")
        else:
            flat[name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return flat
