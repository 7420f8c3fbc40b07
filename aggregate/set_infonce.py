"""The set loss: disjoint sets of clips of one video should get the same global token, those of other videos not."""

from itertools import permutations

import torch
from torch import Tensor

from scale_video.aggregate.info_nce import Contrast, info_nce, similarity_logits, spread_of
from scale_video.aggregate.ranks import gathered, part_of_batch


def set_infonce(z: Tensor, *, temperature: float) -> Contrast:
    """Contrast the sets of a batch, each with each, in both directions: the first with the second, and so on.

    Source: SCALE (ICCV 2023), L_SET, published code: N x N logits of first against second sets; sets of the same side
    are no negatives. More than two sets of a video are ours.

    Args:
        z: L2-normalised set embeddings, shape (N, S, P).
        temperature: Positive scale on cosine similarities.

    Returns:
        Loss and accuracy, means over both directions of all S (S - 1) / 2 pairs. Of several ranks, the sets of all
        are candidates, and the means over ranks are those of the whole batch.

    Raises:
        ValueError: ``z`` is not (N, S, P) with at least two sets, or ``temperature`` is not positive.
    """
    if z.ndim != 3 or z.shape[1] < 2:
        raise ValueError(f"z must be (videos, sets, dim) with at least 2 sets, got {tuple(z.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    candidates, first = gathered(z)
    same_video = torch.arange(first, first + len(z), device=z.device)
    contrasts = []
    for one, other in permutations(range(z.shape[1]), 2):
        logits = similarity_logits(z[:, one], candidates[:, other], temperature=temperature)  # (N, N of all ranks)
        contrasts.append(info_nce(logits, same_video))
    contrast = Contrast(
        loss=torch.stack([contrast.loss for contrast in contrasts]).mean(),
        accuracy=torch.stack([contrast.accuracy for contrast in contrasts]).mean(),
        num_rows=len(z),
        num_candidates=len(candidates),
        spread=spread_of(z.flatten(0, 1)),
    )
    return part_of_batch(contrast)
