"""VideoPrism: a ViT over frames, and a smaller one through time over its tokens.

Source: VideoPrism (ICML 2024, arXiv 2402.13217). The features of a plain encoder are the mean of its tokens; of one
that was trained with text (``lvt``), the embedding of the video that texts are compared with.
"""

from typing import Any

from torch import Tensor, nn

from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.preprocessor_config import own_normalisation
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import model_class, open_folder, square_side
from scale_video.extract.backbones.vjepa2 import MeanToken


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load a VideoPrism from a folder or the hub.

    It gets frames of its own size (288 pixels), whose patches of 18 do not divide the views'.

    Raises:
        ValueError: the weights cannot be had, or are not a VideoPrism's; or transformers is too old for it.
    """
    # Before the folder: an older release cannot read it.
    cls = model_class("VideoPrismVisionModel", family="videoprism", since="5.13")
    folder = open_folder(request, ["videoprism_vision_model", "videoprism"])
    network: nn.Module
    if folder.model_type == "videoprism":
        cls = model_class("VideoPrismClipModel", family="videoprism", since="5.13")
        # Their file holds the text's half, too; the library loads the video's alone under other names.
        model = folder.load(cls, may_lack=lambda key: key.startswith("text_model.")).model.video_model
        network, layer = PooledVideo(model), "embedding of the video, as texts are compared with it"
    else:
        model = folder.load(cls).model
        network, layer = MeanToken(model), "mean of the encoder's tokens after its norm"
    config = model.config
    normalisation = own_normalisation(folder)
    spec = folder.spec(
        placement,
        normalisation,
        network,
        num_frames=config.num_frames,
        frame_size=square_side(config.image_size, what="image_size", source=request.source),
        feature_dim=config.hidden_size,
        layer=layer,
    )
    return FrozenNetwork(network, spec, normalisation=normalisation, placement=placement)


class PooledVideo(nn.Module):
    """The video's half of a model for videos and text, with its pooling head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, D), of length 1 where the model was trained so."""
        pooled: Tensor = self.model(pixel_values_videos=pixels.transpose(1, 2)).pooler_output
        return pooled.flatten(1)
