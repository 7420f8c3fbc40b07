"""Any function from clips to vectors, as a ``Backbone``: what a script or another package brings."""

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from scale_video.extract.backbones.pixels import check_clips
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.weights_digest import weights_digest


class CallableBackbone:
    """A function with its identity; its results are checked, so that a mistake is told before a day has passed."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        request: BackboneRequest,
        placement: Placement,
        num_frames: int,
        feature_dim: int,
        weights: Mapping[str, Tensor] | str,
        frame_size: int | None = None,
        layer: str = "",
        licence: str = "unknown",
    ) -> None:
        """Describe it.

        Args:
            function: from uint8 RGB clips, shape (B, T, S, S, 3), on the placement's device, to features, (B, D). It
                is called in inference mode, under the placement's autocast.
            request: as the loader got it.
            placement: likewise.
            num_frames: T.
            feature_dim: D.
            weights: the tensors that features depend on, such as a ``state_dict()``; or, of a function without any, a
                text that changes when what it computes does. Features of another digest are another backbone's.
            frame_size: S; None: the view's nominal size.
            layer: where the features are taken.
            licence: of the weights.
        """
        self._function = function
        self._placement = placement
        self.device = placement.device
        self.spec = BackboneSpec(
            name=request.name,
            source=request.family,
            num_frames=num_frames,
            frame_size=frame_size,
            feature_dim=feature_dim,
            layer=layer,
            preprocessing={},
            weights_digest=_text_digest(weights) if isinstance(weights, str) else weights_digest(weights),
            licence=licence,
            precision=placement.precision,
            library_versions={"torch": str(torch.__version__)},
        )

    @torch.inference_mode()
    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips into vectors.

        Args:
            clips: uint8 RGB frames, shape (B, T, H, W, 3), H = W, on ``device``.

        Returns:
            float32, shape (B, D), on ``device``.

        Raises:
            ValueError: clips of another dtype or shape, or the function gives something else than (B, D).
        """
        spec = self.spec
        check_clips(clips, name=spec.name, num_frames=spec.num_frames, size=spec.frame_size)
        with self._placement.autocast():
            features = self._function(clips)
        expected = len(clips), spec.feature_dim
        if not isinstance(features, Tensor) or tuple(features.shape) != expected:
            given = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the function of backbone {spec.name!r} gave {given} for {len(clips)} clips, not {expected}"
            )
        return features.float()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
