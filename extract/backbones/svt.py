"""SVT, the self-supervised video transformer: a TimeSformer of ViT-B's size, from the file that its authors publish.

Source: Self-supervised Video Transformer (CVPR 2022, arXiv 2112.01514), https://github.com/kahnchana/svt.

Two families share the file:

- ``svt`` computes what its authors' code for k-NN and linear probes computes: 8 frames; where the frames are of another
  size than in training, positions are those of the nearest place; norms add 1e-6 to a variance.
- ``svt-scale`` computes what the published code of SCALE (ICCV 2023) stored as SVT's features: 16 frames; the table of
  positions, places and times together, is interpolated trilinearly to the clip at hand; norms add 1e-5.

The statistics of colour are those of the authors' configuration (``DATA.MEAN``, ``DATA.STD``), which their probes use;
the augmentations of their pre-training normalised by ImageNet's instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
from scale_video.extract.backbones.pixels import PAPER, Normalisation, own_frame_size
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.timesformer_divided import DividedTimeSformer, Resizing
from scale_video.extract.backbones.weights_digest import weights_digest

FILE_NAME: Final = "kinetics400_vitb_ssl.pth"
DOWNLOAD: Final = f"https://github.com/kahnchana/svt/releases/download/v1.0/{FILE_NAME}"

_PREFIX: Final = "backbone."
_HOLDERS: Final = ("teacher",)
"""Of a checkpoint that the authors' training writes; the published file holds the tensors themselves."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How one family computes features from the weights."""

    norm_eps: float
    """What norms add to a variance."""
    resizing: Resizing
    """How positions follow from their tables for other frames and clips."""
    positions: str
    """The same, in words for a store."""
    num_frames: int | None
    """Frames a clip; None: as many as the table of times is for, 8 in the published file."""


VARIANTS: Final[Mapping[str, Variant]] = {
    "svt": Variant(1e-6, "nearest", "nearest in space", None),
    "svt-scale": Variant(1e-5, "linear", "trilinear interpolation in time and space", 16),
}


def load(request: BackboneRequest, placement: Placement) -> "Svt":
    """Load the network from the authors' checkpoint, or from the same tensors in a safetensors file.

    All of its sizes follow from the tensors (heads are 64 wide), so that a small network can stand in for the
    published one.

    Raises:
        ValueError: no such file, or it is damaged, or it is not this network's; the message says what to get.
    """
    variant = VARIANTS[request.family]
    path = find_weights(request.source, file_name=FILE_NAME, download=DOWNLOAD)
    tensors = state_dict_of(read_checkpoint(path), holders=_HOLDERS, source=path.name)
    tensors, others = take_prefix(tensors, prefix=_PREFIX, source=path.name)
    with torch.device("meta"):
        network = DividedTimeSformer.fitting(
            tensors, norm_eps=variant.norm_eps, resizing=variant.resizing, source=path.name
        )
    load_strictly(network, tensors, source=path.name, prefix=_PREFIX, unused=others)
    return Svt(
        network,
        variant,
        name=request.name,
        source=f"{request.family}:{path.name}",
        placement=placement,
        normalisation=PAPER.or_the_papers(request.normalisation),
    )


class Svt(FrozenNetwork):
    """The network with its weights, as a ``Backbone``.

    The published weights, trained at 224 pixels, take the views' nominal sizes (224, 256); others their own.
    """

    def __init__(
        self,
        network: DividedTimeSformer,
        variant: Variant,
        *,
        name: str,
        source: str,
        placement: Placement,
        normalisation: Normalisation,
    ) -> None:
        digest = weights_digest(network.state_dict())
        spec = BackboneSpec(
            name=name,
            source=source,
            num_frames=variant.num_frames or network.num_times,
            frame_size=own_frame_size(network.side * network.patch_size, patch=network.patch_size),
            feature_dim=network.feature_dim,
            layer=f"CLS token after the last norm (epsilon {variant.norm_eps:g})",
            preprocessing={**normalisation.describe(), "positions": variant.positions},
            weights_digest=digest,
            licence="MIT",
            precision=placement.precision,
            library_versions={"torch": str(torch.__version__)},
        )
        super().__init__(
            network,
            spec,
            normalisation=normalisation,
            placement=placement,
            multiple_of=network.patch_size,
            any_size=True,
        )
