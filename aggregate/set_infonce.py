"""The set loss: two disjoint sets of clips of one video should get the same global token, those of others not."""

import torch
from torch import Tensor

from scale_video.aggregate.info_nce import Contrast, info_nce, similarity_logits


def set_infonce(z: Tensor, *, temperature: float) -> Contrast:
    """Contrast the first sets of a batch with its second sets, in both directions.

    Source: SCALE (ICCV 2023), L_SET, published code: N x N logits of first against second sets; sets of the same side
    are no negatives.

    Args:
        z: L2-normalised set embeddings, shape (N, 2, P).
        temperature: Positive scale on cosine similarities.

    Returns:
        Loss and accuracy, means over both directions.

    Raises:
        ValueError: ``z`` is not (N, 2, P), or ``temperature`` is not positive.
    """
    if z.ndim != 3 or z.shape[1] != 2:
        raise ValueError(f"z must be (videos, 2, dim), got {tuple(z.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = similarity_logits(z[:, 0], z[:, 1], temperature=temperature)  # (N, N)
    same_video = torch.arange(len(z), device=z.device)
    forth, back = info_nce(logits, same_video), info_nce(logits.T, same_video)
    return Contrast((forth.loss + back.loss) / 2, (forth.accuracy + back.accuracy) / 2, len(z), len(z))
