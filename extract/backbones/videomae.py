"""Any VideoMAE of the transformers library, pre-trained or fine-tuned, as a frozen backbone.

Source: VideoMAE (NeurIPS 2022, arXiv 2203.12602); which layer, from SCALE's published code (ICCV 2023).
"""

import importlib.metadata
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.videomae_weights import VideoMaeWeights, read_videomae
from scale_video.extract.backbones.weights_digest import weights_digest

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
"""Of RGB in 0 … 1, as every published VideoMAE was trained."""
IMAGENET_STD: Final = (0.229, 0.224, 0.225)

_PAPER_SIZES: Final = (224, 256)
"""Nominal sizes of the views ``random`` and ``grid``."""


def load_videomae(source: str, *, name: str | None = None, placement: Placement = CPU) -> "VideoMae":
    """Load a VideoMAE from a local folder or the hub (its cache first).

    Pre-trained models give the mean of the tokens after the encoder's norm; fine-tuned ones (``use_mean_pooling``) the
    ``fc_norm`` of the tokens' mean, which is what their classifier sees.

    Args:
        source: A folder with ``config.json`` and weights, or a name on the hub (``MCG-NJU/videomae-base``).
        name: Name of the backbone in the store; default: the last path segment of ``source``, lower case.
        placement: Where it computes, and in which number format; its weights stay float32.

    Raises:
        ValueError: transformers is not installed, the weights cannot be had, or they are not a VideoMAE's.
    """
    return VideoMae(read_videomae(source), name=name, placement=placement)


class VideoMae:
    """A VideoMAE encoder and the mean of its tokens.

    A model trained at 224 pixels takes the views' nominal sizes (224, 256) as the paper does: its table of positions
    is interpolated in space, time by time. A model of another size gets frames of its own size.
    """

    def __init__(self, weights: VideoMaeWeights, *, name: str | None = None, placement: Placement = CPU) -> None:
        digest = weights_digest(weights.tensors())
        self._placement = placement
        self.device = placement.device
        self._encoder = weights.encoder.to(placement.device)
        self._mean_norm = None if weights.mean_norm is None else weights.mean_norm.to(placement.device)
        self._patch_size = weights.patch_size
        self._mean = torch.tensor(IMAGENET_MEAN, device=placement.device).view(3, 1, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=placement.device).view(3, 1, 1, 1)
        takes_any_size = weights.image_size == 224 and all(size % weights.patch_size == 0 for size in _PAPER_SIZES)
        layer = "mean of the encoder's tokens"
        if weights.encoder.layernorm is not None:
            layer = f"{layer} after its norm"
        if weights.mean_norm is not None:
            layer = f"fc_norm of the {layer}"
        self.spec = BackboneSpec(
            name=name or weights.source.split("/")[-1].lower(),
            source=f"videomae:{weights.source}",
            num_frames=weights.num_frames,
            frame_size=None if takes_any_size else weights.image_size,
            feature_dim=weights.feature_dim,
            layer=layer,
            preprocessing={
                "colour": "RGB",
                "scale": 1 / 255,
                "mean": list(IMAGENET_MEAN),
                "std": list(IMAGENET_STD),
                "positions": "bicubic interpolation in space",
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
        self._check(clips)
        with self._placement.autocast():
            return self._mean_token(clips).float()

    def _mean_token(self, clips: Tensor) -> Tensor:
        config = self._encoder.config
        pixels = clips.permute(0, 4, 1, 2, 3).float() / 255  # (B, 3, T, H, W)
        patches = self._encoder.embeddings.patch_embeddings.projection((pixels - self._mean) / self._std)
        positions = resize_positions(
            self._encoder.embeddings.position_embeddings,
            num_times=config.num_frames // config.tubelet_size,
            side=patches.shape[-1],
        )
        tokens = patches.flatten(2).transpose(1, 2) + positions  # (B, times * side * side, D)
        tokens = self._encoder.encoder(tokens).last_hidden_state
        if self._encoder.layernorm is not None:
            tokens = self._encoder.layernorm(tokens)
        mean: Tensor = tokens.mean(1)  # (B, D)
        return mean if self._mean_norm is None else self._mean_norm(mean)

    def _check(self, clips: Tensor) -> None:
        num_frames, patch = self.spec.num_frames, self._patch_size
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[1] != num_frames or clips.shape[4] != 3:
            raise ValueError(
                f"{self.spec.name} takes uint8 clips of shape (B, {num_frames}, H, W, 3), "
                f"got {clips.dtype} {tuple(clips.shape)}"
            )
        height, width = clips.shape[2:4]
        if height != width or height % patch:
            raise ValueError(
                f"{self.spec.name} takes square frames of a multiple of {patch} pixels, got {height} x {width}; "
                "choose such a nominal size for the view"
            )


def resize_positions(table: Tensor, *, num_times: int, side: int) -> Tensor:
    """Interpolate a table of positions to another number of patches, bicubically in space, each time by itself.

    Args:
        table: Shape (1, num_times * S * S, D), times outermost.
        num_times: Tubelets a clip.
        side: Patches along the side of the new frame.

    Returns:
        Shape (1, num_times * side * side, D); the table itself where the side is S.
    """
    native_side = round((table.shape[1] / num_times) ** 0.5)
    if side == native_side:
        return table
    maps = table.reshape(num_times, native_side, native_side, -1).permute(0, 3, 1, 2)  # (times, D, S, S)
    maps = interpolate(maps, size=(side, side), mode="bicubic", align_corners=False)
    return maps.permute(0, 2, 3, 1).reshape(1, num_times * side * side, -1)
