"""Any function from clips to vectors, as a ``Backbone``: what a script or another package brings."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from scale_video.extract.backbones.pixels import check_clips
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.weights_digest import weights_digest

_TOLERANCE: Final = 0.03
"""Relative; half precision in batches of other sizes differs by less."""


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
        preprocessing: Mapping[str, Any] | None = None,
        library_versions: Mapping[str, str] | None = None,
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
            preprocessing: what the function does to pixels, as JSON values; features of other values are another
                backbone's.
            library_versions: of what it computes with, beside torch's.
        """
        self._function = function
        self._was_tried = False
        self._placement = placement
        self.device = placement.device
        self.spec = BackboneSpec(
            name=request.name,
            source=":".join((request.family, *([Path(request.source).name] if request.source else []))),
            num_frames=num_frames,
            frame_size=frame_size,
            feature_dim=feature_dim,
            layer=layer,
            preprocessing={"normalisation": request.normalisation, **(preprocessing or {})},
            weights_digest=_text_digest(weights) if isinstance(weights, str) else weights_digest(weights),
            licence=licence,
            precision=placement.precision,
            library_versions={"torch": str(torch.__version__), **(library_versions or {})},
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
        if not self._was_tried and len(clips) > 1:
            self._try_alone(clips, features)
        return features.float()

    def _try_alone(self, clips: Tensor, features: Tensor) -> None:
        """Embed a clip alone as well, once.

        Raises:
            ValueError: its features are others than in a batch.
        """
        self._was_tried = True
        with self._placement.autocast():
            alone, together = self._function(clips[:1]).float(), features[:1].float()
        if not torch.allclose(alone, together, rtol=_TOLERANCE, atol=_TOLERANCE * float(together.abs().max())):
            raise ValueError(
                f"backbone {self.spec.name!r} gives a clip other features alone than in a batch; "
                "call eval() on its network, or let it look at each clip by itself"
            )


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
