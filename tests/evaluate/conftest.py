from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits


class Videos(NamedTuple):
    vectors: NDArray[np.float32]
    labels: NDArray[np.int32]
    groups: NDArray[np.str_]


MakeVideos = Callable[..., Videos]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The work here is tiny, and threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def make_videos() -> MakeVideos:
    """Videos of Gaussian classes, four to a group; the class means depend on neither seed nor number."""

    def make(num_videos: int, *, seed: int, num_classes: int = 3, dim: int = 8, spread: float = 1.0) -> Videos:
        means = np.random.default_rng(99).normal(size=(num_classes, dim))
        rng = np.random.default_rng(seed)
        labels = np.arange(num_videos) // 4 % num_classes
        vectors = means[labels] + spread * rng.normal(size=(num_videos, dim))
        groups = np.array([f"film{video // 4}" for video in range(num_videos)])
        order = rng.permutation(num_videos)
        return Videos(vectors[order].astype(np.float32), labels[order].astype(np.int32), groups[order])

    return make
