"""Finding and reading the weights of a VideoMAE: a file of its authors, a local folder, the hub's cache, the hub."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scale_video.extract.backbones.checkpoint_file import SUFFIXES, find_weights
from scale_video.extract.backbones.hub import licence
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import open_folder, square_side
from scale_video.extract.backbones.videomae_original import LICENCE, MODEL_ZOO, read_original


@dataclass(frozen=True, slots=True)
class VideoMaeWeights:
    """A loaded encoder, in float32, in evaluation mode."""

    encoder: Any
    """transformers' ``VideoMAEModel``."""
    mean_norm: nn.Module | None
    """The ``fc_norm`` of a fine-tuned model, to be applied to the mean of its tokens."""
    source: str
    """The hub's name, or the last path segment of the file or folder."""
    licence: str
    """As the model card has it, or as the authors publish their files; else ``unknown``."""

    @property
    def name(self) -> str:
        """What to call a backbone with these weights unless a user says."""
        path = Path(self.source)
        return (path.stem if path.suffix in SUFFIXES else path.name).lower()

    @property
    def image_size(self) -> int:
        """Pixels of the square frames it was trained on."""
        return square_side(self.encoder.config.image_size, what="image_size", source=self.source)

    @property
    def patch_size(self) -> int:
        """Pixels of a square patch."""
        return square_side(self.encoder.config.patch_size, what="patch_size", source=self.source)

    @property
    def num_frames(self) -> int:
        """Frames a clip, T."""
        return int(self.encoder.config.num_frames)

    @property
    def feature_dim(self) -> int:
        """Length of a token, D."""
        return int(self.encoder.config.hidden_size)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that features depend on, under names that don't depend on the release of transformers."""
        tensors = {
            # transformers 4 calls them q_bias and v_bias, 5 query.bias and value.bias
            re.sub(r"\.([qv])_bias$", lambda m: {"q": ".query", "v": ".value"}[m[1]] + ".bias", key): tensor
            for key, tensor in self.encoder.state_dict().items()
        }
        if self.mean_norm is not None:
            tensors |= {f"fc_norm.{key}": tensor for key, tensor in self.mean_norm.state_dict().items()}
        return tensors


def read_videomae(source: str) -> VideoMaeWeights:
    """Read the weights from safetensors, else by ``torch.load(weights_only=True)``.

    Args:
        source: A checkpoint of VideoMAE's authors (``.pth``; a path, or a name in the folder of weights), a folder with
            ``config.json`` and weights, or a name on the hub, whose cache is looked at first.

    Raises:
        ValueError: transformers is not installed, the weights cannot be had, or they are not a VideoMAE's.
    """
    if Path(source).suffix in SUFFIXES and not Path(source).expanduser().is_dir():
        path = find_weights(source, file_name=Path(source).name, download=MODEL_ZOO)
        encoder, mean_norm = read_original(path)
        return VideoMaeWeights(encoder=encoder, mean_norm=mean_norm, source=path.name, licence=LICENCE)
    folder = open_folder(BackboneRequest("videomae", source, "videomae"), ("videomae",), needs_pixels=False)
    import transformers

    config = folder.configuration()
    if config.num_channels != 3:
        raise ValueError(f"{source!r} takes {config.num_channels} channels; choose a VideoMAE for RGB, which has 3")
    for what in ("image_size", "patch_size"):
        square_side(getattr(config, what), what=what, source=source)
    # The norm of a fine-tuned model lies in its classifier, whose last layer is not used here.
    cls = transformers.VideoMAEForVideoClassification if config.use_mean_pooling else transformers.VideoMAEModel
    loaded = folder.load(cls, may_lack=lambda key: key.startswith(("fc_norm.", "classifier.")))
    has_norm = config.use_mean_pooling and "fc_norm.weight" not in loaded.missing
    return VideoMaeWeights(
        encoder=loaded.model.videomae if config.use_mean_pooling else loaded.model,
        # An encoder saved without a classifier has no such norm; a fresh one would only look like it.
        mean_norm=loaded.model.fc_norm if has_norm else None,
        source=folder.name,
        licence=licence(folder.path),
    )
