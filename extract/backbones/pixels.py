"""From the uint8 frames of the decoder to the normalised floats that a network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from scale_video.extract.backbones.request import NORMALISATIONS


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of red, green and blue, in 0 … 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str = "own"
    """One of ``NORMALISATIONS``: whose choice it is."""

    def __call__(self, clips: Tensor) -> Tensor:
        """Normalise clips.

        Args:
            clips: uint8 RGB, shape (B, T, H, W, 3).

        Returns:
            float32, shape (B, 3, T, H, W), on the same device.
        """
        mean = torch.tensor(self.mean, device=clips.device).view(3, 1, 1, 1)
        std = torch.tensor(self.std, device=clips.device).view(3, 1, 1, 1)
        return (clips.permute(0, 4, 1, 2, 3).float() / 255 - mean) / std

    def describe(self) -> Mapping[str, Any]:
        """What a store records of it."""
        return {
            "colour": "RGB",
            "scale": 1 / 255,
            "mean": list(self.mean),
            "std": list(self.std),
            "normalisation": self.name,
        }

    def or_the_papers(self, asked: str) -> "Normalisation":
        """This one for ``own``, the one of SCALE's published code for ``paper``.

        Raises:
            ValueError: neither is asked for.
        """
        if asked not in NORMALISATIONS:
            raise ValueError(f"no normalisation {asked!r}; there are: {', '.join(NORMALISATIONS)}")
        return self if asked == "own" else replace(PAPER, name=asked)


IMAGENET: Final = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PAPER: Final = Normalisation((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
"""SCALE's published code feeds this to every backbone; PySlowFast's models were trained with it."""


VIEW_SIZES: Final = (224, 256)
"""Nominal sizes of the views ``random`` and ``grid``, in pixels."""


def own_frame_size(native: int, *, patch: int) -> int | None:
    """What ``BackboneSpec.frame_size`` is for a network whose table of positions is interpolated.

    Args:
        native: pixels of the square frames that it was trained on.
        patch: pixels of a patch.

    Returns:
        None, for the views' nominal sizes, where it was trained at the first of them and patches divide both, as in
        the paper; else ``native``.
    """
    return None if native == VIEW_SIZES[0] and all(size % patch == 0 for size in VIEW_SIZES) else native


def check_clips(
    clips: Tensor, *, name: str, num_frames: int, multiple_of: int | None = None, size: int | None = None
) -> None:
    """Check what a backbone is given.

    Args:
        clips: to be uint8, shape (B, num_frames, H, W, 3), H = W.
        name: the backbone's, for the message.
        num_frames: T.
        multiple_of: pixels of a patch, of which H must be a multiple.
        size: H where only one fits.

    Raises:
        ValueError: what does not fit.
    """
    if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[1] != num_frames or clips.shape[4] != 3:
        raise ValueError(
            f"{name} takes uint8 clips of shape (B, {num_frames}, H, W, 3), got {clips.dtype} {tuple(clips.shape)}"
        )
    height, width = clips.shape[2:4]
    fits = height == width and (size is None or height == size) and (multiple_of is None or height % multiple_of == 0)
    if not fits:
        wanted = f"{size} pixels" if size is not None else f"a multiple of {multiple_of or 1} pixels"
        raise ValueError(
            f"{name} takes square frames of {wanted}, got {height} x {width}; choose such a nominal size for the view"
        )
