"""V-JEPA 2: a ViT over tubelets with rotary positions, trained to predict features of what is masked.

Source: V-JEPA 2 (2025, arXiv 2506.09985). The features are the mean of the encoder's tokens; the predictor is left out.
"""

from typing import Any, Final

from torch import Tensor, nn

from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.preprocessor_config import own_normalisation
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import model_class, open_folder

MAX_FRAMES: Final = 16
"""Frames a clip. Rotary positions take any even number. Sixteen are what most of the training saw; sixty-four, as in
the last part of it, are four times the tokens for a clip of two seconds."""


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load a V-JEPA 2, pre-trained or fine-tuned, from a folder or the hub.

    It gets frames of its own size (``crop_size``): the library counts the places of its tokens by that.

    Raises:
        ValueError: the weights cannot be had, or are not a V-JEPA 2's; or transformers is too old for it.
    """
    folder = open_folder(request, ["vjepa2"])
    cls = model_class("VJEPA2Model", family="vjepa2", since="4.53")
    model = folder.load(cls, may_lack=lambda key: key.startswith("predictor.")).model
    config = model.config
    normalisation = own_normalisation(folder)
    spec = folder.spec(
        placement,
        normalisation,
        model.encoder,
        num_frames=min(MAX_FRAMES, config.frames_per_clip),
        frame_size=config.crop_size,
        feature_dim=config.hidden_size,
        layer="mean of the encoder's tokens after its norm",
        remarks={"positions": "rotary"},
    )
    return FrozenNetwork(
        MeanToken(model.encoder), spec, normalisation=normalisation, placement=placement, multiple_of=None
    )


class MeanToken(nn.Module):
    """An encoder of the library and the mean of its tokens."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, D)."""
        tokens: Tensor = self.encoder(pixel_values_videos=pixels.transpose(1, 2)).last_hidden_state  # (B, tokens, D)
        return tokens.mean(1)
