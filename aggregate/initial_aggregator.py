"""The aggregator before any training: where pre-training starts, and a baseline for what it brings."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformer


def initial_aggregator(config: PretrainConfig, *, feature_dim: int, seed: int) -> SetTransformer:
    """The model that pre-training with this seed starts from, bit by bit.

    Args:
        config: Its ``model`` gives the sizes.
        feature_dim: Length of a backbone feature, D.
        seed: Decides the weights; ``config.seed`` is not read.
    """
    with seeded_initialisation(seed):
        return SetTransformer(config.model, feature_dim=feature_dim)


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Modules made inside get weights that follow from the seed; the caller's random state is left as it was.

    PyTorch initialises from its global CPU generator and takes no other, so that one is borrowed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA as well
        yield
