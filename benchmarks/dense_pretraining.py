"""A step of pre-training as its formulas say, which the benchmarks compare with: no part of it is left out or tuned.

Both heads run on all clips, every clip is compared with every clip, and the masked rows of the loss are kept at the
end, as in the published code. Layers are PyTorch's own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scale_video.aggregate.data_module import ClipSetBatch
from scale_video.aggregate.info_nce import Contrast
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.projection_head import ProjectionHead


def as_dense(module: SetPretraining) -> SetPretraining:
    """The same weights for ``dense_loss``."""
    for layer in module.aggregator.layers:
        layer.__class__ = nn.TransformerEncoderLayer
    return module


def dense_loss(module: SetPretraining, batch: ClipSetBatch) -> Tensor:
    """The mean of both tasks' losses, of a module from ``as_dense``."""
    contrasts = dense_contrasts(module, batch)
    return (contrasts["masked_clip"].loss + contrasts["set"].loss) / 2


def dense_contrasts(module: SetPretraining, batch: ClipSetBatch) -> dict[str, Contrast]:
    """Both tasks, of a module from ``as_dense``."""
    temperature, task = module.record.config.temperature, module.masked_clip_task
    features = batch.features.flatten(0, 1).float()  # (N * S, K, D)
    cls, clips = module.aggregator(features, batch.coordinates.flatten(0, 1), masked_clips=batch.masked_clips)
    predictions, targets = _head(task.predict, clips.flatten(0, 1)), _head(task.target, features.flatten(0, 1))
    logits = predictions @ targets.T / temperature  # (N * S * K, N * S * K)
    if task.negatives == "masked":
        others = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        others[batch.masked_clips] = False
        logits = logits.masked_fill(others, -torch.inf)
    masked_clip = _contrast(logits, rows=batch.masked_clips)
    z = _head(module.set_head, cls).view(len(batch.features), 2, -1)  # (N, S, P)
    logits = z[:, 0] @ z[:, 1].T / temperature  # (N, N)
    videos = torch.arange(len(logits), device=logits.device)
    forth, back = _contrast(logits, rows=videos), _contrast(logits.T, rows=videos)
    sets = forth._replace(loss=(forth.loss + back.loss) / 2, accuracy=(forth.accuracy + back.accuracy) / 2)
    return {"masked_clip": masked_clip, "set": sets}


def _contrast(logits: Tensor, *, rows: Tensor) -> Contrast:
    """Each row against its own column, of which some rows count."""
    own = torch.arange(len(logits), device=logits.device)
    losses = F.cross_entropy(logits, own, reduction="none")
    hits = (logits.detach().argmax(dim=1) == own).float()
    return Contrast(losses[rows].mean(), hits[rows].mean(), len(rows), logits.shape[1])


def _head(head: ProjectionHead, inputs: Tensor) -> Tensor:
    *hidden, last = head.layers
    for layer in hidden:
        inputs = F.gelu(layer(inputs))
    return F.normalize(last(inputs), dim=-1)
