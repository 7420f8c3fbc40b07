"""Disturbs the features that the set transformer reads; the targets that it has to find stay as they are.

Both disturbances are drawn from PyTorch's global generators, as dropout is, and are off by default: the paper has none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment_features(features: Tensor, *, noise: float, dropout: float) -> Tensor:
    """Add noise to features, then set some of their values to zero.

    Args:
        features: Of a batch of clips, shape (…, D).
        noise: Standard deviation of Gaussian noise, in units of each feature's standard deviation over these clips.
        dropout: Probability that a value becomes 0; the others are divided by 1 - ``dropout``, which keeps the mean.

    Returns:
        The same shape.
    """
    if noise > 0:
        spread = features.flatten(0, -2).std(dim=0, correction=0)  # (D,)
        features = features + noise * spread * torch.randn_like(features)
    if dropout > 0:
        features = F.dropout(features, dropout)
    return features
