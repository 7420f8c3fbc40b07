"""JSON values and the one text that stands for them in a digest."""

import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Mapping[str, Any], *, what: str) -> str:
    """JSON with sorted keys and no white space, so that equal values have equal text.

    A whole number is written without a fraction (2.0 and 2 are one value to JSON), any other number as Python does.

    >>> canonical_json({"span": 2.0, "crop": (0.35, 1)}, what="parameters")
    '{"crop":[0.35,1],"span":2}'

    Args:
        value: the mapping.
        what: what it is, for the message.

    Raises:
        ValueError: it holds NaN, infinity, or something that JSON has no notation for.
    """
    try:
        text = json.dumps(
            _whole_numbers(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
        )
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be JSON values: {error}") from None
    return text


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_numbers(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
