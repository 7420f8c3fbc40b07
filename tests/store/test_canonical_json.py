import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scale_video.store.canonical_json import canonical_json

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aü\n"\\')
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("abü"), inner), max_leaves=8)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("abü"), values))
def test_the_text_survives_being_stored(value: Mapping[str, Any]) -> None:
    text = canonical_json(value, what="parameters")
    assert canonical_json(json.loads(json.dumps(value)), what="parameters") == text
    assert json.loads(text) == value


def test_order_white_space_tuples_and_whole_numbers_do_not_matter() -> None:
    one = canonical_json({"b": (1.0, -0.0), "a": {"z": 1, "y": 2.5}}, what="parameters")
    assert one == '{"a":{"y":2.5,"z":1},"b":[1,0]}'
    assert canonical_json({"a": {"y": 2.5, "z": 1.0}, "b": [1, 0]}, what="parameters") == one


@pytest.mark.parametrize(("number", "text"), [(1e-5, "1e-05"), (64 / 30, "2.1333333333333333"), (1e16, "1e+16")])
def test_other_numbers_are_written_as_python_does(number: float, text: str) -> None:
    assert canonical_json({"": number}, what="parameters") == f'{{"":{text}}}'


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}, b"x", "\udcff"])
def test_what_is_no_json_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^parameters must be JSON values: "):
        canonical_json({"crop": [bad]}, what="parameters")
