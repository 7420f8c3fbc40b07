"""Any VideoMAE, of its authors or of the transformers library, pre-trained or fine-tuned, as a frozen backbone.

Source: VideoMAE (NeurIPS 2022, arXiv 2203.12602); which layer, from SCALE's published code (ICCV 2023). Positions of
other frame sizes are resized as VideoMAE's code for fine-tuning does (bicubic, each time by itself); SCALE's published
code resizes them linearly.
"""

import importlib.metadata
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scale_video.extract.backbones.forward_settings import settings_digest
from scale_video.extract.backbones.pixels import IMAGENET, Normalisation, check_clips
from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.videomae_weights import VideoMaeWeights, read_videomae
from scale_video.extract.backbones.weights_digest import weights_digest

_PAPER_SIZES: Final = (224, 256)
"""Nominal sizes of the views ``random`` and ``grid``."""


def load(request: BackboneRequest, placement: Placement) -> "VideoMae":
    """Load the VideoMAE that is asked for; see ``load_videomae``."""
    assert request.source is not None
    return load_videomae(request.source, name=request.name, placement=placement, normalisation=request.normalisation)


def load_videomae(
    source: str, *, name: str | None = None, placement: Placement = CPU, normalisation: str = "own"
) -> "VideoMae":
    """Load a VideoMAE from a checkpoint of its authors, a local folder or the hub (its cache first).

    Pre-trained models give the mean of the tokens after the encoder's norm; fine-tuned ones (``use_mean_pooling``) the
    ``fc_norm`` of the tokens' mean, which is what their classifier sees.

    Args:
        source: A checkpoint (``.pth``; a path, or a name in the folder of weights), a folder with ``config.json`` and
            weights, or a name on the hub (``MCG-NJU/videomae-base``).
        name: Name of the backbone in the store; default: the last path segment of ``source``, lower case, without the
            suffix of a file.
        placement: Where it computes, and in which number format; its weights stay float32.
        normalisation: see ``BackboneRequest``.

    Raises:
        ValueError: transformers is not installed, the weights cannot be had, or they are not a VideoMAE's.
    """
    own = IMAGENET.or_the_papers(normalisation)
    return VideoMae(read_videomae(source), name=name, placement=placement, normalisation=own)


class VideoMae:
    """A VideoMAE encoder and the mean of its tokens.

    A model trained at 224 pixels takes the views' nominal sizes (224, 256) as the paper does: its table of positions
    is interpolated in space, time by time. A model of another size gets frames of its own size.
    """

    def __init__(
        self,
        weights: VideoMaeWeights,
        *,
        name: str | None = None,
        placement: Placement = CPU,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        digest = weights_digest(weights.tensors())
        self._placement = placement
        self.device = placement.device
        self._encoder = weights.encoder.to(placement.device)
        # No parameter and no buffer of the library's module, so that it would stay behind.
        self._positions = weights.encoder.embeddings.position_embeddings.to(placement.device)
        self._mean_norm = None if weights.mean_norm is None else weights.mean_norm.to(placement.device)
        self._patch_size = weights.patch_size
        self._normalise = normalisation
        # As MCG-NJU's code for fine-tuning at other sizes has it; SCALE's published code interpolates linearly.
        self._interpolation = "bilinear" if normalisation.name == "paper" else "bicubic"
        takes_any_size = weights.image_size == 224 and all(size % weights.patch_size == 0 for size in _PAPER_SIZES)
        layer = "mean of the encoder's tokens"
        if weights.encoder.layernorm is not None:
            layer = f"{layer} after its norm"
        if weights.mean_norm is not None:
            layer = f"fc_norm of the {layer}"
        mean_norm: dict[str, Any] = {} if weights.mean_norm is None else {"fc_norm_eps": weights.mean_norm.eps}
        self.spec = BackboneSpec(
            name=name or weights.name,
            source=f"videomae:{weights.source}",
            num_frames=weights.num_frames,
            frame_size=None if takes_any_size else weights.image_size,
            feature_dim=weights.feature_dim,
            layer=layer,
            preprocessing={
                **normalisation.describe(),
                "positions": f"{self._interpolation} interpolation in space",
                "configuration_digest": settings_digest(weights.encoder.config, **mean_norm),
            },
            weights_digest=digest,
            licence=weights.licence,
            precision=placement.precision,
            library_versions={library: importlib.metadata.version(library) for library in ("torch", "transformers")},
        )

    @torch.inference_mode()
    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips into vectors.

        Args:
            clips: uint8 RGB frames, shape (B, T, H, W, 3), H = W, a multiple of the model's patch size, on ``device``.

        Returns:
            float32, shape (B, D), on ``device``.

        Raises:
            ValueError: clips of another dtype or shape.
        """
        check_clips(clips, name=self.spec.name, num_frames=self.spec.num_frames, multiple_of=self._patch_size)
        with self._placement.autocast():
            return self._mean_token(clips).float()

    def _mean_token(self, clips: Tensor) -> Tensor:
        config = self._encoder.config
        pixels = self._normalise(clips)  # (B, 3, T, H, W)
        patches = self._encoder.embeddings.patch_embeddings.projection(pixels)
        positions = resize_positions(
            self._positions,
            num_times=config.num_frames // config.tubelet_size,
            side=patches.shape[-1],
            mode=self._interpolation,
        )
        tokens = patches.flatten(2).transpose(1, 2) + positions  # (B, times * side * side, D)
        tokens = self._encoder.encoder(tokens).last_hidden_state
        if self._encoder.layernorm is not None:
            tokens = self._encoder.layernorm(tokens)
        mean: Tensor = tokens.mean(1)  # (B, D)
        return mean if self._mean_norm is None else self._mean_norm(mean)


def resize_positions(table: Tensor, *, num_times: int, side: int, mode: str = "bicubic") -> Tensor:
    """Interpolate a table of positions to another number of patches in space, each time by itself.

    Args:
        table: Shape (1, num_times * S * S, D), times outermost.
        num_times: Tubelets a clip.
        side: Patches along the side of the new frame.
        mode: ``bicubic`` or ``bilinear``.

    Returns:
        Shape (1, num_times * side * side, D); the table itself where the side is S.
    """
    native_side = round((table.shape[1] / num_times) ** 0.5)
    if side == native_side:
        return table
    maps = table.reshape(num_times, native_side, native_side, -1).permute(0, 3, 1, 2)  # (times, D, S, S)
    maps = interpolate(maps, size=(side, side), mode=mode, align_corners=False)
    return maps.permute(0, 2, 3, 1).reshape(1, num_times * side * side, -1)
