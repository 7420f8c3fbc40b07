"""A frozen network from normalised frames to vectors, as a ``Backbone``."""

import torch
from torch import Tensor, nn

from scale_video.extract.backbones.pixels import Normalisation, check_clips
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec


class FrozenNetwork:
    """Checks clips, normalises their pixels and runs a network on them in the precision asked for."""

    def __init__(
        self,
        network: nn.Module,
        spec: BackboneSpec,
        *,
        normalisation: Normalisation,
        placement: Placement,
        multiple_of: int | None = None,
        any_size: bool = False,
    ) -> None:
        """Move the network to its place.

        Args:
            network: from float pixels, (B, 3, T, H, W), to features, (B, D).
            spec: what it says of itself.
            normalisation: of its pixels.
            placement: where it computes; its weights stay float32.
            multiple_of: pixels of which H must be a multiple, where the frames' size is the view's.
            any_size: whether any multiple fits, also where ``spec.frame_size`` names the one that is best.
        """
        self._network = network.float().eval().requires_grad_(False).to(placement.device)
        self._normalise = normalisation
        self._placement = placement
        self._multiple_of = multiple_of
        self._size = None if any_size else spec.frame_size
        self.device = placement.device
        self.spec = spec

    @torch.inference_mode()
    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips into vectors.

        Args:
            clips: uint8 RGB frames, shape (B, T, H, W, 3), H = W, on ``device``.

        Returns:
            float32, shape (B, D), on ``device``.

        Raises:
            ValueError: clips of another dtype, shape or size.
        """
        check_clips(
            clips,
            name=self.spec.name,
            num_frames=self.spec.num_frames,
            multiple_of=self._multiple_of,
            size=self._size,
        )
        with self._placement.autocast():
            features: Tensor = self._network(self._normalise(clips))
        return features.float()
