"""Finding and reading the weights of a VideoMAE: a file of its authors, a local folder, the hub's cache, the hub."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scale_video.extract.backbones.checkpoint_file import SUFFIXES, find_weights
from scale_video.extract.backbones.hub import (
    SAFETENSORS,
    TORCH_BIN,
    licence,
    model_folder,
    quiet_transformers,
    weight_files,
)
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
        return _sides(self.encoder.config.image_size)[0]

    @property
    def patch_size(self) -> int:
        """Pixels of a square patch."""
        return _sides(self.encoder.config.patch_size)[0]

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
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"backbone videomae needs the transformers library ({error}); pip install 'scale-video[transformers]'"
        ) from None

    if Path(source).suffix in SUFFIXES and not Path(source).expanduser().is_dir():
        path = find_weights(source, file_name=Path(source).name, download=MODEL_ZOO)
        encoder, mean_norm = read_original(path)
        return VideoMaeWeights(encoder=encoder, mean_norm=mean_norm, source=path.name, licence=LICENCE)
    folder, name = model_folder("videomae", source)
    mean_pooling = _read_config(folder, source=source).use_mean_pooling
    # The norm of a fine-tuned model lies in its classifier, whose last layer is not used here.
    cls = transformers.VideoMAEForVideoClassification if mean_pooling else transformers.VideoMAEModel
    model, missing = _load(cls, folder, source=source)
    return VideoMaeWeights(
        encoder=model.videomae if mean_pooling else model,
        # An encoder saved without a classifier has no such norm; a fresh one would only look like it.
        mean_norm=model.fc_norm if mean_pooling and "fc_norm.weight" not in missing else None,
        source=name,
        licence=licence(folder),
    )


def _read_config(folder: Path, *, source: str) -> Any:
    """The ``VideoMAEConfig``, checked to be one that fits."""
    import transformers

    try:
        model_type = json.loads((folder / "config.json").read_text()).get("model_type")
    except OSError:
        raise ValueError(
            f"{source!r} holds no config.json; give the folder that transformers saved the model to"
        ) from None
    except (ValueError, AttributeError):
        raise ValueError(f"config.json of {source!r} is damaged; get it again") from None
    if model_type != "videomae":
        raise ValueError(f"{source!r} is a model of type {model_type!r}, not 'videomae'; choose a VideoMAE")
    if not weight_files(folder):
        raise ValueError(f"{source!r} holds neither {SAFETENSORS} nor {TORCH_BIN}; get the weights as well")
    config = transformers.VideoMAEConfig.from_pretrained(folder)
    if config.num_channels != 3:
        raise ValueError(f"{source!r} takes {config.num_channels} channels; choose a VideoMAE for RGB, which has 3")
    for name in ("image_size", "patch_size"):
        if len(set(_sides(getattr(config, name)))) != 1:
            raise ValueError(f"{source!r} has the {name} {getattr(config, name)}; choose a VideoMAE of square ones")
    return config


def _load(cls: Any, folder: Path, *, source: str) -> tuple[Any, set[str]]:
    """The model and the names of the tensors that its files lack, all of which belong to the classifier."""
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=weight_files(folder)[0].suffix == ".safetensors",
                weights_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # safetensors, pickle and zip each have their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"cannot read the weights of {source!r} ({reason}); get them again") from error
    missing = set(info["missing_keys"])
    if absent := sorted(key for key in missing if not key.startswith(("fc_norm.", "classifier."))):
        raise ValueError(
            f"the weights of {source!r} lack {len(absent)} of the encoder's tensors, the first: {absent[0]}; "
            "get them again"
        )
    model = model.float().eval().requires_grad_(False)
    for tensor in model.parameters():  # out of the mapped file, whose alignment shows in the last bit of a product
        tensor.data = tensor.data.clone()
    return model, missing


def _sides(size: int | Sequence[int]) -> Sequence[int]:
    """Height and width, which configurations give as one number or as two."""
    return (size, size) if isinstance(size, int) else size
