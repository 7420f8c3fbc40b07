"""What the extraction job asks of a backbone, and what a backbone says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a backbone wants and gives, and whose weights it holds; stored with its features."""

    name: str
    """Name of its group in the store, ``[a-z0-9._-]+``."""
    source: str
    """Family and origin of the weights (``motion3d``, ``videomae:MCG-NJU/videomae-base``); never an absolute path."""
    num_frames: int
    """Frames a clip, T, spread evenly over the clip's span, first and last sample time included."""
    frame_size: int | None
    """Pixels of its square input, or None when it takes the view's nominal size."""
    feature_dim: int
    """Length of its output, D."""
    layer: str
    """Where the features are taken, for example ``mean of the encoder's tokens after its norm``."""
    preprocessing: Mapping[str, Any]
    """Colour, normalisation statistics and the like; JSON values."""
    weights_digest: str
    """sha256, hexadecimal, over the dtypes, shapes and bytes of all tensors that features depend on, and which is which
    (by name, or by layer and order where releases of a library change the names). Settings that no tensor holds belong
    to ``preprocessing``."""
    licence: str
    """SPDX identifier of the weights' licence, or ``unknown``."""
    precision: str = "float32"
    """Number format of the forward pass."""
    library_versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that compute the features."""


class Backbone(Protocol):
    """A frozen network, ready to run; loaded once per worker."""

    @property
    def spec(self) -> BackboneSpec:
        """What it wants, gives and is."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where it wants its clips."""
        ...

    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips into vectors.

        Args:
            clips: uint8 RGB frames, shape (B, T, H, W, 3), H = W, on ``device``.

        Returns:
            float32, shape (B, D), on ``device``.
        """
        ...
