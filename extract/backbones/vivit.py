"""ViViT: a ViT over tubelets, all of which see each other.

Source: ViViT (ICCV 2021, arXiv 2103.15691), model 1. The features are the CLS token after the norm, which is what its
classifier sees.
"""

from typing import Any

import torch
from torch import Tensor, nn

from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import own_frame_size
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.preprocessor_config import HALF
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import model_class, open_folder, square_side
from scale_video.extract.backbones.videomae import resize_positions


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load a ViViT, pre-trained or fine-tuned, from a folder or the hub.

    A model trained at 224 pixels takes the views' nominal sizes. Its pixels go from -1 to 1, as in its authors' code;
    ``preprocessor_config.json`` is not asked, since the default of the library's processor then normalises a second
    time, to -3 … 1.

    Raises:
        ValueError: the weights cannot be had, or are not a ViViT's.
    """
    folder = open_folder(request, ["vivit"], needs_pixels=False)
    # A pooler that the library adds to it is not used here.
    cls = model_class("VivitModel", family="vivit", since="4.50")
    model = folder.load(cls, may_lack=lambda key: key.startswith("pooler.")).model
    model.pooler = None
    config = model.config
    size = square_side(config.image_size, what="image_size", source=request.source)
    depth, *sides = config.tubelet_size
    patch = square_side(sides, what="tubelet_size", source=request.source)
    normalisation = HALF.or_the_papers(request.normalisation)
    spec = folder.spec(
        placement,
        normalisation,
        model,
        num_frames=config.num_frames,
        frame_size=own_frame_size(size, patch=patch),
        feature_dim=config.hidden_size,
        layer="CLS token after the encoder's norm",
        remarks={"positions": "bicubic interpolation in space"},
    )
    model.embeddings = AnySizeEmbeddings(model.embeddings, num_times=config.num_frames // depth)
    network = VivitCls(model)
    return FrozenNetwork(network, spec, normalisation=normalisation, placement=placement, multiple_of=patch)


class AnySizeEmbeddings(nn.Module):
    """The library's embeddings with positions for frames of any multiple of the patch.

    The library's own interpolation takes all times and places for one square, and fails.
    """

    def __init__(self, embeddings: Any, *, num_times: int) -> None:
        super().__init__()
        self.projection = embeddings.patch_embeddings.projection
        self.cls_token = embeddings.cls_token
        self.position_embeddings = embeddings.position_embeddings
        self.num_times = num_times

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """From (B, T, 3, H, W) to tokens, CLS first, (B, 1 + tokens, D)."""
        patches = self.projection(pixel_values.transpose(1, 2))  # (B, D, times, side, side)
        table = self.position_embeddings
        places = resize_positions(table[:, 1:], num_times=self.num_times, side=patches.shape[-1])
        cls = (self.cls_token + table[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([cls, patches.flatten(2).transpose(1, 2) + places], dim=1)


class VivitCls(nn.Module):
    """The library's model up to the norm."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, D)."""
        tokens: Tensor = self.model(pixel_values=pixels.transpose(1, 2)).last_hidden_state
        return tokens[:, 0]
