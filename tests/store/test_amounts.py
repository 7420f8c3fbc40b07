"""Sizes and times as people say them."""

import doctest

import pytest

from scale_video.store import amounts
from scale_video.store.amounts import memory_text, size_text, time_text


def test_the_examples() -> None:
    assert doctest.testmod(amounts) == (0, 4)


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (99_600, "100 kB"), (2e18, "2000 PB")]
)
def test_sizes_at_the_edges_of_units(num_bytes: float, text: str) -> None:
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(1023, "0.999 KiB"), (1024, "1 KiB"), (2**30 - 1, "1 GiB"), (2**60, "1024 PiB")]
)
def test_memory_at_the_edges_of_units(num_bytes: float, text: str) -> None:
    assert memory_text(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9.94, "9.9 s"), (9.96, "10 s"), (99.4, "99 s"), (99.6, "1.7 min"), (596, "9.9 min"), (598, "10 min"),
     (5969, "99 min"), (5971, "1.7 hours")],
)  # fmt: skip
def test_times_at_the_edges_of_units(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_no_number_needs_an_exponent() -> None:
    for power in range(17):
        for number in (10**power - 1, 10**power, 10**power + 1, 9.995 * 10**power, 5 * 10**power):
            assert "e" not in size_text(number) + memory_text(number)
