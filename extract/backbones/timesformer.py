"""TimeSformer: a ViT whose layers look through time first, then through space.

Source: Is Space-Time Attention All You Need for Video Understanding? (ICML 2021, arXiv 2102.05095). The features are
the CLS token after the norm, which is what its classifier sees, and what SCALE takes of SVT, which is one.
"""

from typing import Any

from torch import Tensor, nn

from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import own_frame_size
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.preprocessor_config import own_normalisation
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import model_class, open_folder, square_side


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load a TimeSformer, pre-trained or fine-tuned, from a folder or the hub.

    A model trained at 224 pixels takes the views' nominal sizes; its positions go to the nearest patch, as its
    published code has it.

    Raises:
        ValueError: the weights cannot be had, or are not a TimeSformer's.
    """
    folder = open_folder(request, ["timesformer"])
    model = folder.load(model_class("TimesformerModel", family="timesformer", since="4.50")).model
    config = model.config
    size = square_side(config.image_size, what="image_size", source=request.source)
    patch = square_side(config.patch_size, what="patch_size", source=request.source)
    normalisation = own_normalisation(folder)
    network = TimesformerCls(model, patch_size=patch)
    spec = folder.spec(
        placement,
        normalisation,
        model,
        num_frames=config.num_frames,
        frame_size=own_frame_size(size, patch=patch),
        feature_dim=config.hidden_size,
        layer="CLS token after the encoder's norm",
        remarks={"positions": "nearest patch in space"},
    )
    return FrozenNetwork(network, spec, normalisation=normalisation, placement=placement, multiple_of=patch)


class TimesformerCls(nn.Module):
    """The library's model, for frames of any multiple of the patch."""

    def __init__(self, model: Any, *, patch_size: int) -> None:
        super().__init__()
        self.model = model
        # The library's layers take the width of a frame, in patches, from the configuration; with another width they
        # fail. All they do with it is split the axis of patches in two and join it again: one column does for all.
        model.config.image_size = patch_size

    def forward(self, pixels: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, D)."""
        tokens: Tensor = self.model(pixel_values=pixels.transpose(1, 2)).last_hidden_state  # (B, 1 + tokens, D)
        return tokens[:, 0]
