"""``motion3d`` and ``motion3d-ssl``: a small network that is shipped with the package, for the embedded data sets.

Eight grey frames go in as the channels of a picture, so that a first convolution sees time whole; 128 numbers come out.
It was trained on single motions, once with their labels (``motion3d``, by ``train_motion3d.py``) and once without
(``motion3d-ssl``, by ``train_motion3d_ssl.py``); it never saw two motions in a row. Its weights lie beside this file.
"""

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scale_video.extract.backbones.placement import CPU, Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.weights_digest import weights_digest

NUM_FRAMES: Final = 8
INPUT_SIZE: Final = 32
"""Pixels of the square input."""
FEATURE_DIM: Final = 128
NAMES: Final = ("motion3d", "motion3d-ssl")
"""One file of weights each."""

_GREY: Final = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601)."""


class Motion3dNetwork(nn.Module):
    """Four convolutions and a mean; the output is standardised by the statistics of the training features."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(NUM_FRAMES, 48, kernel_size=5, stride=2),
            _convolution(48, 64, kernel_size=3, stride=2),
            _convolution(64, 96, kernel_size=3, stride=2),
            _convolution(96, FEATURE_DIM, kernel_size=3, stride=1),
        )
        self.register_buffer("feature_mean", torch.zeros(FEATURE_DIM))
        self.register_buffer("feature_std", torch.ones(FEATURE_DIM))

    def forward(self, frames: Tensor) -> Tensor:
        """Turn grey frames, float32 (B, T, H, W), standardised per clip, into features (B, D)."""
        maps: Tensor = self.layers(frames)  # (B, D, 4, 4)
        return (maps.mean(dim=(2, 3)) - self.feature_mean) / self.feature_std


def _convolution(num_in: int, num_out: int, *, kernel_size: int, stride: int) -> nn.Sequential:
    """Build a convolution with batch norm and ReLU."""
    convolution = nn.Conv2d(num_in, num_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(num_out), nn.ReLU())


def to_grey(clips: Tensor) -> Tensor:
    """Turn RGB, uint8 (..., 3), into grey, float32 (...), 0 to 255."""
    return clips.float() @ torch.tensor(_GREY, device=clips.device)


def standardise_clips(frames: Tensor) -> Tensor:
    """Give each clip of float32 (B, T, H, W) mean 0 and standard deviation 1; a clip of one colour gives zeros."""
    centred = frames - frames.mean(dim=(1, 2, 3), keepdim=True)
    # A tenth of a grey level bounds the gain: less is the decoder's rounding.
    return centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=0.1)


class Motion3d:
    """The network with its weights, as a ``Backbone``."""

    def __init__(self, network: Motion3dNetwork, placement: Placement = CPU, *, name: str = "motion3d") -> None:
        digest = weights_digest(network.state_dict())
        self._network = network.eval().to(placement.device)
        self._placement = placement
        self.device = placement.device
        self.spec = BackboneSpec(
            name=name,
            source=name,
            num_frames=NUM_FRAMES,
            frame_size=INPUT_SIZE,
            feature_dim=FEATURE_DIM,
            layer="mean over the last convolution's map, standardised per dimension by training statistics",
            preprocessing={"colour": "grey", "grey_of_rgb": list(_GREY), "standardised": "per clip"},
            weights_digest=digest,
            licence="Apache-2.0",
            precision=placement.precision,
            library_versions={"torch": str(torch.__version__)},
        )

    @torch.inference_mode()
    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips, uint8 RGB (B, 8, 32, 32, 3), into features, float32 (B, 128).

        Raises:
            ValueError: another shape or dtype.
        """
        expected = (NUM_FRAMES, INPUT_SIZE, INPUT_SIZE, 3)
        if clips.dtype != torch.uint8 or tuple(clips.shape[1:]) != expected:
            raise ValueError(
                f"clips must be uint8 of shape (B, {', '.join(map(str, expected))}), got {clips.dtype} "
                f"{tuple(clips.shape)}; resize them to the backbone's num_frames and frame_size"
            )
        frames = standardise_clips(to_grey(clips))
        with self._placement.autocast():
            features: Tensor = self._network(frames)
        return features.float()


def load(request: BackboneRequest, placement: Placement) -> Motion3d:
    """Load it by its family's name; it standardises each clip, so that there is no other normalisation to choose."""
    return load_motion3d(placement, name=request.family)


def load_motion3d(placement: Placement = CPU, *, name: str = "motion3d") -> Motion3d:
    """Load the backbone with the weights beside this file, one of ``NAMES``."""
    network = Motion3dNetwork()
    network.load_state_dict(load_file(weights_path(name)))
    return Motion3d(network, placement, name=name)


def weights_path(name: str) -> Path:
    """Where the weights of one of ``NAMES`` are shipped."""
    assert name in NAMES
    return Path(__file__).with_name(f"{name}.safetensors")
