"""Masked clip modelling: predict what a masked clip shows, well enough to find it among the clips of the batch.

Source: SCALE (ICCV 2023), L_MCM. The published code predicts every clip, compares each with each, and throws away the
rows of clips that were not masked; here those are never computed. The remaining rows are the same numbers. With
``negatives="masked"`` (ours) the masked clips alone are candidates, and the target head, the larger half of a step,
runs on a quarter of the clips.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from scale_video.aggregate.chunked_info_nce import chunked_info_nce
from scale_video.aggregate.clip_sets import Masking
from scale_video.aggregate.execution import in_chunks
from scale_video.aggregate.info_nce import Contrast, info_nce, similarity_logits, spread_of
from scale_video.aggregate.projection_head import ProjectionHead
from scale_video.aggregate.ranks import counts_of_ranks, gathered, part_of_batch

Negatives = Literal["all", "masked"]
"""Candidates a prediction is compared with: ``all`` clips of the batch, or only the ``masked`` ones."""


def masked_clip_infonce(predictions: Tensor, targets: Tensor, *, positives: Tensor, temperature: float) -> Contrast:
    """Contrast predictions with targets, in this direction only.

    Args:
        predictions: L2-normalised, one for each masked clip, shape (M, P).
        targets: L2-normalised candidates, shape (candidates, P).
        positives: For each prediction, the row of its clip in ``targets``, shape (M,), int64.
        temperature: Positive scale on cosine similarities.

    Returns:
        Loss and accuracy, means over the masked clips.
    """
    if in_chunks(predictions):
        contrast = chunked_info_nce(predictions, targets, positives, temperature=temperature)
    else:
        contrast = info_nce(similarity_logits(predictions, targets, temperature=temperature), positives)
    return contrast._replace(spread=spread_of(predictions))


class MaskedClipTask(nn.Module):
    """The two heads of masked clip modelling and its loss. Of several ranks, the clips of all are candidates.

    The targets are trained as well, without a stop-gradient: they are raw features behind a head, which cannot all
    collapse to one point without raising the loss.

    Args:
        width: Length of a refined clip token, E.
        feature_dim: Length of a backbone feature, D.
        prediction_hidden_dim: Hidden units of the 2-layer prediction head.
        target_hidden_dim: Hidden units of the 3-layer target head.
        projection_dim: P.
        negatives: Which clips are candidates.
        temperature: Positive scale on cosine similarities.
        masking: Whether all ranks mask equally many clips (``exact``); of one rank it makes no difference.
    """

    def __init__(
        self,
        *,
        width: int,
        feature_dim: int,
        prediction_hidden_dim: int,
        target_hidden_dim: int,
        projection_dim: int,
        negatives: Negatives,
        temperature: float,
        masking: Masking = "independent",
    ) -> None:
        super().__init__()
        self.predict = ProjectionHead(width, hidden_dim=prediction_hidden_dim, output_dim=projection_dim, num_layers=2)
        self.target = ProjectionHead(feature_dim, hidden_dim=target_hidden_dim, output_dim=projection_dim, num_layers=3)
        self.negatives = negatives
        self.temperature = temperature
        self.masking = masking

    def forward(self, clips: Tensor, features: Tensor, masked_clips: Tensor) -> Contrast:
        """Predict the masked clips of a batch of N * S * K clips.

        Args:
            clips: Refined tokens, shape (N * S * K, E).
            features: Raw features, shape (N * S * K, D).
            masked_clips: Indices of the masked clips, shape (M,).

        Returns:
            Loss and accuracy; the means over ranks are those of the whole batch.
        """
        counts = None if self.masking == "exact" else counts_of_ranks(len(masked_clips), device=masked_clips.device)
        predictions = self.predict(clips.index_select(0, masked_clips))  # (M, P)
        if self.negatives == "masked":
            features = features.index_select(0, masked_clips)
            positives = torch.arange(len(masked_clips), device=masked_clips.device)
        else:
            positives = masked_clips
        targets, first = gathered(self.target(features), counts if self.negatives == "masked" else None)
        contrast = masked_clip_infonce(predictions, targets, positives=positives + first, temperature=self.temperature)
        return part_of_batch(contrast, counts)
