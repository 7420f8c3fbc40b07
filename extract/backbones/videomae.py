"""Any VideoMAE, of its authors or of the transformers library, pre-trained or fine-tuned, as a frozen backbone.

Source: VideoMAE (NeurIPS 2022, arXiv 2203.12602); which layer, from SCALE's published code (ICCV 2023). Positions of
other frame sizes are resized as VideoMAE's code for fine-tuning does (bicubic, each time by itself); SCALE's published
code resizes them linearly.
"""

import importlib.metadata
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from scale_video.extract.backbones.forward_settings import settings_digest
from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import IMAGENET, Normalisation, own_frame_size
from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.videomae_weights import VideoMaeWeights, read_videomae
from scale_video.extract.backbones.weights_digest import weights_digest


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


class VideoMae(FrozenNetwork):
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
        # As MCG-NJU's code for fine-tuning at other sizes has it; SCALE's published code interpolates linearly.
        interpolation = "bilinear" if normalisation.name == "paper" else "bicubic"
        layer = "mean of the encoder's tokens"
        if weights.encoder.layernorm is not None:
            layer = f"{layer} after its norm"
        if weights.mean_norm is not None:
            layer = f"fc_norm of the {layer}"
        mean_norm: dict[str, Any] = {} if weights.mean_norm is None else {"fc_norm_eps": weights.mean_norm.eps}
        spec = BackboneSpec(
            name=name or weights.name,
            source=f"videomae:{weights.source}",
            num_frames=weights.num_frames,
            frame_size=own_frame_size(weights.image_size, patch=weights.patch_size),
            feature_dim=weights.feature_dim,
            layer=layer,
            preprocessing={
                **normalisation.describe(),
                "positions": f"{interpolation} interpolation in space",
                "configuration_digest": settings_digest(weights.encoder.config, **mean_norm),
            },
            weights_digest=weights_digest(weights.tensors()),
            licence=weights.licence,
            precision=placement.precision,
            library_versions={library: importlib.metadata.version(library) for library in ("torch", "transformers")},
        )
        network = MeanToken(weights.encoder, weights.mean_norm, interpolation=interpolation)
        super().__init__(
            network,
            spec,
            normalisation=normalisation,
            placement=placement,
            multiple_of=weights.patch_size,
            any_size=True,
        )


class MeanToken(nn.Module):
    """The encoder, for frames of any multiple of the patch, and the mean of what it gives."""

    positions: Tensor

    def __init__(self, encoder: Any, mean_norm: nn.Module | None, *, interpolation: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean_norm = mean_norm
        self._interpolation = interpolation
        # No parameter and no buffer of the library's module, so that it would not follow to another device.
        self.register_buffer("positions", encoder.embeddings.position_embeddings, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn normalised clips, float32 (B, 3, T, H, W), into features (B, D)."""
        config = self.encoder.config
        patches = self.encoder.embeddings.patch_embeddings.projection(pixels)
        positions = resize_positions(
            self.positions,
            num_times=config.num_frames // config.tubelet_size,
            side=patches.shape[-1],
            mode=self._interpolation,
        )
        tokens = patches.flatten(2).transpose(1, 2) + positions  # (B, times * side * side, D)
        tokens = self.encoder.encoder(tokens).last_hidden_state
        if self.encoder.layernorm is not None:
            tokens = self.encoder.layernorm(tokens)
        mean: Tensor = tokens.mean(1)  # (B, D)
        return mean if self.mean_norm is None else self.mean_norm(mean)


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
