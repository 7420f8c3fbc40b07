"""ρBYOL Slow-R50 16 x 4: SCALE's convolutional backbone, from the file that PySlowFast publishes.

Source: A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning (CVPR 2021, arXiv 2104.14558).
Which of its two networks and which layer, from SCALE's published code: the momentum encoder (``backbone_hist``), the
mean over time and space of its last stage, and nothing of the projection.
"""

from typing import Final

import torch

from scale_video.extract.backbones.checkpoint_file import (
    find_weights,
    load_strictly,
    read_checkpoint,
    state_dict_of,
    take_prefix,
)
from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import PAPER, Normalisation
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.slow_r50 import SlowResNet
from scale_video.extract.backbones.weights_digest import weights_digest

FILE_NAME: Final = "BYOL_SlowR50_16x4_T4_epoch_00200.pyth"
DOWNLOAD: Final = f"https://dl.fbaipublicfiles.com/pyslowfast/videomoco_models/{FILE_NAME}"
NUM_FRAMES: Final = 16

_PREFIX: Final = "backbone_hist."


def load(request: BackboneRequest, placement: Placement) -> "RhoByol":
    """Load the network from PySlowFast's checkpoint, or from the same tensors in a safetensors file.

    Its width and depth follow from the tensors, so that a small network can stand in for the published one.

    Raises:
        ValueError: no such file, or it is damaged, or it is not this network's; the message says what to get.
    """
    path = find_weights(request.source, file_name=FILE_NAME, download=DOWNLOAD)
    tensors = state_dict_of(read_checkpoint(path), holders=("model_state",), source=path.name)
    tensors, others = take_prefix(tensors, prefix=_PREFIX, source=path.name)
    with torch.device("meta"):
        network = SlowResNet.fitting(tensors)
    load_strictly(network, tensors, source=path.name, prefix=_PREFIX, unused=others)
    return RhoByol(
        network,
        name=request.name,
        source=f"{request.family}:{path.name}",
        placement=placement,
        normalisation=PAPER.or_the_papers(request.normalisation),
    )


class RhoByol(FrozenNetwork):
    """The network with its weights, as a ``Backbone``; it takes frames of any size."""

    def __init__(
        self, network: SlowResNet, *, name: str, source: str, placement: Placement, normalisation: Normalisation
    ) -> None:
        digest = weights_digest(network.state_dict())
        spec = BackboneSpec(
            name=name,
            source=source,
            num_frames=NUM_FRAMES,
            frame_size=None,
            feature_dim=network.feature_dim,
            layer="mean over time and space of the last stage of the momentum encoder",
            preprocessing=normalisation.describe(),
            weights_digest=digest,
            licence="Apache-2.0",
            precision=placement.precision,
            library_versions={"torch": str(torch.__version__)},
        )
        super().__init__(network, spec, normalisation=normalisation, placement=placement)
