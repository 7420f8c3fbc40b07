"""Views of clips that agree in their motion, among others that agree in everything else.

Two crops of one video have their motion in common, but their textures as well, and texture alone tells them from all
other videos: contrast learns textures. Two things are done about that, to existing clips and without labels. A clip
played backwards, mirrored or turned shows the same textures and another motion: such copies are contrasted with each
other. And the two views of a copy are made to look different.

Sources: contrast among transformed copies, which teaches what the transformation changes (Shuffle and Learn, ECCV 2016,
arXiv 1603.08561, for order; RotNet, ICLR 2018, arXiv 1803.07728, for turns), with SimCLR's loss (arXiv 2002.05709); the
still picture of another video, from Background Erasing (CVPR 2021, arXiv 2009.05769).
"""

from typing import Final

import torch
from torch import Tensor

from scale_video.extract.backbones.motion3d import standardise_clips

NUM_SYMMETRIES: Final = 16
"""Eight of the square, by forward and backward; 0 changes nothing."""


def draw_views(clips: Tensor, *, num_shots: int, copies_per_shot: int, generator: torch.Generator) -> Tensor:
    """Draw shots, two clips of each, and copies of both under the same few symmetries.

    Args:
        clips: Grey clips to choose from, uint8 (N, C, T, S, S): C >= 2 of each of N shots.
        num_shots: How many shots to draw.
        copies_per_shot: How many different symmetries each is copied under, 1 to ``NUM_SYMMETRIES``.
        generator: Of everything.

    Returns:
        float32, shape (2 * num_shots * copies_per_shot, T, S, S): rows i and half the length + i are views of one copy.
    """
    shots = torch.randint(len(clips), (num_shots, 1), generator=generator)
    pairs = torch.rand(num_shots, clips.shape[1], generator=generator).argsort(dim=1)[:, :2]
    symmetries = torch.rand(num_shots, NUM_SYMMETRIES, generator=generator).argsort(dim=1)[:, :copies_per_shot]
    chosen = clips[shots, pairs].float().repeat_interleave(copies_per_shot, dim=0)  # (shots * copies, 2, T, S, S)
    views = [transform(view, symmetries.flatten()) for view in chosen.unbind(dim=1)]
    return torch.cat([change_look(view, generator) for view in views])


def transform(clips: Tensor, symmetries: Tensor) -> Tensor:
    """Apply a symmetry to each clip.

    Args:
        clips: Shape (B, T, S, S).
        symmetries: Shape (B,), 0 to 15, of four bits: exchange rows and columns, then turn the columns round, then the
            rows, then time.

    Returns:
        Shape (B, T, S, S).
    """
    for bit, axis in enumerate([None, 3, 2, 1]):
        changed = clips.transpose(2, 3) if axis is None else clips.flip(axis)
        clips = torch.where(_per_clip((symmetries >> bit) % 2 == 1), changed, clips)
    return clips


def change_look(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Change what a clip looks like, but not how it moves.

    Half of the clips lose what they show on average over time, half are turned into their negatives; all get a still
    picture of another clip on top, as strong as they are at most, and noise.

    Args:
        clips: Shape (B, T, S, S).
        generator: Of all that is drawn.

    Returns:
        Shape (B, T, S, S), of the order of one.
    """
    count = len(clips)
    without_mean = clips - clips.mean(dim=1, keepdim=True)
    clips = standardise_clips(torch.where(_heads(count, generator), without_mean, clips))
    clips = torch.where(_heads(count, generator), -clips, clips)
    stills = clips[torch.randperm(count, generator=generator), :1]
    clips = clips + _per_clip(torch.rand(count, generator=generator)) * stills
    noise = torch.randn(clips.shape, generator=generator)
    return clips + _per_clip(0.3 * torch.rand(count, generator=generator)) * noise


def _heads(count: int, generator: torch.Generator) -> Tensor:
    """Toss a coin for each clip: bool, (B, 1, 1, 1)."""
    return _per_clip(torch.rand(count, generator=generator) < 0.5)


def _per_clip(values: Tensor) -> Tensor:
    """Shape (B,) to (B, 1, 1, 1)."""
    return values[:, None, None, None]
